"""A recording made with an open model says which, how precise and how long it held, and is replayed with that one."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from liveagent import ConfigError
from liveagent.cli import app
from liveagent.journal import JournalWriter, read
from liveagent.load import load_agent
from liveagent.plan import MOST_TOKENS
from liveagent.runtime.open_model import read_model
from liveagent.runtime.record import Recorder, dtype_of, header_of
from liveagent.runtime.replay import MAX_SLOTS, config_of, replay
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.unrecord import unrecord
from tests.nano import random_nano
from tests.open_checkpoint import write
from tests.world import World

pytestmark = pytest.mark.slow
runner = CliRunner()
AGENT = '''from liveagent import Agent, tool

@tool(phrases=["open the door"])
async def open_door() -> str:
    """Open the front door."""
    return "open"

agent = Agent(instructions="Be brief.", tools=[open_door], voice=None)
'''
TOKENS = 1000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, an agent's file, and `talk`, recorded with both."""
    folder = tmp_path_factory.mktemp("made")
    checkpoint = write(folder / "gemma")
    origin = folder / "door.py"
    origin.write_text(AGENT)
    agent = load_agent(str(origin)).replace(
        model=str(checkpoint), dtype="bfloat16", quantize="int8", cache_tokens=TOKENS
    )  # fmt: skip

    async def converse() -> World:
        async with open_session(agent, SessionConfig.of(agent, voice=False), use_recogniser=False) as session:
            header = header_of(agent, session.model, LANES, session.config, str(origin), False)
            recorder = Recorder(folder / "talk", header)
            world = World(session, lambda call: "it is open", recorder=recorder)
            world.type("open the door")
            await world.run(12)
            world.type("how are you today")
            await world.run(12)
            recorder.close()
            return world

    assert asyncio.run(converse()).tokens
    return folder


def test_the_header_says_what_was_loaded(made: Path) -> None:
    header = read((made / "talk").read_bytes()).header
    assert header.dtype == "bfloat16"
    assert (header.more["model"], header.more["quantize"]) == (str(made / "gemma"), "int8")
    config = config_of(header)
    assert config == SessionConfig.of(load_agent(str(made / "door.py")).replace(cache_tokens=TOKENS), voice=False)
    nano = header_of(load_agent(str(made / "door.py")), random_nano(), 4, SessionConfig(), "voice", False)
    assert nano.dtype == "float32" and not {"model", "quantize"} & nano.more.keys()
    agent = load_agent(str(made / "door.py")).replace(model=str(made / "gemma"))
    assert dtype_of(agent) == "float32" and dtype_of(agent.replace(device="cuda")) == "bfloat16"


def test_it_is_replayed_with_the_same(made: Path) -> None:
    report = replay(made / "talk", check=True)
    assert report.equal and not report.warnings and report.tokens > 0
    told = runner.invoke(app, ["replay", str(made / "talk"), "--check"])
    assert told.exit_code == 0 and "everything came out as it was recorded" in told.output


def test_a_checkpoint_that_has_moved_is_named(made: Path, tmp_path: Path) -> None:
    there = made / "gemma"
    there.rename(tmp_path / "moved")
    try:
        told = runner.invoke(app, ["replay", str(made / "talk")])
        assert told.exit_code == 2 and f"recorded with {there}, which is not here: give" in told.stderr
        report = replay(made / "talk", check=True, named=str(tmp_path / "moved"))
        assert report.equal and not report.warnings
    finally:
        (tmp_path / "moved").rename(there)


def test_another_checkpoint_is_refused_before_it_is_loaded(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = write(tmp_path / "other", seed=2)
    monkeypatch.setattr("liveagent.runtime.replay.load_nets", None)
    for named in (str(other), "nano"):
        told = runner.invoke(app, ["replay", str(made / "talk"), "--model", named])
        assert told.exit_code == 2 and "recorded with other weights" in told.stderr and "as --model" in told.stderr
        assert told.stderr.count("\n") == 1
    shutil.copytree(made, tmp_path / "copy")
    with pytest.raises(ConfigError, match="recorded with other weights"):
        _renamed(tmp_path / "copy" / "talk", str(other))
        unrecord(tmp_path / "copy" / "talk", 0.0, 0.1)


def test_another_precision_is_a_warning(made: Path) -> None:
    agent = load_agent(str(made / "door.py")).replace(model=str(made / "gemma"), dtype="bfloat16")
    report = replay(made / "talk", agent=agent)
    assert report.warnings == ("recorded with quantize int8, here it is none",)


def test_a_long_cache_is_believed_of_an_open_model_alone(made: Path) -> None:
    header = read((made / "talk").read_bytes()).header
    settings = header.more["settings"]
    assert isinstance(settings, dict)
    long = {**header.more, "settings": {**settings, "slots": MAX_SLOTS + 1}}
    assert config_of(dataclasses.replace(header, more=long)).slots == MAX_SLOTS + 1
    for more in (
        {name: each for name, each in long.items() if name != "model"},
        {**long, "settings": {**settings, "slots": MOST_TOKENS + 1}},
    ):
        with pytest.raises(ConfigError, match="no session has so many"):
            config_of(dataclasses.replace(header, more=more))


def _renamed(path: Path, model: str) -> None:
    """As if it had been recorded with the model that lies there."""
    recording = read(path.read_bytes())
    more = {**recording.header.more, "model": model}
    journal = JournalWriter(dataclasses.replace(recording.header, more=more), 1 << 30)
    for record in recording.records:
        journal.copy(record)
    journal.close()
    path.write_bytes(journal.take())


def test_a_fingerprint_sees_what_was_trained_further(tmp_path: Path) -> None:
    """Names, sizes and headers stay as they were, and every matrix is a little different."""
    folder = write(tmp_path / "a", vocab_size=4000, vocab_size_per_layer_input=4000)
    before = read_model(folder).fingerprint
    assert read_model(folder).fingerprint == before
    largest = max(folder.glob("*.safetensors"), key=lambda each: each.stat().st_size)
    assert largest.stat().st_size > 1 << 18
    held = load_file(largest)
    save_file({name: each * 1.01 for name, each in held.items()}, largest)
    assert read_model(folder).fingerprint != before
