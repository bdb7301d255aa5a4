"""`Reception`: from a websocket that somebody opens to the conversation that it is for.

Who comes from somebody else's page, without a key, or while every seat is taken, is refused before there is a
connection, with an HTTP status. One exception: who may have come to take up a parked conversation is heard first.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from liveagent.errors import EngineLost, LiveAgentError, ProtocolError
from liveagent.runtime.cooldown import who_of
from liveagent.runtime.door import Secret, key_of
from liveagent.runtime.link import Link
from liveagent.runtime.request import Options, Protocol, Refused, Request
from liveagent.runtime.scope import Scope, client_of, headers_of, path_of
from liveagent.runtime.seats import Seat, codec_of
from liveagent.wire.codec import Frame, Welcome
from liveagent.wire.gemini import wanted_handle
from liveagent.wire.native import Hello, loading, read_hello

if TYPE_CHECKING:
    from liveagent.runtime.server import Server

HELLO_S = 5.0
NATIVE = "liveagent.v1"
NEEDS_KEY, GONE = 4401, 4410
POLICY, FAULT, BUSY = 1008, 1011, 1013
GEMINI = re.compile(
    r"/ws/google\.(ai\.generativelanguage\.[A-Za-z0-9]{1,16}\.GenerativeService\.BidiGenerateContent(Constrained)?"
    r"|cloud\.aiplatform\.[A-Za-z0-9]{1,16}\.LlmBidiService/BidiGenerateContent)$"
)

_log = logging.getLogger("liveagent.server")


class Reception:
    """One server's. `camera`: what every session looks at unless `admit` says otherwise."""

    def __init__(self, server: Server, camera: str | None) -> None:
        self._server, self._options = server, Options(camera=camera)

    async def serve(self, scope: Scope, link: Link) -> None:
        """One connection, from its first byte to its last."""
        await link.begin()
        try:
            seat = await self._receive(scope, link)
        except Refused as why:
            self._server.metrics.refused(why.reason)
            await link.refuse(why)
            return
        except Exception as error:  # whatever it is, it is this connection's: the others go on
            _log.error("a connection failed: %s", type(error).__name__, exc_info=error)
            await link.fail()
            return
        if seat is not None:
            await self._server.seats.serve(seat, link)

    async def _receive(self, scope: Scope, link: Link) -> Seat | None:
        """The conversation that this connection is for; None, and it is closed, when there is none. Refused."""
        server, path, headers = self._server, path_of(scope), headers_of(scope)
        protocol, client = _protocol(path), client_of(scope)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        offered: list[str] = list(scope.get("subprotocols", ()))
        server.door.check_origin(headers, scope.get("scheme", "ws"))
        with server.door.waiting(client):
            is_loading = server.engine.state == "loading"
            if not is_loading and server.engine.state != "up":
                raise Refused("the model is not there", status=503, retry_s=30, reason="engine")
            if is_loading and protocol != "native":
                raise Refused("the model is still loading", status=503, retry_s=3, reason="loading")
            if not is_loading:
                self._check(protocol)
            key = key_of(headers, offered, query if protocol == "gemini" else None)
            try:
                held = server.door.enter(key, client, headers.get("host", ""))
                options = self._options
                if server.admit is not None:
                    options = await server.admit(Request(protocol, path, headers, query, client, key))
            except Refused as why:
                if protocol != "native" or why.status != 401:
                    raise
                server.metrics.refused(why.reason)  # a page is not told the status of a handshake
                await link.accept(_subprotocol(protocol, offered))
                await link.close(NEEDS_KEY, str(why))
                return None
            who = who_of(f"{held.owner}/{options.user}", client)
            if protocol == "openai":
                server.seats.cooldown.check(who)
            await link.accept(_subprotocol(protocol, offered))
            hello: Frame | None = None
            if protocol != "openai":
                hello = await self._hello(link)
                if hello is None or not await _greets(protocol, hello, link):
                    return None
            if is_loading and not await self._wait(link):
                return None
            return await self._seat(protocol, f"{held.owner}/{options.user}", who, options, held, hello, link)

    def _check(self, protocol: Protocol) -> None:
        server = self._server
        if protocol == "native" and server.resident is not None:  # whoever looks on needs no lane
            return
        try:
            server.admission.check(server.engine.free_lanes, len(server.seats))
        except Refused:
            if protocol == "openai" or not len(server.seats):
                raise

    async def _hello(self, link: Link) -> Frame | None:
        """The first message, within five seconds; None, and the connection closed, without one. Clients of OpenAI's
        protocol need not say anything, and are not asked."""
        try:
            async with asyncio.timeout(HELLO_S):
                return await link.read()
        except TimeoutError:
            self._server.metrics.refused("silent")
            await link.close(POLICY, "nothing was said")
            return None

    async def _wait(self, link: Link) -> bool:
        """Tell a page how far the weights are, until they are there."""
        server, of = self._server, self._server.weights_bytes
        while server.engine.state == "loading":
            if not await link.write(loading(server.agent.model, 0, of)):
                return False
            await asyncio.sleep(0.5)
        if server.engine.state != "up":
            await link.close(FAULT, "the model is not there")
            return False
        return await link.write(loading(server.agent.model, of, of))

    async def _seat(
        self, protocol: Protocol, owner: str, who: str, options: Options, held: Secret, hello: Frame | None, link: Link
    ) -> Seat | None:
        """A new conversation, or one that is taken up; one that is gone is said to be, never silently a new one."""
        server = self._server
        greeting, number, secret = _wanted(protocol, hello)
        if number or secret:
            taken_up = await server.seats.resume(number, secret, owner, protocol, greeting)
            if taken_up is None:
                server.metrics.refused("gone")
                said = "that conversation is gone; begin a new one"
                if protocol == "native":
                    await link.write(json.dumps({"type": "problem", "code": "gone", "message": said, "ref": ""}))
                await link.close(GONE if protocol == "native" else POLICY, said)
                return None
            if protocol == "gemini" and hello is not None:
                await taken_up.conversation.receive(hello)
            return taken_up
        try:
            if server.resident is not None and greeting is not None:
                return await server.resident.look_on(link, owner, greeting)
            server.admission.check(server.engine.free_lanes, len(server.seats))
            session = held.session if protocol == "openai" else None
            seat = await server.seats.open(protocol, owner, options, session, who=who)
        except Refused as why:
            server.metrics.refused(why.reason)
            await link.close(BUSY, str(why))
            return None
        except EngineLost as error:
            await link.close(BUSY, str(error))
            return None
        except LiveAgentError as error:
            _log.error("a session could not be opened: %s", error)
            await link.close(FAULT, "this session could not be opened; the server's log says why")
            return None
        if hello is not None:
            await seat.conversation.receive(hello)
        return seat


