"""A robot over a real broker: what is done is done once, what is late is not done, and what is lost stands still."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from liveagent.call import Call
from liveagent.clients.robot import contract
from liveagent.clients.robot.contract import Command, Reason, Reset, Status, Stop, Velocity
from liveagent.clients.robot.gate import Gate
from liveagent.errors import ConfigError, LinkError, OutcomeLost, ToolError
from liveagent.ports import mosquitto
from liveagent.ports.mosquitto import Mosquitto, access
from liveagent.ports.mqtt import Mqtt
from liveagent.runtime.lead import now_ms
from liveagent.runtime.robot import Robot
from tests.lab import broker, eventually, lab, running, seen, undisturbed, went
from tests.omnibot import Omnibot

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(mosquitto.found() is None, reason="mosquitto is not installed"),
]
TOP = "liveagent/v1/lab/base"


@pytest.fixture(scope="module")
def mqtt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    with broker(tmp_path_factory.mktemp("broker")) as started:
        yield started


def tool_call(key: str = "a-key") -> tuple[Call, list[tuple[float | None, str]]]:
    told: list[tuple[float | None, str]] = []
    return Call("call_1", key, 30_000, lambda share, note: told.append((share, note)), confirmed=True), told


def command(robot: Robot, tool: str, args: dict[str, object], **more: object) -> Command:
    assert robot.connection is not None
    given = {
        "id": "cmd-1", "sent_ms": now_ms(), "deadline_ms": now_ms() + 1000, "epoch": robot.connection.epoch,
        "session": robot.session, **more,
    }  # fmt: skip
    return Command.model_validate({"tool": tool, "args": args, **given})


async def updates(link: Mqtt, order: str = "+") -> asyncio.Queue[contract.ActionUpdate]:
    """What a robot says of an order, read by somebody else."""
    queue: asyncio.Queue[contract.ActionUpdate] = asyncio.Queue()
    messages = await link.subscribe(f"{TOP}/action/{order}")

    async def pour() -> None:
        async for message in messages:
            queue.put_nowait(contract.read(contract.ActionUpdate, message.payload))

    task = asyncio.create_task(pour())
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    link.pouring = task  # type: ignore[attr-defined]
    return queue


async def last(queue: asyncio.Queue[contract.ActionUpdate]) -> contract.ActionUpdate:
    async with asyncio.timeout(10):
        while not (update := await queue.get()).status.ends:
            pass
    return update


# --- what it can do becomes tools, and is done


async def test_what_it_announces_becomes_tools_and_is_done(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, robot):
        tools = {tool.name: tool for tool in robot.tools()}
        assert set(tools) == {"where", "go", "count", "unlock", "think", "flood"}
        assert (tools["go"].risk, tools["go"].moves, tools["where"].risk) == ("reversible", True, "observe")
        assert [argument.name for argument in tools["go"].arguments] == ["x", "y", "speed"]
        assert robot.problems() == [f"{robot._way.site}/{robot._way.robot}: go: a phrase is left out: "
                                    "'go forward' does not fit the arguments of go"]  # fmt: skip
        call, told = tool_call()
        assert await tools["go"](call=call, x=0.2) == "there"
        assert abs(bot.pose["x"] - 0.2) < 0.05
        assert len(told) > 1 and told[-1][1] == "on the way"
        await eventually(lambda: robot.state is not None and abs(robot.state.pose["x"] - bot.pose["x"]) < 0.05)
        assert robot.state is not None and robot.state.joints == {"pan": 0.0} and robot.state.more == {"battery": 0.8}


async def test_a_call_that_is_cancelled_stands_still(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, robot):
        task = asyncio.create_task(robot.do("go", {"x": 1.5}))
        await eventually(lambda: bot.moves)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await eventually(lambda: not bot.moves and not bot.gate.runs.ids)
        assert bot.pose["x"] < 1.0


async def test_limits_are_the_robots_own(mqtt: Mosquitto) -> None:
    async def live(bot: Omnibot, robot: Robot) -> None:
        with pytest.raises(ToolError, match="limits.*x is 5"):
            await robot.do("go", {"x": 5.0})
        with pytest.raises(ToolError, match="does not take those arguments"):
            await robot.do("go", {"x": "there"})
        with pytest.raises(ToolError, match="it can where, go"):
            await robot.do("fly")
        async with robot.drive() as drive:
            for _ in range(10):
                await drive.velocity(vx=100.0)
                await asyncio.sleep(0.03)
        assert max(axes["vx"] for _, axes in bot.given) == 0.5
        with pytest.raises(ToolError, match="took too long"):
            await robot.do("think")
        with pytest.raises(ToolError, match="failed at it"):
            await robot.do("flood")

    await undisturbed(mqtt, live)


async def test_a_hazard_needs_a_person(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (_, robot):
        with pytest.raises(ToolError, match="wants a person to confirm"):
            await robot.do("unlock", {"door": "front"})
        assert await robot.do("unlock", {"door": "front"}, confirmed=True) == "front is unlocked"
        robot._confirm_key = b"another key"
        with pytest.raises(ToolError, match="wants a person to confirm"):
            await robot.do("unlock", {"door": "front"}, confirmed=True)


async def test_its_camera_is_a_camera(mqtt: Mosquitto) -> None:
    from fractions import Fraction

    import av
    import numpy as np

    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt, codec.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 200, np.uint8), "rgb24").reformat(format="yuvj420p")
    (packet,) = codec.encode(frame)
    async with lab(mqtt) as (bot, robot):
        camera = robot.cameras["front"]
        camera.start()
        await eventually(lambda: camera.corrupt > 0)  # what this robot shows is no JPEG
        bot.picture = bytes(packet)
        picture = await camera.next(10.0)
        assert picture.pixels.shape == (48, 64, 3) and abs(int(picture.pixels.mean()) - 200) < 4
        assert camera.read() is picture and camera.read(0) is None


# --- once, in time, from now on


async def test_an_order_that_comes_again_is_answered_and_not_done_again(mqtt: Mosquitto) -> None:
    """As a broker's DUP would, and as an agent does that lost its connection."""
    async with lab(mqtt) as (bot, robot), Mqtt(mqtt.url("agent")) as link:
        queue = await updates(link)
        order = command(robot, "count", {})
        for _ in range(3):
            await link.publish(f"{TOP}/cmd", contract.write(order), qos=1)
        found = [await last(queue) for _ in range(2)]
        assert [(each.result, each.duplicate) for each in found][0] == (1, False)
        assert found[1].duplicate and bot.counted == 1
        other = order.model_copy(update={"tool": "where"})
        await link.publish(f"{TOP}/cmd", contract.write(other), qos=1)
        async with asyncio.timeout(10):
            while (await queue.get()).reason is not Reason.DUPLICATE:
                pass
        assert bot.counted == 1


