"""A robot and the agent's view of it, over a real broker with TLS, passwords and access rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from liveagent.clients.robot.contract import Reason
from liveagent.errors import ToolError
from liveagent.ports.certificate import self_signed
from liveagent.ports.mosquitto import Mosquitto, access
from liveagent.runtime.robot import Robot
from liveagent.runtime.way import MqttWay
from tests.omnibot import KEY, Omnibot

WAIT_S = 20.0
USERS = {"base": "p1", "agent": "p2", "operator": "p3", "stranger": "p4"}


@contextmanager
def broker(folder: Path, rules: str | None = None) -> Iterator[Mosquitto]:
    if rules is None:
        rules = access(["base"], ["agent"], ["operator"], site="lab")
    with Mosquitto(users=USERS, rules=rules, certificate=self_signed(folder)) as running:
        running.ca = folder / "liveagent.crt"  # type: ignore[attr-defined]
        yield running


async def eventually(true: Callable[[], bool]) -> None:
    """Wait until something holds; the limit is for hangs."""
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 (the world's state, which tells nobody)
            await asyncio.sleep(0.005)


async def went(robot: Robot, x: float) -> str:
    """Where it was sent. A machine that is so busy that heartbeats come too late makes the robot hold, as it should:
    then it is sent again."""
    while True:
        try:
            return str(await robot.do("go", {"x": x}))
        except ToolError as error:
            if "lost contact" not in str(error):
                raise


@asynccontextmanager
async def running(bot: Omnibot) -> AsyncIterator[Omnibot]:
    task = asyncio.create_task(bot.gate.run())
    try:
        yield bot
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def seen(url: str, ca: Path | None = None, name: str = "base", **more: Any) -> AsyncIterator[Robot]:
    """The agent's view of a robot."""
    robot = Robot(MqttWay(url, "lab", name, ca=ca), confirm_key=KEY, **more)
    await robot.open()
    try:
        yield robot
    finally:
        await robot.close()


@asynccontextmanager
async def lab(running_broker: Mosquitto, **more: Any) -> AsyncIterator[tuple[Omnibot, Robot]]:
    """Both ends, and the robot ready to move."""
    ca: Path = running_broker.ca  # type: ignore[attr-defined]
    bot = Omnibot(running_broker.url("base", tls=True), ca=ca, **more)
    async with running(bot), seen(running_broker.url("agent", tls=True), ca) as robot:
        await eventually(lambda: bot.gate.guard.path is None and robot.reachable and robot.state is not None)
        await eventually(lambda: not robot._tasks)  # it was probed
        yield bot, robot


async def undisturbed(running_broker: Mosquitto, live: Callable[[Omnibot, Robot], Awaitable[None]]) -> None:
    """`live` on a robot that heartbeats reached in time. A machine that is too busy for that makes the robot hold, as
    it should; then it is lived again, with another. So it is where an order came too late to be followed, and nothing
    was seen to happen: what never happens does not happen five times."""
    for tries_left in range(4, -1, -1):
        async with lab(running_broker) as (bot, robot):
            try:
                return await live(bot, robot)
            except TimeoutError:
                if not tries_left:
                    raise
            except (AssertionError, ToolError):
                if not tries_left or Reason.NO_LEASE not in bot.holds:
                    raise
