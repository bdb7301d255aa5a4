"""A session's line to an ear's process, and what came out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from liveagent.event import EarFailed, EarHeard
from liveagent.runtime.ear_process import EarLine, EarProcess
from tests.site import WAIT_S


class EarTold:
    """What is put into the line is each test's; `events` came back, in order."""

    def __init__(self, process: EarProcess) -> None:
        self.events: list[EarHeard | EarFailed] = []
        self.news = asyncio.Event()
        self.line: EarLine = process.open(self._put, lambda: 7)

    def _put(self, event: EarHeard | EarFailed) -> None:
        self.events.append(event)
        self.news.set()

    async def until(self, holds: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not holds():
                self.news.clear()
                await self.news.wait()

    def heard(self, begun_ns: int) -> list[EarHeard]:
        return [each for each in self.events if isinstance(each, EarHeard) and each.begun_ns == begun_ns]
