"""What a session sees: when a picture enters the cache, where it stands there, and that it is still there later."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from liveagent import tool
from liveagent.action import Say
from liveagent.agent import Agent
from liveagent.audio import TICK_NS
from liveagent.event import CameraFroze, FrameSeen, Interrupted, Noted, PictureKept, PicturesEvicted, ReplyStarted
from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.looking import Looking, kept_cells
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import replay
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.work import Seen, Sights
from liveagent.sight import CELLS, OTHER, Sight, of_things
from liveagent.table import Table, Thing, draw
from liveagent.tools import home, robot
from liveagent.video import Pixels, VideoFrame
from tests.nano import marks, random_nano
from tests.world import World


@tool(phrases=["open the door"], risk="hazard")
async def open_door() -> str:
    """Open the front door of the house and leave it open for a while."""
    return "open"


AGENT = Agent("nano", instructions="be brief", tools=[home.light, home.timer, robot.stop, open_door])
RED_BALL, BLUE_CUBE, GREEN_CUP = Thing(0, 0, 0.3, 0.3), Thing(2, 1, 0.7, 0.6), Thing(1, 3, 0.3, 0.7)
EMPTY = Table()
BALL, CUBE, BOTH = Table((RED_BALL,)), Table((BLUE_CUBE,)), Table((RED_BALL, BLUE_CUBE))


class Eye(Lane):
    """A lane whose eye knows its pictures, and counts how often it looked."""

    sights: dict[bytes, Sight] = {}
    looks = 0

    async def see(self, pixels: Pixels, patches: np.ndarray | None = None) -> Seen:
        self.looks += 1
        return Seen(self.sights[pixels.tobytes()], CELLS, CELLS)


def frame(table: Table, tick: int, other: bool = False) -> VideoFrame:
    """A picture of the table, which `Eye` then knows."""
    pixels = draw(table)
    if other:
        pixels = 255 - pixels
    things = [(each.colour, each.shape, each.x, each.y) for each in table.things]
    Eye.sights[pixels.tobytes()] = of_things(things, other)
    return VideoFrame(pixels, tick * TICK_NS, 0)


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with open_session(AGENT, SessionConfig(), random_nano(), use_recogniser=False) as session:
        eye = Eye(session.lane.engine, session.lane.number)
        session.seeing.looking = Looking(session.model, eye, session.context)
        yield session


def kinds(session: Session) -> list[str]:
    return [span.kind for span in session.context.ledger.spans]


def check_spans(session: Session) -> None:
    """Every reply is whole and every picture is one."""
    template, ledger = marks(session.model), session.context.ledger
    ledger.check()
    for span in ledger.spans:
        ids = session.context.ids[span.start - ledger.first : span.end - ledger.first]
        if span.kind == "picture":
            assert set(ids) == {template.image} and 1 <= len(ids) <= 1 + CELLS
        elif span.kind == "reply":
            assert ids[0] == template.say and template.image not in ids


async def test_what_is_there_when_a_question_comes_is_in_front_of_it(session: Session) -> None:
    world = World(session, camera=lambda tick: frame(BALL if tick < 4 else CUBE, tick))
    await world.run(4)
    assert [kept.sees for kept in world.of(PictureKept)] == [("red ball",)]
    world.type("turn on the kitchen light")  # in the very tick in which the cube is first seen
    await world.run(1)
    assert [kept.sees for kept in world.of(PictureKept)] == [("red ball",), ("blue cube",)]
    assert kinds(session)[-3:] == ["picture", "text", "call"]
    check_spans(session)


async def test_news_is_kept_once_it_has_settled_and_what_is_no_news_is_not(session: Session) -> None:
    scenes = [BALL] * 10 + [CUBE] + [BALL] * 10 + [BOTH] * 10
    world = World(session, camera=lambda tick: frame(scenes[tick], tick))
    await world.run(len(scenes))
    assert [(kept.sees, kept.reason) for kept in world.of(PictureKept)] == [
        (("red ball",), "first"),
        (("red ball", "blue cube"), "changed"),
    ]
    assert len(world.of(FrameSeen)) == len(scenes)
    still = [seen for seen in world.of(FrameSeen) if not seen.patches]
    assert len(still) > 20 and isinstance(session.seeing.looking, Looking)


@pytest.mark.slow
async def test_a_picture_waits_for_a_reply_that_is_being_decoded(session: Session) -> None:
    scenes = (BALL, CUBE, BOTH)
    world = World(session, camera=lambda tick: frame(scenes[tick // 6 % 3], tick))
    for at in range(3):
        world.type(f"set a timer for {at + 5} minutes")  # its result opens a reply that the decoder writes
        await world.run(42)
        check_spans(session)
    assert len(world.of(PictureKept)) >= 6 and len(world.of(ReplyStarted)) == 3


async def test_a_take_back_keeps_what_was_seen_meanwhile(session: Session) -> None:
    world = World(session, camera=lambda tick: frame(BALL if tick < 8 else BOTH, tick))
    await world.run(2)
    world.type("open the door")  # it asks first, in so many words that they are still being said below
    await world.run(34)
    assert world.of(Say) and session.answer.reply is not None and session.answer.reply.ended
    assert kinds(session)[-2:] == ["reply", "picture"]
    seen = session.context.ledger.spans[-1]
    world.type("turn on the kitchen light")
    await world.run(1)
    assert world.of(Interrupted)
    assert kinds(session)[-5:] == ["reply", "mark", "picture", "text", "call"]
    (picture,) = [span for span in session.context.ledger.spans if span.id == seen.id]
    assert picture.kind == "picture" and picture.length == seen.length and picture.t_ns == seen.t_ns
    check_spans(session)
    await _equals_a_log_of_what_is_held(session)


async def _equals_a_log_of_what_is_held(session: Session) -> None:
    """LAW 4's oracle: the same tokens, as they were heard and seen, at their times, in an empty lane elsewhere."""
    engine = Engine(Core(random_nano(), lanes=4, slots=session.config.slots))
    try:
        other = Context(Lane(engine, engine.open()), session.context.budget)
        await other.open(())
        await other._read(session.context._tokens)
        other.now_s = session.context.now_s
        end, want = marks(session.model).end, tuple(range(0, 400, 7))
        expected = (await other.probe((end,), want)) if other else ()
    finally:
        engine.close()
    got = await session.context.probe((end,), want)
    assert np.abs(np.array(got) - expected).max() <= 1e-4


