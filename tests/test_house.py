"""A box on a shelf: it hears and speaks with what is in it, whoever looks on; the devices are scripted here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websockets

from liveagent import Agent, DeviceError
from liveagent.audio import TICK_NS, TICK_SAMPLES, AudioChunk, Samples
from liveagent.event import DeviceBack, DeviceLost, SamplesPlayed, TextTyped, TurnsSet, VoiceSet
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime import admission, answer
from liveagent.runtime.core import Core
from liveagent.runtime.devices import open_voice
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.house import House, HouseConversation, Put
from liveagent.runtime.server import Server
from liveagent.tools import home
from liveagent.wire.codec import Picture, Sound, Welcome
from liveagent.wire.native import ELSEWHERE, Hello, NativeCodec
from tests.nano import random_nano
from tests.site import Site, eventually, serving, small_agent, write_weights

HEADER = struct.Struct("<BBHIQ")
LOUD = (np.random.default_rng(0).standard_normal(TICK_SAMPLES) * 0.1).astype(np.float32)


class Room:
    """A microphone: what is put into `sound`, a tick each, and else silence, at real time's pace; until it is closed
    or `broken`."""

    name = "room"

    def __init__(self) -> None:
        self.sound: deque[Samples] = deque()
        self.broken: Exception | None = None
        self.closed = False

    async def __aiter__(self) -> AsyncIterator[AudioChunk]:
        begin, ticks = time.monotonic_ns(), 0
        while not self.closed:
            ticks += 1
            await asyncio.sleep(max(0.0, (begin + ticks * TICK_NS - time.monotonic_ns()) / 1e9))
            if self.broken is not None:
                raise self.broken
            samples = self.sound.popleft() if self.sound else np.zeros(TICK_SAMPLES, np.float32)
            yield AudioChunk(samples, begin + (ticks - 1) * TICK_NS)

    def close(self) -> None:
        self.closed = True


class Shelf:
    """Opens houses, and knows them; `missing`: there is no microphone."""

    def __init__(self) -> None:
        self.rooms: list[Room] = []
        self.puts: list[Put] = []
        self.missing = False

    def __call__(self, agent: Agent, put: Put) -> House:
        if self.missing:
            raise DeviceError("there is no microphone")
        self.rooms.append(Room())
        self.puts.append(put)
        return House(self.rooms[-1], NullSpeaker())


# --- the conversation alone


class Box:
    """A conversation in a house, and what whoever looks on would be sent."""

    def __init__(self, talk: HouseConversation, room: Room, codec: NativeCodec) -> None:
        self.talk, self.room, self.codec = talk, room, codec

    def told(self, kind: str) -> list[dict[str, Any]]:
        """Events of this kind that are kept for whoever comes."""
        lines = [json.loads(line) for line in self.codec.backlog.after(0) or []]
        return [line["e"] for line in lines if line["e"]["type"] == kind]

    async def look_on(self) -> list[Any]:
        welcome = Welcome("house", "nano", handle="secret")
        await self.talk.attach(asked=self.codec.resume(welcome, Hello(speak=False), time.monotonic_ns()))
        return await self.talk.outgoing()


@pytest.fixture
async def box(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Box]:
    monkeypatch.setattr(answer, "REPLY_TOKENS", 20)  # random weights come to no end by themselves
    engine = Engine(Core(random_nano(), 4, 1536))
    agent = Agent("nano", tools=[home.light])
    codec, room = NativeCodec(Welcome("house", "nano")), Room()
    house = House(room, NullSpeaker())
    voice = await open_voice(agent)
    talk = HouseConversation(agent, random_nano(), Lane(engine, engine.open()), codec, house, voice=voice)
    await talk.open()
    running = asyncio.create_task(talk.run())
    yield Box(talk, room, codec)
    await talk.close()
    await running
    assert room.closed
    engine.close()


@pytest.mark.slow
async def test_it_speaks_and_hears_with_nobody_who_looks_on(box: Box) -> None:
    box.talk.put(TextTyped(time.monotonic_ns(), "turn on the kitchen light"))
    await eventually(lambda: bool(box.told("ReplyEnded")))
    assert box.told("ToolCalled")[0]["args"] == {"room": "kitchen", "state": "on"}
    assert box.told("WordPlayed"), "its own loudspeaker says what it has played"
    assert box.talk.stats.consumed_samples == box.talk.stats.ticks * TICK_SAMPLES
    assert not [*box.codec.backlog.speech] and not box.codec.take(), "nothing waits for nobody"


@pytest.mark.slow
async def test_whoever_looks_on_types_and_is_not_heard(box: Box) -> None:
    first = await box.look_on()
    assert json.loads(first[0])["type"] == "welcome" and not json.loads(first[0])["resumed"]
    live = box.talk.live
    assert live is not None
    now = time.monotonic_ns()
    for asked in (
        Sound(np.full(16000, 9000, np.int16), 16000), Picture(b"\xff\xd8", "image/jpeg"), SamplesPlayed(now, 1, 9999),
        VoiceSet(now, False), TextTyped(now, "turn on the kitchen light"),
    ):  # fmt: skip
        await box.talk._take(asked)
    await eventually(lambda: bool(box.told("ReplyEnded")))
    assert box.told("WordPlayed") and live.session.speaking.voice, "a page without sound does not make the box mute"
    assert box.talk.stats.received_samples == box.talk.stats.ticks * TICK_SAMPLES, "the box's microphone alone"
    frames = await box.talk.outgoing()
    assert not [each for each in frames if isinstance(each, bytes)], "whoever looks on hears the box"
    await box.talk._take(TurnsSet(now, "push_to_talk"))
    assert '"house"' in "".join(str(each) for each in await box.talk.outgoing())
    assert live.session.turns.config.mode == "open"


@pytest.mark.slow
async def test_a_reply_goes_on_when_whoever_looked_on_leaves(box: Box) -> None:
    await box.look_on()
    await box.talk._take(TextTyped(time.monotonic_ns(), "turn on the kitchen light"))
    await eventually(lambda: bool(box.told("WordPlayed")))
    box.talk.detach()
    await eventually(lambda: bool(box.told("ReplyEnded")))
    assert not box.told("Interrupted") and box.told("ReplyEnded")[0]["complete"]


# --- a server


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture(scope="module")
def site(weights: Path, shelf: Shelf) -> Iterator[Site]:
    with serving(Server(small_agent(weights), house=shelf)) as site:
        yield site
    assert all(room.closed for room in shelf.rooms)


@pytest.fixture(autouse=True)
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "FULL", 1e9)


def seat_of(site: Site) -> Any:
    assert site.server.resident is not None
    return site.server.resident.seat


slow = pytest.mark.slow
long = pytest.mark.timeout(240)


@slow
@long
async def test_the_page_looks_on_and_what_it_types_counts(site: Site, shelf: Shelf) -> None:
    assert site.server.engine.free_lanes == 3, "it is there before anybody comes"
    before = seat_of(site).conversation.stats.ticks
    await eventually(lambda: seat_of(site).conversation.stats.ticks > before + 3)
    async with site.talk() as talk:
        welcome = await talk.greeted()
        assert welcome["agent"]["extra"] == {"house": True} and not welcome["resumed"]
        assert (await talk.next())["type"] == "snapshot"
        assert site.server.engine.free_lanes == 3
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await talk.until("ToolCalled", args={"room": "kitchen", "state": "on"})
        shelf.rooms[-1].sound.extend([LOUD] * 30)
        while (await talk.until("TickHeard"))["level_dbfs"] < -40:
            pass
    ticks = seat_of(site).conversation.stats.ticks
    await eventually(lambda: seat_of(site).conversation.stats.ticks > ticks + 3)
    assert seat_of(site).link is None and seat_of(site).parked_s is None


@slow
@long
async def test_the_pages_own_sound_is_not_heard(site: Site, shelf: Shelf) -> None:
    await eventually(lambda: not shelf.rooms[-1].sound)
    sound = (LOUD * 32767).astype("<i2").tobytes()
    async with site.talk() as talk:
        await talk.greeted()
        await talk.until("TickHeard")
        for at in range(30):
            await talk.socket.send(HEADER.pack(1, 0, 0, at * TICK_SAMPLES, at * 80_000) + sound)
        await talk.say({"type": "ping", "at": 1})
        await talk.until("pong")
        levels = [(await talk.until("TickHeard"))["level_dbfs"] for _ in range(6)]
        assert max(levels) < -60


@slow
@long
async def test_the_last_who_comes_looks_on_and_the_one_before_is_told(site: Site) -> None:
    async with site.talk() as one:
        await one.greeted()
        await one.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await one.until("ToolReturned")
        async with site.talk() as other:
            await other.greeted()
            snapshot = await other.next()
            assert "turn on the kitchen light" in json.dumps(snapshot["entries"]), "the conversation so far"
            with pytest.raises(websockets.ConnectionClosed) as why:
                while True:
                    await one.next()
            assert why.value.rcvd is not None and why.value.rcvd.code == ELSEWHERE
            async with site.talk(resume=one.ticket) as again:
                assert (await again.until("problem"))["code"] == "gone"
            await other.say({"type": "TextTyped", "text": "turn off the kitchen light"})
            await other.until("ToolCalled", args={"room": "kitchen", "state": "off"})


@slow
@long
async def test_many_who_come_at_once_leave_one_who_looks_on(site: Site) -> None:
    async def come() -> int:
        async with site.talk() as talk:
            try:
                while True:
                    await talk.next()
            except websockets.ConnectionClosed as why:
                return why.rcvd.code if why.rcvd is not None else 0

    coming = [asyncio.create_task(come()) for _ in range(8)]
    async with asyncio.timeout(60):
        while sum(each.done() for each in coming) < 7:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)
    left = [each for each in coming if not each.done()]
    assert len(left) == 1 and seat_of(site).pumping is not None
    assert {each.result() for each in coming if each.done()} == {ELSEWHERE}
    left[0].cancel()
    await asyncio.gather(*left, return_exceptions=True)


@slow
@long
async def test_whoever_lost_the_connection_takes_it_up_again(site: Site) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        await talk.next()
        ticket = talk.ticket
        await talk.cut()
    await eventually(lambda: seat_of(site).link is None)
    async with site.talk(resume=ticket) as again:
        welcome = await again.greeted()
        assert welcome["resumed"] and welcome["session"] == ticket["session"]


@slow
@long
async def test_nobody_who_comes_loses_the_welcome_to_whoever_was_there(site: Site) -> None:
    """Both are connected for a moment, and what is to be sent is the newer one's."""
    async with AsyncExitStack() as connected:
        for _ in range(30):
            talk = await connected.enter_async_context(site.talk())
            await talk.greeted()


