"""liveagent's own protocol, version 1, for the web page and other viewers: subprotocol `liveagent.v1`, at `/live`.

Text frames are JSON, binary frames are media. Events and actions travel in the form that the journal stores
(`event.to_json`), so whatever a session knows a viewer can show.

From the peer, text (the server stamps `t_ns`, whatever the peer says):

    {"type": "hello", "v": 1, "speak": true, "pictures": false, "resume": {"session": "…", "secret": "…", "seq": 417}}
        first of all, within five seconds. `speak` false: replies are only written. `pictures`: it is to be sent what a
        camera of the server's sees. All three are optional.
    {"type": "TextTyped", "text": "…"}     and every other event of `ASKS` below, by its name and fields
    {"type": "Confirm", "call_id": "call_3", "token": "…", "yes": true}   the answer to `confirm`, by a person's hand
    {"type": "ping", "at": 12345.6}        answered by {"type": "pong", "at": 12345.6, "t_ns": …}

From the peer, binary: u8 kind, u8 flags, u16 0, u32 count, u64 capture time in µs (the peer's own clock), payload.
Integers are little-endian.

    kind 1   sound: int16 mono at 16 kHz; count: samples captured before these while the microphone was on, modulo
             2**32 (a hole is a gap, and is marked; a count that goes back, or ahead by more than a minute, begins
             anew)
    kind 2   picture: JPEG, PNG or WebP
    kind 3   picture: RGB, 128 x 128 x 3 bytes
    kind 4   playback: u32 utterance, u32 samples of it that have really sounded in all; count: 0

From the server, text; `seq` counts what a peer that comes back may ask to be told again, and is missing on the rest:

    {"type": "loading", "what": "nano", "done_bytes": …, "of_bytes": …}   before `welcome`, while weights are read
    {"type": "welcome", "session": "…", "secret": "…", "resumed": false, "ago_ms": null, "t_ns": …, "agent": {"model",
     "device", "instructions", "tools", "phrases", "voice", "sees", "camera", "robots", "extra"}}
                                                     `camera` "peer": pictures are the peer's to send; "server",
                                                     "robot": the server looks for itself, there or through a robot, and
                                                     passes over those that are sent. `robots`: their names
    {"seq": 12, "e": {"type": "ReplyStarted", …}}    an event, or an action (`Say`, `Duck`, `Freeze`, `Resume`,
                                                     `StopPlayback`, `Note`)
    {"type": "memory", "t_ns": …, "spans": [[id, kind, tokens, t_ns, heard_tokens | null], …]}   what the cache holds
    {"type": "patches", "t_ns": …, "of": 64, "columns": 8, "mask": "…"}   which patches of a picture were just encoded:
                                                     hexadecimal, row by row, the first patch in the highest bit of the
                                                     first byte
    {"type": "robot", "name": "arm", "there": true, "stopped": false, "joints": {"lift": 0.31, …}}
                                                     how a robot stands, at most four times a second while it changes;
                                                     joints in radians or metres
    {"type": "snapshot", "seq": 12, "entries": […]}  after a resume that reaches too far back: the conversation so far
                                                     (`story.Story`)
    {"type": "confirm", "call_id": "call_3", "name": "unlock", "about": "…", "args": {…}, "token": "…",
     "left_ms": 15000}                               a call waits for a person, who is shown exactly this; the token is
                                                     this connection's alone, and good for one `Confirm`
    {"type": "problem", "code": "…", "message": "…", "ref": "…"}
    {"type": "going_away", "left_ms": 10000}

From the server, binary:

    kind 16  u8 16, u8 flags (1: final), u16 0, u32 utterance, u32 index of its first sample, int16 mono at 16 kHz
    kind 17  u8 17, u8 0, u16 0, u16 width, u16 height, u64 when it was taken in ns of the session's clock, RGB: what
             a camera of the server's saw, to a peer whose hello asked; the newest, at most four a second

A peer that plays reports kind 4 at least ten times a second while it does, and once more, at once,
when told `StopPlayback`; what it does not report counts as not heard. After a resume, speech that was not reported is
sent again; a peer passes over samples that it has.

A resume that fails is never answered by a new conversation: `problem` "gone", then close 4410. Other close codes: 4401
a key is needed or wrong, 4400 the peer does not keep to this, 4409 the conversation is taken up on another connection,
1013 it reads too slowly.

Where `extra` of `welcome` says `"house": true` the server hears and speaks with a microphone, a loudspeaker and a
camera of its own: a peer looks on, needs none of its own and is sent no speech; what it types, stops and asks to forget
counts. Whoever comes last, without `resume`, is the one who looks on, and is sent a `snapshot` after `welcome`.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from dataclasses import replace
from typing import cast

import numpy as np

from liveagent import action as act
from liveagent import event as ev
from liveagent.action import to_json as action_json
from liveagent.audio import FULL_SCALE, MAX_GAP_SAMPLES, RATE_HZ, finite, whole_numbers
from liveagent.errors import ProtocolError
from liveagent.event import to_json as event_json
from liveagent.jsonform import Json
from liveagent.sight import PICTURE_PX
from liveagent.wire.ask import ASKS, Hello, Ping, read_asked, read_hello
from liveagent.wire.backlog import Backlog
from liveagent.wire.codec import (
    Asked,
    Confirming,
    Frame,
    GoingAway,
    Ids,
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
from liveagent.wire.story import Story

__all__ = ["ASKS", "ELSEWHERE", "Hello", "NativeCodec", "loading", "read_hello"]

VERSION = 1
HEADER = struct.Struct("<BBHIQ")
SPOKEN = struct.Struct("<BBHII")
LOOKED = struct.Struct("<BBHHHQ")
PLAYED = struct.Struct("<II")
MAX_SOUND_BYTES = 2 * 2 * RATE_HZ
MAX_PICTURE_BYTES = 4 << 20
RGB_BYTES = PICTURE_PX * PICTURE_PX * 3
PART_SAMPLES = RATE_HZ
"""Speech goes out in frames of at most a second: 32 kB."""
WAITING_BYTES = 8 << 20
"""A peer that leaves more than this unread is let go."""
MOST_PROBLEMS = 50
MOST_SPANS = 512
NOISY_NS = 160_000_000
MEMORY_NS = 400_000_000
ELSEWHERE = 4409
"""Another connection has taken up the conversation of this one."""

NOISY = (ev.TickHeard, ev.CacheChanged)
"""Told at most six times a second each; the newest counts."""
PASSING = (ev.FrameSeen, ev.EndGuessed, ev.Watched, ev.LagNoted, ev.ClocksCompared, ev.ToolProgressed, *NOISY)
"""Meters: whoever was away has nothing from them, so they have no number."""
UNTOLD = (ev.AudioHeard, ev.SamplesPlayed, ev.EarHeard)
"""What the peer itself has just said, or is told in another form."""
OBEYED = (act.Say, act.Duck, act.Freeze, act.Resume, act.StopPlayback, act.Note)
"""The actions that a peer at the far end has something to do with."""


def loading(what: str, done_bytes: int, of_bytes: int) -> str:
    """For the host, before there is a conversation: how far reading the weights is."""
    return _line({"type": "loading", "what": what, "done_bytes": done_bytes, "of_bytes": of_bytes})


class NativeCodec:
    """One conversation's wire, over all the connections it has. A `Codec`; and when a connection is gone, the host
    calls `park`, and `resume` when `read_hello` of a new one names this session and its secret.

    `hello`: what the peer said first; None until then."""

    reports_playback = True
    confirms = True

    def __init__(self, welcome: Welcome, ids: Ids | None = None) -> None:
        """`ids` is for protocols that name things; this one counts."""
        self.welcome = welcome
        self.closing: tuple[int, str] | None = None
        self.hello: Hello | None = None
        self.backlog = Backlog()
        self.story = Story()
        self._out: deque[Frame] = deque()
        self._out_bytes = 0
        self._expected: int | None = None  # the count of the next sound
        self._problems = 0
        self._told_ns: dict[type, int] = {}
        self._waiting: dict[type, Told] = {}
        self._attached = True

    # ---- the connection

    def open(self, t_ns: int) -> None:
        """Nothing is said before the peer's hello."""

    def park(self) -> None:
        """The connection is gone: nothing is sent, what is told is kept for whoever comes back."""
        self.hello, self.closing, self._attached = None, None, False
        self._out.clear()
        self._waiting.clear()
        self._out_bytes = self._problems = 0

    def resume(self, welcome: Welcome, hello: Hello, t_ns: int) -> list[Asked]:
        """Another connection of the same peer, which said `hello`, goes on from there: what it missed is told again, or
        the conversation so far. `welcome` says for how long it was away, and the next secret. Without `hello.resume` it
        is somebody who has seen nothing of it yet."""
        self.park()
        self.welcome, self._attached = welcome, True
        asked = self._greet(hello, t_ns, resumed=hello.resume is not None)
        missed = None if hello.resume is None else self.replay_from(hello.resume.seq)
        if missed is None:
            self._send(_line({"type": "snapshot", "seq": self.backlog.seq, "entries": self.story.entries}))
        else:
            for line in missed:
                self._send(line)
        self._speak_again(hello)
        return asked

    def replay_from(self, seq: int) -> list[str] | None:
        """The messages after number `seq`, in order; None when they are not all here any more, or never were."""
        return self.backlog.after(seq)

    # ---- in

    def receive(self, data: Frame, t_ns: int) -> list[Asked]:
        """One message of the peer's. What cannot be understood is answered by a `problem`."""
        if self.closing is not None:
            return []
        try:
            if self.hello is None:
                asked = self._greet(read_hello(data), t_ns)
                for line in self.backlog.after(0) or []:  # told before anybody listened
                    self._send(line)
                self._speak_again(self.hello)
                return asked
            return self._binary(data, t_ns) if isinstance(data, bytes) else self._text(data, t_ns)
        except ProtocolError as error:
            self._problem(Problem("bad_message", str(error)[:200]))
            self._problems += 1
            if self.hello is None:
                self.closing = 4400, "say hello first"
            elif self._problems > MOST_PROBLEMS:
                self.closing = 4400, "too many messages that cannot be understood"
            return []

    def _greet(self, hello: Hello, t_ns: int, resumed: bool = False) -> list[Asked]:
        self.hello, self._expected = hello, None
        w = self.welcome
        agent: dict[str, Json] = {
            "model": w.model, "device": w.device, "instructions": w.instructions,
            "tools": [dict(tool) for tool in w.tools], "phrases": [*w.phrases], "voice": w.voice, "sees": w.sees,
            "camera": w.camera, "robots": [*w.robots], "extra": dict(w.extra),
        }  # fmt: skip
        self._send(
            _line({
                "type": "welcome", "v": VERSION, "session": w.session_id, "secret": w.handle, "resumed": resumed,
                "ago_ms": w.resumed_ago_ms if resumed else None, "t_ns": t_ns, "agent": agent,
            })
        )  # fmt: skip
        return [ev.VoiceSet(t_ns, hello.speak)]

    def _speak_again(self, hello: Hello | None) -> None:
        if hello is not None and hello.speak:
            for frame in self.backlog.speech:
                self._send(frame)

    def _text(self, data: str, t_ns: int) -> list[Asked]:
        asked = read_asked(data, t_ns)
        if isinstance(asked, Ping):
            self._send(_line({"type": "pong", "at": asked.at, "t_ns": t_ns}))
            return []
        if isinstance(asked, ev.VoiceSet) and self.hello is not None:
            self.hello = replace(self.hello, speak=asked.on)
        return [asked]

    def _binary(self, data: bytes, t_ns: int) -> list[Asked]:
        if len(data) < HEADER.size:
            raise ProtocolError(f"a binary message begins with {HEADER.size} bytes")
        kind, _, zero, count, captured_us = HEADER.unpack_from(data)
        if zero or captured_us > 1 << 53:
            raise ProtocolError("the header is damaged")
        if kind == 1:
            return [self._sound(data, count, captured_us * 1000)]
        payload = data[HEADER.size :]
        if kind == 2:
            if not 0 < len(payload) <= MAX_PICTURE_BYTES:
                raise ProtocolError(f"a picture has at most {MAX_PICTURE_BYTES} bytes")
            return [Picture(payload, _media_type(payload))]
        if kind == 3:
            if len(payload) != RGB_BYTES:
                raise ProtocolError(f"kind 3 has {RGB_BYTES} bytes of RGB")
            return [Picture(payload, f"image/x-rgb;width={PICTURE_PX};height={PICTURE_PX}")]
        if kind == 4:
            return [self._played(payload, t_ns)]
        raise ProtocolError(f"kind {kind} of binary message is not known here")

    def _sound(self, data: bytes, count: int, captured_ns: int) -> Sound:
        if len(data) % 2 or not 0 < len(data) - HEADER.size <= MAX_SOUND_BYTES:
            raise ProtocolError(f"sound is int16 samples in at most {MAX_SOUND_BYTES} bytes")
        pcm = np.frombuffer(data, "<i2", offset=HEADER.size).astype(np.int16, copy=False)
        gap = 0 if self._expected is None else (count - self._expected) % (1 << 32)
        self._expected = (count + len(pcm)) % (1 << 32)
        return Sound(pcm, RATE_HZ, captured_ns, gap if gap <= MAX_GAP_SAMPLES else 0)

    def _played(self, payload: bytes, t_ns: int) -> ev.SamplesPlayed:
        if len(payload) != PLAYED.size:
            raise ProtocolError(f"kind 4 has {PLAYED.size} bytes")
        utterance, samples = PLAYED.unpack(payload)
        return ev.SamplesPlayed(t_ns, utterance, samples)

    # ---- out

    def tell(self, item: Told, t_ns: int) -> None:
        """Something of the conversation. Meters are thinned; the newest waits for its turn."""
        if isinstance(item, Spoken):  # the most frequent of all, and no part of the story
            self._speak(item)
            self._flush(t_ns)
            return
        self.story.feed(item)
        if isinstance(item, Problem):
            self._problem(item)
        elif isinstance(item, Confirming):
            self._pass_on(
                _line({
                    "type": "confirm", "call_id": item.call_id, "name": item.name, "about": item.about,
                    "args": dict(item.args), "token": item.token, "left_ms": item.left_ms,
                })
            )  # fmt: skip
        elif isinstance(item, GoingAway):
            self._pass_on(_line({"type": "going_away", "left_ms": item.left_ms}))
        elif isinstance(item, Patches):
            mask = np.packbits(np.array(item.mask, bool)).tobytes().hex()
            self._pass_on(
                _line({
                    "type": "patches", "t_ns": item.t_ns, "of": len(item.mask), "columns": item.columns, "mask": mask,
                })
            )  # fmt: skip
        elif isinstance(item, Looked):
            self._look(item)
        elif isinstance(item, RobotStands):
            self._pass_on(
                _line({
                    "type": "robot", "name": item.name, "there": item.there, "stopped": item.stopped,
                    "joints": dict(item.joints),
                })
            )  # fmt: skip
        elif isinstance(item, (*NOISY, Memory)):
            self._waiting[type(item)] = item
        elif isinstance(item, PASSING):
            self._pass_on(_unnumbered(event_json(item)))
        elif isinstance(item, ev.WordsHeard) and not item.final:
            self._pass_on(_unnumbered(event_json(item)))  # its final form has a number
        elif isinstance(item, OBEYED):
            self._pass_on(self.backlog.number(action_json(item)))
        elif isinstance(item, (*ev.INBOX, *ev.NOTICES)) and not isinstance(item, UNTOLD):
            self._pass_on(self.backlog.number(event_json(cast(ev.Event, item))))
        if isinstance(item, ev.SamplesPlayed):
            self.backlog.played(item.utterance, item.samples)
        elif isinstance(item, ev.Interrupted | ev.ReplyEnded | act.StopPlayback):
            self.backlog.end(item.utterance)
        self._flush(t_ns)

    def take(self) -> list[Frame]:
        """What is to be sent now."""
        taken = [*self._out]
        self._out.clear()
        self._out_bytes = 0
        return taken

    def _flush(self, t_ns: int) -> None:
        for kind, item in [*self._waiting.items()]:
            every_ns = MEMORY_NS if kind is Memory else NOISY_NS
            if t_ns - self._told_ns.get(kind, -every_ns) < every_ns:
                continue
            self._told_ns[kind] = t_ns
            del self._waiting[kind]
            if isinstance(item, Memory):
                self._pass_on(_line({"type": "memory", "t_ns": t_ns, "spans": _spans(item)}))
            elif isinstance(item, NOISY):
                self._pass_on(_unnumbered(event_json(item)))

    def _speak(self, item: Spoken) -> None:
        pcm = whole_numbers(finite(item.samples) * FULL_SCALE).astype("<i2", copy=False)
        for start in range(0, max(1, len(pcm)), PART_SAMPLES):
            part = pcm[start : start + PART_SAMPLES]
            last = item.final and start + PART_SAMPLES >= len(pcm)
            first = item.first + start
            frame = SPOKEN.pack(16, int(last), 0, item.utterance, first) + part.tobytes()
            wanted = self.backlog.keep(item.utterance, first + len(part), frame)
            if wanted and self.hello is not None and self.hello.speak:
                self._send(frame)

    def _look(self, item: Looked) -> None:
        if self.hello is None or not self.hello.pictures:
            return
        if any(isinstance(frame, bytes) and frame[0] == 17 for frame in self._out):
            return  # one waits; there will be a newer one
        height, width, _ = item.pixels.shape
        self._send(LOOKED.pack(17, 0, 0, width, height, item.t_ns) + item.pixels.tobytes())

    def _problem(self, problem: Problem) -> None:
        said: dict[str, Json] = {"type": "problem", "code": problem.code, "message": problem.message}
        self._send(_line({**said, "ref": problem.ref} if problem.ref else said))

    def _pass_on(self, frame: Frame) -> None:
        """Send what nobody needs who has not said hello."""
        if self.hello is not None:
            self._send(frame)

    def _send(self, frame: Frame) -> None:
        if not self._attached or self.closing is not None:
            return
        self._out.append(frame)
        self._out_bytes += len(frame)
        if self._out_bytes > WAITING_BYTES:
            self._out.clear()
            self._out_bytes = 0
            self.closing = 1013, "this peer reads too slowly"


def _line(said: dict[str, Json]) -> str:
    return json.dumps(said, separators=(",", ":"), allow_nan=False)


def _unnumbered(body: str) -> str:
    return f'{{"e":{body}}}'


def _spans(memory: Memory) -> list[Json]:
    return [
        [s.id, s.kind, s.length, s.t_ns, None if s.heard is None else s.heard_tokens]
        for s in memory.spans[-MOST_SPANS:]
    ]


def _media_type(data: bytes) -> str:
    """By its first bytes: what a peer says of a picture is no reason to believe it."""
    if data.startswith(b"\xff\xd8"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise ProtocolError("a picture is JPEG, PNG or WebP")
