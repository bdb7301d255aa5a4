"""What gives way when ticks are late: in order, slowly back, and never sound."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, AudioChunk
from liveagent.event import FrameSeen, Shed, TickHeard, WordsHeard
from liveagent.overrun import AGAIN_TICKS, EASY_TICKS, LATE_TICKS, MOST_EASY_TICKS, RUNGS, WIDE, Overrun
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.hands import Hands
from liveagent.runtime.live import Live
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import load, run, ticks_of
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.video import VideoFrame
from tests.nano import random_nano

LATE, EASY = 4 * TICK_NS, TICK_NS // 2


def ran(overrun: Overrun, lag_ns: int, ticks: int) -> list[Shed]:
    return [shed for at in range(ticks) if (shed := overrun.feed(at * TICK_NS, lag_ns)) is not None]


def test_rungs_give_way_in_the_declared_order_and_come_back_in_the_other() -> None:
    overrun = Overrun()
    names = [rung.what for rung in RUNGS]
    assert not any("audio" in name or "sound" in name for name in names)
    gone = ran(overrun, LATE, 10 * LATE_TICKS)
    assert [(each.what, each.count) for each in gone] == [(name, 1) for name in names]
    assert all(str(LATE // 1_000_000) in each.reason for each in gone) and overrun.level == len(RUNGS)
    back = ran(overrun, EASY, 10 * MOST_EASY_TICKS)
    assert [(each.what, each.count) for each in back] == [(name, 0) for name in reversed(names)]
    assert overrun.level == 0


def test_one_late_tick_is_nothing_and_neither_late_nor_easy_changes_nothing() -> None:
    overrun = Overrun()
    for _ in range(50):
        assert not ran(overrun, LATE, LATE_TICKS - 1) and not ran(overrun, EASY, 1)
    ran(overrun, LATE, LATE_TICKS)
    assert not ran(overrun, 7 * TICK_NS // 4, 5_000) and overrun.level == 1


def test_who_falls_behind_again_soon_waits_longer() -> None:
    overrun = Overrun()
    waits = []
    for _ in range(6):
        ran(overrun, LATE, LATE_TICKS)
        ticks = 0
        while overrun.level:
            ticks += 1
            overrun.feed(0, EASY)
        waits.append(ticks)
    assert waits == [EASY_TICKS * 2**at for at in range(5)] + [MOST_EASY_TICKS]
    ran(overrun, EASY, AGAIN_TICKS + MOST_EASY_TICKS)
    ran(overrun, LATE, LATE_TICKS)
    assert [len(ran(overrun, EASY, EASY_TICKS)), overrun.level] == [1, 0]


@settings(max_examples=60, deadline=None)
@given(lags=st.lists(st.integers(0, 400), max_size=300))
def test_the_steps_say_where_it_stands(lags: list[int]) -> None:
    overrun, level = Overrun(), 0
    for at, lag_ms in enumerate(lags):
        shed = overrun.feed(at * TICK_NS, lag_ms * 1_000_000)
        if shed is not None:
            assert lag_ms > 160 if shed.count else lag_ms < 120
            assert shed.what == RUNGS[level if shed.count else level - 1].what
            level += 1 if shed.count else -1
        assert overrun.level == level


def test_what_holds_on_each_rung() -> None:
    overrun = Overrun()
    heard = TickHeard(0, 0, -60.0)
    words = WordsHeard(0, ("stop",), "ear", True)
    assert all(overrun.shows(heard, tick) for tick in range(8)) and overrun.due(1, 0)
    assert not overrun.stale(10**12, 0)
    ran(overrun, LATE, LATE_TICKS)
    assert sum(overrun.shows(heard, tick) for tick in range(80)) == 10
    assert all(overrun.shows(words, tick) for tick in range(80))
    ran(overrun, LATE, LATE_TICKS)
    assert overrun.stale(500_000_000, 0) and not overrun.stale(300_000_000, 0)
    steps = []
    for _ in range(2):
        ran(overrun, LATE, LATE_TICKS)
        steps.append(next(ns for ns in range(0, 2 * 10**9, 10**8) if overrun.due(ns, 0)))
    assert steps == [500_000_000, 1_000_000_000] and overrun.due(0, None) and not overrun.now.prune
    ran(overrun, LATE, LATE_TICKS)
    assert overrun.now.prune


async def test_a_late_session_sheds_in_its_journal_and_a_replay_obeys_it(tmp_path: Path) -> None:
    """Every tick here is ten seconds late. All sound is heard; pictures are not, and are counted."""
    agent, model = Agent("nano", instructions="be brief", voice=None), random_nano()
    config = SessionConfig(voice=False)
    begin, ticks, rng = time.monotonic_ns() - 60 * 10**9, 45, np.random.default_rng(0)

    async def source() -> AsyncIterator[AudioChunk | VideoFrame]:
        for tick in range(ticks):
            picture = rng.integers(0, 255, (32, 32, 3)).astype(np.uint8)
            yield VideoFrame(picture, begin + tick * TICK_NS)
            yield AudioChunk(np.zeros(TICK_SAMPLES, np.float32), begin + tick * TICK_NS)

    shown: list[object] = []
    async with open_session(agent, config, model, use_recogniser=False) as session:
        recorder = Recorder(tmp_path / "late", header_of(agent, model, LANES, config, "voice", False))
        live = Live(session, lambda live: Hands((), live.put, live.now_ns), NullSpeaker(), None, recorder, shown.append)
        await live.run(source())
        looking = session.seeing.looking
        assert looking is not None and looking.sparing and session._wide_ticks == max(WIDE.values())
        assert live.overrun.level == len(RUNGS) and live.chunker.received_samples == ticks * TICK_SAMPLES
        await live.close()
    said = [each for each in shown if isinstance(each, Shed)]
    assert [each.what for each in said] == [rung.what for rung in RUNGS]
    seen = [each for each in shown if isinstance(each, FrameSeen)]
    left = live._dropped + (live._newest is not None) * (1 + (live._newest.dropped if live._newest else 0))
    assert len(seen) < ticks // 2 and len(seen) + sum(each.dropped for each in seen) + left == ticks
    assert min(b.t_ns - a.t_ns for a, b in zip(seen[-3:], seen[-2:], strict=False)) >= 10**9
    assert sum(isinstance(each, TickHeard) for each in shown) < ticks // 2

    recording = load(tmp_path / "late")
    each_tick = list(ticks_of(recording))
    assert [e for each in each_tick for e in each.inbox if isinstance(e, Shed)] == said
    async with open_session(agent, config, model, use_recogniser=False) as session:
        report = await run(session, recording)
        assert report.equal, report.difference
        assert session.seeing.looking is not None and session.seeing.looking.sparing
    assert [e for _, e in report.events if isinstance(e, FrameSeen)] == seen
