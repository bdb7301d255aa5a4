"""Plans against a slow, obvious model: try every number of oldest units and take the first that is enough."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan, Hole, Kind, Ledger, Move
from liveagent.window import Budget, plan


def _conversation(turns: int, prefix: int = 10, length: int = 10) -> Ledger:
    """Turns of user text, a call, its result, and a reply that was heard."""
    ledger = Ledger()
    ledger.append("system", prefix, 0)
    for turn in range(turns):
        ledger.begin_turn()
        ledger.append("text", length, turn * 1000)
        call = ledger.append("call", length, turn * 1000 + 1)
        ledger.append("result", length, turn * 1000 + 2, depends_on=[call.id])
        ledger.append("reply", length, turn * 1000 + 3)
        ledger.mark_heard(ledger.end)
    return ledger


def test_nothing_goes_at_the_high_water_mark() -> None:
    assert plan(_conversation(3), Budget(200, 130, 60)) == CachePlan()
    assert not plan(_conversation(3), Budget(200, 130, 60))


def test_whole_oldest_turns_go_and_the_prefix_moves_forward() -> None:
    ledger = _conversation(4)  # 10 + 4 * 40
    got = plan(ledger, Budget(200, 169, 100))
    assert got.holes == (Hole(10, 80),) and got.moves == (Move(0, 10, 80),) and got.short_tokens == 0
    ledger.apply(got)
    ledger.check()
    assert (ledger.first, ledger.end, ledger.used_tokens) == (80, 170, 90)
    assert [span.turn for span in ledger.spans] == [0, 3, 3, 3, 3, 4, 4, 4, 4]


def test_dependents_in_a_later_turn_go_along_and_what_is_between_moves() -> None:
    ledger = Ledger()
    ledger.append("system", 10, 0)
    ledger.begin_turn()
    call = ledger.append("call", 10, 0)
    ledger.begin_turn()
    ledger.append("text", 10, 0)
    ledger.append("result", 10, 0, depends_on=[call.id])
    ledger.append("text", 10, 0)
    got = plan(ledger, Budget(100, 49, 30))
    assert got.holes == (Hole(10, 10), Hole(30, 10))
    assert got.moves == (Move(0, 10, 20), Move(20, 10, 10))
    ledger.apply(got)
    ledger.check()


def test_nothing_at_or_after_the_first_unplayed_token_goes() -> None:
    ledger = _conversation(1)
    ledger.begin_turn()
    ledger.append("text", 10, 0)
    ledger.append("reply", 50, 0)
    ledger.begin_turn()
    ledger.append("text", 30, 0)
    ledger.begin_turn()
    ledger.append("text", 30, 0)
    got = plan(ledger, Budget(200, 100, 60))
    assert got.holes == (Hole(10, 40),), "turn 2 still sounds, and turn 3 lies behind it"
    assert got.short_tokens == 170 - 40 - 60
    ledger.apply(got)
    ledger.mark_heard(ledger.end)
    assert plan(ledger, Budget(200, 100, 60)).short_tokens == 0


def test_an_endless_turn_gives_up_its_own_oldest_spans_but_never_its_newest() -> None:
    ledger = Ledger()
    ledger.append("system", 10, 0)
    ledger.begin_turn()
    for second in range(20):
        ledger.append("audio", 10, second)
    got = plan(ledger, Budget(300, 100, 50))
    ledger.apply(got)
    assert ledger.used_tokens == 50 and ledger.spans[-1].t_ns == 19 and got.holes == (Hole(10, 160),)
    ledger.append("audio", 500, 99)
    got = plan(ledger, Budget(600, 100, 50))
    ledger.apply(got)
    assert [span.length for span in ledger.spans] == [10, 500] and got.short_tokens == 460


def test_the_scratch_branch_stays() -> None:
    ledger = _conversation(1)
    ledger.append("scratch", 60, 0)
    ledger.append("scratch", 5, 0)
    got = plan(ledger, Budget(200, 60, 50))
    ledger.apply(got)
    assert [span.kind for span in ledger.spans] == ["system", "scratch", "scratch"]


@pytest.mark.parametrize(("capacity", "high", "low"), [(10, 11, 5), (10, 5, 6), (10, 5, 0), (0, 0, 0)])
def test_a_budget_that_cannot_be_is_a_config_error(capacity: int, high: int, low: int) -> None:
    with pytest.raises(ConfigError):
        Budget(capacity, high, low)


def test_a_prefix_that_does_not_fit_says_what_to_do() -> None:
    ledger = Ledger()
    ledger.append("system", 80, 0)
    with pytest.raises(ConfigError, match="shorten the instructions"):
        plan(ledger, Budget(100, 90, 79))


KINDS: tuple[Kind, ...] = ("text", "audio", "reply", "call", "result", "mark", "scratch")


@st.composite
def ledgers(draw: st.DrawFn) -> Ledger:
    ledger = Ledger()
    ledger.append("system", draw(st.integers(1, 10)), 0)
    for _ in range(draw(st.integers(0, 14))):
        if draw(st.booleans()):
            ledger.begin_turn()
        kind = draw(st.sampled_from(KINDS))
        earlier = [span.id for span in ledger.spans if not span.pinned]
        needs = draw(st.lists(st.sampled_from(earlier), max_size=1)) if earlier else []
        ledger.append(kind, draw(st.integers(1, 9)), 0, depends_on=needs)
    ledger.mark_heard(draw(st.integers(ledger.first, ledger.end)))
    return ledger


def _model(ledger: Ledger, budget: Budget) -> set[int]:
    """The ids that go, found the slow way."""
    if ledger.used_tokens <= budget.high_tokens:
        return set()
    spans = ledger.spans
    units: list[set[int]] = []
    for turn in range(1, ledger.turn):
        units.append({s.id for s in spans if s.turn == turn})
    units += [{s.id} for s in spans if s.turn == ledger.turn and s.turn > 0]
    best: set[int] = set()
    for count in range(len(units) + 1):
        gone = set[int]().union(*units[:count])
        while True:
            more = gone | {s.id for s in spans if gone.intersection(s.depends_on)}
            if more == gone:
                break
            gone = more
        forbidden = any(
            s.pinned or s.kind == "scratch" or s.end > ledger.first_unplayed or s is spans[-1]
            for s in spans
            if s.id in gone
        )
        if forbidden:
            break
        best = gone
        if ledger.used_tokens - sum(s.length for s in spans if s.id in gone) <= budget.low_tokens:
            break
    return best


@settings(max_examples=200, deadline=None)
@given(ledger=ledgers(), low=st.integers(10, 60), more=st.integers(0, 30))
def test_every_plan_is_the_models(ledger: Ledger, low: int, more: int) -> None:
    budget = Budget(1000, low + more, low)
    before = ledger.spans
    got = plan(ledger, budget)
    assert set(got.spans) == _model(ledger, budget)
    assert ledger.spans == before, "planning changes nothing"
    assert got.evicted_tokens == sum(s.length for s in before if s.id in set(got.spans))
    for one, two in zip(got.holes, got.holes[1:], strict=False):
        assert one.end < two.start
    if got or ledger.used_tokens > budget.high_tokens:
        left = ledger.used_tokens - got.evicted_tokens
        assert got.short_tokens == max(0, left - low)
    # A move is by exactly the holes after it, and every token before the last hole is in a hole or a move.
    for move in got.moves:
        assert move.by == sum(hole.length for hole in got.holes if hole.start >= move.start + move.length)
    if got:
        touched = sorted([(h.start, h.length) for h in got.holes] + [(m.start, m.length) for m in got.moves])
        at = ledger.first
        for start, length in touched:
            assert start == at
            at += length
        assert at == got.holes[-1].end
    ledger.apply(got)
    ledger.check()
    assert plan(ledger, budget).spans == () or got.short_tokens > 0
