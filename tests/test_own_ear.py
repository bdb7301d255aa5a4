"""Which sound goes to the model's own ear: all of an utterance from its pre-roll on, pauses only when more follows."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from liveagent.audio import TICK_SAMPLES, Samples
from liveagent.runtime.own_ear import MOST_TICKS, PAUSE_TICKS, PIECE_TICKS, OwnEar


def ticks(first: int, count: int) -> list[Samples]:
    """Each of one number, its own."""
    return [np.full(TICK_SAMPLES, first + at, np.float32) for at in range(count)]


def numbers(pieces: list[Samples]) -> list[int]:
    return [int(each[0]) for piece in pieces for each in np.split(piece, len(piece) // TICK_SAMPLES)]


def taken(ear: OwnEar) -> list[Samples]:
    given = []
    while (piece := ear.next()) is not None:
        given.append(piece[0])
    return given


def test_an_utterance_is_given_whole_and_says_where_it_begins() -> None:
    ear = OwnEar()
    ear.feed(ticks(99, 1)[0], False)  # nobody speaks: it is no part of anything
    assert ear.next() is None and not ear.open
    ear.begin(ticks(0, 5))
    first = ear.next()
    assert first is not None and first[1] and numbers([first[0]]) == [0, 1, 2, 3, 4]
    for each in ticks(5, 3):
        ear.feed(each, False)
        piece = ear.next()
        assert piece is not None and not piece[1] and len(piece[0]) == TICK_SAMPLES
    ear.end()
    assert not ear.open and ear.next() is None and ear.rest() is None
    ear.begin(ticks(20, 2))
    second = ear.next()
    assert second is not None and second[1] and numbers([second[0]]) == [20, 21]


def test_a_pause_is_heard_when_more_follows_and_not_at_the_end() -> None:
    ear = OwnEar()
    ear.begin(ticks(0, 2))
    given = taken(ear)
    for each in ticks(2, PAUSE_TICKS + 4):
        ear.feed(each, True)
        given += taken(ear)
    assert numbers(given) == list(range(2 + PAUSE_TICKS))
    ear.feed(ticks(20, 1)[0], False)
    assert numbers(taken(ear)) == [*range(2 + PAUSE_TICKS, 6 + PAUSE_TICKS), 20]
    for each in ticks(21, PAUSE_TICKS + 1):
        ear.feed(each, True)
    ear.feed(ticks(30, 1)[0], True)
    ear.end()  # what waited is heard, but for the pause
    rest = ear.rest()
    assert rest is not None and numbers([rest[0]]) == list(range(21, 21 + PAUSE_TICKS)) and ear.rest() is None


def test_what_has_ended_waits_while_the_next_comes_in() -> None:
    ear = OwnEar()
    ear.begin(ticks(0, 3))
    ear.feed(ticks(3, 1)[0], False)
    ear.end()
    ear.begin(ticks(10, 2))
    rest, nothing = ear.rest(), ear.rest()
    assert rest is not None and rest[1] and numbers([rest[0]]) == [0, 1, 2, 3] and nothing is None
    new = ear.next()
    assert new is not None and new[1] and numbers([new[0]]) == [10, 11]
    ear.cancel()
    assert ear.next() is None and not ear.open
    ear.begin(ticks(30, 1))
    ear.end()
    ear.forget()
    assert ear.rest() is None


def test_thirty_seconds_are_heard_and_no_more() -> None:
    ear = OwnEar()
    ear.begin([])
    for each in ticks(0, MOST_TICKS + 50):
        ear.feed(each, False)
    assert ear.full
    given = taken(ear)
    assert numbers(given) == list(range(MOST_TICKS)) and max(map(len, given)) == PIECE_TICKS * TICK_SAMPLES
    ear.end()
    assert ear.full and ear.rest() is None
    ear.forget()
    assert not ear.full


@pytest.mark.parametrize("seed", range(20))
def test_nothing_is_lost_or_given_twice(seed: int) -> None:
    rng, ear, at, given = Random(seed), OwnEar(), 0, list[int]()
    ear.begin(ticks(0, 5))
    at = 5
    for _ in range(60):
        ear.feed(ticks(at, 1)[0], rng.random() < 0.4)
        at += 1
        if rng.random() < 0.7 and (piece := ear.next()) is not None:
            given += numbers([piece[0]])
    ear.feed(ticks(at, 1)[0], False)
    ear.end()
    while (piece := ear.rest()) is not None:
        given += numbers([piece[0]])
    assert given == list(range(at + 1))
