"""Sources of tools: what an agent takes for one, and where it keeps it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from liveagent import Agent, tool
from liveagent.errors import ConfigError
from liveagent.source import Changed, ToolSource
from liveagent.tool import Tool


@tool
def wave() -> str:
    """Wave."""
    return "waved"


class Shelf:
    """A source in its smallest form."""

    name = "shelf"

    async def open(self, changed: Changed) -> None:
        changed()

    def tools(self) -> Sequence[Tool]:
        return [wave]

    def problems(self) -> Sequence[str]:
        return []

    async def close(self) -> None:
        return None


def test_a_source_among_the_tools_is_kept_apart_from_them() -> None:
    shelf = Shelf()
    agent = Agent(tools=[wave, shelf])  # type: ignore[list-item]
    assert agent.tools == (wave,) and agent.sources == (shelf,)
    assert agent.replace(instructions="Be kind.").sources == (shelf,)
    assert agent.replace(tools=[shelf]).sources == (shelf,), "one source is opened once"
    assert isinstance(shelf, ToolSource)


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="no source of tools"):
        Agent(sources=[object()])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not a tool"):
        Agent(tools=[object()])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="wants a list"):
        Agent(sources="home")  # type: ignore[arg-type]
