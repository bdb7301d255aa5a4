"""`Most`: how many at once still fit into a tick, found by doubling and then by halving the gap."""

from __future__ import annotations

from collections.abc import Sequence

from liveagent.audio import TICK_NS

TICK_MS = TICK_NS / 1e6


def ranked(values: Sequence[float], share: float) -> float:
    """The least of the values that so large a share of them does not exceed."""
    in_order = sorted(values)
    return in_order[max(0, -int(-len(in_order) * share // 1) - 1)]


class Most:
    """`held`: the most that fitted so far. Ask `next`, try that many, `tell`; until it is None."""

    def __init__(self, first: int, most: int) -> None:
        self.held, self._first, self._over = 0, first, most + 1

    @property
    def next(self) -> int | None:
        if self._over - self.held <= 1:
            return None
        doubled = 2 * self.held or self._first
        return doubled if doubled < self._over else (self.held + self._over) // 2

    def tell(self, count: int, fits: bool) -> None:
        if fits:
            self.held = max(self.held, count)
        else:
            self._over = min(self._over, count)
