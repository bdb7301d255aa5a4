"""`liveagent talk`: one agent, one person, this machine.

Chooses where sound comes from and where it goes, says what is missing and goes on with the rest: no microphone, then a
shipped clip plays as if it were one; no loudspeaker, then replies play into nothing at their own pace; no voice, then
the agent is mute. Typing is always there.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from liveagent.action import Action
from liveagent.agent import Agent
from liveagent.audio import SAMPLE_NS, AudioChunk
from liveagent.errors import ConfigError, DeviceError
from liveagent.event import DeviceBack, DeviceLost, Event, Noted, TalkPressed, TalkReleased
from liveagent.journal import Header
from liveagent.manners import Manners, Mode
from liveagent.ports.mic import Mic
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.hands import Hands
from liveagent.runtime.hearing_check import check_hearing
from liveagent.runtime.listener import Listener
from liveagent.runtime.live import RUN_OUT_TICKS, Live, Loudspeaker, silence
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.viewer import Viewer
from liveagent.runtime.voicer import Voicer

if TYPE_CHECKING:
    from liveagent.nn.nano import Nano
    from liveagent.voice import Voice

LANES = 4
CHECK_PHRASES = ("turn on the kitchen light", "what can you do", "set a timer for five minutes")


class Screen(Protocol):
    """What shows a session; `liveagent.clients.terminal.Terminal` is one."""

    def feed(self, item: Event | Action) -> None: ...

    def typed_lines(self, pressed: Callable[[str], None]) -> AsyncIterator[str]: ...


def load_model(agent: Agent) -> Nano:
    """The weights an agent names. ConfigError says what is missing."""
    from liveagent.nn.nano import Nano

    return Nano.load(None if agent.model == "nano" else agent.model)


@asynccontextmanager
async def open_session(
    agent: Agent, config: SessionConfig | None = None, model: Nano | None = None, use_recogniser: bool = True
) -> AsyncIterator[Session]:
    """A session on an engine of its own, open and ready for its first tick; both are closed on the way out."""
    config = config or SessionConfig()
    model = model or load_model(agent)
    listener = Listener.of(agent, model, use_recogniser=use_recogniser)
    engine = Engine(Core(model, LANES, config.slots))
    try:
        session = Session(agent, model, Lane(engine, engine.open()), listener, config)
        await session.open()
        yield session
    finally:
        engine.close()


async def open_voice(agent: Agent) -> Voice | None:
    """The agent's voice, its process started, or None for silence. DeviceError when it is not there."""
    if agent.voice is None:
        return None
    from liveagent.ports.espeak import EspeakVoice

    voice = EspeakVoice() if agent.voice == "espeak" else EspeakVoice(agent.voice)
    await voice.open()
    return voice


def clip_path() -> Path:
    """The shipped clip. ConfigError when it did not come with this install."""
    from liveagent.nn.nano import weights_folder

    path = weights_folder().parent / "clip.flac"
    if not path.is_file():
        raise ConfigError("the shipped clip is missing: install liveagent again, or give --source FILE")
    return path


async def file_source(
    path: str, real_time: bool, note: Callable[[str, str], None] = lambda code, message: None
) -> AsyncIterator[AudioChunk]:
    """A file or URL as if it were a microphone, then silence for as long as its last answer may take.

    `note` is told what was damaged in it.
    """
    from liveagent.ports.media import MediaFile

    end_ns = time.monotonic_ns() if real_time else 0  # the loudspeaker's reports are on this clock too
    media = MediaFile(path, real_time=real_time, start_ns=end_ns)
    async for chunk in media:
        end_ns = chunk.t_ns + len(chunk.samples) * SAMPLE_NS
        yield chunk
    if media.damage is not None:
        note("source_damaged", f"{media.name}: {media.damage}")
    async for chunk in silence(end_ns, RUN_OUT_TICKS, real_time):
        yield chunk


