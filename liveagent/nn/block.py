"""`Block`: one layer of a decoder, written once for nano and for every family of checkpoints; options say what differs.

Pre-norm attention, then a gated feed-forward part (Touvron et al., "LLaMA", 2023; Shazeer, "GLU variants", 2020), with
fewer heads of keys than of queries (Ainslie et al., "GQA", 2023) and, as options, biases, norms of queries, keys and
values, norms behind each part, keys and values of an earlier layer (Brandon et al., "Cross-layer attention", 2024), and
an input of each layer's own (per-layer embeddings, as Gemma 3n has them).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn.linear import Linear

Activation = Literal["silu", "gelu_tanh"]


@dataclass(frozen=True)
class BlockConfig:
    """Everything that fixes a layer's tensors' shapes and its arithmetic."""

    width: int
    heads: int
    kv_heads: int
    head_width: int
    hidden: int
    norm_eps: float = 1e-5
    window: int = 0
    """How many of the last tokens it sees; 0: all of them."""
    activation: Activation = "silu"
    scale: float | None = None
    """What queries times keys are multiplied by; None: one over the root of the head's width."""
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    value_norm: bool = False
    """Values are normed without weights."""
    post_norms: bool = False
    values_are_keys: bool = False
    keys_from: int | None = None
    """The earlier layer whose keys and values it reads; None: its own."""
    layer_input: int = 0
    """Width of its own input for each token; 0: none."""
    scaled: bool = False
    """Whether its output is multiplied by a number that was learnt."""

    def __post_init__(self) -> None:
        if self.heads % self.kv_heads or self.head_width % 2:
            raise ConfigError(
                f"{self.heads} heads of width {self.head_width} do not share {self.kv_heads} heads of keys, or are odd"
            )


class Block(nn.Module):
    """See above. B lanes, T time, D width, H heads."""

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        self.config = config
        self.heads, self.key_heads, self.head_width = config.heads, config.kv_heads, config.head_width
        width, head, eps = config.width, config.head_width, config.norm_eps
        self.norm_attend = nn.RMSNorm(width, eps=eps)
        keys = 0 if config.keys_from is not None else config.kv_heads * (1 if config.values_are_keys else 2)
        self.qkv = Linear(width, (config.heads + keys) * head, bias=config.qkv_bias)
        self.out = Linear(config.heads * head, width, bias=config.out_bias)
        self.norm_feed = nn.RMSNorm(width, eps=eps)
        self.gate_up = Linear(width, 2 * config.hidden, bias=False)
        self.down = Linear(config.hidden, width, bias=False)
        own = config.keys_from is None
        self.norm_queries = nn.RMSNorm(head, eps=eps) if config.qk_norm else None
        self.norm_keys = nn.RMSNorm(head, eps=eps) if config.qk_norm and own else None
        self.norm_attended = nn.RMSNorm(width, eps=eps) if config.post_norms else None
        self.norm_fed = nn.RMSNorm(width, eps=eps) if config.post_norms else None
        if config.layer_input:
            self.layer_gate = Linear(width, config.layer_input, bias=False)
            self.layer_out = Linear(config.layer_input, width, bias=False)
            self.norm_layer = nn.RMSNorm(width, eps=eps)
        if config.scaled:
            self.by = nn.Buffer(torch.ones(1))

    @property
    def own_keys(self) -> bool:
        return self.config.keys_from is None

    def project(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """`x [B, T, D]` to queries, keys, values `[B, H, T, hd]`, not rotated; None for those of another layer."""
        rows = self.heads_of(x).transpose(1, 2)
        if not self.own_keys:
            return rows, None, None
        q, k, v = rows.split((self.heads, self.key_heads, self.key_heads), dim=1)
        return q, k, v

    def heads_of(self, x: Tensor) -> Tensor:
        """`x [B, T, D]` to queries, then keys, then values, not rotated, `[B, T, H + 2 * KV, hd]`; queries alone where
        keys and values are another layer's."""
        rows: Tensor = self.qkv(self.norm_attend(x)).unflatten(-1, (-1, self.head_width))
        config = self.config
        if not (config.qk_norm or config.value_norm or config.values_are_keys):
            return rows
        q, k = rows[:, :, : self.heads], rows[:, :, self.heads : self.heads + self.key_heads]
        v = rows[:, :, -self.key_heads :]
        if self.norm_queries is not None:
            q = self.norm_queries(q)
        if not self.own_keys:
            return q
        if self.norm_keys is not None:
            k = self.norm_keys(k)
        if config.value_norm:
            v = F.rms_norm(v, (self.head_width,), eps=config.norm_eps)
        return torch.cat([q, k, v], dim=2)

    def finish(self, x: Tensor, attended: Tensor, layer_input: Tensor | None = None) -> Tensor:
        """Add what attention `[B, T, H * hd]` found to `x [B, T, D]`, then the feed-forward part, then what the layer's
        own input `[B, T, layer_input]` gives."""
        found = self.out(attended)
        x = x + (found if self.norm_attended is None else self.norm_attended(found))
        gate, up = self.gate_up(self.norm_feed(x)).chunk(2, dim=-1)
        fed = self.down(self._active(gate) * up)
        x = x + (fed if self.norm_fed is None else self.norm_fed(fed))
        if layer_input is not None:
            x = x + self.norm_layer(self.layer_out(self._active(self.layer_gate(x)) * layer_input))
        return x * self.by if self.config.scaled else x

    def _active(self, x: Tensor) -> Tensor:
        return F.silu(x) if self.config.activation == "silu" else F.gelu(x, approximate="tanh")
