"""The benches of calls on a small scale: what they find where all is well, and that they find it where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from liveagent.bench import once, policy
from liveagent.bench.effects import judge
from liveagent.policy import Confirmations, Judge
from liveagent.ports.call_journal import Row
from liveagent.transaction import State, Transaction
from tests.broker import needs_mosquitto


@pytest.mark.slow
def test_nothing_runs_that_nobody_approved_and_what_was_approved_does() -> None:
    found = policy.run(["heard", "returned"], ["claim", "changed", "limits", "rate"], ["none", "replay"])
    assert (found["unapproved_hazards"], found["over_rate"], found["approved_done"]) == (0, 0, 1.0)
    assert found["detail"]["calls_made_by_the_model"] > 100 and found["detail"]["ran"]["unlock"] == 10


@pytest.mark.parametrize("hole", ["any token", "no question", "no limits"])
def test_the_bench_of_attacks_finds_a_hole(monkeypatch: pytest.MonkeyPatch, hole: str) -> None:
    if hole == "any token":

        def yes(self: Confirmations, call_id: str, *_: Any) -> str:
            return "unknown" if self._open.pop(call_id, None) is None else "yes"

        monkeypatch.setattr(Confirmations, "answer", yes)
    else:
        judge = Judge.judge

        def lax(self: Judge, name: str, risk: Any, args: Any, t_ns: int) -> Any:
            every = hole == "no limits"
            return judge(self, "stop" if every else name, "observe", {} if every else args, t_ns)

        monkeypatch.setattr(Judge, "judge", lax)
    found = policy.run(["seen"], ["call", "limits"], ["guess"])
    assert found["unapproved_hazards"] > 0 and found["detail"]["broken"]


ZEROS = dict.fromkeys(
    ["unaccounted", "duplicated", "past_deadline", "done_without_effect", "refused_with_effect", "asked_twice"], 0
)


@pytest.mark.slow
@needs_mosquitto
def test_a_few_calls_under_kills_end_once() -> None:
    found = once.run(60, lives_s=(0.1, 0.5), robot_lives_s=(0.3, 1.0), broker_lives_s=(0.3, 1.0))
    detail = found.pop("detail")
    assert found == ZEROS
    assert sum(detail["ended"].values()) == 60 and detail["ended"]["done"] >= 10
    assert set(detail["kills"]) == {"agent", "broker", "robot"} and all(detail["kills"].values())


def row(number: int, state: State = "done", name: str = "press", released_ms: int | None = 1000) -> Row:
    call = Transaction(f"k{number}", "s", f"call_{number}", name, deadline_ms=50, state=state)
    return Row(call, 900, "", "run", released_ms)


def effect(number: int, at_ms: float = 1010, took_ms: float | None = None, key: str = "") -> dict[str, Any]:
    return {"number": number, "key": key or f"k{number}", "at_ms": at_ms, "took_ms": took_ms}


ROWS = [row(0), row(1, name="act"), row(2, "refused", released_ms=None), row(3, "asked"), row(4, "failed", "jam")]
HAD = [effect(0), effect(1, 2000, took_ms=49), effect(3), effect(4)]


@pytest.mark.parametrize(
    ("fault", "rows", "had", "asked"),
    [
        ("", ROWS, HAD, ["call_3"]),
        ("unaccounted", ROWS[1:], HAD[1:], []),  # a row is lost
        ("unaccounted", [row(0, "accepted"), *ROWS[1:]], HAD, []),  # one never ends
        ("unaccounted", ROWS, [*HAD, effect(7)], []),  # something was done that nobody wrote down before
        ("duplicated", ROWS, [*HAD, effect(3)], []),
        ("duplicated", ROWS, [*HAD[:2], effect(3, key="k0"), effect(4)], []),  # the key of another
        ("past_deadline", ROWS, [effect(0, 1051), *HAD[1:]], []),
        ("past_deadline", ROWS, [HAD[0], effect(1, 1001, took_ms=51), *HAD[2:]], []),
        ("done_without_effect", ROWS, HAD[1:], []),
        ("refused_with_effect", ROWS, [*HAD, effect(2)], []),  # it was never sent
        ("refused_with_effect", [row(0, "failed"), *ROWS[1:]], HAD, []),
        ("asked_twice", ROWS, HAD, ["call_3", "call_3"]),
    ],
)
def test_the_judge_finds_what_is_planted(
    fault: str, rows: list[Row], had: list[dict[str, Any]], asked: list[str]
) -> None:
    found = judge(5, rows, had, asked)
    found.pop("detail")
    assert found == {key: int(key == fault) for key in ZEROS}
