"""What happened: the only things that enter a session, and the only things it tells its viewers and its journal.

An event is past tense, frozen, and carries `t_ns`: the capture time of what it is about (of its *first* sample where
it spans several), on the clock of the session's microphone. Nothing here reads a clock. Sample counts are at 16 kHz:
of the microphone where a field is called `start_sample`, of one utterance of the voice where an `utterance` stands
beside it.

Two groups, told apart by `INBOX`: what comes *into* a session from the world (journalled with the tick it fell into,
and fed again on replay), and what the session *notes* about its own decisions (journalled too, and compared by
`replay --check`). Raw audio is no event: the journal keeps it beside `AudioHeard` under the same tick.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from liveagent.jsonform import Json, JsonForm

WordSource: TypeAlias = Literal["ear", "recogniser", "both", "typed", "scribe"]
"""The model's own ear, PocketSphinx, both of them, the keyboard, a pretrained ear beside them (`Agent(ear=...)`)."""
DecidedBy: TypeAlias = Literal["grammar", "model"]
TurnReason: TypeAlias = Literal["silence", "sentence", "typed", "released", "too_long"]


@dataclass(frozen=True, slots=True)
class WordMark:
    """Which samples of an utterance are its `index`-th word: from `start_samples` up to `end_samples`."""

    index: int
    start_samples: int
    end_samples: int


# ---- what comes in ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """The session exists. `source` is what it listens to ("mic", "clip", "none" …)."""

    t_ns: int
    source: str = "mic"


@dataclass(frozen=True, slots=True)
class AudioHeard:
    """`samples` microphone samples from `start_sample` on were consumed; the journal keeps them."""

    t_ns: int
    start_sample: int
    samples: int


@dataclass(frozen=True, slots=True)
class GapMarked:
    """`samples` microphone samples from `start_sample` on never came, and silence stands for them."""

    t_ns: int
    start_sample: int
    samples: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class TextTyped:
    t_ns: int
    text: str


@dataclass(frozen=True, slots=True)
class TalkPressed:
    """Push to talk: the key went down."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class TalkReleased:
    t_ns: int


@dataclass(frozen=True, slots=True)
class Voiced:
    """The voice made `samples` more samples of an utterance; `marks` are words it now knows the place of.

    `final` says that the utterance is complete. Marks come in order, each once.
    """

    t_ns: int
    utterance: int
    samples: int
    marks: tuple[WordMark, ...] = ()
    final: bool = False


@dataclass(frozen=True, slots=True)
class VoiceFailed:
    t_ns: int
    utterance: int
    message: str


@dataclass(frozen=True, slots=True)
class SamplesPlayed:
    """The loudspeaker has played `samples` of an utterance *in all*; the last of them sounded at `t_ns`."""

    t_ns: int
    utterance: int
    samples: int


@dataclass(frozen=True, slots=True)
class ToolReturned:
    """`answer`: the agent speaks of it at once; otherwise when it is asked to."""

    t_ns: int
    call_id: str
    result: Json
    answer: bool = True


@dataclass(frozen=True, slots=True)
class ToolFailed:
    """The call came to nothing: `reason` is a short code ("deadline", "refused", "error", "cancelled", "taken_back",
    "expired" …), `message` is for the model. "unknown": nobody knows whether it came to nothing."""

    t_ns: int
    call_id: str
    reason: str
    message: str = ""
    answer: bool = True


@dataclass(frozen=True, slots=True)
class ToolProgressed:
    """A call that takes its time is so far: `share` from 0 to 1, None where that is not known; `note` in a few words.
    For viewers; nothing is decided by it."""

    t_ns: int
    call_id: str
    share: float | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ConfirmAsked:
    """A call is a hazard: it waits until somebody confirms it by button, key or phone, for `left_ms`. By nothing else:
    whoever can answer was given a token, which is in no event."""

    t_ns: int
    call_id: str
    name: str
    args: dict[str, Json] = field(default_factory=dict)
    left_ms: int = 15_000


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Somebody has answered, `by` "button", "key" or "phone"."""

    t_ns: int
    call_id: str
    yes: bool
    by: str = "button"


@dataclass(frozen=True, slots=True)
class OutcomeUnknown:
    """A call of an earlier session was sent `ago_ms` ago, and the program ended before it came back. It is asked about
    and not repeated."""

    t_ns: int
    call_id: str
    name: str
    args: dict[str, Json] = field(default_factory=dict)
    ago_ms: int = 0


@dataclass(frozen=True, slots=True)
class AgentChanged:
    """The agent is told anew who it is and what it may call; None leaves it as it was. `tools` are those of whoever is
    at the far end, as `{"name", "description", "parameters": JSON schema}`, and they run there. What was said so far
    stays known."""

    t_ns: int
    instructions: str | None = None
    tools: tuple[dict[str, Json], ...] | None = None


