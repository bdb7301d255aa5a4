"""Conversations of a whole session on random weights: what enters the cache, what leaves it, what comes out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import groupby

import numpy as np
import pytest

from liveagent import tool
from liveagent.action import CallTool, Halt, ReleaseCall, Say, StopPlayback
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, Tick
from liveagent.event import (
    Interrupted,
    ReplyEnded,
    ReplyStarted,
    StopHeard,
    ToolCalled,
    ToolFailed,
    TurnTimed,
    WordPlayed,
    WordsHeard,
)
from liveagent.runtime.core import Core
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.runtime.work import Append, Done
from liveagent.tools import home, robot
from tests.nano import marks, random_nano
from tests.world import World


@tool(phrases=["open the door"], risk="hazard")
async def open_door() -> str:
    """Open the front door of the house and leave it open for a while."""
    return "open"


AGENT = Agent("nano", instructions="be brief", tools=[home.light, home.timer, robot.stop, open_door])


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with open_session(AGENT, SessionConfig(), random_nano(), use_recogniser=False) as session:
        yield session


async def test_a_typed_phrase_is_a_call_read_off_the_parse(session: Session) -> None:
    world = World(session)
    world.type("Turn on the living room lights, please!")
    await world.run(1)
    (call,) = world.of(CallTool)
    assert (call.name, call.args, call.by) == ("light", {"room": "living room", "state": "on"}, "grammar")
    await world.run(3)
    assert len(world.of(ReplyStarted)) == 1


async def test_time_that_nobody_heard_is_not_counted_on_from(session: Session) -> None:
    frames, silent = [], np.zeros(TICK_SAMPLES, np.float32)
    for index, t_ns in enumerate((0, TICK_NS, 5_000_000_000, 5_000_000_000 + TICK_NS)):
        sound = await session.hearing.hear(Tick(index, silent, t_ns, 0), silent)
        frames.append([frame.t_ns for frame in session.hearing.frames(sound)])
    assert all(abs(t_ns - index * TICK_NS) <= TICK_NS for index in (0, 1) for t_ns in frames[index])
    assert frames[3] and all(abs(t_ns - 5_000_000_000) <= 2 * TICK_NS for t_ns in frames[2] + frames[3])


async def test_numbers_are_the_same_typed_and_spelt(session: Session) -> None:
    world = World(session)
    world.type("set a timer for 25 minutes")
    await world.run(1)
    world.type("set a timer for twenty five minutes")
    await world.run(2)
    one, other = world.of(CallTool)
    assert one.args == other.args == {"minutes": 25}


async def test_every_word_that_plays_is_told_once_and_the_reply_ends(session: Session) -> None:
    world = World(session)
    world.type("open the door")
    await world.run(80)
    said = " ".join(say.text for say in world.of(Say)).split()
    assert said[:4] == ["Please", "confirm", "that", "by"]
    assert [word.word for word in world.of(WordPlayed)] == said
    (ended,) = world.of(ReplyEnded)
    assert ended.complete
    (timed,) = world.of(TurnTimed)
    assert timed.durations_ms["played"] is not None


async def test_typing_into_a_reply_takes_back_what_was_not_heard(session: Session) -> None:
    world = World(session)
    world.type("open the door")
    await world.run(12)
    before = len(world.of(WordPlayed))
    assert before >= 2
    world.type("set a timer for five minutes")
    await world.run(2)
    (cut,) = world.of(Interrupted)
    said = [word.text for say in world.of(Say)[:1] for word in say.words]
    assert len(cut.heard) == before and cut.heard == tuple(said[:before])
    assert [call.name for call in world.of(CallTool)] == ["open_door", "timer"]
    assert world.of(StopPlayback)
    session.context.ledger.check()


async def test_the_cache_after_an_interruption_equals_a_log_without_the_unheard(session: Session) -> None:
    """LAW 4's oracle: the same appends, without the unheard tokens, into an empty lane of another engine."""
    world = World(session)
    rng = np.random.default_rng(3)
    for _ in range(5):
        world.type("open the door")
        await world.run(int(rng.integers(3, 30)))
    assert len(world.of(Interrupted)) == 4
    oracle = Core(random_nano(), lanes=4, slots=session.config.slots)
    lane = oracle.open()
    want = tuple(range(0, 400, 7))
    for t_s, tokens in groupby(session.context._tokens, lambda token: token.t_s):
        oracle.run(lane, Append(tuple(token.id for token in tokens), t_s=t_s))
    end = marks(session.model).end
    expected = oracle.run(lane, Append((end,), want=want, t_s=session.context.now_s))
    assert isinstance(expected, Done)
    got = await session.context.probe((end,), want)
    assert np.abs(np.array(got) - expected.logp).max() <= 1e-4