async def talk(
    agent: Agent,
    *,
    source: str | None = None,
    text_only: bool = False,
    record: Path | None = None,
    terminal: Screen,
    check: bool = True,
    fast: bool = False,
    origin: str = "voice",
    headphones: bool = False,
    full_duplex: bool = False,
    push_to_talk: bool = False,
) -> int:
    """Run one session until its source ends or it is cancelled. Returns an exit code.

    source: "mic", a file or URL, or None: the microphone if there is one, else the shipped clip. fast: a file as fast
    as it can be computed, replies playing into nothing. origin: what the recording's header names as the agent.
    headphones: nothing of the loudspeaker reaches the microphone. Without them a terminal is half-duplex: while a reply
    sounds it listens for the stop word alone; full_duplex trusts the echo gate instead. push_to_talk: Tab begins and
    ends a turn.
    """
    view = Viewer(terminal.feed)
    loop = asyncio.get_running_loop()
    lives: list[Live] = []

    def note(code: str, message: str) -> None:
        view(Noted(0, code, message))

    def put(event: DeviceLost | DeviceBack) -> None:  # in a device's thread, before there is a session and after it
        for live in lives:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(live.put, event)

    async with AsyncExitStack() as stack:
        voice = await _voice_or_note(agent, note)
        if voice is not None:
            stack.push_async_callback(voice.close)
        speaker = _speaker(text_only or fast or voice is None, note, put)
        stack.callback(speaker.close)
        sounds = _sounds(source, text_only, fast, note, put)
        if isinstance(sounds, Mic):
            stack.callback(sounds.close)
        half_duplex = isinstance(sounds, Mic) and not isinstance(speaker, NullSpeaker)
        half_duplex = half_duplex and not (headphones or full_duplex)
        mode: Mode = "push_to_talk" if push_to_talk else "wake_phrase" if agent.wake else "open"
        if half_duplex:
            note(
                "half_duplex",
                'while a reply sounds only "stop" is heard; with headphones, --headphones lets you interrupt',
            )
        manners = Manners(mode=mode, half_duplex=half_duplex)
        config = SessionConfig(voice=voice is not None, manners=manners, echo_gate=not headphones)
        session = await stack.enter_async_context(open_session(agent, config))
        for problem in session.listener.problems:
            note("recogniser", problem)
        recorder = None
        if record is not None:
            recorder = Recorder(record, _header(session, origin))
            note("recording", f"recording voices and words to {record}")
        live = Live(
            session,
            lambda live: Hands(agent.tools, live.put, live.now_ns, agent.watches),
            speaker,
            (lambda live: Voicer(voice, live.speaker.play, live.put, live.now_ns)) if voice is not None else None,
            recorder,
            terminal.feed,
            real_time=not fast,
        )
        lives.append(live)
        skip = asyncio.Event()
        typing = asyncio.create_task(_read_typed(terminal, live, skip))
        try:
            if check and isinstance(sounds, Mic):
                await _check(session, aiter(sounds), note, skip)
            skip.set()
            until_idle = not text_only and not isinstance(sounds, Mic)
            await _run(live, aiter(sounds), until_idle, typing=typing if text_only else None)
            if typing.done() and not typing.cancelled() and (error := typing.exception()) is not None:
                raise error
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            await live.close()
    return 0


def _header(session: Session, origin: str) -> Header:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    has_recogniser = session.listener.has_recogniser
    return header_of(session.agent, session.model, LANES, session.config, origin, has_recogniser, now)


async def _check(
    session: Session, sounds: AsyncIterator[AudioChunk], note: Callable[[str, str], None], skip: asyncio.Event
) -> None:
    def tell(text: str) -> None:
        note("check", text)

    await check_hearing(session.agent, session.model, session.lane, sounds, CHECK_PHRASES, tell, skip.wait())
    await session.open()  # a lane that has heard nothing: where a replay begins, too


async def _run(
    live: Live, sounds: AsyncIterator[AudioChunk], until_idle: bool, typing: asyncio.Task[None] | None
) -> None:
    quiet = 0
    async for chunk in sounds:
        for tick in live.chunker.feed(chunk):
            await live.step(tick)
        if not live.real_time and live.voicer is not None:
            await live.voicer.settle()
        ended = (until_idle and chunk.source == "none") or (typing is not None and typing.done())
        quiet = quiet + 1 if ended and live.idle else 0
        if quiet > 12:  # a second after everything that was asked has been answered
            return


async def _read_typed(terminal: Screen, live: Live, skip: asyncio.Event) -> None:
    def pressed(key: str) -> None:
        if key == "tab" and live.session.config.manners.mode == "push_to_talk":
            down = live.session.turns.pressed
            live.put((TalkReleased if down else TalkPressed)(live.now_ns()))

    async for line in terminal.typed_lines(pressed):
        if skip.is_set():
            live.typed(line)
        skip.set()


async def _voice_or_note(agent: Agent, note: Callable[[str, str], None]) -> Voice | None:
    try:
        return await open_voice(agent)
    except DeviceError as error:
        note("mute", f"{error}; replies are only written")
        return None


def _speaker(
    nothing: bool, note: Callable[[str, str], None], put: Callable[[DeviceLost | DeviceBack], None]
) -> Loudspeaker:
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


def _sounds(
    source: str | None,
    text_only: bool,
    fast: bool,
    note: Callable[[str, str], None],
    put: Callable[[DeviceLost | DeviceBack], None],
) -> AsyncIterable[AudioChunk]:
    if text_only:
        return silence()
    if source is not None and source != "mic":
        return file_source(source, not fast, note)
    mic = Mic(on_event=put)
    try:
        mic.start()
    except DeviceError as error:
        if source == "mic":
            raise
        note("no_microphone", f"{error}; playing the shipped clip as if it were one")
        return file_source(str(clip_path()), not fast, note)
    return mic
