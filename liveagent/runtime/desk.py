"""`Desk`: what is asked of a server over plain HTTP: the page, keys for one session, models, metrics, health."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from liveagent.errors import ProtocolError
from liveagent.ports.metrics import CONTENT_TYPE
from liveagent.runtime.door import SECRET_S, key_of
from liveagent.runtime.page import Page, page_headers
from liveagent.runtime.request import Refused
from liveagent.runtime.scope import Receive, Scope, Send, answer, body_of, client_of, headers_of, path_of
from liveagent.wire.openai_secret import client_secret, error_body

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
        owner, body = await self._asked(headers, client, host, receive)
        try:
            secret = client_secret(body, self._server.seats.welcome("openai"))
        except ProtocolError as error:
            await answer(send, 400, error_body(error))
            return
        key = self._server.door.mint(owner, secret.seconds, secret.session)
        await answer(send, 200, secret.answer(key, int(time.time())))

    async def _mint_token(
        self, headers: Mapping[str, str], client: str, host: str, receive: Receive, send: Send
    ) -> None:
        """The same as Gemini's clients ask for it. It is good once and for a minute, whatever they wish."""
        owner, _ = await self._asked(headers, client, host, receive)
        await answer(send, 200, {"name": f"auth_tokens/{self._server.door.mint(owner, SECRET_S, {})}"})

    async def _asked(
        self, headers: Mapping[str, str], client: str, host: str, receive: Receive
    ) -> tuple[str, bytes]:
        """Whose key asks, and the body. Refused."""
        door = self._server.door
        held = door.enter(key_of(headers), client, host, once=False)
        with door.waiting(client):
            return held.owner, await body_of(receive)
