"""`Stack`: a causal decoder made of `Block`s, read whole in training and slot by slot when live.

It is what nano's decoder and the families of checkpoints share: embeddings, layers, the output, and the live pass over
the rolling cache. What goes in before the first layer is `enter`, which nano's decoder does in its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.ledger import CachePlan
from liveagent.nn.block import Block, BlockConfig
from liveagent.nn.cache import KVCache, Spot
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.rotary import Rope, angles, parts_at, rotate, rotations, turn, turns
from liveagent.nn.view import View

T = TypeVar("T")
Wanted = Literal["all", "last", "none"]
"""Which tokens' hidden rows a step is asked for: of each lane."""


@dataclass
class DecoderState(KVCache):
    """The decoder's memory for all lanes: row b of every buffer is lane b. The cache is all there is."""


@dataclass(frozen=True)
class StackConfig:
    """Everything that fixes a stack's tensors' shapes and its arithmetic."""

    vocab_size: int
    width: int
    blocks: tuple[BlockConfig, ...]
    norm_eps: float = 1e-5
    rope: Rope = field(default_factory=Rope)
    near_rope: Rope = field(default_factory=Rope)
    """Of layers with a window."""
    time_pairs: int = 0
    """How many of a head's slowest pairs turn with time instead of place in order."""
    embed_scale: float = 1.0
    tied: bool = True
    """Whether the output's weights are the embedding's."""
    softcap: float = 0.0
    """Logits are squashed to within it by a tanh; 0: they are not."""
    layer_vocab: int = 0
    """Ids that have an input for each layer; 0: layers have none of their own."""
    ahead: int = 0
    """The most rows of a picture, each of which sees all of them in layers with a window, also those behind it; 0: no
    row sees what is behind it."""

    def __post_init__(self) -> None:
        kinds: dict[bool, set[tuple[int, int]]] = {True: set(), False: set()}
        for number, block in enumerate(self.blocks):
            kinds[bool(block.window)].add((block.kv_heads, block.head_width))
            source = block.keys_from
            if source is not None and (
                not 0 <= source < number
                or self.blocks[source].keys_from is not None
                or bool(self.blocks[source].window) != bool(block.window)
            ):
                raise ConfigError(
                    f"layer {number} cannot read keys of layer {source}: it is no earlier one of its kind"
                )
        if any(len(kind) > 1 for kind in kinds.values()):
            raise ConfigError("layers of one kind have heads of different shapes: one slab holds them all")
        if len({block.layer_input for block in self.blocks}) > 1 or bool(self.layer_vocab) != bool(self.layer_input):
            raise ConfigError("either all layers have an input of their own, of one width, or none has")

    @property
    def layer_input(self) -> int:
        return self.blocks[0].layer_input

    @property
    def row_width(self) -> int:
        """Numbers of an input row: behind its embedding it carries its id, where layers look ids up again, and then how
        many rows of its picture are still to come, where those are seen."""
        return self.width + bool(self.layer_vocab) + bool(self.ahead)

    @cached_property
    def places(self) -> tuple[int, ...]:
        """For each layer the number, among those of its kind that hold keys, of the one whose keys it reads."""
        count = {True: 0, False: 0}
        places: list[int] = []
        for block in self.blocks:
            near = bool(block.window)
            if block.keys_from is None:
                places.append(count[near])
                count[near] += 1
            else:
                places.append(places[block.keys_from])
        return tuple(places)

    @cached_property
    def holding(self) -> int:
        """Layers up to the last that holds keys. What those behind it make of a token is for its logits alone."""
        return max((number + 1 for number, block in enumerate(self.blocks) if block.keys_from is None), default=0)

    def shape(self, near: bool) -> tuple[int, int, int]:
        """Layers of a kind that hold keys, their heads of keys, and the heads' width; no layers: (0, 1, 2)."""
        kind = [block for block in self.blocks if bool(block.window) == near]
        holding = sum(1 for block in kind if block.keys_from is None)
        return (holding, kind[0].kv_heads, kind[0].head_width) if kind else (0, 1, 2)


