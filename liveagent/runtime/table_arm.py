"""`TableArm`: a robot with an arm, a camera over its table and nothing else that is known, made to follow words.

    arm = TableArm(MqttWay("mqtt://127.0.0.1:1883", "home", "arm"))
    agent = Agent("nano", tools=arm_tools(arm.connected), sources=[arm])

It is connected by the first call that needs it. What the robot must offer: the actions pick, place, move, gripper and
home in metres, a camera, and in its state what the fingers feel (`holding`) and where the camera is (`view`).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from liveagent.errors import LiveAgentError, OutcomeLost, ProtocolError, ToolError
from liveagent.nn.finder import FILE, Finder
from liveagent.nn.model import weights_folder
from liveagent.runtime.picking import Picking, Told
from liveagent.runtime.robot import Robot
from liveagent.runtime.stop_wire import StopAddress
from liveagent.runtime.way import Way
from liveagent.source import Changed
from liveagent.tool import Tool
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

CAMERA = "mast"
LOOK_S = 2.0
_OWN = re.compile(r"\(Failed: (.+)\)$")


class RobotBody:
    """A robot as `Picking` wants it."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot

    async def look(self) -> tuple[Pixels, Viewpoint]:
        camera = self.robot.cameras.get(CAMERA)
        if camera is None:
            raise ToolError("this robot has no camera over its table")
        try:
            frame = await camera.next(LOOK_S)
        except TimeoutError:
            raise ToolError("the robot's camera shows nothing") from None
        try:
            return frame.pixels, Viewpoint.read(self._more("view"))
        except ProtocolError as error:
            raise ToolError(f"nobody knows where the robot's camera is: {error}") from None

    async def do(self, action: str, args: dict[str, Any], told: Told) -> Mapping[str, Any]:
        try:
            done = await self.robot.do(action, args, told=told)
        except OutcomeLost:
            raise
        except ToolError as error:
            own = _OWN.search(str(error))  # the arm's own words for it are the better ones to be told
            raise ToolError(own[1] if own else str(error)) from None
        return done if isinstance(done, Mapping) else {}

    async def holding(self) -> bool:
        return self._more("holding") is True

    async def stop(self, reason: str) -> None:
        await self.robot.stop(reason, src="agent")

    def _more(self, name: str) -> Any:
        if self.robot.state is None:
            raise ToolError("the robot does not say how it stands")
        return self.robot.state.more.get(name)


class TableArm:
    """See the module. One event loop's."""

    def __init__(self, way: Way, finder: Finder | None = None) -> None:
        """finder: what finds things in pictures; None: the shipped one, loaded when it is needed."""
        self.robot = Robot(way)
        self._finder = finder
        self._picking: Picking | None = None
        self._lock = asyncio.Lock()

    # --- as a source without tools of its own, which says where a stop goes and is closed with the agent

    @property
    def name(self) -> str:
        return self.robot.name

    @property
    def stop_address(self) -> StopAddress | None:
        return self.robot.stop_address

    async def open(self, changed: Changed) -> None:
        """Nothing yet."""

    def tools(self) -> Sequence[Tool]:
        return ()

    def problems(self) -> Sequence[str]:
        return ()

    async def connected(self) -> Picking:
        """The arm, ready to be told what to do. ToolError where it is not there."""
        async with self._lock:
            if self._picking is None:
                if self._finder is None:
                    self._finder = await asyncio.to_thread(Finder.load, weights_folder() / FILE)
                try:
                    await self.robot.open()
                except LiveAgentError as error:
                    raise ToolError(f"the robot is not there: {error}") from None
                await self._heard_of()
                self._picking = Picking(self._finder, RobotBody(self.robot))
        return self._picking

    async def _heard_of(self) -> None:
        """Wait a moment until it has said how it stands: the first call begins with that."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                while self.robot.state is None:  # noqa: ASYNC110 (it tells nobody)
                    await asyncio.sleep(0.02)

    async def close(self) -> None:
        """Let go of it."""
        if self._picking is not None:
            self._picking = None
            await self.robot.close()
