"""`Cell`: the arm behind the robot's gate: what may be ordered, what it tells, what a stop does, and its camera.

The gate owns the clock: at each of its ticks, 50 a second, the arm goes on by one of its own, whether anybody is
connected or not. Pictures are drawn in a thread of their own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping
from typing import Any

from liveagent.clients.arm.arm import DRIVE_M_S, DRIVE_M_S2, TURN_RAD_S, Arm, Failed, Step
from liveagent.clients.arm.body import ARM_JOINTS, BASE_JOINTS, CAMERA, CAMERA_AT, FINGER_JOINTS, FOV_DEG, mast_axes
from liveagent.clients.arm.camera import SIDE_PX, Camera
from liveagent.clients.arm.jpeg import jpeg
from liveagent.clients.arm.scene import Scene
from liveagent.clients.arm.world import TICK_S
from liveagent.clients.robot import Call, Gate, Limits
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

JOINTS = (*BASE_JOINTS, *ARM_JOINTS, *FINGER_JOINTS)
FPS = 10.0
STANDSTILL_MS = 320.0
"""From a zero setpoint until nothing moves any more."""
RAMP_MS = 100.0

_log = logging.getLogger("liveagent.arm")


class Cell:
    """One arm on its table, at one broker. `run` it."""

    def __init__(self, url: str, scene: Scene, *, site: str = "home", robot: str = "arm", **gate: Any) -> None:
        """`gate`: whatever else `Gate` takes."""
        self.arm = Arm()
        self.arm.pour(scene)
        limits = Limits(
            speed={"vx": DRIVE_M_S, "vy": DRIVE_M_S, "wz": TURN_RAD_S},
            acceleration={"vx": DRIVE_M_S2, "vy": DRIVE_M_S2},
            box={"x": (-0.78, 0.02), "y": (-0.78, 0.78)},
        )  # fmt: skip
        self.gate = Gate(
            url, site=site, robot=robot, limits=limits, joints=JOINTS, standstill_ms=STANDSTILL_MS, ramp_ms=RAMP_MS,
            state_hz=50.0, description="a mobile arm at a table with coloured things and trays", **gate,
        )  # fmt: skip
        self.camera = Camera(self.arm.world, self._show, FPS, SIDE_PX)
        self._jpeg: bytes | None = None
        self._lock = threading.Lock()
        self._view = Viewpoint(CAMERA_AT, *mast_axes(), FOV_DEG).said()
        self._declare()

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.to_thread(self.camera.start)
        if self.camera.error:
            _log.warning("%s", self.camera.error)
        try:
            await self.gate.run()
        finally:
            self.camera.close()

    def lay(self, scene: Scene) -> None:
        """Other things on the table, the arm at home. What it was doing ends; a stop stays."""
        stopped = self.arm.stopped
        self.arm.pour(scene)
        if stopped:
            self.arm.stop()

    def release(self) -> bool:
        """A person beside the robot lifts the stop; whether there was one."""
        stop_id = self.gate.guard.latch.stop_id
        return stop_id is not None and self.gate.reset(stop_id)

    def _declare(self) -> None:
        gate, arm = self.gate, self.arm

        @gate.action(timeout_s=45)
        async def pick(x: float, y: float, call: Call, turn: float | None = None) -> dict[str, Any]:
            """Take what lies at x, y metres in front of the base; turn: the direction in which the fingers close."""
            return await self._do(arm.pick(x, y, turn), call)

        @gate.action(timeout_s=45)
        async def place(
            x: float, y: float, call: Call, height: float = 0.0, turn: float | None = None
        ) -> dict[str, Any]:
            """Put what is held down at x, y metres in front of the base, on something so high."""
            return await self._do(arm.place(x, y, height, turn), call)

        @gate.action(timeout_s=30)
        async def move(call: Call, dx: float = 0.0, dy: float = 0.0, dz: float = 0.0) -> dict[str, Any]:
            """Move the hand so many metres, as far as it may go."""
            return await self._do(arm.move(dx, dy, dz), call)

        @gate.action(timeout_s=10)
        async def gripper(open: bool, call: Call) -> dict[str, Any]:
            """Open or close the hand."""
            return await self._do(arm.gripper(open), call)

        @gate.action(timeout_s=30)
        async def home(call: Call) -> dict[str, Any]:
            """Bring the hand out of the camera's sight."""
            return await self._do(arm.home(), call)

        @gate.velocity
        def drive(axes: Mapping[str, float]) -> None:
            if any(axes.values()):
                arm.drive(axes.get("vx", 0.0), axes.get("vy", 0.0), axes.get("wz", 0.0))

        @gate.state
        def state() -> dict[str, Any]:
            self._tick()
            felt = arm.joint_state()
            x, y, yaw = felt["q"][:3]
            return {
                "joints": dict(zip(JOINTS, felt["q"], strict=True)), "pose": {"x": x, "y": y, "yaw": yaw},
                "hand": felt["hand"], "opening_m": felt["opening_m"], "holding": felt["holding"],
                "moving": felt["moving"], "progress": round(arm.progress, 3), "view": self._view,
            }  # fmt: skip

        @gate.on_stop
        def stop(_: object) -> None:
            arm.stop()

        @gate.on_hold
        def hold(_: object) -> None:
            arm.cancel()

        @gate.on_reset
        def reset() -> None:
            arm.reset()

        async def newest() -> bytes | None:
            with self._lock:
                found, self._jpeg = self._jpeg, None
            return found

        gate.camera(CAMERA, newest, fps=FPS, size=(SIDE_PX, SIDE_PX))

    def _tick(self) -> None:
        """One of the arm's own ticks, at each of the gate's."""
        self.arm.tick()
        self.camera.look(self.arm.world.qpos())

    async def _do(self, action: Step, call: Call) -> dict[str, Any]:
        self.arm.begin(action)
        try:
            while self.arm.ended is None:
                call.report(self.arm.progress)
                await asyncio.sleep(TICK_S / 2)
        finally:
            self.arm.cancel()
        ended = self.arm.ended
        if ended.status != "FINISHED":
            raise Failed(ended.reason or ended.status.lower())
        return ended.result

    def _show(self, pixels: Pixels, t_ns: int) -> None:
        data = jpeg(pixels)
        with self._lock:
            self._jpeg = data
