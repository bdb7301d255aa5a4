"""`SoundTurn`: the open turn as the model's own ear hears it, read into the cache while somebody speaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liveagent.audio import Samples
from liveagent.event import Noted
from liveagent.runtime.own_ear import OwnEar

if TYPE_CHECKING:
    from liveagent.runtime.session import Session


class SoundTurn:
    """One session's, of a model that reads sound in the place of words."""

    def __init__(self, session: Session) -> None:
        self._session, self._ear = session, OwnEar()

    def feed(self, samples: Samples, quiet: bool) -> None:
        """One tick. `quiet`: nobody speaks in it."""
        self._ear.feed(samples, quiet)

    async def prefill(self) -> None:
        """Read what has come of an open turn, as far as there is room and nothing is being written."""
        session, ear = self._session, self._ear
        waits = session.last_words.closing is not None  # the turn before this one is in the cache
        if session.turns.phase == "idle" or not session.listener.open:
            if ear.open:  # it was nothing
                ear.cancel()
                if not waits:
                    await session.user.drop()
            return
        if not ear.open:
            ear.begin(session.listener.preroll)
        if session.reads and not waits and not session.speaking.writing and self._has_room:
            piece = ear.next()
            if piece is not None:
                await self._read(piece)

    @property
    def _has_room(self) -> bool:
        """Above the high mark older turns go first."""
        return self._session.context.ledger.used_tokens <= self._session.config.high_tokens

    async def _read(self, piece: tuple[Samples, bool]) -> None:
        await self._session.user.hear(await self._session.lane.encode(*piece), self._session.now_ns)

    async def read_rest(self) -> None:
        """What is left of a turn that has ended, before it is closed."""
        full = self._ear.full
        while (piece := self._ear.rest()) is not None:
            if not self._has_room:
                full = True
                break
            await self._read(piece)
        self._ear.forget()
        if full:
            why = "that was long: only its beginning is heard"
            self._session.note(Noted(self._session.now_ns, "sound_cut", why))

    def end(self) -> None:
        """The open turn has ended."""
        self._ear.end()

    def cancel(self) -> None:
        """The open turn was nothing."""
        self._ear.cancel()

    def forget(self) -> None:
        """The one that has ended is not read any more."""
        self._ear.forget()
