"""The names that users import, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import liveagent

NAMES = {
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
}


def test_exactly_these_names_are_exported() -> None:
    """A name that is added or taken away is a promise made or broken: it belongs into CHANGELOG.md too."""
    assert set(liveagent.__all__) == NAMES
    assert set(dir(liveagent)) >= NAMES


def test_every_name_is_there_and_says_what_it_is() -> None:
    for name in sorted(NAMES - {"__version__"}):
        value = getattr(liveagent, name)
        assert inspect.getdoc(value), f"{name} has no docstring"
        assert value.__module__.startswith("liveagent."), name


def test_importing_liveagent_loads_nothing_heavy() -> None:
    heavy = {"torch", "torchaudio", "sounddevice", "av", "pocketsphinx", "llguidance", "tokenizers", "asyncio", "rich"}
    code = "import liveagent, liveagent.agent, sys; print(*sorted(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "liveagent" in done.stdout.split()
    assert heavy & set(done.stdout.split()) == set()


def test_a_server_is_imported_without_the_libraries_that_its_engine_loads() -> None:
    code = "from liveagent import House, Server; import sys; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "liveagent.runtime.server" in loaded
    assert {"torch", "torchaudio", "sounddevice", "av", "pocketsphinx", "llguidance"} & loaded == set()


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(liveagent, "Assistant")
