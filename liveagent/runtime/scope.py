"""What ASGI gives of a request, and how it is answered."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

from liveagent.runtime.request import Refused

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_S = 5.0
BODY_BYTES = 64 << 10


def path_of(scope: Scope) -> str:
    """The path below where the app is mounted, slashes collapsed, as some clients double them."""
    path, root = scope["path"], scope.get("root_path", "")
    if root and (path == root or path.startswith(f"{root}/")):
        path = path[len(root) :]
    return re.sub(r"/{2,}", "/", path) or "/"


def headers_of(scope: Scope) -> dict[str, str]:
    """By lower-case name; of several of one name, the last."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def client_of(scope: Scope) -> str:
    """The peer's address; "" where there is none, as on a unix socket."""
    return str(scope["client"][0]) if scope.get("client") else ""


async def body_of(receive: Receive) -> bytes:
    """A request's body, in bounded time and size. Refused."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > BODY_BYTES:
                    raise Refused("that is too long", status=413, reason="body")
                if message["type"] != "http.request" or not message.get("more_body"):
                    return body
    except TimeoutError:
        raise Refused("the body did not come", status=408, reason="body") from None


async def answer(
    send: Send,
    status: int,
    said: bytes | Mapping[str, Any],
    more: Sequence[tuple[bytes, bytes]] = (),
    whole: bool = True,
) -> None:
    headers = [(b"cache-control", b"no-store"), *more]
    if not isinstance(said, bytes):
        said = json.dumps(said).encode()
        headers.append((b"content-type", b"application/json"))
    headers = list(dict(headers).items())
    headers.append((b"content-length", str(len(said)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": said if whole else b""})
