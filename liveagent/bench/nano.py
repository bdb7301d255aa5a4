"""nano: does it call the right tool with the right arguments, typed and spoken, and does it leave the rest alone?

Every sentence goes through the shipped `Session` with the shipped agent's 15 tools in the prompt; a turn counts as
right when the first thing that the session does is exactly the call that was meant, name and every argument.

    typed_tool_exact            wordings that training never holds, by the model alone                          ≥ 0.97
    spoken_tool_exact_seen      the tools' phrases in voices that nano was trained on; no pair of sentence and
                                voice is in the training data. Words from the shipped listener (our ear and the
                                recogniser), the call by the model alone                                        ≥ 0.85
    spoken_tool_exact_unseen    the same in flite slt, flite rms and festival slt, which were never trained on  ≥ 0.65
    …_grammar                   the same sentences with phrases read off the grammar, as shipped                report
    false_accept                calls made, by the model alone, where none was asked: ordinary sentences, word
                                salad, questions that no tool answers, several people at once, noise            ≤ 0.05
    shuffled_decoder            typed_tool_exact with the decoder's weights shuffled within each tensor         ≤ 0.05
    human_clips                 of the 8 spoken clips of alsa-utils, how many were heard word for word, in a
                                grammar that holds them beside the shipped agent's; null: not installed         8

With eyes (null for weights without), on photographs of drawn scenes that no training saw, in wordings that no training
holds, every answer asked for about equally often:

    colour, shape, count,       the reply is word for word the true one, typed              ≥ 0.95, 0.85, 0.85,
    where, exists                                                                           0.85, 0.90
    blind_…                     the same questions shown a grey picture, and the likeliest  within 0.03 of chance
                                of the possible answers taken                               (`detail.chance`)
    spoken_look                 such questions in voices that were never trained on         report
    memory_1min, memory_10min   what was there one and ten minutes ago, after 13 minutes of ≥ 0.85, ≥ 0.75
                                a table that changes, one picture a second, through eye,
                                news and rolling cache

`detail` has counts, the ear alone without the recogniser, tools never seen, and each false accept's kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from liveagent.action import CallTool, Halt
from liveagent.agent import Agent
from liveagent.audio import Samples
from liveagent.bench import looked
from liveagent.bench.said import Call, Said, call_of, commands, held_out, never_seen, nothing_asked, spoken_by
from liveagent.bench.seats import Seat, seats, share
from liveagent.event import ReplyStarted, WordsHeard
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.pipelines.looks import LOOK_QUESTIONS
from liveagent.runtime.session import SessionConfig
from liveagent.tool import tool
from liveagent.train.voices import HELD_OUT, NATURAL

SEEN = ("espeak", *NATURAL)
CLIPS = Path("/usr/share/sounds/alsa")
QUIET_TICKS = 6
WAIT_TICKS = 26  # the longest silence that ends a turn, and what the ear and the gate are late by


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one sentence: the first call as (name, arguments), or None, the final words, whether the listener
    was unsure of them, and whether the stop word was heard in it."""

    call: Call | None
    words: str
    unsure: bool = False
    halted: bool = False


async def typed(seat: Seat, said: Said) -> Outcome:
    seat.write(said.text)
    await seat.ticks(2, (CallTool, Halt, ReplyStarted))
    return outcome(seat)


async def heard(seat: Seat, said: Said) -> Outcome:
    assert said.sound is not None
    await seat.ticks(QUIET_TICKS)
    await seat.hear(said.sound)
    await seat.ticks(WAIT_TICKS, (CallTool, ReplyStarted))
    return outcome(seat)


def outcome(seat: Seat) -> Outcome:
    final = [" ".join(event.words) for event in seat.of(WordsHeard) if event.final]
    words = final[-1] if final else ""
    unsure = seat.understood is not None and seat.understood.unsure
    halted, calls = bool(seat.of(Halt)), seat.of(CallTool)
    if calls:
        return Outcome(call_of(seat.agent.tool(calls[0].name), dict(calls[0].args)), words, unsure, halted)
    if halted and words in ("", "stop"):  # the stop word has its own way, and does what the tool of that name does
        return Outcome(("stop", ()), words, unsure, halted)
    return Outcome(None, words, unsure, halted)


async def measure(
    model: Nano, agent: Agent, said: Sequence[Said], grammar: bool = False, use_recogniser: bool = True
) -> list[Outcome]:
    config = SessionConfig(voice=False, grammar=grammar)
    use_recogniser = use_recogniser and any(each.sound is not None for each in said)
    async with seats(agent, model, 4, config, use_recogniser) as made:
        return await share(made, said, lambda seat, each: (typed if each.sound is None else heard)(seat, each))


