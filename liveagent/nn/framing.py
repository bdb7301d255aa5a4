"""How a picture of any size becomes one of the size that an eye was trained on.

`Budget` keeps the proportions and spends what a picture may cost, `Stretch` makes every picture the same square, `Crop`
takes the square in the middle. What shrinks is smoothed first (liveagent/rescale.py); on bytes, so that a detector of
change sees what the eye sees. The numbers are torchvision's; Pillow's differ by up to two steps of 255 in some pixels,
and by up to fifteen where a picture grows one way and shrinks the other. Nothing here needs torch but `frame`: a
conversation brings its pictures to size where no network is.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from liveagent.rescale import Filter, rescale
from liveagent.video import Pixels

if TYPE_CHECKING:
    from torch import Tensor


class _Framing(ABC):
    @abstractmethod
    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what becomes of a picture of `height` x `width` px."""

    @abstractmethod
    def small(self, pixels: Pixels) -> Pixels:
        """`[H, W, 3]` to `[height, width, 3]`, never the camera's own buffer: that may be written again."""

    def frame(self, pixels: Pixels | Tensor) -> Tensor:
        """`[H, W, 3]` to `[3, height, width]`, bytes."""
        import torch

        return torch.from_numpy(self.small(np.asarray(pixels))).permute(2, 0, 1)


@dataclass(frozen=True)
class Budget(_Framing):
    """The largest sides that keep the proportions, are whole groups of `group` by `group` patches and make no more than
    `patches` of them; a small picture is enlarged. A very long picture is one group high and no longer than it is."""

    patches: int
    patch_px: int = 16
    group: int = 1
    filter: Filter = "bicubic"

    def sides(self, height: int, width: int) -> tuple[int, int]:
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

    def small(self, pixels: Pixels) -> Pixels:
        return _sized(pixels, *self.sides(*pixels.shape[:2]), self.filter)


@dataclass(frozen=True)
class Stretch(_Framing):
    """A square of `px`, whatever the proportions were."""

    px: int
    filter: Filter = "bicubic"

    def sides(self, height: int, width: int) -> tuple[int, int]:
        return self.px, self.px

    def small(self, pixels: Pixels) -> Pixels:
        return _sized(pixels, self.px, self.px, self.filter)


@dataclass(frozen=True)
class Crop(_Framing):
    """The shorter side becomes `short_px`, then the square of `px` in the middle is taken; black where there is less.
    fill: with which colour the picture is made a square first, so that nothing is cut off; (): it is not."""

    px: int
    short_px: int
    filter: Filter = "bicubic"
    fill: tuple[int, ...] = ()

    def sides(self, height: int, width: int) -> tuple[int, int]:
        return self.px, self.px

    def small(self, pixels: Pixels) -> Pixels:
        if self.fill:
            longest = max(pixels.shape[:2])
            square = np.empty((longest, longest, 3), np.uint8)
            square[:] = self.fill
            top, left = ((longest - side) // 2 for side in pixels.shape[:2])
            square[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
            pixels = square
        high, wide = (self.short_px * side // min(pixels.shape[:2]) for side in pixels.shape[:2])
        small = _sized(pixels, high, wide, self.filter)
        lack = [max(0, self.px - side) for side in small.shape[:2]]
        small = np.pad(small, [(each // 2, each - each // 2) for each in lack] + [(0, 0)])
        top, left = ((side - self.px) // 2 for side in small.shape[:2])
        return small[top : top + self.px, left : left + self.px].copy()


Framing: TypeAlias = Budget | Stretch | Crop


def _sized(pixels: Pixels, height: int, width: int, by: Filter) -> Pixels:
    made = rescale(pixels, height, width, by)
    return made.copy() if np.shares_memory(made, pixels) else made
