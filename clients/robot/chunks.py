"""`ChunkBuffer`: what the robot's own loop will do next, when an agent sends a stretch of it now and then.

A chunk is late when it comes: what lies before now is past. The first steps from now on stay as planned (the robot is
already in them), the next are blended from the old plan into the new one, the rest is new. When the plan runs out the
robot is led to a hold: a position goes on in its direction with its speed falling to nothing, a speed falls to zero.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Literal

FREEZE_STEPS = 2
BLEND_STEPS = 8
MOST_AHEAD_S = 10.0

Action = tuple[float, ...]


class ChunkBuffer:
    """Times are the robot's own, in seconds, growing."""

    def __init__(
        self,
        kind: Literal["position", "velocity"] = "position",
        ramp_s: float = 0.15,
        freeze_steps: int = FREEZE_STEPS,
        blend_steps: int = BLEND_STEPS,
    ) -> None:
        self._kind, self._ramp_s = kind, ramp_s
        self._freeze_steps, self._blend_steps = freeze_steps, blend_steps
        self._times: list[float] = []
        self._plan: list[Action] = []
        self._until_s = 0.0  # how long the last of them is in force: as long as any other
        self._dt_s = 0.0
        self._rates: Action = ()  # how fast the plan ends, each value a second
        self._open = False  # whether more was to come
        self._given: tuple[float, Action] | None = None  # what was sampled last of the plan, and when
        self.starved_ticks = 0
        """Ticks for which there should have been an action, and was none."""

    def feed(
        self, actions: Sequence[Sequence[float]], t0_s: float, dt_s: float, now_s: float, replaces_from: int = 0,
        last: bool = False,
    ) -> int:
        """Take a chunk in; how many of its actions are still to come. 0: all of it was past."""
        times = [t0_s + at * dt_s for at in range(len(actions))]
        free_from_s = now_s - dt_s
        if self._times and self._until_s > now_s:  # no further than it reaches: single actions freeze nothing
            free_from_s = max(free_from_s, min(now_s + self._freeze_steps * dt_s, times[-1]))
        first = max(replaces_from, bisect.bisect_left(times, free_from_s))
        until = bisect.bisect_right(times, now_s + MOST_AHEAD_S)
        if first >= until:
            return 0
        fresh_times, fresh = [], []
        for at in range(first, until):
            new = tuple(float(value) for value in actions[at])
            old = self._planned(times[at])
            if old is not None and len(old) == len(new) and len(actions) > 1:
                share = min(1.0, (at - first + 1) / (self._blend_steps + 1))
                new = tuple(share * b + (1.0 - share) * a for a, b in zip(old, new, strict=True))
            fresh_times.append(times[at])
            fresh.append(new)
        keep_from = max(0, bisect.bisect_right(self._times, now_s) - 1)
        keep_to = bisect.bisect_left(self._times, fresh_times[0])
        self._times = self._times[keep_from:keep_to] + fresh_times
        self._plan = self._plan[keep_from:keep_to] + fresh
        self._dt_s, self._until_s, self._open = dt_s, fresh_times[-1] + dt_s, not last
        self._rates = self._slope(len(self._times) - 1)
        return len(fresh)

    def sample(self, now_s: float) -> Action | None:
        """What to do now; None before there was ever anything, and after a hold is reached."""
        action = self._planned(now_s)
        if action is None and self._times and now_s < self._times[0]:
            return self._given[1] if self._given is not None else None
        if action is not None:
            self._given = (now_s, action)
            return action
        self.starved_ticks += self._open
        return None if self._given is None else self._led_out(now_s)

    @property
    def empty(self) -> bool:
        """Whether nothing is planned and nothing is being led out."""
        return not self._times and self._given is None

    def runs_dry(self, now_s: float) -> bool:
        """Whether the plan has run out though more was to come."""
        return bool(self._times) and now_s > self._until_s and self._open

    def flush(self) -> None:
        """Forget all of it, at once: a stop."""
        self._forget()
        self._open = False

    def end(self, now_s: float) -> None:
        """Forget the plan, and lead out from where it stands: nobody drives any more."""
        self._open = False
        if self._given is not None and self._planned(now_s) is not None:
            self._rates = self._slope(bisect.bisect_right(self._times, now_s))
            self._times, self._plan, self._until_s = [self._given[0]], [self._given[1]], self._given[0]

    def _forget(self) -> None:
        self._times, self._plan, self._given = [], [], None

    def _slope(self, at: int) -> Action:
        """How fast values change on the way to action number `at`."""
        at = min(at, len(self._times) - 1)
        if at < 1 or len(self._plan[at]) != len(self._plan[at - 1]):
            return (0.0,) * len(self._plan[at])
        span_s = max(self._times[at] - self._times[at - 1], self._dt_s)  # single actions may come in a burst
        return tuple((b - a) / span_s for a, b in zip(self._plan[at - 1], self._plan[at], strict=True))

    def _planned(self, t_s: float) -> Action | None:
        if not self._times or t_s < self._times[0] or t_s > self._until_s:
            return None
        at = bisect.bisect_right(self._times, t_s) - 1
        if at + 1 >= len(self._times):  # the last goes on as it came
            past_s = t_s - self._times[at] if self._kind == "position" else 0.0
            return tuple(value + rate * past_s for value, rate in zip(self._plan[at], self._rates, strict=True))
        share = (t_s - self._times[at]) / (self._times[at + 1] - self._times[at])
        here, there = self._plan[at], self._plan[at + 1]
        if len(here) != len(there):
            return here
        return tuple(a + share * (b - a) for a, b in zip(here, there, strict=True))

    def _led_out(self, now_s: float) -> Action | None:
        assert self._given is not None
        since_s, from_ = self._given
        gone_s = now_s - since_s
        if self._kind == "velocity":
            left = max(0.0, 1.0 - gone_s / self._ramp_s) if self._ramp_s > 0 else 0.0
            if left == 0.0:
                self._forget()
            return tuple(value * left for value in from_)
        gone_s = min(gone_s, self._ramp_s)
        way_s = gone_s - gone_s * gone_s / (2.0 * self._ramp_s) if self._ramp_s > 0 else 0.0
        held = tuple(value + rate * way_s for value, rate in zip(from_, self._rates, strict=True))
        if gone_s >= self._ramp_s:
            self._forget()
        return held
