"""`Call`: one call, as the tool that is being called sees it.

    @tool(timeout_s=120, tell="pause")
    async def vacuum(room: Room, call: Call) -> str:
        \"\"\"Vacuum a room.\"\"\"
        for share in robot.cleaning(room):
            await call.progress(share, "cleaning")

An async tool has it by naming an argument of this type; the model does not see that argument.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

NOTE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What is in the newest picture, in words ("red ball"). `known`: the model knows what it looks at."""

    things: tuple[str, ...] = ()
    known: bool = True


async def _to_nobody(text: str) -> None:
    """Nobody listens to a call that no conversation made."""


class Call:
    """`id`: the session's name of it. `key`: names this call among all calls of all sessions, the same for every try:
    whatever has the effect can do nothing for a key that it has seen. `deadline_ms`: how long it may take in all.
    `confirmed`: a person has said yes to it, by hand. `session` names the conversation that it was made in, `owner`
    whose it is: what a tool keeps for one owner is no other's to hear."""

    def __init__(
        self,
        id: str = "",
        key: str = "",
        deadline_ms: int = 0,
        told: Callable[[float | None, str], None] = lambda share, note: None,
        confirmed: bool = False,
        *,
        session: str = "",
        owner: str = "",
        say: Callable[[str], Awaitable[None]] = _to_nobody,
        sees: Callable[[], Seen | None] = lambda: None,
    ) -> None:
        """`told` is told of progress: the share, if it is known, and a note. Without anything it is a call that no
        conversation made, as in a test."""
        self.id, self.key, self.deadline_ms, self.confirmed = id, key, deadline_ms, confirmed
        self.session, self.owner = session, owner
        self._told, self._say, self._sees = told, say, sees

    async def say(self, text: str) -> None:
        """Have this said aloud, as soon as nobody else speaks: also long after the call has come back, as a timer
        does. Returns at once. ToolError for what cannot be said, and once the conversation is over."""
        await self._say(text)

    def sees(self) -> Seen | None:
        """What the conversation's camera shows now; None where there is none, or nothing was seen yet."""
        return self._sees()

    async def progress(self, share: float | None = None, note: str = "") -> None:
        """So much of it is done, from 0 to 1; and what is being done, in a few words. Returns at once, and may be
        called as often as one likes: what comes faster than it can be shown is passed over. The first one also says
        that the call was taken on."""
        known = isinstance(share, int | float) and math.isfinite(share)
        self._told(min(1.0, max(0.0, float(share))) if known and share is not None else None, str(note)[:NOTE_CHARS])

    async def accepted(self) -> None:
        """Whoever is to do it has taken it on."""
        self._told(None, "")
