"""`Robots`: those that dial in at the server's `/robot`, without a broker between.

    robots = Robots({"arm": "its own long key"})
    server = Server(Agent("nano", tools=[robots.robot("home", "arm")]), robots=robots)

The contract is the one that goes over MQTT: `{"topic": …, "payload": …}` as text, a picture as topic, newline, JPEG.
What a robot says first is who it is. With keys each robot needs its own; without any, only robots of this machine come
in. Of two that call themselves alike the second is turned away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from liveagent.clients.robot.contract import MOST_DESCRIBE_BYTES, MOST_PICTURE_BYTES, ContractError, checked
from liveagent.errors import ConfigError, LinkError
from liveagent.runtime.door import SHORTEST_KEY, is_loopback, key_of, name_of
from liveagent.runtime.link import Link
from liveagent.runtime.request import Refused
from liveagent.runtime.robot import Robot
from liveagent.runtime.scope import Scope, client_of, headers_of
from liveagent.runtime.stop_process import Door, StopProcess
from liveagent.runtime.stop_wire import StopAddress
from liveagent.runtime.way import WayInbox

HELLO_S = 5.0
POLICY, CONFLICT = 1008, 4409

_log = logging.getLogger("liveagent.robots")


class SocketWay:
    """To one robot, whenever it is there."""

    def __init__(self, site: str, robot: str) -> None:
        self.site, self.robot, self.where = checked(site), checked(robot), "/robot"
        self._inbox: WayInbox | None = None
        self._link: Link | None = None
        self.stop_address = StopAddress(site, robot, token=secrets.token_urlsafe(24))
        self.stop_answered: Callable[[str, bytes], None] = lambda robot, payload: None
        self._kept: dict[str, bytes] = {}  # what a broker would have kept for whoever comes later

    async def run(self, inbox: WayInbox) -> None:
        self._inbox = inbox
        try:
            if self._link is not None:
                inbox.up()
                for tail, payload in self._kept.items():
                    inbox.came(tail, payload)
            await asyncio.Event().wait()
        finally:
            self._inbox = None

    async def send(self, tail: str, payload: bytes, *, qos: int = 1) -> None:
        link = self._link
        if link is None or link.gone:
            raise LinkError(f"the robot {self.site}/{self.robot} has not dialled in")
        text = '{"topic":' + json.dumps(tail) + ',"payload":' + payload.decode() + "}"
        if not await link.write(text):
            raise LinkError(f"the robot {self.site}/{self.robot} does not take what it is sent")

    @property
    def taken(self) -> bool:
        return self._link is not None

    async def serve(self, link: Link) -> None:
        """One connection of the robot's, until it ends."""
        self._link = link
        try:
            if self._inbox is not None:
                self._inbox.up()
            while (frame := await link.read()) is not None:
                self._came(frame)
        finally:
            self._link = None
            self._kept.clear()
            if self._inbox is not None:
                # What a broker's last will would say.
                self._inbox.down(LinkError(f"the robot {self.site}/{self.robot} is gone"))

    def _came(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            tail, _, payload = frame.partition(b"\n")
            if len(payload) <= MOST_PICTURE_BYTES and self._inbox is not None and len(tail) < 200:
                self._inbox.came(tail.decode("ascii", "replace"), payload)
            return
        found = _read(frame)
        if found is None:
            return
        tail_, body = found
        if tail_ == "stop/ack":
            self.stop_answered(self.stop_address.name, body)
        if tail_ in ("connection", "describe"):
            self._kept[tail_] = body
        if self._inbox is not None:
            self._inbox.came(tail_, body)


class Robots:
    """Those of one server. keys: by the robot's name."""

    def __init__(self, keys: Mapping[str, str] | None = None, *, door: Door | None = None) -> None:
        """door: where they hear a stop, beside /robot; None: on any free port of this machine's loopback. ConfigError
        for a key that can be guessed, and for what can be no robot's name."""
        self.door = door or Door()
        self._stops: StopProcess | None = None
        for name, key in (keys or {}).items():
            _id(name)
            if len(key) < SHORTEST_KEY:
                raise ConfigError(f"the key of robot {name} can be guessed; take {SHORTEST_KEY} characters or more")
        self._keys = {name: key.encode() for name, key in (keys or {}).items()}
        self._ways: dict[tuple[str, str], SocketWay] = {}

    def stopped_by(self, stops: StopProcess) -> None:
        """Who stops them. What it cannot say to one at its own door goes over the way that there is."""
        self._stops = stops
        loop = asyncio.get_running_loop()
        sending: set[asyncio.Task[None]] = set()

        async def send(way: SocketWay, stop: bytes) -> None:
            with contextlib.suppress(LinkError):
                await way.send("stop", stop)

        def relay(robot: StopAddress, stop: bytes) -> None:
            way = self._ways.get((robot.site, robot.robot))
            if way is not None:
                task = loop.create_task(send(way, stop))
                sending.add(task)
                task.add_done_callback(sending.discard)

        stops.relay = lambda robot, stop: _there(loop, lambda: relay(robot, stop))
        for way in self._ways.values():
            way.stop_answered = stops.answered

    def robot(self, site: str, robot: str, *, prefix: str = "", confirm_key: bytes | None = None) -> Robot:
        """The robot of that name, whether it is there yet or not. Others are not let in. ConfigError."""
        return Robot(self.way(site, robot), prefix=prefix, confirm_key=confirm_key)

    def way(self, site: str, robot: str) -> SocketWay:
        """The way to it. ConfigError."""
        site, robot = _id(site), _id(robot)
        return self._ways.setdefault((site, robot), SocketWay(site, robot))

    async def serve(self, scope: Scope, link: Link) -> None:
        """One websocket at /robot, from its first byte to its last."""
        await link.begin()
        headers = headers_of(scope)
        key = key_of(headers)
        names = [name for name, own in self._keys.items() if hmac.compare_digest(own, key.encode())]
        here = is_loopback(client_of(scope)) and is_loopback(name_of(headers.get("host", "")))
        if (self._keys and not names) or (not self._keys and not here) or "origin" in headers:
            why = "no page drives a robot" if "origin" in headers else "a robot needs its own key here"
            await link.refuse(Refused(why, status=401, reason="robot"))
            return
        await link.accept()
        way = await self._greeted(link)
        if way is None or (self._keys and way.robot not in names):
            await link.close(POLICY, "say hello first, as a robot that is expected here, with its own key")
        elif way.taken:
            _log.error("a second robot calls itself %s/%s, and is turned away", way.site, way.robot)
            await link.close(CONFLICT, "a robot of this name is there already")
        else:
            if self._stops is not None and (port := self._stops.door_port) is not None:
                at = {"topic": "stop/at", "payload": {"port": port, "token": way.stop_address.token}}
                await link.write(json.dumps(at))
            await way.serve(link)

    async def _greeted(self, link: Link) -> SocketWay | None:
        try:
            async with asyncio.timeout(HELLO_S):
                frame = await link.read()
        except TimeoutError:
            return None
        found = _read(frame) if isinstance(frame, str) else None
        if found is None or found[0] != "hello":
            return None
        said: Any = json.loads(found[1])
        site, robot = (said.get("site"), said.get("robot")) if isinstance(said, dict) else (None, None)
        return self._ways.get((site, robot)) if isinstance(site, str) and isinstance(robot, str) else None


def _there(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(what)


def _read(frame: str) -> tuple[str, bytes] | None:
    """Topic and payload of a text; None for what is none."""
    if len(frame) > 2 * MOST_DESCRIBE_BYTES:
        return None
    try:
        said = json.loads(frame)
        tail, payload = said["topic"], json.dumps(said["payload"]).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (tail, payload) if isinstance(tail, str) and len(tail) < 200 else None


def _id(name: str) -> str:
    try:
        return checked(name)
    except ContractError as error:
        raise ConfigError(str(error)) from None
