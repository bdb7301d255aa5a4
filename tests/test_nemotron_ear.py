"""NVIDIA's streaming FastConformer as a session's ear, in its process: its words come while one speaks and are those of
transformers, who hears the whole clip at once. Its weights are random, so they mean nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from typer.testing import CliRunner

from liveagent import Agent, ConfigError
from liveagent.audio import RATE_HZ, TICK_SAMPLES, Samples
from liveagent.cli import app
from liveagent.event import EarFailed, WordsHeard
from liveagent.families import nemotron
from liveagent.journal import to_float, to_int16
from liveagent.nn.checkpoint import Checkpoint
from liveagent.plan import PROCESS_BYTES
from liveagent.ports.hub import fetch
from liveagent.ports.media import MediaFile, write_wav
from liveagent.runtime.devices import clip_path
from liveagent.runtime.dictation import Hark
from liveagent.runtime.ear_process import EarProcess, find_ear
from liveagent.runtime.hearer import _stream, read_ear
from liveagent.runtime.replay import replay
from liveagent.runtime.server import Server
from liveagent.runtime.weighing import sorts_on, weigh_ear
from liveagent.spoken import spoken
from liveagent.wire.native import HEADER
from tests.ear_line import EarTold
from tests.hub_peer import FakeHub
from tests.laws import sound
from tests.site import serving, small_agent, write_weights
from tests.tiny_nemotron import TOKEN, as_on_the_hub, pieces_there

pytestmark = pytest.mark.slow
TICKS = 34
WAIT_S = 60.0


def clip(number: int) -> Samples:
    """What one of several says, as it travels to the ear."""
    return to_float(to_int16(sound(4, TICKS, TICK_SAMPLES)[number].numpy()))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("ear")
    return as_on_the_hub(folder), folder


@pytest.fixture(scope="module")
def folder(written: tuple[Any, Path]) -> Path:
    return written[1]


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[EarProcess]:
    ears = find_ear(Agent(ear=str(folder)))
    assert ears is not None
    ears.start()
    loaded = ears.wait()
    assert loaded.name == folder.name and loaded.block_ms in (160, 560, 1120) and loaded.look_s > 0
    yield ears
    ears.close()


@pytest.fixture(scope="module")
def theirs(written: tuple[Any, Path], process: EarProcess) -> Callable[[Samples], tuple[str, ...]]:
    """Transformers' words of a whole clip, with the silence behind it that ours hears: two tokens, and what fills the
    last block."""
    marks, least = Tokenizer.from_file(str(written[1] / "tokenizer.json")), 2 * TOKEN

    def words(samples: Samples) -> tuple[str, ...]:
        tokens = round(process.wait().block_ms / 80)
        silence = least + -(len(samples) + least) % (tokens * TOKEN)
        clip = torch.nn.functional.pad(torch.from_numpy(samples), (0, silence))[None]
        ids = [piece for _, piece in pieces_there(written[0], clip, tokens - 1)]
        return tuple(spoken(marks.decode(ids)).split())

    return words


class Room(EarTold):
    """A session's line to the ear, and what came out of it."""

    def __init__(self, process: EarProcess, samples: Samples) -> None:
        self.samples = samples
        super().__init__(process)

    def say(self, begun_ns: int, first: int, last: int) -> None:
        """These ticks, and with the last one the end."""
        for at in range(first, last):
            piece = self.samples[at * TICK_SAMPLES : (at + 1) * TICK_SAMPLES]
            self.line.obey(Hark(begun_ns, "more" if at else "begin", piece))
        if last == TICKS:
            self.line.obey(Hark(begun_ns, "end"))

    def words(self, begun_ns: int) -> tuple[str, ...]:
        """The last ones; all that was said before stood as it was said to."""
        *before, last = self.heard(begun_ns)
        assert last.final and last.stands == len(last.words) and not any(each.final for each in before)
        for one, other in itertools.pairwise([*before, last]):
            assert other.words[: one.stands] == one.words[: one.stands] and other.stands >= one.stands
        return last.words


