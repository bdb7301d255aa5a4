"""The toy table: a drawn scene of simple things, which nano's eye has learnt; pure numpy, seeded.

`draw` gives pixels, `paint` the same before rounding, with what can be seen of each thing. Shapes are signed distances,
so edges are smooth at every size. `ToyTable` is a table that moves by itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from liveagent.shapes import AREA, FORMS, Field
from liveagent.sight import COLOURS, SHAPES, Sight, of_things
from liveagent.video import Pixels

RGB = np.array(
    [
        (0.85, 0.12, 0.12),
        (0.14, 0.60, 0.20),
        (0.12, 0.30, 0.86),
        (0.96, 0.86, 0.12),
        (0.98, 0.50, 0.07),
        (0.52, 0.18, 0.70),
        (0.07, 0.07, 0.08),
        (0.95, 0.95, 0.95),
    ],
    np.float32,
)
"""Each of COLOURS in plain light."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing on the table. `colour`, `shape`: places in COLOURS and SHAPES; `x`, `y`: its centre from 0 to 1 across
    the picture, from the top left; `size`: its height as a share of the picture's. `turn` in radians; `tint` is added
    to its colour; `mirrored` has a cup's handle on the left."""

    colour: int
    shape: int
    x: float
    y: float
    size: float = 0.22
    turn: float = 0.0
    mirrored: bool = False
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def name(self) -> str:
        """For people: "red ball"."""
        return f"{COLOURS[self.colour]} {SHAPES[self.shape]}"


@dataclass(frozen=True, slots=True)
class Surface:
    """What the things lie on. `tone`: its colour; `grain`: how strong its pattern is; `wood`: boards, else plain with a
    mottle; `upright`: the grain runs down instead of across; `boards`: how many; `seed` of the pattern."""

    tone: tuple[float, float, float] = (0.62, 0.50, 0.38)
    grain: float = 0.05
    wood: bool = True
    upright: bool = False
    boards: int = 4
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Table:
    """A scene: things from the rearmost to the foremost, on a surface."""

    things: tuple[Thing, ...] = ()
    surface: Surface = Surface()

    def sight(self) -> Sight:
        """What a perfect eye would say of it."""
        return of_things((t.colour, t.shape, t.x, t.y) for t in self.things)


@dataclass(frozen=True, slots=True, eq=False)
class Painted:
    """`light` `[px, px, 3]` from 0 to 1; `owner` `[px, px]` int8: which thing shows there, -1 none; `shown`: the
    share of each thing that is not hidden by others or cut off by the edge."""

    light: Field
    owner: NDArray[np.int8]
    shown: tuple[float, ...]


def draw(table: Table, size_px: int = 128) -> Pixels:
    """The table as a square picture, `[size_px, size_px, 3]` uint8."""
    light = paint(table, size_px).light
    return np.asarray(np.clip(light * 255 + 0.5, 0, 255), np.uint8)


def paint(table: Table, size_px: int = 128) -> Painted:
    """The same in light from 0 to 1, and which thing shows where."""
    light = _surface(table.surface, size_px).copy()
    owner = np.full((size_px, size_px), -1, np.int8)
    whole = [_put(light, owner, i, thing, size_px) for i, thing in enumerate(table.things)]
    left = np.bincount(owner.ravel() + 1, minlength=len(whole) + 1)[1:]
    return Painted(light, owner, tuple(min(1.0, float(n / max(1.0, w))) for n, w in zip(left, whole, strict=True)))


@lru_cache(maxsize=32)
def _lerp(px: int, knots: int) -> Field:
    """`[px, knots]` weights that carry knots, evenly spread, to pixels in straight lines."""
    place = np.linspace(0, knots - 1, px)
    return np.asarray(np.maximum(0, 1 - np.abs(place[:, None] - np.arange(knots))), np.float32)


@lru_cache(maxsize=8)
def _surface(surface: Surface, px: int) -> Field:
    rng = np.random.default_rng(surface.seed)
    mottle = _lerp(px, 5) @ rng.standard_normal((5, 5), np.float32) @ _lerp(px, 5).T
    if surface.wood:
        streaks = _lerp(px, 49) @ rng.standard_normal((49, 5), np.float32) @ _lerp(px, 5).T
        board = np.arange(px) * surface.boards // px
        pattern = 0.6 * streaks + 0.4 * mottle + rng.standard_normal(surface.boards, np.float32)[board, None]
        pattern[1:][board[1:] != board[:-1]] -= 3.0
        pattern = pattern.T if surface.upright else pattern
    else:
        fine = _lerp(px, 33) @ rng.standard_normal((33, 33), np.float32) @ _lerp(px, 33).T
        pattern = 0.6 * mottle + 0.5 * fine
    tone = np.array(surface.tone, np.float32)
    return np.asarray(tone * (1 + surface.grain * pattern)[:, :, None], np.float32)


