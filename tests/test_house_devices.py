"""A box on a shelf with real PortAudio, on a sound card without hardware (tests/pulse.py)."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import websockets

from liveagent import Agent
from liveagent.audio import RATE_HZ
from liveagent.event import SayAsked
from liveagent.ports.mic import Mic
from liveagent.ports.speaker import Speaker
from liveagent.runtime import admission
from liveagent.runtime.house import House, HouseConversation
from liveagent.runtime.server import Server
from liveagent.tools import home
from tests.pulse import Pulse, pulse
from tests.site import Site, Talk, serving, write_weights

__all__ = ["pulse"]
pytestmark = [pytest.mark.audio, pytest.mark.timeout(240)]
NOISE = (np.random.default_rng(0).standard_normal(RATE_HZ * 4) * 0.1).astype(np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def site(pulse: Pulse, weights: Path) -> Iterator[Site]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "FULL", 1e9)
        agent = Agent(str(weights), tools=[home.light])
        with serving(Server(agent, house=partial(House.find, camera="table"))) as site:
            yield site


@pytest.fixture
def room(site: Site) -> Iterator[Speaker]:
    """Whoever is in the room, before the box's microphone."""
    speaker = Speaker("micfeed", latency_s=0.1)
    speaker.start()
    yield speaker
    speaker.close()


async def louder_than(talk: Talk, dbfs: float) -> None:
    while (await talk.until("TickHeard"))["level_dbfs"] < dbfs:
        pass


async def test_it_hears_the_room_and_is_heard_in_it(site: Site, room: Speaker) -> None:
    ear = Mic("spkmon", ring_ms=60_000)
    ear.start()
    try:
        async with site.talk() as talk:
            welcome = await talk.greeted()
            assert welcome["agent"]["extra"] == {"house": True}
            assert (await talk.until("FrameSeen"))["t_ns"] > 0, "its own camera"
            room.play(1, NOISE, True)
            await louder_than(talk, -40)
            room.stop(1)
            while (await talk.until("TickHeard"))["level_dbfs"] > -60:
                pass
            # As a watch asks for it: weights that are random say nothing that a voice could speak.
            conversation = conversation_of(site)
            await site.run(lambda: say(conversation, "There is a red ball on the table."))
            await talk.until("WordPlayed")
            loudest = 0.0
            while loudest < 0.05:  # the loudspeaker says it
                loudest = max([loudest, *(float(np.abs(chunk.samples).max(initial=0.0)) for chunk in ear.read())])
                await talk.next()
    finally:
        ear.close()


async def test_a_microphone_that_is_unplugged_is_told_and_comes_back(site: Site, pulse: Pulse) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        with pulse.unplugged():
            await talk.until("Noted", code="DeviceLost")
            await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
            await talk.until("ToolCalled")
        while (await talk.until("Noted", code="DeviceBack"))["message"] != mic_name(site):
            pass
        speaker = Speaker("micfeed", latency_s=0.1)
        speaker.start()
        try:
            speaker.play(1, NOISE, True)
            await louder_than(talk, -40)
        finally:
            speaker.close()


def conversation_of(site: Site) -> HouseConversation:
    assert site.server.resident is not None and site.server.resident.seat is not None
    conversation = site.server.resident.seat.conversation
    assert isinstance(conversation, HouseConversation)
    return conversation


async def say(conversation: HouseConversation, text: str) -> None:
    assert conversation.live is not None
    conversation.live.session.watcher._called["call_1"] = "a watch that fired"
    conversation.put(SayAsked(time.monotonic_ns(), "call_1", text))


def mic_name(site: Site) -> str:
    mic = conversation_of(site).house.sounds
    assert isinstance(mic, Mic)
    return mic.name


# --- the command


@asynccontextmanager
async def command(weights: Path, *more: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    agent = weights / "mine.py"
    agent.write_text(f"from liveagent import Agent\nagent = Agent({str(weights)!r}, voice=None)\n")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "liveagent", "serve", str(agent), "--port", "0", "--no-open", "--mic", *more,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    lines: list[str] = []
    assert child.stdout is not None
    try:
        while not any(line.startswith("ready") for line in lines):
            line = (await child.stdout.readline()).decode()
            if not line:
                break
            lines.append(line)
        yield child, lines
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


async def test_the_command_says_with_what_it_hears(pulse: Pulse, weights: Path) -> None:
    async with command(weights, "--headphones", "--camera", "table") as (child, lines):
        said = next(line for line in lines if line.startswith("hears with"))
        assert "speaks through" in said and "looks at" in said
        page = next(word for line in lines for word in line.split() if word.startswith("http://"))
        async with websockets.connect(page.replace("http", "ws") + "live", max_size=1 << 24) as socket:
            await socket.send('{"type": "hello", "v": 1}')
            assert json.loads(await socket.recv())["agent"]["extra"] == {"house": True}
        child.send_signal(signal.SIGTERM)
        _, err = await child.communicate()
        assert child.returncode == 0 and b"Traceback" not in err, err.decode()


async def test_without_a_microphone_it_ends_with_one_line(pulse: Pulse, weights: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PULSE_SERVER", "unix:/nowhere")
        async with command(weights) as (child, lines):
            assert not any(line.startswith("ready") for line in lines)
            _, err = await child.communicate()
            assert child.returncode == 3 and b"Traceback" not in err, err.decode()
            assert b"liveagent: " in err


def test_headphones_alone_are_about_nothing() -> None:
    from typer.testing import CliRunner

    from liveagent.cli import app

    done = CliRunner().invoke(app, ["serve", "--headphones"])
    assert done.exit_code == 2 and "--mic" in done.output
