"""Clocks that drift, jitter, jump and lie, against the truth; and an offset between sound and pictures, found again."""

from __future__ import annotations

import numpy as np
import pytest

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_NS, TICK_SAMPLES, AudioChunk, Chunker, Tick
from liveagent.clock import BUCKETS, ClockFit, Timeline
from liveagent.event import ClocksCompared, FrameSeen
from liveagent.offset import Offset
from liveagent.sync import Sync

DELAY_S = 0.03  # what every picture takes at least; no clock can tell it from an offset


def run(
    fit: ClockFit, device_s: np.ndarray, true_s: np.ndarray, seed: int = 0, jitter_s: float = 0.01, stalls: bool = False
) -> np.ndarray:
    """Feeds what arrives late by a random while; gives the error of each corrected time in ms."""
    late = DELAY_S + np.random.default_rng(seed).exponential(jitter_s, len(true_s))
    if stalls:
        late[1_000:1_005] += np.arange(5, 0, -1) * 0.5
    arrived = np.maximum.accumulate(true_s + late)
    given = [fit.feed(round(d * 1e9), round(a * 1e9)) for d, a in zip(device_s, arrived, strict=True)]
    assert all(b > a for a, b in zip(given, given[1:], strict=False))
    assert all(g <= round(a * 1e9) + len(given) for g, a in zip(given, arrived, strict=True))
    return np.asarray(given) / 1e6 - (true_s + DELAY_S) * 1e3


@pytest.mark.parametrize("ppm", [80.0, -80.0, 0.0, 300.0])
def test_drift_is_found_and_taken_out(ppm: float) -> None:
    fit = ClockFit()
    true_s = 77 + np.arange(3_000) / 5  # ten minutes at 5 pictures a second
    error_ms = run(fit, true_s * (1 + ppm * 1e-6) + 1234.5, true_s, seed=int(ppm) % 7)
    assert fit.trusted and fit.jumps == 0
    assert fit.drift_ppm == pytest.approx(ppm, abs=5)
    assert np.abs(error_ms[200:]).max() < 5  # where the arrivals themselves are up to 80 ms late
    moment = fit.to_session(10**12)
    assert abs(fit.to_device(moment) - 10**12) <= 2


def test_jumps_are_counted_and_change_nothing() -> None:
    fit = ClockFit()
    true_s = np.arange(3_000) / 5
    device_s = true_s * (1 + 80e-6)
    device_s[500:] -= 3_600  # an hour backwards
    device_s[1_500:] += 30
    device_s[2_000:] -= 0.5
    error_ms = run(fit, device_s, true_s, stalls=True)
    assert fit.jumps == 3
    assert np.abs(error_ms[200:]).max() < 60  # of one arrival right after a jump, and of no other
    settled = np.concatenate([error_ms[a:b] for a, b in ((250, 500), (520, 1_500), (1_520, 2_000), (2_020, 3_000))])
    assert np.abs(settled).max() < 5
    assert fit.drift_ppm == pytest.approx(80, abs=10)


def test_a_clock_that_stood_still_is_found_out() -> None:
    fit = ClockFit()
    true_s = np.arange(1_500) / 5
    error_ms = run(fit, np.where(true_s < 100, true_s, true_s - 3), true_s)
    assert fit.jumps == 1 and np.abs(error_ms[-500:]).max() < 5


def test_a_nominal_rate_is_no_clock() -> None:
    for rate in (0.2, 0.99, 1.05, 6.0):
        fit = ClockFit()
        true_s = np.arange(1, 500) / 5
        error_ms = run(fit, true_s * rate, true_s)
        assert not fit.trusted and fit.jumps == 0 and fit.drift_ppm == 0
        assert error_ms.min() >= -1e-6  # the arrivals stand


def test_repeated_times_and_a_session_clock_that_goes_backwards() -> None:
    fit = ClockFit()
    given = [fit.feed(5, at) for at in (100, 200, 150, 150)]
    assert given == [100, 200, 201, 202] and fit.repeats == 3 and fit.jumps == 2


def test_memory_is_bounded() -> None:
    fit = ClockFit()
    for i in range(4 * BUCKETS):
        fit.feed(i * 2_000_000_000, i * 2_000_000_000 + 7)
    assert len(fit._points) == BUCKETS


def test_times_of_a_file_only_grow() -> None:
    times = [5.0, 5.2, 5.2, 5.1, None, 5.3, 905.0, 905.4]
    line = Timeline(0.2)
    assert [line.feed(t) for t in times] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.6])
    assert line.mended == 5
    other = Timeline(0.2, first_s=4.0)
    assert [other.feed(5.0), other.feed(6.5)] == pytest.approx([1.0, 2.5])
    assert [Timeline(0.2, 0.0).feed(t) for t in (None, -3.0, 1e9)] == [0.0, 0.0, 0.0]


def happenings(seed: int, seconds: float) -> np.ndarray:
    at = np.cumsum(np.random.default_rng(seed).exponential(0.8, 200) + 0.15)
    return at[at < seconds]


def offset_of(heard_s: np.ndarray, seen_s: np.ndarray, offset_s: float, fps: float, seed: int) -> Offset:
    """A minute of clicks and tones at `heard_s`, and of pictures that change at `seen_s` and are stamped late."""
    random = np.random.default_rng(seed)
    offset = Offset()
    sound = random.normal(0, 0.003, 60 * RATE_HZ).astype(np.float32)
    for at in heard_s:
        part = sound[int(at * RATE_HZ) :][: int(random.uniform(0.05, 0.3) * RATE_HZ)]
        part += (np.sin(np.arange(len(part)) * 0.2) * random.uniform(0.06, 0.2)).astype(np.float32)
    for i in range(0, len(sound), TICK_SAMPLES):
        offset.feed_sound(sound[i : i + TICK_SAMPLES], 10**9 + i * SAMPLE_NS)
    taken = np.arange(0.07, 60, 1 / fps)
    for before, after in zip(taken, taken[1:], strict=False):
        moved = 0.2 * random.uniform(0.5, 1) * ((before < seen_s) & (seen_s <= after)).sum()
        offset.feed_picture(min(1.0, moved + abs(random.normal(0, 0.01))), 10**9 + round((after + offset_s) * 1e9))
    offset.estimate()
    return offset


