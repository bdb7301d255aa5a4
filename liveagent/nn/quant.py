"""`quantised`: a stack whose weights are whole numbers of 8 or 4 bits, and its memory really smaller.

Only weights are rounded; what flows stays as precise as it was, so a row's numbers still depend on that row alone and
no scale is shared between rows or lanes. 8 bits: a scale for each row of a matrix. 4 bits: a step and a middle for each
group of at most 32 numbers of a row (Frantar et al., "GPTQ", 2023, has groups; rounding here is to the nearest). A
table whose rows are also the output stays at 8 bits even then: it decides which word is said.

In bfloat16 on a CPU torch has products of its own for such weights, which read a quarter or half of the bytes; their
rows are the same to the bit however many there are, so passes need no rows that nobody uses (`Stack.rows_apart`).
Otherwise weights are unfolded tile by tile, small enough to stay near the processor, and multiplied as usual.

A checkpoint's weights are rounded as they are read (`Folding`), a tile of a matrix at a time: no precise copy of it is
ever whole in memory.
"""

from __future__ import annotations

from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.header import Stored
from liveagent.nn.checkpoint import Rows
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.stack import Stack
from liveagent.plan import tensor_bytes

Kind = Literal["int8", "int4"]
KINDS: tuple[str, ...] = get_args(Kind)

GROUP = 32
TILE = 1 << 19
"""Weights that are unfolded at a time."""

FEW_ROWS = 16
"""More are faster with weights unfolded, once for all of them: the kernel of 8 bits unfolds them for each four rows."""


class _Bytes(nn.Module):
    """`[out, in]` weights of 8 bits: whole numbers, and a scale for each row."""

    def __init__(self, weight: Rows) -> None:
        super().__init__()
        self.shape, self.dtype = weight.shape, weight.dtype
        scales = torch.empty(weight.shape[0], dtype=weight.dtype, device=weight.device)
        numbers = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
        for at in range(0, weight.shape[0], _tile(weight)):
            part = slice(at, at + _tile(weight))
            tile = weight[part].float()
            scales[part] = (tile.abs().amax(1) / 127).clamp_min(1e-30).to(weight.dtype)
            numbers[part] = (tile / scales[part].float()[:, None]).round_().clamp_(-127, 127).to(torch.int8)
        self.numbers, self.scales = nn.Buffer(numbers), nn.Buffer(scales)

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

    def __init__(self, weight: Rows, product: bool) -> None:
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


def _tile(weight: Rows) -> int:
    """Rows of a matrix that are folded or unfolded at a time."""
    return max(1, TILE // weight.shape[1])


def _folded(weight: Rows, kind: str, product: bool = True) -> _Bytes | _Nibbles:
    return _Nibbles(weight, product) if kind == "int4" and weight.shape[1] % 16 == 0 else _Bytes(weight)


class QuantLinear(nn.Module):
    """In place of a `Linear`, for running. Made where it runs: its weights lie as that device wants them."""

    def __init__(self, like: Linear, kind: str, weight: Rows | None = None) -> None:
        """`weight`: instead of its own."""
        super().__init__()
        self.folded = _folded(like.weight.detach() if weight is None else weight, kind)
        self.bias = None if like.bias is None else nn.Buffer(like.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)

    def product(self, x: Tensor) -> Tensor:
        out = self.folded.times(x.flatten(0, -2)).unflatten(0, x.shape[:-1])
        return out if self.bias is None else out + self.bias


class QuantEmbedding(nn.Module):
    """In place of an `Embedding`: looked up, and where the output is tied, multiplied with."""

    def __init__(self, like: Embedding, kind: str, output: bool, weight: Rows | None = None) -> None:
        super().__init__()
        rows = like.weight.detach() if weight is None else weight
        self.folded = _folded(rows, "int8" if output else kind, product=False)

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


class Folding:
    """Rounds a stack's weights to `kind`, as they are read where a `Checkpoint` has it as its `fold`; `device`: where
    they will run. ConfigError: no such kind."""

    def __init__(self, kind: str, device: str | torch.device = "cpu") -> None:
        if kind not in KINDS:
            raise ConfigError(f"weights can be {' or '.join(KINDS)}, not {kind!r}")
        self.kind, self.device = kind, torch.device(device)

    def taken(self, net: nn.Module) -> tuple[str, ...]:
        """The names of the weights that are rounded: all matrices of a stack, and nothing of another network."""
        layers = net.named_modules() if isinstance(net, Stack) else ()
        return tuple(f"{name}.weight" for name, each in layers if type(each) in (Linear, Embedding))

    def put(self, net: nn.Module, name: str, weight: Rows) -> None:
        """Round these weights into the place of those that are called so."""
        holder, _, layer = name.removesuffix(".weight").rpartition(".")
        parent = net.get_submodule(holder)
        like = getattr(parent, layer)
        made: nn.Module
        with torch.no_grad():
            if isinstance(like, Embedding):
                made = QuantEmbedding(like, self.kind, self._is_output(net, name), weight)
            else:
                made = QuantLinear(like, self.kind, weight)
        setattr(parent, layer, made)

    def size_bytes(self, net: nn.Module, name: str, shape: torch.Size, dtype: torch.dtype) -> int:
        """What they take of the memory of this machine's processor, then."""
        kind = "int8" if self._is_output(net, name) else self.kind
        stored = Stored("F32", tuple(shape))
        return tensor_bytes(stored, str(dtype).removeprefix("torch."), kind) if self.device.type == "cpu" else 0

    @staticmethod
    def _is_output(net: nn.Module, name: str) -> bool:
        return isinstance(net, Stack) and net.shape.tied and name == "embedding.weight"


def quantised(net: Stack, kind: str) -> Stack:
    """The same stack, its weights rounded and the precise ones let go, as far as none were before. ConfigError: no such
    kind."""
    folding = Folding(kind)
    for name in folding.taken(net):
        folding.put(net, name, net.get_parameter(name).detach())
    net.rows_apart = all(each.folded.apart for each in net.modules() if isinstance(each, QuantLinear)) and apart(net)
    return net.eval()


def apart(net: Stack) -> bool:
    output: Any = net.embedding if net.shape.tied else net.head
    return bool(output.folded.apart)


def weight_bytes(net: nn.Module) -> int:
    """What a network's weights take."""
    held = {each.data_ptr(): each.nbytes for each in [*net.parameters(), *net.buffers()]}
    return sum(held.values())
