"""Sound as OpenAI Realtime writes it: PCM16 at 24 kHz, or G.711 at 8 kHz.

G.711 (ITU-T recommendation of that name): eight bits a sample, sign, three bits of exponent and four of mantissa; µ-law
adds a bias of 132 to 14 bits, A-law has a linear first segment of 13 bits and inverts every other bit.
"""

from __future__ import annotations

import base64
from functools import cache

import numpy as np
from numpy.typing import NDArray

from liveagent.audio import RATE_HZ, Samples, finite
from liveagent.resample import Resampler

Pcm = NDArray[np.int16]

FORMATS: dict[str, int] = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
"""Rate in Hz of each format."""
_LEAST_MS, _MOST_MS = 100, 400


class Ear:
    """Bytes of a client to samples. A sample that is cut in two between messages is put together again."""

    def __init__(self, kind: str) -> None:
        self.kind, self.rate_hz = kind, FORMATS[kind]
        self._rest = b""

    def feed(self, data: bytes) -> Pcm:
        if self.kind != "audio/pcm":
            table = _ulaw() if self.kind == "audio/pcmu" else _alaw()
            return table[np.frombuffer(data, np.uint8)]
        data = self._rest + data
        whole = len(data) & ~1
        self._rest = data[whole:]
        return np.frombuffer(data[:whole], "<i2").astype(np.int16)

    def forget(self) -> None:
        self._rest = b""


class Mouth:
    """One utterance's samples, as they are made, to base64 of a client's format.

    Pieces are 100 ms to 400 ms long, so that no message comes near anybody's limit; what is shorter waits for more.
    The same samples give the same bytes however they are cut.
    """

    def __init__(self, kind: str) -> None:
        self.kind, self.rate_hz = kind, FORMATS[kind]
        self.received = 0
        """Samples at 16 kHz taken in so far, holes included."""
        self._resampler = Resampler(RATE_HZ, self.rate_hz)
        self._held: Samples = np.zeros(0, np.float32)

    def feed(self, first: int, samples: Samples, final: bool) -> list[str]:
        """`samples` [T] float32 at 16 kHz from sample `first` on. A hole before them is silence, and what was there
        already counts once."""
        hole = min(first - self.received, RATE_HZ * 60)
        if hole > 0:
            samples = np.concatenate([np.zeros(hole, np.float32), samples])
        elif hole < 0:
            samples = samples[-hole:]
        self.received += len(samples)
        clean = finite(samples).astype(np.float32)
        out = [self._held, self._resampler.feed(clean)]
        if final:
            out.append(self._resampler.flush())
        self._held = np.concatenate(out)
        pieces = []
        most, least = self.rate_hz * _MOST_MS // 1000, self.rate_hz * _LEAST_MS // 1000
        while len(self._held) >= most:
            pieces.append(self._write(self._held[:most]))
            self._held = self._held[most:].copy()
        if len(self._held) >= least or (final and len(self._held)):
            pieces.append(self._write(self._held))
            self._held = np.zeros(0, np.float32)
        return pieces

    def _write(self, samples: Samples) -> str:
        pcm = np.rint(np.clip(samples, -1.0, 1.0) * 32767).astype(np.int16)
        if self.kind == "audio/pcm":
            data = pcm.astype("<i2").tobytes()
        else:
            data = (_ulaw_of(pcm) if self.kind == "audio/pcmu" else _alaw_of(pcm)).tobytes()
        return base64.b64encode(data).decode("ascii")


def encoded(kind: str, pcm: Pcm) -> bytes:
    """Samples at the format's own rate as its bytes: what a client sends."""
    if kind == "audio/pcm":
        return pcm.astype("<i2").tobytes()
    return (_ulaw_of(pcm) if kind == "audio/pcmu" else _alaw_of(pcm)).tobytes()


@cache
def _ulaw() -> Pcm:
    code = ~np.arange(256, dtype=np.uint8)
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    value = ((mantissa << 3) + 132 << exponent) - 132
    return np.where(code & 128, -value, value).astype(np.int16)


@cache
def _alaw() -> Pcm:
    code = np.arange(256, dtype=np.uint8) ^ 0x55
    exponent, mantissa = (code >> 4 & 7).astype(np.int32), (code & 15).astype(np.int32)
    value = np.where(exponent == 0, (mantissa << 4) + 8, (mantissa << 4) + 264 << np.maximum(exponent - 1, 0))
    return np.where(code & 128, value, -value).astype(np.int16)


def _ulaw_of(pcm: Pcm) -> NDArray[np.uint8]:
    value = pcm.astype(np.int32)
    size = np.minimum(np.abs(value), 32_635) + 132
    exponent = np.floor(np.log2(size)).astype(np.int32) - 7
    code = np.where(value < 0, 128, 0) | exponent << 4 | size >> exponent + 3 & 15
    out: NDArray[np.uint8] = np.invert(code.astype(np.uint8))
    return out


def _alaw_of(pcm: Pcm) -> NDArray[np.uint8]:
    value = pcm.astype(np.int32)
    size = np.minimum(np.where(value < 0, -value - 1, value), 32_767)
    exponent = np.maximum(np.floor(np.log2(np.maximum(size, 1))).astype(np.int32) - 7, 0)
    mantissa = size >> np.where(exponent == 0, 4, exponent + 3) & 15
    code = np.where(value < 0, 0, 128) | exponent << 4 | mantissa
    out: NDArray[np.uint8] = np.bitwise_xor(code.astype(np.uint8), np.uint8(0x55))
    return out
