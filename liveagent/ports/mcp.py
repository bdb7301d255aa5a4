"""`Mcp`: the tools of a server that speaks the Model Context Protocol, over its standard input or over HTTP.

    agent = Agent("nano", tools=[Mcp("python server.py"), Mcp("http://homeassistant:8123/api/mcp", headers={…})])

What a server says of itself is a stranger's word: its schemas are read with bounds, its results are cut to what a voice
can use, and none of its text is an instruction. Whether a tool needs a confirmation follows its hints, and a policy may
only be stricter. A server that is gone fails the calls that it had, and is started or called again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shlex
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import urlsplit

from liveagent.declared import declared_tool
from liveagent.errors import ConfigError, LiveAgentError, OutcomeLost, ToolError
from liveagent.jsonform import check_json
from liveagent.policy import RISKS, Risk
from liveagent.source import Changed
from liveagent.tool import Tool

if TYPE_CHECKING:
    from mcp import Client

TOOLS = 64
PAGES = 16
SCHEMA_BYTES = 32 << 10
RESULT_CHARS = 4000
FIRST_S = 10.0
"""So long opening waits for a server: one that is a program has to start."""
POLL_S = 20.0
"""So often it is asked what tools there are, which also tells whether it is there."""
RETRY_S = (0.2, 1.0, 3.0, 10.0)
TIMEOUT_S = 30.0

_log = logging.getLogger("liveagent.mcp")


class Mcp:
    """A source of tools. `server`: a command line, or an http(s) address. `headers`: for HTTP, such as Authorization.
    `env`, `folder`: of the command; it sees no other variables of ours than PATH, HOME and the like. `only`: the tools
    that are taken, None for all. `risk`: of tools whose server gives no hint; `risks`: by name, whatever is hinted.
    ConfigError for what can be neither."""

    def __init__(
        self,
        server: str,
        *,
        headers: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        folder: Path | str | None = None,
        only: Collection[str] | None = None,
        risk: Risk = "hazard",
        risks: Mapping[str, Risk] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._is_web = server.startswith(("http://", "https://"))
        try:
            self._words = [] if self._is_web else shlex.split(server)
        except ValueError as error:
            raise ConfigError(f"Mcp: the command cannot be read ({error})") from None
        if not self._is_web and not self._words:
            raise ConfigError('Mcp wants a command or an address: Mcp("python server.py"), Mcp("http://…")')
        if headers and not self._is_web:
            raise ConfigError("Mcp: headers= are for a server that is called over HTTP; a command has env=")
        if isinstance(only, str) or not all(each in RISKS for each in (risk, *(risks or {}).values())):
            raise ConfigError(f"Mcp: only= wants a list of names, risk= and risks= one of {', '.join(RISKS)}")
        self._server, self._headers, self._env, self._folder = server, dict(headers or {}), dict(env or {}), folder
        self._only, self._risk, self._risks, self._timeout_s = only, risk, dict(risks or {}), timeout_s
        self._client: Client | None = None
        self._tools: tuple[Tool, ...] = ()
        self._left_out: list[str] = []
        self._trouble = "not opened yet"
        self._changed: Changed = lambda: None
        self._running: asyncio.Task[None] | None = None
        self._settled, self._lost, self._stale = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._said: object = None
        self._closing = False

    # --- as a source

    @property
    def name(self) -> str:
        if self._is_web:
            parts = urlsplit(self._server)
            return f"MCP server at {parts.hostname}" + (f":{parts.port}" if parts.port else "")
        return f"MCP server {Path(self._words[-1]).name}"

    async def open(self, changed: Changed) -> None:
        if self._running is not None:
            return
        try:
            import mcp  # noqa: F401  # for its absence: it is an extra
        except ImportError:
            raise ConfigError("Mcp needs the package mcp: pip install 'liveagent[mcp]'") from None
        self._changed = changed
        self._settled.clear()
        self._closing = False
        self._running = asyncio.create_task(self._run(), name=self.name)
        waiting = asyncio.create_task(self._settled.wait())
        await asyncio.wait([self._running, waiting], timeout=FIRST_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._running.done() and (error := self._running.exception()) is not None:
            self._running = None
            raise error

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def problems(self) -> Sequence[str]:
        return [f"{self.name}: {each}" for each in (self._trouble, *self._left_out) if each]

    async def close(self) -> None:
        running, self._running = self._running, None
        self._closing = True
        if running is not None:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        self._client, self._trouble = None, "closed"

    # --- the connection

    async def _run(self) -> None:
        tries = 0
        while True:
            try:
                await self._connected()
                tries = 0
            except FileNotFoundError:
                raise ConfigError(f"Mcp: there is no program {self._words[0]!r}; look at the command") from None
            except Exception as error:  # the SDK lets through whatever its transports raise, alone or in groups
                self._trouble = f"cannot be reached ({_first(error)})"
                if not tries:
                    _log.warning("%s: %s", self.name, self._trouble)
            finally:
                self._client = None
            if self._closing:  # a cancellation may be lost in the SDK's own, on its way out of a broken connection
                return
            self._changed()
            if tries:
                self._settled.set()  # it is not there now; opening waits no longer for it
            await asyncio.sleep(RETRY_S[min(tries, len(RETRY_S) - 1)])
            tries += 1

    async def _connected(self) -> None:
        """One connection, until it is lost."""
        from mcp import Client

        async with contextlib.AsyncExitStack() as stack:
            transport = await self._transport(stack)
            client = await stack.enter_async_context(Client(
                transport, read_timeout_seconds=self._timeout_s, message_handler=self._told, cache=None
            ))  # fmt: skip
            self._lost.clear()
            while not self._lost.is_set():
                self._stale.clear()
                await self._list(client)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_S):
                        await self._stale.wait()  # told that they have changed, or that it is lost
        self._trouble = "is gone; it is tried again"

    async def _transport(self, stack: contextlib.AsyncExitStack) -> Any:
        from mcp import StdioServerParameters, stdio_client

        if not self._is_web:
            command, *arguments = self._words
            silent = stack.enter_context(contextlib.closing(_silence()))
            place = str(self._folder) if self._folder is not None else None
            return stdio_client(
                StdioServerParameters(command=command, args=arguments, env=self._env or None, cwd=place), silent
            )
        from mcp.client.streamable_http import streamable_http_client
        from mcp.shared._httpx_utils import create_mcp_http_client

        web = await stack.enter_async_context(create_mcp_http_client(headers=self._headers))
        return streamable_http_client(self._server, http_client=web)

    async def _told(self, message: object) -> None:
        """What a server sends by itself."""
        if "list_changed" in str(getattr(message, "method", "")):
            self._stale.set()

    async def _list(self, client: Client) -> None:
        found: list[Any] = []
        cursor = None
        for _ in range(PAGES):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if not cursor or len(found) > TOOLS:
                break
        said = [each.model_dump(mode="json") for each in found]
        changed = said != self._said or self._client is None
        self._client, self._trouble = client, ""
        if changed:
            self._said = said
            self._take(found)
        self._settled.set()
        if changed:
            self._changed()

    def _take(self, found: Sequence[Any]) -> None:
        """Tools of what the server lists; what cannot be one is left out and named."""
        tools: dict[str, Tool] = {}
        self._left_out = []
        for each in found:
            name = str(each.name)[:64]
            if self._only is not None and name not in self._only:
                continue
            if len(tools) >= TOOLS:
                self._left_out.append(f"{name!r} and what follows is left out: {TOOLS} are the most, choose with only=")
                break
            try:
                tool = self._tool(each, name)
            except LiveAgentError as error:
                self._left_out.append(f"{name!r} is left out: {error}")
                continue
            if tool is None:
                self._left_out.append(f"{name!r} is left out: it needs what cannot be said in words")
            elif name in tools:
                self._left_out.append(f"{name!r} is there twice; the second is left out")
            else:
                tools[name] = tool
        self._tools = tuple(tools.values())

    def _tool(self, said: Any, name: str) -> Tool | None:
        schema = check_json(said.input_schema, name)
        if len(json.dumps(schema)) > SCHEMA_BYTES:
            raise ConfigError(f"its schema has more than {SCHEMA_BYTES >> 10} kB")
        tool = declared_tool({"name": said.name, "description": said.description or "", "parameters": schema})
        if tool is None:
            return None
        risk = self._risks.get(name, risk_of(said.annotations, self._risk))
        return replace(tool, function=self._function(name), risk=risk, timeout_s=self._timeout_s)

    # --- being called

    def _function(self, name: str) -> Callable[..., Awaitable[str]]:
        async def call(**args: Any) -> str:
            return await self._call(name, {key: value for key, value in args.items() if value is not None})

        return call

    async def _call(self, name: str, args: dict[str, Any]) -> str:
        client = self._client
        if client is None:
            raise ToolError(f"the {self.name} cannot be reached; nothing was sent")
        from mcp import MCPError

        try:
            result = await client.call_tool(name, args)
        except MCPError as error:
            if await self._there(client):
                raise ToolError(f"{name} was refused: {_words(error)}") from None
            self._lose()
            raise OutcomeLost(f"the {self.name} was lost; nobody knows whether {name} was done") from None
        except Exception as error:  # whatever its transport raises: the connection is not one any more
            self._lose()
            _log.warning("%s is lost (%s)", self.name, type(error).__name__)
            raise OutcomeLost(f"the {self.name} was lost; nobody knows whether {name} was done") from None
        text = text_of(result)
        if getattr(result, "is_error", False):
            raise ToolError(text or f"{name} failed")
        return text or "done"

    async def _there(self, client: Client) -> bool:
        try:
            async with asyncio.timeout(2.0):
                await client.list_tools()
        except Exception:  # any failure means the same
            return False
        return True

    def _lose(self) -> None:
        self._client = None
        self._lost.set()
        self._stale.set()


def risk_of(hints: Any, unsaid: Risk) -> Risk:
    """What a server's hints make of a tool: reading is no risk, what it calls destructive is a hazard."""
    if hints is None:
        return unsaid
    if hints.read_only_hint is True:
        return "observe"
    if hints.destructive_hint is None:
        return unsaid
    return "hazard" if hints.destructive_hint else "reversible"


