"""The process that stops robots, with a real broker and a robot in a process of its own: whatever else is frozen, dead
or busy, a stop that was said, typed or pressed makes it stand."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent.clients.robot import contract
from liveagent.clients.robot.contract import Reset, State
from liveagent.event import Noted, RobotStopped
from liveagent.ports import mosquitto
from liveagent.ports.mosquitto import Mosquitto
from liveagent.ports.mqtt import Mqtt
from liveagent.runtime import stop_process
from liveagent.runtime.robot import Robot
from liveagent.runtime.robots import Robots
from liveagent.runtime.server import Server
from liveagent.runtime.stop_process import Door, Lookout, StopProcess
from liveagent.runtime.stop_wire import StopAddress
from liveagent.runtime.way import MqttWay
from tests.espeak import new_espeak
from tests.lab import eventually
from tests.site import serving, small_agent, write_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(mosquitto.found() is None, reason="mosquitto is not installed"),
]
TOP = "liveagent/v1/lab/base"
CHUNK = 320


@pytest.fixture(scope="module")
def said() -> np.ndarray:
    """Somebody says "stop", in a quiet room."""
    pytest.importorskip("pocketsphinx")
    word = new_espeak().say("stop", random.Random(3))
    assert word is not None
    sound = np.concatenate([np.zeros(12000, np.int16), word.samples, np.zeros(16000, np.int16)])
    hiss = np.random.default_rng(0).standard_normal(len(sound)) * 20
    return (sound * 0.5 + hiss).astype(np.int16)


@contextmanager
def at_home(url: str) -> Iterator[None]:
    """A robot in a process of its own."""
    process = subprocess.Popen([sys.executable, "-m", "tests.omnibot", url, "base"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        assert process.stdout.readline().strip() == b"ready"
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def robot() -> Iterator[tuple[StopAddress, Mosquitto]]:
    with Mosquitto() as broker, at_home(broker.url()):
        yield StopAddress("lab", "base", broker.url()), broker


class Told:
    """What a lookout is told."""

    def __init__(self) -> None:
        self.events: list[RobotStopped | Noted] = []

    def __call__(self, event: RobotStopped | Noted) -> None:
        self.events.append(event)

    def stopped(self, source: str) -> bool:
        return any(isinstance(each, RobotStopped) and each.source == source for each in self.events)

    def noted(self, code: str) -> bool:
        return any(isinstance(each, Noted) and each.code == code for each in self.events)


@contextmanager
def looking_out(address: StopAddress) -> Iterator[tuple[StopProcess, Lookout, Told]]:
    stops, told = StopProcess(), Told()
    stops.start()
    try:
        lookout = stops.lookout([address], told)
        until = time.monotonic() + 30
        while not stops.ways.get(address.name) and time.monotonic() < until:
            time.sleep(0.01)
        yield stops, lookout, told
    finally:
        stops.close()
        assert stops.pid is None


def say(lookout: Lookout, sound: np.ndarray) -> None:
    """At its own pace, as a microphone's thread does."""
    begin_ns = time.monotonic_ns()
    for at in range(0, len(sound) - CHUNK + 1, CHUNK):
        due_ns = begin_ns + (at + CHUNK) * 62_500
        time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
        lookout.hear(sound[at : at + CHUNK], due_ns - CHUNK * 62_500)


async def state(broker: Mosquitto) -> State:
    """How the robot stands now."""
    async with Mqtt(broker.url()) as link:
        async for message in await link.subscribe(f"{TOP}/state"):
            return contract.read(State, message.payload)
    raise AssertionError


async def stands(broker: Mosquitto) -> str:
    """It is stopped; by which."""
    found = await state(broker)
    assert found.stop_id is not None and found.hold == "STOPPED" and not any(found.applied.values())
    return found.stop_id


async def test_pressed_typed_and_spoken_and_an_operator_alone_lifts_it(
    robot: tuple[StopAddress, Mosquitto], said: np.ndarray
) -> None:
    address, broker = robot
    assert (await state(broker)).stop_id is None
    with looking_out(address) as (_, lookout, told):
        stop_id = lookout.press("button")
        await eventually(lambda: told.stopped("button"))
        assert await stands(broker) == stop_id
        async with Mqtt(broker.url()) as operator:
            await operator.publish(f"{TOP}/stop/reset", contract.write(Reset(id="r1", stop_id=stop_id)), qos=1)
        assert not lookout.typed("stop recording") and lookout.typed("Stop, please!")
        await eventually(lambda: told.stopped("typed"))
        assert await stands(broker) != stop_id
        await asyncio.to_thread(say, lookout, said)
        await eventually(lambda: told.stopped("spoken"))
    spoken = next(each for each in told.events if isinstance(each, RobotStopped) and each.source == "spoken")
    assert spoken.robot == "lab/base" and spoken.heard_ms > 0


