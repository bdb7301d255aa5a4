"""A vision transformer: patches to tokens, blocks, learned positions (Dosovitskiy et al. 2021). One network for nano's
eye and for the towers of checkpoints; `VitConfig` says how they differ.

A patch's embedding comes from that patch's own pixels only (liveagent/nn/patches.py); so a patch that did not change
keeps its embedding. Pictures are squares of one size, or of any shape that is whole patches; none is padded, since each
is encoded for itself. The class token, where there is one, stands behind the patches.

`step` encodes a picture from the one before. Every layer remembers its tokens' queries, keys and values, and what it
made of them. A token that enters a layer anew is projected anew, its query sees all keys, and it goes on through the
feed-forward. The last layer and every fourth before it ask all tokens: all queries see all keys, which is cheap beside
the rest, and those tokens go on whose input or whose attention has moved by more than a share of its size, against what
they were last finished from and not against the picture before, so that small movements add up until they are let
through (the token reference of Eventful Transformers, Dutson et al. 2023). Asked in every layer, and with a share of 0,
that gives the numbers of `forward`.

Each lane is stepped for itself, at 8 rows or more, so a step's shape depends on that lane alone (LAW 2). On a CPU a
quarter of the patches of four lanes at once would cost two lanes' time instead of four, but such a step would always
have to hold all lanes: with five pictures in 12.5 ticks, less than half of them would have something to look at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liveagent.keyframe import bucket
from liveagent.nn import lanes
from liveagent.nn import patches as cutter
from liveagent.nn.linear import Linear
from liveagent.nn.patches import Flat, Scale, Stem, waves
from liveagent.nn.vit_config import VitConfig
from liveagent.nn.vit_layer import Turned, VitLayer, norm, turned

MOVED = 0.15
PROBE = 4


@dataclass
class VitState:
    """What the next picture is encoded from; lanes first, L layers."""

    stream: Tensor  # [B, L + 1, N, D] what enters each layer, and what leaves the last
    qkv: Tensor  # [B, L, N, (H + 2 KV) hd]
    used: Tensor  # [B, asking layers, N, D + H hd] what each token was last finished from: input, what attention found
    size: Tensor  # [B, asking layers, N] the length of that when all tokens were last finished
    grid: Tensor  # [B, 2] int64: rows and columns of the picture that was seen last
    seen: Tensor  # [B] bool: there is something to go on from


class Vit(nn.Module):
    """The whole transformer; see the module.

    moved: the share of its size that a token's input may move by before `step` finishes the token anew. probe: every
    so many layers, the last among them, all tokens are asked. 0 and 1 give the numbers of `forward`. Set both before
    `init_state`.
    """

    moved = MOVED
    probe = PROBE

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        c = self.config = config
        c.check()
        self.stem = Stem(c) if c.stem else Flat(c)
        self.light = Scale(c.mean, c.std)
        self.positions = nn.Parameter(_places(c))
        self.extra = nn.Parameter(torch.zeros(1, c.width)) if c.class_token else None
        self.norm_first = norm(c, c.width) if c.norm_first else None
        self.blocks = nn.ModuleList(VitLayer(c) for _ in range(c.layers))
        self.norm = norm(c, c.width) if c.norm_last else nn.Identity()
        for block in self.blocks:
            assert isinstance(block, VitLayer)
            for part in (block.qkv, block.out, block.up, block.down):
                by = (2 * c.layers) ** -0.5 if part in (block.out, block.down) else 1.0
                for linear in part.modules():
                    if isinstance(linear, Linear):
                        nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
                        linear.weight.data *= by
                        if linear.bias is not None:
                            nn.init.zeros_(linear.bias)

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of pictures `[..., 3, H, W]`. ValueError: not such as this was made for."""
        c, (colours, high, wide) = self.config, pixels.shape[-3:]
        if c.image_px:
            if (colours, high, wide) != (3, c.image_px, c.image_px):
                raise ValueError(f"pixels: [B, 3, {c.image_px}, {c.image_px}], not {list(pixels.shape)}")
            return c.side, c.side
        rows, cols = high // c.patch_px, wide // c.patch_px
        fits = 0 < rows * cols <= c.most and max(rows, cols) <= c.axes
        if colours != 3 or high % c.patch_px or wide % c.patch_px or not fits:
            most = f"at most {c.most} whole patches of {c.patch_px} px"
            raise ValueError(f"pixels: [B, 3, H, W] of {most}, not {list(pixels.shape)}")
        return rows, cols

    def cut(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to patches `[B, N, 3, P, P]` around nought, row by row."""
        self.grid(pixels)
        return cutter.cut(self.light.whole(pixels), self.config.patch_px)

    def embed(self, patches: Tensor) -> Tensor:
        """Patches `[B, N, 3, P, P]` to tokens `[B, N, D]`, without their positions."""
        rows: Tensor = self.stem(patches.flatten(0, 1).to(self.positions.dtype))
        return rows.unflatten(0, patches.shape[:2])

    def begin(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` to what enters the first layer, `[B, N, D]`."""
        x = self.embed(self.cut(pixels))
        if self.extra is not None:
            x = torch.cat([x, self.extra.expand(len(x), 1, -1)], dim=1)
        places: Tensor = self.positions
        if self.config.axes:
            rows, cols = self.grid(pixels)
            places = (self.positions[1, :rows, None] + self.positions[0, :cols]).flatten(0, 1)
        x = x + places
        return x if self.norm_first is None else self.norm_first(x)

    def turned(self, rows: int, cols: int) -> Turned:
        """What places turn queries and keys by."""
        c, like = self.config, self.positions
        if not c.rope:
            return None
        cos, sin = turned(rows, cols, c.head_width, c.rope, like.device)
        return cos.to(like.dtype), sin.to(like.dtype)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` to tokens `[B, N, D]`, normed."""
        x, places, outputs = self.begin(pixels), self.turned(*self.grid(pixels)), self.config.outputs
        stream = {0: x}
        for i, block in enumerate(self.blocks, 1):
            x = block(x, places)
            if i in outputs:
                stream[i] = x
        return self._taken(stream) if outputs else self._normed(x)

    def _normed(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.norm(x)
        return tokens

    def _taken(self, stream: Mapping[int, Tensor]) -> Tensor:
        """Of what was left after each layer, what `outputs` asks for."""
        return torch.cat([stream[i] for i in self.config.outputs], dim=-1)

    def init_state(self, lanes: int, patches: int | None = None) -> VitState:
        """State of `lanes` lanes that have seen nothing. patches: the most that a picture will have, where that is less
        than what this was made for."""
        c, zeros = self.config, self.positions.detach().new_zeros
        tokens, asking = (patches or c.patches) + c.class_token, -(-c.layers // self.probe)
        return VitState(
            stream=zeros(lanes, c.layers + 1, tokens, c.width),
            qkv=zeros(lanes, c.layers, tokens, sum(c.parts)),
            used=zeros(lanes, asking, tokens, c.width + c.parts[0]),
            size=zeros(lanes, asking, tokens),
            grid=torch.zeros(lanes, 2, dtype=torch.int64),
            seen=torch.zeros(lanes, dtype=torch.bool),
        )

    def reset(self, state: VitState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: VitState, src: int, dst_state: VitState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    def step(self, pixels: Tensor, patches: Tensor, state: VitState, active: Tensor) -> Tensor:
        """One picture a lane: `pixels [B, 3, H, W]`, of which `patches [B, N]` (bool) are encoded anew, to tokens
        `[B, N, D]`, normed. `state` moves on in place, in `active` [B] rows only; the other rows' tokens mean nothing.
        A lane that has seen nothing, or nothing of this shape, takes all patches."""
        wide = self.config.width * max(1, len(self.config.outputs))
        tokens = state.stream.new_zeros(len(pixels), patches.shape[1] + self.config.class_token, wide)
        for lane, on in enumerate(active.tolist()):
            if on:
                tokens[lane] = self.look(pixels[lane], patches[lane], state, lane)
        return tokens

    def knows(self, pixels: Tensor, state: VitState, lane: int) -> bool:
        """Whether the lane has seen a picture of the shape of `pixels [3, H, W]`, so that it may go on from there."""
        if not bool(state.seen[lane]):
            return False
        return bool(self.config.image_px) or state.grid[lane].tolist() == list(self.grid(pixels))

    @torch.no_grad()
    def look(self, pixels: Tensor, patches: Tensor, state: VitState, lane: int) -> Tensor:
        """`step` for one lane: `pixels [3, H, W]`, `patches [N]`, to tokens `[N, D]`."""
        grid, room = self.grid(pixels), state.stream.shape[2] - self.config.class_token
        of = grid[0] * grid[1]
        if len(patches) != of or of > room:
            raise ValueError(f"a picture of {of} patches, {len(patches)} flags, a state for {room}")
        count = int(patches.sum())
        rows = bucket(count, of)
        if rows == of or not self.knows(pixels, state, lane):
            self._all(pixels, grid, state, lane)
        elif count:
            chosen = patches.float().topk(rows, sorted=False).indices
            self._some(pixels, grid, chosen.to(pixels.device), state, lane)
        stream = state.stream[lane, :, : of + self.config.class_token]
        if self.config.outputs:
            return self._taken(dict(enumerate(stream.unbind())))
        return self._normed(stream[-1])

    def _asks(self, layer: int) -> int | None:
        """Where in the state a layer keeps what its tokens were finished from; None: it does not ask."""
        before_last = self.config.layers - 1 - layer
        return None if before_last % self.probe else before_last // self.probe

    def _heads(self, qkv: Tensor) -> tuple[tuple[Tensor, ...], ...]:
        """Views of `[L, N, (H + 2 KV) hd]`: of each layer the queries, the keys, the values, `[1, heads, N, hd]`."""
        first = self.blocks[0]
        assert isinstance(first, VitLayer)
        q, k, v = first.split(qkv[:, None])
        return q.unbind(), k.unbind(), v.unbind()

    def _kept(self, state: VitState, lane: int, of: int) -> tuple[Tensor, ...]:
        """The lane's part of the state but for its last two, for a picture of so many tokens."""
        parts = (state.stream[lane], state.qkv[lane], state.used[lane], state.size[lane])
        return parts if of == parts[0].shape[1] else tuple(part[:, :of] for part in parts)

    def _all(self, pixels: Tensor, grid: tuple[int, int], state: VitState, lane: int) -> None:
        """Every token through every layer, and what the next picture needs kept."""
        of, width = grid[0] * grid[1] + self.config.class_token, self.config.width
        held, qkv, used, size = self._kept(state, lane, of)
        stream, (q, k, v) = held.unbind(), self._heads(qkv)
        places = self.turned(*grid)
        stream[0].copy_(self.begin(pixels[None])[0])
        for i, block in enumerate(self.blocks):
            assert isinstance(block, VitLayer)
            qkv[i] = block.project(stream[i], places)
            attended = block.attend(q[i], k[i], v[i])[0]
            block.complete(stream[i], attended, out=stream[i + 1])
            if (kept := self._asks(i)) is not None:
                used[kept, :, :width], used[kept, :, width:] = stream[i], attended
        torch.linalg.vector_norm(used, dim=-1, out=size)
        if not self.config.image_px:
            state.grid[lane, 0], state.grid[lane, 1] = grid
        state.seen[lane] = True

    def _some(self, pixels: Tensor, grid: tuple[int, int], rows: Tensor, state: VitState, lane: int) -> None:
        """The patches `rows [k]` anew, and in each layer that asks the tokens that have moved."""
        of, width = grid[0] * grid[1] + self.config.class_token, self.config.width
        held = self._kept(state, lane, of)
        q, k, v = self._heads(held[1])
        stream, qkv, used, size = (part.unbind() for part in held)
        places = self.turned(*grid)
        x, here = self._embed_some(pixels, rows), _of(places, rows)
        stream[0].index_copy_(0, rows, x)
        for i, block in enumerate(self.blocks):
            assert isinstance(block, VitLayer)
            fresh = block.project(x, here)
            qkv[i].index_copy_(0, rows, fresh)
            if (kept := self._asks(i)) is None:
                attended = block.attend(block.queries(fresh), k[i], v[i])[0]
            else:
                now = torch.cat([stream[i], block.attend(q[i], k[i], v[i])[0]], dim=1)
                apart = torch.linalg.vector_norm(now - used[kept], dim=1) / size[kept]
                # What is no number counts as moved, so that it heals with the next good picture.
                count = of - int((apart <= self.moved).sum())
                if not count:
                    return
                rows = apart.topk(self._room(count, of), sorted=False).indices
                now, here = now.index_select(0, rows), _of(places, rows)
                used[kept].index_copy_(0, rows, now)
                x, attended = now[:, :width], now[:, width:]
            x = block.complete(x, attended)
            stream[i + 1].index_copy_(0, rows, x)

    def _room(self, count: int, of: int) -> int:
        """How many tokens to finish when `count` have moved: a step's bucket, but a few that have moved least may wait
        (one in sixteen) rather than cost eight more rows; against their reference they only wait longer."""
        less = count // 8 * 8
        return bucket(less if self.moved and less and count - less <= count / 16 else count, of)

    def _embed_some(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """Patches `rows [k]` of `pixels [3, H, W]` to tokens `[k, D]` with their positions."""
        c = self.config
        some = self.light.few(cutter.cut(pixels, c.patch_px).index_select(0, rows))
        embedded: Tensor = self.stem(some.to(self.positions.dtype))
        if c.axes:
            cols = pixels.shape[-1] // c.patch_px
            across = self.positions[0].index_select(0, rows % cols)
            embedded.add_(self.positions[1].index_select(0, rows // cols).add_(across))
        else:
            embedded.add_(self.positions.index_select(0, rows))
        return embedded if self.norm_first is None else self.norm_first(embedded)


def _of(places: Turned, rows: Tensor) -> Turned:
    """The same of some tokens."""
    return None if places is None else (places[0].index_select(0, rows), places[1].index_select(0, rows))


def _places(c: VitConfig) -> Tensor:
    """Where the learned positions begin."""
    if c.axes:
        return torch.zeros(2, c.axes, c.width)
    if c.class_token or c.width % 4:
        return torch.zeros(c.tokens, c.width)
    return waves(c.side, c.width)
