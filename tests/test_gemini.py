"""Gemini Live against the official client: its own session builds what is received, its own types read what is sent."""

from __future__ import annotations

import base64
import contextlib
import importlib
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from liveagent.action import CancelCall, Say, SayWord, StopPlayback
from liveagent.event import (
    AgentChanged,
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    CacheChanged,
    Ducked,
    Interrupted,
    MessageAdded,
    ReplyEnded,
    ReplyStarted,
    Resumed,
    SpeechStarted,
    TalkReleased,
    TextTyped,
    ToolCalled,
    ToolReturned,
    TurnEnded,
    TurnsSet,
    VoiceSet,
    WordsHeard,
)
from liveagent.resample import Resampler
from liveagent.wire.codec import Asked, Codec, GoingAway, Picture, Resumable, Sound, Spoken, Told, Welcome
from liveagent.wire.gemini import GeminiCodec

# By name: the type checker need not read the package's twenty thousand lines of types.
genai: Any = importlib.import_module("google.genai")
types: Any = importlib.import_module("google.genai.types")
live: Any = importlib.import_module("google.genai.live")

JPEG = b"\xff\xd8\xff\xe0 \xfb\xff picture"
PCM = np.array([-5, 7, -32768, 32767], "<i2")
WELCOME = Welcome("sess_1", "nano", handle="handle-1")
SCHEMA: dict[str, Any] = {
    "type": "OBJECT",
    "properties": {"on_off": {"type": "STRING", "enum": ["on", "off"]}, "roomName": {"type": "STRING"}},
    "required": ["on_off"],
}
PLAIN = {
    "type": "object",
    "properties": {"on_off": {"type": "string", "enum": ["on", "off"]}, "roomName": {"type": "string"}},
    "required": ["on_off"],
}


def some_ids() -> Callable[[str], str]:
    numbers = count(1)
    return lambda kind: f"{kind}_{next(numbers)}"


def plain(asked: Sequence[Asked]) -> list[Any]:
    """What can be compared: sound and pictures by what they hold."""
    out: list[Any] = []
    for each in asked:
        if isinstance(each, Sound):
            out.append(("Sound", each.rate_hz, each.pcm.tolist()))
        elif isinstance(each, Picture):
            out.append(("Picture", each.data, each.media_type, each.live))
        else:
            out.append(each)
    return out


class Wire:
    """A codec, and what comes out of it: every message is read by the client's own types, unknown fields refused."""

    def __init__(self, welcome: Welcome = WELCOME) -> None:
        self.codec = GeminiCodec(welcome, some_ids())
        self.sent: deque[bytes] = deque()
        self.asked: list[Asked] = []
        self.t_ns = 0
        self.codec.open(0)

    def client(self, message: Any) -> list[Any]:
        """A message of the client's, as an object or as it is."""
        self.t_ns += 1
        data = message if isinstance(message, str | bytes) else json.dumps(message)
        asked = self.codec.receive(data, self.t_ns)
        self.asked += asked
        self.sent += self._taken()
        return plain(asked)

    def tell(self, *items: Told) -> None:
        for item in items:
            self.t_ns += 1
            self.codec.tell(item, self.t_ns)
        self.sent += self._taken()

    def _taken(self) -> Iterator[bytes]:
        for frame in self.codec.take():
            assert isinstance(frame, bytes) and len(frame) < 1 << 20
            read(frame)
            yield frame

    def said(self) -> list[dict[str, Any]]:
        """What was sent since."""
        taken = [json.loads(frame) for frame in self.sent]
        self.sent.clear()
        return taken


def read(frame: bytes) -> Any:
    """The message as the client sees it; an error if it says anything that the client has no field for."""
    return types.LiveServerMessage.model_validate(json.loads(frame))


def set_up(welcome: Welcome = WELCOME, **setup: Any) -> Wire:
    wire = Wire(welcome)
    wire.client({"setup": {"model": "models/any", **setup}})
    assert wire.codec.closing is None
    wire.said()
    return wire


def tools(*names: str) -> list[dict[str, Any]]:
    return [{"functionDeclarations": [{"name": name, "parameters": SCHEMA} for name in names]}]


def say(utterance: int, text: str, final: bool = True, start: int = 0) -> Say:
    words = tuple(SayWord(word, start + at, start + at + 1) for at, word in enumerate(text.split()))
    return Say(utterance, text, words, final)


def tone(samples: int) -> np.ndarray:
    return (0.5 * np.sin(np.arange(samples) / 7)).astype(np.float32)


