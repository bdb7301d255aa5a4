"""The ledger against a slow, obvious model: one Python object a token."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan, Hole, Kind, Ledger, SpanWord
from liveagent.window import Budget, plan

BODY: tuple[Kind, ...] = ("text", "audio", "reply", "call", "result", "mark", "picture", "scratch")


@dataclass(frozen=True)
class Token:
    """What the model knows of one token: an own identity, and whether it was heard."""

    name: int
    span: int
    kind: str
    pinned: bool
    heard: bool


class LedgerModel(RuleBasedStateMachine):
    """Any mix of appends, growth, take-backs, playback and evictions leaves the tokens that the model says."""

    @initialize(prefix=st.integers(1, 12))
    def write_prefix(self, prefix: int) -> None:
        self.ledger = Ledger()
        self.tokens: list[Token] = []
        self.names = 0
        self.evicted = 0
        self.ledger.append("system", prefix, 0)
        self._write(0, "system", prefix)

    def _write(self, span: int, kind: str, length: int) -> None:
        for _ in range(length):
            self.tokens.append(Token(self.names, span, kind, span == 0, False))
            self.names += 1

    @rule(kind=st.sampled_from(BODY), length=st.integers(1, 9), turn=st.booleans(), data=st.data())
    def append(self, kind: Kind, length: int, turn: bool, data: st.DataObject) -> None:
        if turn:
            self.ledger.begin_turn()
        held = [span.id for span in self.ledger.spans if not span.pinned]
        depends = data.draw(st.lists(st.sampled_from(held), max_size=2, unique=True)) if held else []
        ends = sorted(data.draw(st.sets(st.integers(1, length), max_size=3)))
        words = [SpanWord(f"w{end}", end) for end in ends]
        span = self.ledger.append(kind, length, self.names, words=words, depends_on=depends)
        self._write(span.id, kind, length)

    @precondition(lambda self: len(self.ledger.spans) > 1)
    @rule(tokens=st.integers(0, 4))
    def grow(self, tokens: int) -> None:
        span = self.ledger.grow(tokens)
        self._write(span.id, span.kind, tokens)

    @rule(back=st.integers(0, 30))
    def truncate(self, back: int) -> None:
        slot = max(self.ledger.end - back, self.ledger.first + self.ledger.pinned_tokens)
        gone = self.ledger.truncate(slot)
        kept = slot - self.ledger.first
        assert sum(span.length for span in gone) == len(self.tokens) - kept
        assert [span.start for span in gone] == sorted(span.start for span in gone)
        del self.tokens[kept:]

    @rule(ahead=st.integers(0, 12))
    def play(self, ahead: int) -> None:
        slot = min(self.ledger.end, self.ledger.first_unplayed + ahead)
        self.ledger.mark_heard(slot)
        for at in range(slot - self.ledger.first):
            if self.tokens[at].kind == "reply":
                self.tokens[at] = replace(self.tokens[at], heard=True)

    @rule(low=st.integers(12, 40), more=st.integers(0, 20))
    def evict(self, low: int, more: int) -> None:
        got = plan(self.ledger, Budget(1000, low + more, low))
        unplayed = [t.name for t in self.tokens if t.kind == "reply" and not t.heard]
        newest = self.tokens[-1].name
        first = self.ledger.first
        gone = {first_slot for hole in got.holes for first_slot in range(hole.start, hole.end)}
        moved = {slot: move.by for move in got.moves for slot in range(move.start, move.start + move.length)}
        assert not gone & moved.keys()
        # Where each survivor's key stands afterwards, from the plan alone: without holes, in the old order.
        places = {slot + moved.get(slot, 0): t for slot, t in enumerate(self.tokens, first) if slot not in gone}
        self.ledger.apply(got)
        self.evicted += len(gone)
        assert sorted(places) == list(range(min(places), min(places) + self.ledger.used_tokens))
        if unplayed:
            assert not any(slot >= self.ledger.first_unplayed for slot in moved), "LAW 4"
        self.tokens = [places[slot] for slot in sorted(places)]
        assert [t.name for t in self.tokens if t.kind == "reply" and not t.heard] == unplayed
        assert self.tokens[-1].name == newest

    @invariant()
    def same_as_the_model(self) -> None:
        ledger = self.ledger
        ledger.check()
        assert ledger.used_tokens == len(self.tokens)
        assert ledger.first == self.evicted
        assert [span.id for span in ledger.spans for _ in range(span.length)] == [t.span for t in self.tokens]
        assert [t.name for t in self.tokens] == sorted(t.name for t in self.tokens)
        unplayed = [at for at, t in enumerate(self.tokens, ledger.first) if t.kind == "reply" and not t.heard]
        assert ledger.first_unplayed == (unplayed[0] if unplayed else ledger.end)
        assert sum(use.tokens for use in ledger.use()) == ledger.used_tokens
        assert [t.name for t in self.tokens if t.pinned] == list(range(ledger.pinned_tokens))


TestLedgerModel = LedgerModel.TestCase
TestLedgerModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def _spoken() -> Ledger:
    ledger = Ledger()
    ledger.append("system", 4, 0)
    ledger.append("tool", 6, 0)
    ledger.begin_turn()
    ledger.append("text", 5, 100)
    ledger.append("mark", 1, 150)
    ledger.append(
        "reply", 6, 200, words=[SpanWord("the", 1), SpanWord("light", 3), SpanWord("is", 4), SpanWord("on", 6)]
    )
    return ledger


def test_a_cut_reply_keeps_exactly_its_heard_words() -> None:
    ledger = _spoken()
    ledger.mark_heard(19)  # "the light" was played: tokens 16, 17, 18
    assert ledger.first_unplayed == 19
    gone = ledger.truncate(19)
    reply = ledger.of_kind("reply")[0]
    assert [word.text for word in reply.words] == ["the", "light"] and reply.heard is True
    assert [word.text for word in gone[0].words] == ["is", "on"] and gone[0].length == 3
    assert [word.end for word in gone[0].words] == [1, 3]
    assert ledger.end == ledger.first_unplayed == 19


def test_a_word_cut_in_its_middle_is_lost_whole() -> None:
    ledger = _spoken()
    ledger.truncate(18)
    assert [word.text for word in ledger.of_kind("reply")[0].words] == ["the"]


def test_a_reply_that_grows_is_unheard_again() -> None:
    ledger = _spoken()
    ledger.mark_heard(ledger.end)
    assert ledger.of_kind("reply")[0].heard is True
    assert ledger.grow(2, [SpanWord("now", 8)]).heard is False
    assert ledger.first_unplayed == 22


def test_the_screen_sees_kinds_sizes_and_ages() -> None:
    ledger = _spoken()
    ledger.append("text", 2, 900)
    assert [(use.kind, use.spans, use.tokens, use.oldest_ns) for use in ledger.use()] == [
        ("system", 1, 4, 0), ("tool", 1, 6, 0), ("text", 2, 7, 100), ("reply", 1, 6, 200), ("mark", 1, 1, 150),
    ]  # fmt: skip


def test_what_cannot_be_is_refused() -> None:
    ledger = _spoken()
    with pytest.raises(ValueError, match="no kind"):
        ledger.append("smell", 1, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one"):
        ledger.append("text", 0, 0)
    with pytest.raises(ValueError, match="still held"):
        ledger.append("result", 1, 0, depends_on=[99])
    with pytest.raises(ValueError, match="words lie inside"):
        ledger.append("text", 2, 0, words=[SpanWord("a", 3)])
    with pytest.raises(ValueError, match="pinned"):
        ledger.truncate(9)
    with pytest.raises(ValueError, match="not held"):
        ledger.truncate(ledger.end + 1)
    with pytest.raises(ValueError, match="never written"):
        ledger.mark_heard(ledger.end + 1)
    with pytest.raises(ValueError, match="only a span"):
        Ledger().grow(1)
    with pytest.raises(ValueError, match="another ledger"):
        ledger.apply(CachePlan(holes=(Hole(10, 5),), spans=(77,)))


def test_a_tool_span_inside_a_turn_is_not_pinned() -> None:
    ledger = _spoken()
    ledger.append("tool", 3, 0)
    assert ledger.pinned_tokens == 10
    with pytest.raises(ConfigError):
        plan(ledger, Budget(100, 20, 9))


def test_what_is_put_back_stays_who_it_was() -> None:
    ledger = _spoken()
    frame = ledger.append("picture", 4, 950)
    part = ledger.append("picture", 2, 960, depends_on=[frame.id])
    text = ledger.append("text", 5, 970)
    gone = ledger.truncate(text.start + 2)
    assert ledger.put_back(gone[0]).id == text.id + 1, "the beginning of that span is still held"
    gone = ledger.truncate(frame.start)
    mark = ledger.append("mark", 1, 980)
    back = [ledger.put_back(span) for span in gone if span.kind == "picture"]
    assert [(span.id, span.depends_on) for span in back] == [(frame.id, ()), (part.id, (frame.id,))]
    assert [span.t_ns for span in back] == [950, 960]
    assert ledger.append("text", 1, 990).id > mark.id
    ledger.check()
