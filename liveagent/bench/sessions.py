"""How many conversations one core holds: all microphones open, half of the people speaking, a quarter being replied to,
and before every lane a camera at 5 pictures a second that shows a talking head: a quarter of the patches change.

The shipped sessions sit on one slab of the engine and take their ticks together, so a tick here is the work of all of
them: echo gate, VAD, ear, search, recogniser, stop word, turns, eye, decoder. Its CPU time (one thread) must fit into
the 80 ms that it stands for, in 95 of 100 ticks. Lanes are told apart by their number modulo 4: two speak commands one
after the other, one is asked for something long and hears the reply through its loudspeaker (with its echo in the
microphone and the reference in the gate), one is open and silent.

    sessions_per_core   the most sessions whose p95 tick is no longer than 80 ms                                  ≥ 6

`detail` has the parts' shares, the same load without cameras at the number of lanes that was held, and whether the eye
is a trained one: weights without an eye get one of the shipped size that has learnt nothing, which costs the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveagent.audio import RATE_HZ, TICK_NS, TICK_SAMPLES, Samples
from liveagent.bench.eye import FRAME_NS, talking
from liveagent.bench.most import TICK_MS, Most, ranked
from liveagent.bench.said import commands, loud, spoken_by
from liveagent.bench.seats import Seat, seats
from liveagent.load import load_agent
from liveagent.nn.decoder import Decoder
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.nano import Nano
from liveagent.runtime.session import SessionConfig
from liveagent.sight import PICTURE_PX, WIDTH
from liveagent.train.voices import espeak, speak
from liveagent.video import Pixels

GAP_SAMPLES = RATE_HZ * 3 // 5
VOICES = ("flite/slt", "flite/awb", "espeak")
ASKED = "tell me a joke"
REPLY = "A byte walks into a bar. It had a bit too much. The kitchen light is on, and nothing else is."
CLIP_FRAMES = 50
ECHO_GAIN, ECHO_LATE_SAMPLES = 10 ** (-15 / 20), 60 * RATE_HZ // 1000


class Person:
    """What one lane's microphone, loudspeaker and camera carry, tick by tick."""

    def __init__(
        self, seat: Seat, role: int, speech: Samples, reply: Samples, offset: int, clip: Sequence[Pixels] = ()
    ) -> None:
        self.seat, self.role, self.speech, self.reply, self.clip = seat, role, speech, reply, clip
        self.ahead_ns, self.pictures = offset // TICK_SAMPLES * TICK_NS, -1  # lanes see pictures in different ticks
        self.at, self.asked_at = offset, -1
        self.replying = 0

    async def tick(self) -> None:
        sound = np.zeros(TICK_SAMPLES, np.float32)
        reference = np.zeros(0, np.float32)
        if self.role < 2:
            sound = np.take(self.speech, np.arange(self.at, self.at + TICK_SAMPLES), mode="wrap")
        elif self.role == 2:
            if self.seat.sounding:
                self.replying += 1
                here = np.arange(self.at, self.at + TICK_SAMPLES)
                reference = np.take(self.reply, here, mode="wrap")
                sound = np.take(self.reply, here - ECHO_LATE_SAMPLES, mode="wrap") * np.float32(ECHO_GAIN)
            elif self.seat.index - self.asked_at > 2:
                self.seat.write(ASKED)
                self.asked_at = self.seat.index
        self.at += TICK_SAMPLES
        shown, self.pictures = self.pictures, (self.seat.index * TICK_NS + self.ahead_ns) // FRAME_NS
        if self.clip and shown != self.pictures:
            self.seat.show(self.clip[self.pictures % len(self.clip)])
        await self.seat.tick(sound, reference)
        self.seat.log.clear()


def sounds(seed: int) -> tuple[Samples, Samples]:
    """(half a minute of commands with short gaps, a reply's sound)."""
    said = spoken_by(VOICES, commands(load_agent("voice"), VOICES, 12, seed), seed)
    gap = np.zeros(GAP_SAMPLES, np.float32)
    speech = np.concatenate([part for each in said if each.sound is not None for part in (each.sound, gap)])
    return speech, loud(speak("espeak", [REPLY], seed, espeak())[0].samples)