async def test_late_stale_kept_and_strange_orders_are_refused(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, robot), Mqtt(mqtt.url("agent")) as link:
        queue = await updates(link)
        cases: list[tuple[dict[str, object], Reason]] = [
            ({"deadline_ms": now_ms() - 50}, Reason.EXPIRED),
            ({"epoch": 1}, Reason.STALE_EPOCH),
            ({"tool": "fly"}, Reason.UNKNOWN_TOOL),
            ({"tool": "go", "args": {"x": 1.0}}, Reason.NO_LEASE),
            ({"tool": "go", "args": {"x": 1.0}, "grant": 7}, Reason.NO_LEASE),
        ]
        for at, (change, reason) in enumerate(cases):
            order = command(robot, "count", {}).model_copy(update={"id": f"bad-{at}", **change})
            await link.publish(f"{TOP}/cmd", contract.write(order), qos=1)
            assert (await last(queue)).reason is reason
        await link.publish(f"{TOP}/cmd", json.dumps({"id": "odd", "tool": "count", "extra": 1}), qos=1)
        assert (await last(queue)).reason is Reason.BAD_ARGS
        for junk in (b"", b"{", b"[" * 5000, b"null", json.dumps({"id": "a/#"}).encode(), b"\xff\xfe"):
            await link.publish(f"{TOP}/cmd", junk, qos=1)
            await link.publish(f"{TOP}/vel", junk, qos=0)
            await link.publish(f"{TOP}/lease", junk, qos=0)
        assert await robot.do("count") == 1 and not bot.moves and bot.counted == 1


