"""Sources of tools: what an agent takes for one, what of theirs it can have, and how a session comes to know it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from liveagent import Agent, tool
from liveagent.action import CallTool, Say
from liveagent.errors import ConfigError, LinkError, ProtocolError
from liveagent.event import AgentChanged, Noted, ToolReturned, ToolsFound
from liveagent.found import joined, not_here, read_found, written
from liveagent.jsonform import Json
from liveagent.phrase import Phrase
from liveagent.runtime import sources as sources_module
from liveagent.runtime.hands import Hands
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import replay
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.sources import Sources
from liveagent.runtime.talk import LANES, open_session
from liveagent.source import Changed, ToolSource
from liveagent.tool import Tool
from liveagent.tools import home
from tests.nano import random_nano
from tests.world import World


@tool
def wave() -> str:
    """Wave."""
    return "waved"


@tool(phrases=["(turn|switch) {state} the {device}"])
async def turn(device: Literal["hallway lamp", "desk lamp"], state: Literal["on", "off"]) -> str:
    """Turn a lamp on or off."""
    return f"the {device} is {state}"


class Shelf:
    """A source in its smallest form."""

    def __init__(self, *tools: Tool, name: str = "shelf", error: Exception | None = None) -> None:
        self.name, self.held, self.error = name, list(tools), error
        self.opened = self.closed = 0
        self.changed: Changed = lambda: None

    async def open(self, changed: Changed) -> None:
        if self.error is not None:
            raise self.error
        self.changed = changed
        self.opened += 1

    def tools(self) -> Sequence[Tool]:
        return tuple(self.held)

    def problems(self) -> Sequence[str]:
        return []

    async def close(self) -> None:
        self.closed += 1


def test_a_source_among_the_tools_is_kept_apart_from_them() -> None:
    shelf = Shelf()
    agent = Agent(tools=[wave, shelf])  # type: ignore[list-item]
    assert agent.tools == (wave,) and agent.sources == (shelf,)
    assert agent.replace(instructions="Be kind.").sources == (shelf,)
    assert agent.replace(tools=[shelf]).sources == (shelf,), "one source is opened once"
    assert isinstance(shelf, ToolSource)


def test_what_is_no_source_is_refused() -> None:
    with pytest.raises(ConfigError, match="no source of tools"):
        Agent(sources=[object()])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="not a tool"):
        Agent(tools=[object()])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="wants a list"):
        Agent(sources="home")  # type: ignore[arg-type]


# --- beside an agent's own


def test_found_tools_stand_beside_the_agents_own_and_take_nothing_from_them() -> None:
    same_name = replace(turn, name="Light")
    alike = replace(turn, name="other", phrases=(Phrase.of("switch on the desk lamp"),), arguments=())
    kept, problems = joined([home.light], [], [turn, same_name, alike])
    assert [each.name for each in kept] == ["turn", "other"]
    assert kept[1].phrases == () and kept[0].phrases == turn.phrases
    assert "'Light' is left out" in problems[0] and "'switch on the desk lamp'" in problems[1]
    Agent(tools=[home.light, *kept])


def test_phrases_that_are_too_many_to_listen_for_are_given_up_last_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveagent.automaton.MAX_STATES", 12)
    many = [replace(wave, name=f"wave_{name}", phrases=(Phrase.of(f"{name} one two three four five"),))
            for name in ("alpha", "beta", "gamma")]  # fmt: skip
    kept, problems = joined([], [], [turn, *many, replace(wave, name="last", phrases=(Phrase.of("a b c d e f g h"),))])
    assert kept[0].phrases and not kept[-1].phrases and len(kept) == 5
    assert "'last' is not called by its phrases: there is too much to listen for" in problems[0]
    Agent(tools=kept)


@pytest.mark.parametrize(
    "change",
    [{"risk": "none"}, {"phrases": "turn"}, {"phrases": ["turn {ghost}"]}, {"phrases": ["turn {device}"]},
     {"timeout_s": 0}, {"timeout_s": True}, {"tell": "loud"}, {"hold_ms": 10**9}, {"name": "a b"}],
)  # fmt: skip
def test_a_written_form_that_is_wrong_is_refused(change: dict[str, Json]) -> None:
    with pytest.raises(ConfigError):
        read_found({**written(turn), **change})


def test_a_found_tool_has_no_function_of_its_own() -> None:
    again = read_found(written(turn))
    assert again is not None and again.function is not_here


# --- open


async def test_sources_are_opened_once_and_what_is_above_stays_open() -> None:
    shared, own = Shelf(turn, name="shared"), Shelf(wave, name="own")
    above = Sources([shared])
    await above.open()
    mine = Sources([shared, own], above)
    await mine.open()
    assert [each.name for each in mine.tools] == ["turn", "wave"]
    assert (shared.opened, own.opened) == (1, 1)
    await mine.close()
    assert (shared.closed, own.closed) == (0, 1)
    await above.close()
    assert shared.closed == 1


async def test_changes_that_come_together_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources_module, "SETTLE_S", 0.01)
    shelf = Shelf()
    above = Sources([shelf])
    mine = Sources([], above)
    await above.open()
    await mine.open()
    told: list[int] = []
    stop = mine.listen(lambda: told.append(len(mine.tools)))
    shelf.held = [turn]
    shelf.changed()
    shelf.held = [turn, wave]
    shelf.changed()
    await asyncio.sleep(0.05)
    assert told == [2]
    shelf.changed()  # nothing is different
    await asyncio.sleep(0.05)
    assert told == [2]
    stop()
    shelf.held = []
    shelf.changed()
    await asyncio.sleep(0.05)
    assert told == [2]
    await above.close()


async def test_a_source_that_is_out_of_reach_keeps_nobody_from_living_and_one_that_is_wrong_does() -> None:
    good = Shelf(turn)
    away = Sources([good, Shelf(name="away", error=LinkError("no broker"))])
    await away.open()
    assert [each.name for each in away.tools] == ["turn"]
    await away.close()
    wrong = Sources([good, Shelf(name="wrong", error=ConfigError("no such program"))])
    with pytest.raises(ConfigError, match="no such program"):
        await wrong.open()
    assert good.closed == good.opened == 2


async def test_hands_call_what_was_found_and_the_agents_own_first() -> None:
    put: list[Any] = []

    @tool(name="light")
    async def impostor() -> str:
        """Pretend."""
        return "fooled"

    hands = Hands([home.light], put.append, lambda: 0)
    hands.found([turn, impostor])
    hands.obey(CallTool("c1", "turn", {"device": "desk lamp", "state": "on"}))
    hands.obey(CallTool("c2", "light", {"room": "kitchen", "state": "on"}))
    for _ in range(200):
        await asyncio.sleep(0.005)
        if len([each for each in put if isinstance(each, ToolReturned)]) == 2:
            break
    said = {each.call_id: each.result for each in put if isinstance(each, ToolReturned)}
    assert said == {"c1": "the desk lamp is on", "c2": "the kitchen light is on"}
    await hands.close()


# --- in a session

AGENT = Agent("nano", instructions="be brief", tools=[home.light, home.timer])
WEATHER: dict[str, Json] = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with open_session(AGENT, SessionConfig(), random_nano(), use_recogniser=False) as session:
        yield session


def names(session: Session) -> list[str]:
    return [each.name for each in session.agent.tools]


async def test_a_session_knows_what_was_found_and_no_longer_what_is_gone(session: Session) -> None:
    world = World(session)
    world.inbox.append(ToolsFound(0, (written(turn),)))
    world.type("turn on the desk lamp")
    await world.run(2)
    (call,) = world.of(CallTool)
    assert (call.name, call.args, call.by) == ("turn", {"device": "desk lamp", "state": "on"}, "grammar")
    await world.run(400)
    world.inbox.append(ToolsFound(world.now_ns, ()))
    await world.run(2)
    assert names(session) == ["light", "timer"]


async def test_what_is_wrong_with_one_is_noted_and_the_others_are_there(session: Session) -> None:
    world = World(session)
    bad: dict[str, Json] = {**written(turn), "name": "bad", "phrases": ["{ghost}"]}
    world.inbox.append(ToolsFound(0, (bad, written(turn))))
    await world.run(1)
    assert names(session) == ["light", "timer", "turn"]
    assert [note.code for note in world.of(Noted)].count("tool_refused") == 1


@pytest.mark.slow
async def test_what_has_no_room_in_the_prompt_is_called_by_its_phrases_and_by_its_words(session: Session) -> None:
    world = World(session)
    wordy = [replace(turn, name=f"turn_{name}", phrases=(), arguments=(), description="very long " * 90)
             for name in ("alpha", "beta", "gamma", "delta")]  # fmt: skip
    await world.run(1)
    before = session.context.ledger.pinned_tokens
    world.inbox.append(ToolsFound(0, tuple(written(each) for each in (*wordy, turn))))
    await world.run(1)
    assert names(session)[-1] == "turn" and "turn" in session.answer.aside
    assert before < session.context.ledger.pinned_tokens < session.config.low_tokens - 300
    world.type("turn on the desk lamp")
    await world.run(1)
    (call,) = world.of(CallTool)
    assert (call.name, call.by) == ("turn", "grammar")
    await world.run(400)
    world.type("could you please turn the hallway lamp off for me")
    await world.run(1)
    assert [(call.name, call.args, call.by) for call in world.of(CallTool)[1:]] == [
        ("turn", {"device": "hallway lamp", "state": "off"}, "model")]
    await world.run(400)
    world.type("could you turn the hallway lamp")
    await world.run(1)
    assert "I need to know the state." in [say.text for say in world.of(Say)]


async def test_a_clients_own_tools_stay_in_place_and_give_way_to_what_was_found_meanwhile(session: Session) -> None:
    world = World(session)
    world.inbox += [AgentChanged(0, None, (WEATHER,)), ToolsFound(0, (written(turn),))]
    await world.run(1)
    assert names(session) == ["get_weather"]
    world.inbox.append(AgentChanged(0, None, ()))
    await world.run(1)
    assert names(session) == ["light", "timer", "turn"]


async def test_beside_a_clients_tools_the_found_ones_come_and_go(session: Session) -> None:
    session.far_end.client_tools = "add"
    world = World(session)
    world.inbox += [AgentChanged(0, None, (WEATHER,)), ToolsFound(0, (written(turn),))]
    await world.run(1)
    assert names(session) == ["light", "timer", "turn", "get_weather"]
    world.inbox.append(ToolsFound(0, ()))
    await world.run(1)
    assert names(session) == ["light", "timer", "get_weather"]


def test_an_event_with_found_tools_is_written_and_read() -> None:
    from liveagent.event import from_json, to_json

    event = ToolsFound(7, (written(turn),))
    assert from_json(to_json(event)) == event
    with pytest.raises(ProtocolError):
        from_json('{"type": "ToolsFound", "t_ns": 1, "tools": [3]}')


@pytest.mark.slow
def test_a_recording_knows_which_tools_there_were_and_replays_without_their_source(tmp_path: Path) -> None:
    path = tmp_path / "talk.larec"

    async def converse() -> None:
        async with open_session(AGENT, SessionConfig(), random_nano(), use_recogniser=False) as session:
            recorder = Recorder(path, header_of(AGENT, session.model, LANES, session.config, "voice", False))
            world = World(session, recorder=recorder)
            world.inbox.append(ToolsFound(0, (written(turn),)))
            world.type("turn on the desk lamp")
            await world.run(400)
            world.inbox.append(ToolsFound(world.now_ns, ()))
            world.type("turn on the desk lamp")
            await world.run(20)
            recorder.close()
            assert [call.name for call in world.of(CallTool)] == ["turn"]

    asyncio.run(converse())
    report = replay(path, check=True, agent=AGENT, model=random_nano())
    assert report.equal and report.ticks == 420
    assert [action.name for _, action in report.actions if isinstance(action, CallTool)] == ["turn"]
