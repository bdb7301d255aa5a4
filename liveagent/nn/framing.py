"""How a picture of any size becomes one of the size that an eye was trained on.

`Budget` keeps the proportions and spends what a picture may cost, `Stretch` makes every picture the same square, `Crop`
takes the square in the middle. What shrinks is smoothed first (Catmull and Rom's cubic, as wide as it shrinks); on
bytes, so that a detector of change sees what the eye sees. The numbers are those of torchvision's resizing of byte
tensors, which is the same operation; Pillow's differ by up to two steps of 255 in some pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as fn

from liveagent.video import Pixels

Filter = Literal["bilinear", "bicubic"]


@dataclass(frozen=True)
class Budget:
    """The largest sides that keep the proportions, are whole groups of `group` by `group` patches and make no more than
    `patches` of them; a small picture is enlarged. A very long picture is one group high and no longer than it is."""

    patches: int
    patch_px: int = 16
    group: int = 1
    filter: Filter = "bicubic"

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what becomes of a picture of `height` x `width` px."""
        step, area = self.group * self.patch_px, self.patches * self.patch_px**2
        if min(height, width) < 1 or self.patches < self.group**2:
            raise ValueError(f"{height} x {width} px in {self.patches} patches: there must be something to see")
        by = math.sqrt(area / (height * width))
        high, wide = (int(side * by / step) * step for side in (height, width))
        longest = self.patches // self.group**2
        if not high:
            high, wide = step, min(width // height, longest) * step
        elif not wide:
            high, wide = min(height // width, longest) * step, step
        return high, wide

    def frame(self, pixels: Pixels | Tensor) -> Tensor:
        """`[H, W, 3]` to `[3, height, width]`, bytes."""
        return _resized(pixels, *self.sides(*pixels.shape[:2]), self.filter)


@dataclass(frozen=True)
class Stretch:
    """A square of `px`, whatever the proportions were."""

    px: int
    filter: Filter = "bicubic"

    def frame(self, pixels: Pixels | Tensor) -> Tensor:
        """`[H, W, 3]` to `[3, px, px]`, bytes."""
        return _resized(pixels, self.px, self.px, self.filter)


@dataclass(frozen=True)
class Crop:
    """The shorter side becomes `short_px`, then the square of `px` in the middle is taken; black where there is less.
    fill: with which colour the picture is made a square first, so that nothing is cut off; (): it is not."""

    px: int
    short_px: int
    filter: Filter = "bicubic"
    fill: tuple[int, ...] = ()

    def frame(self, pixels: Pixels | Tensor) -> Tensor:
        """`[H, W, 3]` to `[3, px, px]`, bytes."""
        picture = _own(pixels)
        if self.fill:
            longest = max(picture.shape[:2])
            square = torch.tensor(self.fill, dtype=torch.uint8).expand(longest, longest, 3).clone()
            top, left = ((longest - side) // 2 for side in picture.shape[:2])
            square[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
            picture = square
        sides = picture.shape[:2]
        high, wide = (self.short_px * side // min(sides) for side in sides)
        small = _resized(picture, high, wide, self.filter)
        lack = [max(0, self.px - side) for side in (wide, high)]
        small = fn.pad(small, [part for each in lack for part in (each // 2, each - each // 2)])
        top, left = ((side - self.px) // 2 for side in small.shape[1:])
        return small[:, top : top + self.px, left : left + self.px]


Framing: TypeAlias = Budget | Stretch | Crop


def _resized(pixels: Pixels | Tensor, height: int, width: int, by: Filter) -> Tensor:
    picture = _own(pixels).permute(2, 0, 1)
    if tuple(picture.shape[1:]) == (height, width):
        return picture
    return fn.interpolate(picture[None], (height, width), mode=by, antialias=True)[0]


def _own(pixels: Pixels | Tensor) -> Tensor:
    """A camera's buffer may be written again, or not be for writing; what is kept of it is a copy."""
    return pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels.copy())
