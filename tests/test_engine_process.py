"""The engine in a child process: the same numbers as in a thread, and what becomes of it when the child dies."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from liveagent.errors import ConfigError, DeviceError, EngineLost
from liveagent.nn.model import EYE_FILE, Model
from liveagent.nn.nano import Nano
from liveagent.runtime import engine_process
from liveagent.runtime.boundary import Loaded, Unpacker, pack, portable
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane, Lanes
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.work import Append, Decode, Listen, Probe, Reset, Rewind
from liveagent.tools import home
from tests.nano import random_nano
from tests.site import write_weights

pytestmark = pytest.mark.slow  # processes that import torch
IDS = tuple(range(5, 50))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights"))


class Story:
    """What an engine's callbacks told, and a way to wait for it."""

    def __init__(self) -> None:
        self.lost: list[tuple[EngineLost, bool]] = []
        self.back: list[Loaded] = []
        self._told = threading.Condition()

    def on_lost(self, error: EngineLost, again: bool) -> None:
        with self._told:
            self.lost.append((error, again))
            self._told.notify_all()

    def on_back(self, loaded: Loaded) -> None:
        with self._told:
            self.back.append(loaded)
            self._told.notify_all()

    def wait(self, true: Callable[[], bool]) -> None:
        with self._told:
            assert self._told.wait_for(true, timeout=60)


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def engine(weights: Path, story: Story) -> Iterator[EngineProcess]:
    engine = EngineProcess(weights, lanes=4, slots=256, on_lost=story.on_lost, on_back=story.on_back)
    engine.start()
    engine.wait()
    yield engine
    engine.close()
    assert engine.pid is None


async def converse(lane: Lane) -> list[object]:
    """A little of everything, and what came of it."""
    template = random_nano().template
    sound = (np.random.default_rng(0).standard_normal(1280 * 4) * 0.1).astype(np.float32)
    said: list[object] = [await lane.do(Reset((home.light, home.timer)))]
    said.append(await lane.do(Append((*IDS, template.call), want=(1, 2, 3))))
    said.append(await lane.do(Probe((7, 8), (1, 2))))
    said.append(await lane.do(Decode(64, (template.end,), call=True)))
    said.append(await lane.do(Rewind(10)))
    for at in range(0, len(sound), 1280):
        heard = await lane.hear(sound[at : at + 1280])
        said.append((heard.vad, None if heard.logp is None else heard.logp.tobytes()))
    seen = await lane.see(np.full((128, 128, 3), 90, np.uint8))
    said.append((seen.sight.tobytes(), seen.patches, seen.of))
    return said


async def test_the_numbers_are_those_of_an_engine_in_a_thread(engine: EngineProcess, weights: Path) -> None:
    there = await converse(Lane(engine, engine.open()))
    thread = Engine(Core(Nano.load(weights), lanes=4, slots=256))
    try:
        here = await converse(Lane(thread, thread.open()))
    finally:
        thread.close()
    assert there == here


async def test_lanes_are_taken_given_back_and_empty_again(engine: EngineProcess) -> None:
    numbers = [engine.open() for _ in range(4)]
    assert len(set(numbers)) == 4 and engine.free_lanes == 0
    with pytest.raises(ConfigError, match="all 4 lanes"):
        engine.open()
    lanes = [Lane(engine, number) for number in numbers]
    done = await asyncio.gather(*(lane.do(Append(IDS[: 10 + at])) for at, lane in enumerate(lanes)))
    assert [each.length for each in done] == [10, 11, 12, 13]
    lanes[2].close()
    lanes[2].close()  # twice is once
    again = Lane(engine, engine.open())
    assert (await again.do(Append(IDS[:3]))).length == 3
    assert (await lanes[3].do(Append(IDS[:1]))).length == 14


async def test_errors_keep_their_kind_and_end_nobody_else(engine: EngineProcess) -> None:
    one, other = Lane(engine, engine.open()), Lane(engine, engine.open())
    with pytest.raises(ConfigError, match="cannot rewind"):
        await one.do(Rewind(99))
    with pytest.raises(DeviceError, match="the engine failed"):  # no error of ours: an id that is none
        await one.do(Append((10**6,)))
    assert (await other.do(Append(IDS))).length == len(IDS)
    assert (await one.do(Append(IDS[:2]))).length == 2


async def test_a_killed_child_answers_everything_once_and_is_started_again(engine: EngineProcess, story: Story) -> None:
    lane = Lane(engine, engine.open())
    await lane.do(Append(IDS))
    pid = engine.pid
    assert pid is not None
    asked = [asyncio.ensure_future(lane.do(Append((5,)))) for _ in range(50)]
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(each, EngineLost) or getattr(each, "length", 0) for each in answers)
    await asyncio.to_thread(story.wait, lambda: len(story.back) == 1)
    assert [again for _, again in story.lost] == [True]
    assert "signal 9" in str(story.lost[0][0])
    assert engine.pid not in (None, pid) and engine.load().restarts == 1
    with pytest.raises(EngineLost, match="last process"):
        await lane.do(Append((5,)))
    lane.close()  # a lane of the dead child is nobody's: no new one is lost with it
    numbers = [engine.open() for _ in range(4)]
    assert lane.number not in numbers
    assert (await Lane(engine, numbers[0]).do(Append(IDS))).length == len(IDS)


