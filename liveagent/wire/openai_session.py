"""The session object: what a client may set, partially and as often as it likes, and what it is told back.

A field that is absent keeps its value and null clears it to its default. `turn_detection` is replaced as a whole: two
kinds of it have no fields in common that mean the same. What is told back has every default filled in, because clients
read defaults from there and not from the documentation. Some fields cannot change anything here (the model, the voice's
name and speed, noise reduction, tracing, truncation, a limit of tokens); they are accepted and told back, since a
client that is refused them gives up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from liveagent.event import AgentChanged, Inbox, TurnsSet, VoiceSet
from liveagent.jsonform import Json
from liveagent.wire.codec import Welcome
from liveagent.wire.openai_detection import SERVER_VAD, read_detection, silences
from liveagent.wire.openai_fields import Fields, Refused
from liveagent.wire.openai_passed import MOST_PASSED_ON, read_most_tokens, read_passed_on
from liveagent.wire.openai_sound import FORMATS
from liveagent.wire.openai_tools import Tool, asked, chosen, read_choice, read_tools

Object = dict[str, Json]

MOST_INSTRUCTIONS = 100_000
PCM: Object = {"type": "audio/pcm", "rate": 24_000}
_OLD_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_BETA = {
    "modalities": "output_modalities",
    "voice": "audio.output.voice",
    "input_audio_format": "audio.input.format",
    "output_audio_format": "audio.output.format",
    "input_audio_transcription": "audio.input.transcription",
    "turn_detection": "audio.input.turn_detection",
    "max_response_output_tokens": "max_output_tokens",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client has set. `turn_detection` None: the client itself says when a turn begins and ends."""

    instructions: str
    spoken: bool
    tools: tuple[Tool, ...] = ()
    tool_choice: Json = "auto"
    turn_detection: Mapping[str, Any] | None = None
    transcription: Object | None = None
    noise_reduction: Object | None = None
    input_format: str = "audio/pcm"
    output_format: str = "audio/pcm"
    voice: Json = "marin"
    speed: float = 1.0
    max_output_tokens: Json = "inf"
    tracing: Json = None
    truncation: Json = "auto"
    include: Json = None
    parallel_tool_calls: Json = None
    reasoning: Json = None

    @property
    def by_voice(self) -> bool:
        """Turns begin and end by voice."""
        return self.turn_detection is not None

    @property
    def create_response(self) -> bool:
        return self.turn_detection is not None and bool(self.turn_detection["create_response"])

    @property
    def interrupts(self) -> bool:
        return self.turn_detection is not None and bool(self.turn_detection["interrupt_response"])

    @property
    def longest_silence_ms(self) -> int:
        """At the latest after so much silence a turn has ended, or was none."""
        return silences(self.turn_detection)[1] if self.turn_detection is not None else 0

    @property
    def idle_timeout_ms(self) -> int | None:
        return self.turn_detection.get("idle_timeout_ms") if self.turn_detection is not None else None

    def turns(self, t_ns: int) -> TurnsSet:
        """Turns as they are to be taken. In manual mode nothing interrupts: such clients send their sound all the
        time, also while the agent speaks. A choice of tools that is not "auto" reaches an answer only if that is asked
        for, so then no turn is answered by itself."""
        if self.turn_detection is None:
            return TurnsSet(t_ns, "push_to_talk", answers=False, interrupts=False)
        shortest, longest = silences(self.turn_detection)
        return TurnsSet(
            t_ns,
            "open",
            self.create_response and self.tool_choice == "auto",
            self.interrupts,
            shortest,
            longest,
            self.turn_detection.get("threshold"),
        )

    def object(self, welcome: Welcome) -> Object:
        """The session as clients are told it."""
        return {
            "type": "realtime",
            "object": "realtime.session",
            "id": welcome.session_id,
            "model": welcome.model,
            "output_modalities": ["audio" if self.spoken else "text"],
            "instructions": self.instructions,
            "tools": list(self.tools),
            "tool_choice": self.tool_choice,
            "max_output_tokens": self.max_output_tokens,
            "tracing": self.tracing,
            "truncation": self.truncation,
            "prompt": None,
            "include": self.include,
            **({} if self.parallel_tool_calls is None else {"parallel_tool_calls": self.parallel_tool_calls}),
            **({} if self.reasoning is None else {"reasoning": self.reasoning}),
            "expires_at": welcome.expires_unix_s,
            "audio": {
                "input": {
                    "format": _format_object(self.input_format),
                    "transcription": self.transcription,
                    "noise_reduction": self.noise_reduction,
                    "turn_detection": None if self.turn_detection is None else dict(self.turn_detection),
                },
                "output": {
                    "format": _format_object(self.output_format),
                    "voice": self.voice,
                    "speed": self.speed,
                },
            },
        }


def first_settings(welcome: Welcome) -> Settings:
    """Before a client has set anything: by voice, as the documentation of the protocol says."""
    return Settings(welcome.instructions, welcome.voice is not None, turn_detection=dict(SERVER_VAD))


