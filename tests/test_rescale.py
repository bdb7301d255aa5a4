"""A picture brought to another size: torchvision's numbers, without torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as fn

from liveagent.rescale import Filter, rescale


@pytest.mark.parametrize("by", ["bilinear", "bicubic"])
def test_it_gives_torchvisions_bytes(by: Filter) -> None:
    rng = np.random.default_rng(3)
    for _ in range(40):
        height, width, high, wide = (int(side) for side in rng.integers(1, 200, 4))
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        theirs = fn.interpolate(
            torch.from_numpy(pixels).permute(2, 0, 1)[None], (high, wide), mode=by, antialias=True
        )[0].permute(1, 2, 0)  # what torchvision calls for bytes
        assert np.array_equal(rescale(pixels, high, wide, by), theirs.numpy()), (height, width, high, wide)


def test_edges_do_not_wrap_around() -> None:
    """A cubic overshoots beside an edge: black stays black and white white."""
    pixels = np.zeros((20, 20, 3), np.uint8)
    pixels[:, 10:] = 255
    made = rescale(pixels, 33, 47)
    assert made[:, :20].max() < 30 and made[:, 27:].min() > 225
