"""One conversation's cache and its ledger, kept in step.

Everything that enters a lane's cache goes through `add`, everything that leaves it through `rewind`, `take_back` and
`trim`; so the ledger always says what each slot is, and the ids of all slots are at hand to be read again. Slots count
up for ever (the ledger's places); the lane's own slot is `place - ledger.first`.

Eviction here reads what survives again from its kept ids: exact by construction, and it costs a prefill, so it is done
between turns. Moving the survivors' keys instead is the rolling cache's work, behind the same `CachePlan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from liveagent.event import CacheChanged
from liveagent.ledger import Kind, Ledger, Span, SpanWord
from liveagent.runtime.engine import Lane
from liveagent.runtime.work import Append, Decode, Done, Probe, Reset, Rewind, Soft
from liveagent.tool import Tool
from liveagent.window import Budget, plan


@dataclass(frozen=True, slots=True)
class Kept:
    """What a take-back removed and may be read again: a span, the ids of its slots, and what the ear heard there."""

    span: Span
    ids: tuple[int, ...]
    soft: tuple[Soft | None, ...]


class Context:
    """The cache of one lane, with its ledger. Not for two tasks at once."""

    def __init__(self, lane: Lane, budget: Budget) -> None:
        self.lane, self.budget = lane, budget
        self.ledger = Ledger()
        self.evicted_tokens = 0
        self._ids: list[int] = []  # of the places ledger.first … ledger.end
        self._soft: list[Soft | None] = []  # likewise; of one spike each

    @property
    def end(self) -> int:
        """The place that the next token gets."""
        return self.ledger.end

    @property
    def ids(self) -> tuple[int, ...]:
        """What the cache holds, in order: the ids of places `ledger.first` … `end`."""
        return tuple(self._ids)

    async def open(self, tools: tuple[Tool, ...]) -> None:
        """Empty the lane; `tools` are those whose calls may be decoded."""
        await self.lane.do(Reset(tools))
        self.ledger, self._ids, self._soft = Ledger(), [], []

    async def add(
        self,
        kind: Kind,
        ids: Sequence[int],
        t_ns: int,
        *,
        words: Sequence[SpanWord] = (),
        depends_on: Sequence[int] = (),
        want: Sequence[int] = (),
        grow: bool = False,
        soft: Soft | None = None,
    ) -> Done:
        """Read tokens into the cache as a span of `kind`, or as more of the last span (`grow`)."""
        done = await self.lane.do(Append(tuple(ids), tuple(want), soft))
        rows = [None] * len(ids) if soft is None else [soft.part(at, at + 1) for at in range(len(ids))]
        self._note(kind, ids, t_ns, words, depends_on, grow, rows)
        return done

    async def decode(
        self,
        kind: Kind,
        t_ns: int,
        *,
        max_tokens: int,
        stop: Sequence[int],
        allowed: Sequence[int] = (),
        call: bool = False,
        grow: bool = False,
    ) -> Done:
        """Let the decoder choose tokens; they become a span of `kind`, or more of the last span."""
        done = await self.lane.do(Decode(max_tokens, tuple(stop), tuple(allowed), call))
        self._note(kind, done.ids, t_ns, (), (), grow, [None] * len(done.ids))
        return done

    async def probe(self, ids: Sequence[int], want: Sequence[int]) -> tuple[float, ...]:
        """Log-probabilities of `want` after `ids` on the scratch branch, which is dropped again."""
        return (await self.lane.do(Probe(tuple(ids), tuple(want)))).logp

    async def rewind(self, place: int) -> list[Kept]:
        """Take back everything from `place` on; returns what went, in order."""
        at = place - self.ledger.first
        ids, soft = self._ids[at:], self._soft[at:]
        gone = self.ledger.truncate(place)
        del self._ids[at:], self._soft[at:]
        await self.lane.do(Rewind(at))
        return [
            Kept(
                span,
                tuple(ids[span.start - place : span.end - place]),
                tuple(soft[span.start - place : span.end - place]),
            )
            for span in gone
        ]

    async def take_back(self, place: int, later: int, mark: Sequence[int], t_ns: int) -> None:
        """Unhear (LAW 4): drop places `place` … `later`, put `mark` there, and read again what came in after `later`.

        The result equals the same log of appends without the dropped tokens.
        """
        kept = await self.rewind(later)
        await self.rewind(place)
        if mark:
            turn = self.ledger.turn  # the user's next turn may be open: the mark goes with the reply that it ends
            self.ledger.turn = self.ledger.spans[-1].turn
            await self.add("mark", mark, t_ns)
            self.ledger.turn = turn
        for each in kept:
            await self._read(each.ids, each.soft)
            self._note(each.span.kind, each.ids, each.span.t_ns, each.span.words, (), False, each.soft)

    async def trim(self) -> int:
        """Evict whole oldest turns when the window is over its high mark. Returns how many tokens went."""
        todo = plan(self.ledger, self.budget)
        if not todo:
            return 0
        first, hole = self.ledger.first, todo.holes[0].start
        ids: list[int] = []
        soft: list[Soft | None] = []
        at = hole
        for each in (*todo.holes, None):
            end = each.start if each is not None else self.ledger.end
            ids += self._ids[at - first : end - first]
            soft += self._soft[at - first : end - first]
            at = each.end if each is not None else end
        await self.lane.do(Rewind(hole - first))
        self.ledger.apply(todo)
        self._ids = self._ids[: hole - first] + ids
        self._soft = self._soft[: hole - first] + soft
        await self._read(ids, soft)
        self.evicted_tokens += todo.evicted_tokens
        return todo.evicted_tokens

    async def _read(self, ids: Sequence[int], soft: Sequence[Soft | None]) -> None:
        """Read kept tokens again, as they were: hard ids as ids, heard pieces as they were heard."""
        start = 0
        while start < len(ids):
            end = start + 1
            while end < len(ids) and (soft[end] is None) == (soft[start] is None):
                end += 1
            rows = [each for each in soft[start:end] if each is not None]
            heard = (
                Soft(np.concatenate([each.weights for each in rows]), np.concatenate([each.hidden for each in rows]))
                if rows
                else None
            )
            await self.lane.do(Append(tuple(ids[start:end]), soft=heard))
            start = end

    def state(self, t_ns: int) -> CacheChanged:
        """What the cache holds, for the screen."""
        use = self.ledger.use()
        ages = [span.t_ns for span in self.ledger.spans if not span.pinned]
        return CacheChanged(
            t_ns,
            self.ledger.used_tokens,
            self.budget.capacity_tokens,
            {each.kind: each.tokens for each in use},
            self.evicted_tokens,
            min(ages) if ages else None,
        )

    def _note(
        self,
        kind: Kind,
        ids: Sequence[int],
        t_ns: int,
        words: Sequence[SpanWord],
        depends_on: Sequence[int],
        grow: bool,
        soft: Sequence[Soft | None],
    ) -> None:
        if not ids:
            return
        self._ids += ids
        self._soft += soft
        if grow:
            self.ledger.grow(len(ids), words)
        else:
            self.ledger.append(kind, len(ids), t_ns, words=words, depends_on=depends_on)
