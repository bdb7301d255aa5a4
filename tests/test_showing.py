"""What whoever looks on is shown of a session: the newest picture and how its robots stand, in bounds."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent import Agent
from liveagent.clients.robot.contract import Connection, State
from liveagent.runtime import admission
from liveagent.runtime.looking import Looking
from liveagent.runtime.robot import Robot
from liveagent.runtime.server import Server
from liveagent.runtime.showing import EVERY_NS, REPEAT_NS, Showing
from liveagent.runtime.way import MqttWay
from liveagent.wire.codec import Looked, RobotStands
from tests.site import WAIT_S, serving, small_agent, write_weights

MS = 1_000_000


class Arm:
    """A source of tools that keeps a robot, as `TableArm` does."""

    name = "an arm"

    def __init__(self) -> None:
        self.robot = Robot(MqttWay("mqtt://127.0.0.1:1", "home", "arm"))

    async def open(self, changed: object) -> None: ...

    def tools(self) -> list[Any]:
        return []

    def problems(self) -> list[str]:
        return []

    async def close(self) -> None: ...


@pytest.fixture
def looking() -> Looking:
    seen = Looking.__new__(Looking)
    seen._pixels, seen.t_ns = None, 0
    return seen


def see(looking: Looking, t_ns: int) -> None:
    looking._pixels, looking.t_ns = np.full((128, 128, 3), t_ns % 251, np.uint8), t_ns


def test_the_newest_picture_is_told_once_and_at_most_four_a_second(looking: Looking) -> None:
    showing = Showing(Agent("nano"))
    assert not [*showing.news(0, looking)] and not [*showing.news(0, None)]
    told = []
    for t_ns in range(0, 2_000 * MS, 40 * MS):  # 25 a second
        see(looking, t_ns + 1)
        told += [(t_ns, each) for each in showing.news(t_ns, looking)]
    assert 6 <= len(told) <= 8
    assert all(isinstance(each, Looked) and each.t_ns == t_ns + 1 for t_ns, each in told), "the newest"
    see(looking, 4_000 * MS)
    assert len([*showing.news(5_000 * MS, looking)]) == 1 and not [*showing.news(6_000 * MS, looking)]
    showing.again()
    assert len([*showing.news(6_001 * MS, looking)]) == 1


def test_how_a_robot_stands_is_told_when_it_changes() -> None:
    arm = Arm()
    showing = Showing(Agent("nano", sources=[arm]))
    assert showing.robots == (arm.robot,)
    assert not [*showing.news(0, None)], "nothing was heard of it"
    arm.robot.connection = Connection.model_construct(state="ONLINE", stop_id=None)
    arm.robot.state = State(t_ms=1, seq=1, epoch=1, boot="b", joints={"lift": 0.12345, "wrist": -1.0})
    assert [*showing.news(0, None)] == [RobotStands("arm", False, False, {"lift": 0.123, "wrist": -1.0})]
    arm.robot.state = State(t_ms=2, seq=2, epoch=1, boot="b", joints={"lift": 0.12349, "wrist": -1.0})
    assert not [*showing.news(EVERY_NS, None)], "a joint that trembles"
    arm.robot.connection = Connection.model_construct(state="ONLINE", stop_id="stop-1")
    (stopped,) = showing.news(2 * EVERY_NS, None)
    assert isinstance(stopped, RobotStands) and stopped.stopped
    assert not [*showing.news(2 * EVERY_NS + REPEAT_NS - 1, None)]
    assert [*showing.news(2 * EVERY_NS + REPEAT_NS, None)] == [stopped]


@pytest.mark.slow
async def test_a_server_that_looks_for_itself_sends_what_it_saw_and_takes_no_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "FULL", 1e9)
    white = struct.pack("<BBHIQ", 3, 0, 0, 0, 0) + b"\xff" * (128 * 128 * 3)
    with serving(Server(small_agent(write_weights(tmp_path)), camera="table")) as site:
        async with asyncio.timeout(WAIT_S), site.connect() as socket:
            await socket.send(json.dumps({"type": "hello", "v": 1, "speak": False, "pictures": True}))
            welcome: dict[str, Any] = {}
            pictures: list[Any] = []
            while len(pictures) < 3:
                await socket.send(white)
                said = await socket.recv()
                if isinstance(said, bytes):
                    assert struct.unpack_from("<BBHHH", said) == (17, 0, 0, 128, 128)
                    pictures.append(np.frombuffer(said, np.uint8, offset=16))
                elif (told := json.loads(said)).get("type") == "welcome":
                    welcome = told["agent"]
            assert welcome["camera"] == "server" and welcome["robots"] == []
            assert all(20 < each.mean() < 235 and each.std() > 5 for each in pictures), "the table, and nothing white"
