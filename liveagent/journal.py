"""A recording: what came in, tick by tick, and what was decided. Bytes and records, no files.

    magic(8) format(u16) length(u32) header-JSON crc(u32)      then, again and again:
    length(u32) crc(u32) tick(u64) kind(u8) payload            all little-endian; crc of tick, kind and payload

It is only ever appended to, so whatever a crash leaves is a whole beginning with perhaps one broken record at its end:
`read` keeps everything before it and says so. A record of kind `end` closes a recording that was closed on purpose.

Raw audio is int16: a session that records quantises what it hears first (`to_int16`, `to_float`), so that the replay
hears the same bits. The header says that the file holds voices, because people forget what a file is.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import BinaryIO, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from liveagent import action, event
from liveagent.audio import Samples, finite, whole_numbers
from liveagent.errors import ConfigError, DeviceError, ProtocolError
from liveagent.jsonform import Json, JsonForm, check_json

MAGIC = b"LIVEAGNT"
FORMAT = 1
READERS: dict[int, str] = {1: "0.1"}
"""Which liveagent first read a format. Formats are only ever added."""
MAX_RECORD_BYTES = 1 << 24

Kind: TypeAlias = Literal["event", "action", "audio", "tokens", "json", "end", "picture"]  # only ever longer
KINDS: tuple[Kind, ...] = get_args(Kind)

ATTENDED: Json = {"attended": True}
"""Closes, among a tick's records and before its sound, what was attended to between the tick before and this one."""

_TOP = struct.Struct("<8sHI")
_RECORD = struct.Struct("<II")
_BODY = struct.Struct("<QB")
_CRC = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Header:
    """What a replay must find again to give the same tokens, and what a person must know before sharing the file."""

    liveagent: str
    torch: str
    instruction_set: str
    dtype: str
    lanes: int
    seed: int
    agent: str
    """A hash of the agent's specification: model, instructions, tools, settings."""
    weights: str = ""
    holds_voices: bool = True
    started_utc: str = ""
    more: dict[str, Json] = field(default_factory=dict)


_HEADER: JsonForm[Header] = JsonForm((Header,))


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that fell into tick `tick`. `payload` is int16 little-endian for audio, `liveagent.film`'s for a
    picture, else JSON."""

    tick: int
    kind: Kind
    payload: bytes

    @property
    def event(self) -> event.Event:
        self._must_be("event")
        return event.from_json(self.payload)

    @property
    def action(self) -> action.Action:
        self._must_be("action")
        return action.from_json(self.payload)

    @property
    def samples(self) -> Samples:
        """[T] float32, exactly what `to_float` gave the session."""
        self._must_be("audio")
        if len(self.payload) % 2:
            raise ProtocolError("recording: an audio record with half a sample")
        return to_float(np.frombuffer(self.payload, "<i2"))

    @property
    def tokens(self) -> tuple[int, ...]:
        self._must_be("tokens")
        value = self.json
        if not isinstance(value, list):
            raise ProtocolError("recording: tokens must be a list of integers")
        found = tuple(item for item in value if type(item) is int)
        if len(found) != len(value):
            raise ProtocolError("recording: tokens must be a list of integers")
        return found

    @property
    def json(self) -> Json:
        try:
            return check_json(json.loads(self.payload), "recording")
        except (ValueError, RecursionError) as error:
            raise ProtocolError("recording: a record that is not JSON") from error

    def _must_be(self, kind: Kind) -> None:
        if self.kind != kind:
            raise ProtocolError(f"recording: a record of kind {self.kind} is no {kind}")


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that could be read. `complete` is False when the end is missing; `trouble` then says how."""

    header: Header
    records: tuple[Record, ...]
    complete: bool
    trouble: str = ""

    @property
    def ticks(self) -> int:
        return self.records[-1].tick + 1 if self.records else 0


def to_int16(samples: Samples) -> NDArray[np.int16]:
    """The nearest 16-bit samples, clipped; what is not a number becomes silence. `to_int16(to_float(x)) == x`."""
    return whole_numbers(finite(np.asarray(samples, np.float64)) * 32768.0)


def to_float(samples: NDArray[np.int16]) -> Samples:
    return samples.astype(np.float32) / np.float32(32768.0)


