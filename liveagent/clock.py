"""Clocks of devices beside the session's: how far off, how much too fast, and at what moment something really was.

Nothing here reads a clock. A device's own times run evenly but by a crystal of their own; the times at which its data
arrived are on the session's clock, but late by whatever was in the way. `ClockFit` has the even pace of the one on the
clock of the other. Which of two devices is late against the other, times alone cannot say: see `offset.Offset`.
"""

from __future__ import annotations

from collections import deque
from typing import TypeAlias

BUCKET_NS = 2_000_000_000
BUCKETS = 300  # ten minutes: a crystal's pace changes with its warmth
TRUST_NS = 5_000_000_000  # before, a pace is noise
DRIFT_NS = 20_000_000_000
MOST_DRIFT = 1e-3  # no crystal is off by more; times that are were made up from a nominal rate
WILD = 5e-3  # what even a few seconds can tell from jitter
LEAP_NS = 200_000_000
LATE_NS = 500_000_000
EARLY = 0.3  # of the time between two pictures: so much too early is as good as in time
LEAST_STEP_S = 1e-6
MOST_STEP_S = 60.0  # a file whose times leap further has damaged times

_Point: TypeAlias = tuple[int, int]


class ClockFit:
    """A device's clock, fitted to the session's.

    Of the differences between arrival and device time only the smallest count, for an arrival can be late and never
    early: the fit is the line under them that lies nearest to them all (Moon, Skelly and Towsley, "Estimation and
    removal of clock skew from network delay measurements", 1999, solved on the lower convex hull). Memory: the least
    difference of each 2 s of the last ten minutes.

    A clock that jumps changes nothing but the count: the fit begins anew where the clock now stands, at the pace that
    was known. A clock whose pace is not a crystal's (a stream that numbers its pictures and gives a nominal rate) is
    not `trusted`, and the arrival times stand.
    """

    def __init__(self) -> None:
        self.jumps = 0
        """How often the device's clock leapt, or the session's went backwards."""
        self.repeats = 0
        """How often the device said the same time again."""
        self._points: deque[_Point] = deque(maxlen=BUCKETS)  # device time, least difference in its 2 s
        self._bucket_end_ns: int | None = None
        self._slope = 0.0  # of the difference: minus the drift
        self._anchor: _Point | None = None  # a point of the line
        self._paced = False
        self._device_ns: int | None = None
        self._session_ns = 0
        self._given_ns: int | None = None
        self._late_since_ns: int | None = None

    @property
    def trusted(self) -> bool:
        """Whether the device's own times are used. Never in the first 5 s."""
        return self._paced and abs(self._slope) <= MOST_DRIFT

    @property
    def drift_ppm(self) -> float:
        """How much faster the device's clock goes than the session's, in parts per million; 0 before it is known."""
        return -1e6 * self._slope / (1 + self._slope) if self.trusted else 0.0

    @property
    def offset_ns(self) -> int:
        """What is to be added to the device's last time to have it on the session's clock."""
        return 0 if self._device_ns is None else round(self._line(self._device_ns))

    def feed(self, device_ns: int, session_ns: int) -> int:
        """What the device stamped `device_ns` arrived at `session_ns`; when it was, on the session's clock.

        Never later than its arrival, and later than whatever was given before.
        """
        if session_ns < self._session_ns:
            self.jumps += 1
            session_ns = self._session_ns
        self._session_ns = session_ns
        if self._device_ns is not None and device_ns == self._device_ns:
            self.repeats += 1
            return self._give(session_ns)
        difference = session_ns - device_ns
        if self._leapt(device_ns, difference):
            self.jumps += 1
            self._begin(device_ns, difference)
        self._device_ns = device_ns
        self._take(device_ns, difference)
        if not self.trusted:
            return self._give(session_ns)
        return self._give(min(session_ns, device_ns + round(self._line(device_ns))))

    def to_session(self, device_ns: int) -> int:
        """A moment of the device's clock, on the session's."""
        return device_ns + round(self._line(device_ns))

    def to_device(self, session_ns: int) -> int:
        """A moment of the session's clock, on the device's."""
        if self._anchor is None:
            return session_ns
        x, y = self._anchor
        slope = self._slope if self.trusted else 0.0
        return x + round((session_ns - x - y) / (1 + slope))

    def _give(self, at_ns: int) -> int:
        if self._given_ns is not None:
            at_ns = max(at_ns, self._given_ns + 1)
        self._given_ns = at_ns
        return at_ns

    def _line(self, device_ns: int) -> float:
        if self._anchor is None:
            return 0.0
        x, y = self._anchor
        return y + (self._slope * (device_ns - x) if self.trusted else 0.0)

    def _leapt(self, device_ns: int, difference: int) -> bool:
        if self._device_ns is None:
            return False
        if device_ns < self._device_ns:
            return True
        if not self.trusted:
            return False
        beyond = difference - self._line(device_ns)
        if beyond < LATE_NS:
            self._late_since_ns = None
            return beyond < -LEAP_NS  # it cannot have arrived before it was: the device's clock leapt forward
        # Late: the way there may be stopped up, and will clear; what stays late is a clock that stood still.
        if self._late_since_ns is None:
            self._late_since_ns = self._session_ns
        return self._session_ns - self._late_since_ns > TRUST_NS

    def _begin(self, device_ns: int, difference: int) -> None:
        self._points.clear()
        self._bucket_end_ns = self._late_since_ns = None
        self._anchor = device_ns, difference

    def _take(self, device_ns: int, difference: int) -> None:
        if self._bucket_end_ns is None or device_ns >= self._bucket_end_ns:
            self._bucket_end_ns = device_ns + BUCKET_NS
            self._points.append((device_ns, difference))
            self._fit()
        elif difference < self._points[-1][1]:
            self._points[-1] = device_ns, difference
        elif self._anchor is not None:
            return
        if self._anchor is None or difference < self._line(device_ns):
            self._anchor = device_ns, difference

    def _fit(self) -> None:
        span_ns = self._points[-1][0] - self._points[0][0]
        if span_ns < TRUST_NS:
            return
        left, right = _edge(list(self._points))
        slope = (right[1] - left[1]) / (right[0] - left[0])
        if span_ns >= DRIFT_NS or abs(slope) > WILD:
            self._slope, self._anchor = slope, right
        self._paced = True