async def test_what_the_broker_has_kept_is_no_order(mqtt: Mosquitto) -> None:
    async with Mqtt(mqtt.url("agent")) as link:
        kept = Stop(id="kept")
        await link.publish(f"{TOP}/stop", contract.write(kept), qos=1, retain=True)
        now = now_ms()
        order = Command(id="kept", tool="noop", sent_ms=now, deadline_ms=now + 60_000, epoch=0, session="s")
        await link.publish(f"{TOP}/cmd", contract.write(order), qos=1, retain=True)
        try:
            queue = await updates(link, "kept")
            async with lab(mqtt) as (bot, _):
                assert not bot.gate.guard.latch.stopped and not bot.stops
            assert queue.empty()
        finally:
            await link.publish(f"{TOP}/stop", b"", qos=1, retain=True)
            await link.publish(f"{TOP}/cmd", b"", qos=1, retain=True)


async def test_clocks_that_are_too_far_apart_move_nothing(mqtt: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    from liveagent.runtime import drive, lead
    from liveagent.runtime import robot as seen_robot

    async with lab(mqtt) as (bot, robot):
        for skew_ms in (5000.0, -5000.0, 150.0):
            for module in (lead, seen_robot, drive):
                monkeypatch.setattr(module, "now_ms", lambda skew=skew_ms: time.time() * 1000.0 + skew)
            with pytest.raises(ToolError, match="clock|too slow"):
                await robot.do("go", {"x": 1.0})
        assert not bot.moves
        for module in (lead, seen_robot, drive):  # a little is set right
            monkeypatch.setattr(module, "now_ms", lambda: time.time() * 1000.0 + 60.0)
        assert await went(robot, 0.05) == "there"


# --- stop


async def test_a_stop_latches_until_an_operator_lifts_it(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, robot), Mqtt(mqtt.url("operator")) as operator:
        going = asyncio.create_task(robot.do("go", {"x": 1.5}))
        await eventually(lambda: bot.moves)
        ack = await robot.stop("stop!", src="spoken")
        with pytest.raises(ToolError, match="is stopped"):
            await going
        assert bot.stops[0].src == "spoken" and not bot.moves
        assert all(not any(axes.values()) for at, axes in bot.given[-1:])
        await eventually(lambda: robot.connection is not None and robot.connection.stop_id == ack.stop_id)
        with pytest.raises(ToolError, match="release it by hand"):
            await robot.do("go", {"x": 0.5})
        assert await robot.do("count") == 1  # looking is not moving
        async with Mqtt(mqtt.url("agent")) as agent:  # the rules drop it without a word
            await agent.publish(f"{TOP}/stop/reset", contract.write(Reset(id="r1", stop_id=str(ack.stop_id))), qos=1)
        await operator.publish(f"{TOP}/stop/reset", contract.write(Reset(id="r2", stop_id="another")), qos=1)
        assert await robot.do("count") == 2
        assert bot.gate.guard.latch.stopped
        await operator.publish(f"{TOP}/stop/reset", contract.write(Reset(id="r3", stop_id=str(ack.stop_id))), qos=1)
        await eventually(lambda: robot.connection is not None and robot.connection.stop_id is None)
        assert robot.connection is not None and robot.connection.epoch > ack.epoch
        assert not bot.moves  # a reset starts nothing
        assert await went(robot, bot.pose["x"] + 0.05) == "there"


async def test_whatever_comes_as_a_stop_is_one(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, _), Mqtt(mqtt.url("agent")) as link:
        await link.publish(f"{TOP}/stop", b"\x00 not json", qos=1)
        await eventually(lambda: bot.gate.guard.latch.stopped)


# --- the watchdog


@pytest.mark.parametrize("how", ["frozen", "killed"])
async def test_without_a_broker_it_stands_still_and_nothing_resumes(tmp_path: Path, how: str) -> None:
    with broker(tmp_path) as own:
        async with lab(own) as (bot, robot):
            going = asyncio.create_task(robot.do("go", {"x": 1.9, "speed": 0.2}))
            await eventually(lambda: bot.moves)
            own.freeze() if how == "frozen" else own.kill()
            await eventually(lambda: not bot.moves)
            where = dict(bot.pose)
            assert bot.holds in ([Reason.NO_LEASE], [Reason.LINK])
            own.thaw() if how == "frozen" else own.start()
            with pytest.raises(ToolError, match="holds|lost|cannot be reached"):
                await going
            await eventually(lambda: bot.gate.guard.path is None and robot._up and robot.barred is None)
            assert bot.pose == where and not bot.moves
            assert await went(robot, where["x"] + 0.05) == "there"  # somebody decided it anew


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
async def test_without_its_agent_it_stands_still(mqtt: Mosquitto, how: signal.Signals) -> None:
    ca: Path = mqtt.ca  # type: ignore[attr-defined]
    async with running(Omnibot(mqtt.url("base"))) as bot:
        await eventually(lambda: bot.gate._up and bot.gate.guard.path is None)
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.driver", mqtt.url("agent", tls=True), "base", str(ca)
        )
        try:
            await eventually(lambda: bot.moves)
            os.kill(agent.pid, how)
            await eventually(lambda: not bot.moves)
            assert bot.holds == [Reason.STARVED]  # speeds last 200 ms, the lead 300
            where = dict(bot.pose)
            if how == signal.SIGSTOP:  # what it sent before and sends now is of a time that is over
                await eventually(lambda: bot.gate.guard.lease.holder is None)
                os.kill(agent.pid, signal.SIGCONT)
                await asyncio.sleep(0.5)
                assert not bot.moves and bot.pose == where
        finally:
            if agent.returncode is None:
                agent.kill()
            await agent.wait()


