"""`Sync`: sound and pictures on one clock, that of the microphone's samples (LAW 2).

A camera's pictures are stamped on the machine's clock, a session counts samples; an hour apart the two differ by as
much as the sound card's crystal is off. What is told here is for a meter; the session decides nothing by it.
"""

from __future__ import annotations

from collections.abc import Iterable

from liveagent.audio import SAMPLE_NS, TICK_NS, Tick
from liveagent.clock import ClockFit
from liveagent.event import ClocksCompared, Event, FrameSeen
from liveagent.offset import Offset

WILD_NS = 2_000_000_000  # a sound server's first guesses of when a sound was made are wild
TELL_TICKS = 125


class Sync:
    """Fed with what was heard and seen, it carries times from one clock to the other and compares them.

    Where the source stamps by count itself, as files do, both directions change nothing at all.
    """

    def __init__(self) -> None:
        self.microphone = ClockFit()
        """The microphone's clock against the machine's."""
        self.offset = Offset()
        self._first_ns: int | None = None
        self._stamped_ns: int | None = None
        self._sees = False

    def heard(self, t_ns: int, drift_ns: int) -> None:
        """A chunk was stamped `t_ns` by the machine's clock, which is `drift_ns` more than by count of samples."""
        counted_ns = t_ns - drift_ns
        if self._first_ns is None:
            self._first_ns = counted_ns
        if counted_ns - self._first_ns >= WILD_NS:
            self.microphone.feed(counted_ns, t_ns)

    def to_machine(self, session_ns: int) -> int:
        """A moment of the session's clock, on the machine's."""
        return self.microphone.to_session(session_ns)

    def stamp(self, machine_ns: int) -> int:
        """When a picture was taken, on the session's clock: later than the one before, however the fit has moved."""
        at_ns = self.microphone.to_device(machine_ns)
        if self._stamped_ns is not None:
            at_ns = max(at_ns, self._stamped_ns + 1)
        self._stamped_ns = at_ns
        return at_ns

    def tick(self, tick: Tick, events: Iterable[Event], camera: ClockFit | None = None) -> ClocksCompared | None:
        """One tick and what was seen in it; every ten seconds in which something is seen, how the clocks compare."""
        self.offset.feed_sound(tick.samples, tick.t_ns)
        for event in events:
            if isinstance(event, FrameSeen):
                moved = event.patches / event.of if event.reason == "changed" else 0.0  # a cut is often the codec's
                self.offset.feed_picture(moved, event.t_ns)
                self._sees = True
        if not self._sees or tick.index % TELL_TICKS != TELL_TICKS - 1:
            return None
        offset_ms = self.offset.estimate()
        return ClocksCompared(
            tick.t_ns + TICK_NS - SAMPLE_NS,
            round(self.microphone.drift_ppm, 1),
            round(camera.drift_ppm, 1) if camera is not None and camera.trusted else None,
            None if offset_ms is None else round(offset_ms, 1),
            round(self.offset.confidence, 2),
            self.microphone.jumps + (camera.jumps if camera is not None else 0),
        )
