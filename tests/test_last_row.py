"""A live step computes, behind the last layer that holds keys, the row whose logits it gives, and no other."""

from __future__ import annotations

import copy
import random

import pytest
import torch

from liveagent.bench.beside import exact
from liveagent.bench.proportions import E2B, THIRD, random_stack, tiny
from liveagent.nn.block import Block
from liveagent.nn.quant import quantised
from liveagent.nn.stack import Stack
from tests.nano import random_nano

LANES = 3


@pytest.fixture(scope="module")
def sharing() -> Stack:
    """Ten layers, of which five read the keys of others."""
    return random_stack({**tiny(E2B, 10), "sliding_window": 9}, torch.float32)


def both(net: Stack, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The logits that `step` gives of lanes that read pieces of random lengths, and those that `steps` does."""
    rng, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    states = [net.init_state(LANES, 256, back=16) for _ in range(2)]
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = [], []
    for _ in range(12):
        size = rng.choice((8, 32))
        counts = [rng.choice((0, 1, size // 2, size)) for _ in range(LANES)]
        if not any(counts) or int(states[0].length.max()) > 256 - 32:
            continue
        rows = net.embed(torch.randint(3, 199, (LANES, size), generator=generator))
        last, every = net.step(rows, counts, states[0]), net.steps(rows, counts, states[1])
        for lane, count in enumerate(counts):
            if count:
                found[0].append(last[lane])
                found[1].append(every[lane, count - 1])
    return torch.stack(found[0]), torch.stack(found[1])


@pytest.mark.parametrize("seed", range(4))
def test_its_logits_are_those_of_a_whole_step(sharing: Stack, seed: int) -> None:
    with exact():
        step, steps = both(sharing, seed)
    assert float((step - steps).abs().max() / steps.std()) < 1e-5
    assert float((step - steps.roll(1, 0)).abs().max() / steps.std()) > 0.1


def test_quantised_too(sharing: Stack) -> None:
    with exact():
        step, steps = both(quantised(copy.deepcopy(sharing), "int8"), 5)
    assert float((step - steps).abs().max() / steps.std()) < 1e-5


def test_other_rows_stop_at_the_last_layer_that_holds_keys(sharing: Stack) -> None:
    assert sharing.shape.holding == 5
    rows: list[int] = []
    hooks = [layer.gate_up.register_forward_hook(lambda _, given, out: rows.append(out.shape[0] * out.shape[1]))
             for layer in sharing.layers if isinstance(layer, Block)]  # fmt: skip
    with exact():
        sharing.step(sharing.embed(torch.ones(LANES, 32, dtype=torch.long)), [0, 20, 0], sharing.init_state(LANES, 64))
        asked, rows[:] = list(rows), []
        sharing.step(sharing.embed(torch.ones(LANES, 1, dtype=torch.long)), [1, 1, 0], sharing.init_state(LANES, 64))
    for hook in hooks:
        hook.remove()
    assert asked == [32] * 5 + [4] * 5 and rows == [4] * 10


def test_where_every_layer_holds_keys_nothing_is_left_out() -> None:
    assert random_stack(tiny(THIRD, 6), torch.float32).shape.holding == 6
    net = random_nano().decoder
    assert net.shape.holding == len(net.layers)
