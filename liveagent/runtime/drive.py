"""`Drive`: leading a robot by streams: speeds, ten to twenty a second, or stretches of actions, two to five."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from liveagent.clients.robot.contract import VELOCITY_WINDOW_MS, Chunk, Velocity, write
from liveagent.errors import ToolError
from liveagent.runtime.lead import Lead, now_ms

Say = Callable[[str, bytes, int], Awaitable[None]]


class Drive:
    """Over when its lead is lost: everything here then raises ToolError, and another drive is another decision."""

    def __init__(self, lead: Lead, grant: int, say: Say, seq: Callable[[], int]) -> None:
        self._lead, self._grant, self._say, self._seq = lead, grant, say, seq

    @property
    def lost(self) -> str | None:
        """Why it is over; None while it is not."""
        return self._lead.lost

    async def velocity(self, **axes: float) -> None:
        """Speeds by axis, good for 200 ms. ToolError, LinkError."""
        self._check()
        now = now_ms()
        await self._say("vel", write(Velocity(
            seq=self._seq(), epoch=self._lead.epoch, session=self._lead.session, grant=self._grant, sent_ms=now,
            deadline_ms=now + VELOCITY_WINDOW_MS, axes=axes,
        )), 0)  # fmt: skip

    async def chunk(
        self, actions: Sequence[Sequence[float]], dt_ms: float, *, t0_ms: float | None = None, replaces_from: int = 0,
        last: bool = False,
    ) -> None:
        """Actions for t0 (Unix time; None: now), t0 + dt, …; what of them is past when they come is skipped. ToolError,
        LinkError."""
        self._check()
        now = now_ms()
        t0_ms = now if t0_ms is None else t0_ms
        await self._say("chunk", write(Chunk(
            seq=self._seq(), epoch=self._lead.epoch, session=self._lead.session, grant=self._grant, sent_ms=now,
            deadline_ms=t0_ms + dt_ms * len(actions), t0_ms=t0_ms, dt_ms=dt_ms,
            actions=[list(each) for each in actions], replaces_from=replaces_from, last=last,
        )), 0)  # fmt: skip

    def _check(self) -> None:
        if self._lead.lost is not None:
            raise ToolError(f"the robot is not led any more: {self._lead.lost}")
