"""The simulated arm as a program, at a broker:

    python -m liveagent.clients.arm mqtt://127.0.0.1:1883 --site home --robot arm --seed 7

The address may stand in LIVEAGENT_BROKER instead, where no other user of the machine reads its password.

Lines on standard input are a person's hands: "release" lifts a stop, "cover" puts a lid on the camera or takes it off,
"table" or "table 12" lays another table. MUJOCO_GL=egl or osmesa chooses what pictures are drawn with.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading

from liveagent.clients.arm.cell import Cell
from liveagent.clients.arm.scene import scene


def main() -> int:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m liveagent.clients.arm",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    broker = os.environ.get("LIVEAGENT_BROKER")
    parser.add_argument(
        "url", nargs="?", default=broker, help="mqtt:// or mqtts:// for a broker, ws:// or wss:// for a server's /robot"
    )
    parser.add_argument("--site", default="home")
    parser.add_argument("--robot", default="arm")
    parser.add_argument("--seed", type=int, default=806, help="which things lie on the table, and where")
    o = parser.parse_args()
    if not o.url:
        parser.error("say where the broker is: mqtt://host:port")
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    cell = Cell(o.url, scene(o.seed), site=o.site, robot=o.robot)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(cell, o.seed))
    return 0


async def _run(cell: Cell, seed: int) -> None:
    loop, running = asyncio.get_running_loop(), asyncio.current_task()
    assert running is not None
    loop.add_signal_handler(signal.SIGTERM, running.cancel)
    threading.Thread(target=_listen, args=(cell, loop, seed), name="hands", daemon=True).start()
    with contextlib.suppress(asyncio.CancelledError):
        await cell.run()


def _listen(cell: Cell, loop: asyncio.AbstractEventLoop, seed: int) -> None:
    """What a person types, in a thread of its own, which ends with the program."""
    for line in sys.stdin:
        words = line.split()
        if words[:1] == ["table"]:
            seed = int(words[1]) if len(words) > 1 and words[1].isdigit() else seed + 1
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(_help, cell, words, seed)


def _help(cell: Cell, words: list[str], seed: int) -> None:
    match words[:1]:
        case ["release"]:
            print("the stop is lifted" if cell.release() else "there is no stop", flush=True)
        case ["cover"]:
            cell.camera.covered = not cell.camera.covered
            print("the camera is covered" if cell.camera.covered else "the camera sees again", flush=True)
        case ["table"]:
            cell.lay(scene(seed))
            print(f"table {seed}: " + ", ".join(each.name for each in cell.arm.world.scene.things), flush=True)
        case [_]:
            print("release, cover, or table [number]", flush=True)


if __name__ == "__main__":
    sys.exit(main())