async def test_streams_stop_when_they_stop(mqtt: Mosquitto) -> None:
    async def live(bot: Omnibot, robot: Robot) -> None:
        async def moved_and_stopped(before: int) -> None:
            """Since `before` setpoints; a short movement may be over before anybody looks."""
            await eventually(lambda: any(any(axes.values()) for _, axes in bot.given[before:]))
            await eventually(lambda: not bot.moves)

        async with robot.drive() as drive:
            before = len(bot.given)
            await drive.velocity(vx=0.3)
            await moved_and_stopped(before)  # the lead is held, the stream is not fed
            assert drive.lost is None and bot.holds == [Reason.STARVED]
            before = len(bot.given)
            await drive.chunk([[0.2, 0.0, 0.0]] * 20, 20.0)
            await moved_and_stopped(before)
            assert bot.holds == [Reason.STARVED, Reason.STARVED]
            before = len(bot.given)
            await drive.chunk([[0.2, 0.0, 0.0]] * 5, 20.0, last=True)
            await moved_and_stopped(before)
            assert bot.holds == [Reason.STARVED, Reason.STARVED]
        assert robot.state is not None

    await undisturbed(mqtt, live)


async def test_a_stream_of_before_a_gap_moves_nothing_after_it(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, robot), Mqtt(mqtt.url("agent")) as link:
        async with robot.drive() as drive:
            await drive.velocity(vx=0.3)
            await eventually(lambda: bot.moves)
            assert robot.connection is not None
            old = Velocity(
                seq=10**6, epoch=robot.connection.epoch, session=robot.session, grant=drive._grant,
                sent_ms=now_ms() + 800, deadline_ms=now_ms() + 5000, axes={"vx": 0.3},
            )  # fmt: skip
            assert robot._lead is not None
            robot._lead._task.cancel()  # as if this process had been held up
            await eventually(lambda: not bot.moves and bot.gate.guard.lease.holder is None)
            robot._lead.end("held up")
            with pytest.raises(ToolError, match="not led any more"):
                await drive.velocity(vx=0.3)
        async with robot.drive():  # another lead of the same session
            await link.publish(f"{TOP}/vel", contract.write(old), qos=0)
            await eventually(lambda: bot.gate._refused["NO_LEASE"] > 0)
            assert not bot.moves


