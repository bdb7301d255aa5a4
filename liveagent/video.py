"""Pictures as they come from a camera: stamped once with when they were taken, newest wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

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
