"""A stretch of a recording that is forgotten: what is left, what is not, and what is said about it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.action import Say
from liveagent.audio import TICK_NS
from liveagent.errors import ProtocolError
from liveagent.event import Forgotten, LagNoted, TextTyped
from liveagent.film import Film
from liveagent.journal import Header, JournalWriter, Record, read, to_int16
from liveagent.ledger import Span, SpanWord
from liveagent.runtime.context import Kept, Token
from liveagent.runtime.forget import Exchanges, State
from liveagent.runtime.work import Sights, Soft
from liveagent.stretch import Stretch, asked_to_forget, seals, states, wiped
from liveagent.video import VideoFrame

HEADER = Header("0", "0", "0", "float32", 4, 0, "0")
TICKS = 12


def pixels(tick: int) -> Any:
    return np.random.default_rng(tick).integers(0, 256, (8, 8, 3), np.uint8)


def sound(tick: int) -> Any:
    return to_int16(np.random.default_rng(100 + tick).uniform(-1, 1, 1280).astype(np.float32))


def recording(state_at: dict[int, Any] | None = None) -> list[Record]:
    journal, film = JournalWriter(HEADER, 1 << 30), Film()
    for tick in range(TICKS):
        journal.audio(tick, sound(tick))
        journal.picture(tick, film.write(VideoFrame(pixels(tick), tick * TICK_NS)))
        journal.event(tick, TextTyped(tick * TICK_NS, f"word{tick}"))
        journal.event(tick, LagNoted(tick * TICK_NS, tick, 1.0))
        journal.action(tick, Say(tick, f"said{tick}"))
        journal.tokens(tick, [1000 + tick])
        more = {"state": state_at[tick]} if state_at and tick in state_at else {}
        journal.json(tick, {"t_ns": tick * TICK_NS, "gap": 0, **more})
    journal.close()
    return list(read(journal.take()).records)


def forget(records: list[Record], first: int, last: int, at: int, state: Any = None) -> list[Record]:
    """Ticks `first` to `last`, forgotten in tick `at`."""
    gone = Stretch(first * TICK_NS, (last + 1) * TICK_NS)
    event = Forgotten((at + 1) * TICK_NS, gone.since_ns, gone.until_ns)
    return wiped(records, gone, event, state if state is not None else {"spans": []})


def shown(records: list[Record]) -> dict[int, Any]:
    film, found = Film(), {}
    for record in records:
        if record.kind == "picture":
            found[record.tick] = film.read(record.payload).pixels
    return found


def test_nothing_of_the_stretch_is_left() -> None:
    records = recording()
    left = forget(records, 3, 5, 8)
    data = b"".join(each.payload for each in left)
    for tick in range(TICKS):
        gone = 3 <= tick <= 5
        assert (f"word{tick}".encode() in data) != gone and (f"said{tick}".encode() in data) != gone
        assert (sound(tick).astype("<i2").tobytes() in data) != gone
        assert (tick in shown(left)) != gone
    kinds = [each.kind for each in left if each.tick == 4]
    assert kinds == ["audio", "event", "json"]  # silence, that it lagged, and when it was
    assert all(np.array_equal(found, pixels(tick)) for tick, found in shown(left).items())


def test_what_is_left_is_as_it_was() -> None:
    records = recording()
    left = forget(records, 3, 5, 8)
    for tick in (0, 1, 2, 6, 7, 9, 10, 11):
        before = [each for each in records if each.tick == tick and each.kind != "picture"]
        assert [each for each in left if each.tick == tick and each.kind != "picture"] == before


def test_that_something_was_forgotten_stays_with_what_was_still_known() -> None:
    left = forget(recording(), 3, 5, 8, {"spans": [], "calls": 2})
    (event,) = [each.event for each in left if each.kind == "event" and b"Forgotten" in each.payload]
    assert event == Forgotten(9 * TICK_NS, 3 * TICK_NS, 6 * TICK_NS)
    assert seals(left) == [(3, 8)] and states(left) == {8: {"spans": [], "calls": 2}}
    closing = json.loads([each for each in left if each.tick == 8][-1].payload)
    assert closing["t_ns"] == 8 * TICK_NS


def test_what_was_known_at_an_earlier_forgetting_is_not_kept_beside() -> None:
    """A state inside the new stretch's shadow goes; one behind it loses the spans that are forgotten now."""
    span = {"kind": "text", "t_ns": 4 * TICK_NS}
    other = {"kind": "text", "t_ns": 2 * TICK_NS}
    old = recording({6: {"spans": [span, other]}, 10: {"spans": [span, other]}})
    assert states(forget(old, 3, 5, 8, {"spans": [other]})) == {8: {"spans": [other]}, 10: {"spans": [other]}}


