"""Pictures of a session in real time: the newest is looked at, what is not is counted, none is lost unsaid."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, AudioChunk
from liveagent.event import FrameSeen, PictureKept
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.ports.toytable import ToyTableCamera
from liveagent.runtime.hands import Hands
from liveagent.runtime.live import Live
from liveagent.runtime.record import PICTURE_SAVED_BYTES, Recorder, header_of
from liveagent.runtime.replay import load, ticks_of
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.sight import PICTURE_PX
from liveagent.video import VideoFrame
from tests.nano import random_nano

AGENT = Agent("nano", instructions="be brief", voice=None)
SILENT = np.zeros(TICK_SAMPLES, np.float32)


@pytest.fixture
async def session() -> AsyncIterator[Session]:
    async with open_session(AGENT, SessionConfig(voice=False), random_nano(), use_recogniser=False) as session:
        yield session


def live(session: Session, shown: list[object], recorder: Recorder | None = None, camera: object = None) -> Live:
    return Live(
        session,
        lambda live: Hands((), live.put, live.now_ns),
        NullSpeaker(),
        None,
        recorder,
        shown.append,
        real_time=False,
        camera=camera,  # type: ignore[arg-type]
    )


def noise(rng: np.random.Generator, t_ns: int, size_px: int = PICTURE_PX) -> VideoFrame:
    return VideoFrame(rng.integers(0, 255, (size_px, size_px, 3)).astype(np.uint8), t_ns)


async def sounds(*before: list[VideoFrame]) -> AsyncIterator[AudioChunk | VideoFrame]:
    """A tick of silence behind each list of pictures."""
    for tick, frames in enumerate(before):
        for frame in frames:
            yield frame
        yield AudioChunk(SILENT, tick * TICK_NS)


async def test_of_a_films_pictures_the_newest_of_a_tick_is_seen_and_the_others_are_counted(session: Session) -> None:
    rng = np.random.default_rng(0)
    shown: list[object] = []
    frames = [noise(rng, at) for at in range(4)]
    await live(session, shown).run(sounds(frames[:3], [], frames[3:], []))
    seen = [each for each in shown if isinstance(each, FrameSeen)]
    assert [(each.t_ns, each.dropped) for each in seen] == [(2, 2), (3, 0)]


async def test_a_large_picture_is_recorded_as_small_as_it_is_seen(session: Session, tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a", header_of(AGENT, session.model, LANES, session.config, "voice", False))
    made = live(session, [], recorder)
    await made.run(sounds([noise(np.random.default_rng(0), 0, 700)], []))
    await made.close()
    first, second = ticks_of(load(tmp_path / "a"))
    assert first.frame is not None and first.frame.pixels.shape == (PICTURE_PX, PICTURE_PX, 3)
    assert second.frame is None


async def test_pictures_that_a_recording_has_no_room_for_are_not_seen_either_and_counted(
    session: Session, tmp_path: Path
) -> None:
    """Pure noise every tick is far more than a recording takes; what the session saw is all in it, and every picture is
    either seen or counted."""
    recorder = Recorder(tmp_path / "a", header_of(AGENT, session.model, LANES, session.config, "voice", False))
    rng, shown, count = np.random.default_rng(0), list[object](), 60
    assert count * PICTURE_PX**2 * 3 > 2 * PICTURE_SAVED_BYTES
    made = live(session, shown, recorder)
    await made.run(sounds(*([noise(rng, at)] for at in range(count))))
    await made.close()
    seen = [each for each in shown if isinstance(each, FrameSeen)]
    recorded = [each.frame for each in ticks_of(load(tmp_path / "a")) if each.frame is not None]
    assert 20 <= len(seen) < count and [each.t_ns for each in seen] == [each.t_ns for each in recorded]
    assert len(seen) + sum(each.dropped for each in seen) + made._dropped == count


async def test_a_camera_goes_before_the_pictures_of_the_source(session: Session) -> None:
    shown: list[object] = []
    made = live(session, shown, camera=ToyTableCamera(seed=1))
    await made.run(sounds(*([noise(np.random.default_rng(0), at)] for at in range(25))))
    seen = [each for each in shown if isinstance(each, FrameSeen)]
    assert 8 <= len(seen) <= 12 and seen[0].reason == "first"  # five a second, in two seconds
    assert any(isinstance(each, PictureKept) for each in shown)
