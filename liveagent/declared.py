"""Tools that somebody else brings: a name, a description and a JSON schema, and no function here.

They run where they came from; calling one here is an error. A schema says more than can be spoken: values that have no
words (lists, objects) are left out where they are optional, and a tool that needs one cannot be called by voice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from liveagent.argument import Argument, Kind, Value
from liveagent.errors import ConfigError, ToolError
from liveagent.jsonform import Json
from liveagent.tool import Tool

NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
PROPERTIES = 64
CHOICES = 256
DESCRIPTION_CHARS = 1024
DEADLINE_S = 600.0
"""How long whoever brought a tool may take over it."""
_KINDS: dict[str, Kind] = {"string": "text", "integer": "int", "number": "float", "boolean": "bool"}


def elsewhere(**_: object) -> Any:
    """What stands for the function of a tool that runs at the far end."""
    raise ToolError("this tool runs at the far end, not here")


def declared_tool(declaration: Mapping[str, Json]) -> Tool | None:
    """The tool of `{"name", "description", "parameters": JSON schema}`; None for one that needs what cannot be said.

    Raises ConfigError, which says what is wrong, for a declaration that is none.
    """
    name, description = declaration.get("name"), declaration.get("description") or ""
    schema = declaration.get("parameters") or {}
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{name!r:.80} cannot name a tool: use up to 64 letters, digits, _ and -")
    if not isinstance(description, str) or not isinstance(schema, Mapping):
        raise ConfigError(f"tool {name!r}: description is a text, and parameters a JSON schema of an object")
    properties, required = schema.get("properties") or {}, schema.get("required") or []
    if schema.get("type", "object") != "object" or not isinstance(properties, Mapping):
        raise ConfigError(f"tool {name!r}: parameters must be the JSON schema of an object")
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        raise ConfigError(f"tool {name!r}: required must be a list of names")
    if len(properties) > PROPERTIES:
        raise ConfigError(f"tool {name!r} takes {len(properties)} arguments; {PROPERTIES} are the most")
    arguments = []
    for key, value in properties.items():
        if not isinstance(value, Mapping):
            raise ConfigError(f"tool {name!r}: the schema of {key!r} must be an object")
        argument = _argument(name, key, value, key in required)
        if argument is not None:
            arguments.append(argument)
        elif key in required:
            return None
    if any(key not in properties for key in required):
        missing = next(key for key in required if key not in properties)
        raise ConfigError(f"tool {name!r}: {missing!r} is required and has no schema")
    text = " ".join(description.split())[:DESCRIPTION_CHARS] or name.replace("_", " ")
    return Tool(name, text, elsewhere, tuple(arguments), timeout_s=DEADLINE_S, schema=dict(schema))


def is_far(tool: Tool) -> bool:
    """Whether a tool runs at the far end."""
    return tool.function is elsewhere


def _argument(owner: str, name: str, schema: Mapping[str, Json], required: bool) -> Argument | None:
    """None for what cannot be said. Raises ConfigError for what is no schema."""
    nullable, schema = _without_null(schema)
    description = schema.get("description")
    said = description if isinstance(description, str) else ""
    kind = _KINDS.get(str(schema.get("type")))
    choices: tuple[Value, ...] = ()
    if "const" in schema or "enum" in schema:
        listed = [schema["const"]] if "const" in schema else schema["enum"]
        if not isinstance(listed, list) or not listed or len(listed) > CHOICES:
            raise ConfigError(f"tool {owner!r}, argument {name!r}: enum must list from 1 to {CHOICES} values")
        nullable = nullable or None in listed
        choices = tuple(each for each in listed if isinstance(each, str | int | float))
        kind = "choice"
        if not choices:
            return None
    if kind is None:
        return None
    limits: dict[str, float] = {}
    for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"):
        value = schema.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"tool {owner!r}, argument {name!r}: {key} must be a number")
        limits[key] = float(value)
    one = 1.0 if kind == "int" else 0.0
    lows = [limits[key] + more for key, more in (("minimum", 0.0), ("exclusiveMinimum", one)) if key in limits]
    highs = [limits[key] - more for key, more in (("maximum", 0.0), ("exclusiveMaximum", one)) if key in limits]
    step = limits.get("multipleOf")
    argument = Argument(
        name, kind, choices, max(lows, default=None), min(highs, default=None),
        step if step is not None and step > 0 else None, required, nullable, schema.get("default"), said,
    )  # fmt: skip
    if kind != "text" and not argument.slots:
        return None
    said_alike = len({argument.say(each) for each in choices}) < len(choices)
    return None if said_alike else argument


def _without_null(schema: Mapping[str, Json]) -> tuple[bool, Mapping[str, Json]]:
    """`{"type": ["string", "null"]}` and `{"anyOf": [..., {"type": "null"}]}` as what they are beside null."""
    kinds = schema.get("type")
    if isinstance(kinds, list):
        rest = [each for each in kinds if each != "null"]
        return "null" in kinds, {**schema, "type": rest[0] if len(rest) == 1 else None}
    for key in ("anyOf", "oneOf"):
        ways = schema.get(key)
        if isinstance(ways, list) and all(isinstance(way, Mapping) for way in ways):
            rest_ways = [way for way in ways if isinstance(way, Mapping) and way.get("type") != "null"]
            if len(rest_ways) == 1:
                return len(rest_ways) < len(ways), {**schema, **rest_ways[0], key: None}
    return False, schema
