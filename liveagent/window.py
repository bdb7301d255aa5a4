"""Which spans leave the cache when it gets full: a rule over the ledger, and nothing else.

Whole oldest turns go, and with each what depends on it, until the cache is down to its low water mark. Two marks and
not one, so that a step that evicts is rare and a step that does not costs the same as ever. Only when every closed turn
has gone does the open turn give up spans of its own, oldest first, its newest never. Never touched: the pinned prefix,
the scratch branch, and every slot at or after the first token of a reply that was not played yet (LAW 4): what may
still be taken back must still be there.

This plans for tokens of sound and text. Pictures will bring budgets per kind and a keyframe's dependents; both fit
between `_units` (what may go, in which order) and `_lay_out` (holes and moves), which already takes holes anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan, Hole, Ledger, Move, Span


@dataclass(frozen=True, slots=True)
class Budget:
    """Above `high_tokens` the cache is cleared down to `low_tokens`; `capacity_tokens` is what the slab holds.

    Between high and capacity must lie what one tick can append and the longest reply that may wait to be played.
    """

    capacity_tokens: int
    high_tokens: int
    low_tokens: int

    def __post_init__(self) -> None:
        if not 0 < self.low_tokens <= self.high_tokens <= self.capacity_tokens:
            raise ConfigError(
                f"cache budget: 0 < low ({self.low_tokens}) <= high ({self.high_tokens}) <= capacity "
                f"({self.capacity_tokens}) must hold"
            )


def plan(ledger: Ledger, budget: Budget) -> CachePlan:
    """The plan for this moment; empty at or below the high water mark. Changes nothing.

    `short_tokens` says by how much the low mark is missed, because what is left may not go yet. Raises ConfigError when
    the pinned prefix alone is above the low mark: no plan could ever reach it.
    """
    if ledger.pinned_tokens > budget.low_tokens:
        raise ConfigError(
            f"the instructions and tools take {ledger.pinned_tokens} tokens, but the cache may only keep "
            f"{budget.low_tokens}; shorten the instructions, give fewer tools, or raise the budget"
        )
    if ledger.used_tokens <= budget.high_tokens:
        return CachePlan()
    spans = ledger.spans
    dependents: dict[int, list[Span]] = {}
    for span in spans:
        for needed in span.depends_on:
            dependents.setdefault(needed, []).append(span)
    limit = ledger.first_unplayed
    gone: dict[int, Span] = {}
    excess = ledger.used_tokens - budget.low_tokens
    for unit in _units(ledger):
        if excess <= 0:
            break
        going: dict[int, Span] = {}
        waiting = list(unit)
        while waiting:
            span = waiting.pop()
            if span.id not in gone and span.id not in going:
                going[span.id] = span
                waiting.extend(dependents.get(span.id, ()))
        last = spans[-1].id
        if any(span.end > limit or span.kind == "scratch" or span.id == last for span in going.values()):
            break
        gone.update(going)
        excess -= sum(span.length for span in going.values())
    return _lay_out(ledger, gone, max(0, excess))


def _units(ledger: Ledger) -> Iterator[list[Span]]:
    """What may go, oldest first: each closed turn as one, then the open turn's spans one by one."""
    turns: dict[int, list[Span]] = {}
    for span in ledger.spans:
        if not span.pinned:
            turns.setdefault(span.turn, []).append(span)
    for turn, spans in turns.items():
        if turn < ledger.turn:
            yield spans
        else:
            yield from ([span] for span in spans)


def _lay_out(ledger: Ledger, gone: dict[int, Span], short_tokens: int) -> CachePlan:
    holes: list[Hole] = []
    moves: list[Move] = []
    by = 0
    at = ledger.end
    for span in reversed(ledger.spans):  # from the newest back: what lies before a hole moves by all holes after it
        if span.id in gone:
            if holes and holes[-1].start == span.end:
                holes[-1] = Hole(span.start, span.length + holes[-1].length)
            else:
                holes.append(Hole(span.start, span.length))
            by += span.length
        elif by:
            if moves and moves[-1].start == span.end and moves[-1].by == by:
                moves[-1] = Move(span.start, span.length + moves[-1].length, by)
            else:
                moves.append(Move(span.start, span.length, by))
        at = span.start
    assert at == ledger.first
    order = tuple(span.id for span in ledger.spans if span.id in gone)
    return CachePlan(tuple(reversed(holes)), tuple(reversed(moves)), order, short_tokens)
