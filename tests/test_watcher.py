"""Watches in a session: asked at each kept picture, spoken of at the right moment, once, over nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent import watch
from liveagent.action import CallWatch, Say
from liveagent.agent import Agent
from liveagent.audio import TICK_NS
from liveagent.event import (
    Noted,
    PictureKept,
    ReplyEnded,
    SayAsked,
    Watched,
    WatchFailed,
    WatchFired,
    WatchSet,
)
from liveagent.nn.nano import Nano
from liveagent.runtime.engine import Lane
from liveagent.runtime.looking import Looking
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import load, run
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.watcher import AGREED, ENDED, FULL, NOTHING, TOY_ONLY
from liveagent.runtime.work import Append, Decode, Done, Evict, Probe, Reset, Rewind, Seen, Sights
from liveagent.sight import CELLS, COUNT, WIDTH, Sight, named, of_things
from liveagent.table import Table, Thing, draw
from liveagent.tools import home
from liveagent.video import Pixels, VideoFrame
from liveagent.watch import MAX_WATCHES, Sighting, Watch
from tests.nano import marks, random_nano
from tests.world import World

RED_BALL, BLUE_CUBE, MOVED_BALL = Thing(0, 0, 0.3, 0.3), Thing(2, 1, 0.7, 0.6), Thing(0, 0, 0.7, 0.2)
CUBE, BOTH, MOVED = Table((BLUE_CUBE,)), Table((RED_BALL, BLUE_CUBE)), Table((MOVED_BALL, BLUE_CUBE))
AGENT = Agent("nano", instructions="be brief", tools=[home.light, home.timer])
FRAME_TICKS = 2


def whole(sights: Sights) -> Sight:
    """A sight from those of its cells that are kept."""
    sight = np.zeros((CELLS, WIDTH), np.float32)
    sight[:, COUNT][:, 0] = 1
    sight[sights.cells] = sights.sight
    return sight


class Knowing(Lane):
    """A lane that knows what is in its pictures, and the truth about the conditions it is asked: of the picture that it
    is asked about, or of the newest two. Everything else is the real engine's, the probes too, but for their answer."""

    sights: dict[bytes, Sight] = {}

    def __init__(self, lane: Lane, model: Nano) -> None:
        super().__init__(lane.engine, lane.number)
        self.model = model
        self.kept: list[Sight] = []

    async def see(self, pixels: Pixels, patches: np.ndarray | None = None) -> Seen:
        return Seen(self.sights[pixels.tobytes()], CELLS, CELLS)

    async def do(self, work: Append | Probe | Rewind | Decode | Reset | Evict) -> Done:
        done = await super().do(work)
        if isinstance(work, Append) and work.sights is not None:
            self.kept.append(whole(work.sights))
        if isinstance(work, Probe) and self.model.template.event in work.ids:
            at = work.ids.index(self.model.template.event)
            yes = self.true(self.model.pieces.decode(list(work.ids[at + 1 : -1])), work.sights)
            return Done(done.length, logp=(-0.1, -2.4) if yes else (-2.4, -0.1))
        return done

    def true(self, condition: str, shown: Sights | None) -> bool:
        if condition == "something moved":
            assert shown is None
            return len(self.kept) > 1 and not np.allclose(self.kept[-1], self.kept[-2])
        there = named(whole(shown)) if shown is not None else ()
        return condition.removesuffix(" is on the table").partition(" ")[2] in there


@asynccontextmanager
async def watching(agent: Agent = AGENT, config: SessionConfig | None = None) -> AsyncIterator[Session]:
    config = config or SessionConfig(echo_gate=False)
    async with open_session(agent, config, random_nano(), use_recogniser=False) as session:
        session.lane = session.context.lane = Knowing(session.lane, random_nano())
        session.seeing.looking = Looking(session.model, session.lane, session.context)
        yield session


class Room:
    """A world whose table can be changed."""

    def __init__(self, session: Session, table: Table = CUBE, recorder: Recorder | None = None) -> None:
        self.world = World(session, recorder=recorder)
        self.table = table
        self.world.camera = self.look

    def look(self, index: int) -> VideoFrame | None:
        if index % FRAME_TICKS:
            return None
        pixels = draw(self.table)
        Knowing.sights[pixels.tobytes()] = of_things([(t.colour, t.shape, t.x, t.y) for t in self.table.things])
        return VideoFrame(pixels, index * TICK_NS)

    async def show(self, table: Table, ticks: int = 12) -> None:
        self.table = table
        await self.world.run(ticks)

    async def say(self, text: str, ticks: int = 12) -> None:
        self.world.type(text)
        await self.world.run(ticks)

    @property
    def said(self) -> list[str]:
        return [say.text for say in self.world.of(Say)]


