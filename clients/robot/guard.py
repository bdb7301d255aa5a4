"""`Guard`: a verdict on everything that wants to move the robot. No I/O, no clock, no task: what a test can hold still.

The order of its questions is the order of what matters: is it stopped, is it from before, does whoever says so drive,
is it late, is it allowed, is it confirmed, is it too often.
"""

from __future__ import annotations

from typing import NamedTuple

from .contract import (
    LEASE_WINDOW_MS,
    MOST_SKEW_MS,
    Chunk,
    Command,
    Lease,
    LeaseEcho,
    Reason,
    ToolSpec,
    Velocity,
    is_confirmed,
)
from .latch import Latch
from .lease import LeaseWatch
from .limits import Limits
from .now import Now
from .seen import Seen

STOPPED = "a stop is latched; an operator lifts it"
WHY = {
    Reason.CONFLICT: "two robots have this name",
    Reason.LINK: "a stop could not reach it",
    Reason.BUSY: "it has only just connected; try again in a second",
}


class Refusal(NamedTuple):
    reason: Reason
    detail: str = ""


class Guard:
    def __init__(
        self,
        limits: Limits,
        now: Now,
        *,
        confirm_key: bytes | None = None,
        window_ms: float = LEASE_WINDOW_MS,
        most_skew_ms: float = MOST_SKEW_MS,
        epoch: int | None = None,
    ) -> None:
        self.limits, self.latch, self.seen = limits, Latch(now, epoch), Seen()
        self.lease = LeaseWatch(window_ms, most_skew_ms)
        self._confirm_key = confirm_key
        self.path: Reason | None = None
        """Why nobody may move it whoever they are: a stop could not reach it, or another robot has its name."""

    def beat(self, lease: Lease, now: Now) -> LeaseEcho:
        """A heartbeat's answer. `self.lease.lapse` first."""
        return self.lease.feed(lease, self.latch.epoch, now)

    def command(self, command: Command, spec: ToolSpec | None, now: Now, moving: bool) -> Refusal | None:
        """None for one that is to be begun. It must be new (`self.seen`). moving: whether a motion runs already."""
        if self.latch.stopped and (spec is None or spec.motion):
            return Refusal(Reason.STOPPED, STOPPED)
        if command.epoch != self.latch.epoch:
            return Refusal(Reason.STALE_EPOCH, "ordered before a restart, stop or reset")
        if spec is None:
            return Refusal(Reason.UNKNOWN_TOOL, f"there is no {command.tool}")
        if spec.risk == "forbidden" or not self.limits.allows(spec.name):
            return Refusal(Reason.LIMIT, f"{spec.name} is not allowed here")
        offset = self.lease.offset
        if spec.motion and (refusal := self._may_move(command.session, command.grant)) is not None:
            return refusal
        driven = self.lease.holder == command.session
        if (offset.here_ms(command.deadline_ms) if driven else command.deadline_ms) < now.ms:
            return Refusal(Reason.EXPIRED, "it came after its deadline")
        if spec.motion and moving:
            return Refusal(Reason.BUSY, "it moves already; cancel that first")
        if spec.risk == "hazard":
            there_ms = now.ms - (offset.ms if driven else 0.0)
            if self._confirm_key is None or not is_confirmed(self._confirm_key, command, there_ms):
                return Refusal(Reason.NOT_CONFIRMED, f"{spec.name} needs to be confirmed by a person")
        if self.limits.too_often(now):
            return Refusal(Reason.LIMIT, f"more than {self.limits.spec.rate_per_s:g} orders a second")
        if self.seen.full(now):
            return Refusal(Reason.LIMIT, "too many orders in ten minutes")
        return None

    def stream(self, message: Velocity | Chunk) -> Refusal | None:
        """None for what may move it."""
        if message.epoch != self.latch.epoch and not self.latch.stopped:
            return Refusal(Reason.STALE_EPOCH)
        return self._may_move(message.session, message.grant)

    def _may_move(self, session: str, grant: int | None) -> Refusal | None:
        if self.latch.stopped:
            return Refusal(Reason.STOPPED, STOPPED)
        if self.path is not None:
            return Refusal(self.path, WHY.get(self.path, ""))
        if not self.lease.held_by(session, grant):
            return Refusal(Reason.NO_LEASE, "whoever orders it does not drive")
        if self.lease.offset.skewed:
            return Refusal(Reason.CLOCK_SKEW, "the clocks of agent and robot are too far apart")
        return None
