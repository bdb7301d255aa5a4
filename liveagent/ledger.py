"""What every token in the cache is: from when, heard or not, and on what it depends.

A slot number here is a token's *place in order*. Where the cache keeps the token's keys is the cache's own affair: it
keeps a table from place to row. Places run without holes from `Ledger.first` to `Ledger.end`. Appending and taking back
happen at the end; what is evicted inside closes up from the *front*: everything older than the hole gets a place higher
by its length, and `first` grows, so the place of the next token never goes back. `window.plan` says what goes,
`Ledger.apply` and the cache both obey the same plan. (How far keys are turned is the plan's `moves`: attention knows
distances alone, so a plan may let the older part move, or the newer.)

Laws kept here: 4 (which reply tokens were heard) and, with `window.py`, 5 (memory is bounded).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

Kind: TypeAlias = Literal["system", "tool", "text", "audio", "reply", "call", "result", "mark", "picture", "scratch"]
KINDS: tuple[Kind, ...] = get_args(Kind)
PINNED: frozenset[Kind] = frozenset({"system", "tool"})


@dataclass(frozen=True, slots=True)
class SpanWord:
    """A word of a span; its tokens end before the span's own token `end` (counted from the span's start)."""

    text: str
    end: int


@dataclass(frozen=True, slots=True)
class Span:
    """`length` tokens of one kind from slot `start` on.

    heard: for a reply, whether *all* its tokens were played; None for what nobody plays. `heard_tokens` counts them.
    depends_on: ids of spans without which this one means nothing (a result on its call); it goes when they go.
    turn: 0 for the pinned prefix, then 1, 2, … per exchange; a turn is evicted whole, but for its pictures.
    """

    id: int
    kind: Kind
    start: int
    length: int
    t_ns: int
    turn: int
    heard: bool | None = None
    heard_tokens: int = 0
    depends_on: tuple[int, ...] = ()
    words: tuple[SpanWord, ...] = ()

    @property
    def end(self) -> int:
        """The slot after the last."""
        return self.start + self.length

    @property
    def pinned(self) -> bool:
        return self.turn == 0


@dataclass(frozen=True, slots=True)
class Hole:
    """`length` slots from `start` on that go."""

    start: int
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Move:
    """The keys of `length` surviving slots from `start` on turn by `by` places (back when negative), from raw keys."""

    start: int
    length: int
    by: int


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What goes and what moves; every slot number is the one *before* the plan is applied.

    holes: in order, not touching each other. moves: in order; after them the survivors' keys stand at places without
    holes. One stretch is in no hole and no move: its keys stay as they are.
    spans: ids of the spans that go. short_tokens: how far above the low water mark this leaves the cache.
    """

    holes: tuple[Hole, ...] = ()
    moves: tuple[Move, ...] = ()
    spans: tuple[int, ...] = ()
    short_tokens: int = 0

    @property
    def evicted_tokens(self) -> int:
        return sum(hole.length for hole in self.holes)

    def __bool__(self) -> bool:
        return bool(self.holes)


@dataclass(frozen=True, slots=True)
class KindUse:
    """For the screen: how much of one kind the cache holds, and since when its oldest span."""

    kind: Kind
    spans: int
    tokens: int
    oldest_ns: int


