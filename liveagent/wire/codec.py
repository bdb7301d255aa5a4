"""What every codec is, and what passes between it and a conversation.

    bytes of the peer ──receive──► Asked (sound, pictures, inbox events) ──► conversation
    bytes to the peer ◄──take──── codec ◄──tell── Told (events, actions, the voice's sound, problems)

A codec never raises on what a peer sends, whatever that is: what can be mended is answered with the protocol's own
error, and what cannot sets `closing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from liveagent.action import Action
from liveagent.audio import Samples
from liveagent.event import Event, Inbox
from liveagent.jsonform import Json
from liveagent.ledger import Span
from liveagent.video import Pixels

Frame: TypeAlias = str | bytes
"""One websocket message: text or binary."""


# ---- what a conversation is asked ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Microphone samples `[T]` int16, mono, in order. `captured_ns`: the peer's own clock at the first, if it told.
    `gap_samples`: samples that the peer lost just before these, and counted."""

    pcm: NDArray[np.int16]
    rate_hz: int
    captured_ns: int | None = None
    gap_samples: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An encoded picture (or raw RGB bytes as `image/x-rgb;width=128;height=128`), to be decoded by the host in bounded
    memory. `live`: one frame of a camera, the newest of which wins; otherwise a still that must be seen."""

    data: bytes
    media_type: str
    live: bool = True
    ref: str = ""


@dataclass(frozen=True, slots=True)
class Confirm:
    """A person pressed a button about a call that waits, with the token that was sent to this connection alone. No
    event, and no part of the conversation: it is heard and read by nobody but the hands."""

    call_id: str
    token: str
    yes: bool


Asked: TypeAlias = Sound | Picture | Confirm | Inbox


# ---- what a codec is told --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """What the voice made of utterance `utterance`, from its sample `first` on: `samples [T]` float32 at 16 kHz.
    `final`: nothing more follows. Is told as early as it is made; it has not been played yet."""

    utterance: int
    first: int
    samples: Samples
    final: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Something the host could not do with what the peer asked, in the protocol's own terms. `ref`: what of it."""

    code: str
    message: str
    ref: str = ""


@dataclass(frozen=True, slots=True)
class GoingAway:
    """This connection will be closed in `left_ms`; a peer that can resume should."""

    left_ms: int


@dataclass(frozen=True, slots=True)
class Resumable:
    """A peer that loses the connection from now on may come back with this handle; "": with none at the moment."""

    handle: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What the cache holds, span by span, for a peer that shows it. May be told as often as it changes."""

    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Confirming:
    """A call waits for a person: to be shown with exactly these arguments, and `token` for the answer. For whoever is
    connected now, once; it is not kept for those who come later."""

    call_id: str
    name: str
    about: str
    args: Mapping[str, Json]
    token: str
    left_ms: int


@dataclass(frozen=True, slots=True)
class Patches:
    """Which patches of the picture taken at `t_ns` were just encoded, row by row, so many `columns` in a row, for a
    peer that shows them."""

    t_ns: int
    mask: tuple[bool, ...]
    columns: int


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """The picture taken at `t_ns` by a camera of the server's, `[H, W, 3]`, as the session has seen it, for a peer that
    shows it. Not every picture is told."""

    t_ns: int
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class RobotStands:
    """How a robot of the agent's stands. `there`: it can be given orders; `stopped`: nothing moves until somebody
    releases it. `joints`: radians or metres, by name. Told a few times a second while it changes."""

    name: str
    there: bool
    stopped: bool
    joints: Mapping[str, float] = field(default_factory=dict)


Told: TypeAlias = (
    Event | Action | Spoken | Problem | GoingAway | Resumable | Memory | Patches | Confirming | Looked | RobotStands
)
"""A codec passes over what its protocol has no word for."""


Eyes: TypeAlias = Literal["peer", "server", "robot"]
"""Whose camera a session looks through: the peer's, one where the server stands, a robot's."""

# ---- the codec -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Welcome:
    """What a codec may say of the agent before anything happens. Times are given, since a codec reads no clock.

    tools: the agent's own, each `{"name", "description", "parameters": JSON schema}`; they run on the server.
    phrases: example sentences, for chips. handle: what a peer may resume with; "" where it may not.
    robots: what the agent's are called.
    """

    session_id: str
    model: str
    instructions: str = ""
    tools: Sequence[Mapping[str, Json]] = ()
    phrases: Sequence[str] = ()
    voice: str | None = "espeak"
    sees: bool = True
    camera: Eyes = "peer"
    robots: Sequence[str] = ()
    device: str = "cpu"
    opened_unix_s: int = 0
    expires_unix_s: int = 0
    handle: str = ""
    resumed_ago_ms: int | None = None
    extra: Mapping[str, Json] = field(default_factory=dict)


Ids: TypeAlias = Callable[[str], str]
"""A fresh id for a kind of thing ("item", "resp", "event", "call"): `item_7f3a…`, at most 32 characters."""


class Codec(Protocol):
    """One peer's protocol. `t_ns` is the session's clock, which the conversation reads; a codec only hands it on."""

    closing: tuple[int, str] | None
    """A websocket close code and a reason under 120 bytes, once the connection cannot go on; what `take` still gives
    is sent before it."""

    confirms: bool
    """Whether a person at the far end can be shown a button, and answer with it."""

    reports_playback: bool
    """Whether the peer says, sample by sample, what it has played. Else that is counted for it."""

    def open(self, t_ns: int) -> None:
        """The connection stands; `t_ns` is the session's zero for whatever the protocol counts in ms."""
        ...

    def receive(self, data: Frame, t_ns: int) -> list[Asked]:
        """One message of the peer's, in order."""
        ...

    def tell(self, item: Told, t_ns: int) -> None:
        """Something happened, was decided, was spoken or went wrong."""
        ...

    def take(self) -> list[Frame]:
        """What is to be sent now, in order; the codec forgets it."""
        ...
