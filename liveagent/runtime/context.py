"""One conversation's cache and its ledger, kept in step.

Everything that enters a lane's cache goes through `add` and `decode`, everything that leaves it through `rewind`,
`take_back`, `drop` and `trim`; so the ledger always says what each token is, and all of them are at hand to be read
again. Places count up for ever (the ledger's); the lane's own count of a token is `place - ledger.first`.

`trim` moves what stays and reads nothing; what stays still carries, in its values, what it saw of what went. `drop`
reads it again, so that nothing does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from liveagent.errors import ConfigError, TooFarBack
from liveagent.event import CacheChanged
from liveagent.ledger import Kind, Ledger, Span, SpanWord
from liveagent.runtime.engine import Lane
from liveagent.runtime.work import Append, Decode, Done, Evict, Probe, Reset, Rewind, Sights, Soft, Sounds
from liveagent.tool import Tool
from liveagent.window import Budget, plan, with_dependents


@dataclass(frozen=True, slots=True, eq=False)
class Token:
    """What is kept of a token so that it can be read again as it was: its id, when it came, and, where the decoder read
    no id, what the ear thought, the eye saw or the model's own ear heard there."""

    id: int
    t_s: float
    sense: Soft | Sights | Sounds | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a take-back removed and may be read again: a span and its tokens."""

    span: Span
    tokens: tuple[Token, ...]


class Context:
    """The cache of one lane, with its ledger. Not for two tasks at once."""

    def __init__(self, lane: Lane, budget: Budget) -> None:
        self.lane, self.budget = lane, budget
        self.ledger = Ledger()
        self.evicted_tokens = 0
        self.now_s = 0.0
        """When tokens that are added or decoded now come, in seconds since the session began."""
        self._tokens: list[Token] = []  # of the places ledger.first … ledger.end

    @property
    def end(self) -> int:
        """The place that the next token gets."""
        return self.ledger.end

    @property
    def ids(self) -> tuple[int, ...]:
        """What the cache holds, in order: the ids of places `ledger.first` … `end`."""
        return tuple(token.id for token in self._tokens)

    @property
    def in_turn(self) -> bool:
        """Whether the agent's turn stands open, behind a call that has not come back."""
        return bool(self.ledger.spans) and self.ledger.spans[-1].kind == "call"

    async def open(self, tools: tuple[Tool, ...]) -> None:
        """Empty the lane; `tools` are those whose calls may be decoded."""
        await self.lane.do(Reset(tools))
        self.ledger, self._tokens = Ledger(), []

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
        sights: Sights | None = None,
        sounds: Sounds | None = None,
        t_s: float | None = None,
    ) -> Done:
        """Read tokens into the cache as a span of `kind`, or as more of the last span (`grow`). `soft` stands for all
        of `ids`, `sights` and `sounds` for the last of them. `t_s`: when they came; None: now."""
        t_s = self.now_s if t_s is None else t_s
        done = await self.lane.do(Append(tuple(ids), tuple(want), soft, sights, t_s, sounds))
        self._note(kind, _tokens(ids, t_s, soft, sights, sounds), t_ns, words, depends_on, grow)
        return done

    async def decode(
        self,
        kind: Kind,
        t_ns: int,
        *,
        max_tokens: int,
        stop: Sequence[int],
        allowed: Sequence[int] = (),
        never: Sequence[int] = (),
        call: bool = False,
        grow: bool = False,
        tools: Sequence[Tool] = (),
    ) -> Done:
        """Let the decoder choose tokens, none of `never`; they become a span of `kind`, or more of the last span.
        `tools`: of a call, those to choose from; none: all of the lane's."""
        work = Decode(max_tokens, tuple(stop), tuple(allowed), call, self.now_s, tuple(tools), tuple(never))
        done = await self.lane.do(work)
        self._note(kind, _tokens(done.ids, self.now_s), t_ns, (), (), grow)
        return done

    async def probe(self, ids: Sequence[int], want: Sequence[int]) -> tuple[float, ...]:
        """Log-probabilities of `want` after `ids` on the scratch branch, which is dropped again."""
        return (await self.lane.do(Probe(tuple(ids), tuple(want), self.now_s))).logp

    async def probe_picture(self, picture: Kept, ids: Sequence[int], want: Sequence[int]) -> tuple[float, ...]:
        """As `probe`, about one picture alone: the branch sees the pinned prefix and nothing else, reads the picture
        again, then `ids`."""
        senses = [token.sense for token in picture.tokens if isinstance(token.sense, Sights)]
        sights = None
        seen_at = next((at for at, token in enumerate(picture.tokens) if isinstance(token.sense, Sights)), 0)
        if senses:
            sight, cells = ([getattr(each, name) for each in senses] for name in ("sight", "cells"))
            sights = Sights(np.concatenate(sight), np.concatenate(cells))
        both = (*(token.id for token in picture.tokens), *ids)
        hide = (self.ledger.pinned_tokens, self.ledger.used_tokens)
        return (await self.lane.do(Probe(both, tuple(want), self.now_s, hide, sights, seen_at))).logp

    @property
    def newest_picture(self) -> Kept | None:
        """The picture that was kept last, with its tokens; None when none is held."""
        span = next(reversed(self.ledger.of_kind("picture")), None)
        if span is None:
            return None
        first = self.ledger.first
        return Kept(span, tuple(self._tokens[span.start - first : span.end - first]))

    async def rewind(self, place: int) -> list[Kept]:
        """Take back everything from `place` on; returns what went, in order."""
        at = place - self.ledger.first
        tokens = self._tokens[at:]
        gone = self.ledger.truncate(place)
        del self._tokens[at:]
        try:
            await self.lane.do(Rewind(at))
        except TooFarBack:  # layers that see only the last tokens hold fewer than that: read all of it again
            await self.lane.do(Rewind(0))
            await self._read(self._tokens)
        return [Kept(span, tuple(tokens[span.start - place : span.end - place])) for span in gone]

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
            await self._put_back(each)

    def held(self) -> list[Kept]:
        """Every span behind the prompt, with its tokens."""
        first = self.ledger.first
        return [
            Kept(span, tuple(self._tokens[span.start - first : span.end - first]))
            for span in self.ledger.spans
            if not span.pinned
        ]

    async def restore(self, kept: Sequence[Kept]) -> None:
        """Read spans that were `held` behind a prompt that has just been read, as if nothing else had ever been there.
        All of them count as heard; they get ids of their own."""
        ids: dict[int, int] = {}
        for each in kept:
            await self._read(each.tokens)
            self._tokens += each.tokens
            self.ledger.turn = max(self.ledger.turn, each.span.turn)
            span = self.ledger.append(
                each.span.kind,
                len(each.tokens),
                each.span.t_ns,
                words=each.span.words,
                depends_on=[ids[old] for old in each.span.depends_on if old in ids],
            )
            ids[each.span.id] = span.id
            self.ledger.mark_heard(self.ledger.end)

    async def trim(self) -> tuple[Span, ...]:
        """Evict what the budget no longer has room for: whole oldest turns, pictures that lie too close. Cheap enough
        for any tick in which nothing is being decoded: what stays is moved, not read again. Returns what went."""
        todo = plan(self.ledger, self.budget)
        if not todo:
            return ()
        first, ids = self.ledger.first, set(todo.spans)
        gone = tuple(span for span in self.ledger.spans if span.id in ids)
        await self.lane.do(Evict(todo, first))
        self.ledger.apply(todo)
        for hole in reversed(todo.holes):
            del self._tokens[hole.start - first : hole.end - first]
        self.evicted_tokens += todo.evicted_tokens
        return gone

    async def drop(self, spans: Collection[int]) -> tuple[Span, ...]:
        """Forget these spans, and what depends on them, as if they had never been: everything after the first of them
        is read again from what is kept of it, for the values of later tokens carry what they saw. Returns what went.

        ConfigError for a span of the pinned prefix, or one that is not held any more.
        """
        held = {span.id: span for span in self.ledger.spans}
        if any(each not in held or held[each].pinned for each in spans):
            raise ConfigError("only spans that the cache holds, and none of the instructions, can be forgotten")
        ids = with_dependents(self.ledger, spans)
        if not ids:
            return ()
        place = min(held[each].start for each in ids)
        turn, turns = self.ledger.turn, {span.id: span.turn for span in self.ledger.spans}
        gone = []
        for each in await self.rewind(place):
            if each.span.id in ids:
                gone.append(each.span)
                continue
            self.ledger.turn = turns[each.span.id]
            await self._put_back(each)
        self.ledger.turn = turn
        return tuple(gone)

    async def _put_back(self, kept: Kept) -> None:
        await self._read(kept.tokens)
        self.ledger.put_back(kept.span)
        self._tokens += kept.tokens

    async def _read(self, tokens: Sequence[Token]) -> None:
        """Read kept tokens again, as they were: ids as ids, what was heard and seen as it was heard and seen."""
        for (t_s, _), run in groupby(tokens, lambda token: (token.t_s, type(token.sense))):
            await self.lane.do(_append(list(run), t_s))

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
        tokens: Sequence[Token],
        t_ns: int,
        words: Sequence[SpanWord],
        depends_on: Sequence[int],
        grow: bool,
    ) -> None:
        if not tokens:
            return
        self._tokens += tokens
        if grow:
            self.ledger.grow(len(tokens), words)
        else:
            self.ledger.append(kind, len(tokens), t_ns, words=words, depends_on=depends_on)