def updated(now: Settings, session: Fields, welcome: Welcome) -> Settings:
    """`now` with a client's partial session. Raises `Refused`, and then nothing has changed."""
    if session.given("type"):
        session.choice("type", ("realtime",))
    for name, new in _BETA.items():
        if name in session:
            raise Refused(
                f"Unknown parameter: '{session.path(name)}'. Use '{session.path(new)}'.",
                "unknown_parameter",
                session.path(name),
            )
    if session.given("prompt"):
        raise Refused("Stored prompts are not kept here: send instructions.", "invalid_value", session.path("prompt"))
    change: dict[str, Any] = {}
    if "instructions" in session:
        change["instructions"] = (
            session.text("instructions", MOST_INSTRUCTIONS, welcome.instructions) or welcome.instructions
        )
    if "tools" in session:
        change["tools"] = read_tools(session)
    if "tool_choice" in session:
        change["tool_choice"] = read_choice(session, change.get("tools", now.tools))
    if "output_modalities" in session:
        change["spoken"] = read_modalities(session, welcome, welcome.voice is not None)
    if "max_output_tokens" in session:
        change["max_output_tokens"] = read_most_tokens(session)
    for name in ("tracing", "truncation", "include", "parallel_tool_calls", "reasoning"):
        if name in session:
            change[name] = read_passed_on(session, name)
    if session.given("audio"):
        audio = session.fields("audio")
        if audio.given("input"):
            change |= _read_input(now, audio.fields("input"))
        if audio.given("output"):
            change |= _read_output(audio.fields("output"))
    after = replace(now, **change)
    gone = isinstance(after.tool_choice, dict) and all(
        each["name"] != after.tool_choice["name"] for each in after.tools
    )
    return replace(after, tool_choice="auto") if gone else after


def changes(before: Settings, after: Settings, t_ns: int) -> list[Inbox]:
    """What the conversation is asked when a client has changed its settings so."""
    out: list[Inbox] = []
    instructions = after.instructions if after.instructions != before.instructions else None
    tools = asked(after.tools) if after.tools != before.tools else None
    if instructions is not None or tools is not None:
        out.append(AgentChanged(t_ns, instructions, tools))
    if before.spoken != after.spoken:
        out.append(VoiceSet(t_ns, after.spoken))
    turns = after.turns(t_ns)
    if before.turns(t_ns) != turns:
        out.append(turns)
    return out


def read_modalities(owner: Fields, welcome: Welcome, default: bool) -> bool:
    """Whether replies are spoken. A server without a voice writes, whatever it is asked."""
    if not owner.given("output_modalities"):
        return default
    asked_for = owner.items("output_modalities", 2)
    if not asked_for or not all(each in ("audio", "text") for each in asked_for):
        raise Refused(
            "Supported combinations are: ['text'] and ['audio'].", "invalid_value", owner.path("output_modalities")
        )
    return "audio" in asked_for and welcome.voice is not None


def choice_of(settings: Settings) -> str:
    """The tool choice of answers that do not bring their own."""
    return chosen(settings.tool_choice)


def _read_input(now: Settings, audio: Fields) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if "format" in audio:
        change["input_format"] = _read_format(audio)
    if "transcription" in audio:
        change["transcription"] = None
        if audio.given("transcription"):
            wanted = audio.fields("transcription")
            change["transcription"] = {
                name: wanted.text(name, MOST_PASSED_ON)
                for name in ("model", "language", "prompt")
                if wanted.given(name)
            }
    if "noise_reduction" in audio:
        change["noise_reduction"] = None
        if audio.given("noise_reduction"):
            kind = audio.fields("noise_reduction").choice("type", ("near_field", "far_field"), "near_field")
            change["noise_reduction"] = {"type": kind}
    if "turn_detection" in audio:
        change["turn_detection"] = read_detection(now.turn_detection, audio)
    return change


def _read_output(audio: Fields) -> dict[str, Any]:
    change: dict[str, Any] = {}
    if "format" in audio:
        change["output_format"] = _read_format(audio)
    if "speed" in audio:
        change["speed"] = audio.number("speed", 0.25, 1.5, 1.0)
    if "voice" in audio:
        named = isinstance(audio.values["voice"], dict)
        change["voice"] = (
            {"id": audio.fields("voice").text("id", 256)} if named else audio.text("voice", 256, "marin", least=1)
        )
    return change


def _read_format(owner: Fields) -> str:
    if not owner.given("format"):
        return "audio/pcm"
    if isinstance(owner.values["format"], str):
        return _OLD_FORMATS[owner.choice("format", tuple(_OLD_FORMATS))]
    wanted = owner.fields("format")
    kind = wanted.choice("type", tuple(FORMATS))
    if wanted.given("rate"):
        wanted.integer("rate", FORMATS[kind], FORMATS[kind])
    return kind


def _format_object(kind: str) -> Object:
    return dict(PCM) if kind == "audio/pcm" else {"type": kind}
