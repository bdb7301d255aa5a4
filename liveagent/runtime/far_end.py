"""What whoever is at the far end of a link asks of a session beside talking to it.

A client of a realtime protocol adds messages and pictures without wanting an answer, asks for one when it likes, brings
tools, and says afterwards how much of a reply was heard. All of it comes through the inbox, in order, like a sound.
What would move the ground under a reply that sounds, or under words that are being spoken, waits until that is over.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from liveagent.action import StopPlayback
from liveagent.declared import declared_tool, is_far
from liveagent.errors import LiveAgentError
from liveagent.event import (
    AgentChanged,
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    ForgetAsked,
    MessageAdded,
    Noted,
    PlaybackCut,
    ToolsFound,
    TurnDropped,
    TurnsSet,
    VoiceSet,
)
from liveagent.found import joined, read_found
from liveagent.ledger import Kind
from liveagent.manners import Manners
from liveagent.spoken import spoken
from liveagent.tool import Tool

if TYPE_CHECKING:
    from liveagent.agent import Agent
    from liveagent.runtime.session import Session

FarEvent = (
    AgentChanged | ToolsFound | TurnsSet | VoiceSet | TurnDropped | MessageAdded | AnswerAsked | AnswerStopped
    | PlaybackCut | ForgetAsked
)  # fmt: skip
KINDS = (
    AgentChanged, ToolsFound, TurnsSet, VoiceSet, TurnDropped, MessageAdded, AnswerAsked, AnswerStopped, PlaybackCut,
    ForgetAsked,
)  # fmt: skip
SIDES: dict[str, tuple[Kind, ...]] = {
    "user": ("text", "audio"), "agent": ("reply", "call", "mark"), "picture": ("picture",)
}  # fmt: skip
WAITING = 64
LEAST_TOKENS = 384
"""What is left for a conversation when tools are found: nobody wants an agent that knows every lamp, and nothing else.
"""
ClientTools: TypeAlias = Literal["replace", "add", "refuse"]


class FarEnd:
    """One session's. `answers`: a finished spoken turn is answered without being asked."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.answers = session.agent.answers
        self.client_tools: ClientTools = "replace"
        self._waiting: deque[AgentChanged | ToolsFound | ForgetAsked] = deque(maxlen=WAITING)
        self._made, self._own, self._manners = session.agent, session.agent, session.manners
        self.last: tuple[str, str] = "", ""
        """Who spoke last in the memory ("user", "assistant", "result", "system") and, of a user, the words."""

    async def take(self, event: FarEvent) -> None:
        """Do what is asked, now or as soon as nothing is open."""
        if isinstance(event, MessageAdded):
            await self._add(event)
        elif isinstance(event, AnswerAsked):
            await self._answer(event)
        elif isinstance(event, AnswerStopped):
            await self._stop(event)
        elif isinstance(event, PlaybackCut):
            await self._session.speaking.cut(event.utterance, event.samples)
        elif isinstance(event, TurnsSet):
            await self._set_turns(event)
        elif isinstance(event, VoiceSet):
            self._session.voice = self._session.speaking.voice = event.on
        elif isinstance(event, TurnDropped):
            await self._drop_turn()
        else:
            self._waiting.append(event)
            await self.settle()

    async def settle(self, now: bool = False) -> None:
        """Do what has waited for a moment in which nothing is open; `now`: though a turn is. Never under a reply
        that is open: it would no longer be known where in the cache its words stand."""
        session = self._session
        while self._waiting:
            speaking = session.answer.reply is not None
            if speaking or (not now and (session.turns.phase != "idle" or session.user.open)):
                return
            event = self._waiting.popleft()
            if isinstance(event, AgentChanged):
                await self._change(event)
            elif isinstance(event, ToolsFound):
                await self._find(event)
            else:
                await self._forget(event)

    # --- messages and answers

    async def _add(self, message: MessageAdded) -> None:
        """A message goes behind everything that was said, and before the words of a user who speaks just now."""
        session = self._session
        words, text = spoken(message.text), session.model.as_read(message.text)
        template, context = session.model.template, session.context
        if not text:
            return
        begun = await session.user.step_aside()
        await session.speaking.finish()
        context.ledger.begin_turn()
        if message.role == "user":
            ids = [*template.user_open(context.in_turn), *template.words([text]), *template.user_close]
            await context.add("text", ids, message.t_ns)
        elif message.role == "system":
            await context.add("text", template.note(message.text), message.t_ns)
        else:
            await context.add("mark", template.agent_open, message.t_ns)
            ids = [*template.say_open, *template.encode(message.text), *template.reply_close(False)]
            await context.add("reply", ids, message.t_ns)
            context.ledger.mark_heard(context.end)
        self.last = message.role, words if message.role == "user" else ""
        await session.user.step_back(begun, session.now_ns)

    async def _answer(self, asked: AnswerAsked) -> None:
        session, template = self._session, self._session.model.template
        begun = await session.user.step_aside()
        await session.speaking.settle(now=True)
        await session.speaking.finish()
        if (reply := session.answer.reply) is not None:
            await session.speaking.stop(StopPlayback(reply.utterance, "asked"), at_once=True)
        await self.settle(now=True)  # tools that came just before are those to choose from
        session.note(AnswerStarted(session.now_ns, "asked", asked.ref))
        if asked.instructions and spoken(asked.instructions):
            await session.context.add("text", template.note(asked.instructions), session.now_ns)
        await session.seeing.remember_late()
        done = await session.context.add("mark", template.agent_open, session.now_ns, want=template.choice)
        role, words = self.last
        await session.answer.decide(words, done.steps, done.logp, session.now_ns, choice=asked.choice, by=role)
        if begun:
            await session.speaking.finish()
        await session.user.step_back(begun, session.now_ns)

    async def _stop(self, event: AnswerStopped) -> None:
        session = self._session
        await session.calls.take_back("the answer was taken back")
        if (reply := session.answer.reply) is not None and not reply.stopping:
            session.turns.silence()
            await session.speaking.stop(StopPlayback(reply.utterance, event.reason))

    # --- turns

    async def _set_turns(self, event: TurnsSet) -> None:
        session = self._session
        self.answers = event.answers
        session.interruptible = session.speaking.interruptible = event.interrupts
        try:
            manners = manners_of(self._manners, event)
        except LiveAgentError as error:
            session.note(Noted(event.t_ns, "turns_refused", str(error)))
            return
        if manners.mode != session.turns.config.mode:
            await self._drop_turn()
        session.manners = session.turns.config = session.hearing.manners = manners

    async def _drop_turn(self) -> None:
        session = self._session
        session.turns.drop()
        session.hearing.cancel()
        await session.drop_turn()

    # --- what the agent is, and what it no longer knows

    async def _change(self, event: AgentChanged) -> None:
        session = self._session
        try:
            agent = changed(session.agent, self._own, event, self.client_tools)
        except LiveAgentError as error:
            session.note(Noted(event.t_ns, "agent_refused", str(error)))
            return
        await session.become(agent)

    async def _find(self, event: ToolsFound) -> None:
        """Have these tools beside the agent's own, in place of those that were found before. Those that have no room in
        the prompt are known to the grammar alone."""
        session, found = self._session, list[Tool]()
        for each in event.tools:
            try:
                tool = read_found(each)
            except LiveAgentError as error:
                session.note(Noted(event.t_ns, "tool_refused", str(error)))
                continue
            if tool is not None:
                found.append(tool)
        kept, problems = await asyncio.to_thread(joined, self._made.tools, self._made.questions, found)
        aside = frozenset(tool.name for tool in kept[self._fitting(kept) :])
        for problem in problems:
            session.note(Noted(event.t_ns, "tool_refused", problem))
        now = session.agent.tools
        theirs = self._own.tools
        self._own = self._made.replace(tools=[*self._made.tools, *kept])
        session.answer.aside = aside
        if now and all(map(is_far, now)) and not all(map(is_far, theirs)):
            return  # a client's tools stand in place of all others
        far = [tool for tool in now if is_far(tool)]
        await session.become(session.agent.replace(tools=[*self._own.tools, *far]))

    def _fitting(self, found: Sequence[Tool]) -> int:
        """How many of these tools leave enough room for a conversation behind the prompt."""
        session = self._session
        room = session.config.low_tokens - LEAST_TOKENS
        for count in range(len(found), 0, -1):
            tools = (*self._made.tools, *found[:count])
            if len(session.model.template.prompt(session.agent.instructions, tools)) <= room:
                return count
        return 0

    async def _forget(self, event: ForgetAsked) -> None:
        kinds, context = SIDES[event.side], self._session.context
        gone = [
            span.id
            for span in context.ledger.spans
            if not span.pinned and span.kind in kinds and event.since_ns <= span.t_ns <= event.until_ns
        ]
        if gone:
            await context.drop(gone)


