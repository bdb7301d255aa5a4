"""What decides at the robot, held still: clocks, leases, limits, duplicates, stops, and stretches of actions."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.clients.robot import Call, Gate, Limits
from liveagent.clients.robot import contract as c
from liveagent.clients.robot.action import ArgumentError, action
from liveagent.clients.robot.chunks import ChunkBuffer
from liveagent.clients.robot.contract import ActionUpdate, Chunk, Command, Lease, Reason, Status, ToolSpec, Velocity
from liveagent.clients.robot.guard import Guard
from liveagent.clients.robot.latch import Latch
from liveagent.clients.robot.lease import LeaseWatch
from liveagent.clients.robot.link import Letter, Outbox
from liveagent.clients.robot.motion import Motion
from liveagent.clients.robot.now import Now
from liveagent.clients.robot.offset import Offset
from liveagent.clients.robot.seen import Seen

T0_MS = 1_700_000_000_000.0
GO = ToolSpec(name="go", description="Go.")
LOOK = ToolSpec(name="look", description="Look.", risk="observe", motion=False)


def at(s: float, skew_ms: float = 0.0) -> Now:
    return Now(100.0 + s, T0_MS + s * 1000.0 + skew_ms)


def lease(s: float, seq: int, session: str = "a", **more: Any) -> Lease:
    sent = T0_MS + s * 1000.0
    return Lease(session=session, epoch=1, seq=seq, sent_ms=sent, deadline_ms=sent + 300.0, **more)


def order(s: float = 0.0, **more: Any) -> Command:
    sent = T0_MS + s * 1000.0
    given: dict[str, Any] = {"id": "o1", "tool": "look", "epoch": 1, "session": "a", **more}
    return Command(sent_ms=sent, deadline_ms=sent + 1000.0, **given)


def guarded(**more: Any) -> Guard:
    return Guard(Limits(**more), at(0), confirm_key=b"k", epoch=1)


# --- who drives


def test_a_lease_lasts_300_ms_from_when_it_was_sent() -> None:
    watch = LeaseWatch()
    assert watch.feed(lease(0.0, 1), 1, at(0.002)).granted
    assert watch.held_by("a", 1) and not watch.held_by("a", None) and not watch.held_by("b", 1)
    assert not watch.lapse(at(0.301)) and watch.lapse(at(0.303)) and not watch.lapse(at(0.4))
    assert watch.holder is None
    echo = watch.feed(lease(0.5, 2), 1, at(0.501))
    assert echo.granted and echo.grant == 2  # the same session, another lease: nothing of the first is good any more
    assert not watch.held_by("a", 1)


def test_a_pile_of_old_heartbeats_holds_nothing() -> None:
    """What a frozen broker gives up all at once."""
    watch = LeaseWatch()
    for seq in range(10):
        watch.feed(lease(seq * 0.1, seq), 1, at(seq * 0.1 + 0.001))
    assert watch.lapse(at(3.0))
    echoes = [watch.feed(lease(1.0 + seq * 0.1, 10 + seq), 1, at(3.0)) for seq in range(10)]
    assert not any(echo.granted for echo in echoes) and watch.holder is None
    assert watch.feed(lease(3.0, 99), 1, at(3.001)).granted


def test_one_holds_it_and_each_heartbeat_counts_once() -> None:
    watch = LeaseWatch()
    watch.feed(lease(0.0, 5), 1, at(0.0))
    assert watch.feed(lease(0.1, 1, "b"), 1, at(0.1)).reason is Reason.BUSY
    assert watch.feed(lease(0.1, 5), 1, at(0.1)).reason is Reason.DUPLICATE
    assert watch.feed(lease(0.1, 6), 2, at(0.1)).reason is Reason.STALE_EPOCH
    assert watch.lapse(at(0.31))
    assert watch.feed(lease(0.4, 1, "b"), 1, at(0.4)).granted


@pytest.mark.parametrize("skew_ms", [-60_000.0, -150.0, 150.0, 60_000.0])
def test_clocks_too_far_apart_hold_no_lease(skew_ms: float) -> None:
    watch = LeaseWatch()
    for seq in range(5):
        echo = watch.feed(lease(seq * 0.1, seq, offset_ms=skew_ms), 1, at(seq * 0.1 + 0.002, skew_ms))
        assert not echo.granted and echo.reason in (Reason.CLOCK_SKEW, Reason.EXPIRED)


@pytest.mark.parametrize("skew_ms", [-60.0, 60.0])
def test_a_little_is_set_right(skew_ms: float) -> None:
    watch = LeaseWatch()
    for seq in range(5):
        assert watch.feed(lease(seq * 0.1, seq, offset_ms=skew_ms), 1, at(seq * 0.1 + 0.002, skew_ms)).granted
    assert not watch.lapse(at(0.699)) and watch.lapse(at(0.703))  # 300 ms from the last, on whichever clock


def test_an_agent_that_is_wrong_about_the_clocks_is_not_believed() -> None:
    offset = Offset()
    offset.feed(0.0, 3.0, told_ms=0.0)
    assert not offset.skewed
    offset.feed(100.0, 103.0, told_ms=90.0)  # nothing comes before it was sent
    assert offset.skewed


# --- orders


def test_an_order_must_be_of_now_allowed_and_led() -> None:
    guard = guarded(tools=["look", "go"])
    assert guard.command(order(), LOOK, at(0.1), False) is None

    def why(command: Command, spec: ToolSpec | None, now: Now, moving: bool = False) -> Reason | None:
        refusal = guard.command(command, spec, now, moving)
        return refusal and refusal.reason

    assert why(order(), LOOK, at(1.1)) is Reason.EXPIRED
    assert why(order(epoch=2), LOOK, at(0)) is Reason.STALE_EPOCH
    assert why(order(), None, at(0)) is Reason.UNKNOWN_TOOL
    assert why(order(), LOOK.model_copy(update={"name": "other"}), at(0)) is Reason.LIMIT
    assert why(order(), LOOK.model_copy(update={"risk": "forbidden"}), at(0)) is Reason.LIMIT
    assert why(order(grant=1), GO, at(0)) is Reason.NO_LEASE
    guard.beat(lease(0.0, 1), at(0.0))
    assert why(order(grant=1), GO, at(0)) is None
    assert why(order(grant=1, session="b"), GO, at(0)) is Reason.NO_LEASE
    assert why(order(grant=1), GO, at(0), moving=True) is Reason.BUSY
    guard.path = Reason.CONFLICT
    assert why(order(grant=1), GO, at(0)) is Reason.CONFLICT
    guard.path = None
    guard.latch.stop("s", at(0))
    assert why(order(grant=1), GO, at(0)) is Reason.STOPPED
    assert why(order(epoch=guard.latch.epoch), LOOK, at(0)) is None


def test_a_hazard_wants_a_token_for_exactly_this() -> None:
    guard = guarded()
    hazard = LOOK.model_copy(update={"risk": "hazard"})
    good = c.confirm_token(b"k", "o1", "look", {"door": "a"}, T0_MS + 5000)
    cases = {
        good: None,
        c.confirm_token(b"other", "o1", "look", {"door": "a"}, T0_MS + 5000): Reason.NOT_CONFIRMED,
        c.confirm_token(b"k", "o2", "look", {"door": "a"}, T0_MS + 5000): Reason.NOT_CONFIRMED,
        c.confirm_token(b"k", "o1", "look", {"door": "b"}, T0_MS + 5000): Reason.NOT_CONFIRMED,
        c.confirm_token(b"k", "o1", "look", {"door": "a"}, T0_MS - 1): Reason.NOT_CONFIRMED,
        "yes": Reason.NOT_CONFIRMED,
        "": Reason.NOT_CONFIRMED,
    }
    for token, reason in cases.items():
        refusal = guard.command(order(args={"door": "a"}, confirm_token=token), hazard, at(0), False)
        assert (refusal and refusal.reason) is reason


def test_orders_are_counted() -> None:
    guard = guarded(rate_per_s=3)
    verdicts = [guard.command(order(), LOOK, at(0.1), False) for _ in range(5)]
    assert [verdict and verdict.reason for verdict in verdicts] == [None, None, None, Reason.LIMIT, Reason.LIMIT]
    assert guard.command(order(1.2), LOOK, at(1.2), False) is None


def test_what_was_seen_is_known_for_ten_minutes_and_never_too_much() -> None:
    seen = Seen(most=3)
    for n in range(3):
        assert not seen.full(at(n))
        seen.take(order(id=f"o{n}"), at(n))
    assert seen.full(at(600.0)) and seen.knows(order(id="o0"))
    assert not seen.full(at(600.5)) and not seen.knows(order(id="o0"))
    seen.update(ActionUpdate(id="o1", status=Status.FINISHED, result=1))
    seen.update(ActionUpdate(id="nobody", status=Status.FINISHED))
    last = seen.last("o1")
    assert last is not None and last.result == 1 and seen.last("nobody") is None
    assert seen.differs(order(id="o1", args={"a": 1})) and not seen.differs(order(id="o1"))


def test_a_stop_stays_until_exactly_it_is_lifted() -> None:
    latch = Latch(at(0))
    epochs = [latch.epoch]
    assert latch.stop("s1", at(0)) and not latch.stop("s1", at(0)) and latch.stop("s2", at(0))
    epochs.append(latch.epoch)
    assert not latch.reset("s1", at(0)) and latch.stop_id == "s2"
    assert [latch.reset("s2", at(0)), latch.stop_id, latch.reset("s2", at(0))] == [True, None, False]
    epochs.append(latch.epoch)
    assert epochs == sorted(set(epochs)) and Latch(at(0)).epoch != Latch(at(0.002)).epoch
    assert max(epochs) < 1 << 53


# --- motion


def speeds(s: float, seq: int, **more: Any) -> Velocity:
    sent = T0_MS + s * 1000.0
    given: dict[str, Any] = {"axes": {"vx": 1.0}, "deadline_ms": sent + 200.0, **more}
    return Velocity(seq=seq, epoch=1, session="a", grant=1, sent_ms=sent, **given)


def moving(ramp_ms: float = 100.0, **limits: Any) -> Motion:
    return Motion(Limits(**limits), ("vx", "wz"), (), "velocity", ramp_ms, 100.0)


def test_speeds_last_200_ms_and_end_on_a_ramp() -> None:
    motion, offset = moving(), Offset()
    assert motion.velocity(speeds(0.0, 1), offset, at(0.0)) is None
    seen = [motion.tick(at(s / 100), {}).axes["vx"] for s in range(0, 40, 2)]
    assert seen[:11] == [1.0] * 11  # 0 to 200 ms
    ramp = seen[11:]
    assert ramp[0] == 1.0 and all(a > b for a, b in itertools.pairwise(ramp[:6])) and ramp[6:] == [0.0] * 3
    assert motion.still


def test_speeds_out_of_order_late_or_of_no_axis_are_nothing() -> None:
    motion, offset = moving(), Offset()
    assert motion.velocity(speeds(0.0, 5), offset, at(0.0)) is None
    assert motion.velocity(speeds(0.0, 5), offset, at(0.0)) == "out of order"
    assert motion.velocity(speeds(0.0, 4), offset, at(0.0)) == "out of order"
    assert motion.velocity(speeds(0.0, 6), offset, at(0.3)) == "late"
    assert motion.velocity(speeds(0.3, 7, axes={"vz": 1.0}), offset, at(0.3)) == "there is no axis vz"
    again = speeds(0.3, 1).model_copy(update={"grant": 2})
    assert motion.velocity(again, offset, at(0.3)) is None


def test_a_stop_has_no_ramp() -> None:
    motion = moving(acceleration={"vx": 1.0})
    motion.move({"vx": 1.0}, at(0.0))
    for s in range(0, 10, 2):
        motion.tick(at(s / 100), {})
    assert 0 < motion.applied["vx"] <= 0.1 + 1e-9  # it gathers speed
    motion.stop()
    assert motion.tick(at(0.1), {}).axes == {"vx": 0.0, "wz": 0.0} and motion.still


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), min_size=1, max_size=30))
def test_whatever_is_wanted_stays_within_speed_and_acceleration(wanted: list[tuple[float, float]]) -> None:
    limits = Limits(speed={"vx": 0.5, "vy": 0.5}, acceleration={"vx": 2.0})
    applied: dict[str, float] = {"vx": 0.0, "vy": 0.0}
    for vx, vy in wanted:
        new = limits.velocity({"vx": vx, "vy": vy}, applied, 0.02)
        assert abs(new["vx"]) <= 0.5 and abs(new["vy"]) <= 0.5 and abs(new["vx"] - applied["vx"]) <= 0.04 + 1e-9
        applied = new


@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-4, 4)), min_size=1, max_size=200))
def test_nothing_drives_out_of_its_box(steps: list[tuple[float, float, float]]) -> None:
    """In whatever direction it looks."""
    import math

    limits = Limits(speed={"vx": 1.0, "vy": 1.0}, box={"x": (-1.0, 1.0), "y": (-1.0, 1.0)})
    x = y = 0.0
    for vx, vy, yaw in steps:
        axes = limits.velocity({"vx": vx, "vy": vy}, {}, 0.1, {"x": x, "y": y, "yaw": yaw}, ahead_s=0.1)
        x += (axes["vx"] * math.cos(yaw) - axes["vy"] * math.sin(yaw)) * 0.1
        y += (axes["vx"] * math.sin(yaw) + axes["vy"] * math.cos(yaw)) * 0.1
        assert abs(x) <= 1.0 + 1e-9 and abs(y) <= 1.0 + 1e-9


def test_what_is_outside_may_come_back_in() -> None:
    limits = Limits(box={"x": (-1.0, 1.0)})
    assert limits.velocity({"vx": -0.5}, {}, 0.1, {"x": 1.5}, 0.1)["vx"] == -0.5
    assert limits.velocity({"vx": 0.5}, {}, 0.1, {"x": 1.5}, 0.1)["vx"] == 0.0
    assert limits.velocity({"vx": float("nan")}, {}, 0.1)["vx"] == 0.0
    assert limits.point(x=2.0) == "x is 2, and may be from -1 to 1" and limits.point(x=0.0, y=9.0) is None


def test_joints_go_in_steps_and_stay_within_their_ends() -> None:
    limits = Limits(joints={"a": (-1.0, 1.0)}, joint_step=0.1)
    assert limits.joint_targets(("a", "b"), (5.0, 5.0), None) == (1.0, 5.0)
    assert limits.joint_targets(("a", "b"), (5.0, -5.0), (0.0, 0.0)) == (0.1, -0.1)
    assert limits.joint_targets(("a",), (float("nan"),), (0.3,)) == (0.3,)


@pytest.mark.parametrize("wrong", [
    {"speed": {"vx": 0.0}}, {"box": {"x": (1.0, -1.0)}}, {"joints": {"a": (1.0, 1.0)}}, {"joint_step": 0.0},
    {"rate_per_s": 0.0}, {"speed": {"v/x": 1.0}},
])  # fmt: skip
def test_limits_that_are_none_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Limits(**wrong)


# --- stretches of actions


def test_a_chunk_freezes_blends_and_goes_on() -> None:
    buffer = ChunkBuffer("position", ramp_s=0.1, freeze_steps=2, blend_steps=3)
    assert buffer.feed([(0.0,)] * 20, 0.0, 0.02, 0.0) == 20
    assert buffer.sample(0.1) == (0.0,)
    assert buffer.feed([(1.0,)] * 30, 0.0, 0.02, 0.1) > 0  # late: its first five are past
    seen = [buffer.sample(0.1 + step * 0.02) for step in range(8)]
    values = [value[0] for value in seen if value is not None]
    assert [round(value, 9) for value in values[:2]] == [0.0, 0.0]  # frozen
    assert [round(value, 9) for value in values[2:5]] == [0.25, 0.5, 0.75]  # blended
    assert [round(value, 9) for value in values[5:]] == [1.0, 1.0, 1.0]
    assert buffer.feed([(2.0,)] * 5, -1.0, 0.02, 0.3) == 0  # all of it is past


def test_what_a_chunk_does_not_replace_stays() -> None:
    buffer = ChunkBuffer("position", freeze_steps=0, blend_steps=0)
    buffer.feed([(0.0,)] * 10, 0.0, 0.02, 0.0)
    buffer.feed([(1.0,)] * 10, 0.0, 0.02, 0.0, replaces_from=5)
    assert buffer.sample(0.08) == (0.0,) and buffer.sample(0.1) == (1.0,)


def test_a_buffer_that_runs_dry_leads_to_a_hold() -> None:
    buffer = ChunkBuffer("position", ramp_s=0.1)
    buffer.feed([(step * 0.01,) for step in range(10)], 0.0, 0.02, 0.0)
    before = [buffer.sample(step * 0.02) for step in range(10)]
    assert before[-1] is not None and buffer.starved_ticks == 0
    after = [buffer.sample(0.18 + step * 0.02) for step in range(1, 7)]
    values = [value[0] for value in (before[-1], *after) if value is not None]
    gaps = [b - a for a, b in itertools.pairwise(values)]
    assert all(gap > 0 for gap in gaps[:4]) and all(a >= b - 1e-12 for a, b in itertools.pairwise(gaps))
    assert buffer.starved_ticks > 0 and buffer.sample(0.5) is None and buffer.empty
    speeds_ = ChunkBuffer("velocity", ramp_s=0.1)
    speeds_.feed([(1.0,)] * 3, 0.0, 0.02, 0.0, last=True)
    seen = [speeds_.sample(step * 0.02) for step in range(9)]
    values = [0.0 if value is None else value[0] for value in seen]
    assert values[:3] == [1.0] * 3 and values[-1] == 0.0 and speeds_.starved_ticks == 0
    assert all(a >= b for a, b in itertools.pairwise(values))


def test_a_stop_empties_the_buffer() -> None:
    motion = moving()
    sent = T0_MS
    chunk = Chunk(
        seq=1, epoch=1, session="a", grant=1, sent_ms=sent, deadline_ms=sent + 400, t0_ms=sent, dt_ms=20.0,
        actions=[[1.0, 0.0]] * 20,
    )  # fmt: skip
    assert motion.feed(chunk, Offset(), at(0.0)) is None
    assert motion.tick(at(0.02), {}).axes["vx"] == 1.0
    motion.stop()
    assert motion.tick(at(0.04), {}).axes["vx"] == 0.0 and motion.buffer.empty
    narrow = chunk.model_copy(update={"seq": 2, "actions": [[1.0]]})
    assert motion.feed(narrow, Offset(), at(0)) == "a step has 2 numbers"
    assert motion.feed(chunk.model_copy(update={"seq": 3}), Offset(), at(1.0)) == "late"


@given(
    st.lists(st.tuples(st.floats(0, 0.3), st.integers(1, 40), st.integers(0, 45)), min_size=1, max_size=20),
    st.floats(0.005, 0.05),
)
def test_whatever_chunks_come_time_goes_forward_and_values_stay_between(
    chunks: list[tuple[float, int, int]], dt_s: float
) -> None:
    buffer = ChunkBuffer("position", ramp_s=0.0)
    now = 0.0
    for late_s, steps, replaces in chunks:
        now += 0.1
        buffer.feed([(1.0,)] * steps, now - late_s, dt_s, now, replaces)
        assert buffer._times == sorted(set(buffer._times))
        for tick in range(5):
            value = buffer.sample(now + tick * 0.02)
            assert value is None or abs(value[0] - 1.0) < 1e-9


# --- what goes over the wire


def test_what_is_written_can_be_read() -> None:
    for message in (order(args={"a": [1, {"b": None}]}), lease(0.0, 1), speeds(0.0, 1)):
        assert c.read(type(message), c.write(message)) == message
    describe = Gate("mqtt://localhost").describe
    assert json.loads(c.write(describe))["schema"] == "liveagent.robot/1"
    assert c.read(c.Describe, c.write(describe)) == describe


@pytest.mark.parametrize("payload", [
    b"", b"{", b"[]", b"1", b"\xff", b"[" * 100_000, json.dumps({"id": "a"}).encode(),
    json.dumps({**json.loads(c.write(order())), "more": 1}).encode(),
    json.dumps({**json.loads(c.write(order())), "id": "a/b"}).encode(),
    json.dumps({**json.loads(c.write(order())), "deadline_ms": "soon"}).encode(),
    c.write(order()).replace(b"1700000000000.0", b"NaN"), b" " * (65 << 10),
])  # fmt: skip
def test_what_is_no_order_is_refused_without_repeating_it(payload: bytes) -> None:
    with pytest.raises(c.ContractError) as caught:
        c.read(Command, payload)
    assert len(str(caught.value)) < 400


def test_topics() -> None:
    assert c.topic("home", "arm", "cmd") == "liveagent/v1/home/arm/cmd"
    assert c.tail("liveagent/v1/home/arm/camera/a/jpeg", "home", "arm") == "camera/a/jpeg"
    assert c.tail("liveagent/v1/home/other/cmd", "home", "arm") is None
    assert c.named("liveagent/v1/home/arm/action/1") == ("home", "arm", "action/1")
    assert c.named("liveagent/v1/$SYS/arm/cmd") is None and c.named("a/b") is None


def test_depth_is_counted_without_recursion() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    assert c.depth(deep, most=64) == 65 and c.depth({"a": [1]}) == 2 and c.depth(1) == 0


async def test_an_outbox_keeps_order_and_the_newest() -> None:
    box = Outbox(most=3)
    for n in range(5):
        box.put(Letter(f"action/{n}", b"", 1, False))
        box.put(Letter("state", str(n).encode(), 0, False))
    assert [(await box.next()).tail for _ in range(3)] == ["action/2", "action/3", "action/4"] and box.dropped == 2
    assert (await box.next()).payload == b"4"
    task = asyncio.create_task(box.next())
    await asyncio.sleep(0)
    assert not task.done()
    box.put(Letter("stop/ack", b"", 1, False))
    assert (await task).tail == "stop/ack"


# --- actions


async def reach(call: Call, copy: float, schema: str = "a") -> None:
    """Reach for something.

    More of it."""


def declared(function: Any, **more: Any) -> Any:
    given: dict[str, Any] = {
        "risk": "reversible", "motion": True, "name": None, "phrases": (), "timeout_s": 1.0,
        "cancel_on_barge_in": False, "point": {}, **more,
    }  # fmt: skip
    return action(function, **given)


def test_a_signature_says_what_an_action_takes() -> None:
    made = declared(reach)
    assert made.spec.description == "Reach for something." and made.takes_call == "call"
    assert set(made.spec.parameters["properties"]) == {"copy", "schema"}  # pydantic's own names, and free to use
    assert made.read({"copy": 1}) == {"copy": 1.0, "schema": "a"}
    for wrong in ({}, {"copy": "x"}, {"copy": 1.0, "call": 1}, {"copy": 1.0, "more": 1}):
        with pytest.raises(ArgumentError):
            made.read(wrong)


def test_what_cannot_be_ordered_is_said_at_once() -> None:
    async def bare(x: float) -> None: ...

    async def untyped(x) -> None:  # type: ignore[no-untyped-def]
        """Do."""

    async def many(*x: float) -> None:
        """Do."""

    gate = Gate("mqtt://localhost")
    for function, more, what in (
        (bare, {}, "no docstring"), (untyped, {}, "say what x is"), (many, {}, "one by one"),
        (reach, {"risk": "fun"}, "risk is one of"), (reach, {"risk": "observe", "motion": True}, "more than observe"),
        (reach, {"risk": "hazard"}, "confirm_key"), (reach, {"point": ("x",)}, "no argument x"),
        (reach, {"name": "noop"}, "two actions"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=what):
            gate.action(**more)(function)
    gate.action()(reach)
    with pytest.raises(ValueError, match="two actions"):
        gate.action()(reach)
    with pytest.raises(ValueError, match="no way to an agent"):
        Gate("http://localhost")