@dataclass(frozen=True, slots=True)
class ToolsFound:
    """What the agent's sources of tools have now, in the written form of `liveagent.found`, in place of what they had
    before."""

    t_ns: int
    tools: tuple[dict[str, Json], ...] = ()


@dataclass(frozen=True, slots=True)
class TurnsSet:
    """How turns are taken from now on. `mode`: by voice ("open"), or only between `TalkPressed` and `TalkReleased`.
    `answers`: a finished turn is answered without being asked; `interrupts`: a voice takes a reply back. The rest:
    as in `Manners`, None for its default."""

    t_ns: int
    mode: Literal["open", "push_to_talk"] = "open"
    answers: bool = True
    interrupts: bool = True
    min_silence_ms: int | None = None
    max_silence_ms: int | None = None
    start_speech: float | None = None


@dataclass(frozen=True, slots=True)
class VoiceSet:
    """Replies are spoken from now on, or only written."""

    t_ns: int
    on: bool = True


@dataclass(frozen=True, slots=True)
class TurnDropped:
    """What was said since the open turn began counts for nothing."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class MessageAdded:
    """A message enters the memory and is not answered."""

    t_ns: int
    role: Literal["user", "assistant", "system"]
    text: str


@dataclass(frozen=True, slots=True)
class AnswerAsked:
    """Answer now, whatever the memory ends with. `ref` comes back in `AnswerStarted`. `choice`: "auto", "none" (call
    nothing), "required" (call something), or the name of the tool to call. `instructions`: for this answer alone."""

    t_ns: int
    ref: str = ""
    choice: str = "auto"
    instructions: str = ""


@dataclass(frozen=True, slots=True)
class AnswerStopped:
    """Whoever is at the far end wants no more of the reply that is being made or played."""

    t_ns: int
    reason: str = "client_cancelled"


@dataclass(frozen=True, slots=True)
class PlaybackCut:
    """Told afterwards: of an utterance, perhaps one that has ended, no more than `samples` were heard."""

    t_ns: int
    utterance: int
    samples: int


@dataclass(frozen=True, slots=True)
class ForgetAsked:
    """What came in (`side` "user"), was said ("agent") or was seen ("picture") from `since_ns` up to `until_ns` is to
    leave the memory; nothing else with it."""

    t_ns: int
    since_ns: int
    until_ns: int
    side: Literal["user", "agent", "picture"] = "user"


@dataclass(frozen=True, slots=True)
class DeviceLost:
    t_ns: int
    device: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class DeviceBack:
    t_ns: int
    device: str


@dataclass(frozen=True, slots=True)
class CameraFroze:
    """The camera still answers, but has shown the very same picture for `for_ms`: no camera's noise is that still."""

    t_ns: int
    device: str
    for_ms: int


@dataclass(frozen=True, slots=True)
class SayAsked:
    """A tool that was called, or the function of a watch that fired (its `call_id`), wants this said, when nobody else
    speaks."""

    t_ns: int
    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class EarHeard:
    """A pretrained ear's words so far, in spoken form, of what the user began to say at `begun_ns`. The first `stands`
    of them will not change; none will when it is `final`. It hears beside the session, so when it is done is the
    world's to say: it is journalled, and never heard anew."""

    t_ns: int
    begun_ns: int
    words: tuple[str, ...] = ()
    stands: int = 0
    final: bool = False
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class EarFailed:
    """The pretrained ear will say nothing more of what the user began to say at `begun_ns`."""

    t_ns: int
    begun_ns: int
    message: str = ""


@dataclass(frozen=True, slots=True)
class WatchFailed:
    """The function of a watch that fired came to nothing."""

    t_ns: int
    call_id: str
    watch: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """From here on nothing of what came in from `since_ns` up to `until_ns` is known, nor of what was answered to it.
    What it was is not said."""

    t_ns: int
    since_ns: int
    until_ns: int


@dataclass(frozen=True, slots=True)
class Shed:
    """Work was given up to keep up: `what` ("video", "echo", "scratch" …), how often. Never audio."""

    t_ns: int
    what: str
    count: int = 1
    reason: str = ""


@dataclass(frozen=True, slots=True)
class LagNoted:
    """Tick `tick` was done `lag_ms` after its last sample was captured."""

    t_ns: int
    tick: int
    lag_ms: float


@dataclass(frozen=True, slots=True)
class SessionEnded:
    t_ns: int
    reason: str = "closed"


# ---- what the session notes ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TickHeard:
    """One tick (80 ms) of the microphone went through: its level, and how likely the VAD thinks it is speech."""

    t_ns: int
    tick: int
    level_dbfs: float
    speech: float = 0.0


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    t_ns: int