class Stack(nn.Module):
    """Causal decoder. B lanes, T time, D width, V pieces, R numbers of an input row.

    Live, a row's numbers depend on that row alone, and the shape of its pass on nobody else: the linear parts run over
    `pass_rows` rows at least, attention lane by lane over exactly that lane's slots.
    """

    block_tokens = (1, 8, 32)
    """Lengths T of a live step. A lane's prefill is cut into these by its own backlog."""

    pass_rows = 4
    """Rows that a live pass has at least. Fewer round differently (LAW 2), so lanes share a pass of single tokens, four
    at a time and always four rows, and a lane with more tokens has a pass of its own."""

    rows_apart = False
    """Whether the products' rows are the same to the bit however few there are, as those of some kernels are: then no
    row is added that nobody asked for."""

    def __init__(self, shape: StackConfig) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = Embedding(shape.vocab_size, shape.width)
        self.embedding.looked_up_only = not shape.tied
        self.layers = nn.ModuleList(Block(block) for block in shape.blocks)
        self.norm = nn.RMSNorm(shape.width, eps=shape.norm_eps)
        if not shape.tied:
            self.head = Linear(shape.width, shape.vocab_size, bias=False)
        if shape.layer_vocab:
            every = len(shape.blocks) * shape.layer_input
            self.layer_table = Embedding(shape.layer_vocab, every)
            self.layer_table.looked_up_only = True
            self.layer_map = Linear(shape.width, every, bias=False)
            self.layer_norm = nn.RMSNorm(shape.layer_input, eps=shape.norm_eps)

    @property
    def width(self) -> int:
        return self.shape.width

    @property
    def row_width(self) -> int:
        return self.shape.row_width

    # --- what goes in

    def embed(self, ids: Tensor) -> Tensor:
        """Piece ids `[...]` to input rows `[..., R]`."""
        rows = self.embedding.rows_of(ids)
        if self.shape.embed_scale != 1.0:  # as precise as the weights: that is how they were trained
            rows = rows * torch.tensor(self.shape.embed_scale, dtype=rows.dtype, device="cpu").item()
        return self.rows(rows, ids)

    def rows(self, embedded: Tensor, ids: Tensor | int, ahead: Tensor | int = 0) -> Tensor:
        """Input rows `[..., R]` of rows `[..., D]` that stand for the ids `[...]`, such as an ear's; `ahead` `[...]`:
        how many of those behind it each may see."""
        extra = [each for each, there in ((ids, self.shape.layer_vocab), (ahead, self.shape.ahead)) if there]
        if not extra:
            return embedded.float()
        columns = [torch.as_tensor(each, dtype=torch.float32, device=embedded.device) for each in extra]
        return torch.cat([embedded.float(), *(each.expand(embedded.shape[:-1])[..., None] for each in columns)], dim=-1)

    def picture_rows(self, embedded: Tensor, ids: Tensor | int) -> Tensor:
        """As `rows`, of one picture `[..., n, D]`: where this decoder was trained so, each sees all of them. They go in
        in one step then (`piece`). ConfigError: more than a step takes."""
        count = embedded.shape[-2]
        if self.shape.ahead and count > self.shape.ahead:
            raise ConfigError(f"a picture of {count} rows, which see each other: {self.shape.ahead} at most")
        return self.rows(embedded, ids, torch.arange(count - 1, -1, -1, device=embedded.device))

    def piece(self, rows: Tensor, size: int) -> int:
        """How many of the input rows `[n, R]` the next step may take: `size`, or fewer or more, so that none is cut off
        from what it sees behind it."""
        if not self.shape.ahead or size >= len(rows):
            return min(size, len(rows))
        seen = torch.arange(len(rows), device=rows.device) + rows[:, -1].long() + 1  # as far as each sees
        first = (seen[:size] > size).nonzero()[:1, 0].tolist()  # whose picture does not end within
        return (first[0] or int(seen[0])) if first else size

    def enter(self, rows: Tensor, before: Tensor) -> Tensor:
        """What the first layer reads `[..., D]` for input rows `[..., R]`; `before` are those in front of them."""
        return rows[..., : self.shape.width].to(self.embedding.dtype)

    def layer_inputs(self, rows: Tensor, entered: Tensor) -> Tensor | None:
        """Each layer's own inputs `[L, ..., P]`, from the rows' ids and from what the first layer reads; or None."""
        shape = self.shape
        if not shape.layer_vocab:
            return None
        known = self.layer_table.rows_of(rows[..., shape.width].long()) * shape.layer_input**0.5
        drawn = (self.layer_map(entered) * shape.width**-0.5).unflatten(-1, (len(shape.blocks), -1))
        both = (self.layer_norm(drawn) + known.unflatten(-1, (len(shape.blocks), -1))) * 2.0**-0.5
        return both.movedim(-2, 0)

    # --- whole sequences

    def forward(
        self,
        ids: Tensor | None = None,
        *,
        rows: Tensor | None = None,
        leaves: tuple[Tensor, Tensor] | None = None,
        times: Tensor | None = None,
    ) -> Tensor:
        """Whole sequences: `ids [B, T]` (or ready input `rows [B, T, R]`) to logits `[B, T, V]`. `times [B, T]`: when
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
            at = (leaves[0] - 1).clamp_min(0)[..., None].expand(-1, -1, rows.shape[-1])
            before = torch.cat([before, rows.gather(1, at)], dim=1)
        h = self.enter(rows, before)
        inputs = self.layer_inputs(rows, h)
        tables = {near: self._whole_table(near, rows, trunk, leaves, times) for near in self._kinds}
        ahead = rows[..., -1].long() if self.shape.ahead else None
        held: dict[int, tuple[Tensor, Tensor]] = {}
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Block)
            window, source = layer.config.window, layer.config.keys_from
            q, k, v = layer.project(h)
            table = tables[bool(window)]
            q = rotate(q, table).to(q.dtype)
            if k is None or v is None:
                assert source is not None
                k, v = held[source]
            else:
                k = rotate(k, table).to(q.dtype)
                held[number] = k, v
            if layer.key_heads < layer.heads:
                k, v = (each.repeat_interleave(layer.heads // layer.key_heads, dim=1) for each in (k, v))
            if attended is not None:
                attended(number, q, k)
            band = None if not window else _band(trunk, leaves, window, rows.device, ahead)
            trunk_qkv, scale = (q[:, :, :trunk], k[:, :, :trunk], v[:, :, :trunk]), layer.config.scale
            if band is None:
                seen = F.scaled_dot_product_attention(*trunk_qkv, is_causal=True, scale=scale)
            else:
                seen = F.scaled_dot_product_attention(*trunk_qkv, attn_mask=band[..., :trunk, :trunk], scale=scale)
            if leaves is not None:
                mask = leaves[1][:, None] if band is None else leaves[1][:, None] & band[:, :, trunk:]
                tips = F.scaled_dot_product_attention(q[:, :, trunk:], k, v, attn_mask=mask, scale=scale)
                seen = torch.cat([seen, tips], dim=2)
            found = seen.transpose(1, 2).flatten(2)
            own = None if inputs is None else inputs[number]
            if only is not None and number + 1 == len(self.layers):
                return layer.finish(h[only], found[only], None if own is None else own[only])
            h = layer.finish(h, found, own)
        return h if only is None else h[only]

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden rows `[..., D]` to logits `[..., V]`."""
        normed = self.norm(hidden)
        out = self.embedding.product(normed) if self.shape.tied else self.head(normed)
        return out if not self.shape.softcap else torch.tanh(out / self.shape.softcap) * self.shape.softcap

    @cached_property
    def _widest(self) -> int:
        return max(block.window for block in self.shape.blocks)

    @cached_property
    def _kinds(self) -> tuple[bool, ...]:
        return tuple(sorted({bool(block.window) for block in self.shape.blocks}))

    def _table(self, positions: int, near: bool = False) -> Tensor:
        size = 1024
        while size < positions:
            size *= 2
        return angles(size, self.shape.shape(near)[2], self.shape.near_rope if near else self.shape.rope)

    def _whole_table(
        self, near: bool, rows: Tensor, trunk: int, leaves: tuple[Tensor, Tensor] | None, times: Tensor | None
    ) -> Tensor:
        table = self._table(trunk + 1, near).to(rows.device)
        if leaves is None:
            table = table[: rows.shape[1]]
        else:
            stem = table[:trunk].expand(rows.shape[0], -1, -1, -1)
            table = torch.cat([stem, table[leaves[0]]], dim=1)[:, None]
        if self.shape.time_pairs:
            when = rows.new_zeros(rows.shape[:2]) if times is None else times
            table = rotations(table.expand(rows.shape[0], 1, -1, -1, -1), when[:, None], self.shape.time_pairs)
        return table

    # --- live

    def init_state(self, lanes: int, slots: int = 1024, back: int = 256) -> DecoderState:
        """An empty cache for `lanes` lanes of `slots` tokens each, where the weights are and as precise. `back`: how
        many tokens layers that see only the last few must be able to take back at any time, or to read in one step."""
        deep, kv_heads, head_width = self.shape.shape(near=False)
        near, near_heads, near_width = self.shape.shape(near=True)
        widest, back = self._widest, max(back, self.shape.ahead)
        return DecoderState.empty(
            lanes, deep, kv_heads, slots, head_width, self.row_width,
            near, widest + back + max(self.block_tokens) if near else 0, widest, self.embedding.device,
            near_heads, near_width, self.embedding.dtype,
        )  # fmt: skip

    def step(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None = None
    ) -> Tensor:
        """Append `count[b]` tokens to lane b and return the logits `[B, V]` after each lane's last one.

        `x` `[B, T, R]` holds input rows, valid ones first; `count` `[B]`, 0 for a lane that is not asked (its state
        stays bit-unchanged, its logits are zero); `times` `[B, T]` when each token came, in seconds (float64), None:
        all at 0. ConfigError when a lane would overflow, or a row sees what is not there yet; no lane is changed then.
        """
        counts, hidden = self._read(x, count, state, times, "last")
        out = hidden.new_zeros(len(counts), self.shape.vocab_size)
        busy = [(b, n) for b, n in enumerate(counts) if n]
        for group in _groups(busy, self.pass_rows):
            last = hidden.new_zeros(len(group) if self.rows_apart else self.pass_rows, self.shape.width)
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
        out = hidden.new_zeros(*x.shape[:2], self.shape.vocab_size)
        for b, n in enumerate(counts):
            if n:
                out[b] = self.logits(hidden[b])
        return out

    def append(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None = None
    ) -> None:
        """As `step`, where nobody asks what comes next: layers behind the last that holds keys do not run at all."""
        self._read(x, count, state, times, "none")

    def read(
        self, x: Tensor, count: Tensor | Sequence[int], state: DecoderState, times: Tensor | None = None
    ) -> Tensor:
        """As `step`, but the hidden rows `[B, T, D]` of all tokens, for `logits`; those past a lane's count mean
        nothing."""
        return self._read(x, count, state, times)[1]

    def _read(
        self,
        x: Tensor,
        count: Tensor | Sequence[int],
        state: DecoderState,
        times: Tensor | None,
        wanted: Wanted = "all",
    ) -> tuple[list[int], Tensor]:
        """How many each lane reads, and the hidden rows that are `wanted`."""
        counts = count.tolist() if isinstance(count, Tensor) else list(count)
        lanes, time, _ = x.shape
        if len(counts) != lanes or lanes != state.lanes or max(counts, default=0) > time:
            raise ConfigError(f"step of {lanes} x {time} rows with counts {counts} on a state of {state.lanes} lanes")
        if state.ring and max(counts, default=0) > state.ring - self._widest + 1:
            raise ConfigError(
                f"a step of {max(counts)} tokens: layers with a window hold {state.ring - self._widest + 1} beside it"
            )
        ahead = self._ahead(x, counts)
        spots = [state.spot(b, n) for b, n in enumerate(counts) if n]
        hidden = torch.zeros(lanes, time, self.shape.width, dtype=state.keys.dtype, device=x.device)
        when = None if times is None else times.to("cpu", torch.float64)
        for group in _groups(spots, -(-self.pass_rows // time)):
            self._pass(x, group, state, when, ahead, hidden, wanted)
        return counts, hidden

    def _ahead(self, x: Tensor, counts: list[int]) -> dict[int, Tensor]:
        """How far the rows of a step see ahead, `[count]`, of each lane that has such. ConfigError: farther than it."""
        if not self.shape.ahead:
            return {}
        found, every = {}, x[..., -1].to("cpu", torch.long)
        for b, n in enumerate(counts):
            far = every[b, :n]
            if bool((far + torch.arange(n, device="cpu") >= n).any()):
                raise ConfigError(f"a picture whose rows see each other is cut: lane {b} must take it in one step")
            if bool(far.any()):
                found[b] = far
        return found

    def _pass(
        self, x: Tensor, group: list[Spot], state: DecoderState, times: Tensor | None, ahead: dict[int, Tensor],
        out: Tensor, wanted: Wanted,
    ) -> None:  # fmt: skip
        """Append the rows of `x [B, T, R]` that `group` places; their hidden rows into `out [B, T, D]`.

        The pass has rows for as many lanes as make up `pass_rows`, busy or not: its shape is the same whoever is in it.
        Layers behind the last that holds keys see the rows that are `wanted` alone, in as few rows as that.
        """
        time, shape = x.shape[1], self.shape
        lanes = len(group) if self.rows_apart else -(-self.pass_rows // time)
        rows = x.new_zeros(lanes, time + 1, x.shape[2])  # each lane's last row before, then its new ones
        for row, at in enumerate(group):
            rows[row, 1 : at.count + 1] = x[at.lane, : at.count]
            if (before := state.last_row(at.lane)) is not None:
                rows[row, 0] = before
        h = self.enter(rows[:, 1:], rows[:, :-1])
        inputs = self.layer_inputs(rows[:, 1:], h)
        turning = self._turns(group, lanes, time, times, x.device)
        views = [View(at, state, shape.blocks, ahead.get(at.lane)) for at in group]
        counts = [at.count for at in group]
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, Block)
            if wanted == "none" and number == shape.holding:
                break
            if wanted == "last" and time > 1 and number == shape.holding:
                lanes = len(group) if self.rows_apart else max(lanes, self.pass_rows)
                h = _last(h, counts, lanes)
                inputs = None if inputs is None else torch.stack([_last(each, counts, lanes) for each in inputs])
                turning = {near: (_last(cos, counts, lanes), _last(sin, counts, lanes))
                           for near, (cos, sin) in turning.items()}  # fmt: skip
                time, counts = 1, [1] * len(group)
            window, place, kv = layer.config.window, shape.places[number], layer.key_heads
            heads = layer.heads_of(h)
            own = layer.own_keys
            turned = turn(heads[:, :, :-kv] if own else heads, *turning[bool(window)]).to(h.dtype)
            seen = h.new_zeros(lanes, time, layer.heads * layer.head_width)
            for row, (n, view) in enumerate(zip(counts, views, strict=True)):
                if own:
                    keys, raw, values = turned[row, :n, -kv:], heads[row, :n, -2 * kv : -kv], heads[row, :n, -kv:]
                    if window:
                        view.put_near(place, keys, values)
                    else:
                        view.put(place, keys, raw, values)
                found = view.attend(turned[row, :n, : layer.heads], window, place, layer.config.scale)
                seen[row, :n] = found.flatten(1)
            h = layer.finish(h, seen, None if inputs is None else inputs[number])
        for row, (at, view) in enumerate(zip(group, views, strict=True)):
            view.put_rows(rows[row, 1 : at.count + 1])
            out[at.lane, at.count - counts[row] : at.count] = h[row, : counts[row]]
            state.advance(at, None if times is None else times[at.lane, : at.count])

    def _turns(
        self, group: list[Spot], lanes: int, time: int, times: Tensor | None, device: torch.device
    ) -> dict[bool, tuple[Tensor, Tensor]]:
        """What `turn` takes, `[lanes, T, 1, hd]`, for a pass's rows: by place in order; of near layers (True) by
        serial."""
        shape, kinds = self.shape, self._kinds
        places = {near: torch.zeros(lanes, time, dtype=torch.long, device="cpu") for near in kinds}
        when = torch.zeros(lanes, time, dtype=torch.float64, device="cpu")
        for row, at in enumerate(group):
            for near in kinds:
                places[near][row, : at.count] = at.serials if near else at.positions
            if times is not None:
                when[row, : at.count] = times[at.lane, : at.count]
        found = {}
        for near in kinds:
            rope = shape.near_rope if near else shape.rope
            cos, sin = parts_at(places[near], when, shape.shape(near)[2], rope, shape.time_pairs, device)
            found[near] = cos[:, :, None], sin[:, :, None]
        return found

    def _rope(self, places: Tensor, times: Tensor) -> Tensor:
        return self._rotations(places, times, near=False)

    def _rotations(self, places: Tensor, times: Tensor, near: bool) -> Tensor:
        table = turns(places, self.shape.shape(near)[2], self.shape.near_rope if near else self.shape.rope)
        return rotations(table, times, self.shape.time_pairs)

    def evict(self, plan: CachePlan, first: int, state: DecoderState, lane: int) -> None:
        """What `plan` names leaves the lane, and what moves is rotated to its new place; see `KVCache.apply`."""
        state.apply(lane, plan, first, self._rope)

    def reset(self, state: DecoderState, lane: int) -> None:
        """Empty one lane; the others run on."""
        state.reset(lane)

    def copy_lane(self, src_state: DecoderState, src: int, dst_state: DecoderState, dst: int) -> None:
        """Clone one lane into another lane or state."""
        src_state.copy_lane(src, dst_state, dst)


def _groups(items: list[T], size: int) -> list[list[T]]:
    return [items[at : at + size] for at in range(0, len(items), size)]


def _last(rows: Tensor, counts: Sequence[int], lanes: int) -> Tensor:
    """Of each lane's first `counts` rows `[b, T, …]` the last, `[lanes, 1, …]`."""
    found = rows.new_zeros(lanes, 1, *rows.shape[2:])
    for row, n in enumerate(counts):
        found[row, 0] = rows[row, n - 1]
    return found


def _band(
    trunk: int, leaves: tuple[Tensor, Tensor] | None, window: int, device: torch.device, ahead: Tensor | None = None
) -> Tensor:
    """Who is among the last `window` tokens of whom, or among the next `ahead [B, T]`, `[1 or B, 1, T, T]`; leaves
    stand where they say."""
    at = torch.arange(trunk, device=device)[None]
    if leaves is not None:
        at = torch.cat([at.expand(len(leaves[0]), -1), leaves[0]], dim=1)
    back = at[:, None, :, None] - at[:, None, None, :]
    return (back >= (0 if ahead is None else -ahead[:, None, :, None])) & (back < window)
