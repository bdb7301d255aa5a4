"""LAW, audio is never dropped silently; LAW, the microphone is the clock: here for the Chunker."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from liveagent.audio import (
    MAX_GAP_SAMPLES,
    SAMPLE_NS,
    TICK_NS,
    TICK_SAMPLES,
    AudioChunk,
    Chunker,
    Tick,
    finite,
    whole_numbers,
)
from liveagent.errors import ProtocolError

PIECES = st.lists(st.tuples(st.integers(0, 4000), st.one_of(st.just(0), st.integers(0, 5000))), max_size=12)


def stream(pieces: list[tuple[int, int]], jumps: list[int] | None = None) -> tuple[list[AudioChunk], np.ndarray]:
    """Chunks with no zero in any real sample, and the whole they should become."""
    chunks, whole, at = [], [], 0
    for i, (n, gap) in enumerate(pieces):
        whole.append(np.zeros(gap, np.float32))
        at += gap
        samples = np.arange(at + 1, at + 1 + n, dtype=np.float32) / 1e6
        t_ns = 7_000 + at * SAMPLE_NS + (jumps[i % len(jumps)] if jumps else 0)
        chunks.append(AudioChunk(samples, t_ns, gap))
        whole.append(samples)
        at += n
    return chunks, np.concatenate(whole) if whole else np.zeros(0, np.float32)


def run(chunks: list[AudioChunk]) -> tuple[Chunker, list[Tick]]:
    chunker, ticks = Chunker(), []
    for chunk in chunks:
        ticks += chunker.feed(chunk)
        assert chunker.received_samples + chunker.gap_samples == chunker.consumed_samples + chunker.pending_samples
        assert chunker.pending_samples < TICK_SAMPLES
    return chunker, ticks


@given(PIECES)
def test_every_sample_comes_out_once_in_order(pieces: list[tuple[int, int]]) -> None:
    chunks, whole = stream(pieces)
    chunker, ticks = run(chunks)
    last = chunker.flush()
    ticks += [last] if last else []
    out = np.concatenate([t.samples for t in ticks]) if ticks else np.zeros(0, np.float32)
    assert np.array_equal(out[: len(whole)], whole) and not out[len(whole) :].any()
    assert len(out) - len(whole) < TICK_SAMPLES
    assert [t.index for t in ticks] == list(range(len(ticks)))
    assert all(t.samples.shape == (TICK_SAMPLES,) and t.samples.dtype == np.float32 for t in ticks)
    assert all(t.gap_samples == int((t.samples == 0).sum()) for t in ticks)
    assert chunker.received_samples == sum(n for n, _ in pieces)
    assert chunker.received_samples + chunker.gap_samples == chunker.consumed_samples == len(out)
    assert chunker.flush() is None


@given(PIECES, st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=5))
def test_jumps_of_the_device_clock_change_nothing(pieces: list[tuple[int, int]], jumps: list[int]) -> None:
    _, straight = run(stream(pieces)[0])
    _, jumpy = run(stream(pieces, [0, *jumps])[0])
    assert [(t.index, t.t_ns) for t in straight] == [(t.index, t.t_ns) for t in jumpy]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(straight, jumpy, strict=True))


@given(PIECES)
def test_tick_times_are_sample_counts(pieces: list[tuple[int, int]]) -> None:
    _, ticks = run(stream(pieces)[0])
    assert [t.t_ns for t in ticks] == [7_000 + i * TICK_NS for i in range(len(ticks))]


def test_drift_is_seen_but_not_obeyed() -> None:
    chunker = Chunker()
    chunker.feed(AudioChunk(np.ones(100, np.float32), 0))
    chunker.feed(AudioChunk(np.ones(100, np.float32), 100 * SAMPLE_NS + 5))
    assert chunker.drift_ns == 5


def test_a_gap_alone_makes_ticks() -> None:
    (tick,) = Chunker().feed(AudioChunk(np.zeros(0, np.float32), 10**9, TICK_SAMPLES))
    assert tick.gap_samples == TICK_SAMPLES and tick.t_ns == 10**9 - TICK_NS


@pytest.mark.parametrize("gap", [-1, MAX_GAP_SAMPLES + 1, 2**60])
def test_an_impossible_gap_is_refused(gap: int) -> None:
    with pytest.raises(ProtocolError, match="several empty chunks"):
        AudioChunk(np.zeros(0, np.float32), 0, gap)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_what_is_no_number_is_silence_and_the_rest_is_what_it_was(kind: type[np.float32 | np.float64]) -> None:
    whole: NDArray[np.floating] = np.linspace(-1.5, 1.5, 641).astype(kind)
    assert finite(whole) is whole
    assert finite(whole[:0]).size == 0
    broken = whole.copy()
    broken[[3, 300, 640]] = np.nan, np.inf, -np.inf
    mended = finite(broken)
    assert mended[[3, 300, 640]].tolist() == [0.0, 1.0, -1.0]
    kept = np.delete(np.arange(641), [3, 300, 640])
    assert np.array_equal(mended[kept], whole[kept]) and np.isnan(broken[3])


def test_whole_numbers_are_the_nearest_and_clipped() -> None:
    scaled = np.array([-40_000, -32_768.4, -2.5, -0.4, 0.5, 1.5, 2.6, 32_767.4, 40_000], np.float32)
    found = whole_numbers(scaled)
    assert found.dtype == np.int16
    assert found.tolist() == [-32_768, -32_768, -2, 0, 0, 2, 3, 32_767, 32_767]
