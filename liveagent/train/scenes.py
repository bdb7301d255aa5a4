"""Pictures of the toy table as a camera would give them, with what is on them; a seed in, a scene out, nothing on disk.

The camera turns, zooms and shifts a little; light, white balance and gamma drift; lenses darken at the edge and blur;
sensors have noise. Sometimes things overlap, an arm reaches in, or there is no toy table at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from liveagent.shapes import Field
from liveagent.sight import CELLS, COLOUR, COUNT, GRID, OTHER, PICTURE_PX, PLACE, SHAPE, SHAPES, WIDTH
from liveagent.table import RGB, Surface, Table, Thing, paint
from liveagent.train.others import other
from liveagent.video import Pixels

HELD_OUT = 1 << 40
"""Seeds from here on are never trained on."""
LEAST_SHOWN = 0.3
"""A thing of which less can be seen is not there."""
NO_TABLE = 0.08
"""Share of scenes that show something else."""
SOFT_PX = 2.0
"""A centre nearer than this to a cell's border belongs to both cells in part."""

TONES = (
    (0.62, 0.50, 0.38),
    (0.50, 0.38, 0.28),
    (0.70, 0.60, 0.48),
    (0.42, 0.33, 0.27),
    (0.60, 0.60, 0.58),
    (0.45, 0.46, 0.48),
    (0.70, 0.69, 0.65),
    (0.52, 0.58, 0.62),
    (0.50, 0.55, 0.48),
    (0.58, 0.50, 0.50),
    (0.36, 0.38, 0.42),
    (0.66, 0.56, 0.44),
)
"""Tables: wood and dull cloth, none as dark as a black thing or as light as a white one."""


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """`pixels` as a camera gave them; `things` that can be seen, where they are in the picture; `other`: no toy table;
    `owner` `[px, px]` int8 which of `things` shows at a pixel, -1 none; `weight` of the label: 0 where nobody could
    say."""

    pixels: Pixels
    things: tuple[Thing, ...]
    other: bool
    owner: NDArray[np.int8]
    weight: float = 1.0


def scene(seed: int) -> Scene:
    """The scene of a seed, 128 x 128 px."""
    rng = np.random.Generator(np.random.SFC64(seed))
    if rng.random() < NO_TABLE:
        return _other(rng)
    return shoot(arrange(rng), rng)


def shows_table(seed: int) -> bool:
    """Whether the scene of a seed shows a table, without drawing it."""
    return np.random.Generator(np.random.SFC64(seed)).random() >= NO_TABLE


def arrange(rng: np.random.Generator, count: int | None = None) -> Table:
    """A table with 0 to 6 things (or `count`), mostly in cells of their own, sometimes beside or before another."""
    if count is None:
        count = int(rng.choice(7, p=(0.08, 0.17, 0.2, 0.2, 0.16, 0.11, 0.08)))
    things: list[Thing] = []
    crowded = rng.random() < 0.35
    for _ in range(count):
        size = float(rng.uniform(22, 34)) / PICTURE_PX
        apart = (0.55 if crowded else 0.95) * size
        for _ in range(30):
            x, y = (float(p) for p in rng.uniform(0.07, 0.93, 2))
            if all(math.hypot(x - t.x, y - t.y) > apart / 2 + 0.475 * t.size for t in things):
                break
        else:
            continue
        colour, shape = int(rng.integers(len(RGB))), int(rng.integers(len(SHAPES)))
        turn = float(rng.normal(0, 0.12))
        things.append(Thing(colour, shape, x, y, size, turn, bool(rng.random() < 0.5), tint(colour, rng)))
    return Table(tuple(things), surface(rng))


def surface(rng: np.random.Generator) -> Surface:
    """A table top of some tone, brightness and pattern."""
    r, g, b = np.clip(
        np.array(TONES[rng.integers(len(TONES))]) * rng.uniform(0.85, 1.12) + rng.normal(0, 0.02, 3), 0, 1
    )
    return Surface(
        (float(r), float(g), float(b)),
        float(rng.uniform(0.0, 0.09)),
        bool(rng.random() < 0.6),
        bool(rng.random() < 0.4),
        int(rng.integers(1, 9)),
        int(rng.integers(1 << 30)),
    )


def tint(colour: int, rng: np.random.Generator) -> tuple[float, float, float]:
    """What makes this thing's red another red, still red to everyone: hue, depth and brightness vary, less for orange,
    which has neighbours on both sides, and for black and white."""
    base = RGB[colour].astype(np.float64)
    if colour >= 6:
        light = rng.uniform(0, 0.07) if colour == 6 else rng.uniform(-0.08, 0.03)
        moved = base + light + rng.normal(0, 0.008, 3)
    else:
        grey = base.mean()
        moved = grey + (base - grey) * rng.uniform(0.82, 1.08)
        moved = moved * rng.uniform(0.82, 1.08) + rng.normal(0, 0.015 if colour == 4 else 0.03, 3)
    r, g, b = moved - base
    return float(r), float(g), float(b)