async def test_words_come_while_one_speaks_and_are_those_of_the_whole(
    process: EarProcess, theirs: Callable[[Samples], tuple[str, ...]]
) -> None:
    room = Room(process, clip(1))
    room.say(1, 0, 20)
    await room.until(lambda: room.heard(1) and room.heard(1)[-1].stands > 1)
    early = room.heard(1)[-1]
    room.say(1, 20, TICKS)
    await room.line.settle()
    words = room.words(1)
    assert words == theirs(room.samples) and words[: early.stands] == early.words[: early.stands]
    assert len(words) > len(early.words) and len(set(words)) > 3 and 0 < room.heard(1)[-1].confidence < 1
    room.say(2, 0, TICKS)  # and again, as if it had heard nothing
    await room.line.settle()
    assert room.words(2) == words
    room.line.close()


async def test_sessions_beside_each_other_hear_each_their_own(
    process: EarProcess, theirs: Callable[[Samples], tuple[str, ...]]
) -> None:
    rooms = [Room(process, clip(number)) for number in range(4)]
    for first in range(TICKS):
        for at, room in enumerate(rooms):
            room.say(at, first, first + 1)
    rooms[0].line.close()
    for at, room in enumerate(rooms[1:], 1):
        await room.line.settle()
        assert room.words(at) == theirs(room.samples)
        room.line.close()
    assert len({rooms[at].words(at) for at in (1, 2, 3)}) == 3
    assert not any(each.final for each in rooms[0].heard(0))


async def test_one_that_dies_fails_what_it_heard_and_comes_back(
    process: EarProcess, theirs: Callable[[Samples], tuple[str, ...]]
) -> None:
    room = Room(process, clip(1))
    room.say(1, 0, 9)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await room.until(lambda: room.events and isinstance(room.events[-1], EarFailed))
    for _ in range(600):
        await asyncio.sleep(0.05)
        if process.up:
            break
    room.say(2, 0, TICKS)
    await room.line.settle()
    assert room.words(2) == theirs(room.samples) and process.restarts == 1
    room.line.close()


def test_talk_hears_with_it_and_the_recording_replays_without(folder: Path, tmp_path: Path) -> None:
    weights, record = write_weights(tmp_path), tmp_path / "session.liverec"
    write_wav(tmp_path / "clip.wav", MediaFile(clip_path(), real_time=False).read()[: 4 * RATE_HZ], RATE_HZ)
    agent = f"from liveagent import Agent\nagent = Agent({str(weights)!r}, voice=None)\n"
    (tmp_path / "agent.py").write_text(agent)
    given = ["--source", str(tmp_path / "clip.wav"), "--record", str(record), "--fast", "--no-check"]
    told = CliRunner().invoke(app, ["talk", str(tmp_path / "agent.py"), "--ear", str(folder), *given])
    assert told.exit_code == 0 and re.search(r"hears along, \d+ ms at once; a second takes", told.output)
    report = replay(record, True, Agent(str(weights), voice=None))  # no ear is wanted, or there
    assert report.equal, report.difference
    heard = [each for _, each in report.events if isinstance(each, WordsHeard) and each.source == "scribe"]
    assert {each.final for each in heard} == {True, False} and all(each.words for each in heard)
    assert not [each for _, each in report.events if isinstance(each, EarFailed)]


async def test_a_server_has_one_for_all(folder: Path, tmp_path: Path) -> None:
    server = Server(small_agent(write_weights(tmp_path), ear=str(folder)))
    with serving(server) as site:
        async with site.talk() as one, site.talk() as other:
            for number, caller in enumerate((one, other)):
                await caller.greeted()
                await caller.say({"type": "TurnsSet", "mode": "push_to_talk"})
                await caller.say({"type": "TalkPressed"})
                await caller.socket.send(HEADER.pack(1, 0, 0, 0, 0) + to_int16(clip(number)).tobytes())
                await caller.say({"type": "TalkReleased"})
            said = [await caller.until("WordsHeard", final=True) for caller in (one, other)]
    assert {each["source"] for each in said} == {"scribe"} and all(each["words"] for each in said)