async def test_tell_me_when_it_appears() -> None:
    async with watching() as session:
        room = Room(session)
        await room.show(CUBE, 3)
        await room.say("Tell me when the red ball appears.")
        (armed,) = room.world.of(WatchSet)
        assert (armed.watch, armed.by, armed.on) == ("red ball appear", "user", True)
        await room.show(CUBE, 20)
        assert room.said == [AGREED]
        tick = room.world.index
        await room.show(BOTH, 30)
        assert room.said == [AGREED, "The red ball is there."]
        (fired,) = room.world.of(WatchFired)
        assert fired.change == "appear" and tick * TICK_NS <= fired.t_ns <= (tick + 12) * TICK_NS
        assert room.world.of(WatchSet)[-1].on is False
        await room.show(CUBE, 30)
        await room.show(BOTH, 30)
        assert len(room.said) == 2  # once


@pytest.mark.parametrize(
    ("asked", "before", "after", "says"),
    [
        ("tell me when the red ball is gone", BOTH, CUBE, "The red ball is gone."),
        ("tell me when the red ball moves", BOTH, MOVED, "The red ball moved."),
        ("watch for a red ball", CUBE, BOTH, "The red ball is there."),
    ],
)
async def test_in_every_way_and_no_other_change_is_taken_for_it(
    asked: str, before: Table, after: Table, says: str
) -> None:
    async with watching() as session:
        room = Room(session, before)
        await room.show(before, 3)
        await room.say(asked, 14)
        other = Table((*before.things, Thing(1, 3, 0.3, 0.75)))
        await room.show(other, 20)
        assert room.said == [AGREED]
        await room.show(Table((*after.things, Thing(1, 3, 0.3, 0.75))), 30)
        assert room.said == [AGREED, says]


async def test_a_movement_of_anything_is_asked_of_all_that_is_in_the_cache() -> None:
    async with watching() as session:
        room = Room(session, CUBE)
        await room.show(CUBE, 3)
        await room.say("tell me when something moves", 14)
        assert room.said == [AGREED]
        await room.show(MOVED, 30)
        assert room.said == [AGREED, "Something moved."]


async def test_what_is_asked_of_one_picture_is_blind_to_all_others() -> None:
    """The real decoder's answer: the same whatever was seen and said before, as long as the last token is."""
    answers = []
    for before in ((), (BOTH, MOVED)):
        async with open_session(AGENT, SessionConfig(voice=False), random_nano(), use_recogniser=False) as session:
            context, template = session.context, marks(session.model)
            for table in (*before, CUBE):
                sight = of_things([(t.colour, t.shape, t.x, t.y) for t in table.things])
                cells = np.array([cell for cell in range(CELLS) if sight[cell, COUNT][0] < 1], np.int64)
                await context.add("picture", template.picture(len(cells)), 0, sights=Sights(sight[cells], cells))
            picture = context.newest_picture
            assert picture is not None
            ids = context.ids
            want = (template.yes, template.no)
            alone = await context.probe_picture(picture, template.watch("a red ball is on the table"), want)
            behind = await context.probe(template.watch("a red ball is on the table"), want)
            assert context.ids == ids
            assert await context.probe(template.watch("a red ball is on the table"), want) == behind
            answers.append((np.array(alone), np.array(behind)))
    (one, all_of_it), (one_too, all_too) = answers
    assert np.abs(one - one_too).max() <= 1e-4 < np.abs(all_of_it - all_too).max()


async def test_it_is_there_already() -> None:
    async with watching() as session:
        room = Room(session, BOTH)
        await room.show(BOTH, 3)
        await room.say("tell me when the red ball appears", 40)
        assert room.said == [AGREED, "The red ball is there."]


async def test_it_waits_until_the_reply_has_been_spoken() -> None:
    async with watching() as session:
        room = Room(session)
        await room.say("tell me when the red ball appears", 20)
        await room.say("tell me when the blue cube moves", 2)
        room.table = BOTH
        await room.world.run(60)
        starts = [tick for tick, item in room.world.log if isinstance(item, Say)]
        ends = [tick for tick, item in room.world.log if isinstance(item, ReplyEnded)]
        assert room.said == [AGREED, AGREED, "The red ball is there."]
        assert ends[1] <= starts[2]
        fired = next(tick for tick, item in room.world.log if isinstance(item, WatchFired))
        assert fired <= starts[2] and fired < ends[1]


async def test_an_answer_has_to_hold_though_no_new_picture_is_kept() -> None:
    held = Watch("ball", "a red ball is on the table", hold_s=2.0)
    async with watching(AGENT.replace(watches=[held])) as session:
        room = Room(session)
        await room.show(CUBE, 10)
        await room.show(BOTH, 15)  # 1.2 s
        await room.show(CUBE, 10)
        assert not room.world.of(WatchFired)
        begin = room.world.index
        await room.show(BOTH, 60)
        (tick,) = [tick for tick, item in room.world.log if isinstance(item, WatchFired)]
        assert 2.0 <= (tick - begin) * 0.08 <= 2.9
        kept = [tick for tick, item in room.world.log if isinstance(item, PictureKept)]
        assert max(kept) < tick  # nothing was new when it fired


