"""A client of OpenAI Realtime for tests: it holds every event against the SDK's own models and the protocol's order."""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any, get_args

import numpy as np
from openai import BaseModel
from openai.types import realtime
from openai.types.realtime.realtime_server_event import RealtimeServerEvent

from liveagent.action import Say, SayWord
from liveagent.event import (
    AnswerStarted,
    ReplyStarted,
    SpeechEnded,
    SpeechStarted,
    TurnEnded,
    Voiced,
    WordMark,
    WordsHeard,
)
from liveagent.wire.codec import Asked, Spoken, Told, Welcome
from liveagent.wire.openai import OpenAiCodec

MS = 1_000_000
S = 1_000 * MS
WELCOME = Welcome("sess_1", "nano", "Be brief.", [{"name": "lamp", "description": "A lamp.", "parameters": {}}])
TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "What the weather is.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MODELS: dict[str, type[BaseModel]] = {}
for _model in get_args(get_args(RealtimeServerEvent)[0]):
    for _name in get_args(_model.model_fields["type"].annotation):
        MODELS[_name] = _model
ITEMS: dict[str, type[BaseModel]] = {
    "user": realtime.RealtimeConversationItemUserMessage,
    "assistant": realtime.RealtimeConversationItemAssistantMessage,
    "system": realtime.RealtimeConversationItemSystemMessage,
    "function_call": realtime.RealtimeConversationItemFunctionCall,
    "function_call_output": realtime.RealtimeConversationItemFunctionCallOutput,
}
# What the real server sends too, and the models of the SDK do not name.
UNNAMED = {
    ("RealtimeSessionCreateRequest", "id"),
    ("RealtimeSessionCreateRequest", "object"),
    ("RealtimeSessionCreateRequest", "expires_at"),
}


def check(event: dict[str, Any]) -> None:
    """Strictly valid for the SDK's model of its type, without a field that the model does not know."""
    model = MODELS[event["type"]].model_validate_json(json.dumps(event), strict=True)
    extras = {pair for pair in _extras(model) if pair not in UNNAMED}
    assert not extras, f"{event['type']} has {extras}"
    assert isinstance(event["event_id"], str) and event["event_id"]
    item = event.get("item")
    for each in [item] if item else event.get("response", {}).get("output", []):
        check_item(each)


def check_item(item: dict[str, Any]) -> None:
    """Also: what must be absent rather than null is absent, and what must be there, even as null, is there."""
    ITEMS[item.get("role") or item["type"]].model_validate_json(json.dumps(item), strict=True)
    assert not [name for name, value in item.items() if value is None]
    for part in item.get("content", []):
        assert "image_url" not in part and "audio" not in part
        if part["type"] == "input_audio":
            assert "transcript" in part
        else:
            assert None not in part.values()
    assert len(item.get("call_id", "")) <= 32 or item["type"] == "function_call_output"


def _extras(value: object) -> set[tuple[str, str]]:
    if isinstance(value, BaseModel):
        found = {(type(value).__name__, name) for name in value.model_extra or {}}
        return found.union(*(_extras(getattr(value, name)) for name in type(value).model_fields))
    if isinstance(value, list):
        return set().union(*map(_extras, value))
    return set()


