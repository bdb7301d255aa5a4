"""liveagent: a runtime that hears, remembers, speaks and acts. Importing it loads no torch and opens nothing."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Bound here, not lazily: submodules of the same names would otherwise take the attributes when first imported.
from liveagent.tool import tool
from liveagent.watch import watch

if TYPE_CHECKING:
    from liveagent.agent import Agent
    from liveagent.call import Call
    from liveagent.errors import ConfigError, DeviceError, LinkError, LiveAgentError, ProtocolError, ToolError
    from liveagent.plan import Plan
    from liveagent.policy import Policy
    from liveagent.ports.mcp import Mcp
    from liveagent.runtime.home import Home
    from liveagent.runtime.house import House
    from liveagent.runtime.request import Options, Refused, Request
    from liveagent.runtime.robot import Robot
    from liveagent.runtime.server import Server
    from liveagent.runtime.way import MqttWay
    from liveagent.source import ToolSource
    from liveagent.tool import Tool
    from liveagent.watch import Watch

__version__ = "0.1.0"

_HOME = {
    "Agent": "agent",
    "Call": "call",
    "ConfigError": "errors",
    "DeviceError": "errors",
    "Home": "runtime.home",
    "House": "runtime.house",
    "LinkError": "errors",
    "LiveAgentError": "errors",
    "Mcp": "ports.mcp",
    "MqttWay": "runtime.way",
    "Options": "runtime.request",
    "Plan": "plan",
    "Policy": "policy",
    "ProtocolError": "errors",
    "Refused": "runtime.request",
    "Request": "runtime.request",
    "Robot": "runtime.robot",
    "Server": "runtime.server",
    "Tool": "tool",
    "ToolError": "errors",
    "ToolSource": "source",
    "Watch": "watch",
}
__all__ = [
    "Agent",
    "Call",
    "ConfigError",
    "DeviceError",
    "Home",
    "House",
    "LinkError",
    "LiveAgentError",
    "Mcp",
    "MqttWay",
    "Options",
    "Plan",
    "Policy",
    "ProtocolError",
    "Refused",
    "Request",
    "Robot",
    "Server",
    "Tool",
    "ToolError",
    "ToolSource",
    "Watch",
    "__version__",
    "tool",
    "watch",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'liveagent' has no attribute {name!r}")
    value = getattr(import_module(f"liveagent.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
