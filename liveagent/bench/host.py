"""A real server in a process of its own, for the benches, which tells twice a second how it is.

`python -m liveagent.bench.host FD LANES` serves the shipped agent on a free loopback port and writes JSON lines to the
pipe that it inherited: first `{"port"}`, then `{"t_s", "lags_ms", "rss_mb", "engine_rss_mb", "fds", "tasks",
"sessions"}`, where `lags_ms` are those of every tick done since the line before. With `open` as a third word it lets in
everybody for whom there is a lane, however late the ticks are: whoever wants to know how many sessions it holds must be
able to ask for too many.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

TELL_S = 0.5
START_S = 120.0


class Host:
    """The process, seen from outside. `told` collects what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], pipe: int) -> None:
        self.process, self._pipe = process, pipe
        self.told: list[dict[str, Any]] = []
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        first = self._lines.get(timeout=START_S)
        if first is None:
            raise RuntimeError("the server did not start; try `liveagent serve`")
        self.port = int(first["port"])

    def _read(self) -> None:
        with os.fdopen(self._pipe) as lines:
            for line in lines:
                self._lines.put(json.loads(line))
        self._lines.put(None)

    def listen(self) -> list[dict[str, Any]]:
        """What it has said since this was last asked."""
        fresh = []
        while not self._lines.empty():
            if (line := self._lines.get()) is not None:
                fresh.append(line)
        self.told += fresh
        return fresh

    def lags_ms(self) -> list[float]:
        """Of the ticks done since this, or `listen`, was last asked."""
        return [lag for line in self.listen() for lag in line["lags_ms"]]


@contextmanager
def host(lanes: int, everybody: bool = False) -> Iterator[Host]:
    """A server that is up, with its weights loaded; ended on the way out."""
    with child("liveagent.bench.host", str(lanes), *(["open"] if everybody else [])) as (process, pipe):
        yield Host(process, pipe)


@contextmanager
def child(module: str, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A module run in a process of its own, with the number of a pipe's end as its first argument; our end of that
    pipe, to be closed by whoever reads it. Ended on the way out."""
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", module, str(theirs), *words]
    with subprocess.Popen(command, pass_fds=[theirs]) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def rss_mb(pid: int | str = "self") -> float:
    """A process's resident memory."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def teller(pipe: str) -> Callable[[dict[str, Any]], None]:
    """Writes lines into the pipe that a child was given."""
    file = os.fdopen(int(pipe), "w")

    def tell(what: dict[str, Any]) -> None:
        file.write(json.dumps(what) + "\n")
        file.flush()

    return tell


async def _serve(tell: Callable[[dict[str, Any]], None], lanes: int, everybody: bool) -> None:
    from liveagent.load import load_agent
    from liveagent.ports.webserver import WebServer
    from liveagent.runtime.server import Server

    server = Server(load_agent("voice_video").replace(camera=None), lanes=lanes)
    lags: list[float] = []
    admission, tick = server.admission, server.admission.tick

    def ticked(now_s: float, lateness_s: float) -> None:
        lags.append(lateness_s * 1000)
        if not everybody:
            tick(now_s, lateness_s)

    admission.tick = ticked  # type: ignore[method-assign]
    if everybody:
        admission.feed = lambda now_s, engine_busy: None  # type: ignore[method-assign]
    web = WebServer(server)
    web.bind()
    async with server.lifespan():
        running = asyncio.create_task(web.run())
        tell({"port": web.port})
        while not running.done():
            await asyncio.sleep(TELL_S)
            load = server.engine.load()
            fds = await asyncio.to_thread(os.listdir, "/proc/self/fd")
            tell({
                "t_s": round(time.monotonic(), 3), "lags_ms": [round(lag, 2) for lag in lags],
                "rss_mb": round(rss_mb(), 3), "engine_rss_mb": round(load.rss_bytes / 1e6, 3), "fds": len(fds),
                "tasks": len(asyncio.all_tasks()), "sessions": len(server.seats),
            })  # fmt: skip
            lags.clear()


def main() -> None:
    from liveagent.ports.webserver import event_loop

    with asyncio.Runner(loop_factory=event_loop()) as runner:
        runner.run(_serve(teller(sys.argv[1]), int(sys.argv[2]), "open" in sys.argv[3:]))


if __name__ == "__main__":
    main()
