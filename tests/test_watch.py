"""Watches: what is asked for, and the moment at which each fires; once."""

from __future__ import annotations

import typing
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent import ConfigError
from liveagent.agent import Agent
from liveagent.phrase import Phrase
from liveagent.watch import HIGH, LOW, MAX_WATCHES, Sighting, Watch, Watching, check_watches, watch
from liveagent.wish import PHRASES, asked_when, moving_thing, wish

S = 1_000_000_000
YES, NO, PERHAPS = 3.0, -3.0, -0.2


@watch("a red ball is on the table", hold_s=1)
async def ball(sight: Sighting, session: Any) -> None:
    await session.say("There it is.")


def fires(watch: Watch, answers: list[tuple[float, float]], until_s: float = 0.0, tick_s: float = 0.1) -> list[float]:
    """Answers at their seconds, and ticks in between; when it fired, in seconds."""
    watching, found, at = Watching(watch), [], 0
    for tick in range(round(max(until_s, answers[-1][0]) / tick_s) + 1):
        now = round(tick * tick_s, 6)
        fired = watching.tick(round(now * S))
        while at < len(answers) and answers[at][0] <= now + 1e-9:
            fired |= watching.feed(round(now * S), answers[at][1])
            at += 1
        if fired:
            found.append(now)
    return found


ANY: Any = watch
"""As somebody calls it who has not read its types."""


def test_a_decorated_function_is_a_watch_of_its_name() -> None:
    assert (ball.name, ball.condition, ball.hold_s, ball.change) == ("ball", "a red ball is on the table", 1, "appear")
    assert Agent("nano", watches=[ball]).watches == (ball,)


async def test_and_can_still_be_called() -> None:
    class Handle:
        said: list[str] = []

        async def say(self, text: str) -> None:
            self.said.append(text)

    await ball(Sighting("ball", "appear", 0, 1.0), Handle())
    assert Handle.said == ["There it is."]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ANY("", hold_s=1)(ball.action), "no condition"),
        (lambda: ANY("a ball", hold_s=-1)(ball.action), "hold_s=-1"),
        (lambda: ANY("a ball", hold_s=True)(ball.action), "hold_s=True"),
        (lambda: ANY("a ball", on="come")(ball.action), "use one of appear, leave, move"),
        (lambda: ANY("a ball")(lambda sight, session: None), "async def"),
        (lambda: ANY(ball), "@watch wants a condition"),
        (lambda: ANY("word " * 40)(ball.action), "40 words"),
        (lambda: Agent("nano", watches=[typing.cast(Any, print)]), "'print' is not a watch"),
        (lambda: Agent("nano", watches=typing.cast(Any, ball)), "watches= wants a list"),
        (lambda: check_watches([ball, ball]), "two watches are named 'ball'"),
        (lambda: check_watches([Watch(str(at), "a ball") for at in range(MAX_WATCHES + 1)]), "at most 8"),
    ],
)
def test_what_cannot_work_says_what_to_mend(make: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make()


def test_a_function_of_one_argument_is_refused() -> None:
    async def one(sight: Sighting) -> None: ...

    with pytest.raises(ConfigError, match="two arguments"):
        ANY("a ball")(one)


def test_appear_fires_when_the_answer_has_held_and_once() -> None:
    held = Watch("w", "a ball", hold_s=1.0)
    assert fires(held, [(0, NO), (2, YES)], 9) == [3.0]
    assert fires(held, [(0, NO), (2, YES), (2.5, NO), (4, YES)], 9) == [5.0]
    assert fires(held, [(0, NO), (2, YES), (2.5, PERHAPS), (2.8, YES)], 9) == [3.8]
    assert fires(held, [(0, YES)], 9) == [1.0]
    assert fires(held, [(0, NO), (0.5, YES), (1.2, NO)], 9) == []
    assert fires(held, [(0, NO), (2, PERHAPS)], 9) == []


def test_it_is_armed_again_only_when_the_opposite_has_held() -> None:
    held = Watch("w", "a ball", hold_s=1.0)
    wavering = [(0, NO), (2, YES), (4, PERHAPS), (5, YES), (6, NO), (6.5, YES), (8, NO), (10, YES)]
    assert fires(held, wavering, 20) == [3.0, 11.0]
    assert fires(Watch("w", "a ball", hold_s=1.0, again=False), wavering, 20) == [3.0]


def test_leave_wants_to_have_seen_it() -> None:
    gone = Watch("w", "a ball", "leave")
    assert fires(gone, [(0, NO), (1, YES), (2, NO), (3, YES), (5, NO)], 9) == [2.0, 5.0]
    assert fires(gone, [(0, NO), (3, NO)], 9) == []


def test_move_fires_at_the_beginning_of_a_movement() -> None:
    moved = Watch("w", "the ball moved", "move")
    assert fires(moved, [(0, NO), (1, YES), (1.5, YES), (2, YES), (2.5, NO), (3, YES)], 9) == [1.0, 3.0]
    assert fires(moved, [(0, NO), (1, YES), (5, YES)], 9) == [1.0, 5.0]  # it lay still in between
    assert fires(moved, [(0, YES)], 9) == []  # nobody saw it at another place before


def test_no_number_is_no_answer() -> None:
    assert fires(Watch("w", "a ball"), [(0, NO), (1, float("nan")), (2, YES)], 3) == [2.0]


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=60), st.sampled_from(["appear", "leave", "move"]))
def test_between_two_firings_lies_the_opposite(odds: list[float], change: Any) -> None:
    """A slow obvious model, with hold 0: what is unsure turns nothing."""
    answers = [(float(at), each) for at, each in enumerate(odds)]
    found = fires(Watch("w", "a ball", change), answers, tick_s=1.0)
    likely = 1 / (1 + np.exp(-np.array(odds)))
    stands: bool | None = None
    expected = []
    for at, p in enumerate(likely):
        if change == "move":
            stands = False if stands else stands  # a second has gone by
        said = True if p >= HIGH else False if p <= LOW else None
        if said is None or said == stands:
            continue
        if said and (change == "appear" or (change == "move" and stands is not None)):
            expected.append(float(at))
        if not said and change == "leave" and stands:
            expected.append(float(at))
        stands = said
    assert found == expected


