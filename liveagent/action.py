"""What to do: the only things that leave a session's rules. Imperative, frozen, without time.

An action is obeyed at once, in order, by whoever owns the thing it names (voice, loudspeaker, hands). It says nothing
about how it went; that comes back through the inbox as an event.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from liveagent.event import DecidedBy
from liveagent.jsonform import Json, JsonForm


@dataclass(frozen=True, slots=True)
class SayWord:
    """One word of an utterance and the reply tokens that make it: from `start_token` up to `end_token`.

    Tokens are counted from the reply's own first token (the one after its opening mark). Ranges are in order and do
    not overlap; a token between two words (punctuation set apart) belongs to the word before it.
    """

    text: str
    start_token: int
    end_token: int


@dataclass(frozen=True, slots=True)
class Say:
    """Speak `text` as (the next piece of) utterance `utterance`; `words` split it, in order.

    An utterance may come in several pieces; `final` says that this is the last. Words are numbered through.
    """

    utterance: int
    text: str
    words: tuple[SayWord, ...] = ()
    final: bool = True
    branch: int = 0


@dataclass(frozen=True, slots=True)
class Duck:
    """Play quieter, so that a person who begins to speak is heard; undone by `Resume`."""

    utterance: int
    gain_db: float = -15.0


@dataclass(frozen=True, slots=True)
class Freeze:
    """Hold the loudspeaker where it is, losing nothing; undone by `Resume`."""

    utterance: int


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on from exactly the next sample, at full level. `reason`: "noise" or "backchannel"."""

    utterance: int
    reason: str = "noise"


@dataclass(frozen=True, slots=True)
class StopPlayback:
    """Throw away everything of the utterance that has not been played; report how much was.

    The take-back of LAW 4 starts here. `reason`: "barge_in", "stop", "typed", "pressed", "closed".
    """

    utterance: int
    reason: str = "barge_in"


@dataclass(frozen=True, slots=True)
class CallTool:
    """Have an effect, once (LAW 6): the same `call_id` twice is one call. `deadline_ms` counts from when it is sent.
    `branch`: the utterance behind which it was decided. `hold_ms`: with any, it is sent at `ReleaseCall`."""

    call_id: str
    name: str
    args: dict[str, Json] = field(default_factory=dict)
    deadline_ms: int = 10_000
    branch: int = 0
    by: DecidedBy = "model"
    hold_ms: int = 0


@dataclass(frozen=True, slots=True)
class ReleaseCall:
    """The branch that decided a held call has survived its window."""

    call_id: str


@dataclass(frozen=True, slots=True)
class CallWatch:
    """Run the function of the watch that has fired, once (LAW 6). `seen_ns`: when the picture was taken in which
    `change` ("appear", "leave", "move") was seen; `holds`: how likely the condition is in it; `things`: what is."""

    call_id: str
    watch: str
    change: Literal["appear", "leave", "move"]
    seen_ns: int
    holds: float
    things: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelCall:
    """The effect is not wanted any more, if it can still be stopped; what was not sent yet never is. `reason`:
    "taken_back", "barge_in", "stop", "cancelled"."""

    call_id: str
    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Halt:
    """The stop word: stop whatever moves, now. Goes to every tool set that can halt; waits for nobody."""

    reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Listen:
    """Stay silent and go on hearing."""


@dataclass(frozen=True, slots=True)
class Note:
    """Tell the viewers: a short code and plain words; never the user's own words."""

    code: str
    message: str = ""
    level: Literal["info", "warning"] = "info"


Action: TypeAlias = (
    Say | Duck | Freeze | Resume | StopPlayback | CallTool | ReleaseCall | CallWatch | CancelCall | Halt | Listen | Note
)

ACTIONS: tuple[type[Action], ...] = (
    Say, Duck, Freeze, Resume, StopPlayback, CallTool, ReleaseCall, CallWatch, CancelCall, Halt, Listen, Note,
)  # fmt: skip

_FORM: JsonForm[Action] = JsonForm(ACTIONS)


def to_json(action: Action) -> str:
    """One line of ASCII JSON, `{"type": "CallTool", …}`. `ProtocolError` for what JSON cannot hold."""
    return _FORM.encode(action)


def from_json(text: str | bytes) -> Action:
    """The action that `to_json` wrote. `ProtocolError` for anything else, unknown fields included."""
    return _FORM.decode(text)
