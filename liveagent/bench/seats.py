"""Sessions for benches: the shipped `Session` and `Listener`, several on one slab, in the caller's thread.

The engine's `Core` is stepped as soon as every session waits for it, so a bench's numbers do not depend on how threads
happened to run. A `Seat` is a session with a world around it: sound is fed tick by tick, nothing waits for real time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import numpy as np

from liveagent.action import Action, Say
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, Samples, Tick
from liveagent.event import Event, Inbox, TextTyped
from liveagent.nn.nano import Nano
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.listener import Listener, Understood
from liveagent.runtime.pretended_speaker import PretendedSpeaker
from liveagent.runtime.session import SILENT_SAMPLES, Session, SessionConfig
from liveagent.runtime.work import Reply, Work
from liveagent.video import Pixels, VideoFrame

FLOOR = 10 ** (-62 / 20)  # a quiet room, as rms
SETTLE = 4  # turns of the loop until whoever was answered has asked for the next thing
T = TypeVar("T")
R = TypeVar("R")


class Direct:
    """Looks like an `Engine` to a `Lane`; has no thread. `pump` steps the core while sessions wait."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def open(self) -> int:
        return self.core.open()

    def release(self, lane: int) -> None:
        self.core.close(lane)

    def send(self, lane: int, work: Work, done: Callable[[Reply | BaseException], None]) -> None:
        self.core.submit(lane, work, done)

    async def pump(self) -> None:
        while True:
            for _ in range(SETTLE):
                await asyncio.sleep(0)
            self.core.step()


class Noting(Listener):
    """The shipped listener; `last` is what it understood when an utterance ended."""

    last: Understood | None = None

    def end(self) -> Understood | None:
        self.last = super().end()
        return self.last


class Seat:
    """One session, one world. `log` holds (tick, event or action) since `fresh`; with a voice, replies are played."""

    def __init__(self, agent: Agent, model: Nano, lane: Lane, listener: Noting, config: SessionConfig, seed: int):
        self.agent, self.model, self.lane, self.listener, self.config = agent, model, lane, listener, config
        self.room = FLOOR
        self._rng = np.random.default_rng(seed)
        self.steps: list[int] = []  # decoder steps to the first token of each answer, of all its conversations
        self.session = Session(agent, model, lane, listener, config)
        self._begin()

    def _begin(self) -> None:
        self.index = 0
        self.log: list[tuple[int, Event | Action]] = []
        self.inbox: list[Inbox] = []
        self.frame: VideoFrame | None = None  # what the camera shows in the next tick
        self._speaker = PretendedSpeaker()

    async def open(self) -> None:
        await self.session.open()

    async def fresh(self) -> None:
        """A new conversation: the agent's prompt stays read, everything after it is taken back."""
        context = self.session.context
        await context.rewind(context.ledger.first + context.ledger.pinned_tokens)  # evictions have moved it
        self.listener.cancel()
        self.listener.last = None
        self.steps += self.session.answer.first_token_steps
        self.session = Session(self.agent, self.model, self.lane, self.listener, self.config, context)
        self._begin()

    @property
    def understood(self) -> Understood | None:
        return self.listener.last

    @property
    def now_ns(self) -> int:
        return self.index * TICK_NS

    def write(self, text: str) -> None:
        self.inbox.append(TextTyped(self.now_ns, text))

    def show(self, pixels: Pixels) -> None:
        self.frame = VideoFrame(pixels, self.now_ns)

    def of(self, *kinds: type[T]) -> list[T]:
        return [cast(T, item) for _, item in self.log if isinstance(item, kinds)]

    def when(self, *kinds: type[Any]) -> int | None:
        """The tick of the first of these events or actions."""
        return next((at for at, item in self.log if isinstance(item, kinds)), None)

    async def ticks(self, count: int, until: tuple[type, ...] = ()) -> None:
        """Silence, `count` ticks of it, or until one of `until` was logged."""
        for _ in range(count):
            await self.tick(SILENT_SAMPLES)
            if until and self.when(*until) is not None:
                return

    async def hear(self, sound: Samples) -> None:
        for at in range(0, len(sound), TICK_SAMPLES):
            await self.tick(sound[at : at + TICK_SAMPLES])

    async def tick(self, sound: Samples, reference: Samples = SILENT_SAMPLES) -> None:
        self.inbox += self._speaker.play(self.now_ns)
        room = self._rng.standard_normal(TICK_SAMPLES).astype(np.float32) * np.float32(self.room)
        room[: len(sound)] += sound
        inbox, self.inbox = self.inbox, []
        frame, self.frame = self.frame, None
        out = await self.session.tick(Tick(self.index, room, self.now_ns), inbox, reference, frame)
        self.log += [(self.index, event) for event in (*inbox, *out.events)]
        self.index += 1
        for action in out.actions:
            self.log.append((self.index - 1, action))
            self._obey(action)

    @property
    def sounding(self) -> bool:
        """Whether a reply waits to be played, or is."""
        return self._speaker.sounding

    def _obey(self, action: Action) -> None:
        if not isinstance(action, Say) or self.config.voice:
            self.inbox += self._speaker.obey(action, self.now_ns)


@asynccontextmanager
async def seats(
    agent: Agent,
    model: Nano,
    count: int = 4,
    config: SessionConfig | None = None,
    use_recogniser: bool = True,
    slots: int = 1024,
    sleeps: bool = True,
) -> AsyncIterator[list[Seat]]:
    """`count` open sessions on one slab of as many lanes (never fewer than 4). `sleeps`: see `Core`."""
    config = config or SessionConfig(voice=False)
    direct = Direct(Core(model, max(4, count), slots, sleeps))
    pump = asyncio.create_task(direct.pump())
    made = []
    try:
        for number in range(count):
            listener = cast(Noting, Noting.of(agent, model, use_recogniser=use_recogniser))
            made.append(Seat(agent, model, Lane(cast(Engine, direct), direct.open()), listener, config, number))
        await asyncio.gather(*(seat.open() for seat in made))
        yield made
        for seat in made:
            await seat.session.close()
    finally:
        pump.cancel()
        await asyncio.gather(pump, return_exceptions=True)


async def share(made: Sequence[Seat], jobs: Sequence[T], do: Callable[[Seat, T], Awaitable[R]]) -> list[R]:
    """Do all jobs, each by the next free seat in a fresh conversation; results in the order of the jobs."""
    results: dict[int, R] = {}
    left = list(enumerate(jobs))[::-1]

    async def work(seat: Seat) -> None:
        while left:
            number, job = left.pop()
            await seat.fresh()
            results[number] = await do(seat, job)

    await asyncio.gather(*(work(seat) for seat in made))
    return [results[number] for number in range(len(jobs))]
