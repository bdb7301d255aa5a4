"""`RobotCamera`: what a robot's camera sees, as any other camera of an agent's: the newest picture, when asked for.

Pictures are decoded one at a time, out of this process; those that come meanwhile are skipped and counted. A picture is
stamped when it comes, which is when it was taken plus its way here.
"""

from __future__ import annotations

import asyncio
import time

from liveagent.errors import LiveAgentError
from liveagent.ports.pictures import Pictures
from liveagent.video import VideoFrame


class RobotCamera:
    def __init__(self, name: str) -> None:
        self.name = name
        self.jpeg: bytes | None = None
        """The newest, as it came."""
        self.t_ns = 0
        """When that was."""
        self.corrupt = 0
        self._pictures: Pictures | None = None
        self._newest: VideoFrame | None = None
        self._waiting: tuple[bytes, int] | None = None
        self._dropped = 0
        self._wanted = False
        self._task: asyncio.Task[None] | None = None
        self._came = asyncio.Event()

    def start(self) -> None:
        """Pictures are decoded from now on; before, they are only kept as they came."""
        self._wanted = True

    def close(self) -> None:
        self._wanted = False

    def read(self, by_ns: int | None = None) -> VideoFrame | None:
        """The newest picture that was taken by then (None: at all) and was not read yet."""
        frame = self._newest
        if frame is None or (by_ns is not None and frame.t_ns > by_ns):
            return None
        self._newest = None
        return frame

    async def next(self, timeout_s: float = 2.0) -> VideoFrame:
        """A picture that comes after this is asked. TimeoutError from a camera that sends none."""
        asked_ns, was = time.monotonic_ns(), self._wanted
        self._wanted = True
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self._came.clear()
                    await self._came.wait()
                    if (frame := self._newest) is not None and frame.t_ns >= asked_ns:
                        return frame
        finally:
            self._wanted = was

    def feed(self, jpeg: bytes) -> None:
        """One came."""
        self.jpeg, self.t_ns = jpeg, time.monotonic_ns()
        if not self._wanted:
            return
        self._dropped += self._waiting is not None
        self._waiting = (jpeg, self.t_ns)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._decode(), name=f"camera {self.name}")

    async def _decode(self) -> None:
        self._pictures = self._pictures or Pictures()
        while self._waiting is not None:
            (jpeg, t_ns), self._waiting = self._waiting, None
            try:
                pixels = await self._pictures.decode(jpeg, "image/jpeg")
            except LiveAgentError:
                self.corrupt += 1
                continue
            dropped = self._dropped + (0 if self._newest is None else 1 + self._newest.dropped)
            self._newest, self._dropped = VideoFrame(pixels, t_ns, dropped), 0
            self._came.set()

    async def end(self) -> None:
        """No more of it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._pictures is not None:
            await self._pictures.close()
