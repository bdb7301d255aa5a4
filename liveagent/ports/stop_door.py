"""`StopDoor`: where robots that dial in, instead of being on a broker, hear a stop: on a websocket of its own.

A robot is told the port, and a token that is its alone, over the connection that it came in on.
"""

from __future__ import annotations

import hmac
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from typing import Protocol, TypeAlias

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from liveagent.errors import DeviceError, LinkError

MOST_BYTES = 4 << 10
PING_S = 1.0
MOST_ROBOTS = 64

Send: TypeAlias = Callable[[bytes], Awaitable[None]]


class StopGuest(Protocol):
    """One robot, as the door knows it."""

    def come(self, send: Send) -> None:
        """It is there; `send` raises LinkError when it is not any more."""

    def answer(self, payload: bytes) -> None:
        """What it says of a stop."""

    def leave(self, send: Send) -> None: ...


class StopDoor:
    """On a socket that listens already. `find(token)`: whose that is, None for a stranger."""

    def __init__(
        self,
        listening: socket.socket,
        find: Callable[[str], StopGuest | None],
        certificate: tuple[Path, Path] | None = None,
    ) -> None:
        """DeviceError for a certificate that cannot be used."""
        self._listening, self._find, self._tls = listening, find, None
        if certificate is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            try:
                self._tls.load_cert_chain(*map(str, certificate))
            except OSError as error:
                raise DeviceError(f"the certificate of the stop's door cannot be used ({error.strerror})") from None
        self._here = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with serve(
            self._greet, sock=self._listening, ssl=self._tls, compression=None, max_size=MOST_BYTES, open_timeout=5,
            ping_interval=PING_S, ping_timeout=PING_S * 2, process_request=self._check,
        ) as server:  # fmt: skip
            await server.serve_forever()

    def _check(self, link: ServerConnection, request: Request) -> Response | None:
        known = self._find(_token(request)) is not None and "Origin" not in request.headers
        return None if known and self._here < MOST_ROBOTS else link.respond(HTTPStatus.UNAUTHORIZED, "")

    async def _greet(self, link: ServerConnection) -> None:
        guest = self._find(_token(link.request)) if link.request is not None else None
        if guest is None:
            return
        self._here += 1

        async def send(payload: bytes) -> None:
            try:
                await link.send('{"topic":"stop","payload":' + payload.decode() + "}")
            except ConnectionClosed:
                raise LinkError("the robot has hung up") from None

        guest.come(send)
        try:
            async for message in link:
                if (answer := _answer(message)) is not None:
                    guest.answer(answer)
        except ConnectionClosed:
            pass
        finally:
            self._here -= 1
            guest.leave(send)


def is_token(shown: str, token: str) -> bool:
    return bool(token) and hmac.compare_digest(shown.encode(), token.encode())


def _token(request: Request | None) -> str:
    kind, _, token = (request.headers.get("Authorization", "") if request is not None else "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def _answer(message: str | bytes) -> bytes | None:
    try:
        said = json.loads(message)
        return json.dumps(said["payload"]).encode() if said["topic"] == "stop/ack" else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
