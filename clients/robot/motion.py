"""`Motion`: the setpoint that the robot's own loop gives its motors, tick by tick.

Speeds come from a stream or from an action that runs here, and are good for 200 ms from when they were sent; joint
targets come in chunks. Whoever loses the lead leaves a ramp to zero behind. A stop has no ramp: zero at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from .chunks import ChunkBuffer
from .contract import VELOCITY_WINDOW_MS, Chunk, Velocity
from .limits import Limits
from .now import Now
from .offset import Offset


class Setpoint(NamedTuple):
    """`axes`: speeds, always; `targets`: of the joints, None where there are none."""

    axes: dict[str, float]
    targets: tuple[float, ...] | None


class Motion:
    def __init__(
        self,
        limits: Limits,
        axes: Sequence[str],
        joints: Sequence[str],
        chunk: Literal["position", "velocity"] | None,
        ramp_ms: float,
        standstill_ms: float,
    ) -> None:
        self.axes, self.joints, self.chunk = tuple(axes), tuple(joints), chunk
        self._limits, self._ramp_s, self._ahead_s = limits, ramp_ms / 1000.0, standstill_ms / 1000.0
        self.buffer = ChunkBuffer(chunk or "position", self._ramp_s)
        self.applied: dict[str, float] = dict.fromkeys(self.axes, 0.0)
        self.targets: tuple[float, ...] | None = None
        self._wanted: dict[str, float] | None = None
        self._until_s = 0.0
        self._ramp: tuple[float, dict[str, float]] | None = None  # since when, and from what
        self._ticked_s: float | None = None
        self.starved = False
        """Whether speeds have just run out, at this tick, without their end."""
        self._of: tuple[str, int] | None = None  # whose stream it is
        self._seq = {Velocity: -1, Chunk: -1}

    # --- what is wanted

    def velocity(self, message: Velocity, offset: Offset, now: Now) -> str | None:
        """Take a speed of the stream; what is wrong with it, else None."""
        if unknown := [axis for axis in message.axes if axis not in self.axes]:
            return f"there is no axis {unknown[0]}"
        if not self._next(message):
            return "out of order"
        until_ms = min(message.sent_ms + VELOCITY_WINDOW_MS, message.deadline_ms)
        left_s = min(offset.here_ms(until_ms) - now.ms, VELOCITY_WINDOW_MS) / 1000.0
        if left_s <= 0:
            return "late"
        self._wanted, self._until_s, self._ramp = dict(message.axes), now.s + left_s, None
        return None

    def move(self, axes: Mapping[str, float], now: Now) -> None:
        """The same from an action that runs here."""
        self._wanted, self._until_s, self._ramp = dict(axes), now.s + VELOCITY_WINDOW_MS / 1000.0, None

    def feed(self, message: Chunk, offset: Offset, now: Now) -> str | None:
        """Take a chunk; what is wrong with it, else None."""
        columns = len(self.joints if self.chunk == "position" else self.axes)
        if self.chunk is None or any(len(step) != columns for step in message.actions):
            return f"a step has {columns} numbers"
        if not self._next(message):
            return "out of order"
        if offset.here_ms(message.deadline_ms) < now.ms:
            return "late"
        t0_s = now.s + (offset.here_ms(message.t0_ms) - now.ms) / 1000.0
        taken = self.buffer.feed(
            message.actions, t0_s, message.dt_ms / 1000.0, now.s, message.replaces_from, message.last
        )
        return None if taken else "all of it is past"

    # --- what ends it

    def hold(self, now: Now) -> None:
        """Nobody leads any more: ramp to zero."""
        if self._wanted is not None:
            self._wanted, self._ramp = None, (now.s, dict(self.applied))
        self.buffer.end(now.s)

    def stop(self) -> None:
        """Zero, now."""
        self._wanted = self._ramp = None
        self.buffer.flush()
        self.applied = dict.fromkeys(self.axes, 0.0)

    @property
    def streaming(self) -> bool:
        return self._wanted is not None or not self.buffer.empty

    @property
    def still(self) -> bool:
        """Whether the setpoint is zero, and nothing is planned."""
        return self._ramp is None and not self.streaming and not any(self.applied.values())

    def tick(self, now: Now, pose: Mapping[str, float]) -> Setpoint:
        """The setpoint for now. Once each tick."""
        dt_s = 0.02 if self._ticked_s is None else max(0.0, now.s - self._ticked_s)
        self._ticked_s = now.s
        action = self.buffer.sample(now.s)
        self.starved = False
        if self._wanted is not None and now.s > self._until_s:
            self.starved = any(self._wanted.values())
            self._wanted, self._ramp = None, (now.s, dict(self.applied))
        if self.chunk == "velocity" and action is not None and self._wanted is None:
            wanted = dict(zip(self.axes, action, strict=True))
            self.applied = self._limits.velocity(wanted, self.applied, dt_s, pose, self._ahead_s)
        elif self._wanted is not None:
            wanted = {axis: self._wanted.get(axis, 0.0) for axis in self.axes}
            self.applied = self._limits.velocity(wanted, self.applied, dt_s, pose, self._ahead_s)
        elif self._ramp is not None:
            since_s, from_ = self._ramp
            left = max(0.0, 1.0 - (now.s - since_s) / self._ramp_s) if self._ramp_s > 0 else 0.0
            self.applied = {axis: value * left for axis, value in from_.items()}
            if left == 0.0:
                self._ramp = None
        else:
            self.applied = dict.fromkeys(self.axes, 0.0)
        if self.chunk == "position" and action is not None:
            self.targets = self._limits.joint_targets(self.joints, action, self.targets)
            return Setpoint(dict(self.applied), self.targets)
        return Setpoint(dict(self.applied), None)

    def _next(self, message: Velocity | Chunk) -> bool:
        """Whether it is newer than what came before of its driver's stream."""
        if self._of != (message.session, message.grant):
            self._of, self._seq = (message.session, message.grant), {Velocity: -1, Chunk: -1}
        fresh = message.seq > self._seq[type(message)]
        self._seq[type(message)] = max(message.seq, self._seq[type(message)])
        return fresh
