"""What gives way when ticks are late, in a declared order: what is shown, then pictures, then how often what is said
is read. Sound never (LAW 3).

A late tick alone is nothing: a reply that begins costs several ticks at once. Only who stays behind climbs down, one
rung at a time, and climbs up again when it has kept up for a while; whoever falls behind again soon after waits longer
before the next attempt. Without a clock: whoever owns one says how late each tick was. Each step is a `Shed` for the
inbox, so it is journalled with its tick and a replay obeys it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from liveagent.audio import TICK_NS
from liveagent.event import EndGuessed, Event, Shed, TickHeard

PRUNING = "pruning"
WIDE: Mapping[str, int] = {"wider_tick": 4, "widest_tick": 8}
"""Of what a user says, what came in so many ticks is read at once: a model whose step takes longer than a tick then
keeps up, and the end of a turn is found later by as much. With PRUNING the rungs that the session itself obeys; the
others keep things from it."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One thing that gives way. what: its name in `Shed`; said: what that means for the user."""

    what: str
    said: str
    shown_every: int = 1
    """Of what is shown at every tick, one tick in so many."""
    stale_ns: int | None = None
    """Pictures older than this are not looked at."""
    picture_step_ns: int = 0
    """The least time between two pictures."""
    prune: bool = False
    """Keep fewer cells of a picture."""


RUNGS = (
    Rung("telemetry", "the screen is told less", 8),
    Rung("stale_video", "pictures older than 0.4 s are not looked at", 8, 400_000_000),
    Rung("video_2_hz", "two pictures a second are looked at", 8, 400_000_000, 500_000_000),
    Rung("video_1_hz", "one picture a second is looked at", 8, 400_000_000, 1_000_000_000),
    Rung(PRUNING, "only what is surely on a picture is kept of it", 8, 400_000_000, 1_000_000_000, True),
    *(
        Rung(what, f"what is said is read every {ticks * 0.08:.1f} s", 8, 400_000_000, 1_000_000_000, True)
        for what, ticks in WIDE.items()
    ),
)
"""In this order. Each holds what the ones before it gave up, too."""
_NOTHING = Rung("", "")

LATE_NS = 2 * TICK_NS
EASY_NS = 3 * TICK_NS // 2
LATE_TICKS = 4
"""So many late ticks in a row, and the next rung gives way."""
EASY_TICKS, MOST_EASY_TICKS = 64, 1024
"""So many ticks in time, and the last rung is taken back: five seconds' worth, up to more than a minute."""
AGAIN_TICKS = 128


class Overrun:
    """`feed` it each tick's lag. `level` rungs have given way; `now` is what holds."""

    def __init__(self) -> None:
        self.level = 0
        self._late = self._easy = 0
        self._patience = EASY_TICKS
        self._since_back = AGAIN_TICKS

    @property
    def now(self) -> Rung:
        return RUNGS[self.level - 1] if self.level else _NOTHING

    def feed(self, t_ns: int, lag_ns: int) -> Shed | None:
        """How late the tick that ended at `t_ns` was done. What changes: `count` 1 for what gives way from now on, 0
        for what is taken back."""
        self._since_back += 1
        self._late = self._late + 1 if lag_ns > LATE_NS else 0
        self._easy = self._easy + 1 if lag_ns < EASY_NS else 0
        if self._late >= LATE_TICKS and self.level < len(RUNGS):
            if self._since_back < AGAIN_TICKS:
                self._patience = min(MOST_EASY_TICKS, 2 * self._patience)
            self._late, self.level = 0, self.level + 1
            return Shed(t_ns, self.now.what, 1, f"{lag_ns / 1e6:.0f} ms late: {self.now.said}")
        if self._easy >= self._patience and self.level:
            given_back = self.now.what
            self._easy, self._since_back, self.level = 0, 0, self.level - 1
            return Shed(t_ns, given_back, 0, "in time again")
        if self._easy >= MOST_EASY_TICKS:
            self._patience = EASY_TICKS
        return None

    def shows(self, event: Event, tick: int) -> bool:
        """Whether a viewer is told of this event of that tick. What is told once is always told."""
        return tick % self.now.shown_every == 0 or not isinstance(event, TickHeard | EndGuessed)

    def due(self, t_ns: int, shown_ns: int | None) -> bool:
        """Whether a picture may be looked at by the tick that ends at `t_ns`; one was at `shown_ns` (None: never)."""
        return shown_ns is None or t_ns - shown_ns >= self.now.picture_step_ns

    def stale(self, t_ns: int, taken_ns: int) -> bool:
        """Whether a picture that was taken at `taken_ns` is too old for the tick that ends at `t_ns`."""
        return self.now.stale_ns is not None and t_ns - taken_ns > self.now.stale_ns
