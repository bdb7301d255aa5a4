from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.audio import SAMPLE_NS
from liveagent.reference import Reference


@settings(max_examples=100, deadline=None)
@given(
    reports=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 100)), max_size=6),
    steps=st.lists(st.integers(1, 120), min_size=1, max_size=12),
    origin=st.integers(0, 10**9),
)
def test_every_report_is_heard_where_it_sounded(reports: list[tuple[int, int]], steps: list[int], origin: int) -> None:
    """All reports before anything is taken: any cutting of the taking gives the one line that the model draws."""
    reference = Reference()
    line = np.zeros(sum(steps) + 500, np.float32)
    reference.take(origin * SAMPLE_NS, 0)
    for number, (at, length) in enumerate(reports, 1):
        reference.feed(np.full(length, number, np.float32), (origin + at) * SAMPLE_NS)
        line[at : at + length] += number
    taken, at = [], 0
    for step in steps:
        taken.append(reference.take((origin + at) * SAMPLE_NS, step))
        at += step
    assert np.array_equal(np.concatenate(taken), line[:at])
    assert reference.late_samples == 0


def test_a_late_report_is_counted_and_its_rest_is_heard() -> None:
    reference = Reference()
    reference.take(0, 100)
    reference.feed(np.ones(50, np.float32), 80 * SAMPLE_NS)
    assert reference.late_samples == 20
    assert reference.take(100 * SAMPLE_NS, 40).tolist() == [1.0] * 30 + [0.0] * 10


def test_silence_before_anything_and_after_a_hole_in_the_microphone() -> None:
    reference = Reference(memory_ms=100)
    assert not reference.take(5_000_000, 64).any()
    reference.feed(np.ones(100, np.float32), 5_000_000 + 64 * SAMPLE_NS)
    assert reference.take(5_000_000 + 132 * SAMPLE_NS, 64).tolist() == [1.0] * 32 + [0.0] * 32
    assert not reference.take(5_000_000 + 100_000 * SAMPLE_NS, 64).any()
    assert reference.take(5_000_000 + 200_000 * SAMPLE_NS, 5000).shape == (5000,)


def test_what_cannot_be_is_refused() -> None:
    reference = Reference(memory_ms=100)
    reference.take(0, 10)
    with pytest.raises(ValueError, match="go back"):
        reference.take(0, 10)
    with pytest.raises(ValueError, match="too far ahead"):
        reference.feed(np.zeros(1601, np.float32), 10 * SAMPLE_NS)


def test_reports_before_the_first_taking_begin_the_memory() -> None:
    reference = Reference()
    reference.feed(np.ones(10, np.float32), 1000 * SAMPLE_NS)
    assert reference.take(1000 * SAMPLE_NS, 12).tolist() == [1.0] * 10 + [0.0] * 2
