"""Tools that a source found, in their written form: what a session is told, a journal keeps, and a replay reads again.

A session needs to know what a tool is called, what it takes, how it is asked for and what it risks; the function stays
with the source, and the hands know it. So a replay knows the tools that were there then, without a broker or a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from liveagent.argument import Argument
from liveagent.declared import declared_tool
from liveagent.errors import ConfigError, ToolError
from liveagent.jsonform import Json, check_json
from liveagent.phrase import Phrase
from liveagent.policy import RISKS
from liveagent.tool import Tell, Tool

FOUND_TOOLS = 64
PHRASES = 16
LONGEST_S = 600.0
_TYPES = {"int": "integer", "float": "number", "bool": "boolean", "text": "string"}


def not_here(**_: object) -> Any:
    """What stands for the function of a found tool where its source is not open."""
    raise ToolError("what this tool is for cannot be reached from here")


def schema_of(arguments: Sequence[Argument]) -> dict[str, Json]:
    """The JSON schema of arguments."""
    properties: dict[str, Json] = {}
    for each in arguments:
        written: dict[str, Json] = {}
        if each.kind == "choice":
            written["enum"] = list(each.choices)
        else:
            written["type"] = _TYPES[each.kind]
            limits = {"minimum": each.low, "maximum": each.high, "multipleOf": each.step}
            written.update({key: value for key, value in limits.items() if value is not None})
        if each.description:
            written["description"] = each.description
        if not each.required and each.default is not None:
            written["default"] = check_json(each.default, each.name)
        properties[each.name] = written
    required: list[Json] = [each.name for each in arguments if each.required]
    return {"type": "object", "properties": properties, "required": required}


def written(tool: Tool) -> dict[str, Json]:
    """A found tool as plain JSON."""
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": check_json(tool.schema or schema_of(tool.arguments), tool.name),
        "phrases": [phrase.text for phrase in tool.phrases],
        "risk": tool.risk,
        "moves": tool.moves,
        "hold_ms": tool.hold_ms,
        "timeout_s": tool.timeout_s,
        "tell": tool.tell,
    }


def read_found(said: Mapping[str, Json]) -> Tool | None:
    """The tool of its written form, without a function; None for one that needs what cannot be said. ConfigError."""
    tool = declared_tool(said)
    if tool is None:
        return None
    phrases, risk = said.get("phrases") or [], said.get("risk", "reversible")
    tell = next((each for each in get_args(Tell) if each == said.get("tell", "pause")), None)
    timeout_s, hold_ms = said.get("timeout_s", 10.0), said.get("hold_ms", 0)
    if not isinstance(phrases, list) or len(phrases) > PHRASES or not all(isinstance(each, str) for each in phrases):
        raise ConfigError(f"tool {tool.name!r}: phrases must be a list of at most {PHRASES} texts")
    if risk not in RISKS or tell is None:
        raise ConfigError(f"tool {tool.name!r}: risk is one of {', '.join(RISKS)}, tell of now, pause and silent")
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s <= LONGEST_S:
        raise ConfigError(f"tool {tool.name!r}: timeout_s is more than 0, and {LONGEST_S:.0f} at most")
    if isinstance(hold_ms, bool) or not isinstance(hold_ms, int) or not 0 <= hold_ms <= 5_000:
        raise ConfigError(f"tool {tool.name!r}: hold_ms is from 0 to 5000")
    parsed = tuple(Phrase.of(str(each), tool.name) for each in phrases)
    known = {argument.name for argument in tool.arguments}
    needed = {argument.name for argument in tool.arguments if argument.required}
    for phrase in parsed:
        for path in phrase.arg_sets():
            if not needed <= path or not path <= known:
                raise ConfigError(f"tool {tool.name!r}: the phrase {phrase.text!r} does not fit its arguments")
    return replace(
        tool, function=not_here, phrases=parsed, risk=risk, moves=said.get("moves") is True, hold_ms=hold_ms,
        timeout_s=float(timeout_s), tell=tell,
    )  # fmt: skip
