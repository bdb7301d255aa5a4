"""`Stage`: where `verify` talks with a model: one engine, and conversations on it, one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from liveagent.agent import Agent
from liveagent.plan import CACHE_TOKENS, Cost
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine
from liveagent.runtime.listener import Listener
from liveagent.runtime.pretence import Clock, KeptLane, Pretence
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.verified import Check
from liveagent.runtime.verify_writing import INSTRUCTIONS
from liveagent.tool import Tool, tool

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets

LANES = 4
GAVE = "it is 31 degrees in the kitchen"
Asked: TypeAlias = Callable[["Stage"], Awaitable[list[Check]]]


def tools() -> tuple[Tool, Tool]:
    """What is called: no phrase is given with them, so that it is the model who decides."""

    @tool
    async def temperature(room: Literal["kitchen", "bath", "bedroom"]) -> str:
        """Look up how warm it is in a room."""
        return GAVE

    @tool
    async def timer(minutes: int, loud: bool = True) -> str:
        """Start a timer."""
        return "it runs"

    return temperature, timer


def written_tools() -> tuple[Tool, ...]:
    """With one of free text, for what is looked at on paper."""

    @tool
    async def send(text: str, to: Literal["ann", "ben"], times: int = 1) -> str:
        """Send a message."""
        return "sent"

    return (*tools(), send)


def light_tool() -> Tool:
    @tool(phrases=["(turn|switch) {state} the {room} light"])
    async def light(room: Literal["kitchen", "bath"], state: Literal["on", "off"]) -> str:
        """Switch a room's light."""
        return "done"

    return light


class Stage:
    """The engine with the model, and conversations on it, one after the other."""

    def __init__(
        self,
        agent: Agent,
        model: Nets,
        folder: Path,
        clock: Clock,
        minutes: float,
        cost: Cost | None,
        use_recogniser: bool,
    ) -> None:
        if agent.cache_tokens is None:
            agent = agent.replace(cache_tokens=CACHE_TOKENS)  # a slow machine fills this one too
        self.agent, self.model, self.folder, self.clock, self.minutes = agent, model, folder, clock, minutes
        self.cost, self.use_recogniser = cost, use_recogniser
        self.engine = Engine(Core(model, LANES, SessionConfig.of(agent).slots))

    def close(self) -> None:
        self.engine.close()

    def lane(self) -> KeptLane:
        return KeptLane(self.engine, self.engine.open(), self.clock)

    @asynccontextmanager
    async def talk(
        self,
        tools: Sequence[Tool] = (),
        results: Mapping[str, str] | None = None,
        *,
        voice: bool = False,
        instructions: str = INSTRUCTIONS,
    ) -> AsyncIterator[Pretence]:
        """A conversation that has just begun."""
        agent = self.agent.replace(instructions=instructions, tools=tuple(tools))
        listener = Listener.of(agent, self.model, use_recogniser=self.use_recogniser)
        session = Session(agent, self.model, self.lane(), listener, SessionConfig.of(agent, voice=voice))
        try:
            await session.open()
            yield Pretence(session, results, self.clock)
        finally:
            await session.close()

    async def answer(self, question: str) -> str:
        """What it says to one question; the lane's `ended_by` is not kept."""
        async with self.talk() as talk:
            talk.type(question)
            await talk.settle()
            return talk.said(0)

    @property
    def dtype(self) -> str:
        return self.agent.dtype or ("float32" if self.agent.device == "cpu" else "bfloat16")


def short(text: str) -> str:
    """What was said, in a report."""
    return repr(text if len(text) <= 90 else f"{text[:90]}…")
