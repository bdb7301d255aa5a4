"""A scripted world for a session: a voice with known word lengths, a loudspeaker that plays a tick a tick, and tools.

Nothing here waits: the world moves one tick when the session does, so whole conversations take no real time.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from liveagent.action import Action, CallTool, CancelCall, ReleaseCall
from liveagent.audio import TICK_NS, TICK_SAMPLES, Samples, Tick
from liveagent.event import (
    ConfirmAsked,
    Event,
    Inbox,
    TextTyped,
    ToolFailed,
    ToolReturned,
)
from liveagent.journal import to_float, to_int16
from liveagent.runtime.answer import Out
from liveagent.runtime.pretended_speaker import PretendedSpeaker
from liveagent.runtime.record import Recorder
from liveagent.runtime.session import SILENT_SAMPLES, Session
from liveagent.video import VideoFrame

SILENCE: Samples = np.zeros(TICK_SAMPLES, np.float32)


class World:
    """Runs `session` tick by tick; nobody ever confirms a hazard. `results` gives what a call returns, None for one
    that takes its time. `log` holds (tick, event or action) in order.

    `reference` is what the loudspeaker sounds like, [1280], in each tick in which it plays; `camera` gives a tick's
    picture, or None. `attends`: results are attended to between two ticks.
    """

    def __init__(
        self,
        session: Session,
        results: Callable[[CallTool], Any] = lambda call: "it is done",
        reference: Samples = SILENT_SAMPLES,
        recorder: Recorder | None = None,
        camera: Callable[[int], VideoFrame | None] = lambda tick: None,
        attends: bool = False,
    ) -> None:
        self.camera, self.attends = camera, attends
        self.session, self.results, self.reference, self.recorder = session, results, reference, recorder
        self.index = 0
        self.log: list[tuple[int, Event | Action]] = []
        self.tokens: list[int] = []
        self.inbox: list[Inbox] = []
        self.ticks: list[tuple[Tick, list[Inbox], Out]] = []
        self._speaker = PretendedSpeaker()
        self._windows: dict[str, CallTool] = {}
        self._declined: list[ToolFailed] = []  # hazards, whose question is asked first

    @property
    def now_ns(self) -> int:
        return self.index * TICK_NS

    def type(self, text: str) -> None:
        self.inbox.append(TextTyped(self.now_ns, text))

    async def run(self, ticks: int = 1, sound: Samples | None = None) -> None:
        for at in range(ticks):
            part = SILENCE if sound is None else sound[at * TICK_SAMPLES : (at + 1) * TICK_SAMPLES]
            await self._tick(np.pad(part, (0, TICK_SAMPLES - len(part))))

    async def hear(self, sound: Samples, then_ticks: int = 0) -> None:
        await self.run(-(-len(sound) // TICK_SAMPLES), sound)
        await self.run(then_ticks)

    def of(self, *kinds: builtins.type[Any]) -> list[Any]:
        return [item for _, item in self.log if isinstance(item, kinds)]

    async def _tick(self, samples: Samples) -> None:
        played = self._speaker.play(self.now_ns)
        self.inbox += played
        reference = self.reference if played else SILENT_SAMPLES
        inbox, self.inbox = self.inbox, []
        asked = any(isinstance(each, ConfirmAsked) for each in inbox)
        if self._declined and not asked and self.session.answer.reply is None:
            inbox.append(self._declined.pop(0))
        tick = Tick(self.index, to_float(to_int16(samples)), self.now_ns)  # as it is recorded
        frame = self.camera(self.index)
        self.index += 1
        out = await self.session.tick(tick, inbox, reference, frame)
        if self.recorder is not None:
            self.recorder.tick(tick, reference, inbox, out, frame)
            for forgotten, state in out.forgotten:
                self.recorder.forget(forgotten, state)
        self.ticks.append((tick, inbox, out))
        self._tell(tick.index, inbox, out)
        if self.attends and any(isinstance(event, ToolReturned) for event in self.inbox):
            await self._attend()

    async def _attend(self) -> None:
        inbox, self.inbox = self.inbox, []
        out = await self.session.attend(inbox)
        if self.recorder is not None:
            self.recorder.attended(self.index, inbox, out)
        self._tell(self.index, inbox, out)

    def _tell(self, index: int, inbox: Sequence[Inbox], out: Out) -> None:
        self.tokens += out.tokens
        self.log += [(index, event) for event in (*inbox, *out.events)]
        for action in out.actions:
            self.log.append((index, action))
            self._obey(action)

    def _obey(self, action: Action) -> None:
        self.inbox += self._speaker.obey(action, self.now_ns)
        if isinstance(action, CallTool) and self.session.agent.tool(action.name).risk == "hazard":
            self.inbox.append(ConfirmAsked(self.now_ns, action.call_id, action.name, action.args))
            self._declined.append(ToolFailed(self.now_ns, action.call_id, "refused", "nobody confirmed it", False))
        elif isinstance(action, CallTool) and action.hold_ms:
            self._windows[action.call_id] = action
        elif isinstance(action, ReleaseCall):
            self._return(self._windows.pop(action.call_id))
        elif isinstance(action, CancelCall):
            if self._windows.pop(action.call_id, None) is not None:
                self.inbox.append(ToolFailed(self.now_ns, action.call_id, "taken_back", "not sent", False))
        elif isinstance(action, CallTool):
            self._return(action)

    def _return(self, call: CallTool) -> None:
        result = self.results(call)
        if result is not None:  # else it takes its time
            self.inbox.append(ToolReturned(self.now_ns, call.call_id, result))
