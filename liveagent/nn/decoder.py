"""The decoder: a small causal transformer over pieces, read whole in training and slot by slot when live."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan
from liveagent.nn.cache import KVCache, Spot
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.projector import Projector
from liveagent.nn.rotary import angles, parts, rotate, rotations, turn, turns
from liveagent.nn.view import View

T = TypeVar("T")
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
    kv_heads: int = 0
    """Heads of keys and values, each read by `heads / kv_heads` heads of queries; 0: as many as `heads`."""
    windows: tuple[int, ...] = ()
    """For each layer how many of the last tokens it sees, 0: all of them; (): every layer sees all of them."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "windows", tuple(self.windows))  # a list, where it comes from a file

    @property
    def head_width(self) -> int:
        return self.width // self.heads

    @property
    def key_heads(self) -> int:
        return self.kv_heads or self.heads

    def window(self, layer: int) -> int:
        """How many of the last tokens a layer sees; 0: all of them."""
        return self.windows[layer] if self.windows else 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class DecoderState(KVCache):
    """The decoder's memory for all lanes: row b of every buffer is lane b. The cache is all there is."""


class Layer(nn.Module):
    """One pre-norm block: attention, then SwiGLU (Touvron et al., "LLaMA", 2023; Shazeer, "GLU variants", 2020)."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.heads, self.key_heads, self.head_width = config.heads, config.key_heads, config.head_width
        self.norm_attend = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.qkv = Linear(config.width, (self.heads + 2 * self.key_heads) * self.head_width, bias=False)
        self.out = Linear(config.width, config.width, bias=False)
        self.norm_feed = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.gate_up = Linear(config.width, 2 * config.hidden, bias=False)
        self.down = Linear(config.hidden, config.width, bias=False)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values `[B, H, T, hd]`, not rotated; of keys and values there may be fewer heads."""
        lanes, time, _ = x.shape
        heads = self.qkv(self.norm_attend(x)).view(lanes, time, -1, self.head_width)
        q, k, v = heads.split((self.heads, self.key_heads, self.key_heads), dim=2)
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

    Live, a row's numbers depend on that row alone, and the shape of its pass on nobody else: the linear parts run over
    `pass_rows` rows at least, attention lane by lane over exactly that lane's slots.
    """

    block_tokens = (1, 8, 32)
    """Lengths T of a live step. A lane's prefill is cut into these by its own backlog."""

    pass_rows = 4
    """Rows that a live pass has at least. Fewer round differently (LAW 2), so lanes share a pass of single tokens, four
    at a time and always four rows, and a lane with more tokens has a pass of its own."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        if config.width % config.heads or config.head_width % 2:
            raise ConfigError(f"width {config.width} does not split into {config.heads} heads of even width")
        if config.heads % config.key_heads or len(config.windows) not in (0, config.layers):
            raise ConfigError(
                f"{config.heads} heads do not share {config.key_heads} heads of keys, or {len(config.windows)} windows "
                f"are not one for each of {config.layers} layers"
            )
        self.config = config
        self.embedding = Embedding(config.vocab_size, config.width)
        self.before = Linear(config.width, config.width, bias=False)
        self.hear = Linear(config.hear_width, config.width, bias=False)
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

    def see_embed(self, sight: Tensor, cells: Tensor, pictures: Tensor | None = None) -> Tensor:
        """Input rows `[..., k, D]` for what the eye said of cells of one picture: `sight [..., k, sight_width]`, `cells
        [..., k]` int64; of several pictures, where `pictures [k]` says which cell belongs to which. ConfigError for a
        decoder without eyes."""
        if self.projector is None:
            raise ConfigError("this decoder has no eyes: take weights that were trained with pictures")
        rows: Tensor = self.projector(sight, cells, pictures)
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
        attended: Callable[[int, Tensor, Tensor], None] | None = None,
    ) -> Tensor:
        """As `forward`, before the output layer: `[B, T, D]`, or `[N, D]` for the N places where `only [B, T]` is true,
        which spares the last layer the others. `attended` is told every layer's number, and its queries and keys
        `[B, H, T, hd]` as attention compares them."""
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
        table = self._table(trunk + 1).to(rows.device)
        if leaves is None:
            table = table[:time]
        else:
            stem = table[:trunk].expand(rows.shape[0], -1, -1, -1)
            table = torch.cat([stem, table[leaves[0]]], dim=1)[:, None]
        if self.config.time_pairs:
            when = rows.new_zeros(rows.shape[:2]) if times is None else times
            table = rotations(table.expand(rows.shape[0], 1, -1, -1, -1), when[:, None], self.config.time_pairs)
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            q, k, v = layer.project(rows)
            q, k = rotate(q, table).to(v.dtype), rotate(k, table).to(v.dtype)
            if layer.key_heads < layer.heads:
                k, v = (each.repeat_interleave(layer.heads // layer.key_heads, dim=1) for each in (k, v))
            if attended is not None:
                attended(number, q, k)
            window = self.config.window(number)
            band = None if not window else _band(trunk, leaves, window, rows.device)
            trunk_qkv = q[:, :, :trunk], k[:, :, :trunk], v[:, :, :trunk]
            if band is None:
                seen = F.scaled_dot_product_attention(*trunk_qkv, is_causal=True)
            else:
                seen = F.scaled_dot_product_attention(*trunk_qkv, attn_mask=band[..., :trunk, :trunk])
            if leaves is not None:
                mask = leaves[1][:, None] if band is None else leaves[1][:, None] & band[:, :, trunk:]
                tips = F.scaled_dot_product_attention(q[:, :, trunk:], k, v, attn_mask=mask)
                seen = torch.cat([seen, tips], dim=2)
            if only is not None and layer is self.layers[-1]:
                return layer.finish(rows[only][:, None], seen.transpose(1, 2)[only][:, :, None])[:, 0]
            rows = layer.finish(rows, seen)
        return rows if only is None else rows[only]

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden rows `[..., D]` to logits `[..., V]`."""
        return self.embedding.product(self.norm(hidden))

    def _table(self, positions: int) -> Tensor:
        size = 1024
        while size < positions:
            size *= 2
        return angles(size, self.config.head_width, self.config.rope_base)

    # --- live

    def init_state(self, lanes: int, slots: int = 1024, back: int = 256) -> DecoderState:
        """An empty cache for `lanes` lanes of `slots` tokens each, float32, where the weights are. `back`: how many
        tokens layers that see only the last few must be able to take back at any time."""
        config = self.config
        windows = [config.window(layer) for layer in range(config.layers)]
        near, widest = sum(1 for window in windows if window), max(windows, default=0)
        return DecoderState.empty(
            lanes, config.layers - near, config.key_heads, slots, config.head_width, config.width,
            near, widest + back + max(self.block_tokens) if near else 0, widest, self.embedding.weight.device,
        )  # fmt: skip

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
        busy = [(b, n) for b, n in enumerate(counts) if n]
        for group in _groups(busy, self.pass_rows):
            last = x.new_zeros(self.pass_rows, self.config.width)
            for row, (b, n) in enumerate(group):
                last[row] = hidden[b, n - 1]
            out[[b for b, _ in group]] = self.logits(last)[: len(group)]
        return out

    def steps(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None = None
    ) -> Tensor:
        """As `step`, but the logits `[B, T, V]` after each token, T no less than `pass_rows`; those past a lane's count
        mean nothing."""
        counts, hidden = self._read(x, count, state, times)
        out = x.new_zeros(*x.shape[:2], self.config.vocab_size)
        for b, n in enumerate(counts):
            if n:
                out[b] = self.logits(hidden[b])
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
        spots = [state.spot(b, n) for b, n in enumerate(counts) if n]
        hidden = torch.zeros_like(x)
        when = None if times is None else times.to("cpu", torch.float64)
        for group in _groups(spots, -(-self.pass_rows // time)):
            self._pass(x, group, state, when, hidden)
        return counts, hidden

    def _pass(self, x: Tensor, group: list[Spot], state: DecoderState, times: Tensor | None, out: Tensor) -> None:
        """Append the rows of `x [B, T, D]` that `group` places; their hidden rows into `out [B, T, D]`.

        The pass has rows for as many lanes as make up `pass_rows`, busy or not: its shape is the same whoever is in it.
        """
        time, width, kv = x.shape[1], x.shape[2], self.config.key_heads
        lanes = -(-self.pass_rows // time)
        rows = x.new_zeros(lanes, time + 1, width)  # each lane's last row before, then its new ones
        for row, at in enumerate(group):
            rows[row, 1 : at.count + 1] = x[at.lane, : at.count]
            if (before := state.last_row(at.lane)) is not None:
                rows[row, 0] = before
        h = rows[:, 1:] + self.before(rows[:, :-1])
        table, near_table = (parts(each.to(x.device)) for each in self._turns(group, lanes, time, times))
        views = [View(at, state, self.config.heads, self.config.windows) for at in group]
        deep = near = 0
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            window = self.config.window(number)
            heads = layer.qkv(layer.norm_attend(h)).view(lanes, time, -1, layer.head_width)
            turned = turn(heads[:, :, :-kv], *(near_table if window else table))
            seen = x.new_zeros(lanes, time, width)
            for row, (at, view) in enumerate(zip(group, views, strict=True)):
                n = at.count
                keys, raw, values = turned[row, :n, -kv:], heads[row, :n, -2 * kv : -kv], heads[row, :n, -kv:]
                if window:
                    view.put_near(near, keys, values)
                else:
                    view.put(deep, keys, raw, values)
                found = view.attend(turned[row, :n, :-kv], window, near if window else deep)
                seen[row, :n] = found.flatten(1)
            near, deep = near + bool(window), deep + (not window)
            h = h + layer.out(seen)
            gate, up = layer.gate_up(layer.norm_feed(h)).chunk(2, dim=-1)
            h = h + layer.down(F.silu(gate) * up)
        for row, (at, view) in enumerate(zip(group, views, strict=True)):
            view.put_rows(rows[row, 1 : at.count + 1])
            out[at.lane, : at.count] = h[row, : at.count]
            state.advance(at, None if times is None else times[at.lane, : at.count])

    def _turns(self, group: list[Spot], lanes: int, time: int, times: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rotations `[lanes, T, 1, hd, 2]` of a pass's rows: by place in order, and by serial for near layers."""
        places = torch.zeros(2, lanes, time, dtype=torch.long, device="cpu")
        when = torch.zeros(lanes, time, dtype=torch.float64, device="cpu")
        for row, at in enumerate(group):
            places[0, row, : at.count], places[1, row, : at.count] = at.positions, at.serials
            if times is not None:
                when[row, : at.count] = times[at.lane, : at.count]
        table = self._rope(places[0], when)[:, :, None]
        return table, self._rope(places[1], when)[:, :, None] if any(self.config.windows) else table

    def _rope(self, places: Tensor, times: Tensor) -> Tensor:
        table = turns(places, self.config.head_width, self.config.rope_base)
        return rotations(table, times, self.config.time_pairs)

    def evict(self, plan: CachePlan, first: int, state: DecoderState, lane: int) -> None:
        """What `plan` names leaves the lane, and what moves is rotated to its new place; see `KVCache.apply`."""
        state.apply(lane, plan, first, self._rope)

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


def _groups(items: list[T], size: int) -> list[list[T]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _band(trunk: int, leaves: tuple[Tensor, Tensor] | None, window: int, device: torch.device) -> Tensor:
    """Who is among the last `window` tokens of whom, `[1 or B, 1, T, T]`; leaves stand where they say."""
    at = torch.arange(trunk, device=device)[None]
    if leaves is not None:
        at = torch.cat([at.expand(len(leaves[0]), -1), leaves[0]], dim=1)
    back = at[:, None, :, None] - at[:, None, None, :]
    return (back >= 0) & (back < window)
