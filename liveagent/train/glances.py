"""Pictures as a decoder in training meets them: scenes that change, and what an eye would say of them.

An eye is imitated (soft confidences, mistaken colours and shapes, things at the border of two cells seen in both) until
real readings are there: `Pools` takes those that an eye made of drawn scenes (`pool-*.npz`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liveagent.sight import CELLS, COLOUR, COLOURS, COUNT, GRID, OTHER, PLACE, SHAPE, SHAPES, WIDTH, Sight
from liveagent.train.scene_words import MOST, Scene, Thing

EDGE, APART = 0.1, 0.17
"""Nearest place of a thing to the picture's edge, and nearest two things, as shares of the picture."""
FAINT = 0.92
"""A cell that is less surely empty may be part of a thing: where four cells meet, each is three quarters empty."""
LONGEST_S = 30.0
"""A session keeps a picture after this long although nothing is new (`liveagent.news`)."""


def random_thing(rng: random.Random, colour: int | None = None, shape: int | None = None) -> Thing:
    x, y = (EDGE + (1 - 2 * EDGE) * rng.random() for _ in range(2))
    return (
        rng.randrange(len(COLOURS)) if colour is None else colour,
        rng.randrange(len(SHAPES)) if shape is None else shape,
        x,
        y,
    )


def fits(scene: Scene, thing: Thing) -> bool:
    return all((t[2] - thing[2]) ** 2 + (t[3] - thing[3]) ** 2 > APART**2 for t in scene)


def with_one_more(rng: random.Random, scene: Scene, colour: int | None = None, shape: int | None = None) -> list[Thing]:
    for _ in range(30):
        thing = random_thing(rng, colour, shape)
        if fits(scene, thing):
            return [*scene, thing]
    return list(scene)


def random_scene(rng: random.Random, most: int = MOST) -> list[Thing]:
    """None to `most` things, as often of each number; in two of three scenes many have one colour or one shape."""
    count = rng.randint(0, most)
    colour, shape = rng.randrange(len(COLOURS)), rng.randrange(len(SHAPES))
    theme, often = rng.choice(["", "colour", "shape"]), rng.choice([0.75, 1.0])
    scene: list[Thing] = []
    for _ in range(count):
        alike = rng.random() < often
        scene = with_one_more(
            rng, scene, colour if theme == "colour" and alike else None, shape if theme == "shape" and alike else None
        )
    return scene


def with_one_where_four_meet(rng: random.Random, scene: Scene) -> list[Thing]:
    """One thing moved to where four cells of the eye meet, if there is room."""
    if not scene:
        return []
    at = rng.randrange(len(scene))
    x, y = ((rng.randint(1, GRID - 1) + rng.gauss(0, 0.02)) / GRID for _ in range(2))
    rest = [thing for i, thing in enumerate(scene) if i != at]
    moved = (*scene[at][:2], x, y)
    return [moved if i == at else thing for i, thing in enumerate(scene)] if fits(rest, moved) else list(scene)


def changed_scene(rng: random.Random, scene: Scene) -> list[Thing]:
    """Mostly one thing came, left or moved; sometimes all is new."""
    if rng.random() < 0.3:
        return random_scene(rng)
    how = rng.choice(["came", "left", "moved"])
    if how == "came" and len(scene) < MOST:
        for _ in range(10):
            found = with_one_more(rng, scene)
            if len(found) > len(scene) and not any(t[:2] == found[-1][:2] for t in scene):
                return found
    if not scene:
        return with_one_more(rng, [])
    at = rng.randrange(len(scene))
    rest = [t for i, t in enumerate(scene) if i != at]
    if how == "left":
        return rest
    moved = with_one_more(rng, rest, scene[at][0], scene[at][1])
    return moved if len(moved) == len(scene) else rest


