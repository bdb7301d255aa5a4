"""`Desk`: what is asked of a server over plain HTTP: the page, keys for one session, models, metrics, health."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json
from liveagent.ports.metrics import CONTENT_TYPE
from liveagent.runtime.door import LEAST_SECRET_S, MOST_SECRET_S, SECRET_S, key_of
from liveagent.runtime.page import Page, page_headers
from liveagent.runtime.request import Refused
from liveagent.runtime.scope import BODY_BYTES, Receive, Scope, Send, answer, body_of, client_of, headers_of, path_of
from liveagent.wire.strict_json import read_object

if TYPE_CHECKING:
    from liveagent.runtime.server import Server

TOKENS = re.compile(r"/v1(alpha|beta)?/auth_tokens")


class Desk:
    """One server's. `page`: whether there is a page."""

    def __init__(self, server: Server, page: bool) -> None:
        self._server, self._page = server, Page() if page else None

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        try:
            await self._serve(scope, receive, send)
        except Refused as why:
            self._server.metrics.refused(why.reason)
            more = [] if why.retry_s is None else [(b"retry-after", str(why.retry_s).encode())]
            await answer(send, why.status, {"error": {"message": str(why), "code": why.reason}}, more)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        server, path, method, headers = self._server, path_of(scope), scope["method"], headers_of(scope)
        server.door.check_origin(headers, scope.get("scheme", "http"))
        client, host = client_of(scope), headers.get("host", "")
        if path == "/healthz":
            state = server.engine.state
            free = {"status": state, "lanes_free": server.engine.free_lanes}
            await answer(send, 200 if state == "up" else 503, free)
        elif path == "/metrics" and method == "GET":
            server.door.enter(key_of(headers), client, host, once=False)
            await answer(send, 200, server.metrics.text(), [(b"content-type", CONTENT_TYPE.encode())])
        elif path == "/v1/models" and method == "GET":
            server.door.enter(key_of(headers), client, host, once=False)
            own = {"id": server.agent.model, "object": "model", "created": 0, "owned_by": "liveagent"}
            await answer(send, 200, {"object": "list", "data": [own]})
        elif path == "/v1/realtime/client_secrets" and method == "POST":
            await self._mint(headers, client, host, receive, send)
        elif TOKENS.fullmatch(path) and method == "POST":
            await self._mint_token(headers, client, host, receive, send)
        elif method in ("GET", "HEAD") and self._page is not None and (file := self._page.get(path.lstrip("/"))):
            data, kind = file
            more = [(b"content-type", kind.encode()), *page_headers(host)]
            await answer(send, 200, data, more, whole=method == "GET")
        else:
            raise Refused("there is nothing here", status=404, reason="path")

    async def _mint(
        self, headers: Mapping[str, str], client: str, host: str, receive: Receive, send: Send
    ) -> None:
        """A key for one session, for a page that must not have the lasting one; as OpenAI's clients ask for it."""
        owner, asked = await self._asked(headers, client, host, receive)
        session, after = asked.get("session") or {}, asked.get("expires_after") or {}
        seconds = after.get("seconds", SECRET_S) if isinstance(after, dict) else None
        if not isinstance(session, dict) or type(seconds) is not int:
            raise Refused("session is an object, expires_after.seconds a whole number", status=400, reason="json")
        seconds = min(MOST_SECRET_S, max(LEAST_SECRET_S, seconds))
        key = self._server.door.mint(owner, seconds, session)
        said = {"value": key, "expires_at": int(time.time()) + seconds, "session": {"type": "realtime", **session}}
        await answer(send, 200, said)

    async def _mint_token(
        self, headers: Mapping[str, str], client: str, host: str, receive: Receive, send: Send
    ) -> None:
        """The same as Gemini's clients ask for it. It is good once and for a minute, whatever they wish."""
        owner, _ = await self._asked(headers, client, host, receive)
        await answer(send, 200, {"name": f"auth_tokens/{self._server.door.mint(owner, SECRET_S, {})}"})

    async def _asked(
        self, headers: Mapping[str, str], client: str, host: str, receive: Receive
    ) -> tuple[str, dict[str, Json]]:
        """Whose key asks, and the body as JSON. Refused."""
        door = self._server.door
        held = door.enter(key_of(headers), client, host, once=False)
        with door.waiting(client):
            body = await body_of(receive)
        try:
            return held.owner, read_object(body, BODY_BYTES) if body.strip() else {}
        except ProtocolError as error:
            raise Refused(str(error), status=400, reason="json") from None
