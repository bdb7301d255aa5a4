"""`Viewpoint`: where a camera is and how it looks, so that a pixel becomes a place on a table, and a place a pixel.

Metres, in whatever frame the camera is told in; pixels as shares of the picture, 0 to 1, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveagent.errors import ProtocolError


@dataclass(frozen=True, slots=True)
class Viewpoint:
    """`at`: where the camera is; `right`, `up`: unit vectors along the picture's edges; `fov_deg`: what it sees from
    the upper edge to the lower. The picture is square."""

    at: tuple[float, float, float]
    right: tuple[float, float, float]
    up: tuple[float, float, float]
    fov_deg: float

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Viewpoint:
        """What a robot says of its camera: `{"at": [x, y, z], "right": […], "up": […], "fov_deg": 41}`. ProtocolError
        for anything else."""
        try:
            at, right, up = (tuple(float(v) for v in said[key]) for key in ("at", "right", "up"))
            fov_deg = float(said["fov_deg"])
        except (KeyError, TypeError, ValueError):
            raise ProtocolError("a camera is described by at, right, up (three numbers each) and fov_deg") from None
        axes = np.array([right, up]) if len(right) == len(up) == 3 else np.zeros((2, 2))
        square = np.abs(axes @ axes.T - np.eye(2)).max() < 0.01
        if len(at) != 3 or not square or not 1 < fov_deg < 170 or not np.isfinite(at).all():
            raise ProtocolError("a camera's right and up are unit vectors at right angles, its fov_deg 1 to 170")
        return cls(at, right, up, fov_deg)  # type: ignore[arg-type]

    def said(self) -> dict[str, Any]:
        """What `read` reads."""
        return {"at": list(self.at), "right": list(self.right), "up": list(self.up), "fov_deg": self.fov_deg}

    @property
    def _scale(self) -> float:
        return float(np.tan(np.radians(self.fov_deg) / 2))

    def _axes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        right, up = np.array(self.right), np.array(self.up)
        return right, up, np.cross(up, right)

    def place(self, u: float, v: float, z: float) -> tuple[float, float] | None:
        """Where on the level plane at height `z` a pixel looks; None: at no place of it."""
        right, up, ahead = self._axes()
        ray = ahead + self._scale * ((2 * u - 1) * right + (1 - 2 * v) * up)
        if abs(ray[2]) < 1e-9 or (far := (z - self.at[2]) / ray[2]) <= 0:
            return None
        return float(self.at[0] + far * ray[0]), float(self.at[1] + far * ray[1])

    def pixel(self, x: float, y: float, z: float) -> tuple[float, float] | None:
        """Where in the picture a place is seen, outside of 0..1 too; None: behind the camera."""
        right, up, ahead = self._axes()
        way = np.array([x, y, z]) - self.at
        depth = float(way @ ahead)
        if depth <= 1e-6:
            return None
        return (
            (float(way @ right) / (depth * self._scale) + 1) / 2,
            (1 - float(way @ up) / (depth * self._scale)) / 2,
        )
