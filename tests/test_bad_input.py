"""What is broken outside, from one end to the other: a typed error of one line, or a session that says so and goes on.

Real networks with random weights, read from a folder as shipped ones are; a screen that keeps what it is shown.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import threading
import wave
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from liveagent import Agent, tool
from liveagent.action import Action, CallTool
from liveagent.audio import RATE_HZ
from liveagent.cli import app
from liveagent.errors import ConfigError, DeviceError, LinkError, LiveAgentError
from liveagent.event import Event, FrameSeen, GapMarked, Noted, ReplyEnded, ToolFailed, ToolReturned, Voiced, WordsHeard
from liveagent.journal import to_int16
from liveagent.nn.nano import Nano
from liveagent.ports import portaudio
from liveagent.ports.espeak import EspeakVoice
from liveagent.runtime import answer, devices
from liveagent.runtime import talk as talk_module
from liveagent.runtime.core import Core
from liveagent.runtime.live import Camera
from liveagent.runtime.record import Recorder
from liveagent.runtime.replay import load, ticks_of
from liveagent.runtime.talk import talk
from liveagent.tools import robot
from tests.nano import PIECES, random_nano
from tests.test_media import make

NEVER = threading.Event()


@tool(phrases=["wait for ever"], timeout_s=0.2)
def hang() -> None:
    """Never come back."""
    NEVER.wait()


@tool(phrases=["open the door"], risk="hazard")
def open_door() -> str:
    """Open the front door of the house and leave it wide open for a while so that the cat can go out and come in."""
    return "open"


class Screen:
    """Types `lines`, and keeps what it is shown; `on` may do something at each item."""

    def __init__(self, *lines: str, on: Callable[[Event | Action], None] = lambda item: None) -> None:
        self.lines, self.on = lines, on
        self.shown: list[Event | Action] = []

    def look(self, camera: Camera) -> None: ...

    def feed(self, item: Event | Action) -> None:
        self.shown.append(item)
        self.on(item)

    async def typed_lines(self, pressed: Callable[[str], None]) -> AsyncIterator[str]:
        for line in self.lines:
            yield line

    def notes(self, code: str) -> list[str]:
        return [each.message for each in self.shown if isinstance(each, Noted) and each.code == code]

    def of(self, kind: type) -> list[Any]:
        return [each for each in self.shown if isinstance(each, kind)]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    nano = random_nano()
    nano.ear.save(folder / "ear.safetensors")
    nano.decoder.save(folder / "decoder.safetensors", nano.pieces.hash)
    shutil.copy(PIECES, folder)
    return folder


@pytest.fixture
def agent() -> Agent:
    return Agent("nano", instructions="be brief", tools=[robot.stop], voice=None)


@pytest.fixture
def nano(monkeypatch: pytest.MonkeyPatch) -> Nano:
    """The weights that every agent of this test gets: its own copy, to be broken."""
    random_nano.cache_clear()
    model = random_nano()
    random_nano.cache_clear()
    monkeypatch.setattr(talk_module, "load_model", lambda agent: model)
    monkeypatch.setattr(answer, "REPLY_TOKENS", 20)  # random weights come to no end by themselves
    return model


# --- media


def _bytes(data: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(data)
        return path

    return write


def _tone(codec: str = "pcm_s16le", rate_hz: int = RATE_HZ, layout: str = "mono", level: float = 0.3) -> Any:
    return lambda path: make(path, codec, rate_hz, layout, 1.0, level)


def _cut(path: Path) -> Path:
    data = make(path, "pcm_s16le", seconds=1.0).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def _damaged(path: Path) -> Path:
    data = bytearray(make(path, "flac", seconds=2.0).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4_000] = np.random.default_rng(1).bytes(4_000)
    path.write_bytes(data)
    return path


def _video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


RUNS: dict[str, tuple[str, Callable[[Path], Path], bool]] = {
    "truncated": ("a.wav", _cut, True),
    "corrupt inside": ("a.flac", _damaged, True),
    "silent": ("a.wav", _tone(level=0.0), False),
    "8 kHz": ("a.wav", _tone(rate_hz=8_000), False),
    "96 kHz": ("a.wav", _tone(rate_hz=96_000), False),
    "six channels": ("a.wav", _tone(rate_hz=48_000, layout="5.1"), False),
    "pictures only": ("a.mp4", _video, False),
}
REFUSED: dict[str, tuple[str, Callable[[Path], Path], type[LiveAgentError], int, str]] = {
    "empty": ("a.wav", _bytes(b""), ConfigError, 2, "a.wav is empty; choose another file"),
    "corrupt": ("a.wav", _bytes(np.random.default_rng(0).bytes(9_000)), ConfigError, 2, "cannot be read as media"),
    "text": ("a.mp3", _bytes(b"this is no music\n" * 90), ConfigError, 2, "choose another file"),
    "folder": ("a", _folder, ConfigError, 2, "is not a file"),
    "missing": ("a.wav", lambda path: path, ConfigError, 2, "does not exist"),
}


@pytest.mark.parametrize("name", RUNS)
async def test_media_that_can_be_heard_is_heard(name: str, agent: Agent, nano: Nano, tmp_path: Path) -> None:
    file, write, damaged = RUNS[name]
    screen, record = Screen(), tmp_path / "kept"
    source = str(write(tmp_path / file))
    assert await talk(agent, source=source, terminal=screen, fast=True, record=record, check=False) == 0
    assert bool(screen.notes("source_damaged")) == damaged
    if name == "truncated":
        assert screen.of(GapMarked)
    if name == "silent":
        assert not screen.of(WordsHeard)
    recording = load(record)
    ticks = list(ticks_of(recording))
    assert recording.complete and len(ticks) >= 12
    loud = max(float(np.abs(each.tick.samples).max()) for each in ticks)
    assert (loud == 0.0) == (name in ("silent", "pictures only"))
    assert bool(screen.of(FrameSeen)) == (name == "pictures only")


@pytest.mark.parametrize("name", REFUSED)
async def test_media_that_cannot_be_heard_is_a_typed_error(name: str, agent: Agent, nano: Nano, tmp_path: Path) -> None:
    file, write, kind, _, says = REFUSED[name]
    record = tmp_path / "kept"
    with pytest.raises(kind, match=says):
        source = str(write(tmp_path / file))
        await talk(agent, source=source, terminal=Screen(), fast=True, record=record, check=False)
    assert load(record).complete


async def test_an_address_that_nobody_answers_may_be_tried_again(agent: Agent, nano: Nano) -> None:
    with pytest.raises(LinkError, match="try again"):
        await talk(agent, source="http://127.0.0.1:9/a.mp3", terminal=Screen(), fast=True, check=False)


def run(*arguments: str) -> tuple[int, str]:
    """In this process, as the shell would: exit status and what went to standard error."""
    result = CliRunner().invoke(app, [*arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


def one_line(said: str) -> bool:
    return said.startswith("liveagent: ") and said.count("\n") == 1 and "Traceback" not in said


@pytest.fixture
def file(weights: Path, tmp_path: Path) -> Path:
    """An agent in a file, with its weights in a folder beside it."""
    shutil.copytree(weights, tmp_path / "weights")
    path = tmp_path / "agent.py"
    path.write_text(f"from liveagent import Agent, tool\nagent = Agent({str(tmp_path / 'weights')!r}, voice=None)\n")
    return path


@pytest.mark.parametrize("name", ["empty", "text"])
def test_on_the_command_line_it_is_one_line_and_a_status(name: str, file: Path, tmp_path: Path) -> None:
    media, write, _, status, says = REFUSED[name]
    source = str(write(tmp_path / media))
    code, said = run("talk", str(file), "--source", source, "--fast", "--no-check")
    assert (code, one_line(said)) == (status, True) and says in said


# --- weights


def _of_another_version(path: Path) -> None:
    save_file({"a": torch.zeros(1)}, str(path), {"format": "liveagent.decoder", "version": "99"})


@pytest.mark.parametrize("part", ["ear.safetensors", "decoder.safetensors", "pieces.json"])
@pytest.mark.parametrize("broken", ["missing", "cut short", "another version", "empty"])
def test_weights_that_cannot_be_read(part: str, broken: str, file: Path) -> None:
    path = file.parent / "weights" / part
    data = path.read_bytes()
    if broken == "missing":
        path.unlink()
    elif broken == "another version" and part != "pieces.json":
        _of_another_version(path)
    elif broken == "another version":
        path.write_text('{"version": 99}')
    else:
        path.write_bytes(data[: len(data) // 2 if broken == "cut short" else 0])
    code, said = run("talk", str(file), "--text")
    assert (code, one_line(said)) == (2, True) and part in said


def test_no_folder_of_weights(file: Path) -> None:
    shutil.rmtree(file.parent / "weights")
    code, said = run("talk", str(file), "--text")
    assert (code, one_line(said)) == (2, True) and "weights folder" in said


# --- agents


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("@tool\ndef go() -> None: ...\nagent = Agent(tools=[go])\n", 2, "docstring"),
        (
            "@tool(phrases=['open it'])\ndef one() -> None:\n    'One.'\n\n"
            "@tool(phrases=['open [the] it'])\ndef two() -> None:\n    'Two.'\n\nagent = Agent(tools=[one, two])\n",
            10,
            "sound alike",
        ),
        ("agent = Agent(tools=[print])\n", 2, "@tool"),
        ("@tool(phrases=['open ('])\ndef go() -> None:\n    'Go.'\n", 2, "phrase"),
        ("@tool(phrases=['go {where}'])\ndef go() -> None:\n    'Go.'\n", 2, "where"),
        ("1 / 0\n", 2, "ZeroDivisionError"),
        ("def\n", 2, "invalid syntax"),
    ],
)
def test_an_agent_that_cannot_work_says_its_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.py"
    path.write_text("from liveagent import Agent, tool\n" + text)
    code, said = run("talk", str(path), "--text")
    assert (code, one_line(said)) == (2, True) and says in said and f"line {line}" in said


@pytest.mark.slow
async def test_words_that_no_dictionary_has_are_guessed_and_told(nano: Nano) -> None:
    @tool(phrases=["start the zibblewok"])
    def zibblewok() -> str:
        """Start it."""
        return "on"

    screen = Screen("start the zibblewok")
    assert await talk(Agent("nano", tools=[zibblewok], voice=None), text_only=True, terminal=screen) == 0
    assert "zibblewok" in screen.notes("recogniser")[0]
    assert [call.by for call in screen.of(CallTool)] == ["grammar"] and screen.of(ToolReturned)


# --- devices


@pytest.fixture
def no_portaudio(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> Any:
        raise DeviceError(f"no microphone and no loudspeaker, PortAudio is missing: {portaudio.FIX}")

    monkeypatch.setattr(portaudio, "load", load)


@pytest.mark.slow
async def test_without_portaudio_the_clip_plays(
    agent: Agent, nano: Nano, no_portaudio: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "clip_path", lambda: make(tmp_path / "clip.flac", "flac", seconds=0.3))
    screen = Screen()
    assert await talk(agent, terminal=screen) == 0
    (said,) = screen.notes("no_microphone")
    assert portaudio.FIX in said and "shipped clip" in said


@pytest.mark.slow
async def test_without_portaudio_replies_play_into_nothing(
    agent: Agent, nano: Nano, no_portaudio: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "open_voice", _voice(EspeakVoice()))
    screen, source = Screen(), str(make(tmp_path / "a.wav", "pcm_s16le", seconds=0.2))
    assert await talk(agent.replace(voice="espeak"), source=source, terminal=screen) == 0
    assert "play into nothing" in screen.notes("no_speaker")[0]


def test_a_microphone_asked_for_by_name_must_be_there(file: Path, no_portaudio: None) -> None:
    code, said = run("talk", str(file), "--source", "mic")
    assert (code, one_line(said)) == (3, True) and "PortAudio" in said


def _voice(voice: Any) -> Callable[[Agent], Any]:
    async def open_voice(agent: Agent) -> Any:
        return voice

    return open_voice


# --- things that break in the middle


@pytest.mark.slow
async def test_a_tool_that_never_returns_is_told_and_the_session_goes_on(nano: Nano) -> None:
    screen = Screen("wait for ever")
    assert await talk(Agent("nano", tools=[hang], voice=None), text_only=True, terminal=screen) == 0
    (failed,) = screen.of(ToolFailed)
    assert failed.reason == "deadline" and screen.of(ReplyEnded)


async def test_a_view_that_raises_does_not_end_the_session(agent: Agent, nano: Nano, tmp_path: Path) -> None:
    def fall(item: Event | Action) -> None:
        raise ValueError("no room on the screen")

    record = tmp_path / "kept"
    source = str(make(tmp_path / "a.wav", "pcm_s16le", seconds=0.5))
    assert await talk(agent, source=source, terminal=Screen(on=fall), fast=True, record=record) == 0
    assert load(record).complete


async def test_a_terminal_that_is_gone_ends_the_session(agent: Agent, nano: Nano, tmp_path: Path) -> None:
    def gone(item: Event | Action) -> None:
        if not isinstance(item, Noted):
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        await talk(agent, text_only=True, terminal=Screen("hello", on=gone), record=tmp_path / "kept")
    assert load(tmp_path / "kept").complete


async def test_a_recorder_that_fails_is_told_once_and_the_session_goes_on(
    agent: Agent, nano: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    class Stuck(Recorder):
        """A disk that takes nothing any more."""

        def __init__(self, path: Path, header: Any) -> None:
            super().__init__(path, header, 9_000)
            self.release = threading.Event()

        def _write(self, data: bytes) -> None:
            if hasattr(self, "release"):
                self.release.wait()
            super()._write(data)

        def close(self) -> None:
            self.release.set()
            super().close()

    monkeypatch.setattr(talk_module, "Recorder", Stuck)
    screen, record = Screen(), tmp_path / "kept"
    source = str(make(tmp_path / "a.wav", "pcm_s16le", seconds=1.5))
    assert await talk(agent, source=source, terminal=screen, fast=True, record=record) == 0
    (said,) = screen.notes("recording_stopped")
    assert "does not keep up" in said
    recording = load(record)
    assert not recording.complete and len(list(ticks_of(recording))) >= 2


@pytest.mark.slow
async def test_a_voice_that_is_killed_in_a_reply_is_told_and_speaks_again(
    nano: Nano, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answer, "REPLY_TOKENS", 50)  # so long that it is killed within it
    voice = EspeakVoice()
    killed: list[int] = []
    ended = asyncio.Semaphore(0)

    def kill(item: Event | Action) -> None:
        if isinstance(item, ReplyEnded):
            ended.release()
        if isinstance(item, Voiced) and not killed:
            assert voice._child is not None
            killed.append(voice._child.process.pid)
            voice._child.process.kill()

    monkeypatch.setattr(devices, "open_voice", _voice(voice))
    screen = Screen("open the door", on=kill)

    async def lines(pressed: Callable[[str], None]) -> AsyncIterator[str]:
        for _ in range(2):
            yield "open the door"
            await ended.acquire()

    screen.typed_lines = lines  # type: ignore[method-assign]
    assert await talk(Agent("nano", tools=[open_door]), text_only=True, terminal=screen) == 0
    assert killed and len(screen.notes("mute")) <= 1
    assert screen.of(Voiced)[-1].final and screen.of(Voiced)[-1].utterance == 2


@pytest.mark.parametrize("where", ["decoder", "ear"])
async def test_an_engine_that_fails_ends_the_session_with_a_typed_error(
    where: str, agent: Agent, nano: Nano, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net: Any = getattr(nano, where)
    step, calls = net.step, []

    def fail(*args: Any) -> Any:
        calls.append(1)
        if len(calls) > 3:
            raise RuntimeError("shapes do not fit")
        return step(*args)

    monkeypatch.setattr(net, "step", fail)
    record = tmp_path / "kept"
    source = str(make(tmp_path / "a.wav", "pcm_s16le", seconds=2))
    with pytest.raises(DeviceError, match="shapes do not fit"):
        await talk(agent, source=source, terminal=Screen("hello"), fast=True, record=record)
    assert load(record).complete


@pytest.mark.parametrize("where", ["decoder", "ear"])
async def test_weights_that_give_no_numbers_are_said(where: str, agent: Agent, nano: Nano, tmp_path: Path) -> None:
    with torch.no_grad():
        next(iter(getattr(nano, where).parameters())).fill_(float("nan"))
    source = str(make(tmp_path / "a.wav", "pcm_s16le", seconds=1))
    with pytest.raises(DeviceError, match="gave no numbers"):
        await talk(agent, source=source, terminal=Screen("hello"), fast=True)


async def test_an_engine_whose_thread_dies_keeps_nobody_waiting(
    agent: Agent, nano: Nano, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    step, calls = Core.step, []

    def fail(core: Core) -> bool:
        calls.append(1)
        if len(calls) > 40:
            raise MemoryError("no room")
        return step(core)

    monkeypatch.setattr(Core, "step", fail)
    source = str(make(tmp_path / "a.wav", "pcm_s16le", seconds=4))
    with pytest.raises(DeviceError, match="the engine stopped: MemoryError"):
        await talk(agent, source=source, terminal=Screen(), fast=True, record=tmp_path / "kept")
    assert load(tmp_path / "kept").complete


# --- a process that is ended from outside


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_was_recorded_is_kept_when_the_process_is_killed(number: int, file: Path, tmp_path: Path) -> None:
    source, record = tmp_path / "noise.wav", tmp_path / "kept"
    with wave.open(str(source), "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE_HZ)
        noise = np.random.default_rng(0).normal(0, 0.01, 60 * RATE_HZ).astype(np.float32)
        wav.writeframes(to_int16(noise).tobytes())
    command = [sys.executable, "-m", "liveagent", "talk", str(file), "--source", str(source), "--record", str(record)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    try:
        while not record.exists() or record.stat().st_size < 50_000:
            assert child.poll() is None
            threading.Event().wait(0.02)
        child.send_signal(number)
        _, said = child.communicate(timeout=60)
    finally:
        child.kill()
        child.communicate()
    recording = load(record)
    ticks = list(ticks_of(recording))
    assert len(ticks) >= 15 and [each.tick.index for each in ticks] == list(range(len(ticks)))
    assert recording.complete == (number == signal.SIGTERM) and b"Traceback" not in said
