"""How the arm goes from one place to another: hands a tick apart, on a line in pan, reach and height.

Such a line sweeps nothing off the table as long as both its ends are high. The pace rises and falls smoothly (least
jerk), and no joint, nor the hand, goes faster than it may.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from liveagent.clients.arm.kinematics import SHOULDER_X_M, Hand, Joints, hand_of, joints_of

JOINT_RAD_S = np.array([1.6, 1.6, 2.2, 3.0, 3.0])
HAND_M_S = 0.5
TICK_S = 0.02
PEAK = 1.875
"""How much faster than its mean the smooth pace is in the middle."""
PROBES = 12


def line(begin: Hand, end: Hand, share: float) -> Hand:
    """The hand after this share of the way."""
    pan0, pan1 = (math.atan2(h.y, h.x - SHOULDER_X_M) for h in (begin, end))
    r0, r1 = (math.hypot(h.x - SHOULDER_X_M, h.y) for h in (begin, end))
    pan, r = pan0 + share * (pan1 - pan0), r0 + share * (r1 - r0)
    turn = begin.turn + share * (end.turn - begin.turn)
    return Hand(
        SHOULDER_X_M + r * math.cos(pan), r * math.sin(pan), begin.z + share * (end.z - begin.z), turn
    )


def ticks_for(path: list[Joints], metres: float) -> int:
    """How many ticks a path takes that is sampled evenly."""
    steps = np.abs(np.diff(np.stack(path), axis=0)) * (len(path) - 1)  # as if the whole way were gone at that pace
    return max(5, math.ceil(PEAK * max(float((steps / JOINT_RAD_S).max()), metres / HAND_M_S) / TICK_S))


def smooth(share: float) -> float:
    """From 0 to 1, with no jolt at either end."""
    return share**3 * (10 - 15 * share + 6 * share * share)


def glide(begin: Joints, end: Hand) -> Iterator[Joints]:
    """Joints for each tick from where the arm stands to a hand. OutOfReach before the first when some of the way cannot
    be gone."""
    start, last = hand_of(begin), joints_of(end)
    roll0, roll1 = float(begin[4]), float(last[4])

    def at(share: float) -> Joints:
        joints = joints_of(line(start, end, share))
        joints[4] = roll0 + share * (roll1 - roll0)
        return joints

    path = [at(k / PROBES) for k in range(PROBES + 1)]
    metres = math.dist((start.x, start.y, start.z), (end.x, end.y, end.z))
    count = ticks_for(path, metres)
    for tick in range(1, count + 1):
        yield at(smooth(tick / count)) if tick < count else last
