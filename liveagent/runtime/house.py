"""A box on a shelf: a conversation with this machine's microphone, loudspeaker and camera, and a page that looks on.

Whoever opens the page sees what the box hears and sees and may type, touch and stop; nobody's browser is asked for its
microphone. The last page that was opened is the one that looks on. Without any the conversation goes on all the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.audio import AudioChunk
from liveagent.errors import LiveAgentError
from liveagent.event import CameraFroze, DeviceBack, DeviceLost, SamplesPlayed
from liveagent.manners import Manners
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.conversation import Conversation
from liveagent.runtime.devices import find_camera, find_sounds, find_speaker
from liveagent.runtime.live import Camera, Loudspeaker
from liveagent.runtime.session import SessionConfig
from liveagent.video import VideoFrame
from liveagent.voice import Voice
from liveagent.wire.codec import Asked, Codec, Picture, Sound, Spoken

if TYPE_CHECKING:
    from liveagent.nn.model import Model
    from liveagent.runtime.engine import Lane

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class House:
    """The devices. `headphones`: nothing of the loudspeaker reaches the microphone; else it is half-duplex, as a
    terminal is."""

    sounds: AsyncIterable[AudioChunk | VideoFrame]
    speaker: Loudspeaker
    camera: Camera | None = None
    headphones: bool = False

    @classmethod
    def find(cls, agent: Agent, camera: str | None, put: Put) -> House:
        """This machine's own. `put` is told, in the devices' threads, what becomes of them. DeviceError when there is
        no microphone."""

        def note(code: str, message: str) -> None:
            log.warning("%s", message)

        sounds = find_sounds("mic", False, False, note, put)
        return cls(sounds, find_speaker(False, note, put), find_camera(camera, agent, "mic", note, put))


Event = DeviceLost | DeviceBack | CameraFroze


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
    """A `Conversation` whose microphone, loudspeaker and camera are here."""

    def __init__(
        self, agent: Agent, model: Model, lane: Lane, codec: Codec, house: House, *, voice: Voice | None
    ) -> None:
        manners = replace(Manners(), half_duplex=not house.headphones)
        config = SessionConfig(voice=voice is not None, echo_gate=not house.headphones, manners=manners)
        super().__init__(agent, model, lane, codec, voice=voice, config=config)
        self.house = house
        self.loudspeaker = house.speaker if voice is not None else NullSpeaker()

    async def open(self) -> None:
        await super().open()
        assert self.live is not None
        self.live.camera = self.house.camera
        if self.house.camera is not None:
            await asyncio.to_thread(self.house.camera.start)

    def detach(self) -> None:
        """Nobody looks on any more; what is being said is heard here all the same."""
        self.attached = False
        self._drop_outbox()

    async def _take(self, asked: Asked) -> None:
        """What is asked; the looker-on's own sound, pictures and loudspeaker play no part."""
        if not isinstance(asked, Sound | Picture | SamplesPlayed | Spoken):
            self.put(asked)

    async def _run(self) -> None:
        live = self.live
        assert live is not None
        async for item in self.house.sounds:
            if self._ended:
                return
            if isinstance(item, VideoFrame):
                live.show(item)
                continue
            for tick in live.feed(item):
                self.stats.received_samples += len(tick.samples) - tick.gap_samples
                self.stats.consumed_samples += len(tick.samples) - tick.gap_samples
                self.stats.gap_samples += tick.gap_samples
                async with self._ticking:
                    await self._step(tick, None)

    async def close(self, reason: str = "closed") -> None:
        await super().close(reason)
        close = getattr(self.house.sounds, "close", None)
        if close is not None:
            try:
                await asyncio.to_thread(close)
            except LiveAgentError:
                return
