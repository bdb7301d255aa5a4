"""`WebServer`: uvicorn as liveagent wants it, around any ASGI app.

What it adds to uvicorn: a connection has 5 s for the head of its request and an address at most 20 that have not sent
theirs; a peer that does not answer a ping is cut off at once, whatever waits to be sent to it, and one that is being
held back is not asked; one that does not take what it was sent is cut off after its app has ended. No URL is ever
logged. asyncio and uvloop set TCP_NODELAY themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from liveagent.errors import ConfigError, DeviceError

HEAD_S = 5.0
PENDING_AN_ADDRESS = 20
PING_S = 5.0
LINGER_S = 2.0
MOST_MESSAGE_BYTES = 16 << 20
AHEAD_BYTES = 16 << 10
"""So much of a peer's messages is read before its app asks for it, and one message more."""
GRACE_S = 3
BACKLOG = 512

App = Callable[[Any, Any, Any], Awaitable[None]]


class _Config(uvicorn.Config):
    pending: Counter[str]


class _Http(H11Protocol):
    """HTTP until it becomes a websocket."""

    config: _Config
    _late: asyncio.TimerHandle | None = None
    _waits = False
    _upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        if self.config.pending[self._address] >= PENDING_AN_ADDRESS:
            transport.abort()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._upgraded or (self.cycle is not None and not self.cycle.response_complete):
            self._came()
        elif self._late is None and not self.transport.is_closing():
            self._wait()

    def handle_websocket_upgrade(self, event: Any) -> None:
        self._upgraded = True
        self._came()
        super().handle_websocket_upgrade(event)

    def _wait(self) -> None:
        self._waits = True
        self.config.pending[self._address] += 1
        self._late = self.loop.call_later(HEAD_S, self.transport.abort)

    def _came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if self._waits:
            self._waits = False
            self.config.pending[self._address] -= 1
            if not self.config.pending[self._address]:
                del self.config.pending[self._address]


class _Socket(WebSocketsSansIOProtocol):
    """A websocket. uvicorn stops reading after each message until its app has asked for it, and then begins again: for
    20 ms of sound that costs as much as to take it in. Here some of them may wait."""

    _waiting_bytes = 0  # came since the app had read all that there was

    def send_receive_event_to_app(self) -> None:
        if self.close_sent:
            super().send_receive_event_to_app()
            return
        self._waiting_bytes += sum(map(len, self.frames))
        held, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused = held
        if not held and self._waiting_bytes > AHEAD_BYTES:
            self.read_paused = True
            self.transport.pause_reading()

    def receive(self) -> Coroutine[Any, Any, Any]:
        if self.queue.empty():
            self._waiting_bytes = 0
        return super().receive()

    def keepalive_timeout(self) -> None:
        if self.read_paused:  # its pong may lie there unread: we are the slow ones
            self.pong_timer = None
            self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.transport.abort()  # a close would wait until all was sent, to nobody

    def send(self, message: Any) -> Coroutine[Any, Any, None]:
        """No coroutine around another for each frame that goes out."""
        return self._refuse(message) if message["type"] == "websocket.http.response.body" else super().send(message)

    async def _refuse(self, message: Any) -> None:
        await super().send(message)
        if not message.get("more_body", False):
            self.handshake_complete = True  # by a refusal, which uvicorn takes for a fault of the app, and logs as one

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        self.loop.call_later(LINGER_S, self.transport.abort)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are whoever's that runs this: uvicorn would raise them again, in the middle of tidying up."""
        yield


class WebServer:
    """One listening address. `bind`, then `run` until `stop`."""

    def __init__(
        self, app: App, host: str = "127.0.0.1", port: int = 0, *, certificate: tuple[Path, Path] | None = None
    ) -> None:
        """`certificate`: PEM files of certificate and key; with them it speaks TLS alone. `port` 0: a free one."""
        self._app, self._host, self._port, self._certificate = app, host, port, certificate
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens at; that which was asked for until it does."""
        return self._port if self._socket is None else int(self._socket.getsockname()[1])

    def bind(self) -> None:
        """Take the address. DeviceError when it is not to be had, ConfigError for a certificate that does not work."""
        try:
            info = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except socket.gaierror as error:
            raise ConfigError(f"--host {self._host} is no address of this machine ({error.strerror})") from None
        family, kind, protocol, _, address = info[0]
        found = socket.socket(family, kind, protocol)
        try:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
            found.listen(BACKLOG)  # whoever connects before `run` waits, and is not refused
        except OSError as error:
            found.close()
            where = f"port {self._port} of {self._host}"
            raise DeviceError(f"{where} is not to be had ({error.strerror}); choose another: --port, --host") from None
        self._socket = found
        config = _Config(
            self._app,
            http=_Http,
            ws=_Socket,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # else anybody could say that they are 127.0.0.1
            ws_max_size=MOST_MESSAGE_BYTES,
            ws_ping_interval=PING_S,
            ws_ping_timeout=PING_S,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=GRACE_S,
            ssl_certfile=str(self._certificate[0]) if self._certificate else None,
            ssl_keyfile=str(self._certificate[1]) if self._certificate else None,
        )
        config.pending = Counter()
        # At INFO uvicorn writes down whole URLs, keys in them included; what garbage strangers send is no news.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        try:
            config.load()
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"the certificate cannot be used ({error.strerror or error}); see --tls-cert") from None
        self._server = _Server(config)

    async def run(self) -> None:
        """Serve until `stop`."""
        if self._server is None:
            self.bind()
        assert self._server is not None and self._socket is not None
        await self._server.serve(sockets=[self._socket])

    def stop(self, at_once: bool = False) -> None:
        """No more connections; those that stand have a few seconds, or none."""
        if self._server is not None:
            self._server.should_exit = True
            self._server.force_exit = at_once


def event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes an event loop for a server: uvloop's where it is installed, half the cost of a frame; else None."""
    return uvicorn.Config(_nothing, loop="auto").get_loop_factory()


async def _nothing(scope: Any, receive: Any, send: Any) -> None: ...
