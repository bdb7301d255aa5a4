"""The benches of calls on a small scale: what they find where all is well, and that they find it where it is not."""

from __future__ import annotations

from typing import Any

import pytest

from liveagent.bench import once, policy
from liveagent.policy import Confirmations, Judge


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


@pytest.mark.slow
def test_a_few_calls_under_kills_end_once() -> None:
    found = once.run(60, lives_s=(0.1, 0.4))
    assert {key: found[key] for key in found if key != "detail"} == {
        "unaccounted": 0, "duplicated": 0, "past_deadline": 0, "done_without_effect": 0, "asked_twice": 0,
    }  # fmt: skip
    assert found["detail"]["ended"]["done"] >= 10 and "refused" in found["detail"]["ended"]
