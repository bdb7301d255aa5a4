"""A server whose agent has sources of tools: every guest has what they find, as it comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from liveagent import Server, tool
from liveagent.source import Changed
from liveagent.tool import Tool
from tests.site import serving, small_agent, write_weights

pytestmark = pytest.mark.slow


@tool(phrases=["(turn|switch) {state} the {device}"])
async def turn(device: Literal["hallway lamp"], state: Literal["on", "off"]) -> str:
    """Turn a lamp on or off."""
    return f"the {device} is {state}"


@tool(phrases=["ring the bell"])
async def bell() -> str:
    """Ring."""
    return "it rang"


class Shelf:
    """A source whose tools are put there by the test."""

    name = "shelf"

    def __init__(self) -> None:
        self.held: list[Tool] = [turn]
        self.changed: Changed = lambda: None
        self.open_now = 0

    async def open(self, changed: Changed) -> None:
        self.changed = changed
        self.open_now += 1

    def tools(self) -> Sequence[Tool]:
        return tuple(self.held)

    def problems(self) -> Sequence[str]:
        return []

    async def close(self) -> None:
        self.open_now -= 1


async def test_guests_have_what_the_sources_find_as_it_comes_and_goes(tmp_path: Path) -> None:
    shelf = Shelf()
    server = Server(small_agent(write_weights(tmp_path), sources=[shelf]))
    with serving(server) as site:
        assert shelf.open_now == 1
        async with site.talk() as one, site.talk() as other:
            welcome = await one.greeted()
            assert "turn on the hallway lamp" in str(welcome), "what is there at once is shown at once"
            await other.greeted()
            for talk in (one, other):
                await talk.say({"type": "TextTyped", "text": "turn on the hallway lamp"})
                assert (await talk.until("ToolCalled"))["name"] == "turn"
                assert (await talk.until("ToolReturned"))["result"] == "the hallway lamp is on"

            async def change() -> None:
                shelf.held = [bell]
                shelf.changed()

            await one.say({"type": "AnswerStopped"})
            await site.run(change)
            for _ in range(50):  # as soon as nothing is open in that conversation
                await one.say({"type": "TextTyped", "text": "ring the bell"})
                called = await one.until("ReplyStarted")
                if any(said.get("e", {}).get("name") == "bell" for said in one.told):
                    break
                await one.say({"type": "AnswerStopped"})
            assert called and any(said.get("e", {}).get("name") == "bell" for said in one.told)
            assert shelf.open_now == 1, "one source is open once, for all"
    assert shelf.open_now == 0
