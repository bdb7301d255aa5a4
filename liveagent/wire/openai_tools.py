"""Tools that a client brings, and which of them an answer may call."""

from __future__ import annotations

import re

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json, check_json
from liveagent.wire.openai_fields import Fields, Refused
from liveagent.wire.strict_json import write

Tool = dict[str, Json]

MOST_TOOLS = 128
_MOST_BYTES = 256 * 1024
_MOST_DEPTH = 28
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def read_tools(owner: Fields, name: str = "tools") -> tuple[Tool, ...]:
    """`[{"type": "function", "name", "description", "parameters"}]` as clients see them again. `Refused`."""
    if owner.is_null(name):
        return ()
    out: list[Tool] = []
    for each in owner.objects(name, MOST_TOOLS):
        if each.choice("type", ("function", "mcp"), "function") == "mcp":
            raise Refused(
                "MCP servers are not called from here: bring their tools as functions.",
                "invalid_value",
                each.path("type"),
            )
        tool = each.text("name", 64, least=1)
        if not _NAME.fullmatch(tool):
            raise Refused(
                f"Invalid '{each.path('name')}': {tool!r} does not match '^[a-zA-Z0-9_-]{{1,64}}$'.",
                "invalid_value",
                each.path("name"),
            )
        if any(other["name"] == tool for other in out):
            raise Refused(f"Two tools are named {tool!r}.", "invalid_value", each.path("name"))
        out.append(
            {
                "type": "function",
                "name": tool,
                "description": each.text("description", 32_768, ""),
                "parameters": _schema(each),
            }
        )
    if len(write(list(out)).encode()) > _MOST_BYTES:
        raise Refused(f"The tools are longer than {_MOST_BYTES} bytes.", "invalid_value", owner.path(name))
    return tuple(out)


def asked(tools: tuple[Tool, ...]) -> tuple[dict[str, Json], ...]:
    """As an `AgentChanged` wants them."""
    return tuple({key: tool[key] for key in ("name", "description", "parameters")} for tool in tools)


def read_choice(owner: Fields, tools: tuple[Tool, ...], name: str = "tool_choice") -> Json:
    """The words "auto", "none", "required", or `{"type": "function", "name"}`, as clients see it again. `Refused`."""
    if not owner.given(name):
        return "auto"
    if isinstance(owner.values[name], str):
        return owner.choice(name, ("auto", "none", "required"))
    choice = owner.fields(name)
    choice.choice("type", ("function",))
    tool = choice.text("name", 64)
    if not any(each["name"] == tool for each in tools):
        raise Refused(f"There is no tool named {tool!r}.", "invalid_value", choice.path("name"))
    return {"type": "function", "name": tool}


def chosen(choice: Json) -> str:
    """As an `AnswerAsked` wants it."""
    return str(choice["name"]) if isinstance(choice, dict) else str(choice)


def _schema(tool: Fields) -> dict[str, Json]:
    if not tool.given("parameters"):
        return {"type": "object", "properties": {}}
    schema = tool.fields("parameters")
    where = tool.path("parameters")
    if schema.values.get("type", "object") != "object":
        raise Refused(f"Invalid '{where}': the JSON schema must be of an object.", "invalid_function_parameters", where)
    for name, kind in (("properties", dict), ("required", list)):
        if name in schema.values and not isinstance(schema.values[name], kind):
            raise Refused(f"Invalid '{where}.{name}'.", "invalid_function_parameters", where)
    try:
        check_json(schema.values, where, depth=32 - _MOST_DEPTH)
    except ProtocolError as error:
        raise Refused(
            f"Invalid '{where}': nested deeper than {_MOST_DEPTH} levels.", "invalid_function_parameters", where
        ) from error
    return dict(schema.values)
