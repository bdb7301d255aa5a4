"""`Clearing`: what stands between a call that was decided and its being sent: window, policy, a person's yes, journal.

    decided ─► window survived ─► policy ─► confirmed, if it is a hazard ─► written to the journal ─► released

In this order, and nothing is sent before the last. What is not sent raises `NotSent`, whose message the model reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from liveagent.action import CallTool
from liveagent.errors import LiveAgentError
from liveagent.event import ConfirmAsked, Confirmed, DeviceLost, OutcomeUnknown, ToolCalled
from liveagent.jsonform import check_json
from liveagent.policy import Answered, Confirm, Confirmations, Judge, Policy, Question, Refused
from liveagent.ports.call_journal import CallJournal
from liveagent.tool import Tool
from liveagent.transaction import State, Transaction, key_of

REMEMBERED = 64
MOST_UNKNOWN = 16
By: TypeAlias = Literal["button", "key", "phone"]
Show: TypeAlias = Callable[[Question, str, float], bool]
"""Shows a person a question, with the token that answers it and how many seconds it is open; False where there is
nobody who could be shown it."""
AskElsewhere: TypeAlias = Callable[[Question], Awaitable[bool]]
"""Asks a person by a way of its own (a phone, a second screen) and says what they said. Cancelled when time is up."""
Put: TypeAlias = Callable[[ConfirmAsked | Confirmed | OutcomeUnknown | DeviceLost], None]


class NotSent(Exception):
    """A call that is not sent: how it ended, why as a code, and what the model is told."""

    def __init__(self, state: State, reason: str, message: str) -> None:
        super().__init__(message)
        self.state, self.reason = state, reason


@dataclass(frozen=True, slots=True)
class Terms:
    """Whose calls these are, beside the agent's policy. `journal`: where they are written down; None: nowhere, as in a
    test. `elsewhere`: asks a person about hazards. `session` names the conversation among all, `owner` whoever talks in
    it, who is asked about calls that a crash has left."""

    journal: CallJournal | None = None
    elsewhere: AskElsewhere | None = None
    session: str = field(default_factory=lambda: secrets.token_hex(8))
    owner: str = ""


class Clearing:
    """One session's. `put` receives what a session is to know of it; `now_ns` is its clock."""

    def __init__(self, policy: Policy, put: Put, now_ns: Callable[[], int], terms: Terms | None = None) -> None:
        self.terms = terms or Terms()
        self.show: Show = lambda question, token, left_s: False
        self._judge = Judge(policy)
        self._confirm_s = policy.confirm_s
        self._policy = policy
        self._put, self._now_ns = put, now_ns
        self._confirmations = Confirmations(lambda: secrets.token_urlsafe(24))
        self._answers: dict[str, asyncio.Future[tuple[bool, By]]] = {}
        self._asked_of: dict[str, Transaction] = {}
        self._windows: dict[str, asyncio.Future[None]] = {}
        self._decided: dict[str, ToolCalled] = {}
        self._written: set[str] = set()

    def decided(self, called: ToolCalled) -> None:
        """What a call was decided on, told before the call itself comes."""
        self._decided[called.call_id] = called
        while len(self._decided) > REMEMBERED:
            del self._decided[next(iter(self._decided))]

    def survived(self, call_id: str) -> None:
        """The branch that decided a held call has survived its window."""
        if (window := self._windows.get(call_id)) is not None and not window.done():
            window.set_result(None)

    def begun(self, action: CallTool, tool: Tool | None) -> Transaction:
        """The transaction of a call that was just decided."""
        called = self._decided.pop(action.call_id, None)
        session = self.terms.session
        return Transaction(
            key_of(session, action.call_id, action.name, action.args), session, action.call_id, action.name,
            dict(action.args), self._policy.risk(action.name, tool.risk) if tool is not None else "forbidden",
            action.by, action.branch, action.deadline_ms, self._now_ns() if called is None else called.t_ns,
            () if called is None else called.heard_ns, None if called is None else called.seen_ns,
        )  # fmt: skip

    async def clear(self, call: Transaction, action: CallTool, tool: Tool, args: Mapping[str, Any]) -> Transaction:
        """The call, released: it is in the journal, and may be sent now. `args` are valid. Raises NotSent."""
        if action.hold_ms:
            call = await self._hold(call)
        plain = {
            name: check_json(value.value if isinstance(value, enum.Enum) else value, tool.name)
            for name, value in args.items()
        }
        decision = self._judge.judge(tool.name, tool.risk, plain, self._now_ns())
        if isinstance(decision, Refused):
            await self.end(call, "refused", decision.reason)
            raise NotSent("refused", "refused", decision.why)
        if isinstance(decision, Confirm):
            call = await self._confirm(replace(call, args=plain))
        call = call.to("journalled")
        if tool.name != "stop":  # a stop waits for no disk
            await self._write(call)
        call = call.to("released")
        if tool.name != "stop":
            await self._write(call)
        return call

    async def _hold(self, call: Transaction) -> Transaction:
        call = call.to("held")
        window = self._windows[call.call_id] = asyncio.get_running_loop().create_future()
        try:
            await self._write(call)
            await window
        except asyncio.CancelledError:
            await self._taken_back(call)
            raise
        finally:
            del self._windows[call.call_id]
        return call

    async def end(self, call: Transaction, state: State, reason: str = "") -> Transaction:
        """The call has ended; the journal is told. A disk that takes nothing more hinders no result."""
        call = call.to(state, reason)
        with contextlib.suppress(NotSent):
            await self._write(call)
        self._written.discard(call.key)
        return call

    async def accepted(self, call: Transaction) -> None:
        """Whoever is to do it has taken it on."""
        with contextlib.suppress(NotSent):
            await self._write(call)

    async def _write(self, call: Transaction) -> None:
        journal = self.terms.journal
        if journal is None:
            return
        try:
            if call.key in self._written:
                await journal.move(call)
                return
            before = await journal.begin(call, self.terms.owner)
        except LiveAgentError as error:
            self._put(DeviceLost(self._now_ns(), "journal of calls", str(error)))
            raise NotSent("refused", "journal", "what is called cannot be written down, so it is not called") from error
        if before is not None:
            raise NotSent(before.state, "duplicate", f"this very call was {before.state} before; it is not sent again")
        self._written.add(call.key)

    # --- a person's yes

    async def _confirm(self, call: Transaction) -> Transaction:
        left_s, elsewhere = self._confirm_s, self.terms.elsewhere
        call = call.to("confirming")
        expires_ns = self._now_ns() + int(left_s * 1e9)
        asked = self._confirmations.ask(call.call_id, call.name, call.args, expires_ns)
        if asked is None:
            await self.end(call, "refused", "questions")
            raise NotSent("refused", "refused", f"{call.name} must be confirmed, and too much is being asked already")
        question, token = asked
        answer = self._answers[call.call_id] = asyncio.get_running_loop().create_future()
        self._asked_of[call.call_id] = call
        asking: asyncio.Task[None] | None = None
        try:
            shown = self.show(question, token, left_s)
            if not shown and elsewhere is None:
                await self.end(call, "refused", "no_way")
                raise NotSent(
                    "refused", "refused",
                    f"{call.name} must be confirmed by a button or a key, and this connection has none",
                )  # fmt: skip
            await self._write(call)
            self._put(ConfirmAsked(self._now_ns(), call.call_id, call.name, dict(call.args), int(left_s * 1000)))
            if elsewhere is not None:
                asking = asyncio.get_running_loop().create_task(self._ask(elsewhere, question))
            yes, by = await asyncio.wait_for(answer, left_s)
        except TimeoutError:
            await self.end(call, "expired", "unconfirmed")
            raise NotSent("expired", "expired", f"nobody confirmed {call.name} within {left_s:g} seconds") from None
        except asyncio.CancelledError:
            await self._taken_back(call)
            raise
        finally:
            self._confirmations.drop(call.call_id)
            del self._answers[call.call_id], self._asked_of[call.call_id]
            if asking is not None:
                asking.cancel()
        self._put(Confirmed(self._now_ns(), call.call_id, yes, by))
        if not yes:
            await self.end(call, "refused", "declined")
            raise NotSent("refused", "refused", f"the user declined {call.name}")
        return replace(call, confirmed_by=by)

    async def _taken_back(self, call: Transaction) -> None:
        await asyncio.shield(asyncio.ensure_future(self.end(call, "taken_back")))

    async def _ask(self, elsewhere: AskElsewhere, question: Question) -> None:
        try:
            yes = await elsewhere(question)
        except Exception as error:  # somebody else's function may raise anything; then nobody was asked
            what = f"asking about {question.name} failed: {type(error).__name__}"
            self._put(DeviceLost(self._now_ns(), "confirmation", what))
            return
        answer = self._answers.get(question.call_id)
        if answer is not None and not answer.done():
            answer.set_result((yes is True, "phone"))

    def answer(self, call_id: str, token: str, yes: bool, by: By) -> Answered:
        """What a person said by button or key, with the token that their link was given."""
        call, answer = self._asked_of.get(call_id), self._answers.get(call_id)
        if call is None or answer is None or answer.done():
            return "unknown"
        said = self._confirmations.answer(call_id, token, yes, call.name, call.args, self._now_ns())
        if said in ("yes", "no"):
            answer.set_result((said == "yes", by))
        elif said in ("closed", "changed"):
            answer.set_result((False, by))
        return said

    def show_again(self) -> None:
        """There is another link to whoever is asked: it is given tokens of its own, and the ones before are void."""
        for question in self._confirmations.questions:
            token = self._confirmations.again(question.call_id)
            if token is not None:
                self.show(question, token, max(0.0, (question.expires_ns - self._now_ns()) / 1e9))

    # --- after a crash

    async def ask_about_the_past(self) -> None:
        """Calls that an earlier process sent and that never came back: the session is to ask about each, once."""
        journal = self.terms.journal
        if journal is None:
            return
        try:
            await journal.settle()
            left = await journal.unknown(self.terms.owner, MOST_UNKNOWN)
        except LiveAgentError as error:
            self._put(DeviceLost(self._now_ns(), "journal of calls", str(error)))
            return
        for row in left:
            call, since_ms = row.call, row.released_ms or row.at_ms
            ago_ms = max(0, (row.ended_ms or since_ms) - since_ms)
            self._put(OutcomeUnknown(self._now_ns(), call.call_id, call.name, dict(call.args), ago_ms))