async def with_grammar(model: Nano, agent: Agent, found: Sequence[Outcome]) -> list[Outcome]:
    """The same turns with phrases read off the grammar: the words that were heard, typed (typing is a path equal to
    speech). A turn that had no words, or words that the listener asks to hear again, stays as it was."""
    open_ = [each for each in found if each.words and not each.unsure]
    again = iter(await measure(model, agent, [Said(each.words, None) for each in open_], grammar=True))
    return [next(again) if each.words and not each.unsure else each for each in found]


def exact(said: Sequence[Said], outcomes: Sequence[Outcome]) -> float:
    right = [each.call == found.call for each, found in zip(said, outcomes, strict=True)]
    return round(sum(right) / max(1, len(right)), 4)


def shuffled(model: Nano, seed: int = 0) -> Nano:
    """The same model with every tensor of its decoder's weights in random order."""
    import copy

    decoder = copy.deepcopy(model.decoder)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.copy_(weight.flatten()[torch.randperm(weight.numel(), generator=random)].view_as(weight))
    return Nano(model.ear, decoder, model.vad, model.pieces, f"{model.fingerprint}-shuffled")


@tool(phrases=["{end} {side}"])
async def loudspeaker(end: Literal["front", "rear", "side"], side: Literal["left", "right", "center"]) -> str:
    """Try one loudspeaker."""
    return f"{end} {side}"


def clips() -> list[Said]:
    """The eight spoken test clips of alsa-utils; empty where they are not installed."""
    from liveagent.ports.media import MediaFile

    found = []
    for path in sorted(CLIPS.glob("*_*.wav")):
        text = path.stem.replace("_", " ").lower()
        end, side = text.split()
        sound = MediaFile(path, real_time=False).read()
        found.append(Said(text, ("loudspeaker", (("end", end), ("side", side))), "human", np.asarray(sound)))
    return found


async def human_clips(model: Nano) -> tuple[int | None, dict[str, Any]]:
    found = clips()
    if len(found) != 8:
        return None, {"note": f"{CLIPS} does not hold the 8 clips: apt install alsa-utils"}
    home = load_agent("voice")
    agent = home.replace(tools=[*home.tools, loudspeaker])
    outcomes = await measure(model, agent, found, grammar=True)
    noise = Said("", None, "noise", np.asarray(_noise_clip()))
    (rejected,) = await measure(model, agent, [noise], grammar=True)
    right = sum(each.words == one.text for one, each in zip(found, outcomes, strict=True))
    words = {one.text: each.words for one, each in zip(found, outcomes, strict=True)}
    return right, {"words": words, "noise_heard_as": rejected.words, "sentences": agent.automaton.sentences}


def _noise_clip() -> Samples:
    from liveagent.ports.media import MediaFile

    return MediaFile(CLIPS / "Noise.wav", real_time=False).read()


async def _all(model: Nano, cell: int, seed: int) -> dict[str, Any]:
    agent = load_agent("voice")
    detail: dict[str, Any] = {"weights": model.fingerprint}

    said = held_out(agent, cell, seed)
    by_model, by_grammar = await measure(model, agent, said), await measure(model, agent, said, grammar=True)
    result: dict[str, Any] = {
        "typed_tool_exact": exact(said, by_model),
        "typed_tool_exact_grammar": exact(said, by_grammar),
    }
    detail["typed"] = {"sentences": len(said), "wrong": _wrong(said, by_model)}
    strange, sentences = never_seen(min(cell, 80), seed)
    detail["typed_tool_exact_never_seen_tools"] = exact(sentences, await measure(model, strange, sentences))
    result["shuffled_decoder"] = exact(said, await measure(shuffled(model), agent, said))

    for name, voices in (("seen", SEEN), ("unseen", HELD_OUT)):
        said = spoken_by(voices, commands(agent, voices, cell, seed + 1), seed)
        found = await measure(model, agent, said)
        result[f"spoken_tool_exact_{name}"] = exact(said, found)
        by_grammar = await with_grammar(model, agent, found)
        result[f"spoken_tool_exact_{name}_grammar"] = exact(said, by_grammar)
        alone = await measure(model, agent, said, use_recogniser=False)
        detail[name] = {
            "sentences": len(said),
            "ear_alone": exact(said, alone),
            "ear_alone_grammar": exact(said, await with_grammar(model, agent, alone)),
            "ear_alone_words": _words(said, alone),
            "words": _words(said, found),
            "voices": {voice: exact(*_of(voice, said, found)) for voice in voices},
            "false_halts": sum(f.halted and s.call != ("stop", ()) for s, f in zip(said, found, strict=True)),
            "wrong": _wrong(said, found),
            "wrong_grammar": _wrong(said, by_grammar),
        }

    said = nothing_asked(agent, cell, seed + 2)
    found = await measure(model, agent, said)
    result["false_accept"] = round(sum(each.call is not None for each in found) / len(said), 4)
    kinds = sorted({each.voice for each in said})
    detail["false_accept"] = {
        "sentences": len(said),
        "kinds": {kind: round(sum(f.call is not None for f in b) / len(a), 4) for kind in kinds
                  for a, b in [_of(kind, said, found)]},
        "calls": [f"{s.voice}: {s.text} > {f.words} > {f.call}" for s, f in zip(said, found, strict=True) if f.call],
    }  # fmt: skip
    result["human_clips"], detail["human_clips"] = await human_clips(model)
    seen, detail["seen_pictures"] = await pictures(model, agent, cell, seed)
    return {**result, **seen, "detail": detail}