@dataclass(frozen=True, slots=True)
class Look:
    """A picture: when it was taken, what was there, what the eye said of it, at which places of the row its kept cells
    stand, and at which it begins."""

    t_s: float
    scene: Scene
    sight: Sight
    places: Mapping[int, int] = field(default_factory=dict)
    at: int = 0

    def places_of(self, thing: Thing) -> list[int]:
        """Where the row speaks of a thing: its cell, or those around it that the eye took it for."""
        colour, shape, x, y = thing
        col, row = min(int(x * GRID), GRID - 1), min(int(y * GRID), GRID - 1)
        found = []
        for cell, place in self.places.items():
            said = self.sight[cell]
            near = abs(cell % GRID - col) <= 1 and abs(cell // GRID - row) <= 1
            if near and said[0] < FAINT and said[COLOUR][colour] > 0.3 and said[SHAPE][shape] > 0.3:
                found.append(place)
        return found


class Eye:
    """An imitation of a trained eye's readings; `skill` from 0 (poor) to 1 (perfect)."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def see(self, scene: Scene, skill: float, other: bool = False) -> Sight:
        rng, worse = self.rng, 1.0 - skill
        sight = np.zeros((CELLS, WIDTH), np.float32)
        amount = np.zeros(CELLS)
        for colour, shape, x, y in scene:
            mixed = np.concatenate([
                self._doubt(colour, len(COLOURS), 0.01 * worse), self._doubt(shape, len(SHAPES), 0.04 * worse)
            ])  # fmt: skip
            x, y = (float(np.clip(v + rng.normal(0, 0.012 * worse), 0.001, 0.999)) for v in (x, y))
            for col, row, share in self._cells(x, y, worse):
                cell = row * GRID + col
                amount[cell] += share
                sight[cell, 3:17] += share * mixed
                sight[cell, PLACE] += share * np.clip((2 * (x * GRID - col) - 1, 2 * (y * GRID - row) - 1), -1, 1)
        there = amount > 0
        sight[there, 3:19] /= amount[there, None]
        junk = worse > 0 and rng.random() < 0.6  # an eye says something of an empty cell's colour too
        if junk:
            empty = ~there
            sight[empty, COLOUR] = rng.dirichlet(np.full(len(COLOURS), 0.3), int(empty.sum()))
            sight[empty, SHAPE] = rng.dirichlet(np.full(len(SHAPES), 0.3), int(empty.sum()))
            sight[empty, PLACE] = rng.normal(0, 0.3, (int(empty.sum()), 2))
        haze = rng.random(CELLS) ** 6 * 0.4 * worse
        one = np.minimum(amount, 1) - np.clip(amount - 1, 0, 1)
        sight[:, 0], sight[:, 1], sight[:, 2] = np.clip(1 - amount, 0, 1), one, np.clip(amount - 1, 0, 1)
        sight[:, COUNT] = sight[:, COUNT] * (1 - haze[:, None]) + haze[:, None] * rng.dirichlet((2, 1, 0.4), CELLS)
        sight[:, OTHER] = (1 - 0.3 * worse * rng.random() ** 4) if other else 0.4 * worse * rng.random() ** 6
        return sight

    def again(self, sight: Sight) -> Sight:
        """Another reading of the same: nearly the same numbers."""
        moved = sight.copy()
        moved[:, PLACE] += self.rng.normal(0, 0.02, (CELLS, 2))
        return moved

    def elsewhere(self, skill: float) -> Sight:
        """A picture that is not of the toy table: any reading, but marked."""
        count = int(self.rng.integers(0, 8))
        kinds, places = self.rng.integers(0, (len(COLOURS), len(SHAPES)), (count, 2)), self.rng.random((count, 2))
        scene = [(int(c), int(s), float(x), float(y)) for (c, s), (x, y) in zip(kinds, places, strict=True)]
        return self.see(scene, skill, other=True)

    def _doubt(self, true: int, kinds: int, mistakes: float) -> NDArray[np.float64]:
        """Probabilities that mostly, not always, favour the truth."""
        rng = self.rng
        said = true if rng.random() >= mistakes else int(rng.integers(kinds))
        doubt = rng.random() ** 5 * 0.7 if mistakes else 0.0
        out = doubt * rng.dirichlet(np.full(kinds, 0.25))
        out[said] += 1 - doubt
        return out

    def _cells(self, x: float, y: float, worse: float) -> list[tuple[int, int, float]]:
        """Where a thing is seen: one cell, or two or four, each in part, when its centre lies next to a border."""
        across, down = (self._parts(v * GRID, worse) for v in (x, y))
        return [(col, row, one * other) for row, one in down for col, other in across]

    def _parts(self, place: float, worse: float) -> list[tuple[int, float]]:
        """The same along one axis, in cells."""
        index, border = min(int(place), GRID - 1), round(place)
        gap = place - border
        if abs(gap) >= 0.06 or not 0 < border < GRID or self.rng.random() >= (0.4 + 0.4 * worse) * (worse > 0):
            return [(index, 1.0)]
        mine = min(0.97, 0.5 + abs(gap) / 0.12 * 0.5)
        return [(index, mine), (index - 1 if gap >= 0 else index + 1, 1 - mine)]


class Pools:
    """Real readings: arrays of `pool-*.npz` in a folder, looked for again at times, because they come while training
    runs. Pictures with the same number in `row` follow each other and show one table that changes. Scenes are lists of
    at most MOST things here; fuller ones are left out."""

    def __init__(self, folder: Path | None, seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.read: set[str] = set()
        self.scenes: list[list[Thing]] = []
        self.elsewhere: list[Sight] = []
        self.sights: list[NDArray[np.float16]] = []
        self.stories: list[range] = []  # which of `scenes` follow each other

    def __len__(self) -> int:
        return len(self.scenes)

    def look_again(self) -> int:
        """Read pools that are new; how many scenes came."""
        if self.folder is None or not self.folder.is_dir():
            return 0
        before = len(self)
        for path in sorted(self.folder.glob("pool-*.npz")):
            if path.name in self.read:
                continue
            try:
                with np.load(path) as file:
                    arrays = {name: file[name] for name in ("things", "n", "other", "sight", "row")}
            except (OSError, ValueError, EOFError, KeyError):
                continue  # still being written
            self.read.add(path.name)
            last = -1
            for things, n, other, sight, row in zip(*arrays.values(), strict=True):
                if other:
                    self.elsewhere.append(sight.astype(np.float32))
                elif n <= MOST:
                    at = len(self.scenes)
                    self.scenes.append([(int(t[0]), int(t[1]), float(t[2]), float(t[3])) for t in things[: int(n)]])
                    self.sights.append(sight.astype(np.float16))
                    if row >= 0 and row == last:
                        self.stories[-1] = range(self.stories[-1].start, at + 1)
                    else:
                        self.stories.append(range(at, at + 1))
                    last = row
        return len(self) - before

    def story(self) -> list[tuple[list[Thing], Sight]]:
        """Pictures of one table, in order."""
        return [(self.scenes[at], self.sights[at].astype(np.float32)) for at in self.rng.choice(self.stories)]

    def draw(self) -> tuple[list[Thing], Sight]:
        at = self.rng.randrange(len(self.scenes))
        return self.scenes[at], self.sights[at].astype(np.float32)


def kept_cells(rng: random.Random, sight: Sight, prune: float) -> list[int]:
    """Cells that stay in a picture; of those that are surely empty, the share `prune` goes. A picture of something else
    than the table keeps one that says so."""
    cells = [i for i in range(CELLS) if sight[i, 0] < 0.9 or rng.random() >= prune]
    return cells or ([0] if sight[0, OTHER] > 0.5 else [])


def past_ages(rng: random.Random, length_s: float, most: int) -> list[float]:
    """Ages of kept pictures, newest first, spaced about evenly in the logarithm, up to `length_s`."""
    ages = [rng.choice([rng.uniform(0.1, 2.0), rng.uniform(0.1, 30.0)])]
    ratio = rng.uniform(1.3, 1.9)
    while len(ages) < most and ages[-1] < length_s:
        step = max(rng.uniform(0.5, 3.0), ages[-1] * (ratio - 1) * rng.uniform(0.8, 1.2))
        ages.append(ages[-1] + step)
    return [age for age in ages if age <= length_s] or ages[:1]


def seen_from(rng: random.Random, length_s: float, changes: Sequence[float]) -> list[float]:
    """Ages of the pictures that a session keeps in `length_s` of looking, oldest first: the first, one soon after each
    change (its age), and one when for half a minute there was none."""
    ages, waiting = [length_s], sorted((c for c in changes if c < length_s), reverse=True)
    while True:
        due = ages[-1] - LONGEST_S
        if waiting and waiting[0] >= due:
            due = max(0.0, min(waiting.pop(0) - rng.uniform(0.1, 1.2), ages[-1] - 0.5))
        if due <= 0:
            return ages
        ages.append(due)


def thinned(ages: Sequence[float], sizes: Sequence[int], high: int, low: int) -> list[int]:
    """Which pictures (oldest first, with the tokens they take) stay when there is room for so many tokens: they go by
    how close their neighbours are for their age, as `liveagent.window` has it."""
    left = list(range(len(ages)))
    if sum(sizes) <= high:
        return left
    now = ages[-1]
    while len(left) > 1 and sum(sizes[i] for i in left) > low:
        spacings = []
        for at, i in enumerate(left[:-1]):
            age = max(1e-9, ages[i] - now)
            before = ages[left[at - 1]] if at else ages[i] + age
            spacings.append(((before - ages[left[at + 1]]) / age, i))
        left.remove(min(spacings)[1])
    return left
