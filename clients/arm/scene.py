"""What lies on the arm's table: things to pick up and trays to put them on; a seed in, a scene out.

Lengths in metres in the base's frame at home: x forward, y to the left, z up from the floor; angles in radians.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from liveagent.sight import COLOURS

KINDS = ("cube", "ball", "cylinder", "tray")
Kind: TypeAlias = Literal["cube", "ball", "cylinder", "tray"]
TABLE_M = 0.40
"""Height of the table's top."""
NEAR_M, FAR_M, SIDE_M = 0.26, 0.56, 0.26
"""Where things may lie: x from NEAR_M to FAR_M, y within SIDE_M of the middle."""
HALF_M = {"cube": 0.020, "ball": 0.022, "cylinder": 0.020, "tray": 0.060}
"""Half of a thing's width; of a cylinder and a ball the radius."""
HIGH_M = {"cube": 0.020, "ball": 0.022, "cylinder": 0.026, "tray": 0.0}
"""Height of a thing's middle over what it stands on."""
TRAY_FLOOR_M = 0.004
TRAY_RIM_M = 0.010
THINGS, TRAYS = 5, 3
"""The most there may be."""
ROOM_M = 0.092
"""Least distance between two things' middles, so that fingers fit in between."""
TRAY_ROOM_M, TRAYS_ROOM_M = 0.130, 0.150
"""Likewise of a thing to a tray, and of two trays, along one of the table's edges."""
HELD_OUT = 1 << 40
"""Scenes of seeds from here on are never trained on."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing or tray. `colour`: its place in COLOURS; `x`, `y`: its middle; `turn` about the vertical; `scale` of
    its size; `on`: which tray it stands on, by place in the scene's trays."""

    kind: Kind
    colour: int
    x: float
    y: float
    turn: float = 0.0
    scale: float = 1.0
    tint: tuple[float, float, float] = (0.0, 0.0, 0.0)
    on: int | None = None

    @property
    def name(self) -> str:
        """For people: "blue cube"."""
        return f"{COLOURS[self.colour]} {self.kind}"


@dataclass(frozen=True, slots=True)
class Light:
    """How the table looks: tones of table and floor, where the lamp hangs and how bright lamp and room are."""

    table: tuple[float, float, float] = (0.62, 0.50, 0.38)
    floor: tuple[float, float, float] = (0.35, 0.36, 0.38)
    lamp: tuple[float, float, float] = (0.2, 0.5, 1.8)
    bright: float = 0.55
    room: float = 0.45


@dataclass(frozen=True, slots=True)
class Scene:
    """What lies there and how it is lit. No two things have the same colour and kind, nor do two trays."""

    things: tuple[Item, ...]
    trays: tuple[Item, ...]
    light: Light = Light()


TONES = (
    (0.62, 0.50, 0.38), (0.50, 0.38, 0.28), (0.70, 0.60, 0.48), (0.60, 0.60, 0.58), (0.45, 0.46, 0.48),
    (0.70, 0.69, 0.65), (0.52, 0.58, 0.62), (0.50, 0.55, 0.48), (0.58, 0.50, 0.50), (0.36, 0.38, 0.42),
)  # fmt: skip
"""Tables: wood, cloth and stone, none as dark as a black thing or as light as a white one."""


def scene(seed: int, things: int | None = None, trays: int | None = None) -> Scene:
    """The scene of a seed: 2 to 5 things, 1 to 3 trays; with `things` or `trays` so many."""
    rng = np.random.Generator(np.random.SFC64(seed))
    many = int(rng.integers(2, THINGS + 1)) if things is None else things
    flat = int(rng.integers(1, TRAYS + 1)) if trays is None else trays
    while True:
        found = _lay(rng, many, flat)
        if found is not None:
            return replace(found, light=_light(rng))


