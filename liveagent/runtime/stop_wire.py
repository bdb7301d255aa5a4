"""What is said between a server and the process that stops robots: `StopAddress`, frames to it, reports from it.

To the child: u8 kind, u32 lookout, u64 time in ns (`time.monotonic_ns`), u32 length, little-endian, and so many bytes:

    ROBOTS   JSON: every StopAddress that there is now
    OPEN     JSON: {"others": [words], "say": {word: words}}       CLOSE
    SOUND    u32 rate, u32 samples, the microphone's as int16, the loudspeaker's of the same time as int16 or nothing;
             the time is the first sample's
    OWN      the loudspeaker itself is just saying a stop word, and nobody can take it out of the microphone
    PRESS    JSON: {"id", "src"}: a key, a button, a typed line
    PING     END

From the child: a line of JSON a report, `{"kind": …}`: ready, heard, acked, unheard, unlinked, way, deaf, pong.
"""

from __future__ import annotations

import contextlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from liveagent.audio import whole_numbers

Int16 = npt.NDArray[np.int16]

ROBOTS, OPEN, CLOSE, SOUND, OWN, PRESS, PING, END = range(1, 9)
FRAME = struct.Struct("<BIQI")
_SOUND = struct.Struct("<II")
MOST_BYTES = 1 << 20
MOST_RATE_HZ = 192_000


@dataclass(frozen=True, slots=True)
class StopAddress:
    """Where one robot hears a stop. `url`: of its broker, with name and password; "": it dials in at us, and shows
    `token`. `ca`: whom to trust for mqtts://."""

    site: str
    robot: str
    url: str = field(default="", repr=False)
    ca: str | None = None
    token: str = field(default="", repr=False)

    @property
    def name(self) -> str:
        return f"{self.site}/{self.robot}"


def frame(kind: int, lookout: int = 0, t_ns: int = 0, body: bytes = b"") -> bytes:
    return FRAME.pack(kind, lookout, t_ns, len(body)) + body


def told(kind: int, what: Any, lookout: int = 0, t_ns: int = 0) -> bytes:
    """A frame with JSON in it."""
    return frame(kind, lookout, t_ns, json.dumps(what, separators=(",", ":")).encode())


def addresses(robots: Iterator[StopAddress]) -> list[dict[str, Any]]:
    return [asdict(each) for each in robots]


def sound(lookout: int, t_ns: int, mic: npt.NDArray[Any], rate_hz: int, reference: npt.NDArray[Any] | None) -> bytes:
    """A frame of sound: `mic` [T] as int16 or float, `reference` [T] at 16 kHz where the rate is that."""
    samples = pcm(mic)
    played = pcm(reference).tobytes() if reference is not None and len(reference) == len(mic) else b""
    return frame(SOUND, lookout, t_ns, _SOUND.pack(rate_hz, len(samples)) + samples.tobytes() + played)


def read_sound(body: bytes) -> tuple[int, Int16, Int16 | None]:
    """Rate, microphone and loudspeaker of a SOUND's body; ValueError for what is none."""
    if len(body) < _SOUND.size:
        raise ValueError("no sound")
    rate_hz, count = _SOUND.unpack_from(body)
    samples = np.frombuffer(body, "<i2", offset=_SOUND.size)
    if not 1000 <= rate_hz <= MOST_RATE_HZ or len(samples) not in (count, 2 * count):
        raise ValueError("no sound")
    return rate_hz, samples[:count], samples[count:] if count and len(samples) > count else None


def pcm(samples: npt.NDArray[Any]) -> Int16:
    if samples.dtype == np.int16:
        return samples
    clean = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0).astype(np.float32)
    return whole_numbers(clean * np.float32(32767.0))


class Frames:
    """Bytes as they come, to frames: (kind, lookout, t_ns, body). Holds no more than one that is unfinished."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        """ValueError for a stream that is damaged."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= FRAME.size:
            kind, lookout, t_ns, length = FRAME.unpack_from(self._rest, at)
            if length > MOST_BYTES or not ROBOTS <= kind <= END:
                raise ValueError("damaged")
            end = at + FRAME.size + length
            if len(self._rest) < end:
                break
            yield kind, lookout, t_ns, bytes(self._rest[at + FRAME.size : end])
            at = end
        del self._rest[:at]


class Reports:
    """Bytes as they come, to reports."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Mapping[str, Any]]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-MOST_BYTES:]
        found = []
        for line in lines:
            with contextlib.suppress(ValueError):  # a child that was cut off in the middle of one
                found.append(json.loads(line))
        return found


def report(kind: str, **fields: Any) -> bytes:
    return json.dumps({"kind": kind, **fields}, separators=(",", ":")).encode() + b"\n"
