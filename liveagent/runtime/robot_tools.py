"""A robot's announcement as tools: what it says that it can do, read with suspicion."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from liveagent.call import Call
from liveagent.clients.robot.contract import Describe, ToolSpec
from liveagent.declared import declared_tool
from liveagent.errors import ConfigError
from liveagent.jsonform import Json
from liveagent.phrase import Phrase
from liveagent.tool import Tool

Do = Callable[[str, dict[str, Any], Call], Awaitable[Any]]
GRACE_S = 2.0
"""More than the robot takes at most, so that it is the robot who says that it took too long."""


def tools_of(describe: Describe, do: Do, prefix: str = "") -> tuple[list[Tool], list[str]]:
    """What it can do, as tools that call `do(name, args, call)`; and what was left out, each in a line."""
    tools: list[Tool] = []
    problems: list[str] = []
    for spec in describe.tools:
        where = f"{describe.site}/{describe.robot}: {spec.name}"
        if spec.risk == "forbidden":
            continue
        try:
            said: dict[str, Json] = {
                "name": prefix + spec.name, "description": spec.description, "parameters": spec.parameters,
            }  # fmt: skip
            declared = declared_tool(said)
        except ConfigError as error:
            problems.append(f"{where} is left out: {error}")
            continue
        if declared is None:
            problems.append(f"{where} is left out: it needs an argument that has no words")
            continue
        phrases = []
        for text in spec.phrases:
            try:
                phrases.append(_fitting(text, declared))
            except ConfigError as error:
                problems.append(f"{where}: a phrase is left out: {error}")
        tools.append(replace(
            declared, function=_function(do, spec), phrases=tuple(phrases), risk=spec.risk, moves=spec.motion,
            timeout_s=spec.timeout_s + GRACE_S, cancel_on_barge_in=spec.cancel_on_barge_in, takes_call="call",
        ))  # fmt: skip
    return tools, problems


def _function(do: Do, spec: ToolSpec) -> Callable[..., Any]:
    async def function(call: Call, **args: Any) -> Any:
        return await do(spec.name, {name: value for name, value in args.items() if value is not None}, call)

    function.__name__ = spec.name
    return function


def _fitting(text: str, tool: Tool) -> Phrase:
    """ConfigError for a phrase that names what the tool does not take, or leaves out what it needs."""
    phrase = Phrase.of(text, tool.name)
    known = {argument.name for argument in tool.arguments}
    needed = {argument.name for argument in tool.arguments if argument.required}
    for path in phrase.arg_sets():
        if not needed <= set(path) or not set(path) <= known:
            raise ConfigError(f"{text!r} does not fit the arguments of {tool.name}")
    return phrase