def kinds(said: Sequence[dict[str, Any]]) -> list[str]:
    """The messages by what they are about, runs of the same once."""
    out: list[str] = []
    for message in said:
        for name, body in message.items():
            kind = "+".join(body) if name == "serverContent" else name
            if name != "usageMetadata" and (not out or out[-1] != kind):
                out.append(kind)
    return out


def pcm(said: Sequence[dict[str, Any]]) -> np.ndarray:
    data = [
        part["inlineData"]["data"]
        for message in said
        for part in message.get("serverContent", {}).get("modelTurn", {}).get("parts", ())
        if "inlineData" in part
    ]
    return np.frombuffer(b"".join(map(base64.b64decode, data)), "<i2")


# ---- the official client ---------------------------------------------------------------------------------------------


class Pipe:
    """The client's end of a connection, without the network: its session sends and receives as over a websocket."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire

    async def send(self, message: str) -> None:
        self.wire.client(message)

    async def recv(self, decode: bool | None = None) -> bytes:
        assert self.wire.sent, "the client waits for a message that does not come"
        return self.wire.sent.popleft()

    async def close(self) -> None:
        pass


@contextlib.asynccontextmanager
async def connected(
    monkeypatch: pytest.MonkeyPatch, config: Any, welcome: Welcome = WELCOME
) -> AsyncIterator[tuple[Any, Wire]]:
    wire = Wire(welcome)

    @contextlib.asynccontextmanager
    async def connect(uri: str, **_: Any) -> AsyncIterator[Pipe]:
        yield Pipe(wire)

    monkeypatch.setattr(live, "ws_connect", connect)
    client = genai.Client(api_key="key", http_options={"base_url": "http://127.0.0.1:9"})
    async with client.aio.live.connect(model="anything", config=config) as session:
        yield session, wire


CONFIG: dict[str, Any] = {
    "response_modalities": ["AUDIO"],
    "system_instruction": "Be brief.",
    "temperature": 0.5,
    "media_resolution": "MEDIA_RESOLUTION_LOW",
    "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "Kore"}}, "language_code": "de-DE"},
    "tools": [
        {
            "function_declarations": [
                {"name": "lamp", "description": "A lamp.", "behavior": "NON_BLOCKING", "parameters": SCHEMA},
                {"name": "door", "parameters_json_schema": PLAIN},
                {"name": "bare"},
            ]
        },
        {"google_search": {}},
    ],
    "realtime_input_config": {
        "automatic_activity_detection": {
            "silence_duration_ms": 300,
            "prefix_padding_ms": 20,
            "start_of_speech_sensitivity": "START_SENSITIVITY_LOW",
        },
        "activity_handling": "NO_INTERRUPTION",
        "turn_coverage": "TURN_INCLUDES_ALL_INPUT",
    },
    "input_audio_transcription": {},
    "output_audio_transcription": {},
    "session_resumption": {"handle": "before"},
    "context_window_compression": {"trigger_tokens": 100, "sliding_window": {"target_tokens": 50}},
    "proactivity": {"proactive_audio": True},
}
TOOLS = (
    {"name": "lamp", "description": "A lamp.", "parameters": PLAIN},
    {"name": "door", "description": "", "parameters": PLAIN},
    {"name": "bare", "description": "", "parameters": {"type": "object", "properties": {}}},
)


async def test_the_setup_that_the_client_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, CONFIG) as (session, wire):
        assert session.session_id == "sess_1"
        agent, turns, voice = wire.asked
        assert isinstance(agent, AgentChanged) and agent.instructions == "Be brief."
        assert sorted(agent.tools or (), key=str) == sorted(TOOLS, key=str)
        assert turns == TurnsSet(1, "open", True, False, 300, 300, 0.7)
        assert voice == VoiceSet(1, True)
        update = await session._receive()
        assert update.session_resumption_update.new_handle == "handle-1"
        assert update.session_resumption_update.resumable is True


async def test_a_setup_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, None) as (session, wire):
        assert wire.asked == [AgentChanged(1), TurnsSet(1), VoiceSet(1, True)]
        assert session.session_id == "sess_1" and not wire.sent


async def test_everything_that_the_client_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, {"response_modalities": ["TEXT"], "tools": CONFIG["tools"]}) as (session, wire):
        assert VoiceSet(1, False) in wire.asked

        async def asked(sending: Any) -> list[Any]:
            wire.asked.clear()
            await sending
            assert wire.codec.closing is None
            return plain(wire.asked)

        sound = types.Blob(data=PCM.tobytes(), mime_type="audio/pcm;rate=24000")
        picture = types.Blob(data=JPEG, mime_type="image/jpeg")
        frame = ("Picture", JPEG, "image/jpeg", True)
        assert await asked(session.send_realtime_input(audio=sound)) == [("Sound", 24000, PCM.tolist())]
        assert await asked(session.send_realtime_input(video=picture)) == [frame]
        assert await asked(session.send_realtime_input(media=picture)) == [frame]
        assert await asked(session.send_realtime_input(text="hi")) == [TextTyped(wire.t_ns, "hi")]
        assert await asked(session.send_realtime_input(audio_stream_end=True)) == [TalkReleased(wire.t_ns)]
        turns = [
            types.Content(role="user", parts=[types.Part(text="look"), types.Part(inline_data=picture)]),
            types.Content(role="model", parts=[types.Part(text="yes"), types.Part(text="it is")]),
        ]
        assert await asked(session.send_client_content(turns=turns, turn_complete=True)) == [
            MessageAdded(wire.t_ns, "user", "look"),
            ("Picture", JPEG, "image/jpeg", False),
            MessageAdded(wire.t_ns, "assistant", "yes\nit is"),
            AnswerAsked(wire.t_ns, "resp_1"),
        ]
        assert await asked(session.send_client_content(turns={"parts": [{"text": "x"}]}, turn_complete=False)) == [
            MessageAdded(wire.t_ns, "user", "x")
        ]
        wire.tell(ToolCalled(0, "call_1", "lamp", {"on_off": "on"}))
        response = types.FunctionResponse(id="call_1", name="lamp", response={"output": {"some_key": 1}})
        assert await asked(session.send_tool_response(function_responses=response)) == [
            ToolReturned(wire.t_ns, "call_1", {"some_key": 1})
        ]
        assert await asked(session.send_context_update(system_instruction="New.", tools=[])) == [
            AgentChanged(wire.t_ns, "New.", ())
        ]
        with pytest.warns(DeprecationWarning):
            assert await asked(session.send(input="old", end_of_turn=True)) == [
                MessageAdded(wire.t_ns, "user", "old"),
                AnswerAsked(wire.t_ns, "resp_2"),
            ]
        with pytest.warns(DeprecationWarning):
            old = {"data": PCM.tobytes(), "mime_type": "audio/pcm"}
            assert await asked(session.send(input=old)) == [("Sound", 16000, PCM.tolist())]


async def test_activity_by_hand_as_the_client_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"realtime_input_config": {"automatic_activity_detection": {"disabled": True}}}
    async with connected(monkeypatch, config) as (session, wire):
        assert TurnsSet(1, "push_to_talk") in wire.asked
        await session.send_realtime_input(activity_start={})
        await session.send_realtime_input(activity_end=types.ActivityEnd())
        assert [type(each).__name__ for each in wire.asked[-2:]] == ["TalkPressed", "TalkReleased"]


async def test_a_spoken_conversation_as_the_client_hears_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question by voice, a call, a picture, an answer that is interrupted, and one that is not."""
    config = {**CONFIG, "session_resumption": None}
    async with connected(monkeypatch, config) as (session, wire):
        wire.tell(
            SpeechStarted(0),
            WordsHeard(0, ("switch",), "ear"),
            WordsHeard(0, ("switch", "the", "lamp"), "ear", final=True),
            TurnEnded(0, 0),
            CacheChanged(0, 40, 100),
            AnswerStarted(0),
            ToolCalled(0, "call_1", "lamp", {"on_off": "on"}),
        )
        heard = await session._receive()
        assert (heard.server_content.input_transcription.text, heard.server_content.turn_complete) == (
            "switch the lamp",
            None,
        )
        called = (await session._receive()).tool_call.function_calls
        assert [(call.id, call.name, call.args) for call in called] == [("call_1", "lamp", {"on_off": "on"})]
        await session.send_realtime_input(video=types.Blob(data=JPEG, mime_type="image/jpeg"))
        response = types.FunctionResponse(id="call_1", name="lamp", response={"result": "on"})
        await session.send_tool_response(function_responses=response)
        assert wire.asked[-1] == ToolReturned(wire.t_ns, "call_1", "on")
        sound = tone(9_000)
        wire.tell(
            ToolReturned(0, "call_1", "on"),
            AnswerStarted(0, "result"),
            ReplyStarted(0, 1),
            say(1, "It is on."),
            Spoken(1, 0, sound[:4_000]),
            Spoken(1, 4_000, sound[4_000:], final=True),
            ReplyEnded(0, 1),
        )
        turn = [message async for message in session.receive()]
        assert not wire.sent, "one turn, of the call and of what was said of it"
        whole = Resampler(16_000, 24_000)
        wanted = np.rint(np.concatenate([whole.feed(sound), whole.flush()]) * 32767)
        data = b"".join(message.data for message in turn if message.data)
        np.testing.assert_array_equal(np.frombuffer(data, "<i2"), wanted.astype("<i2"))
        assert turn[0].server_content.output_transcription.text == "It is on."
        assert turn[-2].server_content.generation_complete and turn[-1].server_content.turn_complete
        assert turn[-1].usage_metadata.prompt_token_count == 40
        assert turn[-1].usage_metadata.response_token_count == 3
        assert turn[-1].usage_metadata.total_token_count == 43

        wire.tell(AnswerStarted(0), ReplyStarted(0, 2), say(2, "And then"), Spoken(2, 0, tone(16_000)))
        wire.tell(SpeechStarted(0), Ducked(0, 2), Resumed(0, 2), SpeechStarted(0))  # a cough, and then a voice
        wire.tell(StopPlayback(2), Spoken(2, 16_000, tone(800)), Interrupted(0, 2, ("And",), ()))
        wire.tell(ReplyEnded(0, 2, False), Spoken(2, 16_800, tone(800), final=True))
        turn = [message async for message in session.receive()]
        assert turn[-2].server_content.interrupted and turn[-1].server_content.turn_complete
        assert not any(message.server_content.generation_complete for message in turn)
        assert sum(len(message.data or b"") for message in turn) < 2 * 24_000
        assert not wire.sent


