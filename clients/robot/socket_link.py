"""`SocketLink`: a robot that dials in at a liveagent server, without a broker.

One websocket carries both ways: texts are `{"topic": "cmd", "payload": {…}}`, pictures a binary frame of topic, newline
and JPEG. What it says first is who it is. The key goes in as a bearer's token and is nowhere in the address.

A server with a door for stops says where that is, `{"topic": "stop/at", "payload": {"port": …, "token": "…"}}`; then a
second websocket is kept there, on which stops come and are answered whatever else is going on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from .contract import MOST_CHUNK_BYTES
from .link import Inbox, Letter, LinkError, Outbox

RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
OPEN_S = 5.0
PING_S = 2.0

_log = logging.getLogger("liveagent.robot")


class SocketLink:
    def __init__(
        self, url: str, site: str, robot: str, boot: str, *, ca: Path | None = None, key: str | None = None
    ) -> None:
        """ValueError for what is no address."""
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ValueError("a server's address is wss://host:8000/robot")
        self._url = url if parts.path.strip("/") else url.rstrip("/") + "/robot"
        self._tls, self._ca, self._key = parts.scheme == "wss", ca, key
        self._where = f"{parts.hostname}:{parts.port or (443 if self._tls else 80)}"
        self._hello = {"site": site, "robot": robot, "boot": boot}
        self._outbox, self._answers = Outbox(), Outbox()
        self._door: tuple[int, str] | None = None
        self._at_door: asyncio.Task[None] | None = None
        self._up = self._heard_at_door = False

    def send(self, letter: Letter) -> None:
        at_door = letter.tail == "stop/ack" and self._heard_at_door
        (self._answers if at_door else self._outbox).put(letter)

    async def run(self, inbox: Inbox) -> None:
        try:
            await self._keep(inbox)
        finally:
            if self._at_door is not None:
                self._at_door.cancel()
                await asyncio.gather(self._at_door, return_exceptions=True)

    async def _keep(self, inbox: Inbox) -> None:
        tries = 0
        while True:
            was_up = False
            try:
                await self._once(inbox)
            except (OSError, InvalidHandshake, InvalidURI, ConnectionClosed, TimeoutError) as error:
                was_up, self._up = self._up, False
                self._outbox.clear()
                why = self._why(error)
                inbox.link_down(why)
                if why.mendable and tries == 0:
                    _log.error("%s", why)
            tries = 0 if was_up else tries + 1
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])

    async def _once(self, inbox: Inbox) -> None:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        async with connect(
            self._url, additional_headers=headers, ssl=self._context(), compression=None, open_timeout=OPEN_S,
            ping_interval=PING_S, ping_timeout=PING_S, close_timeout=0.5, max_size=MOST_CHUNK_BYTES, proxy=None,
        ) as link:  # fmt: skip
            await link.send(json.dumps({"topic": "hello", "payload": self._hello}))
            self._outbox.clear()
            self._up = True
            inbox.link_up(0.0)
            sending = asyncio.create_task(self._write(link))
            try:
                async for message in link:
                    self._came(message, inbox)
                raise ConnectionClosed(link.protocol.close_rcvd, link.protocol.close_sent)
            except asyncio.CancelledError:
                await link.send(_text(inbox.last_words(lost=False)))
                raise
            finally:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)

    def _came(self, message: str | bytes, inbox: Inbox) -> None:
        try:
            found = json.loads(message)
            tail, payload = found["topic"], json.dumps(found["payload"]).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            # A stop that has lost its form is still one; nothing else is guessed at.
            if b'"stop"' in (message if isinstance(message, bytes) else message.encode()):
                inbox.receive("stop", b"", False)
            return
        if tail == "stop/at":
            self._find_door(found["payload"], inbox)
        elif isinstance(tail, str):
            inbox.receive(tail, payload, False)

    def _find_door(self, payload: object, inbox: Inbox) -> None:
        port, token = (payload.get("port"), payload.get("token")) if isinstance(payload, dict) else (None, None)
        if not isinstance(port, int) or not isinstance(token, str) or (port, token) == self._door:
            return
        self._door = port, token
        if self._at_door is not None:
            self._at_door.cancel()
        self._at_door = asyncio.create_task(self._stand_at_door(port, token, inbox), name="stop's door")

    async def _stand_at_door(self, port: int, token: str, inbox: Inbox) -> None:
        """Hear stops there, for as long as this robot runs; where it is shut they come with everything else."""
        host = urlsplit(self._url).hostname or ""
        url = f"{'wss' if self._tls else 'ws'}://{f'[{host}]' if ':' in host else host}:{port}/"
        tries = 0
        while True:
            with contextlib.suppress(OSError, InvalidHandshake, InvalidURI, ConnectionClosed, TimeoutError):
                async with connect(
                    url, additional_headers={"Authorization": f"Bearer {token}"}, ssl=self._context(), compression=None,
                    open_timeout=OPEN_S, ping_interval=PING_S, ping_timeout=PING_S, close_timeout=0.5,
                    max_size=MOST_CHUNK_BYTES, proxy=None,
                ) as link:  # fmt: skip
                    tries = 0
                    self._answers.clear()
                    answering = asyncio.create_task(self._answer(link))
                    try:
                        async for message in link:
                            self._heard_at_door = True
                            self._came(message, inbox)
                            self._heard_at_door = False
                    finally:
                        self._heard_at_door = False
                        answering.cancel()
                        await asyncio.gather(answering, return_exceptions=True)
            tries += 1
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])

    async def _answer(self, link: ClientConnection) -> None:
        while True:
            await link.send(_text(await self._answers.next()))

    def _context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=str(self._ca) if self._ca else None) if self._tls else None

    async def _write(self, link: ClientConnection) -> None:
        while True:
            letter = await self._outbox.next()
            if letter.tail.startswith("camera/"):
                await link.send(letter.tail.encode() + b"\n" + letter.payload)
            else:
                await link.send(_text(letter))

    def _why(self, error: BaseException) -> LinkError:
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            said = {401: "it wants another key", 403: "it wants another key", 404: "it takes no robots",
                    409: "a robot of this name is there already"}.get(status, f"it answers {status}")  # fmt: skip
            return LinkError(f"the server at {self._where} does not take this robot: {said}", status in (401, 403, 404))
        closed = getattr(error, "rcvd", None)
        return LinkError(f"no way to the server at {self._where}: {closed.reason if closed else error}")


def _text(letter: Letter) -> str:
    return '{"topic":' + json.dumps(letter.tail) + ',"payload":' + letter.payload.decode() + "}"
