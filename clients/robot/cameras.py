"""`Cameras`: what the robot sees, sent as JPEGs at each camera's own pace, the newest only."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable

from .contract import MOST_PICTURE_BYTES, CameraSpec

_log = logging.getLogger("liveagent.robot")

Read = Callable[[], "bytes | None | Awaitable[bytes | None]"]


class Cameras:
    def __init__(self, put: Callable[[str, bytes], None]) -> None:
        self._put = put
        self._all: list[tuple[CameraSpec, Read]] = []

    @property
    def specs(self) -> list[CameraSpec]:
        return [spec for spec, _ in self._all]

    def add(self, name: str, read: Read, fps: float, size: tuple[int, int] | None) -> None:
        width, height = size or (None, None)
        self._all.append((CameraSpec(name=name, fps=fps, width=width, height=height), read))

    async def run(self) -> None:
        """Until cancelled."""
        if not self._all:
            await asyncio.Event().wait()
        await asyncio.gather(*(self._film(spec, read) for spec, read in self._all))

    async def _film(self, spec: CameraSpec, read: Read) -> None:
        loop = asyncio.get_running_loop()
        due, broken = loop.time(), False
        while True:
            try:
                found = read() if inspect.iscoroutinefunction(read) else await asyncio.to_thread(read)
                jpeg = await found if inspect.isawaitable(found) else found
                broken = False
            except Exception as error:  # a camera that is unplugged is looked for again
                if not broken:
                    _log.warning("camera %s gives no picture: %s", spec.name, error)
                jpeg, broken = None, True
            if jpeg and len(jpeg) <= MOST_PICTURE_BYTES:
                self._put(f"camera/{spec.name}/jpeg", jpeg)
            due = max(due + 1.0 / spec.fps, loop.time())
            await asyncio.sleep(due - loop.time())
