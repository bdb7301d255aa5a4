from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.latency import Latencies, Percentiles, TurnLatency

MS = 1_000_000


def _turn(played_ms: int) -> TurnLatency:
    turn = TurnLatency()
    turn.stamp("spoken", 1000 * MS)
    turn.stamp("decided", 1200 * MS)
    turn.stamp("played", (1000 + played_ms) * MS)
    return turn


def test_everything_counts_from_the_last_spoken_sample() -> None:
    turn = TurnLatency()
    turn.stamp("spoken", 100 * MS)
    turn.stamp("words", 150 * MS)
    turn.stamp("spoken", 300 * MS)  # the user went on
    turn.stamp("spoken", 200 * MS)  # told late
    turn.stamp("decided", 560 * MS)
    turn.stamp("token", 600 * MS)
    turn.stamp("token", 900 * MS)  # the second token is not the first
    assert turn.durations_ms == {
        "decided": 260.0, "words": -150.0, "token": 300.0, "call": None, "voiced": None, "played": None,
    }  # fmt: skip


def test_a_typed_turn_counts_from_its_decision_and_an_empty_one_from_nothing() -> None:
    turn = TurnLatency()
    assert set(turn.durations_ms.values()) == {None}
    turn.stamp("decided", 5 * MS)
    turn.stamp("token", 9 * MS)
    assert turn.durations_ms["token"] == 4.0


def test_a_summary_holds_only_what_happened_and_stays_bounded() -> None:
    all_turns = Latencies(turns=10)
    assert all_turns.summary() == {}
    for played in range(100, 2100, 100):
        all_turns.feed(_turn(played))
    assert len(all_turns) == 10
    summary = all_turns.summary()
    assert summary.keys() == {"decided", "played"}
    assert summary["played"] == Percentiles(10, 1500.0, 2000.0, 2000.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=60))
def test_percentiles_are_of_the_nearest_rank(values: list[int]) -> None:
    turns = Latencies()
    for value in values:
        turns.feed(_turn(value))
    got = turns.summary()["played"]
    expected = np.percentile(np.array(values, float), [50, 95, 100], method="inverted_cdf")
    assert (got.p50, got.p95, got.worst) == pytest.approx(tuple(expected))
    assert got.count == len(values)
