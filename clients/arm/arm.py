"""`Arm`: the robot itself. A loop of 50 ticks a second that it owns, actions that take many ticks, and a stop.

    arm = Arm()
    arm.pour(scene(1))
    arm.begin(arm.pick(0.40, 0.10))
    while arm.busy:
        arm.tick()                      # 20 ms of physics
    arm.ended                           # Ended("FINISHED", …) or ("FAILED", why)

It knows nothing of colours or things: places come in metres in the base's frame, from whoever looks through the camera.
It feels what its encoders say, and so knows whether something is between the fingers. A stop ramps every setpoint to a
hold within `RAMP_TICKS` and latches; only `reset` undoes it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from liveagent.clients.arm.body import OPEN_M
from liveagent.clients.arm.kinematics import HOME, Hand, OutOfReach, hand_of, joints_of
from liveagent.clients.arm.moves import glide, line
from liveagent.clients.arm.scene import TABLE_M, TRAY_FLOOR_M, Scene
from liveagent.clients.arm.world import TICK_S, World

TRAVEL_M = TABLE_M + 0.16
"""Height of the fingertips on the way: what they hold clears everything that lies there."""
GRASP_M = TABLE_M + 0.020
REACH_OUT_M = 0.036
"""How far one finger stands from the middle on its way down to a thing: no wider, for the sake of its neighbours."""
HELD_M = 0.006
"""Fingers that stop closing farther apart than this hold something."""
SETTLE_TICKS, PATIENCE_TICKS = 8, 40
RAMP_TICKS = 5
DRIVE_M_S, TURN_RAD_S = 0.4, 1.0
DRIVE_M_S2 = 1.5
DRIVE_DEADLINE_TICKS = 10
"""A velocity that is not said again within 200 ms is over."""
LIMITS_M = {"x": (0.22, 0.62), "y": (-0.32, 0.32), "z": (TABLE_M + 0.012, 0.80)}
"""Where the fingertips may be sent."""

Step: TypeAlias = Iterator[float]
"""An action: each `next` sets targets for a tick and says how far it is, from 0 to 1."""


class Failed(Exception):
    """An action cannot go on; the text says why."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How the last action ended."""

    status: Literal["FINISHED", "FAILED", "CANCELLED", "STOPPED"]
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)


