"""Unhear: after an interruption, does the cache hold what was heard and nothing else?

    logit_diff            largest difference of the next token's logits between a lane whose replies were cut and an
                          oracle lane, over 200 random interruptions: the oracle gets the same log of appends and
                          evictions, but never the tokens that nobody heard. In most of them the user's next words are
                          in the cache already, behind the reply; half of those are soft, as the ear gives them ≤ 1e-4
    wrong_words_per_cut   words that the session believes heard and that did not sound whole in the recording of the
                          loudspeaker, or the other way round; the worst of all cuts                              ≤ 1
    repair_ticks          ticks from the `StopPlayback` until the cache is right again; the worst of all cuts     ≤ 1

The recording is the monitor of a PulseAudio null sink that PortAudio plays to, in real time, with the shipped voice and
`Speaker`; where there is no PulseAudio it is what `NullSpeaker` took from its playlist (`detail.loudspeaker` says).
`detail.left_in` is the first figure's size if the unheard words had stayed: what the oracle can tell.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from liveagent.action import StopPlayback
from liveagent.audio import TICK_NS, Samples
from liveagent.bench.nullsink import missing, null_sink
from liveagent.bench.seats import Direct
from liveagent.event import Interrupted, TickHeard, Voiced, WordMark
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.work import Soft
from liveagent.window import Budget

REPLY = (
    "The kitchen light is on, and the one in the bedroom is off. Your shopping list has milk, bread, eggs and two "
    "bottles of water. I have set a timer for five minutes, and your keys are in the drawer next to the old lamp."
)
SAID = ("turn on the kitchen light", "no wait", "what is on my list", "i meant the other one", "thank you very much")
TAIL = 1600  # samples of a word's end that are looked for in the recording
LATE = 32_000  # how far a stuttering loudspeaker may put a word off
ALIKE = 0.85  # correlation from which they are the same; through two resamplers it is 0.99 and more


# --- against the oracle


class Pair:
    """A lane that lives and a lane that knows: what is heard is added to both, what is not to the first alone."""

    def __init__(self, model: Nano, core: Core, rng: random.Random) -> None:
        self.model, self.rng, self.core = model, rng, core
        agent = load_agent("voice")
        self.prompt = model.template.prompt(agent.instructions, agent.tools)
        direct = cast(Engine, Direct(core))
        size = len(self.prompt)
        budget = Budget(core.slots, size + 260, size + 150)
        self.lanes = [Lane(direct, core.open()) for _ in range(2)]
        self.life, self.oracle = (Context(lane, budget) for lane in self.lanes)
        self.evictions = 0

    async def open(self) -> None:
        for context in (self.life, self.oracle):
            await context.open(())
            await context.add("system", self.prompt, 0)

    def close(self) -> None:
        for lane in self.lanes:
            lane.close()

    async def both(self, kind: Any, ids: Sequence[int], soft: Soft | None = None, grow: bool = False) -> None:
        for context in (self.life, self.oracle):
            await context.add(kind, ids, 0, soft=soft, grow=grow)

    def words(self) -> tuple[list[int], Soft | None]:
        """A user's words as pieces; half the time soft."""
        ids = self.model.pieces.encode(self.rng.choice(SAID))
        if self.rng.random() < 0.5:
            return ids, None
        numbers = np.random.default_rng(self.rng.randrange(1 << 30))
        logits = numbers.standard_normal((len(ids), self.model.ear.config.pieces)).astype(np.float32)
        logits[np.arange(len(ids)), ids] += 6
        weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        return ids, Soft(weights, numbers.standard_normal((len(ids), self.model.ear.config.width)).astype(np.float32))

    async def interruption(self) -> float:
        """One turn whose reply is cut; the largest difference of the logits behind it."""
        rng, template = self.rng, self.model.template
        for context in (self.life, self.oracle):
            context.ledger.begin_turn()
        ids, soft = self.words()
        await self.both("audio", [template.user])
        await self.both("audio", ids, soft, grow=True)
        await self.both("audio", [template.end, template.agent], grow=True)
        await self.both("reply", [template.say])
        start = self.life.end
        await self._reply(rng.randint(3, 40))
        spoken = self.life.ids[start - self.life.ledger.first :]
        keep = rng.randint(0, len(spoken))
        if keep:
            await self.oracle.add("reply", spoken[:keep], 0, grow=True)
        later = self.life.end
        meanwhile = rng.random() < 0.8
        ids, soft = self.words()
        if meanwhile:
            self.life.ledger.begin_turn()
            await self.life.add("audio", [template.user], 0)
            await self.life.add("audio", ids, 0, soft=soft, grow=True)
        self.life.ledger.mark_heard(start + keep)
        await self.life.take_back(start + keep, later, [template.cut], 0)
        self.oracle.ledger.mark_heard(start + keep)
        await self.oracle.add("mark", [template.cut], 0)
        if meanwhile:
            self.oracle.ledger.begin_turn()
            await self.oracle.add("audio", [template.user], 0)
            await self.oracle.add("audio", ids, 0, soft=soft, grow=True)
            await self.both("audio", [template.end, template.agent], grow=True)
        else:
            await self.both("audio", [template.user, *ids, template.end, template.agent])
        worst = self._difference()
        await self.both("reply", [template.say, *template.encode("All right."), template.end])
        worst = max(worst, self._difference())
        for context in (self.life, self.oracle):
            context.ledger.mark_heard(context.end)
            self.evictions += bool(await context.trim()) and context is self.life
        return worst

    async def _reply(self, tokens: int) -> None:
        """Half of the replies the decoder's own, half a long one, so that there is always something to cut."""
        template = self.model.template
        if self.rng.random() < 0.5:
            done = await self.life.decode("reply", 0, max_tokens=tokens, stop=(template.end,), grow=True)
            if len(done.ids) > 1:
                return
        await self.life.add("reply", template.encode(REPLY)[:tokens], 0, grow=True)

    def _difference(self) -> float:
        one, other = (self.core._lane[lane.number].logits for lane in self.lanes)
        assert one is not None and other is not None
        return float((one - other).abs().max())


