"""`--home` and `--mcp`: sources of tools from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

if TYPE_CHECKING:
    from liveagent.agent import Agent

Homes: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--home", metavar="mqtt://HOST", envvar="LIVEAGENT_HOME",
        help="A broker on which devices are announced (Zigbee2MQTT, Tasmota, ESPHome): they become tools.",
    ),
]  # fmt: skip
Servers: TypeAlias = Annotated[
    list[str] | None,
    typer.Option("--mcp", metavar="COMMAND|URL", help="An MCP server, whose tools the agent may call."),
]


def with_sources(agent: Agent, homes: Sequence[str] | None, servers: Sequence[str] | None) -> Agent:
    """The agent with these sources. A real home takes the place of the lights that exist in memory. ConfigError."""
    if not homes and not servers:
        return agent
    from liveagent.ports.mcp import Mcp
    from liveagent.runtime.home import Home
    from liveagent.tools import home

    pretended = (home.light, home.dim) if homes else ()
    tools = [tool for tool in agent.tools if tool not in pretended]
    sources = [*(Home(each) for each in homes or ()), *(Mcp(each) for each in servers or ())]
    return agent.replace(tools=tools, sources=[*agent.sources, *sources])