async def pictures(model: Nano, agent: Agent, cell: int, seed: int) -> tuple[dict[str, float | None], dict[str, Any]]:
    """What has to do with seeing: figures and their detail."""
    names = [
        *looked.FORCED,
        *(f"blind_{kind}" for kind in looked.FORCED),
        "spoken_look",
        "memory_1min",
        "memory_10min",
    ]
    if not model.sees:
        return dict.fromkeys(names), {"note": "these weights have no eyes"}
    result: dict[str, float | None] = {}
    detail: dict[str, Any] = {"chance": {kind: round(1 / len(looked.choices(kind)), 4) for kind in looked.FORCED}}
    async with looked.watchers(model, agent) as made:
        for kind in (*looked.FORCED, *looked.MORE):
            asked = looked.questions(kind, 2 * cell if kind in looked.FORCED else cell // 2, seed)
            replies = await looked.measure(made, asked)
            if kind in looked.FORCED:
                result[kind] = looked.exact(asked, replies)
                result[f"blind_{kind}"] = looked.exact(asked, await looked.measure(made, asked, blind=True))
            told = [(each.asked, reply) for each, reply in zip(asked, replies, strict=True)]
            detail[kind] = {
                "questions": len(told),
                "right": looked.exact(asked, replies),
                "wrong": looked.wrong(told)[:12],
            }
        for name, told in (await looked.memory(made, max(2, cell // 2))).items():
            result[name] = round(1 - len(looked.wrong(told)) / max(1, len(told)), 4)
            detail[name] = {"questions": len(told), "wrong": looked.wrong(told)[:12]}
    listener = agent.replace(questions=[*agent.questions, *LOOK_QUESTIONS])
    async with looked.watchers(model, listener, use_recogniser=True) as made:
        asked = looked.spoken(cell, seed)
        replies = await looked.measure(made, asked)
        result["spoken_look"] = looked.exact(asked, replies)
        detail["spoken_look"] = {"questions": len(asked), "kinds": looked.by_kind(asked, replies)}
    return {name: result[name] for name in names}, detail


def _of(voice: str, said: Sequence[Said], found: Sequence[Outcome]) -> tuple[list[Said], list[Outcome]]:
    pairs = [(s, f) for s, f in zip(said, found, strict=True) if s.voice == voice]
    return [s for s, _ in pairs], [f for _, f in pairs]


def _words(said: Sequence[Said], found: Sequence[Outcome]) -> float:
    return round(sum(s.text == f.words for s, f in zip(said, found, strict=True)) / max(1, len(said)), 4)


def _wrong(said: Sequence[Said], found: Sequence[Outcome], most: int = 40) -> list[str]:
    pairs = zip(said, found, strict=True)
    return [f"{s.voice}: {s.text} > {f.words} > {f.call}" for s, f in pairs if s.call != f.call][:most]


def run(weights: str | Path | None = None, cell: int = 150, seed: int = 11) -> dict[str, Any]:
    """The figures. `weights`: another folder than the shipped one; `cell`: sentences of each cell, at most."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return asyncio.run(_all(Nano.load(weights), cell, seed))
    finally:
        torch.set_num_threads(threads)