async def against_oracle(model: Nano, cuts: int, seed: int, per_talk: int = 20) -> tuple[float, dict[str, Any]]:
    core = Core(model, 4, 1024)
    pump = asyncio.create_task(Direct(core).pump())
    worst, evictions, left_in, rng = 0.0, 0, 0.0, random.Random(seed)
    try:
        for first in range(0, cuts, per_talk):
            pair = Pair(model, core, rng)
            await pair.open()
            for _ in range(min(per_talk, cuts - first)):
                worst = max(worst, await pair.interruption())
            evictions += pair.evictions
            template = pair.model.template
            await pair.life.add("reply", template.encode("nobody heard this"), 0)
            await pair.both("audio", [template.user, *model.pieces.encode("thank you"), template.end, template.agent])
            left_in = max(left_in, pair._difference())
            pair.close()
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)
    return worst, {"interruptions": cuts, "evictions_between": evictions, "left_in": round(left_in, 4)}


# --- against the recording


@dataclass
class Uttered:
    """One reply: its samples as the voice gave them, its words' places, what the session believes was heard of it."""

    samples: list[Samples] = field(default_factory=list)
    marks: list[WordMark] = field(default_factory=list)
    heard: int | None = None
    begin: int = 0  # of its part of the recording
    end: int = 0
    stopped_ns: int = 0
    repaired_ns: int = 0

    def truly_heard(self, recording: Samples) -> int | None:
        """How many words, up to the last whose end is in the recording; None: no word of the reply is in there.

        Each word's last tenth of a second with sound is looked for on its own, near where the word before it leaves
        it: a loudspeaker that stutters makes gaps, and they are no cut.
        """
        voice = np.concatenate(self.samples)
        words, place, before = 0, 0, -1
        for number, mark in enumerate(self.marks, 1):
            loud = np.flatnonzero(np.abs(voice[mark.start_samples : mark.end_samples]) >= 0.02)
            if not len(loud):
                continue
            end = mark.start_samples + int(loud[-1]) + 1
            tail = voice[max(0, end - TAIL) : end]
            if before < 0:
                low, high = 0, len(recording)
            else:
                low = place + end - before - LATE // 8
                high = low + LATE
            found = _find(tail, recording, max(0, low - TAIL), min(len(recording), high))
            if found is not None:
                words, place, before = number, found, end
        return words if before >= 0 else None


def _find(part: Samples, sound: Samples, low: int, high: int) -> int | None:
    """Where in `sound[low:high]` `part` ends, if it is in there."""
    here = sound[low:high].astype(np.float64)
    if len(here) < len(part):
        return None
    size = 1 << (len(here) + len(part)).bit_length()
    match = np.fft.irfft(np.fft.rfft(here, size) * np.conj(np.fft.rfft(part.astype(np.float64), size)), size)
    power = np.concatenate([[0.0], np.cumsum(here**2)])
    count = len(here) - len(part) + 1
    energy = power[len(part) :][:count] - power[:count]
    alike = match[:count] / np.sqrt(np.maximum(energy, 1e-6) * float(np.sum(part.astype(np.float64) ** 2)))
    best = int(alike.argmax())
    return low + best + len(part) if alike[best] >= ALIKE else None


