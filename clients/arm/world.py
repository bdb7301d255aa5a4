"""The world: MuJoCo's model and its state, with a scene poured in. Only this file and the camera's know MuJoCo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from liveagent.clients.arm.body import ARM_JOINTS, BASE_JOINTS, FINGER_JOINTS, OPEN_M, STEP_S, mjcf
from liveagent.clients.arm.kinematics import Joints
from liveagent.clients.arm.scene import HALF_M, HIGH_M, TABLE_M, THINGS, TRAY_FLOOR_M, TRAYS, Item, Scene
from liveagent.table import RGB

STEPS = 10
"""Steps of physics in a control tick."""
TICK_S = STEPS * STEP_S
SOLID, NOTHING = 1, 0
_TYPES = {
    "cube": mujoco.mjtGeom.mjGEOM_BOX,
    "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
}


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a thing is, for whoever keeps the score: never for the arm."""

    x: float
    y: float
    z: float


class World:
    """`pour` a scene, then `step`. Not for two threads; `qpos` may be copied for the camera between steps."""

    def __init__(self) -> None:
        self.model: Any = mujoco.MjModel.from_xml_string(mjcf())
        self.data: Any = mujoco.MjData(self.model)
        self.scene = Scene((), ())
        at = self.model.jnt_qposadr
        names = (*BASE_JOINTS, *ARM_JOINTS, *FINGER_JOINTS)
        self._qpos = np.array([at[self.model.joint(name).id] for name in names])
        self._qvel = np.array([self.model.jnt_dofadr[self.model.joint(name).id] for name in names])
        self.base_at, self.arm_at = self._qpos[:3], self._qpos[3:8]
        """Where in `qpos` the base's and the arm's joints are."""

    def pour(self, scene: Scene, joints: Joints) -> None:
        """A new scene, all at rest, the base at home, the arm at `joints`, the gripper open."""
        mujoco.mj_resetData(self.model, self.data)
        self.scene = scene
        for at in range(THINGS):
            self._thing(at, scene.things[at] if at < len(scene.things) else None, scene)
        for at in range(TRAYS):
            self._tray(at, scene.trays[at] if at < len(scene.trays) else None)
        self._light(scene)
        mujoco.mj_setConst(self.model, self.data)
        mujoco.mj_resetData(self.model, self.data)
        for at, thing in enumerate(scene.things):
            floor = TRAY_FLOOR_M if thing.on is not None else 0.0
            self._place(f"thing{at}", thing, TABLE_M + floor + HIGH_M[thing.kind] * thing.scale)
        for at, tray in enumerate(scene.trays):
            self._place(f"tray{at}", tray, TABLE_M)
        stand = np.concatenate([np.zeros(len(BASE_JOINTS)), joints, np.full(len(FINGER_JOINTS), OPEN_M)])
        self.data.qpos[self._qpos] = stand
        self.data.ctrl[:] = stand
        mujoco.mj_forward(self.model, self.data)

    def step(self, targets: NDArray[np.float64]) -> None:
        """One control tick towards `targets`: base, arm, fingers."""
        self.data.ctrl[:] = targets
        mujoco.mj_step(self.model, self.data, STEPS)

    def joints(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions and velocities of base, arm and fingers, as encoders give them."""
        return self.data.qpos[self._qpos].copy(), self.data.qvel[self._qvel].copy()

    def qpos(self) -> NDArray[np.float64]:
        """Everything the camera needs to draw."""
        return np.array(self.data.qpos)

    def pose(self, name: str) -> Pose:
        """Where "thing0" or "tray1" is; for the score alone."""
        x, y, z = (float(v) for v in self.data.body(name).xpos)
        return Pose(x, y, z)

    # ---- pouring -----------------------------------------------------------------------------------------------------

    def _thing(self, at: int, thing: Item | None, scene: Scene) -> None:
        model, geom, body = self.model, self.model.geom(f"thing{at}").id, self.model.body(f"thing{at}").id
        solid = SOLID if thing is not None else NOTHING
        model.geom_contype[geom], model.geom_conaffinity[geom] = solid, 3 * solid
        model.body_gravcomp[body] = 1 - solid
        if thing is None:
            model.geom_rgba[geom] = 0
            return
        half = HALF_M[thing.kind] * thing.scale
        high = HIGH_M[thing.kind] * thing.scale
        size = {"cube": (half, half, half), "ball": (half, 0, 0), "cylinder": (half, high, 0)}[thing.kind]
        model.geom_type[geom], model.geom_size[geom] = _TYPES[thing.kind], size
        bound = {"cube": half * 3**0.5, "ball": half, "cylinder": float(np.hypot(half, high))}[thing.kind]
        model.geom_rbound[geom] = bound
        box = {"cube": (half,) * 3, "ball": (half,) * 3, "cylinder": (half, half, high)}[thing.kind]
        model.geom_aabb[geom] = (0, 0, 0, *box)
        model.geom_rgba[geom] = (*_rgb(thing), 1)
        mass = model.body_mass[body]
        round_ = mass * half * half * (0.4 if thing.kind == "ball" else 0.5)
        across = mass * (3 * half * half + 4 * high * high) / 12
        inertia = {"cube": (2 / 3 * mass * half * half,) * 3, "ball": (round_,) * 3,
                   "cylinder": (across, across, round_)}[thing.kind]  # fmt: skip
        model.body_inertia[body] = inertia

    def _tray(self, at: int, tray: Item | None) -> None:
        model, body = self.model, self.model.body(f"tray{at}").id
        solid = SOLID if tray is not None else NOTHING
        model.body_gravcomp[body] = 1 - solid
        for part, name in enumerate([f"tray{at}", *(f"tray{at}_{side}" for side in range(4))]):
            geom = model.geom(name).id
            model.geom_contype[geom], model.geom_conaffinity[geom] = solid, 3 * solid
            shade = 1.0 if part else 0.9
            model.geom_rgba[geom] = (*(shade * _rgb(tray)), 1) if tray is not None else 0

    def _light(self, scene: Scene) -> None:
        model, light = self.model, scene.light
        model.mat_rgba[model.mat("table").id] = (*light.table, 1)
        model.mat_rgba[model.mat("floor").id] = (*light.floor, 1)
        lamp = model.light("lamp").id
        away = np.array([0.41, 0.0, TABLE_M]) - light.lamp
        model.light_pos[lamp], model.light_dir[lamp] = light.lamp, away / np.linalg.norm(away)
        model.light_diffuse[lamp] = light.bright
        model.vis.headlight.ambient[:] = light.room

    def _place(self, name: str, item: Item, z: float) -> None:
        half = item.turn / 2
        address = self.model.jnt_qposadr[self.model.joint(name).id]
        self.data.qpos[address : address + 7] = (item.x, item.y, z, np.cos(half), 0, 0, np.sin(half))


def _rgb(item: Item) -> NDArray[np.float64]:
    return np.asarray(np.clip(RGB[item.colour] + np.array(item.tint), 0.02, 1), np.float64)
