"""Pictures of any size: scaled exactly, and cut into the tiles that waste least."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from liveagent.tiles import cut, grid
from liveagent.video import Pixels, resize


def picture(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def weights(old: int, new: int) -> list[list[Fraction]]:
    """How much of each old pixel lies in each new one, as a share of the new one."""
    edges = [Fraction(i * old, new) for i in range(new + 1)]
    return [[max(Fraction(0), min(b, Fraction(j + 1)) - max(a, Fraction(j))) / (b - a) for j in range(old)]
            for a, b in zip(edges, edges[1:], strict=False)]  # fmt: skip


@pytest.mark.parametrize("old, new", [((9, 7), (4, 3)), ((5, 8), (5, 4)), ((3, 4), (7, 9)), ((1, 1), (3, 2))])
def test_every_new_pixel_is_the_mean_of_its_area(old: tuple[int, int], new: tuple[int, int]) -> None:
    pixels = picture(*old)
    down, across = weights(old[0], new[0]), weights(old[1], new[1])
    small = resize(pixels, *new)
    assert small.dtype == np.uint8 and small.shape == (*new, 3)
    for y in range(new[0]):
        for x in range(new[1]):
            for c in range(3):
                mean = sum(down[y][i] * across[x][j] * int(pixels[i, j, c])
                           for i in range(old[0]) for j in range(old[1]))  # fmt: skip
                assert small[y, x, c] == int(mean + Fraction(1, 2))  # rounded, a half upwards


def test_whole_factors_are_block_means_and_the_same_size_is_the_same() -> None:
    pixels = picture(480, 640)
    assert resize(pixels, 480, 640) is pixels
    blocks = pixels.reshape(120, 4, 160, 4, 3).mean(axis=(1, 3))
    assert np.array_equal(resize(pixels, 120, 160), np.floor(blocks + 0.5))


@pytest.mark.parametrize("height, width", [(2160, 3840), (1, 5000), (5000, 1), (1080, 1920)])
def test_large_and_odd_pictures_keep_their_mean(height: int, width: int) -> None:
    pixels = picture(height, width)
    small = resize(pixels, 128, 128)
    assert small.shape == (128, 128, 3) and abs(float(small.mean()) - float(pixels.mean())) < 0.2


def test_letterbox_keeps_proportions() -> None:
    white = np.full((100, 200, 3), 255, np.uint8)
    boxed = resize(white, 128, 128, letterbox=True)
    assert (boxed[32:96] == 255).all() and (boxed[:32] == 128).all() and (boxed[96:] == 128).all()
    thin = resize(np.zeros((1, 5000, 3), np.uint8), 16, 16, letterbox=True)
    assert int((thin == 0).all(axis=(1, 2)).sum()) == 1


@pytest.mark.parametrize(
    "height, width, most, expected",
    [
        (128, 128, 6, (0, 0)),
        (20, 100, 6, (0, 0)),
        (256, 256, 6, (2, 2)),
        (128, 256, 6, (1, 2)),
        (1080, 1920, 6, (2, 3)),
        (1920, 1080, 6, (3, 2)),
        (128, 5000, 6, (1, 6)),
        (4000, 60, 4, (4, 1)),
        (300, 300, 1, (0, 0)),
        (129, 128, 6, (2, 1)),
    ],
)
def test_the_grid_keeps_most_and_wastes_least(height: int, width: int, most: int, expected: tuple[int, int]) -> None:
    assert grid(height, width, 128, most) == expected


def test_no_grid_would_have_kept_more() -> None:
    """Against a slow, obvious search."""
    rng = np.random.default_rng(1)
    for _ in range(40):
        height, width, most = int(rng.integers(1, 3000)), int(rng.integers(1, 3000)), int(rng.integers(2, 10))
        rows, cols = grid(height, width, 128, most)
        if not rows:
            assert height <= 128 and width <= 128
            continue

        def kept(rows: int, cols: int, height: int = height, width: int = width) -> Fraction:
            scale = min(Fraction(rows * 128, height), Fraction(cols * 128, width))
            return min(Fraction(1), scale * scale)

        best = max(kept(r, c) for r in range(1, most + 1) for c in range(1, most // r + 1))
        assert rows * cols <= most and kept(rows, cols) > best * Fraction(95, 100)


def test_tiles_are_the_picture_in_order() -> None:
    pixels = picture(256, 384)
    tiles = cut(pixels, 128, 6)
    assert (tiles.rows, tiles.cols, len(tiles)) == (2, 3, 7)
    assert np.array_equal(tiles.tiles[4], pixels[128:256, 128:256])
    assert np.array_equal(tiles.overview, resize(pixels, 128, 128))
    assert tiles.stacked().shape == (7, 128, 128, 3)


def test_a_small_picture_is_its_overview() -> None:
    tiles = cut(picture(50, 60), 128)
    assert len(tiles) == 1 and tiles.stacked().shape == (1, 128, 128, 3)


@pytest.mark.parametrize("height, width, px, most", [(0, 5, 128, 4), (5, 5, 0, 4), (5, 5, 128, 0)])
def test_no_picture_has_no_tiles(height: int, width: int, px: int, most: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        grid(height, width, px, most)