def shoot(table: Table, rng: np.random.Generator, hard: float = 1.0) -> Scene:
    """A photograph of a table. `hard`: how much the camera spoils, 0 to 1."""
    turn, zoom = rng.normal(0, 0.03) * hard, 1 + rng.uniform(-0.08, 0.08) * hard
    dx, dy = rng.normal(0, 0.012, 2) * hard
    c, s = math.cos(turn) * zoom, math.sin(turn) * zoom
    moved = []
    for t in table.things:
        x, y = t.x - 0.5, t.y - 0.5
        x, y = 0.5 + c * x - s * y + dx, 0.5 + s * x + c * y + dy
        edge = 0.3 * t.size
        moved.append(
            replace(
                t, x=min(1 - edge, max(edge, x)), y=min(1 - edge, max(edge, y)), size=t.size * zoom, turn=t.turn + turn
            )
        )
    painted = paint(replace(table, things=tuple(moved)), PICTURE_PX)
    light, owner, shown = painted.light, painted.owner, painted.shown
    if rng.random() < 0.12 * hard:
        _line(light, owner, rng)
    if rng.random() < 0.12 * hard:
        before = np.bincount(owner.ravel() + 1, minlength=len(moved) + 1)[1:]
        _arm(light, owner, rng)
        after = np.bincount(owner.ravel() + 1, minlength=len(moved) + 1)[1:]
        shown = tuple(float(p * b / max(1, a)) for p, a, b in zip(shown, before, after, strict=True))
    kept = [i for i, part in enumerate(shown) if part >= LEAST_SHOWN]
    names = np.full(len(moved) + 1, -1, np.int8)
    names[np.array(kept, np.int64) + 1] = np.arange(len(kept), dtype=np.int8)
    return Scene(develop(light, rng, hard), tuple(moved[i] for i in kept), False, names[owner + 1])


def develop(light: Field, rng: np.random.Generator, hard: float = 1.0) -> Pixels:
    """What a camera makes of light `[px, px, 3]`: exposure, white balance, vignette, gamma, blur, noise; as uint8."""
    px = len(light)
    gain = np.exp(rng.normal(0, 0.14 * hard)) * (1 + rng.normal(0, 0.035 * hard, 3))
    light = light * gain.astype(np.float32)
    if rng.random() < 0.5:
        away = (np.arange(px, dtype=np.float32) - rng.uniform(0.3, 0.7) * px) ** 2 / (px * px)
        light *= (1 - np.float32(rng.uniform(0, 0.7) * hard) * (away[:, None] + away[None]))[:, :, None]
    if rng.random() < 0.4 * hard:
        light = blur(light, float(rng.uniform(0.4, 1.3)), float(rng.uniform(0.4, 1.3)))
    elif rng.random() < 0.12 * hard:
        light = blur(
            light, *((0.3, float(rng.uniform(1, 2))) if rng.random() < 0.5 else (float(rng.uniform(1, 2)), 0.3))
        )
    if rng.random() < 0.5:
        light = np.clip(light, 0, 1) ** np.float32(np.exp(rng.normal(0, 0.13 * hard)))
    sigma = rng.uniform(0, 12 / 255) * hard * rng.random()
    noise = rng.standard_normal(light.shape, np.float32)
    if rng.random() < 0.5:
        noise *= np.sqrt(np.clip(light, 0.02, 1) * 2)  # photons: the brighter, the more
    light = light + noise * np.float32(sigma)
    return np.asarray(np.clip(light * 255 + 0.5, 0, 255), np.uint8)


def blur(light: Field, down_px: float, across_px: float) -> Field:
    """A Gaussian blur of these standard deviations."""
    for axis, sigma in ((0, down_px), (1, across_px)):
        reach = max(1, math.ceil(2.2 * sigma))
        taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
        taps = (taps / taps.sum()).astype(np.float32)
        pad = [(0, 0)] * 3
        pad[axis] = (reach, reach)
        wide = np.pad(light, pad, mode="edge")
        n = light.shape[axis]
        parts = (wide[i : i + n] if axis == 0 else wide[:, i : i + n] for i in range(len(taps)))
        light = sum((part * tap for part, tap in zip(parts, taps, strict=True)), np.zeros_like(light))
    return light


