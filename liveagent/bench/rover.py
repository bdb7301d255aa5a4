"""A robot for the benches, in a process of its own: an omni base with seven joints behind a real gate, that tells when
its setpoint becomes zero and when it does not.

`python -m liveagent.bench.rover FD URL` writes JSON lines to the pipe that it inherited: `{"ready"}`, then
`{"moves", "t_ns"}` at each change, on the clock that all processes of this machine share.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from liveagent.bench.host import child, teller
from liveagent.clients.robot import Call, Gate, Limits

SITE, NAME = "bench", "rover"
JOINTS = 7
READY_S = 30.0


def gate_of(url: str, tell: Callable[[dict[str, Any]], None]) -> Gate:
    joints = [f"j{at}" for at in range(JOINTS)]
    gate = Gate(
        url, site=SITE, robot=NAME, limits=Limits(speed={"vx": 0.5, "vy": 0.5}, rate_per_s=1000), joints=joints,
        chunk="position", standstill_ms=100, ramp_ms=60,
    )  # fmt: skip
    moves = False

    @gate.velocity
    def drive(axes: Mapping[str, float]) -> None:
        nonlocal moves
        if moves != any(axes.values()):
            moves = not moves
            tell({"moves": moves, "t_ns": time.monotonic_ns()})

    gate.joints(lambda targets: None)

    @gate.action(risk="observe")
    async def nothing() -> None:
        """Do nothing, and say so."""

    @gate.action(timeout_s=3600)
    async def roll(call: Call) -> None:
        """Roll until somebody ends it."""
        while True:
            call.move(vx=0.3)
            await asyncio.sleep(0.02)

    return gate


@contextmanager
def rover(url: str) -> Iterator[IO[str]]:
    """One that starts; what it tells, line by line. Ended on the way out."""
    with ExitStack() as stack:
        closing: list[IO[str]] = []
        stack.callback(lambda: [told.close() for told in closing])  # after the process: somebody may be reading
        _, pipe = stack.enter_context(child("liveagent.bench.rover", url))
        closing.append(os.fdopen(pipe))
        yield closing[0]


async def ready(told: IO[str]) -> None:
    """Wait until it may move."""
    line = await asyncio.to_thread(told.readline)
    if not line or json.loads(line) != {"ready": True}:
        raise RuntimeError("the rover did not start")


def main() -> None:
    tell = teller(sys.argv[1])

    async def run() -> None:
        logging.getLogger("liveagent").setLevel(logging.CRITICAL)
        gate = gate_of(sys.argv[2], tell)
        running = asyncio.create_task(gate.run())
        async with asyncio.timeout(READY_S):
            while not gate._up or gate.guard.path is not None:  # noqa: ASYNC110 (the gate tells its agents, not its maker)
                await asyncio.sleep(0.01)
        tell({"ready": True})
        await running

    asyncio.run(run())


if __name__ == "__main__":
    main()
