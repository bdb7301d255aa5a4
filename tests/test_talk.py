"""The shipped agent on the shipped weights, by ear: the shipped clip, and a clip that nobody prepared."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent.action import Action, CallTool, Say
from liveagent.audio import TICK_NS
from liveagent.event import Event, Interrupted, PictureKept, StopHeard, WordPlayed
from liveagent.nn.model import FILES, weights_folder
from liveagent.nn.nano import Nano
from liveagent.pipelines.voice import agent
from liveagent.pipelines.voice_video import agent as looking_agent
from liveagent.ports.media import MediaFile, write_wav
from liveagent.runtime.devices import clip_path
from liveagent.runtime.live import Camera
from liveagent.runtime.replay import replay
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session, talk
from liveagent.table import Table, Thing, draw
from liveagent.video import VideoFrame
from tests.world import World

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all((weights_folder() / name).is_file() for name in FILES),
        reason="nano's weights are not here; `liveagent train recipe` makes them",
    ),
]


@pytest.fixture(scope="module")
def model() -> Nano:
    return Nano.load()


def samples(path: Path) -> np.ndarray:
    return np.concatenate([chunk.samples for chunk in MediaFile(path, real_time=False)])


def calls(world: World) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, dict(call.args)) for call in world.of(CallTool)]


async def test_the_shipped_clip_is_understood(model: Nano) -> None:
    about = json.loads(clip_path().with_suffix(".json").read_text())
    wanted = [(each["tool"], each["args"]) for each in about["sentences"] if each["kind"] in ("command", "barge_in")]
    async with open_session(agent, SessionConfig(), model) as session:
        world = World(session, lambda call: "it is done")
        await world.hear(samples(clip_path()), 30)
    got = calls(world)
    assert got == wanted, "every command, in order, and nothing for the sentence outside the grammar"
    assert world.of(StopHeard), "the stop word by its own path"


def spoken_by_rms(texts: list[str], folder: Path) -> np.ndarray:
    parts: list[np.ndarray] = [np.zeros(16000, np.float32)]
    for at, text in enumerate(texts):
        wav = folder / f"{at}.wav"
        subprocess.run(["flite", "-voice", "rms", "-t", text, "-o", str(wav)], check=True, timeout=30)
        parts += [samples(wav), np.zeros(48000, np.float32)]
    return np.concatenate(parts)


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed (apt-get install flite)")
async def test_another_clip_with_another_voice_behaves_alike(model: Nano, tmp_path: Path) -> None:
    said = {
        "switch off the bedroom lights": ("light", {"state": "off", "room": "bedroom"}),
        "please set a timer for twenty minutes": ("timer", {"minutes": 20}),
        "where are my glasses": ("where_is", {"thing": "glasses"}),
    }
    sound = spoken_by_rms(list(said), tmp_path)
    async with open_session(agent, SessionConfig(), model) as session:
        world = World(session)
        await world.hear(sound)
    assert calls(world) == list(said.values())


class Notes:
    """A screen that keeps what it is shown, and types nothing."""

    def __init__(self) -> None:
        self.items: list[Event | Action] = []

    def look(self, camera: Camera) -> None: ...

    def feed(self, item: Event | Action) -> None:
        self.items.append(item)

    async def typed_lines(self, pressed: Callable[[str], None]) -> AsyncIterator[str]:
        for line in list[str]():
            yield line
        await asyncio.sleep(3600)


async def test_talk_records_and_the_recording_replays_to_the_same(model: Nano, tmp_path: Path) -> None:
    sound = samples(clip_path())[: 16 * 16000]
    write_wav(tmp_path / "clip.wav", sound, 16000)
    notes, record = Notes(), tmp_path / "session.liverec"
    code = await talk(agent, source=str(tmp_path / "clip.wav"), record=record, terminal=notes, fast=True)
    assert code == 0
    done = [item.name for item in notes.items if isinstance(item, CallTool)]
    assert done[:2] == ["light", "timer"]
    report = await asyncio.to_thread(replay, record, True)
    assert report.equal and report.tokens > 0
    if any(isinstance(item, WordPlayed) for item in notes.items):
        assert not [item for item in notes.items if isinstance(item, Interrupted)]


async def test_the_agent_that_looks_sees_the_toy_table_and_what_became_of_it(model: Nano) -> None:
    if not model.sees:
        pytest.skip("these weights have no eyes; `liveagent train recipe` makes some")
    red_ball, blue_cube = Thing(0, 0, 0.25, 0.3), Thing(2, 1, 0.7, 0.65)

    def camera(tick: int) -> VideoFrame | None:
        things = (red_ball, blue_cube) if tick < 60 else (blue_cube,)
        return VideoFrame(draw(Table(things)), tick * TICK_NS) if tick % 2 == 0 else None

    async with open_session(looking_agent, SessionConfig(voice=False), model, use_recogniser=False) as session:
        world = World(session, camera=camera)
        await world.run(10)
        world.type("what color is the ball")
        await world.run(60)
    assert [set(kept.sees) for kept in world.of(PictureKept)] == [{"red ball", "blue cube"}, {"blue cube"}]
    assert [say.text for say in world.of(Say)] == ["It is red."] and not world.of(CallTool)


async def test_the_model_alone_calls_too(model: Nano) -> None:
    """`by=model`: the same words, with the parse switched off."""
    async with open_session(agent, replace(SessionConfig(), grammar=False), model, use_recogniser=False) as session:
        world = World(session)
        for text in ("turn on the kitchen light", "pick up the red cube", "what is on my shopping list"):
            world.type(text)
            await world.run(40)
    assert calls(world) == [
        ("light", {"state": "on", "room": "kitchen"}),
        ("pick", {"color": "red", "shape": "cube"}),
        ("read_list", {}),
    ]
    assert all(call.by == "model" for call in world.of(CallTool))
