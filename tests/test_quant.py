"""Weights of 8 and 4 bits: near, small, and under the laws that the precise ones are under."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.block import BlockConfig
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.quant import KINDS, QuantEmbedding, QuantLinear, quantised, weight_bytes
from liveagent.nn.stack import Stack, StackConfig

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with torch.inference_mode():
        yield


def stack(seed: int = 0, dtype: torch.dtype = torch.float32, tied: bool = True) -> Stack:
    """Widths that the kernels take, keys shared by layers, an input for each layer."""
    torch.manual_seed(seed)
    block = BlockConfig(64, 4, 2, 32, 128, window=6, qk_norm=True, layer_input=32, qkv_bias=True)
    far = BlockConfig(64, 4, 2, 32, 128, layer_input=32, qkv_bias=True)
    shape = StackConfig(192, 64, (block, far, block, far), layer_vocab=192, tied=tied)
    net = Stack(shape).eval().requires_grad_(False)
    for weight in net.parameters():
        torch.nn.init.normal_(weight, mean=float(weight.ndim < 2), std=weight.shape[-1] ** -0.5)
    return net.to(dtype)


def streamed(net: Stack, rows: Tensor, sizes: list[int], others: Tensor | None = None) -> Tensor:
    """Logits of rows that come in pieces, in lane 1 of four; the lanes beside it hear `others`."""
    state = net.init_state(4, 64, back=8)
    out, at = [], 0
    for size in sizes:
        x = torch.zeros(4, max(size, 4), rows.shape[1])
        x[1, :size] = rows[at : at + size]
        if others is not None:
            x[0, :size], x[3, :size] = others[at : at + size], others[at : at + size]
        out.append(net.steps(x, [size * (others is not None), size, 0, size * (others is not None)], state)[1, :size])
        at += size
    return torch.cat(out)


@DTYPES
@KIND
def test_a_matrix_is_near_and_small(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    plain = Linear(256, 320).to(dtype)
    plain.weight[7] *= 100  # a large row costs no other its precision
    made = QuantLinear(plain, kind)
    for rows in (1, 4, 40):
        x = torch.randn(rows, 256, dtype=dtype)
        true = plain(x).float()
        apart = (made(x).float() - true)[:, torch.arange(320) != 7].square().mean().sqrt() / true[:, :7].std()
        assert float(apart) < (0.015 if kind == "int8" else 0.15)
    assert weight_bytes(made) < (weight_bytes(plain) * {"int8": 1.03, "int4": 0.65}[kind]) * (1 / dtype.itemsize)


@KIND
def test_every_weight_is_within_half_a_step(kind: str) -> None:
    torch.manual_seed(2)
    plain = Embedding(100, 96)
    made = QuantEmbedding(plain, kind, output=False)
    found = made.rows_of(torch.arange(100))
    grouped, near = plain.weight.unflatten(1, (3, 32)), found.unflatten(1, (3, 32))
    span = plain.weight.abs().amax(1)[:, None, None] / 127 if kind == "int8" else (
        grouped.amax(2, keepdim=True) - grouped.amin(2, keepdim=True)) / 15  # fmt: skip
    assert bool(((grouped - near).abs() <= span * 0.6 + 1e-6).all())
    assert torch.equal(made.rows_of(torch.tensor([[3], [9]])), found[torch.tensor([[3], [9]])])
    assert torch.allclose(made.product(torch.eye(96)).t(), found, atol=1e-5)
    shares = torch.softmax(torch.randn(2, 100), -1)
    assert torch.allclose(made.mix_of(shares), shares @ found, atol=1e-5)


@KIND
@pytest.mark.parametrize("tied", [True, False])
def test_streamed_equals_whole(kind: str, tied: bool) -> None:
    net = quantised(stack(3, tied=tied), kind)
    ids = torch.randint(0, 192, (1, 40))
    whole, rows = net(ids)[0], net.embed(ids)[0]
    for sizes in ([40], [1] * 40, [3, 8, 1, 1, 20, 7]):
        assert float((streamed(net, rows, sizes) - whole).abs().max()) < 1e-5 * float(whole.abs().max())


@DTYPES
@KIND
def test_the_stack_stays_near_itself(kind: str, dtype: torch.dtype) -> None:
    net = stack(4, dtype)
    precise = copy.deepcopy(net).float()
    ids = torch.randint(0, 192, (1, 32))
    true = precise(ids)
    size = weight_bytes(net)
    assert quantised(net, kind) is net
    assert float((net(ids).float() - true).std() / true.std()) < (0.06 if kind == "int8" else 0.5)
    assert weight_bytes(net) < size * {"int8": 0.62, "int4": 0.45}[kind] * 2 / dtype.itemsize
    assert not any(type(each) in (Linear, Embedding) for each in net.modules())


@DTYPES
@KIND
@pytest.mark.parametrize("hostile", [1e6, float("nan")])
def test_neighbours_do_not_matter(kind: str, dtype: torch.dtype, hostile: float) -> None:
    """To the bit: beside nobody, beside the loud and beside what is no number."""
    net = quantised(stack(5, dtype), kind)
    assert net.rows_apart == (dtype == torch.bfloat16)
    rows = net.embed(torch.randint(0, 192, (24,)))
    loud = rows.clone()
    loud[:, :-1] *= hostile
    alone = streamed(net, rows, [1] * 8 + [8, 8])
    assert torch.equal(streamed(net, rows, [1] * 8 + [8, 8], loud), alone)
    assert bool(alone.isfinite().all())


@DTYPES
@KIND
def test_a_step_is_the_same_beside_others(kind: str, dtype: torch.dtype) -> None:
    """Single tokens, which lanes read together: in a pass of one, and in one of four."""
    net = quantised(stack(6, dtype), kind)
    rows = net.embed(torch.randint(0, 192, (10,)))
    alone, together = net.init_state(4, 32, back=4), net.init_state(4, 32, back=4)
    for row in rows:
        x = torch.randn(4, 1, net.row_width)
        x[:, :, -1] = 5
        x[2, 0] = row
        one = net.step(x, [0, 0, 1, 0], alone)[2]
        assert torch.equal(net.step(x, [1, 1, 1, 1], together)[2], one)


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="int3"):
        quantised(stack(), "int3")


def test_widths_that_no_group_fits_stay_at_eight_bits() -> None:
    made = QuantLinear(Linear(20, 12), "int4")
    assert made.folded.get_buffer("numbers").dtype == torch.int8


@KIND
@DTYPES
@pytest.mark.parametrize(("wide", "out"), [(72, 48), (8, 30), (48, 20), (80, 64), (33, 7), (96, 16)])
def test_widths_that_kernels_do_not_take(kind: str, dtype: torch.dtype, wide: int, out: int) -> None:
    torch.manual_seed(7)
    plain = Linear(wide, out).to(dtype)
    made = QuantLinear(plain, kind)
    for rows in (1, 3, 4, 17):
        x = torch.randn(rows, wide, dtype=dtype)
        assert torch.allclose(made(x).float(), plain(x).float(), atol=0.25)
