"""How long an order takes to a robot, and how many of its control ticks starve when an agent thinks slowly.

A robot in a process of its own, this process as its agent; a real Mosquitto between them, or a websocket that the robot
dialled in on.

    release_to_accept_ms_p50   from when a call is released to when the robot says that it has begun, by MQTT at QoS 1
                               and by websocket                                                                  <= 3
    chunk_starved_ticks        of the robot's 50 Hz ticks, those without an action, when stretches of 50 actions come
                               4 times a second, each 100 to 300 ms late                                            0

Beside that, in `detail`: the same delays when every action is sent by itself (`step_starved_ticks`), and that without
any delay but the network's.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from liveagent.bench.rover import JOINTS, NAME, SITE, ready, rover
from liveagent.ports.mosquitto import Mosquitto
from liveagent.ports.webserver import WebServer, event_loop
from liveagent.runtime.drive import Drive
from liveagent.runtime.lead import now_ms
from liveagent.runtime.link import Link
from liveagent.runtime.robot import Robot
from liveagent.runtime.robots import Robots
from liveagent.runtime.way import MqttWay

ORDERS = 300
PAUSE_S = 0.01
TICK_S = 0.02
HORIZON = 50
CHUNK_S = 0.25
DELAY_S = (0.1, 0.3)
STREAM_S = 20.0
WAIT_S = 20.0



async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not true():  # noqa: ASYNC110 (another process's state)
            await asyncio.sleep(0.01)


async def accepted_ms(robot: Robot, orders: int) -> list[float]:
    """From release to acceptance, for so many orders one after the other, while the agent leads the robot."""
    found: list[float] = []
    async with robot.drive():
        for _ in range(orders):
            begin = time.perf_counter()
            await robot.do("nothing", told=lambda share, note, begin=begin: found.append(time.perf_counter() - begin))  # type: ignore[misc]
            await asyncio.sleep(PAUSE_S)
    return [each * 1000.0 for each in found]


def wave(t_s: float) -> list[float]:
    """Where the joints should be, at any time."""
    return [0.5 * math.sin(t_s + joint) for joint in range(JOINTS)]


async def by_chunks(drive: Drive, seconds: float, seed: int) -> None:
    """Stretches of actions, each computed for the time at which it was begun, and sent when it is ready."""
    chance, begin = random.Random(seed), time.monotonic()
    sending: set[asyncio.Task[None]] = set()

    async def think(delay_s: float, t0_ms: float, actions: list[list[float]]) -> None:
        await asyncio.sleep(delay_s)
        await drive.chunk(actions, TICK_S * 1000.0, t0_ms=t0_ms)

    for turn in range(round(seconds / CHUNK_S)):
        await asyncio.sleep(max(0.0, begin + turn * CHUNK_S - time.monotonic()))
        t_s = turn * CHUNK_S
        actions = [wave(t_s + step * TICK_S) for step in range(HORIZON)]
        sending.add(asyncio.create_task(think(chance.uniform(*DELAY_S), now_ms(), actions)))
    await asyncio.gather(*sending)


async def by_steps(drive: Drive, seconds: float, seed: int, delayed: bool) -> None:
    """Every action by itself, when it is ready, in order."""
    chance, begin, ready_s = random.Random(seed), time.monotonic(), 0.0
    for turn in range(round(seconds / TICK_S)):
        t_s = turn * TICK_S
        ready_s = max(ready_s, t_s + (chance.uniform(*DELAY_S) if delayed else 0.0))
        await asyncio.sleep(max(0.0, begin + ready_s - time.monotonic()))
        await drive.chunk([wave(t_s)], TICK_S * 1000.0)


async def starved(robot: Robot, stream: Callable[[Drive], Awaitable[None]]) -> int:
    """Ticks without an action from the first that had one to the end of the stream."""
    async with robot.drive() as drive:
        assert robot.state is not None
        before = robot.state.starved_ticks
        await stream(drive)
        seq = robot.state.seq
        await until(lambda: robot.state is not None and robot.state.seq > seq)
        counted = robot.state.starved_ticks - before
        if drive.lost is not None:
            raise RuntimeError(f"the lead was lost: {drive.lost}; this machine is too busy to measure")
    await asyncio.sleep(0.3)
    return counted


async def _ready(robot: Robot) -> None:
    await robot.open()
    await until(lambda: robot.state is not None and bool(robot.tools()) and robot.barred is None)


async def _mqtt(orders: int, seconds: float, seed: int) -> dict[str, Any]:
    with Mosquitto() as broker, rover(broker.url()) as told:
        robot = Robot(MqttWay(broker.url(), SITE, NAME))
        try:
            await ready(told)
            await _ready(robot)
            waits = await accepted_ms(robot, orders)
            return {
                "waits": waits,
                "chunk": await starved(robot, lambda drive: by_chunks(drive, seconds, seed)),
                "step": await starved(robot, lambda drive: by_steps(drive, seconds, seed, True)),
                "prompt": await starved(robot, lambda drive: by_steps(drive, seconds, seed, False)),
            }
        finally:
            await robot.close()


async def _socket(orders: int) -> list[float]:
    robots = Robots()
    robot = robots.robot(SITE, NAME)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await robots.serve(scope, Link(scope, receive, send))

    server = WebServer(app)
    server.bind()
    serving = asyncio.create_task(server.run())
    try:
        with rover(f"ws://127.0.0.1:{server.port}") as told:
            await ready(told)
            await _ready(robot)
            return await accepted_ms(robot, orders)
    finally:
        await robot.close()
        server.stop(at_once=True)
        await serving


def run(orders: int = ORDERS, seconds: float = STREAM_S, seed: int = 1) -> dict[str, Any]:
    """Measure. DeviceError without mosquitto."""
    with asyncio.Runner(loop_factory=event_loop()) as runner:  # as a server has it
        by_mqtt = runner.run(_mqtt(orders, seconds, seed))
        by_socket = runner.run(_socket(orders))
    waits = {"mqtt": by_mqtt["waits"], "websocket": by_socket}
    ticks = round(seconds / TICK_S)
    return {
        "release_to_accept_ms_p50": {way: round(float(np.median(each)), 2) for way, each in waits.items()},
        "chunk_starved_ticks": by_mqtt["chunk"],
        "detail": {
            "release_to_accept_ms_p99": {way: round(float(np.percentile(each, 99)), 2) for way, each in waits.items()},
            "orders": {way: len(each) for way, each in waits.items()},
            "step_starved_ticks": by_mqtt["step"],
            "step_starved_ticks_without_delay": by_mqtt["prompt"],
            "ticks": ticks,
        },
    }  # fmt: skip
