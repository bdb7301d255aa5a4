"""Whether a picture is worth a place in memory, by how much of it has changed: for eyes that only their own decoder can
read, where `liveagent.news` reads what the eye says.

A rule over what `Keyframes` found in each picture, so over pixels and times alone. Something has changed when patches
moved since a picture was kept last; it is kept when nothing has moved for a moment, or, where it goes on moving, now
and then. A single patch that moved once is no news: it may be a shadow.
"""

from __future__ import annotations

from liveagent.keyframe import Change
from liveagent.news import Why

LEAST_PATCHES = 4
"""So many patches have moved, over all pictures since the last that was kept."""


class Scenery:
    """Says of each picture, as it comes, whether it is worth keeping.

    settle_s: how long nothing must have moved. moving_s: where something always moves, how often it is kept. gap_s: the
    least time between two that are kept. longest_s: after this long it is kept although nothing is new.
    """

    def __init__(
        self, settle_s: float = 0.3, moving_s: float = 2.0, gap_s: float = 0.5, longest_s: float = 30.0
    ) -> None:
        self._settle_ns, self._moving_ns = int(settle_s * 1e9), int(moving_s * 1e9)
        self._gap_ns, self._longest_ns = int(gap_s * 1e9), int(longest_s * 1e9)
        self._kept_ns: int | None = None
        self._moved = 0  # patches, since a picture was kept
        self._since_ns: int | None = None  # since when there is something new
        self._still_ns = 0  # since when nothing has moved

    def see(self, change: Change, t_ns: int) -> None:
        """Every picture that is looked at."""
        self._still_ns = min(self._still_ns, t_ns)  # a clock that jumped back
        if change.moved:
            self._moved += change.moved
            self._still_ns = t_ns
            if self._since_ns is None and self._moved >= LEAST_PATCHES:
                self._since_ns = t_ns

    def feed(self, t_ns: int) -> Why | None:
        """Whether the newest picture is to be kept; it then counts as kept."""
        if self._kept_ns is None:
            return self._keep(t_ns, "first")
        self._kept_ns = min(self._kept_ns, t_ns)
        waited = t_ns - self._kept_ns
        if self._since_ns is not None:
            self._since_ns = min(self._since_ns, t_ns)
            settled = t_ns - self._still_ns >= self._settle_ns or t_ns - self._since_ns >= self._moving_ns
            if settled and waited >= self._gap_ns:
                return self._keep(t_ns, "changed")
        return self._keep(t_ns, "refresh") if waited >= self._longest_ns else None

    def ask(self, t_ns: int) -> Why | None:
        """As `feed`, where somebody wants to know now: whatever has moved is news at once."""
        if self._kept_ns is None or not self._moved:
            return self.feed(t_ns)
        return self._keep(t_ns, "changed")

    def _keep(self, t_ns: int, why: Why) -> Why:
        self._kept_ns, self._moved, self._since_ns = t_ns, 0, None
        return why
