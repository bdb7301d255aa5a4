"""`Offset`: how far the agent's clock is from the robot's.

Two views of it. What the robot sees itself: a message sent at `a` on the one clock and here at `b` on the other took
b - a less the clocks' distance, so the smallest of many such differences is at least that distance, and above it by the
quickest way there was. And what the agent says, who sees the echoes and so both ways. The agent is believed as far as
the robot's own view allows, since no message arrives before it was sent.
"""

from __future__ import annotations

from collections import deque

from .contract import MOST_SKEW_MS

VIEWS = 10
"""A second of leases: a clock that was set anew is believed after that."""
SLACK_MS = 50.0
"""How far the agent may be wrong about it: half of how much the two ways differ."""


class Offset:
    """Robot's clock minus agent's, for one session."""

    def __init__(self, most_skew_ms: float = MOST_SKEW_MS) -> None:
        self._most_skew_ms = most_skew_ms
        self._seen: deque[float] = deque(maxlen=VIEWS)
        self._told: float | None = None

    def feed(self, sent_ms: float, received_ms: float, told_ms: float | None = None) -> None:
        self._seen.append(received_ms - sent_ms)
        self._told = told_ms

    @property
    def ms(self) -> float:
        """The best that is known; 0 before anything is."""
        if not self._seen:
            return 0.0
        own = min(self._seen)
        return own if self._told is None else self._told

    @property
    def known(self) -> bool:
        return bool(self._seen)

    @property
    def skewed(self) -> bool:
        """Whether late cannot be told from early: the clocks are too far apart, or the two views contradict."""
        if not self._seen:
            return False
        own = min(self._seen)
        if self._told is not None and self._told > own + SLACK_MS:
            return True
        return abs(self.ms) > self._most_skew_ms

    def here_ms(self, there_ms: float) -> float:
        """A time of the agent's on the robot's clock."""
        return there_ms + self.ms
