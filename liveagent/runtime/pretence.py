"""A conversation without people or devices: the shipped session, its time told by ticks and nobody's clock.

`Pretence` is the world around a session: what it hears, a voice that takes a quarter of a second for a word, a
loudspeaker that plays a tick a tick, tools that answer at once. `KeptLane` is its lane of the engine: it keeps its own
account of what went through, and may bound how long a reply becomes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import numpy as np

from liveagent.action import Action, CallTool, Say
from liveagent.audio import TICK_NS, TICK_SAMPLES, Samples, Tick
from liveagent.event import Event, Inbox, TextTyped, ToolReturned
from liveagent.runtime.engine import Lane, Lanes
from liveagent.runtime.pretended_speaker import PretendedSpeaker
from liveagent.runtime.session import SILENT_SAMPLES, Session
from liveagent.runtime.work import Append, Decode, Done, Evict, Listen, Probe, Reply, Reset, Rewind, Work
from liveagent.video import VideoFrame

FLOOR = 10 ** (-62 / 20)
"""A quiet room, as rms."""
MOST_TOKENS = 1 << 15
T = TypeVar("T")
Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Timed:
    """What a piece of work took. `tokens`: read or chosen."""

    work: str
    tokens: int
    seconds: float


@dataclass(slots=True)
class Account:
    """What went through a lane. `held`: what must be in the cache now; `whole`: the same if nothing were ever
    evicted, as far back as it is kept."""

    held: list[int] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    times: list[Timed] = field(default_factory=list)
    evictions: int = 0

    def note(self, work: Work, done: Done) -> None:
        if isinstance(work, Reset):
            self.held, self.whole = [], []
        elif isinstance(work, Append | Decode):
            ids = work.ids if isinstance(work, Append) else done.ids
            self.held += ids
            self.whole += ids
            if len(self.whole) > 2 * MOST_TOKENS:
                del self.whole[:-MOST_TOKENS]
        elif isinstance(work, Rewind):
            gone = len(self.held) - work.length
            del self.held[work.length :], self.whole[len(self.whole) - gone :]
        elif isinstance(work, Evict):
            self.evictions += 1
            for hole in reversed(work.plan.holes):
                del self.held[hole.start - work.first : hole.end - work.first]


class KeptLane(Lane):
    """See `Account`. `least`, `most`: a reply is not over before so many tokens, and after so many nothing but its end
    can be chosen; `calls_next`: where the decoder chooses next between a call and words, it is a call."""

    def __init__(self, engine: Lanes, number: int, clock: Clock = time.perf_counter) -> None:
        super().__init__(engine, number)
        self.account, self._clock = Account(), clock
        self.least, self.most, self.calls_next = 0, 0, False
        self.written = 0
        """Tokens of the open reply."""
        self.ended_by: int | None = None
        """What ended the last reply; None: it was as long as replies become."""

    def bound(self, least: int = 0, most: int = 0) -> None:
        """For the replies to come; 0: as long as the model likes."""
        self.least, self.most, self.written = least, most, 0

    async def ask(self, work: Work) -> Reply:
        if not isinstance(work, Listen):
            return await super().ask(work)
        begun = self._clock()
        reply = await super().ask(work)
        self.account.times.append(Timed("hear", 0, self._clock() - begun))
        return reply

    async def do(self, work: Append | Probe | Rewind | Evict | Decode | Reset) -> Done:
        if isinstance(work, Decode) and not work.call:
            work = self._bounded(work)
        begun = self._clock()
        done = await super().do(work)
        took = self._clock() - begun
        self.account.note(work, done)
        if isinstance(work, Append | Decode):
            ids = work.ids if isinstance(work, Append) else done.ids
            self.account.times.append(Timed(type(work).__name__.lower(), len(ids), took))
        if isinstance(work, Decode) and not work.call:
            self.written = 0 if done.ended else self.written + len(done.ids)
            self.ended_by = done.ids[-1] if done.ended else None
        if isinstance(work, Append) and work.want:
            self.written = 0
            if self.calls_next:
                self.calls_next = False
                done = replace(done, logp=(0.0, *done.logp[1:]))
        return done

    def _bounded(self, work: Decode) -> Decode:
        if self.written < self.least:
            most = min(work.max_tokens, self.least - self.written)
            return replace(work, max_tokens=most, never=tuple({*work.never, *work.stop}))
        if self.most and self.written >= self.most:
            return replace(work, max_tokens=1, allowed=work.stop)
        if self.most:
            return replace(work, max_tokens=min(work.max_tokens, self.most - self.written))
        return work


class Pretence:
    """See the module. `results`: what each tool gives. `log` holds (tick, event or action) in order."""

    def __init__(
        self,
        session: Session,
        results: Mapping[str, str] | None = None,
        clock: Clock = time.perf_counter,
        seed: int = 1,
    ) -> None:
        self.session, self._results, self._clock = session, results or {}, clock
        self._rng = np.random.default_rng(seed)
        self.index = 0
        self.log: list[tuple[int, Event | Action]] = []
        self.inbox: list[Inbox] = []
        self.tick_s: list[float] = []
        """What each tick took, by the clock on the wall."""
        self._frame: VideoFrame | None = None
        self._speaker = PretendedSpeaker()

    @property
    def lane(self) -> KeptLane:
        return cast(KeptLane, self.session.lane)

    @property
    def now_ns(self) -> int:
        return self.index * TICK_NS

    @property
    def quiet(self) -> bool:
        """Nothing is open: no reply, no call, no word on its way."""
        answer = self.session.answer
        return answer.reply is None and not answer.pending and not self._speaker.sounding and not self.inbox

    def mark(self) -> int:
        """A place in the log."""
        return len(self.log)

    def since(self, mark: int, *kinds: type[T]) -> list[T]:
        return [cast(T, item) for _, item in self.log[mark:] if isinstance(item, kinds)]

    def said(self, mark: int) -> str:
        return " ".join(each.text for each in self.since(mark, Say) if each.text)

    def type(self, text: str) -> None:
        self.inbox.append(TextTyped(self.now_ns, text))

    def show(self, pixels: np.ndarray) -> None:
        self._frame = VideoFrame(pixels, self.now_ns)

    async def ticks(self, count: int) -> None:
        for _ in range(count):
            await self.tick()

    async def hear(self, sound: Samples) -> None:
        for at in range(0, len(sound), TICK_SAMPLES):
            await self.tick(sound[at : at + TICK_SAMPLES])

    async def settle(self, most_ticks: int = 900) -> bool:
        """Until nothing is open, or it has been too long."""
        for _ in range(most_ticks):
            await self.tick()
            if self.quiet:
                return True
        return False

    async def tick(self, sound: Samples = SILENT_SAMPLES) -> None:
        self.inbox += self._speaker.play(self.now_ns)
        room = self._rng.standard_normal(TICK_SAMPLES).astype(np.float32) * np.float32(FLOOR)
        room[: len(sound)] += sound
        inbox, self.inbox = self.inbox, []
        frame, self._frame = self._frame, None
        begun = self._clock()
        out = await self.session.tick(Tick(self.index, room, self.now_ns), inbox, SILENT_SAMPLES, frame)
        self.tick_s.append(self._clock() - begun)
        self.log += [(self.index, event) for event in (*inbox, *out.events)]
        self.index += 1
        for action in out.actions:
            self.log.append((self.index - 1, action))
            self._obey(action)

    def _obey(self, action: Action) -> None:
        if isinstance(action, CallTool):
            result = self._results.get(action.name, "it is done")
            self.inbox.append(ToolReturned(self.now_ns, action.call_id, result))
        elif not isinstance(action, Say) or self.session.config.voice:
            self.inbox += self._speaker.obey(action, self.now_ns)


def percentile(values: Sequence[float], share: float) -> float:
    return float(np.percentile(np.array(values), share * 100)) if values else 0.0
