"""One live session behind a link: what comes in through a codec, ticks, what goes out, and what is kept while the link
is gone.

The peer's sound is the clock. Sound and what is asked come in one order and keep it: an event takes effect when the
sound before it has been heard. Where no sound comes, a metronome ticks in its place, at once when something is to be
done and at real time's pace else; where sound that was flowing stalls, silence stands in for it only after `STALL_NS`,
and what comes late is heard late, never thrown away (LAW 3).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

from liveagent.action import Action
from liveagent.agent import Agent
from liveagent.audio import RATE_HZ, TICK_NS, TICK_SAMPLES, Tick
from liveagent.errors import LinkError, LiveAgentError, ProtocolError
from liveagent.event import (
    AnswerStopped,
    CacheChanged,
    Event,
    FrameSeen,
    Inbox,
    Noted,
    RobotStopped,
    SamplesPlayed,
    SessionEnded,
    TextTyped,
    TurnsSet,
)
from liveagent.keyframe import PATCH_PX
from liveagent.policy import Question
from liveagent.runtime.clearing import Terms
from liveagent.runtime.ear_process import EarProcess
from liveagent.runtime.far_hands import FarHands
from liveagent.runtime.far_speaker import FarSpeaker
from liveagent.runtime.inlet import AHEAD_NS, Inlet, Piece
from liveagent.runtime.listener import Listener
from liveagent.runtime.live import Live, Loudspeaker
from liveagent.runtime.robot_eyes import RobotEyes
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.showing import Showing
from liveagent.runtime.stop_process import Lookout, StopProcess
from liveagent.runtime.voicer import Voicer
from liveagent.stop import STOP_WORDS
from liveagent.video import Pixels, VideoFrame
from liveagent.voice import Voice
from liveagent.wire.codec import (
    Asked,
    Codec,
    Confirm,
    Confirming,
    Eyes,
    Frame,
    Memory,
    Patches,
    Picture,
    Problem,
    Sound,
    Spoken,
)

if TYPE_CHECKING:
    from liveagent.nn.model import Model
    from liveagent.runtime.engine import Lane

log = logging.getLogger(__name__)

See: TypeAlias = Callable[[bytes, str], Awaitable[Pixels]]
"""Decodes a picture in bounded memory: bytes and media type to `[H, W, 3]`. Raises ProtocolError, in plain words."""

QUEUE_BYTES = 16 << 20
"""What waits to be heard: a burst of a client that takes turns by key, and then the link waits."""
OUTBOX_BYTES = 1 << 20
"""What waits to be sent: a peer that lets more than this wait is too slow, and is let go."""
STALL_NS = 240_000_000
FLOWING_NS = 400_000_000
BACKLOG_SAMPLES = 2 * RATE_HZ
"""More sound than this, while a reply sounds, is a recording that was sent at once: it is heard at real time's pace."""
EARLY_TICKS = 5
"""So far ahead of time something that was asked may pull a tick, when there is no sound to wait for."""
FLOOD_WAIT_S = 0.25
MEMORY_TICKS = 6
SLOW = 1013


@runtime_checkable
class Parking(Protocol):
    """A codec that outlives its connection."""

    def park(self) -> None: ...


@dataclass(slots=True)
class Stats:
    """For metrics and admission. Times in ms, counts since the conversation began."""

    ticks: int = 0
    tick_ms: float = 0.0
    """How long the last tick took."""
    lag_ms: float = 0.0
    """How long after its last sample had come the last tick was done."""
    queue_bytes: int = 0
    outbox_bytes: int = 0
    received_samples: int = 0
    consumed_samples: int = 0
    gap_samples: int = 0
    dropped_frames: int = 0
    tokens: int = 0
    cache: dict[str, int] = field(default_factory=dict)
    shed_level: int = 0


