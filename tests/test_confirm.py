"""A hazard is confirmed: over liveagent's own protocol, in a conversation, by a key of the terminal. No more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from rich.console import Console

from liveagent import event as ev
from liveagent import tool
from liveagent.action import Action, CallTool
from liveagent.agent import Agent
from liveagent.clients.terminal import Terminal
from liveagent.clients.terminal.keys import Keys
from liveagent.event import ConfirmAsked, Event, TextTyped, ToolFailed, ToolReturned
from liveagent.policy import Policy
from liveagent.runtime.conversation import Conversation
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.talk import talk
from liveagent.wire.codec import Confirm, Confirming, Problem, Welcome
from liveagent.wire.gemini import GeminiCodec
from liveagent.wire.native import NativeCodec
from liveagent.wire.openai import OpenAiCodec
from tests.nano import random_nano
from tests.test_conversation import Peer, Plain

OPENED: list[str] = []


@tool(phrases=["open the vault"], risk="hazard")
async def vault() -> str:
    """Open the vault."""
    OPENED.append("vault")
    return "the vault is open"


AGENT = Agent("nano", tools=[vault], voice=None)
HELLO = '{"type":"hello","v":1,"speak":false}'
ASKS = Confirming("call_1", "vault", "Open the vault.", {"deep": True}, "token 1", 15_000)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    OPENED.clear()
    engine = Engine(Core(random_nano(), 4, 1536))
    codec = Plain()
    lane = Lane(engine, engine.open())
    conversation = Conversation(AGENT, random_nano(), lane, codec, voice=None)
    await conversation.open()
    running = asyncio.create_task(conversation.run(), name="run")
    yield Peer(conversation, codec)
    await conversation.close()
    await running
    engine.close()


async def test_a_conversation_asks_whoever_is_connected_and_no_word_of_it_is_in_the_conversation(peer: Peer) -> None:
    await peer.ask(TextTyped(0, "open the vault"))
    await peer.until(lambda: peer.of(Confirming) and peer.of(ConfirmAsked))
    (asked,) = peer.of(Confirming)
    assert (asked.name, asked.about, asked.args) == ("vault", "Open the vault.", {}) and len(asked.token) >= 32
    assert asked.token not in repr([item for item in peer.codec.told if item is not asked])
    await peer.ask(TextTyped(0, "yes"), TextTyped(0, "confirmed"), TextTyped(0, asked.token))
    await peer.ask(Confirm(asked.call_id, "another's token", True))
    await peer.until(lambda: peer.of(Problem))
    assert peer.of(Problem)[0].code == "not_confirmed" and not OPENED
    peer.talk.detach()
    await peer.talk.attach()
    again = peer.of(Confirming)[-1]
    assert again.token != asked.token and again.left_ms < asked.left_ms
    await peer.ask(Confirm(asked.call_id, asked.token, True))
    assert len(peer.of(Problem)) == 2 and not OPENED, "what was shown to the link before is void"
    await peer.ask(Confirm(again.call_id, again.token, True), Confirm(again.call_id, again.token, True))
    await peer.until(lambda: peer.of(ToolReturned))
    (confirmed,) = peer.of(ev.Confirmed)
    assert OPENED == ["vault"] and (confirmed.call_id, confirmed.yes, confirmed.by) == ("call_1", True, "button")


async def test_where_a_protocol_has_no_button_the_model_is_told_so(peer: Peer) -> None:
    peer.codec.confirms = False
    await peer.ask(TextTyped(0, "open the vault"))
    await peer.until(lambda: peer.of(ToolFailed))
    assert "this connection has none" in peer.of(ToolFailed)[0].message and not peer.of(Confirming) and not OPENED


def test_the_native_protocol_carries_question_and_answer() -> None:
    codec = NativeCodec(Welcome("s", "nano", handle="h"))
    codec.tell(ASKS, 0)
    codec.receive(HELLO, 0)
    assert not any("token 1" in str(frame) for frame in codec.take()), "nobody was there who could be asked"
    codec.tell(ASKS, 0)
    (said,) = [json.loads(frame) for frame in codec.take() if isinstance(frame, str)]
    assert said == {
        "type": "confirm", "call_id": "call_1", "name": "vault", "about": "Open the vault.", "args": {"deep": True},
        "token": "token 1", "left_ms": 15_000,
    }  # fmt: skip
    answer = json.dumps({"type": "Confirm", "call_id": "call_1", "token": "token 1", "yes": True})
    assert codec.receive(answer, 5) == [Confirm("call_1", "token 1", True)]
    codec.park()
    assert codec.replay_from(0) == [], "a token is kept for nobody who comes later"


@pytest.mark.parametrize(
    "said",
    [
        {"call_id": "c", "token": "t"}, {"call_id": "c", "token": "t", "yes": 1}, {"token": "t", "yes": True},
        {"call_id": 1, "token": "t", "yes": True}, {"call_id": "c", "token": "t" * 200, "yes": True},
        {"call_id": "c", "token": "t", "yes": True, "args": {}}, {"call_id": "c", "token": None, "yes": True},
    ],
)  # fmt: skip
def test_an_answer_that_is_none(said: dict[str, Any]) -> None:
    codec = NativeCodec(Welcome("s", "nano", handle="h"))
    codec.receive(HELLO, 0)
    codec.take()
    assert codec.receive(json.dumps({"type": "Confirm", **said}), 0) == []
    assert "problem" in str(codec.take())


@pytest.mark.parametrize("kind", ["ConfirmAsked", "Confirmed", "ToolReturned", "OutcomeUnknown", "ToolProgressed"])
def test_what_only_the_hands_say_a_peer_cannot(kind: str) -> None:
    codec = NativeCodec(Welcome("s", "nano", handle="h"))
    codec.receive(HELLO, 0)
    said = {"type": kind, "call_id": "call_1", "yes": True, "result": "x", "name": "vault"}
    assert codec.receive(json.dumps(said), 0) == []


def test_other_protocols_say_that_they_cannot() -> None:
    def fresh(kind: str) -> str:
        return f"{kind}_1"

    for codec in (OpenAiCodec(Welcome("s", "nano"), fresh), GeminiCodec(Welcome("s", "nano"), fresh)):
        codec.open(0)
        codec.take()
        assert not codec.confirms
        codec.tell(ASKS, 0)
        assert codec.take() == []


# ---- the terminal ----------------------------------------------------------------------------------------------------


def test_the_terminal_shows_what_it_asks_and_for_how_long() -> None:
    terminal = Terminal("a", console=Console(width=80, height=24, force_terminal=True, color_system=None))
    terminal.feed(ev.ToolCalled(0, "c1", "vault", {"deep": True}))
    terminal.feed(ConfirmAsked(0, "c1", "vault", {"deep": True}, 15_000))
    terminal.feed(ev.TickHeard(4_000_000_000, 50, -60.0))
    with terminal.console.capture() as got:
        terminal.console.print(terminal.render())
    assert "May it? vault(deep=True)  Ctrl-G: yes, Esc: no, 11 s" in got.get() and "to be confirmed" in got.get()
    terminal.feed(ev.Confirmed(0, "c1", True, "key"))
    terminal.feed(ev.ToolProgressed(0, "c1", 0.25, "turning"))
    terminal.feed(ev.OutcomeUnknown(0, "c9", "vault", {"deep": False}))
    with terminal.console.capture() as got:
        terminal.console.print(terminal.render())
    assert "May it?" not in got.get() and "25% turning" in got.get() and "vault(deep=False)" in got.get()
    assert Keys().feed(b"a\x07b") == ["a", "go", "b"]


class Keyboard:
    """A screen at which somebody types, and then presses a key."""

    def __init__(self, *keys: str, keyed: bool = True) -> None:
        self.keys, self.keyed = keys, keyed
        self.fed: list[Event | Action] = []
        self.news = asyncio.Event()

    def look(self, camera: object) -> None: ...

    def feed(self, item: Event | Action) -> None:
        self.fed.append(item)
        self.news.set()

    def of(self, *kinds: type) -> list[Any]:
        return [item for item in self.fed if isinstance(item, kinds)]

    async def typed_lines(self, pressed: Any) -> AsyncIterator[str]:
        yield "open the vault"
        if self.keyed:
            while not self.of(ConfirmAsked):
                self.news.clear()
                await self.news.wait()
        for key in self.keys:
            pressed(key)
        while not self.of(ToolReturned, ToolFailed):
            self.news.clear()
            await self.news.wait()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "keyed", "what"),
    [
        (("go", "go"), True, "the vault is open"),
        (("escape", "go"), True, "declined"),
        (("tab",), True, "nobody confirmed"),
        (("go",), False, "has none"),
    ],
)
async def test_a_key_confirms_and_another_refuses(keys: tuple[str, ...], keyed: bool, what: str) -> None:
    OPENED.clear()
    screen = Keyboard(*keys, keyed=keyed)
    agent = AGENT.replace(policy=Policy(confirm_s=0.5 if keys == ("tab",) else 15.0))
    assert await talk(agent, text_only=True, terminal=screen) == 0
    (ended,) = screen.of(ToolReturned, ToolFailed)
    assert what in str(getattr(ended, "result", "") or getattr(ended, "message", ""))
    assert len(OPENED) == (what == "the vault is open") and len(screen.of(CallTool)) == 1