async def test_one_drives_at_a_time(mqtt: Mosquitto) -> None:
    ca: Path = mqtt.ca  # type: ignore[attr-defined]
    async with lab(mqtt) as (bot, robot), seen(mqtt.url("agent", tls=True), ca) as other:
        for _ in range(5):  # on a machine that stalls, the one who drives may lose the lead meanwhile
            async with robot.drive():
                try:
                    await other.do("go", {"x": 1.0})
                except ToolError as error:
                    assert "somebody else is driving" in str(error)
                    assert not bot.moves and await other.do("count") >= 1
                    break
        else:
            pytest.fail("nobody was ever kept out")


# --- what is wrong with brokers, robots and names


async def test_what_the_rules_forbid_is_found_out_at_the_start(tmp_path: Path) -> None:
    """The broker drops it without a word, so it has to be tried."""
    for missing, problem in (("stop", "a stop does not get through"), ("cmd", "orders do not get through")):
        rules = access(["base"], ["agent"], site="lab").replace(f"topic write liveagent/v1/lab/+/{missing}\n", "")
        with broker(tmp_path, rules) as own:
            ca: Path = own.ca  # type: ignore[attr-defined]
            bot = Omnibot(own.url("base", tls=True), ca=ca)
            async with running(bot), seen(own.url("agent", tls=True), ca) as robot:
                await eventually(lambda robot=robot: robot.barred is not None)  # type: ignore[misc]
                assert problem in robot.problems()[-1]
                with pytest.raises(ToolError, match=problem):
                    await robot.do("where")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho forgets the refused sockets
async def test_who_may_not_come_in_is_told_so(mqtt: Mosquitto) -> None:
    ca: Path = mqtt.ca  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="user, password"):
        async with seen(mqtt.url("agent", tls=True).replace("p2", "wrong"), ca):
            pass
    with pytest.raises(ConfigError, match="user, password"):
        async with Mqtt(f"mqtt://127.0.0.1:{mqtt.port}"):
            pass
    gc.collect()  # here, and not in whichever test comes after
    async with Mqtt(mqtt.url("stranger")) as link, lab(mqtt) as (bot, robot):
        await link.publish(f"{TOP}/stop", contract.write(Stop(id="s")), qos=1)
        await link.publish(f"{TOP}/cmd", contract.write(command(robot, "count", {})), qos=1)
        assert await robot.do("count") == 1 and not bot.stops


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # paho forgets the refused socket
async def test_a_broker_that_nobody_vouches_for_is_not_believed(mqtt: Mosquitto) -> None:
    with pytest.raises(ConfigError, match="nothing vouches for"):
        async with Mqtt(mqtt.url("agent", tls=True)):
            pass
    gc.collect()


async def test_two_robots_of_one_name_do_not_move(mqtt: Mosquitto) -> None:
    async with lab(mqtt) as (bot, robot):
        async with running(Omnibot(mqtt.url("base"))) as other:
            await eventually(lambda: all(each.gate.guard.path is Reason.CONFLICT for each in (bot, other)))
            await eventually(lambda: robot.connection is not None and robot.connection.state == "CONFLICT")
            with pytest.raises(ToolError, match="two robots have this name"):
                await robot.do("go", {"x": 1.0})
            assert not bot.moves and not other.moves
        await eventually(lambda: bot.gate.guard.path is None)
        await eventually(lambda: robot.connection is not None and robot.connection.state == "ONLINE")