async def test_words_that_are_being_said_stay_behind_a_picture(session: Session) -> None:
    await session.user.read(["turn", "on"], 0)
    before = session.user.ids
    world = World(session, camera=lambda tick: frame(BALL, tick))
    await world.run(1)
    assert kinds(session)[-2:] == ["picture", "audio"]
    assert session.user.ids == before and session.user.start == session.context.end - len(before)
    check_spans(session)


async def test_what_is_off_the_toy_table_is_kept_and_says_so(session: Session) -> None:
    world = World(session, camera=lambda tick: frame(EMPTY, tick, other=tick >= 8))
    await world.run(20)
    assert [kept.tokens for kept in world.of(PictureKept)] == [1, 2]
    sense = session.context._tokens[-1].sense
    assert isinstance(sense, Sights) and sense.sight[0, OTHER] == 1


def test_empty_cells_are_left_out_unless_they_are_asked_for() -> None:
    sight = of_things([(0, 0, 0.1, 0.1), (2, 1, 0.9, 0.9)])
    assert kept_cells(sight, prune=True) == [0, 15] and kept_cells(sight, prune=False) == list(range(16))
    sight[5, 0] = 0.8  # perhaps something half hidden
    assert kept_cells(sight, prune=True) == [0, 5, 15]


async def test_a_session_without_a_camera_does_no_work_for_one(session: Session) -> None:
    world = World(session)
    world.type("turn on the kitchen light")
    await world.run(5)
    assert not world.of(FrameSeen, PictureKept) and "picture" not in kinds(session)
    assert isinstance(session.seeing.looking, Looking) and session.seeing.looking._lane.looks == 0  # type: ignore[attr-defined]


async def test_a_still_picture_costs_no_pass_of_the_eye(session: Session) -> None:
    world = World(session, camera=lambda tick: frame(BALL, tick))
    await world.run(50)
    assert isinstance(session.seeing.looking, Looking) and session.seeing.looking._lane.looks == 1  # type: ignore[attr-defined]


async def test_a_frozen_camera_is_said(session: Session) -> None:
    world = World(session)
    world.inbox.append(CameraFroze(0, "camera", 5000))
    await world.run(1)
    (note,) = world.of(Noted)
    assert note.code == "camera_froze" and "5 s" in note.message


def test_a_replay_sees_what_was_seen(tmp_path: Path) -> None:
    """With the real networks: recorded pictures, noise and all, give the same spans, tokens and actions."""
    import asyncio

    path, model, rng = tmp_path / "seen.larec", random_nano(), np.random.default_rng(0)

    def camera(tick: int) -> VideoFrame | None:
        if tick % 2:
            return None
        pixels = draw(BALL if tick < 10 else BOTH).astype(np.int64) + rng.integers(-2, 3, (128, 128, 3))
        return VideoFrame(np.clip(pixels, 0, 255).astype(np.uint8), tick * TICK_NS, tick // 10)

    async def converse() -> World:
        async with open_session(AGENT, SessionConfig(), model, use_recogniser=False) as session:
            recorder = Recorder(path, header_of(AGENT, model, LANES, session.config, "voice", False))
            world = World(session, recorder=recorder, camera=camera)
            await world.run(12)
            world.type("turn on the kitchen light")
            await world.run(12)
            recorder.close()
            return world

    world = asyncio.run(converse())
    report = replay(path, check=True, agent=AGENT, model=model)
    assert report.equal and not report.trouble, (report.difference, report.trouble)
    assert report.tokens == len(world.tokens) > 0
    for kind in (FrameSeen, PictureKept):
        seen = [event for _, event in report.events if isinstance(event, kind)]
        assert seen == world.of(kind) and seen


@pytest.mark.slow
async def test_pictures_are_thinned_and_what_went_is_told() -> None:
    """Every second something else: the newest stay close together, the oldest ones far apart, the talk untouched."""
    config = SessionConfig(picture_high_tokens=24, picture_low_tokens=18)
    scenes = (BALL, CUBE, BOTH)
    async with open_session(AGENT, config, random_nano(), use_recogniser=False) as session:
        session.seeing.looking = Looking(session.model, Eye(session.lane.engine, session.lane.number), session.context)
        world = World(session, camera=lambda tick: frame(scenes[tick // 12 % 3], tick))
        world.type("turn on the kitchen light")
        await world.run(12 * 20)
        pictures = session.context.ledger.of_kind("picture")
        kept, gone = world.of(PictureKept), [id for event in world.of(PicturesEvicted) for id in event.spans]
        assert len(kept) >= 19 and sum(span.length for span in pictures) <= 24
        assert sorted([*(span.id for span in pictures), *gone]) == [each.span for each in kept]
        ages = [pictures[-1].t_ns - span.t_ns for span in pictures]
        assert ages[0] - ages[1] > 2 * (ages[-2] - ages[-1]) > 0
        assert session.context.ledger.of_kind("text") and session.context.ledger.of_kind("call")
        check_spans(session)
