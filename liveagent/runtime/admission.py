"""`Admission`: whether one more session would still be served well, from how late ticks are.

Load is the larger of two shares: how much of its time the engine computes, and the 95th percentile of how late ticks
were done, in ticks of 80 ms. Somebody new is refused from 0.7 on, before the ticks of those who are inside get late,
and let in again below 0.55. The first is always let in.
"""

from __future__ import annotations

from collections import deque

from liveagent.audio import TICK_NS
from liveagent.runtime.request import Refused

FULL, ROOMY = 0.7, 0.55
WINDOW_S = 10.0
FEWEST = 25
"""Ticks before their lateness counts: two seconds of one session."""
RETRY_S = 5
MOST_TICKS = 4096


class Admission:
    """Fed with measurements, asked before anybody is let in. `now_s` is given: this reads no clock."""

    def __init__(self) -> None:
        self.load = 0.0
        self._full = False
        self._lateness_s: deque[tuple[float, float]] = deque(maxlen=MOST_TICKS)

    def tick(self, now_s: float, lateness_s: float) -> None:
        """A tick of somebody's was done so late."""
        self._lateness_s.append((now_s, lateness_s))

    def feed(self, now_s: float, engine_busy: float) -> None:
        """Weigh what is known; four times a second is enough."""
        while self._lateness_s and now_s - self._lateness_s[0][0] > WINDOW_S:
            self._lateness_s.popleft()
        late = sorted(each for _, each in self._lateness_s)
        share = late[int(len(late) * 0.95)] / (TICK_NS / 1e9) if len(late) >= FEWEST else 0.0
        load = max(engine_busy, share)
        self.load += 0.2 * (load - self.load)  # over a second or so: one late tick is none
        self._full = self.load >= (ROOMY if self._full else FULL)

    def check(self, free_lanes: int, sessions: int) -> None:
        """Refused (503): nobody more for now."""
        if free_lanes <= 0:
            raise Refused("every seat is taken; try again later", status=503, retry_s=RETRY_S, reason="lanes")
        if self._full and sessions:
            raise Refused("too busy for one more; try again later", status=503, retry_s=RETRY_S, reason="load")