@dataclass(frozen=True, slots=True)
class SpeechEnded:
    """A candidate for the end of a turn: `t_ns` is the end of the last speech frame. Speech may start again."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class WordsHeard:
    """All words of the turn so far. `final` words will not change; `in_grammar`: they are one of its sentences,
    and `closed`: no longer sentence of it begins with them. `t_ns`: up to where sound went into these words."""

    t_ns: int
    words: tuple[str, ...]
    source: WordSource
    final: bool = False
    in_grammar: bool = False
    confidence: float = 1.0
    closed: bool = False


@dataclass(frozen=True, slots=True)
class WakeHeard:
    t_ns: int
    phrase: str


@dataclass(frozen=True, slots=True)
class StopHeard:
    """The stop word's own path fired. `source` is who heard it ("recogniser", "ear", "typed")."""

    t_ns: int
    source: str
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class RobotStopped:
    """A robot has said that its setpoint is zero, on the stop's own path. `source`: "spoken", "typed", "button", "key".
    `heard_ms`: from the end of the word, or the press, until it was known; `sent_ms`: from there until it was
    published; `ack_ms`: from there until the robot's answer."""

    t_ns: int
    robot: str
    source: str
    heard_ms: float = 0.0
    sent_ms: float = 0.0
    ack_ms: float = 0.0


@dataclass(frozen=True, slots=True)
class EndGuessed:
    """The scratch branch answered "has the user finished?" with this probability."""

    t_ns: int
    finished: float


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The user's turn is over: decided at `t_ns`, after speech that ended at `speech_end_ns`."""

    t_ns: int
    speech_end_ns: int
    reason: TurnReason = "silence"


@dataclass(frozen=True, slots=True)
class AnswerStarted:
    """The agent begins to answer; a `ReplyStarted` or a `ToolCalled` follows, at once or a few ticks on. `why`: a turn
    ended or was typed, somebody asked for it (`ref` of the `AnswerAsked`), a tool returned, a watch fired, or there is
    something to ask about a call."""

    t_ns: int
    why: Literal["turn", "asked", "result", "watch", "call"] = "turn"
    ref: str = ""


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    t_ns: int
    utterance: int
    branch: int = 0


@dataclass(frozen=True, slots=True)
class ReplyEnded:
    """Everything of the utterance that will ever be played was played. `complete` is False after an interruption."""

    t_ns: int
    utterance: int
    complete: bool = True


@dataclass(frozen=True, slots=True)
class WordPlayed:
    """The last sample of the utterance's `index`-th word has sounded."""

    t_ns: int
    utterance: int
    index: int
    word: str


@dataclass(frozen=True, slots=True)
class Ducked:
    """Perhaps somebody speaks into the reply: it is quieter, or held (`frozen`), until that is known."""

    t_ns: int
    utterance: int
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Resumed:
    """It was nothing (`reason`: "noise", "backchannel"): the reply goes on."""

    t_ns: int
    utterance: int
    reason: str = "noise"


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The reply was taken back. `cut` is the word that was sounding; it counts as unheard (LAW 4)."""

    t_ns: int
    utterance: int
    heard: tuple[str, ...]
    unheard: tuple[str, ...]
    cut: str | None = None


@dataclass(frozen=True, slots=True)
class FrameSeen:
    """A picture of the camera, taken at `t_ns`, was compared with the reference: `patches` of its `of` patches were
    encoded anew (0: nothing had changed), all of them in a `keyframe`. `reason` says why in a word; `dropped` pictures
    before it were never looked at."""

    t_ns: int
    keyframe: bool
    reason: str
    patches: int
    of: int
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class PictureKept:
    """What was seen at `t_ns` entered the cache as span `span` of `tokens` tokens. `sees`: the things in it, in words
    ("red ball"); `thumbnail`: base64 of `[16, 16, 3]` uint8, for viewers alone."""

    t_ns: int
    span: int
    tokens: int
    reason: str
    sees: tuple[str, ...] = ()
    thumbnail: str = ""


@dataclass(frozen=True, slots=True)
class PicturesEvicted:
    """These picture spans left the cache, `tokens` in all."""

    t_ns: int
    spans: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class WatchSet:
    """The agent waits for something now (`by` "agent": it was made so; "user": it was asked to), or no more (`on`
    False)."""

    t_ns: int
    watch: str
    by: Literal["agent", "user"] = "agent"
    on: bool = True


@dataclass(frozen=True, slots=True)
class Watched:
    """The scratch branch answered whether `watch` holds at the moment, with this probability."""

    t_ns: int
    watch: str
    holds: float


@dataclass(frozen=True, slots=True)
class WatchFired:
    """What was waited for happened in the picture taken at `t_ns`: `change` is "appear", "leave" or "move"."""

    t_ns: int
    watch: str
    change: Literal["appear", "leave", "move"] = "appear"


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A call was decided. `branch`: behind which utterance; `heard_ns`: from when to when what it was decided on was
    heard or typed; `seen_ns`: when the newest picture was taken that was known then."""

    t_ns: int
    call_id: str
    name: str
    args: dict[str, Json] = field(default_factory=dict)
    by: DecidedBy = "model"
    branch: int = 0
    heard_ns: tuple[int, ...] = ()
    seen_ns: int | None = None


