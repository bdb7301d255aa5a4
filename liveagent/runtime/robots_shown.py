"""`RobotsShown`: the robots on a broker, announced so that Home Assistant shows them.

They are announced when they describe themselves, again when Home Assistant says that it has started, and taken back
when their description is gone. Nothing here drives a robot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from liveagent import __version__
from liveagent.announcement import PREFIX
from liveagent.clients.robot.contract import MOST_DESCRIBE_BYTES, ContractError, Describe, named, read
from liveagent.clients.robot.contract import PREFIX as ROBOTS
from liveagent.errors import LinkError
from liveagent.ports.mqtt import Message, Mqtt
from liveagent.robot_device import device_payload, device_topic

MOST_ROBOTS = 256

_log = logging.getLogger("liveagent.home")


class RobotsShown:
    """One broker's. `run` on a link for as long as that lasts."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self._shown: dict[str, str] = {}  # topic -> announcement

    async def run(self, link: Mqtt) -> None:
        """Until the link is lost (LinkError) or it is cancelled."""
        self._shown.clear()
        told = await link.subscribe(f"{ROBOTS}/+/+/describe", most=MOST_ROBOTS)
        status = await link.subscribe(f"{self._prefix}/status", most=8)

        async def describe() -> None:
            async for message in told:
                await self._take(link, message)

        async def greet() -> None:
            async for message in status:
                if message.payload == b"online" and not message.retain:
                    for topic, payload in list(self._shown.items()):
                        await link.publish(topic, payload, qos=1, retain=True)

        tasks = [asyncio.create_task(each) for each in (describe(), greet())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, link: Mqtt, message: Message) -> None:
        found = named(message.topic)
        if found is None:
            return
        site, robot, _ = found
        topic = device_topic(site, robot, self._prefix)
        if not message.payload:
            if self._shown.pop(topic, None) is not None:
                await link.publish(topic, "", qos=1, retain=True)
            return
        try:
            said = read(Describe, message.payload, MOST_DESCRIBE_BYTES)
        except ContractError as error:
            _log.warning("%s: %s", message.topic, error)
            return
        if (said.site, said.robot) != (site, robot) or (topic not in self._shown and len(self._shown) >= MOST_ROBOTS):
            _log.warning("%s: it describes another robot, or one too many; it is not shown", message.topic)
            return
        payload = device_payload(
            f"{ROBOTS}/{site}/{robot}", site, robot, description=said.description,
            cameras=[each.name for each in said.frames], version=__version__,
        )  # fmt: skip
        if self._shown.get(topic) != payload:
            self._shown[topic] = payload
            await link.publish(topic, payload, qos=1, retain=True)


async def show(link: Mqtt, prefix: str = PREFIX) -> None:
    """Show the robots of this link's broker until the link is lost, which is no error of its own."""
    with contextlib.suppress(LinkError):
        await RobotsShown(prefix).run(link)
