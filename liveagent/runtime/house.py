"""A box on a shelf: a conversation with this machine's microphone, loudspeaker and camera, and a page that looks on.

Whoever opens the page sees what the box hears and sees and may type, stop and forget; nobody's browser is asked for its
microphone. Without anybody who looks on the conversation goes on all the same (see `Resident`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from liveagent.agent import Agent
from liveagent.audio import AudioChunk
from liveagent.event import (
    AnswerAsked,
    AnswerStopped,
    CameraFroze,
    DeviceBack,
    DeviceLost,
    ForgetAsked,
    MessageAdded,
    SamplesPlayed,
    TextTyped,
    VoiceSet,
)
from liveagent.ports.mic import Mic
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.clearing import Terms
from liveagent.runtime.conversation import Conversation
from liveagent.runtime.devices import find_camera, find_sounds, find_speaker
from liveagent.runtime.live import Camera, Loudspeaker
from liveagent.runtime.open_model import picture_px
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.stop_mic import StopMic
from liveagent.video import VideoFrame
from liveagent.voice import Voice
from liveagent.wire.codec import Asked, Codec, Confirm, Eyes, Picture, Sound

if TYPE_CHECKING:
    from liveagent.nn.model import Model
    from liveagent.runtime.engine import Lane

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    """The devices, started. `sounds`: a microphone, or whatever else gives sound at real time's pace; what has a
    `close` is closed. `headphones`: nothing of the loudspeaker reaches the microphone; else, where there is one, it is
    half-duplex, as a terminal is."""

    sounds: AsyncIterable[AudioChunk | VideoFrame]
    speaker: Loudspeaker
    camera: Camera | None = None
    headphones: bool = False

    @classmethod
    def find(cls, agent: Agent, put: Put, *, camera: str | None = None, headphones: bool = False) -> House:
        """This machine's own. `put` is told, in the devices' threads, what becomes of them. `camera`: see
        `find_camera`. DeviceError when there is no microphone, and what `find_camera` raises."""

        def note(code: str, message: str) -> None:
            log.warning("%s", message)

        with ExitStack() as opened:
            sounds = find_sounds("mic", False, False, note, put)
            opened.callback(close_sounds, sounds)
            speaker = find_speaker(agent.voice is None, note, put)
            opened.callback(speaker.close)
            look = find_camera(camera, agent, "mic", note, put, picture_px(agent.model))
            opened.pop_all()
        return cls(sounds, speaker, look, headphones)

    @property
    def names(self) -> str:
        """What it hears with, speaks through and looks at, for a person."""
        heard = getattr(self.sounds, "name", "what it is given")
        said = f"hears with {heard}, speaks through {getattr(self.speaker, 'name', 'a loudspeaker')}"
        return said if self.camera is None else f"{said}, looks at {self.camera.name}"

    def close(self) -> None:
        """May be called twice, and waits for the devices' threads."""
        close_sounds(self.sounds)
        self.speaker.close()
        if self.camera is not None:
            self.camera.close()


Event: TypeAlias = DeviceLost | DeviceBack | CameraFroze
OpenHouse: TypeAlias = Callable[[Agent, "Put"], House]
"""Opens the devices, in a thread; again after a conversation that failed. `House.find`, or one's own."""

TAKEN = (TextTyped, MessageAdded, AnswerAsked, AnswerStopped, ForgetAsked)
"""What whoever looks on may ask."""
PASSED_OVER = (Sound, Picture, SamplesPlayed, VoiceSet)
"""What a page sends by itself: its own microphone, camera and loudspeaker play no part."""


class Put:
    """Tells a conversation, in its own thread, what became of a device; nobody before there is one."""

    def __init__(self) -> None:
        self._told: tuple[asyncio.AbstractEventLoop, Conversation] | None = None

    def to(self, conversation: Conversation) -> None:
        self._told = asyncio.get_running_loop(), conversation

    def __call__(self, event: Event) -> None:
        if self._told is not None:
            loop, conversation = self._told
            try:
                loop.call_soon_threadsafe(conversation.put, event)
            except RuntimeError:  # the loop is closed: nobody is left to be told
                return


class HouseConversation(Conversation):
    """A `Conversation` whose microphone, loudspeaker and camera are here: `house`, which is closed with it."""

    def __init__(
        self, agent: Agent, model: Model, lane: Lane, codec: Codec, house: House, *, voice: Voice | None,
        config: SessionConfig | None = None, terms: Terms | None = None,
    ) -> None:
        config = config or SessionConfig.of(agent)
        apart = house.headphones or isinstance(house.speaker, NullSpeaker)
        manners = replace(config.manners, half_duplex=not apart)
        if agent.wake and manners.mode == "open":
            manners = replace(manners, mode="wake_phrase")
        config = replace(config, voice=voice is not None, echo_gate=not house.headphones, manners=manners)
        super().__init__(agent, model, lane, codec, voice=voice, config=config, terms=terms)
        self.house = house
        self.loudspeaker = house.speaker
        self._stop_mic: StopMic | None = None
        self.detach()

    @property
    def eyes(self) -> Eyes:
        """Never the peer's: a film that it hears may have pictures, too."""
        return "robot" if super().eyes == "robot" else "server"

    async def open(self) -> None:
        await super().open()
        assert self.live is not None
        if self.lookout is not None and isinstance(self.house.sounds, Mic):
            self._stop_mic = StopMic(self.lookout, self.house.sounds, self._echoing)
        self.live.camera = self.house.camera
        if self.house.camera is not None:
            await asyncio.to_thread(self.house.camera.start)

    def detach(self) -> None:
        """Nobody looks on any more; what is being said is heard here all the same."""
        self.attached = False
        self._drop_outbox()

    @property
    def _echoing(self) -> Loudspeaker | None:
        """Who sounds in the microphone."""
        return None if self.house.headphones or isinstance(self.house.speaker, NullSpeaker) else self.house.speaker

    async def _take(self, asked: Asked) -> None:
        """What is asked by whoever looks on."""
        if isinstance(asked, TextTyped):
            self._mind_stop(asked)
        if isinstance(asked, TAKEN):
            self.put(asked)
        elif isinstance(asked, Confirm):
            self._confirm(asked)
        elif not isinstance(asked, PASSED_OVER):
            self.problem("house", "it hears with a microphone of its own: from here one can type, stop and forget")

    async def _run(self) -> None:
        live = self.live
        assert live is not None
        async for item in self.house.sounds:
            if isinstance(item, VideoFrame):
                live.show(item)
                continue
            if self.lookout is not None and self._stop_mic is None:
                self.lookout.hear(item.samples, item.t_ns)
            for tick in live.feed(item):
                self.stats.received_samples += len(tick.samples) - tick.gap_samples
                self.stats.consumed_samples += len(tick.samples) - tick.gap_samples
                self.stats.gap_samples += tick.gap_samples
                async with self._ticking:
                    if self._ended:
                        return
                    await self._step(tick, None)

    async def close(self, reason: str = "closed") -> None:
        if self._stop_mic is not None:
            await asyncio.to_thread(self._stop_mic.close)
        await super().close(reason)
        await asyncio.to_thread(self.house.close)


def close_sounds(sounds: object) -> None:
    """A microphone is closed; a generator ends with whoever reads it."""
    close = getattr(sounds, "close", None)
    if close is not None:
        close()
