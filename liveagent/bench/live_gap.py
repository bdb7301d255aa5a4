"""A turn ends: how long until the first token, against `transformers` with the conversation before it in its cache?

60 s of sound and video, a picture a second, lie behind: both caches hold them, on the same weights, in bfloat16, with
keys and values that are drawn instead of computed. Then somebody speaks for 4 s before a camera.

Theirs is what a careful user of `transformers` builds, and the best that its own interface offers: its dynamic cache
holds the history, and when the turn is over its sound and a picture go through its processors, its encoders and one
prefill, of which the output layer and the layers that share keys see the last row only. Nothing there encodes sound or
reads it into the cache while it comes in: its ear takes whole clips, and who grows the cache piece by piece around it
has built a runtime, which is what this project is. So that is not the rival.

Ours is the engine's core as a session drives it: every 80 ms of sound goes through the VAD and nano's ear, then through
the model's own ear and into the cache. A picture in the middle of the turn goes through the changed-patch eye, from the
one before it; the newest is read behind the sound, when that is over. Sound comes at its own pace: the
clock moves by what the work took and waits for the microphone when that was quick, and work that was slow finds more
sound waiting, of which a step takes up to 640 ms. What is left when the last sample is there, the marks that close the
turn and the first token's logits are `ours_ms`. Both read the same tokens in the same order. What decides that the turn
is over is on neither side, and no recogniser or turn logic is in the load.

    live_gap              ours over theirs, from the last sample to the first token; medians, in turns          report
    ours_ms, theirs_ms    both, in wall time, with as many threads as torch takes here                          report
    load_while_speaking   our work on the turn's sound and picture over the turn's length; from 1.0 on this machine
                          does not keep up, and what it is behind by is part of `ours_ms`                       report

`detail.video` has the same with a camera that shows another picture each second: ours looks at each as it comes, theirs
at the newest alone. `detail.theirs_parts_ms` has what their time went into, `detail.left_over_ms` how far ours was
behind at the last sample. Weights are random, honest for speed; how much of a picture has changed is the eye bench's
talking head. Without 20 GB of memory it is done at 0.3 B (`detail.size`); `python -m liveagent.bench.live_gap --size
tiny`: any size.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveagent.audio import RATE_HZ, TICK_SAMPLES, Samples
from liveagent.bench.beside import sound
from liveagent.bench.eye import talking
from liveagent.bench.proportions import SIZES
from liveagent.bench.sides import HERE, Sides
from liveagent.errors import DeviceError
from liveagent.keyframe import Keyframes
from liveagent.memory import free_memory
from liveagent.runtime.own_ear import OwnEar
from liveagent.runtime.work import Append, Encode, Encoded, Listen, Look, Seen, Sights, Sounds
from liveagent.video import Pixels

TICK_S = TICK_SAMPLES / RATE_HZ
TICKS = 50
"""Of the turn."""
SOUND_ROWS, PICTURE_ROWS = 25, 71
"""A second of sound; a picture with its marks, a turn of its own."""
NEEDS_BYTES = {"e2b": 20e9, "0.3b": 4e9}
OPENS, USER_CLOSES, AGENT_OPENS = (5, 6, 7), (8, 7), (5, 9, 7)
"""As many tokens as in Gemma's template: `<|turn>user` and a line's end, `<turn|>` and one, `<|turn>model` and one."""
AROUND = (7,)
"""As before and behind a picture within a turn: an empty line."""
PX = 384


@dataclass(frozen=True)
class Turn:
    """What somebody says and shows: `sound` of whole ticks, `pictures` by the tick that they come with, and the picture
    `before` them."""

    sound: Samples
    pictures: Mapping[int, Pixels]
    before: Pixels

    @property
    def ticks(self) -> int:
        return len(self.sound) // TICK_SAMPLES


@dataclass
class Clock:
    """Seconds since the turn began: what is worked on moves it, and the microphone is waited for."""

    now_s: float = 0.0
    busy_s: float = 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.work(time.perf_counter() - began)

    def work(self, took_s: float) -> None:
        self.now_s += took_s
        self.busy_s += took_s

    def wait(self, until_s: float) -> None:
        self.now_s = max(self.now_s, until_s)


@dataclass
class Answer:
    """What came of a turn. `ids`: what was read, in order; where rows of sound or pictures stand, the mark that holds
    their place. `left_s`: of `gap_s`, what was still behind when the last sample was there; `load`: see the module."""

    logits: Tensor
    gap_s: float
    load: float = 0.0
    left_s: float = 0.0
    ids: list[int] = field(default_factory=list)
    parts_s: dict[str, float] = field(default_factory=dict)


class Reader:
    """A turn on its way into our cache, as it comes, by the steps of a session's `SoundTurn` and `RowLooking`."""

    def __init__(self, both: Sides, turn: Turn) -> None:
        self.core, self.marks, self.ids = both.core, both.marks, list[int]()
        self._begun = False
        self._seen: np.ndarray | None = None  # what the eye makes of the newest picture
        self._keyframes = Keyframes(refresh_s=0)
        self.see(turn.before, 0)
        self._seen = None

    def see(self, pixels: Pixels, t_ns: int) -> None:
        """A picture is looked at as it comes, and read when the sound is over."""
        change = self._keyframes.feed(pixels, t_ns)
        seen = self.core.run(HERE, Look(pixels, None if change.full else change.patches))
        assert isinstance(seen, Seen)
        self._seen = seen.sight

    def _append(self, ids: Sequence[int], **senses: Any) -> None:
        self.core.run(HERE, Append(tuple(ids), **senses))
        self.ids += ids

    def listen(self, samples: Samples) -> None:
        """What every session does with a tick."""
        self.core.run(HERE, Listen(samples))

    def hear(self, samples: Samples, begins: bool) -> None:
        encoded = self.core.run(HERE, Encode(samples, begins))
        assert isinstance(encoded, Encoded)
        if len(encoded.rows):
            opens = [] if self._begun else [*OPENS, self.marks["boa_token_id"]]
            self._begun = True
            ids = [*opens, *[self.marks["audio_token_id"]] * len(encoded.rows)]
            self._append(ids, sounds=Sounds(encoded.rows))

    def close(self) -> Tensor:
        """The newest picture, the marks that close the turn and open the agent's; the logits behind them."""
        marks, rows = self.marks, self._seen
        self._append([marks["eoa_token_index"]])
        closes = [*USER_CLOSES, *AGENT_OPENS]
        if rows is not None:
            ids = [*AROUND, marks["boi_token_id"], *[marks["image_token_id"]] * len(rows)]
            self._append(ids, sights=Sights(rows, np.arange(len(rows))))
            closes = [marks["eoi_token_id"], *AROUND, *closes]
        self._append(closes)
        logits = self.core._lane[HERE].logits
        assert logits is not None
        return logits


