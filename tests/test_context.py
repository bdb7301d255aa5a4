"""The cache and its ledger in step: what is taken back or evicted is gone, and the rest is as if it had never been."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from liveagent.errors import ConfigError
from liveagent.nn.decoder import Decoder
from liveagent.nn.nano import Nano
from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.work import Sights, Soft
from liveagent.sight import of_things
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


async def test_eviction_moves_what_stays_and_reads_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same log of appends and evictions, once with a reply that was taken back: equal, and without a step."""
    cut, never = context(engine, high=100, low=60), context(engine, high=100, low=60)
    for each in (cut, never):
        await each.open(())
        await each.add("system", range(5, 25), 0)
        for turn in range(5):
            each.now_s = 7.0 * turn
            each.ledger.begin_turn()
            await each.add("audio", range(40 + turn, 60 + turn), turn, soft=spikes(20, turn))
    place = cut.end
    await cut.add("reply", range(70, 90), 9)
    cut.ledger.mark_heard(place)
    await cut.take_back(place, cut.end, [], 9)
    decoder = engine.core.model.decoder
    with monkeypatch.context() as patch:
        patch.setattr(decoder, "step", lambda *_: pytest.fail("an eviction must not read"))
        for each in (cut, never):
            gone = await each.trim()
            assert [(span.turn, span.length) for span in gone] == [(1, 20), (2, 20), (3, 20)]
            each.ledger.check()
    assert cut.ids == never.ids == (*range(5, 25), *range(43, 63), *range(44, 64))
    assert np.abs(await ask(cut) - await ask(never)).max() <= 1e-4
    assert cut.evicted_tokens == 60


async def test_what_is_dropped_was_never_there(engine: Engine) -> None:
    """Forgetting a span in the middle: what came after it no longer carries it; ids, times and playback stand."""
    full, fresh = context(engine), context(engine)
    spans = []
    for each in (full, fresh):
        await each.open(())
        await each.add("system", range(5, 25), 0)
        each.ledger.begin_turn()
        await each.add("text", range(60, 70), 1)
        if each is full:
            await each.add("call", range(70, 78), 2)
            secret = each.ledger.spans[-1]
            await each.add("result", range(80, 85), 2, depends_on=[secret.id])
        each.now_s = 3.0
        await each.add("reply", range(30, 40), 3)
        each.ledger.mark_heard(each.end)
        each.ledger.begin_turn()
        await each.add("audio", range(60, 69), 4, soft=spikes(9))
        await each.add("picture", [7, 7], 5)
        spans.append([(s.kind, s.length, s.t_ns, s.turn, s.heard, s.heard_tokens) for s in each.ledger.spans])
    ids = [span.id for span in full.ledger.spans]
    gone = await full.drop([secret.id])
    assert [span.kind for span in gone] == ["call", "result"]
    now = [(s.kind, s.length, s.t_ns, s.turn, s.heard, s.heard_tokens) for s in full.ledger.spans]
    assert now == spans[1] and [s.id for s in full.ledger.spans] == [i for i in ids if i not in {g.id for g in gone}]
    assert full.ids == fresh.ids and full.ledger.turn == 2
    assert np.abs(await ask(full) - await ask(fresh)).max() <= 1e-4
    with pytest.raises(ConfigError, match="forgotten"):
        await full.drop([0])
    with pytest.raises(ConfigError, match="forgotten"):
        await full.drop([secret.id])
    assert await full.drop([]) == ()


async def test_nothing_is_evicted_below_the_high_mark(engine: Engine) -> None:
    one = context(engine)
    await one.open(())
    await one.add("system", range(5, 25), 0)
    assert await one.trim() == () and one.evicted_tokens == 0


async def test_a_take_back_beyond_what_local_layers_hold_reads_all_again() -> None:
    plain = random_nano()
    torch.manual_seed(1)
    decoder = Decoder(replace(plain.decoder.config, windows=(16, 0)))
    engine = Engine(Core(Nano(plain.ear, decoder, plain.vad, plain.pieces), lanes=4, slots=512))
    try:
        long, short = (Context(Lane(engine, engine.open()), Budget(512, 500, 400)) for _ in range(2))
        for each, count in ((long, 470), (short, 60)):
            await each.open(())
            await each.add("system", range(5, 25), 0)
            await each.add("text", [30 + at % 40 for at in range(count)], 0)
        await long.rewind(80)
        assert long.ids == short.ids
        assert np.abs(await ask(long) - await ask(short)).max() <= 1e-4
    finally:
        engine.close()


async def test_pictures_are_read_again_as_they_were_seen_and_when(engine: Engine) -> None:
    cut, whole = context(engine), context(engine)
    said = of_things([(0, 0, 0.2, 0.3), (2, 1, 0.7, 0.7)])
    cells = np.flatnonzero(said[:, 0] < 0.5)
    sights = Sights(said[cells], cells)
    image = random_nano().template.picture(len(cells))
    for each in (cut, whole):
        await each.open(())
        await each.add("system", range(5, 25), 0)
        each.now_s = 4.0
        each.ledger.begin_turn()
        await each.add("reply", range(30, 50) if each is cut else range(30, 36), 0)
        each.now_s = 90.0
        await each.add("picture", image, 90, sights=sights)
        each.now_s = 95.0
    place, span = cut.ledger.spans[1].start + 6, cut.ledger.spans[-1]
    cut.ledger.mark_heard(place)
    await cut.take_back(place, span.start, [], 0)
    assert cut.ids == whole.ids and cut.ledger.spans[-1].id == span.id
    expected = await ask(whole)
    assert np.abs(await ask(cut) - expected).max() <= 1e-4
    for wrong_s, wrong in ((4.0, sights), (90.0, None)):  # another time, or ids alone: another picture
        await whole.rewind(whole.end - len(image))
        whole.now_s = wrong_s
        await whole.add("picture", image, 90, sights=wrong)
        whole.now_s = 95.0
        assert np.abs(await ask(whole) - expected).max() > 1e-3
