"""How many conversations one engine holds on a GPU, each with a live microphone and a camera.

Every lane of the engine's core gets 80 ms of sound every 80 ms, and its tick is what is done with them before it can
take the next ones; how late that is done counts, of every tick of every lane. The clock moves by what the core's rounds
take and waits for the microphones when there is nothing to do, so who falls behind stays behind.

A lane goes round every eight seconds: somebody speaks for four, is then replied to (what closes the turn, and thirty
tokens, as many in a tick as a session decodes), and in the end what was said is taken back, so that each stays at two
thirds of what a session holds. Lanes are spread evenly over that round. Sound goes through the VAD and nano's ear in
every tick, and those do not sleep here. A model of a checkpoint's kind reads, while somebody speaks, what its own ear
makes of the sound, and once a round a picture of which a quarter of the patches has changed, behind the sound.
nano looks at five such pictures a second, keeps one a round and reads a piece every 320 ms. What a session does around
the engine (turns, voices, hands) runs on other processors and is not here: `bench sessions` and `bench load` have it.

    lanes, tick_p99_ms             the most lanes of a random model of E2B's size in bfloat16 whose p99 tick is no
                                   longer than 80 ms, and that tick                                            report
    nano_lanes, nano_tick_p99_ms   the same of nano, in float32                                                report

`detail` has every number of lanes that was tried, with the p99 of ticks in which a lane only listens, looks and reads,
and where memory ended it before time did.
`python -m liveagent.bench.lanes --device cpu --size tiny`: the same on one thread of the processor.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveagent.audio import RATE_HZ, TICK_NS, TICK_SAMPLES, Samples
from liveagent.bench.beside import sound
from liveagent.bench.decode import occupy
from liveagent.bench.eye import FRAME_NS, talking
from liveagent.bench.most import TICK_MS, Most, ranked
from liveagent.bench.proportions import SIZES, random_ear, random_eye, random_stack, running, whole
from liveagent.bench.sessions import seeing
from liveagent.errors import DeviceError
from liveagent.keyframe import Keyframes
from liveagent.nn.nano import Nano
from liveagent.nn.nets import Nets
from liveagent.plan import CACHE_TOKENS, OPEN_TOKENS
from liveagent.runtime.core import Core
from liveagent.runtime.speaking import DECODE_TOKENS_PER_TICK, MORE_TOKENS_PER_TICK
from liveagent.runtime.work import (
    Append,
    Decode,
    Done,
    Encode,
    Encoded,
    Listen,
    Look,
    Reply,
    Rewind,
    Seen,
    Sights,
    Sounds,
    Work,
)
from liveagent.sight import PICTURE_PX
from liveagent.video import Pixels

TICK_S = TICK_MS / 1000
ROUND, SPEAKS = 100, 50
"""Ticks of a round, and those of them in which somebody speaks."""
SEEN_AT = 25
"""When a picture is kept."""
REPLY_TOKENS = (DECODE_TOKENS_PER_TICK, *[MORE_TOKENS_PER_TICK] * 3)
"""Of a reply, in its first ticks."""
CLOSES = (5, 6, 7, 8, 9, 5)
CLIP = 8
OWN_PX = 384


def room(model: Nets) -> tuple[int, int]:
    """How many tokens a lane holds when a round begins, and how many it could hold."""
    slots = CACHE_TOKENS if model.own_ear is None else OPEN_TOKENS
    return slots * 2 // 3, slots


class Guest:
    """What one lane is asked for, tick by tick."""

    def __init__(self, core: Core, lane: int, at: int, speech: Samples, clip: Sequence[Pixels]) -> None:
        """at: in which tick of its round it begins."""
        self.core, self.lane, self.speech, self.clip = core, lane, speech, clip
        self.busy = False
        self.index = self.at = at
        self._history = room(core.model)[0]
        self._own_ear, self._own_eye = core.model.own_ear is not None, core.model.own_eye is not None
        self._keyframes, self._shown = Keyframes(refresh_s=0), 0
        self._seen: np.ndarray | None = None  # what waits to be kept

    @property
    def replies(self) -> bool:
        """Whether its next tick is one of a reply."""
        return 0 <= self.index % ROUND - SPEAKS < len(REPLY_TOKENS)

    def begin(self) -> Generator[Work, Reply, None]:
        """Nobody begins in the middle: something was said and seen before."""
        yield from self._append(CLOSES)
        if self.clip:
            yield from self._see()

    def tick(self) -> Generator[Work, Reply, None]:
        """The work of the next tick; what comes of it is sent in."""
        at = self.index % ROUND
        here = np.arange(self.index * TICK_SAMPLES, (self.index + 1) * TICK_SAMPLES)
        samples = np.take(self.speech, here, mode="wrap")
        yield Listen(samples)
        if self.clip and (
            at == SEEN_AT if self._own_eye else at * TICK_NS // FRAME_NS != (at - 1) * TICK_NS // FRAME_NS
        ):
            sight = yield from self._see()
            if at == SEEN_AT:
                self._seen = sight
        if self._seen is not None and (not self._own_ear or at == SPEAKS):  # behind sound, in front of words
            seen, self._seen = self._seen, None
            yield from self._keep(seen)
        if at < SPEAKS:
            yield from self._hear(samples, at)
        elif at == SPEAKS:
            yield from self._append(CLOSES)
        if 0 <= at - SPEAKS < len(REPLY_TOKENS):
            yield Decode(REPLY_TOKENS[at - SPEAKS], ())
        if at == ROUND - 1:
            yield Rewind(self._history)
        self.index += 1

    def _append(self, ids: Sequence[int], **senses: Any) -> Generator[Work, Reply, None]:
        done = yield Append(tuple(ids), **senses)
        assert isinstance(done, Done)

    def _hear(self, samples: Samples, at: int) -> Generator[Work, Reply, None]:
        if not self._own_ear:
            if at % 4 == 0:
                yield from self._append((7,))
            return
        encoded = yield Encode(samples, self.index == self.at or at == 0)
        assert isinstance(encoded, Encoded)
        if len(encoded.rows):
            yield from self._append([0] * len(encoded.rows), sounds=Sounds(encoded.rows))

    def _see(self) -> Generator[Work, Reply, np.ndarray]:
        pixels = self.clip[self._shown % len(self.clip)]
        change = self._keyframes.feed(pixels, self._shown * FRAME_NS)
        self._shown += 1
        seen = yield Look(pixels, None if change.full else change.patches)
        assert isinstance(seen, Seen)
        return seen.sight

    def _keep(self, sight: np.ndarray) -> Generator[Work, Reply, None]:
        yield from self._append([0] * (len(sight) + 1), sights=Sights(sight, np.arange(len(sight), dtype=np.int64)))


class House:
    """All guests of one engine."""

    def __init__(self, core: Core, guests: Sequence[Guest]) -> None:
        self.core, self.guests = core, guests
        self.done: list[Guest] = []
        self._failed: list[BaseException] = []

    def ask(self, guest: Guest, work: Generator[Work, Reply, None]) -> None:
        """Let a guest ask for this, one after the other; it is in `done` when all has been answered."""
        guest.busy = True
        self._go(guest, work, None)

    def _go(self, guest: Guest, work: Generator[Work, Reply, None], reply: Reply | BaseException | None) -> None:
        if isinstance(reply, BaseException):
            self._failed.append(reply)
            return
        try:
            asked = next(work) if reply is None else work.send(reply)
        except StopIteration:
            guest.busy = False
            self.done.append(guest)
            return
        self.core.submit(guest.lane, asked, lambda said: self._go(guest, work, said))

    def step(self) -> float:
        """One round of the core; the seconds that it took. Raises what went wrong in a lane."""
        began = time.perf_counter()
        self.core.step()
        if self._failed:
            raise self._failed[0]
        return time.perf_counter() - began

    def begin(self) -> None:
        for guest in self.guests:
            self.ask(guest, guest.begin())
        while any(guest.busy for guest in self.guests):
            self.step()
        self.done.clear()

    def live(self, ticks: int) -> tuple[list[float], list[float]]:
        """Seconds by which each tick of each lane is late, those without a reply's tokens, and those with."""
        late: tuple[list[float], list[float]] = [], []
        begun, now_s = dict.fromkeys(self.guests, 0), 0.0
        replying: dict[Guest, bool] = {}
        while True:
            for guest in self.guests:
                if not guest.busy and begun[guest] < ticks and now_s >= (begun[guest] + 1) * TICK_S:
                    begun[guest] += 1
                    replying[guest] = guest.replies
                    self.ask(guest, guest.tick())
            if any(guest.busy for guest in self.guests):
                now_s += self.step()
            elif min(begun.values()) < ticks:
                now_s = (min(begun.values()) + 1) * TICK_S
            else:
                return late
            for guest in self.done:
                late[replying[guest]].append(now_s - begun[guest] * TICK_S)
            self.done.clear()


