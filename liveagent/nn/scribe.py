"""`Scribe`: writes down, token by token, what an encoder made of a clip: a decoder that attends to the encoder's rows.

Pre-norm blocks of causal attention, attention to the clip ("cross attention") and feed-forward (Vaswani et al. 2017;
the form of Radford et al. 2022). The clip's keys and values are made once, when it is `listen`ed to; a step costs the
same however much is written. All lanes have their own length; a lane's numbers depend on its own rows alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn import lanes
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.sound import Activation, active, check_heads, join_heads, split_heads


@dataclass(frozen=True)
class ScribeConfig:
    """Everything that fixes the decoder's tensors' shapes and its arithmetic."""

    vocab_size: int
    width: int = 384
    layers: int = 4
    heads: int = 6
    hidden: int = 1536
    places: int = 448
    """Tokens that may be written, the prompt's included."""
    rows: int = 1500
    """Of the encoder, for one clip."""
    activation: Activation = "gelu"
    norm_eps: float = 1e-5
    tied: bool = True
    """Whether the output layer has the embedding's weights."""

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)


@dataclass
class ScribeState:
    """Lanes first, L layers, P places, S rows of the clip."""

    keys: Tensor  # [B, L, H, P, hd]
    values: Tensor
    clip_keys: Tensor  # [B, L, H, S, hd]
    clip_values: Tensor
    length: Tensor  # [B] int64: tokens written


class ScribeLayer(nn.Module):
    """One pre-norm block."""

    def __init__(self, config: ScribeConfig) -> None:
        super().__init__()
        c = config
        self.heads, self.activation = c.heads, c.activation
        self.norm_attend = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.qkv = Linear(c.width, 3 * c.width)
        self.out = Linear(c.width, c.width)
        self.norm_clip = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.clip_q = Linear(c.width, c.width)
        self.clip_kv = Linear(c.width, 2 * c.width)
        self.clip_out = Linear(c.width, c.width)
        self.norm_feed = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.up = Linear(c.width, c.hidden)
        self.down = Linear(c.hidden, c.width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values `[B, H, T, hd]` of what is written."""
        q, k, v = split_heads(self.qkv(self.norm_attend(x)), 3, self.heads)
        return q, k, v

    def hear(self, encoded: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values `[B, H, S, hd]` of a clip."""
        k, v = split_heads(self.clip_kv(encoded), 2, self.heads)
        return k, v

    def finish(self, x: Tensor, attended: Tensor, clip_keys: Tensor, clip_values: Tensor) -> Tensor:
        """Add what attention `[B, H, T, hd]` found in what is written, then what it finds in the clip, then the
        feed-forward part."""
        x = x + self.out(join_heads(attended))
        (q,) = split_heads(self.clip_q(self.norm_clip(x)), 1, self.heads)
        x = x + self.clip_out(join_heads(fn.scaled_dot_product_attention(q, clip_keys, clip_values)))
        return x + self.down(active(self.up(self.norm_feed(x)), self.activation))


class Scribe(nn.Module):
    """See the module. B lanes, T tokens, D width, V vocabulary."""

    def __init__(self, config: ScribeConfig) -> None:
        super().__init__()
        self.config = c = config
        self.embedding = Embedding(c.vocab_size, c.width)
        self.positions = nn.Parameter(torch.zeros(c.places, c.width))
        self.layers = nn.ModuleList(ScribeLayer(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)
        self.output = None if c.tied else Linear(c.width, c.vocab_size, bias=False)

    def embed(self, ids: Tensor) -> Tensor:
        """Ids `[...]` to rows `[..., D]`, without positions."""
        return fn.embedding(ids, self.embedding.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden rows `[..., D]` to `[..., V]`."""
        rows = self.norm(hidden)
        scores: Tensor = self.embedding.product(rows) if self.output is None else self.output(rows)
        return scores

    def forward(self, ids: Tensor | None, encoded: Tensor, *, rows: Tensor | None = None) -> Tensor:
        """Whole sequences: `ids [B, T]` (or `rows [B, T, D]`) beside `encoded [B, S, D]` to logits `[B, T, V]`."""
        if rows is None:
            if ids is None:
                raise ConfigError("the scribe needs ids or rows")
            rows = self.embed(ids)
        x = rows + self.positions[: rows.shape[1]]
        for layer in self.layers:
            assert isinstance(layer, ScribeLayer)
            q, k, v = layer.project(x)
            x = layer.finish(x, fn.scaled_dot_product_attention(q, k, v, is_causal=True), *layer.hear(encoded))
        return self.logits(x)

    # --- token by token

    def init_state(self, lanes: int) -> ScribeState:
        """Of `lanes` lanes that have heard no clip and written nothing."""
        c, like = self.config, self.embedding.weight
        written = (lanes, c.layers, c.heads, c.places, c.width // c.heads)
        clip = (lanes, c.layers, c.heads, c.rows, c.width // c.heads)
        return ScribeState(
            like.new_zeros(written), like.new_zeros(written), like.new_zeros(clip), like.new_zeros(clip),
            torch.zeros(lanes, dtype=torch.int64, device=like.device),
        )  # fmt: skip

    @torch.no_grad()
    def listen(self, encoded: Tensor, state: ScribeState, lane: int) -> None:
        """Give a lane another clip `[S, D]`; nothing is written of it yet."""
        lanes.reset(state, lane)
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ScribeLayer)
            k, v = layer.hear(encoded[None])
            state.clip_keys[lane, number], state.clip_values[lane, number] = k[0], v[0]

    def step(self, ids: Tensor, count: Tensor | Sequence[int], state: ScribeState) -> Tensor:
        """Write `count[b]` tokens of `ids [B, T]` in lane b, and the logits `[B, T, V]` after each; those past a lane's
        count mean nothing, and a lane that writes nothing stays bit-unchanged. ConfigError when a lane is full; no lane
        is changed then."""
        return self.logits(self.read(self.embed(ids), count, state))

    @torch.no_grad()
    def read(self, rows: Tensor, count: Tensor | Sequence[int], state: ScribeState) -> Tensor:
        """As `step`, from input rows `[B, T, D]` to hidden rows."""
        c, time = self.config, rows.shape[1]
        counts = torch.as_tensor(count, dtype=torch.int64, device=rows.device)
        places = state.length[:, None] + torch.arange(time, device=rows.device)  # [B, T]
        new = torch.arange(time, device=rows.device) < counts[:, None]
        if bool((state.length + counts > c.places).any()) or bool((counts > time).any()):
            raise ConfigError(f"{c.places} tokens are as many as this decoder writes of one clip")
        lane, token = new.nonzero(as_tuple=True)
        place = places[lane, token]
        seen = torch.arange(c.places, device=rows.device) <= places[:, None, :, None]  # [B, 1, T, P]
        x = rows + self.positions[places.clamp_max(c.places - 1)]
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, ScribeLayer)
            q, k, v = layer.project(x)
            state.keys[lane, number, :, place] = k[lane, :, token]
            state.values[lane, number, :, place] = v[lane, :, token]
            attended = fn.scaled_dot_product_attention(
                q, state.keys[:, number], state.values[:, number], attn_mask=seen
            )
            x = layer.finish(x, attended, state.clip_keys[:, number], state.clip_values[:, number])
        state.length += counts
        return x

    def reset(self, state: ScribeState, lane: int) -> None:
        """Let one lane begin anew, without a clip."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: ScribeState, src: int, dst_state: ScribeState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)
