"""The benches `decode` and `quant` at tiny size: every figure is there, and theirs is the same decoder as ours."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch

from liveagent.bench import decode, quant
from liveagent.bench.proportions import E2B, THIRD, random_stack, tiny
from liveagent.bench.rival import Rival
from liveagent.load import load_agent
from liveagent.nn.quant import quantised
from tests.nano import random_nano

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    pytest.importorskip("transformers")
    with torch.inference_mode():
        yield


@pytest.mark.parametrize("config", [tiny(THIRD, 6), tiny(E2B, 10)], ids=["third", "e2b"])
def test_both_are_one_decoder(config: dict[str, object]) -> None:
    net = random_stack(config, torch.float32)
    rival = Rival.of(net, config)
    ids = torch.tensor([[5, 9, 2, 7, 7, 1]])
    theirs = rival.model(input_ids=ids).logits
    assert float((net(ids) - theirs).abs().max() / theirs.std()) < 1e-4
    figures, detail = decode.measure(net, rival, 2, 1e10, tokens=64)
    assert set(figures) == {"vs_kernels", "vs_transformers", "bandwidth_share"}
    assert all(value > 0 for value in figures.values()) and detail["their_cache"] in ("dynamic", "static")


def test_nano_beside_a_llama_of_its_sizes() -> None:
    net = random_nano().decoder
    figures, _ = decode.measure(net, Rival.of_nano(net), 1, 1e10, tokens=40)
    assert figures["vs_transformers"] > 0


def test_sizes_and_errors_of_fewer_bits() -> None:
    figures, _ = quant.speeds(tiny(E2B, 10), 1, tokens=40)
    assert figures["int4_size"] < figures["int8_size"] < 0.6
    model = random_nano()
    small = (quantised(copy.deepcopy(model.decoder), kind) for kind in ("int8", "int4"))
    eight, four = (quant.logit_error(model, each, load_agent("voice")) for each in small)
    assert 0 < eight < four < 0.5
