"""Tools that a source found: their place beside an agent's own, and the written form in which a session is told of
them, a journal keeps them and a replay reads them again.

A session needs to know what a tool is called, what it takes, how it is asked for and what it risks; the function stays
with the source, and the hands know it. So a replay knows the tools that were there then, without a broker or a server.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args

from liveagent.argument import Argument
from liveagent.automaton import Automaton, sound_alike
from liveagent.declared import declared_tool
from liveagent.errors import ConfigError, ToolError
from liveagent.jsonform import Json, check_json
from liveagent.phrase import Phrase
from liveagent.policy import RISKS
from liveagent.spoken import spoken
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


def joined(
    own: Sequence[Tool], questions: Sequence[str], found: Sequence[Tool]
) -> tuple[tuple[Tool, ...], tuple[str, ...]]:
    """What of `found` can stand beside an agent's own tools, and in a line each what cannot. Who has a name first keeps
    it; of two that one sentence would call the later one loses its phrases, and so do the last ones where all of them
    are more than can be listened for."""
    problems: list[str] = []
    names = {_as_said(tool.name) for tool in own}
    kept: list[Tool] = []
    for tool in found:
        if not _as_said(tool.name) or _as_said(tool.name) in names:
            problems.append(f"the tool {tool.name!r} is left out: another one is called so")
        elif len(kept) >= FOUND_TOOLS:
            problems.append(f"the tool {tool.name!r} is left out: {FOUND_TOOLS} are the most")
        else:
            names.add(_as_said(tool.name))
            kept.append(tool)
    while any(tool.phrases for tool in kept):
        try:
            clash = sound_alike((*own, *kept), questions)
            if clash is None:
                Automaton.of((*own, *kept), questions)
                break
            loser = next(at for at in reversed(range(len(kept))) if f"tool {kept[at].name!r}" in clash[:2])
            why = f"{clash[2]!r} means something else already"
        except ConfigError:
            loser = next(at for at in reversed(range(len(kept))) if kept[at].phrases)
            why = "there is too much to listen for"
        problems.append(f"the tool {kept[loser].name!r} is not called by its phrases: {why}")
        kept[loser] = replace(kept[loser], phrases=())
    return tuple(kept), tuple(problems)


def _as_said(name: str) -> str:
    return spoken("".join(f" {each}" if each.isupper() else each for each in name).replace("_", " "))
