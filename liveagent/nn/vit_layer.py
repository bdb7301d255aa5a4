"""`VitLayer`: one layer of a vision transformer, written once for nano's eye and for the towers of checkpoints; options
of `VitConfig` say how they differ.

Pre-norm attention and a feed-forward part (Dosovitskiy et al. 2021) and, as options, norms of queries, keys and values
(Henry et al., "Query-key normalization", 2020), places that turn queries and keys, across by one half of a head and
down by the other (Su et al., "RoFormer", 2021, in two directions), fewer heads of keys than of queries, gates in the
feed-forward part, norms behind both parts, and products whose numbers are held within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.nn.linear import Clipped, Linear
from liveagent.nn.rotary import turn
from liveagent.nn.vit_config import Activation, VitConfig

Turned: TypeAlias = tuple[Tensor, Tensor] | None
"""Cosines and sines `[N, 1, 2, hd / 2]` of patches' places; None: places do not turn anything."""


def _gelu_tanh(x: Tensor) -> Tensor:
    return fn.gelu(x, approximate="tanh")


def _quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "gelu": fn.gelu, "gelu_tanh": _gelu_tanh, "quick_gelu": _quick_gelu,
}  # fmt: skip


def norm(config: VitConfig, width: int) -> nn.Module:
    """The kind of norm that this transformer has."""
    return nn.RMSNorm(width, eps=config.norm_eps) if config.rms else nn.LayerNorm(width, eps=config.norm_eps)


class Beside(nn.Module):
    """Clipped products of the same rows, side by side: each has bounds of its own, so each is a product of its own."""

    def __init__(self, inputs: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(Clipped(inputs, each, bias=False) for each in outputs)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., inputs]` to `[..., sum of outputs]`."""
        return torch.cat(self.each(x), dim=-1)

    def each(self, x: Tensor) -> list[Tensor]:
        """What each product gives."""
        return [part(x) for part in self.parts]


class VitLayer(nn.Module):
    """One block, in two halves with the attention between them, so that a caller may choose its keys. B pictures, N
    tokens, D width, H heads of width hd, KV of them for keys and for values."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        c = config
        self.heads, self.key_heads, self.head_width = c.heads, c.key_heads, c.head_width
        self.scale, self.eps, self.gated, self.act = c.scale, c.norm_eps, c.gated, ACTIVATIONS[c.activation]
        self.norm_attend = norm(c, c.width)
        self.qkv = _linear(c, c.width, *c.parts)
        self.out = _linear(c, c.heads * c.head_width, c.width)
        self.norm_feed = norm(c, c.width)
        self.up = _linear(c, c.width, *[c.hidden] * (1 + c.gated))
        self.down = _linear(c, c.hidden, c.width)
        self.norm_queries = norm(c, c.head_width) if c.head_norms else None
        self.norm_keys = norm(c, c.head_width) if c.head_norms else None
        self.norm_attended = norm(c, c.width) if c.sandwich else None
        self.norm_fed = norm(c, c.width) if c.sandwich else None
        self.parts = c.parts

    def project(self, x: Tensor, turned: Turned = None) -> Tensor:
        """`x [..., N, D]` to queries, keys and values side by side, `[..., N, (H + 2 KV) hd]`, as attention takes them:
        normed, and turned by the places of those N tokens."""
        rows: Tensor = self.qkv(self.norm_attend(x))
        if self.norm_queries is None and turned is None:
            return rows
        q, k, v = (part.unflatten(-1, (-1, self.head_width)) for part in rows.split(self.parts, dim=-1))
        if self.norm_queries is not None and self.norm_keys is not None:
            q, k = self.norm_queries(q), self.norm_keys(k)
            v = fn.rms_norm(v, (self.head_width,), eps=self.eps)
        if turned is not None:
            q, k = (turn(part.unflatten(-1, (2, -1)), *turned).flatten(-2) for part in (q, k))
        return torch.cat([q.flatten(-2), k.flatten(-2), v.flatten(-2)], dim=-1)

    def split(self, rows: Tensor) -> tuple[Tensor, ...]:
        """What `project` gave, `[..., N, (H + 2 KV) hd]`, as queries `[..., H, N, hd]`, keys and values `[..., KV, N,
        hd]`."""
        if self.key_heads == self.heads:
            *lead, tokens, _ = rows.shape
            heads, n = rows.view(*lead, tokens, 3, self.heads, self.head_width), len(lead)
            return heads.permute(n + 1, *range(n), n + 2, n, n + 3).unbind()
        q, k, v = (part.unflatten(-1, (-1, self.head_width)) for part in rows.split(self.parts, dim=-1))
        return q.transpose(-3, -2), k.transpose(-3, -2), v.transpose(-3, -2)

    def queries(self, rows: Tensor) -> Tensor:
        """Of what `project` gave, `[k, (H + 2 KV) hd]`, the queries alone, `[1, H, k, hd]`."""
        return rows[:, : self.parts[0]].view(1, len(rows), self.heads, self.head_width).transpose(1, 2)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries `[B, H, k, hd]` over keys and values `[B, KV, N, hd]`, to `[B, k, H hd]`."""
        few = self.key_heads != self.heads
        found = fn.scaled_dot_product_attention(q, k, v, scale=self.scale, enable_gqa=few)
        return found.transpose(1, 2).flatten(2)

    def forward(self, x: Tensor, turned: Turned = None) -> Tensor:
        """`x [B, N, D]`, every patch looking at every patch."""
        return self.complete(x, self.attend(*self.split(self.project(x, turned))))

    def complete(self, x: Tensor, attended: Tensor, out: Tensor | None = None) -> Tensor:
        """Add what attention `[..., H hd]` found to `x [..., D]`, then the feed-forward part; into `out` if given."""
        found = self.out(attended)
        x = (found if self.norm_attended is None else self.norm_attended(found)).add_(x)
        read = self.norm_feed(x)
        if self.gated:
            gate, middle = self.up.each(read) if isinstance(self.up, Beside) else self.up(read).chunk(2, dim=-1)
            middle = self.act(gate) * middle
        else:
            middle = self.act(self.up(read))
        fed = self.down(middle)
        return torch.add(fed if self.norm_fed is None else self.norm_fed(fed), x, out=out)


def _linear(config: VitConfig, inputs: int, *outputs: int) -> nn.Module:
    if config.clipped and len(outputs) > 1:
        return Beside(inputs, outputs)
    return (Clipped if config.clipped else Linear)(inputs, sum(outputs), bias=config.bias)


@lru_cache(maxsize=8)
def turned(rows: int, cols: int, head_width: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines `[rows * cols, 1, 2, hd / 2]` of the patches of a picture, row by row; angles in float64. The
    sines are negative in the lower half, as `rotary.turn` takes them."""
    with torch.inference_mode(False):  # kept for whoever asks next
        half = head_width // 2
        rates = base ** (-torch.arange(0, half, 2, dtype=torch.float64, device="cpu") / half)
        down, across = torch.meshgrid(torch.arange(rows, device="cpu"), torch.arange(cols, device="cpu"), indexing="ij")
        angle = torch.stack([across, down], dim=-1).reshape(-1, 1, 2, 1) * rates  # [N, 1, 2, hd / 4]
        cos, sin = angle.cos().float(), angle.sin().float()
        return torch.cat([cos, cos], dim=-1).to(device), torch.cat([-sin, sin], dim=-1).to(device)
