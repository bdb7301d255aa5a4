"""`Spotted`: a thing that was found in a picture, and where on the table it lies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from liveagent.sight import COLOURS

FINGER_M, WIDE_M = 0.013, 0.048
"""Half of how thick an open gripper's finger is, and how far it stands out to either side."""
HALVES_M = {"tray": 0.078}
HALF_M = 0.024
"""How far a thing reaches around its middle; a tray of that name."""


@dataclass(frozen=True, slots=True)
class Spotted:
    """`kind`: "cube" and the like; `colour`: its place in COLOURS; `x`, `y` in metres in the camera's frame; `turn`:
    how a side of it is turned, for what has sides; `sure`: from 0 to 1; `colour_sure`: likewise, of its colour."""

    kind: str
    colour: int
    x: float
    y: float
    turn: float = 0.0
    sure: float = 1.0
    colour_sure: float = 1.0

    @property
    def name(self) -> str:
        """For people: "blue cube"."""
        return f"{COLOURS[self.colour]} {self.kind}"


def which(spotted: Iterable[Spotted], kind: str, colour: str) -> Spotted | None:
    """The surest of that name."""
    wanted = [each for each in spotted if each.kind == kind and COLOURS[each.colour] == colour]
    return max(wanted, key=lambda each: each.sure * each.colour_sure, default=None)


def clear_turn(thing: Spotted, others: Iterable[Spotted], turns: Sequence[float], free_m: float = 0.02) -> float:
    """Of the directions in which fingers may close on a thing, the one whose fingers come down farthest from what lies
    near; the first that keeps `free_m` is good enough."""
    near = [each for each in others if math.hypot(thing.x - each.x, thing.y - each.y) > 1e-9]
    # What it stands on, or in, is not in the way.
    near = [each for each in near if math.hypot(thing.x - each.x, thing.y - each.y) > HALVES_M.get(each.kind, 0) / 2]

    def room(turn: float) -> float:
        ends = [(thing.x + way * math.cos(turn), thing.y + way * math.sin(turn)) for way in (WIDE_M, -WIDE_M)]
        gaps = [math.hypot(x - o.x, y - o.y) - HALVES_M.get(o.kind, HALF_M) - FINGER_M for x, y in ends for o in near]
        return min(free_m, min(gaps, default=free_m))

    return max(turns, key=room)
