"""The arm, its base, the table and the things, as MuJoCo's MJCF: written here, from the same numbers as the kinematics.

One model serves every scene: it holds `THINGS` things and `TRAYS` trays whose shape, size and colour are poured in
(liveagent/clients/arm/world.py), so neither it nor its renderer is made anew.
"""

from __future__ import annotations

from liveagent.clients.arm.kinematics import FORE_M, HAND_M, HIGH, LOW, SHOULDER_X_M, SHOULDER_Z_M, UPPER_M
from liveagent.clients.arm.scene import TABLE_M, THINGS, TRAY_FLOOR_M, TRAY_RIM_M, TRAYS

BASE_JOINTS = ("base_x", "base_y", "base_turn")
ARM_JOINTS = ("pan", "shoulder", "elbow", "wrist", "roll")
FINGER_JOINTS = ("finger_left", "finger_right")
CAMERA = "mast"
CAMERA_AT = (0.10, 0.0, 1.16)
"""Where the camera hangs on its mast, in the base's frame."""
CAMERA_TO = (0.415, 0.0, TABLE_M)
"""What is in the middle of its picture."""
FOV_DEG = 41.0
OPEN_M = 0.042
"""How far one finger stands from the middle when the gripper is open."""
STEP_S = 0.002
TABLE_X_M = (0.20, 0.66)
TABLE_Y_M = 0.36
"""The table's edges."""


def mast_axes() -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Right and up of the camera's picture in the base's frame: its upper edge lies away from the robot."""
    dx, dz = CAMERA_TO[0] - CAMERA_AT[0], CAMERA_TO[2] - CAMERA_AT[2]
    far = (dx * dx + dz * dz) ** 0.5
    return (0.0, -1.0, 0.0), (-dz / far, 0.0, dx / far)


def mjcf() -> str:
    """The whole model as MJCF."""
    right, up = (" ".join(f"{v:.9f}" for v in axis) for axis in mast_axes())
    middle, half = (TABLE_X_M[0] + TABLE_X_M[1]) / 2, (TABLE_X_M[1] - TABLE_X_M[0]) / 2
    mast_x = -0.13
    return f"""
