"""What is forgotten is in no cache, no recording and no decision any more; what is left stands, and replays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent import ConfigError, tool
from liveagent.action import CallTool, Say
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES
from liveagent.event import Forgotten, PictureKept, ReplyEnded
from liveagent.film import Film
from liveagent.journal import Record, to_int16
from liveagent.runtime.forget import State
from liveagent.runtime.record import Recorder, header_of, write_whole
from liveagent.runtime.replay import load, replay
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.unrecord import seconds_of, unrecord
from liveagent.stretch import states
from liveagent.tools import home
from liveagent.video import VideoFrame
from tests.nano import marks, random_nano
from tests.world import World


@tool(phrases=["open the door"], risk="hazard")
async def open_door() -> str:
    """Open the front door of the house and leave it open for a while."""
    return "open"


AGENT = Agent("nano", instructions="be brief", tools=[home.light, home.timer, open_door])
READ = SessionConfig(voice=False, echo_gate=False)
SECRET = "the secret word is xylophone"
NOISE = (0.02 * np.random.default_rng(5).standard_normal(TICK_SAMPLES)).astype(np.float32)
FACE = np.random.default_rng(6).integers(0, 256, (128, 128, 3), np.uint8)
"""A picture that is nowhere else."""
ROOM = np.full((128, 128, 3), 90, np.uint8)


async def quiet(world: World, most: int = 200) -> None:
    """Until nothing is open."""
    await world.run(1)
    for _ in range(most):
        session = world.session
        if session.answer.reply is None and not session.answer.pending and session.turns.phase == "idle":
            return
        await world.run(1)
    raise AssertionError("it never ended")


async def look(session: Session) -> np.ndarray:
    """What the cache makes of one more token: log-probabilities of every piece."""
    session.context.now_s = 100.0
    vocab = range(session.model.pieces.vocab_size)
    return np.array(await session.context.probe([marks(session.model).user], list(vocab)))


@pytest.mark.slow
def test_said_or_by_id_a_session_is_then_one_that_never_had_it() -> None:
    """The oracle lives through the same ticks, and nobody ever tells it the secret."""

    async def live(told: bool, forget: Callable[[World, int], None] | None) -> tuple[str, Any, Any, Any]:
        async with open_session(AGENT, READ, random_nano(4), use_recogniser=False) as session:
            world = World(session)
            world.camera = lambda index: VideoFrame(ROOM, index * TICK_NS) if index == 1 else None
            world.type("open the door")
            await world.run(18)
            if told:
                world.type(SECRET)
            await world.run(20)
            span = session.context.ledger.spans[-1].id
            if forget is not None:
                forget(world, span)
            await world.run(2)
            world.type("open the door")
            await world.run(2)
            kinds = [each.kind for each in session.context.ledger.spans]
            text = session.model.pieces.decode(list(session.context.ids))
            return text.partition("<go>")[2], kinds, session.context.ids, await look(session)

    def said(world: World, span: int) -> None:
        world.type("Forget that!")

    def by_id(world: World, span: int) -> None:
        world.session.forget(span)

    def by_time(world: World, span: int) -> None:
        t_ns = next(each.t_ns for each in world.session.context.ledger.spans if each.id == span)
        world.session.forget((t_ns, t_ns + 1))

    never = asyncio.run(live(False, None))
    knows = asyncio.run(live(True, None))
    assert np.abs(knows[3] - never[3]).max() > 0.01  # it matters what was said
    assert "picture" in never[1]
    for forget in (said, by_id, by_time):
        text, kinds, ids, logp = asyncio.run(live(True, forget))
        assert "xylophone" not in text and "forget" not in text and text.count("<user> open the door") == 2
        assert (kinds, ids) == never[1:3]
        assert np.abs(logp - never[3]).max() <= 1e-4


def record(path: Path, play: Callable[[World], Any], config: SessionConfig = READ) -> World:
    async def go() -> World:
        async with open_session(AGENT, config, random_nano(4), use_recogniser=False) as session:
            header = header_of(
                AGENT, session.model, LANES, session.config, "voice", session.listener.has_recogniser, "2026-01-01"
            )
            recorder = Recorder(path, header)
            world = World(session, recorder=recorder)
            await play(world)
            recorder.close()
            return world

    return asyncio.run(go())


def pictures(path: Path) -> list[Any]:
    film = Film()
    return [film.read(each.payload).pixels for each in load(path).records if each.kind == "picture"]


@pytest.fixture(scope="module")
def forgotten(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """A conversation with a secret in words, sound and a picture, in the middle of others; then it is forgotten, and
    the conversation goes on."""
    path = tmp_path_factory.mktemp("forget") / "talk.larec"

    async def play(world: World) -> None:
        shown = ROOM
        world.camera = lambda index: VideoFrame(shown, index * TICK_NS) if index % 4 == 0 else None
        world.type("turn on the kitchen light")
        await quiet(world)
        await world.run(max(0, 30 - world.index))
        start, shown = world.index, FACE
        world.type(SECRET)
        await world.run(5, np.tile(NOISE, 5))
        await quiet(world)
        until, shown = world.index, ROOM
        await world.run(20)
        world.type("set a timer for five minutes")
        await quiet(world)
        world.session.forget((start * TICK_NS, until * TICK_NS))
        await world.run(2)
        world.type("set a timer for 7 minutes")
        await quiet(world)
        await world.run(5)

    return path, record(path, play)


@pytest.mark.slow
def test_no_byte_of_it_is_in_the_recording(forgotten: tuple[Path, World]) -> None:
    path, world = forgotten
    (event,) = world.of(Forgotten)
    data = path.read_bytes()
    assert b"xylophone" not in data and b"five minutes" in data and b"7 minutes" in data
    assert to_int16(NOISE).astype("<i2").tobytes() not in data
    says = [(tick * TICK_NS, say) for tick, say in world.log if isinstance(say, Say)]
    gone = [say for t_ns, say in says if event.since_ns <= t_ns < event.until_ns]
    left = [each.action for each in load(path).records if each.kind == "action"]
    assert gone and not any(say in left for say in gone)
    shown = pictures(path)
    assert shown and not any(np.array_equal(each, FACE) for each in shown) and np.array_equal(shown[-1], ROOM)
    assert not list(path.parent.glob("*.part"))


@pytest.mark.slow
def test_and_its_replay_checks(forgotten: tuple[Path, World]) -> None:
    path, world = forgotten
    recording = load(path)
    assert recording.complete and not recording.trouble
    report = replay(path, check=True, agent=AGENT, model=random_nano(4))
    assert report.equal, report.difference
    assert report.sealed > 0 and report.ticks + report.sealed == world.index
    calls = [action for _, action in report.actions if isinstance(action, CallTool)]
    assert [call.args.get("minutes") for call in calls] == [None, 5, 7]
    (event,) = [event for _, event in report.events if isinstance(event, Forgotten)]
    before = [tick for tick, action in report.actions if isinstance(action, CallTool)][0]
    assert before * TICK_NS < event.since_ns


@pytest.mark.slow
def test_a_replay_of_it_that_decides_otherwise_is_told(forgotten: tuple[Path, World]) -> None:
    """The check after the forgetting is no formality: another result there is seen."""
    path, _ = forgotten
    other = path.with_name("other.larec")
    recording = load(path)
    records = [
        Record(each.tick, each.kind, each.payload.replace(b"7 minutes", b"8 minutes")) for each in recording.records
    ]
    write_whole(other, recording.header, records, True)
    report = replay(other, check=True, agent=AGENT, model=random_nano(4))
    assert not report.equal and report.difference is not None and "7" in report.difference.was


def test_a_picture_is_forgotten_by_its_span(tmp_path: Path) -> None:
    async def play(world: World) -> None:
        world.camera = lambda index: VideoFrame(FACE if index < 20 else ROOM, index * TICK_NS)
        await world.run(20)
        (kept,) = world.of(PictureKept)
        world.session.forget(kept.span)
        await world.run(1)
        assert len(world.of(Forgotten)) == 1
        assert all(each.kind == "system" for each in world.session.context.ledger.spans)
        await world.run(10)
        world.type("open the door")
        await quiet(world)

    world = record(tmp_path / "a.larec", play)
    assert len(world.of(PictureKept)) == 2
    shown = pictures(tmp_path / "a.larec")
    assert shown and all(np.array_equal(each, ROOM) for each in shown)
    report = replay(tmp_path / "a.larec", check=True, agent=AGENT, model=random_nano(4))
    assert report.equal, report.difference


def test_forgetting_waits_until_nothing_is_open() -> None:
    async def live() -> None:
        async with open_session(AGENT, SessionConfig(), random_nano(4), use_recogniser=False) as session:
            world = World(session)
            world.type("open the door")
            await world.run(3)
            session.forget((0, 1))
            await world.run(3)
            assert not world.of(Forgotten)
            await quiet(world)
            (event,) = world.of(Forgotten)
            (ended,) = world.of(ReplyEnded)
            assert event.until_ns >= ended.t_ns and event.since_ns <= 0
            assert all(each.kind == "system" for each in session.context.ledger.spans)

    asyncio.run(live())


@pytest.mark.parametrize("what", [999, 0, (5, 5), (7, 3)])
def test_what_cannot_be_forgotten_is_said(what: Any) -> None:
    async def live() -> None:
        async with open_session(AGENT, SessionConfig(), random_nano(4), use_recogniser=False) as session:
            with pytest.raises(ConfigError):
                session.forget(what)

    asyncio.run(live())


# --- a recording that is closed


@pytest.fixture(scope="module")
def talked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A secret, a question in fixed words after it, and an answer that would have been another without it."""
    path = tmp_path_factory.mktemp("closed") / "talk.larec"
    at: dict[str, int] = {}

    async def play(world: World) -> None:
        for name, text in (
            ("secret", SECRET),
            ("asked", "open the door"),
            ("rests", "why"),
            ("after", "open the door"),
        ):
            at[name] = world.index
            world.type(text)
            await quiet(world)
            await world.run(15)

    record(path, play)
    return path, at


