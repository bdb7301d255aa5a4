"""Streamed equals whole, bit for bit; a tone stays that tone; nothing drifts."""

from __future__ import annotations

from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.resample import Resampler

PAIRS = [(48_000, 16_000), (44_100, 16_000), (22_050, 16_000), (16_000, 48_000), (8_000, 16_000), (16_000, 16_000)]


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 700), min_size=1, max_size=8))
def test_streamed_equals_whole(from_hz: int, to_hz: int, sizes: list[int]) -> None:
    x = np.random.default_rng(1).standard_normal(sum(sizes)).astype(np.float32)
    whole = Resampler(from_hz, to_hz)
    expected = np.concatenate([whole.feed(x), whole.flush()])
    streamed, at, parts = Resampler(from_hz, to_hz), 0, []
    for n in sizes:
        parts.append(streamed.feed(x[at : at + n]))
        at += n
    parts.append(streamed.flush())
    assert np.array_equal(np.concatenate(parts), expected)
    assert len(expected) == ceil(len(x) * to_hz / from_hz)


@pytest.mark.parametrize(("from_hz", "to_hz"), PAIRS)
def test_a_tone_keeps_its_pitch_level_and_time(from_hz: int, to_hz: int) -> None:
    seconds = 0.5
    x = np.sin(2 * np.pi * 1_000 * np.arange(int(from_hz * seconds)) / from_hz).astype(np.float32)
    r = Resampler(from_hz, to_hz)
    y = np.concatenate([r.feed(x), r.flush()])
    expected = np.sin(2 * np.pi * 1_000 * np.arange(len(y)) / to_hz)
    edge = to_hz // 100
    assert np.abs(y - expected)[edge:-edge].max() < 1e-3


def test_what_the_lower_rate_cannot_hold_is_gone() -> None:
    x = np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000).astype(np.float32)
    r = Resampler(48_000, 16_000)
    assert np.abs(r.feed(x)[200:]).max() < 1e-3


def test_memory_is_constant() -> None:
    r = Resampler(44_100, 16_000)
    held = set()
    for _ in range(200):
        r.feed(np.zeros(441, np.float32))
        held.add(len(r._held))
    assert max(held) < 441 + 4 * r._half


def test_a_rate_out_of_reason_is_refused() -> None:
    with pytest.raises(ConfigError, match="1000"):
        Resampler(0, 16_000)
