"""Chunked self-attention of a Conformer: a token sees its own chunk and `left` tokens before the chunk.

The mask is that of chunked attention with limited left context, as in Emformer and FastConformer; with chunks of one
token it is a causal window. Keys and values are cached as they are projected and put in their place when they are read:
turned by their place in the window (RoPE, Su et al. 2021), or scored against one key for each distance (Dai et al.
2019; made from sines once and for all instead of in every step). So nothing drifts however long a stream runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

if TYPE_CHECKING:
    from liveagent.nn.conformer import ConformerConfig

Rotation: TypeAlias = tuple[Tensor, Tensor]
NEVER = -1e9  # the score of what is not seen


def rotation(count: int, size: int) -> Rotation:
    """What `rotate` takes for positions 0..count-1: cos and signed sin, each [count, size]; angles made in fp64."""
    speed = 10_000.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
    angle = torch.arange(count, dtype=torch.float64)[:, None] * speed[None, :]
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1), torch.cat([-sin, sin], dim=-1)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate [..., T, size] by what `rotation` gives; the two halves form the pairs."""
    swapped = x.unflatten(-1, (2, -1)).flip(-2).flatten(-2)
    return torch.addcmul(x * cos.to(x.dtype), swapped, sin.to(x.dtype))


LEAST_GROUP = 40  # tokens whose queries share one window of keys in whole clips, or a few more: whole chunks


