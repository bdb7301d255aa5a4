"""The one normal form of words."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.spoken import MAX_INT, int_to_words, spoken, words_to_int


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Set a timer for 5 min!", "set a timer for five minutes"),
        ("1 min", "one minute"),
        ("50%", "fifty percent"),
        ("It's 12:30.", "it's twelve thirty"),
        ("“don’t” 'quote' dogs'", "don't quote dogs"),
        ("-5°C", "minus five degrees"),
        ("2.5 kg", "two point five kilograms"),
        ("$3", "three dollars"),
        ("1,234 apples", "one thousand two hundred thirty four apples"),
        ("the 21st of May", "the twenty first of may"),
        ("twenty-five", "twenty five"),
        ("R2D2", "r two d two"),
        ("100000", "one zero zero zero zero zero"),
        ("living_room", "living room"),
        ("Café naïve", "cafe naive"),
        ("min and max", "min and max"),
        ("…", ""),
        ("привет", ""),
    ],
)
def test_as_it_would_be_said(written: str, said: str) -> None:
    assert spoken(written) == said


@given(st.text(max_size=80))
def test_any_text_becomes_normal_and_stays(text: str) -> None:
    said = spoken(text)
    assert re.fullmatch(r"([a-z']+( [a-z']+)*)?", said)
    assert spoken(said) == said


def test_every_number_there_and_back() -> None:
    assert all(words_to_int(int_to_words(number)) == number for number in range(-MAX_INT, MAX_INT + 1))
    assert len({int_to_words(number) for number in range(MAX_INT + 1)}) == MAX_INT + 1


@pytest.mark.parametrize(
    ("words", "number"),
    [("a hundred", 100), ("one hundred and five", 105), ("twelve hundred", 1200), ("a thousand and one", 1001),
     ("25", 25), ("minus four", -4)],
)  # fmt: skip
def test_other_ways_to_say_a_number(words: str, number: int) -> None:
    assert words_to_int(words) == number


@pytest.mark.parametrize(
    "words",
    ["", "a", "five twenty", "twenty eleven", "one hundred zero", "twenty hundred", "hundred", "and five", "12345"],
)
def test_no_number(words: str) -> None:
    assert words_to_int(words) is None


def test_too_big_a_number_is_no_words() -> None:
    with pytest.raises(ValueError, match="9999"):
        int_to_words(MAX_INT + 1)
