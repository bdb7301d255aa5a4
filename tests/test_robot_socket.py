"""A robot that dials in at a server, without a broker: the same contract, the same watchdog."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from examples import lerobot_arm
from liveagent.clients.robot.contract import Reason
from liveagent.errors import ConfigError, LinkError, ToolError
from liveagent.ports.webserver import WebServer
from liveagent.runtime.link import Link
from liveagent.runtime.robot import Robot
from liveagent.runtime.robots import Robots
from tests.lab import eventually, running, went
from tests.omnibot import KEY, Omnibot

pytestmark = pytest.mark.slow
OWN_KEY = "the robot's own long key"


@asynccontextmanager
async def door(robots: Robots) -> AsyncIterator[WebServer]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await robots.serve(scope, Link(scope, receive, send))

    server = WebServer(app)
    server.bind()
    task = asyncio.create_task(server.run())
    try:
        yield server
    finally:
        server.stop(at_once=True)
        await task


@asynccontextmanager
async def lab(robots: Robots, **more: Any) -> AsyncIterator[tuple[Omnibot, Robot, WebServer]]:
    robot = robots.robot("lab", "base", confirm_key=KEY)
    async with door(robots) as server:
        bot = Omnibot(f"ws://127.0.0.1:{server.port}", **more)
        async with running(bot):
            await robot.open()
            try:
                await eventually(lambda: robot.state is not None and bool(robot.tools()) and robot._probed != "")
                yield bot, robot, server
            finally:
                await robot.close()


async def test_the_same_over_a_websocket() -> None:
    async with lab(Robots({"base": OWN_KEY}), key=OWN_KEY) as (bot, robot, _):
        assert await robot.do("where") == {"x": 0.0, "y": 0.0, "yaw": 0.0}
        assert await went(robot, 0.1) == "there"
        assert await robot.do("unlock", {"door": "front"}, confirmed=True) == "front is unlocked"
        going = asyncio.create_task(robot.do("go", {"x": 1.5}))
        await eventually(lambda: bot.moves)
        ack = await robot.stop("stop!", src="typed")
        assert not bot.moves and bot.stops[0].id == ack.stop_id
        with pytest.raises(ToolError, match="is stopped"):
            await going
        await eventually(lambda: robot.connection is not None and robot.connection.stop_id is not None)
        assert bot.gate.reset(str(ack.stop_id))  # the button on its back
        await eventually(lambda: robot.connection is not None and robot.connection.stop_id is None)
        assert await went(robot, bot.pose["x"] + 0.05) == "there"
        assert robot.cameras["front"].jpeg is not None
        assert robot.barred is None and "phrase" in robot.problems()[0]


async def test_cut_off_it_stands_still_and_comes_back_to_nothing() -> None:
    async with lab(Robots()) as (bot, robot, _):
        going = asyncio.create_task(robot.do("go", {"x": 1.9, "speed": 0.2}))
        await eventually(lambda: bot.moves)
        way: Any = robot._way
        await way._link.close(1012, "go away")
        await eventually(lambda: not bot.moves)
        assert bot.holds == [Reason.LINK]
        with pytest.raises(ToolError, match="holds"):
            await going
        where = dict(bot.pose)
        await eventually(lambda: robot._up and bot.gate._up)
        assert bot.pose == where
        assert await went(robot, where["x"] + 0.05) == "there"


async def test_who_is_no_robot_of_ours_is_turned_away() -> None:
    robots = Robots({"base": OWN_KEY, "other": "another long key of its own"})
    robots.way("lab", "base")
    robots.way("lab", "other")
    async with door(robots) as server:
        url = f"ws://127.0.0.1:{server.port}/robot"
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Bearer {OWN_KEY}", "Origin": "http://a"}):
            with pytest.raises(InvalidStatus) as refused:
                async with connect(url, additional_headers=headers):
                    pass
            assert refused.value.response.status_code == 401
        hello = {"topic": "hello", "payload": {"site": "lab", "robot": "base", "boot": "b"}}
        cases: list[tuple[str, object]] = [
            ("another long key of its own", hello),  # its own key, another's name
            (OWN_KEY, {"topic": "hello", "payload": {"site": "lab", "robot": "unknown"}}),
            (OWN_KEY, {"topic": "hello", "payload": {"site": {}, "robot": []}}),
            (OWN_KEY, {"topic": "state", "payload": {}}),
            (OWN_KEY, {"topic": "hello", "payload": None}),
            (OWN_KEY, []), (OWN_KEY, "{"),
        ]
        for key, said in cases:
            async with connect(url, additional_headers={"Authorization": f"Bearer {key}"}) as socket:
                await socket.send(json.dumps(said))
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
    with pytest.raises(ConfigError, match="guessed"):
        Robots({"base": "short"})
    for name in ("a/b", "#", "$x", ""):
        with pytest.raises(ConfigError, match="cannot be an id"):
            robots.way("lab", name)


async def test_the_second_of_two_is_turned_away_and_garbage_ends_nothing() -> None:
    async with lab(Robots()) as (bot, robot, server):
        hello = {"topic": "hello", "payload": {"site": "lab", "robot": "base", "boot": "b"}}
        async with connect(f"ws://127.0.0.1:{server.port}/robot") as socket:
            await socket.send(json.dumps(hello))
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4409
        way: Any = robot._way
        for frame in ("{", "[]", json.dumps({"topic": 5, "payload": 1}), "[" * 100_000, b"", b"\xff\n", b"camera/x"):
            way._came(frame)
        for junk in ("{", "[]", json.dumps({"topic": "cmd", "payload": [1]}), json.dumps({"topic": "cmd"})):
            await way._link.write(junk)
        assert await robot.do("count") == 1 and not bot.stops
        await way._link.write('{"topic": "stop", broken')  # what was meant to be a stop
        await eventually(lambda: bool(bot.stops) and bot.gate.guard.latch.stopped)


async def test_a_robot_that_never_came_is_said_to_be_away() -> None:
    robot = Robots().robot("lab", "base")
    robot._ready.set()
    await robot.open()
    try:
        assert "is not there" in robot.problems()[0]
        with pytest.raises(ToolError, match="is not there"):
            await robot.do("go")
        with pytest.raises(LinkError, match="has not dialled in"):
            await robot.stop()
    finally:
        await robot.close()


class So101:
    """An arm with the shape of LeRobot's `Robot`: it goes where it is sent, and says where it is."""

    def __init__(self) -> None:
        self.at = {"shoulder_pan.pos": 0.0, "gripper.pos": 50.0}
        self.action_features = dict.fromkeys(self.at, float)
        self.sent: list[dict[str, float]] = []

    def get_observation(self) -> dict[str, Any]:
        return dict(self.at)

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        self.sent.append(action)
        self.at = dict(action)
        return action


async def test_a_lerobot_arm_behind_the_gate_follows_chunks_within_its_limits_and_stops() -> None:
    arm, robots = So101(), Robots()
    robot = robots.robot("home", "so101")
    async with door(robots) as server:
        gate = lerobot_arm.gate_of(arm, f"ws://127.0.0.1:{server.port}", robot="so101")
        running = asyncio.create_task(gate.run())
        await robot.open()
        try:
            await eventually(lambda: robot.state is not None and robot.state.joints.get("gripper") == 50.0)
            async with robot.drive() as drive:
                await drive.chunk([[float(at), 50.0 - at] for at in range(1, 21)], 40)
                await eventually(lambda: arm.at["shoulder_pan.pos"] > 5)
                steps = [action["shoulder_pan.pos"] for action in arm.sent]
                assert max(abs(b - a) for a, b in itertools.pairwise([0.0, *steps])) <= 3.0
                ack = await robot.stop("stop", src="typed")
            count = len(arm.sent)
            await eventually(lambda: robot.state is not None and robot.state.stop_id == ack.stop_id)
            assert {action["shoulder_pan.pos"] for action in arm.sent[count:]} <= {arm.at["shoulder_pan.pos"]}
        finally:
            await robot.close()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
