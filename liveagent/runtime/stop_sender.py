"""One robot's stop, on a connection of its own, said again and again until the robot says that it stands.

There is nothing here but that connection: no order, no picture and no lease ever waits before a stop on it. A broker
that is gone is dialled again at once while a stop is wanted (`BrokerSender`); a robot that dials in and is gone has to
dial again (`DoorSender`). Whoever comes back hears it first of all.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from liveagent.clients.robot.contract import ContractError, Stop, StopAck, read, topic, write
from liveagent.errors import ConfigError, LiveAgentError
from liveagent.ports.mqtt import Mqtt
from liveagent.runtime.stop_wire import StopAddress

AGAIN_S = 0.1
UNHEARD_S = 2.0
"""Whoever has not answered by then has probably not stopped, and somebody is told."""
HOLD_S = 30.0
"""So long a stop that no robot has answered is repeated: one that comes back later has stood still meanwhile."""
RETRY_S = (0.05, 0.1, 0.2, 0.5)
REFUSED_S = 5.0
KEEPALIVE_S = 2
TIMEOUT_S = 2.0
MOST_OPEN = 16

Tell: TypeAlias = Callable[[str, dict[str, Any]], None]
Send: TypeAlias = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class _Wanted:
    stop: Stop
    since_ns: int
    published_ns: int = 0
    times: int = 0
    unheard: bool = False
    again: asyncio.Event = field(default_factory=asyncio.Event)
    saying: asyncio.Task[None] | None = None


class StopSender(ABC):
    """One robot's, from `run` until that is cancelled. `tell(kind, fields)`: acked, unheard, unlinked, way."""

    def __init__(self, address: StopAddress, tell: Tell) -> None:
        self.address, self._tell = address, tell
        self._send: Send | None = None
        self._wanted: dict[str, _Wanted] = {}
        self._soon = asyncio.Event()
        self._up: bool | None = None

    def stop(self, stop_id: str, src: str) -> None:
        """Have it stop. Returns at once; the first message is on its way within this turn of the loop."""
        if stop_id in self._wanted:
            return
        while len(self._wanted) >= MOST_OPEN:
            del self._wanted[next(iter(self._wanted))]  # the newest is what stands
        wanted = _Wanted(Stop(id=stop_id, src=src, sent_ms=time.time() * 1000.0), time.monotonic_ns())
        self._wanted[stop_id] = wanted
        wanted.saying = asyncio.get_running_loop().create_task(self._insist(wanted), name=f"stop {self.address.name}")
        self._soon.set()
        if self._send is None:
            self._tell("unlinked", {"stop_id": stop_id, "robot": self.address.name, "src": src})

    @abstractmethod
    async def run(self) -> None:
        """Keep the way to it."""

    def answer(self, payload: bytes) -> None:
        """What it says of a stop."""
        try:
            ack = read(StopAck, payload)
        except ContractError:
            return
        wanted = self._wanted.pop(ack.id, None)
        if wanted is not None:
            wanted.again.set()
            self._tell("acked", {
                "stop_id": ack.id, "robot": self.address.name, "published_ns": wanted.published_ns,
                "acked_ns": time.monotonic_ns(), "times": wanted.times,
            })  # fmt: skip

    def _linked(self, send: Send) -> None:
        self._send = send
        self._say_way(True, "")
        for each in self._wanted.values():
            each.again.set()  # whoever waits for the next time says it now

    def _unlinked(self, problem: str) -> None:
        self._send = None
        self._say_way(False, problem)

    async def _insist(self, wanted: _Wanted) -> None:
        stop_id = wanted.stop.id
        while self._wanted.get(stop_id) is wanted:
            wanted.again.clear()
            if (send := self._send) is not None:
                now_ns = time.monotonic_ns()
                with contextlib.suppress(LiveAgentError):  # `run` sees it too
                    await send(write(wanted.stop))
                    wanted.published_ns = wanted.published_ns or now_ns
                    wanted.times += 1
            age_s = (time.monotonic_ns() - wanted.since_ns) / 1e9
            if age_s > UNHEARD_S and not wanted.unheard:
                wanted.unheard = True
                self._tell("unheard", {"stop_id": stop_id, "robot": self.address.name, "connected": bool(self._send)})
            if age_s > HOLD_S:
                self._wanted.pop(stop_id, None)
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(AGAIN_S):
                    await wanted.again.wait()

    def _say_way(self, up: bool, problem: str) -> None:
        if self._up != up:
            self._up = up
            self._tell("way", {"robot": self.address.name, "up": up, "problem": problem})


class BrokerSender(StopSender):
    """By a broker."""

    def __init__(self, address: StopAddress, tell: Tell) -> None:
        """ContractError for names that are none, ConfigError for what is no broker's address."""
        super().__init__(address, tell)
        self._topic = topic(address.site, address.robot, "stop")
        self._ack = topic(address.site, address.robot, "stop/ack")
        self._connection()

    async def run(self) -> None:
        tries = 0
        while True:
            try:
                async with self._connection() as link:
                    messages = await link.subscribe(self._ack)
                    tries = 0
                    # Quality of service 0: what counts is the robot's own answer, and a broker's would be waited for.
                    self._linked(partial(link.publish, self._topic))
                    async for message in messages:
                        self.answer(message.payload)
            except ConfigError as error:
                self._unlinked(str(error))
                await self._pause(REFUSED_S)
            except (LiveAgentError, OSError) as error:
                self._unlinked(str(error))
                await self._pause(RETRY_S[min(tries, len(RETRY_S) - 1)])
                tries += 1

    async def _pause(self, seconds: float) -> None:
        self._soon.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._soon.wait()

    def _connection(self) -> Mqtt:
        return Mqtt(
            self.address.url, client_id=f"stop-{secrets.token_hex(6)}", keepalive_s=KEEPALIVE_S, timeout_s=TIMEOUT_S,
            ca=Path(self.address.ca) if self.address.ca else None,
        )  # fmt: skip


class DoorSender(StopSender):
    """Of a robot that dials in at a `StopDoor`: its guest."""

    async def run(self) -> None:
        await asyncio.Event().wait()

    def come(self, send: Send) -> None:
        self._linked(send)

    def leave(self, send: Send) -> None:
        if self._send is send:
            self._unlinked("it has hung up")
