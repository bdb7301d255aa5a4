"""What a frame of sound costs on its way through the server, without any model behind it.

A server process of its own echoes sound: each 20 ms frame (640 bytes of samples) that comes in is read by the native
codec, put into a conversation's order, told back to the codec as speech, and sent, through the same web server, link
and pumps that sessions have. Beside it the same clients talk to a bare echo on the same library (`websockets`) and the
same kind of event loop, which only hands each message back. The CPU time is that of the server's process, by the
kernel's own account.

    cpu_us_per_20ms_frame   in and out, once each, microseconds of one core                                      report
    vs_bare_websockets      frames per CPU second, ours / bare                                                    >= 0.5

`detail` has the bare echo's cost and the number of frames.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from liveagent.bench.host import child, teller
from liveagent.wire.codec import Frame, Sound, Spoken, Welcome
from liveagent.wire.native import HEADER, NativeCodec

FRAME_SAMPLES = 320
PEERS = 20
FRAMES_A_SECOND = 50
SECONDS = 8.0
ROUNDS = 3
HELLO = '{"type": "hello", "v": 1, "speak": true}'


class Echo:
    """As much of a conversation as carries sound: what is heard is said."""

    def __init__(self) -> None:
        self.codec = NativeCodec(Welcome("bench", "none"))
        self.closing: tuple[int, str] | None = None
        self._said = 0
        self._queue: deque[Sound] = deque()
        self._outbox: deque[Frame] = deque()
        self._sendable = asyncio.Event()

    async def receive(self, data: Frame) -> None:
        now_ns = time.monotonic_ns()
        self._queue.extend(each for each in self.codec.receive(data, now_ns) if isinstance(each, Sound))
        while self._queue:
            samples = self._queue.popleft().pcm.astype(np.float32) / 32768.0
            self.codec.tell(Spoken(1, self._said, samples), now_ns)
            self._said += len(samples)
        self._outbox.extend(self.codec.take())
        self._sendable.set()

    async def outgoing(self) -> list[Frame]:
        while not self._outbox:
            self._sendable.clear()
            await self._sendable.wait()
        frames = list(self._outbox)
        self._outbox.clear()
        return frames


async def _ours(tell: Callable[[dict[str, Any]], None]) -> None:
    from liveagent.ports.webserver import WebServer
    from liveagent.runtime.link import Link, pump

    async def app(scope: Any, receive: Any, send: Any) -> None:
        link = Link(scope, receive, send)
        await link.begin()
        await link.accept()
        await pump(link, cast("Any", Echo()))

    server = WebServer(app)
    server.bind()
    tell({"port": server.port})
    await server.run()


async def _bare(tell: Callable[[dict[str, Any]], None]) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    async def echo(peer: ServerConnection) -> None:
        async for message in peer:
            await peer.send(message)

    async with serve(echo, "127.0.0.1", 0, compression=None) as server:
        tell({"port": next(iter(server.sockets)).getsockname()[1]})
        await asyncio.get_running_loop().create_future()


def _cpu_s(pid: int) -> float:
    """To the nanosecond, by the clock that Linux has for each process (clock_getcpuclockid); `/proc` counts hundredths,
    and a short measure would often be none."""
    return time.clock_gettime(~pid << 3 | 2)


async def _peer(port: int, frames: int, native: bool) -> int:
    """One client: sends so many frames at real time's pace, reads what comes back; how many frames that was."""
    from websockets.asyncio.client import connect

    came = 0
    async with connect(f"ws://127.0.0.1:{port}/live", compression=None) as link:
        if native:
            await link.send(HELLO)
            await link.recv()
        sound = np.random.default_rng(0).integers(-3000, 3000, FRAME_SAMPLES).astype("<i2").tobytes()

        async def read() -> None:
            nonlocal came
            while came < frames:
                came += isinstance(await link.recv(), bytes)

        reading = asyncio.create_task(read())
        begin = time.monotonic()
        for at in range(frames):
            await asyncio.sleep(max(0.0, begin + at / FRAMES_A_SECOND - time.monotonic()))
            await link.send(HEADER.pack(1, 0, 0, at * FRAME_SAMPLES, at * 20_000) + sound)
        await asyncio.wait_for(reading, 10)
    return came


async def _traffic(pid: int, port: int, kind: str, peers: int, seconds: float) -> float:
    """CPU microseconds of the server per frame."""
    await _peer(port, FRAMES_A_SECOND, kind == "ours")  # warm
    before = _cpu_s(pid)
    frames = round(seconds * FRAMES_A_SECOND)
    came = await asyncio.gather(*(_peer(port, frames, kind == "ours") for _ in range(peers)))
    return (_cpu_s(pid) - before) * 1e6 / max(1, sum(came))


def _measure(kind: str, peers: int, seconds: float) -> float:
    with child("liveagent.bench.transport", kind) as (server, pipe), os.fdopen(pipe) as told:
        port = json.loads(told.readline())["port"]
        return asyncio.run(_traffic(server.pid, port, kind, peers, seconds))


def run(peers: int = PEERS, seconds: float = SECONDS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure: both servers in turn, the median of `rounds`."""
    ours, bare = [], []
    for _ in range(rounds):
        ours.append(_measure("ours", peers, seconds))
        bare.append(_measure("bare", peers, seconds))
    one, other = float(np.median(ours)), float(np.median(bare))
    return {
        "cpu_us_per_20ms_frame": round(one, 1),
        "vs_bare_websockets": round(other / one, 3),
        "detail": {
            "bare_cpu_us": round(other, 1), "frames": round(peers * seconds * FRAMES_A_SECOND), "rounds": rounds,
        },
    }  # fmt: skip


def main() -> None:
    """A server for the bench: `ours` or `bare`."""
    from liveagent.ports.webserver import event_loop

    with asyncio.Runner(loop_factory=event_loop()) as runner:
        tell = teller(sys.argv[1])
        runner.run(_ours(tell) if sys.argv[2] == "ours" else _bare(tell))


if __name__ == "__main__":
    main()
