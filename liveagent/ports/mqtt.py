"""`Mqtt`: one connection to an MQTT 5 broker.

    async with Mqtt("mqtts://anna:secret@broker:8883", ca=Path("ca.pem")) as link:
        messages = await link.subscribe("homeassistant/#")
        await link.publish("home/light/set", "ON", qos=1)
        async for message in messages:
            message.topic, message.payload, message.retain

    await lasting(lambda: Mqtt(url), work)      # `work(link)` again on each new connection, until it returns

What is lost stays lost: a connection starts clean, asks the broker to keep nothing for it, and a new one subscribes
anew. A publish that has returned was taken by the broker and by nobody else; what a broker's rules forbid it drops
without a word, so whoever depends on a topic asks for an answer over it first. TCP_NODELAY is set here; the broker
needs it too (`set_tcp_nodelay true`), or a command takes 45 ms instead of 1.4.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiomqtt

from liveagent.errors import ConfigError, DeviceError, LinkError

T = TypeVar("T")

KEEPALIVE_S = 5
TIMEOUT_S = 5.0
MOST_MESSAGES = 1024
"""That wait to be sorted to their subscriptions; more are dropped, and counted by nobody: it is a second of trouble."""
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
REFUSED = 128
"""A broker's codes from here on are refusals."""
_MENDABLE = {132, 133, 134, 135, 138, 140}
"""Refusals of a connection that another try would get again: version, client id, password, permission, ban, method."""

_log = logging.getLogger("liveagent.mqtt")