@pytest.mark.parametrize(
    ("words", "condition", "change"),
    [
        ("tell me when the red ball appears", "a red ball is on the table", "appear"),
        ("let me know when an orange cup is there", "an orange cup is on the table", "appear"),
        ("please tell me when you see a ball", "a ball is on the table", "appear"),
        ("watch for a green cup", "a green cup is on the table", "appear"),
        ("tell me when there is something red on the table", "something red is on the table", "appear"),
        ("could you tell me when the red thing comes back", "something red is on the table", "appear"),
        ("tell me when the red ball is gone", "a red ball is on the table", "leave"),
        ("let me know if the purple cone isn't there any more", "a purple cone is on the table", "leave"),
        ("warn me when the star disappears", "a star is on the table", "leave"),
        ("tell me when the red ball moves", "the red ball moved", "move"),
        ("let me know when something moves", "something moved", "move"),
    ],
)
def test_what_a_user_asks_to_be_told(words: str, condition: str, change: str) -> None:
    found = wish(words)
    assert found is not None and found.watch is not None and found.toy
    assert (found.watch.condition, found.watch.change, found.watch.again) == (condition, change, False)


def test_any_condition_may_be_asked_for() -> None:
    found = wish("tell me when somebody opens the door")
    assert found is not None and found.watch is not None and not found.toy
    assert (found.watch.condition, found.watch.change) == ("somebody opens the door", "appear")
    assert found.watch.says == "Somebody opens the door."


@pytest.mark.parametrize("words", ["tell me a story", "watch", "tell me when", "what time is it", "turn on the light"])
def test_other_sentences_ask_for_no_watch(words: str) -> None:
    assert wish(words) is None


def test_stop_watching() -> None:
    found = wish("please stop watching")
    assert found is not None and found.watch is None


def test_every_phrase_of_the_grammar_is_understood() -> None:
    for text in PHRASES:
        for sentence in Phrase.of(text).expand():
            found = wish(sentence)
            assert found is not None and found.toy, sentence


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("tell me when the red ball appears", "The red ball is there."),
        ("tell me when the orange cup is gone", "The orange cup is gone."),
        ("tell me when the red ball moves", "The red ball moved."),
        ("tell me when there is something red", "Something red is there."),
    ],
)
def test_what_is_said_when_it_happens(words: str, says: str) -> None:
    found = wish(words)
    assert found is not None and found.watch is not None and found.watch.says == says


@pytest.mark.parametrize(
    ("words", "condition", "change"),
    [
        ("when did the red ball appear", "a red ball is on the table", "appear"),
        ("when did you see a green cup", "a green cup is on the table", "appear"),
        ("when was there a ball", "a ball is on the table", "appear"),
        ("at what time was the orange cone put on the table", "an orange cone is on the table", "appear"),
        ("when did the red ball leave", "a red ball is on the table", "leave"),
        ("when did something blue disappear", "something blue is on the table", "leave"),
        ("when was the star taken away", "a star is on the table", "leave"),
        ("when did the purple ring move", "the purple ring moved", "move"),
        ("when did something move", "something moved", "move"),
    ],
)
def test_when_something_happened(words: str, condition: str, change: str) -> None:
    found = asked_when(words)
    assert found is not None and found.watch is not None and found.toy
    assert (found.watch.condition, found.watch.change) == (condition, change)


def test_other_questions_ask_for_no_moment_or_for_none_that_nano_knows() -> None:
    assert asked_when("what is on the table") is None
    assert asked_when("when you are ready") is None
    for words in ("when did the dog bark", "when was the war"):
        found = asked_when(words)
        assert found is not None and found.watch is None and not found.toy


@pytest.mark.parametrize(
    ("condition", "thing"),
    [
        ("the red ball moved", (0, 0)),
        ("a cube moved", (None, 1)),
        ("something blue moved", (2, None)),
        ("something moved", None),
        ("the dog moved", None),
        ("a red ball is on the table", None),
    ],
)
def test_which_thing_a_movement_is_of(condition: str, thing: tuple[int | None, int | None] | None) -> None:
    assert moving_thing(condition) == thing