class Conversation:
    """One session that a peer talks to through `codec`. `open`, then `run` as a task; `receive` and `outgoing` are the
    link's two sides, `detach` and `attach` what happens to the link."""

    def __init__(
        self,
        agent: Agent,
        model: Model,
        lane: Lane,
        codec: Codec,
        *,
        voice: Voice | None,
        client_tools: Literal["replace", "add", "refuse"] = "replace",
        config: SessionConfig | None = None,
        see: See | None = None,
        terms: Terms | None = None,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        """`voice` speaks the replies (None: they are written), and is closed with the conversation. `client_tools`:
        what tools that the peer brings do to the agent's own. `see` decodes pictures. `terms`: what its calls are
        subject to. `others`: how many more share
        the engine; whoever hears a recording that was sent at once takes no more of it than its part."""
        self.agent, self.model, self.lane, self.codec = agent, model, lane, codec
        self.stats = Stats()
        self._voice, self._see, self._client_tools, self._terms = voice, see, client_tools, terms or Terms()
        self._config = config or SessionConfig.of(agent, voice=voice is not None, echo_gate=False)
        self.live: Live | None = None
        self.stops: StopProcess | None = None
        """Stops robots, on a path of its own; set before `open`."""
        self.ears: EarProcess | None = None
        """Hears along; set before `open`."""
        self.lookout: Lookout | None = None
        self.speaker = FarSpeaker(self._spoken, time.monotonic_ns, reports=codec.reports_playback)
        self.loudspeaker: Loudspeaker = self.speaker  # what plays: at the far end, unless somebody says otherwise
        self.attached = True
        self.showing = Showing(agent)
        self._inlet = Inlet()
        self._sound_ns = 0  # when sound last came
        self._others = others
        self._flood_told_ns = 0
        self._flooded_ns: int | None = None  # when sound last came so fast that it was not taken
        self._received_ns = 0
        self._ticks = 0
        self._start_ns = 0
        self._news, self._room, self._sendable = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._outbox: deque[Frame] = deque()
        self._steady = asyncio.Event()  # the engine is there
        self._steady.set()
        self._ticking = asyncio.Lock()
        self._ended = False
        self._bye: tuple[int, str] | None = None

    @property
    def closing(self) -> tuple[int, str] | None:
        """A close code and a reason, once the link cannot go on."""
        return self._bye or self.codec.closing

    @property
    def eyes(self) -> Eyes:
        """Whose camera it looks through."""
        camera = self.live.camera if self.live is not None else None
        if isinstance(camera, RobotEyes):
            return "robot"
        return "peer" if camera is None else "server"

    async def open(self) -> None:
        """Read the agent's prompt into the lane, and greet the peer. Raises LiveAgentError for what is missing."""
        self._loop = asyncio.get_running_loop()
        listener = await asyncio.to_thread(Listener.of, self.agent, self.model)
        config = replace(self._config, dictated=self.ears is not None)
        session = Session(self.agent, self.model, self.lane, listener, config)
        session.far_end.client_tools = self._client_tools
        await session.open()
        voicer = None
        if self._voice is not None:
            voice = self._voice

            def voicer(live: Live) -> Voicer:
                return Voicer(voice, self.loudspeaker.play, live.put, live.now_ns)

        self._start_ns = time.monotonic_ns()
        self.live = Live(
            session, lambda live: FarHands(session, live.put, live.now_ns, self._terms), self.loudspeaker, voicer, None,
            self._view,
        )  # fmt: skip
        self.live.hands.clearing.show = self._ask
        self.live.on_put = self._news.set
        if self.ears is not None:
            self.live.ear = self.ears.open(self.live.put, self.live.now_ns)
        await self.live.hands.clearing.ask_about_the_past()
        if self.stops is not None:
            self.lookout = self.stops.lookout_of(self.agent, self._stopped_there)
        self.codec.open(self._start_ns)
        self._flush()

    # --- the link's side

    async def receive(self, data: Frame) -> None:
        """One message of the peer's, in order. Waits while too much of what came before has not been heard yet."""
        self._received_ns = time.monotonic_ns()
        for asked in self.codec.receive(data, self._received_ns):
            await self._take(asked)
        self._flush()

    async def outgoing(self) -> list[Frame]:
        """What is to be sent next, as soon as there is something; empty when the conversation has ended."""
        while not self._outbox and not self._ended and self.closing is None:
            self._sendable.clear()
            await self._sendable.wait()
        frames = list(self._outbox)
        self._outbox.clear()
        self.stats.outbox_bytes = 0
        return frames

    def detach(self) -> None:
        """The link is gone. What was not heard is taken back; the conversation goes on in silence."""
        if not self.attached:
            return
        self.attached = False
        self._drop_outbox()
        self.put(AnswerStopped(time.monotonic_ns(), "link_lost"))

    def _drop_outbox(self) -> None:
        self._outbox.clear()
        self.stats.outbox_bytes = 0
        self._bye = None
        if isinstance(self.codec, Parking):
            self.codec.park()

    async def attach(self, codec: Codec | None = None, asked: Sequence[Asked] = ()) -> None:
        """The link is back. `codec`: a new one, of the same or another protocol; None: the one that was parked has been
        resumed by the host, which hands on what the peer `asked` with it."""
        self.attached = True
        if codec is not None:
            self.codec = codec
            codec.open(self._start_ns)
        self.showing.again()
        self.speaker.reports = self.codec.reports_playback
        for each in asked:
            await self._take(each)
        if self.live is not None:
            self.live.hands.clearing.show_again()
        self._flush()

    async def engine_back(self, lane: Lane) -> None:
        """The engine was started anew: read into `lane` what this conversation held, and go on."""
        assert self.live is not None
        self.lane = lane
        await self.live.session.reread(lane)
        self._steady.set()

    async def close(self, reason: str = "closed") -> None:
        """End it. Never raises; may be called twice."""
        if self._ended:
            return
        self._ended = True
        if self.lookout is not None:
            self.lookout.close()
        self._news.set()
        self._sendable.set()
        self._room.set()
        self._steady.set()
        async with self._ticking:  # the tick that is open is the last
            if self.live is not None:
                self._view(SessionEnded(time.monotonic_ns(), reason))
                with contextlib.suppress(LiveAgentError):
                    await self.live.close()

    def problem(self, code: str, message: str, ref: str = "") -> None:
        """Tell the peer that something could not be done."""
        self.codec.tell(Problem(code, message, ref), time.monotonic_ns())
        self._flush()

    # --- what is asked

    async def _take(self, asked: Asked) -> None:
        self._mind_stop(asked)
        if isinstance(asked, Sound):
            if not self._hear(asked):
                await asyncio.sleep(FLOOD_WAIT_S)  # whoever floods is not read from meanwhile: the others are
        elif isinstance(asked, Picture):
            await self._look(asked)
        elif isinstance(asked, Confirm):
            self._confirm(asked)
        elif isinstance(asked, SamplesPlayed):
            self.speaker.heard(asked)
            self.put(asked)
        else:
            if isinstance(asked, TurnsSet):
                self._inlet.manual = asked.mode == "push_to_talk"
            call_id = getattr(asked, "call_id", None)
            if call_id is not None and self.live is not None and isinstance(self.live.hands, FarHands):
                self.live.hands.returned(call_id)
            self._inlet.add(asked)
            self._news.set()
        while self._inlet.waiting_bytes > QUEUE_BYTES and not self._ended:
            self._room.clear()
            await self._room.wait()

    def _mind_stop(self, asked: Asked) -> None:
        """A typed stop, and sound in which one may be, is on its way before anything else is done with it."""
        if self.lookout is None:
            return
        if isinstance(asked, TextTyped):
            self.lookout.typed(asked.text)
        elif isinstance(asked, Sound):
            length_ns = len(asked.pcm) * 1_000_000_000 // asked.rate_hz
            self.lookout.hear(asked.pcm, time.monotonic_ns() - length_ns, asked.rate_hz)

    def _stopped_there(self, event: RobotStopped | Noted) -> None:
        """In a thread of another's."""
        self._loop.call_soon_threadsafe(self._stopped, event)

    def _stopped(self, event: RobotStopped | Noted) -> None:
        if self.live is not None and not self._ended:
            self.live.view(event)
            self._flush()

    def _ask(self, question: Question, token: str, left_s: float) -> bool:
        """Show whoever is connected what they are to confirm; False where the protocol has no way to."""
        if self.codec.confirms and self.live is not None:
            tools = self.live.session.agent.tools
            about = next((tool.description for tool in tools if tool.name == question.name), "")
            left_ms = int(left_s * 1000)
            asks = Confirming(question.call_id, question.name, about, question.args, token, left_ms)
            self.codec.tell(asks, time.monotonic_ns())
            self._flush()
        return self.codec.confirms

    def _confirm(self, confirm: Confirm) -> None:
        """At once, past the sound that waits: it is no part of the conversation."""
        if self.live is None:
            return
        said = self.live.hands.confirm(confirm.call_id, confirm.token, confirm.yes, "button")
        if said not in ("yes", "no"):
            self.problem("not_confirmed", f"that answer does not count: {said}", confirm.call_id)

    def _hear(self, sound: Sound) -> bool:
        """False when it comes so fast that it is not taken; told once a second."""
        now_ns = time.monotonic_ns()
        taken = self._inlet.hear(sound, now_ns)
        if taken:
            self._sound_ns = now_ns
            self._news.set()
        else:
            self._flooded_ns = now_ns
        if not taken and now_ns - self._flood_told_ns > 1_000_000_000:
            self._flood_told_ns = now_ns
            self.problem("too_fast", f"sound is over {AHEAD_NS // 1_000_000_000} s ahead of real time; it is not heard")
        self._count()
        return taken

    async def _look(self, picture: Picture) -> None:
        if picture.live and self.eyes != "peer":
            return  # it looks for itself
        if self._see is None or not self.model.sees:
            self.problem("blind", "this model has no eyes; pictures are not looked at", picture.ref)
            return
        received_ns = self._received_ns  # a codec may ask later for what it brought at that time to be forgotten
        try:
            pixels = await self._see(picture.data, picture.media_type)
        except ProtocolError as error:
            self.problem("bad_picture", str(error), picture.ref)
            return
        frame = VideoFrame(pixels, received_ns, 0)
        if picture.live:
            assert self.live is not None
            self.live.show(frame)
        else:
            self._inlet.add(frame)
        self._news.set()

    def put(self, event: Inbox) -> None:
        """Straight into the next tick, past the sound that waits."""
        if self.live is not None:
            self.live.put(event)

    # --- ticks

    async def run(self) -> None:
        """Tick until closed. An engine that is lost is waited for; any other fault ends this conversation alone."""
        try:
            await self._run()
        except asyncio.CancelledError:
            raise
        except Exception as error:  # whatever it is, it is this conversation's: the others go on
            log.error("a conversation ended by %s", type(error).__name__, exc_info=error)
            self._bye = (1011, "this conversation failed; connect again")
            self._sendable.set()
            self._ended = True

    async def _run(self) -> None:
        while not self._ended:
            tick, ready_ns = await self._next()
            if tick is None:
                break
            begin_s = time.monotonic()
            async with self._ticking:
                await self._step(tick, ready_ns)
            await self._share(tick, time.monotonic() - begin_s)

    async def _step(self, tick: Tick, ready_ns: int | None) -> None:
        live = self.live
        assert live is not None
        begin_ns = time.monotonic_ns()
        try:
            out = await live.step(tick, ready_ns)
        except LinkError:
            await self._await_engine()
            return
        if self.lookout is not None and live.session.speaking.says(STOP_WORDS):
            self.lookout.own_voice()
        stats, now_ns = self.stats, time.monotonic_ns()
        stats.ticks += 1
        stats.tick_ms, stats.lag_ms = (now_ns - begin_ns) / 1e6, live.lag_ns / 1e6
        stats.tokens += len(out.tokens)
        stats.shed_level = live.overrun.level
        if tick.index % MEMORY_TICKS == 0:
            spans = live.session.context.ledger.spans
            self.codec.tell(Memory(spans), now_ns)
        self._show(now_ns)
        self._flush()

    async def _await_engine(self) -> None:
        """It is gone; `engine_back` reads everything anew."""
        self._steady.clear()
        self.codec.tell(Problem("engine_lost", "the model is being started again; nothing said so far is lost"),
                        time.monotonic_ns())  # fmt: skip
        self._flush()
        await self._steady.wait()

    async def _attend(self, live: Live) -> None:
        """Between two ticks of sound that flows, what should not wait for the next."""
        async with self._ticking:
            if self._ended:
                return
            try:
                await live.attend()
            except LinkError:
                await self._await_engine()
        self._flush()

    async def _next(self) -> tuple[Tick | None, int]:
        """The next tick, and when the last of what it is made of had come; (None, 0) at the end."""
        while not self._ended:
            now_ns = time.monotonic_ns()
            due_ns = self._start_ns + (self._ticks + 1) * TICK_NS
            flowing = now_ns - self._sound_ns < FLOWING_NS
            held = self._held(now_ns, due_ns)
            if not held:
                piece, events = self._inlet.fill(self._start_ns + self._ticks * TICK_NS)
                for event in events:
                    self.put(event)
                if piece is not None:
                    return self._tick(piece), time.monotonic_ns()
                early = now_ns >= due_ns - EARLY_TICKS * TICK_NS
                if self.live is not None and self.live.waiting and early and not flowing:
                    return self._tick(self._inlet.cut()), now_ns
            if self.live is not None and self.live.waiting and flowing and self._ticks:
                await self._attend(self.live)
                continue
            wait_ns = due_ns + (STALL_NS if flowing and not self._inlet.manual and not held else 0) - now_ns
            if wait_ns <= 0:
                if now_ns - due_ns > 50 * TICK_NS:  # the machine slept: those ticks are gone, and nothing was in them
                    self._start_ns = now_ns - self._ticks * TICK_NS - TICK_NS
                return self._tick(self._inlet.cut()), now_ns
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), wait_ns / 1e9)
        return None, 0

    def _held(self, now_ns: int, due_ns: int) -> bool:
        """Whether sound that waits must not be heard faster than it would be spoken: a recording may not run ahead of a
        reply that sounds, nor a flood live on the others' time."""
        if now_ns >= due_ns or self._inlet.waiting_bytes // 4 <= BACKLOG_SAMPLES:
            return False
        flooded = self._flooded_ns is not None and now_ns - self._flooded_ns < AHEAD_NS
        return flooded or self.speaker.sounding

    async def _share(self, tick: Tick, took_s: float) -> None:
        """After a tick that was ahead of its time, while more sound waits: the others' turn."""
        early_s = (tick.t_ns + TICK_NS - time.monotonic_ns()) / 1e9
        if early_s > 0 and self._inlet.waiting_bytes >= 4 * TICK_SAMPLES:
            await asyncio.sleep(min(early_s, TICK_NS / 1e9, took_s * self._others()))

    def _tick(self, piece: Piece) -> Tick:
        if piece.still is not None and self.live is not None:
            self.live.show(piece.still, still=True)
        tick = Tick(self._ticks, piece.samples, self._start_ns + self._ticks * TICK_NS, piece.gap_samples)
        self._ticks += 1
        self._count()
        if self._inlet.waiting_bytes <= QUEUE_BYTES // 2:
            self._room.set()
        return tick

    def _count(self) -> None:
        stats, inlet = self.stats, self._inlet
        stats.queue_bytes, stats.received_samples = inlet.waiting_bytes, inlet.received_samples
        stats.consumed_samples, stats.gap_samples = inlet.consumed_samples, inlet.gap_samples

    # --- what goes out

    def _view(self, item: Event | Action) -> None:
        if isinstance(item, FrameSeen):
            self.stats.dropped_frames += item.dropped
            looking = self.live.session.seeing.looking if self.live is not None else None
            if item.patches and looking is not None and looking.patches is not None and looking.pixels is not None:
                columns = -(-looking.pixels.shape[1] // PATCH_PX)
                self.codec.tell(Patches(item.t_ns, tuple(map(bool, looking.patches)), columns), item.t_ns)
        elif isinstance(item, CacheChanged):
            self.stats.cache = dict(item.by_kind)
        self.codec.tell(item, time.monotonic_ns())

    def _show(self, now_ns: int) -> None:
        """What it looks at and how its robots stand, when nothing else waits."""
        if not self.attached or self._outbox or self.live is None:
            return
        for each in self.showing.news(now_ns, None if self.eyes == "peer" else self.live.session.seeing.looking):
            self.codec.tell(each, now_ns)

    def _spoken(self, spoken: Spoken) -> None:
        if not self.attached:
            self.put(AnswerStopped(time.monotonic_ns(), "link_lost"))
            return
        self.codec.tell(spoken, time.monotonic_ns())
        self._flush()

    def _flush(self) -> None:
        frames = self.codec.take()
        if not self.attached:
            return
        for frame in frames:
            self._outbox.append(frame)
            self.stats.outbox_bytes += len(frame)
        if self.stats.outbox_bytes > OUTBOX_BYTES and self._bye is None:
            self._bye = (SLOW, "too slow: what waited to be sent was thrown away; connect again to resume")
            self._outbox.clear()
            self.stats.outbox_bytes = 0
        if self._outbox or self.closing is not None:
            self._sendable.set()
