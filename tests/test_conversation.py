"""A conversation behind a codec that carries what is asked as it is: order, clock, bounds, what happens to the link."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from liveagent import tool
from liveagent.action import CallTool, Say
from liveagent.agent import Agent
from liveagent.audio import RATE_HZ, TICK_NS, TICK_SAMPLES
from liveagent.errors import ProtocolError
from liveagent.event import (
    AgentChanged,
    AnswerAsked,
    AnswerStarted,
    FrameSeen,
    Interrupted,
    MessageAdded,
    ReplyEnded,
    ReplyStarted,
    SamplesPlayed,
    SessionEnded,
    TalkPressed,
    TalkReleased,
    TextTyped,
    TickHeard,
    ToolCalled,
    ToolReturned,
    TurnEnded,
    TurnsSet,
    VoiceSet,
)
from liveagent.jsonform import Json
from liveagent.runtime import answer
from liveagent.runtime.conversation import OUTBOX_BYTES, Conversation
from liveagent.runtime.core import Core
from liveagent.runtime.devices import open_voice
from liveagent.runtime.engine import Engine, Lane
from liveagent.video import Pixels
from liveagent.wire.codec import Frame, Memory, Picture, Problem, Sound, Spoken
from tests.nano import random_nano


@tool(phrases=["open the door"])
async def door() -> str:
    """Open the door."""
    return "the door is open"


AGENT = Agent("nano", tools=[door])


class Plain:
    """A codec whose messages are what is asked, by number; whatever it is told it keeps."""

    def __init__(self, reports: bool = False) -> None:
        self.closing: tuple[int, str] | None = None
        self.confirms = True
        self.reports_playback = reports
        self.asked: list[list[Any]] = []
        self.told: list[Any] = []
        self.frames: list[Frame] = []

    def open(self, t_ns: int) -> None: ...

    def receive(self, data: Frame, t_ns: int) -> list[Any]:
        return self.asked[int(data)]

    def tell(self, item: Any, t_ns: int) -> None:
        self.told.append(item)

    def take(self) -> list[Frame]:
        frames, self.frames = self.frames, []
        return frames


class Peer:
    """The far end: asks, and waits for what it is told."""

    def __init__(self, talk: Conversation, codec: Plain) -> None:
        self.talk, self.codec = talk, codec

    async def ask(self, *asked: Any) -> None:
        self.codec.asked.append(list(asked))
        await self.talk.receive(str(len(self.codec.asked) - 1))

    def of(self, *kinds: type) -> list[Any]:
        return [item for item in self.codec.told if isinstance(item, kinds)]

    async def until(self, met: Callable[[], Any]) -> None:
        async with asyncio.timeout(60):
            while not met():  # noqa: ASYNC110 (anything that it is told may be what is waited for)
                await asyncio.sleep(0.005)


async def see(data: bytes, media_type: str) -> Pixels:
    if not data:
        raise ProtocolError("an empty picture")
    return np.full((128, 128, 3), data[0], np.uint8)


@pytest.fixture
async def peer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Peer]:
    monkeypatch.setattr(answer, "REPLY_TOKENS", 20)  # random weights come to no end by themselves
    engine = Engine(Core(random_nano(), 4, 1536))
    codec = Plain(reports=getattr(request, "param", False))
    voice = await open_voice(AGENT)
    talk = Conversation(AGENT, random_nano(), Lane(engine, engine.open()), codec, voice=voice, see=see)
    await talk.open()
    running = asyncio.create_task(talk.run(), name="run")
    yield Peer(talk, codec)
    await talk.close()
    await running
    assert isinstance(codec.told[-1], SessionEnded)
    engine.close()


@pytest.mark.slow
async def test_typed_words_are_answered_without_any_sound_and_spoken(peer: Peer) -> None:
    await peer.ask(TextTyped(0, "open the door"))
    await peer.until(lambda: peer.of(ReplyEnded))
    assert [call.name for call in peer.of(ToolCalled)] == ["door"]
    spoken = peer.of(Spoken)
    assert spoken[-1].final and [each.first for each in spoken] == sorted({each.first for each in spoken})
    assert sum(len(each.samples) for each in spoken) == peer.of(SamplesPlayed)[-1].samples
    assert peer.of(Memory)


@pytest.mark.slow
async def test_the_words_of_a_written_reply_are_told_before_its_end(peer: Peer) -> None:
    await peer.ask(VoiceSet(0, False), TextTyped(0, "open the door"))
    await peer.until(lambda: peer.of(ReplyEnded))
    told = [item for item in peer.codec.told if isinstance(item, ReplyStarted | Say | ReplyEnded)]
    assert [type(item) for item in told] == [ReplyStarted, Say, ReplyEnded] and not peer.of(Spoken)


async def test_what_is_asked_keeps_its_order_with_the_sound_before_it(peer: Peer) -> None:
    await peer.ask(TurnsSet(0, "push_to_talk", answers=False))
    noise = (np.random.default_rng(0).normal(0, 3000, 3 * RATE_HZ)).astype(np.int16)
    before = peer.talk.stats.ticks
    await peer.ask(TalkPressed(0), Sound(noise, RATE_HZ), TalkReleased(0), MessageAdded(0, "user", "hello"))
    await peer.until(lambda: peer.of(TurnEnded))
    assert peer.talk.stats.ticks - before >= len(noise) // TICK_SAMPLES
    assert peer.talk.stats.received_samples == peer.talk.stats.consumed_samples == len(noise)
    await peer.until(lambda: peer.of(MessageAdded))
    order = [type(item) for item in peer.codec.told if isinstance(item, TalkPressed | TalkReleased | MessageAdded)]
    assert order == [TalkPressed, TalkReleased, MessageAdded]
    assert not peer.of(AnswerStarted)


async def test_other_rates_are_heard_at_ours(peer: Peer) -> None:
    for _ in range(10):
        await peer.ask(Sound(np.zeros(2400, np.int16), 24_000))
    await peer.until(lambda: peer.talk.stats.consumed_samples > 0.9 * RATE_HZ)
    assert abs(peer.talk.stats.received_samples - RATE_HZ) <= 32


async def test_a_hole_in_the_sound_is_silence_and_counted(peer: Peer) -> None:
    await peer.ask(Sound(np.ones(TICK_SAMPLES, np.int16), RATE_HZ))
    await peer.ask(Sound(np.ones(TICK_SAMPLES, np.int16), RATE_HZ, gap_samples=800))
    await peer.until(lambda: peer.talk.stats.gap_samples == 800)
    assert peer.talk.stats.received_samples == 2 * TICK_SAMPLES


@pytest.mark.slow
async def test_sound_that_comes_too_fast_is_not_taken_and_said(peer: Peer) -> None:
    second = np.zeros(RATE_HZ, np.int16)
    await peer.ask(*[Sound(second, RATE_HZ)] * 16)
    stats = peer.talk.stats
    assert stats.received_samples == 16 * RATE_HZ and stats.gap_samples >= RATE_HZ
    assert {problem.code for problem in peer.of(Problem)} == {"too_fast"}
    inlet = peer.talk._inlet
    waits = inlet.waiting_bytes // 4 + inlet._part_samples
    assert inlet.consumed_samples + inlet.gap_samples + waits == stats.received_samples
    # Of what waits from such a peer nothing is heard before its time.
    due = (time.monotonic_ns() - peer.talk._start_ns) // TICK_NS
    assert 0 < stats.ticks <= due + 1


@pytest.mark.parametrize("others", [0, 3])
async def test_a_recording_sent_at_once_leaves_the_others_their_part(
    peer: Peer, others: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    sleep = asyncio.sleep

    async def nap(seconds: float) -> None:
        task = asyncio.current_task()
        if task is not None and task.get_name() == "run":
            naps.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", nap)
    peer.talk._others = lambda: others
    await peer.ask(Sound(np.zeros(4 * RATE_HZ, np.int16), RATE_HZ))
    stats = peer.talk.stats
    await peer.until(lambda: stats.consumed_samples == stats.received_samples)
    if others:
        assert len(naps) > 5 and min(naps) > 0 and max(naps) <= TICK_NS / 1e9
    else:
        assert not any(naps), "alone it is heard as fast as it can be"


async def test_a_still_picture_is_looked_at_before_what_follows(peer: Peer) -> None:
    await peer.ask(Picture(b"\x40", "image/jpeg", live=False), MessageAdded(0, "user", "hello"))
    await peer.until(lambda: peer.of(MessageAdded))
    assert [type(item) for item in peer.codec.told if isinstance(item, FrameSeen | MessageAdded)] == [
        FrameSeen, MessageAdded
    ]  # fmt: skip
    await peer.ask(Picture(b"", "image/jpeg", live=False, ref="item_1"))
    (problem,) = peer.of(Problem)
    assert (problem.code, problem.ref) == ("bad_picture", "item_1")


WEATHER: dict[str, Json] = {
    "name": "get_weather",
    "description": "Get the weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.mark.slow
async def test_a_tool_of_the_peers_runs_at_the_peers(peer: Peer) -> None:
    await peer.ask(AgentChanged(0, None, (WEATHER,)), TextTyped(0, "what is the weather in paris"))
    await peer.until(lambda: peer.of(ToolCalled))
    (call,) = peer.of(CallTool)
    assert (call.name, call.args) == ("get_weather", {"city": "paris"})
    await peer.ask(ToolReturned(0, call.call_id, "sunny", answer=False), AnswerAsked(0, "r"))
    await peer.until(lambda: peer.of(Say))


@pytest.mark.slow
@pytest.mark.parametrize("peer", [True], indirect=True)
async def test_a_link_that_breaks_takes_back_what_was_not_heard_and_keeps_the_rest(peer: Peer) -> None:
    await peer.ask(TextTyped(0, "open the door"))
    await peer.until(lambda: peer.of(Spoken))
    first = peer.of(Spoken)[0].utterance
    await peer.ask(SamplesPlayed(0, first, 100))
    peer.talk.detach()
    await peer.until(lambda: peer.of(Interrupted))
    assert not peer.of(Interrupted)[0].heard
    ticks = peer.talk.stats.ticks
    await peer.until(lambda: peer.talk.stats.ticks > ticks + 3)
    await peer.talk.attach()
    await peer.ask(TextTyped(0, "open the door"))
    await peer.until(lambda: len(peer.of(ToolCalled)) == 2)


async def test_a_peer_that_reads_nothing_is_let_go(peer: Peer) -> None:
    peer.codec.frames += ["x" * 1024] * (OUTBOX_BYTES // 1024 + 1)
    await peer.ask()
    closing = peer.talk.closing
    assert closing is not None and closing[0] == 1013


async def test_what_is_to_be_sent_comes_in_order_and_ends(peer: Peer) -> None:
    peer.codec.frames += ["a", "b"]
    await peer.ask()
    assert await peer.talk.outgoing() == ["a", "b"]
    waiting = asyncio.create_task(peer.talk.outgoing())
    await asyncio.sleep(0)
    assert not waiting.done()
    await peer.talk.close()
    assert await waiting == []


async def test_an_engine_that_comes_back_knows_what_was_said(peer: Peer) -> None:
    await peer.ask(MessageAdded(0, "user", "my name is ada"))
    await peer.until(lambda: peer.of(MessageAdded))
    live = peer.talk.live
    assert live is not None
    engine = Engine(Core(random_nano(), 4, 1536))
    held = live.session.context.ids
    await peer.talk.engine_back(Lane(engine, engine.open()))
    assert live.session.context.ids == held
    ticks = len(peer.of(TickHeard))
    await peer.ask(TextTyped(0, "open the door"))
    await peer.until(lambda: peer.of(ToolCalled))
    assert len(peer.of(TickHeard)) > ticks
    await peer.talk.close()
    engine.close()
