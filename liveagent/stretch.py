"""A stretch of time that is forgotten, and a recording without it.

What came in during it becomes silence and nothing; what was decided in it goes; that something was forgotten stays, and
when. What the session still knew after it forgot (its `state`) stands at the tick in which it did, and a replay goes on
from there: what was decided in between, knowing what is gone, nobody can decide again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from liveagent.audio import TICK_NS
from liveagent.errors import ProtocolError
from liveagent.event import (
    CameraFroze,
    DeviceBack,
    DeviceLost,
    Forgotten,
    GapMarked,
    LagNoted,
    SessionEnded,
    SessionStarted,
    Shed,
    to_json,
)
from liveagent.film import Film
from liveagent.journal import ATTENDED, Record
from liveagent.jsonform import Json
from liveagent.spoken import words_to_int

BARE = (SessionStarted, SessionEnded, DeviceLost, DeviceBack, CameraFroze, GapMarked, Shed, LagNoted, Forgotten)
"""Events that carry nothing anybody said, saw or did."""
LAST = frozenset((
    "forget that", "forget it", "forget what i said", "forget what i just said", "forget that again", "forget this",
    "please forget that", "please forget what i said", "strike that", "forget what you saw", "forget what you just saw",
))  # fmt: skip
ALL = frozenset(("forget everything", "forget all of it", "forget all of that", "please forget everything"))
SECONDS = {"second": 1, "seconds": 1, "minute": 60, "minutes": 60, "hour": 3600, "hours": 3600}


@dataclass(frozen=True, slots=True)
class Stretch:
    """From `since_ns` up to `until_ns`, on the session's clock."""

    since_ns: int
    until_ns: int

    def holds(self, t_ns: int) -> bool:
        return self.since_ns <= t_ns < self.until_ns

    def covers(self, kind: str, t_ns: int) -> bool:
        """Whether a span of the cache belongs to it: what is said and read is stamped with the end of its tick, a
        picture with when it was taken."""
        return self.holds(t_ns - 1) or (kind == "picture" and self.holds(t_ns))

    def touches(self, other: Stretch) -> bool:
        return self.since_ns < other.until_ns and other.since_ns < self.until_ns

    def widened(self, others: Iterable[Stretch]) -> Stretch:
        """With everything of `others` that it touches, and what those touch."""
        left, found = list(others), self
        while touched := [each for each in left if found.touches(each)]:
            left = [each for each in left if each not in touched]
            both = (found, *touched)
            found = Stretch(min(each.since_ns for each in both), max(each.until_ns for each in both))
        return found


def asked_to_forget(words: str) -> float | None:
    """How many seconds back a sentence wants forgotten: 0 is the exchange before it, infinity everything; None when it
    asks for nothing of the kind. "forget the last five minutes" is 300."""
    if words in LAST:
        return 0.0
    if words in ALL:
        return float("inf")
    parts = words.removeprefix("please ").split()
    if parts[:3] != ["forget", "the", "last"] or len(parts) < 4 or parts[-1] not in SECONDS:
        return None
    count = words_to_int(parts[3:-1]) if len(parts) > 4 else 1
    return float(count * SECONDS[parts[-1]]) if count is not None and count > 0 else None


def wiped(records: Sequence[Record], gone: Stretch, forgotten: Forgotten, state: Json) -> list[Record]:
    """The records of a recording without what came in and was decided in the ticks of `gone`.

    `forgotten` and `state` go into the tick that ended at `forgotten.t_ns`, or the first after it. Pictures behind the
    stretch are written anew where they were differences to what is gone. ProtocolError for damaged records.
    """
    left: list[Record] = []
    film, whole = Film(), False
    placed = False
    for tick, group in groupby(records, lambda record: record.tick):
        tick_records = list(group)
        t_ns = _time(tick_records)
        if t_ns is None:  # it never ended, and is never replayed
            continue
        hidden = gone.holds(t_ns)
        here = not placed and t_ns + TICK_NS >= forgotten.t_ns
        sounds = 0
        for record in tick_records:
            if record.kind == "picture":
                frame = film.read(record.payload)
                if hidden:
                    whole = True
                    continue
                if whole:
                    record, whole = Record(tick, "picture", Film().write(frame)), False
            elif record.kind == "audio":
                sounds += 1
                if hidden and sounds > 1:
                    continue
                if hidden:
                    record = Record(tick, "audio", bytes(len(record.payload)))
            elif hidden and (
                record.kind in ("action", "tokens") or (record.kind == "event" and not isinstance(record.event, BARE))
            ):
                continue
            elif record.kind == "json" and record.json == ATTENDED:
                if hidden:
                    continue
            elif record.kind == "json":
                if here:
                    left.append(Record(tick, "event", to_json(forgotten).encode()))
                    placed = True
                record = _closing(record, state if here else None, gone, forgotten.t_ns)
            left.append(record)
    return left


def seals(records: Sequence[Record]) -> list[tuple[int, int]]:
    """The ticks of a recording that nobody can decide again, from and to, both among them: each stretch up to the tick
    in which the session forgot it."""
    times = [(tick, value["t_ns"]) for tick, value in _closings(records)]
    found: list[tuple[int, int]] = []
    for record in records:
        if record.kind == "event" and b'"Forgotten"' in record.payload and isinstance(record.event, Forgotten):
            since_ns = record.event.since_ns
            found.append((min([tick for tick, t_ns in times if t_ns >= since_ns] + [record.tick]), record.tick))
    return found


def states(records: Iterable[Record]) -> dict[int, Json]:
    """What the session still knew, by the tick in which it forgot."""
    return {tick: value["state"] for tick, value in _closings(records) if "state" in value}


def _closings(records: Iterable[Record]) -> Iterator[tuple[int, dict[str, Any]]]:
    for record in records:
        if record.kind == "json" and isinstance(value := record.json, dict) and isinstance(value.get("t_ns"), int):
            yield record.tick, value


def _time(records: Sequence[Record]) -> int | None:
    """When a tick began; None when its end is missing."""
    for record in reversed(records):
        if record.kind == "json" and record.json != ATTENDED:
            value = record.json
            if not isinstance(value, dict) or not isinstance(t_ns := value.get("t_ns"), int):
                raise ProtocolError(f"recording: tick {record.tick} has no time")
            return t_ns
    return None


def _closing(record: Record, state: Json, gone: Stretch, before_ns: int) -> Record:
    """The record that ends a tick, with its state: the new one, or what an older one may still say."""
    value = record.json
    assert isinstance(value, dict)
    old = value.get("state")
    if state is None and old is None:
        return record
    assert isinstance(t_ns := value["t_ns"], int)
    value = {key: each for key, each in value.items() if key != "state"}
    if state is not None:
        value["state"] = state
    elif not gone.since_ns <= t_ns < before_ns and isinstance(old, dict):
        spans = old.get("spans")
        if not isinstance(spans, list):
            raise ProtocolError("recording: a state without spans")
        known = [each for each in spans if isinstance(each, dict)]
        held: list[Json] = [x for x in known if not gone.covers(str(x.get("kind")), _number(x.get("t_ns")))]
        value["state"] = {**old, "spans": held}
    return Record(record.tick, "json", json.dumps(value, separators=(",", ":")).encode())


def _number(value: Json) -> int:
    if not isinstance(value, int):
        raise ProtocolError("recording: a span without a time")
    return value
