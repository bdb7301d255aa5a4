"""A picture brought to another size with a smoothing filter as wide as it shrinks.

The numbers are those of torchvision's resizing of byte tensors, which eyes were trained on: first along lines, then
along columns, bytes in between, weights in 16-bit fixed point. Here in numpy, so that a process without torch does it
too; whole numbers in doubles, so that the result is the same everywhere. Filters: Catmull and Rom's cubic, and a tent.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from liveagent.video import Pixels

Filter = Literal["bilinear", "bicubic"]
REACH: dict[Filter, float] = {"bilinear": 1.0, "bicubic": 2.0}
"""How far a filter reaches to each side, in pixels of the smaller of both pictures."""
MOST_BITS = 22
BLOCK = 16
"""So many lines of the new picture are made by one product, of the few old ones that they lie over."""


def rescale(pixels: Pixels, height: int, width: int, by: Filter = "bicubic") -> Pixels:
    """`[H, W, 3]` to `[height, width, 3]`. The same pixels where that is their size already."""
    if pixels.shape[1] != width:
        pixels = _lines(pixels.transpose(1, 0, 2), width, by).transpose(1, 0, 2)
    if pixels.shape[0] != height:
        pixels = _lines(pixels, height, by)
    return np.ascontiguousarray(pixels)


def _lines(pixels: NDArray[np.uint8], count: int, by: Filter) -> NDArray[np.uint8]:
    """`[n, m, 3]` to `[count, m, 3]`."""
    n, m = pixels.shape[:2]
    flat = np.ascontiguousarray(pixels).reshape(n, m * 3)
    made = np.empty((count, m * 3), np.uint8)
    for start, end, first, weights, bits in _blocks(n, count, by):
        total = weights @ flat[first : first + weights.shape[1]].astype(np.float64)
        made[start:end] = np.clip(np.floor(np.ldexp(total + 2.0 ** (bits - 1), -bits)), 0, 255)
    return made.reshape(count, m, 3)


@lru_cache(maxsize=64)
def _blocks(n: int, count: int, by: Filter) -> tuple[tuple[int, int, int, NDArray[np.float64], int], ...]:
    return tuple(_weighed(n, count, by))


def _weighed(n: int, count: int, by: Filter) -> Iterator[tuple[int, int, int, NDArray[np.float64], int]]:
    """New lines from, up to, the first old line that they lie over, their weights `[lines, old lines]` as whole
    numbers, and how many bits of these are behind the point."""
    scale = n / count
    wide = max(scale, 1.0)
    found = []
    for line in range(count):
        centre = scale * (line + 0.5)
        first = max(int(centre - REACH[by] * wide + 0.5), 0)
        last = min(int(centre + REACH[by] * wide + 0.5), n)
        weights = _filter((np.arange(first, last) - centre + 0.5) / wide, by)
        found.append((first, weights / weights.sum()))
    most, bits = max(float(weights.max()) for _, weights in found), 0
    while bits < MOST_BITS and int(0.5 + most * (1 << (bits + 1))) < 1 << 15:
        bits += 1
    for start in range(0, count, BLOCK):
        lines = found[start : start + BLOCK]
        first, last = lines[0][0], max(at + len(weights) for at, weights in lines)
        block = np.zeros((len(lines), last - first))
        for row, (at, weights) in zip(block, lines, strict=True):
            whole = np.trunc(np.ldexp(weights, bits) + np.where(weights < 0, -0.5, 0.5))
            row[at - first : at - first + len(weights)] = whole
        yield start, start + len(lines), first, block, bits


def _filter(x: NDArray[Any], by: Filter) -> NDArray[np.float64]:
    x = np.abs(x)
    if by == "bilinear":
        return np.maximum(1.0 - x, 0.0)
    near, far = (1.5 * x - 2.5) * x * x + 1.0, ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