def _edge(points: list[_Point]) -> tuple[_Point, _Point]:
    """The edge of the lower convex hull that lies under the points' mean x: the nearest line below them all."""
    hull: list[_Point] = []
    for x, y in points:
        while len(hull) > 1:
            (ax, ay), (bx, by) = hull[-2:]
            if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                break
            hull.pop()
        hull.append((x, y))
    middle = sum(x for x, _ in points) / len(points)
    at = next(i for i, (x, _) in enumerate(hull) if x > middle)
    return hull[at - 1], hull[at]


class Timeline:
    """The times of a recorded file made fit for a clock: they begin at 0 and only ever grow.

    A picture without a time, or with one that is not after the time before, comes one usual step after it, and all that
    follow are moved along (`mended` counts these); so is a leap of more than a minute.
    """

    def __init__(self, usual_step_s: float, first_s: float | None = None) -> None:
        """`first_s`: the file's time that becomes 0; None: that of the first picture."""
        self.mended = 0
        self._step_s = usual_step_s
        self._moved_s = None if first_s is None else -first_s
        self._last_s: float | None = None

    def feed(self, time_s: float | None) -> float:
        """When it is to be shown, in s."""
        if self._moved_s is None:
            self._moved_s = -(time_s or 0.0)
        if self._last_s is None:
            at = max(0.0, (time_s or 0.0) + self._moved_s)
            if at > MOST_STEP_S:
                self.mended += 1
                self._moved_s, at = -(time_s or 0.0), 0.0
        elif time_s is not None and LEAST_STEP_S < time_s + self._moved_s - self._last_s <= MOST_STEP_S:
            at = time_s + self._moved_s
        else:
            self.mended += 1
            at = self._last_s + self._step_s
            if time_s is not None:
                self._moved_s = at - time_s
        self._last_s = at
        return at


class Pace:
    """Which pictures are looked at, so that it is at most one each `step_ns` in the long run."""

    def __init__(self, step_ns: int) -> None:
        self._step_ns = step_ns
        self._next_ns: int | None = None

    def is_due(self, t_ns: int) -> bool:
        return self._next_ns is None or t_ns >= self._next_ns - EARLY * self._step_ns

    def take(self, t_ns: int) -> None:
        self._next_ns = max(t_ns, self._next_ns or t_ns) + self._step_ns
