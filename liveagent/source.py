"""Where tools come from that nobody knows before it has been asked: a home's broker, an MCP server, a robot.

    agent = Agent("nano", tools=[light, Home("mqtt://localhost"), Mcp("python server.py")])

A source stands among an agent's tools. It is opened when the agent begins to live, says which tools there are now, and
calls `changed` whenever these are others; a conversation has the new ones from its next quiet moment on. Several
conversations may share one that is open, so a source holds nothing that belongs to one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from liveagent.errors import ConfigError
from liveagent.tool import Tool

Changed: TypeAlias = Callable[[], None]


@runtime_checkable
class ToolSource(Protocol):
    """Something that yields tools while it is open. `open` and `close` come in turns, each awaited in the event loop
    that calls `changed`."""

    @property
    def name(self) -> str:
        """What a person knows it by: "home at mqtt://localhost". No password in it."""
        ...

    async def open(self, changed: Changed) -> None:
        """Begin, and wait a moment for the first tools; where the way there is down, return all the same and go on
        trying. `changed()` is called in this event loop whenever `tools` or `problems` give something else. ConfigError
        for what no waiting mends."""
        ...

    def tools(self) -> Sequence[Tool]:
        """The tools there are now. Never waits."""
        ...

    def problems(self) -> Sequence[str]:
        """What is left out or out of reach now, each in a line for a person that names it."""
        ...

    async def close(self) -> None:
        """End it; its tools fail from here on. Never raises; may be called twice."""
        ...


def parted(given: Sequence[object]) -> tuple[list[object], list[ToolSource]]:
    """What was given as tools: those that are no source, and the sources."""
    sources = [each for each in given if isinstance(each, ToolSource) and not isinstance(each, Tool)]
    return [each for each in given if each not in sources], sources


def check_sources(sources: Sequence[object]) -> None:
    """Raises ConfigError for what is no source."""
    for each in sources:
        if not isinstance(each, ToolSource):
            raise ConfigError(f"{each!r:.80} is no source of tools: give Home(...), Mcp(...) or the like")