async def test_a_robot_that_restarts_is_another_epoch(mqtt: Mosquitto) -> None:
    ca: Path = mqtt.ca  # type: ignore[attr-defined]
    async with seen(mqtt.url("agent", tls=True), ca) as robot:
        async with running(Omnibot(mqtt.url("base"))) as bot:
            await eventually(lambda: robot.connection is not None and robot.connection.boot == bot.gate.boot)
            await eventually(lambda: robot.connection is not None and robot.connection.state == "ONLINE")
            old = command(robot, "count", {}, deadline_ms=now_ms() + 60_000)
        await eventually(lambda: robot.connection is not None and robot.connection.state == "OFFLINE")
        with pytest.raises(ToolError, match="not connected"):
            await robot.do("count")
        async with running(Omnibot(mqtt.url("base"))) as bot, Mqtt(mqtt.url("agent")) as link:
            await eventually(lambda: robot.connection is not None and robot.connection.state == "ONLINE")
            queue = await updates(link, "cmd-1")
            await link.publish(f"{TOP}/cmd", contract.write(old), qos=1)
            assert (await last(queue)).reason is Reason.STALE_EPOCH
            assert bot.counted == 0 and await robot.do("count") == 1


async def test_a_robot_that_never_answers_answers_twice_or_late(mqtt: Mosquitto) -> None:
    """A robot of somebody else's making, as far as it is needed."""
    ca: Path = mqtt.ca  # type: ignore[attr-defined]
    spec = contract.ToolSpec(name="wave", description="Wave.", risk="observe", motion=False, timeout_s=0.2)
    describe = contract.Describe(site="lab", robot="base", boot="b1", tools=[spec])
    async with Mqtt(mqtt.url("base")) as link:
        orders = await link.subscribe(f"{TOP}/cmd", f"{TOP}/stop")
        said: list[list[contract.ActionUpdate]] = []

        async def answer() -> None:
            async for message in orders:
                if message.topic.endswith("stop"):
                    stop = contract.read(Stop, message.payload)
                    ack = contract.StopAck(id=stop.id, stop_id=None, epoch=1, at_ms=0.0, dry_run=True)
                    await link.publish(f"{TOP}/stop/ack", contract.write(ack), qos=1)
                    continue
                order = contract.read(Command, message.payload)
                noop = [contract.ActionUpdate(id="x", status=Status.FINISHED)]
                script = said.pop(0) if order.tool == "wave" else noop
                for update in script:
                    mine = update.model_copy(update={"id": order.id})
                    await link.publish(f"{TOP}/action/{order.id}", contract.write(mine), qos=1)

        answering = asyncio.create_task(answer())
        online = contract.Connection(state="ONLINE", epoch=1, boot="b1")
        await link.publish(f"{TOP}/describe", contract.write(describe), qos=1, retain=True)
        await link.publish(f"{TOP}/connection", contract.write(online), qos=1, retain=True)
        try:
            async with seen(mqtt.url("agent", tls=True), ca) as robot:
                await eventually(lambda: robot.reachable)
                done, failed = Status.FINISHED, Status.FAILED
                update = contract.ActionUpdate
                said[:] = [[]]
                with pytest.raises(OutcomeLost, match="does not answer; nobody knows"):
                    await robot.do("wave")
                said[:] = [[update(id="x", status=Status.RUNNING)]]
                with pytest.raises(OutcomeLost, match="has not said how it ended"):
                    await robot.do("wave")
                said[:] = [[
                    update(id="x", status=done, result=1, seq=5), update(id="x", status=failed, seq=6),
                    update(id="x", status=done, result=2, seq=7),
                ]]  # fmt: skip
                assert await robot.do("wave") == 1
                said[:] = [[
                    update(id="x", status=Status.RUNNING, progress=0.9, seq=2), update(id="x", status=failed, seq=1),
                    update(id="x", status=done, result=3, seq=3),
                ]]  # fmt: skip
                assert await robot.do("wave") == 3
        finally:
            answering.cancel()
            await asyncio.gather(answering, return_exceptions=True)
            for tail in ("describe", "connection"):
                await link.publish(f"{TOP}/{tail}", b"", qos=1, retain=True)


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