async def test_asking_leaves_no_trace() -> None:
    async def live(agent: Agent) -> tuple[Any, Any, Any]:
        async with watching(agent) as session:
            room = Room(session)
            for table in (CUBE, BOTH, MOVED):
                await room.show(table, 12)
            vocab = range(session.model.pieces.vocab_size)
            logp = await session.context.probe([marks(session.model).user], list(vocab))
            return session.context.ids, np.array(logp), room.world.of(Watched)

    async def nothing(sight: Sighting, session: Any) -> None: ...

    watched = AGENT.replace(watches=[Watch(n, f"a {n} is on the table", action=nothing) for n in ("cup", "cone")])
    plain, looked = await live(AGENT), await live(watched)
    assert not plain[2] and len(looked[2]) == 6
    assert plain[0] == looked[0] and np.array_equal(plain[1], looked[1])


async def test_what_cannot_be_watched_for_is_said() -> None:
    async with watching(config=SessionConfig(voice=False, echo_gate=False)) as session:
        room = Room(session)
        await room.say("stop watching", 1)
        await room.say("tell me when somebody opens the door", 1)
        assert room.said == [NOTHING, TOY_ONLY]
        for colour in ("red", "green", "blue", "white", "black", "yellow", "orange", "purple"):
            await room.say(f"tell me when the {colour} cone appears", 1)
        await room.say("tell me when the red cone appears", 1)  # again: the same one
        await room.say("tell me when the red cup appears", 1)
        assert room.said[2:] == [AGREED] * (MAX_WATCHES + 1) + [FULL]
        await room.say("stop watching", 1)
        assert room.said[-1] == ENDED and not session.watcher.watchings


async def test_one_that_cannot_see_leaves_it_to_the_decoder() -> None:
    whole = random_nano()
    blind = Nano(whole.ear, whole.decoder, whole.vad, whole.pieces, "blind")
    async with open_session(AGENT, SessionConfig(voice=False), blind, use_recogniser=False) as session:
        world = World(session)
        world.type("tell me when the red ball appears")
        await world.run(2)
        assert AGREED not in [say.text for say in world.of(Say)] and not world.of(WatchSet)


CALLS: list[Sighting] = []


@watch("a red ball is on the table")
async def ball(sight: Sighting, session: Any) -> None:
    CALLS.append(sight)
    await session.say("There it is.")


async def test_a_watchs_function_is_called_by_an_action_and_speaks_through_the_inbox(tmp_path: Path) -> None:
    """And a replay obeys what is recorded and calls nobody."""
    agent = AGENT.replace(watches=[ball])
    async with watching(agent) as session:
        header = header_of(agent, session.model, LANES, session.config, "voice", False, "2026-01-01")
        recorder = Recorder(tmp_path / "a.larec", header)
        room = Room(session, recorder=recorder)
        await room.show(CUBE, 5)
        await room.show(BOTH, 20)
        (call,) = room.world.of(CallWatch)
        assert (call.call_id, call.watch, call.change) == ("watch_1", "ball", "appear")
        assert call.holds > 0.9 and set(call.things) == {"red ball", "blue cube"}
        room.world.inbox.append(SayAsked(room.world.now_ns, "watch_1", "There it is."))
        room.world.inbox.append(SayAsked(room.world.now_ns, "watch_7", "Who am I?"))
        room.world.inbox.append(WatchFailed(room.world.now_ns, "watch_1", "ball", "ValueError: no"))
        await room.world.run(20)
        assert room.said == ["There it is."] and not CALLS
        (noted,) = [each for each in room.world.of(Noted) if each.code == "watch_failed"]
        assert noted.message == "watch 'ball': ValueError: no"
        await room.show(CUBE, 15)
        await room.show(BOTH, 15)
        assert [each.call_id for each in room.world.of(CallWatch)] == ["watch_1", "watch_2"]  # it is armed again
        await asyncio.to_thread(recorder.close)
        actions = [(tick.index, action) for tick, _, out in room.world.ticks for action in out.actions]
    async with watching(agent) as session:
        report = await run(session, load(tmp_path / "a.larec"))
    assert report.equal, report.difference
    assert list(report.actions) == actions and not CALLS


async def test_what_could_not_be_said_for_long_is_noted_instead() -> None:
    agent = AGENT.replace(watches=[ball])
    async with watching(agent, SessionConfig(voice=False, echo_gate=False)) as session:
        room = Room(session, BOTH)
        await room.world.run(8)
        assert len(room.world.of(CallWatch)) == 1
        room.world.inbox.append(SayAsked(room.world.now_ns - 31_000_000_000, "watch_1", "There it was."))
        await room.world.run(2)
        assert not room.said and "not_said" in [each.code for each in room.world.of(Noted)]