def _put(light: Field, owner: NDArray[np.int8], index: int, thing: Thing, px: int) -> float:
    """Draw one thing with its shadow into `light` and `owner`; its area in px, uncut."""
    r = max(2.0, thing.size * px / 2)
    cx, cy = thing.x * px, thing.y * px
    x0, x1 = max(0, int(cx - 1.45 * r)), min(px, int(cx + 1.45 * r) + 2)
    y0, y1 = max(0, int(cy - 1.45 * r)), min(px, int(cy + 1.45 * r) + 2)
    if x0 >= x1 or y0 >= y1:
        return 1.0
    x = ((np.arange(x0, x1, dtype=np.float32) + 0.5 - cx) / r)[None, :]
    y = ((np.arange(y0, y1, dtype=np.float32) + 0.5 - cy) / r)[:, None]
    here = light[y0:y1, x0:x1]
    shade = np.clip(1.25 - np.sqrt((x - 0.14) ** 2 + ((y - 0.25) * 1.1) ** 2), 0, 0.45)
    here *= (1 - shade)[:, :, None]
    c, s = np.float32(np.cos(thing.turn)), np.float32(np.sin(thing.turn))
    u, v = c * x + s * y, c * y - s * x
    distance, glow, gloss = FORMS[thing.shape](-u if thing.mirrored else u, v, r)
    cover = np.clip(0.5 - distance * r, 0, 1)
    base = np.clip(RGB[thing.colour] + np.array(thing.tint, np.float32), 0.02, 1)
    paint = base * glow[:, :, None] + (0.1 * np.maximum(glow - 0.6, 0) + gloss)[:, :, None]
    here += (np.clip(paint, 0, 1) - here) * cover[:, :, None]
    owner[y0:y1, x0:x1][cover > 0.5] = index
    return AREA[thing.shape] * r * r