class JournalWriter:
    """Records to bytes. `take` hands over what is not written yet; never more than `limit_bytes` wait for it.

    Raises DeviceError when that bound is reached: the disk does not keep up, and a journal with a hole is no journal.
    """

    def __init__(self, header: Header, limit_bytes: int = 4 << 20) -> None:
        body = _HEADER.encode(header).encode()
        self._limit_bytes = limit_bytes
        self._tick = 0
        self._closed = False
        self.records = 0
        self._waiting = bytearray(_TOP.pack(MAGIC, FORMAT, len(body)) + body + _CRC.pack(zlib.crc32(body)))

    @property
    def waiting_bytes(self) -> int:
        return len(self._waiting)

    def event(self, tick: int, what: event.Event) -> None:
        self._append(tick, "event", event.to_json(what).encode())

    def action(self, tick: int, what: action.Action) -> None:
        self._append(tick, "action", action.to_json(what).encode())

    def audio(self, tick: int, samples: NDArray[np.int16]) -> None:
        """[T] int16."""
        assert samples.dtype == np.int16 and samples.ndim == 1, "samples: [T] int16"
        self._append(tick, "audio", samples.astype("<i2").tobytes())

    def picture(self, tick: int, payload: bytes) -> None:
        """What `Film.write` gave."""
        self._append(tick, "picture", payload)

    def tokens(self, tick: int, ids: Iterable[int]) -> None:
        self._append(tick, "tokens", json.dumps([int(token) for token in ids], separators=(",", ":")).encode())

    def json(self, tick: int, value: Json) -> None:
        self._append(tick, "json", json.dumps(check_json(value, "journal"), separators=(",", ":")).encode())

    def copy(self, record: Record) -> None:
        """A record as it was read from another recording."""
        self._append(record.tick, record.kind, record.payload)

    def close(self) -> None:
        """Say that the recording ends here on purpose. `take` once more afterwards."""
        if not self._closed:
            self._append(self._tick, "end", json.dumps(self.records).encode())
            self._closed = True

    def take(self) -> bytes:
        """Everything since the last `take`; append it to the file."""
        waiting = bytes(self._waiting)
        self._waiting.clear()
        return waiting

    def _append(self, tick: int, kind: Kind, payload: bytes) -> None:
        if self._closed or tick < self._tick:
            raise ValueError("a journal goes forward, and not after its end")
        size = _BODY.size + len(payload)
        if size > MAX_RECORD_BYTES:
            raise ProtocolError(f"journal: a record of {size} bytes; at most {MAX_RECORD_BYTES}")
        if len(self._waiting) + _RECORD.size + size > self._limit_bytes:
            raise DeviceError(
                f"the recording's disk does not keep up ({len(self._waiting)} bytes wait); "
                "record to a faster disk or without --record"
            )
        body = _BODY.pack(tick, KINDS.index(kind)) + payload
        self._waiting += _RECORD.pack(len(body), zlib.crc32(body)) + body
        self._tick = tick
        self.records += 1


def read(source: bytes | BinaryIO) -> Recording:
    """The recording, as far as it is whole.

    Raises ConfigError for a file that is no recording, is cut inside its header, or was written in a format that this
    version does not read (the message says which does).
    """
    data = source if isinstance(source, bytes) else source.read()
    if len(data) < _TOP.size or data[: len(MAGIC)] != MAGIC:
        raise ConfigError("this is no liveagent recording; record one with `liveagent talk --record FILE`")
    _, written, length = _TOP.unpack_from(data)
    if written != FORMAT:
        reader = READERS.get(written)
        by = f"liveagent {reader}" if reader else "a newer liveagent than this one"
        raise ConfigError(f"the recording has format {written}, and this version reads {FORMAT}; {by} reads it")
    at = _TOP.size + length + _CRC.size
    body = data[_TOP.size : _TOP.size + length]
    if len(data) < at or zlib.crc32(body) != _CRC.unpack_from(data, at - _CRC.size)[0]:
        raise ConfigError("the recording's header is cut short or damaged; nothing of it can be replayed")
    try:
        header = _HEADER.decode(body)
    except ProtocolError as error:
        raise ConfigError(f"the recording's header was written by another version of liveagent: {error}") from error
    records: list[Record] = []
    while at < len(data):
        record, trouble, at = _read_record(data, at, records[-1].tick if records else 0)
        if record is None:
            return Recording(header, tuple(records), False, f"{trouble}; the {len(records)} records before it are kept")
        if record.kind == "end":
            trouble = "" if at == len(data) else f"{len(data) - at} bytes after the recording's end were ignored"
            if record.payload != json.dumps(len(records)).encode():
                return Recording(header, tuple(records), False, "the recording's end counts other records than it has")
            return Recording(header, tuple(records), True, trouble)
        records.append(record)
    return Recording(header, tuple(records), False, f"it was never closed; its {len(records)} records are kept")


def _read_record(data: bytes, at: int, tick: int) -> tuple[Record | None, str, int]:
    if len(data) - at < _RECORD.size:
        return None, "the last record is cut short", at
    length, crc = _RECORD.unpack_from(data, at)
    start = at + _RECORD.size
    if not _BODY.size <= length <= MAX_RECORD_BYTES:
        return None, f"a record at byte {at} is damaged", at
    if len(data) - start < length:
        return None, "the last record is cut short", at
    body = data[start : start + length]
    if zlib.crc32(body) != crc:
        return None, f"a record at byte {at} is damaged", at
    found, kind = _BODY.unpack_from(body)
    if kind >= len(KINDS) or found < tick:
        return None, f"a record at byte {at} is of another kind than this version knows", at
    return Record(found, KINDS[kind], body[_BODY.size :]), "", start + length
