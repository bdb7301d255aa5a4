"""What the loudspeaker played, laid on the microphone's time.

A loudspeaker reports what it played and when; the echo gate needs, for each stretch of microphone, what sounded during
it. Between them lies this: a short memory of played sound, addressed by time. Small errors of the loudspeaker's times
(its own buffer, the air) are the gate's to find; a report that comes after the microphone's sound has been taken is
lost for the gate, and counted.
"""

from __future__ import annotations

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, Samples


class Reference:
    """Holds `memory_ms` of played sound; what was not played is silence."""

    def __init__(self, memory_ms: int = 2000) -> None:
        self._samples = np.zeros(memory_ms * RATE_HZ // 1000, np.float32)
        self._start: int | None = None  # the sample, counted since time 0, that the memory begins with
        self._end = 0  # what was taken ends here
        self.late_samples = 0
        """Played sound that was reported after its microphone sound was taken."""

    def feed(self, samples: Samples, t_ns: int) -> None:
        """[T] float32 that sounded from `t_ns` on, as it was played (after ducking). Overlapping reports are summed.
        Raises ValueError when more of the future is reported than the memory holds."""
        at = round(t_ns / SAMPLE_NS)
        if self._start is None:
            self._start = self._end = at
        late = min(max(self._end - at, 0), len(samples))
        self.late_samples += late
        samples, at = samples[late:], at + late
        low = at - self._start
        if low + len(samples) > len(self._samples):
            raise ValueError("played sound lies too far ahead of the microphone; report it as it sounds")
        if len(samples):
            self._samples[low : low + len(samples)] += samples

    def take(self, t_ns: int, count: int) -> Samples:
        """[count] float32: what sounded while the microphone heard the `count` samples from `t_ns` on. Times only go
        forward; what lies before is forgotten."""
        at = round(t_ns / SAMPLE_NS)
        if self._start is None:
            self._start = at
        skip = at - self._start
        if skip < 0:
            raise ValueError("the microphone's time does not go back")
        taken = np.zeros(count, np.float32)
        there = self._samples[skip : skip + count]
        taken[: len(there)] = there
        done = min(skip + count, len(self._samples))
        self._samples[: len(self._samples) - done] = self._samples[done:]
        self._samples[len(self._samples) - done :] = 0
        self._start = self._end = at + count
        return taken
