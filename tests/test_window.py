"""Plans against a slow, obvious model: try every number of oldest units and take the first that is enough."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan, Hole, Kind, Ledger, Move, Span
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
    _check_moves(ledger, got)
    ledger.apply(got)
    ledger.check()
    assert plan(ledger, budget).spans == () or got.short_tokens > 0


def _check_moves(ledger: Ledger, got: CachePlan) -> None:
    """What is left stands without holes and in order; the longest stretch has not moved, or the newest while a reply
    sounds."""
    by = {slot: move.by for move in got.moves for slot in range(move.start, move.start + move.length)}
    gone = {slot for hole in got.holes for slot in range(hole.start, hole.end)}
    stretches: list[list[int]] = [[]]
    for slot in range(ledger.first, ledger.end):
        if slot not in gone:
            stretches[-1].append(slot)
        elif stretches[-1]:
            stretches.append([])
    places = [slot + by.get(slot, 0) for stretch in stretches for slot in stretch]
    assert places == list(range(places[0], places[0] + len(places)))
    still = [stretch for stretch in stretches if stretch and stretch[0] not in by]
    if ledger.first_unplayed < ledger.end:
        assert all(slot not in by for slot in range(ledger.first_unplayed, ledger.end))
    elif got:
        assert len(still) == 1 and len(still[0]) == max(map(len, stretches))
    assert not gone.intersection(by)


# --- pictures


def _album(times_s: Sequence[float], length: int = 10) -> Ledger:
    ledger = Ledger()
    ledger.append("system", 10, 0)
    for t_s in times_s:
        ledger.append("picture", length, round(t_s * 1e9))
    return ledger


def _left(ledger: Ledger, got: CachePlan) -> list[Span]:
    ledger.apply(got)
    ledger.check()
    return [span for span in ledger.spans if span.kind == "picture"]


def test_a_turn_that_goes_leaves_its_pictures_behind() -> None:
    ledger = Ledger()
    ledger.append("system", 10, 0)
    for turn in range(5):
        ledger.begin_turn()
        ledger.append("text", 20, turn)
        ledger.append("picture", 5, turn)
        ledger.append("text", 20, turn)
    left = _left(ledger, plan(ledger, Budget(400, 200, 120)))
    assert len(left) == 5 and {span.turn for span in ledger.spans if span.kind == "text"} == {4, 5}


def test_pictures_have_marks_of_their_own() -> None:
    ledger = _album([10 * n for n in range(8)])
    budget = Budget(400, 300, 300, 79, 50)
    assert len(_left(ledger, plan(ledger, budget))) == 5
    assert plan(ledger, budget) == CachePlan()


def test_kept_pictures_are_spaced_like_their_ages() -> None:
    """An hour of a picture every second within 16 pictures: ages in a row, none more than three times the one before,
    the first of them seconds, the last most of the hour."""
    ledger, budget = _album([0]), Budget(400, 300, 300, 160, 160)
    for second in range(1, 3600):
        ledger.append("picture", 10, second * 10**9)
        left = _left(ledger, plan(ledger, budget))
        assert len(left) == min(second + 1, 16)
    ages = [3599 - span.t_ns / 1e9 for span in reversed(left)]
    assert ages[0] == 0 and ages[1] <= 3 and ages[-1] >= 1200
    assert all(one < two <= 3 * max(1, one) for one, two in zip(ages, ages[1:], strict=False))


def test_a_keyframe_waits_for_what_depends_on_it() -> None:
    ledger = Ledger()
    ledger.append("system", 10, 0)
    frame = ledger.append("picture", 10, 0)
    for second in (1, 2, 3):
        ledger.append("picture", 4, second * 10**9, depends_on=[frame.id])
    left = _left(ledger, plan(ledger, Budget(100, 90, 90, 20, 1)))
    assert [span.id for span in left] == [frame.id, frame.id + 3], "the newest stays, and so does what it needs"
    ledger.append("picture", 10, 4 * 10**9)
    left = _left(ledger, plan(ledger, Budget(100, 90, 90, 20, 1)))
    assert [span.t_ns for span in left] == [4 * 10**9]


def test_pictures_past_their_age_go() -> None:
    ledger = _album([0, 100, 200, 300])
    ledger.append("text", 1, 305 * 10**9)
    left = _left(ledger, plan(ledger, Budget(400, 300, 300, picture_age_s=150)))
    assert [span.t_ns for span in left] == [200 * 10**9, 300 * 10**9]


def test_when_no_turn_may_go_pictures_go_below_their_mark() -> None:
    ledger = _album([10 * n for n in range(8)])
    ledger.append("text", 40, 0)
    got = plan(ledger, Budget(200, 100, 90, 80, 80))
    assert got.evicted_tokens == 30 and got.short_tokens == 10 and len(_left(ledger, got)) == 5


@pytest.mark.parametrize(("high", "low"), [(10, 11), (200, 10), (0, 0)])
def test_a_picture_budget_that_cannot_be_is_a_config_error(high: int, low: int) -> None:
    with pytest.raises(ConfigError, match="pictures"):
        Budget(100, 90, 80, high, low)


@st.composite
def albums(draw: st.DrawFn) -> Ledger:
    """Talk with pictures in it, some of them changes of earlier ones."""
    ledger = Ledger()
    ledger.append("system", draw(st.integers(1, 10)), 0)
    now = 0
    for _ in range(draw(st.integers(0, 16))):
        now += draw(st.integers(0, 20)) * 10**9
        if draw(st.booleans()):
            frames = [span.id for span in ledger.spans if span.kind == "picture"]
            needs = draw(st.lists(st.sampled_from(frames), max_size=1)) if frames else []
            ledger.append("picture", draw(st.integers(1, 9)), now, depends_on=needs)
        else:
            if draw(st.booleans()):
                ledger.begin_turn()
            ledger.append(draw(st.sampled_from(("text", "reply"))), draw(st.integers(1, 9)), now)
    ledger.mark_heard(draw(st.integers(ledger.first, ledger.end)))
    return ledger


def _closure(spans: Sequence[Span], ids: set[int]) -> set[int]:
    more = ids | {s.id for s in spans if ids.intersection(s.depends_on)}
    return more if more == ids else _closure(spans, more)


def _album_model(ledger: Ledger, high: int, low: int) -> set[int]:
    """What goes of pictures alone, found the slow way: the whole question asked anew for each that goes."""
    spans, gone = list(ledger.spans), set[int]()
    if sum(s.length for s in spans if s.kind == "picture") <= high:
        return gone
    while True:
        left = [s for s in spans if s.id not in gone]
        pictures = [s for s in left if s.kind == "picture"]
        if sum(s.length for s in pictures) <= low:
            return gone
        best: tuple[float, int] | None = None
        for older, span, newer in zip([None, *pictures], pictures, pictures[1:], strict=False):
            if any(span.id in s.depends_on for s in left) or span.end > ledger.first_unplayed or span is spans[-1]:
                continue
            age = max(1, pictures[-1].t_ns - span.t_ns)
            lowest = span.t_ns - age if older is None else older.t_ns
            best = min(best or (math.inf, 0), ((newer.t_ns - lowest) / age, span.id))
        if best is None:
            return gone
        gone.add(best[1])


@settings(max_examples=150, deadline=None)
@given(ledger=albums(), high=st.integers(2, 60), less=st.integers(0, 30))
def test_every_thinning_is_the_models(ledger: Ledger, high: int, less: int) -> None:
    low = max(1, high - less)
    before = ledger.spans
    got = plan(ledger, Budget(1000, 1000, 1000, high, low))
    assert set(got.spans) == _album_model(ledger, high, low)
    assert set(got.spans) == _closure(before, set(got.spans))
    assert ledger.spans == before
    _check_moves(ledger, got)
    ledger.apply(got)
    ledger.check()


@settings(max_examples=100, deadline=None)
@given(ledger=albums(), low=st.integers(10, 60), high=st.integers(1, 40))
def test_with_both_budgets_turns_go_as_if_pictures_were_not_asked(ledger: Ledger, low: int, high: int) -> None:
    """Whatever goes: never the newest span or picture, never without its dependents, never what sounds; and oldest
    turns first."""
    high = min(high, low)
    spans, limit = ledger.spans, ledger.first_unplayed
    got = plan(ledger, Budget(1000, low, low, high, high))
    gone = set(got.spans)
    assert gone == _closure(spans, gone)
    pictures = [s.id for s in spans if s.kind == "picture"]
    assert not gone.intersection([spans[-1].id, *pictures[-1:]])
    assert all(s.end <= limit and not s.pinned for s in spans if s.id in gone)
    turns = [s.turn for s in spans if s.kind != "picture" and not s.pinned]
    left = [s.turn for s in spans if s.kind != "picture" and not s.pinned and s.id not in gone]
    assert not left or turns[-len(left) :] == left
    _check_moves(ledger, got)
    ledger.apply(got)
    assert ledger.used_tokens <= low or got.short_tokens > 0
