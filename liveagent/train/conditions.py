"""Conditions to watch for, and whether a scene fulfils them: `Conditions`, seeded, as many true as false of each kind.

False ones are near misses: a colour and a shape that are there, not in one thing; what an older picture shows; what
came or left, when the condition is that it moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from liveagent.sight import COLOURS, SHAPES
from liveagent.train.questions import Asker
from liveagent.train.scene_words import (
    MOST,
    NUMBERS,
    SIDES,
    Scene,
    Thing,
    difference,
    matching,
    side_of,
    thing_name,
    with_article,
)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition in spoken form, its kind, whether it holds, and the things that fulfil it, as they are now; () where
    none does, None where it is about more than that."""

    words: str
    kind: str
    holds: bool
    about: tuple[Thing, ...] | None = None


class Conditions:
    """Draws with an asker's seed and keeps its accounts."""

    def __init__(self, asker: Asker) -> None:
        self.asker = asker

    def next(self, scene: Scene, older: Sequence[Scene]) -> Condition | None:
        """A condition; `older`: scenes of earlier pictures, the newest last."""
        kind = self.asker.rng.choices(["there", "moved", "more"], [60, 28 if older else 0, 12])[0]
        if kind == "there":
            return self._there(scene, older)
        return self._has_moved(scene, older[-1], older[:-1]) if kind == "moved" else self._more(scene)

    def _there(self, scene: Scene, older: Sequence[Scene]) -> Condition | None:
        rng = self.asker.rng
        by = rng.choice(["both", "both", "colour", "shape"])
        yes = bool(self.asker.rarest(("there", by), [True, False]))
        past = [t for each in older for t in each]
        if yes:
            if not scene:
                return None
            c, s = rng.choice(list(scene))[:2]
        else:
            c, s = rng.randrange(len(COLOURS)), rng.randrange(len(SHAPES))
            if past and rng.random() < 0.5:
                c, s = rng.choice(past)[:2]
            elif scene and rng.random() < 0.85:
                one, two = rng.choice(list(scene)), rng.choice(list(scene))
                c, s = rng.choice([(one[0], two[1]), (one[0], s), (c, one[1])])
        colour, shape = (c if by != "shape" else None), (s if by != "colour" else None)
        if bool(matching(scene, colour, shape)) != yes:
            return None
        self.asker.fair(("there", by), yes, 2)
        name = f"something {COLOURS[c]}" if by == "colour" else with_article(thing_name(colour, shape))
        if by == "colour" and rng.random() < 0.15:
            name = with_article(thing_name(c, None))
        form = "{} is on the table" if rng.random() < 0.85 else rng.choice(["there is {}", "{} is there", "i see {}"])
        return Condition(form.format(name), "watch_there", yes, tuple(matching(scene, colour, shape)))

    def _has_moved(self, scene: Scene, before: Scene, older: Sequence[Scene]) -> Condition | None:
        rng = self.asker.rng
        found = difference(before, scene)
        moved = [t for how, t in found if how == "moved"]
        by = rng.choice(["both", "both", "colour", "shape", "any"])
        yes = bool(self.asker.rarest(("moved", by), [True, False]))
        if yes:
            if not moved:
                return None
            c, s = rng.choice(moved)[:2]
        else:
            others = [t for how, t in found if how != "moved"] or list(scene)
            pool = others if rng.random() < 0.5 else [*scene, *before, *(t for each in older for t in each)]
            c, s = rng.choice(pool)[:2] if pool else (rng.randrange(len(COLOURS)), rng.randrange(len(SHAPES)))
        colour, shape = (c if by in ("both", "colour") else None), (s if by in ("both", "shape") else None)
        if bool(matching(moved, colour, shape)) != yes:
            return None
        twins = [key for key in {t[:2] for t in scene} if sum(t[:2] == key for t in [*scene]) > 1]
        if twins:  # which of two like things moved is not asked
            return None
        self.asker.fair(("moved", by), yes, 2)
        if by == "any":
            return Condition("something moved", "watch_moved", yes, tuple(moved) or None)
        name = {"both": f"the {thing_name(c, s)}", "shape": f"a {SHAPES[s]}", "colour": f"something {COLOURS[c]}"}[by]
        return Condition(f"{name} moved", "watch_moved", yes, tuple(matching(moved, colour, shape)) or None)

    def _more(self, scene: Scene) -> Condition | None:
        """Places, counts, an empty table."""
        rng = self.asker.rng
        what = rng.choice(["side", "count", "empty"])
        about: tuple[Thing, ...] | None = None
        if what == "empty":
            words, yes = rng.choice([("the table is empty", not scene), ("something is on the table", bool(scene)),
                                     ("nothing is on the table", not scene)])  # fmt: skip
        elif what == "count":
            shape = rng.choice([None, *range(len(SHAPES))])
            count = len(matching(scene, None, shape)) if rng.random() < 0.5 else rng.randint(1, MOST)
            if not count:
                return None
            name = "thing" if shape is None else SHAPES[shape]
            many = count > 1
            words = f"there {'are' if many else 'is'} {NUMBERS[count]} {name}{'s' if many else ''}"
            words += rng.choice(["", " on the table"])
            about = tuple(matching(scene, None, shape))
            yes = len(about) == count
        else:
            named = [(t, name) for t, name in self.asker.named(scene) if side_of(t[2]) is not None]
            if not named:
                return None
            thing, name = rng.choice(named)
            side = rng.randrange(len(SIDES)) if rng.random() < 0.5 else side_of(thing[2])
            assert side is not None
            words, yes, about = f"the {name} is {SIDES[side]}", side_of(thing[2]) == side, (thing,)
        return Condition(words, "watch_more", yes, about) if self.asker.fair(("more", what), yes, 2) else None
