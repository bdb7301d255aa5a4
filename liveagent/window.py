"""Which spans leave the cache when it gets full: a rule over the ledger, and nothing else.

**Turns.** Above the high water mark whole oldest turns go, until the cache is down to its low mark. Two marks and not
one, so that a step that evicts is rare and a step that does not costs the same as ever. Only when every closed turn has
gone does the open turn give up spans of its own, oldest first, its newest never.

**Pictures** belong to no turn and have marks of their own within the whole: a turn is a few sentences that mean nothing
without each other, while a picture means the same whatever was said around it, and "what was on the table ten minutes
ago" is asked long after the talk of that time has gone. So a turn that goes leaves the pictures of its time behind. Of
pictures, the one goes whose neighbours lie closest together for its age, the oldest counting as if another lay as far
again behind it; what is kept is spaced like its ages, close together lately and far apart long ago. The newest never
goes. Only when all turns that may go do not bring the cache below its high mark do pictures go below their own low one.

With each goes what depends on it (a result on its call, a changed-patch picture on its keyframe). A picture that others
depend on waits for them. Never touched: the pinned prefix, the scratch branch, and every slot at or after the first
token of a reply that was not played yet (LAW 4): what may still be taken back must still be there.

**What moves.** RoPE knows distances alone, so one stretch between the holes may stay where it is: the longest, for then
the fewest keys are turned. What is older comes forward, what is newer goes back, and the place of the next token with
it. While something sounds unplayed it is the newest stretch that stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan, Hole, Ledger, Move, Span

SPARE_TOKENS, MOST_SPARE_TOKENS = 320, 1024
"""What lies free above the high mark, at least: a tool's result and a reply that waits to be played; and at most."""
LEAST_TALK_TOKENS = 128
"""So much must be kept behind the pinned prefix, or nobody could speak of anything."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Above `high_tokens` the cache is cleared down to `low_tokens`; `capacity_tokens` is what the slab holds.

    Between high and capacity must lie what one tick can append and the longest reply that may wait to be played. Of
    this, pictures may take `picture_high_tokens` before they are thinned to `picture_low_tokens` (None: the whole), and
    a picture older than `picture_age_s` goes with the next plan.
    """

    capacity_tokens: int
    high_tokens: int
    low_tokens: int
    picture_high_tokens: int | None = None
    picture_low_tokens: int | None = None
    picture_age_s: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.low_tokens <= self.high_tokens <= self.capacity_tokens:
            raise ConfigError(
                f"cache budget: 0 < low ({self.low_tokens}) <= high ({self.high_tokens}) <= capacity "
                f"({self.capacity_tokens}) must hold"
            )
        if not 0 < self.picture_low <= self.picture_high <= self.high_tokens:
            raise ConfigError(
                f"cache budget of pictures: 0 < low ({self.picture_low}) <= high ({self.picture_high}) <= high of all "
                f"({self.high_tokens}) must hold"
            )

    @classmethod
    def of(cls, tokens: int) -> Budget:
        """What a cache of so many tokens keeps, and of which kinds. ConfigError: it could hold no conversation."""
        high, low = _marks(tokens)
        if low < LEAST_TALK_TOKENS:
            raise ConfigError(
                f"a cache of {tokens} tokens holds no conversation: give {least_tokens(0)} at least, and what the "
                "instructions and tools take beside them"
            )
        return cls(tokens, high, low, high * 13 // 76, high * 11 // 76)

    @property
    def picture_high(self) -> int:
        return self.high_tokens if self.picture_high_tokens is None else self.picture_high_tokens

    @property
    def picture_low(self) -> int:
        return self.picture_high if self.picture_low_tokens is None else self.picture_low_tokens


def least_tokens(pinned_tokens: int) -> int:
    """How many tokens a cache needs for a prompt of `pinned_tokens` and a conversation behind it."""
    tokens = pinned_tokens + LEAST_TALK_TOKENS + SPARE_TOKENS
    while _marks(tokens)[1] < pinned_tokens + LEAST_TALK_TOKENS:
        tokens += 1
    return tokens


def _marks(tokens: int) -> tuple[int, int]:
    """High and low mark of a cache of so many tokens: what is evicted at once, and how seldom, grows with it."""
    high = tokens - min(max(SPARE_TOKENS, tokens * 5 // 24), MOST_SPARE_TOKENS)
    return high, high - tokens // 12


def plan(ledger: Ledger, budget: Budget) -> CachePlan:
    """The plan for this moment; empty while every high water mark is kept. Changes nothing.

    `short_tokens` says by how much the low mark of the whole is missed, because what is left may not go yet. Raises
    ConfigError when the pinned prefix alone is above the low mark: no plan could ever reach it.
    """
    if ledger.pinned_tokens > budget.low_tokens:
        raise ConfigError(
            f"the instructions and tools take {ledger.pinned_tokens} tokens, but the cache may only keep "
            f"{budget.low_tokens}; shorten the instructions, give fewer tools, or raise the budget"
        )
    pictures = [span for span in ledger.spans if span.kind == "picture"]
    taken = sum(span.length for span in pictures)
    full = ledger.used_tokens > budget.high_tokens
    old = _too_old(ledger, budget, pictures)
    if not full and taken <= budget.picture_high and not old:
        return CachePlan()
    going = _Going(ledger)
    for span in old:
        going.take([span])
    if taken > budget.picture_high:
        _thin(ledger, going, pictures, budget.picture_low)
    if full:
        for unit in _units(ledger):
            if going.left_tokens <= budget.low_tokens or not going.take(unit):
                break
        if (excess := going.left_tokens - budget.high_tokens) > 0:
            left = sum(span.length for span in pictures if span.id not in going.gone)
            _thin(ledger, going, pictures, max(0, left - excess))
    return _lay_out(ledger, going.gone, max(0, going.left_tokens - budget.low_tokens) if full else 0)


def with_dependents(ledger: Ledger, spans: Collection[int]) -> set[int]:
    """The ids of `spans` and of everything that means nothing without them."""
    found = set(spans)
    for span in ledger.spans:  # what a span depends on is held before it, so one pass is enough
        if found.intersection(span.depends_on):
            found.add(span.id)
    return found


class _Going:
    """What a plan has decided on so far."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.gone: dict[int, Span] = {}
        self.left_tokens = ledger.used_tokens
        spans = ledger.spans
        self._spans = {span.id: span for span in spans}
        newest = [span.id for span in spans if span.kind == "picture"][-1:]
        self._stay = {span.id for span in spans[-1:]}.union(newest)
        self._limit = ledger.first_unplayed

    def unit(self, spans: Collection[Span]) -> dict[int, Span] | None:
        """What goes when these go; None when some of it may not go yet."""
        ids = with_dependents(self._ledger, [span.id for span in spans])
        unit = {i: self._spans[i] for i in sorted(ids) if i not in self.gone}
        if any(s.pinned or s.kind == "scratch" or s.end > self._limit or s.id in self._stay for s in unit.values()):
            return None
        return unit

    def take(self, spans: Collection[Span]) -> bool:
        unit = self.unit(spans)
        if unit is None:
            return False
        self.gone.update(unit)
        self.left_tokens -= sum(span.length for span in unit.values())
        return True


def _units(ledger: Ledger) -> Iterator[list[Span]]:
    """What may go, oldest first: each closed turn as one, then the open turn's spans one by one."""
    turns: dict[int, list[Span]] = {}
    for span in ledger.spans:
        if not span.pinned and span.kind != "picture":
            turns.setdefault(span.turn, []).append(span)
    for turn, spans in turns.items():
        if turn < ledger.turn:
            yield spans
        else:
            yield from ([span] for span in spans)


def _too_old(ledger: Ledger, budget: Budget, pictures: list[Span]) -> list[Span]:
    """Pictures past their age that may go."""
    if budget.picture_age_s is None or not pictures:
        return []
    since_ns = max(span.t_ns for span in ledger.spans) - round(budget.picture_age_s * 1e9)
    old = [span for span in pictures if span.t_ns < since_ns]
    going = _Going(ledger) if old else None
    return [span for span in old if going is not None and going.unit([span]) is not None]


def _thin(ledger: Ledger, going: _Going, pictures: list[Span], low_tokens: int) -> None:
    """Let pictures go one by one until they take no more than `low_tokens`, as far as they may."""
    while True:
        left = [span for span in pictures if span.id not in going.gone]
        if sum(span.length for span in left) <= low_tokens:
            return
        needed = {i for span in ledger.spans if span.id not in going.gone for i in span.depends_on}
        free = [(spacing, span.id) for spacing, span in _spacings(left) if span.id not in needed and going.unit([span])]
        if not free:
            return
        chosen = min(free)[1]
        going.take([span for span in left if span.id == chosen])


def _spacings(pictures: list[Span]) -> list[tuple[float, Span]]:
    """For every picture but the newest: from its older to its newer neighbour, over its age."""
    now = pictures[-1].t_ns
    spaced = []
    for at, span in enumerate(pictures[:-1]):
        age = max(1, now - span.t_ns)
        before = pictures[at - 1].t_ns if at else span.t_ns - age
        spaced.append((abs(pictures[at + 1].t_ns - before) / age, span))
    return spaced


def _lay_out(ledger: Ledger, gone: dict[int, Span], short_tokens: int) -> CachePlan:
    """Holes, and the stretches between them, of which one stays: all others close up to it."""
    holes: list[Hole] = []
    kept: list[list[int]] = [[ledger.first, 0]]  # start and length of the stretches before, between and after the holes
    for span in ledger.spans:
        if span.id not in gone:
            kept[-1][1] += span.length
        elif holes and holes[-1].end == span.start:
            holes[-1] = Hole(holes[-1].start, holes[-1].length + span.length)
            kept[-1][0] = span.end
        else:
            holes.append(Hole(span.start, span.length))
            kept.append([span.end, 0])
    sounding = ledger.first_unplayed < ledger.end
    stays = len(kept) - 1 if sounding else max(range(len(kept)), key=lambda at: (kept[at][1], at))
    moves = []
    for at, (start, length) in enumerate(kept):
        between = holes[min(at, stays) : max(at, stays)]
        by = sum(hole.length for hole in between)
        if length and by:
            moves.append(Move(start, length, by if at < stays else -by))
    order = tuple(span.id for span in ledger.spans if span.id in gone)
    return CachePlan(tuple(holes), tuple(moves), order, short_tokens)
