"""OpenAI Realtime, in whole conversations: turns, answers, interruptions, tools. Every event is checked by the peer."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from liveagent.action import CancelCall, StopPlayback
from liveagent.event import (
    AnswerAsked,
    AnswerStarted,
    AnswerStopped,
    CacheChanged,
    Ducked,
    ForgetAsked,
    Interrupted,
    Noted,
    PlaybackCut,
    ReplyEnded,
    ReplyStarted,
    Resumed,
    SessionEnded,
    SpeechEnded,
    SpeechStarted,
    TalkPressed,
    TalkReleased,
    TickHeard,
    ToolCalled,
    ToolReturned,
    TurnDropped,
    TurnEnded,
    TurnsSet,
    WordsHeard,
)
from liveagent.wire.codec import GoingAway, Problem, Sound, Welcome
from tests.openai_peer import MS, TOOL, WELCOME, Peer, S, answer, marks, say, sound, spoken, turn

HEARD = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
WRITTEN_DOWN = [
    "conversation.item.input_audio_transcription.delta",
    "conversation.item.input_audio_transcription.completed",
]
BEGUN = ["response.created", "rate_limits.updated"]
REPLY = ["response.output_item.added", "conversation.item.added", "response.content_part.added"]
SOUND_DONE = ["response.output_audio.done", "response.output_audio_transcript.done"]
DONE = ["response.content_part.done", "conversation.item.done", "response.output_item.done", "response.done"]


# ---- a turn and its answer


def test_a_turn_by_voice_comes_in_the_order_that_every_client_accepts() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    turn(peer, "what is it")
    answer(peer, 1)
    peer.tell(say(1, "It is a", False), spoken(1, 400, final=False), say(1, "ball.", True, 3), spoken(1, 200, 400))
    events = peer.new()
    assert [event["type"] for event in events] == [
        *HEARD, *WRITTEN_DOWN, *BEGUN, *REPLY,
        "response.output_audio_transcript.delta", "response.output_audio.delta",
        "response.output_audio_transcript.delta", "response.output_audio.delta",
        *SOUND_DONE, *DONE,
    ]  # fmt: skip
    by_kind = {event["type"]: event for event in events}
    heard = {event.get("item_id") or event["item"]["id"] for event in events[:5]}
    assert len(heard) == 1
    assert events[0]["audio_start_ms"] == 1_000 and events[1]["audio_end_ms"] == 2_000
    completed = by_kind["conversation.item.input_audio_transcription.completed"]
    assert completed["transcript"] == "what is it" and completed["item_id"] in heard
    assert completed["usage"] == {"type": "duration", "seconds": 1.5}
    assert by_kind["response.output_audio_transcript.done"]["transcript"] == "It is a ball."
    assert by_kind["response.created"]["response"]["status"] == "in_progress"
    done = by_kind["response.done"]["response"]
    assert done["status"] == "completed" and done["status_details"] is None
    (item,) = done["output"]
    assert item["status"] == "completed" and item["role"] == "assistant"
    assert item["content"] == [{"type": "output_audio", "transcript": "It is a ball."}]
    assert by_kind["response.output_item.added"]["item"]["status"] == "in_progress"


def test_the_time_zero_is_when_the_connection_was_opened() -> None:
    peer = Peer(opened=False)
    peer.codec.open(5 * S)
    peer.take()
    turn(peer, "yes", 6_000, 7_000)
    events = peer.new()
    assert events[1]["audio_start_ms"] == 1_000 and events[2]["audio_end_ms"] == 2_000


def test_without_transcription_no_words_are_told() -> None:
    peer = Peer()
    turn(peer, "what is it")
    assert peer.kinds() == ["session.created", *HEARD]


def test_words_that_are_typed_are_not_transcribed() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    peer.tell(WordsHeard(S, ("hello",), "typed", True), TurnEnded(S, S, "typed"))
    assert peer.kinds() == []


def test_what_is_typed_meanwhile_is_not_what_was_said() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    peer.tell(SpeechStarted(S), TurnEnded(3 * S, 2 * S), WordsHeard(3 * S, ("typed",), "typed", True))
    assert peer.kinds() == HEARD
    peer.tell(WordsHeard(3 * S, ("said",), "ear", True))
    assert peer.new()[-1]["transcript"] == "said"


def test_words_that_may_still_change_are_not_told() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    peer.tell(SpeechStarted(S), WordsHeard(S, ("what",), "ear"), WordsHeard(S, ("what", "is"), "ear"))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]


def test_a_voice_without_words_gives_an_empty_transcript_and_no_response() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    peer.tell(SpeechStarted(S), SpeechEnded(2 * S), TurnEnded(3 * S, 2 * S), Noted(3 * S, "no_words", "none"))
    events = peer.new()
    assert [event["type"] for event in events] == [*HEARD, WRITTEN_DOWN[1]]
    assert events[-1]["transcript"] == ""


def test_a_pause_within_a_turn_is_one_turn() -> None:
    peer = Peer()
    peer.new()
    peer.tell(SpeechStarted(S), SpeechEnded(2 * S), SpeechStarted(2 * S + 300 * MS), SpeechEnded(3 * S))
    peer.tell(TurnEnded(4 * S, 3 * S))
    events = peer.new()
    assert [event["type"] for event in events] == HEARD
    assert events[0]["audio_start_ms"] == 1_000 and events[1]["audio_end_ms"] == 3_000


def test_a_cough_in_silence_ends_without_a_turn() -> None:
    peer = Peer()
    peer.new()
    peer.tell(SpeechStarted(S), SpeechEnded(2 * S))
    peer.t_ns = 9 * S  # it has come so far, and is heard later
    peer.send("input_audio_buffer.append", audio=sound())
    peer.tell(TickHeard(3 * S, 37, -60.0))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]
    peer.tell(TickHeard(5 * S, 62, -60.0))
    assert peer.kinds() == ["input_audio_buffer.speech_stopped"]
    turn(peer, "hello", 6_000, 7_000)
    assert peer.kinds() == HEARD


def test_a_written_answer() -> None:
    peer = Peer()
    peer.settle(output_modalities=["text"])
    answer(peer, 1)
    peer.tell(say(1, "It is", False), spoken(1, 100), say(1, "a ball.", True, 2))
    events = peer.new()
    assert [event["type"] for event in events] == [
        *BEGUN, *REPLY, "response.output_text.delta", "response.output_text.delta", "response.output_text.done", *DONE
    ]  # fmt: skip
    done = events[-1]["response"]
    assert done["output"][0]["content"] == [{"type": "output_text", "text": "It is a ball."}]
    assert done["output_modalities"] == ["text"]


def test_a_server_without_a_voice_writes() -> None:
    peer = Peer(Welcome("s", "nano", voice=None))
    assert peer.new()[0]["session"]["output_modalities"] == ["text"]
    peer.send("session.update", session={"output_modalities": ["audio"]})
    assert peer.new()[0]["session"]["output_modalities"] == ["text"]
    answer(peer, 1)
    peer.tell(say(1, "No voice."))
    assert peer.kinds()[-1] == "response.done"


def test_words_may_come_a_moment_before_the_reply_they_are_of() -> None:
    peer = Peer()
    peer.new()
    peer.tell(say(1, "It is so."), AnswerStarted(0), ReplyStarted(0, 1), spoken(1, 300))
    events = peer.new()
    assert [event["type"] for event in events][-1] == "response.done"
    assert events[-1]["response"]["output"][0]["content"][0]["transcript"] == "It is so."


def test_a_reply_whose_voice_failed_ends_when_the_session_says_so() -> None:
    peer = Peer()
    peer.new()
    answer(peer, 1)
    peer.tell(say(1, "It is so."), spoken(1, 50, final=False), ReplyEnded(S, 1))
    events = peer.new()
    assert events[-1]["response"]["status"] == "completed"
    assert sum(event["type"] == "response.output_audio.delta" for event in events) == 1


def test_what_is_said_unasked_is_a_response_of_its_own() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "Hello."), spoken(1, 200), ReplyEnded(S, 1))
    answer(peer, 2, "watch")
    peer.tell(say(2, "There it is."), spoken(2, 200))
    done = [event for event in peer.new() if event["type"] == "response.done"]
    assert len({event["response"]["id"] for event in done}) == 2


def test_usage_counts_what_is_known() -> None:
    peer = Peer()
    peer.tell(CacheChanged(0, 100, 1000, {"audio": 30, "picture": 20, "text": 50}))
    answer(peer, 1)
    peer.tell(say(1, "one two three four"), spoken(1, 200))
    usage = peer.new()[-1]["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (100, 4, 104)
    details = usage["input_token_details"]
    assert (details["text_tokens"], details["audio_tokens"], details["image_tokens"]) == (50, 30, 20)


def test_the_sound_of_a_reply_is_the_voice_at_24_khz_in_small_pieces() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "hm"))
    for at in range(0, 2_000, 40):
        peer.tell(spoken(1, 40, at, final=at == 1_960))
    pieces = [base64.b64decode(e["delta"]) for e in peer.new() if e["type"] == "response.output_audio.delta"]
    heard = np.frombuffer(b"".join(pieces), "<i2")
    assert len(heard) == 48_000
    assert all(4_800 <= len(piece) <= 19_200 for piece in pieces[:-1])
    spectrum = np.abs(np.fft.rfft(heard[2_000:-2_000]))
    assert abs(np.argmax(spectrum) * 24_000 / (len(heard) - 4_000) - 440) < 1
    whole = Peer()
    answer(whole, 1)
    whole.tell(say(1, "hm"), spoken(1, 2_000))
    at_once = [base64.b64decode(e["delta"]) for e in whole.new() if e["type"] == "response.output_audio.delta"]
    assert b"".join(at_once) == b"".join(pieces)
    assert max(map(len, at_once)) <= 19_200


# ---- interruptions


def test_a_cough_into_a_reply_shows_nothing() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a ball."), spoken(1, 500, final=False))
    peer.new()
    peer.tell(SpeechStarted(S), Ducked(S, 1), Ducked(S, 1, True), SpeechEnded(S + 200 * MS), Resumed(S, 1))
    assert peer.kinds() == []
    peer.tell(spoken(1, 100, 500))
    assert peer.kinds()[-1] == "response.done"


def test_a_reply_that_is_taken_back_is_cancelled_and_silent() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a ball."), spoken(1, 500, final=False))
    peer.new()
    peer.tell(SpeechStarted(S), Ducked(S, 1))
    assert peer.kinds() == []
    peer.tell(StopPlayback(1), spoken(1, 300, 500), Interrupted(S + 700 * MS, 1, ("It",), ("is", "a", "ball.")))
    peer.tell(ReplyEnded(S, 1, False), say(1, "more"), spoken(1, 100, 800))
    events = peer.new()
    assert [event["type"] for event in events] == ["input_audio_buffer.speech_started", *SOUND_DONE, *DONE]
    assert events[0]["audio_start_ms"] == 1_000
    done = events[-1]["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"
    peer.send("conversation.item.retrieve", item_id=done["output"][0]["id"])
    assert peer.new()[0]["item"]["content"][0]["transcript"] == "It"
    peer.tell(SpeechEnded(2 * S), TurnEnded(3 * S, 2 * S))
    stopped, *_ = (ended := peer.new())
    assert [event["type"] for event in ended] == HEARD[1:]
    assert stopped["item_id"] == events[0]["item_id"]


def test_a_finished_response_that_still_sounds_is_interrupted_by_speech_alone() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a ball."), spoken(1, 500))
    assert peer.kinds()[-1] == "response.done"
    peer.tell(SpeechStarted(S), Ducked(S, 1))
    assert peer.kinds() == []
    peer.tell(StopPlayback(1), Interrupted(S, 1, ("It",), ("is", "a", "ball."), None), ReplyEnded(S, 1, False))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]


def test_an_interruption_that_is_told_before_the_stop_is_told_once() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a ball."), spoken(1, 500))
    peer.new()
    peer.tell(SpeechStarted(S), Interrupted(S, 1, (), ("It",)), ReplyEnded(S, 1, False), StopPlayback(1))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]


def test_a_turn_that_ended_inside_a_reply_is_not_told_twice() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a ball."), spoken(1, 500))
    peer.new()
    peer.tell(SpeechStarted(S), TurnEnded(3 * S, 2 * S), StopPlayback(1), Interrupted(3 * S, 1, (), ("It",)))
    assert peer.kinds() == HEARD


def test_speech_that_outlasts_the_reply_is_simply_the_next_turn() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is."), spoken(1, 500))
    peer.new()
    peer.tell(SpeechStarted(S), Ducked(S, 1), ReplyEnded(S, 1))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]


def test_a_yes_that_was_taken_for_nothing_becomes_a_turn_with_its_own_start() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "Shall I?"), spoken(1, 500))
    peer.new()
    peer.tell(SpeechStarted(S), SpeechEnded(S + 300 * MS), Resumed(S, 1, "backchannel"), ReplyEnded(S, 1))
    assert peer.kinds() == []
    peer.tell(TurnEnded(2 * S, S + 300 * MS))
    events = peer.new()
    assert [event["type"] for event in events] == HEARD
    assert events[0]["audio_start_ms"] == 1_000 and events[1]["audio_end_ms"] == 1_300


def test_whoever_speaks_before_a_reply_begins_to_sound_stops_it_at_the_client_too() -> None:
    peer = Peer()
    peer.new()
    peer.tell(AnswerStarted(S), SpeechStarted(S), ReplyStarted(S, 1), say(1, "It is."), spoken(1, 500, final=False))
    assert peer.kinds().count("input_audio_buffer.speech_started") == 1
    peer.tell(StopPlayback(1))
    first, *rest = peer.kinds()
    assert first == "input_audio_buffer.speech_started" and rest[-1] == "response.done"


def test_the_stop_word_stops_the_client() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is."), spoken(1, 500))
    peer.new()
    peer.tell(StopPlayback(1, "stop"))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]


def test_without_interrupt_response_speech_is_told_at_once_and_cancels_nothing() -> None:
    peer = Peer()
    asks = peer.settle(audio={"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}})
    (turns,) = asks
    assert isinstance(turns, TurnsSet) and not turns.interrupts and turns.answers
    answer(peer, 1)
    peer.tell(say(1, "It is."), spoken(1, 500, final=False))
    peer.new()
    peer.tell(SpeechStarted(S))
    assert peer.kinds() == ["input_audio_buffer.speech_started"]


def test_truncate_cuts_the_transcript_at_the_last_word_that_was_heard() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a red ball."), spoken(1, 1_000), marks(1, 200, 400, 500, 700, 1_000))
    item_id = peer.new()[-1]["response"]["output"][0]["id"]
    asks = peer.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=699)
    (cut,) = [ask for ask in asks if not isinstance(ask, TurnsSet)]
    assert cut == PlaybackCut(0, 1, 699 * 16)
    (truncated,) = peer.new()
    assert truncated["type"] == "conversation.item.truncated" and truncated["audio_end_ms"] == 699
    peer.send("conversation.item.retrieve", item_id=item_id)
    assert peer.new()[0]["item"]["content"] == [{"type": "output_audio", "transcript": "It is a"}]


def test_truncate_beyond_the_end_cuts_at_the_end() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is."), spoken(1, 600), marks(1, 200, 600))
    item_id = peer.new()[-1]["response"]["output"][0]["id"]
    asks = peer.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=5_000)
    assert PlaybackCut(0, 1, 9_600) in asks
    assert peer.new()[0]["audio_end_ms"] == 600
    peer.send("conversation.item.retrieve", item_id=item_id)
    assert peer.new()[0]["item"]["content"][0]["transcript"] == "It is."


def test_a_truncation_never_brings_words_back() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a ball."), spoken(1, 800), marks(1, 200, 400, 600, 800))
    item_id = peer.new()[-1]["response"]["output"][0]["id"]
    peer.tell(StopPlayback(1), Interrupted(S, 1, ("It",), ("is", "a", "ball.")))
    peer.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=650)
    peer.new()
    peer.send("conversation.item.retrieve", item_id=item_id)
    assert peer.new()[0]["item"]["content"][0]["transcript"] == "It"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"item_id": "nobody", "content_index": 0, "audio_end_ms": 0}, "item_truncate_invalid_item_id"),
        ({"item_id": "typed", "content_index": 0, "audio_end_ms": 0}, "invalid_value"),
        ({"item_id": "typed", "content_index": 1, "audio_end_ms": 0}, "invalid_value"),
        ({"item_id": "typed", "content_index": 0, "audio_end_ms": -1}, "invalid_value"),
        ({"item_id": "typed", "content_index": 0, "audio_end_ms": "soon"}, "invalid_type"),
        ({"content_index": 0, "audio_end_ms": 1}, "missing_required_parameter"),
    ],
)
def test_what_cannot_be_truncated(fields: dict[str, object], code: str) -> None:
    peer = Peer()
    content = [{"type": "output_text", "text": "Hello."}]
    peer.send(
        "conversation.item.create", item={"id": "typed", "type": "message", "role": "assistant", "content": content}
    )
    peer.new()
    assert not [ask for ask in peer.send("conversation.item.truncate", **fields) if isinstance(ask, PlaybackCut)]
    assert peer.error()["code"] == code


# ---- responses that are asked for


def test_a_response_that_is_asked_for_echoes_its_metadata() -> None:
    peer = Peer()
    metadata = {"client_event_id": "evt_7"}
    asks = peer.send("response.create", response={"metadata": metadata, "instructions": "In French."})
    asked = asks[-1]
    assert isinstance(asked, AnswerAsked) and asked.choice == "auto" and asked.instructions == "In French."
    peer.new()
    answer(peer, 1, "asked", asked.ref)
    peer.tell(say(1, "Oui."), spoken(1, 200))
    events = peer.new()
    for event in (events[0], events[-1]):
        assert event["response"]["id"] == asked.ref and event["response"]["metadata"] == metadata


def test_one_response_at_a_time() -> None:
    peer = Peer()
    (*_, asked) = peer.send("response.create")
    peer.new()
    assert not [ask for ask in peer.send("response.create", event_id="mine") if isinstance(ask, AnswerAsked)]
    error = peer.error()
    assert error["code"] == "conversation_already_has_active_response" and error["event_id"] == "mine"
    assert isinstance(asked, AnswerAsked)
    answer(peer, 1, "asked", asked.ref)
    peer.new()
    peer.send("response.create")
    assert peer.error()["code"] == "conversation_already_has_active_response"
    peer.tell(say(1, "So."), spoken(1, 100))
    peer.new()
    assert isinstance(peer.send("response.create")[-1], AnswerAsked)


def test_a_cancelled_response_ends_at_once_and_says_nothing_more() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is", False), spoken(1, 300, final=False))
    peer.new()
    assert AnswerStopped(0) in peer.send("response.cancel")
    events = peer.new()
    assert events[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    peer.tell(
        say(1, "a ball."), spoken(1, 100, 300), StopPlayback(1, "client_cancelled"), Interrupted(S, 1, (), ("It",))
    )
    peer.tell(ReplyStarted(S, 2), say(2, "late"), spoken(2, 100))
    assert peer.kinds() == []
    peer.send("response.cancel")
    error = peer.error()
    assert error["code"] == "response_cancel_not_active" and error["message"].startswith("Cancellation failed")
    answer(peer, 3)
    peer.tell(say(3, "Next."), spoken(3, 100))
    assert peer.kinds()[-1] == "response.done"


def test_a_response_cancelled_before_it_begins_has_a_beginning_and_an_end() -> None:
    peer = Peer()
    (*_, asked) = peer.send("response.create", response={"metadata": {"a": "b"}})
    assert isinstance(asked, AnswerAsked)
    peer.new()
    assert AnswerStopped(0) in peer.send("response.cancel", response_id=asked.ref)
    events = peer.new()
    assert [event["type"] for event in events] == [*BEGUN, "response.done"]
    assert events[0]["response"]["metadata"] == {"a": "b"} and events[0]["response"]["id"] == asked.ref
    answer(peer, 1, "asked", asked.ref)
    peer.tell(say(1, "late"), spoken(1, 100))
    assert peer.kinds() == []


def test_only_the_open_response_can_be_cancelled_by_its_id() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.new()
    peer.send("response.cancel", response_id="resp_other")
    assert peer.error()["code"] == "response_cancel_not_active"


def test_a_response_that_never_begins_fails() -> None:
    peer = Peer()
    peer.send("response.create")
    peer.new()
    peer.t_ns = 31 * S
    peer.tell(CacheChanged(31 * S, 1, 2))
    events = peer.new()
    assert [event["type"] for event in events] == [*BEGUN, "response.done"]
    assert events[-1]["response"]["status"] == "failed"


def test_a_problem_with_a_response_fails_it() -> None:
    peer = Peer()
    (*_, asked) = peer.send("response.create")
    assert isinstance(asked, AnswerAsked)
    peer.new()
    peer.tell(Problem("no_room", "The memory is full.", asked.ref))
    assert peer.new()[-1]["response"]["status_details"]["error"]["code"] == "no_room"


@pytest.mark.parametrize(
    ("response", "param"),
    [
        ({"conversation": "none"}, "response.conversation"),
        ({"input": []}, "response.input"),
        ({"metadata": {"a": 1}}, "response.metadata"),
        ({"metadata": {str(at): "x" for at in range(17)}}, "response.metadata"),
        ({"tool_choice": {"type": "function", "name": "nothing"}}, "response.tool_choice.name"),
        ({"output_modalities": ["smell"]}, "response.output_modalities"),
        ({"max_output_tokens": 0}, "response.max_output_tokens"),
    ],
)
def test_responses_that_cannot_be(response: dict[str, object], param: str) -> None:
    peer = Peer()
    peer.new()
    assert not [ask for ask in peer.send("response.create", response=response) if isinstance(ask, AnswerAsked)]
    assert peer.error()["param"] == param
    assert isinstance(peer.send("response.create")[-1], AnswerAsked)


def test_the_session_ends_and_so_does_what_is_open() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.send("response.create")
    peer.new()
    peer.tell(SessionEnded(S))
    assert peer.kinds()[-1] == "response.done"
    assert peer.codec.closing is not None and peer.codec.closing[0] == 1000


# ---- turns by hand


def test_turns_by_hand() -> None:
    peer = Peer()
    (turns,) = peer.settle(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    assert turns == TurnsSet(0, "push_to_talk", answers=False, interrupts=False)
    assert peer.send("input_audio_buffer.clear") == [TurnDropped(0)]
    first, pcm = peer.send("input_audio_buffer.append", audio=sound(60))
    assert first == TalkPressed(0) and isinstance(pcm, Sound) and pcm.rate_hz == 24_000 and len(pcm.pcm) == 1_440
    peer.t_ns = 60 * MS
    (more,) = peer.send("input_audio_buffer.append", audio=sound(60))
    assert isinstance(more, Sound)
    peer.new()
    assert peer.send("input_audio_buffer.commit") == [TalkReleased(60 * MS)]
    assert peer.kinds() == HEARD[2:]
    (*_, asked) = peer.send("response.create")
    assert isinstance(asked, AnswerAsked)
    peer.tell(TurnEnded(60 * MS, 60 * MS, "released"), WordsHeard(200 * MS, ("hello",), "ear", True))
    answer(peer, 1, "asked", asked.ref)
    assert peer.kinds() == [*WRITTEN_DOWN, *BEGUN, *REPLY]
    again, _ = peer.send("input_audio_buffer.append", audio=sound(60))
    assert isinstance(again, TalkPressed)


def test_too_little_cannot_be_committed() -> None:
    peer = Peer()
    peer.by_hand()
    peer.send("input_audio_buffer.append", audio=sound(99))
    assert peer.send("input_audio_buffer.commit", event_id="c1") == []
    error = peer.error()
    assert error["code"] == "input_audio_buffer_commit_empty" and error["event_id"] == "c1"
    peer.send("input_audio_buffer.append", audio=sound(1))
    assert peer.send("input_audio_buffer.commit") == [TalkReleased(0)]
    peer.new()
    peer.send("input_audio_buffer.commit")
    assert peer.error()["code"] == "input_audio_buffer_commit_empty"


def test_a_clear_makes_what_was_appended_nothing() -> None:
    peer = Peer()
    peer.by_hand()
    peer.send("input_audio_buffer.append", audio=sound(500))
    assert peer.send("input_audio_buffer.clear") == [TurnDropped(0)]
    assert peer.kinds() == ["input_audio_buffer.cleared"]
    peer.send("input_audio_buffer.commit")
    assert peer.error()["code"] == "input_audio_buffer_commit_empty"
    assert isinstance(peer.send("input_audio_buffer.append", audio=sound())[0], TalkPressed)


def too_long(peer: Peer) -> None:
    """By hand: the conversation has ended a turn, while the client still talks."""
    peer.settle(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    peer.send("input_audio_buffer.append", audio=sound(500))
    peer.new()
    peer.tell(TurnEnded(30 * S, 30 * S, "too_long"), WordsHeard(30 * S, ("once", "upon"), "ear", True))
    assert peer.kinds() == []
    peer.t_ns = 31 * S


def test_a_turn_by_hand_that_is_too_long_is_still_one_turn_for_the_client() -> None:
    peer = Peer()
    too_long(peer)
    assert isinstance(peer.send("input_audio_buffer.append", audio=sound(100))[0], TalkPressed)
    peer.send("input_audio_buffer.commit")
    assert peer.kinds() == HEARD[2:]
    peer.tell(TurnEnded(31 * S, 31 * S, "released"), WordsHeard(31 * S, ("a", "time"), "ear", True))
    assert peer.new()[-1]["transcript"] == "once upon a time"


def test_a_turn_by_hand_that_is_too_long_may_end_right_then() -> None:
    peer = Peer()
    too_long(peer)
    peer.send("input_audio_buffer.commit")
    events = peer.new()
    assert [event["type"] for event in events] == [*HEARD[2:], *WRITTEN_DOWN]
    assert events[-1]["transcript"] == "once upon" and events[-1]["usage"]["seconds"] == 30


def test_what_is_known_of_a_turn_that_is_cleared_is_forgotten() -> None:
    peer = Peer()
    too_long(peer)
    assert peer.send("input_audio_buffer.clear") == [TurnDropped(31 * S), ForgetAsked(31 * S, 0, 30 * S)]
    assert peer.send("input_audio_buffer.clear") == [TurnDropped(31 * S)]


def test_words_go_to_the_turn_that_was_released_with_them() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"turn_detection": None, "transcription": {"model": "whisper-1"}}})
    ids = []
    for at in (1, 2):
        peer.t_ns = at * S
        peer.send("input_audio_buffer.append", audio=sound())
        peer.send("input_audio_buffer.commit")
        ids.append(peer.new()[0]["item_id"])
    peer.tell(TurnEnded(2 * S, 2 * S, "released"), WordsHeard(3 * S, ("second",), "ear", True))
    completed = peer.new()[-1]
    assert completed["item_id"] == ids[1] and completed["transcript"] == "second"


def test_a_commit_by_voice_ends_the_turn_now() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"transcription": {"model": "whisper-1"}}})
    peer.send("input_audio_buffer.append", audio=sound(500))
    peer.tell(SpeechStarted(S))
    peer.t_ns = 2 * S
    assert peer.send("input_audio_buffer.commit") == [TalkReleased(2 * S)]
    assert peer.kinds() == HEARD
    peer.tell(TurnEnded(2 * S, 2 * S, "released"), WordsHeard(2 * S, ("hello",), "ear", True))
    assert peer.kinds() == WRITTEN_DOWN


# ---- sound


def test_sound_by_voice_is_passed_on_and_turns_are_taken_as_was_told() -> None:
    peer = Peer()
    detection = peer.new()[0]["session"]["audio"]["input"]["turn_detection"]
    turns, pcm = peer.send("input_audio_buffer.append", audio=sound(20))
    assert turns == TurnsSet(0, "open", True, True, 500, 500, 0.5)
    assert detection["silence_duration_ms"] == 500 and detection["create_response"] is True
    assert isinstance(pcm, Sound)
    assert len(peer.send("input_audio_buffer.append", audio=sound(20))) == 1
    assert peer.kinds() == []


def test_sound_that_runs_ahead_is_refused_and_not_taken() -> None:
    peer = Peer()
    peer.settle()
    assert peer.send("input_audio_buffer.append", audio=sound(9_000))
    peer.t_ns = S
    assert peer.send("input_audio_buffer.append", audio=sound(2_000))
    assert peer.kinds() == []
    assert peer.send("input_audio_buffer.append", audio=sound(100)) == []
    assert peer.error()["code"] == "input_audio_buffer_overrun"
    peer.t_ns = S + 100 * MS
    assert peer.send("input_audio_buffer.append", audio=sound(100))


def test_a_sample_cut_in_two_is_put_together() -> None:
    peer = Peer()
    peer.settle()
    data = base64.b64decode(sound(20))
    got = []
    for part in (data[:101], data[101:102], data[102:]):
        asks = peer.send("input_audio_buffer.append", audio=base64.b64encode(part).decode())
        got += [ask.pcm for ask in asks if isinstance(ask, Sound)]
    assert np.array_equal(np.concatenate(got), np.frombuffer(data, "<i2"))


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_telephone_sound_both_ways(kind: str) -> None:
    from liveagent.wire.openai_sound import encoded
    from tests.openai_peer import tone

    peer = Peer()
    peer.settle(audio={"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}})
    wave = tone(200, 8_000)
    (pcm,) = peer.send("input_audio_buffer.append", audio=base64.b64encode(encoded(kind, wave)).decode())
    assert isinstance(pcm, Sound) and pcm.rate_hz == 8_000
    assert np.abs(pcm.pcm.astype(int) - wave).max() < 300
    answer(peer, 1)
    peer.tell(say(1, "hm"), spoken(1, 400))
    events = peer.new()
    said = b"".join(base64.b64decode(e["delta"]) for e in events if e["type"] == "response.output_audio.delta")
    assert len(said) == 3_200
    assert events[-1]["response"]["audio"]["output"]["format"] == {"type": kind}


def test_nobody_speaks_for_long() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 5_000}}})
    answer(peer, 1)
    peer.tell(say(1, "Hello?"), spoken(1, 200), ReplyEnded(0, 1))
    peer.new()
    peer.t_ns = 4 * S
    peer.send("input_audio_buffer.append", audio=sound())
    assert peer.kinds() == []
    peer.t_ns = 6 * S
    (*_, asked) = peer.send("input_audio_buffer.append", audio=sound())
    assert isinstance(asked, AnswerAsked)
    assert peer.kinds() == ["input_audio_buffer.timeout_triggered", *HEARD[2:]]
    answer(peer, 2, "asked", asked.ref)
    assert peer.kinds()[0] == "response.created"


# ---- tools


def call(peer: Peer, call_id: str = "call_1", name: str = "weather") -> ToolCalled:
    return ToolCalled(peer.t_ns, call_id, name, {"city": "Bern"})


def test_a_call_comes_on_all_three_ways() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL])
    peer.tell(AnswerStarted(0), call(peer))
    events = peer.new()
    assert [event["type"] for event in events] == [
        *BEGUN, "response.output_item.added", "conversation.item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.done", "conversation.item.done", "response.output_item.done", "response.done",
    ]  # fmt: skip
    arguments = '{"city":"Bern"}'
    assert events[5]["arguments"] == arguments and events[5]["name"] == "weather"
    item = events[7]["item"]
    assert item["status"] == "completed" and item["call_id"] == "call_1" and item["name"] == "weather"
    assert item["arguments"] == arguments
    assert events[3]["item"]["name"] == "weather" and events[3]["item"]["call_id"] == "call_1"
    assert events[8]["response"]["status"] == "completed"


def output(peer: Peer, call_id: str, text: str = "sunny") -> list[object]:
    item = {"type": "function_call_output", "call_id": call_id, "output": text}
    return [ask for ask in peer.send("conversation.item.create", item=item) if not isinstance(ask, TurnsSet)]


def test_several_results_and_then_one_answer() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL])
    for number in (1, 2):
        peer.tell(AnswerStarted(0), call(peer, f"call_{number}"))
    peer.new()
    assert output(peer, "call_1") == [ToolReturned(0, "call_1", "sunny", answer=False)]
    assert output(peer, "call_2", "rain") == [ToolReturned(1, "call_2", "rain", answer=False)]
    assert peer.kinds() == ["conversation.item.added", "conversation.item.done"] * 2
    (*_, asked) = peer.send("response.create")
    assert isinstance(asked, AnswerAsked)
    answer(peer, 1, "asked", asked.ref)
    peer.tell(say(1, "Sunny, then rain."), spoken(1, 300))
    assert peer.kinds()[-1] == "response.done"


def test_a_result_of_no_call_or_twice_is_refused() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL])
    assert output(peer, "call_1") == []
    assert peer.error()["code"] == "invalid_tool_call_id"
    peer.tell(AnswerStarted(0), call(peer))
    output(peer, "call_1")
    peer.new()
    assert output(peer, "call_1") == []
    assert peer.error()["code"] == "invalid_tool_call_id"


def test_a_long_call_id_is_shortened_for_the_client_only() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL])
    long = "call_" + "x" * 60
    peer.tell(AnswerStarted(0), call(peer, long))
    call_id = peer.new()[-1]["response"]["output"][0]["call_id"]
    assert len(call_id) <= 32
    assert output(peer, call_id) == [ToolReturned(0, long, "sunny", answer=False)]


def test_the_agents_own_tools_are_not_shown_and_the_response_goes_on() -> None:
    peer = Peer()
    peer.new()
    peer.tell(AnswerStarted(0), call(peer, name="lamp"))
    assert peer.kinds() == BEGUN
    peer.send("response.create")
    assert peer.error()["code"] == "conversation_already_has_active_response"
    peer.tell(ToolReturned(S, "call_1", "on"), AnswerStarted(S, "result"), ReplyStarted(S, 1), say(1, "It is on."))
    peer.tell(spoken(1, 300))
    events = peer.new()
    assert events[0]["type"] == "response.output_item.added" and events[-1]["type"] == "response.done"
    assert len(events[-1]["response"]["output"]) == 1


def test_a_reply_before_an_own_tool_has_returned_does_not_end_the_response() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(call(peer, name="lamp"), say(1, "One moment."), spoken(1, 200))
    assert "response.done" not in peer.kinds()
    peer.tell(AnswerStarted(S, "result"), ReplyStarted(S, 2), say(2, "It is on."), spoken(2, 200))
    done = peer.new()[-1]
    assert done["type"] == "response.done" and len(done["response"]["output"]) == 2


def test_a_response_waits_for_the_reply_that_a_result_promised() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(call(peer, name="lamp"), say(1, "One moment."), spoken(1, 200), AnswerStarted(S, "result"))
    peer.tell(say(1, "late"), spoken(1, 100, 200))
    assert "response.done" not in peer.kinds()


def test_a_new_turn_ends_a_response_that_waits_for_an_own_tool() -> None:
    peer = Peer()
    peer.tell(AnswerStarted(0), call(peer, name="lamp"))
    peer.new()
    turn(peer, "never mind")
    answer(peer, 1)
    kinds = peer.kinds()
    assert kinds == [*HEARD, "response.done", *BEGUN, *REPLY]
    peer.tell(say(1, "All right."), spoken(1, 200), AnswerStarted(4 * S, "result"), ReplyStarted(4 * S, 2))
    peer.tell(say(2, "It is on."), spoken(2, 200))
    assert peer.kinds().count("response.done") == 2


def test_an_own_call_that_is_dropped_ends_its_response() -> None:
    peer = Peer()
    peer.tell(AnswerStarted(0), call(peer, name="lamp"))
    peer.new()
    peer.tell(CancelCall("call_1"))
    assert peer.new()[-1]["response"]["status"] == "cancelled"


def test_a_call_of_a_tool_that_was_just_taken_away_is_still_the_clients() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL])
    peer.settle(tools=[])
    peer.tell(AnswerStarted(0), call(peer))
    assert peer.kinds()[-1] == "response.done"


def test_tools_of_an_older_session_are_told_to_the_agent_in_words() -> None:
    peer = Peer()
    old = {"type": "function_call", "call_id": "old_1", "name": "weather", "arguments": '{"city":"Rome"}'}
    assert not [a for a in peer.send("conversation.item.create", item=old) if not isinstance(a, TurnsSet)]
    (told,) = output(peer, "old_1", "hot")
    assert getattr(told, "text", "") == 'weather({"city":"Rome"}): hot'


def test_a_session_whose_tool_choice_is_not_auto_asks_for_its_answers() -> None:
    peer = Peer()
    asks = peer.settle(tools=[TOOL], tool_choice="required")
    assert any(isinstance(ask, TurnsSet) and not ask.answers for ask in asks)
    turn(peer, "is it sunny")
    (asked, _) = peer.send("input_audio_buffer.append", audio=sound())
    assert isinstance(asked, AnswerAsked) and asked.choice == "required"
    peer.tell(AnswerStarted(0, "asked", asked.ref), call(peer))
    assert peer.kinds()[-1] == "response.done"


def test_tools_and_modalities_of_one_response_are_given_back_after_it() -> None:
    peer = Peer()
    peer.settle()
    asks = peer.send("response.create", response={"tools": [TOOL], "output_modalities": ["text"]})
    assert [type(ask).__name__ for ask in asks] == ["AgentChanged", "VoiceSet", "AnswerAsked"]
    asked = asks[-1]
    assert isinstance(asked, AnswerAsked)
    answer(peer, 1, "asked", asked.ref)
    peer.tell(say(1, "Written."))
    assert peer.kinds()[-1] == "response.done"
    back = peer.send("input_audio_buffer.append", audio=sound())
    assert [type(ask).__name__ for ask in back] == ["AgentChanged", "VoiceSet", "Sound"]
    assert getattr(back[0], "tools", None) == () and getattr(back[1], "on", None) is True
    assert len(peer.send("input_audio_buffer.append", audio=sound())) == 1


# ---- the rest


def test_a_problem_names_the_event_that_it_is_about() -> None:
    peer = Peer()
    content = [{"type": "input_text", "text": "hello"}]
    item = {"id": "mine", "type": "message", "role": "user", "content": content}
    peer.send("conversation.item.create", event_id="e1", item=item)
    peer.new()
    peer.tell(Problem("invalid_image", "That is no picture.", "mine"))
    error = peer.error()
    assert error["code"] == "invalid_image" and error["event_id"] == "e1"
    peer.tell(Problem("insufficient_quota", "Later."))
    assert peer.error()["code"] == "server_error"


def test_going_away_is_not_told() -> None:
    peer = Peer()
    peer.new()
    peer.tell(GoingAway(10_000))
    assert peer.kinds() == [] and peer.codec.closing is None


def test_the_same_conversation_gives_the_same_bytes() -> None:
    def talk() -> list[dict[str, object]]:
        peer = Peer(WELCOME)
        peer.settle(tools=[TOOL], audio={"input": {"transcription": {"model": "x"}}})
        turn(peer, "what is it")
        answer(peer, 1)
        peer.tell(say(1, "It is a ball."), spoken(1, 333), marks(1, 100, 200, 300, 333))
        peer.tell(AnswerStarted(0), call(peer))
        output(peer, "call_1")
        return peer.new()

    assert talk() == talk()
