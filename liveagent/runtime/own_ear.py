"""`OwnEar`: which sound a session gives to the model's own ear, whose rows its decoder reads in the place of words.

An utterance is a clip of its own: it begins with the pre-roll, from a fresh state, so that what the decoder reads is
what it would read of a recording of it. A pause is only read when somebody speaks on behind it: while nothing is said
nothing is computed, and the silence that ends a turn is never waited for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from liveagent.audio import RATE_HZ, TICK_SAMPLES, Samples

PIECE_TICKS = 8
"""So much at most in one step: what was held back does not come at once."""
PAUSE_TICKS = 3
"""So much of a pause belongs to the word before it."""
MOST_TICKS = 30 * RATE_HZ // TICK_SAMPLES
"""30 s of a turn are heard, the longest clip that checkpoints know; what is said after that is not."""


@dataclass(slots=True)
class _Utterance:
    waiting: deque[Samples] = field(default_factory=deque)
    begun: bool = False  # something of it was given already
    ticks: int = 0  # of it, given or waiting
    pause: int = 0  # ticks of silence that it ends with so far

    def feed(self, samples: Samples, quiet: bool) -> None:
        self.ticks += 1
        if self.ticks <= MOST_TICKS:
            self.waiting.append(samples)
            self.pause = self.pause + 1 if quiet else 0

    def next(self) -> tuple[Samples, bool] | None:
        size = min(PIECE_TICKS, len(self.waiting) - max(0, self.pause - PAUSE_TICKS))
        if size <= 0:
            return None
        piece, first = np.concatenate([self.waiting.popleft() for _ in range(size)]), not self.begun
        self.begun = True
        return piece, first


class OwnEar:
    """One session's. An utterance that has ended may wait for what is before it, while the next one comes in."""

    def __init__(self) -> None:
        self._now: _Utterance | None = None
        self._ended: _Utterance | None = None

    @property
    def open(self) -> bool:
        return self._now is not None

    @property
    def full(self) -> bool:
        """Whether more was said than is heard."""
        return any(each is not None and each.ticks > MOST_TICKS for each in (self._now, self._ended))

    def begin(self, preroll: Sequence[Samples]) -> None:
        """Somebody speaks; `preroll`: the newest ticks, with what woke the detector."""
        self._now = _Utterance()
        for samples in preroll:
            self._now.feed(samples, False)

    def feed(self, samples: Samples, quiet: bool) -> None:
        """One tick. `quiet`: nobody speaks in it."""
        if self._now is not None:
            self._now.feed(samples, quiet)

    def next(self) -> tuple[Samples, bool] | None:
        """What to hear next of the open utterance, and whether it begins with that; None in a longer pause."""
        return self._now.next() if self._now is not None else None

    def rest(self) -> tuple[Samples, bool] | None:
        """What is left of the utterance that has ended, piece by piece."""
        return self._ended.next() if self._ended is not None else None

    def end(self) -> None:
        """That was all of it; the pause at its end is not heard."""
        self._ended, self._now = self._now, None

    def cancel(self) -> None:
        """It was nothing."""
        self._now = None

    def forget(self) -> None:
        """Nobody asks for the ended one any more."""
        self._ended = None
