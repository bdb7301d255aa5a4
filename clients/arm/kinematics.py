"""Where the arm's fingers are, and how its joints must stand for them to be somewhere: closed form, nothing iterates.

The arm has five joints: pan about the vertical, shoulder, elbow and wrist in one upright plane, and roll about the
hand's own axis. Work is done with the hand pointing straight down, so a place for the fingertips (x, y, z in the base's
frame) and a turn of them about the vertical is all there is to say. Metres and radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SHOULDER_X_M, SHOULDER_Z_M = 0.06, 0.56
UPPER_M, FORE_M = 0.32, 0.32
HAND_M = 0.15
"""From the wrist's axis to between the fingertips."""
Joints: TypeAlias = NDArray[np.float64]
"""`[5]`: pan, shoulder, elbow, wrist, roll."""
LOW = np.array([-2.7, -0.6, -2.9, -2.9, -1.7])
HIGH = np.array([2.7, 2.4, 0.0, 1.0, 1.7])


@dataclass(frozen=True, slots=True)
class Hand:
    """A hand that points down: its fingertips' middle, and the direction in which the fingers close, from x to the
    left."""

    x: float
    y: float
    z: float
    turn: float


HOME = Hand(0.06, 0.25, 0.66, math.pi)
"""Beside the base, out of the camera's picture, with or without something in the hand."""


class OutOfReach(ValueError):
    """The arm is not long enough, or would have to fold into itself. The text says so to people."""


def joints_of(hand: Hand) -> Joints:
    """The joints for a hand; half a turn of the fingers is the same to them, and the nearer is taken."""
    dx, dy = hand.x - SHOULDER_X_M, hand.y
    pan, r = math.atan2(dy, dx), math.hypot(dx, dy)
    high = hand.z + HAND_M - SHOULDER_Z_M
    length = math.hypot(r, high)
    bend = (UPPER_M**2 + FORE_M**2 - length**2) / (2 * UPPER_M * FORE_M)
    if not -1 <= bend < 1 or length < 1e-6:
        raise OutOfReach(f"{100 * hand.x:.0f} cm forward, {100 * hand.y:.0f} cm left is out of the arm's reach")
    elbow = math.acos(bend) - math.pi
    lift = (UPPER_M**2 + length**2 - FORE_M**2) / (2 * UPPER_M * length)
    shoulder = math.atan2(high, r) + math.acos(max(-1.0, min(1.0, lift)))
    roll = math.remainder(pan + math.pi / 2 - hand.turn, math.pi)
    found = np.array([pan, shoulder, elbow, -math.pi / 2 - shoulder - elbow, roll])
    if (found < LOW - 1e-9).any() or (found > HIGH + 1e-9).any():
        raise OutOfReach(f"{100 * hand.x:.0f} cm forward, {100 * hand.y:.0f} cm left is too near for the arm")
    return found


def hand_of(joints: Joints) -> Hand:
    """Where the fingertips are, for joints whose hand points down or nearly so."""
    pan, shoulder, elbow, wrist, roll = (float(v) for v in joints)
    fore, down = shoulder + elbow, shoulder + elbow + wrist
    r = UPPER_M * math.cos(shoulder) + FORE_M * math.cos(fore) + HAND_M * math.cos(down)
    z = UPPER_M * math.sin(shoulder) + FORE_M * math.sin(fore) + HAND_M * math.sin(down)
    turn = math.remainder(pan + math.pi / 2 - roll, math.pi)
    return Hand(SHOULDER_X_M + r * math.cos(pan), r * math.sin(pan), SHOULDER_Z_M + z, turn)
