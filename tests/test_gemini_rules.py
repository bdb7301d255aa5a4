"""Gemini Live's rules: setup, spelling, media, calls, and how turns begin and end."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.action import CancelCall, Duck, Freeze, Resume, StopPlayback
from liveagent.event import (
    AgentChanged,
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    CacheChanged,
    Interrupted,
    MessageAdded,
    Noted,
    ReplyEnded,
    ReplyStarted,
    Resumed,
    SessionEnded,
    SpeechEnded,
    SpeechStarted,
    StopHeard,
    TalkPressed,
    TalkReleased,
    TextTyped,
    ToolCalled,
    ToolFailed,
    ToolReturned,
    TurnEnded,
    TurnsSet,
    VoiceFailed,
    VoiceSet,
    WordsHeard,
)
from liveagent.wire.codec import GoingAway, Memory, Patches, Problem, Resumable, Spoken, Welcome
from liveagent.wire.gemini import FATAL, wanted_handle
from liveagent.wire.gemini_read import snake
from tests.test_gemini import (
    JPEG,
    JS_MESSAGES,
    JS_SETUP,
    PCM,
    PLAIN,
    SCHEMA,
    Wire,
    kinds,
    pcm,
    read,
    say,
    set_up,
    tone,
    tools,
)

DOOR: dict[str, Any] = {"name": "door", "description": "", "parameters": PLAIN}
DONE = ["generationComplete", "turnComplete"]
CUT = ["interrupted", "turnComplete"]
TEXT: dict[str, Any] = {"generationConfig": {"responseModalities": ["TEXT"]}}
WORDS: dict[str, Any] = {"inputAudioTranscription": {}, "outputAudioTranscription": {}}


# ---- setup -----------------------------------------------------------------------------------------------------------


def test_setup_is_complete_first_of_all() -> None:
    wire = Wire()
    wire.tell(AnswerStarted(0), ReplyStarted(0, 1), Spoken(1, 0, tone(800)), ToolCalled(0, "c", "lamp"), GoingAway(5))
    wire.tell(WordsHeard(0, ("hi",), "ear", True), Resumable("newer"))
    assert wire.said() == []
    wire.client({"setup": {"sessionResumption": {}}})
    assert wire.said() == [
        {"setupComplete": {"sessionId": "sess_1"}},
        {"sessionResumptionUpdate": {"resumable": True, "newHandle": "newer"}},
    ]


def test_no_handle_where_none_is_asked_for_or_there_is_none() -> None:
    wire = set_up()
    wire.tell(Resumable("newer"))
    assert wire.said() == []
    wire = Wire(Welcome("s", "nano"))
    wire.client({"setup": {"sessionResumption": {}}})
    assert wire.said()[1] == {"sessionResumptionUpdate": {"resumable": False}}


@pytest.mark.parametrize(
    ("setup", "turns"),
    [
        ({}, TurnsSet(1)),
        ({"automaticActivityDetection": {}}, TurnsSet(1)),
        ({"automaticActivityDetection": {"disabled": True}}, TurnsSet(1, "push_to_talk")),
        ({"activityHandling": "NO_INTERRUPTION"}, TurnsSet(1, interrupts=False)),
        ({"activityHandling": "START_OF_ACTIVITY_INTERRUPTS"}, TurnsSet(1)),
        (
            {"automaticActivityDetection": {"silenceDurationMs": "800"}},
            TurnsSet(1, min_silence_ms=800, max_silence_ms=800),
        ),
        ({"automaticActivityDetection": {"silenceDurationMs": 0}}, TurnsSet(1, min_silence_ms=32, max_silence_ms=32)),
        (
            {"automaticActivityDetection": {"endOfSpeechSensitivity": "END_SENSITIVITY_LOW"}},
            TurnsSet(1, min_silence_ms=500, max_silence_ms=2000),
        ),
        (
            {"automaticActivityDetection": {"startOfSpeechSensitivity": "START_SENSITIVITY_LOW"}},
            TurnsSet(1, start_speech=0.7),
        ),
    ],
)
def test_how_turns_are_taken(setup: dict[str, Any], turns: TurnsSet) -> None:
    assert turns in Wire().client({"setup": {"realtimeInputConfig": setup}})


@pytest.mark.parametrize(("modalities", "on"), [(["AUDIO"], True), (["text"], False), (["TEXT", "AUDIO"], True)])
def test_speech_or_text(modalities: list[str], on: bool) -> None:
    assert VoiceSet(1, on) in Wire().client({"setup": {"generationConfig": {"responseModalities": modalities}}})


def test_where_there_is_no_voice_replies_are_written() -> None:
    wire = Wire(Welcome("s", "nano", voice=None))
    assert VoiceSet(1, False) in wire.client({"setup": {"generationConfig": {"responseModalities": ["AUDIO"]}}})
    wire.said()
    wire.tell(say(1, "hello"), ReplyEnded(0, 1))
    assert kinds(wire.said()) == ["modelTurn", *DONE]


def test_the_handle_can_be_read_before_there_is_a_codec() -> None:
    assert wanted_handle(JS_SETUP) == "h"
    assert wanted_handle(b'{"setup":{"session_resumption":{"handle":"old"}}}') == "old"
    broken = (b"\xff", "[", "{}", '{"setup":1}', '{"setup":{"sessionResumption":{"handle":7}}}', b"[" * 100_000)
    assert [wanted_handle(each) for each in broken] == [""] * 6


def test_a_schema_becomes_plain_json_schema() -> None:
    schema = {
        "type": "OBJECT", "title": "T", "property_ordering": ["a"], "required": ["a"], "nullable": True,
        "minProperties": "1", "additional_properties": False,
        "properties": {
            "min_items": {"type": "ARRAY", "min_items": 3, "maxItems": "4", "items": {"type": "INTEGER"}},
            "type": {"type": "STRING", "format": "enum", "enum": ["x"], "example": "x"},
            "when": {"type": "STRING", "format": "date-time"},
            "any": {"any_of": [{"type": "STRING"}, {"type": "NULL"}], "nullable": True},
            "ref": {"ref": "#/defs/Pet"},
            "unspecified": {"type": "TYPE_UNSPECIFIED", "description": "d"},
            "lower": {"type": "number", "minimum": 0.5, "const": 3},
        },
        "defs": {"Pet": {"type": "BOOLEAN"}},
    }  # fmt: skip
    tool = {"functionDeclarations": [{"name": "f", "parameters": schema}]}
    (changed, *_) = Wire().client({"setup": {"tools": [tool]}})
    assert changed.tools[0]["parameters"] == {
        "type": ["object", "null"], "title": "T", "required": ["a"], "minProperties": 1,
        "additionalProperties": False,
        "properties": {
            "min_items": {"type": "array", "minItems": 3, "maxItems": 4, "items": {"type": "integer"}},
            "type": {"type": "string", "enum": ["x"], "examples": ["x"]},
            "when": {"type": "string", "format": "date-time"},
            "any": {"anyOf": [{"type": "string"}, {"type": "null"}, {"type": "null"}]},
            "ref": {"$ref": "#/$defs/Pet"},
            "unspecified": {"description": "d"},
            "lower": {"type": "number", "minimum": 0.5, "const": 3},
        },
        "$defs": {"Pet": {"type": "boolean"}},
    }  # fmt: skip


# ---- spelling --------------------------------------------------------------------------------------------------------

USERS = {"args", "response", "properties", "parametersJsonSchema"}  # what stands in these a user has named
SPELLED: list[Any] = [
    json.loads(JS_SETUP),
    *(json.loads(message) for message, _ in JS_MESSAGES[:-1]),
    {"toolResponse": {"functionResponses": [{"id": "1", "willContinue": True, "response": {"someKey": {"aB": 1}}}]}},
    {"toolResponse": {"functionResponses": [{"id": "1", "name": "lamp", "response": {"someKey": {"aB": 1}}}]}},
    {"contextUpdate": {"systemInstruction": {"parts": [{"text": "x"}]}, "tools": {"tools": tools("lamp")}}},
]


def respell(value: Any, coin: Any) -> Any:
    if isinstance(value, list):
        return [respell(each, coin) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        (snake(key) if coin() else key): inner if key in USERS else respell(inner, coin) for key, inner in value.items()
    }


@given(st.data())
def test_every_field_may_be_spelled_either_way(data: st.DataObject) -> None:
    straight, other = Wire(), Wire()
    for message in SPELLED:
        for wire in (straight, other):
            wire.tell(ToolCalled(0, "1", "lamp"))
        spelled = respell(message, lambda: data.draw(st.booleans()))
        assert other.client(spelled) == straight.client(message)
        assert other.codec.closing is None and straight.codec.closing is None
    assert other.sent == straight.sent


def test_snake_case_in_full() -> None:
    wire = Wire()
    wire.client(respell(json.loads(JS_SETUP), lambda: True))
    assert wire.client({"realtime_input": {"media_chunks": [{"data": "_9j_", "mime_type": "image/png"}]}}) == [
        ("Picture", b"\xff\xd8\xff", "image/png", True)
    ]


def test_text_and_binary_are_the_same() -> None:
    assert Wire().client(JS_SETUP) == Wire().client(JS_SETUP.encode())


# ---- media -----------------------------------------------------------------------------------------------------------


@given(st.binary(min_size=2, max_size=64).map(lambda data: data[: len(data) // 2 * 2]), st.booleans(), st.booleans())
def test_both_alphabets_of_base64_padded_or_not(data: bytes, url_safe: bool, padded: bool) -> None:
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    asked = set_up().client({"realtimeInput": {"audio": {"data": text if padded else text.rstrip("="),
                                                         "mimeType": "audio/pcm;rate=16000"}}})  # fmt: skip
    assert asked == [("Sound", 16_000, np.frombuffer(data, "<i2").tolist())]


@pytest.mark.parametrize(
    ("mime", "rate_hz"),
    [
        ("audio/pcm", 16_000),
        ("audio/pcm;rate=8000", 8_000),
        ("audio/PCM; rate=48000", 48_000),
        ("audio/pcm;channels=1;rate=24000", 24_000),
    ],
)
def test_the_rate_stands_in_the_media_type(mime: str, rate_hz: int) -> None:
    data = base64.b64encode(PCM.tobytes()).decode()
    assert set_up().client({"realtimeInput": {"audio": {"data": data, "mimeType": mime}}}) == [
        ("Sound", rate_hz, PCM.tolist())
    ]


def test_a_whole_clip_in_one_message_comes_in_pieces() -> None:
    clip = np.arange(40_000, dtype="<i2")
    blob = {"data": base64.b64encode(clip.tobytes()).decode(), "mimeType": "audio/pcm;rate=16000"}
    asked = set_up().client({"realtimeInput": {"audio": blob}})
    assert [len(samples) for _, _, samples in asked] == [16_000, 16_000, 8_000]
    assert np.array_equal(np.concatenate([samples for _, _, samples in asked]), clip)


def test_several_things_in_one_message_in_their_order() -> None:
    wire = set_up(realtimeInputConfig={"automaticActivityDetection": {"disabled": True}})
    blob = {"data": base64.b64encode(JPEG).decode(), "mimeType": "image/jpeg"}
    asked = wire.client({"realtimeInput": {"activityEnd": {}, "video": blob, "text": "x", "activityStart": {}}})
    assert [type(each).__name__ for each in asked] == ["TalkPressed", "tuple", "TextTyped", "TalkReleased"]


# ---- what is asked ---------------------------------------------------------------------------------------------------


def content(text: str | None = None, complete: bool | None = None) -> dict[str, Any]:
    turns = {} if text is None else {"turns": [{"role": "user", "parts": [{"text": text}]}]}
    return {"clientContent": turns if complete is None else {**turns, "turnComplete": complete}}


NUDGE = {"realtimeInput": {"text": " "}}


def names(asked: list[Any]) -> list[str]:
    return [type(each).__name__ for each in asked]


def test_a_nudge_is_answered_only_if_nobody_asked() -> None:
    wire = set_up()
    assert names(wire.client(content("hi", True))) == ["MessageAdded", "AnswerAsked"]
    assert wire.client(NUDGE) == []
    assert names(wire.client(content("hi", False))) == ["MessageAdded"]
    assert names(wire.client(NUDGE)) == ["AnswerAsked"]
    assert wire.client(NUDGE) == []
    wire.client(content("hi"))
    wire.tell(AnswerStarted(0))  # to something said aloud
    assert wire.client(NUDGE) == []


def test_history_is_no_question() -> None:
    wire = set_up(historyConfig={"initialHistoryInClientContent": True})
    assert names(wire.client(content("before", True))) == ["MessageAdded"]
    assert names(wire.client(NUDGE)) == ["AnswerAsked"]
    assert names(wire.client(content("now", True))) == ["MessageAdded", "AnswerAsked"]


def test_the_end_of_a_turn_alone() -> None:
    wire = set_up()
    assert names(wire.client(content(complete=True))) == ["AnswerAsked"]  # somebody wants to be greeted
    wire.tell(AnswerStarted(0))
    assert wire.client(content(complete=True)) == []  # it is being answered
    wire.tell(ReplyStarted(0, 1), ReplyEnded(0, 1), SpeechStarted(0))
    assert wire.client(content(complete=True)) == [TalkReleased(wire.t_ns)]  # so what is being said ends here
    wire.tell(TurnEnded(0, 0), AnswerStarted(0))
    assert wire.client(content(complete=True)) == []


def test_blank_contents_add_nothing() -> None:
    wire = set_up()
    assert wire.client(content("  ")) == [] and wire.client(content()) == []
    assert wire.client({"realtimeInput": {}}) == [] and wire.client({"realtimeInput": {"text": ""}}) == []


def test_calls_and_results_of_a_history_are_known() -> None:
    parts = [
        {"text": "think", "thought": True},
        {"functionCall": {"name": "lamp", "args": {"on_off": "on"}}},
        {"function_response": {"name": "lamp", "response": {"someKey": 1}}},
        {"text": "done"},
    ]
    asked = set_up().client({"clientContent": {"turns": [{"role": "model", "parts": parts}]}})
    assert asked == [
        MessageAdded(2, "system", 'called lamp with {"on_off": "on"}'),
        MessageAdded(2, "system", 'lamp returned {"someKey": 1}'),
        MessageAdded(2, "assistant", "done"),
    ]


def test_a_key_pressed_twice_is_pressed_once() -> None:
    wire = set_up(realtimeInputConfig={"automaticActivityDetection": {"disabled": True}})
    start: dict[str, Any] = {"realtimeInput": {"activityStart": {}}}
    end: dict[str, Any] = {"realtimeInput": {"activityEnd": {}}}
    assert wire.client(end) == []
    assert wire.client(start) == [TalkPressed(3)] and wire.client(start) == []
    assert wire.client({"realtimeInput": {"audioStreamEnd": True}}) == []
    assert wire.client(end) == [TalkReleased(6)] and wire.client(end) == []


# ---- calls -----------------------------------------------------------------------------------------------------------


def respond(*ids: str, **fields: Any) -> dict[str, Any]:
    body = {"response": {"output": 1}, **fields}
    return {"toolResponse": {"functionResponses": [{"id": call_id, "name": "lamp", **body} for call_id in ids]}}


def test_the_last_of_several_results_is_spoken_of() -> None:
    wire = set_up(tools=tools("lamp", "door"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "a", "lamp"), ToolCalled(0, "b", "lamp"), ToolCalled(0, "c", "door"))
    assert [each.answer for each in wire.client(respond("b", "a"))] == [False, False]
    assert [each.answer for each in wire.client(respond("c"))] == [True]
    assert kinds(wire.said()) == ["toolCall"], "the turn waits for what is said of them"
    wire.tell(AnswerStarted(0, "result"), ReplyStarted(0, 1), ReplyEnded(0, 1))
    assert kinds(wire.said()) == DONE


def test_calls_of_another_answer_are_not_waited_for() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "a", "lamp"), AnswerStarted(0), ToolCalled(0, "b", "lamp"))
    assert kinds(wire.said()) == ["toolCall", *DONE, "toolCall"]
    assert [each.answer for each in wire.client(respond("b"))] == [True]
    assert [each.answer for each in wire.client(respond("a"))] == [True]


def test_a_silent_result_is_not_spoken_of_and_ends_the_turn() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "a", "lamp"), ToolCalled(0, "b", "lamp"))
    assert [each.answer for each in wire.client(respond("a", scheduling="SILENT"))] == [False]
    assert kinds(wire.said()) == ["toolCall"]
    assert [each.answer for each in wire.client(respond("b", scheduling="SILENT"))] == [False]
    assert kinds(wire.said()) == DONE


def test_a_silent_result_that_comes_last_lets_the_other_be_spoken_of() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "a", "lamp"), ToolCalled(0, "b", "lamp"))
    assert [each.answer for each in wire.client(respond("a"))] == [False]
    assert [each.answer for each in wire.client(respond("b", scheduling="SILENT"))] == [True]


def test_a_result_may_interrupt() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(ToolCalled(0, "a", "lamp"), AnswerStarted(0), ReplyStarted(0, 1))
    assert wire.client(respond("a", scheduling="INTERRUPT")) == [
        AnswerStopped(2 + 3, "tool_result"),
        ToolReturned(2 + 3, "a", 1),
    ]


@pytest.mark.parametrize(
    ("response", "wanted"),
    [
        ({"output": {"x": 1}}, ToolReturned(0, "a", {"x": 1})),
        ({"result": "on"}, ToolReturned(0, "a", "on")),
        ({"result": "on", "other": 1}, ToolReturned(0, "a", {"result": "on", "other": 1})),
        ({"on_off": 1}, ToolReturned(0, "a", {"on_off": 1})),
        ({}, ToolReturned(0, "a", {})),
        (None, ToolReturned(0, "a", {})),
        ({"error": None, "output": 2}, ToolReturned(0, "a", 2)),
        ({"error": "broken"}, ToolFailed(0, "a", "error", "broken")),
        ({"error": {"code": 3}}, ToolFailed(0, "a", "error", '{"code": 3}')),
    ],
)
def test_what_a_response_holds(response: Any, wanted: ToolReturned | ToolFailed) -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(ToolCalled(0, "a", "lamp"))
    (asked,) = wire.client(respond("a", response=response))
    assert type(asked) is type(wanted)
    assert {**vars_of(asked), "t_ns": 0} == vars_of(wanted)


def vars_of(event: Any) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__dataclass_fields__}


def test_a_second_response_does_nothing_and_an_unknown_one_closes() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(ToolCalled(0, "a", "lamp"))
    assert len(wire.client(respond("a"))) == 1
    assert wire.client(respond("a")) == [] and wire.codec.closing is None
    assert wire.client(respond("z")) == []
    assert wire.codec.closing == (1007, 'no call has the id "z"')


def test_a_response_without_an_id_is_that_of_the_oldest_call() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(ToolCalled(0, "a", "lamp"), ToolCalled(0, "b", "lamp"))
    body = {"toolResponse": {"functionResponses": [{"name": "lamp", "response": {}}]}}
    assert [wire.client(body)[0].call_id for _ in range(2)] == ["a", "b"]
    assert wire.client(body) == [] and wire.codec.closing is not None


def test_a_call_that_goes_on_answering() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(ToolCalled(0, "a", "lamp"))
    (more,) = wire.client(respond("a", willContinue=True))
    assert more == MessageAdded(wire.t_ns, "system", "lamp so far: 1")
    assert wire.client(respond("a", willContinue=False)) == [ToolReturned(wire.t_ns, "a", 1)]


def test_a_picture_in_a_result_is_seen_before_it() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(ToolCalled(0, "a", "lamp"))
    parts = [{"inlineData": {"data": base64.b64encode(JPEG).decode(), "mimeType": "image/jpeg"}}]
    assert wire.client(respond("a", parts=parts)) == [
        ("Picture", JPEG, "image/jpeg", False),
        ToolReturned(wire.t_ns, "a", 1),
    ]


def test_calls_of_the_agents_own_tools_are_not_shown() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "own", "robot"), ToolReturned(0, "own", 1), AnswerStarted(0, "result"))
    wire.tell(ReplyStarted(0, 1), Spoken(1, 0, tone(800), True), ReplyEnded(0, 1))
    assert kinds(wire.said()) == ["modelTurn", *DONE]
    wire.tell(AnswerStarted(0), ToolCalled(0, "own2", "robot"), ToolReturned(0, "own2", 1, answer=False))
    assert kinds(wire.said()) == DONE, "nothing will be said, so nobody waits"


def test_a_call_that_nobody_waits_for_any_more() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "a", "lamp", {"on_off": "on"}), ToolFailed(0, "a", "deadline"))
    assert wire.said() == [
        {"toolCall": {"functionCalls": [{"id": "a", "name": "lamp", "args": {"on_off": "on"}}]}},
        {"toolCallCancellation": {"ids": ["a"]}},
    ]
    wire.tell(AnswerStarted(0, "result"), ReplyStarted(0, 1), ReplyEnded(0, 1))
    assert kinds(wire.said()) == DONE
    assert wire.client(respond("a")) == [] and wire.codec.closing is None
    wire.tell(ToolCalled(0, "b", "lamp"), CancelCall("b"), CancelCall("b"), ToolFailed(0, "b", "cancelled"))
    assert kinds(wire.said()) == ["toolCall", "toolCallCancellation", *DONE]


def test_what_the_client_said_itself_is_not_told_back() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(AnswerStarted(0), ToolCalled(0, "a", "lamp"))
    wire.said()
    for asked in wire.client(respond("a", response={"error": "no"})):
        wire.tell(asked)
    assert wire.said() == []


def test_tools_that_are_changed_are_called_by_their_new_names() -> None:
    wire = set_up(tools=tools("lamp"))
    assert wire.client({"contextUpdate": {"tools": {"tools": tools("door")}}}) == [AgentChanged(2, None, (DOOR,))]
    wire.tell(ToolCalled(0, "a", "lamp"), ToolCalled(0, "b", "door"))
    assert [message["toolCall"]["functionCalls"][0]["id"] for message in wire.said()] == ["b"]
    wire.client({"contextUpdate": {"systemInstruction": {"parts": [{"text": "x"}]}}})
    wire.tell(ToolCalled(0, "c", "door"))
    assert kinds(wire.said()) == ["toolCall"]


# ---- turns -----------------------------------------------------------------------------------------------------------


def test_generated_and_then_played() -> None:
    wire = set_up(**WORDS)
    wire.tell(CacheChanged(0, 30, 100), AnswerStarted(0), CacheChanged(0, 50, 100), ReplyStarted(0, 1))
    wire.tell(say(1, "One two.", final=False), Spoken(1, 0, tone(3_200)))
    wire.tell(say(1, "Three.", start=2), Spoken(1, 3_200, tone(3_200), final=True))
    said = wire.said()
    assert kinds(said) == ["outputTranscription", "modelTurn", "outputTranscription", "modelTurn", DONE[0]]
    texts = [m["serverContent"]["outputTranscription"] for m in said if "outputTranscription" in m["serverContent"]]
    assert texts == [{"text": "One two."}, {"text": " Three.", "finished": True}]
    wire.tell(ReplyEnded(0, 1))
    assert wire.said() == [
        {
            "serverContent": {"turnComplete": True},
            "usageMetadata": {"promptTokenCount": 30, "responseTokenCount": 3, "totalTokenCount": 33},
        }
    ]


def test_transcripts_only_if_they_are_asked_for() -> None:
    heard = WordsHeard(0, ("hello",), "ear", final=True)
    typed = WordsHeard(0, ("hello",), "typed", final=True)
    wire = set_up()
    wire.tell(heard, say(1, "hi"))
    assert wire.said() == []
    wire = set_up(inputAudioTranscription={})
    wire.tell(WordsHeard(0, ("hel",), "ear"), typed, WordsHeard(0, (), "ear", True), heard, say(1, "hi"))
    assert wire.said() == [{"serverContent": {"inputTranscription": {"text": "hello", "finished": True}}}]
    wire = set_up(outputAudioTranscription={})
    wire.tell(heard, say(1, "hi"))
    assert kinds(wire.said()) == ["outputTranscription"]
    wire = set_up(outputAudioTranscription=None, inputAudioTranscription=None)
    wire.tell(heard, say(1, "hi"))
    assert wire.said() == []


@given(st.lists(st.integers(0, 900), min_size=1, max_size=12))
def test_sound_is_the_same_however_it_is_cut(lengths: list[int]) -> None:
    sound = tone(sum(lengths))
    whole, cut = set_up(), set_up()
    whole.tell(Spoken(1, 0, sound, final=True))
    at = 0
    for number, length in enumerate(lengths, 1):
        cut.tell(Spoken(1, at, sound[at : at + length], final=number == len(lengths)))
        at += length
    expected = pcm(whole.said())
    assert len(expected) == -(-len(sound) * 3 // 2)
    np.testing.assert_array_equal(pcm(cut.said()), expected)


def test_sound_that_is_told_twice_is_sent_once_and_no_sample_is_out_of_range() -> None:
    wire = set_up()
    loud = np.array([np.nan, np.inf, -np.inf, 9.0] * 400, np.float32)
    wire.tell(Spoken(1, 0, loud), Spoken(1, 800, loud, final=True), Spoken(1, 2_400, loud, final=True))
    assert len(pcm(wire.said())) == 2_400 * 3 // 2


def test_long_sound_goes_out_in_small_messages() -> None:
    wire = set_up()
    wire.tell(Spoken(1, 0, tone(16_000 * 30), final=True))
    assert max(map(len, wire.sent)) < 100_000
    assert len(pcm(wire.said())) == 24_000 * 30


@pytest.mark.parametrize("first", [StopPlayback(1), Interrupted(0, 1, (), ()), ReplyEnded(0, 1, False)])
def test_interrupted_at_once_and_only_once(first: Any) -> None:
    wire = set_up(**WORDS)
    wire.tell(AnswerStarted(0), ReplyStarted(0, 1), say(1, "a b", final=False), Spoken(1, 0, tone(800)))
    wire.said()
    wire.tell(first)
    assert kinds(wire.said()) == CUT
    wire.tell(Spoken(1, 800, tone(800), True), say(1, "c"), StopPlayback(1), Interrupted(0, 1, (), ()))
    wire.tell(ReplyEnded(0, 1, False))
    assert wire.said() == []


def test_interrupted_while_it_is_played() -> None:
    wire = set_up()
    wire.tell(AnswerStarted(0), ReplyStarted(0, 1), Spoken(1, 0, tone(800), True), Interrupted(0, 1, (), ()))
    assert kinds(wire.said()) == ["modelTurn", DONE[0], *CUT]


def test_interrupted_before_a_word_of_it_was_made() -> None:
    wire = set_up()
    wire.tell(AnswerStarted(0), Interrupted(0, 1, (), ()), ReplyEnded(0, 1, False), Spoken(1, 0, tone(800)))
    assert kinds(wire.said()) == CUT


def test_a_cough_shows_nothing() -> None:
    wire = set_up(**WORDS)
    wire.tell(AnswerStarted(0), ReplyStarted(0, 1), Spoken(1, 0, tone(800)))
    wire.said()
    wire.tell(SpeechStarted(0), Duck(1), Freeze(1), SpeechEnded(0), Resume(1), Resumed(0, 1, "noise"))
    assert wire.said() == []
    wire.tell(Spoken(1, 800, tone(800), True), ReplyEnded(0, 1))
    assert kinds(wire.said()) == ["modelTurn", *DONE]


def test_words_may_be_told_before_that_the_reply_started() -> None:
    """In one tick actions may be told before events."""
    wire = set_up(**TEXT)
    wire.tell(say(1, "one"), AnswerStarted(0), ReplyStarted(0, 1), ReplyEnded(0, 1))
    assert kinds(wire.said()) == ["modelTurn", *DONE]
    wire.tell(say(2, "two", final=False), AnswerStarted(0), ReplyStarted(0, 2))
    wire.tell(StopPlayback(2), say(3, "three"), Interrupted(0, 2, (), ()), ReplyEnded(0, 2, False))
    wire.tell(AnswerStarted(0), ReplyStarted(0, 3), ReplyEnded(0, 3))
    assert kinds(wire.said()) == ["modelTurn", *CUT, "modelTurn", *DONE]


def test_a_reply_whose_end_nobody_told() -> None:
    wire = set_up()
    wire.tell(ReplyStarted(0, 1), Spoken(1, 0, tone(800), True), ReplyStarted(0, 2))
    assert kinds(wire.said()) == ["modelTurn", *DONE]
    wire.tell(Spoken(2, 0, tone(800)), ReplyStarted(0, 3), ReplyEnded(0, 3))
    assert kinds(wire.said()) == ["modelTurn", *CUT, *DONE]


def test_what_the_voice_could_not_say_is_written() -> None:
    wire = set_up()
    wire.tell(AnswerStarted(0), ReplyStarted(0, 1), say(1, "One.", False), VoiceFailed(0, 1, "gone"), say(1, "Two."))
    wire.tell(ReplyEnded(0, 1))
    said = wire.said()
    assert [m["serverContent"]["modelTurn"]["parts"][0]["text"] for m in said[:2]] == ["One.", " Two."]
    assert kinds(said) == ["modelTurn", *DONE]


def test_an_answer_that_will_not_come_ends_all_the_same() -> None:
    wire = set_up()
    (_, asked) = wire.client(content("hi", True))
    assert isinstance(asked, AnswerAsked)
    wire.tell(Problem("cannot_answer", "no", "another"))
    assert wire.said() == []
    wire.tell(Problem("cannot_answer", "no", asked.ref))
    assert kinds(wire.said()) == DONE
    wire.tell(Problem("cannot_answer", "no", asked.ref))
    assert wire.said() == [] and wire.codec.closing is None


@pytest.mark.parametrize("item", [Noted(0, "empty"), StopHeard(0, "typed")])
def test_a_text_with_nothing_to_answer_is_a_turn_all_the_same(item: Any) -> None:
    wire = set_up()
    wire.client({"realtimeInput": {"text": "!"}})
    wire.tell(item)
    assert kinds(wire.said()) == DONE
    wire.tell(AnswerStarted(0), item)
    assert wire.said() == []


def test_what_was_being_made_when_the_engine_was_lost() -> None:
    wire = set_up()
    wire.tell(Problem("engine_lost", "wait"))
    assert wire.said() == []
    wire.tell(AnswerStarted(0), ReplyStarted(0, 1), Problem("engine_lost", "wait"), ReplyEnded(0, 1, False))
    assert kinds(wire.said()) == CUT
    wire.tell(AnswerStarted(0), ReplyStarted(0, 2), ReplyEnded(0, 2))
    assert kinds(wire.said()) == DONE and wire.codec.closing is None


def test_tools_that_cannot_be_used_close() -> None:
    wire = set_up(tools=tools("lamp"))
    wire.tell(Noted(0, "agent_refused", "lamp: no"))
    assert wire.codec.closing == (1007, "lamp: no") and not wire.codec.misread


def test_only_a_message_after_the_setup_is_misread_by_a_conversation() -> None:
    for wire, misread in ((set_up(), True), (Wire(), False)):
        wire.client("{")
        assert wire.codec.closing is not None and wire.codec.misread == misread


@pytest.mark.parametrize("code", FATAL)
def test_some_problems_close(code: str) -> None:
    wire = set_up()
    wire.tell(Problem(code, "ä" * 300))
    assert wire.codec.closing is not None
    number, reason = wire.codec.closing
    assert number == FATAL[code] and number in (1007, 1008, 1011)
    assert reason.startswith(code) and len(reason.encode()) < 120
    wire.tell(ReplyStarted(0, 1), ReplyEnded(0, 1))
    assert wire.client(content("x", True)) == [] and wire.said() == []


def test_the_end_of_the_session() -> None:
    wire = set_up()
    wire.tell(AnswerStarted(0), SessionEnded(0, "closed"))
    assert kinds(wire.said()) == CUT
    assert wire.codec.closing == (1000, "the session has ended: closed")


def test_a_client_that_does_not_read_is_let_go() -> None:
    wire = set_up()
    second = tone(16_000)
    for number in range(200):
        wire.codec.tell(Spoken(1, number * 16_000, second), 0)
    assert wire.codec.closing is not None and wire.codec.closing[0] == 1008
    assert sum(map(len, wire.codec.take())) < 9 << 20


def test_what_has_no_word_here_is_passed_over() -> None:
    wire = set_up()
    wire.tell(Memory(()), Patches(0, (True,), 1), TextTyped(0, "x"), TurnsSet(0), VoiceSet(0))
    assert wire.said() == []


# ---- what is wrong ---------------------------------------------------------------------------------------------------

BLOB = {"data": "AAA=", "mimeType": "audio/pcm"}
WRONG: list[Any] = [
    b"\xff\xfe", "", "null", "[]", "7", "{", '{"realtimeInput":{"text":"a"}} x', '{"realtimeInput":{"text":"\\ud800"}}',
    '{"realtimeInput":{"text":NaN}}', '{"realtimeInput":{"x":1e999}}', "[" * 100_000, '{"a":' * 100_000,
    '{"realtimeInput":' + "[" * 100_000, b'{"realtimeInput":{"text":"' + b"a" * (15 << 20) + b'"}}',
    '{"realtimeInput":{"text":"a","text":"b"}}', "{}", {"setup": {}}, {"unknown": {}}, {"realtimeInput": None},
    {"realtimeInput": {}, "clientContent": {}}, {"realtimeInput": {}, "realtime_input": {}}, {"realtimeInput": []},
    {"realtimeInput": {"text": 5}}, {"realtimeInput": {"audioStreamEnd": "yes"}},
    {"realtimeInput": {"activityStart": {}}}, {"realtimeInput": {"activityEnd": {}}},
    {"realtimeInput": {"audio": "AAA="}}, {"realtimeInput": {"audio": {"data": "AAA="}}},
    {"realtimeInput": {"audio": {**BLOB, "mime_type": "audio/pcm"}}},
    {"realtimeInput": {"audio": {**BLOB, "data": "A"}}}, {"realtimeInput": {"audio": {**BLOB, "data": "AA A"}}},
    {"realtimeInput": {"audio": {**BLOB, "data": "ä"}}}, {"realtimeInput": {"audio": {**BLOB, "data": "AA=="}}},
    {"realtimeInput": {"audio": {**BLOB, "data": 7}}},
    *({"realtimeInput": {"audio": {**BLOB, "mimeType": mime}}} for mime in (
        "audio/opus", "audio/pcm;rate=", "audio/pcm;rate=-1", "audio/pcm;rate=1", "audio/pcm;rate=9999999999",
        "audio/pcm;rate=16e3", "audio/pcm;channels=2", "image/jpeg", "audio/pcm;rate=\u0661\u0666\u0660\u0660\u0660",
    )),
    {"realtimeInput": {"video": BLOB}}, {"realtimeInput": {"video": {"data": "", "mimeType": "image/jpeg"}}},
    {"realtimeInput": {"video": {"data": "AAA=", "mimeType": "video/mp4"}}},
    {"realtimeInput": {"mediaChunks": {}}}, {"realtimeInput": {"mediaChunks": [{}]}},
    {"clientContent": {"turns": {}}}, {"clientContent": {"turns": [7]}}, {"clientContent": {"turnComplete": 1}},
    {"clientContent": {"turns": [{"role": "boss", "parts": []}]}},
    {"clientContent": {"turns": [{"parts": [{"fileData": {"fileUri": "file:///etc/passwd"}}]}]}},
    {"clientContent": {"turns": [{"parts": [{"inlineData": BLOB}]}]}},
    {"toolResponse": {"functionResponses": [{"id": "nobody"}]}}, {"toolResponse": {"functionResponses": [{}]}},
    {"toolResponse": {"functionResponses": 3}}, {"contextUpdate": {"tools": []}},
    {"contextUpdate": {"systemInstruction": 3}},
]  # fmt: skip
WRONG_SETUPS: list[Any] = [
    {"model": 3}, {"generationConfig": {"responseModalities": ["VIDEO"]}},
    {"generationConfig": {"responseModalities": "AUDIO"}}, {"generationConfig": []}, {"tools": {}},
    {"tools": [{"functionDeclarations": [{"name": ""}]}]}, {"tools": [{"functionDeclarations": [{"name": "a b"}]}]},
    {"tools": tools("lamp", "lamp")},
    {"tools": [{"functionDeclarations": [{"name": "f", "parameters": []}]}]},
    {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "FISH"}}]}]},
    {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"items": 3}}]}]},
    {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {"minItems": -1}}]}]},
    {"tools": [{"functionDeclarations": [{"name": "f", "parameters": SCHEMA, "parametersJsonSchema": PLAIN}]}]},
    {"tools": [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": "x"}]}]},
    {"realtimeInputConfig": {"automaticActivityDetection": {"silenceDurationMs": -5}}},
    {"realtimeInputConfig": {"automaticActivityDetection": {"silenceDurationMs": True}}},
    {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": "no"}}},
    {"sessionResumption": {"handle": 3}}, {"sessionResumption": "h"}, {"inputAudioTranscription": True},
    {"systemInstruction": {"parts": "x"}}, {"systemInstruction": []},
]  # fmt: skip


def closed(wire: Wire) -> None:
    assert wire.codec.closing is not None
    code, reason = wire.codec.closing
    assert code == 1007 and 0 < len(reason.encode()) < 120


@pytest.mark.parametrize("message", WRONG, ids=lambda message: repr(message)[:60])
def test_what_is_wrong_closes(message: Any) -> None:
    wire = set_up(tools=tools("lamp"))
    assert wire.client(message) == []
    closed(wire)
    assert wire.client(content("x", True)) == []


@pytest.mark.parametrize("setup", WRONG_SETUPS, ids=lambda setup: repr(setup)[:60])
def test_a_wrong_setup_closes_before_anything_is_said(setup: Any) -> None:
    wire = Wire()
    assert wire.client({"setup": setup}) == []
    closed(wire)
    assert wire.said() == []


@pytest.mark.parametrize("name", ["realtimeInput", "clientContent", "toolResponse", "contextUpdate"])
def test_anything_before_setup_closes(name: str) -> None:
    wire = Wire()
    assert wire.client({name: {}}) == []
    closed(wire)


def test_deep_parameters_close() -> None:
    deep: dict[str, Any] = {"type": "OBJECT"}
    for _ in range(20):
        deep = {"type": "OBJECT", "properties": {"inner": deep}}
    wire = Wire()
    wire.client({"setup": {"tools": [{"functionDeclarations": [{"name": "f", "parameters": deep}]}]}})
    closed(wire)


def test_fields_of_a_newer_client_are_passed_over() -> None:
    wire = set_up(somethingNew={"deep": [1]}, realtimeInputConfig={"alsoNew": 1, "turnCoverage": "TURN_OF_TOMORROW"})
    assert wire.client({"realtimeInput": {"text": "hi", "newer": 1}}) == [TextTyped(2, "hi")]


def test_a_message_of_ours_that_the_client_would_not_know_is_noticed() -> None:
    with pytest.raises(ValueError, match="unheardOf"):
        read(b'{"serverContent":{"unheardOf":true}}')


def test_the_largest_picture_passes() -> None:
    picture = JPEG + bytes(11 << 20)
    blob = {"data": base64.b64encode(picture).decode(), "mimeType": "image/jpeg"}
    assert set_up().client({"realtimeInput": {"video": blob}}) == [("Picture", picture, "image/jpeg", True)]