class Order:
    """What must hold over a whole conversation, whatever happens in it."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.created: Counter[str] = Counter()
        self.done: Counter[str] = Counter()
        self.outputs: set[str] = set()
        self.finished: set[str] = set()
        self.ids: set[str] = set()
        self.speech: str | None = None
        self.first = True

    def feed(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        assert (kind == "session.created") == self.first
        self.first = False
        assert event["event_id"] not in self.ids
        self.ids.add(event["event_id"])
        response = event.get("response_id") or event.get("response", {}).get("id")
        if response is not None:
            assert not self.done[response], f"{kind} after the end of its response"
            assert self.created[response] == (kind != "response.created")
        if kind == "response.created":
            assert sum(self.created.values()) == sum(self.done.values()), "two responses at once"
            self.created[response] += 1
        elif kind == "response.done":
            self.done[response] += 1
            assert all(item["status"] in ("completed", "incomplete") for item in event["response"]["output"])
            assert event["response"]["usage"]
        elif kind == "response.output_item.added":
            self.outputs.add(event["item"]["id"])
        elif kind == "response.output_item.done":
            self.finished.add(event["item"]["id"])
        elif kind.startswith("response.") and "item_id" in event:
            assert event["item_id"] in self.outputs and event["item_id"] not in self.finished
        if kind == "conversation.item.added":
            before, new = event["previous_item_id"], event["item"]["id"]
            assert new not in self.items
            at = self.items.index(before) + 1 if before is not None else 0
            self.items.insert(at, new)
        elif kind == "conversation.item.deleted":
            self.items.remove(event["item_id"])
        elif kind == "input_audio_buffer.speech_started":
            self.speech = event["item_id"]
        elif kind == "input_audio_buffer.speech_stopped":
            assert self.speech == event["item_id"]
            self.speech = None
        elif kind == "input_audio_buffer.committed":
            assert event["previous_item_id"] == (self.items[-1] if self.items else None)


class Peer:
    """The codec, and who listens to it. `t_ns` is the session's clock, and moves only where a test moves it."""

    def __init__(self, welcome: Welcome = WELCOME, opened: bool = True) -> None:
        self.codec = OpenAiCodec(welcome, counted())
        self.t_ns = 0
        self.events: list[dict[str, Any]] = []
        self.order = Order()
        if opened:
            self.codec.open(0)
            self.take()

    def send(self, kind: str, **fields: Any) -> list[Asked]:
        return self.raw(json.dumps({"type": kind, **fields}))

    def raw(self, data: str | bytes) -> list[Asked]:
        asks = self.codec.receive(data, self.t_ns)
        self.take()
        return asks

    def tell(self, *items: Told) -> None:
        for item in items:
            self.codec.tell(item, self.t_ns)
            self.take()

    def take(self) -> None:
        for frame in self.codec.take():
            assert isinstance(frame, str) and len(frame.encode()) < 1 << 20
            event = json.loads(frame)
            check(event)
            self.order.feed(event)
            self.events.append(event)

    def new(self) -> list[dict[str, Any]]:
        """What came since the last look."""
        events, self.events = self.events, []
        return events

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.new()]

    def error(self) -> dict[str, Any]:
        """The one event that came, which must be an error."""
        (event,) = self.new()
        assert event["type"] == "error"
        error: dict[str, Any] = event["error"]
        return error

    def settle(self, **session: Any) -> list[Asked]:
        self.new()
        asks = self.send("session.update", session={"type": "realtime", **session})
        assert self.kinds() == ["session.updated"]
        return asks

    def by_hand(self) -> None:
        self.settle(audio={"input": {"turn_detection": None}})


def counted() -> Any:
    """Ids that count: `item_1`, `event_2` …"""
    counter: Counter[str] = Counter()

    def fresh(kind: str) -> str:
        counter[kind] += 1
        return f"{kind}_{counter[kind]}"

    return fresh


def sound(ms: int = 200, rate_hz: int = 24_000, freq_hz: float = 440.0) -> str:
    return base64.b64encode(tone(ms, rate_hz, freq_hz).astype("<i2").tobytes()).decode()


def tone(ms: int, rate_hz: int, freq_hz: float = 440.0) -> np.ndarray[Any, np.dtype[np.int16]]:
    wave = np.sin(2 * np.pi * freq_hz * np.arange(ms * rate_hz // 1000) / rate_hz)
    return np.rint(8000 * wave).astype(np.int16)


def turn(peer: Peer, words: str, start_ms: int = 1_000, end_ms: int = 2_000) -> None:
    """A turn by voice, up to its words."""
    end_ns = (end_ms + 500) * MS
    peer.tell(SpeechStarted(start_ms * MS), SpeechEnded(end_ms * MS), TurnEnded(end_ns, end_ms * MS))
    peer.t_ns = max(peer.t_ns, end_ns)
    peer.tell(WordsHeard(end_ns, tuple(words.split()), "ear", True))


def answer(peer: Peer, utterance: int, why: Any = "turn", ref: str = "") -> None:
    """An answer begins with a reply."""
    peer.tell(AnswerStarted(peer.t_ns, why, ref), ReplyStarted(peer.t_ns, utterance))


def say(utterance: int, text: str, final: bool = True, start: int = 0) -> Say:
    words = tuple(SayWord(word, start + at, start + at + 1) for at, word in enumerate(text.split()))
    return Say(utterance, text, words, final)


def spoken(utterance: int, ms: int, first_ms: int = 0, final: bool = True) -> Spoken:
    samples = (tone(first_ms + ms, 16_000)[first_ms * 16 :] / 32768).astype(np.float32)
    return Spoken(utterance, first_ms * 16, samples, final)


def marks(utterance: int, *ends_ms: int) -> Voiced:
    starts = (0, *ends_ms[:-1])
    found = tuple(WordMark(i, a * 16, b * 16) for i, (a, b) in enumerate(zip(starts, ends_ms, strict=True)))
    return Voiced(0, utterance, ends_ms[-1] * 16, found, True)
