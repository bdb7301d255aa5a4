"""From a picture to patches, and from a patch to a token: what stands before a vision transformer's first layer.

A patch's embedding comes from that patch's own pixels only, by one linear layer or by a small convolutional stem that
stops at the patch's edge; so a patch that did not change keeps its embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.nn.linear import Linear
from liveagent.nn.vit_config import VitConfig


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
        self.out = Linear(3 * config.patch_px**2, config.width, bias=config.stem_bias)

    def forward(self, patches: Tensor) -> Tensor:
        """`patches [M, 3, P, P]` to `[M, D]`."""
        rows: Tensor = self.out(patches.flatten(1))
        return rows


class Scale:
    """Bytes, or light from 0 to 1, to the numbers that a network was trained on: less a mean, over a deviation."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.alike = len(set(mean)) == len(set(std)) == 1
        self.gain, self.shift = 1 / std[0], mean[0] / std[0]
        self.gains = torch.tensor([[[1 / each]] for each in std], device="cpu")
        self.shifts = torch.tensor([[[m / s]] for m, s in zip(mean, std, strict=True)], device="cpu")

    def whole(self, pixels: Tensor) -> Tensor:
        """`[..., 3, H, W]`."""
        light = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        if self.alike:
            return light * self.gain - self.shift
        return light * self.gains.to(light.device) - self.shifts.to(light.device)

    def few(self, pixels: Tensor) -> Tensor:
        """As `whole`, for the few patches of a live step: a pass over them less."""
        if not self.alike:
            return self.whole(pixels)
        light = pixels.float().mul_(self.gain / 255) if pixels.dtype == torch.uint8 else pixels * self.gain
        return light.sub_(self.shift)


def cut(pixels: Tensor, patch_px: int) -> Tensor:
    """Pictures `[..., 3, H, W]` to patches `[..., N, 3, P, P]`, row by row; a view where that is possible. What makes
    no whole patch, at the right and below, is left out."""
    *lead, colours, high, wide = pixels.shape
    rows, cols = high // patch_px, wide // patch_px
    if high % patch_px or wide % patch_px:
        pixels = pixels[..., : rows * patch_px, : cols * patch_px]
    grid, n = pixels.view(*lead, colours, rows, patch_px, cols, patch_px), len(lead)
    return grid.permute(*range(n), n + 1, n + 3, n, n + 2, n + 4).flatten(n, n + 1)


def waves(side: int, width: int) -> Tensor:
    """`[side * side, width]` sines of row and column, where the learned positions begin: near patches start alike."""
    rate = 1.5 * 2.0 ** (-torch.arange(width // 4) * 6 / max(1, width // 4 - 1))
    angle = torch.arange(side)[:, None] * rate
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    both = torch.cat([wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)], dim=2)
    return both.reshape(side * side, width) * 0.5
