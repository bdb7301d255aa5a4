"""OpenAI Realtime under anything: whatever a client sends and whatever a session does, in any order, no call raises,
every event is valid, and every response begins once and ends at most once. The peer checks the last two."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from liveagent.action import CancelCall, Duck, Halt, Say, SayWord, StopPlayback
from liveagent.event import (
    AnswerStarted,
    CacheChanged,
    Ducked,
    Interrupted,
    Noted,
    ReplyEnded,
    ReplyStarted,
    Resumed,
    SessionEnded,
    SpeechEnded,
    SpeechStarted,
    TickHeard,
    ToolCalled,
    ToolFailed,
    ToolReturned,
    TurnEnded,
    Voiced,
    VoiceFailed,
    WordMark,
    WordsHeard,
)
from liveagent.wire.codec import GoingAway, Problem, Spoken
from tests.openai_peer import MS, TOOL, Peer, answer, marks, say, sound, spoken, turn

MANY = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
TIMES = st.integers(0, 60_000).map(lambda ms: ms * MS)
ITEM_IDS = st.sampled_from(["a", "b", "item_1", "item_2", "item_3", "item_9", "root", ""])
RESPONSES = st.sampled_from(["resp_1", "resp_2", "resp_3", ""])
CALL_IDS = st.sampled_from(["call_1", "call_2"])
CALLS = st.sampled_from(["call_1", "call_2", "c" * 50])
WORDS = st.lists(st.sampled_from(["it", "is", "a", "ball", "", "\n", "é\u2028"]), max_size=4)
UTTERANCES = st.integers(1, 4)
JPEG_URL = "data:image/jpeg;base64," + base64.b64encode(b"\xff\xd8\xff").decode()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)

# ---- what a client may send, mostly in the right form

PARTS = st.sampled_from(
    [
        {"type": "input_text", "text": "hello"},
        {"type": "input_audio", "audio": sound(50)},
        {"type": "input_image", "image_url": JPEG_URL},
        {"type": "output_text", "text": "hi"},
        {"type": "output_audio", "transcript": "hi"},
    ]
)
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("message"),
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.lists(PARTS, max_size=2),
        },
        optional={"id": ITEM_IDS},
    ),
    st.fixed_dictionaries(
        {"type": st.just("function_call_output"), "call_id": CALL_IDS, "output": st.text(max_size=5)}
    ),
    st.fixed_dictionaries({"type": st.just("function_call"), "call_id": CALL_IDS, "name": st.just("old")}),
    JSON,
)
DETECTION = st.sampled_from(
    [
        None,
        {"type": "server_vad", "idle_timeout_ms": 5_000},
        {"type": "server_vad", "interrupt_response": False},
        {"type": "semantic_vad", "eagerness": "high", "create_response": False},
    ]
)
SESSIONS = st.fixed_dictionaries(
    {},
    optional={
        "instructions": st.text(max_size=5) | JSON,
        "tools": st.sampled_from([[], [TOOL], None]) | JSON,
        "tool_choice": st.sampled_from(["auto", "none", "required"]) | JSON,
        "output_modalities": st.sampled_from([["text"], ["audio"]]) | JSON,
        "truncation": JSON,
        "tracing": JSON,
        "audio": st.fixed_dictionaries(
            {},
            optional={
                "input": st.fixed_dictionaries(
                    {},
                    optional={
                        "turn_detection": DETECTION | JSON,
                        "transcription": st.sampled_from([{"model": "x"}, None]) | JSON,
                        "format": st.sampled_from([{"type": "audio/pcmu"}, {"type": "audio/pcm"}]) | JSON,
                    },
                ),
                "output": st.fixed_dictionaries(
                    {}, optional={"format": st.sampled_from([{"type": "audio/pcma"}, None]), "voice": JSON}
                ),
            },
        )
        | JSON,
    },
)


def _message(kind: str, **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    optional = {"event_id": st.just("evt") | JSON, **parts}
    return st.fixed_dictionaries({"type": st.just(kind)}, optional=optional)


MESSAGES = st.one_of(
    _message("session.update", session=SESSIONS | JSON),
    _message("input_audio_buffer.append", audio=st.sampled_from([sound(20), sound(150), "AA==", ""]) | JSON),
    _message("input_audio_buffer.commit"),
    _message("input_audio_buffer.clear"),
    _message("conversation.item.create", item=ITEMS, previous_item_id=ITEM_IDS),
    _message("conversation.item.retrieve", item_id=ITEM_IDS),
    _message("conversation.item.delete", item_id=ITEM_IDS),
    _message(
        "conversation.item.truncate", item_id=ITEM_IDS, content_index=st.just(0), audio_end_ms=st.integers(-1, 999)
    ),
    _message(
        "response.create",
        response=st.fixed_dictionaries(
            {},
            optional={
                "metadata": st.just({"a": "b"}) | JSON,
                "tools": st.just([TOOL]) | JSON,
                "output_modalities": st.just(["text"]),
                "tool_choice": st.just("none") | JSON,
            },
        )
        | JSON,
    ),
    _message("response.cancel", response_id=RESPONSES),
    _message("output_audio_buffer.clear"),
)  # fmt: skip


# ---- what a session may do


@st.composite
def _say(draw: st.DrawFn) -> Say:
    words = draw(WORDS)
    tokens = tuple(SayWord(word, at, at + 1) for at, word in enumerate(words))
    return Say(draw(UTTERANCES), " ".join(words), tokens, draw(st.booleans()))


@st.composite
def _spoken(draw: st.DrawFn) -> Spoken:
    samples = np.full(draw(st.sampled_from([0, 1, 500, 5_000, 20_000])), draw(st.sampled_from([0, 0.5, 7, np.nan])))
    return Spoken(draw(UTTERANCES), draw(st.integers(0, 30_000)), samples.astype(np.float32), draw(st.booleans()))


@st.composite
def _voiced(draw: st.DrawFn) -> Voiced:
    marks = draw(st.lists(st.builds(WordMark, st.integers(0, 4), st.just(0), st.integers(0, 20_000)), max_size=3))
    return Voiced(draw(TIMES), draw(UTTERANCES), 5_000, tuple(marks), draw(st.booleans()))


TOLD = st.one_of(
    st.builds(SpeechStarted, TIMES),
    st.builds(SpeechEnded, TIMES),
    st.builds(TurnEnded, TIMES, TIMES, st.sampled_from(["silence", "released", "too_long", "typed", "sentence"])),
    st.builds(WordsHeard, TIMES, WORDS.map(tuple), st.sampled_from(["ear", "typed"]), st.booleans()),
    st.builds(Noted, TIMES, st.sampled_from(["no_words", "evicted"])),
    st.builds(AnswerStarted, TIMES, st.sampled_from(["turn", "asked", "result", "watch"]), RESPONSES),
    st.builds(ReplyStarted, TIMES, UTTERANCES),
    st.builds(ReplyEnded, TIMES, UTTERANCES, st.booleans()),
    st.builds(Interrupted, TIMES, UTTERANCES, WORDS.map(tuple), WORDS.map(tuple)),
    st.builds(Ducked, TIMES, UTTERANCES),
    st.builds(Resumed, TIMES, UTTERANCES),
    st.builds(StopPlayback, UTTERANCES, st.sampled_from(["barge_in", "stop", "typed", "client_cancelled", "cut"])),
    st.builds(ToolCalled, TIMES, CALLS, st.sampled_from(["weather", "lamp", "else"]), st.just({"city": "Bern"})),
    st.builds(ToolReturned, TIMES, CALLS, st.text(max_size=3)),
    st.builds(ToolFailed, TIMES, CALLS, st.just("deadline")),
    st.builds(CancelCall, CALLS),
    st.builds(CacheChanged, TIMES, st.integers(0, 99), st.just(100), st.just({"audio": 7, "picture": 90})),
    st.builds(TickHeard, TIMES, st.integers(0, 99), st.just(-40.0)),
    st.builds(VoiceFailed, TIMES, UTTERANCES, st.just("mute")),
    st.builds(Problem, st.sampled_from(["x", "invalid_api_key"]), st.text(max_size=5), RESPONSES | ITEM_IDS),
    st.builds(Duck, UTTERANCES),
    st.just(Halt()),
    st.just(GoingAway(5)),
    _say(),
    _spoken(),
    _voiced(),
)
STEPS = st.lists(
    st.tuples(st.just("send"), MESSAGES) | st.tuples(st.just("tell"), TOLD) | st.tuples(st.just("wait"), TIMES),
    max_size=40,
)  # fmt: skip


def run(steps: list[tuple[str, Any]]) -> tuple[list[dict[str, Any]], list[str], Peer]:
    peer = Peer()
    asked: list[str] = []
    for kind, what in steps:
        if kind == "wait":
            peer.t_ns += what // 20
        elif kind == "tell":
            peer.tell(what)
        else:
            for ask in peer.raw(json.dumps(what)):
                values = {f.name: getattr(ask, f.name) for f in fields(ask)}
                asked.append(f"{type(ask).__name__} {values}")
    return peer.new(), asked, peer


@MANY
@given(STEPS)
def test_whatever_happens_every_event_is_valid_and_every_response_ends_once(steps: list[tuple[str, Any]]) -> None:
    _, _, peer = run(steps)
    peer.tell(SessionEnded(0))
    assert peer.order.created == peer.order.done  # the end of the session ends what is open


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_the_same_again_gives_the_same(steps: list[tuple[str, Any]]) -> None:
    first, second = run(steps), run(steps)
    assert first[0] == second[0] and first[1] == second[1]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40) | st.binary(max_size=40) | JSON.map(json.dumps))
def test_any_bytes_and_any_json_are_answered_by_an_error(data: str | bytes) -> None:
    peer = Peer()
    peer.new()
    peer.raw(data)
    assert peer.error()["message"]
    assert peer.codec.closing is None


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_after_anything_a_turn_is_still_answered(steps: list[tuple[str, Any]]) -> None:
    *_, peer = run(steps)
    peer.settle(output_modalities=["audio"], audio={"input": {"turn_detection": {"type": "server_vad"}}})
    peer.new()
    answer(peer, 77)
    peer.tell(say(77, "It is so."), spoken(77, 200), marks(77, 50, 100, 200))
    last = peer.new()[-1]
    assert last["type"] == "response.done" and last["response"]["status"] == "completed"
    turn(peer, "and now", 100_000, 101_000)
    assert "input_audio_buffer.committed" in peer.kinds()


# ---- every event of the protocol


def _voice(peer: Peer) -> None:
    turn(peer, "what is it")
    answer(peer, 1)
    peer.tell(say(1, "A ball."), spoken(1, 200))


def _written(peer: Peer) -> None:
    peer.settle(output_modalities=["text"])
    answer(peer, 2)
    peer.tell(say(2, "A ball."))


def _tool(peer: Peer) -> None:
    peer.settle(tools=[TOOL])
    peer.tell(AnswerStarted(0), ToolCalled(0, "call_1", "weather", {}))


def _items(peer: Peer) -> None:
    peer.send("conversation.item.retrieve", item_id="item_2")
    peer.send("conversation.item.truncate", item_id="item_2", content_index=0, audio_end_ms=1)
    peer.send("conversation.item.delete", item_id="item_2")
    peer.send("input_audio_buffer.clear")
    peer.send("nothing")


def _silence(peer: Peer) -> None:
    peer.settle(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5_000}}})
    peer.tell(ReplyEnded(0, 1), ReplyEnded(0, 2))
    peer.t_ns += 6_000 * MS
    peer.send("input_audio_buffer.append", audio=sound())


def test_every_server_event_is_sent_and_valid() -> None:
    peer = Peer()
    seen = set(peer.kinds())
    peer.send("session.update", session={"audio": {"input": {"transcription": {"model": "x"}}}})
    seen |= set(peer.kinds()) | {"session.updated"}
    parts: list[Callable[[Peer], None]] = [_voice, _items, _written, _tool, _silence]
    for part in parts:
        part(peer)
        seen |= set(peer.kinds())
    assert seen == {
        "session.created", "session.updated", "error", "rate_limits.updated",
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
        "input_audio_buffer.cleared", "input_audio_buffer.timeout_triggered",
        "conversation.item.added", "conversation.item.done", "conversation.item.retrieved",
        "conversation.item.truncated", "conversation.item.deleted",
        "conversation.item.input_audio_transcription.delta", "conversation.item.input_audio_transcription.completed",
        "response.created", "response.done", "response.output_item.added", "response.output_item.done",
        "response.content_part.added", "response.content_part.done",
        "response.output_audio.delta", "response.output_audio.done",
        "response.output_audio_transcript.delta", "response.output_audio_transcript.done",
        "response.output_text.delta", "response.output_text.done",
        "response.function_call_arguments.delta", "response.function_call_arguments.done",
    }  # fmt: skip
