"""Pictures of anything but the toy table: gradients, clouds, noise, writing, stripes, faces, one colour."""

from __future__ import annotations

import math

import numpy as np

from liveagent.shapes import Field
from liveagent.sight import PICTURE_PX


def other(rng: np.random.Generator) -> tuple[Field, float]:
    """Light `[128, 128, 3]`, and 0 where it might be a bare table after all, else 1."""
    px = PICTURE_PX
    x, y = np.meshgrid(np.linspace(0, 1, px, dtype=np.float32), np.linspace(0, 1, px, dtype=np.float32))
    a, b = rng.random(3, np.float32), rng.random(3, np.float32)
    kind, weight = int(rng.integers(8)), 1.0
    if kind == 0:
        angle = rng.uniform(0, 2 * math.pi)
        mix = np.clip(0.5 + (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle), 0, 1)
        light = a + (b - a) * mix[:, :, None]
    elif kind in (1, 2):
        light = np.zeros((px, px, 3), np.float32)
        for octave in range(2, 7 if kind == 1 else 4):
            n = (1 << octave) + 1
            knots = rng.standard_normal((n, n, 1 if rng.random() < 0.6 else 3)).astype(np.float32)
            light = light + _grow(knots, px) * 0.5 ** (0.7 * octave)
        light = np.clip(a + light * rng.uniform(0.4, 1.6) * (b - 0.3), 0, 1)
    elif kind == 3:
        knots = rng.random((int(rng.integers(4, 128)),) * 2 + (int(rng.choice((1, 3))),), np.float32)
        step = np.arange(px) * len(knots) // px
        light = a + (b - a) * knots[step][:, step]
    elif kind == 4:
        light = np.empty((px, px, 3), np.float32)
        light[:] = 0.85 + 0.15 * a
        high = int(rng.integers(3, 9))
        ink = b * 0.3
        for top in range(int(rng.integers(2, 10)), px - high, high * 2):
            at = int(rng.integers(2, 10))
            while at < px - 8 and rng.random() < 0.97:
                width = int(rng.integers(1, high))
                light[top : top + high, at : at + width] = ink
                light[top + 1 + int(rng.integers(high)) : top + high - 1, at + 1 : at + width] = 0.9
                at += width + int(rng.integers(1, 4 if rng.random() < 0.8 else 10))
    elif kind == 5:
        angle, often = rng.uniform(0, math.pi), rng.uniform(8, 90)
        wave = np.sin((x * math.cos(angle) + y * math.sin(angle)) * often)
        if rng.random() < 0.5:
            wave = wave * np.sin((y * math.cos(angle) - x * math.sin(angle)) * often)
        light = a + (b - a) * np.clip(0.5 + wave * rng.uniform(0.5, 5), 0, 1)[:, :, None]
    elif kind == 6:
        light = np.empty((px, px, 3), np.float32)
        light[:] = a + (b - a) * y[:, :, None]
        skin = np.array((0.85, 0.65, 0.52), np.float32) * np.float32(rng.uniform(0.4, 1.1))
        cx, cy, r = rng.uniform(0.35, 0.65), rng.uniform(0.35, 0.55), rng.uniform(0.17, 0.34)
        spots: list[tuple[float, float, float, float, Field]] = [
            (0, 1.9, 1.5, 0.95, b),
            (0, -0.25, 1.05, 1.15, b * 0.3),
            (0, 0, 0.8, 1.1, skin),
            (0, 0.55, 0.3, 0.1, skin * 0.5),
        ]
        spots += [(side * 0.33, -0.2, 0.13, 0.09, skin * 0.2) for side in (-1.0, 1.0)]
        for dx, dy, wide, tall, colour in spots:
            d = np.hypot((x - cx - dx * r) / (wide * r), (y - cy - dy * r) / (tall * r))
            cover = np.clip((1 - d) * 12, 0, 1)[:, :, None]
            light += (colour * (1.1 - 0.3 * d[:, :, None]) - light) * cover
    else:
        light = np.broadcast_to(a, (px, px, 3)).astype(np.float32)
        weight = 0.0 if np.ptp(a) < 0.25 else 1.0  # a dull colour may be a bare table
    return np.asarray(light, np.float32), weight


def _grow(knots: Field, px: int) -> Field:
    """`[n, n, c]` to `[px, px, c]` in straight lines."""
    place = np.linspace(0, len(knots) - 1.001, px)
    low = place.astype(np.int64)
    part = (place - low).astype(np.float32)
    rows = knots[low] * (1 - part)[:, None, None] + knots[low + 1] * part[:, None, None]
    return np.asarray(rows[:, low] * (1 - part)[:, None] + rows[:, low + 1] * part[:, None], np.float32)
