"""How soon a robot stands still when whoever leads it is gone: killed, frozen, cut off, or without a broker.

Four processes: a real Mosquitto, a robot behind its gate, an agent that leads it, and this one, which takes something
away and hears from the robot when its setpoint became zero. Every other time the robot is led by a stream of speeds,
and else by an action of its own that would go on for ever. Nothing but the robot's own watchdog ends that.

    stopped_within_ms_p100   the slowest of all, from the moment when it was taken away                       <= 500
    resumed                  how often it moved again before somebody ordered it to                              0

`detail` has each kind by itself. Cut off means that no byte passes any more, and that nobody is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import IO, Any

import numpy as np

from liveagent.bench.rover import NAME, SITE, ready, rover
from liveagent.errors import LiveAgentError
from liveagent.ports.mosquitto import Mosquitto
from liveagent.runtime.robot import Robot
from liveagent.runtime.way import MqttWay

TIMES = 100
QUIET_S = 0.25
"""How long it is watched whether it moves again."""
WAIT_S = 30.0
SPEED_S = 0.05
KINDS = ("killed", "frozen", "cut_off", "broker_killed")


class Told:
    """What the robot tells, read as it comes."""

    def __init__(self, lines: IO[str]) -> None:
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def pour() -> None:
            for line in lines:
                with contextlib.suppress(RuntimeError):  # the bench is over
                    loop.call_soon_threadsafe(self._queue.put_nowait, json.loads(line))

        self._task = asyncio.ensure_future(asyncio.to_thread(pour))

    async def moves(self, wanted: bool) -> int:
        """When it began, or ceased, to move."""
        async with asyncio.timeout(WAIT_S):
            while True:
                said = await self._queue.get()
                if said.get("moves") is wanted:
                    return int(said["t_ns"])

    def again(self) -> bool:
        """Whether it has begun to move since it was last listened to."""
        moved = False
        while not self._queue.empty():
            moved = moved or self._queue.get_nowait().get("moves") is True
        return moved


class Cable:
    """A way to the broker that can be cut without telling either end. What was under way arrives when it is mended, as
    it does over TCP, and late orders must move nothing."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._whole = asyncio.Event()
        self._whole.set()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        self._whole.clear()

    def mend(self) -> None:
        self._whole.set()

    async def lay(self) -> int:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # nobody there
            writer.close()
            return
        ways = [asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))]
        self._tasks.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, back):
            end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()


class Driver:
    """An agent in a process of its own. A word on its standard input has it lead the robot: `stream` or `action`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: asyncio.subprocess.Process | None = None

    async def lead(self, how: str) -> None:
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "liveagent.bench.watchdog", self._url, stdin=asyncio.subprocess.PIPE
            )
        assert self._process.stdin is not None
        self._process.stdin.write(f"{how}\n".encode())
        await self._process.stdin.drain()

    def signal(self, what: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, what)

    async def end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


@asynccontextmanager
async def field() -> AsyncIterator[tuple[Mosquitto, Told, Cable, Driver]]:
    with Mosquitto() as broker, rover(broker.url()) as lines:
        await ready(lines)
        cable = Cable(broker.port)
        driver = Driver(f"mqtt://127.0.0.1:{await cable.lay()}")
        try:
            yield broker, Told(lines), cable, driver
        finally:
            await driver.end()
            await cable.close()


async def once(kind: str, how: str, broker: Mosquitto, told: Told, cable: Cable, driver: Driver) -> tuple[float, bool]:
    """Take one thing away while it moves; milliseconds until it stood, and whether it moved again."""
    told.again()
    await driver.lead(how)
    await told.moves(True)
    await asyncio.sleep(0.1 + 0.1 * (time.monotonic_ns() % 1000) / 1000)  # at any moment of a heartbeat's round
    taken_ns = time.monotonic_ns()
    if kind == "killed":
        driver.signal(signal.SIGKILL)
    elif kind == "frozen":
        driver.signal(signal.SIGSTOP)
    elif kind == "cut_off":
        cable.cut()
    else:
        broker.kill()
    stood_ns = await told.moves(False)
    await asyncio.sleep(QUIET_S)
    if kind == "killed":
        await driver.end()
    elif kind == "frozen":
        driver.signal(signal.SIGCONT)
    elif kind == "cut_off":
        cable.mend()
    else:
        await asyncio.to_thread(broker.start)
    await asyncio.sleep(QUIET_S)
    return (stood_ns - taken_ns) / 1e6, told.again()


async def measure(times: int, kinds: Sequence[str]) -> dict[str, Any]:
    waits: dict[str, list[float]] = {kind: [] for kind in kinds}
    resumed = 0
    async with field() as (broker, told, cable, driver):
        for kind in kinds:
            for turn in range(times):
                how = "stream" if turn % 2 else "action"
                wait_ms, again = await once(kind, how, broker, told, cable, driver)
                waits[kind].append(wait_ms)
                resumed += again
            await driver.end()
    return {
        "stopped_within_ms_p100": round(max(max(each) for each in waits.values()), 1),
        "resumed": resumed,
        "detail": {
            kind: {
                "times": len(each), "ms_p50": round(float(np.median(each)), 1), "ms_p100": round(max(each), 1),
                "led_by_action_ms_p100": round(max(each[::2]), 1),
                "led_by_stream_ms_p100": round(max(each[1::2], default=0.0), 1),
            }
            for kind, each in waits.items()
        },
    }  # fmt: skip


def run(times: int = TIMES, kinds: Sequence[str] = KINDS) -> dict[str, Any]:
    """Measure: so many times each. DeviceError without mosquitto."""
    return asyncio.run(measure(times, kinds))


# --- the agent, in its own process


async def _stream(robot: Robot) -> None:
    async with robot.drive() as drive:
        while True:
            await drive.velocity(vx=0.3)
            await asyncio.sleep(SPEED_S)


async def _lead(robot: Robot, how: str) -> None:
    """Lead it, once: what is lost is lost until somebody orders anew."""
    while not robot.reachable:  # noqa: ASYNC110 (tells nobody)
        await asyncio.sleep(0.02)
    led = False
    while not led:
        led = True
        try:
            await (_stream(robot) if how == "stream" else robot.do("roll"))
        except LiveAgentError as error:
            led = "only just connected" not in str(error)  # it has not begun: say it again
            await asyncio.sleep(0.1)


async def _drive(url: str) -> None:
    logging.getLogger("liveagent").setLevel(logging.CRITICAL)  # what is taken away is no news here
    robot = Robot(MqttWay(url, SITE, NAME))
    await robot.open()
    leading: asyncio.Task[None] | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        if leading is not None:
            leading.cancel()
            await asyncio.gather(leading, return_exceptions=True)
        leading = asyncio.create_task(_lead(robot, line.strip()))


if __name__ == "__main__":
    asyncio.run(_drive(sys.argv[1]))
