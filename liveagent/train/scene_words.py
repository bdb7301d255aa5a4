"""A scene of toy things, and what words say of it truly.

A scene is a list of things (colour, shape, x, y) as `liveagent.sight.of_things` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from liveagent.sight import COLOURS, GRID, SHAPES

Thing: TypeAlias = tuple[int, int, float, float]
Scene: TypeAlias = Sequence[Thing]

SIDES = ("on the left", "in the middle", "on the right")
NUMBERS = ("none", "one", "two", "three", "four", "five")
MOST = 5
"""No scene that is asked about holds more things."""
CLEAR = 0.035
"""How far from the border of a third a thing must be for a question where it is, and two things from each other."""


def thing_name(colour: int | None, shape: int | None) -> str:
    """ "red ball", "ball", "red thing"."""
    if shape is None:
        return f"{COLOURS[colour or 0]} thing" if colour is not None else "thing"
    return SHAPES[shape] if colour is None else f"{COLOURS[colour]} {SHAPES[shape]}"


def with_article(name: str) -> str:
    return ("an " if name[0] in "aeiou" else "a ") + name


def in_order(scene: Scene) -> tuple[Thing, ...]:
    """As the eye's cells are read."""
    return tuple(sorted(scene, key=lambda thing: (int(thing[3] * GRID), thing[2])))


def listed(scene: Scene, places: bool = False) -> str:
    """Every thing, in the order in which the eye's cells are read: "A red ball, a blue cube and an orange cup."; with
    `places` "A red ball on the left and ..."."""
    names = [with_article(thing_name(c, s)) + f" {SIDES[int(x * 3)]}" * places for c, s, x, _ in in_order(scene)]
    if not names:
        return "Nothing."
    text = ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else names[0]
    return text[0].upper() + text[1:] + "."


def side_of(x: float) -> int | None:
    """0, 1, 2: the left, middle or right third; None too near to a border to ask."""
    near = min(abs(x - 1 / 3), abs(x - 2 / 3))
    return None if near < CLEAR else int(x * 3)


def matching(scene: Scene, colour: int | None, shape: int | None) -> list[Thing]:
    return [t for t in scene if colour in (None, t[0]) and shape in (None, t[1])]


def difference(before: Scene, after: Scene) -> list[tuple[str, Thing]]:
    """What came, left or moved between two scenes, things of one colour and shape being one thing."""
    found: list[tuple[str, Thing]] = []
    old = {(t[0], t[1]): t for t in before}
    new = {(t[0], t[1]): t for t in after}
    for key, thing in new.items():
        if key not in old:
            found.append(("came", thing))
        elif abs(old[key][2] - thing[2]) + abs(old[key][3] - thing[3]) > 0.12:
            found.append(("moved", thing))
    return found + [("left", thing) for key, thing in old.items() if key not in new]
