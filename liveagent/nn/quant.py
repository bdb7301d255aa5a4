"""`quantised`: a stack whose weights are whole numbers of 8 or 4 bits, and its memory really smaller.

Only weights are rounded; what flows stays as precise as it was, so a row's numbers still depend on that row alone and
no scale is shared between rows or lanes. 8 bits: a scale for each row of a matrix. 4 bits: a step and a middle for each
group of at most 32 numbers of a row (Frantar et al., "GPTQ", 2023, has groups; rounding here is to the nearest). A
table whose rows are also the output stays at 8 bits even then: it decides which word is said.

In bfloat16 on a CPU torch has products of its own for such weights, which read a quarter or half of the bytes; their
rows are the same to the bit however many there are, so passes need no rows that nobody uses (`Stack.rows_apart`).
Otherwise weights are unfolded tile by tile, small enough to stay near the processor, and multiplied as usual.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.stack import Stack

Kind = Literal["int8", "int4"]
KINDS: tuple[str, ...] = get_args(Kind)

GROUP = 32
TILE = 1 << 19
"""Weights that are unfolded at a time."""

FEW_ROWS = 16
"""More are faster with weights unfolded, once for all of them: the kernel of 8 bits unfolds them for each four rows."""


class _Bytes(nn.Module):
    """`[out, in]` weights of 8 bits: whole numbers, and a scale for each row."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.shape, self.dtype = weight.shape, weight.dtype
        scales = (weight.float().abs().amax(1, keepdim=True) / 127).clamp_min(1e-30).to(weight.dtype)
        numbers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        for at in range(0, len(weight), _tile(weight)):  # of a large table, not a copy of all of it in float32
            part = slice(at, at + _tile(weight))
            numbers[part] = (weight[part].float() / scales[part].float()).round_().clamp_(-127, 127).to(torch.int8)
        self.numbers, self.scales = nn.Buffer(numbers), nn.Buffer(scales[:, 0].contiguous())

    @property
    def apart(self) -> bool:
        """Whether rows are the same to the bit however few there are."""
        out, width = self.shape
        whole = width % 32 == 0 and out % 16 == 0  # the kernel knows no rest: it reads past the end
        return self.dtype == torch.bfloat16 and self.numbers.device.type == "cpu" and whole

    def rows(self, which: Tensor) -> Tensor:
        return self.numbers[which].to(self.dtype) * self.scales[which][..., None]

    def times(self, x: Tensor) -> Tensor:
        """`x [n, in]` to `[n, out]`."""
        if self.apart and len(x) <= FEW_ROWS:
            return cast(Tensor, torch.ops.aten._weight_int8pack_mm(x.contiguous(), self.numbers, self.scales))
        tile = _tile(self.numbers)
        parts = [x @ self.numbers[at : at + tile].to(x.dtype).t() for at in range(0, len(self.numbers), tile)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts, 1)).mul_(self.scales)


