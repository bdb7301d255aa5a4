"""A causal, chunked Conformer block with carried state, written once for nano and for every family of checkpoints.

The Conformer of Gulati et al. 2020 (attention, convolution and two half-step feed-forwards), made streaming: the
convolution sees the past only; attention sees its own chunk and `left` tokens before the chunk. How trained ones differ
is said by `ConformerConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn.chunked import Attention, Rotation
from liveagent.nn.linear import Clipped, Linear


@dataclass(frozen=True)
class ConformerConfig:
    """Everything that fixes a block's tensors' shapes and its arithmetic."""

    width: int
    heads: int
    hidden: int
    """Of a feed-forward."""
    kernel: int
    """Tokens that the convolution sees, the token itself the last of them."""
    chunk: int = 1
    """Tokens that come together and see each other."""
    left: int = 40
    """Tokens before its chunk that a token sees."""
    dropout: float = 0.0
    norm: Literal["layer", "rms"] = "layer"
    eps: float = 1e-5
    mid_eps: float = 1e-5
    """Of the two norms of the convolution."""
    bias: bool = True
    """Of feed-forwards and attention."""
    depth_bias: bool = True
    """Of the convolution and the products beside it."""
    post_norms: bool = False
    """Feed-forwards and attention are normed before they are added too."""
    residual: float = 0.5
    """What a feed-forward is multiplied with before it is added."""
    places: Literal["rotary", "relative", "relative biased"] = "rotary"
    """How a token knows how far away another is: keys and queries are turned; each distance has a key of its own, with
    a gain learnt for every number of a head; or with two biases learnt for each head (Dai et al. 2019)."""
    key_gain: float = 1.0
    """What keys of tokens, and not those of distances, are multiplied with; relative ones only."""
    cap: float = 0.0
    """Scores are bent to stay within this; 0: they are not; relative ones only."""
    clamp: float = 0.0
    """Between parts numbers are cut off here; 0: nowhere."""
    clips: bool = False
    """What goes into a product and what comes out is cut off at bounds that were learnt."""
    sortable: bool = False
    """Products are `linear.Linear`, whose weights may be sorted for few rows."""

    def __post_init__(self) -> None:
        if self.width % self.heads or min(self.chunk, self.kernel, self.hidden) < 1 or self.left < 0:
            raise ConfigError(
                f"a Conformer of width {self.width} with {self.heads} heads, kernel {self.kernel}, chunks of "
                f"{self.chunk} and {self.left} tokens before cannot be: its settings are damaged"
            )

    def linear(self, width_in: int, width_out: int, bias: bool) -> nn.Linear:
        """A product as this block has them."""
        kind = Clipped if self.clips else Linear if self.sortable else nn.Linear
        return kind(width_in, width_out, bias=bias)

    def normed(self, eps: float | None = None) -> nn.Module:
        """A norm as this block has them."""
        eps = self.eps if eps is None else eps
        return nn.RMSNorm(self.width, eps=eps) if self.norm == "rms" else nn.LayerNorm(self.width, eps=eps)

    def limit(self, x: Tensor) -> Tensor:
        """Cut off what is beyond `clamp`, or beyond what its numbers hold."""
        if not self.clamp:
            return x
        most = min(self.clamp, torch.finfo(x.dtype).max)
        return x.clamp(-most, most)


class FeedForward(nn.Module):
    """Norm, widen, SiLU, back; normed again where the block norms behind its parts."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.limit = config.limit
        self.norm = config.normed()
        self.up = config.linear(config.width, config.hidden, config.bias)
        self.down = config.linear(config.hidden, config.width, config.bias)
        self.drop = nn.Dropout(config.dropout)
        self.after = config.normed() if config.post_norms else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D], to be added."""
        y: Tensor = self.drop(self.down(fn.silu(self.up(self.norm(self.limit(x))))))
        return y if self.after is None else self.after(self.limit(y))


class Convolution(nn.Module):
    """Gate, causal depthwise convolution over `kernel` tokens, norm, SiLU, mix."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        width, self.kernel, self.limit = config.width, config.kernel, config.limit
        self.norm = config.normed(config.mid_eps)
        self.gate = config.linear(width, 2 * width, config.depth_bias)
        self.depth = nn.Conv1d(width, width, config.kernel, groups=width, bias=config.depth_bias)
        self.mid = config.normed(config.mid_eps)
        self.out = config.linear(width, width, config.depth_bias)
        self.drop = nn.Dropout(config.dropout)

    def gated(self, x: Tensor) -> Tensor:
        """[B, T, D] -> what the convolution reads and the state keeps, [B, T, D]."""
        return fn.glu(self.gate(self.norm(x)), dim=-1)

    def mix(self, past: Tensor) -> Tensor:
        """[B, kernel - 1 + T, D] -> [B, T, D], to be added."""
        return self._after(self.depth(past.transpose(1, 2)).transpose(1, 2))

    def mix_chunk(self, past: Tensor) -> Tensor:
        """As `mix`, for the few tokens of a chunk: a plain sum, where a convolution's set-up would cost more."""
        y = (past.unfold(1, self.kernel, 1) * self.depth.weight[:, 0]).sum(-1)
        return self._after(y if self.depth.bias is None else y + self.depth.bias)

    def _after(self, y: Tensor) -> Tensor:
        out: Tensor = self.drop(self.out(fn.silu(self.mid(self.limit(y)))))
        return out


class Block(nn.Module):
    """One Conformer block."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.residual, self.limit = config.residual, config.limit
        self.first = FeedForward(config)
        self.attention = Attention(config)
        self.convolution = Convolution(config)
        self.second = FeedForward(config)
        self.norm = config.normed()

    def forward(self, x: Tensor, bias: Tensor, rope: Rotation | None = None) -> Tensor:
        """Whole clips [B, T, D] from their beginning; `bias` a `window_bias`, `rope` for T places where they turn."""
        x = x + self.residual * self.first(x)
        q, k, v = self.attention.project(x)
        x = x + self.attention.attend_whole(q, k, v, bias, rope)
        g = self.convolution.gated(x)
        x = x + self.convolution.mix(fn.pad(g, (0, 0, self.convolution.kernel - 1, 0)))
        return self._end(x)

    def step(
        self, x: Tensor, cache: tuple[Tensor, Tensor, Tensor], mask: Tensor, rope: Rotation | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """One or more chunks [B, C, D] after `cache` = L keys and values as the attention has them cached, and the
        convolution's past [B, kernel - 1, D].

        `mask` [B, 1, 1 or C, L + C] says which places are seen; `rope` numbers L + C places, where they turn. Gives the
        chunks' output and the next cache, the given one unchanged.
        """
        keys, values, past = cache
        x = x + self.residual * self.first(x)
        q, k, v = self.attention.project(x)
        k = torch.cat([keys, self.attention.cached(k)], dim=-2)
        v = torch.cat([values, self.attention.cached(v)], dim=-2)
        x = x + self.attention.attend(q, k, v, mask, rope)
        past = torch.cat([past, self.convolution.gated(x)], dim=1)
        x = x + self.convolution.mix_chunk(past)
        used = x.shape[1]
        return self._end(x), (k[..., used:, :], v[..., used:, :], past[:, used:])

    def _end(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.limit(x + self.residual * self.second(x)))
        return out