GARBAGE = [
    b"", b"{", b"null", b"[]", b"{}", b"\xff" * 100, b"[" * 20_000, b"x" * (300 << 10),
    json.dumps({"schema": "liveagent.robot/1", "site": "lab", "robot": "other", "boot": "b"}).encode(),
    json.dumps({"schema": "liveagent.robot/9", "site": "lab", "robot": "base", "boot": "b"}).encode(),
    json.dumps({"site": "lab", "robot": "base", "boot": "b", "tools": [
        {"name": "a/#", "description": "d"}]}).encode(),
    json.dumps({"site": "lab", "robot": "base", "boot": "b", "tools": [
        {"name": "deep", "description": "d", "parameters": nested(60)}]}).encode(),
    json.dumps({"site": "lab", "robot": "base", "boot": "b", "tools": [
        {"name": "same", "description": "d"}, {"name": "same", "description": "d"}]}).encode(),
    json.dumps({"site": "lab", "robot": "base", "boot": "b", "tools": [
        {"name": f"t{at}", "description": "d"} for at in range(1000)]}).encode(),
]  # fmt: skip


def test_a_robot_that_announces_garbage_has_no_tools() -> None:
    for payload in GARBAGE:
        from liveagent.runtime.robots import SocketWay

        robot = Robot(SocketWay("lab", "base"))
        robot.came("describe", payload)
        assert robot.describe is None and not robot.tools() and len(robot.problems()) == 2, payload[:80]
    fine = contract.Describe(site="lab", robot="base", boot="b", tools=[
        contract.ToolSpec(name="odd", description="d", parameters={"type": "object", "properties": {"a": 5}}),
        contract.ToolSpec(name="list", description="d", parameters={
            "type": "object", "properties": {"a": {"type": "array"}}, "required": ["a"]}),
        contract.ToolSpec(name="endless", description="d", parameters={
            "type": "object", "properties": {"a": {"$ref": "#"}}, "required": []}),
        contract.ToolSpec(name="fine", description="d"),
    ])  # fmt: skip
    robot = Robot(SocketWay("lab", "base"))
    robot._soon = lambda what: what.close()  # type: ignore[method-assign]
    robot.came("describe", contract.write(fine))
    assert [tool.name for tool in robot.tools()] == ["endless", "fine"] and len(robot.problems()) == 3


@pytest.mark.parametrize("name", ["a/b", "#", "+", "$SYS", "", "x" * 65, "a b", "..", "é"])
def test_names_that_mean_something_in_a_topic_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be an id"):
        Gate("mqtt://localhost", robot=name)
    with pytest.raises(ValueError, match="cannot be an id"):
        contract.topic("lab", name, "cmd")


async def test_a_robot_without_a_broker_is_a_link_error() -> None:
    async with seen("mqtt://127.0.0.1:9") as robot:
        assert "is not there" in robot.problems()[0]
        with pytest.raises(ToolError, match="is not there"):
            await robot.do("go", {"x": 1.0})
        with pytest.raises(LinkError, match="cannot be reached for a stop"):
            await robot.stop()


async def test_nagle_is_off_at_both_ends(mqtt: Mosquitto) -> None:
    """Either side alone makes it 45 ms: whether the option is set is what can be tested without a clock."""
    import socket

    async with lab(mqtt) as (bot, robot):
        links = list(robot._way._links.values())  # type: ignore[attr-defined]
        clients = [link._client for link in links]
        assert len(clients) == 3
        for client in clients:
            held = client._client.socket()
            assert held.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert await robot.do("where") == {"x": 0.0, "y": 0.0, "yaw": 0.0}
        assert bot.gate.robot == "base"
