"""The policy: what is refused, what waits for a person, and what counts as a person's yes."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent import Agent, tool
from liveagent.errors import ConfigError
from liveagent.policy import (
    MINUTE_NS,
    MOST_QUESTIONS,
    RISKS,
    SECOND_NS,
    Allowed,
    Confirm,
    Confirmations,
    Judge,
    Limits,
    Policy,
    Refused,
    Risk,
    digest_of,
)

ARGS: dict[str, Any] = {"celsius": 21, "room": "kitchen"}


def judged(policy: Policy, risk: Risk = "reversible", **args: Any) -> object:
    return Judge(policy).judge("heat", risk, {**ARGS, **args}, 0)


@pytest.mark.parametrize(
    ("risk", "what"), [("observe", Allowed), ("reversible", Allowed), ("hazard", Confirm), ("forbidden", Refused)]
)
def test_what_each_risk_comes_to(risk: Risk, what: type) -> None:
    assert isinstance(judged(Policy(), risk), what)


def test_a_policy_is_stricter_than_a_tool_and_never_laxer() -> None:
    for own, asked in itertools.product(RISKS, RISKS):
        found = Policy(limits={"heat": Limits(risk=asked)}).risk("heat", own)
        assert RISKS.index(found) == max(RISKS.index(own), RISKS.index(asked))
    assert Policy().risk("heat", "hazard") == "hazard"


def test_lists_and_ranges() -> None:
    policy = Policy(allow=["heat"], limits={"heat": Limits(ranges={"celsius": (5, 24)}, only={"room": ["kitchen"]})})
    assert judged(policy) == Allowed()
    for args, reason in (
        ({"celsius": 24.5}, "range"), ({"celsius": float("nan")}, "range"), ({"celsius": "21"}, "range"),
        ({"celsius": True}, "range"), ({"room": "sauna"}, "value"), ({"room": ["kitchen"]}, "value"),
    ):  # fmt: skip
        found = judged(policy, **args)
        assert isinstance(found, Refused) and found.reason == reason, args
    assert judged(policy, celsius=None) == Allowed(), "what is not given is not out of range"
    other = Judge(policy).judge("open", "observe", {}, 0)
    assert isinstance(other, Refused) and other.reason == "not_allowed"


def test_rates_are_counted_for_each_tool_and_a_stop_is_not_counted() -> None:
    judge = Judge(Policy(per_second=2, per_minute=3, limits={"pour": Limits(per_minute=1)}))

    def at(name: str, t_ns: int) -> bool:
        return isinstance(judge.judge(name, "reversible", {}, t_ns), Allowed)

    assert [at("heat", t) for t in (0, 1, 2)] == [True, True, False]
    assert at("heat", SECOND_NS) and not at("heat", 3 * SECOND_NS), "the minute's are used up"
    assert at("heat", MINUTE_NS + 1)
    assert at("pour", 0) and not at("pour", 2 * SECOND_NS)
    assert all(at("stop", 0) for _ in range(100))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limits(risk="some"),  # type: ignore[arg-type]
        lambda: Limits(per_second=-1),
        lambda: Limits(ranges={"a": (2, 1)}),
        lambda: Policy(allow="heat"),
        lambda: Policy(confirm_s=16),
        lambda: Policy(confirm_s=0),
        lambda: Policy(per_minute=True),
        lambda: Agent(policy={}),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_policy_is_said_to_be(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


def test_a_policy_that_limits_what_a_tool_does_not_take() -> None:
    @tool
    def heat(celsius: int) -> None:
        """Heat."""

    Agent(tools=[heat], policy=Policy(limits={"heat": Limits(ranges={"celsius": (5, 24)}), "later": Limits()}))
    with pytest.raises(ConfigError, match="'kelvin' of tool 'heat'"):
        Agent(tools=[heat], policy=Policy(limits={"heat": Limits(ranges={"kelvin": (5, 24)})}))


def asked() -> tuple[Confirmations, str]:
    count = itertools.count()
    confirmations = Confirmations(lambda: f"token {next(count)}")
    found = confirmations.ask("call_1", "heat", ARGS, 100)
    assert found is not None
    return confirmations, found[1]


def test_one_yes_is_good_for_one_call_once() -> None:
    confirmations, token = asked()
    assert confirmations.answer("call_1", token, True, "heat", dict(reversed(ARGS.items())), 99) == "yes"
    assert confirmations.answer("call_1", token, True, "heat", ARGS, 99) == "unknown"
    confirmations, token = asked()
    assert confirmations.answer("call_1", token, False, "heat", ARGS, 0) == "no"


@pytest.mark.parametrize(
    ("call_id", "token", "name", "args", "t_ns", "found"),
    [
        ("call_2", None, "heat", ARGS, 0, "unknown"),
        ("call_1", "", "heat", ARGS, 0, "wrong"),
        ("call_1", "token 1", "heat", ARGS, 0, "wrong"),
        ("call_1", "\ud800", "heat", ARGS, 0, "wrong"),
        ("call_1", None, "heat", ARGS, 100, "expired"),
        ("call_1", None, "cool", ARGS, 0, "changed"),
        ("call_1", None, "heat", {**ARGS, "celsius": 22}, 0, "changed"),
        ("call_1", None, "heat", {**ARGS, "celsius": 21.0}, 0, "changed"),
        ("call_1", None, "heat", {"celsius": 21}, 0, "changed"),
    ],
)
def test_no_other_yes_counts(call_id: str, token: str | None, name: str, args: Any, t_ns: int, found: str) -> None:
    confirmations, own = asked()
    assert confirmations.answer(call_id, own if token is None else token, True, name, args, t_ns) == found


def test_guessing_closes_a_question_and_another_link_voids_its_token() -> None:
    confirmations, token = asked()
    assert [confirmations.answer("call_1", "guess", True, "heat", ARGS, 0) for _ in range(3)] == [
        "wrong", "wrong", "closed",
    ]  # fmt: skip
    assert confirmations.answer("call_1", token, True, "heat", ARGS, 0) == "unknown"
    confirmations, token = asked()
    fresh = confirmations.again("call_1")
    assert fresh is not None and confirmations.again("call_2") is None
    assert confirmations.answer("call_1", token, True, "heat", ARGS, 0) == "wrong"
    assert confirmations.answer("call_1", fresh, True, "heat", ARGS, 0) == "yes"


def test_so_much_is_asked_at_once_and_no_more() -> None:
    confirmations, _ = asked()
    assert confirmations.ask("call_1", "heat", ARGS, 100) is None, "a call is asked about once"
    for at in range(2, MOST_QUESTIONS + 1):
        assert confirmations.ask(f"call_{at}", "heat", ARGS, 100) is not None
    assert confirmations.ask("call_9", "heat", ARGS, 100) is None
    confirmations.drop("call_1")
    assert confirmations.ask("call_9", "heat", ARGS, 100) is not None


VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)


GIVEN = st.dictionaries(st.text(max_size=4), VALUES, max_size=4)


@given(GIVEN, GIVEN)
def test_two_calls_have_one_digest_only_if_they_are_one(one: dict[str, Any], other: dict[str, Any]) -> None:
    same = repr(sorted(one.items(), key=repr)) == repr(sorted(other.items(), key=repr))
    assert (digest_of("heat", one) == digest_of("heat", other)) == same
    assert digest_of("heat", one) != digest_of("cool", one)
