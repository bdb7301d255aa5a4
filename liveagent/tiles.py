"""A picture of any size as pictures of one size: the whole, scaled down, and tiles of it (Liu et al., "LLaVA-NeXT",
2024: any resolution). The grid of tiles is the one that keeps most of the picture's own pixels and then wastes least.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveagent.sight import PICTURE_PX
from liveagent.video import Pixels, resize


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """`overview`: `[px, px, 3]`, the whole picture, stretched to a square as nano's eye is used to; `tiles`: `[rows *
    cols, px, px, 3]`, row by row, none where the overview shows all there is."""

    overview: Pixels
    tiles: NDArray[np.uint8]
    rows: int
    cols: int

    def __len__(self) -> int:
        """Pictures to encode."""
        return 1 + len(self.tiles)

    def stacked(self) -> NDArray[np.uint8]:
        """`[1 + rows * cols, px, px, 3]`, the overview first."""
        return np.concatenate([self.overview[None], self.tiles])


def grid(height: int, width: int, px: int = PICTURE_PX, most: int = 6) -> tuple[int, int]:
    """Rows and columns of tiles of `px` for a picture of `height` x `width`, at most `most` of them; (0, 0) for one
    that fits into a single tile."""
    if min(height, width, px) < 1 or most < 1:
        raise ValueError(f"{height} x {width} in at most {most} tiles of {px} px: all must be at least 1")
    if (height <= px and width <= px) or most == 1:
        return 0, 0
    best, choice = (-1, 0), (0, 0)
    for rows in range(1, most + 1):
        for cols in range(1, most // rows + 1):
            high, wide = _fitted(height, width, rows * px, cols * px)
            kept = min(high * wide, height * width)
            worth = (kept, kept - rows * cols * px * px)
            if rows * cols > 1 and worth > best:
                best, choice = worth, (rows, cols)
    return choice


def cut(pixels: Pixels, px: int = PICTURE_PX, most: int = 6) -> Tiles:
    """The picture in tiles, its proportions kept; what it does not fill is mid-grey."""
    rows, cols = grid(pixels.shape[0], pixels.shape[1], px, most)
    tiles = np.empty((0, px, px, 3), np.uint8)
    if rows:
        whole = resize(pixels, rows * px, cols * px, letterbox=True)
        tiles = whole.reshape(rows, px, cols, px, 3).transpose(0, 2, 1, 3, 4).reshape(-1, px, px, 3)
    return Tiles(resize(pixels, px, px), tiles, rows, cols)


def _fitted(height: int, width: int, most_high: int, most_wide: int) -> tuple[int, int]:
    """Height and width of the picture inside that frame, proportions kept, exact in whole numbers."""
    if height * most_wide <= width * most_high:
        return max(1, height * most_wide // width), most_wide
    return most_high, max(1, width * most_high // height)
