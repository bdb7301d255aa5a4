"""The frozen specification of an agent."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import liveagent
from liveagent import Agent, ConfigError, Plan, tool


@tool(phrases=["go home"], say={"zig": "one"})
def go() -> None:
    """Go home."""


@tool(phrases=["note {text}"])
def note(text: str) -> None:
    """Note something."""


def test_about_ten_lines_make_an_agent() -> None:
    agent = Agent("nano", tools=[go, note], questions=["what can you do"], wake="Hey, Nano!", say={"Zig": "two"})
    assert agent.tools == (go, note) and agent.wake == "hey nano"
    assert agent.tool("go") is go
    assert agent.automaton.accepts("go home") and agent.automaton.accepts("what can you do")
    assert agent.pronounced == {"zig": "two"}
    with pytest.raises(KeyError):
        agent.tool("stay")


def test_it_is_frozen_and_replaced() -> None:
    agent = Agent(tools=[go])
    with pytest.raises(dataclasses.FrozenInstanceError):
        agent.seed = 3  # type: ignore[misc]
    other = agent.replace(tools=[go, note], seed=3, device="cuda:0")
    assert (other.seed, other.device, len(other.tools), len(agent.tools)) == (3, "cuda:0", 2, 1)
    assert agent.automaton.sentences == 1
    with pytest.raises(ConfigError, match="no 'colour'; it has model, "):
        agent.replace(colour="red")


def test_plan(tmp_path: Path) -> None:
    plan = Agent(tools=[go, note]).plan()
    assert isinstance(plan, Plan)
    assert (plan.sentences, plan.words, plan.states, plan.typed_only) == (1, 2, 3, ("note {text}",))
    assert plan.weights is None and plan.weights_bytes == 0
    assert plan.camera is None and plan.watches == ()
    assert Agent(camera="table").plan().camera == "table"
    (tmp_path / "a.safetensors").write_bytes(b"12345")
    assert Agent(str(tmp_path)).plan().weights_bytes == 5


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": ""}, "model="),
        ({"tools": go}, "tools=[...]"),
        ({"tools": [go, go]}, "two tools are named 'go'"),
        ({"tools": [print]}, "put @tool above it"),
        ({"tools": [go], "questions": ["go home"]}, "sound alike"),
        ({"questions": "who are you"}, "questions=[...]"),
        ({"questions": ["(a"]}, "never closed"),
        ({"wake": "?!"}, "no word in it"),
        ({"voice": ""}, "None for silence"),
        ({"seed": -1}, "seed=-1"),
        ({"seed": True}, "seed=True"),
        ({"device": "gpu"}, "cuda"),
        ({"instructions": None}, "wants a text"),
    ],
)
def test_what_cannot_work_is_said_at_once(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Agent(**fields)
    assert says in str(caught.value)


def test_every_export_exists_and_the_import_is_light() -> None:
    for name in liveagent.__all__:
        assert getattr(liveagent, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = liveagent.nothing
    code = "import sys, liveagent\nassert not {'torch', 'numpy', 'pydantic', 'asyncio'} & set(sys.modules), sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