@slow
@long
async def test_a_microphone_that_is_lost_is_told_and_it_goes_on(site: Site, shelf: Shelf) -> None:
    async with site.talk() as talk:
        await talk.greeted()
        shelf.puts[-1](DeviceLost(time.monotonic_ns(), "room", "the microphone 'room' is lost"))
        assert "lost" in (await talk.until("Noted", code="DeviceLost"))["message"]
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await talk.until("ToolReturned")
        shelf.puts[-1](DeviceBack(time.monotonic_ns(), "room"))
        await talk.until("Noted", code="DeviceBack")


@slow
@long
async def test_others_open_sessions_of_their_own(site: Site) -> None:
    async with site.talk() as talk, site.connect("/v1/realtime", subprotocols=["realtime"]) as socket:
        await talk.greeted()
        assert json.loads(await socket.recv())["type"] == "session.created"
        assert site.server.engine.free_lanes == 2
    await eventually(lambda: site.server.engine.free_lanes == 3)


@slow
@long
async def test_an_engine_that_is_started_again_knows_what_the_house_heard(site: Site) -> None:
    engine, pid, number = site.server.engine, site.server.engine.pid, seat_of(site).id
    assert pid is not None
    before = engine.restarts
    async with site.talk() as talk:
        await talk.greeted()
        os.kill(pid, signal.SIGKILL)
        assert (await talk.until("problem"))["code"] == "engine_lost"
        await eventually(lambda: engine.restarts == before + 1 and engine.state == "up")
        await talk.say({"type": "TextTyped", "text": "turn off the kitchen light"})
        await talk.until("ToolCalled", args={"room": "kitchen", "state": "off"})
    assert seat_of(site).id == number and engine.free_lanes == 3


@slow
@long
async def test_a_conversation_that_fails_is_opened_anew(site: Site, shelf: Shelf) -> None:
    number, rooms = seat_of(site).id, len(shelf.rooms)
    shelf.missing = True
    shelf.rooms[-1].broken = ValueError("cut short")
    await eventually(lambda: seat_of(site) is None)
    async with site.talk() as early:
        with pytest.raises(websockets.ConnectionClosed) as why:
            await early.next()
        assert why.value.rcvd is not None and why.value.rcvd.code == 1011
    shelf.missing = False
    await eventually(lambda: seat_of(site) is not None)
    assert seat_of(site).id != number and len(shelf.rooms) == rooms + 1 and shelf.rooms[rooms - 1].closed
    async with site.talk() as talk:
        await talk.greeted()
        await talk.say({"type": "TextTyped", "text": "turn on the kitchen light"})
        await talk.until("ToolCalled")


@slow
@long
async def test_a_server_without_the_microphone_it_needs_says_so(weights: Path) -> None:
    shelf = Shelf()
    shelf.missing = True
    server = Server(small_agent(weights), house=shelf)
    with pytest.raises(DeviceError, match="no microphone"):
        async with server.lifespan():
            pass
    assert server.engine.pid is None