SLIDE_TICKS = 13
"""How long a thing slides: about a second."""
EDGE = 0.12
"""Nothing is put nearer to the picture's edge than this."""


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened by itself: `what` is "appear", "leave" or "move"; a move begins at `tick`."""

    tick: int
    what: str
    colour: int
    shape: int


@dataclass(frozen=True, slots=True)
class _Slide:
    x: float
    y: float
    to_x: float
    to_y: float
    begin: int

    def at(self, tick: int) -> tuple[float, float]:
        share = min(1.0, max(0.0, (tick - self.begin) / SLIDE_TICKS))
        share = share * share * (3 - 2 * share)
        return self.x + (self.to_x - self.x) * share, self.y + (self.to_y - self.y) * share


class ToyTable:
    """A table on which things appear, leave and slide by themselves, seconds apart. The same seed, and the same hands
    at the same ticks, give the same scenes. No two things are alike, and none hides another wholly.

    `moving`: whether it moves by itself; `changes`: what happened so far, for whoever checks what was noticed."""

    def __init__(
        self, seed: int, things: int = 3, most: int = 5, pause_ticks: tuple[int, int] = (25, 75), moving: bool = True
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self.most, self.pause_ticks, self.moving = most, pause_ticks, moving
        self.changes: list[Change] = []
        self.tick = 0
        self._surface = Surface(seed=seed & 0xFFFF)
        self._things: list[Thing] = []
        self._slides: list[_Slide] = []
        for _ in range(things):
            self._appear()
        self.changes.clear()
        self._due = self._pause()

    @property
    def table(self) -> Table:
        """The scene as it stands."""
        return Table(tuple(self._things), self._surface)

    def step(self, tick: int) -> Table:
        """The scene at a tick, no earlier than the one before."""
        if tick < self.tick:
            raise ValueError(f"the table is at tick {self.tick} and cannot go back to {tick}")
        while self.tick < tick:
            self.tick += 1
            for i, slide in enumerate(self._slides):
                x, y = slide.at(self.tick)
                self._things[i] = replace(self._things[i], x=x, y=y)
            if self.moving and self.tick >= self._due:
                self._happen()
                self._due = self.tick + self._pause()
        return self.table

    def at(self, x: float, y: float) -> int | None:
        """Which thing, by its place in `table.things`, lies at a point; the foremost."""
        near = [i for i, t in enumerate(self._things) if (t.x - x) ** 2 + (t.y - y) ** 2 <= (t.size / 2) ** 2]
        return near[-1] if near else None

    def drag(self, thing: int, x: float, y: float) -> None:
        """Move a thing at once, as near to (x, y) as the others leave it in sight."""
        self._need(thing)
        for _ in range(4):
            x, y = (min(1 - EDGE, max(EDGE, float(p))) for p in (x, y))
            for i, other in enumerate(self._things):
                dx, dy = x - other.x, y - other.y
                away, least = float(np.hypot(dx, dy)), 0.6 * other.size
                if i != thing and away < least:
                    dx, dy = (dx / away, dy / away) if away > 1e-6 else (1.0, 0.0)
                    x, y = other.x + dx * least, other.y + dy * least
        x, y = (min(1 - EDGE, max(EDGE, p)) for p in (x, y))
        self._things[thing] = replace(self._things[thing], x=x, y=y)
        self._slides[thing] = _Slide(x, y, x, y, self.tick)

    def put(self, colour: int, shape: int, x: float = 0.5, y: float = 0.5) -> int:
        """Put a thing down near (x, y); its place in `table.things`. ValueError when it lies there already."""
        if any((t.colour, t.shape) == (colour, shape) for t in self._things):
            raise ValueError(f"a {COLOURS[colour]} {SHAPES[shape]} is on the table already")
        self._things.append(Thing(colour, shape, x, y))
        self._slides.append(_Slide(x, y, x, y, self.tick))
        self.drag(len(self._things) - 1, x, y)
        self.changes.append(Change(self.tick, "appear", colour, shape))
        return len(self._things) - 1

    def take(self, thing: int) -> None:
        """Take a thing away; those after it move up one place."""
        self._need(thing)
        gone = self._things.pop(thing)
        del self._slides[thing]
        self.changes.append(Change(self.tick, "leave", gone.colour, gone.shape))

    def _need(self, thing: int) -> None:
        if not 0 <= thing < len(self._things):
            raise ValueError(f"there are {len(self._things)} things on the table, and no number {thing}")

    def _pause(self) -> int:
        return int(self._rng.integers(self.pause_ticks[0], self.pause_ticks[1] + 1))

    def _happen(self) -> None:
        chance = float(self._rng.random())
        if len(self._things) < 2 or (chance < 0.3 and len(self._things) < self.most):
            self._appear()
        elif chance < 0.55:
            self.take(int(self._rng.integers(len(self._things))))
        else:
            self._move(int(self._rng.integers(len(self._things))))

    def _appear(self) -> None:
        there = {(t.colour, t.shape) for t in self._things}
        free = [(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES)) if (c, s) not in there]
        spot = self._spot(len(self._things), None)
        if free and spot is not None:
            self.put(*free[int(self._rng.integers(len(free)))], *spot)

    def _move(self, thing: int) -> None:
        t = self._things[thing]
        spot = self._spot(thing, (t.x, t.y))
        if spot is not None:
            self._slides[thing] = _Slide(t.x, t.y, *spot, self.tick)
            self.changes.append(Change(self.tick, "move", t.colour, t.shape))

    def _spot(self, thing: int, start: tuple[float, float] | None) -> tuple[float, float] | None:
        """A free place for a thing, which it can reach from `start` without hiding another on its way."""
        others = [(s.to_x, s.to_y) for i, s in enumerate(self._slides) if i != thing]
        for _ in range(40):
            x, y = (float(p) for p in self._rng.uniform(EDGE, 1 - EDGE, 2))
            path = [(x, y)]
            if start is not None:
                if np.hypot(x - start[0], y - start[1]) < 0.25:
                    continue  # too near to be called a move
                steps = np.linspace(0, 1, 9)
                path += [
                    (float(start[0] + k * (x - start[0])), float(start[1] + k * (y - start[1]))) for k in steps[1:]
                ]
            if all(np.hypot(px - ox, py - oy) > 0.16 for px, py in path for ox, oy in others) and all(
                np.hypot(x - ox, y - oy) > 0.26 for ox, oy in others
            ):
                return x, y
        return None
