"""`Linear` and `Embedding`: as torch's, and fast for the few rows of a live step.

A product of a few rows is bound by how the weights are read. MKL, which torch calls for float32, sorts them anew in
every call. oneDNN, which comes with torch too, takes weights that were sorted once: from 4 to 64 rows that takes half
to three quarters of the time, in bfloat16 too. Numbers differ in their last bits, as any other order of sums does; a
row's still depend on that row alone.
"""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

LIKELY_ROWS = 8
"""Rows that the order is made for; any other number of rows may come."""


class _Sorted:
    """The sorted weights. A copy begins without: whoever copies a network means to change it."""

    def __init__(self) -> None:
        self.weight: Tensor | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _Sorted, ()


class _Sortable(nn.Module):
    """A layer whose `weight` may have been sorted for running. Where gradients are wanted, on another device and in
    another precision it is torch's own; training, moving and loading forget the sorted weights."""

    weight: Tensor

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sorted = _Sorted()

    def product(self, x: Tensor) -> Tensor:
        """`x [..., in]` to `[..., out]`."""
        ready, bias = self._sorted.weight, getattr(self, "bias", None)
        if ready is None or x.dtype != ready.dtype or torch.is_grad_enabled():
            return fn.linear(x, self.weight, bias)
        return torch.ops.mkldnn._linear_pointwise.default(x, ready, bias, "none", [], "")

    def sort_weights(self) -> None:
        """Get ready for running on this CPU; weights that are changed from here on must be sorted again."""
        if self.weight.dtype != torch.float32 and not (self.weight.dtype == torch.bfloat16 and _halves()):
            return
        self._sorted.weight = torch.ops.mkldnn._reorder_linear_weight.default(self.weight.detach(), LIKELY_ROWS)

    def train(self, mode: bool = True) -> Self:
        if mode:
            self._sorted.weight = None
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> Self:
        self._sorted.weight = None
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._sorted.weight = None
        super()._load_from_state_dict(*args, **kwargs)


class Linear(_Sortable, nn.Linear):
    """`nn.Linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x)


class Clipped(Linear):
    """What goes in and what comes out is cut off at bounds that come with the weights: least and most of what goes in,
    then of what comes out."""

    bounds: Tensor

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__(in_features, out_features, bias=bias)
        infinite = float("inf")
        self.register_buffer("bounds", torch.tensor([-infinite, infinite, -infinite, infinite]))

    def forward(self, x: Tensor) -> Tensor:
        in_least, in_most, out_least, out_most = self.bounds.unbind()
        return self.product(x.clamp(in_least, in_most)).clamp(out_least, out_most)


class Embedding(_Sortable, nn.Embedding):
    """`nn.Embedding`; `product` is the way back, from rows to a score for each id, with the same weights. One that is
    `looked_up_only` has no such way, and is not sorted for it: that would be a second copy of what may be gigabytes."""

    looked_up_only = False

    def sort_weights(self) -> None:
        if not self.looked_up_only:
            super().sort_weights()

    @property
    def dtype(self) -> torch.dtype:
        return self.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.weight.device

    def rows_of(self, ids: Tensor) -> Tensor:
        """Ids `[...]` to rows `[..., D]`."""
        return fn.embedding(ids, self.weight)

    def mix_of(self, shares: Tensor) -> Tensor:
        """Rows `[..., D]` of which each is a mixture of all: `shares [..., V]`."""
        return shares @ self.weight


def _halves() -> bool:
    """Whether oneDNN multiplies in bfloat16 here, and not by way of float32."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def sort_weights(net: nn.Module) -> None:
    """Sort the weights of a network that will run and not learn, where this CPU gains by it."""
    if not torch.backends.mkldnn.is_available() or not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return
    for each in net.modules():
        if isinstance(each, _Sortable):
            each.sort_weights()
