"""What a peer of liveagent's own protocol may ask (see `native.py`): its text messages, read strictly and in bounds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TypeAlias

from liveagent import event as ev
from liveagent.errors import ProtocolError
from liveagent.jsonform import Json, JsonForm
from liveagent.wire.codec import Confirm
from liveagent.wire.strict_json import read_object

VERSION = 1
MAX_MESSAGE_BYTES = 64 << 10
MAX_TEXT_CHARS = 4000
MAX_REF_CHARS = 128
MAX_DEPTH = 8
LAST_NS = 1 << 62
MOST_MS = 600_000
U32 = 1 << 32

Ask: TypeAlias = (
    ev.TextTyped | ev.TalkPressed | ev.TalkReleased | ev.TurnDropped | ev.AnswerAsked | ev.AnswerStopped
    | ev.MessageAdded | ev.TurnsSet | ev.VoiceSet | ev.PlaybackCut | ev.ForgetAsked
)  # fmt: skip
ASKS: tuple[type[Ask], ...] = (
    ev.TextTyped, ev.TalkPressed, ev.TalkReleased, ev.TurnDropped, ev.AnswerAsked, ev.AnswerStopped, ev.MessageAdded,
    ev.TurnsSet, ev.VoiceSet, ev.PlaybackCut, ev.ForgetAsked,
)  # fmt: skip
"""The events that may come from a peer. All others are the session's own to say."""

_FORM: JsonForm[Ask] = JsonForm(ASKS)


@dataclass(frozen=True, slots=True)
class Resume:
    """What a peer that comes back says: whose conversation, the secret it was given, and the last number it saw."""

    session: str
    secret: str
    seq: int


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message. `speak`: replies are to be spoken to this peer. `pictures`: it shows what a camera of the
    server's sees."""

    speak: bool = True
    resume: Resume | None = None
    pictures: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """`at`: the peer's own clock, which comes back as it is."""

    at: float


def read_hello(data: str | bytes) -> Hello:
    """The first message of a connection, for whoever must know which conversation it belongs to. ProtocolError when it
    is none, or of another version."""
    if isinstance(data, bytes):
        raise ProtocolError("the first message is hello, as text")
    said = read_object(data, MAX_MESSAGE_BYTES, MAX_DEPTH)
    if said.get("type") != "hello":
        raise ProtocolError("the first message is hello")
    if type(said.get("v")) is not int or said["v"] != VERSION:
        raise ProtocolError(f"this server speaks version {VERSION}")
    _only(said, "type", "v", "speak", "pictures", "resume")
    speak, pictures = said.get("speak", True), said.get("pictures", False)
    if not isinstance(speak, bool) or not isinstance(pictures, bool):
        raise ProtocolError("hello: speak and pictures are true or false")
    return Hello(speak, _resume(said.get("resume")), pictures)


def read_asked(data: str, t_ns: int) -> Ask | Ping | Confirm:
    """Any later message. `t_ns`: the session's time, whatever the peer says. ProtocolError says what is wrong."""
    said = read_object(data, MAX_MESSAGE_BYTES, MAX_DEPTH)
    if said.get("type") == "ping":
        _only(said, "type", "at")
        at = said.get("at")
        if isinstance(at, bool) or not isinstance(at, int | float) or abs(at) > 1e15:
            raise ProtocolError("ping: at is a number of ms")
        return Ping(float(at))
    if said.get("type") == "Confirm":
        return _confirm(said)
    said["t_ns"] = t_ns
    ask = _FORM.decode(json.dumps(said))
    _check(ask)
    return ask


def _confirm(said: dict[str, Json]) -> Confirm:
    _only(said, "type", "call_id", "token", "yes")
    call_id, token, yes = said.get("call_id"), said.get("token"), said.get("yes")
    if not isinstance(call_id, str) or not isinstance(token, str) or max(len(call_id), len(token)) > MAX_REF_CHARS:
        raise ProtocolError("Confirm: a call_id, and the token that came with it")
    if not isinstance(yes, bool):
        raise ProtocolError("Confirm: yes is true or false")
    return Confirm(call_id, token, yes)


def _resume(said: Json) -> Resume | None:
    if said is None:
        return None
    if not isinstance(said, dict):
        raise ProtocolError("hello: resume is an object")
    _only(said, "session", "secret", "seq")
    session, secret, seq = said.get("session"), said.get("secret"), said.get("seq")
    if not isinstance(session, str) or not isinstance(secret, str) or max(len(session), len(secret)) > MAX_REF_CHARS:
        raise ProtocolError("hello: resume has a session and its secret")
    if type(seq) is not int or not 0 <= seq < 1 << 53:
        raise ProtocolError("hello: resume.seq is the last number seen")
    return Resume(session, secret, seq)


def _check(ask: Ask) -> None:
    """Bounds that the events themselves do not have: they also come from people one trusts."""
    match ask:
        case ev.TextTyped() | ev.MessageAdded():
            _chars(ask.text, MAX_TEXT_CHARS)
        case ev.AnswerAsked():
            _chars(ask.instructions, MAX_TEXT_CHARS)
            _chars(ask.ref, MAX_REF_CHARS)
            _chars(ask.choice, MAX_REF_CHARS)
        case ev.AnswerStopped():
            _chars(ask.reason, MAX_REF_CHARS)
        case ev.PlaybackCut():
            if not (0 <= ask.utterance < U32 and 0 <= ask.samples < U32):
                raise ProtocolError("PlaybackCut: utterance and samples are counts")
        case ev.ForgetAsked():
            if not 0 <= ask.since_ns <= ask.until_ns <= LAST_NS:
                raise ProtocolError("ForgetAsked: since_ns is at most until_ns, both on the session's clock")
        case ev.TurnsSet():
            least = 1 if ask.min_silence_ms is None else ask.min_silence_ms
            most = MOST_MS if ask.max_silence_ms is None else ask.max_silence_ms
            if not 0 < least <= most <= MOST_MS or not 0 < (0.5 if ask.start_speech is None else ask.start_speech) <= 1:
                raise ProtocolError("TurnsSet: 0 < min_silence_ms <= max_silence_ms, and start_speech is up to 1")


def _chars(text: str, most: int) -> None:
    if len(text) > most:
        raise ProtocolError(f"{len(text)} characters are too many; send at most {most}")


def _only(said: dict[str, Json], *names: str) -> None:
    unknown = sorted(said.keys() - set(names))
    if unknown:
        raise ProtocolError(f"unknown field {unknown[0][:40]!r}; it knows {', '.join(names)}")
