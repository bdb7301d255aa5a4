"""A Gemini Live client's first message: who the agent is to be, and how it wants to talk.

    {"setup": {"model", "generationConfig": {"responseModalities"}, "systemInstruction", "tools", "realtimeInputConfig",
     "inputAudioTranscription", "outputAudioTranscription", "sessionResumption", "historyConfig", …}}

Any model is accepted, and so is whatever else may stand there and asks for nothing that is ours (sampling, the voice's
name, compression of the context, which is always on here).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from liveagent.errors import ProtocolError
from liveagent.event import AgentChanged, TurnsSet, VoiceSet
from liveagent.jsonform import Json
from liveagent.wire.codec import Asked, Frame
from liveagent.wire.gemini_read import Fields, read_message
from liveagent.wire.gemini_schema import read_tools

MIN_SILENCE_MS, MAX_SILENCE_MS = 32, 20_000
SLOW_END_MS = (500, 2_000)
"""Shortest and longest silence that end a turn where END_SENSITIVITY_LOW is asked for and no length is given."""
SLOW_START = 0.7
"""How sure of speech one must be where START_SENSITIVITY_LOW is asked for."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What the codec keeps of it. speaks: sound is wanted, not text. by_hand: the client says when somebody speaks.
    transcribes_user, transcribes_agent: what is heard and said is wanted in words too. resumes: it wants to know what
    to come back with. history: its first contents, up to a `turnComplete`, are what was said before, and no question.
    """

    instructions: str | None = None
    tools: tuple[dict[str, Json], ...] | None = None
    speaks: bool = True
    by_hand: bool = False
    transcribes_user: bool = False
    transcribes_agent: bool = False
    resumes: bool = False
    history: bool = False
    turns: TurnsSet = field(default_factory=lambda: TurnsSet(0))

    def asked(self, t_ns: int, has_voice: bool) -> list[Asked]:
        """What the conversation is asked, whatever it was before: somebody may come back with another setup."""
        t = self.turns
        return [
            AgentChanged(t_ns, self.instructions, self.tools),
            TurnsSet(t_ns, t.mode, t.answers, t.interrupts, t.min_silence_ms, t.max_silence_ms, t.start_speech),
            VoiceSet(t_ns, self.speaks and has_voice),
        ]


def read_setup(setup: Fields) -> Setup:
    """ProtocolError for what is of the wrong kind."""
    setup.text("model")
    turns = _turns(setup.fields("realtimeInputConfig"))
    resumption, history = setup.fields("sessionResumption"), setup.fields("historyConfig")
    if resumption is not None:
        resumption.text("handle")
    return Setup(
        instructions=read_instructions(setup),
        tools=read_tools(setup.each("tools")) if "tools" in setup else None,
        speaks=_speaks(setup.fields("generationConfig")),
        by_hand=turns.mode == "push_to_talk",
        transcribes_user=setup.fields("inputAudioTranscription") is not None,
        transcribes_agent=setup.fields("outputAudioTranscription") is not None,
        resumes=resumption is not None,
        history=history is not None and history.flag("initialHistoryInClientContent"),
        turns=turns,
    )


def read_instructions(setup: Fields) -> str | None:
    """`systemInstruction`: a content of text parts, each a paragraph; or just a string."""
    given = setup.get("systemInstruction")
    if given is None:
        return None
    if isinstance(given, str):
        return given
    parts = Fields(given, "systemInstruction").each("parts")
    return "\n\n".join(text for part in parts if (text := part.text("text")))


def wanted_handle(data: Frame) -> str:
    """What the client that sends this first message wants to resume, "" for nothing: for a host that must know whose
    conversation this is before there is a codec. Never raises; what is wrong with the message, the codec will say."""
    try:
        setup = read_message(data).fields("setup")
        resumption = None if setup is None else setup.fields("sessionResumption")
        return "" if resumption is None else resumption.text("handle")
    except ProtocolError:
        return ""


def _speaks(config: Fields | None) -> bool:
    kinds = set() if config is None else {str(kind).upper() for kind in config.all("responseModalities")}
    if other := sorted(kinds - {"AUDIO", "TEXT", "MODALITY_UNSPECIFIED"}):
        raise ProtocolError(f"responseModalities: AUDIO and TEXT are there, not {other[0][:40]}")
    return kinds != {"TEXT"}


def _turns(config: Fields | None) -> TurnsSet:
    detection = None if config is None else config.fields("automaticActivityDetection")
    interrupts = config is None or config.text("activityHandling").upper() != "NO_INTERRUPTION"
    if detection is None:
        return TurnsSet(0, interrupts=interrupts)
    detection.whole("prefixPaddingMs")
    silence_ms = detection.whole("silenceDurationMs")
    shortest_ms = longest_ms = None
    if silence_ms is not None:  # said exactly, so neither words nor a guess make it shorter
        shortest_ms = longest_ms = min(max(silence_ms, MIN_SILENCE_MS), MAX_SILENCE_MS)
    elif detection.text("endOfSpeechSensitivity").upper() == "END_SENSITIVITY_LOW":
        shortest_ms, longest_ms = SLOW_END_MS
    return TurnsSet(
        0,
        mode="push_to_talk" if detection.flag("disabled") else "open",
        interrupts=interrupts,
        min_silence_ms=shortest_ms,
        max_silence_ms=longest_ms,
        start_speech=SLOW_START
        if detection.text("startOfSpeechSensitivity").upper() == "START_SENSITIVITY_LOW"
        else None,
    )