class Arm:
    """See the module. Everything in one thread."""

    def __init__(self, world: World | None = None) -> None:
        self.world = world or World()
        self.ticks = 0
        self.progress = 0.0
        self.ended: Ended | None = None
        self.stopped = False
        self._action: Step | None = None
        self._result: dict[str, Any] = {}
        self.targets = np.zeros(10)
        """Setpoints of base (3), arm (5), fingers (2)."""
        self.rate = np.zeros(10)
        """How much they moved in the last tick."""
        self._velocity = np.zeros(3)
        self._wanted = np.zeros(3)
        self._drive_ticks = 0
        self._ramp = 0
        self._release = 0.0
        self.pour(Scene((), ()))

    def pour(self, scene: Scene) -> None:
        """A new scene: everything anew, the arm at home, no stop; what it was doing is cancelled."""
        if self._action is not None:
            self.ended = Ended("CANCELLED")
        home = joints_of(HOME)
        self.world.pour(scene, home)
        self.targets = np.concatenate([np.zeros(3), home, np.full(2, OPEN_M)])
        self.rate = np.zeros(10)
        self._velocity, self._wanted = np.zeros(3), np.zeros(3)
        self._action, self.stopped, self.progress, self._ramp = None, False, 0.0, 0

    # ---- what it feels -----------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether an action runs."""
        return self._action is not None

    @property
    def holding(self) -> bool:
        """Whether something is between the fingers, as they feel it: closed, and yet apart."""
        return float(self.targets[8]) < OPEN_M / 2 and self.opening_m > HELD_M

    @property
    def opening_m(self) -> float:
        """How far the fingers are apart."""
        return float(self.world.joints()[0][8:].sum())

    @property
    def still(self) -> bool:
        """Whether every setpoint stands."""
        return bool((np.abs(self.rate) < 1e-6).all())

    def joint_state(self) -> dict[str, Any]:
        """What a robot publishes fifty times a second."""
        q, qd = self.world.joints()
        hand = hand_of(q[3:8])
        return {
            "q": [round(float(v), 5) for v in q],
            "qd": [round(float(v), 5) for v in qd],
            "hand": [round(hand.x, 4), round(hand.y, 4), round(hand.z, 4)],
            "opening_m": round(float(q[8:].sum()), 5),
            "holding": self.holding,
            "moving": not self.still,
            "stopped": self.stopped,
        }

    # ---- the loop ----------------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """20 ms."""
        before = self.targets.copy()
        if self._ramp:
            self._ramp -= 1
            self.targets = self.targets + self.rate * (self._ramp / (self._ramp + 1))
            self._velocity *= self._ramp / (self._ramp + 1)
        elif not self.stopped:
            self._drive()
            if self._action is not None:
                self._go_on(self._action)
        self.rate = self.targets - before
        self.world.step(self.targets)
        self.ticks += 1

    def begin(self, action: Step) -> None:
        """Start an action; one at a time. Failed when stopped or busy."""
        if self.stopped:
            raise Failed("the robot is stopped; somebody must reset it")
        if self.busy:
            raise Failed("the robot is busy; cancel what it does first")
        self._action, self.ended, self.progress, self._result = action, None, 0.0, {}

    def cancel(self) -> None:
        """End the action; every setpoint ramps to a hold, and what is held stays so."""
        if self._action is not None:
            self._action, self.ended = None, Ended("CANCELLED")
            self._hold()

    def stop(self) -> None:
        """Ramp to a hold, and stay."""
        if not self.stopped:
            self.stopped = True
            self._hold()
        if self._action is not None:
            self._action, self.ended = None, Ended("STOPPED")

    def reset(self) -> None:
        """After a stop, move again when told to; nothing resumes."""
        self.stopped = False
        self._velocity[:] = self._wanted[:] = 0

    def run(self, action: Step, most_s: float = 60.0) -> Ended:
        """Begin an action and see it through, as fast as it can be computed."""
        self.begin(action)
        for _ in range(round(most_s / TICK_S)):
            self.tick()
            if self.ended is not None:
                return self.ended
        self.cancel()
        return Ended("FAILED", f"it took longer than {most_s:.0f} s")

    # ---- actions -----------------------------------------------------------------------------------------------------

    def pick(self, x: float, y: float, turn: float | None = None) -> Step:
        """Take what lies at (x, y). `turn`: the direction in which the fingers are to close; None: any."""
        _allowed(x, y)
        over = Hand(x, y, TRAVEL_M, self._facing(x, y) if turn is None else turn)
        yield from self._rise(0.0)
        self._fingers(REACH_OUT_M)
        yield from self._glide(over, 0.0, 0.3)
        yield from self._glide(_at(over, GRASP_M), 0.3, 0.5)
        yield from self._close(0.5)
        if not self.holding:
            self._fingers(OPEN_M)
            yield from self._glide(over, 0.6, 0.7)
            yield from self._home(0.7)
            raise Failed("there is nothing between the fingers")
        yield from self._glide(over, 0.6, 0.7)
        yield from self._home(0.7)
        if not self.holding:
            raise Failed("it slipped out of the fingers")
        self._result = {"width_mm": round(1000 * self.opening_m, 1)}

    def place(self, x: float, y: float, height: float = TRAY_FLOOR_M, turn: float | None = None) -> Step:
        """Put what is held down at (x, y), on something so high, with the fingers turned so; None: in any way."""
        if not self.holding:
            raise Failed("the robot is not holding anything")
        _allowed(x, y)
        over = Hand(x, y, TRAVEL_M, self._facing(x, y) if turn is None else turn)
        yield from self._rise(0.0)
        yield from self._glide(over, 0.0, 0.4)
        if not self.holding:
            raise Failed("it slipped out of the fingers")
        yield from self._glide(_at(over, GRASP_M + height + 0.002), 0.4, 0.6)
        opening = min(OPEN_M, self.opening_m / 2 + 0.012)
        yield from self._spread(opening, 0.6)
        yield from self._glide(over, 0.7, 0.8)
        self._fingers(OPEN_M)
        yield from self._home(0.8)

    def move(self, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> Step:
        """Move the hand, as far as it may go."""
        hand = hand_of(self.targets[3:8])
        if self._outside(hand):
            entry = Hand(*self._entry(hand), TRAVEL_M, self._facing(*self._entry(hand)))
            yield from self._glide(entry, 0.0, 0.5)
            hand = hand_of(self.targets[3:8])
        wanted = (hand.x + dx, hand.y + dy, hand.z + dz)
        x, y, z = (min(high, max(low, v)) for v, (low, high) in zip(wanted, LIMITS_M.values(), strict=True))
        end = _reached(hand, Hand(x, y, z, hand.turn))
        yield from self._glide(end, 0.5, 1.0)
        clipped = math.dist((end.x, end.y, end.z), wanted) > 1e-6
        self._result = {"clipped": clipped, "hand": [round(end.x, 3), round(end.y, 3), round(end.z, 3)]}

    def gripper(self, open: bool) -> Step:
        """Open or close the hand."""
        if open:
            yield from self._spread(OPEN_M, 0.0)
        else:
            yield from self._close(0.0)
        self._result = {"holding": self.holding}

    def home(self) -> Step:
        """Out of the camera's sight."""
        yield from self._rise(0.0)
        yield from self._home(0.2)

    def drive(self, forward: float, left: float, turn: float) -> None:
        """The base's velocity in m/s and rad/s, for the next 200 ms; say it again to go on. Nothing while stopped."""
        if self.stopped:
            return
        fast = float(np.hypot(forward, left))
        scale = min(1.0, DRIVE_M_S / fast) if fast else 1.0
        self._wanted = np.array([forward * scale, left * scale, np.clip(turn, -TURN_RAD_S, TURN_RAD_S)])
        self._drive_ticks = DRIVE_DEADLINE_TICKS

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        self._ramp, self._drive_ticks = RAMP_TICKS, 0
        self._wanted[:] = 0
        self.rate[8:] = 0  # the fingers hold as they are

    def _go_on(self, action: Step) -> None:
        try:
            self.progress = max(self.progress, next(action))
            return
        except StopIteration:
            self.progress, self.ended = 1.0, Ended("FINISHED", "", self._result)
        except (Failed, OutOfReach) as error:
            self.ended = Ended("FAILED", str(error))
        self._action = None

    def _drive(self) -> None:
        self._drive_ticks -= 1
        wanted = self._wanted if self._drive_ticks >= 0 else np.zeros(3)
        most = DRIVE_M_S2 * TICK_S
        self._velocity += np.clip(wanted - self._velocity, -most, most)
        if self._velocity.any():
            turn = float(self.targets[2])
            c, s = np.cos(turn), np.sin(turn)
            vx, vy, w = self._velocity
            step = TICK_S * np.array([c * vx - s * vy, s * vx + c * vy, w])
            low, high = np.array([-0.8, -0.8, -3.2]), np.array([0.02, 0.8, 3.2])
            self.targets[:3] = np.clip(self.targets[:3] + step, low, high)

    def _glide(self, end: Hand, begin: float, done: float) -> Step:
        path = list(glide(self.targets[3:8].copy(), end))
        for at, joints in enumerate(path, 1):
            self.targets[3:8] = joints
            yield begin + (done - begin) * at / len(path)

    def _rise(self, begin: float) -> Step:
        """Straight up, out of whatever the hand is among."""
        hand = hand_of(self.targets[3:8])
        if hand.z < TRAVEL_M - 0.005:
            yield from self._glide(_at(hand, TRAVEL_M), begin, begin + 0.01)

    def _home(self, begin: float) -> Step:
        yield from self._glide(HOME, begin, 1.0)
        for _ in range(SETTLE_TICKS):
            yield 1.0

    def _fingers(self, each_m: float) -> None:
        self.targets[8:] = each_m

    def _close(self, begin: float) -> Step:
        yield from self._spread(0.0, begin)

    def _spread(self, each_m: float, begin: float) -> Step:
        """Fingers to `each_m` from the middle, or until something stops them."""
        self._fingers(each_m)
        still = 0
        for _ in range(PATIENCE_TICKS):
            yield begin
            still = still + 1 if float(np.abs(self.world.joints()[1][8:]).max()) < 0.002 else 0
            if still >= SETTLE_TICKS:
                return

    def _facing(self, x: float, y: float) -> float:
        """How the fingers stand when the roll joint is where it is least bent."""
        return float(np.arctan2(y, x - 0.06) + np.pi / 2)

    def _outside(self, hand: Hand) -> bool:
        return not (LIMITS_M["x"][0] - 0.01 <= hand.x and abs(hand.y) <= LIMITS_M["y"][1] + 0.01)

    def _entry(self, hand: Hand) -> tuple[float, float]:
        return 0.32, min(0.2, max(-0.2, hand.y))


def _reached(begin: Hand, end: Hand) -> Hand:
    """The farthest on the way from one hand to another that the arm reaches."""
    for share in np.linspace(1.0, 0.05, 20):
        hand = line(begin, end, float(share))
        with contextlib.suppress(OutOfReach):
            joints_of(hand)
            return hand
    return begin


def _allowed(x: float, y: float) -> None:
    """OutOfReach for a place where the fingertips may not be sent."""
    for name, value in (("x", x), ("y", y)):
        low, high = LIMITS_M[name]
        if not low <= value <= high:
            raise OutOfReach(f"{name} is {value:.2f} m, and may be from {low} to {high}")


def _at(hand: Hand, z: float) -> Hand:
    return Hand(hand.x, hand.y, z, hand.turn)

