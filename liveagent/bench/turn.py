"""Turns: how little is left to do when the user has finished, how long a person waits, and how often they are cut off.

    vs_prefix_cache              CPU time from the end of a turn to the first token of the answer, of an engine that
                                 keeps the history's keys but hears and reads only the last utterance (4 s) at its
                                 end, divided by ours. Ours is the whole tick that decides, with its VAD, echo gate
                                 and ear; the reference only encodes the utterance (one row), searches its words in
                                 the same automaton and prefills them in the same engine. Same weights, same run,
                                 in turns; the recogniser is left out on both sides                         report
    end_of_turn_to_first_token_steps   decoder steps between the decision and the first token known, mean    ≤ 1.5
    cut_offs                     share of spoken sentences with one pause of 300 to 800 ms in their middle that were
                                 answered before their last word, at the manners that ship                  ≤ 0.10
    last_sample_to_first_played_ms_p50, _p95   from the last sample of a spoken command to the first sample of the
                                 answer played, with the shipped agent, voice and manners at real-time pace  report

The pause lies after words that are not a whole sentence of the grammar: at such a place an answer is right.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveagent.audio import RATE_HZ, TICK_NS, TICK_SAMPLES, AudioChunk, Samples
from liveagent.bench.said import Said, commands, held_out, loud, spoken_by
from liveagent.bench.seats import FLOOR, Seat, seats, share
from liveagent.ctc import CtcSearch
from liveagent.event import TurnEnded, TurnTimed
from liveagent.latency import Percentiles
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.runtime.core import Core
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.work import Append
from liveagent.train.paraphrases import AFTER
from liveagent.train.voices import espeak, speak

UTTERANCE_SAMPLES = 4 * RATE_HZ
PAUSES_MS = (300, 800)
EDGE_SAMPLES = 800  # of silence that a synthesised sentence keeps on either side
VOICES = ("flite/slt", "flite/rms", "flite/awb", "espeak")
WAIT_TICKS = 26
HISTORY = ("turn on the kitchen light", "what is on my shopping list", "how are you today")


# --- against a prefix cache


async def first_tokens(model: Nano, said: Sequence[Said]) -> tuple[list[float], list[float]]:
    """CPU seconds to the first token: (ours, the reference's), one each for every sentence."""
    agent = load_agent("voice")
    ours: list[float] = []
    theirs: list[float] = []
    core = Core(model, 4, 1024)
    lane = core.open()
    spell = lambda word: [model.pieces.encode(word)]  # noqa: E731
    search = CtcSearch(agent.automaton, spell, model.pieces.blank)
    async with seats(agent, model, 1, SessionConfig(voice=False, grammar=False), use_recogniser=False) as (seat,):
        for each in said:
            assert each.sound is not None
            await seat.fresh()
            for line in HISTORY:
                seat.write(line)
                await seat.ticks(1)
            history = seat.session.context.ids
            sound = np.zeros(UTTERANCE_SAMPLES, np.float32)
            sound[-len(each.sound) :] = each.sound[-UTTERANCE_SAMPLES:]
            spent = await _ours(seat, sound)
            if spent is None:
                continue
            ours.append(spent[0])
            _clear(core, lane, history)
            theirs.append(_theirs(model, core, lane, search, sound, spent[1]))
    return ours, theirs


async def _ours(seat: Seat, sound: Samples) -> tuple[float, int] | None:
    """(CPU seconds of the deciding tick up to the first token, tokens of the turn), None when no turn was heard."""
    began, first = 0.0, [0.0]
    decide = seat.session.answer.decide

    async def decided(words: str, steps: int, logp: Sequence[float], t_ns: int, heard: bool = False, **_: Any) -> None:
        first[0] = time.process_time() - began
        await decide(words, steps, logp, t_ns, heard)

    seat.session.answer.decide = decided  # type: ignore[method-assign]
    await seat.hear(sound)
    for _ in range(WAIT_TICKS):
        began = time.process_time()
        await seat.tick(np.zeros(0, np.float32))
        if first[0]:
            words = " ".join(seat.understood.words) if seat.understood else ""
            return first[0], len(seat.model.template.user_turn(words)) + 1
    return None


def _clear(core: Core, lane: int, history: Sequence[int]) -> None:
    from liveagent.runtime.work import Reset

    core.run(lane, Reset())
    core.run(lane, Append(tuple(history)))


def _theirs(model: Nano, core: Core, lane: int, search: CtcSearch, sound: Samples, tokens: int) -> float:
    """CPU seconds to encode a whole utterance, find its words and read as many tokens as it was for us."""
    template = model.template
    blocks = len(sound) // model.ear.block_samples
    began = time.process_time()
    with torch.inference_mode():
        heard = model.ear(torch.from_numpy(sound[: blocks * model.ear.block_samples].copy())[None])
    search.reset()
    search.feed(heard.logp[0].numpy())
    words = search.best(whole=True).words
    ids = [*template.user_turn(" ".join(words)), template.agent][:tokens]
    ids = [template.user] * (tokens - len(ids)) + ids  # as many tokens as ours, whatever was heard
    core.run(lane, Append(tuple(ids), (template.call, template.say)))
    return time.process_time() - began


# --- cut off


def paused(model_agent: Any, count: int, seed: int) -> list[Said]:
    """Sentences with a pause inside; two thirds the tools' phrases, one third other wordings. `call` is not used."""
    rng = random.Random(seed)
    texts = [each.text for each in commands(model_agent, ["flite/slt"], 2 * count, seed)]
    texts += [each.text for each in held_out(model_agent, count, seed)]
    rng.shuffle(texts)
    said: list[Said] = []
    for text in texts:
        words = text.split()
        places = [at for at in range(2, len(words)) if not model_agent.automaton.accepts(words[:at])]
        places = [at for at in places if " ".join(words[at:]) not in AFTER]  # before "please" it was whole
        if len(words) < 4 or not places or len(said) == count:
            continue
        at = rng.choice(places)
        voice = VOICES[len(said) % len(VOICES)]
        parts = speak(voice, [" ".join(words[:at]), " ".join(words[at:])], seed + len(said), espeak())
        if len(parts) == 2:
            pause = rng.randint(*PAUSES_MS) * RATE_HZ // 1000 - 2 * EDGE_SAMPLES
            sound = [loud(parts[0].samples), np.zeros(pause, np.float32), loud(parts[1].samples)]
            said.append(Said(f"{' '.join(words[:at])} | {' '.join(words[at:])}", None, voice, np.concatenate(sound)))
    return said


async def interrupted(seat: Seat, said: Said) -> bool:
    """Whether the turn was ended before its last word had been said."""
    assert said.sound is not None
    await seat.ticks(6)
    begin_ns = seat.now_ns
    await seat.hear(said.sound)
    await seat.ticks(WAIT_TICKS)
    last_word_ns = begin_ns + (len(said.sound) - EDGE_SAMPLES) * 1_000_000_000 // RATE_HZ
    ended = [event.t_ns for event in seat.of(TurnEnded)]
    return bool(ended) and ended[0] < last_word_ns


async def cut_offs(model: Nano, count: int, seed: int) -> tuple[float, dict[str, Any]]:
    agent = load_agent("voice")
    said = paused(agent, count, seed)
    async with seats(agent, model, 4, SessionConfig(voice=False)) as made:
        cut = await share(made, said, interrupted)
        steps = [n for seat in made for n in (*seat.steps, *seat.session.answer.first_token_steps)]
    at = [each.text for each, was in zip(said, cut, strict=True) if was]
    return sum(cut) / len(cut), {"sentences": len(cut), "cut": at, "steps": steps}


# --- what a person waits


async def paced(sounds: Sequence[Samples], gap_ticks: int) -> AsyncIterator[AudioChunk]:
    """Sentences with room for the answers, a tick at a time at real-time pace, stamped when captured."""
    rng = np.random.default_rng(5)
    gap = np.zeros(gap_ticks * TICK_SAMPLES, np.float32)
    whole = np.concatenate([gap[: 10 * TICK_SAMPLES], *(part for sound in sounds for part in (sound, gap))])
    whole = whole[: len(whole) // TICK_SAMPLES * TICK_SAMPLES]
    whole = whole + rng.standard_normal(len(whole)).astype(np.float32) * np.float32(FLOOR)
    begin_ns = time.monotonic_ns()
    for at in range(0, len(whole), TICK_SAMPLES):
        t_ns = begin_ns + at // TICK_SAMPLES * TICK_NS
        await asyncio.sleep(max(0.0, (t_ns + TICK_NS - time.monotonic_ns()) / 1e9))
        yield AudioChunk(whole[at : at + TICK_SAMPLES], t_ns, 0, "file")


async def waits(model: Nano, count: int, seed: int, gap_ticks: int = 50) -> list[dict[str, float | None]]:
    """The latency ledgers of spoken commands, in real time, with the shipped voice and a loudspeaker of no device."""
    from liveagent.ports.espeak import EspeakVoice
    from liveagent.ports.nullspeaker import NullSpeaker
    from liveagent.runtime.hands import Hands
    from liveagent.runtime.live import Live
    from liveagent.runtime.talk import open_session
    from liveagent.runtime.voicer import Voicer

    agent = load_agent("voice")
    voices = ("flite/slt", "flite/awb")
    said = spoken_by(voices, commands(agent, voices, count, seed), seed)
    timed: list[dict[str, float | None]] = []

    def view(item: object) -> None:
        if isinstance(item, TurnTimed):
            timed.append(dict(item.durations_ms))

    async with open_session(agent, SessionConfig(), model) as session:
        voice, speaker = EspeakVoice(), NullSpeaker()
        live = Live(
            session,
            lambda live: Hands(agent.tools, live.put, live.now_ns),
            speaker,
            lambda live: Voicer(voice, live.speaker.play, live.put, live.now_ns),
            None,
            view,
        )
        try:
            await live.run(paced([each.sound for each in said if each.sound is not None], gap_ticks))
        finally:
            await live.close()
    return timed


def _percentiles(values: Sequence[float]) -> Percentiles:
    ranked = sorted(values)
    rank = lambda percent: ranked[max(0, -(-len(ranked) * percent // 100) - 1)]  # noqa: E731
    return Percentiles(len(ranked), rank(50), rank(95), ranked[-1])


async def _all(model: Nano, utterances: int, pauses: int, turns: int, seed: int) -> dict[str, Any]:
    agent = load_agent("voice")
    said = spoken_by(("flite/awb",), commands(agent, ["flite/awb"], utterances, seed), seed)
    ours, theirs = await first_tokens(model, said)
    share_cut, cuts = await cut_offs(model, pauses, seed)
    steps = cuts.pop("steps")
    timed = await waits(model, turns, seed)
    played = [wait for each in timed if (wait := each.get("played")) is not None]
    measured = _percentiles(played) if played else None
    parts = {
        what: round(statistics.median(values), 1)
        for what in (timed[0] if timed else {})
        if (values := [value for each in timed if (value := each.get(what)) is not None])
    }
    return {
        "vs_prefix_cache": round(statistics.median(theirs) / statistics.median(ours), 2) if ours else None,
        "end_of_turn_to_first_token_steps": round(statistics.mean(steps), 3) if steps else None,
        "cut_offs": round(share_cut, 4),
        "last_sample_to_first_played_ms_p50": round(measured.p50, 1) if measured else None,
        "last_sample_to_first_played_ms_p95": round(measured.p95, 1) if measured else None,
        "detail": {
            "weights": model.fingerprint,
            "first_token_cpu_ms": {"ours": _ms(ours), "reference": _ms(theirs), "turns": len(ours)},
            "steps_worst": max(steps, default=None),
            "turns_counted_in_steps": len(steps),
            "cut_offs": cuts,
            "turns_timed": len(played),
            "waits_ms_p50": parts,
        },
    }


def _ms(values: Sequence[float]) -> float | None:
    return round(statistics.median(values) * 1000, 2) if values else None


def run(
    weights: str | Path | None = None, utterances: int = 16, pauses: int = 80, turns: int = 12, seed: int = 21
) -> dict[str, Any]:
    """The figures; some 2 minutes, of which one is real time. `weights`: another folder than the shipped one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return asyncio.run(_all(Nano.load(weights), utterances, pauses, turns, seed))
    finally:
        torch.set_num_threads(threads)
