"""The six shapes of the toy table, as signed distances with light on them (Quilez, "2D distance functions").

Every function takes `u` to the right and `v` down, `[H, W]` in radii from the thing's centre, and the radius in px.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Field: TypeAlias = NDArray[np.floating[Any]]
"""`[H, W]` numbers, or `[H, W, 3]` light from 0 to 1."""
Drawn: TypeAlias = tuple[Field, Field, Field]
"""Signed distance in radii, light on the surface, gloss on top of it."""


def _ellipse(u: Field, v: Field, wide: float, high: float) -> Field:
    k = np.sqrt((u / wide) ** 2 + (v / high) ** 2)
    slope = np.sqrt((u / wide**2) ** 2 + (v / high**2) ** 2)
    return np.asarray(k * (k - 1) / np.maximum(slope, 1e-3), np.float32)


def _ball(u: Field, v: Field, r: float) -> Drawn:
    d2 = u * u + v * v
    glow = 0.42 + 0.62 * np.sqrt(np.maximum(0, 1 - d2)) - 0.16 * u - 0.22 * v
    return np.sqrt(d2) - 1, glow, np.maximum(0, 0.55 - 6 * ((u + 0.35) ** 2 + (v + 0.4) ** 2))


def _cube(u: Field, v: Field, r: float) -> Drawn:
    a = np.abs(u)
    distance = np.maximum(a, 0.5 * a + 0.866 * np.abs(v)) - 0.92
    top = np.clip(0.5 - (v + 0.577 * a) * r, 0, 1)
    right = np.clip(0.5 + u * r, 0, 1)
    return distance, 1.1 * top + (1 - top) * (0.84 - 0.3 * right), np.zeros_like(distance)


def _cone(u: Field, v: Field, r: float) -> Drawn:
    side = np.maximum((np.abs(u) * 1.72 - (v + 1) * 0.85) / 1.92, v - 0.72)
    distance = np.minimum(side, _ellipse(u, v - 0.72, 0.85, 0.26))
    across = np.clip(u / (0.5 * np.maximum(v + 1, 0) + 0.06), -1, 1)
    return distance, 0.94 - 0.34 * across - 0.2 * across * across, np.maximum(0, 0.18 - (across + 0.4) ** 2)


def _cup(u: Field, v: Field, r: float) -> Drawn:
    b = u + 0.22
    body = np.maximum(np.abs(b) - (0.6 - 0.08 * v), np.abs(v) - 0.7)
    body = np.minimum(body, _ellipse(b, v - 0.7, 0.545, 0.2))
    mouth = _ellipse(b, v + 0.7, 0.655, 0.25)
    handle = np.abs(np.sqrt((u - 0.5) ** 2 + (0.85 * (v - 0.02)) ** 2) - 0.33) - 0.11
    across = np.clip(b / 0.6, -1, 1)
    glow = 0.95 - 0.3 * across - 0.2 * across * across
    rim = np.clip(0.5 - mouth * r, 0, 1)
    hollow = np.clip(0.5 - (mouth + 0.09) * r, 0, 1)
    glow = glow + rim * (1.12 - glow)
    glow = glow + hollow * (0.42 + 0.15 * across - glow)
    return np.minimum(np.minimum(body, mouth), handle), glow, np.zeros_like(glow)


def _star(u: Field, v: Field, r: float) -> Drawn:
    d = np.sqrt(u * u + v * v)
    turn = np.mod(np.arctan2(u, -v) + np.pi / 5, 2 * np.pi / 5) - np.pi / 5
    a = np.abs(turn)
    ix, iy, tip = 0.46 * np.sin(np.pi / 5), 0.46 * np.cos(np.pi / 5), 1.06
    long = np.hypot(ix, tip - iy)
    distance = (d * np.sin(a) * (tip - iy) + (d * np.cos(a) - tip) * ix) / long
    facet = np.clip(turn * d * r, -0.5, 0.5)
    return np.asarray(distance, np.float32), 0.93 - 0.3 * facet, np.zeros_like(d)


def _ring(u: Field, v: Field, r: float) -> Drawn:
    d = np.sqrt(u * u + v * v)
    t = np.clip((d - 0.7) / 0.29, -1, 1)
    slope = t * (u + 1.2 * v) / np.maximum(d, 0.1)
    glow = 0.5 + 0.5 * np.sqrt(1 - t * t) - 0.18 * slope
    return np.abs(d - 0.7) - 0.29, glow, np.maximum(0, 0.3 - (t + 0.2) ** 2 * 2 - 0.4 * np.hypot(u + 0.5, v + 0.5))


FORMS: tuple[Callable[[Field, Field, float], Drawn], ...] = (_ball, _cube, _cone, _cup, _star, _ring)
"""In the order of SHAPES."""
AREA = (3.14, 2.93, 1.81, 2.44, 1.43, 2.55)
"""Of each of FORMS, in squared radii."""
