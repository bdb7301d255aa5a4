"""Who says that a turn is over: `turn_detection`, by voice of two kinds, or (null) the client itself.

It is replaced as a whole when its type is given: two kinds have no fields in common that mean the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from liveagent.jsonform import Json
from liveagent.wire.openai_fields import Fields

Object = dict[str, Json]

SERVER_VAD: Object = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
SEMANTIC_VAD: Object = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
EAGERNESS: dict[str, tuple[int, int]] = {"low": (500, 3000), "medium": (200, 1000), "high": (128, 600)}
"""The silence in ms that ends a turn: the shortest, when the agent is sure that it has, and the longest."""


def read_detection(known: Mapping[str, Any] | None, audio: Fields) -> Object | None:
    """`audio.turn_detection` with all its defaults; None where the client takes turns by hand. Raises `Refused`."""
    if not audio.given("turn_detection"):
        return None
    wanted = audio.fields("turn_detection")
    kind = wanted.choice(
        "type", ("server_vad", "semantic_vad"), None if known is None or "type" in wanted else known["type"]
    )
    kept: Mapping[str, Any] = SERVER_VAD if kind == "server_vad" else SEMANTIC_VAD
    if known is not None and "type" not in wanted:
        kept = known
    out: Object = {
        "type": kind,
        "create_response": wanted.flag("create_response", kept["create_response"]),
        "interrupt_response": wanted.flag("interrupt_response", kept["interrupt_response"]),
    }
    if kind == "semantic_vad":
        return out | {"eagerness": wanted.choice("eagerness", ("low", "medium", "high", "auto"), kept["eagerness"])}
    idle = None if "idle_timeout_ms" in wanted else kept["idle_timeout_ms"]
    if wanted.given("idle_timeout_ms"):
        idle = wanted.integer("idle_timeout_ms", 1_000, 600_000)
    return out | {
        "threshold": wanted.number("threshold", 0.0, 1.0, kept["threshold"]),
        "prefix_padding_ms": wanted.integer("prefix_padding_ms", 0, 10_000, kept["prefix_padding_ms"]),
        "silence_duration_ms": wanted.integer("silence_duration_ms", 1, 20_000, kept["silence_duration_ms"]),
        "idle_timeout_ms": idle,
    }


def silences(turns: Mapping[str, Any]) -> tuple[int, int]:
    """The shortest and the longest silence in ms that ends a turn."""
    if turns["type"] == "server_vad":
        return turns["silence_duration_ms"], turns["silence_duration_ms"]
    return EAGERNESS.get(turns["eagerness"], EAGERNESS["medium"])
