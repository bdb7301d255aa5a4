"""`Showing`: what a session looks at and how its robots stand, for whoever looks on.

Only the newest, at most four times a second, and nothing while something else still waits to be sent: whoever reads
slowly sees fewer pictures, and loses no word by them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.runtime.robot import Robot
from liveagent.video import Pixels, resize
from liveagent.wire.codec import Looked, RobotStands

if TYPE_CHECKING:
    from liveagent.runtime.looking import Looking

EVERY_NS = 250_000_000
REPEAT_NS = 2_000_000_000
"""How a robot stands is told again that often though nothing changed: nobody may have listened."""
SHOWN_PX = 192
"""The longer side of a picture that is shown, at most: 80 kB of bytes."""
DIGITS = 3
"""Of a joint, in radians or metres: what a person can read, and a joint that trembles is not told."""


def robots_in(agent: Agent) -> tuple[Robot, ...]:
    """The robots among an agent's sources of tools."""
    found = (getattr(each, "robot", each) for each in agent.sources)
    return tuple(each for each in found if isinstance(each, Robot))


def name_of(robot: Robot) -> str:
    """What a person calls it."""
    address = robot.stop_address
    if address is not None:
        return address.robot
    return robot.describe.robot if robot.describe is not None else robot.name


class Showing:
    """Of one conversation."""

    def __init__(self, agent: Agent) -> None:
        self.robots = robots_in(agent)
        self._at_ns: int | None = None
        self._looked_ns = 0
        self._stood: dict[str, tuple[int, RobotStands]] = {}

    def again(self) -> None:
        """Somebody has come who saw nothing of it."""
        self._at_ns, self._looked_ns = None, 0
        self._stood.clear()

    def news(self, now_ns: int, looking: Looking | None) -> Iterator[Looked | RobotStands]:
        """What is to be told now. `looking`: None where its pictures are the peer's own."""
        if self._at_ns is not None and now_ns - self._at_ns < EVERY_NS:
            return
        if looking is not None and looking.pixels is not None and looking.t_ns != self._looked_ns:
            self._at_ns, self._looked_ns = now_ns, looking.t_ns
            yield Looked(looking.t_ns, _shown(looking.pixels))
        for robot in self.robots:
            stands = _stands(robot)
            if stands is None:
                continue
            told_ns, told = self._stood.get(stands.name, (0, None))
            if stands != told or now_ns - told_ns >= REPEAT_NS:
                self._at_ns, self._stood[stands.name] = now_ns, (now_ns, stands)
                yield stands


def _shown(pixels: Pixels) -> Pixels:
    """A picture as large as it is shown."""
    scale = SHOWN_PX / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    high, wide = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return resize(pixels, high, wide)


def _stands(robot: Robot) -> RobotStands | None:
    """None before it was heard of."""
    if robot.connection is None:
        return None
    joints = {} if robot.state is None else {name: round(value, DIGITS) for name, value in robot.state.joints.items()}
    return RobotStands(name_of(robot), robot.reachable, robot.connection.stop_id is not None, joints)
