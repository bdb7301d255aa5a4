"""The simulated arm as a program, at a broker:

    python -m liveagent.clients.arm mqtt://127.0.0.1:1883 --site home --robot arm --seed 7

Lines on standard input are a person's hands: "release" lifts a stop, "cover" puts a lid on the camera or takes it off,
"table" or "table 12" lays another table. MUJOCO_GL=egl or osmesa chooses what pictures are drawn with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys

from liveagent.clients.arm.cell import Cell
from liveagent.clients.arm.scene import scene


def main() -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m liveagent.clients.arm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", help="mqtt:// or mqtts:// for a broker, ws:// or wss:// for a server's /robot")
    parser.add_argument("--site", default="home")
    parser.add_argument("--robot", default="arm")
    parser.add_argument("--seed", type=int, default=4, help="which things lie on the table, and where")
    o = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    cell = Cell(o.url, scene(o.seed), site=o.site, robot=o.robot)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(cell, o.seed))
    return 0


async def _run(cell: Cell, seed: int) -> None:
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    assert running is not None
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    hands = asyncio.StreamReader()
    with contextlib.suppress(OSError, ValueError):  # no standard input, or one that is no pipe
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(hands), sys.stdin)
    helping = asyncio.create_task(_help(cell, hands, seed))
    try:
        with contextlib.suppress(asyncio.CancelledError):
            await cell.run()
    finally:
        helping.cancel()
        await asyncio.gather(helping, return_exceptions=True)


async def _help(cell: Cell, hands: asyncio.StreamReader, seed: int) -> None:
    while line := await hands.readline():
        words = line.decode(errors="replace").split()
        if words[:1] == ["release"]:
            print("the stop is lifted" if cell.release() else "there is no stop", flush=True)
        elif words[:1] == ["cover"]:
            cell.camera.covered = not cell.camera.covered
            print("the camera is covered" if cell.camera.covered else "the camera sees again", flush=True)
        elif words[:1] == ["table"]:
            seed = int(words[1]) if len(words) > 1 and words[1].isdigit() else seed + 1
            cell.arm.cancel()
            cell.arm.pour(scene(seed))
            print(f"table {seed}: " + ", ".join(each.name for each in cell.arm.world.scene.things), flush=True)
        elif words:
            print("release, cover, or table [number]", flush=True)


if __name__ == "__main__":
    sys.exit(main())
