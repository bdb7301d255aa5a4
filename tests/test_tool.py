"""Tools: what a signature says, how arguments are read, and what is said about a wrong tool."""

from __future__ import annotations

import asyncio
import enum
import subprocess
import sys
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from liveagent import Tool, tool
from liveagent.call import Call
from liveagent.errors import ConfigError, ToolError
from liveagent.tool import check_tools


class Color(enum.Enum):
    RED = "red"
    LIGHT_BLUE = "light_blue"


class Pose(BaseModel):
    x: float


Count = Annotated[int, Field(ge=1, le=60, description="how many")]
Room = Literal["kitchen", "living room"]


@tool(
    phrases=["paint {room} {color} [{count} times]", "write {note}"],
    risk="hazard",
    moves=True,
    timeout_s=3,
    hold_ms=240,
    tell="now",
    say={"Zigbee": "zig bee"},
)
async def paint(
    room: Room = "kitchen", color: Color = Color.RED, count: Count = 1, glossy: bool = False, note: str = ""
) -> str:
    """Paint a room.

    More that the model need not read.
    """
    return f"{room} {color.value} {count} {glossy} {note}"


@tool
def add(a: int, b: float | None = None) -> float:
    """Add two numbers."""
    return a + (b or 0)


def test_what_a_signature_says() -> None:
    assert (paint.name, paint.description, paint.risk) == ("paint", "Paint a room.", "hazard")
    assert (paint.timeout_s, paint.moves, paint.say, paint.is_async) == (3, True, {"zigbee": "zig bee"}, True)
    assert (paint.hold_ms, paint.tell, add.hold_ms, add.tell, add.risk) == (240, "now", 0, "pause", "reversible")
    kinds = {argument.name: (argument.kind, argument.required) for argument in paint.arguments}
    assert kinds["room"] == ("choice", False) and kinds["note"] == ("text", False)
    assert paint.slots["color"] == {"red": "red", "light blue": "light_blue"}
    assert list(paint.slots["count"])[:2] == ["one", "two"] and len(paint.slots["count"]) == 60
    assert "note" not in paint.slots
    assert paint.argument("count").description == "how many"
    assert paint.schema["properties"]["count"]["maximum"] == 60
    assert add.schema["required"] == ["a"] and not add.is_async and add.argument("a").required


def test_a_tool_stays_callable() -> None:
    assert add(2, 3) == 5
    assert asyncio.run(paint("kitchen", Color.RED)) == "kitchen red 1 False "
    assert asyncio.run(paint(**paint.validate({"color": "light blue", "count": "twenty two", "glossy": "yes"}))) == (
        "kitchen light_blue 22 True "
    )


def test_arguments_are_read_from_json_and_from_words() -> None:
    args = paint.validate({"room": "Living Room", "color": "light_blue", "count": 5, "note": " Buy Milk "})
    assert args == {"room": "living room", "color": Color.LIGHT_BLUE, "count": 5, "glossy": False, "note": "Buy Milk"}
    assert add.validate({"a": "a hundred and five", "b": "two point five"}) == {"a": 105, "b": 2.5}
    assert add.validate({"a": 3.0, "b": None}) == {"a": 3, "b": None}
    assert isinstance(add.validate({"a": 3.0})["a"], int)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"color": "green"}, "one of red, light_blue"),
        ({"count": 0}, "from 1 to 60"),
        ({"count": "sixty one"}, "from 1 to 60"),
        ({"count": True}, "from 1 to 60"),
        ({"count": 1.5}, "from 1 to 60"),
        ({"count": float("nan")}, "from 1 to 60"),
        ({"count": [1]}, "'list'"),
        ({"glossy": "maybe"}, "yes or no"),
        ({"note": " "}, "some words"),
        ({"colour": "red"}, "no argument colour; it takes room"),
    ],
)
def test_a_wrong_argument_is_told_to_the_model(args: dict[str, Any], says: str) -> None:
    with pytest.raises(ToolError) as caught:
        paint.validate(args)
    assert says in str(caught.value) and str(caught.value).startswith("paint")


def test_a_missing_argument_is_told_to_the_model() -> None:
    with pytest.raises(ToolError, match="add needs a; it is a whole number"):
        add.validate({"b": 1})


def no_docstring(x: int) -> None: ...


