"""What people ask about a table of things, and what is true: pure, seeded, balanced.

`Asker` draws questions about scenes (`scene_words.py`) so that every answer of a kind comes about equally often:
whoever answers without looking is right by chance only. The wordings are in `look_phrases.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from liveagent.sight import COLOURS, SHAPES
from liveagent.train.look_phrases import AGO_S, HELD_OUT, PHRASES
from liveagent.train.scene_words import (
    CLEAR,
    MOST,
    NUMBERS,
    SIDES,
    Scene,
    Thing,
    difference,
    in_order,
    listed,
    matching,
    side_of,
    thing_name,
    with_article,
)
from liveagent.train.schemas import expand, top_choice

CANNOT_SEE = "I can't see anything."
TABLE_ONLY = "I only know the toy table yet."
FORGOTTEN = "I don't remember that."


@dataclass(frozen=True, slots=True)
class Asked:
    """A question in spoken form, its true answer as text, the kind that it is counted under, and the things on which
    the answer rests: () where it rests on there being none, None where that is not so clear. `each`: it names them one
    after another."""

    kind: str
    words: str
    answer: str
    about: tuple[Thing, ...] | None = None
    each: bool = False


class Asker:
    """Questions with true answers from a seed; a question whose answer came too often already is not asked."""

    def __init__(
        self,
        rng: random.Random,
        held_out: bool = False,
        phrases: Mapping[str, str] | None = None,
        part: float = 0.0,
    ) -> None:
        """`phrases`: other wordings than those of training. `part`: of the questions how many things of a colour or a
        shape there are, this share is not asked where all are of it, for else the number of all things would mostly
        do."""
        self.rng, self.phrases, self.part = rng, phrases or (HELD_OUT if held_out else PHRASES), part
        self.given: dict[Hashable, Counter[Hashable]] = {}

    # --- wording

    def words(self, kind: str, **names: str) -> str:
        text = expand(self.rng, top_choice(self.rng, self.phrases[kind]))
        for key, value in names.items():
            text = text.replace("{" + key + "}", value)
        return text

    def ago(self, seconds: int) -> str:
        return expand(self.rng, AGO_S[seconds])

    def fair(self, kind: Hashable, answer: Hashable, answers: int) -> bool:
        """Whether this answer is not ahead of the rarest; counts it if so. `answers`: how many there are."""
        counter = self.given.setdefault(kind, Counter())
        least = min(counter.values()) if len(counter) == answers else 0
        if counter[answer] > least + 2:
            return False
        counter[answer] += 1
        return True

    def rarest(self, kind: Hashable, answers: Sequence[Hashable]) -> Hashable:
        counter = self.given.setdefault(kind, Counter())
        least = min(counter[a] for a in answers)
        return self.rng.choice([a for a in answers if counter[a] == least])

    # --- what is there now

    def now(self, scene: Scene) -> Asked | None:
        """A question about a scene; None when this draw would not be fair."""
        kinds = {"colour": 24, "shape": 18, "count": 36, "where": 15, "exists": 10, "list": 20, "places": 5, "left": 4,
                 "right": 4, "beside": 4}  # fmt: skip
        for kind in self.rng.choices(list(kinds), list(kinds.values()), k=3):
            asked = self.about(kind, scene)
            if asked is not None:
                return asked
        return None

    def about(self, kind: str, scene: Scene, ago: str = "") -> Asked | None:
        """A question of one kind; `then_` kinds are about a scene of the past."""
        bare = kind.removeprefix("then_")
        ask: Callable[[str, Scene, str], Asked | None] = getattr(self, f"_{bare}")
        return ask(kind, scene, ago)

    def _colour(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        if self.rng.random() < 0.07:
            return self._absent(kind, scene, ago, colour=False)
        single = [t for t in scene if len(matching(scene, None, t[1])) == 1]
        if not single:
            return None
        colour = self.rarest(kind, [t[0] for t in single])
        thing = next(t for t in single if t[0] == colour)
        if not self.fair(kind, colour, len(COLOURS)):
            return None
        words = self.words(kind, x=SHAPES[thing[1]], ago=ago)
        return Asked(kind, words, f"It {'was' if ago else 'is'} {COLOURS[thing[0]]}.", (thing,))

    def _shape(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        if self.rng.random() < 0.07:
            return self._absent(kind, scene, ago, shape=False)
        single = [t for t in scene if len(matching(scene, t[0], None)) == 1]
        if not single:
            return None
        shape = self.rarest(kind, [t[1] for t in single])
        thing = next(t for t in single if t[1] == shape)
        if not self.fair(kind, shape, len(SHAPES)):
            return None
        name = COLOURS[thing[0]]
        words = self.words(kind, x=f"{name} {self.rng.choice(['thing', 'thing', 'one', 'object'])}", c=name, ago=ago)
        return Asked(kind, words, f"It is {with_article(SHAPES[thing[1]])}.", (thing,))

    def _absent(self, kind: str, scene: Scene, ago: str, colour: bool = True, shape: bool = True) -> Asked | None:
        """A question about what is not there, with the honest answer."""
        c = self.rng.randrange(len(COLOURS)) if colour else None
        s = self.rng.randrange(len(SHAPES)) if shape else None
        if matching(scene, c, s):
            return None
        name = thing_name(c, s)
        words = self.words(kind, x=name, ago=ago, c=COLOURS[c or 0], y=name, side="left")
        return Asked("absent", words, f"There was no {name}." if ago else f"I can't see {with_article(name)}.", ())

    def _count(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        what = self.rng.choice(["all", "all", "colour", "colour", "shape", "shape", "both"])
        if what == "all":
            asked: list[tuple[int | None, int | None]] = [(None, None)]
        elif what == "both":
            asked = [(c, s) for c in range(len(COLOURS)) for s in range(len(SHAPES))]
        else:
            asked = [(c, None) for c in range(len(COLOURS))] if what == "colour" else [
                (None, s) for s in range(len(SHAPES))]  # fmt: skip
        by_count: dict[Hashable, list[tuple[int | None, int | None]]] = {}
        for c, s in asked:
            by_count.setdefault(len(matching(scene, c, s)), []).append((c, s))
        count = self.rarest((kind, what), list(by_count))
        assert isinstance(count, int)
        if what != "all" and 0 < count == len(scene) < MOST and self.part and self.rng.random() < self.part:
            return None
        if not self.fair((kind, what), count, 4 if what == "both" else MOST + 1):
            return None
        c, s = self.rng.choice(by_count[count])
        if s is not None and what == "both" and count == 0 and scene and self.rng.random() < 0.7:
            other = self.rng.choice(list(scene))  # the right colour or the right shape, not both
            c, s = (other[0], s) if self.rng.random() < 0.5 else (c, other[1])
            if matching(scene, c, s):
                return None
        name = self.rng.choice(["things", "things", "objects"]) if (c, s) == (None, None) else thing_name(c, s) + "s"
        found = tuple(matching(scene, c, s))
        return Asked(kind, self.words(kind, n=name, ago=ago), NUMBERS[count].capitalize() + ".", found)

    def _where(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        if self.rng.random() < 0.07:
            return self._absent(kind, scene, ago)
        places = [(t, name) for t, name in self.named(scene) if side_of(t[2]) is not None]
        if not places:
            return None
        side = self.rarest(kind, [side_of(t[2]) for t, _ in places])
        assert isinstance(side, int)
        thing, name = self.rng.choice([(t, name) for t, name in places if side_of(t[2]) == side])
        if not self.fair(kind, side, len(SIDES)):
            return None
        be = "was" if ago else "is"
        return Asked(kind, self.words(kind, x=name, ago=ago), f"It {be} {SIDES[side]}.", (thing,))

    def named(self, scene: Scene) -> list[tuple[Thing, str]]:
        """Things that a name picks out, mostly by colour and shape."""
        full = [(t, thing_name(t[0], t[1])) for t in scene if len(matching(scene, t[0], t[1])) == 1]
        if self.rng.random() < 0.7:
            return full
        short = [(t, thing_name(None, t[1])) for t in scene if len(matching(scene, None, t[1])) == 1]
        return short + [(t, thing_name(t[0], None)) for t in scene if len(matching(scene, t[0], None)) == 1]

    def _exists(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        yes = bool(self.rarest(kind, [True, False]))
        by = self.rng.choice(["both", "both", "both", "colour", "shape"])
        if yes:
            if not scene:
                return None
            thing = self.rng.choice(list(scene))
            c, s = thing[0], thing[1]
        else:
            c, s = self.rng.randrange(len(COLOURS)), self.rng.randrange(len(SHAPES))
            if scene and by == "both" and self.rng.random() < 0.8:
                thing = self.rng.choice(list(scene))
                others = [t for t in scene if t[0] != thing[0] and t[1] != thing[1]]
                u = self.rng.random()
                if others and u < 0.4:  # colour of one, shape of another
                    c, s = thing[0], self.rng.choice(others)[1]
                elif u < 0.7:
                    c = thing[0]
                else:
                    s = thing[1]
        colour, shape = (c if by != "shape" else None), (s if by != "colour" else None)
        if bool(matching(scene, colour, shape)) != yes:
            return None
        self.fair(kind, yes, 2)
        name = thing_name(colour, shape)
        words = self.words(kind, a=with_article(name), b=name, ago=ago)
        found = tuple(matching(scene, colour, shape))
        return Asked(kind, words, "Yes." if yes else "No." if ago else "No, I can't see one.", found)

    def _list(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        if not self.fair((kind, "length"), len(scene), MOST + 1):
            return None
        return Asked(kind, self.words(kind, ago=ago), listed(scene), in_order(scene), each=True)

    def _places(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        if any(side_of(t[2]) is None for t in scene):
            return None
        return Asked(kind, self.words(kind, ago=ago), listed(scene, places=True), in_order(scene), each=True)

    def _left(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        return self._next_to(kind, scene, -1)

    def _right(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        return self._next_to(kind, scene, 1)

    def _next_to(self, kind: str, scene: Scene, sign: int) -> Asked | None:
        """The nearest thing on that side."""
        if self.rng.random() < 0.07:
            return self._absent(kind, scene, "")
        named = self.named(scene)
        if not named:
            return None
        thing, name = self.rng.choice(named)
        gaps = sorted((sign * (t[2] - thing[2]), t) for t in scene if t is not thing)
        if any(abs(gap) < CLEAR for gap, _ in gaps):
            return None
        beyond = [(gap, t) for gap, t in gaps if gap > 0]
        if len(beyond) > 1 and beyond[1][0] - beyond[0][0] < CLEAR:
            return None
        if not self.fair(kind, bool(beyond), 2):
            return None
        answer = with_article(thing_name(*beyond[0][1][:2])).capitalize() + "." if beyond else "Nothing."
        return Asked(kind, self.words(kind, x=name), answer, (beyond[0][1],) if beyond else None)

    def _beside(self, kind: str, scene: Scene, ago: str) -> Asked | None:
        named = self.named(scene)
        if len(named) < 2:
            return None
        (one, x), (two, y) = self.rng.sample(named, 2)
        if abs(one[2] - two[2]) < 2 * CLEAR:
            return None
        side = self.rng.choice(["left", "right"])
        yes = (one[2] < two[2]) == (side == "left")
        if not self.fair(kind, yes, 2):
            return None
        return Asked(kind, self.words(kind, x=x, y=y, side=side), "Yes." if yes else "No.", (one, two))

    # --- what was, and what came to pass

    def then(self, scene: Scene, seconds: int) -> Asked | None:
        """A question about the scene that stood so many seconds ago."""
        kinds = {"then_list": 34, "then_exists": 20, "then_colour": 16, "then_count": 16, "then_where": 14}
        for kind in self.rng.choices(list(kinds), list(kinds.values()), k=2):
            asked = self.about(kind, scene, self.ago(seconds))
            if asked is not None:
                return asked
        return None

    def forgotten(self, seconds: int) -> Asked:
        """A question about a time from which no picture is kept."""
        kind = self.rng.choice(["then_list", "then_list", "then_exists", "then_count"])
        name = thing_name(self.rng.randrange(len(COLOURS)), self.rng.randrange(len(SHAPES)))
        words = self.words(kind, ago=self.ago(seconds), a=with_article(name), n=name + "s")
        return Asked("forgotten", words, FORGOTTEN)

    def before(self, scene: Scene) -> Asked:
        return Asked("before", self.words("before"), listed(scene), in_order(scene), each=True)

    def moved(self, before: Scene, after: Scene) -> Asked | None:
        """What moved at the last change; only asked when one thing at most did."""
        found = [thing for how, thing in difference(before, after) if how == "moved"]
        if len(found) > 1 or not self.fair("moved", bool(found), 2):
            return None
        answer = f"The {thing_name(*found[0][:2])}." if found else "Nothing."
        return Asked("moved", self.words("moved"), answer, tuple(found) or None)

    def changed(self, before: Scene, after: Scene) -> Asked | None:
        """What the last change was; only asked when it was one thing at most."""
        found = difference(before, after)
        if len(found) > 1 or not self.fair("changed", found[0][0] if found else "", 4):
            return None
        if not found:
            return Asked("changed", self.words("changed"), "Nothing.")
        how, thing = found[0]
        name = thing_name(*thing[:2])
        subject = with_article(name).capitalize() if how == "came" else f"The {name}"
        return Asked("changed", self.words("changed"), f"{subject} {how}.", (thing,))

    def blind(self) -> Asked:
        """Any question, asked of an agent that sees nothing."""
        return self.unanswered(CANNOT_SEE, "blind")

    def elsewhere(self) -> Asked:
        """Any question about a picture that is not of the toy table."""
        return self.unanswered(TABLE_ONLY, "elsewhere")

    def unanswered(self, answer: str, group: str) -> Asked:
        kind = self.rng.choice(["colour", "shape", "count", "where", "exists", "list", "list", "left", "right"])
        c, s = self.rng.randrange(len(COLOURS)), self.rng.randrange(len(SHAPES))
        name = thing_name(c, None) if kind == "shape" else thing_name(c if kind != "colour" else None, s)
        words = self.words(kind, x=name, c=COLOURS[c], n=name + "s", a=with_article(name), b=name)
        return Asked(group, words, answer)
