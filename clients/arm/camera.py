"""The arm's camera: pictures from its mast, drawn off screen by EGL or OSMesa.

`Lens` draws in the thread that made it. `Camera` has a thread of its own and draws from a copy of where everything is,
so the control loop never waits for a picture. Without a library to draw with, the arm works and is blind, and says
which package is missing.
"""

from __future__ import annotations

import ctypes.util
import importlib
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import mujoco
import numpy as np
from numpy.typing import NDArray

from liveagent.clients.arm.body import CAMERA
from liveagent.clients.arm.world import World
from liveagent.errors import DeviceError
from liveagent.video import Pixels

SIDE_PX = 256
MISSING = (
    "the arm's camera needs a library that draws without a screen: "
    "apt install libegl1 libegl-mesa0 libgl1-mesa-dri (EGL), or libosmesa6 (OSMesa)"
)


def drawn_by() -> str | None:
    """What pictures can be drawn with here: "egl", "osmesa", or None. MUJOCO_GL, if set, has its way."""
    wanted = os.environ.get("MUJOCO_GL", "").lower()
    libraries = {"egl": "EGL", "osmesa": "OSMesa"}
    if wanted not in libraries and wanted:
        return None
    names = [wanted] if wanted else list(libraries)
    return next((name for name in names if ctypes.util.find_library(libraries[name])), None)


class Lens:
    """Draws what the mast's camera sees. Only in the thread that made it; `close` it there, or use `with`.

    `read` gives a picture of the world with everything at `qpos`; None: as it is now. DeviceError where nothing can be
    drawn."""

    def __init__(self, world: World, side_px: int = SIDE_PX) -> None:
        backend = drawn_by()
        if backend is None:
            raise DeviceError(MISSING)
        os.environ.setdefault("PYOPENGL_PLATFORM", backend)
        os.environ.setdefault("LP_NUM_THREADS", "1")  # Mesa's own drawing takes every core else, for no gain here
        self._world, self._side_px = world, side_px
        try:
            self._gl: Any = importlib.import_module(f"mujoco.{backend}").GLContext(side_px, side_px)
            self._gl.make_current()
            self._context: Any = mujoco.MjrContext(world.model, mujoco.mjtFontScale.mjFONTSCALE_100)
        except Exception as error:  # each driver has its own way of failing
            raise DeviceError(f"{backend} cannot draw here ({type(error).__name__}: {error}). {MISSING}") from None
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._data: Any = mujoco.MjData(world.model)
        self._scene: Any = mujoco.MjvScene(world.model, 200)
        self._view: Any = mujoco.MjvCamera()
        self._view.type, self._view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, world.model.camera(CAMERA).id
        self._shown: Any = mujoco.MjvOption()
        self._rect: Any = mujoco.MjrRect(0, 0, side_px, side_px)

    def read(self, qpos: NDArray[np.float64] | None = None) -> Pixels:
        """`[side_px, side_px, 3]`."""
        return self._draw(qpos)

    def shares(self, qpos: NDArray[np.float64]) -> dict[str, int]:
        """How many pixels show each thing and tray; for whoever makes pictures to learn from, never for the arm."""
        model = self._world.model
        flags = self._scene.flags
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 1
        painted = self._draw(qpos).astype(np.int32)
        flags[mujoco.mjtRndFlag.mjRND_SEGMENT] = flags[mujoco.mjtRndFlag.mjRND_IDCOLOR] = 0
        marks = np.bincount((painted[..., 0] + (painted[..., 1] << 8) + (painted[..., 2] << 16)).ravel())
        found: dict[str, int] = {}
        for at in range(self._scene.ngeom):
            drawn = self._scene.geoms[at]
            if drawn.objtype == mujoco.mjtObj.mjOBJ_GEOM and 0 <= drawn.segid + 1 < len(marks):
                name = model.body(model.geom_bodyid[drawn.objid]).name
                found[name] = found.get(name, 0) + int(marks[drawn.segid + 1])
        return found

    def _draw(self, qpos: NDArray[np.float64] | None) -> Pixels:
        model, data = self._world.model, self._data
        data.qpos[:] = self._world.data.qpos if qpos is None else qpos
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
        # The lamp hangs from what never moves, and so is placed once; another scene may have hung it elsewhere since.
        data.light_xpos[:], data.light_xdir[:] = model.light_pos, model.light_dir
        mujoco.mjv_updateScene(
            model, data, self._shown, None, self._view, mujoco.mjtCatBit.mjCAT_ALL.value, self._scene
        )
        pixels = np.empty((self._side_px, self._side_px, 3), np.uint8)
        self._gl.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, self._rect, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def close(self) -> None:
        """Give the drawing memory back."""
        self._context.free()
        self._gl.free()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Camera:
    """Draws ten pictures a second in its own thread and hands each to `show`, with when it was taken.

    `look(qpos)` tells it where everything is; `cover` puts a lid on it. `error`: why it is blind, else empty."""

    def __init__(
        self, world: World, show: Callable[[Pixels, int], None], fps: float = 10.0, side_px: int = SIDE_PX
    ) -> None:
        self._world, self._show, self._step_s, self._side_px = world, show, 1 / fps, side_px
        self._lock = threading.Lock()
        self._qpos: NDArray[np.float64] | None = None
        self._closing, self._opened = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self.covered = False
        self.error = ""
        self.pictures = 0

    def start(self) -> None:
        """Begin; returns once it is known whether it can see."""
        self._thread = threading.Thread(target=self._run, name="arm camera", daemon=True)
        self._thread.start()
        self._opened.wait(20)

    def look(self, qpos: NDArray[np.float64]) -> None:
        """Where everything is now; a copy that is the camera's from here on."""
        with self._lock:
            self._qpos = qpos

    def close(self) -> None:
        """Stop drawing."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self) -> None:
        try:
            lens = Lens(self._world, self._side_px)
        except DeviceError as error:
            self.error = str(error)
            self._opened.set()
            return
        self._opened.set()
        with lens:
            while not self._closing.wait(self._step_s):
                with self._lock:
                    qpos, self._qpos = self._qpos, None
                if qpos is not None:
                    pixels = lens.read(qpos)
                    self._show(np.zeros_like(pixels) if self.covered else pixels, time.monotonic_ns())
                    self.pictures += 1
