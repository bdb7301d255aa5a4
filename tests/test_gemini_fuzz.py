"""Gemini Live whatever comes, in whatever order: no exception, no turn without its end, the same bytes again."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.action import (
    CallTool,
    CancelCall,
    Duck,
    Freeze,
    Halt,
    Listen,
    Note,
    Resume,
    Say,
    SayWord,
    StopPlayback,
)
from liveagent.event import (
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    CacheChanged,
    Ducked,
    Interrupted,
    Noted,
    ReplyEnded,
    ReplyStarted,
    Resumed,
    SamplesPlayed,
    SessionEnded,
    SpeechEnded,
    SpeechStarted,
    StopHeard,
    TextTyped,
    TickHeard,
    ToolCalled,
    ToolFailed,
    ToolReturned,
    TurnEnded,
    Voiced,
    VoiceFailed,
    WordPlayed,
    WordsHeard,
)
from liveagent.wire.codec import GoingAway, Problem, Resumable, Spoken, Welcome
from tests.test_gemini import JS_MESSAGES, JS_SETUP, WELCOME, Wire, kinds, say, set_up, tone, tools
from tests.test_gemini_rules import CUT, DONE, WRONG, respond

MANY = settings(max_examples=150)

few = st.integers(0, 4)
calls = st.sampled_from(["a", "b", "c"])
samples = st.builds(lambda n: np.full(n, 0.25, np.float32), st.sampled_from([0, 1, 7, 160, 1600]))
words = st.lists(st.sampled_from(["one", "two", "ö"]), max_size=3).map(tuple)

told: st.SearchStrategy[Any] = st.one_of(
    st.builds(AnswerStarted, few, st.sampled_from(["turn", "asked", "result", "watch"]),
              st.sampled_from(["", "resp_1", "resp_2"])),
    st.builds(ReplyStarted, few, few),
    st.builds(Say, few, st.sampled_from(["", "Hello.", "\ud83d half", "ä"]),
              st.just((SayWord("x", 0, 3),)), st.booleans()),
    st.builds(Spoken, few, st.sampled_from([0, 1, 160, 1600]), samples, st.booleans()),
    st.builds(ReplyEnded, few, few, st.booleans()),
    st.builds(Interrupted, few, few, words, words),
    st.builds(StopPlayback, few),
    st.builds(VoiceFailed, few, few, st.just("")),
    st.builds(ToolCalled, few, calls, st.sampled_from(["lamp", "door", "robot"]), st.just({"on_off": "on"})),
    st.builds(ToolReturned, few, calls, st.just({"x": 1}), st.booleans()),
    st.builds(ToolFailed, few, calls, st.just("deadline"), st.just(""), st.booleans()),
    st.builds(CancelCall, calls),
    st.builds(WordsHeard, few, words, st.sampled_from(["ear", "typed"]), st.booleans()),
    st.builds(CacheChanged, few, few, few),
    st.builds(Problem, st.sampled_from(["bad_picture", "server_error", "engine_lost"]), st.just("x"),
              st.sampled_from(["", "resp_1"])),
    st.builds(Resumable, st.sampled_from(["", "h"])),
    st.builds(GoingAway, st.integers(-5, 90_000)),
    st.sampled_from([
        SpeechStarted(0), SpeechEnded(0), TurnEnded(0, 0), Ducked(0, 1), Resumed(0, 1), Noted(0, "empty"),
        StopHeard(0, "typed"),
        TextTyped(0, "x"), TickHeard(0, 1, -60.0), Voiced(0, 1, 80), SamplesPlayed(0, 1, 80), WordPlayed(0, 1, 0, "x"),
        AnswerStopped(0), AnswerAsked(0), SessionEnded(0), Duck(1), Freeze(1), Resume(1), Halt(), Listen(), Note("x"),
        CallTool("a", "lamp"),
    ]),
)  # fmt: skip

ASKS: list[Any] = [
    JS_SETUP, {"setup": {"tools": tools("lamp", "door"), "generationConfig": {"responseModalities": ["TEXT"]}}},
    {"setup": {"realtimeInputConfig": {"automaticActivityDetection": {"disabled": True}}, "tools": tools("lamp")}},
    *(message for message, _ in JS_MESSAGES), respond("a"), respond("b", scheduling="SILENT"), respond("a", "b", "c"),
    respond("c", willContinue=True), respond("a", response={"error": "x"}), {"realtimeInput": {"text": " "}},
    {"realtimeInput": {"activityStart": {}}}, {"realtimeInput": {"activityEnd": {}}},
    {"clientContent": {"turnComplete": True}}, {"contextUpdate": {"tools": {"tools": tools("door")}}},
]  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = sorted(
    {"setup", "tools", "parts", "turns", "text", "audio", "data", "mimeType", "response", "functionResponses", "id"}
    | {"realtimeInput", "clientContent", "toolResponse", "generationConfig", "systemInstruction", "mediaChunks"}
    | {"functionDeclarations", "parameters", "type", "properties", "items", "automaticActivityDetection", "nullable"}
    | {"name", "realtimeInputConfig", "silence_duration_ms", "inlineData", "functionCall", "turn_complete", "anyOf"}
)
half_known = st.recursive(
    json_values,
    lambda inner: st.dictionaries(st.sampled_from(NAMES), inner, max_size=4) | st.lists(inner, max_size=2),
    max_leaves=12,
)
good = st.sampled_from(ASKS[3:])
asks = st.sampled_from(ASKS) | st.sampled_from(WRONG) | half_known | st.binary(max_size=20) | st.text(max_size=20)


class Turns:
    """What a client may rely on, message by message."""

    def __init__(self) -> None:
        self.open = self.generated = self.interrupted = False
        self.complete = 0
        self.first = True

    def see(self, message: dict[str, Any]) -> None:
        assert self.first == ("setupComplete" in message), "setupComplete is the first message, and comes once"
        self.first = False
        (name,) = message.keys() - {"usageMetadata"}
        body = message[name]
        if self.interrupted:
            assert body == {"turnComplete": True}, "nothing stands between interrupted and turnComplete"
        assert ("usageMetadata" in message) == (body == {"turnComplete": True})
        if name == "toolCall":
            self.open = True
        if name != "serverContent":
            return
        (what,) = body
        if what == "turnComplete":
            assert self.interrupted or self.generated
            self.open = self.generated = self.interrupted = False
            self.complete += 1
            return
        if what == "inputTranscription":
            return
        self.open = True
        if what in ("modelTurn", "outputTranscription"):
            assert not self.generated, "nothing is said after all was generated"
        elif what == "generationComplete":
            assert not self.generated
            self.generated = True
        else:
            assert what == "interrupted"
            self.interrupted = True


def run(wire: Wire, steps: list[tuple[bool, Any]]) -> list[bytes]:
    turns, sent = Turns(), list[bytes]()
    for is_told, item in [*steps, (True, SessionEnded(9))]:
        if is_told:
            wire.tell(item)
        else:
            wire.client(item)
        assert not turns.interrupted
        for frame in wire.sent:
            turns.see(json.loads(frame))
        sent += wire.sent
        wire.sent.clear()
    assert not turns.interrupted
    assert wire.codec.closing is not None
    code, reason = wire.codec.closing
    assert code in (1000, 1007, 1008, 1011) and len(reason.encode()) < 120
    if code == 1000:
        assert not turns.open, "every turn got its end"
    return sent


@MANY
@given(
    st.booleans(),
    st.sampled_from(ASKS[:3]),
    st.lists(st.tuples(st.just(True), told) | st.tuples(st.just(False), good), max_size=40),
    st.lists(st.tuples(st.just(False), asks), max_size=3),
)
def test_anything_in_any_order(
    resumed: bool, setup: Any, steps: list[tuple[bool, Any]], last: list[tuple[bool, Any]]
) -> None:
    welcome = Welcome("s", "nano", handle="h", resumed_ago_ms=5) if resumed else WELCOME
    steps = [(False, setup), *steps, *last]
    assert run(Wire(welcome), steps) == run(Wire(welcome), steps)


@MANY
@given(st.sampled_from(ASKS[:3]), st.lists(told, max_size=60))
def test_any_session_ends_every_turn(setup: Any, items: list[Any]) -> None:
    run(Wire(), [(False, setup), *((True, item) for item in items)])


@given(st.lists(asks, max_size=4))
def test_anything_from_the_first_message_on(messages: list[Any]) -> None:
    run(Wire(), [(False, message) for message in messages])


# ---- sessions as they are --------------------------------------------------------------------------------------------


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[Any], list[str], int]:
    """What a session tells of some answers, what the client must see of them, and how many turns that is."""
    items: list[Any] = []
    seen: list[str] = []
    answers = draw(st.integers(1, 5))
    for number in range(1, answers + 1):
        items.append(AnswerStarted(0, draw(st.sampled_from(["turn", "asked", "watch"]))))
        for call in range(draw(st.integers(0, 2))):
            shown = draw(st.booleans())
            items.append(ToolCalled(0, f"{number}.{call}", "lamp" if shown else "robot"))
            items.append(ToolReturned(0, f"{number}.{call}", 1))
            items.append(AnswerStarted(0, "result"))
            seen += ["toolCall"] if shown else []
        items.append(ReplyStarted(0, number))
        pieces = draw(st.integers(0, 3))
        for piece in range(pieces):
            items.append(Spoken(number, piece * 400, tone(400)))
            seen += ["modelTurn"] if not seen or seen[-1] != "modelTurn" else []
        noise = [SpeechStarted(0), Ducked(0, number), Resumed(0, number), SpeechEnded(0), TickHeard(0, 1, 0.0)]
        items += draw(st.lists(st.sampled_from(noise), max_size=4))
        all_made = draw(st.booleans())
        if all_made:
            items.append(Spoken(number, pieces * 400, tone(400), final=True))
            seen += ["modelTurn"] if not seen or seen[-1] != "modelTurn" else []
            seen.append("generationComplete")
        if draw(st.booleans()):
            items += draw(st.sampled_from([[StopPlayback(number)], []]))
            items += [Interrupted(0, number, (), ()), ReplyEnded(0, number, False), Spoken(number, 9_999, tone(400))]
            seen += CUT
        else:
            items.append(ReplyEnded(0, number))
            if not all_made:
                seen += ["modelTurn"] if pieces and seen[-1] != "modelTurn" else []
                seen.append("generationComplete")
            seen.append("turnComplete")
        items += draw(st.sampled_from([[], [WordsHeard(0, ("x",), "ear", True)]]))
    return items, seen, answers


@MANY
@given(conversations())
def test_each_answer_is_one_turn(conversation: tuple[list[Any], list[str], int]) -> None:
    items, seen, answers = conversation
    wire = set_up(tools=tools("lamp"))
    wire.tell(*items)
    said = wire.said()
    assert kinds(said) == once(seen)
    assert sum(DONE[1] in message.get("serverContent", ()) for message in said) == answers


def once(names: list[str]) -> list[str]:
    return [name for at, name in enumerate(names) if not at or names[at - 1] != name]


def test_the_rules_of_this_test_can_be_broken() -> None:
    wire = set_up()
    wire.tell(say(1, "x"), Spoken(1, 0, tone(80), True), ReplyEnded(0, 1))
    said: list[dict[str, Any]] = [{"setupComplete": {}}, *wire.said()]
    broken = [said[1:], [said[0], *said[2:], said[1]], [said[0], *said[1:-2], said[-1]], [*said[:-1], said[-2]]]
    for messages in broken:
        turns = Turns()
        try:
            for message in messages:
                turns.see(message)
            assert not turns.open
        except AssertionError:
            continue
        raise AssertionError(messages)