def ours(both: Sides, turn: Turn, clock: Clock | None = None) -> Answer:
    """The turn as it comes; see the module."""
    clock, ear, reader = clock or Clock(), OwnEar(), Reader(both, turn)
    ear.begin([])
    pictures = sorted(turn.pictures.items(), reverse=True)
    heard, whole_s = 0, turn.ticks * TICK_S
    while True:
        come = min(turn.ticks, int(clock.now_s / TICK_S + 1e-9))
        for tick in range(heard, come):
            samples = turn.sound[tick * TICK_SAMPLES : (tick + 1) * TICK_SAMPLES]
            ear.feed(samples, False)
            with clock.working():
                reader.listen(samples)
        heard = come
        piece = ear.next()
        if pictures and pictures[-1][0] < heard:
            tick, pixels = pictures.pop()
            with clock.working():
                if piece is not None:
                    reader.hear(*piece)
                reader.see(pixels, round((1 + tick * TICK_S) * 1e9))
        elif piece is not None:
            with clock.working():
                reader.hear(*piece)
        elif heard < turn.ticks:
            clock.wait((heard + 1) * TICK_S)
        else:
            break
    left_s, load = clock.now_s - whole_s, clock.busy_s / whole_s
    with clock.working():
        logits = reader.close()
        int(logits.argmax())
    return Answer(logits, clock.now_s - whole_s, load, left_s, reader.ids)


