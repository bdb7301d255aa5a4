"""The simulated arm: where its hand can be, what lies on its table, and that it moves things by touch alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("mujoco", reason="pip install 'liveagent[robot]'")

from liveagent.clients.arm.arm import LIMITS_M, RAMP_TICKS, Arm, Failed
from liveagent.clients.arm.body import TABLE_X_M, TABLE_Y_M
from liveagent.clients.arm.kinematics import HIGH, HOME, LOW, Hand, OutOfReach, hand_of, joints_of
from liveagent.clients.arm.moves import JOINT_RAD_S, TICK_S, glide
from liveagent.clients.arm.scene import HALF_M, ROOM_M, TABLE_M, TRAYS_ROOM_M, Item, Scene, loose, scene

SEEN = st.tuples(st.floats(0.24, 0.58), st.floats(-0.28, 0.28), st.floats(0.42, 0.60), st.floats(-1.5, 1.5))


@given(SEEN)
def test_joints_put_the_hand_where_it_is_wanted(where: tuple[float, float, float, float]) -> None:
    wanted = Hand(*where)
    found = hand_of(joints_of(wanted))
    assert np.allclose((found.x, found.y, found.z), where[:3], atol=1e-9)
    assert abs(math.remainder(found.turn - wanted.turn, math.pi)) < 1e-9


@given(SEEN)
def test_joints_stay_within_their_ends(where: tuple[float, float, float, float]) -> None:
    joints = joints_of(Hand(*where))
    assert (joints >= LOW).all() and (joints <= HIGH).all()


@pytest.mark.parametrize(("x", "y"), [(1.2, 0.0), (0.06, 0.0), (0.3, 0.9)])
def test_what_is_out_of_reach_is_said_to_be(x: float, y: float) -> None:
    with pytest.raises(OutOfReach):
        joints_of(Hand(x, y, 0.43, 0.0))


@given(SEEN, SEEN)
def test_a_way_is_smooth_and_no_joint_is_too_fast(
    begin: tuple[float, float, float, float], end: tuple[float, float, float, float]
) -> None:
    start = joints_of(Hand(*begin))
    path = np.stack([start, *glide(start, Hand(*end))])
    assert (np.abs(np.diff(path, axis=0)) <= 1.35 * JOINT_RAD_S * TICK_S + 1e-6).all()
    assert hand_of(path[-1]).x == pytest.approx(end[0], abs=1e-6)


@pytest.mark.parametrize("seed", range(40))
def test_a_scene_is_the_seeds_and_fits_on_the_table(seed: int) -> None:
    laid = scene(seed)
    assert laid == scene(seed)
    assert len({(t.kind, t.colour) for t in laid.things}) == len(laid.things) >= 2
    assert len({t.colour for t in laid.trays}) == len(laid.trays) >= 1
    for item in (*laid.things, *laid.trays):
        half = HALF_M[item.kind] * item.scale * (abs(math.cos(item.turn)) + abs(math.sin(item.turn)))
        assert TABLE_X_M[0] < item.x - half and item.x + half < TABLE_X_M[1] and abs(item.y) + half < TABLE_Y_M
        joints_of(Hand(item.x, item.y, TABLE_M + 0.02, 0.0))
    for at, one in enumerate(laid.things):
        assert all(math.dist((one.x, one.y), (o.x, o.y)) > ROOM_M for o in laid.things[:at])
    for at, one in enumerate(laid.trays):
        assert all(max(abs(one.x - o.x), abs(one.y - o.y)) > TRAYS_ROOM_M for o in laid.trays[:at])


def test_loose_scenes_have_things_on_trays() -> None:
    assert any(thing.on is not None for seed in range(30) for thing in loose(seed).things)


LAID = Scene(
    (Item("cube", 2, 0.40, 0.10, 0.5), Item("ball", 0, 0.35, -0.12), Item("cylinder", 1, 0.50, 0.0)),
    (Item("tray", 0, 0.45, -0.20),),
)


@pytest.fixture
def arm() -> Arm:
    made = Arm()
    made.pour(LAID)
    return made


@pytest.mark.parametrize("at", range(3))
def test_it_takes_a_thing_and_puts_it_on_a_tray_and_touches_nothing_else(arm: Arm, at: int) -> None:
    names = ["thing0", "thing1", "thing2", "tray0"]
    before = [arm.world.pose(name) for name in names]
    thing, tray = LAID.things[at], LAID.trays[0]
    done = arm.run(arm.pick(thing.x, thing.y, thing.turn if thing.kind == "cube" else None))
    assert done.status == "FINISHED" and arm.holding
    assert done.result["width_mm"] == pytest.approx(2000 * HALF_M[thing.kind], abs=4)
    assert arm.run(arm.place(tray.x, tray.y)).status == "FINISHED"
    assert arm.joint_state()["holding"] is False
    for _ in range(50):
        arm.tick()
    after = [arm.world.pose(name) for name in names]
    assert math.dist((after[at].x, after[at].y), (tray.x, tray.y)) < 0.02 and after[at].z > TABLE_M
    for other in set(range(4)) - {at}:
        assert math.dist((before[other].x, before[other].y), (after[other].x, after[other].y)) < 0.01


def test_where_nothing_lies_nothing_is_held(arm: Arm) -> None:
    done = arm.run(arm.pick(0.30, 0.20))
    assert (done.status, done.reason) == ("FAILED", "there is nothing between the fingers")
    assert arm.run(arm.place(0.45, -0.20)).reason == "the robot is not holding anything"


def test_out_of_reach_fails_and_nothing_moves(arm: Arm) -> None:
    before = arm.targets.copy()
    assert arm.run(arm.pick(0.95, 0.0)).status == "FAILED"
    assert np.array_equal(arm.targets[:8], before[:8])


def test_a_stop_ramps_to_a_hold_and_latches(arm: Arm) -> None:
    arm.begin(arm.pick(0.40, 0.10))
    for _ in range(30):
        arm.tick()
    speed = np.abs(arm.rate).max()
    assert speed > 0
    arm.stop()
    assert arm.ended is not None and arm.ended.status == "STOPPED"
    speeds = []
    for _ in range(RAMP_TICKS):
        arm.tick()
        speeds.append(float(np.abs(arm.rate).max()))
    assert speeds == sorted(speeds, reverse=True) and speeds[0] < speed
    assert arm.still
    with pytest.raises(Failed, match="reset"):
        arm.begin(arm.home())
    arm.drive(0.3, 0, 0)
    held = arm.targets.copy()
    for _ in range(10):
        arm.tick()
    assert np.array_equal(arm.targets, held)
    arm.reset()
    assert not arm.busy
    assert arm.run(arm.home()).status == "FINISHED"


def test_what_is_cancelled_ramps_to_a_hold_and_can_go_on(arm: Arm) -> None:
    arm.begin(arm.home())
    arm.cancel()
    arm.begin(arm.pick(0.40, 0.10))
    for _ in range(30):
        arm.tick()
    arm.cancel()
    assert arm.ended is not None and arm.ended.status == "CANCELLED"
    for _ in range(RAMP_TICKS):
        before = float(np.abs(arm.rate).max())
        arm.tick()
        assert np.abs(arm.rate).max() < before
    assert arm.still
    assert arm.run(arm.home()).status == "FINISHED"


def test_a_stop_does_not_drop_what_is_held(arm: Arm) -> None:
    arm.begin(arm.pick(0.40, 0.10, 0.5))
    while not (arm.holding and arm.progress > 0.65):
        arm.tick()
    arm.stop()
    for _ in range(50):
        arm.tick()
    assert arm.holding and arm.world.pose("thing0").z > TABLE_M + 0.03


def test_a_velocity_is_over_unless_it_is_said_again(arm: Arm) -> None:
    for _ in range(20):
        arm.drive(-0.3, 0.0, 0.0)
        arm.tick()
    assert arm.targets[0] < -0.05 and arm.joint_state()["moving"]
    for _ in range(40):
        arm.tick()
    assert not arm.joint_state()["moving"]
    assert arm.world.joints()[0][0] == pytest.approx(arm.targets[0], abs=0.01)


def test_the_base_keeps_its_ends_and_its_speed(arm: Arm) -> None:
    for _ in range(200):
        arm.drive(5.0, 0.0, 0.0)
        arm.tick()
        assert abs(arm.rate[0]) <= 0.4 * TICK_S + 1e-9
    assert arm.targets[0] == pytest.approx(0.02)


def test_the_hand_goes_no_farther_than_it_may(arm: Arm) -> None:
    done = arm.run(arm.move(dx=3.0))
    assert done.status == "FINISHED" and done.result["clipped"]
    assert hand_of(arm.targets[3:8]).x <= LIMITS_M["x"][1] + 1e-9
    assert arm.run(arm.home()).status == "FINISHED"
    assert hand_of(arm.targets[3:8]).z == pytest.approx(HOME.z)


def test_the_gripper_opens_and_closes(arm: Arm) -> None:
    assert arm.run(arm.gripper(open=False)).result == {"holding": False}
    assert arm.opening_m < 0.01
    assert arm.run(arm.gripper(open=True)).status == "FINISHED"
    assert arm.opening_m > 0.08