@dataclass(frozen=True, slots=True)
class Message:
    """`retain`: the broker had kept it from before we came; it is no news, and never an order."""

    topic: str
    payload: bytes
    retain: bool = False


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for us when it loses us. It comes at once when our process dies, and only after the
    keep-alive when it merely hangs: no dead man's switch."""

    topic: str
    payload: str | bytes
    qos: int = 1
    retain: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is, read from mqtt://[user[:password]@]host[:port] or mqtts://…"""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None

    @classmethod
    def of(cls, url: str) -> Address:
        """ConfigError, which never repeats the password, for what is no address."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ConfigError("this address of a broker cannot be read; write mqtt://user:password@host:1883") from None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise ConfigError(f"{parts.scheme}:// is no broker's address; write mqtt://host:1883 or mqtts://host:8883")
        tls = parts.scheme == "mqtts"
        user, password = parts.username, parts.password
        return cls(
            parts.hostname, port or (8883 if tls else 1883), tls,
            unquote(user) if user else None, unquote(password) if password else None,
        )  # fmt: skip


class Messages:
    """What came for one subscription, in order. When more than `most` wait, the oldest goes, and is counted."""

    def __init__(self, filters: tuple[str, ...], most: int) -> None:
        self._wildcards = [aiomqtt.Wildcard(each) for each in filters]
        self._queue: deque[Message] = deque(maxlen=most)
        self._came = asyncio.Event()
        self._lost: LinkError | None = None
        self.dropped = 0

    def __aiter__(self) -> Messages:
        return self

    async def __anext__(self) -> Message:
        """LinkError once the connection is lost and everything that came before has been read."""
        while not self._queue:
            if self._lost is not None:
                raise self._lost
            self._came.clear()
            await self._came.wait()
        return self._queue.popleft()

    def _offer(self, topic: aiomqtt.Topic, message: Message) -> None:
        if any(topic.matches(each) for each in self._wildcards):
            self.dropped += len(self._queue) == self._queue.maxlen
            self._queue.append(message)
            self._came.set()

    def _end(self, error: LinkError) -> None:
        self._lost = self._lost or error
        self._came.set()


class Mqtt:
    """One connection, from `async with` to its end. Not for two event loops."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str | None = None,
        will: Will | None = None,
        ca: Path | None = None,
        certificate: tuple[Path, Path] | None = None,
        keepalive_s: int = KEEPALIVE_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """ca: whom to trust for mqtts://, instead of the system's list. certificate: ours and its key, where the broker
        asks for one. ConfigError for what is no address."""
        self.address = Address.of(url)
        self.client_id = client_id or f"liveagent-{secrets.token_hex(6)}"
        self._will, self._ca, self._certificate = will, ca, certificate
        self._keepalive_s, self._timeout_s = keepalive_s, timeout_s
        self._client: aiomqtt.Client | None = None
        self._subscriptions: list[Messages] = []
        self._reading: asyncio.Task[None] | None = None
        self._lost: LinkError | None = None

    @property
    def where(self) -> str:
        """The broker, for people to read."""
        return f"{self.address.host}:{self.address.port}"

    @property
    def lost(self) -> bool:
        return self._lost is not None

    async def __aenter__(self) -> Mqtt:
        """LinkError: nobody there, try again. ConfigError: it will not have us, and another try changes nothing.
        DeviceError: a file for TLS that cannot be read."""
        logger = _log.getChild("wire")
        self._client = client = aiomqtt.Client(
            self.address.host,
            self.address.port,
            username=self.address.username,
            password=self.address.password,
            identifier=self.client_id,
            protocol=aiomqtt.ProtocolVersion.V5,
            clean_start=True,
            keepalive=self._keepalive_s,
            timeout=self._timeout_s,
            tls_context=self._tls() if self.address.tls else None,
            will=None if self._will is None else aiomqtt.Will(
                self._will.topic, self._will.payload, self._will.qos, self._will.retain
            ),
            logger=logger,
            max_queued_incoming_messages=MOST_MESSAGES,
            max_queued_outgoing_messages=MOST_MESSAGES,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )  # fmt: skip
        client.pending_calls_threshold = MOST_MESSAGES
        logger.setLevel(logging.CRITICAL)  # it is told as an error of ours
        try:
            await whole(client.__aenter__())
        except aiomqtt.MqttError as error:
            hang_up(client)
            raise self._refused(error) from None
        except asyncio.CancelledError:
            hang_up(client)
            raise
        self._reading = asyncio.create_task(self._read(client), name="mqtt-read")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        client, self._client = self._client, None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        self._end(LinkError(f"the connection to the broker at {self.where} was closed"))
        if client is not None:
            await close(client)

    async def publish(self, topic: str, payload: str | bytes, *, qos: int = 0, retain: bool = False) -> None:
        """Returns when the broker has it (qos 1) or the kernel has (qos 0). LinkError."""
        if self._client is None or self._lost is not None:
            raise self._lost or LinkError(f"not connected to the broker at {self.where}")
        try:
            await whole(self._client.publish(topic, payload, qos=qos, retain=retain))
        except aiomqtt.MqttError as error:
            raise LinkError(f"the broker at {self.where} did not take a message ({error}); try again") from None
        except ValueError as error:
            raise ConfigError(f"{topic!r:.80} is no topic to publish to ({error})") from None

    async def subscribe(self, *filters: str, qos: int = 1, most: int = 256) -> Messages:
        """What comes to any of these topics (+ and # as in MQTT) from now on. ConfigError when the broker forbids it.
        LinkError."""
        if self._client is None or self._lost is not None:
            raise self._lost or LinkError(f"not connected to the broker at {self.where}")
        try:
            messages = Messages(filters, most)
            self._subscriptions.append(messages)  # before: what is retained comes with the answer
            codes: Sequence[Any] = await whole(self._client.subscribe([(each, qos) for each in filters]))
        except aiomqtt.MqttError as error:
            self.unsubscribe(messages)
            raise LinkError(f"the broker at {self.where} did not take a subscription ({error}); try again") from None
        except ValueError as error:
            raise ConfigError(f"{', '.join(filters)!r:.120} is nothing to subscribe to ({error})") from None
        for name, code in zip(filters, codes, strict=True):
            if getattr(code, "value", code) >= REFUSED:
                self.unsubscribe(messages)
                raise ConfigError(f"the broker at {self.where} does not let us read {name}; mend its access rules")
        return messages

    def unsubscribe(self, messages: Messages) -> None:
        """Stop sorting for it. The broker goes on sending what no other subscription of ours wants; that is dropped."""
        if messages in self._subscriptions:
            self._subscriptions.remove(messages)

    async def gone(self) -> LinkError:
        """Wait until the connection is lost, and say how."""
        assert self._reading is not None
        await asyncio.wait([self._reading])
        return self._lost or LinkError(f"the connection to the broker at {self.where} was closed")

    # --- inside

    async def _read(self, client: aiomqtt.Client) -> None:
        try:
            async for message in client.messages:
                payload = message.payload if isinstance(message.payload, bytes) else str(message.payload).encode()
                mine = Message(str(message.topic), payload, bool(message.retain))
                for each in self._subscriptions:
                    each._offer(message.topic, mine)
        except aiomqtt.MqttError as error:
            why = error.__cause__ or error
            self._end(LinkError(f"the broker at {self.where} is gone ({why})"))

    def _end(self, error: LinkError) -> None:
        self._lost = self._lost or error
        for each in self._subscriptions:
            each._end(self._lost)

    def _tls(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
            if self._certificate is not None:
                context.load_cert_chain(str(self._certificate[0]), str(self._certificate[1]))
        except OSError as error:  # ssl's own errors are some of these
            said = error.strerror or error
            raise DeviceError(f"a file for TLS cannot be used ({said}); see ca= and certificate=") from None
        return context

    def _refused(self, error: aiomqtt.MqttError) -> ConfigError | LinkError:
        code = getattr(error, "rc", None)
        number = code if isinstance(code, int) else getattr(code, "value", None)
        if number in _MENDABLE:
            return ConfigError(f"the broker at {self.where} will not have us ({code}); see user, password and rules")
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ConfigError(f"the broker at {self.where} shows a certificate that nothing vouches for; give its ca=")
        return LinkError(f"no broker answers at {self.where} ({error})")


async def whole(what: Awaitable[T]) -> T:
    """Await something of aiomqtt's, and be cancelled when one is: it waits by `asyncio.wait_for`, which in Python 3.11
    forgets a cancel that comes together with the result."""
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    result = await what
    if task is not None and task.cancelling() > before:
        raise asyncio.CancelledError
    return result


async def close(client: aiomqtt.Client) -> None:
    """Say goodbye, or, to a broker that takes no more, hang up."""
    with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
        async with asyncio.timeout(1.0):
            await client.__aexit__(None, None, None)
            return
    hang_up(client)


def hang_up(client: aiomqtt.Client) -> None:
    """aiomqtt gives up with its socket still open and its chores still running."""
    chores, held = client._misc_task, client._client.socket()
    if chores is not None:
        chores.cancel()
    if held is not None and held.fileno() >= 0:
        loop = asyncio.get_running_loop()
        loop.remove_reader(held.fileno())
        loop.remove_writer(held.fileno())
        held.close()


async def lasting(
    connect: Callable[[], Mqtt],
    work: Callable[[Mqtt], Awaitable[T]],
    *,
    on_lost: Callable[[LinkError], None] = lambda error: None,
) -> T:
    """Do `work` on a connection, and again from its start on a new one each time the link is lost, until it returns.
    Whatever else it raises, and ConfigError from the broker, ends it."""
    tries = 0
    while True:
        try:
            async with connect() as link:
                began = asyncio.get_running_loop().time()
                try:
                    return await work(link)
                finally:
                    if asyncio.get_running_loop().time() - began > RETRY_S[-1]:
                        tries = 0
        except LinkError as error:
            on_lost(error)
            if tries == 0:
                _log.warning("%s", error)
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1
