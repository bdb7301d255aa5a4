"""What a session still knows after it has forgotten something: as JSON, into a recording and out of it.

Forgetting begins a session anew with what is left: the lane is emptied, ear and eye and echo gate included, the prompt
read, and every span that is kept read again from its own tokens. So nothing of what is gone is in any number any more
(survivors' keys and values carry what was evicted), and a replay that does the same has the same bits.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from liveagent.errors import ConfigError, ProtocolError
from liveagent.jsonform import Json
from liveagent.ledger import Kind, Ledger, Span, SpanWord
from liveagent.runtime.context import Kept, Token
from liveagent.runtime.work import Sights, Soft, Sounds
from liveagent.stretch import Stretch, asked_to_forget

EXCHANGES = 4096
LEAD_NS = 1_000_000_000
"""How long before a voice was noticed, or a picture kept, it may have begun."""
TAIL_NS = 500_000_000
"""How long a reply may sound on in the room."""
AGREED = "All right, that is forgotten."


class Exchanges:
    """When anything was open: somebody's words, a call, a reply. A forgotten moment takes its whole exchange along."""

    def __init__(self) -> None:
        self.past: deque[Stretch] = deque(maxlen=EXCHANGES)
        self.turn = 0
        """The number of the last turn in `past`."""
        self._since_ns: int | None = None

    @property
    def open_since_ns(self) -> int | None:
        """Since when something is open; None while nothing is."""
        return self._since_ns

    def feed(self, tick_ns: int, end_ns: int, busy: bool, turn: int = 0) -> None:
        """The tick from `tick_ns` to `end_ns` has been lived through; `busy`: something is open after it. `turn` is the
        number of the newest turn."""
        if not busy:
            self.turn = turn
        if busy and self._since_ns is None:
            self._since_ns = tick_ns - LEAD_NS
            if self.past and self.past[-1].until_ns > self._since_ns:
                before = self.past.pop()
                self.past.append(Stretch(before.since_ns, min(before.until_ns, tick_ns)))
                self._since_ns = self.past[-1].until_ns
        elif not busy and self._since_ns is not None:
            self.past.append(Stretch(self._since_ns, end_ns + TAIL_NS))
            self._since_ns = None

    def once(self, tick_ns: int, end_ns: int, turn: int = 0) -> None:
        """Something was opened and closed again within this tick."""
        self.feed(tick_ns, tick_ns, True, turn)
        self.feed(tick_ns, end_ns, False, turn)


class Forgetting:
    """What a session is to forget as soon as nothing is open."""

    def __init__(self) -> None:
        self.exchanges = Exchanges()
        self._asked: list[tuple[int, int | None]] = []

    def hear(self, words: str, now_ns: int, turn: int) -> str | None:
        """Take in what a user wants forgotten, and what to answer; None when these words want nothing forgotten. They
        are turn `turn`, and their own exchange goes along."""
        seconds = asked_to_forget(words)
        if seconds is None:
            return None
        if seconds == 0.0:
            alone = turn - self.exchanges.turn <= 1  # else "that" is in the same exchange, still open
            since_ns = self.exchanges.past[-1].since_ns if alone and self.exchanges.past else now_ns - 1
        else:
            since_ns = 0 if seconds == float("inf") else now_ns - round(seconds * 1e9)
        self._asked.append((since_ns, None))
        return AGREED

    def ask(self, what: int | tuple[int, int], ledger: Ledger) -> None:
        """A span's id, or from when to when. ConfigError for a span that is not held, and for a time that runs back."""
        if isinstance(what, tuple):
            since_ns, until_ns = what
            if not since_ns < until_ns:
                raise ConfigError(f"forget from {since_ns} to {until_ns}: the second must be later")
            self._asked.append((since_ns, until_ns))
            return
        span = next((each for each in ledger.spans if each.id == what and not each.pinned), None)
        if span is None:
            raise ConfigError(f"there is no span {what} to forget; it may have left the cache: give its times")
        if span.kind != "picture":
            self._asked.append((span.t_ns, span.t_ns + 1))
            return
        later = [each.t_ns for each in ledger.of_kind("picture") if each.t_ns > span.t_ns]
        self._asked.append((span.t_ns - LEAD_NS, min(later) if later else None))  # so long the camera showed this

    def due(self, now_ns: int) -> list[Stretch]:
        """What is to be forgotten now, with every exchange that it touches; each is said once."""
        asked, self._asked = self._asked, []
        found = []
        for since_ns, until_ns in asked:
            wide = Stretch(since_ns, now_ns if until_ns is None else min(until_ns, now_ns)).widened(self.exchanges.past)
            found.append(Stretch(wide.since_ns, min(wide.until_ns, now_ns)))
        return found


