"""Gemma's layers for ten virtual hours: does its cache roll at one cost, and is what is left what it should be?

The decoder has Gemma 4 E2B's 35 layers, four with a window of 512 tokens to one that sees all, of which the last 20
read keys of earlier ones, each with an input of its own, at tiny widths with random weights. One lane holds talk,
replies, calls, pictures that only tell what changed of others, and twice a minute a reply that is interrupted: what was
not heard is taken back, and what came meanwhile is read again. Budgets are the session's.

    flatness      a step of the last minute over a step of a kept fork of the first minute in which the window was full,
                  timed alternately in CPU time, medians                                                       ≤ 1.05
    oracle_diff   largest difference of logits, in their standard deviations, to a list of tokens that computes
                  everything anew: over a log of its own, and of the ten hours' cache twice an hour            ≤ 1e-4
    divergence    KL in nats of the next token from a fresh prefill of what is kept, median over a user's turn twice an
                  hour. It is not 0 in any scheme that does not read anew; random weights make it no measure of sense
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from liveagent.bench.beside import exact
from liveagent.bench.cache import FORK, FRESH, against_oracle, ahead, feed, flatness, kl, reprefill
from liveagent.bench.naive import Naive
from liveagent.bench.proportions import E2B, random_stack, tiny
from liveagent.ledger import Kind, Ledger
from liveagent.nn.stack import DecoderState, Stack
from liveagent.runtime.session import SessionConfig
from liveagent.window import Budget, plan

LANE = 0
TURN = 6


def gemma(window: int = 512) -> dict[str, Any]:
    """E2B's layers at tiny widths."""
    return {**tiny(E2B), "sliding_window": window}


class Hours:
    """A lane that lives: minute by minute something is said, seen, called and taken back, and what is too much goes."""

    def __init__(self, net: Stack, state: DecoderState, seed: int, budget: Budget, prompt: int = 120) -> None:
        self.net, self.state, self.budget = net, state, budget
        self.rng, self.ledger = random.Random(seed), Ledger()
        self.minutes = self.read_tokens = self.take_backs = self.evictions = self.evicted_tokens = 0
        self.add("system", self.ids(prompt))

    def ids(self, count: int) -> list[int]:
        return [self.rng.randrange(3, self.net.shape.vocab_size) for _ in range(count)]

    def add(self, kind: Kind, ids: Sequence[int], needs: Sequence[int] = ()) -> int:
        rows = self.net.embed(torch.tensor(ids))
        feed(self.net, self.state, LANE, rows, torch.full((len(ids),), 60.0 * self.minutes, dtype=torch.float64))
        self.read_tokens += len(ids)
        return self.ledger.append(kind, len(ids), self.minutes * 60_000_000_000, depends_on=needs).id

    def minute(self) -> None:
        picture = self.add("picture", self.ids(self.rng.randint(6, 16)))
        for _ in range(2):
            self.ledger.begin_turn()
            self.add("audio", self.ids(self.rng.randint(6, 14)))
            if self.rng.random() < 0.3:
                call = self.add("call", self.ids(9))
                self.add("result", self.ids(7), [call])
            self._interrupted(self.ids(self.rng.randint(8, 20)), self.ids(self.rng.randint(4, 9)))
            self._trim()
        self.add("picture", self.ids(4), [picture] if self._holds(picture) else ())
        self._trim()
        self.minutes += 1

    def _interrupted(self, reply: list[int], meanwhile: list[int]) -> None:
        """The user speaks into the reply; what was not heard of it is as if it had never been."""
        self.add("reply", reply)
        start = self.ledger.spans[-1].start
        self.add("audio", meanwhile)
        place = start + self.rng.randint(1, len(reply) - 1)
        self.state.rewind(LANE, place - self.ledger.first)
        self.ledger.truncate(place)
        self.ledger.mark_heard(place)
        self.add("mark", self.ids(1))
        self.add("audio", meanwhile)
        self.take_backs += 1

    def _holds(self, span: int) -> bool:
        return any(each.id == span for each in self.ledger.spans)

    def _trim(self) -> None:
        if todo := plan(self.ledger, self.budget):
            self.net.evict(todo, self.ledger.first, self.state, LANE)
            self.ledger.apply(todo)
            self.evictions += 1
            self.evicted_tokens += todo.evicted_tokens


def snapshot(net: Stack, state: DecoderState, ids: list[int]) -> float:
    """The cache as it is against its own raw keys, values and order, computed anew."""
    naive, rows = Naive.of(net, state, LANE), net.embed(torch.tensor(ids))
    logits = naive.read(rows, [0.0] * len(ids))
    state.fork(LANE)
    found = feed(net, state, LANE, rows, torch.zeros(len(ids), dtype=torch.float64))[-1]
    state.drop(LANE)
    return float((logits - found).abs().max() / logits.std())


def live(
    net: Stack, minutes: int, seed: int, steps: int, budget: Budget, every: int = 30
) -> tuple[dict[str, Any], dict[str, Any]]:
    state = net.init_state(4, budget.capacity_tokens)
    hours = Hours(net, state, seed, budget)
    while not hours.evictions or hours.ledger.used_tokens < budget.low_tokens:
        hours.minute()
    state.copy_lane(LANE, state, FORK)
    flatness(net, state, LANE, FORK, 3)
    worst, apart, full = 0.0, list[float](), hours.minutes
    while hours.minutes < minutes:
        hours.minute()
        if hours.minutes % every == 0 or hours.minutes == minutes:
            worst = max(worst, snapshot(net, state, hours.ids(3)))
            apart += divergence(net, state, hours.ids(TURN))
    flat, step_s = flatness(net, state, LANE, FORK, steps)
    figures = {
        "flatness": round(flat, 4),
        "oracle_diff": float(f"{worst:.2g}"),
        "divergence": float(f"{statistics.median(apart):.3g}"),
    }
    return figures, {
        "virtual_hours": round(hours.minutes / 60, 2),
        "first_full_minute": full,
        "tokens": hours.read_tokens,
        "window_turned_over": round(hours.evicted_tokens / budget.low_tokens, 1),
        "evictions": hours.evictions,
        "take_backs": hours.take_backs,
        "kinds": {use.kind: use.tokens for use in hours.ledger.use()},
        "step_ms": round(1000 * step_s, 3),
        "window_tokens": int(state.length[LANE]),
        "extent": int(state.extent[LANE]),
    }


def divergence(net: Stack, state: DecoderState, ids: list[int]) -> list[float]:
    """Of the tokens after each of `ids`, from a fresh prefill of what the lane holds."""
    reprefill(net, state, LANE, FRESH)
    true: Tensor = ahead(net, state, FRESH, ids, 0.0)
    return kl(true, ahead(net, state, LANE, ids, 0.0))


def run(
    minutes: int = 600, seed: int = 43, steps: int = 200, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The figures; some minutes."""
    with exact():
        net = random_stack(config or gemma(), torch.float32, seed)
        figures, detail = live(net, minutes, seed, steps, SessionConfig().budget)
        log = against_oracle(random_stack(gemma(24), torch.float32, seed), min(600, minutes), seed)
    figures["oracle_diff"] = max(figures["oracle_diff"], float(f"{log:.2g}"))
    return {**figures, "detail": detail}