class Ledger:
    """The spans of one lane's cache, in slot order.

    Spans of kind system and tool that come before the first turn are the pinned prefix. After that, `begin_turn` opens
    exchange 1, 2, …, and everything appended belongs to the turn that is open.
    """

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._next_id = 0
        self.first = 0
        """The slot of the oldest token still held."""
        self.end = 0
        """The write pointer: the slot that the next token gets."""
        self.turn = 0

    @property
    def spans(self) -> tuple[Span, ...]:
        return tuple(self._spans)

    @property
    def used_tokens(self) -> int:
        return self.end - self.first

    @property
    def pinned_tokens(self) -> int:
        return sum(span.length for span in self._spans if span.pinned)

    @property
    def first_unplayed(self) -> int:
        """The slot of the first reply token that was not played; `end` when everything was. Nothing at or after it may
        be evicted (LAW 4)."""
        for span in self._spans:
            if span.heard is False:
                return span.start + span.heard_tokens
        return self.end

    def begin_turn(self) -> int:
        """Open the next exchange; what follows is evicted with it. Returns its number."""
        self.turn += 1
        return self.turn

    def append(
        self,
        kind: Kind,
        length: int,
        t_ns: int,
        *,
        words: Sequence[SpanWord] = (),
        depends_on: Sequence[int] = (),
    ) -> Span:
        """`length` ≥ 1 tokens were written at the end. A reply starts unheard. Opens turn 1 by itself when the first
        span comes that may not be pinned."""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is no kind of span; use one of {', '.join(KINDS)}")
        if length < 1:
            raise ValueError("a span has at least one token")
        known = {span.id for span in self._spans}
        if not known.issuperset(depends_on):
            raise ValueError("a span can only depend on spans that are still held")
        if self.turn == 0 and kind not in PINNED:
            self.begin_turn()
        heard = False if kind == "reply" else None
        span = Span(
            self._next_id, kind, self.end, length, t_ns, self.turn, heard, 0, tuple(depends_on), _fit(words, length)
        )
        self._next_id += 1
        self._spans.append(span)
        self.end += length
        return span

    def put_back(self, span: Span) -> Span:
        """A span that was taken back whole was read again at the end: as `append`, but it stays who it was (id, words,
        time, what was heard of it, and what it depends on, as far as that is held). What was the rest of a span that is
        still held is a new span."""
        held = {each.id for each in self._spans}
        back = self.append(
            span.kind, span.length, span.t_ns, words=span.words, depends_on=[i for i in span.depends_on if i in held]
        )
        if span.id not in held:
            self._next_id -= 1
            back = replace(back, id=span.id, heard=span.heard, heard_tokens=span.heard_tokens)
            self._spans[-1] = back
        return back

    def grow(self, tokens: int, words: Sequence[SpanWord] = ()) -> Span:
        """The last span got `tokens` more at the end (a reply, token by token); `words` are added to its own."""
        if not self._spans or tokens < 0:
            raise ValueError("only a span that is there can grow")
        last = self._spans[-1]
        length = last.length + tokens
        heard = False if last.kind == "reply" and tokens else last.heard
        last = replace(last, length=length, heard=heard, words=_fit((*last.words, *words), length))
        self._spans[-1] = last
        self.end += tokens
        return last

    def truncate(self, slot: int) -> tuple[Span, ...]:
        """Take back every token from `slot` on; a span that it cuts keeps its beginning and the words that are whole
        in it. Returns what went: whole spans, and the rest of a cut one. A reply that is cut to what was heard of it
        counts as heard. The pinned prefix is never taken back."""
        if not self.first <= slot <= self.end:
            raise ValueError(f"slot {slot} is not held; the ledger holds {self.first} to {self.end}")
        if slot < self.first + self.pinned_tokens:
            raise ValueError("the pinned prefix is never taken back")
        gone: list[Span] = []
        while self._spans and self._spans[-1].end > slot:
            last = self._spans.pop()
            if last.start >= slot:
                gone.append(last)
                continue
            length = slot - last.start
            kept = tuple(word for word in last.words if word.end <= length)
            lost = tuple(SpanWord(word.text, word.end - length) for word in last.words[len(kept) :])
            heard_tokens = min(last.heard_tokens, length)
            heard = None if last.heard is None else heard_tokens == length
            self._spans.append(replace(last, length=length, words=kept, heard_tokens=heard_tokens, heard=heard))
            gone.append(
                replace(last, start=slot, length=last.length - length, words=lost, heard_tokens=0, heard=last.heard)
            )
        self.end = slot
        return tuple(reversed(gone))

    def mark_heard(self, slot: int) -> None:
        """Every reply token before `slot` was played. Never takes anything back: a lower slot changes nothing."""
        if slot > self.end:
            raise ValueError(f"slot {slot} was never written; the ledger ends at {self.end}")
        for at, span in enumerate(self._spans):
            if span.heard is False and span.start < slot:
                tokens = max(span.heard_tokens, min(span.length, slot - span.start))
                self._spans[at] = replace(span, heard_tokens=tokens, heard=tokens == span.length)

    def apply(self, plan: CachePlan) -> None:
        """Forget the plan's spans; what is older than a hole moves forward by its length."""
        gone = set(plan.spans)
        by = 0
        kept: list[Span] = []
        for span in reversed(self._spans):
            if span.id in gone:
                by += span.length
            else:
                kept.append(replace(span, start=span.start + by) if by else span)
        if by != plan.evicted_tokens:
            raise ValueError("the plan was made for another ledger")
        self._spans = kept[::-1]
        self.first += by

    def of_kind(self, *kinds: Kind) -> tuple[Span, ...]:
        return tuple(span for span in self._spans if span.kind in kinds)

    def use(self) -> tuple[KindUse, ...]:
        """What the screen shows: per kind that is held, spans, tokens, and the time of the oldest."""
        found: dict[Kind, KindUse] = {}
        for span in self._spans:
            was = found.get(span.kind, KindUse(span.kind, 0, 0, span.t_ns))
            found[span.kind] = KindUse(
                span.kind, was.spans + 1, was.tokens + span.length, min(was.oldest_ns, span.t_ns)
            )
        return tuple(found[kind] for kind in KINDS if kind in found)

    def check(self) -> None:
        """Every invariant, for tests and for a journal that is read back. AssertionError when one is broken."""
        at, turn, ids = self.first, 0, set[int]()
        for span in self._spans:
            assert span.start == at and span.length >= 1, "spans touch each other, without holes"
            assert span.turn >= turn, "turns are in order"
            assert span.id not in ids and ids.issuperset(span.depends_on), "what a span depends on is held before it"
            assert 0 <= span.heard_tokens <= span.length
            assert (span.heard is None) == (span.kind != "reply")
            assert span.heard is None or span.heard == (span.heard_tokens == span.length)
            assert all(word.end <= span.length for word in span.words)
            assert not span.pinned or span.kind in PINNED
            ids.add(span.id)
            at, turn = span.end, span.turn
        assert at == self.end and self.turn >= turn


def _fit(words: Sequence[SpanWord], length: int) -> tuple[SpanWord, ...]:
    ends = [word.end for word in words]
    if ends != sorted(ends) or (ends and not 0 < ends[0] <= ends[-1] <= length):
        raise ValueError("a span's words lie inside it, in order")
    return tuple(words)
