"""The key/value cache of the decoder: one fixed slab for all lanes, a slot table for each, and what may leave it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

import torch
from torch import Tensor

from liveagent.errors import ConfigError, TooFarBack
from liveagent.ledger import CachePlan

Rope: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Places in order `[n]` and times `[n]` (seconds) to rotations `[n, hd, 2]`."""


@dataclass(frozen=True)
class Spot:
    """Where the next `count` tokens of a lane go: their physical slots, places in order and serials, all `[count]`,
    their cells in the local layers' ring, and how much of slab and ring attention looks at with them."""

    lane: int
    count: int
    slots: Tensor
    positions: Tensor
    serials: Tensor
    cells: Tensor
    extent: int
    reach: int


@dataclass
class KVCache:
    """Keys and values of every layer, for B lanes, in buffers that are allocated once. Lanes come first.

    Layers that see everything (L of them) have S slots a lane: `keys` (rotated, what attention reads), `values` and
    `raw` (the keys before rotation) `[B, L, H, S, hd]`. Layers that see only the last few tokens (M, "near") have a
    ring of R cells: `near_keys`, `near_values` `[B, M, H, R, hd]`. `rows` (what went in) `[B, S, D]`.

    By slot, on the CPU, for it is what Python decides by: `position` (place in the token order), `serial` (how many
    tokens were written before it) and `time` (seconds) `[B, S]`; -1 is a dead slot. `slot[b, i]` is the slot of lane
    b's i-th token, `near[b, r]` the serial in a cell of the ring, `near_low` the lowest that was never overwritten,
    `near_window` how many tokens the widest of those layers sees. A lane: `length` tokens held, `extent` slots up to
    the last that lives, `next_position`, `next_serial`, `fork_at` where its scratch branch starts, counted from 1.
    `hidden` bool `[B, S]`: what a question on that branch does not see; `resume`: where the lane goes on behind it.

    A token takes the lowest free slot and stays there until it goes: what is evicted leaves slots that the next tokens
    take, so nothing is moved in memory and attention looks at no more slots in hour 10 than in minute 1. The order of
    slots means nothing to a softmax; the mask knows positions. A dead slot is zero: a NaN behind a mask still poisons.

    When a hole is closed (`apply`), what moves is rotated from its raw keys, with angles in float64: exact at any age,
    where rotating stored keys again and again drifts. Layers that see only the last W tokens mean the last W *written*:
    they turn by serial, never move, keep no raw keys, and a hole in their view stays until it has passed.
    """

    keys: Tensor
    values: Tensor
    raw: Tensor
    rows: Tensor
    near_keys: Tensor
    near_values: Tensor
    position: Tensor
    serial: Tensor
    time: Tensor
    slot: Tensor
    hidden: Tensor
    resume: Tensor
    near: Tensor
    near_low: Tensor
    near_window: Tensor
    length: Tensor
    extent: Tensor
    next_position: Tensor
    next_serial: Tensor
    fork_at: Tensor

    @classmethod
    def empty(
        cls,
        lanes: int,
        layers: int,
        heads: int,
        slots: int,
        head_width: int,
        width: int,
        near_layers: int = 0,
        ring: int = 0,
        window: int = 0,
        device: torch.device | None = None,
        near_heads: int | None = None,
        near_head_width: int | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> Self:
        def slab(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
            return torch.zeros(lanes, *shape, dtype=dtype, device=device)

        def table(*shape: int, fill: int = -1, dtype: torch.dtype = torch.long) -> Tensor:
            return torch.full((lanes, *shape), fill, dtype=dtype, device="cpu")

        near_heads_and_ring = near_heads or heads, ring, near_head_width or head_width
        return cls(
            keys=slab(layers, heads, slots, head_width),
            values=slab(layers, heads, slots, head_width),
            raw=slab(layers, heads, slots, head_width),
            rows=slab(slots, width, dtype=torch.float32),
            near_keys=slab(near_layers, *near_heads_and_ring),
            near_values=slab(near_layers, *near_heads_and_ring),
            position=table(slots),
            serial=table(slots),
            time=table(slots, dtype=torch.float64),
            slot=table(slots),
            hidden=table(slots, fill=0, dtype=torch.bool),
            resume=table(),
            near=table(ring),
            near_low=table(fill=0),
            near_window=table(fill=window),
            length=table(fill=0),
            extent=table(fill=0),
            next_position=table(fill=0),
            next_serial=table(fill=0),
            fork_at=table(fill=0),
        )

    @property
    def lanes(self) -> int:
        return self.rows.shape[0]

    @property
    def slots(self) -> int:
        return self.rows.shape[1]

    @property
    def ring(self) -> int:
        return self.near.shape[1]

    def room(self, lane: int) -> int:
        """How many more tokens the lane can hold."""
        return self.slots - int(self.length[lane])

    def order(self, lane: int) -> Tensor:
        """The slots of a lane's tokens, oldest first, `[length]`."""
        return self.slot[lane, : int(self.length[lane])]

    def last_row(self, lane: int) -> Tensor | None:
        """The input row `[D]` in front of the write pointer; None for an empty lane."""
        length = int(self.length[lane])
        return self.rows[lane, int(self.slot[lane, length - 1])] if length else None

    # --- writing

    def spot(self, lane: int, count: int) -> Spot:
        """Where the lane's next `count` tokens will go. Changes nothing; ConfigError when they do not fit."""
        length, extent = int(self.length[lane]), int(self.extent[lane])
        if length + count > self.slots:
            raise ConfigError(
                f"lane {lane} is full: {length} + {count} of {self.slots} slots; evict or take back first"
            )
        free = _range(extent, extent + count)
        if extent > length:
            holes = (self.position[lane, :extent] < 0).nonzero()[:count, 0]
            free = torch.cat([holes, free[: count - len(holes)]])
        position, serial = int(self.next_position[lane]), int(self.next_serial[lane])
        serials = _range(serial, serial + count)
        return Spot(
            lane,
            count,
            free,
            _range(position, position + count),
            serials,
            serials % self.ring if self.ring else serials,
            max(extent, int(free[-1]) + 1),
            min(self.ring, serial + count),
        )

    def advance(self, at: Spot, times: Tensor | None = None) -> None:
        """What every layer has just written at `at` counts from now on. `times [count]`: when it came; None: at 0."""
        b, length = at.lane, int(self.length[at.lane])
        self.position[b, at.slots], self.serial[b, at.slots] = at.positions, at.serials
        self.time[b, at.slots] = torch.zeros(at.count, dtype=torch.float64, device="cpu") if times is None else times
        self.slot[b, length : length + at.count] = at.slots
        self.length[b], self.extent[b] = length + at.count, at.extent
        self.next_position[b] += at.count
        self.next_serial[b] += at.count
        if self.ring:
            self.near[b, at.cells] = at.serials
            self.near_low[b] = max(int(self.near_low[b]), int(self.next_serial[b]) - self.ring)

    def mask(self, at: Spot) -> Tensor | None:
        """What the tokens at `at` see of the slab: float `[count, extent]`, 0 or -inf; None when they see all of it.

        A slot is seen when it lives and stands no later than the token that looks.
        """
        hidden = self.hidden[at.lane, : at.extent]
        blind = bool(hidden.any())
        if at.count == 1 and at.extent == int(self.length[at.lane]) + 1 and not blind:
            return None
        position = self.position[at.lane, : at.extent].index_copy(0, at.slots, at.positions)
        seen = (position >= 0) & (position <= at.positions[:, None])
        return _additive(seen & ~hidden if blind else seen)

    def near_mask(self, at: Spot, window: int, ahead: Tensor | None = None) -> Tensor:
        """What they see of the ring: float `[count, reach]`; the last `window` tokens written, as far as they live, and
        the next `ahead [count]`."""
        serial = self.near[at.lane, : at.reach].index_copy(0, at.cells, at.serials)
        now = at.serials[:, None]
        last = now if ahead is None else now + ahead[:, None]
        return _additive((serial >= 0) & (serial <= last) & (serial > now - window))

    # --- taking back

    def rewind(self, lane: int, length: int) -> None:
        """Take back: forget every token from the `length`-th on, and zero it.

        ConfigError when the lane holds fewer, `TooFarBack` when local layers have lost what they would need.
        """
        old = int(self.length[lane])
        if not 0 <= length <= old:
            raise ConfigError(f"cannot rewind lane {lane} to {length}: it holds {old} tokens")
        if int(self.fork_at[lane]) > length + 1:
            self.fork_at[lane] = 0
        if length == old:
            return
        gone = self.slot[lane, length:old].clone()
        first = int(gone[0])
        serial = int(self.serial[lane, first])
        if self.ring and length and max(0, serial - int(self.near_window[lane]) + 1) < int(self.near_low[lane]):
            raise TooFarBack(f"lane {lane} cannot go back by {old - length} tokens: its local layers hold fewer")
        self.next_position[lane], self.next_serial[lane] = self.position[lane, first], serial
        self._free(lane, gone)
        self.slot[lane, length:old] = -1
        self.length[lane] = length
        self._trim_extent(lane)
        if self.ring:
            self._kill(lane, (self.near[lane] >= serial).nonzero()[:, 0])
        if not length:  # a lane that holds nothing has written nothing
            self.next_position[lane] = self.next_serial[lane] = self.near_low[lane] = 0

    def hide(self, lane: int, first: int, last: int) -> None:
        """What is written from now on, until `show`, does not see the lane's tokens `first` … `last`, counted from its
        oldest; where those are its newest, it stands at their places, as if they had never been. Layers that see only
        the last tokens see them still."""
        self.hidden[lane, self.slot[lane, first:last]] = True
        self.resume[lane] = self.next_position[lane]
        if 0 < first < last == int(self.length[lane]):
            self.next_position[lane] = self.position[lane, int(self.slot[lane, first - 1])] + 1

    def show(self, lane: int) -> None:
        """Everything is seen again. What was written behind what was hidden has been taken back."""
        if int(self.resume[lane]) >= 0:
            self.hidden[lane] = False
            self.next_position[lane], self.resume[lane] = int(self.resume[lane]), -1

    def fork(self, lane: int) -> int:
        """Start a scratch branch at the write pointer; what is appended from here is gone after `drop`."""
        if self.fork_at[lane]:
            raise ConfigError(f"lane {lane} has a scratch branch already: drop or keep it first")
        self.fork_at[lane] = self.length[lane] + 1
        return int(self.length[lane])

    def drop(self, lane: int) -> None:
        """Forget the scratch branch; the lane is as it was at `fork`: all that attention can see, to the bit."""
        start = self._branch(lane)
        self.fork_at[lane] = 0
        self.rewind(lane, start)

    def keep(self, lane: int) -> None:
        """The scratch branch was right: it becomes the lane."""
        self._branch(lane)
        self.fork_at[lane] = 0

    def _branch(self, lane: int) -> int:
        start = int(self.fork_at[lane]) - 1
        if start < 0:
            raise ConfigError(f"lane {lane} has no scratch branch: fork first")
        return start

    # --- evicting

    def apply(self, lane: int, plan: CachePlan, first: int, rope: Rope) -> None:
        """Obey a plan that was made when the lane's oldest token was the ledger's place `first`.

        The holes' slots are zeroed and free again; what the plan moves stays in its slot and is rotated to its new
        place from its raw keys. ConfigError when the plan speaks of tokens that the lane does not hold.
        """
        length = int(self.length[lane])
        order = self.order(lane)
        parts = [(hole.start - first, hole.length) for hole in plan.holes]
        parts += [(move.start - first, move.length) for move in plan.moves]
        if any(start < 0 or start + count > length for start, count in parts):
            raise ConfigError(f"the plan was made for another lane: this one holds {length} tokens from place {first}")
        stays = torch.ones(length, dtype=torch.bool, device="cpu")
        for hole in plan.holes:
            stays[hole.start - first : hole.end - first] = False
        moved = [order[move.start - first : move.start - first + move.length] for move in plan.moves]
        for slots, move in zip(moved, plan.moves, strict=True):
            self.position[lane, slots] += move.by
        if moved:
            self._turn(lane, torch.cat(moved), rope)
        gone, kept = order[~stays], order[stays]
        if self.ring:
            serials = self.serial[lane, gone]
            cells = serials % self.ring
            self._kill(lane, cells[self.near[lane, cells] == serials])
        self._free(lane, gone)
        self.slot[lane, :length] = -1
        self.slot[lane, : len(kept)] = kept
        self.length[lane] = len(kept)
        if len(kept) and stays[-1]:
            self.next_position[lane] = self.position[lane, int(kept[-1])] + 1
        fork = int(self.fork_at[lane])
        if fork:
            self.fork_at[lane] = int(stays[: fork - 1].sum()) + 1
        self._trim_extent(lane)

    def _turn(self, lane: int, slots: Tensor, rope: Rope) -> None:
        """Keys of these slots anew, from raw ones, for the places that they have now."""
        there = slots.to(self.keys.device)
        cos, sin = rope(self.position[lane, slots], self.time[lane, slots]).to(self.keys.device).unbind(-1)
        raw = self.raw[lane].index_select(2, there)
        keys, half = torch.mul(raw, cos), raw.shape[-1] // 2
        keys[..., :half].addcmul_(raw[..., half:], sin[:, :half], value=-1)
        keys[..., half:].addcmul_(raw[..., :half], sin[:, half:])
        self.keys[lane].index_copy_(2, there, keys.to(self.keys.dtype))

    # --- lanes

    def reset(self, lane: int) -> None:
        """Empty one lane. Whole rows are zeroed, so that not even a NaN stays behind."""
        for slab in (self.keys, self.values, self.raw, self.rows, self.near_keys, self.near_values):
            slab[lane].zero_()
        for table in (self.position, self.serial, self.time, self.slot, self.near):
            table[lane] = -1
        self.hidden[lane], self.resume[lane] = False, -1
        for number in self._numbers():
            number[lane] = 0

    def copy_lane(self, src: int, dst_cache: KVCache, dst: int) -> None:
        """Make lane `dst` of `dst_cache` (this cache or another of the same shape) a clone of lane `src`."""
        extent = int(self.extent[src])
        if extent > dst_cache.slots or self.ring != dst_cache.ring:
            raise ConfigError(f"{extent} slots do not fit into a cache of {dst_cache.slots}")
        if dst_cache is self and src == dst:
            return
        dst_cache.reset(dst)
        for name in ("keys", "values", "raw"):
            getattr(dst_cache, name)[dst, :, :, :extent] = getattr(self, name)[src, :, :, :extent]
        for name in ("rows", "position", "serial", "time", "slot"):
            getattr(dst_cache, name)[dst, :extent] = getattr(self, name)[src, :extent]
        for name in ("near_keys", "near_values", "near"):
            getattr(dst_cache, name)[dst] = getattr(self, name)[src]
        for ours, theirs in zip(self._numbers(), dst_cache._numbers(), strict=True):
            theirs[dst] = ours[src]

    def _numbers(self) -> tuple[Tensor, ...]:
        return self.near_low, self.length, self.extent, self.next_position, self.next_serial, self.fork_at

    def _free(self, lane: int, slots: Tensor) -> None:
        for table in (self.position, self.serial, self.time):
            table[lane, slots] = -1
        for start, end in _runs(slots):
            for slab in (self.keys, self.values, self.raw):
                slab[lane, :, :, start:end] = 0.0
            self.rows[lane, start:end] = 0.0

    def _kill(self, lane: int, cells: Tensor) -> None:
        self.near[lane, cells] = -1
        for start, end in _runs(cells):
            for slab in (self.near_keys, self.near_values):
                slab[lane, :, :, start:end] = 0.0

    def _trim_extent(self, lane: int) -> None:
        length = int(self.length[lane])
        self.extent[lane] = int(self.slot[lane, :length].max()) + 1 if length else 0


def _range(start: int, end: int) -> Tensor:
    return torch.arange(start, end, device="cpu")


def _runs(numbers: Tensor) -> list[tuple[int, int]]:
    """Neighbouring numbers as (first, after the last): filling a few stretches is cheaper than many single places."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers.tolist()):
        if runs and runs[-1][1] == number:
            runs[-1] = runs[-1][0], number + 1
        else:
            runs.append((number, number + 1))
    return runs


def _additive(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device="cpu").masked_fill_(~seen, float("-inf"))
