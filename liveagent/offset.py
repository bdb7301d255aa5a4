"""`Offset`: how late a camera's pictures are against the microphone's sound, from what is seen and heard to happen.

Things that sound also move: a mouth, a hand that puts a cup down. Over the last minute the rises of the sound are laid
beside the changes of the picture, at every offset within 600 ms; where they agree best is the answer. A picture's
change tells of the whole time since the picture before, so the sound is summed over just that time.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from liveagent.audio import RATE_HZ, SAMPLE_NS, Samples

STEP_MS = 20
STEP_SAMPLES = RATE_HZ * STEP_MS // 1_000
STEP_NS = STEP_SAMPLES * SAMPLE_NS
WINDOW_NS = 60_000_000_000
MOST_MS = 600
MOST_PICTURES = 30 * 60
FLOOR = 1e-3  # -60 dBFS: what is quieter is silence
LEAST_PICTURES = 50
LEAST_SIGMAS = 4.0  # the best of some sixty offsets; by chance it reaches 3
APART_MS = 240  # a rival peak is further off than the peak is wide at 5 pictures a second


class Offset:
    """Fed with sound and with how much each picture changed, it estimates the offset between their time stamps.

    Memory: a minute, at 50 numbers a second of sound and at most 30 of pictures.
    """

    def __init__(self) -> None:
        self._rises: deque[tuple[int, float]] = deque(maxlen=WINDOW_NS // STEP_NS)  # end of the step, rise of the level
        self._changes: deque[tuple[int, int, float]] = deque(maxlen=MOST_PICTURES)  # from, to, change
        self._open = np.zeros(0, np.float32)
        self._sound_ns: int | None = None  # of the first open sample
        self._level = 0.0
        self._picture_ns: int | None = None
        self.offset_ms: float | None = None
        """How much later a picture is stamped than the sound of the same moment; None: not known yet. As of the last
        `estimate`."""
        self.confidence = 0.0
        """0: nothing agrees, or several offsets do alike; 1: one offset alone explains it."""

    def feed_sound(self, samples: Samples, t_ns: int) -> None:
        """samples: [T] at 16 kHz, of which the first is of `t_ns`. A hole or a leap begins anew."""
        end_ns = None if self._sound_ns is None else self._sound_ns + len(self._open) * SAMPLE_NS
        if end_ns is None or abs(t_ns - end_ns) > STEP_NS:
            self._open, self._sound_ns, self._level = np.zeros(0, np.float32), t_ns, 0.0
            if self._rises and self._rises[-1][0] > t_ns:
                self._rises.clear()
        assert self._sound_ns is not None
        sound = np.concatenate([self._open, samples])
        steps = len(sound) // STEP_SAMPLES
        power = np.square(sound[: steps * STEP_SAMPLES].reshape(steps, STEP_SAMPLES)).mean(axis=1)
        for level in np.log(np.sqrt(power) + FLOOR) - np.log(FLOOR):
            self._sound_ns += STEP_NS
            self._rises.append((self._sound_ns, max(0.0, float(level) - self._level)))
            self._level = max(float(level), 0.5 * self._level + 0.5 * float(level))  # a rise counts once
        self._open = sound[steps * STEP_SAMPLES :].copy()

    def feed_picture(self, change: float, t_ns: int) -> None:
        """change: how much of the picture taken at `t_ns` differs from the picture fed before, from 0 to 1."""
        if self._picture_ns is not None and 0 < t_ns - self._picture_ns < 1_500_000_000:
            self._changes.append((self._picture_ns, t_ns, change))
        elif self._changes and t_ns <= self._changes[-1][1]:
            self._changes.clear()
        self._picture_ns = t_ns

    def estimate(self) -> float | None:
        """Look anew at the last minute; gives `offset_ms`. Some ms of work: every few seconds is enough."""
        self.offset_ms, self.confidence = None, 0.0
        if not self._rises:
            return None
        ends_ns = np.array([t for t, _ in self._rises])
        rises = np.minimum(np.array([rise for _, rise in self._rises]), 3.0)
        first = ends_ns[-1] - WINDOW_NS
        lags_ns = np.arange(-MOST_MS, MOST_MS + 1, STEP_MS) * 1_000_000
        spans = [s for s in self._changes if s[0] - MOST_MS * 10**6 >= max(first, ends_ns[0])]
        spans = [s for s in spans if s[1] + MOST_MS * 10**6 <= ends_ns[-1]]
        if len(spans) < LEAST_PICTURES:
            return None
        begin, end, change = (np.array(column) for column in zip(*spans, strict=True))
        agreement = _agreement(ends_ns, np.cumsum(rises), begin, end, np.sqrt(change), lags_ns)
        best = int(np.argmax(agreement))
        peak = float(agreement[best])
        if peak * np.sqrt(len(spans)) < LEAST_SIGMAS:
            return None
        rivals = agreement[np.abs(lags_ns - lags_ns[best]) > APART_MS * 1_000_000]
        self.confidence = float(np.clip(1 - max(0.0, float(rivals.max(initial=0.0))) / peak, 0, 1))
        top = np.maximum(agreement - 0.5 * peak, 0) * (np.abs(lags_ns - lags_ns[best]) <= APART_MS * 1_000_000)
        self.offset_ms = float((top * lags_ns).sum() / top.sum() / 1e6)
        return self.offset_ms


def _agreement(
    ends_ns: NDArray[np.int64],
    summed: NDArray[np.float64],
    begin: NDArray[np.int64],
    end: NDArray[np.int64],
    change: NDArray[np.float64],
    lags_ns: NDArray[np.int64],
) -> NDArray[np.float64]:
    """`[lags]` the correlation of the pictures' changes with the sound's rises in their time, were they so late."""
    origin = int(ends_ns[0])
    at, a, b = ends_ns - origin, begin - origin, end - origin
    sound = np.stack([np.interp(b - lag, at, summed) - np.interp(a - lag, at, summed) for lag in lags_ns])
    sound -= sound.mean(axis=1, keepdims=True)
    seen = change - change.mean()
    norm = np.sqrt(np.square(sound).sum(axis=1) * np.square(seen).sum())
    return np.asarray(np.divide(sound @ seen, norm, out=np.zeros(len(lags_ns)), where=norm > 1e-9), np.float64)
