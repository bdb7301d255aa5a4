"""Sound and events in one order become ticks: nothing is lost, nothing overtakes, however the sound is cut."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES
from liveagent.event import Inbox, MessageAdded, TalkPressed, TalkReleased, TurnDropped
from liveagent.runtime.inlet import AHEAD_NS, CLOSING_TICKS, Inlet, Piece
from liveagent.video import VideoFrame
from liveagent.wire.codec import Sound


def sound(samples: int, first: int = 1, gap: int = 0) -> Sound:
    return Sound(np.arange(first, first + samples).astype(np.int16), RATE_HZ, gap_samples=gap)


def drained(inlet: Inlet) -> tuple[list[Piece], list[Inbox]]:
    pieces: list[Piece] = []
    events: list[Inbox] = []
    while True:
        piece, came = inlet.fill(7)
        events += came
        if piece is None:
            return pieces, events
        pieces.append(piece)


def heard(pieces: list[Piece]) -> np.ndarray:
    samples = [np.zeros(0, np.float32), *(piece.samples for piece in pieces)]
    return np.round(np.concatenate(samples) * 32768).astype(int)


@given(st.lists(st.integers(1, 3000), max_size=20))
def test_any_cutting_of_the_sound_gives_the_same_ticks_and_every_sample_is_accounted_for(sizes: list[int]) -> None:
    inlet, whole = Inlet(), Inlet()
    inlet.manual = whole.manual = True
    at = 1
    for size in sizes:
        assert inlet.hear(sound(size, at % 30_000), 0)
        assert whole.hear(sound(size, at % 30_000), 0)
        at += size
    pieces, _ = drained(inlet)
    last = inlet.cut()
    assert inlet.received_samples == sum(sizes) == inlet.consumed_samples and inlet.waiting_bytes == 0
    once, _ = drained(whole)
    assert np.array_equal(heard([*pieces, last]), heard([*once, whole.cut()]))
    assert len(pieces) == sum(sizes) // TICK_SAMPLES


def test_an_event_comes_behind_the_sound_before_it_and_before_the_sound_after() -> None:
    inlet = Inlet()
    inlet.hear(sound(TICK_SAMPLES), 0)
    inlet.add(MessageAdded(1, "user", "hello"))
    inlet.hear(sound(TICK_SAMPLES), 0)
    first, none = inlet.fill(0)
    second, events = inlet.fill(0)
    assert first is not None and second is not None and not none
    assert [type(event) for event in events] == [MessageAdded]


def test_a_turn_that_a_key_ended_is_closed_by_silence_and_stamped_where_it_stands() -> None:
    inlet = Inlet()
    inlet.manual = True
    inlet.add(TalkPressed(1))
    inlet.hear(sound(TICK_SAMPLES + 100), 0)
    inlet.add(TalkReleased(1))
    pieces, events = drained(inlet)
    assert len(pieces) == 1 + CLOSING_TICKS
    assert np.count_nonzero(heard(pieces)) == TICK_SAMPLES + 100
    assert events == [TalkPressed(7), TalkReleased(7)]


def test_what_was_begun_is_dropped_at_a_tick_of_its_own() -> None:
    inlet = Inlet()
    inlet.hear(sound(100), 0)
    inlet.add(TurnDropped(1))
    pieces, events = drained(inlet)
    assert len(pieces) == 1 and events == [TurnDropped(7)]


def test_a_hole_is_silence_and_counted() -> None:
    inlet = Inlet()
    inlet.hear(sound(TICK_SAMPLES), 0)
    inlet.hear(sound(TICK_SAMPLES - 200, gap=200), 0)
    pieces, _ = drained(inlet)
    assert [piece.gap_samples for piece in pieces] == [0, 200]
    assert not pieces[1].samples[:200].any() and pieces[1].samples[200:].all()
    assert inlet.gap_samples == 200 and inlet.consumed_samples == inlet.received_samples == 2 * TICK_SAMPLES - 200


def test_sound_far_ahead_of_real_time_is_not_taken_by_voice_and_is_by_key() -> None:
    inlet = Inlet()
    seconds = AHEAD_NS // 1_000_000_000
    taken = [inlet.hear(sound(RATE_HZ), 0) for _ in range(seconds + 3)]
    assert taken == [True] * seconds + [False] * 3
    assert inlet.gap_samples == 3 * RATE_HZ
    assert inlet.hear(sound(RATE_HZ), RATE_HZ * SAMPLE_NS)
    inlet.manual = True
    assert inlet.hear(sound(RATE_HZ), 0)


def test_a_still_has_a_tick_of_its_own() -> None:
    inlet = Inlet()
    inlet.add(VideoFrame(np.zeros((2, 2, 3), np.uint8), 5, 0))
    inlet.add(MessageAdded(1, "user", "hello"))
    pieces, events = drained(inlet)
    assert [piece.still is not None for piece in pieces] == [True] and len(events) == 1


def test_other_rates_are_heard_at_ours_for_any_cutting() -> None:
    tone = (8000 * np.sin(np.arange(24_000) * 0.05)).astype(np.int16)
    one, many = Inlet(), Inlet()
    one.hear(Sound(tone, 24_000), 0)
    for at in range(0, len(tone), 700):
        many.hear(Sound(tone[at : at + 700], 24_000), 0)
    assert np.array_equal(heard(drained(one)[0]), heard(drained(many)[0]))