def text_of(result: Any) -> str:
    """What a result says, cut to what is read; pictures and the like are not, and that is noted."""
    said: list[str] = []
    other: dict[str, int] = {}
    for block in list(getattr(result, "content", None) or [])[:64]:
        text = getattr(block, "text", None)
        if isinstance(text, str):
            said.append(text[: RESULT_CHARS + 1])
        else:
            kind = str(getattr(block, "type", "part"))[:20]
            other[kind] = other.get(kind, 0) + 1
    structured = getattr(result, "structured_content", None)
    if not said and structured is not None:
        with contextlib.suppress(TypeError, ValueError, RecursionError):
            said.append(json.dumps(structured)[: RESULT_CHARS + 1])
    text = "\n".join(said)
    if len(text) > RESULT_CHARS:
        text = text[:RESULT_CHARS].rsplit(" ", 1)[0] + " … (the rest was cut)"
    notes = [f"({count} {kind}{'' if count == 1 else 's'} left out)" for kind, count in other.items()]
    return " ".join(filter(None, (text, *notes)))


def _silence() -> TextIO:
    """Where a server's own log goes: nowhere, since a terminal may be drawn on."""
    return Path(os.devnull).open("w")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _first(error: BaseException) -> str:
    """The first of what went wrong, of a group of errors."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return _words(error) or type(error).__name__