@dataclass(frozen=True, slots=True)
class CacheChanged:
    """What the cache holds now, in tokens by kind of span, and the age of the oldest span that is not pinned."""

    t_ns: int
    used_tokens: int
    capacity_tokens: int
    by_kind: dict[str, int] = field(default_factory=dict)
    evicted_tokens: int = 0
    oldest_ns: int | None = None


@dataclass(frozen=True, slots=True)
class TurnTimed:
    """One turn's latency ledger, in ms from the last spoken sample; None where a step did not happen."""

    t_ns: int
    durations_ms: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClocksCompared:
    """How much faster than this machine's clock the microphone's and the camera's go (parts per million; None: it has
    none of its own), by how much a picture is stamped later than its sound (None: nothing that was seen and heard tells
    it), how sure that is, and how often a clock has jumped so far. For a meter; nothing is decided by it."""

    t_ns: int
    microphone_ppm: float
    camera_ppm: float | None = None
    offset_ms: float | None = None
    confidence: float = 0.0
    jumps: int = 0


@dataclass(frozen=True, slots=True)
class Noted:
    """Something a viewer should read, as a code and plain words; never the user's own words."""

    t_ns: int
    code: str
    message: str = ""


Inbox: TypeAlias = (
    SessionStarted | AudioHeard | GapMarked | TextTyped | TalkPressed | TalkReleased | Voiced | VoiceFailed
    | SamplesPlayed | ToolReturned | ToolFailed | ToolProgressed | ConfirmAsked | Confirmed | OutcomeUnknown
    | AgentChanged | ToolsFound | TurnsSet | VoiceSet | TurnDropped | MessageAdded
    | AnswerAsked | AnswerStopped | PlaybackCut | ForgetAsked | DeviceLost | DeviceBack | CameraFroze | SayAsked
    | WatchFailed | EarHeard | EarFailed | Forgotten | Shed | LagNoted | SessionEnded
)  # fmt: skip
Notice: TypeAlias = (
    TickHeard | SpeechStarted | SpeechEnded | WordsHeard | WakeHeard | StopHeard | RobotStopped | EndGuessed
    | TurnEnded | AnswerStarted | ReplyStarted | ReplyEnded | WordPlayed | Ducked | Resumed | Interrupted | FrameSeen
    | PictureKept | PicturesEvicted | WatchSet | Watched | WatchFired | ToolCalled | CacheChanged | TurnTimed
    | ClocksCompared | Noted
)  # fmt: skip
Event: TypeAlias = Inbox | Notice

INBOX: tuple[type[Inbox], ...] = (
    SessionStarted, AudioHeard, GapMarked, TextTyped, TalkPressed, TalkReleased, Voiced, VoiceFailed, SamplesPlayed,
    ToolReturned, ToolFailed, ToolProgressed, ConfirmAsked, Confirmed, OutcomeUnknown, AgentChanged, ToolsFound,
    TurnsSet, VoiceSet, TurnDropped, MessageAdded, AnswerAsked, AnswerStopped, PlaybackCut, ForgetAsked, DeviceLost,
    DeviceBack, CameraFroze, SayAsked, WatchFailed, EarHeard, EarFailed, Forgotten, Shed, LagNoted, SessionEnded,
)  # fmt: skip
NOTICES: tuple[type[Notice], ...] = (
    TickHeard, SpeechStarted, SpeechEnded, WordsHeard, WakeHeard, StopHeard, RobotStopped, EndGuessed, TurnEnded,
    AnswerStarted, ReplyStarted, ReplyEnded, WordPlayed, Ducked, Resumed, Interrupted, FrameSeen, PictureKept,
    PicturesEvicted, WatchSet, Watched, WatchFired, ToolCalled, CacheChanged, TurnTimed, ClocksCompared, Noted,
)  # fmt: skip

_FORM: JsonForm[Event] = JsonForm((*INBOX, *NOTICES))


def to_json(event: Event) -> str:
    """One line of ASCII JSON, `{"type": "TextTyped", "t_ns": …}`. `ProtocolError` for a non-finite number."""
    return _FORM.encode(event)


def from_json(text: str | bytes) -> Event:
    """The event that `to_json` wrote. `ProtocolError` for anything else, unknown fields included."""
    return _FORM.decode(text)
