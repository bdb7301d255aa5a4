"""A plain vision transformer: patches to tokens, pre-norm blocks, learned positions (Dosovitskiy et al. 2021).

A patch's embedding comes from that patch's own pixels only, by one linear layer or by a small convolutional stem that
stops at the patch's edge; so a patch that did not change keeps its embedding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn


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


class Stem(nn.Module):
    """Two strided 3 x 3 convolutions inside one patch, then a linear layer over what is left of it (convolutions first:
    Xiao et al., "Early convolutions help transformers see better", 2021)."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        c = config
        self.near = nn.Conv2d(3, c.stem, 3, stride=2, padding=1)
        self.far = nn.Conv2d(c.stem, 2 * c.stem, 3, stride=2, padding=1)
        self.out = nn.Linear(2 * c.stem * (c.patch_px // 4) ** 2, c.width)

    def forward(self, patches: Tensor) -> Tensor:
        """`patches [M, 3, P, P]` to `[M, D]`."""
        rows: Tensor = self.out(fn.gelu(self.far(fn.gelu(self.near(patches)))).flatten(1))
        return rows


class Flat(nn.Module):
    """A patch's pixels through one linear layer."""

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.out = nn.Linear(3 * config.patch_px**2, config.width)

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
        self.qkv = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width)
        self.up = nn.Linear(config.width, config.times * config.width)
        self.down = nn.Linear(config.times * config.width, config.width)

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


class Vit(nn.Module):
    """The whole transformer; see the module."""

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


def waves(side: int, width: int) -> Tensor:
    """`[side * side, width]` sines of row and column, where the learned positions begin: near patches start alike."""
    rate = 1.5 * 2.0 ** (-torch.arange(width // 4) * 6 / max(1, width // 4 - 1))
    angle = torch.arange(side)[:, None] * rate
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    both = torch.cat([wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)], dim=2)
    return both.reshape(side * side, width) * 0.5
