"""A Gemini tool's parameters as plain JSON schema, and the tools of a setup.

`parameters` is a Schema message: types in upper case, `nullable` beside them, numbers that may be strings, fields in
either spelling (ai.google.dev/api/caching#Schema). `parametersJsonSchema` is JSON schema already and stays as it is.
"""

from __future__ import annotations

import re

from liveagent.errors import ProtocolError
from liveagent.jsonform import Json, check_json
from liveagent.wire.gemini_read import Fields

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,127}")
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object", "null"})
_SAME = ("description", "title", "format", "pattern", "enum", "required", "default", "minimum", "maximum")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")
_READ = frozenset(
    {*_SAME, *_COUNTS, "type", "nullable", "anyOf", "items", "properties", "propertyOrdering", "additionalProperties",
     "defs", "ref", "example", "any_of", "min_items", "max_items", "min_length", "max_length", "min_properties",
     "max_properties", "property_ordering", "additional_properties"}
)  # fmt: skip


def read_tools(tools: list[Fields]) -> tuple[dict[str, Json], ...]:
    """`{"name", "description", "parameters"}` of each declared function. Tools that the real server would run itself
    (search, code) are none of ours and are passed over. ProtocolError for what nobody could call."""
    found: dict[str, dict[str, Json]] = {}
    for tool in tools:
        for declared in tool.each("functionDeclarations"):
            name = declared.text("name")
            if not NAME.fullmatch(name):
                raise ProtocolError(f'"{name[:40]}" is no name of a function')
            if name in found:
                raise ProtocolError(f'the function "{name[:40]}" is declared twice')
            found[name] = {
                "name": name,
                "description": declared.text("description"),
                "parameters": _parameters(declared),
            }
    return tuple(found.values())


def _parameters(declared: Fields) -> Json:
    given, plain = declared.get("parameters"), declared.get("parametersJsonSchema")
    if given is not None and plain is not None:
        raise ProtocolError("a function has parameters or parametersJsonSchema, not both")
    if plain is not None:
        return check_json(Fields(plain, "parametersJsonSchema").raw, "parametersJsonSchema")
    if given is not None:
        check_json(given, "parameters")  # bounded in depth, before it is walked
        return plain_schema(Fields(given, "parameters"))
    return {"type": "object", "properties": {}}


def plain_schema(schema: Fields) -> dict[str, Json]:
    """The same in JSON schema (2020-12). What is not of the Schema message, and so JSON schema already, is kept."""
    out: dict[str, Json] = {key: value for key, value in schema.raw.items() if key not in _READ}
    kind = schema.get("type")
    if isinstance(kind, str):
        if kind.lower() in _TYPES:
            out["type"] = kind.lower()
        elif kind.upper() != "TYPE_UNSPECIFIED":
            raise ProtocolError(f'{schema.where}: "{kind[:40]}" is no type')
    elif kind is not None:
        out["type"] = kind  # a list, as in JSON schema
    for name in _SAME:
        if (value := schema.get(name)) is not None and (name, value) != ("format", "enum"):
            out[name] = value
    for name in _COUNTS:
        if (count := schema.whole(name)) is not None:
            out[name] = count
    if (example := schema.get("example")) is not None:
        out["examples"] = [example]
    if (reference := schema.get("ref")) is not None:
        out["$ref"] = str(reference).replace("#/defs/", "#/$defs/")
    _inner(schema, out)
    if schema.flag("nullable"):
        _allow_null(out)
    return out


def _inner(schema: Fields, out: dict[str, Json]) -> None:
    """The schemas within a schema; names that a user gave stay as they are."""
    if "items" in schema:
        out["items"] = plain_schema(Fields(schema.get("items"), "items"))
    if "anyOf" in schema:
        out["anyOf"] = [plain_schema(each) for each in schema.each("anyOf")]
    for name, plain in (("properties", "properties"), ("defs", "$defs")):
        if (inner := schema.fields(name)) is not None:
            out[plain] = {key: plain_schema(Fields(value, key[:40])) for key, value in inner.raw.items()}
    more = schema.get("additionalProperties")
    if isinstance(more, bool):
        out["additionalProperties"] = more
    elif more is not None:
        out["additionalProperties"] = plain_schema(Fields(more, "additionalProperties"))


def _allow_null(out: dict[str, Json]) -> None:
    kind, choices = out.get("type"), out.get("enum")
    if isinstance(kind, str) and kind != "null":
        out["type"] = [kind, "null"]
    if isinstance(choices, list) and None not in choices:
        out["enum"] = [*choices, None]
    several = out.get("anyOf")
    if isinstance(several, list) and kind is None:
        out["anyOf"] = [*several, {"type": "null"}]
