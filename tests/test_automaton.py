"""The automaton against plain expansion of every phrase."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from liveagent import Tool, tool
from liveagent.automaton import Automaton, Parse, Question
from liveagent.errors import ConfigError

words = st.sampled_from("abc")
patterns = st.recursive(
    words,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(" ".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda options: "(" + "|".join(options) + ")"),
        inner.map(lambda option: f"[{option}] a"),
    ),
    max_leaves=6,
)


def sentences(automaton: Automaton) -> set[str]:
    found = set()

    def walk(state: int, said: tuple[str, ...]) -> None:
        if state in automaton.accepting:
            found.add(" ".join(said))
        for word, to in automaton.next_words(state).items():
            walk(to, (*said, word))

    walk(0, ())
    return found


@settings(max_examples=80, deadline=None)
@given(st.lists(patterns, min_size=1, max_size=4))
def test_it_accepts_exactly_what_the_phrases_stand_for(questions: list[str]) -> None:
    automaton = Automaton.of([], questions)
    wanted = {sentence for phrase in automaton.questions for sentence in phrase.expand(100_000)}
    assert sentences(automaton) == wanted
    assert automaton.sentences == len(wanted)
    for said in (" ".join(each) for n in range(1, 5) for each in product("abc", repeat=n)):
        assert automaton.accepts(said) == (said in wanted)
        assert (automaton.parse(said) == Question(said)) == (said in wanted)


@settings(max_examples=80, deadline=None)
@given(st.lists(patterns, min_size=1, max_size=4))
def test_it_is_minimal_and_its_arcs_end_in_one_state(questions: list[str]) -> None:
    automaton = Automaton.of([], questions)
    endings = [frozenset(sentences_from(automaton, state)) for state in range(automaton.states)]
    assert len(set(endings)) == automaton.states  # Myhill and Nerode: no two states go on alike
    found = set()
    ways: dict[int, list[tuple[int, str]]] = {}
    for start, to, word in automaton.arcs:
        ways.setdefault(start, []).append((to, word))
    stack: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    while stack:
        state, said = stack.pop()
        if state == automaton.final:
            found.add(" ".join(said))
        stack.extend((to, (*said, word)) for to, word in ways.get(state, []))
    assert found == sentences(automaton)


def sentences_from(automaton: Automaton, state: int) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = {()} if state in automaton.accepting else set()
    for word, to in automaton.next_words(state).items():
        found |= {(word, *rest) for rest in sentences_from(automaton, to)}
    return found


Room = Literal["kitchen", "living room", "living area"]
Minutes = Annotated[int, Field(ge=1, le=60)]


@tool(phrases=["(turn|switch) {state} [the] {room} light", "{room} light {state}"])
def light(room: Room, state: Literal["on", "off"]) -> None:
    """Switch."""


@tool(phrases=["wait {minutes} minutes [and {again} more]", "wait"])
def wait(minutes: Minutes = 1, again: int = 0) -> None:
    """Wait."""


@tool(phrases=["note {text} [please]", "note {text} for {room}"])
def note(text: str, room: Room = "kitchen") -> None:
    """Note."""


def test_arguments_are_read_off_the_parse() -> None:
    automaton = Automaton.of([light, wait, note])

    def read(text: str) -> tuple[Tool, dict[str, object]]:
        parse = automaton.parse(text)
        assert isinstance(parse, Parse)
        return parse.tool, dict(parse.args)

    assert read("Turn on the living-room light!") == (light, {"state": "on", "room": "living room"})
    assert read("wait 25 minutes") == (wait, {"minutes": 25})
    assert read("wait five minutes and a hundred and five more") == (wait, {"minutes": 5, "again": 105})
    assert read("wait") == (wait, {})
    assert read("note buy milk") == (note, {"text": "buy milk"})
    for text in ("wait 61 minutes", "turn on the moon light", "turn on the kitchen", "", "note", "wait please"):
        assert automaton.parse(text) is None


def test_what_is_accepted_is_parsed_to_what_was_meant() -> None:
    automaton = Automaton.of([light, wait, note], ["who are you"])
    rng = Random(0)
    for each in (light, wait):
        for phrase in each.phrases:
            for _ in range(50):
                chosen = {name: rng.choice(list(slot.items())) for name, slot in each.slots.items()}
                said = phrase.sample(rng, {name: word for name, (word, _) in chosen.items()})
                assert automaton.accepts(said)
                parse = automaton.parse(said)
                assert isinstance(parse, Parse) and parse.tool is each
                assert all(parse.args[name] == chosen[name][1] for name in parse.args)
    assert automaton.parse("who are you?") == Question("who are you")


def test_free_text_is_parsed_but_never_searched_for() -> None:
    automaton = Automaton.of([note])
    assert not automaton.arcs and not automaton.accepts("note milk")
    assert isinstance(automaton.parse("note milk"), Parse)


def test_many_values_cost_their_sum() -> None:
    @tool(phrases=["from {a} to {b} by {c}", "(count|go) {a} {b} {c}"])
    def count(a: int, b: int, c: int) -> None:
        """Count."""

    automaton = Automaton.of([count])
    assert automaton.sentences > 10_000**3  # "go twenty five …" may be read two ways, so it is not exactly three times
    assert automaton.states < 200


def test_too_much_to_listen_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveagent.automaton.MAX_STATES", 40)
    rng = Random(1)
    many = [" ".join(rng.choice(["ab", "bc", "cd", "de"]) for _ in range(8)) for _ in range(600)]
    with pytest.raises(ConfigError, match="the questions list has most values"):
        Automaton.of([], many[:60])
    with pytest.raises(ConfigError, match="too many different sentences"):
        Automaton.of([], many)


def test_nothing_at_all() -> None:
    automaton = Automaton.of([])
    assert automaton.arcs == () and automaton.sentences == 0 and not automaton.accepts("")
    assert automaton.parse("hello") is None


def test_questions_have_no_arguments() -> None:
    with pytest.raises(ConfigError, match="only tools have arguments"):
        Automaton.of([], ["say {x}"])
    with pytest.raises(ConfigError, match="list of phrases"):
        Automaton.of([], "who are you")
