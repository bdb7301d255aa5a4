"""A pretrained ear in its process: words come while one speaks, it is bounded, and what becomes of it when it dies.

Its weights are random, so its words mean nothing: the path is what is tested.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent import Agent
from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, AudioChunk
from liveagent.errors import ConfigError
from liveagent.event import EarFailed, EarHeard, Noted, TalkPressed, TalkReleased, WordsHeard
from liveagent.families import whisper
from liveagent.journal import to_float, to_int16
from liveagent.manners import Manners
from liveagent.ports.media import MediaFile, write_wav
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.devices import clip_path
from liveagent.runtime.dictation import Hark
from liveagent.runtime.ear_process import EarProcess, find_ear
from liveagent.runtime.hands import Hands
from liveagent.runtime.hearing_check import check_hearing
from liveagent.runtime.live import Live, silence
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import replay
from liveagent.runtime.server import Server
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import LANES, open_session, talk
from liveagent.tools import home
from liveagent.wire.native import HEADER
from tests import tiny_whisper
from tests.ear_line import EarTold
from tests.nano import random_nano
from tests.site import serving, small_agent, write_weights

pytestmark = pytest.mark.slow
NOISE = (0.1 * np.random.default_rng(0).standard_normal(40 * RATE_HZ)).astype(np.float32)
WAIT_S = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.write(tmp_path_factory.mktemp("ear"), seconds=4, chatty=True)


@pytest.fixture(scope="module")
def process(folder: Path) -> Iterator[EarProcess]:
    ears = find_ear(Agent(ear=str(folder)))
    assert ears is not None
    ears.start()
    loaded = ears.wait()
    assert loaded.name == folder.name and loaded.look_s > 0
    yield ears
    pid = ears.pid
    ears.close()
    ears.close()
    assert pid is not None and ears.pid is None


class Ear(EarTold):
    """A line, into which noise goes."""

    def begin(self, begun_ns: int) -> None:
        self.line.obey(Hark(begun_ns, "begin", NOISE[:TICK_SAMPLES]))

    def more(self, begun_ns: int, ticks: int, first: int = 1, quiet: bool = False) -> None:
        for at in range(first, first + ticks):
            self.line.obey(Hark(begun_ns, "more", NOISE[at * TICK_SAMPLES : (at + 1) * TICK_SAMPLES], quiet))

    def end(self, begun_ns: int) -> None:
        self.line.obey(Hark(begun_ns, "end"))


@pytest.fixture
async def ear(process: EarProcess) -> AsyncIterator[Ear]:
    made = Ear(process)
    yield made
    made.line.close()


async def test_words_come_while_somebody_speaks_and_then_the_last(ear: Ear, folder: Path) -> None:
    ear.begin(100)
    ear.more(100, 10)
    await ear.until(lambda: ear.heard(100))
    first = ear.heard(100)[0]
    assert not first.final and first.t_ns == 7
    ear.more(100, 10, 11)
    ear.end(100)
    await ear.until(lambda: ear.heard(100)[-1].final)
    *looks, last = ear.heard(100)
    assert not any(each.final for each in looks) and last.stands == len(last.words)
    for one, other in zip([*looks, last], [*looks, last][1:], strict=False):
        assert other.words[: one.stands] == one.words[: one.stands]
    await ear.line.settle()
    assert last.words and 0 < last.confidence < 1


async def test_what_is_heard_at_once_is_what_the_network_says_of_the_whole(ear: Ear, folder: Path) -> None:
    ear.begin(1)
    ear.more(1, 20)
    ear.end(1)
    await ear.line.settle()
    whole = whisper.load(folder).write(to_float(to_int16(NOISE[: 21 * TICK_SAMPLES])), "en")
    assert ear.heard(1)[-1].words[-1:] == tuple(whole.text.split())[-1:] and whole.spoken


async def test_a_long_utterance_is_heard_piece_by_piece(ear: Ear) -> None:
    """Longer than a clip: it is cut, and what was heard stands."""
    ear.begin(5)
    ear.more(5, 72)
    ear.end(5)
    await ear.line.settle()
    every = ear.heard(5)
    for one, other in zip(every, every[1:], strict=False):
        assert other.words[: one.stands] == one.words[: one.stands]
    assert not any(isinstance(each, EarFailed) for each in ear.events)


async def test_more_than_it_can_keep_up_with_fails_alone(ear: Ear, process: EarProcess) -> None:
    other = Ear(process)
    ear.begin(1)
    ear.more(1, 400)
    other.begin(2)
    other.more(2, 8)
    other.end(2)
    await other.until(lambda: other.heard(2) and other.heard(2)[-1].final)
    await ear.until(lambda: any(isinstance(each, EarFailed) for each in ear.events))
    ear.end(1)
    await ear.line.settle()
    assert not any(each.final for each in ear.heard(1))
    other.line.close()


async def test_what_was_nothing_is_not_heard(ear: Ear) -> None:
    ear.begin(1)
    ear.line.obey(Hark(1, "cancel"))
    ear.more(1, 3)
    ear.end(1)
    ear.begin(2)
    ear.more(2, 6)
    ear.end(2)
    await ear.line.settle()
    assert {each.begun_ns for each in ear.events} == {2}


async def test_sessions_beside_each_other_and_one_that_leaves(process: EarProcess) -> None:
    rooms = [Ear(process) for _ in range(4)]
    for at, room in enumerate(rooms):
        room.begin(at)
        room.more(at, 6)
        room.end(at)
    rooms[0].line.close()
    for at, room in enumerate(rooms[1:], 1):
        await room.line.settle()
        assert room.heard(at)[-1].final
        room.line.close()
    assert not any(each.final for each in rooms[0].heard(0))


async def test_an_ear_that_dies_fails_what_it_heard_and_comes_back(folder: Path) -> None:
    process = EarProcess(folder)
    process.start()
    await asyncio.to_thread(process.wait)
    ear = Ear(process)
    ear.begin(1)
    ear.more(1, 3)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    await ear.until(lambda: any(isinstance(each, EarFailed) for each in ear.events))
    assert "killed by signal 9" in str(ear.events[-1]) or "not there" in str(ear.events[-1])
    ear.begin(2)  # while there is none: failed at once
    await ear.until(lambda: ear.events[-1].begun_ns == 2)
    for _ in range(600):
        await asyncio.sleep(0.05)
        if process.up:
            break
    ear.begin(3)
    ear.more(3, 6)
    ear.end(3)
    await ear.line.settle()
    assert ear.heard(3)[-1].final and process.restarts == 1
    process.close()


def test_no_ear_and_none_that_could_be_one(tmp_path: Path) -> None:
    assert find_ear(Agent()) is None
    with pytest.raises(ConfigError, match="no folder"):
        find_ear(Agent(ear="/no/such/folder/anywhere"))
    (tiny_whisper.write(tmp_path, seconds=2) / "model.safetensors").write_bytes(b"\0" * 99)
    with pytest.raises(ConfigError, match="model.safetensors"):
        find_ear(Agent(ear=str(tmp_path)))
    with pytest.raises(ConfigError, match="ear=''"):
        Agent(ear="")


@pytest.mark.parametrize(
    ("agent", "given"),
    [
        ({}, ("", "en")), ({"language": "de"}, ("de", "en")), ({"model": "owner/model", "language": "de"}, ("de", "")),
        ({"model": "owner/model"}, ("", "")),
    ],
)  # fmt: skip
def test_nano_hears_english_and_others_what_is_spoken(
    folder: Path, agent: dict[str, Any], given: tuple[str, str]
) -> None:
    process = find_ear(Agent(ear=str(folder), **agent))
    assert process is not None and process._arguments[2:] == given


def test_a_language_that_it_has_not_is_said_when_it_loads(folder: Path) -> None:
    process = EarProcess(folder, language="xx")
    process.start()
    try:
        with pytest.raises(ConfigError, match="this ear knows no language 'xx'; it knows de, en, zh"):
            process.wait()
    finally:
        process.close()


async def test_a_session_hears_with_it_and_its_recording_needs_none(process: EarProcess, tmp_path: Path) -> None:
    """The whole way in real time: a key, sound, the process, the inbox, the answer; then the replay."""
    agent = Agent("nano", voice=None)
    path = tmp_path / "ear.larec"
    config = SessionConfig(voice=False, echo_gate=False, dictated=True, manners=Manners(mode="push_to_talk"))
    seen: list[object] = []
    async with open_session(agent, config, random_nano(), use_recogniser=False) as session:
        recorder = Recorder(path, header_of(agent, session.model, LANES, config, "voice", False))
        live = Live(
            session, lambda live: Hands((), live.put, live.now_ns), NullSpeaker(), None, recorder, seen.append
        )  # fmt: skip
        live.ear = process.open(live.put, live.now_ns)
        at = 0
        async for chunk in silence(ticks=45):
            if at in (2, 20):
                live.put(TalkPressed(live.now_ns()))
            if at in (14, 28):
                live.put(TalkReleased(live.now_ns()))
            loud = NOISE[at * TICK_SAMPLES : (at + 1) * TICK_SAMPLES]
            for tick in live.feed(type(chunk)(loud, chunk.t_ns, 0, "none")):
                await live.step(tick)
            at += 1
        assert session.last_words.closing is None
        await live.close()
    finals = [each for each in seen if isinstance(each, WordsHeard) and each.final and each.source == "scribe"]
    empty = [each for each in seen if isinstance(each, Noted) and each.code == "no_words"]
    ended = [each for each in seen if isinstance(each, EarHeard) and each.final]
    assert len(ended) == len(finals) == 2 and not empty and not any(isinstance(each, EarFailed) for each in seen)
    assert [each.words for each in finals] == [each.words for each in ended]
    early = [each for each in seen if isinstance(each, WordsHeard) and not each.final and each.source == "scribe"]
    assert early
    report = await asyncio.to_thread(replay, path, True, agent, random_nano())
    assert report.equal, report.difference
    assert [each for _, each in report.events if isinstance(each, WordsHeard)] == [
        each for each in seen if isinstance(each, WordsHeard)
    ]


class Notes:
    """A screen that keeps what it is shown, and types nothing."""

    def __init__(self) -> None:
        self.items: list[Any] = []

    def look(self, camera: object) -> None: ...

    def feed(self, item: Any) -> None:
        self.items.append(item)

    async def typed_lines(self, pressed: Callable[[str], None]) -> AsyncIterator[str]:
        for line in list[str]():
            yield line
        await asyncio.sleep(3600)


async def test_talk_hears_with_it_and_the_recording_replays_without(folder: Path, tmp_path: Path) -> None:
    """People's turns are found in the shipped clip by its sound; the words are this ear's."""
    weights = write_weights(tmp_path)
    agent = small_agent(weights, ear=str(folder))
    write_wav(tmp_path / "clip.wav", MediaFile(clip_path(), real_time=False).read()[: 9 * RATE_HZ], RATE_HZ)
    notes, record = Notes(), tmp_path / "session.liverec"
    code = await talk(agent, source=str(tmp_path / "clip.wav"), record=record, terminal=notes, fast=True, check=False)
    assert code == 0
    heard = [each for each in notes.items if isinstance(each, WordsHeard) and each.source == "scribe"]
    assert any(each.final for each in heard) and not any(isinstance(each, EarFailed) for each in notes.items)
    assert [each for each in notes.items if isinstance(each, Noted) and each.code == "ear"]
    deaf = small_agent(weights)  # the ear is not wanted, and not there
    report = await asyncio.to_thread(replay, record, True, deaf)
    assert report.equal, report.difference
    said = [each for _, each in report.events if isinstance(each, WordsHeard) and each.source == "scribe"]
    assert said == heard


async def test_a_server_has_one_for_all(folder: Path, tmp_path: Path) -> None:
    server = Server(small_agent(write_weights(tmp_path), ear=str(folder)))
    pcm = to_int16(NOISE[:RATE_HZ]).tobytes()
    with serving(server) as site:
        async with site.talk() as one, site.talk() as other:
            for talk in (one, other):
                await talk.greeted()
                await talk.say({"type": "TurnsSet", "mode": "push_to_talk"})
                await talk.say({"type": "TalkPressed"})
                await talk.socket.send(HEADER.pack(1, 0, 0, 0, 0) + pcm)
                await talk.say({"type": "TalkReleased"})
            for talk in (one, other):
                heard = await talk.until("WordsHeard", final=True)
                assert heard["source"] == "scribe" and heard["words"]
                assert not any(said.get("e", {}).get("type") == "EarHeard" for said in talk.told)


async def test_the_check_of_the_microphone_asks_it_too(process: EarProcess) -> None:
    model, told = random_nano(), list[str]()
    agent = Agent("nano", tools=[home.light], voice=None)
    sound = MediaFile(clip_path(), real_time=False).read()[: 12 * RATE_HZ]

    async def sounds() -> AsyncIterator[AudioChunk]:
        for at in range(0, len(sound), TICK_SAMPLES):
            yield AudioChunk(sound[at : at + TICK_SAMPLES], at * SAMPLE_NS, 0, "clip")

    async with open_session(agent, SessionConfig(), model, use_recogniser=False) as session:
        wanted = ("turn on the kitchen light",) * 2
        never = asyncio.Event()
        found = await check_hearing(agent, model, session.lane, sounds(), wanted, told.append, never.wait(), process)
    assert found and all(each.source == "scribe" and each.heard for each in found)


def test_a_bad_one_is_said_before_anything_starts(tmp_path: Path) -> None:
    (tiny_whisper.write(tmp_path, seconds=2) / "tokenizer.json").unlink()
    ears = EarProcess(tmp_path)
    ears.start()
    with pytest.raises(ConfigError, match="tokenizer.json is missing"):
        ears.wait()
    assert not ears.up
    ears.close()
