"""Lists that are kept: shopping, things to do, things to pack. They lie in the user's own data folder, one file for
each owner, and are there tomorrow."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from liveagent import tool
from liveagent.call import Call
from liveagent.errors import ToolError
from liveagent.spoken import spoken
from liveagent.tools.datafile import DataFile

Name = Literal["shopping", "to do", "packing"]
MOST = 200
ITEM_CHARS = 80
READ_OUT = 12
"""More than this nobody listens to."""


def kept() -> DataFile:
    """Where they lie."""
    return DataFile("lists")


def _of(held: dict[str, Any], name: str) -> list[str]:
    items = held.setdefault(name, [])
    if not isinstance(items, list) or not all(isinstance(each, str) for each in items):
        raise ToolError(f"the {name} list is damaged")
    return items


@tool(phrases=["[please] (add|put) {item} (to|on) [the|my] {name} list"])
async def add_to_list(item: str, call: Call, name: Name = "shopping") -> str:
    """Put something on a list that is kept."""
    words = spoken(item)[:ITEM_CHARS]
    if not words:
        raise ToolError("there is no word in that")

    def add(held: dict[str, Any]) -> None:
        items = _of(held, name)
        if len(items) >= MOST:
            raise ToolError(f"the {name} list has {MOST} things on it; that is enough")
        if words not in items:
            items.append(words)

    await asyncio.to_thread(kept().change, add, call.owner)
    return f"{words} is on the {name} list"


@tool(phrases=["(take|cross) {item} off [the|my] {name} list", "remove {item} from [the|my] {name} list"])
async def take_off_list(item: str, call: Call, name: Name = "shopping") -> str:
    """Take something off a list that is kept."""
    words = spoken(item)

    def take(held: dict[str, Any]) -> bool:
        items = _of(held, name)
        found = words in items
        if found:
            items.remove(words)
        return found

    if not await asyncio.to_thread(kept().change, take, call.owner):
        raise ToolError(f"{words} is not on the {name} list")
    return f"{words} is off the {name} list"


@tool(phrases=["read out [the|my] {name} list", "what have i got on [the|my] {name} list"], risk="observe")
async def read_out_list(name: Name, call: Call) -> str:
    """Read a list that is kept."""
    items = _of(await asyncio.to_thread(kept().read, call.owner), name)
    if not items:
        return f"the {name} list is empty"
    rest = len(items) - READ_OUT
    said = ", ".join(items[:READ_OUT]) + (f", and {rest} more" if rest > 0 else "")
    return f"on the {name} list: {said}"


@tool(phrases=["start a new {name} list", "throw away [the|my] {name} list"])
async def empty_list(name: Name, call: Call) -> str:
    """Empty a list that is kept."""

    def empty(held: dict[str, Any]) -> None:
        held[name] = []

    await asyncio.to_thread(kept().change, empty, call.owner)
    return f"the {name} list is empty"
