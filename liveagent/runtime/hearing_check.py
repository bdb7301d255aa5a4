"""What the microphone lets the agent hear: three phrases read aloud, before the conversation.

Runs on the session's own lane with a listener of its own, and nothing is acted on; the lane is emptied afterwards, so
that a recording starts from the same place as its replay. A pretrained ear, where there is one, is asked too. Any
typed line skips the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.audio import TICK_NS, AudioChunk, Chunker, Tick
from liveagent.event import EarFailed, EarHeard
from liveagent.level import SILENCE_DBFS, dbfs
from liveagent.runtime.dictation import Dictation
from liveagent.runtime.ear_process import EarProcess
from liveagent.runtime.engine import Lane
from liveagent.runtime.listener import Listener, Understood

if TYPE_CHECKING:
    from liveagent.nn.model import Model

WAIT_TICKS = 125  # 10 s for each phrase
QUIET_FRAMES = 20  # 640 ms end a phrase
FAINT_DBFS = -50.0
EAR_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Checked:
    """One phrase: what was heard of it (None: nobody spoke), by whom, and how loud the speech was."""

    phrase: str
    heard: str | None
    source: str
    level_dbfs: float

    @property
    def said(self) -> str:
        """One line for the user: what came in, and what to mend."""
        if self.heard is None:
            if self.level_dbfs <= SILENCE_DBFS + 1:
                return f'"{self.phrase}": no sound at all; is the microphone muted?'
            return f'"{self.phrase}": nobody was heard to speak ({self.level_dbfs:.0f} dB)'
        loud = f"{self.level_dbfs:.0f} dB" + (", faint: come closer" if self.level_dbfs < FAINT_DBFS else "")
        if self.heard == self.phrase:
            return f'"{self.phrase}": understood, by {self.source} ({loud})'
        return f'"{self.phrase}": heard "{self.heard}" ({loud}); typing always works'


def phrases_of(agent: Agent, wanted: tuple[str, ...]) -> list[str]:
    """Of these phrases, those that the agent knows; if none, sentences of its own, shortest way through."""
    known = [phrase for phrase in wanted if agent.automaton.accepts(phrase)]
    if known or not agent.automaton.arcs:
        return known
    words, state = [], 0
    while state not in agent.automaton.accepting:
        word, state = next(iter(agent.automaton.ways[state].items()))
        words.append(word)
    return [" ".join(words)]


async def check_hearing(
    agent: Agent,
    model: Model,
    lane: Lane,
    sounds: AsyncIterator[AudioChunk],
    wanted: tuple[str, ...],
    tell: Callable[[str], None],
    skip: Awaitable[object],
    ears: EarProcess | None = None,
) -> list[Checked]:
    """Ask for each phrase and tell what was heard. Ends early when `skip` is done or the sound ends."""
    listener = Listener.of(agent, model)
    along = _Along(ears, listener) if ears is not None else None
    skipping = asyncio.ensure_future(skip)
    found: list[Checked] = []
    try:
        async with aclosing(_ticks(sounds)) as ticks:
            for phrase in phrases_of(agent, wanted):
                tell(f'please say: "{phrase}"   (Enter with any word skips)')
                checked = await _one(phrase, listener, lane, ticks, skipping, along)
                if checked is None:
                    break
                found.append(checked)
                tell(checked.said)
    finally:
        skipping.cancel()
        listener.close()
        if along is not None:
            along.line.close()
    return found


class _Along:
    """The pretrained ear during the check."""

    def __init__(self, ears: EarProcess, listener: Listener) -> None:
        self.dictation = listener.dictation = Dictation()
        self.line = ears.open(self._put, lambda: 0)
        self._listener = listener
        self._last: asyncio.Queue[EarHeard | EarFailed] = asyncio.Queue()

    def _put(self, event: EarHeard | EarFailed) -> None:
        if isinstance(event, EarFailed) or event.final:
            self._last.put_nowait(event)

    def tick(self, index: int) -> None:
        self.dictation.now_ns = index * TICK_NS
        for hark in self.dictation.orders():
            self.line.obey(hark)

    async def end(self, others: Understood | None) -> Understood | None:
        """What it makes of the phrase that has ended; of `others` where it is too slow."""
        self.tick(0)
        try:
            async with asyncio.timeout(EAR_WAIT_S):
                while (event := await self._last.get()).begun_ns != self.dictation.begun_ns:
                    pass  # of a phrase before it
        except TimeoutError:
            return others
        return self._listener.dictated(event if isinstance(event, EarHeard) else None, others)


async def _ticks(sounds: AsyncIterator[AudioChunk]) -> AsyncGenerator[Tick, None]:
    chunker = Chunker()
    async for chunk in sounds:
        for tick in chunker.feed(chunk):
            yield tick


async def _one(
    phrase: str,
    listener: Listener,
    lane: Lane,
    ticks: AsyncIterator[Tick],
    skipping: asyncio.Future[object],
    along: _Along | None,
) -> Checked | None:
    loudest, quiet, count = SILENCE_DBFS, 0, 0
    async for tick in ticks:
        count += 1
        if skipping.done():
            return None
        heard = await lane.hear(tick.samples)
        listener.feed(tick.samples, heard)
        if along is not None:
            along.tick(tick.index)
        loudest = max(loudest, dbfs(tick.samples))
        for probability in heard.vad:
            if probability >= 0.5 and not listener.open:
                listener.begin()
            quiet = 0 if probability >= 0.35 else quiet + 1
        if listener.open and quiet >= QUIET_FRAMES:
            words = listener.end()
            words = words if along is None else await along.end(words)
            if words is not None:
                return Checked(phrase, " ".join(words.words), words.source, loudest)
        if count >= WAIT_TICKS and not listener.open:
            return Checked(phrase, None, "", loudest)
    return None
