"""What a client at the far end asks of a session beside talking: on random weights, the cache looked at."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from liveagent.action import CallTool, StopPlayback
from liveagent.agent import Agent
from liveagent.audio import TICK_NS
from liveagent.event import (
    AgentChanged,
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    ForgetAsked,
    Forgotten,
    Interrupted,
    MessageAdded,
    Noted,
    PictureKept,
    PlaybackCut,
    ReplyEnded,
    ReplyStarted,
    TextTyped,
    ToolReturned,
    TurnDropped,
    TurnsSet,
    VoiceSet,
)
from liveagent.jsonform import Json
from liveagent.runtime.pretended_speaker import WORD_SAMPLES
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.table import Table, Thing, draw
from liveagent.tools import home
from liveagent.video import VideoFrame
from tests.nano import random_nano
from tests.world import World

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


def held(session: Session) -> str:
    """What the cache holds behind the prompt, as text."""
    pieces = session.model.pieces
    pinned = session.context.ledger.pinned_tokens
    return pieces.decode(list(session.context.ids[pinned:]), specials=True)


async def test_a_message_is_read_and_not_answered_until_somebody_asks(session: Session) -> None:
    world = World(session)
    world.inbox.append(MessageAdded(0, "user", "Hello there!"))
    await world.run(3)
    assert "hello there" in held(session) and not world.of(ReplyStarted, AnswerStarted)
    world.inbox.append(AnswerAsked(0, "r1"))
    await world.run(2)
    (started,) = world.of(AnswerStarted)
    assert (started.why, started.ref) == ("asked", "r1")


async def test_an_answer_may_be_forbidden_to_call_or_made_to(session: Session) -> None:
    world = World(session)
    world.inbox += [MessageAdded(0, "user", "turn on the kitchen light"), AnswerAsked(0, "r", "none")]
    await world.run(1)
    assert not world.of(CallTool) and len(world.of(ReplyStarted)) == 1
    world = World(session)
    world.inbox += [MessageAdded(0, "user", "for five minutes"), AnswerAsked(0, "r", "timer")]
    await world.run(2)
    (call,) = world.of(CallTool)
    assert (call.name, call.args) == ("timer", {"minutes": 5})


async def test_tools_that_a_client_brings_stand_in_place_of_the_agents_and_are_filled_from_the_words(
    session: Session,
) -> None:
    world = World(session, results=lambda call: "sunny")
    world.inbox += [AgentChanged(0, "be kind", (WEATHER,)), TextTyped(0, "what is the weather in paris")]
    await world.run(1)
    (call,) = world.of(CallTool)
    assert (call.name, call.args, call.by) == ("get_weather", {"city": "paris"}, "model")
    world = World(session)
    world.inbox += [TextTyped(0, "turn on the kitchen light")]
    await world.run(1)
    assert not world.of(CallTool)


async def test_a_client_without_tools_gets_the_agents_own_back(session: Session) -> None:
    world = World(session)
    world.inbox += [AgentChanged(0, None, (WEATHER,)), AgentChanged(0, None, ())]
    world.type("turn on the kitchen light")
    await world.run(1)
    assert [call.name for call in world.of(CallTool)] == ["light"]


async def test_what_was_said_is_known_to_the_changed_agent(session: Session) -> None:
    world = World(session)
    world.inbox += [MessageAdded(0, "user", "my name is ada"), AgentChanged(0, "be kind", (WEATHER,))]
    await world.run(1)
    assert "my name is ada" in held(session)
    session.context.ledger.check()


@pytest.mark.slow
async def test_a_change_waits_for_the_reply_that_sounds(session: Session) -> None:
    world = World(session)
    world.type("turn on the kitchen light")
    await world.run(3)
    assert session.answer.reply is not None
    world.inbox.append(AgentChanged(0, None, (WEATHER,)))
    await world.run(1)
    assert "get_weather" not in [tool.name for tool in session.agent.tools]
    await world.run(400)
    assert [tool.name for tool in session.agent.tools] == ["get_weather"]


async def test_a_result_is_silent_until_an_answer_is_asked_for(session: Session) -> None:
    world = World(session)
    session.answer.agent = session.agent
    world.inbox += [AgentChanged(0, None, (WEATHER,)), TextTyped(0, "what is the weather in paris")]
    world.results = lambda call: "dropped"  # the world's own answer comes, and this one goes first
    await world.run(1)
    (call,) = world.of(CallTool)
    world.inbox[:] = [ToolReturned(0, call.call_id, "sunny", answer=False)]
    await world.run(3)
    assert "sunny" in held(session) and not world.of(ReplyStarted)
    world.inbox.append(AnswerAsked(0, "r2"))
    await world.run(2)
    assert len(world.of(ReplyStarted)) == 1


async def test_a_reply_is_stopped_on_demand_and_what_nobody_heard_leaves_the_cache(session: Session) -> None:
    world = World(session)
    world.type("turn on the kitchen light")
    await world.run(3)
    await world.run(2 * WORD_SAMPLES // 1280)
    world.inbox.append(AnswerStopped(world.now_ns))
    await world.run(6)
    (stopped,) = world.of(StopPlayback)
    assert stopped.reason == "client_cancelled"
    (cut,) = world.of(Interrupted)
    assert held(session).rstrip().endswith("<cut>") and not cut.heard
    assert not world.of(ReplyEnded)[-1].complete


async def test_a_reply_that_is_over_is_cut_to_what_was_really_heard(session: Session) -> None:
    async def decide(words: str, steps: int, logp: Sequence[float], t_ns: int, heard: bool = False, **_: Any) -> None:
        await session.answer.say("One two three four five.", t_ns)

    session.answer.decide = decide  # type: ignore[method-assign]  # something to be cut, whatever the weights would say
    world = World(session)
    world.inbox += [MessageAdded(0, "user", "hello"), AnswerAsked(0, "r")]
    await world.run(30)
    (ended,) = world.of(ReplyEnded)
    assert ended.complete and "four five" in held(session)
    world.inbox += [MessageAdded(world.now_ns, "user", "and then"), PlaybackCut(world.now_ns, 1, 2 * WORD_SAMPLES)]
    await world.run(1)
    assert "two<cut>" in held(session).replace(" ", "").lower() and "and then" in held(session)
    assert "three" not in held(session)
    session.context.ledger.check()


async def test_a_cut_that_is_told_while_the_next_reply_sounds_moves_that_one_as_a_whole(session: Session) -> None:
    async def decide(words: str, steps: int, logp: Sequence[float], t_ns: int, heard: bool = False, **_: Any) -> None:
        await session.answer.say("One two three four five." if words == "first" else "Six seven eight.", t_ns)

    session.answer.decide = decide  # type: ignore[method-assign]  # something to be cut, whatever the weights would say
    world = World(session)
    world.inbox += [MessageAdded(0, "user", "first"), AnswerAsked(0, "r")]
    await world.run(30)
    world.inbox += [MessageAdded(world.now_ns, "user", "second"), AnswerAsked(world.now_ns, "s")]
    await world.run(4)
    world.inbox.append(PlaybackCut(world.now_ns, 1, 2 * WORD_SAMPLES))
    await world.run(30)
    assert [(each.utterance, each.complete) for each in world.of(ReplyEnded)] == [(1, True), (2, True)]
    memory = held(session).replace(" ", "").lower()
    assert "two<cut>" in memory and "three" not in memory and "sixseveneight" in memory
    assert all(span.heard for span in session.context.ledger.of_kind("reply"))
    session.context.ledger.check()


async def test_only_the_side_that_is_named_leaves_the_memory(session: Session) -> None:
    world = World(session)
    world.inbox += [
        MessageAdded(1_000, "user", "the first thing"),
        MessageAdded(2_000, "user", "the second thing"),
        MessageAdded(3_000, "assistant", "And that is that."),
    ]
    await world.run(1)
    world.inbox.append(ForgetAsked(0, 1_000, 1_000, "user"))
    await world.run(1)
    assert "first" not in held(session) and "second" in held(session) and "that is that" in held(session).lower()
    assert not world.of(Forgotten)


async def test_a_written_reply_counts_as_read(session: Session) -> None:
    world = World(session)
    world.inbox.append(VoiceSet(0, False))
    world.type("turn on the kitchen light")
    await world.run(30)
    (ended,) = world.of(ReplyEnded)
    assert ended.complete


async def test_turns_are_taken_as_the_client_wants(session: Session) -> None:
    world = World(session)
    world.inbox.append(TurnsSet(0, "push_to_talk", answers=False, min_silence_ms=300, max_silence_ms=300))
    await world.run(1)
    manners = session.turns.config
    assert manners.mode == "push_to_talk" and manners.min_silence_ms == manners.max_silence_ms == 300
    world.inbox.append(TurnsSet(0, min_silence_ms=-5, max_silence_ms=10_000_000))
    await world.run(1)
    assert session.turns.config.mode == "open" and not world.of(Noted)
    world.inbox.append(TurnDropped(0))
    await world.run(1)
    assert session.turns.phase == "idle"


@pytest.mark.parametrize("tools", [({"name": "a b"},), ({"name": "x"}, {"name": "x"})])
async def test_a_change_that_cannot_be_is_noted_and_changes_nothing(
    session: Session, tools: tuple[dict[str, object], ...]
) -> None:
    world = World(session)
    world.inbox.append(AgentChanged(0, None, tools))  # type: ignore[arg-type]
    await world.run(1)
    assert [note.code for note in world.of(Noted)] == ["agent_refused"]
    assert [tool.name for tool in session.agent.tools] == ["light", "timer"]


async def test_an_agent_that_only_listens_answers_when_it_is_asked() -> None:
    agent = AGENT.replace(answers=False)
    async with open_session(agent, SessionConfig(), random_nano(), use_recogniser=False) as session:
        assert not session.far_end.answers


async def test_a_remark_is_made_when_what_is_seen_has_changed_and_not_again() -> None:
    agent = Agent("nano", remark="What is on the table?")
    assert agent.remark == "what is on the table"
    scenes = [draw(Table(tuple(things))) for things in ([], [Thing(0, 0, 0.3, 0.3), Thing(2, 1, 0.7, 0.7)])]
    async with open_session(agent, SessionConfig(voice=False), random_nano(), use_recogniser=False) as session:
        sights = iter([0] * 60 + [1] * 200)
        world = World(session, camera=lambda tick: VideoFrame(scenes[next(sights)], tick * TICK_NS, 0))
        await world.run(200)
        remarks = [event for event in world.of(AnswerStarted) if event.why == "watch"]
        kept = {picture.sees for picture in world.of(PictureKept)}
        assert 1 <= len(remarks) <= max(1, len(world.of(PictureKept))) and kept
        assert held(session).count("what is on the table") == len(remarks)