def loose(seed: int) -> Scene:
    """A scene as training wants it beside the tidy ones: none to five things, some of them on trays, some near each
    other, some alike in colour."""
    rng = np.random.Generator(np.random.SFC64(seed))
    while True:
        found = _lay(rng, int(rng.integers(THINGS + 1)), int(rng.integers(TRAYS + 1)), 0.055)
        if found is None:
            continue
        things = list(found.things)
        if rng.random() < 0.3:
            colour = int(rng.integers(len(COLOURS)))
            things = [replace(each, colour=colour) if rng.random() < 0.6 else each for each in things]
        for at, each in enumerate(things):
            if found.trays and rng.random() < 0.4:
                on = int(rng.integers(len(found.trays)))
                if all(other.on != on for other in things):
                    tray = found.trays[on]
                    dx, dy = rng.uniform(-0.03, 0.03, 2)
                    things[at] = replace(each, x=tray.x + float(dx), y=tray.y + float(dy), on=on)
        return Scene(tuple(things), found.trays, _light(rng))


def _lay(rng: np.random.Generator, many: int, flat: int, room_m: float = ROOM_M) -> Scene | None:
    """Trays first, then things; None when they did not find room."""
    colours = rng.permutation(len(COLOURS))
    trays: list[Item] = []
    for at in range(flat):
        spot = _spot(rng, [], trays, 0.02)
        if spot is None:
            return None
        trays.append(Item("tray", int(colours[at]), *spot, float(rng.uniform(-0.25, 0.25)), 1.0, _tint(rng)))
    things: list[Item] = []
    names: set[tuple[Kind, int]] = set()
    while len(things) < many:
        kind: Kind = ("cube", "ball", "cylinder")[int(rng.integers(3))]
        if things and rng.random() < 0.3:  # near misses: another kind of one colour, another colour of one kind
            like = things[int(rng.integers(len(things)))]
            colour = like.colour if rng.random() < 0.5 else int(rng.integers(len(COLOURS)))
        else:
            colour = int(rng.integers(len(COLOURS)))
        if (kind, colour) in names:
            continue
        spot = _spot(rng, [(t.x, t.y, TRAY_ROOM_M) for t in trays] + [(t.x, t.y, room_m) for t in things])
        if spot is None:
            return None
        names.add((kind, colour))
        turn, scale = float(rng.uniform(-np.pi, np.pi)), float(rng.uniform(0.92, 1.1))
        things.append(Item(kind, colour, *spot, turn, scale, _tint(rng)))
    return Scene(tuple(things), tuple(trays))


def _spot(
    rng: np.random.Generator,
    taken: list[tuple[float, float, float]],
    trays: list[Item] | None = None,
    inside_m: float = 0.0,
) -> tuple[float, float] | None:
    for _ in range(60):
        x = float(rng.uniform(NEAR_M + inside_m, FAR_M - inside_m))
        y = float(rng.uniform(-SIDE_M + inside_m, SIDE_M - inside_m))
        free = all(np.hypot(x - tx, y - ty) > room for tx, ty, room in taken)
        if free and all(max(abs(x - t.x), abs(y - t.y)) > TRAYS_ROOM_M for t in trays or ()):
            return x, y
    return None


def _tint(rng: np.random.Generator) -> tuple[float, float, float]:
    r, g, b = (float(v) for v in rng.normal(0, 0.025, 3))
    return r, g, b


def _light(rng: np.random.Generator) -> Light:
    tone = np.clip(np.array(TONES[int(rng.integers(len(TONES)))]) * rng.uniform(0.88, 1.12), 0.2, 0.85)
    floor = np.clip(rng.uniform(0.2, 0.6) + rng.normal(0, 0.03, 3), 0.05, 0.9)
    lamp = (float(rng.uniform(-0.4, 0.9)), float(rng.uniform(-0.9, 0.9)), float(rng.uniform(1.4, 2.2)))
    return Light(_three(tone), _three(floor), lamp, float(rng.uniform(0.35, 0.7)), float(rng.uniform(0.32, 0.55)))


def _three(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
