"""Training's rows as a tree: what is shared is read once and asides know nothing of each other; no number changes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from liveagent.ledger import Ledger
from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.pieces import Pieces
from liveagent.sight import WIDTH
from liveagent.train.decoder import Batch, loss_of
from liveagent.train.dialogues import Row
from liveagent.train.glances import thinned
from liveagent.train.looks import Looks
from liveagent.train.tree import shared_tokens
from liveagent.window import Budget, plan

PIECES = Pieces.load(Path(__file__).parents[1] / "pipelines" / "nano" / "weights" / "pieces.json")


@pytest.fixture(scope="module")
def net() -> Decoder:
    torch.manual_seed(3)
    config = DecoderConfig(PIECES.vocab_size, 32, 2, 4, 48, hear_width=8, time_pairs=2, sight_width=WIDTH)
    made = Decoder(config).eval()
    torch.nn.init.normal_(made.embedding.weight, std=0.3)
    return made


@pytest.fixture
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def same(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)


def rows_behind_one_prompt(count: int, seed: int = 5) -> list[Row]:
    source = Looks(PIECES, seed, share=0.5)
    source.renew()
    assert source.shared is not None
    prompt = source.shared[0]
    assert len(prompt) > 100
    rows: list[Row] = []
    while len(rows) < count:
        row = source.next()
        rows += [row] if row.ids[: len(prompt)] == prompt else []
    return rows


def alone(net: Decoder, row: Row) -> Tensor:
    """Hidden rows of a row without asides, probes behind, by the decoder itself."""
    batch = Batch([row], PIECES)
    n, probes = len(row.ids), len(row.leaves)
    x = net.embed(batch.ids)
    for _, i, other, share in batch.mixes:
        x[0, i] = x[0, i] * (1 - share) + net.embed(torch.tensor(other)) * share
    if batch.places is not None:
        b, i, cell = batch.places
        x[b, i] = net.see_embed(batch.sights, cell, batch.pictures)
    times = torch.tensor([row.times + [row.times[after] for after, _ in row.leaves]], dtype=torch.float64)
    if not probes:
        return net.hidden(rows=x, times=times)[0]
    mask = torch.zeros(1, probes, n + probes, dtype=torch.bool)
    for p, (after, _) in enumerate(row.leaves):
        mask[0, p, : after + 1] = mask[0, p, n + p] = True
    positions = torch.tensor([[after + 1 for after, _ in row.leaves]])
    return net.hidden(rows=x, leaves=(positions, mask), times=times)[0]


def without(row: Row, first: int, end: int) -> Row:
    """The row's trunk up to and with one aside, and nothing else."""
    gone = {i for a, b in row.asides if (a, b) != (first, end) for i in range(a, b)}
    stay = [i for i in range(end) if i not in gone]
    to = {i: n for n, i in enumerate(stay)}
    kept = [at for at, (i, _) in enumerate(row.cells) if i in to]
    return replace(
        row,
        ids=[row.ids[i] for i in stay],
        targets=[row.targets[i] for i in stay],
        weights=[row.weights[i] for i in stay],
        times=[row.times[i] for i in stay],
        leaves=[],
        mixes=[(to[i], other, share) for i, other, share in row.mixes if i in to],
        cells=[(to[row.cells[at][0]], row.cells[at][1]) for at in kept],
        sights=[row.sights[at] for at in kept],
        gazes=[],
        asides=[],
    )


def test_a_row_without_asides_reads_as_the_decoder_reads_it(net: Decoder, no_gradients: None) -> None:
    source = Looks(PIECES, 4, share=0.3)
    rows = [row for row in (source.next() for _ in range(40)) if not row.asides]
    assert any(row.leaves for row in rows) and any(row.cells for row in rows) and any(row.mixes for row in rows)
    for row in rows[:8]:
        same(Batch([row], PIECES).hidden(net)[0], alone(net, row))