def test_forgetting_twice_and_to_the_end() -> None:
    left = forget(forget(recording(), 3, 4, 5), 7, 11, 11)
    assert seals(left) == [(3, 5), (7, 11)]
    assert sorted(shown(left)) == [0, 1, 2, 5, 6]


def test_a_tick_that_never_ended_goes_too() -> None:
    records = recording()
    left = forget(records[:-1], 3, 5, 8)
    assert max(each.tick for each in left) == TICKS - 2 and f"word{TICKS - 1}" not in str(left)


def test_a_tick_without_a_time_is_damage() -> None:
    records = [Record(0, "audio", b"\0\0"), Record(0, "json", b'{"gap": 0}')]
    with pytest.raises(ProtocolError, match="tick 0 has no time"):
        forget(records, 0, 0, 0)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9)), max_size=12), st.integers(0, 40), st.integers(1, 9))
def test_a_stretch_takes_along_whatever_it_touches(others: list[tuple[int, int]], at: int, length: int) -> None:
    every = [Stretch(since, since + long) for since, long in others]
    wide = Stretch(at, at + length).widened(every)
    taken = set(range(at, at + length))
    for _ in range(len(every)):  # slowly
        for each in every:
            if taken & set(range(each.since_ns, each.until_ns)):
                taken |= set(range(each.since_ns, each.until_ns))
    assert set(range(wide.since_ns, wide.until_ns)) == taken


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("forget that", 0.0),
        ("please forget what i said", 0.0),
        ("forget everything", float("inf")),
        ("forget the last minute", 60.0),
        ("forget the last twenty five seconds", 25.0),
        ("forget the last two hours", 7200.0),
        ("forget the last few minutes", None),
        ("forget the last", None),
        ("do not forget the milk", None),
        ("forget the last zero minutes", None),
    ],
)
def test_what_a_user_wants_forgotten(words: str, seconds: float | None) -> None:
    assert asked_to_forget(words) == seconds


def test_exchanges_are_noticed_with_what_came_shortly_before() -> None:
    exchanges = Exchanges()
    S = 1_000_000_000
    for tick in range(60):
        busy = 20 <= tick < 24 or 26 <= tick < 40
        exchanges.feed(tick * TICK_NS, (tick + 1) * TICK_NS, busy)
    first, second = exchanges.past
    assert first == Stretch(20 * TICK_NS - S, 26 * TICK_NS)
    assert second == Stretch(26 * TICK_NS, 41 * TICK_NS + S // 2)  # not into the one before


def test_what_is_still_known_survives_the_file_to_the_bit() -> None:
    rng = np.random.default_rng(0)
    soft = Soft(rng.random((1, 7), np.float32), rng.random((1, 5), np.float32))
    sights = Sights(rng.random((1, 20), np.float32), np.array([3], np.int64))
    spans = (
        Kept(
            Span(5, "audio", 90, 2, 123, 4, None, 0, (), (SpanWord("hi", 1),)),
            (Token(1, 0.08), Token(2, 0.1 + 0.2, soft)),
        ),
        Kept(Span(9, "picture", 92, 1, 456, 4, None, 0, (5,)), (Token(20, 7.5, sights),)),
    )
    state = State(spans, 3, 2, 1, ({"name": "w"},))
    back = State.from_json(json.loads(json.dumps(state.to_json())))
    assert (back.utterances, back.calls, back.watch_calls, back.watches) == (3, 2, 1, ({"name": "w"},))
    for was, now in zip(spans, back.spans, strict=True):
        assert (now.span.id, now.span.kind, now.span.t_ns, now.span.turn) == (
            was.span.id, was.span.kind, was.span.t_ns, was.span.turn,
        )  # fmt: skip
        assert (now.span.depends_on, now.span.words) == (was.span.depends_on, was.span.words)
        for one, other in zip(was.tokens, now.tokens, strict=True):
            assert (one.id, one.t_s) == (other.id, other.t_s) and type(one.sense) is type(other.sense)
    first, second = back.spans[0].tokens[1].sense, back.spans[1].tokens[0].sense
    assert isinstance(first, Soft) and np.array_equal(first.weights, soft.weights)
    assert np.array_equal(first.hidden, soft.hidden)
    assert isinstance(second, Sights) and np.array_equal(second.sight, sights.sight) and list(second.cells) == [3]


@pytest.mark.parametrize("value", [None, {}, {"spans": [{}], "utterances": 0, "calls": 0, "watch_calls": 0}, [1]])
def test_a_damaged_state_is_a_protocol_error(value: Any) -> None:
    with pytest.raises(ProtocolError, match="damaged"):
        State.from_json(value)
