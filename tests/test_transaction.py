"""A call's way: which step may follow which, and what a crash makes of it."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest

from liveagent.errors import ProtocolError
from liveagent.transaction import ENDS, FOLLOWS, State, Transaction, after_a_crash, key_of

STATES: tuple[State, ...] = get_args(State)


def test_every_state_is_an_end_or_leads_to_one() -> None:
    assert set(STATES) == set(FOLLOWS) | ENDS and not set(FOLLOWS) & ENDS
    for state in FOLLOWS:
        reached, todo = set[State](), [state]
        while todo:
            for each in FOLLOWS.get(todo.pop(), ()):
                if each not in reached:
                    reached.add(each)
                    todo.append(each)
        assert reached & ENDS


def test_nothing_is_released_that_was_not_journalled_and_nothing_sent_is_taken_back() -> None:
    assert [state for state in STATES if "released" in FOLLOWS.get(state, ())] == ["journalled"]
    for state in ("released", "accepted"):
        assert not {"taken_back", "refused", "journalled", "released"} & set(FOLLOWS[state])


def test_a_step_that_there_is_not() -> None:
    for one, other in itertools.product(STATES, STATES):
        call = Transaction("k", "s", "call_1", "heat", state=one)
        if other in FOLLOWS.get(one, ()):
            assert call.to(other, "why").reason == "why"
        else:
            with pytest.raises(ProtocolError, match=f"{one} cannot become {other}"):
                call.to(other)


def test_after_a_crash_what_was_sent_is_asked_about_and_the_rest_never_sent() -> None:
    assert {state: after_a_crash(state) for state in FOLLOWS} == {
        "decided": "expired", "held": "expired", "confirming": "expired", "journalled": "expired",
        "released": "asked", "accepted": "asked",
    }  # fmt: skip
    assert all(after_a_crash(state) == state for state in ENDS)


def test_a_key_names_one_call_of_one_session() -> None:
    keys = [
        key_of(session, call, name, args)
        for session, call, name, args in itertools.product("ab", ("1", "2"), ("heat", "cool"), ({}, {"a": 1}))
    ]
    assert len(set(keys)) == len(keys) == 16 and key_of("a", "1", "heat", {}) == keys[0]