def test_a_shared_prompt_is_read_as_each_row_would(net: Decoder, no_gradients: None) -> None:
    rows = rows_behind_one_prompt(4)
    together = Batch(rows, PIECES)
    assert together.tree.stem == shared_tokens(rows) > 100
    assert together.tokens < sum(Batch([row], PIECES).tokens for row in rows)
    out = together.hidden(net)
    for lane, row in enumerate(rows):
        single = Batch([row], PIECES)
        assert single.tree.stem == 0
        by_itself, n = single.hidden(net)[0], len(row.ids)
        same(out[lane, :n], by_itself[:n])
        probes = slice(together.trunk, together.trunk + len(row.leaves))
        same(out[lane, probes], by_itself[n:])


def test_what_is_wanted_alone_is_what_it_is_among_all(net: Decoder, no_gradients: None) -> None:
    batch = Batch(rows_behind_one_prompt(4), PIECES)
    only = batch.weights > 0
    told: list[tuple[int, int]] = []

    def attended(number: int, scores: Tensor, rows_of: Tensor) -> None:
        told.append((number, scores.shape[2]))
        assert rows_of.max() == scores.shape[2] - 1

    same(batch.hidden(net, only, attended), batch.hidden(net)[only])
    assert told == [(0, batch.tree.mask.shape[1]), (1, int(only.sum(1).max()))]


def test_the_gradient_flows_into_what_is_shared(net: Decoder) -> None:
    rows = [replace(row, gazes=[]) for row in rows_behind_one_prompt(3)]

    def gradient(batches: list[list[Row]]) -> Tensor:
        net.zero_grad()
        total = sum(sum(row.weights) + 0.7 * len(row.leaves) for row in rows)
        for group in batches:
            part = sum(sum(row.weights) + 0.7 * len(row.leaves) for row in group)
            (loss_of(net, Batch(group, PIECES)) * (part / total)).backward()
        found = net.get_parameter("layers.0.qkv.weight").grad
        assert found is not None
        return found.clone()

    torch.testing.assert_close(gradient([rows]), gradient([[row] for row in rows]), atol=1e-4, rtol=1e-3)
    net.zero_grad()


def test_heads_are_only_taught_where_something_is_predicted(net: Decoder, no_gradients: None) -> None:
    """Not where a reply was cut off."""
    cut = PIECES.id("<cut>")
    source = Looks(PIECES, 6, share=1.0)
    rows = [row for row in (source.next() for _ in range(150)) if row.gazes]
    short = [row for row in rows if any(row.targets[end - 1] == cut for _, end, _ in row.gazes)][:3]
    assert short
    for group in (short, rows[:4]):
        batch = Batch(group, PIECES)
        assert batch.gazing and all(batch.weights[b, i] > 0 for b, i in batch.gazing)
        assert batch.gazed.any(1).all() and torch.isfinite(loss_of(net, batch))


def test_asides_know_nothing_of_each_other(net: Decoder, no_gradients: None) -> None:
    row = next(row for row in rows_behind_one_prompt(12) if len(row.asides) > 3)
    out = Batch([row], PIECES).hidden(net)[0]
    for first, end in row.asides[:4]:
        same(out[first:end], alone(net, without(row, first, end))[first - end :])


def test_pictures_go_as_a_session_lets_them_go() -> None:
    ages, sizes = [780.0 - 30 * i for i in range(26)], [3 + i % 7 for i in range(26)]
    ledger = Ledger()
    ledger.append("system", 4, 0)
    for age, size in zip(ages, sizes, strict=True):
        ledger.append("picture", size, round((780 - age) * 1e9))
    ledger.append("text", 1, round((780 - ages[-1]) * 1e9))
    gone = set(plan(ledger, Budget(1000, 900, 800, 120, 100)).spans)
    stay = [i for i, span in enumerate(s for s in ledger.spans if s.kind == "picture") if span.id not in gone]
    assert thinned(ages, sizes, 120, 100) == stay and len(stay) < 24
    assert thinned(ages, sizes, 500, 400) == list(range(26))
