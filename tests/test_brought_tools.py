"""Tools that a client brings and that nano, as shipped, never saw: picked and filled from typed words that overlap."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from liveagent.action import CallTool, Say
from liveagent.event import AgentChanged
from liveagent.jsonform import Json
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.runtime.answer import CANNOT, MISSING
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import open_session
from tests.world import World

pytestmark = pytest.mark.slow


def tool(name: str, description: str, required: list[str], **properties: Json) -> dict[str, Json]:
    schema: Json = {"type": "object", "properties": properties, "required": required}  # type: ignore[dict-item]
    return {"name": name, "description": description, "parameters": schema}


TEXT: Json = {"type": "string"}
TOOLS = (
    tool("get_weather", "Get the current weather for a city", ["city"], city=TEXT,
         unit={"type": "string", "enum": ["celsius", "fahrenheit"]}),
    tool("play_music", "Play a song or an artist", ["query"], query=TEXT),
    tool("book_table", "Book a table at a restaurant", ["people"], people={"type": "integer", "minimum": 1},
         restaurant=TEXT),
    tool("send_email", "Send an email to somebody", ["recipient", "subject"], recipient=TEXT, subject=TEXT),
    tool("setThermostat", "Set the temperature of the thermostat", ["degrees"],
         degrees={"type": "integer", "minimum": 5, "maximum": 30}, mode={"type": "string", "enum": ["heat", "cool"]}),
    tool("get_order_status", "Look up an order", ["order_number"], order_number={"type": "integer"}),
)  # fmt: skip
CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "what is the weather in Paris": ("get_weather", {"city": "paris"}),
    "how is the weather in new york in fahrenheit?": ("get_weather", {"city": "new york", "unit": "fahrenheit"}),
    "play some music by nina simone": ("play_music", {"query": "nina simone"}),
    "please book a table for 4 people": ("book_table", {"people": 4}),
    "could you set the thermostat to 21 degrees": ("setThermostat", {"degrees": 21}),
    "set the thermostat to heat at twenty five degrees": ("setThermostat", {"degrees": 25, "mode": "heat"}),
    "what is the status of my order 4711": ("get_order_status", {"order_number": 4711}),
}


@pytest.fixture(scope="module")
def nano() -> Nano:
    return Nano.load()


@pytest.fixture
async def session(nano: Nano) -> AsyncIterator[Session]:
    agent = load_agent("voice").replace(questions=[])
    async with open_session(agent, SessionConfig(voice=False), nano, use_recogniser=False) as session:
        yield session


async def ask(session: Session, text: str) -> World:
    world = World(session)
    world.inbox.append(AgentChanged(0, None, TOOLS))
    world.type(text)
    await world.run(1)
    return world


@pytest.mark.parametrize("text", CALLS)
async def test_a_tool_is_picked_and_filled(session: Session, text: str) -> None:
    world = await ask(session, text)
    assert [(call.name, call.args) for call in world.of(CallTool)] == [CALLS[text]]


async def test_what_a_tool_needs_and_was_not_said_is_asked_for(session: Session) -> None:
    world = await ask(session, "set the thermostat")
    assert [say.text for say in world.of(Say)] == [MISSING.format("degrees")]


@pytest.mark.parametrize("text", ["order a pizza with olives", "open the garage door"])
async def test_what_no_tool_does_is_said(session: Session, text: str) -> None:
    world = await ask(session, text)
    assert not world.of(CallTool)
    assert [say.text for say in world.of(Say)] == [CANNOT]


async def test_small_talk_is_still_small_talk(session: Session) -> None:
    world = await ask(session, "hello")
    (say,) = world.of(Say)
    assert say.text != CANNOT and not world.of(CallTool)
