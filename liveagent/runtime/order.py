"""`Order`: one command on its way to a robot and what comes back of it: taken on, progress, one last word.

What comes twice, out of order, or after the last word says nothing more. A refusal is a last word only where the
command was sent once: of one that was sent again the first copy may have been done by a robot that has restarted since
and remembers nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from liveagent.clients.robot.contract import ActionUpdate, Command, Reason, Status
from liveagent.errors import OutcomeLost, ToolError

SAYS = {
    Reason.EXPIRED: "the robot got it too late, or took too long, and did not finish",
    Reason.DUPLICATE: "the robot has another order of that name",
    Reason.STOPPED: "the robot is stopped; somebody has to release it by hand",
    Reason.LIMIT: "that is outside the robot's limits",
    Reason.NOT_CONFIRMED: "the robot wants a person to confirm that",
    Reason.STALE_EPOCH: "the robot was stopped or has restarted meanwhile; ask again if it is still wanted",
    Reason.CANCELLED: "it was cancelled",
    Reason.NO_LEASE: "the robot lost contact while moving, and holds; ask again if it is still wanted",
    Reason.CLOCK_SKEW: "the robot's clock is too far from ours",
    Reason.UNKNOWN_TOOL: "the robot cannot do that",
    Reason.BAD_ARGS: "the robot does not take those arguments",
    Reason.BUSY: "the robot is busy",
    Reason.CONFLICT: "two robots have this name; neither moves",
    Reason.LINK: "the robot cannot be reached safely, and holds",
    Reason.STARVED: "the robot ran out of orders, and holds",
    Reason.ERROR: "the robot failed at it",
}


FORGOTTEN = "the robot was stopped or has restarted meanwhile; nobody knows whether that was done"


class Order:
    """`sent`: how often it was, or may have been."""

    def __init__(self, command: Command, boot: str, told: Callable[[float, str], None]) -> None:
        """`boot`: of the robot that it is for. `told(share, note)`: of progress; the first time, that it was taken
        on."""
        self.command, self.boot = command, boot
        self.sent = 0
        self._told = told
        self._seq = -1
        self._ended: asyncio.Future[ActionUpdate] = asyncio.get_running_loop().create_future()
        self.accepted = asyncio.Event()

    def feed(self, update: ActionUpdate) -> None:
        if self._ended.done() or update.seq < self._seq or update.reason == Reason.DUPLICATE:
            return
        self._seq = update.seq
        self.accepted.set()
        if update.reason is Reason.STALE_EPOCH and self.sent > 1:
            self.lose(FORGOTTEN)
        elif update.status.ends:
            self._ended.set_result(update)
        else:
            self._told(update.progress, update.detail)

    def lose(self, why: str) -> None:
        """Nobody will ever say what became of it."""
        if not self._ended.done():
            self._ended.set_exception(OutcomeLost(why))
            self.accepted.set()

    async def result(self) -> Any:
        """What it returned. ToolError says why it failed; OutcomeLost, that nobody knows."""
        update = await asyncio.shield(self._ended)
        if update.status is Status.FINISHED:
            return update.result
        why = SAYS[update.reason] if update.reason else "the robot failed at it"
        raise ToolError(f"{why} ({update.detail})" if update.detail else why)

    def close(self) -> None:
        if self._ended.done() and not self._ended.cancelled():
            self._ended.exception()  # asked for, so that nobody misses it
        else:
            self._ended.cancel()
