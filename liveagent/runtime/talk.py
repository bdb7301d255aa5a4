"""`liveagent talk`: one agent, one person, this machine.

Puts together the devices that are there, a session and a screen, and runs them until one of them ends. Typing is always
there.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from liveagent.action import Action
from liveagent.agent import Agent
from liveagent.audio import AudioChunk
from liveagent.event import CameraFroze, DeviceBack, DeviceLost, Event, Noted, RobotStopped, TalkPressed, TalkReleased
from liveagent.journal import Header
from liveagent.manners import Manners, Mode
from liveagent.policy import Question
from liveagent.ports.call_journal import CallJournal
from liveagent.ports.mic import Mic
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.clearing import Terms
from liveagent.runtime.core import Core
from liveagent.runtime.devices import Note, find_camera, find_sounds, find_speaker, find_voice, has_pictures
from liveagent.runtime.ear_process import EarProcess, find_ear
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.hands import Hands
from liveagent.runtime.hearing_check import check_hearing
from liveagent.runtime.holding import check_held
from liveagent.runtime.listener import Listener
from liveagent.runtime.live import Camera, Live, Loudspeaker
from liveagent.runtime.open_model import picture_px
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.sources import Sources, follow
from liveagent.runtime.stop_mic import StopMic
from liveagent.runtime.stop_process import Lookout, StopProcess
from liveagent.runtime.viewer import Viewer
from liveagent.runtime.voicer import Voicer
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.nn.nets import Nets

LANES = 4
CHECK_PHRASES = ("turn on the kitchen light", "what can you do", "set a timer for five minutes")


class Screen(Protocol):
    """What shows a session; `liveagent.clients.terminal.Terminal` is one."""

    def look(self, camera: Camera) -> None:
        """This is what the session looks at: to be shown, and where it can be touched, to be touched."""
        ...

    def feed(self, item: Event | Action) -> None: ...

    def typed_lines(self, pressed: Callable[[str], None]) -> AsyncIterator[str]: ...


@runtime_checkable
class Keyed(Protocol):
    """A screen at which single keys can be pressed, by a person."""

    @property
    def keyed(self) -> bool: ...


def load_model(agent: Agent) -> Nets:
    """The weights an agent names. ConfigError says what is missing, or that its cache does not hold its prompt."""
    from liveagent.runtime.open_model import load_nets, read_model

    folder = None if agent.model == "nano" else agent.model
    check_held(agent, read_model(folder, agent.device))
    return load_nets(folder, agent.device, agent.dtype, agent.quantize)


@asynccontextmanager
async def open_session(
    agent: Agent, config: SessionConfig | None = None, model: Nets | None = None, use_recogniser: bool = True
) -> AsyncIterator[Session]:
    """A session on an engine of its own, open and ready for its first tick; both are closed on the way out."""
    config = config or SessionConfig.of(agent)
    model = model or load_model(agent)
    listener = Listener.of(agent, model, use_recogniser=use_recogniser)
    engine = Engine(Core(model, LANES, config.slots))
    try:
        session = Session(agent, model, Lane(engine, engine.open()), listener, config)
        await session.open()
        yield session
    finally:
        engine.close()


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
    camera: str | None = None,
    journal: Path | None = None,
) -> int:
    """Run one session until its source ends or it is cancelled. Returns an exit code.

    source: "mic", a file or URL, or None: the microphone if there is one, else the shipped clip. fast: a file as fast
    as it can be computed, replies playing into nothing. origin: what the recording's header names as the agent.
    headphones: nothing of the loudspeaker reaches the microphone. Without them a terminal is half-duplex: while a reply
    sounds it listens for the stop word alone; full_duplex trusts the echo gate instead. push_to_talk: Tab begins and
    ends a turn. camera: what is looked at, see `find_camera`. journal: where calls are written down, None for memory
    alone.
    """
    view = Viewer(terminal.feed)
    loop = asyncio.get_running_loop()
    lives: list[Live] = []

    def note(code: str, message: str) -> None:
        view(Noted(0, code, message))

    def put(
        event: DeviceLost | DeviceBack | CameraFroze,
    ) -> None:  # in a device's thread, before there is a session and after it
        for live in lives:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(live.put, event)

    async with AsyncExitStack() as stack:
        ears = None if text_only else await asyncio.to_thread(find_ear, agent)
        if ears is not None:
            stack.callback(ears.close)
            ears.start()
            found = await asyncio.to_thread(ears.wait)
            note("ear", found.note)
        written = await asyncio.to_thread(CallJournal, journal)
        stack.push_async_callback(written.close)
        voice = await find_voice(agent, note)
        if voice is not None:
            stack.push_async_callback(voice.close)
        speaker = find_speaker(text_only or fast or voice is None, note, put)
        stack.callback(speaker.close)
        sounds = find_sounds(source, text_only, fast, note, put, picture_px(agent.model))
        if isinstance(sounds, Mic):
            stack.callback(sounds.close)
        look = await asyncio.to_thread(find_camera, camera, agent, source, note, put, picture_px(agent.model))
        if look is not None:
            stack.callback(look.close)
            terminal.look(look)
        half_duplex = isinstance(sounds, Mic) and not isinstance(speaker, NullSpeaker)
        half_duplex = half_duplex and not (headphones or full_duplex)
        mode: Mode = "push_to_talk" if push_to_talk else "wake_phrase" if agent.wake else "open"
        if half_duplex:
            note(
                "half_duplex",
                'while a reply sounds only "stop" is heard; with headphones, --headphones lets you interrupt',
            )
        manners = Manners(mode=mode, half_duplex=half_duplex)
        config = SessionConfig.of(
            agent, voice=voice is not None, manners=manners, echo_gate=not headphones, dictated=ears is not None
        )
        stack.callback(_noted(note))
        sources = Sources(agent.sources)
        await sources.open()
        stack.push_async_callback(sources.close)
        for problem in sources.problems:
            note("source", problem)
        session = await stack.enter_async_context(open_session(agent, config))
        for problem in session.listener.problems:
            note("recogniser", problem)
        recorder = None
        if record is not None:
            pictures = look is not None or await asyncio.to_thread(has_pictures, source)
            recorder = Recorder(record, _header(session, origin, pictures))
            what = "voices, words and pictures" if pictures else "voices and words"
            note("recording", f"recording {what} to {record}")
        terms = Terms(written, owner="terminal")
        live = Live(
            session,
            lambda live: Hands(agent.tools, live.put, live.now_ns, agent.watches, agent.policy, terms),
            speaker,
            (lambda live: Voicer(voice, live.speaker.play, live.put, live.now_ns)) if voice is not None else None,
            recorder,
            terminal.feed,
            real_time=not fast,
            camera=look,
        )
        if ears is not None:
            live.ear = ears.open(live.put, live.now_ns)
        lives.append(live)
        stack.callback(follow(live, sources))
        lookout = None if fast else _look_out(stack, live, loop, sounds, None if headphones else speaker)
        asked = _Asked(live, isinstance(terminal, Keyed) and terminal.keyed)
        await live.hands.clearing.ask_about_the_past()
        skip = asyncio.Event()
        typing = asyncio.create_task(_read_typed(terminal, live, skip, asked, lookout))
        try:
            if check and isinstance(sounds, Mic):
                await _check(session, aiter(sounds), note, skip, ears)
            skip.set()
            until_idle = not text_only and not isinstance(sounds, Mic)
            heard = lookout if not isinstance(sounds, Mic) else None
            await _run(live, aiter(sounds), until_idle, typing=typing if text_only else None, lookout=heard)
            if typing.done() and not typing.cancelled() and (error := typing.exception()) is not None:
                raise error
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
            await live.close()
    return 0


class _Noting(logging.Handler):
    """Shows what is logged as a note: written to standard error it would run through the screen."""

    def __init__(self, note: Note) -> None:
        super().__init__(logging.WARNING)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        self._note("warning", record.getMessage())


def _noted(note: Note) -> Callable[[], None]:
    """Show warnings of ours as notes, until the function that is returned is called."""
    log, noting = logging.getLogger("liveagent"), _Noting(note)
    log.addHandler(noting)
    return lambda: log.removeHandler(noting)


def _header(session: Session, origin: str, pictures: bool) -> Header:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    has_recogniser = session.listener.has_recogniser
    return header_of(session.agent, session.model, LANES, session.config, origin, has_recogniser, now, pictures)


async def _check(
    session: Session, sounds: AsyncIterator[AudioChunk | VideoFrame], note: Note, skip: asyncio.Event,
    ears: EarProcess | None,
) -> None:
    def tell(text: str) -> None:
        note("check", text)

    heard = (item async for item in sounds if isinstance(item, AudioChunk))
    await check_hearing(session.agent, session.model, session.lane, heard, CHECK_PHRASES, tell, skip.wait(), ears)
    await session.open()  # a lane that has heard nothing: where a replay begins, too


async def _run(
    live: Live,
    sounds: AsyncIterator[AudioChunk | VideoFrame],
    until_idle: bool,
    typing: asyncio.Task[None] | None,
    lookout: Lookout | None = None,
) -> None:
    quiet = 0
    async for chunk in sounds:
        if isinstance(chunk, VideoFrame):
            live.show(chunk)
            continue
        if lookout is not None:
            lookout.hear(chunk.samples, chunk.t_ns)
        for tick in live.feed(chunk):
            await live.step(tick)
        if not live.real_time and live.voicer is not None:
            await live.voicer.settle()
        ended = (until_idle and chunk.source == "none") or (typing is not None and typing.done())
        quiet = quiet + 1 if ended and live.idle else 0
        if quiet > 12:  # a second after everything that was asked has been answered
            return


def _later(loop: asyncio.AbstractEventLoop, live: Live, event: RobotStopped | Noted) -> None:
    loop.call_soon_threadsafe(live.view, event)


def _look_out(
    stack: AsyncExitStack, live: Live, loop: asyncio.AbstractEventLoop, sounds: object, speaker: Loudspeaker | None
) -> Lookout | None:
    """The software stop of an agent that has robots: a process of its own, and what it is to hear."""
    stops = StopProcess()
    stack.callback(stops.close)
    lookout = stops.lookout_of(live.session.agent, lambda event: _later(loop, live, event))
    if lookout is not None and isinstance(sounds, Mic):
        stack.callback(StopMic(lookout, sounds, None if isinstance(speaker, NullSpeaker) else speaker).close)
    return lookout


class _Asked:
    """What this terminal was asked to confirm, and the tokens for it: one key says yes to the oldest, another no."""

    def __init__(self, live: Live, keyed: bool) -> None:
        self._live, self._keyed = live, keyed
        self._tokens: dict[str, str] = {}
        live.hands.clearing.show = self._show

    def _show(self, question: Question, token: str, left_s: float) -> bool:
        if self._keyed:
            self._tokens[question.call_id] = token
        return self._keyed

    def press(self, yes: bool) -> None:
        while self._tokens:
            call_id = next(iter(self._tokens))
            if self._live.hands.confirm(call_id, self._tokens.pop(call_id), yes, "key") in ("yes", "no"):
                return  # else it has run out


async def _read_typed(
    terminal: Screen, live: Live, skip: asyncio.Event, asked: _Asked, lookout: Lookout | None
) -> None:
    def pressed(key: str) -> None:
        if key in ("go", "escape"):
            asked.press(key == "go")
        if key == "tab" and live.session.config.manners.mode == "push_to_talk":
            down = live.session.turns.pressed
            live.put((TalkReleased if down else TalkPressed)(live.now_ns()))

    async for line in terminal.typed_lines(pressed):
        if lookout is not None:
            lookout.typed(line)
        if skip.is_set():
            live.typed(line)
        skip.set()
