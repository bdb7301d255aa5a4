"""`Lead`: one unbroken time of driving a robot. While it lasts the robot hears ten times a second that we are here.

It is lost when the robot says so, or says nothing for as long as its own window: then a lead is over for good. Whoever
wants to drive on takes another, and decides that anew; nothing that was on its way under the old one moves anything.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from liveagent.clients.robot.contract import LEASE_PERIOD_MS, LEASE_WINDOW_MS, Lease, LeaseEcho, Reason, write
from liveagent.errors import LiveAgentError, ToolError

TAKE_S = 1.5
ROUNDS = 30
"""Round trips that are remembered: the quickest of them says best how far apart the clocks are."""

WHY = {
    Reason.BUSY: "somebody else is driving the robot",
    Reason.STALE_EPOCH: "the robot was stopped or has restarted",
    Reason.CLOCK_SKEW: "the robot's clock and this machine's are too far apart; set them by the network's time",
    Reason.EXPIRED: "the way to the robot is too slow",
}


def now_ms() -> float:
    """Unix time, as the contract writes it."""
    return time.time() * 1000.0


class Lead:
    """`send(payload)` sends a heartbeat; `feed` is given what the robot answers. `seq` must grow over all leads."""

    def __init__(
        self, session: str, epoch: int, seq: Callable[[], int], send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self.session, self.epoch = session, epoch
        self._next, self._send = seq, send
        self.grant: int | None = None
        self.lost: str | None = None
        """Why it is over; None while it lasts."""
        self._refused: Reason | None = None
        self._settled = asyncio.Event()
        self._heard_s = 0.0
        self._rounds: deque[tuple[float, float]] = deque(maxlen=ROUNDS)  # round trip, offset
        self._task = asyncio.create_task(self._beat(), name="lead")

    async def taken(self) -> int:
        """The grant. ToolError when the robot does not give it."""
        try:
            async with asyncio.timeout(TAKE_S):
                await self._settled.wait()
        except TimeoutError:
            why = WHY.get(self._refused, "the robot does not answer") if self._refused else "the robot does not answer"
            self.end(why)
        if self.grant is None or self.lost is not None:
            raise ToolError(self.lost or "the robot does not answer")
        return self.grant

    def feed(self, echo: LeaseEcho) -> None:
        """What the robot answers to a heartbeat."""
        if echo.session != self.session:
            return
        now = now_ms()
        round_ms = now - echo.sent_ms
        if 0 <= round_ms <= 10_000:
            self._rounds.append((round_ms, echo.received_ms - echo.sent_ms - round_ms / 2.0))
        if echo.granted and self.grant in (None, echo.grant):
            self.grant = echo.grant
            # It counts from when we asked: an answer that was held up says how things stood then.
            self._heard_s = max(self._heard_s, time.monotonic() - max(0.0, round_ms) / 1000.0)
            self._settled.set()
        elif self.grant is not None and echo.reason not in (Reason.DUPLICATE, Reason.EXPIRED):
            self.end(WHY.get(echo.reason, "the robot no longer follows") if echo.reason else "the robot let go")
        else:
            self._refused = echo.reason

    @property
    def offset_ms(self) -> float | None:
        """The robot's clock minus ours."""
        return min(self._rounds)[1] if self._rounds else None

    def end(self, why: str = "it was ended") -> None:
        """Heartbeats stop; the robot holds by itself."""
        self.lost = self.lost or why
        self._settled.set()
        self._task.cancel()

    async def _beat(self) -> None:
        while True:
            if self.grant is not None and time.monotonic() - self._heard_s > LEASE_WINDOW_MS / 1000.0:
                self.lost = "the robot was not heard for too long"
                return
            now = now_ms()
            best = min(self._rounds) if self._rounds else None
            beat = Lease(
                session=self.session, epoch=self.epoch, seq=self._next(), sent_ms=now,
                deadline_ms=now + LEASE_WINDOW_MS, offset_ms=best and best[1], rtt_ms=best and best[0],
            )  # fmt: skip
            try:
                await self._send(write(beat))
            except LiveAgentError as error:
                self.lost = str(error)
                self._settled.set()
                return
            await asyncio.sleep(LEASE_PERIOD_MS / 1000.0)
