"""`LastWords`: a turn that has ended waits for what a pretrained ear makes of its end, if there is such an ear.

It waits a bounded time; then what there is counts. Nothing overtakes it: what ends after it closes it first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveagent.event import EarFailed, EarHeard, Noted, TurnEnded
from liveagent.runtime.listener import Understood

if TYPE_CHECKING:
    from liveagent.runtime.session import Session

LATE_TICKS = 100
"""So long, 8 s, a turn waits."""


@dataclass(slots=True)
class Closing:
    """The turn that waits. `others`: what the other ears made of it; `newest`: the words that came so far."""

    ended: TurnEnded
    begun_ns: int
    others: Understood | None
    newest: EarHeard | None
    waited: int = 0


class LastWords:
    """One session's. `closing`: the turn that waits, None where none does."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.closing: Closing | None = None

    async def end(self, ended: TurnEnded) -> None:
        """A turn has ended: it is understood now, or waits."""
        await self.close()  # one before it, whose last words are late
        session = self._session
        if session.sound is not None:
            session.sound.end()
        dictation = session.dictation
        if dictation is None or not dictation.open:
            await session.understand(ended, session.hearing.end())
            return
        begun_ns, newest = dictation.begun_ns, dictation.newest
        self.closing = Closing(ended, begun_ns, session.hearing.end(), newest)

    async def take(self, event: EarHeard | EarFailed) -> None:
        """What the pretrained ear says."""
        closing, session = self.closing, self._session
        if isinstance(event, EarFailed):
            session.note(Noted(event.t_ns, "ear_failed", event.message))
        elif session.dictation is not None:
            session.dictation.take(event)
        if closing is None or event.begun_ns != closing.begun_ns:
            return
        if isinstance(event, EarHeard):
            closing.newest = event
        if isinstance(event, EarFailed) or event.final:
            await self.close()

    async def tick(self) -> None:
        """Wait on, but not for ever."""
        if self.closing is None:
            return
        self.closing.waited += 1
        if self.closing.waited > LATE_TICKS:
            why = "the pretrained ear is too slow here; a smaller one may not be"
            self._session.note(Noted(self._session.now_ns, "ear_late", why))
            await self.close()

    async def close(self) -> None:
        """Answer the turn that waits, if one does, with what there is."""
        closing, self.closing = self.closing, None
        if closing is not None:
            heard = self._session.listener.dictated(closing.newest, closing.others)
            await self._session.understand(closing.ended, heard)