async def test_a_stopped_child_is_noticed_and_killed(
    engine: EngineProcess, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "FROZEN_S", 1.5)
    lane = Lane(engine, engine.open())
    pid = engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineLost):
        await lane.do(Append(IDS))
    await asyncio.to_thread(story.wait, lambda: len(story.back) == 1)
    assert engine.state == "up" and engine.pid != pid


async def test_whoever_dies_again_and_again_stays_down_and_says_so(engine: EngineProcess, story: Story) -> None:
    for time in range(4):
        await asyncio.to_thread(story.wait, lambda time=time: len(story.back) == time)  # type: ignore[misc]
        pid = engine.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(story.wait, lambda time=time: len(story.lost) == time + 1)  # type: ignore[misc]
    assert [again for _, again in story.lost] == [True, True, True, False]
    assert engine.state == "down" and engine.pid is None
    with pytest.raises(EngineLost, match="stays down"):
        engine.open()


async def test_what_it_is_asked_when_it_is_closed(engine: EngineProcess) -> None:
    lane = Lane(engine, engine.open())
    await lane.do(Append(IDS))
    asked = asyncio.ensure_future(lane.do(Append(IDS)))
    await asyncio.sleep(0)
    await asyncio.to_thread(engine.close)
    with pytest.raises(ConfigError, match="closed"):
        await lane.do(Append(IDS))
    await asyncio.gather(asked, return_exceptions=True)  # answered, one way or the other


async def test_too_much_that_waits_is_refused_and_not_kept(
    engine: EngineProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "PENDING_A_LANE", 2)
    lane = Lane(engine, engine.open())
    answers = await asyncio.gather(*(lane.do(Append((5,))) for _ in range(30)), return_exceptions=True)
    assert any(isinstance(each, DeviceError) and "too far behind" in str(each) for each in answers)
    assert (await lane.do(Append((5,)))).length > 1


async def test_it_says_how_busy_it_is(engine: EngineProcess) -> None:
    lane = Lane(engine, engine.open())
    for _ in range(20):
        await lane.hear(np.zeros(1280, np.float32))
    load = engine.load()
    assert load.hear_p95_s > 0 and load.pending == 0


def test_weights_that_are_not_there_are_the_users_to_mend_and_nothing_is_started_again(tmp_path: Path) -> None:
    engine = EngineProcess(tmp_path, lanes=4, slots=256)
    engine.start()
    with pytest.raises(ConfigError, match="lacks"):
        engine.wait()
    with pytest.raises(ConfigError, match="lacks"):
        engine.open()
    assert engine.restarts == 0
    engine.close()


def test_it_may_be_closed_while_it_loads(weights: Path) -> None:
    engine = EngineProcess(weights, lanes=4, slots=256)
    engine.start()
    engine.close()
    assert engine.pid is None
    with pytest.raises(ConfigError, match="closed"):
        engine.open()


def test_it_fits_where_an_engine_fits(weights: Path) -> None:
    engine: Lanes = EngineProcess(weights)
    engine.close()


# --- the boundary


def test_messages_come_whole_however_they_are_cut() -> None:
    messages = [("ping", n) for n in range(3)] + [("work", 1, 0, Listen(np.arange(5, dtype=np.float32)))]
    data = b"".join(pack(each) for each in messages)
    for size in (1, 3, 7, len(data)):
        unpacker, got = Unpacker(), []
        for at in range(0, len(data), size):
            got += unpacker.feed(data[at : at + size])
        assert got[:3] == messages[:3]
        assert got[3][3].samples.tolist() == [0, 1, 2, 3, 4]


def test_a_damaged_stream_is_an_error_and_not_a_wait_for_ever() -> None:
    with pytest.raises(DeviceError, match="damaged"):
        Unpacker().feed(b"\xff\xff\xff\xff rubbish")


def test_tools_travel_without_their_functions() -> None:
    (message,) = Unpacker().feed(pack(("work", 1, 0, portable(Reset((home.light,))))))
    (tool,) = message[3].tools
    assert tool.name == "light" and [each.slots for each in tool.arguments] == [
        each.slots for each in home.light.arguments
    ]
    with pytest.raises(DeviceError):
        tool()


# --- the model's light side


def test_a_model_without_its_networks_says_the_same(weights: Path) -> None:
    for folder in (weights, None):
        light, whole = Model.read(folder), Nano.load(folder)
        assert (light.fingerprint, light.sees, str(light.device)) == (whole.fingerprint, whole.sees, str(whole.device))
        assert light.ear_pieces.hash == whole.ear_pieces.hash
        prompt = light.template.prompt("Be brief.", (home.light,))
        assert prompt == whole.template.prompt("Be brief.", (home.light,))


def test_a_folder_that_does_not_fit_is_refused_by_the_light_side_too(tmp_path: Path, weights: Path) -> None:
    with pytest.raises(ConfigError, match="no weights folder"):
        Model.read(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="lacks"):
        Model.read(tmp_path)
    for file in weights.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / EYE_FILE).unlink()
    assert not Model.read(tmp_path).sees
    (tmp_path / "decoder.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(ConfigError, match="damaged"):
        Model.read(tmp_path)


def test_a_servers_process_has_no_torch() -> None:
    code = (
        "import sys\n"
        "import liveagent.runtime.session, liveagent.runtime.live, liveagent.runtime.devices\n"
        "import liveagent.runtime.record, liveagent.runtime.engine_process\n"
        "from liveagent.nn.model import Model\n"
        "Model.read()\n"
        "print(*sorted(name for name in ('torch', 'torchaudio', 'silero_vad') if name in sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
