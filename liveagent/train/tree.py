"""Rows of a batch as one tree: the prompt that they share is read once, and what hangs on a row as an aside or a probe
sees its own way to the root and nothing else.

A long prompt is most of a row's tokens; read once for a batch, every row can have it. Attention is written out here
because on a CPU in bfloat16 two products and a softmax take half the time of the fused kernel with a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from liveagent.nn.block import Block
from liveagent.nn.decoder import Decoder
from liveagent.nn.rotary import rotate, rotations
from liveagent.train.dialogues import Row

LEAST_STEM = 16
"""A shared beginning shorter than this is not worth a pass of its own."""


def shared_tokens(rows: Sequence[Row]) -> int:
    """How many first tokens all rows share, as far as nothing is predicted or seen there; 0 for a single row."""
    if len(rows) < 2:
        return 0
    first = rows[0]
    bounds = [min(len(row.ids) for row in rows) - 1]
    for row in rows:
        bounds += [next((i for i, weight in enumerate(row.weights) if weight), len(row.ids))]
        bounds += [at for at, _ in row.cells[:1]] + [at for at, _, _ in row.mixes[:1]]
        bounds += [after for after, _ in row.leaves[:1]] + [start for start, _ in row.asides[:1]]
    shared, most = 0, min(bounds)
    while shared < most and all(
        row.ids[shared] == first.ids[shared] and row.times[shared] == first.times[shared] for row in rows
    ):
        shared += 1
    return shared if shared >= LEAST_STEM else 0


@dataclass
class Tree:
    """N = P + B S places: the P of the stem, then S of each of B branches, which are what comes after the stem in every
    row and its probes behind that.

    `parents [N]`: the place before each on its way, -1 for the root. `positions [N]` in order, `times [N]` in seconds
    (float64). `mask [B, S, P + S]`: whom a branch's places see.
    """

    stem: int
    lanes: int
    parents: Tensor
    positions: Tensor
    times: Tensor
    mask: Tensor

    @classmethod
    def of(cls, rows: Sequence[Row], stem: int, trunk: int, leaf: int) -> Tree:
        """Of rows that are padded to `trunk` tokens and `leaf` probes each and share their first `stem` tokens."""
        lanes, size = len(rows), trunk - stem + leaf
        parents = torch.zeros(lanes, trunk + leaf, dtype=torch.long)
        places = torch.zeros(lanes, trunk + leaf, dtype=torch.long)
        times = torch.zeros(lanes, trunk + leaf, dtype=torch.float64)
        aside = torch.zeros(lanes, trunk + leaf, dtype=torch.long)  # which one a place belongs to, 0: none
        upto = torch.arange(trunk + leaf).repeat(lanes, 1)
        for b, row in enumerate(rows):
            n = len(row.ids)
            before, at = list(range(-1, trunk - 1)), torch.ones(trunk, dtype=torch.long)
            for number, (first, end) in enumerate(row.asides, 1):
                aside[b, first:end] = number
                at[first:end] = 0
                if end < trunk:
                    before[end] = before[first]
            at = at.cumsum(0) - 1
            for first, end in row.asides:
                at[first:end] = int(at[first]) + torch.arange(1, end - first + 1)
            parents[b, :trunk], places[b, :trunk] = torch.tensor(before), at
            times[b, :n] = torch.tensor(row.times, dtype=torch.float64)
            for p, (after, _) in enumerate(row.leaves, trunk):
                parents[b, p], places[b, p], times[b, p] = after, int(at[after]) + 1, row.times[after]
                aside[b, p], upto[b, p] = aside[b, after], after
        order = torch.arange(trunk + leaf)
        mask = (order <= upto[:, stem:, None]) & ((aside[:, None] == 0) | (aside[:, None] == aside[:, stem:, None]))
        mask[:, :, trunk:] = False
        mask |= order == order[stem:, None]
        offsets = stem + torch.arange(lanes)[:, None] * size
        branch = parents[:, stem:]
        branch = torch.where(branch < stem, branch, branch - stem + offsets)
        return cls(
            stem,
            lanes,
            torch.cat([parents[0, :stem], branch.flatten()]),
            torch.cat([places[0, :stem], places[:, stem:].flatten()]),
            torch.cat([times[0, :stem], times[:, stem:].flatten()]),
            mask,
        )

    def pack(self, rows: Tensor) -> Tensor:
        """`[B, T, …]` of whole rows to `[N, …]`."""
        return torch.cat([rows[0, : self.stem], rows[:, self.stem :].flatten(0, 1)])

    def unpack(self, packed: Tensor) -> Tensor:
        """`[N, …]` to `[B, T, …]`."""
        branches = packed[self.stem :].unflatten(0, (self.lanes, -1))
        return torch.cat([packed[: self.stem].expand(self.lanes, *packed[: self.stem].shape), branches], dim=1)


def hidden(
    net: Decoder,
    rows: Tensor,
    tree: Tree,
    only: Tensor | None = None,
    attended: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """The decoder's hidden rows `[N, D]` of input rows `[N, D]`, or those where `only [N]` is true, none of them in the
    stem. `attended` is told every layer's number, how the branches score what they may see, `[B, H, M, P + S]`
    (attention is its softmax), and which of these M rows a branch's place has, `[B, S]`."""
    config, stem, lanes = net.config, tree.stem, tree.lanes
    assert not any(config.windows) and config.key_heads == config.heads
    x = rows + net.before(rows[tree.parents.clamp_min(0)] * (tree.parents >= 0)[:, None])
    turned = net._table(int(tree.positions.max()) + 1)[tree.positions]
    table = rotations(turned, tree.times, config.time_pairs)[None, None]
    bias = torch.zeros(tree.mask.shape).masked_fill_(~tree.mask, float("-inf"))[:, None]
    x = x[None]
    rows_of = torch.arange(tree.mask.shape[1]).expand(lanes, -1)
    for number, layer in enumerate(net.layers):
        assert isinstance(layer, Block)
        q, k, v = layer.project(x)
        assert k is not None and v is not None
        q, k = rotate(q, table).to(v.dtype), rotate(k, table).to(v.dtype)
        queries = q[0, :, stem:].unflatten(1, (lanes, -1)).transpose(0, 1)
        keys, values = (_beside(each, stem, lanes) for each in (k, v))
        wanted = None
        if only is not None and layer is net.layers[-1]:  # what nobody wants need not look any more
            wanted = only[stem:].view(lanes, -1)
            first = (~wanted).long().argsort(dim=1, stable=True)[:, : int(wanted.sum(1).max())]
            queries = queries.gather(2, first[:, None, :, None].expand(-1, queries.shape[1], -1, queries.shape[3]))
            bias = bias.gather(2, first[:, None, :, None].expand(-1, -1, -1, bias.shape[3]))
            rows_of = torch.zeros_like(rows_of).scatter(1, first, torch.arange(first.shape[1]).expand_as(first))
            wanted = wanted.gather(1, first)
        scores = (queries * layer.head_width**-0.5) @ keys.transpose(-1, -2)
        scores = scores + bias.to(scores.dtype)
        if attended is not None:
            attended(number, scores, rows_of)
        found = scores.softmax(-1).to(values.dtype) @ values
        if wanted is not None:
            return layer.finish(x[0, only], found.transpose(1, 2)[wanted].flatten(1))
        seen = found.transpose(0, 1).flatten(1, 2)[None]
        if stem:
            root = F.scaled_dot_product_attention(q[:, :, :stem], k[:, :, :stem], v[:, :, :stem], is_causal=True)
            seen = torch.cat([root, seen], dim=2)
        x = layer.finish(x, seen.transpose(1, 2).flatten(2))
    return x[0]


def _beside(each: Tensor, stem: int, lanes: int) -> Tensor:
    """Keys or values `[1, H, N, hd]` as `[B, H, P + S, hd]`: the stem's in front of each branch's."""
    branches = each[0, :, stem:].unflatten(1, (lanes, -1)).transpose(0, 1)
    return torch.cat([each[:, :, :stem].expand(lanes, -1, -1, -1), branches], dim=2) if stem else branches
