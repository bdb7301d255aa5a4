"""`Sources`: an agent's sources of tools, open, and whoever wants to know what they have now.

A server opens its agent's once, for all conversations; a conversation whose own agent has more of them opens those
beside. What comes from them enters a session through its inbox, so that a recording knows which tools there were.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.errors import ConfigError, LiveAgentError
from liveagent.event import ToolsFound
from liveagent.found import joined, read_found, written
from liveagent.source import ToolSource
from liveagent.tool import Tool

if TYPE_CHECKING:
    from liveagent.runtime.live import Live

SETTLE_S = 0.3
"""Changes that come closer together than this are told as one: each has a prompt read anew."""

_log = logging.getLogger("liveagent.sources")


class Sources:
    """Some sources, and those of `above`, which somebody else opens and closes. Used in one event loop."""

    def __init__(self, sources: Sequence[ToolSource], above: Sources | None = None) -> None:
        held = above.sources if above is not None else ()
        self.own = tuple(each for each in sources if each not in held)
        self._above = above
        self._open: list[ToolSource] = []
        self._listeners: list[Callable[[], None]] = []
        self._soon: asyncio.TimerHandle | None = None
        self._told: tuple[tuple[Tool, ...], tuple[str, ...]] = (), ()

    @property
    def sources(self) -> tuple[ToolSource, ...]:
        return (*(self._above.sources if self._above is not None else ()), *self.own)

    @property
    def tools(self) -> tuple[Tool, ...]:
        """All there are now; of two with one name the first."""
        found: dict[str, Tool] = {}
        for tool in self._above.tools if self._above is not None else ():
            found.setdefault(tool.name, tool)
        for source in self._open:
            for tool in source.tools():
                found.setdefault(tool.name, tool)
        return tuple(found.values())

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(problem for source in self._open for problem in source.problems())

    def shown(self, agent: Agent) -> Agent:
        """The agent with what its sources have now, for showing it to somebody."""
        kept, _ = joined(agent.tools, agent.questions, [_bare(each) for each in self.tools])
        return agent.replace(tools=[*agent.tools, *kept]) if kept else agent

    def news(self, t_ns: int) -> ToolsFound:
        """What a session is told."""
        return ToolsFound(t_ns, tuple(written(tool) for tool in self.tools))

    async def open(self) -> None:
        """Open them all at once. Raises ConfigError for one that nobody can use as it was given; what is merely out of
        reach is a problem, and comes later."""
        results = await asyncio.gather(
            *(source.open(self._changed) for source in self.own), return_exceptions=True
        )
        for source, error in zip(self.own, results, strict=True):
            if error is None:
                self._open.append(source)
            elif isinstance(error, LiveAgentError) and not isinstance(error, ConfigError):
                self._open.append(source)
                _log.warning("%s: %s", source.name, error)
        self._told = self.tools, self.problems
        for error in results:
            if isinstance(error, ConfigError) or (error is not None and not isinstance(error, LiveAgentError)):
                await self.close()
                raise error

    def listen(self, told: Callable[[], None]) -> Callable[[], None]:
        """Call `told` whenever there is something else, until the function that is returned is called."""
        self._listeners.append(told)
        stop_above = self._above.listen(told) if self._above is not None else lambda: None

        def stop() -> None:
            if told in self._listeners:
                self._listeners.remove(told)
            stop_above()

        return stop

    def _changed(self) -> None:
        if self._soon is None and self._open:
            self._soon = asyncio.get_running_loop().call_later(SETTLE_S, self._tell)

    def _tell(self) -> None:
        self._soon = None
        now = self.tools, self.problems
        if now == self._told:
            return
        for problem in now[1]:
            if problem not in self._told[1]:
                _log.warning("%s", problem)
        tools_changed, self._told = now[0] != self._told[0], now
        if tools_changed:
            for told in list(self._listeners):
                told()

    async def close(self) -> None:
        """Never raises; may be called twice. What is `above` stays open."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        closing, self._open = self._open, []
        await asyncio.gather(*(source.close() for source in closing), return_exceptions=True)


def follow(live: Live, sources: Sources) -> Callable[[], None]:
    """Tell a conversation what its sources have, now and whenever that changes, until the function that is returned is
    called."""

    def tell() -> None:
        live.hands.found(sources.tools)
        live.put(sources.news(live.now_ns()))

    if sources.tools:
        tell()
    return sources.listen(tell)


def _bare(tool: Tool) -> Tool:
    again = read_found(written(tool))
    return replace(again if again is not None else tool, function=tool.function)