def ticks_ms(model: Nets, count: int, ticks: int, clip: Sequence[Pixels]) -> tuple[list[float], list[float]]:
    """Milliseconds of each tick of so many lanes together, wherever the model runs: those in which a lane listens,
    looks and reads, and those in which it is replied to."""
    history, slots = room(model)
    core = Core(model, lanes=max(4, count), slots=slots, sleeps=False)
    cache = core._cache
    with torch.inference_mode():
        for lane in range(count):
            occupy(cache, lane, history)
            core._lane[lane].length = history
            for slab in (cache.keys, cache.values):
                slab[lane, :, :, :history].normal_()
            for slab in (cache.near_keys, cache.near_values):
                slab[lane].normal_()
    speech = sound(1, 60, RATE_HZ)[0].numpy()
    house = House(core, [Guest(core, core.open(), lane * ROUND // count, speech, clip) for lane in range(count)])
    house.begin()
    listening, replying = house.live(ticks)
    return [1000 * each for each in listening], [1000 * each for each in replying]


def held(
    model: Nets, first: int, most: int, ticks: int, clip: Sequence[Pixels]
) -> tuple[int, float | None, dict[str, Any]]:
    """The most lanes that fit, their p99 tick (None where not one fits), and all that were tried."""
    found, tried = Most(first, most), dict[str, Any]()
    while (count := found.next) is not None:
        try:
            listening, replying = ticks_ms(model, count, ticks, clip)
        except torch.OutOfMemoryError:
            tried[str(count)] = "more than its memory holds"
            found.tell(count, False)
            continue
        every = [*listening, *replying]
        tried[str(count)] = {
            "p50_ms": round(ranked(every, 0.5), 1),
            "p99_ms": round(ranked(every, 0.99), 1),
            "listening_p99_ms": round(ranked(listening, 0.99), 1),
        }
        found.tell(count, ranked(every, 0.99) <= TICK_MS)
    return found.held, tried[str(found.held)]["p99_ms"] if found.held else None, tried


def random_model(size: str, device: str) -> Nets:
    """One of a checkpoint's kind, with ear and eye."""
    config, dtype = whole(size), torch.bfloat16
    return running(
        random_stack(config["text_config"], dtype), random_ear(config, dtype), random_eye(config, dtype), device
    )


def run(
    size: str = "e2b", device: str = "cuda", first: int = 4, most: int = 512, ticks: int = 200,
    weights: str | Path | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The figures; some minutes. DeviceError: there is no GPU, or no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "no GPU here: python -m liveagent.bench.lanes --device cpu measures the same on the processor"
        )
    threads = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(1)
    try:
        return _measured(size, device, first, most, ticks, weights)
    finally:
        torch.set_num_threads(threads)


def _measured(size: str, device: str, first: int, most: int, ticks: int, weights: str | Path | None) -> dict[str, Any]:
    result: dict[str, Any] = {}
    detail: dict[str, Any] = {"size": size, "device": torch.cuda.get_device_name() if device == "cuda" else device}
    for name, clip in (("", talking(OWN_PX, CLIP)), ("nano_", talking(PICTURE_PX, CLIP))):
        model = seeing(Nano.load(weights)).to(device) if name else random_model(size, device)
        count, p99_ms, tried = held(model, first, most, ticks, clip)
        result |= {f"{name}lanes": count, f"{name}tick_p99_ms": p99_ms}
        detail[f"{name}tried"] = tried
        del model
    return {**result, "detail": detail}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="e2b")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--ticks", type=int, default=200)
    given = parser.parse_args()
    print(json.dumps(run(given.size, given.device, ticks=given.ticks), indent=2))
