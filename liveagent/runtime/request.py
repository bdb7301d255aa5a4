"""`Request`: what somebody who wants a session sends before there is one. `Options`: what their session is to be.

    async def admit(request: Request) -> Options:
        user = await who_has(request.key)
        if user is None:
            raise Refused("this key is not known", status=401)
        return Options(user=user.id, instructions=f"You speak with {user.name}.")
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from liveagent.agent import Agent
from liveagent.errors import ProtocolError
from liveagent.tool import Tool

Protocol: TypeAlias = Literal["native", "openai", "gemini"]
ClientTools: TypeAlias = Literal["replace", "add", "refuse"]


class Refused(ProtocolError):
    """Somebody is not let in. `status` is the HTTP status that they get, `reason` a short code for the metrics."""

    def __init__(self, message: str, *, status: int = 403, retry_s: int | None = None, reason: str = "refused") -> None:
        super().__init__(message)
        self.status, self.retry_s, self.reason = status, retry_s, reason


@dataclass(frozen=True, slots=True)
class Request:
    """`headers` by lower-case name; `query` as sent; `client`: the peer's address, "" where there is none; `key`: what
    it showed, which has been checked already where the server has keys of its own."""

    protocol: Protocol
    path: str
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    client: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Options:
    """How one session differs from the server's agent; None leaves a thing as it is.

    user: who this is: only the same may take the session up again. voice: "" for none. camera: what the session looks
    at here, on the server; then pictures of the peer's are not. client_tools: what tools that the peer brings do to the
    agent's own.
    """

    user: str = ""
    instructions: str | None = None
    tools: Sequence[Tool] | None = None
    voice: str | None = None
    camera: str | None = None
    client_tools: ClientTools | None = None

    def applied(self, agent: Agent) -> Agent:
        """The agent of this session. ConfigError."""
        change: dict[str, Any] = {}
        if self.instructions is not None:
            change["instructions"] = self.instructions
        if self.tools is not None:
            change["tools"] = self.tools
        if self.voice is not None:
            change["voice"] = self.voice or None
        if self.camera is not None:
            change["camera"] = self.camera or None
        return agent.replace(**change) if change else agent


Admit: TypeAlias = Callable[[Request], Awaitable[Options]]