<mujoco model="liveagent arm">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{STEP_S}" integrator="implicitfast" cone="elliptic" impratio="10" noslip_iterations="3">
    <flag sleep="enable"/>
  </option>
  <visual>
    <headlight ambient="0.45 0.45 0.45" diffuse="0.15 0.15 0.15" specular="0 0 0"/>
    <quality shadowsize="0" offsamples="0"/>
    <global offwidth="640" offheight="640"/>
    <map znear="0.02" zfar="20"/>
  </visual>
  <default>
    <geom condim="6" friction="1.2 0.01 0.002" solref="0.004 1" solimp="0.95 0.99 0.001"/>
    <default class="arm">
      <joint damping="2" armature="0.05" frictionloss="0.1"/>
      <geom rgba="0.80 0.81 0.83 1" density="600" contype="2" conaffinity="1"/>
    </default>
    <default class="finger">
      <geom rgba="0.25 0.26 0.28 1" friction="1.8 0.02 0.004" density="900" contype="2" conaffinity="1"/>
    </default>
    <default class="seen"><geom contype="0" conaffinity="0" mass="0"/></default>
  </default>
  <asset><material name="table" rgba="0.62 0.5 0.38 1" specular="0.1" shininess="0.1"/>
         <material name="floor" rgba="0.35 0.36 0.38 1" specular="0"/></asset>
  <worldbody>
    <light name="lamp" pos="0.2 0.5 1.8" dir="0.1 -0.3 -1" diffuse="0.5 0.5 0.5" specular="0.3 0.3 0.3"
           castshadow="false"/>
    <geom name="floor" type="plane" size="4 4 0.1" material="floor" contype="1" conaffinity="3"/>
    <geom name="table" type="box" material="table" pos="{middle} 0 {TABLE_M - 0.02}" size="{half} {TABLE_Y_M} 0.02"
          contype="1" conaffinity="3"/>
    <geom class="seen" type="box" material="table" pos="{middle} 0 {TABLE_M / 2 - 0.02}"
          size="0.05 0.05 {TABLE_M / 2 - 0.02}"/>
    <body name="base">
      <joint name="base_x" type="slide" axis="1 0 0" range="-0.8 0.02" damping="60"/>
      <joint name="base_y" type="slide" axis="0 1 0" range="-0.8 0.8" damping="60"/>
      <joint name="base_turn" type="hinge" axis="0 0 1" range="-3.2 3.2" damping="20"/>
      <geom class="arm" type="box" pos="-0.02 0 0.22" size="0.16 0.16 0.17" mass="30" rgba="0.22 0.27 0.35 1"/>
      <geom class="seen" type="cylinder" pos="0.09 0.13 0.05" size="0.05 0.02" euler="1.57 0 0" rgba="0.1 0.1 0.1 1"/>
      <geom class="seen" type="cylinder" pos="0.09 -0.13 0.05" size="0.05 0.02" euler="1.57 0 0" rgba="0.1 0.1 0.1 1"/>
      <geom class="seen" type="cylinder" pos="-0.13 0.13 0.05" size="0.05 0.02" euler="1.57 0 0" rgba="0.1 0.1 0.1 1"/>
      <geom class="seen" type="cylinder" pos="-0.13 -0.13 0.05" size="0.05 0.02" euler="1.57 0 0" rgba="0.1 0.1 0.1 1"/>
      <geom class="seen" type="capsule" fromto="{mast_x} 0 0.39 {mast_x} 0 {CAMERA_AT[2]}" size="0.012"
            rgba="0.3 0.3 0.32 1"/>
      <geom class="seen" type="capsule" fromto="{mast_x} 0 {CAMERA_AT[2]} {CAMERA_AT[0] - 0.04} 0 {CAMERA_AT[2] + 0.02}"
            size="0.012" rgba="0.3 0.3 0.32 1"/>
      <camera name="{CAMERA}" pos="{CAMERA_AT[0]} {CAMERA_AT[1]} {CAMERA_AT[2]}" xyaxes="{right} {up}"
              fovy="{FOV_DEG}"/>
      <body name="turret" pos="{SHOULDER_X_M} 0 {SHOULDER_Z_M}" childclass="arm" gravcomp="1">
        <joint name="pan" axis="0 0 1" range="{LOW[0]} {HIGH[0]}"/>
        <geom type="cylinder" fromto="0 0 -0.165 0 0 0.03" size="0.045"/>
        <body name="upper" gravcomp="1">
          <joint name="shoulder" axis="0 -1 0" range="{LOW[1]} {HIGH[1]}"/>
          <geom type="capsule" fromto="0 0 0 {UPPER_M} 0 0" size="0.030"/>
          <body name="fore" pos="{UPPER_M} 0 0" gravcomp="1">
            <joint name="elbow" axis="0 -1 0" range="{LOW[2]} {HIGH[2]}"/>
            <geom type="capsule" fromto="0 0 0 {FORE_M} 0 0" size="0.025" rgba="0.70 0.72 0.76 1"/>
            <body name="wrist" pos="{FORE_M} 0 0" gravcomp="1">
              <joint name="wrist" axis="0 -1 0" range="{LOW[3]} {HIGH[3]}" armature="0.02"/>
              <geom type="capsule" fromto="0 0 0 0.03 0 0" size="0.024"/>
              <body name="hand" pos="0.045 0 0" gravcomp="1">
                <joint name="roll" axis="1 0 0" range="{LOW[4]} {HIGH[4]}" armature="0.02"/>
                <geom class="finger" type="box" pos="0.012 0 0" size="0.014 0.055 0.018"/>
                <site name="tips" pos="{HAND_M - 0.045} 0 0" size="0.004" rgba="1 0 0 0"/>
                <body name="finger_left" pos="0.026 0 0" gravcomp="1">
                  <joint name="finger_left" type="slide" axis="0 1 0" range="0 {OPEN_M}" damping="8" armature="0.02"/>
                  <geom class="finger" type="box" pos="0.045 0.006 0" size="0.045 0.006 0.012"/>
                </body>
                <body name="finger_right" pos="0.026 0 0" gravcomp="1">
                  <joint name="finger_right" type="slide" axis="0 -1 0" range="0 {OPEN_M}" damping="8" armature="0.02"/>
                  <geom class="finger" type="box" pos="0.045 -0.006 0" size="0.045 0.006 0.012"/>
                </body>
              </body>
            </body>
          </body>
        </body>
      </body>
    </body>
    {"".join(_tray(at) for at in range(TRAYS))}
    {"".join(_thing(at) for at in range(THINGS))}
  </worldbody>
  <contact>
    <exclude body1="base" body2="turret"/><exclude body1="base" body2="upper"/><exclude body1="turret" body2="upper"/>
    <exclude body1="upper" body2="fore"/><exclude body1="fore" body2="wrist"/><exclude body1="wrist" body2="hand"/>
    <exclude body1="finger_left" body2="finger_right"/>
  </contact>
  <equality><joint joint1="finger_left" joint2="finger_right" solref="0.01 1"/></equality>
  <actuator>
    <position joint="base_x" kp="8000" kv="900"/>
    <position joint="base_y" kp="8000" kv="900"/>
    <position joint="base_turn" kp="3000" kv="300"/>
    <position joint="pan" kp="500" kv="30" forcerange="-120 120"/>
    <position joint="shoulder" kp="700" kv="40" forcerange="-120 120"/>
    <position joint="elbow" kp="500" kv="25" forcerange="-90 90"/>
    <position joint="wrist" kp="200" kv="8" forcerange="-40 40"/>
    <position joint="roll" kp="120" kv="4" forcerange="-20 20"/>
    <position joint="finger_left" kp="600" kv="20" forcerange="-14 14"/>
    <position joint="finger_right" kp="600" kv="20" forcerange="-14 14"/>
  </actuator>
</mujoco>
"""


def _thing(at: int) -> str:
    """A thing's place in the model, out of sight until it is poured."""
    return f"""
    <body name="thing{at}" pos="{at} 3 -1"><freejoint name="thing{at}"/>
      <geom name="thing{at}" type="box" size="0.02 0.02 0.02" mass="0.05" contype="0" conaffinity="0"/>
    </body>"""


def _tray(at: int) -> str:
    half, rim, floor = 0.060, TRAY_RIM_M / 2, TRAY_FLOOR_M / 2
    walls = "".join(
        f'<geom name="tray{at}_{side}" type="box" pos="{x} {y} {rim + 0.001}" size="{w} {d} {rim}" mass="0.03"'
        f' contype="0" conaffinity="0"/>'
        for side, (x, y, w, d) in enumerate(
            [(half, 0, 0.003, half), (-half, 0, 0.003, half), (0, half, half, 0.003), (0, -half, half, 0.003)]
        )
    )
    return f"""
    <body name="tray{at}" pos="{at} 4 -1"><freejoint name="tray{at}"/>
      <geom name="tray{at}" type="box" pos="0 0 {floor}" size="{half} {half} {floor}" mass="0.25" condim="3"
            contype="0" conaffinity="0"/>{walls}
    </body>"""
