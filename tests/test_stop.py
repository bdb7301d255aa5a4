from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.event import StopHeard
from liveagent.stop import Stop, StopConfig, StopSource

MS = 1_000_000


def test_one_word_fires_once_and_latches() -> None:
    stop = Stop()
    assert stop.feed(0, "recogniser", 0.2) is None
    assert stop.feed(100 * MS, "recogniser", 0.9) == StopHeard(100 * MS, "recogniser", 0.9)
    for t_ms in range(120, 1600, 20):  # the same word, still in the listeners' windows
        assert stop.feed(t_ms * MS, "recogniser", 0.9) is None
        assert stop.feed(t_ms * MS, "ear", 0.95) is None
    latched = [stop.latched]
    stop.release()
    latched.append(stop.latched)
    assert stop.feed(1600 * MS, "recogniser", 0.9) is not None
    assert [*latched, stop.latched] == [True, False, True]


def test_a_source_may_need_two_in_a_row() -> None:
    def new() -> Stop:
        return Stop(StopConfig(sources={"ear": StopSource(0.8, hits=2)}))

    stop = new()
    assert [stop.feed(t * 160 * MS, "ear", score) for t, score in enumerate((0.9, 0.1, 0.9))] == [None] * 3
    assert stop.feed(480 * MS, "ear", 0.9) is not None


def test_the_agents_own_stop_is_not_the_users_but_a_typed_one_is() -> None:
    stop = Stop()
    assert stop.feed(0, "recogniser", 1.0, own_voice=True) is None
    assert stop.feed(0, "typed", 1.0, own_voice=True) is not None


def test_a_nan_never_stops_and_an_unknown_source_is_a_config_error() -> None:
    stop = Stop()
    assert stop.feed(0, "recogniser", math.nan) is None
    with pytest.raises(ConfigError, match="radio"):
        stop.feed(0, "radio", 1.0)
    with pytest.raises(ConfigError):
        StopSource(0.5, hits=0)


@settings(max_examples=100, deadline=None)
@given(
    scores=st.lists(st.tuples(st.sampled_from(["recogniser", "ear"]), st.floats(0, 1)), max_size=60),
    refractory_ms=st.integers(0, 500),
)
def test_it_fires_as_the_obvious_model_does(scores: list[tuple[str, float]], refractory_ms: int) -> None:
    config = StopConfig(refractory_ms=refractory_ms)
    stop = Stop(config)
    fired: list[int] = []
    history: dict[str, list[bool]] = {"recogniser": [], "ear": []}
    for at, (source, score) in enumerate(scores):
        t_ns = at * 40 * MS
        rule = config.sources[source]
        history[source].append(score >= rule.threshold)
        due = history[source][-rule.hits :] == [True] * rule.hits
        due = due and not (fired and t_ns < fired[-1] + refractory_ms * MS)
        assert (stop.feed(t_ns, source, score) is not None) == due
        if due:
            fired.append(t_ns)
            history = {"recogniser": [], "ear": []}
    assert stop.latched == bool(fired)