@dataclass(frozen=True, slots=True)
class State:
    """All that is left: spans with their tokens, and how far was counted, so that later numbers fit earlier ones."""

    spans: tuple[Kept, ...]
    utterances: int
    calls: int
    watch_calls: int
    watches: tuple[dict[str, Any], ...] = ()

    def to_json(self) -> Json:
        return {
            "spans": [_span_json(each) for each in self.spans],
            "utterances": self.utterances,
            "calls": self.calls,
            "watch_calls": self.watch_calls,
            "watches": [dict(each) for each in self.watches],
        }

    @classmethod
    def from_json(cls, value: Json) -> State:
        """ProtocolError for what `to_json` did not write."""
        try:
            known: Any = value
            counts = [known[name] for name in ("utterances", "calls", "watch_calls")]
            if not all(type(each) is int for each in counts):
                raise TypeError("a count that is no number")
            spans = tuple(_span(each) for each in known["spans"])
            return cls(spans, counts[0], counts[1], counts[2], tuple(known["watches"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ProtocolError("recording: what the session still knew is damaged") from error


def _span_json(kept: Kept) -> Json:
    span = kept.span
    return {
        "id": span.id,
        "kind": span.kind,
        "t_ns": span.t_ns,
        "turn": span.turn,
        "depends_on": list(span.depends_on),
        "words": [[word.text, word.end] for word in span.words],
        "ids": [token.id for token in kept.tokens],
        "t_s": [token.t_s for token in kept.tokens],
        "senses": list(_senses_json(kept.tokens)),
    }


def _senses_json(tokens: Sequence[Token]) -> Iterator[Json]:
    for at, token in enumerate(tokens):
        if isinstance(token.sense, Soft):
            yield [at, "soft", _packed(token.sense.weights), _packed(token.sense.hidden)]
        elif isinstance(token.sense, Sights):
            yield [at, "sights", _packed(token.sense.sight), [int(cell) for cell in token.sense.cells]]
        elif isinstance(token.sense, Sounds):
            yield [at, "sounds", _packed(token.sense.rows), None]


def _span(value: Any) -> Kept:
    senses: dict[int, Soft | Sights | Sounds] = {}
    for at, kind, first, second in value["senses"]:
        if kind == "soft":
            senses[at] = Soft(_unpacked(first), _unpacked(second))
        elif kind == "sounds":
            senses[at] = Sounds(_unpacked(first))
        elif kind != "sights":
            raise ValueError("no sense of this version")
        else:
            senses[at] = Sights(_unpacked(first), np.array(second, np.int64))
    if not value["ids"] or value["kind"] not in get_args(Kind):
        raise ValueError("no span of this version")
    tokens = tuple(
        Token(int(id), float(t_s), senses.get(at))
        for at, (id, t_s) in enumerate(zip(value["ids"], value["t_s"], strict=True))
    )
    words = tuple(SpanWord(str(text), int(end)) for text, end in value["words"])
    depends = tuple(int(each) for each in value["depends_on"])
    number, t_ns, turn = (int(value[name]) for name in ("id", "t_ns", "turn"))
    return Kept(Span(number, value["kind"], 0, len(tokens), t_ns, turn, None, 0, depends, words), tokens)


def _packed(rows: np.ndarray) -> Json:
    """`[1, n]` float32."""
    return base64.b64encode(np.ascontiguousarray(rows, "<f4").tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32).reshape(1, -1)
