"""An ear sleeps in silence and wakes with what came just before; whose it is depends on that lane's sound alone."""

from __future__ import annotations

import numpy as np
import pytest

from liveagent.audio import RATE_HZ, TICK_SAMPLES
from liveagent.ports.media import MediaFile
from liveagent.runtime.core import DEAD_FRAMES, PREROLL_BLOCKS, SLEEP_FRAMES, Core
from liveagent.runtime.devices import clip_path
from liveagent.runtime.work import VAD_FRAME_SAMPLES, Heard, Listen
from tests.nano import random_nano

SPEECH = MediaFile(clip_path(), real_time=False).read()[: 3 * RATE_HZ]
ROOM = (np.random.default_rng(0).standard_normal(5 * RATE_HZ) * 3e-4).astype(np.float32)
SLEEP_TICKS = SLEEP_FRAMES * VAD_FRAME_SAMPLES // TICK_SAMPLES + 2


def heard(core: Core, lane: int, sound: np.ndarray) -> list[Heard]:
    said = []
    for at in range(0, len(sound) // TICK_SAMPLES * TICK_SAMPLES, TICK_SAMPLES):
        reply = core.run(lane, Listen(sound[at : at + TICK_SAMPLES]))
        assert isinstance(reply, Heard)
        said.append(reply)
    return said


@pytest.mark.slow
def test_an_ear_sleeps_in_silence_and_wakes_with_a_pre_roll() -> None:
    model = random_nano()
    ours, always = Core(model), Core(model, sleeps=False)
    lanes = ours.open(), always.open()
    sound = np.concatenate([ROOM, SPEECH])
    one, other = heard(ours, lanes[0], sound), heard(always, lanes[1], sound)
    assert [each.vad for each in one] == [each.vad for each in other]
    quiet = len(ROOM) // TICK_SAMPLES
    assert all(each.logp is None for each in one[SLEEP_TICKS:quiet])
    assert sum(each.logp is not None for each in other[SLEEP_TICKS:quiet]) >= (quiet - SLEEP_TICKS) // 2 - 1
    woke = next(at for at in range(quiet, len(one)) if one[at].logp is not None)
    first = one[woke]
    assert first.logp is not None and first.hidden is not None and first.kind is not None
    assert len(first.logp) == len(first.hidden) == len(first.kind) >= 4 * PREROLL_BLOCKS
    assert max(each for tick in one[quiet : woke + 1] for each in tick.vad) >= 0.1
    frames = [sum(len(each.logp) for each in said[woke + 1 :] if each.logp is not None) for said in (one, other)]
    assert abs(frames[0] - frames[1]) <= 4  # every block from there on


@pytest.mark.slow
def test_what_wakes_is_the_lanes_own_sound() -> None:
    model = random_nano()
    alone, beside = Core(model), Core(model)
    lane = alone.open()
    busy = [beside.open() for _ in range(3)]
    sound = np.concatenate([ROOM, SPEECH])
    noise = np.random.default_rng(1).standard_normal(len(sound)).astype(np.float32)
    wanted = heard(alone, lane, sound)
    found = []
    for at in range(0, len(sound) // TICK_SAMPLES * TICK_SAMPLES, TICK_SAMPLES):
        here = slice(at, at + TICK_SAMPLES)
        heard(beside, busy[0], noise[here])
        found += heard(beside, busy[2], sound[here])
    for one, other in zip(wanted, found, strict=True):
        assert one.vad == other.vad and (one.logp is None) == (other.logp is None)
        if one.logp is not None and other.logp is not None:
            np.testing.assert_array_equal(one.logp, other.logp)


def test_without_a_microphone_nothing_runs_and_the_first_sound_is_heard() -> None:
    model = random_nano()
    core, steps = Core(model), 0
    lane = core.open()
    heard(core, lane, np.zeros(5 * RATE_HZ, np.float32))
    assert core._lane[lane].dead_frames > DEAD_FRAMES and core._lane[lane].asleep
    before = core._vad
    step = model.vad.step

    def counted(*args: object) -> object:
        nonlocal steps
        steps += 1
        return step(*args)  # type: ignore[arg-type]

    model.vad.step = counted  # type: ignore[method-assign, assignment]
    try:
        heard(core, lane, np.zeros(RATE_HZ, np.float32))
        assert steps == 0 and core._vad is before
        assert any(each.logp is not None for each in heard(core, lane, SPEECH)) and steps > 80
    finally:
        del model.vad.step
