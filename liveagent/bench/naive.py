"""The oracle of the rolling cache: a decoder that keeps a list of tokens and computes everything anew for each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from liveagent.nn.block import Block
from liveagent.nn.rotary import rotate, rotations, turns
from liveagent.nn.stack import DecoderState, Stack


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

    def __init__(self, net: Stack) -> None:
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
    def of(cls, net: Stack, state: DecoderState, lane: int) -> Naive:
        """What a lane holds, raw keys and values, in order. Layers with a window keep no raw keys: theirs are turned
        back from their serials; what has left their ring is zero, and no token sees so far back."""
        naive = cls(net)
        for slot in state.order(lane).tolist():
            time, serial = float(state.time[lane, slot]), int(state.serial[lane, slot])
            told = Told(state.rows[lane, slot].clone(), time, serial, [], [])
            for number, block in enumerate(net.shape.blocks):
                place = net.shape.places[number]
                if block.keys_from is not None:
                    key, value = told.keys[block.keys_from], told.values[block.keys_from]
                elif not block.window:
                    key, value = (slab[lane, place, :, slot].clone() for slab in (state.raw, state.values))
                else:
                    key, value = cls._near(net, state, lane, place, told)
                told.keys.append(key)
                told.values.append(value)
            naive.told.append(told)
        naive.written = int(state.next_serial[lane])
        return naive

    @staticmethod
    def _near(net: Stack, state: DecoderState, lane: int, place: int, told: Told) -> tuple[Tensor, Tensor]:
        cell = told.serial % state.ring
        key, value = (slab[lane, place, :, cell].clone() for slab in (state.near_keys, state.near_values))
        if int(state.near[lane, cell]) != told.serial:
            return torch.zeros_like(key), torch.zeros_like(value)
        table = turns(torch.tensor([told.serial]), key.shape[-1], net.shape.near_rope)
        table = rotations(table, torch.tensor([told.time]).double(), net.shape.time_pairs)
        return rotate(key[:, None], table * torch.tensor([1.0, -1.0]))[:, 0], value

    def _one(self, row: Tensor, time: float) -> Tensor:
        net, shape = self.net, self.net.shape
        new = Told(row, time, self.written, [], [])
        before = self.told[-1].row if self.told else torch.zeros_like(row)
        self.told.append(new)
        self.written += 1
        x = net.enter(row[None, None], before[None, None])
        inputs = net.layer_inputs(row[None, None], x)
        for number, layer in enumerate(net.layers):
            assert isinstance(layer, Block)
            block = shape.blocks[number]
            query, key, value = (None if each is None else each[0, :, 0] for each in layer.project(x))
            assert query is not None
            new.keys.append(new.keys[block.keys_from or 0] if key is None else key)
            new.values.append(new.values[block.keys_from or 0] if value is None else value)
            seen = [each for each in self.told if not block.window or each.serial > new.serial - block.window]
            places = [each.serial for each in seen] if block.window else list(range(len(seen)))
            table = turns(torch.tensor(places), block.head_width, shape.near_rope if block.window else shape.rope)
            table = rotations(table, torch.tensor([each.time for each in seen]).double(), shape.time_pairs)
            keys = rotate(torch.stack([each.keys[number] for each in seen], 1), table)
            values = torch.stack([each.values[number] for each in seen], 1)
            share = block.heads // block.kv_heads
            keys, values = keys.repeat_interleave(share, 0), values.repeat_interleave(share, 0)
            asked = rotate(query[:, None], table[-1:])
            scale = block.head_width**-0.5 if block.scale is None else block.scale
            weights = torch.softmax(asked @ keys.transpose(1, 2) * scale, -1)
            found = (weights @ values).flatten()[None, None]
            x = layer.finish(x, found, None if inputs is None else inputs[number])
        return net.logits(x[0, 0])
