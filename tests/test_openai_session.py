"""The session of OpenAI Realtime: partial updates, what is told back, and the answer of `client_secrets`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.realtime import ClientSecretCreateResponse, RealtimeSessionCreateResponse

from liveagent.errors import ProtocolError
from liveagent.event import AgentChanged, TurnsSet, VoiceSet
from liveagent.wire.openai_secret import client_secret, error_body
from liveagent.wire.openai_session import MOST_INSTRUCTIONS
from tests.openai_peer import TOOL, WELCOME, Peer


def session(peer: Peer) -> dict[str, Any]:
    found: dict[str, Any] = peer.new()[-1]["session"]
    return found


def test_the_first_event_is_the_session_with_every_default() -> None:
    peer = Peer()
    (created,) = peer.new()
    told = created["session"]
    assert created["type"] == "session.created"
    assert (told["type"], told["object"], told["id"]) == ("realtime", "realtime.session", "sess_1")
    assert told["model"] == "nano" and told["instructions"] == "Be brief." and told["tools"] == []
    assert told["output_modalities"] == ["audio"] and told["tool_choice"] == "auto"
    assert told["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert told["audio"]["output"]["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert told["audio"]["input"]["turn_detection"] == {
        "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500,
        "idle_timeout_ms": None, "create_response": True, "interrupt_response": True,
    }  # fmt: skip
    assert told["audio"]["input"]["transcription"] is None
    assert isinstance(told["expires_at"], int)
    RealtimeSessionCreateResponse.model_validate_json(json.dumps(told), strict=True)


def test_updates_are_partial() -> None:
    """As livekit and the Agents SDKs send them: one field after another, each keeping what was set before."""
    peer = Peer()
    asks = peer.settle(instructions="Be kind.")
    assert AgentChanged(0, "Be kind.") in asks
    brought = {"name": "weather", "description": TOOL["description"], "parameters": TOOL["parameters"]}
    assert peer.settle(tools=[TOOL]) == [AgentChanged(0, None, (brought,))]
    assert peer.settle(tracing={"workflow_name": "w"}) == []
    asks = peer.settle(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}})
    assert asks == [TurnsSet(0, "open", True, True, 500, 3000, None)]
    assert peer.settle(audio={"input": {"transcription": {"model": "m", "language": "en"}}}) == []
    assert peer.settle(output_modalities=["text"]) == [VoiceSet(0, False)]
    assert peer.settle(output_modalities=["text"]) == []
    peer.send("session.update", session={})
    told = session(peer)
    assert told["instructions"] == "Be kind." and told["tools"] == [TOOL]
    assert told["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad", "eagerness": "low", "create_response": True, "interrupt_response": True
    }  # fmt: skip
    assert told["audio"]["input"]["transcription"] == {"model": "m", "language": "en"}
    assert told["output_modalities"] == ["text"]


def test_null_clears() -> None:
    peer = Peer()
    peer.settle(instructions="x", tools=[TOOL], tool_choice="none", audio={"input": {"transcription": {"model": "m"}}})
    asks = peer.settle(
        instructions=None,
        tools=None,
        tool_choice=None,
        audio={"input": {"transcription": None, "turn_detection": None}},
    )
    assert asks == [
        AgentChanged(0, "Be brief.", ()), TurnsSet(0, "push_to_talk", answers=False, interrupts=False)
    ]  # fmt: skip
    peer.send("session.update", session={})
    told = session(peer)
    assert told["instructions"] == "Be brief." and told["tools"] == [] and told["tool_choice"] == "auto"
    assert told["audio"]["input"]["transcription"] is None and told["audio"]["input"]["turn_detection"] is None


def test_turn_detection_is_replaced_and_not_merged() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.8, "create_response": False}}})
    peer.settle(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})
    peer.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
    detection = session(peer)["audio"]["input"]["turn_detection"]
    assert detection["threshold"] == 0.5 and detection["create_response"] is True
    peer.send("session.update", session={"audio": {"input": {"turn_detection": {"silence_duration_ms": 700}}}})
    assert session(peer)["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 700


def test_turn_detection_becomes_manners() -> None:
    peer = Peer()
    detection = {
        "type": "server_vad", "threshold": 0.7, "silence_duration_ms": 800, "create_response": False,
        "interrupt_response": False,
    }  # fmt: skip
    assert peer.settle(audio={"input": {"turn_detection": detection}}) == [
        TurnsSet(0, "open", False, False, 800, 800, 0.7)
    ]


def test_an_update_that_is_wrong_changes_nothing() -> None:
    peer = Peer()
    peer.settle()
    bad = {"instructions": "new", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16_000}}}}
    assert peer.send("session.update", event_id="u1", session=bad) == []
    error = peer.error()
    assert error["param"] == "session.audio.input.format.rate" and error["event_id"] == "u1"
    peer.send("session.update", session={})
    assert session(peer)["instructions"] == "Be brief."


DEEP: dict[str, Any] = {"type": "object"}
for _ in range(15):
    DEEP = {"type": "object", "properties": {"a": DEEP}}


@pytest.mark.parametrize(
    ("bad", "param"),
    [
        ({"type": "transcription"}, "session.type"),
        ({"instructions": 1}, "session.instructions"),
        ({"instructions": "x" * (MOST_INSTRUCTIONS + 1)}, "session.instructions"),
        ({"tools": {}}, "session.tools"),
        ({"tools": ["x"]}, "session.tools[0]"),
        ({"tools": [{"type": "function"}]}, "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "no spaces"}]}, "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "x" * 65}]}, "session.tools[0].name"),
        ({"tools": [TOOL, TOOL]}, "session.tools[1].name"),
        ({"tools": [{**TOOL, "parameters": []}]}, "session.tools[0].parameters"),
        ({"tools": [{**TOOL, "parameters": {"type": "string"}}]}, "session.tools[0].parameters"),
        ({"tools": [{**TOOL, "parameters": DEEP}]}, "session.tools[0].parameters"),
        ({"tools": [{**TOOL, "description": "x" * 40_000}]}, "session.tools[0].description"),
        ({"tools": [{**TOOL, "name": f"t{at}", "description": "x" * 9_000} for at in range(40)]}, "session.tools"),
        ({"tools": [{**TOOL, "name": f"t{at}"} for at in range(129)]}, "session.tools"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "session.tools[0].type"),
        ({"tool_choice": "perhaps"}, "session.tool_choice"),
        ({"tool_choice": {"type": "function", "name": "weather"}}, "session.tool_choice.name"),
        ({"output_modalities": []}, "session.output_modalities"),
        ({"output_modalities": "audio"}, "session.output_modalities"),
        ({"max_output_tokens": 5_000}, "session.max_output_tokens"),
        ({"max_output_tokens": True}, "session.max_output_tokens"),
        ({"audio": []}, "session.audio"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "session.audio.input.format.type"),
        ({"audio": {"input": {"turn_detection": {"type": "none"}}}}, "session.audio.input.turn_detection.type"),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}}, None),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": "yes"}}}}, None),
        ({"audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "wild"}}}}, None),
        ({"audio": {"input": {"noise_reduction": {"type": "all"}}}}, None),
        ({"audio": {"output": {"speed": 9}}}, "session.audio.output.speed"),
        ({"audio": {"output": {"voice": 7}}}, "session.audio.output.voice"),
        ({"turn_detection": None}, "session.turn_detection"),
        ({"prompt": {"id": "p"}}, "session.prompt"),
        ({"truncation": "never"}, "session.truncation"),
        ({"include": ["everything"]}, "session.include"),
        (None, "session"),
        ([], "session"),
    ],
)
def test_wrong_updates(bad: object, param: str | None) -> None:
    peer = Peer()
    peer.new()
    assert not [ask for ask in peer.send("session.update", session=bad) if not isinstance(ask, TurnsSet)]
    error = peer.error()
    assert error["type"] == "invalid_request_error" and error["code"]
    assert param is None or error["param"] == param


def test_what_changes_nothing_here_is_accepted_and_told_back() -> None:
    peer = Peer()
    wanted = {
        "max_output_tokens": 100, "tracing": "auto", "include": ["item.input_audio_transcription.logprobs"],
        "truncation": {"type": "retention_ratio", "retention_ratio": 0.5, "token_limits": {"post_instructions": 9}},
        "parallel_tool_calls": True, "reasoning": {"effort": "low"},
    }  # fmt: skip
    assert peer.send("session.update", session={**wanted, "model": "gpt-realtime", "something_new": {"a": 1}})
    told = session(peer)
    assert {name: told[name] for name in wanted} == wanted
    assert told["model"] == "nano" and "something_new" not in told
    peer.settle(audio={"output": {"voice": "alloy", "speed": 1.2}, "input": {"noise_reduction": {"type": "far_field"}}})
    assert peer.settle(audio={"output": {"voice": {"id": "voice_1"}}}) == []
    peer.send("session.update", session={name: None for name in wanted})
    told = session(peer)
    assert told["truncation"] == "auto" and told["tracing"] is None and told["max_output_tokens"] == "inf"
    assert told["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24_000}, "voice": {"id": "voice_1"}, "speed": 1.2
    }  # fmt: skip


def test_names_of_formats_from_before() -> None:
    peer = Peer()
    peer.settle(audio={"input": {"format": "g711_ulaw"}, "output": {"format": "pcm16"}})
    peer.send("session.update", session={})
    told = session(peer)["audio"]
    assert told["input"]["format"] == {"type": "audio/pcmu"} and told["output"]["format"]["rate"] == 24_000


def test_a_tool_choice_goes_with_its_tool() -> None:
    peer = Peer()
    peer.settle(tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    peer.send("session.update", session={"tools": []})
    assert session(peer)["tool_choice"] == "auto"


def test_changing_to_turns_by_hand_forgets_what_was_appended() -> None:
    from tests.openai_peer import sound

    peer = Peer()
    peer.send("input_audio_buffer.append", audio=sound(500))
    peer.by_hand()
    peer.send("input_audio_buffer.commit")
    assert peer.error()["code"] == "input_audio_buffer_commit_empty"


# ---- client secrets


def test_a_client_secret() -> None:
    body = {
        "expires_after": {"anchor": "created_at", "seconds": 60},
        "session": {"type": "realtime", "instructions": "Hi."},
    }
    made = client_secret(json.dumps(body), WELCOME)
    answer: dict[str, Any] = made.answer("ek_abc", 1_000)
    found = ClientSecretCreateResponse.model_validate_json(json.dumps(answer), strict=True)
    assert found.value == "ek_abc" and made.seconds == 60 and found.expires_at == 1_060
    assert answer["session"]["instructions"] == "Hi."
    peer = Peer()
    peer.new()
    first = json.dumps({"type": "session.update", "session": dict(made.session)})
    assert AgentChanged(0, "Hi.") in peer.raw(first)
    assert peer.kinds() == ["session.updated"]


@pytest.mark.parametrize("body", [b"", b"{}", '{"session":null}'])
def test_a_client_secret_of_nothing_has_the_defaults(body: str | bytes) -> None:
    made = client_secret(body, WELCOME)
    ClientSecretCreateResponse.model_validate_json(json.dumps(made.answer("ek_abc", 1_000)), strict=True)
    assert made.seconds == 600 and not made.session


@pytest.mark.parametrize(
    "body",
    [
        b"[]", b"{", b'{"expires_after":{"seconds":1}}', b'{"expires_after":{"anchor":"x"}}', b'{"session":[]}',
        b'{"session":{"tools":3}}', b'{"session":{"type":"transcription"}}', b'{"a":' + b"[" * 100_000,
    ],
)  # fmt: skip
def test_client_secrets_that_cannot_be(body: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        client_secret(body, WELCOME)
    assert error_body(error.value)["error"]
