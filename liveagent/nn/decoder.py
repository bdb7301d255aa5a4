"""The decoder: a small causal transformer over pieces, read whole in training and slot by slot when live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn.cache import KVCache


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that fixes the decoder's tensors' shapes and its arithmetic."""

    vocab_size: int
    width: int = 256
    layers: int = 5
    heads: int = 4
    hidden: int = 640
    hear_width: int = 192
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class DecoderState(KVCache):
    """The decoder's memory for all lanes: row b of every buffer is lane b. The cache is all there is."""


@lru_cache(maxsize=4)
def _angles(positions: int, head_width: int, base: float) -> Tensor:
    """Rotation table `[positions, head_width, 2]` (cos, sin) as float32, from angles in float64.

    Su et al., "RoFormer" (2021), halves paired as (i, i + hd/2). In float32 an angle is off by 0.002 rad at position
    1e5; here only the finished cosine is rounded.
    """
    rate = base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * rate
    angle = torch.cat([angle, angle], dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate `x [..., T, hd]` by `table [..., T, hd, 2]`."""
    low, high = x.chunk(2, dim=-1)
    return x * table[..., 0] + torch.cat([-high, low], dim=-1) * table[..., 1]


class Layer(nn.Module):
    """One pre-norm block: attention, then SwiGLU (Touvron et al., "LLaMA", 2023; Shazeer, "GLU variants", 2020)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.head_width = config.heads, config.head_width
        self.norm_attend = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)
        self.norm_feed = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.gate_up = nn.Linear(config.width, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values `[B, H, T, hd]`, not rotated."""
        lanes, time, _ = x.shape
        q, k, v = self.qkv(self.norm_attend(x)).view(lanes, time, 3, self.heads, self.head_width).unbind(2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what attention `[B, H, T, hd]` found, then the feed-forward part."""
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        gate, up = self.gate_up(self.norm_feed(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Decoder(nn.Module):
    """Causal decoder with tied embeddings. B lanes, T time, D width, V pieces.

    Live, all B rows are stepped always, and a row's numbers depend on that row alone: the linear parts run over the
    full `[B, T]`, attention runs row by row over exactly that row's slots, with no padding behind a mask.
    """

    block_tokens = (1, 8, 32)
    """Lengths T of a live step. A lane's prefill is cut into these by its own backlog."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        if config.width % config.heads or config.head_width % 2:
            raise ConfigError(f"width {config.width} does not split into {config.heads} heads of even width")
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.hear = nn.Linear(config.hear_width, config.width, bias=False)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.zeros_(self.hear.weight)
        for name, weight in self.named_parameters():
            if weight.ndim == 2 and name.startswith("layers."):
                last = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.05 / (2 * config.layers) ** 0.5 if last else 0.05)

    @property
    def width(self) -> int:
        return self.config.width

    def embed(self, ids: Tensor) -> Tensor:
        """Piece ids `[...]` to input rows `[..., D]`."""
        return F.embedding(ids, self.embedding.weight)

    def hear_embed(self, pieces: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Input rows `[..., D]` for heard pieces: `pieces` are ids `[...]` or weights over all pieces `[..., V]`
        (float, each row summing to 1), `hidden` the ear's state `[..., hear_width]` beside them."""
        rows = pieces @ self.embedding.weight if pieces.is_floating_point() else self.embed(pieces)
        return rows if hidden is None else rows + self.hear(hidden)

    def forward(
        self,
        ids: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        leaves: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """Whole sequences: `ids [B, T]` (or ready input `rows [B, T, D]`) to logits `[B, T, V]`.

        `leaves` (positions `[B, P]`, mask `[B, P, T]`) say that the last P of the T rows are leaves: probes that branch
        off the sequence, stand at the given positions, see what their mask says and are seen by nobody else.
        """
        return self.logits(self.hidden(ids, rows=rows, leaves=leaves))

    def hidden(
        self,
        ids: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        leaves: tuple[Tensor, Tensor] | None = None,
    ) -> Tensor:
        """As `forward`, before the output layer: `[B, T, D]`."""
        if rows is None:
            if ids is None:
                raise ConfigError("the decoder needs ids or rows")
            rows = self.embed(ids)
        time = rows.shape[1]
        trunk = time - (leaves[0].shape[1] if leaves else 0)
        table = self._table(trunk + 1)
        if leaves is None:
            table = table[:time]
        else:
            stem = table[:trunk].expand(rows.shape[0], -1, -1, -1)
            table = torch.cat([stem, table[leaves[0]]], dim=1)[:, None]
        for layer in self.layers:
            assert isinstance(layer, Layer)
            q, k, v = layer.project(rows)
            q, k = rotate(q, table).to(v.dtype), rotate(k, table).to(v.dtype)
            seen = F.scaled_dot_product_attention(q[:, :, :trunk], k[:, :, :trunk], v[:, :, :trunk], is_causal=True)
            if leaves is not None:
                tips = F.scaled_dot_product_attention(q[:, :, trunk:], k, v, attn_mask=leaves[1][:, None])
                seen = torch.cat([seen, tips], dim=2)
            rows = layer.finish(rows, seen)
        return rows

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden rows `[..., D]` to logits `[..., V]`."""
        return F.linear(self.norm(hidden), self.embedding.weight)

    def _table(self, positions: int) -> Tensor:
        size = 1024
        while size < positions:
            size *= 2
        return _angles(size, self.config.head_width, self.config.rope_base)

    # --- live

    def init_state(self, lanes: int, slots: int = 1024) -> DecoderState:
        """An empty cache for `lanes` lanes of `slots` tokens each, float32."""
        return DecoderState(self.config.layers, lanes, self.config.heads, slots, self.config.head_width)

    def step(self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState) -> Tensor:
        """Append `count[b]` tokens to lane b and return the logits `[B, V]` after each lane's last one.

        `x` `[B, T, D]` holds input rows, valid ones first; `count` `[B]`, 0 for a lane that is not asked (its state
        stays bit-unchanged, its logits are zero). ConfigError when a lane would overflow; no lane is changed then.
        """
        counts = count.tolist() if isinstance(count, Tensor) else list(count)
        lanes, time, _ = x.shape
        if len(counts) != lanes or lanes != state.lanes or max(counts, default=0) > time:
            raise ConfigError(f"step of {lanes} x {time} rows with counts {counts} on a state of {state.lanes} lanes")
        busy = [(b, n, int(state.length[b])) for b, n in enumerate(counts) if n]
        for b, n, start in busy:
            if start + n > state.slots:
                raise ConfigError(f"lane {b} is full: {start} + {n} of {state.slots} slots; evict or take back first")
        places = [(b, n, start, *self._place(state, b, n, start)) for b, n, start in busy]
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            q, k, v = layer.project(x)
            seen = torch.zeros_like(q)
            for b, n, start, table, mask in places:
                raw = k[b, :, :n]
                state.put(number, b, start, rotate(raw, table), raw, v[b, :, :n])
                keys, values = state.seen(number, b, start + n)
                query = rotate(q[b : b + 1, :, :n], table)
                seen[b, :, :n] = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask)[0]
            x = layer.finish(x, seen)
        out = x.new_zeros(lanes, self.config.width)
        for b, n, _ in busy:
            out[b] = x[b, n - 1]
            state.advance(b, n)
        return self.logits(out)

    def _place(self, state: DecoderState, lane: int, count: int, start: int) -> tuple[Tensor, Tensor | None]:
        """The rotations of a lane's next `count` tokens, and who among them may see whom (None: all see all)."""
        first = state.next_position(lane)
        table = self._table(first + count)[first : first + count]
        if count == 1:
            return table, None
        mask = torch.ones(count, start + count, dtype=torch.bool).tril(diagonal=start)
        return table, mask

    def reset(self, state: DecoderState, lane: int) -> None:
        """Empty one lane; the others run on."""
        state.reset(lane)

    def copy_lane(self, src_state: DecoderState, src: int, dst_state: DecoderState, dst: int) -> None:
        """Clone one lane into another lane or state."""
        src_state.copy_lane(src, dst_state, dst)