async def test_a_written_conversation_as_the_client_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, {"response_modalities": ["TEXT"]}) as (session, wire):
        for number, text in enumerate(("hello", "who are you"), 1):
            await session.send_client_content(turns={"role": "user", "parts": [{"text": text}]})
            asked = wire.asked[-1]
            assert isinstance(asked, AnswerAsked)
            wire.tell(AnswerStarted(0, "asked", asked.ref), ReplyStarted(0, number))
            wire.tell(say(number, "I hear.", final=False), say(number, f"You said {text}"), ReplyEnded(0, number))
            turn = [message async for message in session.receive()]
            assert "".join(message.text or "" for message in turn) == f"I hear. You said {text}"
            assert not any(message.data for message in turn) and not wire.sent


async def test_going_away_and_coming_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, CONFIG) as (session, wire):
        wire.sent.clear()
        wire.tell(Resumable("handle-2"), Resumable(""), GoingAway(9_500), GoingAway(10_000))
        updates = [(await session._receive()).session_resumption_update for _ in range(2)]
        assert [(each.resumable, each.new_handle) for each in updates] == [(True, "handle-2"), (False, None)]
        assert [(await session._receive()).go_away.time_left for _ in range(2)] == ["9.5s", "10s"]
    again = Welcome("sess_1", "nano", handle="handle-3", resumed_ago_ms=900)
    async with connected(monkeypatch, CONFIG, again) as (session, wire):
        # What it was asked before it lost the connection, it may answer now.
        response = types.FunctionResponse(id="call_7", name="lamp", response={"output": 1})
        await session.send_tool_response(function_responses=response)
        assert wire.asked[-1] == ToolReturned(wire.t_ns, "call_7", 1)
        # A reply that began then goes on, and its turn ends.
        wire.sent.clear()
        wire.tell(Spoken(5, 8_000, tone(1_600), final=True), ReplyEnded(0, 5))
        assert [message async for message in session.receive()][-1].server_content.turn_complete


