"""A robot for the bench of calls, in a process of its own: behind a real gate, and each of its effects is a line in a
file.

`python -m liveagent.bench.presser URL FILE` writes `up` once it can be given orders. It remembers nothing of an earlier
life.
"""

from __future__ import annotations

import asyncio
import random
import sys
from pathlib import Path

from liveagent.bench.effects import Effects
from liveagent.bench.mortal import quiet, tell
from liveagent.clients.robot import Call, Gate, Limits

SITE, NAME = "bench", "presser"
CONFIRM_KEY = b"a key of the bench"
SHORT_S, LONG_S = 0.1, 5.0
LAG_S = 2.5
"""Longer than the deadline of a call to what may take `SHORT_S`."""


def gate_of(url: str, effects: Effects) -> Gate:
    gate = Gate(
        url, site=SITE, robot=NAME, limits=Limits(speed={"vx": 0.5}, rate_per_s=1000), standstill_ms=100, ramp_ms=60,
        confirm_key=CONFIRM_KEY,
    )  # fmt: skip
    rng = random.Random()

    async def effect(number: int, call: Call, before_s: float = 0.0) -> str:
        await asyncio.sleep(before_s)
        effects.had(number, call.id)
        await asyncio.sleep(rng.uniform(0, 0.02))  # a kill that falls here leaves an effect without an answer
        return "done"

    @gate.velocity
    def drive(axes: dict[str, float]) -> None:
        """It has no motors."""

    @gate.action(motion=False, timeout_s=LONG_S)
    async def press(number: int, call: Call) -> str:
        """Have an effect."""
        return await effect(number, call, rng.uniform(0, 0.02))

    @gate.action(timeout_s=LONG_S)
    async def turn(number: int, call: Call) -> str:
        """Move for a moment, and have an effect."""
        for _ in range(5):
            call.move(vx=0.1)
            await asyncio.sleep(0.01)
        return await effect(number, call)

    @gate.action(risk="observe", timeout_s=LONG_S)
    async def peek(number: int, call: Call) -> str:
        """Look, and note that one has looked."""
        return await effect(number, call)

    @gate.action(risk="hazard", motion=False, timeout_s=LONG_S)
    async def fire(number: int, call: Call) -> str:
        """Have an effect that somebody confirms."""
        return await effect(number, call)

    @gate.action(motion=False, timeout_s=LONG_S)
    async def jam(number: int, call: Call) -> str:
        """Have an effect and raise."""
        await effect(number, call)
        raise OSError("it jammed")

    @gate.action(motion=False, timeout_s=SHORT_S)
    async def stall(number: int, call: Call) -> str:
        """Have an effect and never return."""
        await effect(number, call)
        await asyncio.sleep(3600)
        return "never"

    @gate.action(motion=False, timeout_s=SHORT_S)
    async def lag(number: int, call: Call) -> str:
        """Want to have an effect after the deadline."""
        return await effect(number, call, LAG_S)

    return gate


async def live(url: str, file: Path) -> None:
    quiet()
    gate = gate_of(url, Effects(file))
    running = asyncio.create_task(gate.run())
    while not gate._up and not running.done():  # noqa: ASYNC110 (the gate tells its agents, not its maker)
        await asyncio.sleep(0.01)
    tell("up")
    await running


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], Path(sys.argv[2])))