def window_bias(tokens: int, chunk: int, left: int) -> Tensor:
    """What to add to scores of whole clips, [groups, group, left + group]: 0 where a query may see a key, else NEVER.

    A query sees its own chunk and the `left` tokens before that chunk. Queries go in groups of whole chunks, each with
    the window of keys that ends with it, so a long clip costs what its length costs and not the square of it.
    """
    group = -(-LEAST_GROUP // chunk) * chunk
    groups = -(-tokens // group)
    query = torch.arange(groups * group).view(groups, group, 1)
    key = torch.arange(groups)[:, None, None] * group + torch.arange(-left, group)[None, None, :]
    seen = _seen(query, key, chunk, left) & (key >= 0) & (key < tokens)
    return torch.zeros(seen.shape).masked_fill(~seen, NEVER)


def window_mask(tokens: int, chunk: int, left: int) -> Tensor:
    """Which of `left` cached tokens and `tokens` new ones (whole chunks) each new one sees, [tokens, left + tokens]."""
    return _seen(torch.arange(tokens)[:, None], torch.arange(-left, tokens)[None, :], chunk, left)


def _seen(query: Tensor, key: Tensor, chunk: int, left: int) -> Tensor:
    start = query // chunk * chunk
    return (key >= start - left) & (key < start + chunk)


class Attention(nn.Module):
    """Norm, attention, mix; `attend` takes the keys and values it is to see, cached or not."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        width, bias = config.width, config.bias
        self.config, self.heads, self.size = config, config.heads, width // config.heads
        self.norm = config.normed()
        # Where bounds were learnt, each product has its own; else three are one.
        self.qkv: nn.Module = (
            nn.ModuleList(config.linear(width, width, bias) for _ in range(3))
            if config.clips
            else config.linear(width, 3 * width, bias)
        )
        self.out = config.linear(width, width, bias)
        self.drop = nn.Dropout(config.dropout)
        self.after = config.normed() if config.post_norms else None
        self.distances: nn.Parameter | None = None
        if config.places != "rotary":
            # From the farthest, left + chunk - 1 before, to the last of the chunk, chunk - 1 behind.
            self.distances = nn.Parameter(torch.zeros(config.left + 2 * config.chunk - 1, width))
        if config.places == "relative biased":
            self.token_bias = nn.Parameter(torch.zeros(width))
            self.distance_bias = nn.Parameter(torch.zeros(width))
        elif config.places == "relative":
            self.gain = nn.Parameter(torch.full((self.size,), self.size**-0.5))

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, D] -> raw q, k, v, each [B, T, D]."""
        x = self.norm(self.config.limit(x))
        if isinstance(self.qkv, nn.ModuleList):
            q, k, v = (each(x) for each in self.qkv)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        return q, k, v

    def cached(self, x: Tensor) -> Tensor:
        """Keys or values [B, T, D] in the form in which they are cached and attended to: [B, H, T, size] where places
        are relative, else as they are."""
        return x if self.distances is None else self._heads(x)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, rope: Rotation | None = None) -> Tensor:
        """q [B, Tq, D] over k, v as `cached`, Tk of them; the queries are the last Tq of the Tk places that `rope`
        numbers."""
        first = k.shape[-2] - q.shape[1]
        if rope is None:
            tokens, distances = self._queries(q)
            scores = self._scores(tokens, distances, k.transpose(-1, -2).float())
            y = torch.softmax(scores.masked_fill(~mask, NEVER), dim=-1).to(v.dtype) @ v
        else:
            cos, sin = rope
            q, k, v = self._heads(q), self._heads(k), self._heads(v)
            q, k = rotate(q, cos[first:], sin[first:]), rotate(k, cos, sin)
            y = fn.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self._mixed(y)

    def attend_whole(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor, rope: Rotation | None = None) -> Tensor:
        """Whole clips q, k, v [B, T, D] under a `window_bias`; `rope` numbers T places."""
        tokens, group, left = q.shape[1], bias.shape[1], bias.shape[2] - bias.shape[1]
        spare = len(bias) * group - tokens

        def grouped(x: Tensor) -> Tensor:
            return fn.pad(x, (0, 0, 0, spare)).unflatten(2, (len(bias), group))

        def windows(x: Tensor) -> Tensor:  # [.., size, keys]
            return fn.pad(x, (0, 0, left, spare)).unfold(2, left + group, group)

        if rope is None:
            of_tokens, of_distances = (grouped(each) for each in self._queries(q))
            k, v = windows(self._heads(k)), windows(self._heads(v))
            scores = self._scores(of_tokens, of_distances, k.float())
        else:
            q, k, v = self._heads(q), self._heads(k), self._heads(v)
            q, k = rotate(q, *rope) * self.size**-0.5, rotate(k, *rope)
            q, k, v = grouped(q), windows(k), windows(v)
            scores = (q @ k).float()
        weights = torch.softmax(scores + bias, dim=-1).to(v.dtype)
        return self._mixed((weights @ v.transpose(-1, -2)).flatten(2, 3)[:, :, :tokens])

    def _heads(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, H, T, size]."""
        return x.unflatten(-1, (self.heads, self.size)).transpose(1, 2)

    def _mixed(self, y: Tensor) -> Tensor:
        y = self.drop(self.out(y.transpose(1, 2).flatten(2)))
        return y if self.after is None else self.after(self.config.limit(y))

    def _queries(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, D] -> what is scored against tokens and what against distances, [B, H, T, size], float32."""
        if self.config.places == "relative biased":
            scale = self.size**-0.5
            of_tokens, of_distances = (self._heads(q + each).float() for each in (self.token_bias, self.distance_bias))
            return of_tokens * (scale * self.config.key_gain), of_distances * scale
        q = self._heads(q).float() * self.gain.float()
        return q * self.config.key_gain, q

    def _scores(self, of_tokens: Tensor, of_distances: Tensor, keys: Tensor) -> Tensor:
        """Scores [.., T, left + T] of queries [B, H, .., T, size] for keys [B, H, .., size, left + T]."""
        assert self.distances is not None
        tokens, chunk = of_tokens.shape[-2], self.config.chunk
        more = tokens - chunk  # distances on either side that no token sees
        table = fn.pad(self.distances.float(), (0, 0, more, more)).unflatten(1, (self.heads, self.size))
        table = table.permute(1, 2, 0)  # [H, size, left + 2 T - 1]
        queries = of_distances.transpose(0, 1)  # all of a head read one table, so that none copies it
        apart = (queries.flatten(1, -2) @ table).unflatten(1, queries.shape[1:-1]).transpose(0, 1)
        # The row of the query i begins T - 1 - i distances farther right: cut from one long line, each begins there.
        line = fn.pad(apart, (0, 1)).flatten(-2)[..., tokens - 1 :]
        step = table.shape[-1]
        apart = line[..., : tokens * step].unflatten(-1, (tokens, step))[..., : keys.shape[-1]]
        scores = of_tokens @ keys + apart
        cap = self.config.cap
        return torch.tanh(scores / cap) * cap if cap else scores