def star(*things: int) -> None:
    """Do."""


def bare(x) -> None:  # type: ignore[no-untyped-def]
    """Do."""


def nested(pose: Pose) -> None:
    """Do."""


def listed(items: list[str]) -> None:
    """Do."""


def either(x: int | str) -> None:
    """Do."""


def bad_default(x: Count = 99) -> None:
    """Do."""


def alike(x: Literal["living room", "living_room"]) -> None:
    """Do."""


def nothing_left(x: Annotated[int, Field(ge=5, le=4)]) -> None:
    """Do."""


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_docstring, "no docstring: write one line"),
        (star, "takes *things"),
        (bare, "`x: int`"),
        (nested, "one by one"),
        (listed, "cannot be said"),
        (either, "cannot be said"),
        (bad_default, "default of 'x'"),
        (alike, "said alike"),
        (nothing_left, "widen its range"),
        (lambda: None, "name a tool"),
    ],
)
def test_a_wrong_function(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tool(function)
    assert says in str(caught.value)


def put(thing: Literal["cup"], place: Literal["shelf"]) -> None:
    """Put."""


@pytest.mark.parametrize(
    ("phrases", "says"),
    [
        (["put {thing} on {plate}"], "position 15: no argument {plate}; the function's are: thing, place"),
        (["put {thing}"], "can leave out {place}"),
        (["put {thing} [on {place}]"], "can leave out {place}"),
        ("put {thing} {place}", "list of phrases"),
        (["put ({thing} {place}"], "never closed"),
    ],
)
def test_a_wrong_phrase(phrases: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tool(phrases=phrases)(put)
    assert "'put'" in str(caught.value) and says in str(caught.value)


def test_wrong_settings() -> None:
    with pytest.raises(ConfigError, match="observe, reversible, hazard, forbidden"):
        tool(risk="bad")(put)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="now, pause, silent"):
        tool(tell="later")(put)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="hold_ms"):
        tool(hold_ms=5001)(put)
    with pytest.raises(ConfigError, match="timeout_s"):
        tool(timeout_s=0)(put)


def test_a_tool_that_takes_its_call() -> None:
    async def mow(rows: int, call: Call) -> str:
        """Mow."""
        return call.key

    made = tool(mow)
    assert made.takes_call == "call" and [argument.name for argument in made.arguments] == ["rows"]
    assert "call" not in made.schema["properties"]

    def plain(call: Call) -> None:
        """Do."""

    async def two(one: Call, other: Call) -> None:
        """Do."""

    for wrong in (plain, two):
        with pytest.raises(ConfigError, match="its Call"):
            tool(wrong)


def make(name: str, *phrases: str) -> Tool:
    def function() -> None:
        """Do."""

    return tool(phrases=phrases, name=name)(function)


def test_two_tools_of_one_name() -> None:
    with pytest.raises(ConfigError, match="two tools are named 'one'"):
        check_tools([make("one", "a"), make("one", "b")])


def test_two_tools_that_sound_alike() -> None:
    with pytest.raises(ConfigError) as caught:
        check_tools([make("one", "go [to] bed"), make("two", "run", "(go|drive) to bed [now]")])
    for part in ("'one'", "'two'", "'go to bed'"):
        assert part in str(caught.value)
    check_tools([make("one", "go to bed"), make("two", "go to bed now")])
    with pytest.raises(ConfigError, match="agent's questions"):
        check_tools([make("one", "go to bed")], ["who are you", "go to bed"])


def test_free_texts_sound_alike_only_when_all_else_is_equal() -> None:
    def note(text: str) -> None:
        """Note."""

    first, second = (tool(phrases=["note {text}"], name=name)(note) for name in ("one", "two"))
    with pytest.raises(ConfigError, match="sound alike"):
        check_tools([first, second])
    check_tools([first, make("two", "note the time")])


def test_a_function_without_the_decorator_is_no_tool() -> None:
    with pytest.raises(ConfigError, match="put @tool above it"):
        check_tools([put])  # type: ignore[list-item]


def test_the_decorator_survives_the_import_of_its_module() -> None:
    code = (
        "import sys, liveagent, liveagent.agent\n"
        "from liveagent import tool\n"
        "assert callable(tool) and 'torch' not in sys.modules and 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
