"""`Pictures`: what peers send as pictures, decoded in bounded time and memory.

The header is read first, here, and says no to whatever would become large; the rest is decoded in a process of its own,
with a deadline. Raw RGB needs no decoder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys

import numpy as np

from liveagent.errors import LinkError, ProtocolError
from liveagent.picture import check_header
from liveagent.ports.picture_child import ANSWER, LENGTH
from liveagent.video import Pixels

MOST_BYTES = 4 << 20
MOST_PX = 4_000_000
MOST_SIDE_PX = 640
DEADLINE_S = 2.0
START_S = 20.0

_RAW = re.compile(r"image/x-rgb;\s*width=(\d{1,4});\s*height=(\d{1,4})")


class Pictures:
    """Decodes one picture at a time; the process is started with the first, and again when one ended it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._child: asyncio.subprocess.Process | None = None

    async def decode(self, data: bytes, media_type: str = "") -> Pixels:
        """JPEG, PNG, GIF or WebP, whatever `media_type` calls it, or `image/x-rgb;width=W;height=H`, to uint8
        `[H, W, 3]`, at most 640 px long. ProtocolError, in plain words, for everything else."""
        if len(data) > MOST_BYTES:
            raise ProtocolError(f"a picture of {len(data)} bytes is too large; send at most {MOST_BYTES}")
        if (raw := _RAW.fullmatch(media_type)) is not None:
            width, height = int(raw[1]), int(raw[2])
            if not 0 < max(width, height) <= MOST_SIDE_PX or width * height * 3 != len(data):
                raise ProtocolError(f"{len(data)} bytes are no RGB picture of {width} x {height} px")
            return np.frombuffer(data, np.uint8).reshape(height, width, 3)
        width, height = check_header(data)
        if width * height > MOST_PX:
            most = f"{MOST_PX // 1_000_000} million px"
            raise ProtocolError(f"a picture of {width} x {height} px is too large; scale it down to at most {most}")
        async with self._lock:
            return await self._decode(data)

    async def _decode(self, data: bytes) -> Pixels:
        child = self._child
        try:
            if child is None or child.returncode is not None:
                child = await self._start()
            async with asyncio.timeout(DEADLINE_S):
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(LENGTH.pack(len(data)) + data)
                await child.stdin.drain()
                kind, height, width, length = ANSWER.unpack(await child.stdout.readexactly(ANSWER.size))
                body = await child.stdout.readexactly(length)
        except TimeoutError:
            await self._kill()
            raise ProtocolError("this picture takes too long to decode; send a simpler one") from None
        except (asyncio.IncompleteReadError, ConnectionError, OSError):
            await self._kill()
            raise ProtocolError("this picture ended its decoder; send another") from None
        except asyncio.CancelledError:  # its answer must not be taken for the next one's
            await self._kill()
            raise
        if kind:
            raise ProtocolError(body.decode(errors="replace"))
        return np.frombuffer(body, np.uint8).reshape(height, width, 3)

    async def _start(self) -> asyncio.subprocess.Process:
        command = (sys.executable, "-P", "-m", "liveagent.ports.picture_child", str(MOST_SIDE_PX))
        env = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # each thread reserves memory
        child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=env
        )
        self._child = child
        # The first answer waits for imports, and those must not count against a picture: ask about nothing first.
        try:
            async with asyncio.timeout(START_S):
                assert child.stdin is not None and child.stdout is not None
                child.stdin.write(LENGTH.pack(0))
                _, _, _, length = ANSWER.unpack(await child.stdout.readexactly(ANSWER.size))
                await child.stdout.readexactly(length)
        except TimeoutError:
            await self._kill()
            raise LinkError("the pictures' process does not start; try again later") from None
        return child

    async def _kill(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    async def close(self) -> None:
        """End the process; a picture that comes later starts another."""
        await self._kill()
