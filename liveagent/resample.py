"""One sample rate into another, in a stream.

A windowed-sinc interpolator with rational phases (Kaiser window; see J. O. Smith, "Digital Audio Resampling", CCRMA).
Output sample k stands at input time k·from/to exactly, so nothing drifts and nothing is delayed: the filter's half
length is looked ahead, and `flush` hands out what that held back.
"""

from __future__ import annotations

from math import ceil, gcd

import numpy as np

from liveagent.audio import Samples
from liveagent.errors import ConfigError

_ZERO_CROSSINGS = 16
_KAISER_BETA = 8.0  # about 80 dB down outside the band
_ROLL_OFF = 0.94


class Resampler:
    """From `from_hz` to `to_hz`; any cutting of the input gives the same output, bit for bit.

    `feed` returns what is certain so far; after `flush` it has handed out ceil(n · to / from) samples for n received,
    and starts anew. Raises ConfigError for a rate outside 1 kHz to 768 kHz.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        for rate_hz in (from_hz, to_hz):
            if not 1_000 <= rate_hz <= 768_000:
                raise ConfigError(f"cannot resample a rate of {rate_hz} Hz; use one between 1000 and 768000")
        self.from_hz, self.to_hz = from_hz, to_hz
        divisor = gcd(from_hz, to_hz)
        self._up, self._down = to_hz // divisor, from_hz // divisor
        cutoff = min(1.0, to_hz / from_hz) * (_ROLL_OFF if from_hz != to_hz else 1.0)
        self._half = ceil(_ZERO_CROSSINGS / min(1.0, to_hz / from_hz)) if from_hz != to_hz else 0
        # Row p interpolates at p/up after a sample, from the samples -half+1 … half around it.
        at = np.arange(-self._half + 1, self._half + 1)[None, :] - (np.arange(self._up) / self._up)[:, None]
        window = np.i0(_KAISER_BETA * np.sqrt(np.clip(1 - (at / max(1, self._half)) ** 2, 0, None)))
        taps = np.sinc(at * cutoff) * window
        self._taps = (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32) if self._half else None
        self._start()

    def _start(self) -> None:
        self.received_samples = 0
        self.sent_samples = 0
        # The half before the first sample is silence. `_first` is the input index of _held[0].
        self._held = np.zeros(max(0, self._half - 1), np.float32)
        self._first = -len(self._held)

    def feed(self, samples: Samples) -> Samples:
        """samples: [T] float32 at from_hz. Returns [T'] float32 at to_hz, perhaps empty."""
        self.received_samples += len(samples)
        if self._taps is None:
            self.sent_samples += len(samples)
            return samples
        self._held = np.concatenate([self._held, samples])
        return self._interpolate(self._first + len(self._held) - self._half)

    def flush(self) -> Samples:
        """The held-back end. Afterwards the next sample is a first sample again."""
        rest = np.zeros(0, np.float32)
        if self._taps is not None and self.received_samples:
            self._held = np.concatenate([self._held, np.zeros(self._half, np.float32)])
            rest = self._interpolate(self.received_samples)
        self._start()
        return rest

    def _interpolate(self, before: int) -> Samples:
        """All outputs that stand before input index `before` and have not been sent."""
        assert self._taps is not None
        last = ceil(before * self._up / self._down) if before > 0 else 0
        if last <= self.sent_samples:
            return np.zeros(0, np.float32)
        position = np.arange(self.sent_samples, last, dtype=np.int64) * self._down
        index, phase = position // self._up, position % self._up
        windows = np.lib.stride_tricks.sliding_window_view(self._held, 2 * self._half)
        out: Samples = (windows[index - self._half + 1 - self._first] * self._taps[phase]).sum(axis=1, dtype=np.float32)
        self.sent_samples = last
        keep = min(len(self._held), max(0, last * self._down // self._up - self._half + 1 - self._first))
        self._held = self._held[keep:].copy()
        self._first += keep
        return out
