"""Pictures of the arm's table with what is on them, for `Finder` to learn from: a seed in, a shot out, nothing on disk.

Scenes are poured into the simulated robot and drawn by its own camera; its arm is sometimes in the way, its base
sometimes not at home. Then the camera's faults: exposure, white balance, gamma, blur, a sensor's noise, JPEG, something
held in front of the lens. What cannot be seen for that is no target.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveagent.clients.arm.body import CAMERA_AT, FOV_DEG, mast_axes
from liveagent.clients.arm.camera import Lens
from liveagent.clients.arm.jpeg import jpeg, pixels_of
from liveagent.clients.arm.kinematics import HOME, Hand, OutOfReach, joints_of
from liveagent.clients.arm.scene import (
    FAR_M,
    HELD_OUT,
    HIGH_M,
    NEAR_M,
    SIDE_M,
    TABLE_M,
    TRAY_FLOOR_M,
    Item,
    Scene,
    loose,
    scene,
)  # fmt: skip
from liveagent.clients.arm.world import World
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

ARM_IN_SIGHT, AWAY, COVERED, PATCHED = 0.2, 0.25, 0.02, 0.1
"""Shares of shots with the arm over the table, with the base away from home, with a lid on, with something before the
lens."""
LEAST_SHOWN = 0.35
"""A thing of which less can be seen is not there."""


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """`pixels` as the camera gave them; `items` that can be seen, each with where its middle is in the picture (0 to 1)
    and how its sides are turned to the camera's frame; `doubtful`: middles that nobody should be asked about."""

    pixels: Pixels
    items: tuple[tuple[Item, float, float, float], ...]
    doubtful: tuple[tuple[float, float], ...] = ()


class Studio:
    """Takes shots; one thread's. `close` it."""

    def __init__(self) -> None:
        self.world = World()
        self.lens = Lens(self.world)
        self.view = Viewpoint(CAMERA_AT, *mast_axes(), FOV_DEG)

    def close(self) -> None:
        """Give the drawing memory back."""
        self.lens.close()

    def shot(self, seed: int, faults: bool = True) -> Shot:
        """The shot of a seed; from HELD_OUT on, of scenes as a bench has them."""
        rng = np.random.Generator(np.random.SFC64(seed ^ 0x5EED))
        held_out = seed >= HELD_OUT
        laid = scene(seed) if held_out or rng.random() < 0.3 else loose(seed)
        home = joints_of(HOME)
        self.world.pour(laid, home)
        base = np.zeros(3)
        if not held_out and rng.random() < AWAY:
            base = rng.uniform((-0.12, -0.2, -0.25), (0.02, 0.2, 0.25))
        qpos = self.world.qpos()
        qpos[self.world.base_at] = base
        items = [*laid.things, *laid.trays]
        shown = np.ones(len(items))
        if not held_out and rng.random() < ARM_IN_SIGHT:
            bare = self.lens.shares(qpos)
            qpos[self.world.arm_at] = self._reach(rng)
            shares = self.lens.shares(qpos)
            shown = np.array([shares.get(each, 0) / max(1, bare.get(each, 0)) for each in _names(laid)])
        pixels = self.lens.read(qpos)
        seen, doubtful = [], []
        for item, share in zip(items, shown, strict=True):
            where = self._middle(item, base)
            if where is None:
                continue
            if share >= LEAST_SHOWN:
                seen.append((item, *where, item.turn - float(base[2])))
            elif share > 0:
                doubtful.append(where)
        if not faults:
            return Shot(pixels, tuple(seen), tuple(doubtful))
        if rng.random() < COVERED and not held_out:
            return Shot(worse(np.full_like(pixels, int(rng.integers(0, 60))), rng), ())
        if rng.random() < PATCHED and not held_out:
            pixels, hidden = _patched(pixels, rng)
            doubtful += [(u, v) for _, u, v, _ in seen if hidden(u, v)]
            seen = [each for each in seen if not hidden(each[1], each[2])]
        return Shot(worse(pixels, rng), tuple(seen), tuple(doubtful))

    def _middle(self, item: Item, base: NDArray[np.float64]) -> tuple[float, float] | None:
        """Where its middle is in the picture, if well inside."""
        floor = TRAY_FLOOR_M if item.on is not None or item.kind == "tray" else 0.0
        c, s = np.cos(base[2]), np.sin(base[2])
        dx, dy = item.x - base[0], item.y - base[1]
        z = TABLE_M + floor + HIGH_M[item.kind] * item.scale
        where = self.view.pixel(float(c * dx + s * dy), float(c * dy - s * dx), z)
        return where if where is not None and all(0.01 < each < 0.99 for each in where) else None

    def _reach(self, rng: np.random.Generator) -> NDArray[np.float64]:
        while True:
            x, y = rng.uniform(NEAR_M, FAR_M), rng.uniform(-SIDE_M, SIDE_M)
            try:
                z, turn = rng.uniform(0.43, 0.65), rng.uniform(-1.5, 1.5)
                return joints_of(Hand(float(x), float(y), float(z), float(turn)))
            except OutOfReach:
                continue


def _names(laid: Scene) -> list[str]:
    return [*(f"thing{at}" for at in range(len(laid.things))), *(f"tray{at}" for at in range(len(laid.trays)))]


def _patched(pixels: Pixels, rng: np.random.Generator) -> tuple[Pixels, Callable[[float, float], bool]]:
    """Something plain held in front of the lens, and which middles are behind it or too near."""
    side = len(pixels)
    w, h = (int(v) for v in rng.integers(20, 110, 2))
    x, y = (int(v) for v in rng.integers(-20, side - 20, 2))
    pixels = pixels.copy()
    pixels[max(0, y) : y + h, max(0, x) : x + w] = rng.integers(0, 255, 3)

    def hidden(u: float, v: float) -> bool:
        return x - 8 < u * side < x + w + 8 and y - 8 < v * side < y + h + 8

    return pixels, hidden


def worse(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """As a cheap camera would have given it."""
    light: NDArray[np.float32] = (pixels.astype(np.float32) + np.float32(0.5)) / np.float32(256)
    light = np.asarray(light ** np.float32(rng.uniform(0.8, 1.25)), np.float32)
    gains = np.exp(rng.normal(0, 0.18) + rng.normal(0, 0.04, 3))
    light = np.asarray(light * gains, np.float32)
    if rng.random() < 0.3:
        light = _soft(light, float(rng.uniform(0.1, 0.35)))
    noise = rng.standard_normal(light.shape, np.float32) * np.float32(rng.uniform(0, 0.03))
    out = np.asarray(np.clip((light + noise) * 255, 0, 255), np.uint8)
    return pixels_of(jpeg(out, int(rng.integers(5, 13)))) if rng.random() < 0.4 else out


def _soft(light: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    for axis in (0, 1):
        around = np.roll(light, 1, axis) + np.roll(light, -1, axis)
        light = np.asarray(light * (1 - 2 * share) + share * around, np.float32)
    return light
