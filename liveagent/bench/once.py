"""Two thousand calls while agent, broker and robot are killed again and again: does each end once, with one effect?

A child process does what an agent does with calls: hands, policy, confirmations, the journal on disk. Of twenty calls
seven are to tools of its own, and thirteen are orders to a robot: another child, behind a real gate, which is reached
over a third, a real Mosquitto. Each of the three is killed by its id at any moment, whatever the others do, and begun
again; the agent then tries everything anew that it has not seen the end of, like any client that was cut off. The
effects are lines in a file that nobody reads before the end; each tool is slow around its effect, so that many a kill
falls between effect and answer. Some calls raise, hang beyond their deadline, wait in a window and are taken back, or
are hazards that are confirmed, declined, or left alone; some orders move the robot, which somebody has to lead then.

    unaccounted          calls that did not end as done, failed, refused, expired, taken back or asked                 0
    duplicated           calls that had their effect twice                                                             0
    past_deadline        effects that came after the call's deadline                                                   0
    done_without_effect  calls that say they are done, and are not                                                     0
    refused_with_effect  calls that say they were not done, and were                                                   0
    asked_twice          calls of unknown outcome that were asked about more than once                                 0

`detail`: how often each of the three was killed, how the calls ended, and how many were left between effect and answer.
A robot call whose outcome is not known is asked about as well while the agent lives: the robot has restarted, or does
not answer any more.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from liveagent.action import CallTool, CancelCall, ReleaseCall
from liveagent.bench.effects import Effects, append, judge, lines
from liveagent.bench.mortal import Mortal, MortalBroker, quiet, tell
from liveagent.bench.presser import CONFIRM_KEY, NAME, SITE
from liveagent.call import Call
from liveagent.event import OutcomeUnknown, ToolFailed, ToolReturned
from liveagent.policy import Policy, Question
from liveagent.ports.call_journal import CallJournal, read_rows
from liveagent.ports.mosquitto import Mosquitto
from liveagent.runtime.clearing import Terms
from liveagent.runtime.hands import Hands
from liveagent.runtime.robot import Robot
from liveagent.runtime.way import MqttWay
from liveagent.tool import Tool, tool

CALLS = 2000
IN_FLIGHT = 6
DEADLINE_MS = 60
LIVES_S = (0.05, 1.0)
ROBOT_LIVES_S = (0.2, 2.0)
BROKER_LIVES_S = (0.2, 3.0)
RETRIED = 0.1
"""Of the calls whose outcome is unknown, so many are tried again in each life: it must come to nothing."""
REACH_S = 3.0
"""So long an order waits for the robot to be there. After that it is given all the same, and refused."""
JOURNAL, EFFECTS, ASKED = "calls.db", "effects", "asked"
KINDS = (
    "press", "act", "press", "turn", "late", "press", "peek", "held", "press", "fire",
    "hang", "press", "jam", "turn", "danger", "press", "stall", "observe", "lag", "fail",
)  # fmt: skip
ORDERS = {"press", "turn", "peek", "fire", "jam", "stall", "lag"}


def _tools(effects: Effects, rng: random.Random) -> list[Tool]:
    async def effect(number: int, call: Call, before_s: float = 0.0) -> str:
        begun_ns = time.monotonic_ns()
        await asyncio.sleep(before_s)
        took_ms = (time.monotonic_ns() - begun_ns) / 1e6
        effects.had(number, call.key, took_ms)
        await asyncio.sleep(rng.uniform(0, 0.02))  # a kill that falls here leaves an effect without an answer
        return "done"

    @tool
    async def act(number: int, call: Call) -> str:
        """Have an effect."""
        await call.accepted()
        return await effect(number, call, rng.uniform(0, 0.005))

    @tool
    async def fail(number: int, call: Call) -> str:
        """Have an effect and raise."""
        await effect(number, call)
        raise OSError("it broke")

    @tool
    async def hang(number: int, call: Call) -> str:
        """Have an effect and never return."""
        await effect(number, call)
        await asyncio.sleep(3600)
        return "never"

    @tool
    async def late(number: int, call: Call) -> str:
        """Want to have an effect after the deadline."""
        return await effect(number, call, 1.5 * DEADLINE_MS / 1000)

    @tool(hold_ms=10)
    async def held(number: int, call: Call) -> str:
        """Have an effect, after a window."""
        return await effect(number, call)

    @tool(risk="hazard")
    async def danger(number: int, call: Call) -> str:
        """Have an effect that somebody confirms."""
        return await effect(number, call)

    @tool(risk="observe")
    async def observe(number: int, call: Call) -> str:
        """Look, and note that one has looked."""
        return await effect(number, call)

    return [act, fail, hang, late, held, danger, observe]


async def _live(folder: Path, url: str, calls: int, seed: int) -> None:
    """One life of the agent: everything that has not ended yet is tried, again or for the first time. It tells when it
    is up, and when there is nothing left to do."""
    quiet()
    rng = random.Random(seed + os.getpid())
    journal = CallJournal(folder / JOURNAL)
    over, room = set[str](), asyncio.Semaphore(IN_FLIGHT)
    loop = asyncio.get_running_loop()

    def put(event: object) -> None:
        if isinstance(event, OutcomeUnknown) or (isinstance(event, ToolFailed) and event.reason == "unknown"):
            append(folder / ASKED, {"call_id": event.call_id})
        if isinstance(event, ToolReturned | ToolFailed) and event.call_id in over:
            over.discard(event.call_id)
            room.release()

    def show(question: Question, token: str, left_s: float) -> bool:
        if rng.random() < 0.8:
            yes = rng.random() < 0.8
            loop.call_later(0.004, hands.confirm, question.call_id, token, yes, "button")
        return True

    policy = Policy(per_second=10**6, per_minute=10**9, confirm_s=0.05)
    terms = Terms(journal, session="bench", owner="bench")
    hands = Hands(_tools(Effects(folder / EFFECTS), rng), put, time.monotonic_ns, (), policy, terms)
    hands.clearing.show = show
    robot = Robot(MqttWay(url, SITE, NAME), confirm_key=CONFIRM_KEY)
    await robot.open(lambda: hands.found(robot.tools()))
    await hands.clearing.ask_about_the_past()
    ended = {
        row.call.call_id
        for row in await journal.rows(calls + 1)
        if row.call.ended and (row.call.state != "asked" or rng.random() > RETRIED)
    }
    tell("up")
    for number in range(calls):
        call_id, kind = f"call_{number}", KINDS[number % len(KINDS)]
        if call_id in ended:
            continue
        await room.acquire()
        await asyncio.sleep(rng.uniform(0.001, 0.004))
        deadline_ms = DEADLINE_MS
        if kind in ORDERS:
            deadline_ms = await _deadline_ms(robot, kind)
        over.add(call_id)
        hold_ms = 10 if kind == "held" else 0
        hands.obey(CallTool(call_id, kind, {"number": number}, deadline_ms, hold_ms=hold_ms))
        if hold_ms:
            then = CancelCall(call_id, "taken_back") if number % 3 == 0 else ReleaseCall(call_id)
            loop.call_later(hold_ms / 1000, hands.obey, then)
    for _ in range(IN_FLIGHT):
        await room.acquire()
    await hands.close()
    await robot.close()
    await journal.close()
    tell("over")


async def _deadline_ms(robot: Robot, name: str) -> int:
    """Of an order, once the robot is there to be ordered."""
    until_s = time.monotonic() + REACH_S
    while not robot.reachable and time.monotonic() < until_s:  # noqa: ASYNC110 (tells nobody)
        await asyncio.sleep(0.01)
    return next((int(each.timeout_s * 1000) for each in robot.tools() if each.name == name), DEADLINE_MS)


async def _all_live(
    folder: Path, calls: int, seed: int, agent_s: tuple[float, float], robot_s: tuple[float, float],
    broker_s: tuple[float, float],
) -> dict[str, int]:  # fmt: skip
    """Until the agent comes to the end of its work; how often each was killed."""
    with Mosquitto() as started:
        url, rng = started.url(), random.Random(seed)
        words = ("liveagent.bench.once", str(folder), url, str(calls), str(seed))
        agent = Mortal(rng, agent_s, *words)
        robot = Mortal(rng, robot_s, "liveagent.bench.presser", url, str(folder / EFFECTS))
        broker = MortalBroker(started, rng, broker_s)
        async with asyncio.TaskGroup() as group:
            others = [group.create_task(robot.live()), group.create_task(broker.live())]
            await agent.live()
            for each in others:
                each.cancel()
    return {"agent": agent.kills, "broker": broker.kills, "robot": robot.kills}


def run(
    calls: int = CALLS,
    seed: int = 7,
    lives_s: tuple[float, float] = LIVES_S,
    robot_lives_s: tuple[float, float] = ROBOT_LIVES_S,
    broker_lives_s: tuple[float, float] = BROKER_LIVES_S,
) -> dict[str, Any]:
    """The figure; two to four minutes. `lives_s` and the others: how long each lives, at the least and at the most.
    DeviceError without mosquitto."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kills = asyncio.run(_all_live(folder, calls, seed, lives_s, robot_lives_s, broker_lives_s))
        rows = read_rows(folder / JOURNAL, calls + 1)
        asked = [str(each["call_id"]) for each in lines(folder / ASKED)]
        figures = judge(calls, rows, lines(folder / EFFECTS), asked)
    figures["detail"]["kills"] = kills
    return figures


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
