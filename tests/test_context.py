"""The cache and its ledger in step: what is taken back or evicted is gone, and the rest is as if it had never been."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest

from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.work import Soft
from liveagent.window import Budget
from tests.nano import random_nano

SLOTS = 256


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine(Core(random_nano(), lanes=4, slots=SLOTS))
    yield engine
    engine.close()


def context(engine: Engine, high: int = 200, low: int = 120) -> Context:
    return Context(Lane(engine, engine.open()), Budget(SLOTS, high, low))


def spikes(count: int, seed: int = 0) -> Soft:
    """What an ear may think: probabilities over its pieces, and states."""
    model, rng = random_nano(), np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(model.pieces.ear_vocab, 0.1), size=count).astype(np.float32)
    return Soft(weights, rng.standard_normal((count, model.ear.config.width)).astype(np.float32))


async def ask(one: Context) -> np.ndarray:
    return np.array(await one.probe((3,), tuple(range(60))))


async def test_heard_pieces_are_read_again_as_they_were_heard(engine: Engine) -> None:
    cut, whole = context(engine), context(engine)
    for each in (cut, whole):
        await each.open(())
        await each.add("system", range(5, 25), 0)
    cut.ledger.begin_turn()
    whole.ledger.begin_turn()
    await cut.add("reply", range(30, 50), 0)
    place = cut.ledger.spans[-1].start + 6
    await whole.add("reply", range(30, 36), 0)
    await whole.add("mark", [7], 0)
    heard = spikes(9)
    for each in (cut, whole):
        await each.add("audio", range(60, 69), 0, soft=heard)
        await each.add("audio", [8, 9], 0, grow=True)
    cut.ledger.mark_heard(place)
    await cut.take_back(place, cut.end - 11, [7], 0)
    assert cut.ids == whole.ids
    assert np.abs(await ask(cut) - await ask(whole)).max() <= 1e-4
    hard = context(engine)
    await hard.open(())
    await hard.add("system", cut.ids, 0)
    assert np.abs(await ask(cut) - await ask(hard)).max() > 1e-3  # the weights were read, not the likeliest piece alone


async def test_what_survives_an_eviction_equals_a_log_without_the_evicted(engine: Engine) -> None:
    full, fresh = context(engine, high=100, low=60), context(engine)
    await full.open(())
    await fresh.open(())
    for each in (full, fresh):
        await each.add("system", range(5, 25), 0)
    kept: list[tuple[range, Soft]] = []
    for turn in range(5):
        full.ledger.begin_turn()
        part = (range(40 + turn, 60 + turn), spikes(20, turn))
        await full.add("audio", part[0], turn, soft=part[1])
        kept.append(part)
    assert await full.trim() == 60
    fresh.ledger.begin_turn()
    for ids, heard in kept[-2:]:
        await fresh.add("audio", ids, 0, soft=heard)
    assert full.ids == fresh.ids
    assert np.abs(await ask(full) - await ask(fresh)).max() <= 1e-4
    full.ledger.check()


async def test_nothing_is_evicted_below_the_high_mark(engine: Engine) -> None:
    one = context(engine)
    await one.open(())
    await one.add("system", range(5, 25), 0)
    assert await one.trim() == 0 and one.evicted_tokens == 0