async def test_stop_typed_halts_and_is_no_turn(session: Session) -> None:
    world = World(session)
    world.type("open the door")
    await world.run(10)
    world.type("stop")
    await world.run(3)
    assert world.of(StopHeard) and world.of(Halt) and world.of(StopPlayback)
    assert len(world.of(CallTool)) == 1
    assert world.of(Interrupted)


async def test_nothing_that_is_said_confirms_a_hazard(session: Session) -> None:
    world = World(session)
    world.type("open the door")
    await world.run(2)
    for words in ("yes", "confirmed", "do it"):
        world.type(words)
        await world.run(2)
    (call,) = world.of(CallTool)
    assert not world.of(ReleaseCall) and (call.name, call.branch, call.hold_ms) == ("open_door", 0, 0)
    (called,) = world.of(ToolCalled)
    assert called.heard_ns == (TICK_NS, TICK_NS) and called.seen_ns is None


async def test_a_tool_that_fails_is_told_to_the_model_and_the_session_goes_on(session: Session) -> None:
    world = World(session)
    world.type("turn on the kitchen light")
    await world.run(1)
    world.inbox = [ToolFailed(world.now_ns, "call_1", "deadline", "no answer within 10 ms")]
    await world.run(3)
    assert any(span.kind == "result" for span in session.context.ledger.spans)
    world.type("turn off the kitchen light")
    await world.run(2)
    assert len(world.of(ToolCalled)) == 2


@pytest.mark.slow
async def test_a_long_conversation_stays_inside_the_cache_and_keeps_its_prefix() -> None:
    prompt = random_nano().template.prompt(AGENT.instructions, AGENT.tools)
    config = SessionConfig(slots=len(prompt) + 400, high_tokens=len(prompt) + 100, low_tokens=len(prompt) + 50)
    async with open_session(AGENT, config, random_nano(), use_recogniser=False) as session:
        world = World(session)
        for _ in range(6):
            world.type("open the door")
            await world.run(40)
        assert session.context.evicted_tokens > 0
        assert session.context.ledger.used_tokens <= config.high_tokens
        assert session.context.ids[: len(prompt)] == tuple(prompt)
        session.context.ledger.check()


async def test_nothing_but_marks_is_typed_and_nothing_happens(session: Session) -> None:
    world = World(session)
    world.type(" ?! ")
    await world.run(2)
    assert not world.of(CallTool, Say, WordsHeard)


@pytest.mark.slow
async def test_the_same_ticks_give_the_same_tokens_and_actions() -> None:
    async def once() -> tuple[list[object], list[int]]:
        async with open_session(AGENT, SessionConfig(), random_nano(), use_recogniser=False) as session:
            world = World(session)
            for at in range(3):
                world.type(f"set a timer for {at + 5} minutes")
                await world.run(7)
            return [action for _, _, out in world.ticks for action in out.actions], world.tokens

    assert await once() == await once()


@pytest.mark.parametrize("doubtful", [False, True])
async def test_a_doubtful_call_of_something_that_moves_is_asked_about_with_its_arguments(doubtful: bool) -> None:
    agent = Agent("nano", tools=[robot.move])
    async with open_session(agent, SessionConfig(), random_nano(), use_recogniser=False) as session:
        await session.context.add("audio", [marks(session.model).user], 0)
        await session.answer._decode_call("go on", 0, doubtful)
        (action,) = session.answer.out.actions
        if not doubtful:
            assert isinstance(action, CallTool) and action.name == "move"
        else:
            assert isinstance(action, Say) and action.text.startswith("Shall I? Say yes or no: move the hand, ")
            await session.answer.decide("yes", 1, (), 0)
            assert isinstance(session.answer.out.actions[-1], CallTool)
