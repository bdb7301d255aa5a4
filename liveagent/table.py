"""The toy table: a drawn scene of simple things, which nano's eye has learnt; pure numpy, seeded.

`draw` gives pixels, `paint` the same before rounding, with what can be seen of each thing. Shapes are signed distances
(Quilez, "2D distance functions"), so edges are smooth at every size. `ToyTable` is a table that moves by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from liveagent.sight import COLOURS, SHAPES, Sight, of_things
from liveagent.video import Pixels

Field: TypeAlias = NDArray[np.floating[Any]]
"""`[H, W]` numbers, or `[H, W, 3]` light from 0 to 1."""

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
    distance, glow, gloss = _SHAPES[thing.shape](-u if thing.mirrored else u, v, r)
    cover = np.clip(0.5 - distance * r, 0, 1)
    base = np.clip(RGB[thing.colour] + np.array(thing.tint, np.float32), 0.02, 1)
    paint = base * glow[:, :, None] + (0.1 * np.maximum(glow - 0.6, 0) + gloss)[:, :, None]
    here += (np.clip(paint, 0, 1) - here) * cover[:, :, None]
    owner[y0:y1, x0:x1][cover > 0.5] = index
    return _AREA[thing.shape] * r * r


Drawn: TypeAlias = tuple[Field, Field, Field]
"""Signed distance in radii, light on the surface, gloss on top of it."""


def _ellipse(u: Field, v: Field, wide: float, high: float) -> Field:
    k = np.sqrt((u / wide) ** 2 + (v / high) ** 2)
    slope = np.sqrt((u / wide**2) ** 2 + (v / high**2) ** 2)
    return np.asarray(k * (k - 1) / np.maximum(slope, 1e-3), np.float32)


def _ball(u: Field, v: Field, r: float) -> Drawn:
    d2 = u * u + v * v
    glow = 0.42 + 0.62 * np.sqrt(np.maximum(0, 1 - d2)) - 0.16 * u - 0.22 * v
    return np.sqrt(d2) - 1, glow, np.maximum(0, 0.55 - 6 * ((u + 0.35) ** 2 + (v + 0.4) ** 2))


def _cube(u: Field, v: Field, r: float) -> Drawn:
    a = np.abs(u)
    distance = np.maximum(a, 0.5 * a + 0.866 * np.abs(v)) - 0.92
    top = np.clip(0.5 - (v + 0.577 * a) * r, 0, 1)
    right = np.clip(0.5 + u * r, 0, 1)
    return distance, 1.1 * top + (1 - top) * (0.84 - 0.3 * right), np.zeros_like(distance)


def _cone(u: Field, v: Field, r: float) -> Drawn:
    side = np.maximum((np.abs(u) * 1.72 - (v + 1) * 0.85) / 1.92, v - 0.72)
    distance = np.minimum(side, _ellipse(u, v - 0.72, 0.85, 0.26))
    across = np.clip(u / (0.5 * np.maximum(v + 1, 0) + 0.06), -1, 1)
    return distance, 0.94 - 0.34 * across - 0.2 * across * across, np.maximum(0, 0.18 - (across + 0.4) ** 2)


def _cup(u: Field, v: Field, r: float) -> Drawn:
    b = u + 0.22
    body = np.maximum(np.abs(b) - (0.6 - 0.08 * v), np.abs(v) - 0.7)
    body = np.minimum(body, _ellipse(b, v - 0.7, 0.545, 0.2))
    mouth = _ellipse(b, v + 0.7, 0.655, 0.25)
    handle = np.abs(np.sqrt((u - 0.5) ** 2 + (0.85 * (v - 0.02)) ** 2) - 0.33) - 0.11
    across = np.clip(b / 0.6, -1, 1)
    glow = 0.95 - 0.3 * across - 0.2 * across * across
    rim = np.clip(0.5 - mouth * r, 0, 1)
    hollow = np.clip(0.5 - (mouth + 0.09) * r, 0, 1)
    glow = glow + rim * (1.12 - glow)
    glow = glow + hollow * (0.42 + 0.15 * across - glow)
    return np.minimum(np.minimum(body, mouth), handle), glow, np.zeros_like(glow)


def _star(u: Field, v: Field, r: float) -> Drawn:
    d = np.sqrt(u * u + v * v)
    turn = np.mod(np.arctan2(u, -v) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    a = np.abs(turn)
    ix, iy, tip = 0.46 * np.sin(np.pi / 5), 0.46 * np.cos(np.pi / 5), 1.06
    long = np.hypot(ix, tip - iy)
    distance = (d * np.sin(a) * (tip - iy) + (d * np.cos(a) - tip) * ix) / long
    facet = np.clip(turn * d * r, -0.5, 0.5)
    return np.asarray(distance, np.float32), 0.93 - 0.3 * facet, np.zeros_like(d)


def _ring(u: Field, v: Field, r: float) -> Drawn:
    d = np.sqrt(u * u + v * v)
    t = np.clip((d - 0.7) / 0.29, -1, 1)
    slope = t * (u + 1.2 * v) / np.maximum(d, 0.1)
    glow = 0.5 + 0.5 * np.sqrt(1 - t * t) - 0.18 * slope
    return np.abs(d - 0.7) - 0.29, glow, np.maximum(0, 0.3 - (t + 0.2) ** 2 * 2 - 0.4 * np.hypot(u + 0.5, v + 0.5))


_SHAPES: tuple[Callable[[Field, Field, float], Drawn], ...] = (_ball, _cube, _cone, _cup, _star, _ring)
_AREA = (3.14, 2.93, 1.81, 2.44, 1.43, 2.55)
"""Of each shape, in squared radii."""