async def test_a_loop_that_is_blocked_keeps_no_microphone_from_being_heard(
    robot: tuple[StopAddress, Mosquitto], said: np.ndarray
) -> None:
    address, broker = robot
    with looking_out(address) as (_, lookout, told):
        microphone = threading.Thread(target=say, args=(lookout, said))
        microphone.start()
        time.sleep(len(said) / 16000 + 1.0)  # noqa: ASYNC251 (that is the point)
        assert told.stopped("spoken")
        microphone.join()
        await stands(broker)


async def test_a_broker_that_comes_back_is_told(robot: tuple[StopAddress, Mosquitto]) -> None:
    address, broker = robot
    with looking_out(address) as (stops, lookout, told):
        broker.kill()
        await eventually(lambda: not stops.ways["lab/base"])
        lookout.press("button")
        await eventually(lambda: told.noted("stop_unheard"))
        assert not told.stopped("button")
        broker.start()
        await eventually(lambda: told.stopped("button"))
        await stands(broker)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_process_itself_killed_or_frozen_is_started_again_and_told_what_it_missed(
    robot: tuple[StopAddress, Mosquitto], said: np.ndarray, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_process, "FROZEN_S", 1.0)
    address, broker = robot
    with looking_out(address) as (stops, lookout, told):
        pid = stops.pid
        assert pid is not None
        os.kill(pid, how)
        stop_id = lookout.press("key")
        await eventually(lambda: told.stopped("key"))
        assert await stands(broker) == stop_id
        assert stops.restarts == 1 and stops.pid != pid and told.noted("stop_lost")
        monkeypatch.setattr(stop_process, "FROZEN_S", 30.0)
        await asyncio.to_thread(say, lookout, said)
        await eventually(lambda: told.stopped("spoken"))


async def test_an_engine_that_is_frozen_keeps_no_stop_from_the_robot(
    robot: tuple[StopAddress, Mosquitto], said: np.ndarray, tmp_path: Path
) -> None:
    address, broker = robot
    source = Robot(MqttWay(address.url, address.site, address.robot))
    server = Server(small_agent(write_weights(tmp_path), sources=[source]))
    with serving(server) as site:
        await eventually(lambda: server.stops.ways.get("lab/base", False))
        async with site.talk() as talk:
            await talk.greeted()
            engine = server.engine.pid
            assert engine is not None
            os.kill(engine, signal.SIGSTOP)
            try:
                stopped = asyncio.create_task(talk.until("RobotStopped", source="spoken"))
                for at in range(0, len(said) - CHUNK + 1, CHUNK):
                    part = said[at : at + CHUNK]
                    head = struct.pack("<BBHIQ", 1, 0, 0, at, at * 1_000_000 // 16000)
                    await talk.socket.send(head + part.astype("<i2").tobytes())
                    await asyncio.sleep(CHUNK / 16000)
                event: dict[str, Any] = await stopped
                assert event["robot"] == "lab/base"
                await stands(broker)
                await talk.say({"type": "TextTyped", "text": "stop"})
                await talk.until("RobotStopped", source="typed")
            finally:
                os.kill(engine, signal.SIGCONT)
    assert server.stops.pid is None


async def test_no_robot_no_process(tmp_path: Path) -> None:
    server = Server(small_agent(write_weights(tmp_path)))
    with serving(server) as site:
        async with site.talk() as talk:
            await talk.greeted()
            await talk.say({"type": "TextTyped", "text": "stop"})
            await talk.until("StopHeard")
            assert server.stops.pid is None


async def test_a_robot_that_dials_in_hears_it_at_a_door_of_its_own(tmp_path: Path, said: np.ndarray) -> None:
    robots = Robots()
    source = robots.robot("lab", "base")
    server = Server(small_agent(write_weights(tmp_path), sources=[source]), robots=robots)
    told = Told()
    with serving(server) as site, at_home(f"ws://127.0.0.1:{site.port}"):
        await eventually(lambda: server.stops.ways.get("lab/base", False))
        lookout = server.stops.lookout([robots.way("lab", "base").stop_address], told)
        await asyncio.to_thread(say, lookout, said)
        await eventually(lambda: told.stopped("spoken"))
        await eventually(lambda: source.state is not None and source.state.hold == "STOPPED")
        pid = server.stops.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)  # the door is shut: it goes with everything else, or when the door opens
        lookout.press("button")
        await eventually(lambda: told.stopped("button"))
        await eventually(lambda: server.stops.ways.get("lab/base", False))
        lookout.close()


def test_a_stranger_at_the_door_hears_nothing() -> None:
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    stops = StopProcess(Door())
    stops.start()
    try:
        stops.lookout([StopAddress("lab", "base", token="a token of its own")], Told())
        assert stops.ready.wait(30) and stops.door_port is not None
        url = f"ws://127.0.0.1:{stops.door_port}/"
        for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": "Bearer "}):
            with pytest.raises(InvalidStatus, match="401"):
                connect(url, additional_headers=headers, proxy=None)
        with connect(url, additional_headers={"Authorization": "Bearer a token of its own"}, proxy=None):
            pass
    finally:
        stops.close()
