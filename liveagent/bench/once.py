"""Two thousand calls while the agent's process is killed again and again: does each end once, and have its effect once?

A child process does what an agent does with calls: hands, policy, confirmations, the journal on disk. It is killed by
its id at any moment, begun again, and, like any client that was cut off, tries everything anew that it has not seen the
end of. The effects are lines in a file that nobody reads before the end; each tool is slow around its effect, so that
many a kill falls between effect and answer. Some calls raise, hang beyond their deadline, wait in a window and are
taken back, or are hazards that are confirmed, declined, or left alone.

    unaccounted          calls that did not end as done, failed, refused, expired, taken back or asked                 0
    duplicated           calls that had their effect twice                                                             0
    past_deadline        effects that came after the call's deadline                                                   0
    done_without_effect  calls that say they are done, and are not                                                     0
    asked_twice          calls of unknown outcome that were asked about more than once                                 0

`detail`: how often the process was killed, how the calls ended, and how many were left between effect and answer. The
agent alone is killed here; a broker and a robot are not part of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from liveagent.action import CallTool, CancelCall, ReleaseCall
from liveagent.call import Call
from liveagent.event import OutcomeUnknown, ToolFailed, ToolReturned
from liveagent.policy import Policy, Question
from liveagent.ports.call_journal import CallJournal, read_rows
from liveagent.runtime.clearing import Terms
from liveagent.runtime.hands import Hands
from liveagent.tool import Tool, tool
from liveagent.transaction import ENDS

CALLS = 2000
IN_FLIGHT = 6
DEADLINE_MS = 60
LIVES_S = (0.05, 0.6)
RETRIED = 0.1
"""Of the calls whose outcome is unknown, so many are tried again in each life: it must come to nothing."""
MOST_LIVES = 2000
JOURNAL, EFFECTS, ASKED = "calls.db", "effects", "asked"
KINDS = ("act", "act", "act", "act", "fail", "hang", "late", "held", "danger", "observe")


def _append(path: Path, line: dict[str, Any]) -> None:
    """One line, whole or not at all, on the disk before it returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def _tools(folder: Path, rng: random.Random) -> list[Tool]:
    async def effect(number: int, call: Call, before_s: float = 0.0) -> str:
        begun_ns = time.monotonic_ns()
        await asyncio.sleep(before_s)
        took_ms = (time.monotonic_ns() - begun_ns) / 1e6
        _append(folder / EFFECTS, {"number": number, "key": call.key, "late": took_ms > call.deadline_ms})
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


async def _live(folder: Path, calls: int, seed: int, tell: Callable[[str], None]) -> None:
    """One life of the agent: everything that has not ended yet is tried, again or for the first time. `tell` is told
    when it is up, and when there is nothing left to do."""
    rng = random.Random(seed + os.getpid())
    journal = CallJournal(folder / JOURNAL)
    over, room = set[str](), asyncio.Semaphore(IN_FLIGHT)
    loop = asyncio.get_running_loop()

    def put(event: object) -> None:
        if isinstance(event, ToolReturned | ToolFailed) and event.call_id in over:
            over.discard(event.call_id)
            room.release()
        elif isinstance(event, OutcomeUnknown):
            _append(folder / ASKED, {"call_id": event.call_id})

    def show(question: Question, token: str, left_s: float) -> bool:
        if rng.random() < 0.8:
            yes = rng.random() < 0.8
            loop.call_later(0.004, hands.confirm, question.call_id, token, yes, "button")
        return True

    policy = Policy(per_second=10**6, per_minute=10**9, confirm_s=0.05)
    terms = Terms(journal, session="bench", owner="bench")
    hands = Hands(_tools(folder, rng), put, time.monotonic_ns, (), policy, terms)
    hands.clearing.show = show
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
        over.add(call_id)
        hold_ms = 10 if kind == "held" else 0
        hands.obey(CallTool(call_id, kind, {"number": number}, DEADLINE_MS, hold_ms=hold_ms))
        if hold_ms:
            then = CancelCall(call_id, "taken_back") if number % 3 == 0 else ReleaseCall(call_id)
            loop.call_later(hold_ms / 1000, hands.obey, then)
    for _ in range(IN_FLIGHT):
        await room.acquire()
    await hands.close()
    await journal.close()
    tell("over")


def _lives(folder: Path, calls: int, seed: int, lives_s: tuple[float, float]) -> int:
    """Begin the agent and kill it, until it comes to the end of its work; how often it was killed."""
    rng = random.Random(seed)
    for kills in range(MOST_LIVES):
        command = [sys.executable, "-m", "liveagent.bench.once", str(folder), str(calls), str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            if process.stdout.readline() != "up\n":
                raise RuntimeError("the agent of this bench did not start")
            try:
                process.wait(rng.uniform(*lives_s))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                continue
            if process.stdout.readline() != "over\n":
                raise RuntimeError(f"the agent of this bench ended with {process.returncode}")
            return kills
    raise RuntimeError(f"it was killed {MOST_LIVES} times and is not at the end; give it longer lives")


def _read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def run(calls: int = CALLS, seed: int = 7, lives_s: tuple[float, float] = LIVES_S) -> dict[str, Any]:
    """The figure; one to three minutes. `lives_s`: how long a process lives, at the least and at the most."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kills = _lives(folder, calls, seed, lives_s)
        rows = {row.call.call_id: row.call for row in read_rows(folder / JOURNAL, calls + 1)}
        effects, asked = _read(folder / EFFECTS), Counter(each["call_id"] for each in _read(folder / ASKED))
    times = Counter(each["number"] for each in effects)
    states = Counter(call.state for call in rows.values())
    done = [int(call_id.removeprefix("call_")) for call_id, call in rows.items() if call.state == "done"]
    unknown = [int(call_id.removeprefix("call_")) for call_id, call in rows.items() if call.state == "asked"]
    return {
        "unaccounted": calls - sum(call.state in ENDS for call in rows.values()),
        "duplicated": sum(count > 1 for count in times.values()),
        "past_deadline": sum(each["late"] for each in effects),
        "done_without_effect": sum(not times[number] for number in done),
        "asked_twice": sum(count > 1 for count in asked.values()),
        "detail": {
            "calls": calls, "kills": kills, "ended": dict(sorted(states.items())), "effects": len(effects),
            "asked_and_done": sum(bool(times[number]) for number in unknown),
        },
    }  # fmt: skip


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), partial(print, flush=True)))