async def _greets(protocol: Protocol, hello: Frame, link: Link) -> bool:
    """Whether a first message is one; if not, what is wrong with it is said, and no lane was taken for it."""
    probe = codec_of(protocol, Welcome("", ""))
    probe.receive(hello, 0)
    if probe.closing is None:
        return True
    for frame in probe.take():
        await link.write(frame)
    await link.close(*probe.closing)
    return False


def _wanted(protocol: Protocol, hello: Frame | None) -> tuple[Hello | None, str, str]:
    """The native protocol's greeting, and whose conversation a first message wants, with which secret."""
    with contextlib.suppress(ProtocolError):
        if protocol == "native" and hello is not None:
            greeting = read_hello(hello)
            if greeting.resume is None:
                return greeting, "", ""
            return greeting, greeting.resume.session, greeting.resume.secret
        if protocol == "gemini" and hello is not None:
            number, _, secret = wanted_handle(hello).partition(".")
            return None, number, secret
    return None, "", ""


def _protocol(path: str) -> Protocol:
    if path in ("/", "/live"):
        return "native"
    if path == "/v1/realtime":
        return "openai"
    if GEMINI.search(path):
        return "gemini"
    raise Refused("there is nothing here", status=404, reason="path")


def _subprotocol(protocol: Protocol, offered: Sequence[str]) -> str | None:
    """What is answered to what a peer offered: its protocol's own name if that is among them, never a key."""
    own = {"native": NATIVE, "openai": "realtime", "gemini": ""}[protocol]
    return own if own in offered else None
