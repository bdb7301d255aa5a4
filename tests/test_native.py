"""liveagent's own protocol: bytes to what is asked, what is told to bytes; a peer that comes back; nonsense."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent import action as act
from liveagent import event as ev
from liveagent.audio import MAX_GAP_SAMPLES
from liveagent.ledger import Span
from liveagent.wire.backlog import LOG_BYTES, SPEECH_BYTES
from liveagent.wire.codec import (
    Codec,
    Frame,
    GoingAway,
    Looked,
    Memory,
    Patches,
    Picture,
    Problem,
    RobotStands,
    Sound,
    Spoken,
    Told,
    Welcome,
)
from liveagent.wire.native import ASKS, MOST_PROBLEMS, WAITING_BYTES, Hello, NativeCodec, loading, read_hello

MS = 1_000_000
WELCOME = Welcome(
    "session_1", "nano", "Be brief.", phrases=("hello",), handle="secret_1", extra={"recording": False}
)  # fmt: skip
HELLO = '{"type":"hello","v":1,"speak":true}'
ROUND = Welcome("session_1", "nano", handle="secret_2", resumed_ago_ms=4200)


def greeted(speak: bool = True) -> NativeCodec:
    codec = NativeCodec(WELCOME)
    codec.open(0)
    codec.receive(json.dumps({"type": "hello", "v": 1, "speak": speak}), 0)
    codec.take()
    return codec


def texts(frames: list[Frame]) -> list[dict[str, Any]]:
    return [json.loads(frame) for frame in frames if isinstance(frame, str)]


def speech(frames: list[Frame]) -> list[tuple[int, bool, int, int]]:
    """(utterance, final, first, samples) of each frame of the voice."""
    found = []
    for frame in frames:
        if isinstance(frame, bytes):
            kind, flags, zero, utterance, first = struct.unpack_from("<BBHII", frame)
            assert (kind, zero) == (16, 0)
            found.append((utterance, bool(flags & 1), first, (len(frame) - 12) // 2))
    return found


def binary(kind: int, payload: bytes, count: int = 0, us: int = 0) -> bytes:
    return struct.pack("<BBHIQ", kind, 0, 0, count, us) + payload


def sound(count: int, samples: int = 320) -> bytes:
    return binary(1, np.arange(samples, dtype="<i2").tobytes(), count, 1000)


def problem(codec: NativeCodec) -> str:
    (said,) = texts(codec.take())
    assert said["type"] == "problem"
    return str(said["code"])


# ---- the beginning


def test_it_is_a_codec_and_says_nothing_before_hello() -> None:
    codec: Codec = NativeCodec(WELCOME, lambda kind: f"{kind}_1")
    codec.open(0)
    codec.tell(ev.TickHeard(0, 0, -50.0), 0)
    codec.tell(GoingAway(1000), 0)
    assert codec.take() == [] and codec.closing is None


def test_hello_is_answered_by_welcome_and_by_what_was_told_before() -> None:
    codec = NativeCodec(WELCOME)
    codec.tell(ev.SessionStarted(5), 5)
    assert codec.receive(HELLO, 7 * MS) == [ev.VoiceSet(7 * MS, True)]
    welcome, started = texts(codec.take())
    assert welcome["type"] == "welcome" and welcome["session"] == "session_1" and welcome["secret"] == "secret_1"
    assert welcome["resumed"] is False and welcome["ago_ms"] is None and welcome["t_ns"] == 7 * MS
    assert welcome["agent"] == {
        "model": "nano", "device": "cpu", "instructions": "Be brief.", "tools": [], "phrases": ["hello"],
        "voice": "espeak", "sees": True, "camera": "peer", "robots": [], "extra": {"recording": False},
    }  # fmt: skip
    assert started == {"seq": 1, "e": {"type": "SessionStarted", "t_ns": 5, "source": "mic"}}


@pytest.mark.parametrize(
    "first",
    [
        "", "hello", "[]", "1", '{"type":"hello"}', '{"type":"hello","v":2}', '{"type":"hello","v":true}',
        '{"type":"hello","v":1,"speak":1}', '{"type":"hello","v":1,"pictures":1}',
        '{"type":"hello","v":1,"more":1}', '{"type":"hello","v":1,"resume":[]}',
        '{"type":"hello","v":1,"resume":{"session":"a","secret":"b","seq":-1}}',
        '{"type":"hello","v":1,"resume":{"session":"a","secret":1,"seq":1}}',
        '{"type":"TextTyped","text":"hello"}', b"\x01", sound(0),
    ],
)  # fmt: skip
def test_whoever_does_not_say_hello_is_told_so_and_let_go(first: Frame) -> None:
    codec = NativeCodec(WELCOME)
    assert codec.receive(first, 0) == []
    assert problem(codec) == "bad_message"
    assert codec.closing is not None and codec.closing[0] == 4400
    assert codec.receive(HELLO, 0) == [] and codec.take() == []


def test_loading_can_be_told_before_there_is_a_conversation() -> None:
    assert json.loads(loading("nano", 5, 10)) == {"type": "loading", "what": "nano", "done_bytes": 5, "of_bytes": 10}


# ---- what is asked


ASKED: list[ev.Inbox] = [
    ev.TextTyped(9, "hello"), ev.TalkPressed(9), ev.TalkReleased(9), ev.TurnDropped(9),
    ev.AnswerAsked(9, "r", "none", "be brief"), ev.AnswerStopped(9, "bored"), ev.MessageAdded(9, "user", "hi"),
    ev.TurnsSet(9, "push_to_talk", False, False, 100, 900, 0.5), ev.VoiceSet(9, False), ev.PlaybackCut(9, 3, 1600),
    ev.ForgetAsked(9, 1, 2, "picture"),
]  # fmt: skip


def test_each_event_that_may_be_asked_is_understood_with_the_servers_time() -> None:
    assert {type(event) for event in ASKED} == set(ASKS)
    codec = greeted()
    for event in ASKED:
        said = json.loads(ev.to_json(event))
        del said["t_ns"]
        assert codec.receive(json.dumps(said), 9) == [event]
        assert codec.receive(json.dumps({**said, "t_ns": 1 << 60}), 9) == [event]  # the server stamps
    assert codec.take() == []


@pytest.mark.parametrize("kind", sorted({cls.__name__ for cls in ev.INBOX} - {cls.__name__ for cls in ASKS}))
def test_what_is_not_the_peers_to_say_is_refused(kind: str) -> None:
    codec = greeted()
    assert codec.receive(json.dumps({"type": kind}), 0) == []
    assert problem(codec) == "bad_message" and codec.closing is None


@pytest.mark.parametrize(
    "said",
    [
        '{"type":"TextTyped","text":"a","text":"b"}', '{"type":"TextTyped","text":"\\ud800"}',
        '{"type":"ping","at":NaN}', '{"type":"ping","at":1e999}', '{"type":"ping","at":"1"}', '{"type":"ping"}',
        '{"type":"ping","at":' + "9" * 5000 + "}", '{"type":"TextTyped","text":"' + "a" * 4001 + '"}',
        '{"type":"TextTyped","text":"' + "a" * 70_000 + '"}', "[" * 60_000, '{"a":' * 9 + "1" + "}" * 9,
        '{"type":"ForgetAsked","since_ns":2,"until_ns":1}', '{"type":"PlaybackCut","utterance":1,"samples":-1}',
        '{"type":"TurnsSet","min_silence_ms":0}', '{"type":"TurnsSet","min_silence_ms":9,"max_silence_ms":8}',
        '{"type":"TurnsSet","start_speech":7}', '{"type":"AnswerAsked","choice":"' + "x" * 200 + '"}',
        '{"type":"TextTyped"}', '{"type":"TextTyped","text":"a","more":1}', HELLO,
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_is_refused_and_the_conversation_goes_on(said: str) -> None:
    codec = greeted()
    assert codec.receive(said, 0) == []
    assert problem(codec) == "bad_message" and codec.closing is None
    assert codec.receive('{"type":"TextTyped","text":"[[[[[[[[[[[[{{{{ hi"}', 1) == [
        ev.TextTyped(1, "[[[[[[[[[[[[{{{{ hi")
    ]


def test_a_ping_comes_back() -> None:
    codec = greeted()
    assert codec.receive('{"type":"ping","at":12345.5}', 77) == []
    assert texts(codec.take()) == [{"type": "pong", "at": 12345.5, "t_ns": 77}]


def test_sound_counts_its_holes() -> None:
    codec = greeted()
    codec_in = [codec.receive(sound(count), 0)[0] for count in (500, 820, 1140 + 160, 0, 320, 320 + 320 + 61 * 16_000)]
    assert all(isinstance(each, Sound) for each in codec_in)
    gaps = [each.gap_samples for each in codec_in if isinstance(each, Sound)]
    assert gaps == [0, 0, 160, 0, 0, 0]  # one that went back, or far ahead, begins anew
    first = codec_in[0]
    assert isinstance(first, Sound) and first.rate_hz == 16_000 and first.captured_ns == 1_000_000
    assert first.pcm.dtype == np.int16 and np.array_equal(first.pcm, np.arange(320))


def test_the_count_goes_round() -> None:
    codec = greeted()
    codec.receive(sound((1 << 32) - 320), 0)
    (after,) = codec.receive(sound(160), 0)
    assert isinstance(after, Sound) and after.gap_samples == 160
    assert MAX_GAP_SAMPLES < 1 << 31


def test_pictures_are_told_by_their_bytes() -> None:
    codec = greeted()
    kinds = []
    for kind, payload in ((2, b"\xff\xd8\xff"), (2, b"\x89PNG\r\n\x1a\n"), (2, b"RIFF0000WEBP"), (3, bytes(49152))):
        (asked,) = codec.receive(binary(kind, payload), 0)
        assert isinstance(asked, Picture) and asked.live and asked.data == payload
        kinds.append(asked.media_type)
    assert kinds == ["image/jpeg", "image/png", "image/webp", "image/x-rgb;width=128;height=128"]


def test_playback_is_reported() -> None:
    (asked,) = greeted().receive(binary(4, struct.pack("<II", 7, 4800)), 5)
    assert asked == ev.SamplesPlayed(5, 7, 4800)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01" * 15, binary(0, b""), binary(9, b"xx"), binary(1, b""), binary(1, b"x"), binary(1, bytes(64_002)),
     binary(2, b""), binary(2, b"GIF89a"), binary(3, bytes(49151)), binary(4, bytes(7)), binary(1, b"ab", us=1 << 60),
     b"\x01\x00\x01\x00" + bytes(14)],
)  # fmt: skip
def test_damaged_media_is_refused(data: bytes) -> None:
    codec = greeted()
    assert codec.receive(data, 0) == []
    assert problem(codec) == "bad_message" and codec.closing is None


def test_nonsense_without_end_is_let_go() -> None:
    codec = greeted()
    for _ in range(MOST_PROBLEMS + 1):
        codec.receive("?", 0)
    assert codec.closing is not None and codec.closing[0] == 4400


@given(st.lists(st.one_of(st.text(), st.binary(), st.just(HELLO), st.binary().map(lambda b: b"\x01" + b)), max_size=8))
def test_nothing_a_peer_sends_raises(frames: list[Frame]) -> None:
    codec = NativeCodec(WELCOME)
    for frame in frames:
        codec.receive(frame, 0)
        for sent in codec.take():
            if isinstance(sent, str):
                json.loads(sent)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from([cls.__name__ for cls in ASKS]), st.dictionaries(st.sampled_from(
    ["text", "role", "mode", "on", "since_ns", "until_ns", "utterance", "samples", "min_silence_ms", "ref", "t_ns"]
), _json, max_size=4))  # fmt: skip
def test_fields_of_any_kind_are_read_or_refused(kind: str, fields: dict[str, Any]) -> None:
    codec = greeted()
    asked = codec.receive(json.dumps({"type": kind, **fields}), 3)
    if asked:
        assert type(asked[0]).__name__ == kind and isinstance(asked[0], ASKS) and asked[0].t_ns == 3
    else:
        assert problem(codec) == "bad_message"


# ---- what is told


def test_events_and_actions_are_numbered_and_meters_are_not() -> None:
    codec = greeted()
    items: list[Told] = [
        ev.ReplyStarted(1, 1), act.Say(1, "hi"), act.Duck(1), ev.EndGuessed(2, 0.5), ev.WordsHeard(3, ("a",), "ear"),
        ev.WordsHeard(4, ("a",), "ear", True), ev.AudioHeard(5, 0, 1), ev.SamplesPlayed(5, 1, 1),
        act.CallTool("c", "light"), act.Listen(), act.StopPlayback(1),
    ]  # fmt: skip
    for item in items:
        codec.tell(item, 6)
    told = texts(codec.take())
    assert [(each.get("seq"), each["e"]["type"]) for each in told] == [
        (1, "ReplyStarted"), (2, "Say"), (3, "Duck"), (None, "EndGuessed"), (None, "WordsHeard"), (4, "WordsHeard"),
        (5, "StopPlayback"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["TickHeard", "CacheChanged"])
def test_noisy_meters_are_thinned_and_the_newest_counts(name: str) -> None:
    def made(i: int) -> ev.Event:
        return ev.TickHeard(i, i, -40.0) if name == "TickHeard" else ev.CacheChanged(i, i, 100)

    def told() -> list[int]:
        said = [each["e"] for each in texts(codec.take()) if each["e"]["type"] == name]
        return [each.get("tick", each.get("used_tokens")) for each in said]

    codec = greeted()
    for i in range(125):  # ten seconds
        codec.tell(made(i), i * 80 * MS)
    assert 50 <= len(told()) <= 63
    for i in (200, 201, 202):
        codec.tell(made(i), (10_000 + i) * MS)
    assert told() == [200]
    codec.tell(ev.TalkPressed(0), 10_500 * MS)
    assert told() == [202]


def test_what_the_cache_holds_and_what_was_looked_at() -> None:
    codec = greeted()
    spans = (Span(0, "system", 0, 40, 0, 0), Span(3, "reply", 40, 9, 5, 1, False, 4))
    codec.tell(Memory(spans), 0)
    codec.tell(Memory(spans[:1]), 1)
    codec.tell(Patches(7, (True, *([False] * 14), True), 4), 2)
    memory, patches = texts(codec.take())
    assert memory == {"type": "memory", "t_ns": 0, "spans": [[0, "system", 40, 0, None], [3, "reply", 9, 5, 4]]}
    assert patches == {"type": "patches", "t_ns": 7, "of": 16, "columns": 4, "mask": "8001"}


def test_speech_travels_in_order_in_parts() -> None:
    codec = greeted()
    wave = np.linspace(-2, 2, 40_000).astype(np.float32)
    wave[0] = np.nan
    codec.tell(Spoken(1, 100, wave, True), 0)
    codec.tell(Spoken(2, 0, np.zeros(0, np.float32), True), 0)
    frames = codec.take()
    assert speech(frames) == [(1, False, 100, 16_000), (1, False, 16_100, 16_000), (1, True, 32_100, 8_000),
                              (2, True, 0, 0)]  # fmt: skip
    pcm = np.concatenate([np.frombuffer(f[12:], "<i2") for f in frames if isinstance(f, bytes)])
    assert pcm[0] == 0 and pcm[1] == -32768 and pcm[-1] == 32767


def test_whoever_only_reads_is_sent_no_speech_until_they_want_it() -> None:
    codec = greeted(speak=False)
    codec.tell(Spoken(1, 0, np.zeros(80, np.float32)), 0)
    assert codec.take() == []
    codec.receive('{"type":"VoiceSet","on":true}', 0)
    codec.tell(Spoken(1, 80, np.zeros(80, np.float32)), 0)
    assert speech(codec.take()) == [(1, False, 80, 80)]


def test_problems_and_going_away_are_told() -> None:
    codec = greeted()
    codec.tell(Problem("busy", "later", "r1"), 0)
    codec.tell(GoingAway(10_000), 0)
    assert texts(codec.take()) == [
        {"type": "problem", "code": "busy", "message": "later", "ref": "r1"},
        {"type": "going_away", "left_ms": 10_000},
    ]


def test_a_peer_that_does_not_read_is_let_go() -> None:
    codec = greeted()
    second = np.zeros(16_000, np.float32)
    for i in range(WAITING_BYTES // 32_000 + 2):
        codec.tell(Spoken(1, i * 16_000, second), 0)
    assert codec.closing is not None and codec.closing[0] == 1013
    assert codec.take() == []


# ---- coming back


def back(seq: int, speak: bool = True) -> Hello:
    resume = {"session": "session_1", "secret": "secret_1", "seq": seq}
    return read_hello(json.dumps({"type": "hello", "v": 1, "speak": speak, "resume": resume}))


def test_a_peer_that_comes_back_is_told_what_it_missed() -> None:
    codec = greeted()
    codec.tell(ev.ReplyStarted(1, 1), 1)
    codec.take()
    codec.park()
    codec.tell(act.Say(1, "hello there"), 2)
    codec.tell(ev.TickHeard(2, 1, -40.0), 2)
    assert codec.take() == []
    hello = back(1)
    assert hello.resume is not None and hello.resume.secret == "secret_1"
    assert codec.resume(ROUND, hello, 3) == [ev.VoiceSet(3, True)]
    welcome, missed, *more = texts(codec.take())
    assert welcome["resumed"] is True and welcome["ago_ms"] == 4200 and welcome["secret"] == "secret_2"
    assert missed["seq"] == 2 and missed["e"]["text"] == "hello there" and more == []
    codec.tell(ev.TalkPressed(4), 4)
    assert texts(codec.take())[0]["seq"] == 3


def test_whoever_was_away_for_too_much_gets_the_conversation_so_far() -> None:
    codec = greeted()
    codec.tell(ev.WordsHeard(1, ("turn", "it", "on"), "ear", True), 1)
    codec.tell(ev.ToolCalled(2, "c1", "light", {"state": "on"}, "grammar"), 2)
    codec.tell(ev.ToolReturned(3, "c1", "done"), 3)
    codec.tell(ev.ReplyStarted(3, 1), 3)
    codec.tell(act.Say(1, "It is on now.", tuple(act.SayWord(w, i, i + 1) for i, w in enumerate(
        "It is on now.".split()))), 3)  # fmt: skip
    codec.tell(ev.WordPlayed(4, 1, 0, "It"), 4)
    codec.tell(ev.Interrupted(5, 1, ("It",), ("on", "now."), "is"), 5)
    codec.tell(ev.ReplyEnded(5, 1, False), 5)
    codec.park()
    for i in range(LOG_BYTES // 1000 + 10):
        codec.tell(ev.Noted(6, "long", "x" * 1000), 6 + i)
    assert codec.replay_from(3) is None
    codec.resume(ROUND, back(3), 7)
    _, snapshot = texts(codec.take())
    assert snapshot["type"] == "snapshot" and snapshot["seq"] == codec.backlog.seq
    assert snapshot["entries"] == [
        {"kind": "heard", "text": "turn it on", "source": "ear"},
        {"kind": "call", "call_id": "c1", "name": "light", "args": {"state": "on"}, "by": "grammar", "state": "done",
         "result": "done"},
        {"kind": "reply", "utterance": 1, "words": ["It", "is", "on", "now."], "heard": 1, "cut": True, "ended": True},
    ]  # fmt: skip


@pytest.mark.parametrize("seq", [7, 1 << 52])
def test_a_number_that_never_was_gets_the_conversation_so_far(seq: int) -> None:
    codec = greeted()
    codec.tell(ev.TalkPressed(1), 1)
    codec.park()
    codec.resume(ROUND, back(seq), 2)
    assert [each["type"] for each in texts(codec.take())] == ["welcome", "snapshot"]


def test_the_log_is_bounded_and_gives_a_suffix() -> None:
    codec = greeted()
    for i in range(5000):
        codec.tell(ev.Noted(i, "n", "x" * 100), i)
        codec.take()
    oldest = next(seq for seq in range(codec.backlog.seq) if codec.replay_from(seq) is not None)
    kept = codec.replay_from(oldest) or []
    assert LOG_BYTES * 0.9 < sum(map(len, kept)) <= LOG_BYTES
    assert [json.loads(line)["seq"] for line in kept] == list(range(oldest + 1, codec.backlog.seq + 1))
    assert codec.replay_from(codec.backlog.seq) == []


def test_speech_that_was_not_reported_as_played_is_sent_again() -> None:
    codec = greeted()
    second = np.zeros(16_000, np.float32)
    for i in range(3):
        codec.tell(Spoken(1, i * 16_000, second), 0)
    codec.tell(ev.SamplesPlayed(1, 1, 20_000), 1)
    codec.park()
    codec.tell(Spoken(1, 48_000, second, True), 2)
    codec.resume(ROUND, back(0), 3)
    assert speech(codec.take()) == [(1, False, 16_000, 16_000), (1, False, 32_000, 16_000), (1, True, 48_000, 16_000)]
    codec.resume(ROUND, back(0, speak=False), 4)
    assert speech(codec.take()) == []


@pytest.mark.parametrize(
    "end", [ev.Interrupted(1, 1, (), ()), ev.ReplyEnded(1, 1), act.StopPlayback(1)], ids=lambda end: type(end).__name__
)
def test_speech_of_a_reply_that_is_over_is_not_sent_again(end: Any) -> None:
    codec = greeted()
    codec.tell(Spoken(1, 0, np.zeros(800, np.float32)), 0)
    codec.tell(end, 1)
    codec.tell(Spoken(1, 800, np.zeros(800, np.float32)), 1)  # made before it was known
    codec.take()
    codec.resume(ROUND, back(0), 2)
    assert speech(codec.take()) == []


def test_kept_speech_is_bounded() -> None:
    codec = greeted()
    for i in range(100):
        codec.tell(Spoken(1, i * 16_000, np.zeros(16_000, np.float32)), 0)
        codec.take()
    codec.resume(ROUND, back(0), 2)
    again = [frame for frame in codec.take() if isinstance(frame, bytes)]
    assert SPEECH_BYTES * 0.9 < sum(map(len, again)) <= SPEECH_BYTES
    assert speech(list(again))[-1][2] == 99 * 16_000  # the newest


def test_sound_after_a_break_begins_anew() -> None:
    codec = greeted()
    codec.receive(sound(0), 0)
    codec.park()
    codec.resume(ROUND, back(0), 2)
    (again,) = codec.receive(sound(16_000), 3)
    assert isinstance(again, Sound) and again.gap_samples == 0


# ---- a camera of the server's, and a robot


def test_a_picture_of_the_servers_camera_goes_to_whoever_asked_and_never_two() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (128, 96, 3), np.uint8)
    deaf = greeted()
    deaf.tell(Looked(5, pixels), 5)
    assert deaf.take() == []
    codec = NativeCodec(replace(WELCOME, camera="robot", robots=("arm",)))
    codec.tell(Looked(1, pixels), 1)  # nobody is there
    codec.receive('{"type":"hello","v":1,"pictures":true}', 2)
    (welcome,) = texts(codec.take())
    assert welcome["agent"]["camera"] == "robot" and welcome["agent"]["robots"] == ["arm"]
    for t_ns in (1 << 40, (1 << 40) + 1):
        codec.tell(Looked(t_ns, pixels), 3)
    (frame,) = codec.take()
    assert isinstance(frame, bytes)
    assert struct.unpack_from("<BBHHHQ", frame) == (17, 0, 0, 96, 128, 1 << 40)
    assert np.array_equal(np.frombuffer(frame, np.uint8, offset=16).reshape(128, 96, 3), pixels)
    codec.tell(Looked(7, pixels), 7)
    assert len(codec.take()) == 1
    codec.park()
    codec.tell(Looked(8, pixels), 8)
    assert codec.take() == []


def test_how_a_robot_stands_is_told_and_not_numbered() -> None:
    codec = greeted()
    codec.tell(RobotStands("arm", True, False, {"lift": 0.25}), 1)
    assert texts(codec.take()) == [
        {"type": "robot", "name": "arm", "there": True, "stopped": False, "joints": {"lift": 0.25}}
    ]
    assert codec.replay_from(0) == []
