"""The oracle of the rolling cache: a decoder that keeps a list of tokens and computes everything anew for each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveagent.nn.decoder import Decoder, DecoderState, Layer
from liveagent.nn.rotary import rotate, rotations, turns


@dataclass
class Told:
    """A token as a list keeps it: what went in, and of every layer the key before rotation and the value `[H, hd]`."""

    row: Tensor
    time: float
    serial: int
    keys: list[Tensor]
    values: list[Tensor]


class Naive:
    """One lane, slow and obvious: no slots, no tables, no blocks. For each new token every kept key is turned from its
    raw one to the place it has in the list; attention is written out. What is evicted is deleted from the list."""

    def __init__(self, net: Decoder) -> None:
        self.net, self.told, self.written = net, list[Told](), 0

    def read(self, rows: Tensor, times: Collection[float]) -> Tensor:
        """Append rows `[n, D]`; the logits `[V]` after the last."""
        for row, time in zip(rows, times, strict=True):
            logits = self._one(row, time)
        return logits

    def evict(self, gone: Collection[int]) -> None:
        """Delete the tokens at these places of the list."""
        self.told = [each for at, each in enumerate(self.told) if at not in set(gone)]

    def rewind(self, length: int) -> None:
        if length < len(self.told):
            self.written = self.told[length].serial
            del self.told[length:]

    @classmethod
    def of(cls, net: Decoder, state: DecoderState, lane: int) -> Naive:
        """What a lane of a decoder without local windows holds, raw keys and values, in order."""
        naive = cls(net)
        for slot in state.order(lane).tolist():
            keys, values = (list(slab[lane, :, :, slot].clone()) for slab in (state.raw, state.values))
            time, serial = float(state.time[lane, slot]), int(state.serial[lane, slot])
            naive.told.append(Told(state.rows[lane, slot].clone(), time, serial, keys, values))
        naive.written = int(state.next_serial[lane])
        return naive

    def _one(self, row: Tensor, time: float) -> Tensor:
        net, config = self.net, self.net.config
        new = Told(row, time, self.written, [], [])
        before = self.told[-1].row if self.told else torch.zeros_like(row)
        self.told.append(new)
        self.written += 1
        x = (row + F.linear(before, net.before.weight))[None, None]
        for number, layer in enumerate(net.layers):
            assert isinstance(layer, Layer)
            window = config.window(number)
            query, key, value = (each[0, :, 0] for each in layer.project(x))
            new.keys.append(key)
            new.values.append(value)
            seen = [each for each in self.told if not window or each.serial > new.serial - window]
            places = [each.serial for each in seen] if window else list(range(len(seen)))
            table = turns(torch.tensor(places), config.head_width, config.rope_base)
            table = rotations(table, torch.tensor([each.time for each in seen]).double(), config.time_pairs)
            keys = rotate(torch.stack([each.keys[number] for each in seen], 1), table)
            values = torch.stack([each.values[number] for each in seen], 1)
            share = config.heads // config.key_heads
            keys, values = keys.repeat_interleave(share, 0), values.repeat_interleave(share, 0)
            asked = rotate(query[:, None], table[-1:])
            weights = torch.softmax(asked @ keys.transpose(1, 2) / config.head_width**0.5, -1)
            x = layer.finish(x, (weights @ values)[None])
        return net.logits(x[0, 0])