def copied(path: Path, to: Path) -> Path:
    to.write_bytes(path.read_bytes())
    return to


@pytest.mark.slow
def test_what_rests_on_it_goes_too_and_the_rest_stands(talked: tuple[Path, dict[str, int]], tmp_path: Path) -> None:
    path, at = copied(talked[0], tmp_path / "a.larec"), talked[1]
    second = at["secret"] * 0.08 + 0.04
    done: list[float] = []
    gone = unrecord(path, second, second + 0.01, AGENT, random_nano(4), lambda now, of: done.append(now / of))
    assert [each.asked for each in gone] == [True, False] and max(done) <= 1
    assert gone[0].since_s <= second < gone[0].until_s <= at["asked"] * 0.08
    assert gone[1].since_s <= at["rests"] * 0.08 < gone[1].until_s <= at["after"] * 0.08
    data = path.read_bytes()
    assert b"xylophone" not in data and b'"why"' not in data and data.count(b'"open the door"') == 2
    report = replay(path, check=True, agent=AGENT, model=random_nano(4))
    assert report.equal, report.difference
    assert sum(isinstance(action, Say) for _, action in report.actions) == 2


@pytest.mark.slow
def test_a_second_forgetting_takes_it_out_of_what_was_still_known(
    talked: tuple[Path, dict[str, int]], tmp_path: Path
) -> None:
    path, at = copied(talked[0], tmp_path / "a.larec"), talked[1]
    unrecord(path, at["after"] * 0.08, at["after"] * 0.08 + 1, AGENT, random_nano(4))
    gone = unrecord(path, at["secret"] * 0.08, at["secret"] * 0.08 + 0.1, AGENT, random_nano(4))
    assert len(gone) == 2
    secret = random_nano(4).pieces.encode(SECRET)
    for state in states(load(path).records).values():
        assert isinstance(state, dict)
        for span in State.from_json(state).spans:
            assert [token.id for token in span.tokens][1 : 1 + len(secret)] != secret
    report = replay(path, check=True, agent=AGENT, model=random_nano(4))
    assert report.equal, report.difference


@pytest.mark.parametrize(
    ("since_s", "until_s", "says"), [(5.0, 5.0, "goes from 0 to"), (1e6, 2e6, "goes from 0"), (3.0, 1.0, "goes from 0")]
)
def test_times_that_are_not_in_it(
    talked: tuple[Path, dict[str, int]], since_s: float, until_s: float, says: str
) -> None:
    before = talked[0].read_bytes()
    with pytest.raises(ConfigError, match=says):
        unrecord(talked[0], since_s, until_s, AGENT, random_nano(4))
    assert talked[0].read_bytes() == before


def test_what_cannot_be_lived_through_again_is_left_alone(talked: tuple[Path, dict[str, int]]) -> None:
    before = talked[0].read_bytes()
    with pytest.raises(ConfigError, match="delete the file"):
        unrecord(talked[0], 1.0, 2.0, AGENT, random_nano(1))
    assert talked[0].read_bytes() == before


@pytest.mark.parametrize(("text", "seconds"), [("0:12", 12.0), ("1:02:03.5", 3723.5), ("75", 75.0), ("75.5", 75.5)])
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "a", "1:60", "-1", "1:-1", "1:2:3:4", "nan", "inf"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time"):
        seconds_of(text)