@torch.inference_mode()
def theirs(both: Sides, turn: Turn, ids: list[int]) -> Answer:
    """All of the turn at its end: `ids` as ours read them."""
    parts, began = dict[str, float](), time.perf_counter()
    dtype = both.core.model.decoder.embedding.dtype
    padded = torch.nn.functional.pad(torch.from_numpy(turn.sound), (0, 1)).numpy()  # or its last frame is dropped
    heard = both.extract([padded], return_tensors="pt", sampling_rate=RATE_HZ)
    seen = both.process(list(turn.pictures.values())[-1:], return_tensors="pt")
    parts["processors"] = time.perf_counter() - began
    given = {
        "input_features": heard["input_features"].to(dtype),
        "input_features_mask": heard["input_features_mask"],
        "pixel_values": seen["pixel_values"].to(dtype),
        "image_position_ids": seen["image_position_ids"],
    }
    hooks, model = list[Any](), both.rival.model.model
    for name, part in (("ear", model.audio_tower), ("eye", model.vision_tower), ("decoder", model.language_model)):
        hooks += _timed(name, part, parts)
    try:
        found = both.rival.model(
            input_ids=torch.tensor([ids]), cache=both.rival.cache, use_cache=True, logits_to_keep=1, **given
        )
        logits = found.logits[0, -1]
        int(logits.argmax())
        took = time.perf_counter() - began
    finally:
        for hook in hooks:
            hook.remove()
    return Answer(logits, took, parts_s=parts)


def _timed(name: str, part: torch.nn.Module, spent: dict[str, float]) -> tuple[Any, Any]:
    """Let `spent[name]` be the seconds of the part's next call."""

    def begins(*_: Any) -> None:
        spent[name] = -time.perf_counter()

    def ends(*_: Any) -> None:
        spent[name] += time.perf_counter()

    return part.register_forward_pre_hook(begins), part.register_forward_hook(ends)


def turn_of(pictures: int, ticks: int = TICKS, seed: int = 3) -> Turn:
    """So many ticks of sound, and pictures in the middle of as many equal parts of it."""
    clip = talking(PX, pictures + 1, seed)
    shown = {round((at + 0.5) * ticks / pictures): clip[at + 1] for at in range(pictures)}
    return Turn(sound(1, ticks, TICK_SAMPLES, seed)[0].numpy(), shown, clip[0])


def compared(both: Sides, turn: Turn, rounds: int) -> tuple[dict[str, float], dict[str, Any]]:
    """The figures of a turn, and their detail: medians of rounds, after one that does not count."""
    mine, other = list[Answer](), list[Answer]()
    for _ in range(rounds + 1):
        both.begin()
        mine.append(ours(both, turn))
        other.append(theirs(both, turn, mine[-1].ids))
    del mine[0], other[0]
    ours_s, theirs_s = (statistics.median(each.gap_s for each in side) for side in (mine, other))
    figures = {
        "live_gap": round(ours_s / theirs_s, 3),
        "ours_ms": round(1000 * ours_s, 1),
        "theirs_ms": round(1000 * theirs_s, 1),
        "load_while_speaking": round(statistics.median(each.load for each in mine), 3),
    }
    detail = {
        "turn_tokens": len(mine[-1].ids),
        "left_over_ms": round(1000 * statistics.median(each.left_s for each in mine), 1),
        "theirs_parts_ms": {
            name: round(1000 * statistics.median(each.parts_s[name] for each in other), 1) for name in other[0].parts_s
        },
    }
    return figures, detail


def largest() -> str:
    """The size for which there is memory here."""
    free = free_memory()
    return next(size for size in SIZES if free is None or free >= NEEDS_BYTES.get(size, 0.0))


def run(size: str | None = None, rounds: int = 3, seconds: int = 60, ticks: int = TICKS) -> dict[str, Any]:
    """The figures; some three minutes. size: of `SIZES`; None: the largest that fits. DeviceError: it does not fit."""
    size, free = size or largest(), free_memory()
    needs = NEEDS_BYTES.get(size, 0.0)
    if free is not None and free < needs:
        raise DeviceError(f"{free / 1e9:.0f} GB of memory are free, {size} needs {needs / 1e9:.0f}: take --size 0.3b")
    history = seconds * (SOUND_ROWS + PICTURE_ROWS)
    with torch.inference_mode():
        both = Sides(size, torch.bfloat16, history + 1024)
        both.remember(history)
        figures, detail = compared(both, turn_of(1, ticks), rounds)
        each_second = max(1, ticks * TICK_SAMPLES // RATE_HZ)
        video = compared(both, turn_of(each_second, ticks), max(1, rounds // 2))
    detail = {
        "size": size,
        "machine": _processor(),
        "threads": torch.get_num_threads(),
        "history_tokens": history,
        **detail,
        "video": video[0] | video[1],
    }
    return {**figures, "detail": detail}


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, help="the largest that fits into memory, where none is given")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    print(json.dumps(run(given.size, given.rounds), indent=2))
