"""`Latch`: a stop stays until an operator lifts exactly that stop; each of the two begins another epoch."""

from __future__ import annotations

import secrets

from .now import Now


class Latch:
    """`epoch` tells one stretch of a robot's life from every other, over restarts too: it is made of the time, and of
    chance for robots that forget the time when they are off."""

    def __init__(self, now: Now, epoch: int | None = None) -> None:
        self.epoch = epoch if epoch is not None else self._next(0, now)
        self.stop_id: str | None = None

    @property
    def stopped(self) -> bool:
        return self.stop_id is not None

    def stop(self, stop_id: str, now: Now) -> bool:
        """Whether this is a stop that was not latched already. The newest is what a reset must name."""
        if self.stop_id == stop_id:
            return False
        self.stop_id = stop_id
        self.epoch = self._next(self.epoch, now)
        return True

    def reset(self, stop_id: str, now: Now) -> bool:
        """Whether that lifted it: it must be the stop that is latched."""
        if self.stop_id is None or self.stop_id != stop_id:
            return False
        self.stop_id = None
        self.epoch = self._next(self.epoch, now)
        return True

    @staticmethod
    def _next(epoch: int, now: Now) -> int:
        return max(epoch + 1, int(now.ms) * 1000 + secrets.randbelow(1000))
