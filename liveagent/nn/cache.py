"""The key/value cache of the decoder: one fixed slab for all lanes, with a write pointer for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from liveagent.errors import ConfigError


@dataclass
class KVCache:
    """Keys and values of every layer, for B lanes of S slots, in buffers that are allocated once. Lanes come first.

    `keys` (rotated, what attention reads) and `values` are `[B, L, S, H, hd]`, `raw` (the keys before rotation)
    `[B, S, L, H, hd]`, `rows` (what went in) `[B, S, D]`, all float32; `position` `[B, S]` int64 says at which place of
    the token order a slot stands, `time` `[B, S]` float64 when it came, in seconds; `length` `[B]` int64 how many slots
    of a lane are in use, `fork_at` `[B]` where a lane's scratch branch starts, counted from 1; 0 is none.

    A dead slot is zero: a NaN behind an attention mask would still poison the row. Raw keys are kept so that a hole in
    the middle of a lane can be closed later by rotating what is older from its raw keys, which is exact at any age;
    rotating stored keys again and again drifts. Rows are kept because the next token's input looks back at one.
    """

    keys: Tensor
    values: Tensor
    raw: Tensor
    rows: Tensor
    position: Tensor
    time: Tensor
    length: Tensor
    fork_at: Tensor

    @classmethod
    def empty(cls, layers: int, lanes: int, heads: int, slots: int, head_width: int) -> Self:
        return cls(
            keys=torch.zeros(lanes, layers, slots, heads, head_width),
            values=torch.zeros(lanes, layers, slots, heads, head_width),
            raw=torch.zeros(lanes, slots, layers, heads, head_width),
            rows=torch.zeros(lanes, slots, heads * head_width),
            position=torch.zeros(lanes, slots, dtype=torch.long),
            time=torch.zeros(lanes, slots, dtype=torch.float64),
            length=torch.zeros(lanes, dtype=torch.long),
            fork_at=torch.zeros(lanes, dtype=torch.long),
        )

    @property
    def lanes(self) -> int:
        return self.keys.shape[0]

    @property
    def slots(self) -> int:
        return self.keys.shape[2]

    def room(self, lane: int) -> int:
        """How many more tokens the lane can hold."""
        return self.slots - int(self.length[lane])

    def places(self, lane: int, count: int) -> tuple[range, range]:
        """Where a lane's next `count` tokens go: counted through all slots of all lanes, and through all lanes' layers
        (of layer 0; layer l is l * S further)."""
        start, layers = int(self.length[lane]), self.keys.shape[1]
        plain, deep = lane * self.slots + start, lane * layers * self.slots + start
        return range(plain, plain + count), range(deep, deep + count)

    def put(self, at: Tensor, keys: Tensor, values: Tensor) -> None:
        """Write rows `[n, H, hd]` of one layer. `put` and `put_raw` only fill slots past the write pointers; `advance`
        makes them count."""
        self.keys.flatten(0, 2).index_copy_(0, at, keys)
        self.values.flatten(0, 2).index_copy_(0, at, values)

    def put_raw(self, at: Tensor, keys: Tensor, rows: Tensor) -> None:
        """Write the unrotated keys `[n, L, H, hd]` of all layers and the input rows `[n, D]`."""
        self.raw.flatten(0, 1).index_copy_(0, at, keys)
        self.rows.flatten(0, 1).index_copy_(0, at, rows)

    def last_row(self, lane: int) -> Tensor | None:
        """The input row `[D]` in front of the write pointer; None for an empty lane."""
        length = int(self.length[lane])
        return self.rows[lane, length - 1] if length else None

    def seen(self, lane: int, extent: int) -> list[tuple[Tensor, Tensor]]:
        """A lane's first `extent` slots: for each layer keys and values `[1, H, extent, hd]`, as views."""
        keys = self.keys[lane : lane + 1, :, :extent].transpose(2, 3).unbind(1)
        return list(zip(keys, self.values[lane : lane + 1, :, :extent].transpose(2, 3).unbind(1), strict=True))

    def advance(self, lane: int, count: int, times: Tensor | None = None) -> None:
        """Move the write pointer over `count` slots that every layer has just written, of tokens that came at `times
        [count]` (None: 0 s)."""
        start = int(self.length[lane])
        first = int(self.position[lane, start - 1]) + 1 if start else 0
        self.position[lane, start : start + count] = torch.arange(first, first + count)
        self.time[lane, start : start + count] = 0.0 if times is None else times
        self.length[lane] = start + count

    def next_position(self, lane: int) -> int:
        """The place in the token order that the next token of the lane gets."""
        length = int(self.length[lane])
        return int(self.position[lane, length - 1]) + 1 if length else 0

    def rewind(self, lane: int, length: int) -> None:
        """Take back: forget every slot from `length` on, and zero it. ConfigError when the lane holds fewer."""
        old = int(self.length[lane])
        if not 0 <= length <= old:
            raise ConfigError(f"cannot rewind lane {lane} to {length}: it holds {old} slots")
        for slab in self._lane(lane):
            slab[length:old] = 0.0
        self.position[lane, length:old] = 0
        self.time[lane, length:old] = 0
        self.length[lane] = length
        if int(self.fork_at[lane]) > length + 1:
            self.fork_at[lane] = 0

    def fork(self, lane: int) -> int:
        """Start a scratch branch at the write pointer; what is appended from here is gone after `drop`."""
        if self.fork_at[lane]:
            raise ConfigError(f"lane {lane} has a scratch branch already: drop or keep it first")
        self.fork_at[lane] = self.length[lane] + 1
        return int(self.length[lane])

    def drop(self, lane: int) -> None:
        """Forget the scratch branch; the lane is as it was at `fork`, to the bit."""
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

    def reset(self, lane: int) -> None:
        """Empty one lane. Whole rows are zeroed, so that not even a NaN stays behind."""
        for slab in self._lane(lane):
            slab.zero_()
        self.position[lane] = 0
        self.time[lane] = 0
        self.length[lane] = 0
        self.fork_at[lane] = 0

    def copy_lane(self, src: int, dst_cache: KVCache, dst: int) -> None:
        """Make lane `dst` of `dst_cache` (this cache or another of the same shape) a clone of lane `src`."""
        length = int(self.length[src])
        if length > dst_cache.slots:
            raise ConfigError(f"{length} slots do not fit into a cache of {dst_cache.slots}")
        if dst_cache is self and src == dst:
            return
        dst_cache.reset(dst)
        for ours, theirs in zip(self._lane(src), dst_cache._lane(dst), strict=True):
            theirs[:length] = ours[:length]
        dst_cache.position[dst, :length] = self.position[src, :length]
        dst_cache.time[dst, :length] = self.time[src, :length]
        dst_cache.length[dst] = length
        dst_cache.fork_at[dst] = self.fork_at[src]

    def _lane(self, lane: int) -> list[Tensor]:
        """Everything of one lane that is stored by slot, as views with the slot first."""
        return [self.keys[lane].transpose(0, 1), self.values[lane].transpose(0, 1), self.raw[lane], self.rows[lane]]
