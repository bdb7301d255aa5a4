"""The phrase syntax: what it stands for, and what is said about a wrong one."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.phrase import Phrase


def test_every_sentence() -> None:
    phrase = Phrase.of("(turn|switch) {state} [the] light [please [now]]")
    sentences = phrase.expand()
    assert len(sentences) == 2 * 2 * 3 == len(set(sentences))
    assert "turn {state} light please now" in sentences
    assert "turn {state} light now" not in sentences
    assert phrase.names == ("state",)


def test_words_are_kept_as_said() -> None:
    assert Phrase.of("Don't wait 5 min").expand() == ["don't wait five minutes"]
    assert Phrase.of("dim to {p}%").expand() == ["dim to {p} percent"]


def test_choices_nest_and_share() -> None:
    assert set(Phrase.of("((a|b) c|d)").expand()) == {"a c", "b c", "d"}
    assert set(Phrase.of("[a|b] c").expand()) == {"a c", "b c", "c"}
    assert Phrase.of("(go home)").expand() == ["go home"]


def test_arg_sets_tell_what_may_be_missing() -> None:
    assert Phrase.of("wait {n} [seconds]").arg_sets() == {frozenset({"n"})}
    assert Phrase.of("wait [{n} seconds]").arg_sets() == {frozenset({"n"}), frozenset()}
    assert Phrase.of("({a} then {b}|{b} after {a})").arg_sets() == {frozenset({"a", "b"})}


@given(st.integers(0, 10_000))
def test_a_sample_is_one_of_the_sentences(seed: int) -> None:
    phrase = Phrase.of("[please] (set|start) a {n} (minute|second) timer [now]")
    said = phrase.sample(Random(seed), {"n": ["five", "twenty two"]})
    assert said.replace("five", "{n}").replace("twenty two", "{n}") in phrase.expand()
    assert said == phrase.sample(Random(seed), {"n": ["five", "twenty two"]})


def test_expand_has_a_limit() -> None:
    phrase = Phrase.of(" ".join(["(a|b)"] * 12))
    assert len(phrase.expand(limit=4096)) == 4096
    with pytest.raises(ConfigError, match="more than 4095"):
        phrase.expand(limit=4095)


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("", 0, "no word at all"),
        ("[a] [b]", 0, "no word at all"),
        ("a|b", 1, "write (a|b)"),
        ("turn (on|off", 5, "never closed"),
        ("turn (on]", 5, "never closed"),
        ("turn on)", 7, "closes nothing"),
        ("turn (on|)", 5, "[a|b]"),
        ("set {a} to {a}", 11, "twice"),
        ("set {a", 4, "partner"),
        ("set {2nd}", 4, "no argument"),
        ("set {}", 4, "no argument"),
        ("(…|a)", 1, "no word in it"),
    ],
)
def test_a_wrong_phrase_names_tool_phrase_and_position(text: str, position: int, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Phrase.of(text, "light")
    message = str(caught.value)
    assert "'light'" in message and repr(text) in message and f"position {position}:" in message and says in message


@given(st.text(alphabet="ab {}[]()|1'", max_size=24))
def test_any_text_is_a_phrase_or_a_config_error(text: str) -> None:
    try:
        phrase = Phrase.of(text)
    except ConfigError:
        return
    assert phrase.arg_sets()
    assert all(sentence for sentence in phrase.expand(limit=100_000))
