"""One session's calls between a decision and its result: held, taken back, cancelled, asked about, told.

Cancelling what is said and cancelling what is done are two things. Whoever speaks into a reply takes back the reply; a
call goes on, unless its tool says `cancel_on_barge_in`, or somebody says that it is to be cancelled. A call that is
still held was never sent: words that follow within its window take it back, because it was decided on half of what was
to be said.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from liveagent.action import CancelCall, ReleaseCall, StopPlayback
from liveagent.automaton import Parse
from liveagent.declared import is_far
from liveagent.event import AnswerStarted, ConfirmAsked, OutcomeUnknown, ToolFailed, ToolReturned
from liveagent.jsonform import Json

if TYPE_CHECKING:
    from liveagent.runtime.answer import Pending
    from liveagent.runtime.session import Session

CANCEL = frozenset({"cancel", "cancel it", "cancel that", "cancel this", "abort", "abort it", "abort that"})
CANCELLED = "All right, I am cancelling that."
CONFIRM = "Please confirm that by hand: {}."
UNKNOWN = "I was stopped before I knew how this ended: {}. Please look whether it was done."
MORE_UNKNOWN = "There is more that I do not know the end of. The journal of calls lists it."
CALL_WAIT_TICKS = 25
"""So long what is to be said unprompted, and a picture, wait for a call's result, which belongs behind the call."""
WAITING = 8
MOST_ASKED = 3

Result: TypeAlias = ToolReturned | ToolFailed


class Calls:
    """One session's. `tick` once in each of its ticks, when it has heard."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._results: deque[Result] = deque()  # that wait for a pause
        self._questions: deque[tuple[str, str]] = deque(maxlen=WAITING)  # the call it is about, "" for none; the words
        self._waited = 0
        self._unknown = 0

    @property
    def recent(self) -> bool:
        """Whether a call is out whose result can be expected any moment."""
        return bool(self._session.answer.pending) and self._waited <= CALL_WAIT_TICKS

    async def take(self, event: Result | ConfirmAsked | OutcomeUnknown) -> None:
        """What came in about a call."""
        if isinstance(event, ConfirmAsked):
            self._questions.append((event.call_id, CONFIRM.format(self._said(event.name, event.args))))
        elif isinstance(event, OutcomeUnknown):
            self._unknown += 1
            if self._unknown <= MOST_ASKED:
                self._questions.append(("", UNKNOWN.format(self._said(event.name, event.args))))
            elif self._unknown == MOST_ASKED + 1:
                self._questions.append(("", MORE_UNKNOWN))
        else:
            await self._returned(event)

    def _said(self, name: str, args: dict[str, Json]) -> str:
        """A call in words: what the tool does, and with what."""
        tool = next((tool for tool in self._session.agent.tools if tool.name == name), None)
        if tool is None:
            return name.replace("_", " ")
        words = [tool.description.rstrip(".").lower()]
        known = {argument.name: argument for argument in tool.arguments}
        for key, value in args.items():
            if key in known and isinstance(value, str | int | float):
                words.append(known[key].say(value))
        return ", ".join(words)

    # --- results

    async def _returned(self, event: Result) -> None:
        session = self._session
        pending = session.answer.pending.get(event.call_id)
        if pending is None:
            return
        speaks = event.answer and not pending.quiet and pending.tell != "silent"
        reply = session.answer.reply
        if speaks and pending.tell == "pause" and self._somebody_speaks and len(self._results) < WAITING:
            self._results.append(event)
            return
        if speaks and pending.tell == "now" and reply is not None:
            await session.speaking.finish()
            await session.speaking.stop(StopPlayback(reply.utterance, "result"), at_once=True)
        text = str(event.result) if isinstance(event, ToolReturned) else event.message or event.reason
        await session.tell_result(event.call_id, text, isinstance(event, ToolFailed), speaks)

    @property
    def _somebody_speaks(self) -> bool:
        session = self._session
        return session.answer.reply is not None or session.user.open or session.turns.phase != "idle"

    # --- held, released, taken back

    async def tick(self) -> None:
        session = self._session
        pending = session.answer.pending
        self._waited = self._waited + 1 if pending else 0
        speaks = session.turns.phase == "turn" and bool(session.hearing.words)
        for each in [*pending.values()]:
            if each.until_ns is not None:
                if speaks:
                    await self._take_back(each, "you went on speaking")
                elif session.now_ns >= each.until_ns and session.turns.phase == "idle":
                    each.until_ns = None
                    session.act(ReleaseCall(each.call_id))
            elif speaks and each.cancel_on_barge_in and not each.quiet:
                self._cancel(each, "barge_in")
        while self._results and not self._somebody_speaks:
            await self._returned(self._results.popleft())

    async def take_back(self, why: str) -> None:
        """Whatever is held is not sent."""
        for each in [*self._session.answer.pending.values()]:
            if each.until_ns is not None:
                await self._take_back(each, why)

    async def _take_back(self, held: Pending, why: str) -> None:
        self._session.act(CancelCall(held.call_id, "taken_back"))
        await self._session.tell_result(held.call_id, f"not done, {why}", True, False)

    def _cancel(self, call: Pending, reason: str) -> None:
        call.quiet = True
        self._session.act(CancelCall(call.call_id, reason))

    async def cancelled(self, words: str) -> str | None:
        """What to answer if these words cancel what is being done; None if they do not."""
        session = self._session
        own = [each for each in session.answer.pending.values() if not self._is_far(each.name)]
        if words not in CANCEL or not own or session.answer.asks:
            return None
        if isinstance(session.agent.automaton.parse(words), Parse):  # a tool's own phrase comes first
            return None
        for each in own:
            self._cancel(each, "cancelled")
        return CANCELLED

    def _is_far(self, name: str) -> bool:
        return any(tool.name == name and is_far(tool) for tool in self._session.agent.tools)

    # --- what is to be said of calls

    async def speak_up(self) -> bool:
        """Say what there is to be asked, now that nobody speaks; False where there is nothing."""
        session = self._session
        while self._questions:
            call_id, words = self._questions.popleft()
            if call_id and call_id not in session.answer.pending:
                continue  # it was answered before it could be said
            session.context.ledger.begin_turn()
            session.note(AnswerStarted(session.now_ns, "call"))
            await session.context.add("mark", session.model.template.agent_open, session.now_ns)
            await session.answer.say(words, session.now_ns)
            return True
        return False
