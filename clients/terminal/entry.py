"""What a turn leaves on the screen: what was heard, calls, replies, what the turn's steps took, remarks.

An entry is `settled` when nothing about it will change any more; whoever shows it may then print it for good, and note
that it is `shown`.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from liveagent.event import DecidedBy, WordSource

MAX_TEXT = 400


@dataclass(slots=True)
class Heard:
    """What the user said or typed."""

    words: tuple[str, ...]
    source: WordSource
    text: str = ""  # as typed; empty for speech
    in_grammar: bool = False
    final: bool = False
    settled: bool = False
    shown: bool = False


@dataclass(slots=True)
class Reply:
    """One utterance: its first `heard` words were heard. `cut` is set when it was interrupted, and nothing follows."""

    utterance: int
    words: list[str] = field(default_factory=list)
    heard: int = 0
    playing: bool = False
    said: bool = False  # all its words are known
    ended: bool = False  # all that will ever be played was played
    held: Literal["", "quieter", "held"] = ""
    cut: bool = False
    cut_word: bool = False  # the word after the heard ones had begun to sound
    failed: str = ""
    settled: bool = False
    shown: bool = False

    @property
    def lit(self) -> int | None:
        """The index of the word that is being played."""
        return self.heard if self.playing and not self.settled and self.heard < len(self.words) else None

    @property
    def unheard(self) -> tuple[str, ...]:
        """The words that nobody will hear; empty while it is played."""
        return tuple(self.words[self.heard :]) if self.cut else ()


@dataclass(slots=True)
class Call:
    """One tool call. `took_ms` is known when both its beginning and its end carried a time."""

    call_id: str
    name: str
    args: tuple[tuple[str, str], ...] = ()
    by: DecidedBy = "model"
    state: Literal["waiting", "asking", "done", "failed"] = "waiting"
    result: str = ""
    share: float | None = None  # how much of it is done, while it is
    until_ns: int = 0  # up to when it can be confirmed, while that is asked
    t_ns: int | None = None
    took_ms: float | None = None
    shown: bool = False

    @property
    def settled(self) -> bool:
        return self.state in ("done", "failed")


@dataclass(slots=True)
class Timed:
    """One turn's latency ledger: ms after the last spoken sample, for the steps that happened."""

    durations_ms: dict[str, float]
    settled: bool = True
    shown: bool = False


@dataclass(slots=True)
class Remark:
    """Something to read, once."""

    text: str
    warning: bool = False
    settled: bool = True
    shown: bool = False


Entry: TypeAlias = Heard | Reply | Call | Timed | Remark


def plain(text: str) -> str:
    """Text that moves no cursor and colours nothing, on one line, of bounded length: it may come from anywhere."""
    cut = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
    clean = "".join(" " if unicodedata.category(char)[0] == "C" else char for char in cut)
    return " ".join(clean.split())
