"""The decoder: a small causal transformer over pieces, read whole in training and slot by slot when live."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn.cache import KVCache
from liveagent.nn.projector import Projector

FORMAT, VERSION = "liveagent.decoder", 1


@dataclass(frozen=True)
class DecoderConfig:
    """Everything that fixes the decoder's tensors' shapes and its arithmetic."""

    vocab_size: int
    width: int = 256
    layers: int = 4
    heads: int = 4
    hidden: int = 640
    hear_width: int = 160
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    time_pairs: int = 0
    """How many of a head's slowest pairs turn with time instead of place in order."""
    sight_width: int = 0
    """Numbers an eye says of a cell, 0: no eyes."""
    sight_cells: int = 16

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class DecoderState(KVCache):
    """The decoder's memory for all lanes: row b of every buffer is lane b. The cache is all there is."""


@lru_cache(maxsize=4)
def _rates(head_width: int, base: float) -> Tensor:
    """`[hd / 2]` radians a place, float64."""
    return base ** (-torch.arange(0, head_width, 2, dtype=torch.float64) / head_width)


def turns(positions: Tensor, head_width: int, base: float) -> Tensor:
    """Rotations `[..., hd, 2]` (cos, sin) of the places `positions [...]` as float32, from angles in float64.

    Su et al., "RoFormer" (2021), halves paired as (i, i + hd/2). In float32 an angle is off by 0.002 rad at position
    1e5; here only the finished cosine is rounded.
    """
    angle = positions[..., None].double() * _rates(head_width, base).to(positions.device)
    angle = torch.cat([angle, angle], dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


@lru_cache(maxsize=4)
def _angles(positions: int, head_width: int, base: float) -> Tensor:
    """`turns` of the first places, `[positions, hd, 2]`: whole sequences are short and ask for the same again."""
    return turns(torch.arange(positions), head_width, base)


TIME_PERIODS_S = (6.0, 5400.0)
"""Shortest and longest period of the pairs that turn with time: what lies seconds, minutes or an hour back is told
apart. The slowest pairs of the order turn by less than a radian in a whole window, so they are hardly missed."""


@lru_cache(maxsize=4)
def _time_rates(pairs: int) -> Tensor:
    """`[pairs]` radians a second, float64; the longest period first."""
    short, long = TIME_PERIODS_S
    steps = torch.arange(pairs, dtype=torch.float64) / max(1, pairs - 1)
    return 2 * torch.pi / (long * (short / long) ** steps)


def rotations(table: Tensor, times: Tensor, pairs: int) -> Tensor:
    """The rotations `[..., hd, 2]` of tokens whose order alone gives `table [..., hd, 2]` and that stand at `times
    [...]` (float64, seconds): the last `pairs` of a head's pairs turn by time."""
    if not pairs:
        return table
    angle = times[..., None].double() * _time_rates(pairs).to(times.device)
    turned = torch.stack([angle.cos(), angle.sin()], dim=-1).to(table.dtype)
    half = table.shape[-2] // 2
    low, high = table[..., : half - pairs, :], table[..., half : 2 * half - pairs, :]
    return torch.cat([low, turned, high, turned], dim=-2)


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

    Each token's input also holds a map of the input before it. So a single attention layer can find "what came after
    this piece last time", which is what copying words into arguments needs; learning it from scratch is slow.

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
        self.before = nn.Linear(config.width, config.width, bias=False)
        self.hear = nn.Linear(config.hear_width, config.width, bias=False)
        self.projector = (
            Projector(config.sight_width, config.sight_cells, config.width) if config.sight_width else None
        )
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.orthogonal_(self.before.weight, gain=0.7)
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

    def see_embed(self, sight: Tensor, cells: Tensor) -> Tensor:
        """Input rows `[..., D]` for what the eye said of cells: `sight [..., sight_width]`, `cells [...]` int64.
        ConfigError for a decoder without eyes."""
        if self.projector is None:
            raise ConfigError("this decoder has no eyes: take weights that were trained with pictures")
        rows: Tensor = self.projector(sight, cells)
        return rows

    def forward(
        self,
        ids: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        leaves: tuple[Tensor, Tensor] | None = None,
        times: Tensor | None = None,
    ) -> Tensor:
        """Whole sequences: `ids [B, T]` (or ready input `rows [B, T, D]`) to logits `[B, T, V]`. `times [B, T]`: when
        each token came, in seconds (float64); None: all at once.

        `leaves` (positions `[B, P]`, mask `[B, P, T]`) say that the last P of the T rows are leaves: probes that branch
        off the sequence, stand at the given positions, see what their mask says and are seen by nobody else.
        """
        return self.logits(self.hidden(ids, rows=rows, leaves=leaves, times=times))

    def hidden(
        self,
        ids: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        leaves: tuple[Tensor, Tensor] | None = None,
        only: Tensor | None = None,
        times: Tensor | None = None,
    ) -> Tensor:
        """As `forward`, before the output layer: `[B, T, D]`, or `[N, D]` for the N places where `only [B, T]` is true,
        which spares the last layer the others."""
        if rows is None:
            if ids is None:
                raise ConfigError("the decoder needs ids or rows")
            rows = self.embed(ids)
        time = rows.shape[1]
        trunk = time - (leaves[0].shape[1] if leaves else 0)
        before = F.pad(rows[:, : trunk - 1], (0, 0, 1, 0))
        if leaves is not None:
            at = (leaves[0] - 1).clamp_min(0)[..., None].expand(-1, -1, self.config.width)
            before = torch.cat([before, rows.gather(1, at)], dim=1)
        rows = rows + self.before(before)
        table = self._table(trunk + 1)
        if leaves is None:
            table = table[:time]
        else:
            stem = table[:trunk].expand(rows.shape[0], -1, -1, -1)
            table = torch.cat([stem, table[leaves[0]]], dim=1)[:, None]
        if self.config.time_pairs:
            when = rows.new_zeros(rows.shape[:2]) if times is None else times
            table = rotations(table.expand(rows.shape[0], 1, -1, -1, -1), when[:, None], self.config.time_pairs)
        for layer in self.layers:
            assert isinstance(layer, Layer)
            q, k, v = layer.project(rows)
            q, k = rotate(q, table).to(v.dtype), rotate(k, table).to(v.dtype)
            seen = F.scaled_dot_product_attention(q[:, :, :trunk], k[:, :, :trunk], v[:, :, :trunk], is_causal=True)
            if leaves is not None:
                tips = F.scaled_dot_product_attention(q[:, :, trunk:], k, v, attn_mask=leaves[1][:, None])
                seen = torch.cat([seen, tips], dim=2)
            if only is not None and layer is self.layers[-1]:
                return layer.finish(rows[only][:, None], seen.transpose(1, 2)[only][:, :, None])[:, 0]
            rows = layer.finish(rows, seen)
        return rows if only is None else rows[only]

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
        return DecoderState.empty(self.config.layers, lanes, self.config.heads, slots, self.config.head_width)

    def step(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None = None
    ) -> Tensor:
        """Append `count[b]` tokens to lane b and return the logits `[B, V]` after each lane's last one.

        `x` `[B, T, D]` holds input rows, valid ones first; `count` `[B]`, 0 for a lane that is not asked (its state
        stays bit-unchanged, its logits are zero); `times` `[B, T]` when each token came, in seconds (float64), None:
        all at 0. ConfigError when a lane would overflow; no lane is changed then.
        """
        counts, hidden = self._read(x, count, state, times)
        out = x.new_zeros(len(counts), self.config.vocab_size)
        busy = [b for b, n in enumerate(counts) if n]
        if busy:
            last = torch.stack([hidden[b, max(n - 1, 0)] for b, n in enumerate(counts)])
            logits = self.logits(last)  # of all rows, so that its shape is the same whoever is busy
            for b in busy:
                out[b] = logits[b]
        return out

    def read(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None = None
    ) -> Tensor:
        """As `step`, but the hidden rows `[B, T, D]` of all tokens, for `logits`; those past a lane's count mean
        nothing."""
        return self._read(x, count, state, times)[1]

    def _read(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None
    ) -> tuple[list[int], Tensor]:
        counts = count.tolist() if isinstance(count, Tensor) else list(count)
        lanes, time, _ = x.shape
        if len(counts) != lanes or lanes != state.lanes or max(counts, default=0) > time:
            raise ConfigError(f"step of {lanes} x {time} rows with counts {counts} on a state of {state.lanes} lanes")
        busy = [(b, n, int(state.length[b])) for b, n in enumerate(counts) if n]
        for b, n, start in busy:
            if start + n > state.slots:
                raise ConfigError(f"lane {b} is full: {start} + {n} of {state.slots} slots; evict or take back first")
        return counts, self._advance(x, busy, state, times) if busy else x

    def _advance(
        self, x: Tensor, busy: list[tuple[int, int, int]], state: DecoderState, times: Tensor | None
    ) -> Tensor:
        """Append rows `x [B, T, D]`, of which `busy` (lane, count, start) are valid; hidden rows of all `[B, T, D]`."""
        lanes, time, width = x.shape
        valid, at, deep, table, masks = self._places(busy, time, state, times)
        rows = x.flatten(0, 1)
        before = F.pad(x[:, :-1], (0, 0, 1, 0))
        for b, _, start in busy:
            if start:
                before[b, 0] = state.rows[b, start - 1]
        x = x + F.linear(before, self.before.weight)
        stored = [state.seen(b, start + n) for b, n, start in busy]
        raws = []
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            qkv = F.linear(layer.norm_attend(x), layer.qkv.weight).view(lanes * time, 3, layer.heads, layer.head_width)
            turned = rotate(qkv[:, :2], table)
            chosen = turned[:, 1], qkv[:, 1], qkv[:, 2]
            keys, raw, values = chosen if valid is None else (part.index_select(0, valid) for part in chosen)
            raws.append(raw)
            state.put(deep + number * state.slots, keys, values)
            queries = turned[:, 0].view(lanes, time, layer.heads, layer.head_width).transpose(1, 2)
            seen = x.new_zeros(lanes, time, width)
            for (b, n, _), mask, views in zip(busy, masks, stored, strict=True):
                found = F.scaled_dot_product_attention(queries[b : b + 1, :, :n], *views[number], attn_mask=mask)
                seen[b, :n] = found[0].transpose(0, 1).reshape(n, width)
            x = x + F.linear(seen, layer.out.weight)
            gate, up = F.linear(layer.norm_feed(x), layer.gate_up.weight).chunk(2, dim=-1)
            x = x + F.linear(F.silu(gate) * up, layer.down.weight)
        state.put_raw(at, torch.stack(raws, 1), rows if valid is None else rows.index_select(0, valid))
        for b, n, _ in busy:
            state.advance(b, n, None if times is None else times[b, :n])
        return x

    def _places(
        self, busy: list[tuple[int, int, int]], time: int, state: DecoderState, times: Tensor | None
    ) -> tuple[Tensor | None, Tensor, Tensor, Tensor, list[Tensor | None]]:
        """For the valid tokens of a step: their rows among B*T (None: all), their slots (`KVCache.places`), the
        rotations `[B*T, 1, 1, hd, 2]` of all rows, and each busy lane's mask `[n, start + n]` (None: all see all)."""
        rows = [b * time + i for b, n, _ in busy for i in range(n)]
        slots = [state.places(b, n) for b, n, _ in busy]
        total = state.lanes * time
        places = [0] * total
        masks: list[Tensor | None] = []
        for b, n, start in busy:
            first = state.next_position(b)
            places[b * time : b * time + n] = range(first, first + n)
            masks.append(None if n == 1 else torch.ones(n, start + n, dtype=torch.bool).tril(diagonal=start))
        table = turns(torch.tensor(places), self.config.head_width, self.config.rope_base)
        when = table.new_zeros(total, dtype=torch.float64) if times is None else times.reshape(total)
        table = rotations(table, when, self.config.time_pairs)[:, None, None]
        valid = None if len(rows) == total else torch.tensor(rows)
        plain, deep = (torch.tensor([i for pair in slots for i in pair[k]]) for k in (0, 1))
        return valid, plain, deep, table, masks

    def reset(self, state: DecoderState, lane: int) -> None:
        """Empty one lane; the others run on."""
        state.reset(lane)

    def copy_lane(self, src_state: DecoderState, src: int, dst_state: DecoderState, dst: int) -> None:
        """Clone one lane into another lane or state."""
        src_state.copy_lane(src, dst_state, dst)

    # --- files

    def save(self, path: str | Path, pieces_hash: str, notes: Mapping[str, Any] | None = None) -> None:
        """Write weights (fp16), sizes, the tokenizer's hash and notes as one safetensors file. An input path from the
        ear that was never trained (all zero) is left out."""
        meta = {
            "format": FORMAT, "version": str(VERSION), "config": json.dumps(self.config.as_dict()),
            "pieces": pieces_hash, "notes": json.dumps(dict(notes or {})),
        }  # fmt: skip
        weights = {name: p.detach().to(torch.float16).contiguous() for name, p in self.state_dict().items()}
        if not weights["hear.weight"].any():
            del weights["hear.weight"]
        save_file(weights, str(path), metadata=meta)

    @classmethod
    def load(cls, path: str | Path, pieces_hash: str, hear_width: int | None = None) -> Decoder:
        """Read what `save` wrote, as fp32. `pieces_hash` is that of the tokenizer here, `hear_width` the ear's width.

        Raises:
            ConfigError: the file is missing, cut short, of another version, or made with another tokenizer or ear.
        """
        if not Path(path).is_file():
            raise ConfigError(f"{path} is missing: install again, or export a trained decoder there")
        try:
            with safe_open(str(path), framework="pt") as file:
                meta = file.metadata() or {}
                weights = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again or export it anew") from None
        if meta.get("format") != FORMAT or meta.get("version") != str(VERSION):
            found = f"{meta.get('format')} version {meta.get('version')}"
            raise ConfigError(f"{path} holds {found}, wanted {FORMAT} version {VERSION}: export it anew")
        if meta.get("pieces") != pieces_hash:
            raise ConfigError(f"{path} was trained with another pieces.json: take both from the same release")
        try:
            config = DecoderConfig(**json.loads(meta["config"]))
            if "hear.weight" not in weights:
                config = replace(config, hear_width=hear_width or config.hear_width)
                weights["hear.weight"] = torch.zeros(config.width, config.hear_width)
            decoder = cls(config)
            decoder.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{path} is damaged ({why}): fetch it again or export it anew") from None
        if hear_width is not None and decoder.config.hear_width != hear_width:
            raise ConfigError(f"{path} was trained with an ear of width {decoder.config.hear_width}, not {hear_width}")
        return decoder.eval()