class _Nibbles(nn.Module):
    """`[out, in]` weights of 4 bits: whole numbers from 0 to 15, two in a byte, and for each group a step and the
    weight that the number 8 stands for."""

    def __init__(self, weight: Tensor, product: bool) -> None:
        """`product`: it will be multiplied with, not only looked up; then it may lie as torch's kernel wants it."""
        super().__init__()
        self.shape, self.dtype = weight.shape, weight.dtype
        out, width = weight.shape
        self.group = min(GROUP, width & -width)
        self.apart = (
            product and weight.dtype == torch.bfloat16 and weight.device.type == "cpu"
            and self.group == GROUP and out % 16 == 0
        )  # fmt: skip
        packed = torch.empty(out, width // 2, dtype=torch.uint8, device=weight.device)
        steps = torch.empty(out, width // self.group, 2, dtype=torch.bfloat16, device=weight.device)
        tile = max(64, _tile(weight) // 64 * 64)
        for at in range(0, out, tile):
            part = slice(at, at + tile)
            numbers, steps[part] = self._round(weight[part].float())
            if self.apart:
                packed[part] = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers.int(), 1)
            else:
                low, high = numbers.to(torch.uint8).chunk(2, 1)
                packed[part] = low | high << 4
        self.packed = nn.Buffer(packed)
        self.steps = nn.Buffer(steps.movedim(1, 0).contiguous() if self.apart else steps)

    def _round(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        grouped = weight.unflatten(1, (-1, self.group))
        least, most = grouped.amin(2), grouped.amax(2)
        step = ((most - least) / 15).clamp_min(1e-30).bfloat16()
        middle = (least + 8 * step.float()).bfloat16()  # numbers are chosen after both are rounded, so it costs nothing
        numbers = ((grouped - middle.float()[..., None]) / step.float()[..., None]).round_().add_(8).clamp_(0, 15)
        return numbers.flatten(1), torch.stack([step, middle], -1)

    def rows(self, which: Tensor) -> Tensor:
        return self._unfolded(self.packed[which], self.steps[which])

    def _unfolded(self, packed: Tensor, steps: Tensor) -> Tensor:
        numbers = torch.cat([packed & 15, packed >> 4], -1).to(self.dtype).sub_(8).unflatten(-1, (-1, self.group))
        step, middle = steps.to(self.dtype)[..., None].unbind(-2)
        return numbers.mul_(step).add_(middle).flatten(-2)

    def times(self, x: Tensor) -> Tensor:
        if self.apart:
            product = torch.ops.aten._weight_int4pack_mm_for_cpu(x.contiguous(), self.packed, self.group, self.steps)
            return cast(Tensor, product)
        tile, out = _tile(self.packed) // 2 + 1, len(self.packed)
        parts = [
            x @ self._unfolded(self.packed[at : at + tile], self.steps[at : at + tile]).t()
            for at in range(0, out, tile)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def _tile(weight: Tensor) -> int:
    """Rows of a matrix that are unfolded at a time."""
    return max(1, TILE // weight.shape[1])


def _folded(weight: Tensor, kind: str, product: bool = True) -> _Bytes | _Nibbles:
    return _Nibbles(weight, product) if kind == "int4" and weight.shape[1] % 16 == 0 else _Bytes(weight)


class QuantLinear(nn.Module):
    """In place of a `Linear`, for running. Made where it runs: its weights lie as that device wants them."""

    def __init__(self, like: Linear, kind: str) -> None:
        super().__init__()
        self.folded = _folded(like.weight.detach(), kind)
        self.bias = None if like.bias is None else nn.Buffer(like.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)

    def product(self, x: Tensor) -> Tensor:
        out = self.folded.times(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
        return out if self.bias is None else out + self.bias


class QuantEmbedding(nn.Module):
    """In place of an `Embedding`: looked up, and where the output is tied, multiplied with."""

    def __init__(self, like: Embedding, kind: str, output: bool) -> None:
        super().__init__()
        self.folded = _folded(like.weight.detach(), "int8" if output else kind, product=False)

    @property
    def dtype(self) -> torch.dtype:
        return self.folded.dtype

    @property
    def device(self) -> torch.device:
        return next(self.folded.buffers()).device

    def rows_of(self, ids: Tensor) -> Tensor:
        return self.folded.rows(ids)

    def mix_of(self, shares: Tensor) -> Tensor:
        rows = self.folded.rows(torch.arange(self.folded.shape[0], device=self.device))
        return shares @ rows

    def product(self, x: Tensor) -> Tensor:
        return self.folded.times(x.flatten(0, -2)).unflatten(0, x.shape[:-1])


def quantised(net: Stack, kind: str) -> Stack:
    """The same stack, its weights rounded and the precise ones let go. ConfigError: no such kind."""
    if kind not in KINDS:
        raise ConfigError(f"weights can be {' or '.join(KINDS)}, not {kind!r}")
    with torch.no_grad():
        for holder in list(net.modules()):
            for name, each in list(holder.named_children()):
                made: nn.Module
                if type(each) is Linear:
                    made = QuantLinear(each, kind)
                elif type(each) is Embedding:
                    made = QuantEmbedding(each, kind, output=net.shape.tied and each is net.embedding)
                else:
                    continue
                setattr(holder, name, made)
    net.rows_apart = all(each.folded.apart for each in net.modules() if isinstance(each, QuantLinear)) and apart(net)
    return net.eval()


def apart(net: Stack) -> bool:
    output: Any = net.embedding if net.shape.tied else net.head
    return bool(output.folded.apart)


def weight_bytes(net: nn.Module) -> int:
    """What a network's weights take."""
    held = {each.data_ptr(): each.nbytes for each in [*net.parameters(), *net.buffers()]}
    return sum(held.values())