def _line(light: Field, owner: NDArray[np.int8], rng: np.random.Generator) -> None:
    """A cable, a pencil or a scratch, thin enough to hide nothing."""
    px = len(light)
    x, y = np.arange(px, dtype=np.float32)[None], np.arange(px, dtype=np.float32)[:, None]
    angle, across, half = rng.uniform(0, math.pi), rng.uniform(-0.4, 0.4) * px, rng.uniform(0.4, 1.6)
    bend = rng.uniform(-0.006, 0.006)
    u = (x - px / 2) * math.cos(angle) + (y - px / 2) * math.sin(angle)
    v = (y - px / 2) * math.cos(angle) - (x - px / 2) * math.sin(angle)
    cover = np.clip(half + 0.5 - np.abs(v - across + bend * u * u), 0, 1).astype(np.float32)[:, :, None]
    if rng.random() < 0.5:
        cover = cover * (owner < 0)[:, :, None]  # it lies behind them
    light += (np.float32(rng.uniform(0.1, 0.9)) + rng.normal(0, 0.05, 3).astype(np.float32) - light) * cover


def _arm(light: Field, owner: NDArray[np.int8], rng: np.random.Generator) -> None:
    """A sleeve with a hand that reaches in from an edge."""
    px = len(light)
    x, y = np.arange(px, dtype=np.float32)[None], np.arange(px, dtype=np.float32)[:, None]
    way = rng.uniform(0, 2 * math.pi)
    deep = rng.uniform(0.05, 0.4) * px
    tip = np.array([px / 2 + math.cos(way) * (px * 0.62 - deep), px / 2 + math.sin(way) * (px * 0.62 - deep)])
    tip += rng.normal(0, 0.1 * px, 2)
    u = (x - tip[0]) * math.cos(way) + (y - tip[1]) * math.sin(way)
    v = (y - tip[1]) * math.cos(way) - (x - tip[0]) * math.sin(way)
    half = rng.uniform(6, 11)
    skin = np.array((0.85, 0.65, 0.52)) * rng.uniform(0.4, 1.1) + rng.normal(0, 0.02, 3)
    sleeve = rng.uniform(0.15, 0.75) + rng.normal(0, 0.06, 3)
    arm = np.maximum(np.abs(v) - half, -u - half * 0.2)
    hand = np.sqrt(u * u * 0.7 + v * v) - half * 1.25
    fingers = np.maximum(
        np.abs(np.mod(v + half, half * 0.66) - half * 0.33) - half * 0.26, np.abs(u + half * 1.4) - half
    )
    fingers = np.maximum(fingers, np.abs(v) - half * 1.1)
    for distance, colour in ((np.minimum(hand, fingers), skin), (np.maximum(arm, half * 1.6 - u), sleeve)):
        cover = np.clip(0.5 - distance, 0, 1).astype(np.float32)
        glow = (1 - 0.25 * (v / half) ** 2 * 0.5).astype(np.float32)
        light += (np.clip(colour, 0, 1).astype(np.float32) * glow[:, :, None] - light) * cover[:, :, None]
        owner[cover > 0.5] = -1


def _other(rng: np.random.Generator) -> Scene:
    light, weight = other(rng)
    return Scene(develop(light, rng), (), True, np.full(light.shape[:2], -1, np.int8), weight)


def label(things: Iterable[Thing], is_other: bool = False, soft_px: float = SOFT_PX) -> Field:
    """What an eye should say, `[16, 20]`: `of_things`, but a centre near a border is shared by the cells beside it."""
    sight = np.zeros((CELLS, WIDTH), np.float32)
    left = np.zeros((CELLS, 3))  # how likely none, one, more centres so far
    left[:, 0] = 1
    mass = np.zeros(CELLS)
    cell_px, edges = PICTURE_PX / GRID, np.arange(GRID)
    for t in things:
        shares = []
        for place in (t.x, t.y):
            low = place * PICTURE_PX - edges * cell_px
            inside = np.minimum(low, cell_px - low)
            if place * GRID < 0.5 or place * GRID > GRID - 0.5:
                inside = np.where(edges == min(GRID - 1, max(0, int(place * GRID))), soft_px, -soft_px)
            shares.append(np.clip(0.5 + inside / (2 * soft_px), 0, 1))
        for cell in np.flatnonzero(np.outer(shares[1], shares[0])):
            row, col = divmod(int(cell), GRID)
            p = shares[1][row] * shares[0][col]
            none, one, more = left[cell]
            left[cell] = none * (1 - p), one * (1 - p) + none * p, more + one * p
            mass[cell] += p
            sight[cell, COLOUR][t.colour] += p
            sight[cell, SHAPE][t.shape] += p
            sight[cell, PLACE] += p * np.clip((2 * (t.x * GRID - col) - 1, 2 * (t.y * GRID - row) - 1), -1, 1)
    sight[:, 3:19] /= np.where(mass > 0, mass, 1)[:, None]
    sight[:, COUNT] = left
    sight[:, OTHER] = is_other
    return sight


def presence(things: Iterable[Thing]) -> Field:
    """`[16]`, how many centres a cell holds, shared at borders: the weight of a cell's colour, shape and place."""
    return np.minimum(1, label(things)[:, 1:3].sum(axis=1))
