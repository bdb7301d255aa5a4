"""One lane's part of a live pass of the decoder: where its tokens are written, and what they see."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from liveagent.nn.block import BlockConfig
from liveagent.nn.cache import KVCache, Spot


class View:
    """Made for one pass, after the lane's next tokens have their spot; the masks are of all its layers."""

    def __init__(self, at: Spot, state: KVCache, blocks: Sequence[BlockConfig], ahead: Tensor | None = None) -> None:
        """`blocks`: what the layers are, which says how many heads ask and how far back they see. `ahead [count]`: how
        many tokens behind it each sees in layers with a window."""
        self.at, self.state, self.device = at, state, state.keys.device
        self.share = {bool(block.window): block.heads // block.kv_heads for block in blocks}
        self.slots, self.cells = at.slots.to(self.device), at.cells.to(self.device)
        self.only = int(at.slots[0]) if at.count == 1 else None
        # Views made once: a slice of a slab costs as much as a small product.
        lane = at.lane
        self.deep = [slab[lane].unbind() for slab in (state.keys, state.raw, state.values)]  # [H, S, hd] of each layer
        self.near = [slab[lane].unbind() for slab in (state.near_keys, state.near_values)]
        here = slice(lane, lane + 1)  # and as far as attention looks, [1, H, extent, hd]
        self.seen = [slab[here, :, :, : at.extent].unbind(1) for slab in (state.keys, state.values)]
        self.near_seen = [slab[here, :, :, : at.reach].unbind(1) for slab in (state.near_keys, state.near_values)]
        windows = sorted({block.window for block in blocks} - {0})
        self.masks = {window: self._mask(state.near_mask(at, window, ahead), True) for window in windows}
        mask = state.mask(at)
        self.mask = None if mask is None else self._mask(mask, False)

    def _mask(self, mask: Tensor, near: bool) -> Tensor:
        """Heads that share keys stand as more rows of the same head."""
        share = self.share.get(near, 1)
        return (mask if share == 1 else mask.repeat_interleave(share, dim=0)).to(self.device, self.state.keys.dtype)

    def put(self, layer: int, keys: Tensor, raw: Tensor, values: Tensor) -> None:
        """Rows `[n, H, hd]` of a layer that sees everything."""
        for slab, part in zip(self.deep, (keys, raw, values), strict=True):
            if self.only is None:
                slab[layer].index_copy_(1, self.slots, part.transpose(0, 1))
            else:
                slab[layer].select(1, self.only).copy_(part[0])

    def put_near(self, layer: int, keys: Tensor, values: Tensor) -> None:
        for slab, part in zip(self.near, (keys, values), strict=True):
            slab[layer].index_copy_(1, self.cells, part.transpose(0, 1))

    def put_rows(self, rows: Tensor) -> None:
        self.state.rows[self.at.lane].index_copy_(0, self.slots, rows)

    def attend(self, queries: Tensor, window: int, layer: int, scale: float | None = None) -> Tensor:
        """Queries `[n, H, hd]` of the last n tokens to what they find, `[n, H, hd]`, in one fused call."""
        n, share = len(queries), self.share[bool(window)]
        keys, values = (slab[layer] for slab in (self.near_seen if window else self.seen))
        mask = self.masks[window] if window else self.mask
        if n < self.at.count and mask is not None:
            mask = mask[-n * share :]
        if share == 1:
            asked = queries.transpose(0, 1)[None]
            found = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scale)
            return found[0].transpose(0, 1)
        asked = queries.unflatten(1, (-1, share)).permute(1, 0, 2, 3).flatten(1, 2)[None]
        found = F.scaled_dot_product_attention(asked, keys, values, attn_mask=mask, scale=scale)[0]
        return found.view(-1, n, share, found.shape[-1]).permute(1, 0, 2, 3).flatten(1, 2)