def test_it_is_weighed_as_it_will_lie_in_memory(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    cost, net = weigh_ear(str(folder)), nemotron.ear(checkpoint)
    made = sum(each.nbytes for name, each in net.state_dict().items() if name.endswith("distances"))
    source = sum(checkpoint.read(name).nbytes for name in checkpoint.names if "relative_k_proj" in name)
    held = sum(each.nbytes for each in net.state_dict().values())
    assert cost.weights_bytes - source == pytest.approx(held - made, rel=0.02), "but for biases that become one"
    assert cost.memory_bytes == cost.weights_bytes + cost.sorted_bytes + PROCESS_BYTES and cost.cache_bytes == 0
    assert bool(cost.sorted_bytes) == sorts_on("cpu", "float32")


def test_it_is_fetched_by_its_name_and_said_what_it_costs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "theirs"))
    monkeypatch.setattr("liveagent.ports.hub_line.get_token", lambda: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    name = "nvidia/nemotron-speech-streaming-en-0.6b"
    files = {each.name: each.read_bytes() for each in folder.iterdir()} | {"whole.nemo": b"another form of it"}
    with FakeHub({name: files}, licence="other") as peer:
        monkeypatch.setenv("HF_ENDPOINT", peer.url)
        told = json.loads(CliRunner().invoke(app, ["plan", "voice", "--ear", name, "--json"]).output)
        assert told["ear"]["family"] == "nemotron" and told["ear"]["numbers"] > 0 and "whole.nemo" not in peer.sent
        came = fetch(name)
    huggingface_hub.close_session()
    assert {each.name for each in came.iterdir()} >= files.keys() - {"whole.nemo"} and not (
        came / "whole.nemo"
    ).exists()
    ear = read_ear(str(came), "cpu", "en").begin()
    ear.add(np.zeros(TICK_SAMPLES, np.float32), True)
    assert ear.hear(lambda: True) and not ear.done


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json is missing: fetch the whole checkpoint"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "model.safetensors"),
        (lambda folder: _say(folder, "config.json", vocab_size=99), "take both from the same release"),
        (lambda folder: _say(folder, "config.json", encoder_config=None), "says nothing of an encoder"),
        (lambda folder: _say(folder, "processor_config.json", feature_extractor={"hop_length": 80}), "hop_length 80"),
        (lambda folder: _say(folder, "processor_config.json", feature_extractor=[1]), "its settings are no Nemotron"),
        (lambda folder: _say(folder, "processor_config.json", supported_num_lookahead_tokens=["a"]), "fetch it again"),
    ],
)  # fmt: skip
def test_a_bad_folder_gets_one_line(folder: Path, tmp_path: Path, spoil: Callable[[Path], object], says: str) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path)
    with pytest.raises(ConfigError) as caught:
        read_ear(str(tmp_path), "cpu")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def _say(folder: Path, file: str, **more: object) -> None:
    said = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(said | more))


@pytest.mark.parametrize(("busy_s", "block_ms"), [(99.0, 160), (0.0, 1120)])
def test_it_hears_in_the_least_blocks_in_which_it_keeps_up(folder: Path, busy_s: float, block_ms: float) -> None:
    ear = _stream(nemotron, Checkpoint.open(folder), "cpu", busy_s)
    assert ear.block_ms == block_ms and ear.look_s > 0
    hearer = ear.begin()
    for each in np.split(clip(1), TICKS):
        hearer.add(each, False)
    hearer.ended = True
    assert hearer.hear(lambda: True) and hearer.done and hearer.said.words


def test_a_language_that_it_has_not_is_said(folder: Path) -> None:
    with pytest.raises(ConfigError, match="this ear knows no language 'de'; it knows en"):
        read_ear(str(folder), "cpu", "de")
