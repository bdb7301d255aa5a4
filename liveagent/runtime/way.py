"""`Way`: how an agent's messages reach one robot and come back, whatever carries them; `MqttWay` is by a broker.

Three connections to the broker, as the robot has: a stop has its own, and what the robot sees stands in nobody's way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from liveagent.clients.robot.contract import named, topic
from liveagent.errors import LinkError, LiveAgentError
from liveagent.ports.mqtt import Mqtt, lasting
from liveagent.runtime.stop_wire import StopAddress

SENT_ON_STOP = ("stop",)
HEARD = {
    "orders": ("connection", "describe", "action/+", "lease/echo"),
    "stop": ("stop/ack",),
    "senses": ("state", "camera/+/jpeg"),
}
QOS_0 = ("senses",)


class WayInbox(Protocol):
    """Who is told what comes of one robot."""

    def came(self, tail: str, payload: bytes) -> None: ...

    def up(self) -> None:
        """All of the way is there."""

    def down(self, error: LiveAgentError) -> None:
        """A part of it is not."""


class Way(Protocol):
    site: str
    robot: str
    where: str

    async def run(self, inbox: WayInbox) -> None:
        """Until cancelled; again and again. Raises ConfigError for what no waiting mends."""

    async def send(self, tail: str, payload: bytes, *, qos: int = 1) -> None:
        """LinkError when it is not there."""


class MqttWay:
    """connect: makes one connection to the broker; it is called for each."""

    def __init__(
        self, url: str, site: str, robot: str, *, ca: Path | None = None, connect: Callable[[], Mqtt] | None = None
    ) -> None:
        """ConfigError for what is no address. ContractError for what can be no site or robot."""
        topic(site, robot, "cmd")
        self.site, self.robot = site, robot
        self._connect = connect or (lambda: Mqtt(url, ca=ca))
        self.where = self._connect().where
        self.stop_address = None if connect else StopAddress(site, robot, url, None if ca is None else str(ca))
        """For the process that stops robots, which has a connection of its own; None: it cannot make one."""
        self._links: dict[str, Mqtt] = {}

    async def run(self, inbox: WayInbox) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in HEARD:
                group.create_task(self._keep(lane, inbox), name=f"robot {self.robot} {lane}")

    async def send(self, tail: str, payload: bytes, *, qos: int = 1) -> None:
        link = self._links.get("stop" if tail in SENT_ON_STOP else "orders")
        if link is None:
            raise LinkError(f"there is no connection to the broker at {self.where} now")
        await link.publish(topic(self.site, self.robot, tail), payload, qos=qos)

    async def _keep(self, lane: str, inbox: WayInbox) -> None:
        async def work(link: Mqtt) -> None:
            filters = [topic(self.site, self.robot, each) for each in HEARD[lane]]
            messages = await link.subscribe(*filters, qos=0 if lane in QOS_0 else 1)
            self._links[lane] = link
            try:
                if len(self._links) == len(HEARD):
                    inbox.up()
                async for message in messages:
                    if (found := named(message.topic)) is not None:
                        inbox.came(found[2], message.payload)
            finally:
                self._links.pop(lane, None)

        await lasting(self._connect, work, on_lost=inbox.down)
