"""`liveagent ask`: a film or a recording is watched faster than real time, then asked about, and the answer comes with
the moment it is about.

The film goes through the same loop as a camera and a microphone do; nothing is called and nothing is spoken aloud.
"When did the red ball appear" sets a watch before it begins, and the moment is when that first fires. Any other
question is typed when the film is over. Which moment its answer rests on is then measured: the answer is read again
behind a cache without one of the kept pictures, for each of them, and that without which it would have been least
likely is it; where none makes much of a difference, the newest, which is what a question about now is about.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liveagent.action import Action, Say
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, AudioChunk
from liveagent.errors import ConfigError
from liveagent.event import Event, PictureKept, Watched, WatchFired
from liveagent.journal import MAGIC
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.context import Kept
from liveagent.runtime.ear_process import find_ear
from liveagent.runtime.hands import Hands
from liveagent.runtime.live import Live
from liveagent.runtime.open_model import picture_px
from liveagent.runtime.replay import load, ticks_of
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import load_model, open_session
from liveagent.sight import PICTURE_PX
from liveagent.spoken import spoken
from liveagent.video import VideoFrame
from liveagent.watch import Change, Sighting, Watch
from liveagent.wish import asked_when, wish

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets

MAX_S = 6 * 3600.0
ANSWER_TICKS = 400
DIFFERENCE_NATS = 0.3
"""By less than that no single picture makes an answer likelier."""
SAYS: dict[Change, str] = {
    "appear": "It was there from {at} on.", "leave": "It was gone at {at}.", "move": "It moved at {at}.",
}  # fmt: skip
NEVER: dict[Change, str] = {
    "appear": "It never was there.", "leave": "It never left.", "move": "It never moved.",
}  # fmt: skip

Progress = Callable[[float, float], None]
"""Told how many seconds were watched, and of how many (0: nobody knows)."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What was answered. `at_s`: the moment it is about, in seconds from the film's beginning; None: of none. `sure`: 0
    to 1. `all_at_s`: every time it happened, of a question for when. `film_s`, `wall_s`: how long the film is, and
    took."""

    question: str
    answer: str
    at_s: float | None
    sure: float
    film_s: float
    wall_s: float
    pictures: int
    all_at_s: tuple[float, ...] = ()
    damage: str | None = None

    @property
    def at(self) -> str:
        """The moment as m:ss; empty when there is none."""
        return clock(self.at_s) if self.at_s is not None else ""


def clock(seconds: float) -> str:
    """75.4 -> "1:15"."""
    whole = int(seconds + 1e-6)
    hours, minutes = whole // 3600, whole // 60 % 60
    return (f"{hours}:{minutes:02}" if hours else str(minutes)) + f":{whole % 60:02}"


@dataclass(slots=True)
class _Watched:
    """What came out while a film was watched."""

    begin_ns: int | None = None
    end_ns: int = 0
    pictures: int = 0
    asked: bool = False
    holds: float = 0.0
    said: list[str] = field(default_factory=list)
    fired: list[tuple[int, float]] = field(default_factory=list)  # when its picture was taken, how likely

    def view(self, item: Event | Action) -> None:
        if isinstance(item, PictureKept):
            self.pictures += 1
        elif isinstance(item, Watched):
            self.holds = item.holds
        elif isinstance(item, WatchFired):
            self.fired.append((item.t_ns, 1.0 - self.holds if item.change == "leave" else self.holds))
        elif isinstance(item, Say) and self.asked:
            self.said.append(item.text)

    def seconds(self, t_ns: int) -> float:
        return max(0.0, (t_ns - (self.begin_ns or 0)) / 1e9)


def ask(
    path: Path, question: str, agent: Agent, model: Nets | None = None, progress: Progress = lambda done_s, of_s: None
) -> Answered:
    """Watch the file and answer.

    Raises ConfigError for a question without words or about what nano cannot watch for, and for a file that is none,
    has no pictures or is too long; DeviceError and LinkError as media files do.
    """
    words = spoken(question)
    if not words:
        raise ConfigError('there is no question in that: liveagent ask FILE "when did the red ball appear"')
    when = asked_when(words) or wish(words)
    if when is not None and when.watch is None:
        raise ConfigError(
            "nano knows when things of the toy table come, go and move, and no more: "
            'ask "when did the red ball appear", or what is or was on the table'
        )
    film = Recorded(path) if is_recording(path) else Shown(path, picture_px(agent.model))
    model = model or load_model(agent)
    if not model.sees:
        raise ConfigError("these weights have no eye: install liveagent again, or give a folder with eye.safetensors")
    return asyncio.run(_ask(film, question, agent, model, when.watch if when is not None else None, progress))


async def _ask(
    film: Shown | Recorded, question: str, agent: Agent, model: Nets, watch: Watch | None, progress: Progress
) -> Answered:
    begin_s = time.monotonic()
    watched = _Watched()

    async def noted(sight: Sighting, session: Any) -> None:
        """Its time is all that is wanted of it."""

    if watch is not None:
        watch = Watch("asked", watch.condition, watch.change, watch.hold_s, True, noted)
    agent = agent.replace(watches=[] if watch is None else [watch], voice=None, wake=None)
    ears = await asyncio.to_thread(find_ear, agent)
    config = SessionConfig.of(agent, voice=False, echo_gate=False, dictated=ears is not None)
    async with AsyncExitStack() as stack:
        if ears is not None:
            stack.callback(ears.close)
            ears.start()
            await asyncio.to_thread(ears.wait)
        session = await stack.enter_async_context(open_session(agent, config, model, use_recogniser=False))
        live = Live(
            session, lambda live: Hands((), live.put, live.now_ns, agent.watches), NullSpeaker(), None, None,
            watched.view, real_time=False,
        )  # fmt: skip
        if ears is not None:
            live.ear = ears.open(live.put, live.now_ns)
        source = _source(live, film, watched, None if watch is not None else question, progress)
        async with aclosing(source):
            await live.run(source)
        await live.hands.close()
        if live.ear is not None:
            live.ear.close()
        if not watched.pictures:
            raise ConfigError(f"{film.name} has no pictures; ask about a film or a recording with some")
        answer, sure = " ".join(watched.said), 1.0
        at_s: float | None = None
        every: tuple[float, ...] = ()
        if watch is not None:
            every = tuple(round(watched.seconds(t_ns), 2) for t_ns, _ in watched.fired)
            at_s, sure = (every[0], watched.fired[0][1]) if every else (None, 1.0)
            answer = SAYS[watch.change].format(at=clock(every[0])) if every else NEVER[watch.change]
        else:
            found = await rests_on(session)
            if found is not None:
                at_s, sure = round(watched.seconds(found[0]), 2), found[1]
    film_s = watched.seconds(watched.end_ns)
    wall_s = round(time.monotonic() - begin_s, 2)
    return Answered(
        question, answer, at_s, round(sure, 3), round(film_s, 2), wall_s, watched.pictures, every, film.damage
    )


def is_recording(path: Path) -> bool:
    """Whether a file begins as a recording of a session does."""
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:  # whoever reads it says what is wrong
        return False


class Shown:
    """A media file, as sound and pictures in order."""

    def __init__(self, path: Path, size_px: int | None = PICTURE_PX) -> None:
        from liveagent.ports.film import Film
        from liveagent.ports.videotrack import VideoTrack, place_of

        track = VideoTrack(place_of(str(path)))
        self.length_s = track.length_s
        track.close()
        self._film = Film(path, real_time=False, size_px=size_px)
        self.name = path.name

    @property
    def damage(self) -> str | None:
        return self._film.damage

    async def items(self) -> AsyncGenerator[AudioChunk | VideoFrame, None]:
        async for item in self._film:
            yield item


class Recorded:
    """A recording of a session: what it heard and saw, and nothing of what it made of that."""

    def __init__(self, path: Path) -> None:
        self._recording = load(path)
        self.name = path.name
        self.length_s = self._recording.ticks * TICK_NS / 1e9
        self.damage = self._recording.trouble or None
        if not any(record.kind == "picture" for record in self._recording.records):
            raise ConfigError(f"{path.name} has no pictures; ask about a film or a recording with some")

    async def items(self) -> AsyncGenerator[AudioChunk | VideoFrame, None]:
        for each in ticks_of(self._recording):
            if each.frame is not None:
                yield each.frame
            yield AudioChunk(each.tick.samples, each.tick.t_ns, 0, "recording")
            await asyncio.sleep(0)


async def _source(
    live: Live, film: Shown | Recorded, watched: _Watched, question: str | None, progress: Progress
) -> AsyncGenerator[AudioChunk | VideoFrame, None]:
    """The film, then the question, then silence for as long as the answer takes."""
    if film.length_s > MAX_S:
        raise ConfigError(f"{film.length_s / 3600:.1f} hours are too long; ask about {MAX_S / 3600:.0f} at most")
    async with aclosing(film.items()) as items:
        async for item in items:
            watched.begin_ns = item.t_ns if watched.begin_ns is None else watched.begin_ns
            if isinstance(item, AudioChunk):
                watched.end_ns = item.t_ns + TICK_NS
                if watched.seconds(watched.end_ns) > MAX_S:
                    raise ConfigError(f"it is longer than {MAX_S / 3600:.0f} hours; ask about a part of it")
                progress(watched.seconds(item.t_ns), film.length_s)
            yield item
    silent = np.zeros(TICK_SAMPLES, np.float32)
    for tick in range(ANSWER_TICKS):
        if live.idle and not watched.asked and question is not None:
            watched.asked = True
            live.typed(question)
        elif live.idle and tick > 0:
            break
        yield AudioChunk(silent, watched.end_ns + tick * TICK_NS, 0, "none")


async def rests_on(session: Session) -> tuple[int, float] | None:
    """When the picture was taken that the last reply rests on, and how likely the reply is, with everything that the
    cache holds. None without pictures, or without a reply.

    The cache is left as it was.
    """
    context = session.context
    spans = context.ledger.spans
    pictures = [span for span in spans if span.kind == "picture"]
    last = next((span for span in reversed(spans) if span.kind == "reply"), None)
    if not pictures or last is None or spans[-1].id != last.id:
        return None
    held = await context.rewind(pictures[0].start)
    at = max(index for index, each in enumerate(held) if each.span.kind == "text")
    before, asked, reply = held[:at], held[at:-1], held[-1]
    start = context.end

    context.now_s = reply.tokens[0].t_s

    async def likely(without: Kept | None) -> float:
        await context.restore([each for each in (*before, *asked) if each is not without])
        total = await _read_slowly(session, reply)
        await context.rewind(start)
        return total

    whole = await likely(None)
    seen = [each for each in before if each.span.kind == "picture"]
    losses = [whole - await likely(each) for each in seen]
    await context.restore(held)
    most = max(range(len(seen)), key=lambda index: losses[index])
    rests = seen[most] if losses[most] >= DIFFERENCE_NATS else seen[-1]
    return rests.span.t_ns, math.exp(min(0.0, whole))


async def _read_slowly(session: Session, reply: Kept) -> float:
    """Log-probability of a reply's tokens behind its first, `<say>`, one by one."""
    total = 0.0
    ids: Sequence[int] = [token.id for token in reply.tokens]
    for one, following in zip(ids, [*ids[1:], None], strict=True):
        want = () if following is None else (following,)
        done = await session.context.add("mark", [one], reply.span.t_ns, want=want)
        total += sum(done.logp)
    return total
