"""`Call`: one order that is being carried out, as the function that does so sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

REPORT_S = 0.1


class Halted(Exception):
    """The action may not move the robot any more: stopped, cancelled, or nobody drives. Let it through."""


class Call:
    """`id`: of the order. Its functions return at once, and may be called from any place in the event loop."""

    def __init__(
        self,
        id: str,
        told: Callable[[float, str], None],
        move: Callable[[Mapping[str, float]], dict[str, float]],
        aim: Callable[[Sequence[float]], tuple[float, ...]],
    ) -> None:
        self.id = id
        self._told, self._move, self._aim = told, move, aim
        self.over = False
        """Whether it has been cancelled or stopped: for plain functions in a thread, who must look by themselves."""

    def report(self, progress: float, detail: str = "") -> None:
        """So much of it is done, from 0 to 1. As often as one likes; ten a second are sent."""
        self._told(min(1.0, max(0.0, progress)), detail)

    def move(self, **axes: float) -> dict[str, float]:
        """Set speeds, within the limits; good for 200 ms, so say it again. What is applied now. Halted."""
        self._check()
        return self._move(axes)

    def aim(self, targets: Sequence[float]) -> tuple[float, ...]:
        """Joint targets as the limits allow them: what may be given to the motors this tick. Halted."""
        self._check()
        return self._aim(targets)

    def _check(self) -> None:
        if self.over:
            raise Halted("this action is over")
