"""A causal, chunked Conformer block with carried state.

The Conformer of Gulati et al. 2020 (attention, convolution and two half-step feed-forwards), made streaming: the
convolution sees the past only; attention sees its own chunk and `left` tokens before the chunk (the mask of chunked
attention with limited left context, as in Emformer and FastConformer). Keys and values are cached *before* rotation
(RoPE, Su et al. 2021) and rotated by their place in the window, so nothing drifts however long a stream runs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn


def rotation(count: int, size: int) -> tuple[Tensor, Tensor]:
    """What `rotate` takes for positions 0..count-1: cos and signed sin, each [count, size]; angles made in fp64."""
    speed = 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * speed[None, :]
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [..., T, size] by what `rotation` gives; the two halves form the pairs."""
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return torch.addcmul(x * cos.to(x.dtype), swapped, sin.to(x.dtype))


GROUP = 40  # tokens whose queries share one window of keys in whole clips; a multiple of every chunk


def window_bias(tokens: int, chunk: int, left: int) -> Tensor:
    """What to add to scores of whole clips, [groups, GROUP, left + GROUP]: 0 where a query may see a key, else -1e9.

    A query sees its own chunk and the `left` tokens before that chunk. Queries go in groups of GROUP, each with the
    window of keys that ends with it, so a long clip costs what its length costs and not the square of it.
    """
    groups = -(-tokens // GROUP)
    query = torch.arange(groups * GROUP).view(groups, GROUP, 1)
    key = torch.arange(groups)[:, None, None] * GROUP + torch.arange(-left, GROUP)[None, None, :]
    start = query // chunk * chunk
    seen = (key >= 0) & (key >= start - left) & (key < start + chunk) & (key < tokens)
    return torch.zeros(seen.shape).masked_fill(~seen, -1e9)


class FeedForward(nn.Module):
    """LayerNorm, widen by `times`, SiLU, back."""

    def __init__(self, width: int, times: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * times)
        self.down = nn.Linear(width * times, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D], to be added."""
        return self.drop(self.down(fn.silu(self.up(self.norm(x)))))


class Attention(nn.Module):
    """Chunked self-attention; `attend` takes the keys and values it is to see, cached or not."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, D] -> raw q, k, v, each [B, T, D]."""
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        return q, k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """q [B, Tq, D] over k, v [B, Tk, D]; the queries are the last Tq of the Tk places that `rope` numbers."""
        cos, sin = rope
        q, k, v = (t.unflatten(-1, (self.heads, self.size)).transpose(1, 2) for t in (q, k, v))
        first = k.shape[2] - q.shape[2]
        q, k = rotate(q, cos[first:], sin[first:]), rotate(k, cos, sin)
        y = fn.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.drop(self.out(y.transpose(1, 2).flatten(2)))

    def attend_whole(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """Whole clips q, k, v [B, T, D] under a `window_bias`; `rope` numbers T places."""
        tokens, left = q.shape[1], bias.shape[2] - GROUP
        q, k, v = (t.unflatten(-1, (self.heads, self.size)).transpose(1, 2) for t in (q, k, v))
        q, k = rotate(q, *rope) * self.size**-0.5, rotate(k, *rope)
        spare = len(bias) * GROUP - tokens
        q = fn.pad(q, (0, 0, 0, spare)).unflatten(2, (len(bias), GROUP))
        k, v = (fn.pad(t, (0, 0, left, spare)).unfold(2, left + GROUP, GROUP) for t in (k, v))  # [.., size, keys]
        weights = torch.softmax((q @ k).float() + bias, dim=-1).to(v.dtype)
        y = (weights @ v.transpose(-1, -2)).flatten(2, 3)[:, :, :tokens]
        return self.drop(self.out(y.transpose(1, 2).flatten(2)))


class Convolution(nn.Module):
    """Gate, causal depthwise convolution over `kernel` tokens, LayerNorm, SiLU, mix."""

    def __init__(self, width: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.kernel = kernel
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(width, 2 * width)
        self.depth = nn.Conv1d(width, width, kernel, groups=width)
        self.mid = nn.LayerNorm(width)
        self.out = nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)

    def gated(self, x: Tensor) -> Tensor:
        """[B, T, D] -> what the convolution reads and the state keeps, [B, T, D]."""
        return fn.glu(self.gate(self.norm(x)), dim=-1)

    def mix(self, past: Tensor) -> Tensor:
        """[B, kernel - 1 + T, D] -> [B, T, D], to be added."""
        return self._after(self.depth(past.transpose(1, 2)).transpose(1, 2))

    def mix_chunk(self, past: Tensor) -> Tensor:
        """As `mix`, for the few tokens of a chunk: a plain sum, where a convolution's set-up would cost more."""
        y = (past.unfold(1, self.kernel, 1) * self.depth.weight[:, 0]).sum(-1) + self.depth.bias
        return self._after(y)

    def _after(self, y: Tensor) -> Tensor:
        return self.drop(self.out(fn.silu(self.mid(y))))


class Block(nn.Module):
    """One Conformer block."""

    def __init__(self, width: int, heads: int, times: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first = FeedForward(width, times, dropout)
        self.attention = Attention(width, heads, dropout)
        self.convolution = Convolution(width, kernel, dropout)
        self.second = FeedForward(width, times, dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, bias: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        """Whole clips [B, T, D] from their beginning; `bias` a `window_bias`, `rope` for T places."""
        x = x + 0.5 * self.first(x)
        q, k, v = self.attention.project(x)
        x = x + self.attention.attend_whole(q, k, v, bias, rope)
        g = self.convolution.gated(x)
        x = x + self.convolution.mix(fn.pad(g, (0, 0, self.convolution.kernel - 1, 0)))
        return self.norm(x + 0.5 * self.second(x))

    def step(
        self, x: Tensor, cache: tuple[Tensor, Tensor, Tensor], mask: Tensor, rope: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """One chunk [B, C, D] after `cache` = keys, values [B, L, D] and convolution past [B, kernel - 1, D].

        `mask` [B, 1, 1, L + C] says which places hold something; `rope` numbers L + C places. Gives the chunk's output
        and the next cache, the given one unchanged.
        """
        keys, values, past = cache
        x = x + 0.5 * self.first(x)
        q, k, v = self.attention.project(x)
        k, v = torch.cat([keys, k], dim=1), torch.cat([values, v], dim=1)
        x = x + self.attention.attend(q, k, v, mask, rope)
        past = torch.cat([past, self.convolution.gated(x)], dim=1)
        x = x + self.convolution.mix_chunk(past)
        y = self.norm(x + 0.5 * self.second(x))
        left = keys.shape[1]
        return y, (k[:, -left:], v[:, -left:], past[:, 1 - self.convolution.kernel :])
