"""The key/value cache of the decoder: one fixed slab for all lanes, with a write pointer for each."""

from __future__ import annotations

import torch
from torch import Tensor

from liveagent.errors import ConfigError


class KVCache:
    """Keys and values of every layer, for B lanes of S slots, in buffers that are allocated once.

    `keys` (rotated, what attention reads), `raw` (the same keys before rotation) and `values` are `[L, B, H, S, hd]`
    float32; `position` `[B, S]` int64 says at which place of the token order a slot stands, `length` `[B]` int64 how
    many slots of a lane are in use, `fork_at` `[B]` where a lane's scratch branch starts, or -1.

    A dead slot is zero: a NaN behind an attention mask would still poison the row. Raw keys are kept so that a hole in
    the middle of a lane can be closed later by rotating what is older from its raw keys, which is exact at any age;
    rotating stored keys again and again drifts.
    """

    def __init__(self, layers: int, lanes: int, heads: int, slots: int, head_width: int) -> None:
        shape = (layers, lanes, heads, slots, head_width)
        self.keys = torch.zeros(shape)
        self.raw = torch.zeros(shape)
        self.values = torch.zeros(shape)
        self.position = torch.zeros(lanes, slots, dtype=torch.long)
        self.length = torch.zeros(lanes, dtype=torch.long)
        self.fork_at = torch.full((lanes,), -1, dtype=torch.long)

    @property
    def lanes(self) -> int:
        return self.keys.shape[1]

    @property
    def slots(self) -> int:
        return self.keys.shape[3]

    def room(self, lane: int) -> int:
        """How many more tokens the lane can hold."""
        return self.slots - int(self.length[lane])

    def put(self, layer: int, lane: int, at: int, keys: Tensor, raw: Tensor, values: Tensor) -> None:
        """Write `[H, n, hd]` into slots `at .. at+n`; `advance` makes them count once every layer has written."""
        end = at + keys.shape[1]
        self.keys[layer, lane, :, at:end] = keys
        self.raw[layer, lane, :, at:end] = raw
        self.values[layer, lane, :, at:end] = values

    def seen(self, layer: int, lane: int, extent: int) -> tuple[Tensor, Tensor]:
        """Keys and values `[1, H, extent, hd]` of one lane, as views: nothing is copied."""
        return self.keys[layer, lane : lane + 1, :, :extent], self.values[layer, lane : lane + 1, :, :extent]

    def advance(self, lane: int, count: int) -> None:
        """Move the write pointer over `count` slots that every layer has just written."""
        start = int(self.length[lane])
        first = int(self.position[lane, start - 1]) + 1 if start else 0
        self.position[lane, start : start + count] = torch.arange(first, first + count)
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
        for slab in (self.keys, self.raw, self.values):
            slab[:, lane, :, length:old] = 0.0
        self.position[lane, length:old] = 0
        self.length[lane] = length
        if int(self.fork_at[lane]) > length:
            self.fork_at[lane] = -1

    def fork(self, lane: int) -> int:
        """Start a scratch branch at the write pointer; what is appended from here is gone after `drop`."""
        if int(self.fork_at[lane]) >= 0:
            raise ConfigError(f"lane {lane} has a scratch branch already: drop or keep it first")
        self.fork_at[lane] = self.length[lane]
        return int(self.length[lane])

    def drop(self, lane: int) -> None:
        """Forget the scratch branch; the lane is as it was at `fork`, to the bit."""
        start = self._branch(lane)
        self.fork_at[lane] = -1
        self.rewind(lane, start)

    def keep(self, lane: int) -> None:
        """The scratch branch was right: it becomes the lane."""
        self._branch(lane)
        self.fork_at[lane] = -1

    def _branch(self, lane: int) -> int:
        start = int(self.fork_at[lane])
        if start < 0:
            raise ConfigError(f"lane {lane} has no scratch branch: fork first")
        return start

    def reset(self, lane: int) -> None:
        """Empty one lane. Whole rows are zeroed, so that not even a NaN stays behind."""
        for slab in (self.keys, self.raw, self.values):
            slab[:, lane] = 0.0
        self.position[lane] = 0
        self.length[lane] = 0
        self.fork_at[lane] = -1

    def copy_lane(self, src: int, dst_cache: KVCache, dst: int) -> None:
        """Make lane `dst` of `dst_cache` (this cache or another of the same shape) a clone of lane `src`."""
        length = int(self.length[src])
        if length > dst_cache.slots:
            raise ConfigError(f"{length} slots do not fit into a cache of {dst_cache.slots}")
        if dst_cache is self and src == dst:
            return
        dst_cache.reset(dst)
        for name in ("keys", "raw", "values"):
            getattr(dst_cache, name)[:, dst, :, :length] = getattr(self, name)[:, src, :, :length]
        dst_cache.position[dst, :length] = self.position[src, :length]
        dst_cache.length[dst] = length
        dst_cache.fork_at[dst] = self.fork_at[src]

    def tensors(self) -> dict[str, Tensor]:
        """Every buffer by name: what a snapshot of all lanes has to keep."""
        return {name: getattr(self, name) for name in ("keys", "raw", "values", "position", "length", "fork_at")}
