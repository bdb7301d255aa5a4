"""Where a session's sound and pictures come from and where its voice goes: what is there is used, what is missing said.

No microphone, then a shipped clip plays as if it were one; no loudspeaker, then replies play into nothing at their own
pace; no voice, then the agent is mute; no camera, then it looks at nothing. What was asked for by name must be there.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from liveagent.agent import Agent
from liveagent.audio import SAMPLE_NS, AudioChunk
from liveagent.errors import ConfigError, DeviceError, LinkError, LiveAgentError
from liveagent.event import CameraFroze, DeviceBack, DeviceLost
from liveagent.ports.mic import Mic
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.ports.voice_file import VoiceFile, part
from liveagent.runtime.live import RUN_OUT_TICKS, Camera, Loudspeaker, silence
from liveagent.sight import PICTURE_PX
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.ports.voice_process import ProcessVoice
    from liveagent.voice import Voice

Note: TypeAlias = Callable[[str, str], None]
"""Told a code and a sentence."""
Put: TypeAlias = Callable[[DeviceLost | DeviceBack | CameraFroze], None]
"""Told what became of a device, in the device's own thread."""
TABLE = "table"
TABLE_PX = 384
"""The toy table for an eye that sees more than nano's."""


async def open_voice(agent: Agent) -> Voice | None:
    """The agent's voice, its process started, or None for silence. DeviceError when it is not there, ConfigError for a
    name or a file that is none."""
    if agent.voice is None:
        return None
    voice = make_voice(agent.voice)
    await voice.open()
    return voice


def make_voice(named: str) -> ProcessVoice:
    """The voice of that name: a file of piper's or Kokoro's, or one of espeak's. Nothing is started. ConfigError."""
    file = VoiceFile.of(named)
    if file is not None and file.kind == "piper":
        from liveagent.ports.piper import PiperVoice

        return PiperVoice(file.model, file.speaker)
    if file is not None:
        from liveagent.ports.kokoro import KokoroVoice

        return KokoroVoice(file.model, file.speaker)
    from liveagent.ports.espeak import EspeakVoice

    return EspeakVoice() if named == "espeak" else EspeakVoice(named)


async def find_voice(agent: Agent, note: Note) -> Voice | None:
    try:
        return await open_voice(agent)
    except DeviceError as error:
        if agent.voice is not None and part(agent.voice) is not None:
            raise
        note("mute", f"{error}; replies are only written")
        return None


def find_speaker(nothing: bool, note: Note, put: Put) -> Loudspeaker:
    """The loudspeaker; with `nothing`, or where there is none, one that plays into nothing."""
    if nothing:
        return NullSpeaker()
    from liveagent.ports.speaker import Speaker

    speaker = Speaker(on_event=put)
    try:
        speaker.start()
    except DeviceError as error:
        note("no_speaker", f"{error}; replies play into nothing")
        return NullSpeaker()
    return speaker


def find_sounds(
    source: str | None, text_only: bool, fast: bool, note: Note, put: Put, size_px: int | None = PICTURE_PX
) -> AsyncIterable[AudioChunk | VideoFrame]:
    """What is heard: silence, a file or URL, the microphone, or the shipped clip for one. DeviceError when a microphone
    was asked for and there is none."""
    if text_only:
        return silence()
    if source is not None and source != "mic":
        return file_source(source, not fast, note, size_px)
    mic = Mic(on_event=put)
    try:
        mic.start()
    except DeviceError as error:
        if source == "mic":
            raise
        note("no_microphone", f"{error}; playing the shipped clip as if it were one")
        return file_source(str(clip_path()), not fast, note)
    return mic


def find_camera(
    wanted: str | None, agent: Agent, sounds: str | None, note: Note, put: Put, size_px: int | None = PICTURE_PX
) -> Camera | None:
    """What is looked at. `wanted`: "none", "table", or what `Camera` takes; None: the pictures of `sounds` where that
    is a film, else what the agent looks at, if anything. `size_px`: see `picture_px`. Raises what `Camera` does
    for a camera that was asked for; another that is missing is noted."""
    source = wanted if wanted is not None else agent.camera
    if source is None or source == "none" or (wanted is None and has_pictures(sounds)):
        return None
    if source == TABLE:
        from liveagent.ports.toytable import ToyTableCamera

        return ToyTableCamera(seed=agent.seed, size_px=size_px or TABLE_PX)
    from liveagent.ports.camera import Camera as Lens
    from liveagent.runtime.robot_eyes import RobotEyes, is_robots

    lens = RobotEyes(source, on_event=put) if is_robots(source) else Lens(source, on_event=put, size_px=size_px)
    try:
        lens.start()
    except (ConfigError, DeviceError, LinkError) as error:
        if wanted is not None:
            raise
        note("no_camera", f"{error}; nothing is seen")
        return None
    return lens


def has_pictures(source: str | None) -> bool:
    """Whether a source of sound is a film. An address is not asked twice: it is taken for one."""
    if source is None or source == "mic":
        return False
    from liveagent.ports.videotrack import VideoTrack, place_of

    try:
        place = place_of(source)
        if place.kind == "file":
            VideoTrack(place).close()
    except LiveAgentError:  # whoever reads it says what is wrong
        return False
    return True


def clip_path() -> Path:
    """The shipped clip. ConfigError when it did not come with this install."""
    from liveagent.nn.model import weights_folder

    path = weights_folder().parent / "clip.flac"
    if not path.is_file():
        raise ConfigError("the shipped clip is missing: install liveagent again, or give --source FILE")
    return path


async def file_source(
    path: str, real_time: bool, note: Note = lambda code, message: None, size_px: int | None = PICTURE_PX
) -> AsyncIterator[AudioChunk | VideoFrame]:
    """A file or URL as if it were a microphone and a camera, then silence for as long as its last answer may take.

    `note` is told what was damaged in it.
    """
    from liveagent.ports.film import Film

    end_ns = time.monotonic_ns() if real_time else 0  # the loudspeaker's reports are on this clock too
    film = Film(path, real_time=real_time, start_ns=end_ns, size_px=size_px)
    async for item in film:
        if isinstance(item, AudioChunk):
            end_ns = item.t_ns + len(item.samples) * SAMPLE_NS
        yield item
    if film.damage is not None:
        note("source_damaged", f"{film.name}: {film.damage}")
    async for chunk in silence(end_ns, RUN_OUT_TICKS, real_time):
        yield chunk
