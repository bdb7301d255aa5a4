"""`Seeing`: when what a session's eye sees enters its cache, and when that is worth a remark."""

from __future__ import annotations

from typing import TYPE_CHECKING

from liveagent.event import AnswerStarted, Noted
from liveagent.news import Why
from liveagent.runtime.calls import CALL_WAIT_TICKS
from liveagent.runtime.looking import Looking
from liveagent.runtime.row_looking import RowLooking
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.runtime.session import Session


class Seeing:
    """One session's. `looking`: its eye; None: it is blind."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.looking: Looking | None = None
        self._sparing = False
        self._told_blind = False
        self._remarkable = False  # something was seen that there is a remark to make on
        self._remarked: object = None

    def anew(self) -> None:
        """As before the first picture."""
        session = self._session
        model, lane, context = session.model, session.lane, session.context
        self._waited = 0  # ticks that a picture has waited for a call's result
        self.looking = None
        if model.sees:
            named = model.names_things
            self.looking = (
                Looking(model, lane, context, session.config.prune) if named else RowLooking(model, lane, context)
            )
            self.looking.sparing = self._sparing

    def spare(self, sparing: bool) -> None:
        """Keep less of what is seen, or all again: ticks are late."""
        self._sparing = sparing
        if self.looking is not None:
            self.looking.sparing = sparing

    async def look(self, frame: VideoFrame) -> None:
        """A picture came."""
        session = self._session
        if self.looking is not None:
            session.note(await self.looking.see(frame))
        elif not self._told_blind:
            self._told_blind = True
            session.note(Noted(session.now_ns, "blind", "this model has no eyes; what the camera shows is not seen"))

    async def remember(self) -> None:
        """Keep the newest picture if it is news, between two turns or in front of the user's open one."""
        session, looking = self._session, self.looking
        if looking is None or not looking.waiting or session.speaking.writing:
            return
        if session.user.sounds and not session.watcher.watchings:
            await looking.prepare()  # it is put behind what is being said, which would have to be read again behind it
            return
        self._waited = self._waited + 1 if session.answer.pending else 0
        if 0 < self._waited <= CALL_WAIT_TICKS:
            return
        why = looking.news()
        if why is not None:
            await self._keep(looking, why)
        else:
            session.watcher.tick(looking.t_ns, looking.sight)

    async def remember_late(self) -> None:
        """With a question: what is there now counts. It goes in front of words, and behind sound that has been read."""
        if self.looking is not None and (why := self.looking.late_news()) is not None:
            await self._keep(self.looking, why)

    async def _keep(self, looking: Looking, why: Why) -> None:
        session = self._session
        within = session.user.sounds and session.user.ended
        begun = None if within else await session.user.step_aside()
        kept = await looking.keep(why, within)
        self._remarkable = session.agent.remark is not None and looking.subject != self._remarked
        session.note(kept)
        session.watcher.seen(kept.t_ns, kept.sees)
        await session.user.step_back(begun, session.now_ns)

    async def remark(self) -> None:
        """Let the agent ask itself about what has changed, if it has, and answer aloud."""
        session = self._session
        if not self._remarkable:
            return
        self._remarkable = False
        assert session.agent.remark is not None and self.looking is not None
        self._remarked = self.looking.subject
        session.speaking.latency = None
        session.note(AnswerStarted(session.now_ns, "watch"))
        asked = session.model.as_read(session.agent.remark)
        done = await session.user.close(asked, "text", session.now_ns, (), None)
        await session.answer.decide(session.agent.remark, done.steps, done.logp, session.now_ns, choice="none")
