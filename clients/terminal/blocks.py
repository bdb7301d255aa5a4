"""Pictures in a terminal: each character cell shows two pixels, one above the other, as "▀" in two colours."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from liveagent.video import Pixels, resize

BLOCK = "▀"
STEP = 8  # levels of a colour are rounded to these, so that neighbours are alike and few styles are made


def block_lines(pixels: Pixels, rows: int, cols: int) -> list[list[Segment]]:
    """`[H, W, 3]` as `rows` lines of `cols` cells."""
    small = resize(pixels, 2 * rows, cols)
    levels = (np.minimum(small.astype(np.int32) + STEP // 2, 255) // STEP * STEP).reshape(rows, 2, cols, 3)
    code = (levels[..., 0] << 16) | (levels[..., 1] << 8) | levels[..., 2]
    return [_line(upper.tolist(), lower.tolist()) for upper, lower in code]


def _line(upper: list[int], lower: list[int]) -> list[Segment]:
    segments: list[Segment] = []
    begin = 0
    for at in range(1, len(upper) + 1):
        if at == len(upper) or (upper[at], lower[at]) != (upper[begin], lower[begin]):
            segments.append(Segment(BLOCK * (at - begin), _style(upper[begin], lower[begin])))
            begin = at
    return segments


@lru_cache(maxsize=4096)
def _style(upper: int, lower: int) -> Style:
    return Style(color=_color(upper), bgcolor=_color(lower))


def _color(code: int) -> Color:
    return Color.from_rgb(code >> 16, code >> 8 & 255, code & 255)
