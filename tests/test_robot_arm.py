"""`make robot`, end to end: a broker, the arm as a program of its own, and the agent's side that looks and acts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import IO, Any

import pytest

pytest.importorskip("mujoco", reason="pip install 'liveagent[robot]'")

from typer.testing import CliRunner

from liveagent.call import Call
from liveagent.cli import app
from liveagent.clients.arm.camera import MISSING, drawn_by
from liveagent.clients.arm.scene import scene
from liveagent.errors import ConfigError, LinkError, ToolError
from liveagent.event import DeviceBack, DeviceLost
from liveagent.load import load_agent
from liveagent.nn.finder import FILE, Finder
from liveagent.nn.model import weights_folder
from liveagent.ports.mosquitto import Mosquitto, access, found
from liveagent.runtime.picking import Picking
from liveagent.runtime.robot_eyes import RobotEyes, is_robots
from liveagent.runtime.table_arm import TableArm
from liveagent.runtime.way import MqttWay
from liveagent.tools.arm import arm_tools

pytestmark = pytest.mark.slow
needs_broker = pytest.mark.skipif(found() is None, reason="apt install mosquitto")
needs_eyes = pytest.mark.skipif(drawn_by() is None, reason=MISSING)
WAIT_S = 60.0
WORDS = {"arm": "a-robots-word", "agent": "an-agents-word"}


@contextmanager
def cell(seed: int = 4) -> Iterator[tuple[str, IO[bytes]]]:
    """The broker's address for the agent, and what a person beside the robot types."""
    with Mosquitto(users=WORDS, rules=access(["arm"], agents=["agent"])) as broker:
        command = [sys.executable, "-m", "liveagent.clients.arm", "--seed", str(seed)]
        env = {**os.environ, "LIVEAGENT_BROKER": broker.url("arm")}
        arm = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert arm.stdin is not None and arm.stdout is not None
        try:
            yield broker.url("agent"), arm.stdin
        finally:
            arm.stdin.close()
            arm.terminate()
            assert arm.wait(WAIT_S) == 0
            arm.stdout.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[tuple[TableArm, Picking]]:
    arm = TableArm(MqttWay(url, "home", "arm"), Finder.load(weights_folder() / FILE))
    try:
        picking = await arm.connected()
        async with asyncio.timeout(WAIT_S):
            while arm.robot.state is None or arm.robot.problems():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        yield arm, picking
    finally:
        await arm.close()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 (the world's state, which tells nobody)
            await asyncio.sleep(0.02)


async def insisted(do: Callable[[], Awaitable[None]]) -> None:
    """Ask again when a machine that has too much to do let the robot's watchdog end it, and when the robot says that it
    has not begun since it has only just connected; that is a person's part."""
    for _ in range(10):
        try:
            await do()
            return
        except ToolError as error:
            if "try again in a second" in str(error):
                await asyncio.sleep(0.5)
            elif "lost contact" not in str(error):
                raise
    raise AssertionError("the robot's watchdog ended it again and again")


@needs_broker
@needs_eyes
async def test_it_picks_by_sight_over_a_broker_and_a_stop_is_a_persons_to_lift() -> None:
    laid = scene(4)
    there = {each.name for each in (*laid.things, *laid.trays)}
    with cell(4) as (url, hands):
        async with connected(url) as (arm, picking):
            await until(lambda: arm.robot.cameras["mast"].jpeg is not None)
            assert set(await picking.names()) == there
            shares: list[float] = []

            async def pick() -> None:
                shares.clear()
                await until(lambda: arm.robot.state is not None and not arm.robot.state.more["moving"])
                if arm.robot.state is not None and arm.robot.state.more["holding"]:  # it was ended when it had it
                    await picking.place_on_tray("red")
                await picking.pick("blue", "cube", lambda share, note: shares.append(share))

            await insisted(pick)
            assert len(shares) > 10 and max(shares) > 0.9
            assert arm.robot.state is not None and arm.robot.state.more["holding"]

            moving = asyncio.create_task(picking.place_on_tray("red"))
            await until(lambda: arm.robot.state is not None and arm.robot.state.more["moving"])
            await picking.stop("a test")
            with pytest.raises(ToolError, match="stop"):
                await moving
            with pytest.raises(ToolError, match="stopped"):
                await picking.home()
            await until(lambda: arm.robot.state is not None and not arm.robot.state.more["moving"])
            held = dict(arm.robot.state.joints) if arm.robot.state is not None else {}

            hands.write(b"release\n")
            hands.flush()
            await until(lambda: arm.robot.connection is not None and arm.robot.connection.stop_id is None)
            assert arm.robot.state is not None
            assert all(abs(arm.robot.state.joints[name] - held[name]) < 0.02 for name in held)  # nothing resumed
            await insisted(lambda: picking.place_on_tray("red"))
            assert set(await picking.names()) == there
            with pytest.raises(ToolError, match="^the robot is not holding anything$"):
                await picking._body.do("place", {"x": 0.4, "y": 0.0}, lambda share, note: None)

            hands.write(b"cover\n")
            hands.flush()
            await asyncio.sleep(0.3)
            with pytest.raises(ToolError, match="cannot see a blue cube"):
                await picking.pick("blue", "cube")


@needs_broker
@needs_eyes
async def test_a_session_looks_through_the_robots_camera() -> None:
    with cell() as (url, _):
        told: list[object] = []
        eyes = RobotEyes(f"{url}/home/arm/mast", on_event=told.append)
        await asyncio.to_thread(eyes.start)
        try:
            async with asyncio.timeout(WAIT_S):
                while (frame := eyes.read()) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert frame.pixels.shape == (256, 256, 3) and frame.pixels.std() > 20
            assert eyes.read(frame.t_ns - 1) is None
        finally:
            await asyncio.to_thread(eyes.close)
        assert not [each for each in told if isinstance(each, DeviceLost | DeviceBack)]
        with pytest.raises(ConfigError):
            await asyncio.to_thread(RobotEyes(url.replace(WORDS["agent"], "wrong") + "/home/arm/mast").start)


@needs_broker
async def test_without_a_robot_the_agent_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with Mosquitto() as broker:
        picking = await TableArm(MqttWay(broker.url(), "home", "arm")).connected()
        with pytest.raises(ToolError):
            await picking.pick("blue", "cube")
        monkeypatch.setattr("liveagent.runtime.robot_eyes.FIRST_S", 0.3)
        with pytest.raises(LinkError, match="no picture comes"):
            await asyncio.to_thread(RobotEyes(f"{broker.url()}/home/arm/mast").start)


def test_an_address_of_a_robots_camera_is_read_with_suspicion() -> None:
    assert is_robots("mqtts://h/home/arm/mast") and not is_robots("rtsp://h/1") and not is_robots("table")
    for wrong in ("mqtt://h", "mqtt://h/home/arm", "mqtt://h/home/+/mast", "mqtt://h/home/arm/#"):
        with pytest.raises(ConfigError):
            RobotEyes(wrong)


class Deaf:
    """An arm that can do nothing, and one that can all."""

    def __init__(self, why: str = "") -> None:
        self.why = why

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def do(*_: object) -> Any:
            if self.why:
                raise ToolError(self.why)
            return ["blue cube", "orange tray"] if name == "names" else False

        return do


@pytest.mark.parametrize(
    ("name", "args", "said"),
    [
        ("pick", {"color": "blue", "shape": "cube"}, "i have the blue cube"),
        ("pick_and_place", {"color": "blue", "shape": "cube", "tray": "red"}, "the blue cube is on the red tray"),
        ("place", {"tray": "red"}, "it is on the red tray"),
        ("put_down", {"spot": "middle"}, "it is on the table, in the middle"),
        ("look", {}, "i see a blue cube and an orange tray"),
        ("move", {"direction": "up", "distance": 10}, "moved up 10 centimeters"),
        ("gripper", {"action": "open"}, "the gripper is open"),
        ("go_home", {}, "i am home"),
        ("stop", {}, "stopped"),
    ],
)
async def test_what_came_of_a_call_is_said_word_for_word(name: str, args: dict[str, Any], said: str) -> None:
    heard: list[str] = []

    async def hear(text: str) -> None:
        heard.append(text)

    for arm in (Deaf(), Deaf("i cannot see it")):

        async def given(arm: Any = arm) -> Any:
            return arm

        made = {each.name: each for each in arm_tools(given)}[name]
        assert made.takes_call == "call" and made.tell == "silent"
        if arm.why:
            with pytest.raises(ToolError):
                await made(**args, call=Call(say=hear))
        else:
            assert await made(**args, call=Call(say=hear)) == said
    assert heard == [said, "i cannot see it"]


def test_a_missing_simulator_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["robot", "--no-open"])
    assert done.exit_code == 2 and "pip install 'liveagent[robot]'" in done.output


def test_the_robots_agent_hears_a_two_step_wish_as_one_call() -> None:
    agent = load_agent("robot_arm")
    for words in (
        "pick up the blue cube and put it on the red tray",
        "grab the blue cube and place it in the red tray",
        "put the blue cube on the red tray",
    ):
        parse = agent.automaton.parse(words)
        assert parse.tool.name == "pick_and_place"  # type: ignore[union-attr]
        assert dict(parse.args) == {"color": "blue", "shape": "cube", "tray": "red"}  # type: ignore[union-attr]
    assert {tool.name for tool in agent.tools if tool.moves} == {tool.name for tool in agent.tools} - {"look"}
