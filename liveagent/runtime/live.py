"""A session in real time: a source of sound, a camera, a loudspeaker, a voice, hands, a recorder, whoever looks on.

The source is the clock. Each 80 ms of it takes the inbox along into one tick; what the tick decides is obeyed at once.
Reports of the loudspeaker, of tools and of the keyboard only ever enter through the inbox.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from liveagent.action import (
    Action,
    CallTool,
    CallWatch,
    CancelCall,
    Duck,
    Freeze,
    Halt,
    ReleaseCall,
    Resume,
    Say,
    StopPlayback,
)
from liveagent.audio import TICK_NS, TICK_SAMPLES, AudioChunk, Chunker, Samples, Tick
from liveagent.call import Seen
from liveagent.errors import LiveAgentError
from liveagent.event import (
    AudioHeard,
    Event,
    GapMarked,
    Inbox,
    LagNoted,
    Noted,
    ReplyEnded,
    SamplesPlayed,
    TextTyped,
    ToolCalled,
    ToolProgressed,
    Voiced,
)
from liveagent.journal import to_float, to_int16
from liveagent.overrun import LATE_NS, Overrun
from liveagent.runtime.answer import Out
from liveagent.runtime.ear_process import EarLine
from liveagent.runtime.hands import Hands
from liveagent.runtime.record import Recorder
from liveagent.runtime.session import SILENT_SAMPLES, Session
from liveagent.runtime.viewer import Viewer
from liveagent.runtime.voicer import Voicer
from liveagent.sight import OTHER, named
from liveagent.sync import Sync
from liveagent.video import VideoFrame

INBOX_EVENTS = 256
EAR_SETTLES_S = 2.0
RUN_OUT_TICKS = 250  # 20 s: how long a file's last answer may take


class Loudspeaker(Protocol):
    """What plays: a device, or nothing at the pace of the ticks. All sample counts at 16 kHz."""

    def play(self, utterance: int, samples: Samples, final: bool) -> None: ...

    def duck(self, gain_db: float) -> None: ...

    def freeze(self) -> None: ...

    def resume(self) -> None: ...

    def stop(self, utterance: int) -> int | None:
        """Throw away what was not played; how many samples of it were, None: whoever played them will tell."""
        ...

    def sounded(self, t_ns: int) -> list[SamplesPlayed]:
        """What more has sounded by `t_ns` since this was last asked."""
        ...

    def reference(self, t_ns: int) -> Samples:
        """[1280] what sounded during the tick that began at `t_ns`; zeros when nothing did."""
        ...

    def start(self) -> None: ...

    def close(self) -> None: ...


class Camera(Protocol):
    """What is looked at: a device, an address, a drawn table."""

    name: str

    def start(self) -> None: ...

    def read(self, by_ns: int) -> VideoFrame | None:
        """The newest picture that was taken by then and was not read yet."""
        ...

    def close(self) -> None: ...


class Live:
    """Runs one session until its source ends. `view` is told every event and action, in order. Pictures come from
    `camera`, or with the source (`show`)."""

    def __init__(
        self,
        session: Session,
        hands: Callable[[Live], Hands],
        speaker: Loudspeaker,
        voicer: Callable[[Live], Voicer] | None,
        recorder: Recorder | None,
        view: Callable[[Event | Action], None],
        real_time: bool = True,
        camera: Camera | None = None,
    ) -> None:
        self.camera = camera
        self._newest: VideoFrame | None = None
        self._still: VideoFrame | None = None
        self._shown_ns: int | None = None  # the tick that was last given a picture
        self._dropped = 0  # pictures that nobody looked at, since the last that somebody did (LAW 3)
        self.session, self.speaker, self.recorder, self.view = session, speaker, recorder, Viewer(view)
        self.real_time = real_time
        self.chunker = Chunker()
        self.sync = Sync()
        self.overrun = Overrun()
        self.lag_ns = 0
        self._inbox: list[Inbox] = []
        self.on_put: Callable[[], object] = lambda: None
        """Told when something comes in: whoever decides when to tick may want to."""
        self._deciding = asyncio.Lock()
        self._index = 0  # of the next tick
        self._tick_ns = 0
        self.hands = hands(self)
        self.hands.sees = self._sees
        self.voicer = voicer(self) if voicer is not None else None
        self.ear: EarLine | None = None
        """The line to a pretrained ear, where the session wants one; set before the first tick, and closed with it."""

    # --- the world's side

    def _sees(self) -> Seen | None:
        """What the newest picture shows."""
        looking = self.session.seeing.looking
        if looking is None or looking.sight is None:
            return None
        return Seen(named(looking.sight), known=float(looking.sight[0, OTHER]) < 0.5)

    def now_ns(self) -> int:
        """The session's clock between ticks: this machine's monotonic one, which real-time sources are stamped with."""
        return time.monotonic_ns() if self.real_time else self._tick_ns

    def put(self, event: Inbox) -> None:
        """Into the inbox of the next tick. Only typing can overflow it; then its newest line is refused, aloud."""
        if len(self._inbox) >= INBOX_EVENTS and isinstance(event, TextTyped):
            self.view(Noted(event.t_ns, "busy", "too much typed at once; that line was not read"))
            return
        self._inbox.append(event)
        self.on_put()

    def typed(self, text: str) -> None:
        self.put(TextTyped(self.now_ns(), text))

    # --- the loop

    async def run(self, source: AsyncIterator[AudioChunk | VideoFrame]) -> None:
        """Until the source ends; its open last tick is filled with silence."""
        attending = asyncio.create_task(self._attend()) if self.real_time else None
        try:
            async for item in source:
                if isinstance(item, VideoFrame):
                    self.show(item)
                    continue
                for tick in self.feed(item):
                    await self.step(tick)
                if attending is not None and attending.done():
                    attending.result()
            last = self.chunker.flush()
            if last is not None:
                await self.step(last)
        finally:
            if attending is not None:
                attending.cancel()
                await asyncio.gather(attending, return_exceptions=True)

    async def _attend(self) -> None:
        """What comes in while the next sound is waited for."""
        news = asyncio.Event()
        self.on_put = news.set
        while True:
            await news.wait()
            news.clear()
            if self.waiting and self._index:
                await self.attend()

    def feed(self, chunk: AudioChunk) -> list[Tick]:
        """The ticks that this sound completes."""
        ticks = self.chunker.feed(chunk)
        self.sync.heard(chunk.t_ns, self.chunker.drift_ns)
        return ticks

    async def step(self, tick: Tick, ready_ns: int | None = None) -> Out:
        """One tick: inbox, session, actions. `ready_ns`: when its sound had come, where that is not its own time."""
        tick = Tick(tick.index, to_float(to_int16(tick.samples)), tick.t_ns, tick.gap_samples)
        self._tick_ns = tick.t_ns + TICK_NS
        reference = self.speaker.reference(tick.t_ns)
        reference = to_float(to_int16(reference)) if reference.any() else SILENT_SAMPLES
        for report in self.speaker.sounded(self.now_ns()):
            self.put(report)
        inbox, self._inbox = self._inbox, []
        if tick.gap_samples:
            start = tick.index * TICK_SAMPLES
            inbox.append(GapMarked(tick.t_ns, start, tick.gap_samples, "lost"))
        frame = self._frame()
        async with self._deciding:
            out = await self.session.tick(tick, inbox, reference, frame)
            self._index = tick.index + 1
            self._record(lambda recorder: recorder.tick(tick, reference, inbox, out, frame))
            for forgotten, state in out.forgotten:
                self._record(partial(Recorder.forget, forgotten=forgotten, state=state))
            self._tell(inbox, out, tick.index)
        compared = self.sync.tick(tick, out.events, getattr(self.camera, "clock", None))
        if compared is not None:
            self.view(compared)
        self._mind_lag(tick, self._tick_ns if ready_ns is None else ready_ns)
        await self._settle_ear()
        return out

    async def _settle_ear(self) -> None:
        """A pretrained ear takes real time: sound that is heard faster than it was said waits for it."""
        if self.ear is None:
            return
        if not self.real_time:
            await self.ear.settle()
        elif (ahead_ns := self._tick_ns - self.now_ns()) > TICK_NS:
            await self.ear.settle(min(EAR_SETTLES_S, ahead_ns / 1e9))

    async def attend(self) -> None:
        """Between two ticks: what came in, without waiting for the next sound."""
        async with self._deciding:
            inbox, self._inbox = self._inbox, []
            out = await self.session.attend(inbox)
            self._record(lambda recorder: recorder.attended(self._index, inbox, out))
            self._tell(inbox, out, self._index)

    def _record(self, what: Callable[[Recorder], None]) -> None:
        if self.recorder is None:
            return
        try:
            what(self.recorder)
        except LiveAgentError as error:  # once: a broken recorder keeps quiet
            self.view(Noted(self._tick_ns, "recording_stopped", str(error)))

    def _tell(self, inbox: Sequence[Inbox], out: Out, index: int) -> None:
        """Viewers of what came in and what was decided, and those who obey."""
        said = [action for action in out.actions if isinstance(action, Say)]
        for event in (*inbox, *out.events):
            if isinstance(event, ToolCalled):
                self.hands.decided(event)
            if isinstance(event, ReplyEnded):  # a written reply has its last words and its end in one tick
                for each in [each for each in said if each.utterance == event.utterance]:
                    said.remove(each)
                    self.view(each)
            if not isinstance(event, AudioHeard) and self.overrun.shows(event, index):
                self.view(event)
        for hark in out.dictated:
            if self.ear is not None:
                self.ear.obey(hark)
        for action in out.actions:
            self._obey(action)
            if not isinstance(action, Say) or action in said:
                self.view(action)

    @property
    def waiting(self) -> bool:
        """Whether something came in that should not wait for the next sound."""
        return any(not isinstance(event, SamplesPlayed | Voiced | LagNoted | ToolProgressed) for event in self._inbox)

    def show(self, frame: VideoFrame, still: bool = False) -> None:
        """A picture of the source's, for the next tick; the newest wins. `still`: one that was sent to be looked at,
        whatever a camera shows and however late the ticks are."""
        if still:
            self._still = frame
            return
        if self.camera is not None:
            return
        if self._newest is not None:
            self._dropped += 1 + self._newest.dropped
        self._newest = frame

    def _frame(self) -> VideoFrame | None:
        """The picture for this tick, as small as it is seen, and recorded. While ticks are late there are fewer."""
        still, self._still = self._still, None
        if still is not None:
            return self.session.model.small(VideoFrame(still.pixels, self.sync.stamp(still.t_ns), 0))
        if not self.overrun.due(self._tick_ns, self._shown_ns):
            return None
        if self.camera is not None:
            frame = self.camera.read(self.sync.to_machine(self._tick_ns))
        else:
            frame, self._newest = self._newest, None
        if frame is None:
            return None
        if self.recorder is not None and not self.recorder.takes_picture:
            self._dropped += 1 + frame.dropped
            return None
        t_ns = self.sync.stamp(frame.t_ns)
        if self.overrun.stale(self._tick_ns, t_ns):
            self._dropped += 1 + frame.dropped
            return None
        dropped, self._dropped = self._dropped + frame.dropped, 0
        self._shown_ns = self._tick_ns
        return self.session.model.small(VideoFrame(frame.pixels, t_ns, dropped))

    def _mind_lag(self, tick: Tick, ready_ns: int) -> None:
        self.lag_ns = self.now_ns() - ready_ns
        if not self.real_time:
            return
        if self.lag_ns > LATE_NS:
            self.put(LagNoted(self._tick_ns, tick.index, round(self.lag_ns / 1e6, 1)))
        if (shed := self.overrun.feed(self._tick_ns, self.lag_ns)) is not None:
            self.put(shed)

    def _obey(self, action: Action) -> None:
        if isinstance(action, Say):
            if self.voicer is not None and self.session.speaking.voice:
                self.voicer.say(action)
        elif isinstance(action, Duck):
            self.speaker.duck(action.gain_db)
        elif isinstance(action, Freeze):
            self.speaker.freeze()
        elif isinstance(action, Resume):
            self.speaker.resume()
        elif isinstance(action, StopPlayback):
            if self.voicer is not None:
                self.voicer.stop(action.utterance)
            played = self.speaker.stop(action.utterance)
            if played is not None:
                self.put(SamplesPlayed(self.now_ns(), action.utterance, played))
        elif isinstance(action, CallTool | ReleaseCall | CallWatch | CancelCall | Halt):
            self.hands.obey(action)

    @property
    def idle(self) -> bool:
        """Whether nothing is open: no turn, no call, no reply."""
        answer = self.session.answer
        waits = answer.reply is not None or answer.pending or self.session.last_words.closing is not None
        return self.session.turns.phase == "idle" and not waits

    async def close(self) -> None:
        if self.recorder is not None:
            try:
                await asyncio.to_thread(self.recorder.close)
            except LiveAgentError as error:
                self.view(Noted(self.now_ns(), "recording_stopped", str(error)))
        if self.voicer is not None:
            await self.voicer.close()
        if self.ear is not None:
            self.ear.close()
        if self.camera is not None:
            await asyncio.to_thread(self.camera.close)
        await self.hands.close()
        self.speaker.close()
        await self.session.close()


async def silence(
    start_ns: int | None = None, ticks: int | None = None, real_time: bool = True
) -> AsyncIterator[AudioChunk]:
    """The metronome that stands for a microphone that is not there: ticks of silence, at real time's pace.

    Ticks are counted from the start, so a late wake-up is caught up and the pace does not drift.
    """
    begin, index = time.monotonic_ns(), 0
    first_ns = begin if start_ns is None else start_ns
    empty = np.zeros(TICK_SAMPLES, np.float32)
    while ticks is None or index < ticks:
        index += 1
        if real_time:
            await asyncio.sleep(max(0.0, (begin + index * TICK_NS - time.monotonic_ns()) / 1e9))
        else:
            await asyncio.sleep(0)
        yield AudioChunk(empty, first_ns + (index - 1) * TICK_NS, 0, "none")