async def test_a_cancelled_call_as_the_client_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, {**CONFIG, "session_resumption": None}) as (session, wire):
        wire.tell(AnswerStarted(0), ToolCalled(0, "call_1", "lamp"), CancelCall("call_1"))
        turn = [message async for message in session.receive()]
        assert turn[0].tool_call.function_calls[0].id == "call_1"
        assert turn[1].tool_call_cancellation.ids == ["call_1"]
        await session.send_tool_response(function_responses=types.FunctionResponse(id="call_1", response={}))
        assert wire.codec.closing is None and not isinstance(wire.asked[-1], ToolReturned)


async def test_content_interrupts_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async with connected(monkeypatch, None) as (session, wire):
        wire.tell(AnswerStarted(0), ReplyStarted(0, 1), Spoken(1, 0, tone(1_600)))
        await session.send_client_content(turns={"parts": [{"text": "no, wait"}]})
        assert [type(each) for each in wire.asked[-3:]] == [AnswerStopped, MessageAdded, AnswerAsked]


# ---- the other official client ---------------------------------------------------------------------------------------

# As npm's @google/genai 2.32 sends it.
JS_SETUP = """{"setup":{"model":"models/gemini-live","generationConfig":{"responseModalities":["AUDIO"],
"temperature":0.5,"speechConfig":{"voiceConfig":{"prebuiltVoiceConfig":{"voiceName":"Kore"}}}},"systemInstruction":
{"parts":[{"text":"Be brief."}],"role":"user"},"tools":[{"functionDeclarations":[{"name":"lamp","description":"x",
"parameters":{"type":"OBJECT","properties":{"on_off":{"type":"STRING","enum":["on","off"],"nullable":true},"l":
{"type":"ARRAY","items":{"type":"STRING"},"minItems":"2"}},"required":["on_off"]}},{"name":"js","parametersJsonSchema":
{"type":"object","properties":{"snake_case":{"type":"string"}}}}]},{"googleSearch":{}}],"sessionResumption":
{"handle":"h"},"inputAudioTranscription":{},"outputAudioTranscription":{},"realtimeInputConfig":
{"automaticActivityDetection":{"disabled":false,"silenceDurationMs":300,"prefixPaddingMs":20},"activityHandling":
"NO_INTERRUPTION"},"contextWindowCompression":{"triggerTokens":"100","slidingWindow":{"targetTokens":"50"}}}}"""
JS_MESSAGES: list[tuple[str, list[Any]]] = [
    (
        '{"realtimeInput":{"audio":{"data":"+/8=","mimeType":"audio/pcm;rate=16000"}}}',
        [("Sound", 16000, [-5])],
    ),
    (
        '{"realtimeInput":{"video":{"data":"/9j/","mimeType":"image/jpeg"}}}',
        [("Picture", b"\xff\xd8\xff", "image/jpeg", True)],
    ),
    (
        '{"realtimeInput":{"mediaChunks":[{"data":"/9j/","mimeType":"image/jpeg"}]}}',
        [("Picture", b"\xff\xd8\xff", "image/jpeg", True)],
    ),
    ('{"realtimeInput":{"text":"hi"}}', [TextTyped(0, "hi")]),
    ('{"realtimeInput":{"audioStreamEnd":true}}', [TalkReleased(0)]),
    (
        '{"clientContent":{"turns":[{"parts":[{"text":"hello"}],"role":"user"}],"turnComplete":true}}',
        [MessageAdded(0, "user", "hello"), AnswerAsked(0, "resp_1")],
    ),
    (
        '{"clientContent":{"turns":[{"parts":[{"text":"a"},{"inlineData":{"data":"/9j/","mimeType":"image/jpeg"}}],'
        '"role":"user"},{"parts":[{"text":"b"}],"role":"model"}],"turnComplete":false}}',
        [
            MessageAdded(0, "user", "a"),
            ("Picture", b"\xff\xd8\xff", "image/jpeg", False),
            MessageAdded(0, "assistant", "b"),
        ],
    ),
    (
        '{"toolResponse":{"functionResponses":[{"id":"1","name":"lamp","response":{"output":{"some_key":1}},'
        '"scheduling":"SILENT"}]}}',
        [ToolReturned(0, "1", {"some_key": 1}, False)],
    ),
]


def timeless(asked: Any) -> Any:
    return asked if isinstance(asked, tuple) else replace(asked, t_ns=0)


def test_what_the_client_in_javascript_sends() -> None:
    wire = Wire()
    agent, turns, voice = wire.client(JS_SETUP)
    assert [tool["name"] for tool in agent.tools] == ["lamp", "js"]
    lamp, js = (tool["parameters"] for tool in agent.tools)
    assert lamp["properties"] == {
        "on_off": {"type": ["string", "null"], "enum": ["on", "off", None]},
        "l": {"type": "array", "items": {"type": "string"}, "minItems": 2},
    }
    assert js == {"type": "object", "properties": {"snake_case": {"type": "string"}}}
    assert (turns.interrupts, turns.max_silence_ms, voice.on) == (False, 300, True)
    assert kinds(wire.said()) == ["setupComplete", "sessionResumptionUpdate"]
    wire.tell(ToolCalled(0, "1", "lamp"))
    for message, wanted in JS_MESSAGES:
        assert [timeless(each) for each in wire.client(message)] == wanted, message
    assert wire.codec.closing is None


def test_it_is_a_codec() -> None:
    codec: Codec = GeminiCodec(WELCOME, some_ids())
    assert codec.closing is None and codec.take() == []
