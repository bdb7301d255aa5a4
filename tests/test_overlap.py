"""What a request can mean among tools that no training showed."""

from __future__ import annotations

import pytest

from liveagent.declared import declared_tool
from liveagent.errors import ConfigError
from liveagent.jsonform import Json
from liveagent.overlap import invented, narrow, offer, stem
from liveagent.tool import Tool


def made(name: str, description: str, required: tuple[str, ...] = (), **properties: object) -> Tool:
    schema = {"type": "object", "properties": properties, "required": list(required)}
    tool = declared_tool({"name": name, "description": description, "parameters": schema})  # type: ignore[dict-item]
    assert tool is not None
    return tool


TEXT, UNIT = {"type": "string"}, {"type": "string", "enum": ["celsius", "fahrenheit"]}
WEATHER = made("get_weather", "Get the current weather for a city", ("city",), city=TEXT, unit=UNIT)
MUSIC = made("play_music", "Play a song", ("song",), song=TEXT)
TRANSFER = made("transferMoney", "Send money to somebody", ("amount",), amount={"type": "integer", "minimum": 1})
TOOLS = (WEATHER, MUSIC, TRANSFER)


def values(tool: Tool) -> dict[str, tuple[object, ...]]:
    return {argument.name: argument.choices for argument in tool.arguments}


def test_the_tool_that_shares_words_is_offered_with_what_the_request_holds() -> None:
    (only,) = offer("what is the weather in paris in celsius", TOOLS).tools
    assert only.name == "get_weather"
    assert values(only) == {"city": ("paris",), "unit": ("celsius",)}


def test_an_optional_value_that_was_not_named_is_left_out() -> None:
    (only,) = offer("how is the weather in new york", TOOLS).tools
    assert values(only) == {"city": ("new york",)}


def test_free_text_is_the_whole_stretch_that_the_tool_has_no_word_for() -> None:
    (only,) = offer("play the song yellow submarine please", TOOLS).tools
    assert values(only) == {"song": ("yellow submarine",)}


def test_a_number_is_taken_from_the_request_and_within_its_range() -> None:
    (only,) = offer("transfer twenty five of my money", TOOLS).tools
    assert values(only) == {"amount": ("twenty five",)}
    assert offer("transfer my money", TOOLS).missing == "amount"


@pytest.mark.parametrize("request_", ["order a pizza", "hello there", "what can you do", ""])
def test_a_request_without_a_shared_word_is_offered_nothing(request_: str) -> None:
    assert offer(request_, TOOLS).tools == ()


def test_what_is_missing_is_named() -> None:
    assert offer("what is the weather", TOOLS).missing == "city"


def test_a_demanded_tool_is_filled_whatever_it_shares() -> None:
    (only,) = narrow("louvre", [WEATHER])
    assert values(only) == {"city": ("louvre",)}


def test_free_text_that_nobody_said_is_invented() -> None:
    assert invented("play yellow submarine", MUSIC, {"song": "let it be"})
    assert not invented("play yellow submarine", MUSIC, {"song": "yellow submarine"})
    assert not invented("transfer nine", TRANSFER, {"amount": 9})


def test_endings_do_not_matter() -> None:
    assert stem("lights") == stem("lighting") == stem("light")
    assert stem("class") == "class"


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        ({"name": "a b"}, "cannot name a tool"),
        ({"name": "a", "parameters": {"type": "array"}}, "of an object"),
        ({"name": "a", "parameters": {"properties": {"x": 3}}}, "'x' must be an object"),
        ({"name": "a", "parameters": {"required": ["x"]}}, "'x' is required"),
        ({"name": "a", "parameters": {"properties": {"x": {"enum": []}}}}, "enum must list"),
        ({"name": "a", "parameters": {"properties": {"x": {"type": "integer", "minimum": "1"}}}}, "must be a number"),
    ],
)
def test_a_declaration_that_is_none_is_refused_in_words(declaration: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        declared_tool(declaration)  # type: ignore[arg-type]


def test_what_cannot_be_said_is_left_out_where_it_is_optional() -> None:
    tool = made("search", "Search", ("q",), q=TEXT, filters={"type": "array"}, page={"type": ["integer", "null"]})
    assert [argument.name for argument in tool.arguments] == ["q", "page"]
    assert tool.argument("page").nullable
    needs: Json = {"properties": {"x": {"type": "object"}}, "required": ["x"]}
    assert declared_tool({"name": "a", "parameters": needs}) is None
