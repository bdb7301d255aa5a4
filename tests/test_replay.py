"""Recordings: what was recorded comes out again at any speed, in any company; what is damaged or foreign is said."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent import ConfigError, DeviceError, tool
from liveagent.action import ACTIONS, Action, CallTool, StopPlayback
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, Tick
from liveagent.event import (
    Interrupted,
    ReplyStarted,
    SpeechStarted,
    TextTyped,
    TickHeard,
    ToolCalled,
    ToolReturned,
)
from liveagent.journal import Header, JournalWriter, Recording, read
from liveagent.ports.media import MediaFile
from liveagent.runtime.answer import Out
from liveagent.runtime.core import Core
from liveagent.runtime.devices import clip_path
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.listener import Listener
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import config_of, load, replay, run, ticks_of
from liveagent.runtime.session import SILENT_SAMPLES, Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.work import Append, Decode, Reset
from liveagent.tools import home, robot
from tests.nano import random_nano
from tests.world import World

SOUND_S = 4
FIRST_TICKS = 8
"""Enough of the recording to see a difference in."""


@tool(phrases=["open the door"], risk="hazard")
async def open_door() -> str:
    """Open the front door of the house and leave it open for a while."""
    return "open"


AGENT = Agent("nano", instructions="be brief", tools=[home.light, home.timer, robot.stop, open_door])


@dataclasses.dataclass
class Recorded:
    path: Path
    actions: list[tuple[int, Action]]
    tokens: list[int]
    ticks: int

    def read(self) -> Recording:
        return read(self.path.read_bytes())

    def again(self, path: Path, change: Callable[[Any], Any] = lambda record: record, **header: Any) -> Path:
        """The recording's beginning with other records or another header, whole in itself."""
        recording = self.read()
        journal = JournalWriter(dataclasses.replace(recording.header, **header), 1 << 30)
        for record in (change(record) for record in recording.records if record.tick < FIRST_TICKS):
            journal._append(record.tick, record.kind, record.payload)
        journal.close()
        path.write_bytes(journal.take())
        return path


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A conversation with typed turns, results, a question, interruptions, a stop, speech and an echo of the agent."""
    path = tmp_path_factory.mktemp("recordings") / "talk.larec"
    tone = (0.05 * np.sin(np.arange(TICK_SAMPLES) * 0.3)).astype(np.float32)

    async def converse() -> World:
        async with open_session(AGENT, SessionConfig(), random_nano()) as session:
            header = header_of(
                AGENT, session.model, LANES, session.config, "voice", session.listener.has_recogniser, "2026-01-01"
            )
            recorder = Recorder(path, header)
            world = World(session, lambda call: {"done": call.name, "level": 0.5}, tone, recorder, attends=True)
            world.type("turn on the kitchen light")
            await world.run(5)
            world.type("open the door")
            await world.run(10)
            world.type("set a timer for 5 minutes")
            await world.run(3)
            world.type("stop")
            await world.run(2)
            await world.hear(MediaFile(clip_path(), real_time=False).read()[: SOUND_S * 16_000], 3)
            recorder.close()
            return world

    world = asyncio.run(converse())
    assert world.of(Interrupted) and world.of(StopPlayback) and world.of(SpeechStarted) and len(world.of(CallTool)) >= 2
    actions = [(at, item) for at, item in world.log if isinstance(item, ACTIONS)]
    return Recorded(path, actions, world.tokens, len(world.ticks))


def test_a_replay_gives_the_same_tokens_and_actions(recorded: Recorded) -> None:
    report = replay(recorded.path, check=True, agent=AGENT, model=random_nano())
    assert report.equal, report.difference
    assert report.ticks == recorded.ticks and not report.trouble and not report.warnings
    assert list(report.actions) == recorded.actions
    assert report.tokens == len(recorded.tokens) > 0
    assert any(isinstance(event, ToolCalled) for _, event in report.events)


@pytest.mark.slow
def test_what_came_in_between_two_ticks_is_decided_on_before_the_next_is_heard(recorded: Recorded) -> None:
    early = [each for each in ticks_of(recorded.read()) if each.attended]
    report = replay(recorded.path, check=True, agent=AGENT, model=random_nano())
    began = 0
    for each in early:
        assert any(isinstance(event, ToolReturned) for inbox in each.attended for event in inbox)
        kinds = [type(event) for at, event in report.events if at == each.tick.index]
        began += ReplyStarted in kinds[: kinds.index(TickHeard)]
    assert began


@pytest.mark.slow
async def test_and_so_at_another_speed_beside_busy_lanes(recorded: Recorded) -> None:
    model, recording = random_nano(), recorded.read()
    engine = Engine(Core(model, recording.header.lanes, SessionConfig().slots))

    async def chatter(lane: Lane) -> None:
        while True:
            await lane.do(Reset())
            await lane.do(Append(tuple(range(5, 5 + 9 * (lane.number + 2)))))
            await lane.do(Decode(24, (0,)))
            await lane.hear(np.full(TICK_SAMPLES, np.nan, np.float32) if lane.number == 3 else tone)
            await asyncio.sleep(0.003 * lane.number)

    async def loud(lane: Lane) -> None:
        with suppress(DeviceError):  # whoever sends what is no number ends with an error of their own
            await chatter(lane)

    tone = (0.9 * np.sin(np.arange(TICK_SAMPLES) * 0.2)).astype(np.float32)
    try:
        lanes = [Lane(engine, engine.open()) for _ in range(4)]
        others = [asyncio.create_task(loud(lanes[at])) for at in (0, 1, 3)]
        listener = Listener.of(AGENT, model)
        session = Session(AGENT, model, lanes[2], listener, config_of(recording.header))
        await session.open()
        report = await run(session, recording)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
    finally:
        engine.close()
    assert report.equal, report.difference
    assert list(report.actions) == recorded.actions


def test_what_came_out_otherwise_is_named_with_its_tick(recorded: Recorded, tmp_path: Path) -> None:
    calls = [tick for tick, action in recorded.actions if isinstance(action, CallTool)]
    changed = recorded.again(
        tmp_path / "changed",
        lambda record: (
            dataclasses.replace(record, payload=record.payload.replace(b"kitchen", b"bedroom"))
            if record.kind == "event"
            else record
        ),
    )
    report = replay(changed, check=True, agent=AGENT, model=random_nano())
    assert not report.equal and report.difference is not None
    assert report.difference.tick == calls[0]
    assert "kitchen" in report.difference.was and "bedroom" in report.difference.now


def test_of_a_file_that_was_cut_short_the_whole_ticks_are_replayed(recorded: Recorded, tmp_path: Path) -> None:
    data = recorded.path.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 5])
    report = replay(tmp_path / "cut", check=True, agent=AGENT, model=random_nano())
    assert report.equal and "kept" in report.trouble
    assert 0 < report.ticks < recorded.ticks
    assert list(report.actions) == [each for each in recorded.actions if each[0] < report.ticks]


def test_any_cut_and_any_changed_byte_is_said_or_changes_nothing(recorded: Recorded, tmp_path: Path) -> None:
    """Never another exception, and never a tick that was not recorded."""
    data = recorded.path.read_bytes()
    whole = [(each.tick.index, each.tick.samples.tobytes(), each.inbox) for each in ticks_of(recorded.read())]
    rng = np.random.default_rng(0)
    for at in (*range(0, 40), *map(int, rng.integers(40, len(data), 40))):
        byte = bytes([data[at] ^ (1 << int(rng.integers(8)))])
        for broken in (data[:at], data[:at] + byte + data[at + 1 :]):
            (tmp_path / "broken").write_bytes(broken)
            try:
                recording = load(tmp_path / "broken")
            except ConfigError:
                continue
            assert recording.trouble
            ticks = [(each.tick.index, each.tick.samples.tobytes(), each.inbox) for each in ticks_of(recording)]
            assert ticks == whole[: len(ticks)]


def test_a_format_of_another_version_is_refused_with_a_hint(recorded: Recorded, tmp_path: Path) -> None:
    data = bytearray(recorded.path.read_bytes())
    data[8] += 1
    (tmp_path / "newer").write_bytes(data)
    with pytest.raises(ConfigError, match="a newer liveagent"):
        replay(tmp_path / "newer", agent=AGENT, model=random_nano())


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"liveagent": "0.0.1"}, "recorded with liveagent 0.0.1, here it is"),
        ({"torch": "1.0"}, "recorded with torch 1.0"),
        ({"instruction_set": "NEON"}, "instruction_set NEON"),
    ],
)
def test_a_recording_from_elsewhere_cannot_be_checked_here(
    recorded: Recorded, tmp_path: Path, header: dict[str, Any], says: str
) -> None:
    path = recorded.again(tmp_path / "elsewhere", **header)
    with pytest.raises(ConfigError, match=says):
        replay(path, check=True, agent=AGENT, model=random_nano())


@pytest.mark.slow
def test_without_check_it_is_replayed_with_a_warning(recorded: Recorded, tmp_path: Path) -> None:
    path = recorded.again(tmp_path / "elsewhere", liveagent="0.0.1")
    report = replay(path, agent=AGENT, model=random_nano())
    assert report.equal and "0.0.1" in report.warnings[0] and len(report.warnings) == 1


@pytest.mark.slow
def test_another_agent_or_other_weights_cannot_be_checked(recorded: Recorded, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recorded with agent"):
        replay(recorded.path, check=True, agent=AGENT.replace(instructions="be long"), model=random_nano())
    with pytest.raises(ConfigError, match="recorded with weights random-0, here it is random-1"):
        replay(recorded.path, check=True, agent=AGENT, model=random_nano(1))
    report = replay(recorded.again(tmp_path / "first"), agent=AGENT, model=random_nano(1))
    assert report.ticks == FIRST_TICKS and report.warnings and not report.equal


@pytest.mark.parametrize(
    ("settings", "lanes", "says"),
    [
        ({"hat": 3}, 4, "'hat', which this version does not know"),
        ({"slots": "many"}, 4, "'slots' is of another kind"),
        ({"slots": 10**9}, 4, "no session has so many"),
        ({}, 10**6, "no session has so many"),
        ({"manners": {"mode": 3}}, 4, "'mode' is of another kind"),
        (None, 4, "it names no settings"),
    ],
)
def test_settings_that_this_version_does_not_know(
    recorded: Recorded, tmp_path: Path, settings: Any, lanes: int, says: str
) -> None:
    more = {**recorded.read().header.more, "settings": settings}
    path = recorded.again(tmp_path / "settings", more=more, lanes=lanes)
    with pytest.raises(ConfigError, match=says):
        replay(path, agent=AGENT, model=random_nano())


def test_settings_come_back_as_they_were(recorded: Recorded) -> None:
    config = SessionConfig(slots=999, voice=False)
    header = header_of(AGENT, random_nano(), 4, config, "voice", False)
    assert config_of(header) == config
    assert header.holds_voices


# --- the recorder


HEADER = Header("0", "0", "0", "float32", 4, 0, "0")


def tick(index: int) -> tuple[Tick, Any, list[Any], Out]:
    sound = np.full(TICK_SAMPLES, 0.25, np.float32)
    return Tick(index, sound, index * TICK_NS), SILENT_SAMPLES, [TextTyped(0, "hello")] if index == 1 else [], Out()


def test_a_place_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="choose another place"):
        Recorder(tmp_path / "no" / "folder", HEADER)
    with pytest.raises(DeviceError, match="choose another place"):
        Recorder(tmp_path, HEADER)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_at_once() -> None:
    with pytest.raises(DeviceError, match="No space left"):
        Recorder(Path("/dev/full"), HEADER)


class SlowFile:
    """A disk that takes nothing until `go`, and then fails with `error` if there is one."""

    def __init__(self, file: Any) -> None:
        import threading

        self.file, self.go, self.asked = file, threading.Event(), threading.Event()
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.asked.set()
        self.go.wait(60)
        if self.error is not None:
            raise self.error
        return int(self.file.write(data[:100]))

    def close(self) -> None:
        self.file.close()


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[tuple[Recorder, SlowFile]]:
    recorder = Recorder(tmp_path / "slow", HEADER, limit_bytes=30_000)
    file = SlowFile(recorder._file)
    recorder._file = file  # type: ignore[assignment]
    yield recorder, file
    file.go.set()
    with suppress(DeviceError):
        recorder.close()


def test_a_slow_disk_slows_no_tick_and_fills_no_memory(slow: tuple[Recorder, SlowFile]) -> None:
    recorder, file = slow
    recorder.tick(*tick(0))
    assert file.asked.wait(60)
    with pytest.raises(DeviceError, match="does not keep up"):
        for index in range(1, 100):
            recorder.tick(*tick(index))
    recorder.tick(*tick(100))  # it was said once
    file.go.set()
    recorder.close()
    recording = load(recorder.path)
    ticks = list(ticks_of(recording))
    assert [each.tick.index for each in ticks] == list(range(len(ticks))) and 5 <= len(ticks) < 100
    assert not recording.complete and ticks[1].inbox == [TextTyped(0, "hello")]


def test_a_disk_that_fails_later_keeps_the_beginning(slow: tuple[Recorder, SlowFile]) -> None:
    recorder, file = slow
    file.error = OSError(28, "No space left on device")
    file.go.set()
    recorder.tick(*tick(0))
    recorder._thread.join(60)
    with pytest.raises(DeviceError, match=r"stopped: No space left on device; its beginning is kept"):
        recorder.tick(*tick(1))
    recorder.close()
    assert load(recorder.path).records == ()


@pytest.mark.slow
def test_what_was_recorded_before_a_kill_is_there(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path[:0] = sys.argv[2:]\n"
        "from pathlib import Path\n"
        "from tests.test_replay import HEADER, Recorder, tick\n"
        "recorder = Recorder(Path(sys.argv[1]), HEADER)\n"
        "for index in range(100_000):\n"
        "    recorder.tick(*tick(index))\n"
        "    if index == 40: print('on', flush=True)\n"
        "    if index > 40: time.sleep(0.001)\n"
    )
    path = tmp_path / "killed"
    top = str(Path(__file__).resolve().parents[1])
    child = subprocess.Popen([sys.executable, "-c", code, str(path), top], stdout=subprocess.PIPE)
    assert child.stdout is not None and child.stdout.readline() == b"on\n"
    while path.stat().st_size < 60 * TICK_SAMPLES * 2:  # a tick's other records make it a fifth longer at the most
        assert child.poll() is None
    child.kill()
    child.wait()
    child.stdout.close()
    recording = load(path)
    ticks = list(ticks_of(recording))
    assert len(ticks) >= 41 and not recording.complete
    assert [each.tick.index for each in ticks] == list(range(len(ticks)))


@pytest.mark.slow
def test_talk_records_and_replay_checks_it_on_the_command_line(tmp_path: Path) -> None:
    nano = random_nano()
    nano.ear.save(tmp_path / "ear.safetensors")
    nano.decoder.save(tmp_path / "decoder.safetensors", nano.pieces.hash)
    shutil.copy(Path(__file__).parents[1] / "pipelines" / "nano" / "weights" / "pieces.json", tmp_path)
    (tmp_path / "agent.py").write_text(
        "from liveagent import Agent\nfrom liveagent.tools import home\n"
        f"agent = Agent({str(tmp_path)!r}, tools=[home.light, home.timer], voice=None)\n"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}

    def liveagent(*arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "liveagent", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, input=typed, capture_output=True, text=True, timeout=100
        )

    talked = liveagent("talk", "agent.py", "--text", "--record", "a.larec", typed="turn on the kitchen light\n")
    assert talked.returncode == 0, talked.stdout + talked.stderr
    checked = liveagent("replay", "a.larec", "--check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "everything came out as it was recorded" in checked.stdout and "light(" in checked.stdout
    (tmp_path / "cut.larec").write_bytes((tmp_path / "a.larec").read_bytes()[:-30])
    cut = liveagent("replay", "cut.larec", "--check")
    assert cut.returncode == 0 and "the recording is broken" in cut.stderr
    other = (tmp_path / "agent.py").read_text().replace("voice=None", "voice=None, instructions='Be long.'")
    (tmp_path / "agent.py").write_text(other)
    refused = liveagent("replay", "a.larec", "--check")
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "recorded with agent" in refused.stderr
