"""`Limits`: what the robot keeps to, whoever orders what. Pure; what goes to the motors has been through here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence

from .contract import LimitsSpec
from .now import Now

ALONG = {"vx": "x", "vy": "y", "vz": "z"}


class Limits:
    """speed, acceleration: by axis, in units a second (and a second squared). box: by x, y, z of the pose, in metres.
    joints: by name, the ends of each. joint_step: how far any joint's target may be from the one a tick before. tools:
    those that are allowed; None for all."""

    def __init__(
        self,
        *,
        speed: Mapping[str, float] | None = None,
        acceleration: Mapping[str, float] | None = None,
        box: Mapping[str, tuple[float, float]] | None = None,
        joints: Mapping[str, tuple[float, float]] | None = None,
        joint_step: float | None = None,
        rate_per_s: float = 10.0,
        tools: Sequence[str] | None = None,
    ) -> None:
        """ValueError for limits that are none."""
        self.spec = LimitsSpec(
            speed=dict(speed or {}), acceleration=dict(acceleration or {}), box=dict(box or {}),
            joints=dict(joints or {}), joint_step=joint_step, rate_per_s=rate_per_s,
            tools=None if tools is None else list(tools),
        )  # fmt: skip
        for name, (low, high) in {**self.spec.box, **self.spec.joints}.items():
            if not low < high:
                raise ValueError(f"limits: {name} reaches from {low} to {high}")
        if any(each <= 0 for each in (*self.spec.speed.values(), *self.spec.acceleration.values(), rate_per_s)):
            raise ValueError("limits: speeds, accelerations and rates are over 0")
        if joint_step is not None and joint_step <= 0:
            raise ValueError("limits: joint_step is over 0")
        self._orders: deque[float] = deque()

    def allows(self, tool: str) -> bool:
        return self.spec.tools is None or tool in self.spec.tools

    def too_often(self, now: Now) -> bool:
        """Count one order, and say whether there were too many within a second."""
        while self._orders and now.s - self._orders[0] >= 1.0:
            self._orders.popleft()
        if len(self._orders) >= self.spec.rate_per_s:
            return True
        self._orders.append(now.s)
        return False

    def velocity(
        self,
        wanted: Mapping[str, float],
        applied: Mapping[str, float],
        dt_s: float,
        pose: Mapping[str, float] | None = None,
        ahead_s: float = 0.0,
    ) -> dict[str, float]:
        """What is given to the motors: each axis within its speed, no further from what is `applied` than its
        acceleration allows, and standing still where `ahead_s` from now it would be further out of the box."""
        out = {}
        for axis in {**applied, **wanted}:
            value = wanted.get(axis, 0.0)
            value = value if math.isfinite(value) else 0.0
            if (most := self.spec.speed.get(axis)) is not None:
                value = min(most, max(-most, value))
            if (most := self.spec.acceleration.get(axis)) is not None:
                before = applied.get(axis, 0.0)
                value = min(before + most * dt_s, max(before - most * dt_s, value))
            out[axis] = value
        if pose is not None and self._leaves(out, pose, ahead_s):
            out = {axis: 0.0 if axis in ALONG else value for axis, value in out.items()}
        return out

    def point(self, **where: float) -> str | None:
        """What is wrong with a point (x=, y=, z=); None when it is within the box."""
        for name, value in where.items():
            low, high = self.spec.box.get(name, (-math.inf, math.inf))
            if not low <= value <= high:
                return f"{name} is {value:g}, and may be from {low:g} to {high:g}"
        return None

    def joint_targets(
        self, names: Sequence[str], wanted: Sequence[float], before: Sequence[float] | None
    ) -> tuple[float, ...]:
        """Targets within each joint's ends, no further than a step from those before."""
        out = []
        for at, (name, value) in enumerate(zip(names, wanted, strict=True)):
            low, high = self.spec.joints.get(name, (-math.inf, math.inf))
            if not math.isfinite(value):
                value = before[at] if before is not None else 0.0
            if before is not None and self.spec.joint_step is not None:
                step = self.spec.joint_step
                value = min(before[at] + step, max(before[at] - step, value))
            out.append(min(high, max(low, value)))
        return tuple(out)

    def _leaves(self, axes: Mapping[str, float], pose: Mapping[str, float], ahead_s: float) -> bool:
        if not self.spec.box:
            return False
        yaw = pose.get("yaw", 0.0)
        vx, vy = axes.get("vx", 0.0), axes.get("vy", 0.0)
        speeds = {
            "x": vx * math.cos(yaw) - vy * math.sin(yaw), "y": vx * math.sin(yaw) + vy * math.cos(yaw),
            "z": axes.get("vz", 0.0),
        }  # fmt: skip
        for name, (low, high) in self.spec.box.items():
            here = pose.get(name)
            if here is None:
                continue
            there = here + speeds.get(name, 0.0) * ahead_s
            if (there > high and there > here) or (there < low and there < here):
                return True
        return False
