"""Items of OpenAI Realtime: created, retrieved, deleted, in order; pictures; and messages that are wrong."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from liveagent.event import (
    ForgetAsked,
    Interrupted,
    MessageAdded,
    ReplyStarted,
    TalkPressed,
    TalkReleased,
    ToolCalled,
    TurnEnded,
    TurnsSet,
    WordsHeard,
)
from liveagent.wire.codec import Asked, Picture, Sound, Welcome
from liveagent.wire.openai_create import MOST_PICTURE_BYTES
from liveagent.wire.openai_items import MOST_ITEMS
from tests.openai_peer import MS, TOOL, Peer, S, answer, say, sound, spoken, turn

JPEG = b"\xff\xd8\xff\xe0" + b"x" * 60
ADDED = ["conversation.item.added", "conversation.item.done"]


def message(text: str = "hello", role: str = "user", **more: Any) -> dict[str, Any]:
    kind = "output_text" if role == "assistant" else "input_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}], **more}


def picture(data: bytes = JPEG, kind: str = "image/jpeg", **more: Any) -> dict[str, Any]:
    url = f"data:{kind};base64,{base64.b64encode(data).decode()}"
    return {"type": "message", "role": "user", "content": [{"type": "input_image", "image_url": url, **more}]}


def create(peer: Peer, item: object, **more: Any) -> list[Asked]:
    asks = peer.send("conversation.item.create", item=item, **more)
    return [ask for ask in asks if not isinstance(ask, TurnsSet)]


def order(peer: Peer) -> list[str]:
    return peer.order.items


# ---- creating


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_a_message_is_added_and_told_back(role: Any) -> None:
    peer = Peer()
    peer.new()
    assert create(peer, message(role=role, id="mine")) == [MessageAdded(0, role, "hello")]
    added, done = peer.new()
    assert [added["type"], done["type"]] == ADDED
    assert added["item"]["id"] == "mine" and added["previous_item_id"] is None
    assert done["item"]["content"][0]["text"] == "hello" and done["item"]["status"] == "completed"


def test_ids_are_the_clients_or_ours_and_never_twice() -> None:
    peer = Peer()
    create(peer, message(id="item_1"))
    create(peer, message())
    peer.new()
    assert order(peer)[0] == "item_1" and len(set(order(peer))) == 2
    assert create(peer, message(id="item_1"), event_id="e") == []
    error = peer.error()
    assert error["code"] == "item_create_duplicate_item_id" and error["event_id"] == "e"


def test_items_stand_where_they_were_put() -> None:
    peer = Peer()
    create(peer, message(id="b"))
    create(peer, message(id="d"), previous_item_id="b")
    create(peer, message(id="a"), previous_item_id="root")
    create(peer, message(id="c"), previous_item_id="b")
    create(peer, message(id="e"))
    assert order(peer) == ["a", "b", "c", "d", "e"]
    previous = {e["item"]["id"]: e["previous_item_id"] for e in peer.new() if e["type"] == "conversation.item.added"}
    assert previous == {"b": None, "d": "b", "a": None, "c": "b", "e": "d"}
    assert create(peer, message(), previous_item_id="z") == []
    assert peer.error()["code"] == "item_create_invalid_previous_item_id"
    peer.send("conversation.item.delete", item_id="c")
    create(peer, message(id="x"), previous_item_id="b")
    assert order(peer) == ["a", "b", "x", "d", "e"]


def test_turns_and_answers_stand_behind_what_went_before() -> None:
    peer = Peer()
    create(peer, message(id="a"))
    turn(peer, "what is it")
    answer(peer, 1)
    peer.tell(say(1, "A ball."), spoken(1, 100))
    create(peer, message(id="z"))
    added = [e for e in peer.new() if e["type"] == "conversation.item.added"]
    assert [e["previous_item_id"] for e in added] == [None, *[e["item"]["id"] for e in added[:-1]]]
    assert [e["item"]["role"] for e in added] == ["user", "user", "assistant", "user"]


def test_a_picture_goes_to_the_host_and_is_never_told_back() -> None:
    peer = Peer()
    peer.new()
    item = picture(JPEG + b"y" * 2_000_000, detail="low")
    item["content"].append({"type": "input_text", "text": "what is this"})
    seen, said = create(peer, {**item, "id": "pic"})
    assert isinstance(seen, Picture) and seen.data.startswith(JPEG) and not seen.live and seen.ref == "pic"
    assert isinstance(said, MessageAdded)
    peer.send("conversation.item.retrieve", item_id="pic")
    for event in peer.new():
        assert len(json.dumps(event)) < 2_000
        assert event["item"]["content"][0] == {"type": "input_image", "detail": "low"}


@pytest.mark.parametrize(
    "item",
    [
        picture(b"GIF89a", "image/gif"),
        picture(b"not a jpeg"),
        picture(b""),
        picture(JPEG, "image/png"),
        {**picture(), "content": [{"type": "input_image", "image_url": "https://example.com/a.jpg"}]},
        {**picture(), "content": [{"type": "input_image", "image_url": "data:image/jpeg;base64,####"}]},
        {**picture(), "content": [{"type": "input_image", "image_url": "data:image/jpeg;base64"}]},
        {**picture(), "content": [{"type": "input_image"}]},
        picture(JPEG, detail="immense"),
        picture(JPEG + b"x" * MOST_PICTURE_BYTES),
    ],
)
def test_pictures_that_are_none(item: dict[str, Any]) -> None:
    peer = Peer()
    peer.new()
    assert create(peer, item) == []
    assert peer.error()["param"].startswith("item.content[0].")
    assert order(peer) == []


def test_a_model_without_eyes_says_so() -> None:
    peer = Peer(Welcome("s", "nano", sees=False))
    peer.new()
    assert create(peer, picture()) == []
    assert "eyes" in peer.error()["message"]


def test_sound_in_an_item_is_heard_as_if_a_key_was_held() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"turn_detection": None, "transcription": {"model": "m"}}})
    content = [{"type": "input_audio", "audio": sound(300)}]
    press, pcm, release = create(peer, {"id": "s", "type": "message", "role": "user", "content": content})
    assert isinstance(press, TalkPressed) and isinstance(release, TalkReleased)
    assert isinstance(pcm, Sound) and len(pcm.pcm) == 7_200
    assert peer.new()[1]["item"]["content"] == [{"type": "input_audio", "transcript": None}]
    peer.tell(TurnEnded(release.t_ns, 0, "released"), WordsHeard(S, ("hello", "there"), "ear", True))
    completed = peer.new()[-1]
    assert completed["item_id"] == "s" and completed["transcript"] == "hello there"


def test_sound_in_an_item_by_voice_is_taken_by_hand_for_its_length() -> None:
    peer = Peer()
    peer.settle()
    content = [{"type": "input_audio", "audio": sound(300)}]
    asks = peer.send("conversation.item.create", item={"type": "message", "role": "user", "content": content})
    assert [type(ask).__name__ for ask in asks] == ["TurnsSet", "TalkPressed", "Sound", "TalkReleased", "TurnsSet"]
    assert getattr(asks[0], "mode", "") == "push_to_talk" and getattr(asks[-1], "mode", "") == "open"


def test_sound_whose_words_are_known_is_not_heard_again() -> None:
    peer = Peer()
    content = [{"type": "input_audio", "audio": sound(300), "transcript": "what was that"}]
    assert create(peer, {"type": "message", "role": "user", "content": content}) == [
        MessageAdded(0, "user", "what was that")
    ]


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (None, "invalid_type"),
        ({}, "missing_required_parameter"),
        ({"type": "mcp_call"}, "invalid_value"),
        ({"type": "item_reference", "id": "x"}, "invalid_value"),
        (message(role="developer"), "invalid_value"),
        ({"type": "message", "role": "user"}, "missing_required_parameter"),
        ({"type": "message", "role": "user", "content": "hello"}, "invalid_type"),
        ({"type": "message", "role": "user", "content": ["hello"]}, "invalid_type"),
        ({"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]}, "invalid_value"),
        ({"type": "message", "role": "assistant", "content": [{"type": "input_text", "text": "x"}]}, "invalid_value"),
        ({"type": "message", "role": "user", "content": [{"type": "input_text"}]}, "missing_required_parameter"),
        ({"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "?"}]}, "invalid_value"),
        ({"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": ""}]}, "invalid_value"),
        (message("x" * 600_000), "string_above_max_length"),
        (message("\0" * 100_000), "string_above_max_length"),
        (message(id=""), "string_below_min_length"),
        (message(id="x" * 200), "string_above_max_length"),
        (message(id=7), "invalid_type"),
        ({"type": "function_call_output", "output": "x"}, "missing_required_parameter"),
        ({"type": "function_call_output", "call_id": "c", "output": {}}, "invalid_type"),
        ({"type": "function_call", "call_id": "c"}, "missing_required_parameter"),
    ],
)
def test_items_that_cannot_be(item: object, code: str) -> None:
    peer = Peer()
    peer.new()
    assert create(peer, item) == []
    assert peer.error()["code"] == code
    assert order(peer) == []


def test_the_oldest_items_give_way() -> None:
    peer = Peer()
    for number in range(MOST_ITEMS + 5):
        peer.codec.receive(json.dumps({"type": "conversation.item.create", "item": message(id=f"i{number}")}), 0)
    peer.codec.take()
    peer.order.first = False
    peer.send("conversation.item.retrieve", item_id="i4")
    peer.send("conversation.item.retrieve", item_id="i5")
    assert peer.kinds()[1:] == ["error", "conversation.item.retrieved"]


# ---- retrieving and deleting


def test_retrieve_a_reply_that_is_being_said() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(say(1, "It is a", False))
    item_id = order(peer)[0]
    peer.new()
    peer.send("conversation.item.retrieve", item_id=item_id)
    (event,) = peer.new()
    assert event["type"] == "conversation.item.retrieved"
    assert event["item"]["status"] == "in_progress" and event["item"]["content"][0]["transcript"] == "It is a"


@pytest.mark.parametrize("verb", ["retrieve", "delete", "truncate"])
def test_an_item_that_is_not_there(verb: str) -> None:
    peer = Peer()
    peer.new()
    peer.send(f"conversation.item.{verb}", item_id="nobody", content_index=0, audio_end_ms=0, event_id="e")
    error = peer.error()
    assert error["code"] == f"item_{verb}_invalid_item_id" and error["event_id"] == "e"


def test_deleting_forgets_what_the_item_brought_and_nothing_else() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL])
    peer.t_ns = S
    create(peer, message(id="first"))
    create(peer, message(id="second", role="assistant"))
    create(peer, {**picture(), "id": "third"})
    turn(peer, "what is it", 2_000, 3_000)
    answer(peer, 1)
    peer.tell(say(1, "A ball."), spoken(1, 100))
    peer.tell(ToolCalled(9 * S, "call_1", "weather", {}))
    heard, said, called = order(peer)[3:]
    peer.new()

    def delete(item_id: str) -> list[Asked]:
        asks = peer.send("conversation.item.delete", item_id=item_id)
        (event,) = peer.new()
        assert event["type"] == "conversation.item.deleted" and event["item_id"] == item_id
        return asks

    assert delete("second") == [ForgetAsked(peer.t_ns, S + 1, S + 1, "agent")]
    assert delete("first") == [ForgetAsked(peer.t_ns, S, S, "user")]
    assert delete("third") == [ForgetAsked(peer.t_ns, S, S + 2, "picture")]
    assert delete(heard) == [ForgetAsked(peer.t_ns, 2 * S, 3_500 * MS, "user")]
    assert delete(said) == [ForgetAsked(peer.t_ns, 3_500 * MS, 3_500 * MS, "agent")]
    assert delete(called) == [ForgetAsked(peer.t_ns, 9 * S, 9 * S, "agent")]
    assert order(peer) == []


def test_what_is_still_being_said_cannot_be_deleted() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.new()
    peer.send("conversation.item.delete", item_id=order(peer)[0])
    assert peer.error()["code"] == "item_delete_in_progress"


def test_an_item_deleted_before_it_was_heard_is_forgotten_once_it_is() -> None:
    peer = Peer()
    peer.by_hand()
    peer.send("input_audio_buffer.append", audio=sound())
    peer.t_ns = S
    peer.send("input_audio_buffer.commit")
    assert peer.send("conversation.item.delete", item_id=order(peer)[0]) == []
    peer.tell(TurnEnded(S, S, "released"), WordsHeard(2 * S, ("hello",), "ear", True))
    peer.t_ns = 3 * S
    assert peer.send("session.update", session={}) == [ForgetAsked(S, 0, 2 * S, "user")]


def test_a_reply_with_a_number_that_was_used_is_the_first_one() -> None:
    peer = Peer()
    answer(peer, 1)
    peer.tell(ReplyStarted(S, 1), say(1, "Once."), spoken(1, 100), Interrupted(S, 1, ("Once.",), ()))
    assert len(order(peer)) == 1


# ---- messages that are none


@pytest.mark.parametrize(
    "data",
    [
        "", "{", "[]", "null", "7", '"x"', "{}", '{"type":7}', '{"type":null}', '{"type":"session.upset"}',
        '{"type":"x","type":"y"}', '{"type":NaN}', '{"type":"input_audio_buffer.append"}',
        '{"type":"input_audio_buffer.append","audio":"###"}', '{"type":"input_audio_buffer.append","audio":"AAA"}',
        '{"type":"input_audio_buffer.append","audio":null}', '{"type":"input_audio_buffer.append","audio":[]}',
        '{"type":"session.update"}', '{"type":"session.update","session":{"instructions":"\\ud800"}}',
        '{"a":' + "[" * 20_000, '{"type":"response.create","response":[]}', b"\x00\x01", b"{}",
        '{"type":"output_audio_buffer.clear"}', '{"type":"response.cancel","response_id":7}',
        '{"type":"session.update","event_id":7,"session":{}}', '{"type":"' + "x" * 300 + '"}',
    ],
)  # fmt: skip
def test_a_message_that_is_none_is_an_error_and_the_connection_stays(data: str | bytes) -> None:
    peer = Peer()
    peer.new()
    assert [ask for ask in peer.raw(data) if not isinstance(ask, TurnsSet)] == []
    error = peer.error()
    assert error["type"] == "invalid_request_error" and error["code"] and error["event_id"] is None
    assert peer.codec.closing is None
    peer.send("session.update", session={})
    assert peer.kinds() == ["session.updated"]


def test_too_much_sound_at_once() -> None:
    peer = Peer()
    peer.by_hand()
    peer.send("input_audio_buffer.append", audio="A" * (15 * 1024 * 1024 + 4))
    assert peer.error()["code"] == "string_above_max_length"
    peer.raw(json.dumps({"type": "input_audio_buffer.append", "audio": "A" * (16 * 1024 * 1024)}))
    assert peer.error()["code"] == "invalid_json"


def test_an_error_names_the_clients_event_and_has_an_id_of_its_own() -> None:
    peer = Peer()
    peer.new()
    peer.send("conversation.item.retrieve", event_id="mine", item_id="x")
    (event,) = peer.new()
    assert event["error"]["event_id"] == "mine" and event["event_id"] not in (None, "mine")