async def cuts_live(
    model: Nano, speaker: Any, recording: Callable[[], Samples], cuts: int, seed: int
) -> list[dict[str, Any]]:
    """Real-time replies, each stopped somewhere; for each what was believed, what is true, and the ticks it took."""
    from liveagent.ports.espeak import EspeakVoice
    from liveagent.runtime.hands import Hands
    from liveagent.runtime.live import Live, silence
    from liveagent.runtime.talk import open_session
    from liveagent.runtime.voicer import Voicer

    rng = random.Random(seed)
    said: dict[int, Uttered] = {}
    now_ns = 0

    def view(item: object) -> None:
        nonlocal now_ns
        if isinstance(item, TickHeard):
            now_ns = item.t_ns + TICK_NS
        elif isinstance(item, Voiced):
            said.setdefault(item.utterance, Uttered()).marks.extend(item.marks)
        elif isinstance(item, StopPlayback):
            said[item.utterance].stopped_ns = now_ns
        elif isinstance(item, Interrupted) and item.utterance in said:
            said[item.utterance].heard = len(item.heard)
            said[item.utterance].repaired_ns = item.t_ns

    agent = load_agent("voice")
    async with open_session(agent, SessionConfig(), model, use_recogniser=False) as session:
        voice = EspeakVoice()

        def play(utterance: int, samples: Samples, final: bool) -> None:
            said.setdefault(utterance, Uttered()).samples.append(samples)
            speaker.play(utterance, samples, final)

        async def decide(
            words: str, steps: int, logp: Sequence[float], t_ns: int, heard: bool = False, **_: Any
        ) -> None:
            await session.answer.say(REPLY, t_ns)  # whatever the weights would say: something to be cut

        session.answer.decide = decide  # type: ignore[method-assign]
        live = Live(
            session,
            lambda live: Hands(agent.tools, live.put, live.now_ns),
            speaker,
            lambda live: Voicer(voice, play, live.put, live.now_ns),
            None,
            view,
        )
        source = asyncio.create_task(live.run(silence()))
        try:
            for number in range(1, cuts + 1):
                said[number] = Uttered(begin=len(recording()))
                live.typed("tell me something")
                await _until(lambda number=number: session.answer.reply is not None  # type: ignore[misc]
                             and session.answer.reply.playback.played_samples > 0)  # fmt: skip
                await asyncio.sleep(rng.uniform(0.2, 5.0))
                live.typed("stop")
                await _until(lambda number=number: said[number].heard is not None)  # type: ignore[misc]
                await asyncio.sleep(0.6)
                said[number].end = len(recording())
        finally:
            source.cancel()
            await asyncio.gather(source, return_exceptions=True)
            await live.close()
    found, sound = [], recording()
    for utterance, each in sorted(said.items()):
        words = each.truly_heard(sound[each.begin : each.end])
        if words is not None and each.heard is not None:
            found.append({"utterance": utterance, "believed": each.heard, "recorded": words,
                          "ticks": (each.repaired_ns - each.stopped_ns) // TICK_NS})  # fmt: skip
    return found


async def _until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    for _ in range(round(seconds / 0.02)):
        if true():
            return
        await asyncio.sleep(0.02)
    raise TimeoutError("the session did not get there: this machine is far behind real time")


async def live(model: Nano, cuts: int, seed: int) -> tuple[str, list[dict[str, Any]]]:
    from liveagent.ports.nullspeaker import NullSpeaker

    with contextlib.suppress(RuntimeError):
        if not missing():
            from liveagent.ports.speaker import Speaker

            with null_sink() as sink:
                speaker = Speaker()
                speaker.start()
                return "PulseAudio null sink", await cuts_live(model, speaker, sink.recording, cuts, seed)
    nothing = NullSpeaker()
    taken: list[Samples] = []
    take = nothing._playlist.take

    def noted(n: int) -> Any:
        samples, parts = take(n)
        taken.append(samples)
        return samples, parts

    nothing._playlist.take = noted  # type: ignore[method-assign]
    return f"none ({missing()})", await cuts_live(model, nothing, lambda: np.concatenate(taken), cuts, seed)


async def _all(model: Nano, interruptions: int, cuts: int, seed: int) -> dict[str, Any]:
    difference, detail = await against_oracle(model, interruptions, seed)
    loudspeaker, found = await live(model, cuts, seed)
    wrong = [abs(each["believed"] - each["recorded"]) for each in found]
    ticks = [each["ticks"] for each in found]
    return {
        "logit_diff": difference,
        "wrong_words_per_cut": max(wrong, default=None),
        "repair_ticks": max(ticks, default=None),
        "detail": {
            "weights": model.fingerprint,
            **detail,
            "loudspeaker": loudspeaker,
            "cuts_recorded": len(found),
            "wrong_words_mean": round(sum(wrong) / len(wrong), 3) if wrong else None,
            "cuts": found,
        },
    }


def run(
    weights: str | Path | None = None, interruptions: int = 200, cuts: int = 16, seed: int = 41
) -> dict[str, Any]:
    """The figures; some two minutes, one of them real time. `weights`: another folder than the shipped one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return asyncio.run(_all(Nano.load(weights), interruptions, cuts, seed))
    finally:
        torch.set_num_threads(threads)
