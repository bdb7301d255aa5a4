"""Two hearings made into one: agreement, the surer one, and speech outside the grammar."""

from __future__ import annotations

import random

import pytest

from liveagent.ctc import Hypothesis
from liveagent.words import Recognised, Thresholds, Words, fit


def ear(text: str, margin: float, final: bool = True) -> Hypothesis:
    return Hypothesis(tuple(text.split()), margin * 10, (), final, 0.0, 10, 40)


def other(text: str, confidence: float) -> Recognised:
    return Recognised(tuple(text.split()), -4.0, confidence, confidence >= 0.5)


SURE, POOR = -0.1, -4.0


def test_agreement_is_surer_than_either() -> None:
    words = Words()
    both = words.decide("go home", 0.9, ear("go home", SURE), other("go home", 0.8))
    assert (both.text, both.source, both.in_grammar, both.unsure) == ("go home", "both", True, False)
    assert both.confidence > max(0.8, words.thresholds.ear(ear("go home", SURE)))


def test_two_weak_hearings_of_one_sentence_are_believed() -> None:
    limits = Thresholds()
    weak = limits.ear_half - limits.ear_slope  # alone under the threshold
    assert not Words().decide("", 0.0, ear("go home", weak), None).in_grammar
    assert Words().decide("", 0.0, ear("go home", weak), other("go home", 0.3)).source == "both"


def test_the_surer_one_wins_and_says_its_source() -> None:
    assert Words().decide("x", 0.9, ear("go home", SURE), other("stop", 0.1)).source == "ear"
    heard = Words().decide("gohm", 0.2, ear("go home", POOR), other("stop", 0.95))
    assert (heard.text, heard.source, heard.in_grammar, heard.unsure) == ("stop", "recogniser", True, False)


def test_two_sure_and_different_hearings_are_unsure() -> None:
    heard = Words().decide("go home", 0.9, ear("go home", SURE), other("stop", 0.95))
    assert heard.in_grammar and heard.unsure


def test_outside_the_grammar_the_free_words_are_given_not_the_nearest_sentence() -> None:
    heard = Words().decide("the sea is blue", 0.9, ear("the keys are in the box", POOR), other("go home", 0.01))
    assert (heard.text, heard.in_grammar, heard.unsure) == ("the sea is blue", False, False)
    assert Words().decide("the see izblu", 0.3, ear("go home", POOR), None).unsure
    assert Words().decide("", 0.9, None, None).unsure


def test_half_a_sentence_is_no_sentence() -> None:
    assert not Words().decide("go", 0.9, ear("go", SURE, final=False), None).in_grammar


def test_agreement_on_nonsense_is_not_enough() -> None:
    assert not Words().decide("x", 0.9, ear("go home", POOR), other("go home", 0.01)).in_grammar


def test_one_source_alone_works() -> None:
    assert Words().decide("go home", 0.9, ear("go home", SURE), None).source == "ear"
    assert Words().decide("", 0.0, None, other("go home", 0.9)).source == "recogniser"


def test_fit_finds_the_curve_that_made_the_data() -> None:
    import math

    rng = random.Random(0)
    scores = [rng.uniform(-6, 2) for _ in range(4000)]
    right = [rng.random() < 1 / (1 + math.exp(-(score + 2.0) / 0.5)) for score in scores]
    half, slope = fit(scores, right)
    assert half == pytest.approx(-2.0, abs=0.1)
    assert slope == pytest.approx(0.5, abs=0.1)


def test_fit_of_what_parts_cleanly_lies_between() -> None:
    half, slope = fit([-5.0, -4.0, -1.0, -0.5], [False, False, True, True])
    assert -4.0 < half < -1.0 and 0 < slope < 10
    with pytest.raises(ValueError, match="some wrong"):
        fit([1.0, 2.0], [True, True])
