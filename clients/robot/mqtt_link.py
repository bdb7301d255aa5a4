"""`MqttLink`: a robot on a broker, over three connections, so that a picture never stands before a stop.

    stop        stop, stop/reset → ack
    orders      cmd, cancel, lease, vel, chunk → action, lease/echo, connection (which is also the last will)
    telemetry   → describe, state, camera

Each starts clean and reconnects by itself; what was under way when one was lost is gone, on purpose. aiomqtt says that
it has taken a message before anybody has read it and does not tell a first delivery from a second: what must not happen
twice is known by its id, one floor up. TCP_NODELAY is set here; the broker needs it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiomqtt

from . import contract
from .link import Inbox, Letter, LinkError, Outbox

T = TypeVar("T")

KEEPALIVE_S = 3
TIMEOUT_S = 2.0
SETTLE_S = 0.5
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
MOST_IN = 256
MENDABLE = {132, 133, 134, 135, 138, 140}

READS = {
    "stop": ("stop", "stop/reset"),
    "orders": ("cmd", "cancel", "lease", "vel", "chunk", "connection"),
    "telemetry": (),
}
QOS_0 = ("lease", "vel", "chunk")
SAYS = {"stop/ack": "stop", "describe": "telemetry", "state": "telemetry", "camera": "telemetry"}

_log = logging.getLogger("liveagent.robot")


class MqttLink:
    def __init__(self, url: str, site: str, robot: str, boot: str, *, ca: Path | None = None) -> None:
        """ValueError for what is no broker's address."""
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ValueError("a broker's address is mqtt://user:password@host:1883 or mqtts://…")
        self._tls = parts.scheme == "mqtts"
        self._host, self._port = parts.hostname, parts.port or (8883 if self._tls else 1883)
        self._user = unquote(parts.username) if parts.username else None
        self._password = unquote(parts.password) if parts.password else None
        self._ca, self._boot = ca, boot
        self._site, self._robot = site, robot
        self._outboxes = {lane: Outbox() for lane in READS}
        self._up: set[str] = set()

    @property
    def where(self) -> str:
        return f"{self._host}:{self._port}"

    def send(self, letter: Letter) -> None:
        lane = SAYS.get(letter.tail) or SAYS.get(letter.tail.partition("/")[0]) or "orders"
        self._outboxes[lane].put(letter)

    async def run(self, inbox: Inbox) -> None:
        async with asyncio.TaskGroup() as group:
            for lane in READS:
                group.create_task(self._keep(lane, inbox), name=f"mqtt {lane}")

    async def _keep(self, lane: str, inbox: Inbox) -> None:
        tries = 0
        while True:
            try:
                await self._once(lane, inbox)
            except (aiomqtt.MqttError, OSError, LinkError) as error:
                was_up = lane in self._up
                self._up.discard(lane)
                self._outboxes[lane].clear()
                why = self._why(error)
                inbox.link_down(why)
                if why.mendable:
                    if tries == 0:
                        _log.error("%s", why)
                    await asyncio.sleep(RETRY_S[-1])
                tries = 0 if was_up else tries + 1
                await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])

    async def _once(self, lane: str, inbox: Inbox) -> None:
        """One connection of a lane, from its beginning to its end."""
        client = self._client(lane, inbox)
        goodbye = False
        try:
            await whole(client.__aenter__())
        except (aiomqtt.MqttError, asyncio.CancelledError):
            _hang_up(client)
            raise
        try:
            if READS[lane]:
                wanted = [(self._topic(each), 0 if each in QOS_0 else 1) for each in READS[lane]]
                await whole(client.subscribe(wanted))
            self._outboxes[lane].clear()
            self._up.add(lane)
            if len(self._up) == len(READS):
                inbox.link_up(SETTLE_S)
            sending = asyncio.create_task(self._write(client, self._outboxes[lane]))
            reading = asyncio.create_task(self._read(client, inbox))
            try:
                done, _ = await asyncio.wait((sending, reading), return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            except asyncio.CancelledError:
                goodbye = lane == "orders"
                raise
            finally:
                sending.cancel()
                reading.cancel()
                await asyncio.gather(sending, reading, return_exceptions=True)
        finally:
            self._up.discard(lane)
            await self._leave(client, inbox.last_words(lost=False) if goodbye else None)

    async def _read(self, client: aiomqtt.Client, inbox: Inbox) -> None:
        async for message in client.messages:
            tail = contract.tail(str(message.topic), self._site, self._robot)
            if tail is not None and isinstance(message.payload, bytes | bytearray):
                inbox.receive(tail, bytes(message.payload), bool(message.retain))
        raise LinkError(f"the broker at {self.where} has closed the connection")

    async def _write(self, client: aiomqtt.Client, outbox: Outbox) -> None:
        while True:
            letter = await outbox.next()
            topic = self._topic(letter.tail)
            await whole(client.publish(topic, letter.payload, qos=letter.qos, retain=letter.retain))

    async def _leave(self, client: aiomqtt.Client, letter: Letter | None) -> None:
        with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
            async with asyncio.timeout(0.5):
                if letter is not None:
                    await client.publish(self._topic(letter.tail), letter.payload, qos=letter.qos, retain=letter.retain)
                await client.__aexit__(None, None, None)
                return
        _hang_up(client)

    def _client(self, lane: str, inbox: Inbox) -> aiomqtt.Client:
        will = inbox.last_words(lost=True) if lane == "orders" else None
        logger = _log.getChild("wire")
        client = aiomqtt.Client(
            self._host,
            self._port,
            username=self._user,
            password=self._password,
            identifier=f"{self._robot}-{self._boot}-{lane}",
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            keepalive=KEEPALIVE_S,
            timeout=TIMEOUT_S,
            tls_context=self._context() if self._tls else None,
            will=None if will is None else aiomqtt.Will(self._topic(will.tail), will.payload, will.qos, will.retain),
            logger=logger,
            max_queued_incoming_messages=MOST_IN,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        client.pending_calls_threshold = MOST_IN
        logger.setLevel(logging.CRITICAL)  # it is told as an error of ours
        return client

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))

    def _topic(self, tail: str) -> str:
        return contract.topic(self._site, self._robot, tail)

    def _why(self, error: BaseException) -> LinkError:
        if isinstance(error, LinkError):
            return error
        code: Any = getattr(error, "rc", None)
        mendable = getattr(code, "value", code) in MENDABLE or "CERTIFICATE_VERIFY_FAILED" in str(error)
        return LinkError(f"no way to the broker at {self.where}: {error}", mendable)


def _hang_up(client: aiomqtt.Client) -> None:
    """On a broker that takes no more: aiomqtt gives up with its socket still open and its chores still running."""
    chores, held = client._misc_task, client._client.socket()
    if chores is not None:
        chores.cancel()
    if held is not None and held.fileno() >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(held.fileno())
        loop.remove_writer(held.fileno())
        held.close()


async def whole(what: Awaitable[T]) -> T:
    """Await something of aiomqtt's, and be cancelled when one is: it waits by `asyncio.wait_for`, which in Python 3.11
    forgets a cancel that comes together with the result."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    result = await what
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result