@contextmanager
def costs(model: Nano, made: Sequence[Seat], spent: dict[str, float]) -> Iterator[None]:
    """Adds up the CPU seconds of the parts while it is open."""
    undo: list[tuple[Any, str]] = []

    def watch(part: str, thing: Any, *names: str) -> None:
        spent.setdefault(part, 0.0)
        for name in names if thing is not None else ():
            real: Callable[..., Any] = getattr(thing, name)

            def timed(*args: Any, real: Callable[..., Any] = real, **kwargs: Any) -> Any:
                begin = time.process_time()
                try:
                    return real(*args, **kwargs)
                finally:
                    spent[part] += time.process_time() - begin

            setattr(thing, name, timed)
            undo.append((thing, name))

    watch("vad", model.vad, "step")
    watch("ear", model.ear, "step")
    watch("eye", model.eye, "step")
    watch("decoder", model.decoder, "step", "steps")
    for seat in made:
        listener = seat.listener
        watch("recogniser", listener._recogniser, "feed", "partial", "end", "reset")
        watch("stop word", listener._stop, "feed")
        watch("search", listener._search, "feed", "best")
        watch("echo gate", seat.session.hearing.echo, "feed")
        watch("what changed", getattr(seat.session.seeing.looking, "_keyframes", None), "feed")
    try:
        yield
    finally:
        for thing, name in undo:
            delattr(thing, name)


def seeing(model: Nano, seed: int = 0) -> Nano:
    """The model, or the same one with an eye of the shipped size and an input for it that were never trained."""
    if model.sees:
        return model
    torch.manual_seed(seed)
    decoder = model.decoder
    if decoder.projector is None:
        decoder = Decoder(replace(decoder.config, sight_width=WIDTH))
        decoder.load_state_dict(model.decoder.state_dict(), strict=False)
    return Nano(model.ear, decoder, model.vad, model.pieces, model.fingerprint, model.eye or Eye(EyeConfig()))


async def ticks_ms(
    model: Nano,
    count: int,
    ticks: int,
    speech: Samples,
    reply: Samples,
    warm_up: int = 25,
    clip: Sequence[Pixels] = (),
) -> tuple[list[float], dict[str, float], float]:
    """(CPU ms of each tick of `count` sessions together, ms a tick by part, share of lanes that are replied to)."""
    spent: dict[str, float] = {}
    async with seats(load_agent("voice"), model, count, SessionConfig(voice=True), slots=SessionConfig().slots) as made:
        people = [Person(seat, n % 4, speech, reply, n * 7 * TICK_SAMPLES, clip) for n, seat in enumerate(made)]
        measured: list[float] = []
        for _ in range(warm_up):
            await asyncio.gather(*(person.tick() for person in people))
        before = sum(person.replying for person in people)
        with costs(model, made, spent):
            for _ in range(ticks):
                begin = time.process_time()
                await asyncio.gather(*(person.tick() for person in people))
                measured.append((time.process_time() - begin) * 1000)
        replying = (sum(person.replying for person in people) - before) / (ticks * count)
    whole = sum(measured) / ticks
    parts = {part: round(seconds * 1000 / ticks, 2) for part, seconds in spent.items()}
    return measured, {**parts, "rest": round(whole - sum(parts.values()), 2), "all": round(whole, 2)}, replying


def p95(values: Sequence[float]) -> float:
    return ranked(values, 0.95)


async def _all(model: Nano, first: int, most: int, ticks: int, seed: int) -> dict[str, Any]:
    speech, reply = sounds(seed)
    clip = talking(PICTURE_PX, CLIP_FRAMES, seed)
    trained = model.sees
    model = seeing(model)
    tried: dict[str, Any] = {}
    found = Most(first, most)
    while (count := found.next) is not None:
        measured, parts, replying = await ticks_ms(model, count, ticks, speech, reply, clip=clip)
        tried[str(count)] = {
            "p95_ms": round(p95(measured), 1), "p50_ms": round(sorted(measured)[len(measured) // 2], 1),
            "replied_to": round(replying, 2), "ms_a_tick": parts,
        }  # fmt: skip
        found.tell(count, p95(measured) <= TICK_MS)
    held = found.held
    measured, parts, _ = await ticks_ms(model, max(1, held), ticks, speech, reply)
    blind = {"sessions": max(1, held), "p95_ms": round(p95(measured), 1), "ms_a_tick": parts}
    detail = {"weights": model.fingerprint, "eye_trained": trained, "tried": tried, "without_cameras": blind}
    return {"sessions_per_core": held, "detail": detail}


def run(
    weights: str | Path | None = None, first: int = 4, most: int = 32, ticks: int = 150, seed: int = 31
) -> dict[str, Any]:
    """The figure; some two minutes. `weights`: another folder than the shipped one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return asyncio.run(_all(Nano.load(weights), first, most, ticks, seed))
    finally:
        torch.set_num_threads(threads)
