"""Whether what an eye says of a picture is news: worth a place in memory beside what was put there last.

A rule over sights alone. An eye's numbers tremble; so a thing must be sure to be there (or to be gone) before it counts
as having come (or left), a thing on the edge of two cells is the same thing in either, and it is moved only when it has
moved by half a cell. What passes these must still be so a moment later: one blurred picture is no news.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from liveagent.sight import CELLS, COLOUR, COUNT, GRID, OTHER, PLACE, SHAPE, Sight

SURE, MAYBE = 0.65, 0.35
FAINT = 0.1  # a thing where four cells meet is a quarter in each
NEAR_CELLS = 0.55  # a thing found this near to where it was has not moved

Why = Literal["first", "changed", "refresh"]


@dataclass(frozen=True, slots=True, eq=False)
class _Thing:
    sure: float  # that there is one at all
    several: float  # that there are more than one in this cell
    x: float  # in cells from the top left of the picture
    y: float
    looks: np.ndarray  # colour and shape, [14]


def _things(sight: Sight) -> list[_Thing]:
    """What may be there, all of it above MAYBE. Where a thing lies between cells, each has a share of it."""
    found = []
    for cell in range(CELLS):
        row = sight[cell]
        there = 1.0 - float(row[COUNT][0])
        if there > FAINT:
            x, y = (0.5 + 0.5 * float(part) for part in row[PLACE])
            looks = np.concatenate([row[COLOUR], row[SHAPE]])
            found.append(_Thing(there, float(row[COUNT][2]), cell % GRID + x, cell // GRID + y, looks))
    whole = [replace(each, sure=min(1.0, sum(o.sure for o in found if _same(each, o)))) for each in found]
    return [each for each in whole if each.sure > MAYBE]


def _same(a: _Thing, b: _Thing) -> bool:
    if max(abs(a.x - b.x), abs(a.y - b.y)) > NEAR_CELLS:
        return False
    if (a.several > SURE and b.several < MAYBE) or (b.several > SURE and a.several < MAYBE):
        return False
    # Half the summed difference of colour and of shape: total variation, 0 .. 1 each.
    apart = np.abs(a.looks - b.looks)
    return float(apart[:8].sum()) / 2 < 0.5 and float(apart[8:].sum()) / 2 < 0.5


def differ(a: Sight, b: Sight) -> bool:
    """Whether two sights surely say different things."""
    if (a[0, OTHER] > SURE and b[0, OTHER] < MAYBE) or (b[0, OTHER] > SURE and a[0, OTHER] < MAYBE):
        return True
    if min(a[0, OTHER], b[0, OTHER]) > SURE:  # off the toy table in both: what else the eye says means nothing there
        return False
    ours, theirs = _things(a), _things(b)
    for one, many in ((ours, theirs), (theirs, ours)):
        if any(thing.sure > SURE and not any(_same(thing, other) for other in many) for thing in one):
            return True
    return False


class News:
    """Says of each sight, as it comes, whether it is worth keeping, against what was kept last.

    settle_s: how long it must have been different. gap_s: the least time between two that are kept. longest_s: after
    this long it is kept although nothing is new.
    """

    def __init__(self, settle_s: float = 0.15, gap_s: float = 0.5, longest_s: float = 30.0) -> None:
        self._settle_ns, self._gap_ns, self._longest_ns = (int(s * 1e9) for s in (settle_s, gap_s, longest_s))
        self.reset()

    def reset(self) -> None:
        self._kept: Sight | None = None
        self._last: Sight | None = None
        self._kept_ns = 0
        self._since_ns: int | None = None  # since when it has been different

    def feed(self, sight: Sight, t_ns: int) -> Why | None:
        """Feed the newest sight at every picture, the same object again while the picture stands still; a reason means
        that it is to be kept, and is taken as kept. Sights that are no numbers are never news."""
        if sight is not self._last and not bool(np.isfinite(sight).all()):
            return None
        if self._kept is None:
            return self._keep(sight, t_ns, "first")
        self._kept_ns = min(self._kept_ns, t_ns)  # a clock that jumped back
        if sight is not self._last:
            self._last = sight
            if not differ(self._kept, sight):
                self._since_ns = None
            elif self._since_ns is None:
                self._since_ns = t_ns
        waited = t_ns - self._kept_ns
        if self._since_ns is not None:
            self._since_ns = min(self._since_ns, t_ns)
            if t_ns - self._since_ns >= self._settle_ns and waited >= self._gap_ns:
                return self._keep(sight, t_ns, "changed")
        return self._keep(sight, t_ns, "refresh") if waited >= self._longest_ns else None

    def ask(self, sight: Sight, t_ns: int) -> Why | None:
        """As `feed`, where somebody wants to know now: what differs is news at once."""
        if self._kept is None or not bool(np.isfinite(sight).all()) or not differ(self._kept, sight):
            return self.feed(sight, t_ns)
        return self._keep(sight, t_ns, "changed")

    def _keep(self, sight: Sight, t_ns: int, why: Why) -> Why:
        self._kept = self._last = sight
        self._kept_ns, self._since_ns = t_ns, None
        return why