@pytest.mark.parametrize(("offset_s", "fps"), [(0.12, 5.0), (-0.2, 5.0), (0.0, 15.0), (0.4, 15.0)])
def test_the_offset_of_sound_and_pictures_is_found(offset_s: float, fps: float) -> None:
    for seed in (3, 4):
        at = happenings(seed, 60)
        offset = offset_of(at, at, offset_s, fps, seed)
        assert offset.offset_ms == pytest.approx(offset_s * 1e3, abs=25)
        assert offset.confidence > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_what_has_nothing_to_do_with_each_other_has_no_offset(seed: int) -> None:
    offset = offset_of(happenings(seed, 60), happenings(seed + 50, 60), 0.1, 5, seed)
    assert offset.offset_ms is None or offset.confidence < 0.5


def test_silence_blindness_and_little_give_nothing() -> None:
    offset = Offset()
    assert offset.estimate() is None
    for i in range(700):
        offset.feed_sound(np.zeros(TICK_SAMPLES, np.float32), i * TICK_SAMPLES * SAMPLE_NS)
        offset.feed_picture(0.0, i * TICK_SAMPLES * SAMPLE_NS)
    assert offset.estimate() is None and offset.confidence == 0


def test_an_offset_forgets_what_is_older_than_a_minute_and_what_was_before_a_leap() -> None:
    offset = Offset()
    for i in range(3_000):
        offset.feed_sound(np.zeros(TICK_SAMPLES, np.float32), i * TICK_SAMPLES * SAMPLE_NS)
        offset.feed_picture(0.1, i * TICK_SAMPLES * SAMPLE_NS)
    assert len(offset._rises) == 3_000 and len(offset._changes) == 1_800
    offset.feed_sound(np.zeros(TICK_SAMPLES, np.float32), 0)
    offset.feed_picture(0.1, 0)
    assert len(offset._rises) == 4 and not offset._changes


# ---- sound and pictures in a session ---------------------------------------------------------------------------------


def chunks(seconds: float, ppm: float, jitter_s: float = 0.02, begin_s: float = 50.0) -> list[AudioChunk]:
    """80 ms each of a microphone that goes `ppm` too fast, stamped by the machine's clock, late by a random while."""
    late = np.random.default_rng(6).exponential(jitter_s / 4, round(seconds * 12.5))
    at = begin_s + np.arange(len(late)) * 0.08 / (1 + ppm * 1e-6)
    return [AudioChunk(np.zeros(TICK_SAMPLES, np.float32), round(t * 1e9)) for t in at + np.minimum(late, jitter_s)]


def test_a_fast_microphone_moves_no_picture() -> None:
    sync, chunker, ppm = Sync(), Chunker(), 120.0
    for chunk in chunks(1_200, ppm):
        chunker.feed(chunk)
        sync.heard(chunk.t_ns, chunker.drift_ns)
    assert sync.microphone.drift_ppm == pytest.approx(ppm, abs=5)
    begin_ns = chunker._origin_ns
    assert begin_ns is not None and abs(chunker.drift_ns) > 130_000_000
    machine_ns = begin_ns + 1_199 * 10**9  # what the samples count as 144 ms more
    assert sync.stamp(machine_ns) == pytest.approx(machine_ns + 1_199 * 120_000, abs=8_000_000)
    assert sync.to_machine(sync.stamp(machine_ns)) == pytest.approx(machine_ns, abs=1_000)
    stamps = [sync.stamp(machine_ns - i) for i in range(5)]
    assert all(a < b for a, b in zip(stamps, stamps[1:], strict=False))


def test_where_the_source_counts_itself_nothing_is_changed() -> None:
    sync, chunker = Sync(), Chunker()
    for i in range(500):
        chunk = AudioChunk(np.zeros(TICK_SAMPLES, np.float32), 7 + i * TICK_NS)
        chunker.feed(chunk)
        sync.heard(chunk.t_ns, chunker.drift_ns)
    for at in (0, 123_456_789, 10**12):
        assert sync.to_machine(at) == at and Sync().stamp(at) == at
        assert sync.stamp(at) == at


def test_clocks_are_compared_every_ten_seconds_where_something_is_seen() -> None:
    def run_for(seen: bool) -> list[ClocksCompared]:
        sync, random = Sync(), np.random.default_rng(1)
        told = []
        for i in range(400):
            loud = random.random() < 0.15
            sound = random.normal(0, 0.002, TICK_SAMPLES).astype(np.float32)
            sound[int(random.integers(TICK_SAMPLES)) :] *= 100 if loud else 1
            tick = Tick(i, sound, i * TICK_NS)
            patches = 9 if loud else 0
            frame = FrameSeen(tick.t_ns + TICK_NS + 80_000_000, False, "changed" if loud else "still", patches, 64)
            compared = sync.tick(tick, [frame] if seen else [], ClockFit())
            told += [compared] if compared is not None else []
        return told

    assert run_for(False) == []
    told = run_for(True)
    assert len(told) == 3 and told[0].camera_ppm is None
    assert told[-1].offset_ms == pytest.approx(80, abs=25) and told[-1].confidence > 0.5
