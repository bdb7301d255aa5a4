"""A plain vision transformer: patches to tokens, pre-norm blocks, learned positions (Dosovitskiy et al. 2021).

A patch's embedding comes from that patch's own pixels only, by one linear layer or by a small convolutional stem that
stops at the patch's edge; so a patch that did not change keeps its embedding.

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

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.keyframe import bucket
from liveagent.nn import lanes
from liveagent.nn.linear import Linear

MOVED = 0.15
PROBE = 4


@dataclass(frozen=True)
class VitConfig:
    """The sizes of a vision transformer. N = (image_px / patch_px) squared patches."""

    image_px: int = 128
    patch_px: int = 16
    width: int = 192
    layers: int = 4
    heads: int = 3
    times: int = 4
    """How much a feed-forward widens."""
    stem: int = 32
    """Channels of the stem that looks into a patch; 0: one linear layer."""

    @property
    def side(self) -> int:
        """Patches in a row."""
        return self.image_px // self.patch_px

    @property
    def patches(self) -> int:
        """N."""
        return self.side * self.side


VIT_B16 = VitConfig(image_px=224, width=768, layers=12, heads=12, stem=0)
"""The base size of Dosovitskiy et al. 2021."""


@dataclass
class VitState:
    """What the next picture is encoded from; lanes first, L layers."""

    stream: Tensor  # [B, L + 1, N, D] what enters each layer, and what leaves the last
    qkv: Tensor  # [B, L, N, 3 D]
    used: Tensor  # [B, asking layers, N, 2 D] what each token was last finished from: its input, what attention found
    size: Tensor  # [B, asking layers, N] the length of that when all tokens were last finished
    seen: Tensor  # [B] bool: there is something to go on from


class Stem(nn.Module):
    """Two strided 3 x 3 convolutions inside one patch, then a linear layer over what is left of it (convolutions first:
    Xiao et al., "Early convolutions help transformers see better", 2021)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        c = config
        self.near = nn.Conv2d(3, c.stem, 3, stride=2, padding=1)
        self.far = nn.Conv2d(c.stem, 2 * c.stem, 3, stride=2, padding=1)
        self.out = Linear(2 * c.stem * (c.patch_px // 4) ** 2, c.width)

    def forward(self, patches: Tensor) -> Tensor:
        """`patches [M, 3, P, P]` to `[M, D]`."""
        rows: Tensor = self.out(fn.gelu(self.far(fn.gelu(self.near(patches)))).flatten(1))
        return rows


class Flat(nn.Module):
    """A patch's pixels through one linear layer."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.out = Linear(3 * config.patch_px**2, config.width)

    def forward(self, patches: Tensor) -> Tensor:
        """`patches [M, 3, P, P]` to `[M, D]`."""
        rows: Tensor = self.out(patches.flatten(1))
        return rows


class VitLayer(nn.Module):
    """One pre-norm block, in two halves with the attention between them, so that a caller may choose its keys."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.heads, self.head_width = config.heads, config.width // config.heads
        self.norm_attend = nn.LayerNorm(config.width)
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width)
        self.up = Linear(config.width, config.times * config.width)
        self.down = Linear(config.times * config.width, config.width)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values `[B, H, N, hd]` of `x [B, N, D]`."""
        lanes, patches, _ = x.shape
        q, k, v = self.qkv(self.norm_attend(x)).view(lanes, patches, 3, self.heads, self.head_width).unbind(2)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add what attention `[B, H, N, hd]` found, then the feed-forward part."""
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        return x + self.down(fn.gelu(self.up(self.norm_feed(x))))

    def forward(self, x: Tensor) -> Tensor:
        """`x [B, N, D]`, every patch looking at every patch."""
        q, k, v = self.project(x)
        return self.finish(x, fn.scaled_dot_product_attention(q, k, v))

    def complete(self, x: Tensor, attended: Tensor, out: Tensor | None = None) -> Tensor:
        """`finish` for tokens `[k, D]` of one lane, of which attention found `[k, D]`; into `out` if given."""
        x = self.out(attended).add_(x)
        return torch.add(self.down(fn.gelu(self.up(self.norm_feed(x)))), x, out=out)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries `[1, H, k, hd]` over keys and values `[1, H, N, hd]` of one lane, to `[k, D]`."""
    return fn.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)[0]


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
        if c.image_px % c.patch_px or c.width % (4 * c.heads):
            raise ValueError(f"{c.image_px} px in patches of {c.patch_px}, {c.width} wide in {c.heads} heads: no fit")
        self.stem = Stem(c) if c.stem else Flat(c)
        self.positions = nn.Parameter(waves(c.side, c.width))
        self.blocks = nn.ModuleList(VitLayer(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        for block in self.blocks:
            assert isinstance(block, VitLayer)
            for linear in (block.qkv, block.out, block.up, block.down):
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
                nn.init.zeros_(linear.bias)
            for linear in (block.out, block.down):
                linear.weight.data *= (2 * c.layers) ** -0.5

    def cut(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to patches `[B, N, 3, P, P]` around nought, row by row."""
        c = self.config
        if pixels.shape[1:] != (3, c.image_px, c.image_px):
            raise ValueError(f"pixels: [B, 3, {c.image_px}, {c.image_px}], not {list(pixels.shape)}")
        light = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        cut = light.unflatten(3, (c.side, c.patch_px)).unflatten(2, (c.side, c.patch_px))  # [B, 3, row, P, col, P]
        return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2) * 4 - 2

    def embed(self, patches: Tensor) -> Tensor:
        """Patches `[B, N, 3, P, P]` to tokens `[B, N, D]`, without their positions."""
        rows: Tensor = self.stem(patches.flatten(0, 1))
        return rows.unflatten(0, patches.shape[:2])

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]` to tokens `[B, N, D]`, normed."""
        x = self.embed(self.cut(pixels)) + self.positions
        for block in self.blocks:
            x = block(x)
        tokens: Tensor = self.norm(x)
        return tokens

    def init_state(self, lanes: int) -> VitState:
        """State of `lanes` lanes that have seen nothing."""
        c = self.config
        return VitState(
            stream=torch.zeros(lanes, c.layers + 1, c.patches, c.width),
            qkv=torch.zeros(lanes, c.layers, c.patches, 3 * c.width),
            used=torch.zeros(lanes, -(-c.layers // self.probe), c.patches, 2 * c.width),
            size=torch.zeros(lanes, -(-c.layers // self.probe), c.patches),
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
        A lane that has seen nothing takes all patches."""
        tokens = torch.zeros_like(state.stream[:, -1])
        for lane, on in enumerate(active.tolist()):
            if on:
                tokens[lane] = self.look(pixels[lane], patches[lane], state, lane)
        return tokens

    @torch.no_grad()
    def look(self, pixels: Tensor, patches: Tensor, state: VitState, lane: int) -> Tensor:
        """`step` for one lane: `pixels [3, H, W]`, `patches [N]`, to tokens `[N, D]`."""
        count, of = int(patches.sum()), self.config.patches
        rows = bucket(count, of)
        if rows == of or not bool(state.seen[lane]):
            self._all(pixels, state, lane)
        elif count:
            self._some(pixels, patches.float().topk(rows, sorted=False).indices, state, lane)
        tokens: Tensor = self.norm(state.stream[lane, -1])
        return tokens

    def _asks(self, layer: int) -> int | None:
        """Where in the state a layer keeps what its tokens were finished from; None: it does not ask."""
        before_last = self.config.layers - 1 - layer
        return None if before_last % self.probe else before_last // self.probe

    def _heads(self, qkv: Tensor) -> tuple[Tensor, ...]:
        """Views of `[L, N, 3 D]` as queries, keys, values, each `[L, 1, H, N, hd]`."""
        heads = self.config.heads
        return qkv.view(len(qkv), 1, -1, 3, heads, self.config.width // heads).permute(3, 0, 1, 4, 2, 5).unbind()

    def _all(self, pixels: Tensor, state: VitState, lane: int) -> None:
        """Every token through every layer, and what the next picture needs kept."""
        stream, qkv, used = state.stream[lane].unbind(), state.qkv[lane], state.used[lane]
        q, k, v = (part.unbind() for part in self._heads(qkv))
        width = self.config.width
        torch.add(self.embed(self.cut(pixels[None]))[0], self.positions, out=stream[0])
        for i, block in enumerate(self.blocks):
            assert isinstance(block, VitLayer)
            qkv[i] = block.qkv(block.norm_attend(stream[i]))
            attended = attend(q[i], k[i], v[i])
            block.complete(stream[i], attended, out=stream[i + 1])
            if (kept := self._asks(i)) is not None:
                used[kept, :, :width], used[kept, :, width:] = stream[i], attended
        torch.linalg.vector_norm(used, dim=-1, out=state.size[lane])
        state.seen[lane] = True

    def _some(self, pixels: Tensor, rows: Tensor, state: VitState, lane: int) -> None:
        """The patches `rows [k]` anew, and in each layer that asks the tokens that have moved."""
        of, width = self.config.patches, self.config.width
        stream, qkv, used, size = (part[lane].unbind() for part in (state.stream, state.qkv, state.used, state.size))
        q, k, v = (part.unbind() for part in self._heads(state.qkv[lane]))
        x = self._embed_some(pixels, rows)
        stream[0].index_copy_(0, rows, x)
        for i, block in enumerate(self.blocks):
            fresh = block.qkv(block.norm_attend(x))
            qkv[i].index_copy_(0, rows, fresh)
            if (kept := self._asks(i)) is None:
                asking = fresh[:, :width].view(1, len(fresh), *q[i].shape[1::2]).transpose(1, 2)
                attended = attend(asking, k[i], v[i])
            else:
                now = torch.cat([stream[i], attend(q[i], k[i], v[i])], dim=1)
                apart = torch.linalg.vector_norm(now - used[kept], dim=1) / size[kept]
                # What is no number counts as moved, so that it heals with the next good picture.
                count = of - int((apart <= self.moved).sum())
                if not count:
                    return
                rows = apart.topk(self._room(count), sorted=False).indices
                now = now.index_select(0, rows)
                used[kept].index_copy_(0, rows, now)
                x, attended = now[:, :width], now[:, width:]
            x = block.complete(x, attended)
            stream[i + 1].index_copy_(0, rows, x)

    def _room(self, count: int) -> int:
        """How many tokens to finish when `count` have moved: a step's bucket, but a few that have moved least may wait
        (one in sixteen) rather than cost eight more rows; against their reference they only wait longer."""
        less = count // 8 * 8
        return bucket(less if self.moved and less and count - less <= count / 16 else count, self.config.patches)

    def _embed_some(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """Patches `rows [k]` of `pixels [3, H, W]` to tokens `[k, D]` with their positions."""
        c = self.config
        grid = pixels.unflatten(2, (c.side, c.patch_px)).unflatten(1, (c.side, c.patch_px)).permute(1, 3, 0, 2, 4)
        some = grid.flatten(0, 1).index_select(0, rows)
        light = some.float().mul_(4 / 255) if some.dtype == torch.uint8 else some * 4
        embedded: Tensor = self.stem(light.sub_(2))
        return embedded.add_(self.positions.index_select(0, rows))


def waves(side: int, width: int) -> Tensor:
    """`[side * side, width]` sines of row and column, where the learned positions begin: near patches start alike."""
    rate = 1.5 * 2.0 ** (-torch.arange(width // 4) * 6 / max(1, width // 4 - 1))
    angle = torch.arange(side)[:, None] * rate
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    both = torch.cat([wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)], dim=2)
    return both.reshape(side * side, width) * 0.5