def _tokens(
    ids: Sequence[int],
    t_s: float,
    soft: Soft | None = None,
    sights: Sights | None = None,
    sounds: Sounds | None = None,
) -> list[Token]:
    senses: list[Soft | Sights | Sounds | None] = [None] * len(ids)
    if soft is not None:
        senses = [soft.part(at, at + 1) for at in range(len(ids))]
    elif sights is not None:
        hard = len(ids) - len(sights.cells)
        senses[hard:] = [sights.part(at, at + 1) for at in range(len(sights.cells))]
    elif sounds is not None:
        hard = len(ids) - len(sounds.rows)
        senses[hard:] = [sounds.part(at, at + 1) for at in range(len(sounds.rows))]
    return [Token(id, t_s, sense) for id, sense in zip(ids, senses, strict=True)]


def _append(tokens: Sequence[Token], t_s: float) -> Append:
    """Tokens of one time and one kind of sense as they are read."""
    ids = tuple(token.id for token in tokens)
    heard = [token.sense for token in tokens if isinstance(token.sense, Soft)]
    seen = [token.sense for token in tokens if isinstance(token.sense, Sights)]
    sounds = [token.sense.rows for token in tokens if isinstance(token.sense, Sounds)]
    if sounds:
        return Append(ids, sounds=Sounds(np.concatenate(sounds)), t_s=t_s)
    if heard:
        weights, hidden = ([getattr(each, name) for each in heard] for name in ("weights", "hidden"))
        return Append(ids, soft=Soft(np.concatenate(weights), np.concatenate(hidden)), t_s=t_s)
    if seen:
        sight, cells = ([getattr(each, name) for each in seen] for name in ("sight", "cells"))
        return Append(ids, sights=Sights(np.concatenate(sight), np.concatenate(cells)), t_s=t_s)
    return Append(ids, t_s=t_s)
