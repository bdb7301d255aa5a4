"""Pictures as they come from a camera: stamped once with when they were taken, newest wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.uint8]
"""`[H, W, 3]` RGB, upright."""


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One picture. `pixels`: `[H, W, 3]` uint8 RGB, upright; `t_ns`: capture time on the session's clock; `dropped`:
    how many pictures were taken between the one before and this one, and never shown to anybody (LAW 3)."""

    pixels: Pixels
    t_ns: int
    dropped: int = 0

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not shape[0] or not shape[1]:
            raise ValueError(f"pixels: [H, W, 3] uint8, not {self.pixels.dtype} {list(shape)}")


def resize(pixels: Pixels, height: int, width: int, letterbox: bool = False) -> Pixels:
    """`[H, W, 3]` -> `[height, width, 3]`, each new pixel the mean of the area it covers, rounded; exact, so the same
    everywhere. letterbox: keep the proportions and fill the rest with mid-grey. Enlarging repeats pixels."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if letterbox:
        scale = min(height / pixels.shape[0], width / pixels.shape[1])
        high = max(1, min(height, round(pixels.shape[0] * scale)))
        wide = max(1, min(width, round(pixels.shape[1] * scale)))
        whole = np.full((height, width, 3), 128, np.uint8)
        top, left = (height - high) // 2, (width - wide) // 2
        whole[top : top + high, left : left + wide] = resize(pixels, high, wide)
        return whole
    old_height, old_width = pixels.shape[:2]
    lines = _sums(pixels.reshape(old_height, old_width * 3), height, np.int32)  # each sum the mean times old_height
    turned = lines.reshape(height, old_width, 3).transpose(1, 0, 2).reshape(old_width, height * 3)
    total = _sums(np.ascontiguousarray(turned), width, np.int64)  # the mean times old_height and old_width
    area = old_height * old_width
    mean = ((total + area // 2) // area).astype(np.uint8)
    return np.ascontiguousarray(mean.reshape(width, height, 3).transpose(1, 0, 2))


def _sums(rows: NDArray[Any], count: int, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """[n, m] -> [count, m]: over n / count rows each, whole rows and parts of rows, weighted so that the weights are
    integers that sum to n."""
    n = len(rows)
    out = np.empty((count, rows.shape[1]), dtype)
    for i in range(count):
        start, end = i * n, (i + 1) * n  # in parts of a row, `count` to each
        first, last = start // count, (end - 1) // count
        if first == last:
            np.multiply(rows[first], end - start, out=out[i], dtype=dtype)
            continue
        np.add.reduce(rows[first + 1 : last], axis=0, dtype=dtype, out=out[i])
        out[i] *= count
        out[i] += np.multiply(rows[first], (first + 1) * count - start, dtype=dtype)
        out[i] += np.multiply(rows[last], end - last * count, dtype=dtype)
    return out
