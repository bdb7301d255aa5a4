"""What it saves not to compute: in stretches in which nobody speaks, nothing is seen or there is only text, and by
leaving cells of pictures out of the cache.

`saved_…` is 1 - ours ÷ always on, in CPU time on one thread, both in the same run, tick by tick in turns. Ours is the
shipped session. Always on is the same session whose ear and VAD listen to every frame of silence and whose eye encodes
every picture whole, 5 a second.

    saved_text_only     no microphone (noughts), a grey picture, somebody types now and then        report (20–40 %)
    saved_silent        a quiet room, a still scene with a sensor's noise, nobody speaks              report (20–30 %)
    saved_blind         somebody speaks command after command; the camera's lid is closed                       report
    prune_N             questions about drawn scenes answered right, with the N % of a picture's 16 cells left out that
                        are likeliest to be empty; N = 0, 10, 30, 50                                            report
    prune_N_saved       1 - the decoder's CPU time for these turns ÷ that with every cell                       report
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveagent.audio import TICK_NS, TICK_SAMPLES, Samples
from liveagent.bench import looked
from liveagent.bench.eye import FRAME_NS, static
from liveagent.bench.seats import Seat, seats
from liveagent.bench.sessions import seeing, sounds
from liveagent.keyframe import Change, Keyframes
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.runtime.looking import Looking
from liveagent.runtime.session import SessionConfig
from liveagent.sight import CELLS, COUNT, PICTURE_PX, Sight
from liveagent.video import Pixels

SHARES = (0, 10, 30, 50)
KINDS = ("colour", "shape", "count", "where", "exists")
WARM_TICKS = 50  # until ears and VAD sleep
TYPED = ("what can you do", "tell me a joke", "turn on the kitchen light")


class Always(Keyframes):
    """A detector that calls every picture new."""

    def feed(self, pixels: Pixels, t_ns: int) -> Change:
        self.reset()
        return super().feed(pixels, t_ns)


class Stretch:
    """One way to spend the time: what the microphone and the camera give, tick by tick, and what is typed."""

    def __init__(self, name: str, sound: Samples, clip: Sequence[Pixels], typed_every: int = 0) -> None:
        self.name, self.sound, self.clip, self.typed_every = name, sound, clip, typed_every

    async def tick(self, seat: Seat) -> float:
        """CPU seconds of one tick."""
        index = seat.index
        before, here = (index - 1) * TICK_NS // FRAME_NS, index * TICK_NS // FRAME_NS
        if before != here:
            seat.show(self.clip[here % len(self.clip)])
        if self.typed_every and index % self.typed_every == 0:
            seat.write(TYPED[index // self.typed_every % len(TYPED)])
        at = np.arange(index * TICK_SAMPLES, (index + 1) * TICK_SAMPLES)
        sound = np.take(self.sound, at, mode="wrap")
        begin = time.process_time()
        await seat.tick(sound)
        spent = time.process_time() - begin
        seat.log.clear()
        return spent


def stretches(seed: int) -> list[Stretch]:
    speech, _ = sounds(seed)
    grey, dark = (np.full((PICTURE_PX, PICTURE_PX, 3), value, np.uint8) for value in (128, 0))
    room = np.random.default_rng(seed).standard_normal(TICK_SAMPLES * 50).astype(np.float32) * np.float32(8e-4)
    return [
        Stretch("text_only", np.zeros(TICK_SAMPLES, np.float32), [grey], 40),
        Stretch("silent", room, static(PICTURE_PX, 20, seed)),
        Stretch("blind", speech, [dark]),
    ]


async def saved(model: Nano, stretch: Stretch, ticks: int) -> dict[str, float]:
    agent, config = load_agent("voice"), SessionConfig(voice=False)
    slots = config.slots
    floor = 0.0 if stretch.name == "text_only" else 1.0
    async with (
        seats(agent, model, 1, config, slots=slots) as one,
        seats(agent, model, 1, config, slots=slots, sleeps=False) as other,
    ):
        ours, always = one[0], other[0]
        assert always.session.seeing.looking is not None
        always.session.seeing.looking._keyframes = Always()
        for seat in (ours, always):
            seat.room *= floor
        spent = np.zeros(2)
        for tick in range(WARM_TICKS + ticks):
            pair = [await stretch.tick(seat) for seat in ((ours, always) if tick % 2 else (always, ours))]
            if tick >= WARM_TICKS:
                spent += pair if tick % 2 else pair[::-1]
    ours_ms, always_ms = spent * 1e3 / ticks
    return {"saved": 1 - ours_ms / always_ms, "ours_ms": ours_ms, "always_ms": always_ms}


@contextmanager
def pruned(share: int) -> Iterator[None]:
    """Sessions leave so many of 100 cells out, the emptiest first."""

    def cells(self: Looking, sight: Sight) -> list[int]:
        keep = CELLS - round(CELLS * share / 100)
        emptiest_last = np.argsort(sight[:, COUNT][:, 0], kind="stable")
        return sorted(int(cell) for cell in emptiest_last[:keep])

    real = Looking.cells
    Looking.cells = cells  # type: ignore[method-assign]
    try:
        yield
    finally:
        Looking.cells = real  # type: ignore[method-assign]


async def answers(model: Nano, share: int, each: int, seed: int) -> tuple[float, float]:
    """(how many are right, CPU seconds of the decoder)."""
    asked = [one for kind in KINDS for one in looked.questions(kind, each, seed)]
    spent, step = 0.0, model.decoder.step

    def timed(*args: Any) -> Any:
        nonlocal spent
        begin = time.process_time()
        try:
            return step(*args)
        finally:
            spent += time.process_time() - begin

    async with looked.watchers(model, load_agent("voice")) as made:
        model.decoder.step = timed  # type: ignore[method-assign, assignment]
        try:
            with pruned(share):
                replies = await looked.measure(made, asked)
        finally:
            del model.decoder.step
    return looked.exact(asked, replies), spent


async def _all(model: Nano, ticks: int, each: int, seed: int) -> dict[str, Any]:
    trained = model.sees
    model = seeing(model)
    result: dict[str, Any] = {}
    detail: dict[str, Any] = {"weights": model.fingerprint, "eye_trained": trained, "questions": each * len(KINDS)}
    for stretch in stretches(seed):
        found = await saved(model, stretch, ticks)
        result[f"saved_{stretch.name}"] = round(found.pop("saved"), 3)
        detail[stretch.name] = {key: round(value, 2) for key, value in found.items()}
    whole_s = 0.0
    for share in SHARES:
        right, spent_s = await answers(model, share, each, seed)
        whole_s = whole_s or spent_s
        result[f"prune_{share}"] = right
        result[f"prune_{share}_saved"] = round(1 - spent_s / whole_s, 3)
    return {**result, "detail": detail}


def run(weights: str | Path | None = None, ticks: int = 250, each: int = 60, seed: int = 41) -> dict[str, Any]:
    """The figures; some minutes. `weights`: another folder than the shipped one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return asyncio.run(_all(Nano.load(weights), ticks, each, seed))
    finally:
        torch.set_num_threads(threads)