def manners_of(own: Manners, event: TurnsSet) -> Manners:
    """`own` manners as a client wants turns taken. Raises ConfigError for silences that cannot be."""
    shortest = own.min_silence_ms if event.min_silence_ms is None else max(64, event.min_silence_ms)
    longest = own.max_silence_ms if event.max_silence_ms is None else event.max_silence_ms
    longest = min(max(shortest, longest), own.max_turn_ms - 1)
    shortest = min(shortest, longest)
    speech = own.start_speech if event.start_speech is None else min(1.0, max(own.keep_speech, event.start_speech))
    return replace(
        own,
        mode=event.mode,
        min_silence_ms=shortest,
        max_silence_ms=longest,
        sentence_silence_ms=min(max(shortest, own.sentence_silence_ms), longest),
        start_speech=speech,
    )


def changed(now: Agent, own: Agent, event: AgentChanged, client_tools: ClientTools = "replace") -> Agent:
    """The agent after a client's change. `own`: as it was made. Tools that a client brings stand in place of the
    agent's, or beside them ("add"), or count for nothing ("refuse"); without any, the agent has its own. Raises
    ConfigError."""
    change: dict[str, Any] = {}
    if event.instructions is not None:
        change["instructions"] = event.instructions or own.instructions
    if event.tools is not None and client_tools != "refuse":
        found = [declared_tool(each) for each in event.tools]
        far = [tool for tool in found if tool is not None]
        change["tools"] = [*(own.tools if client_tools == "add" or not event.tools else ()), *far]
    return now.replace(**change)


def far_tools(agent: Agent) -> frozenset[str]:
    """The names of the tools that run at the far end."""
    return frozenset(tool.name for tool in agent.tools if is_far(tool))
