"""Sound as it came in, and the clock made of it.

Sound inside liveagent is 16 kHz mono float32 in [-1, 1]. One tick is 80 ms. The microphone is the clock: a tick's time
is the time of the first sample plus the samples counted since, so no jump of any device clock can move it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from liveagent.errors import ProtocolError

Samples = NDArray[np.float32]

RATE_HZ = 16_000
TICK_SAMPLES = 1_280
SAMPLE_NS = 1_000_000_000 // RATE_HZ  # exactly 62 500, so times by sample count never round
TICK_NS = TICK_SAMPLES * SAMPLE_NS
FULL_SCALE = np.array(32767, np.float32)
_MOST, _LEAST = FULL_SCALE, np.array(-32768, np.float32)  # arrays: to make one of a number takes as long as to compare
MAX_GAP_SAMPLES = 60 * RATE_HZ  # so that one chunk, from whomever, never becomes an hour of silence at once


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """A stretch of sound of any length, stamped once.

    samples: [T] float32, mono, 16 kHz. May be empty when the chunk only reports a gap.
    t_ns: capture time of the first sample.
    gap_samples: samples lost just before this chunk. Whoever lost them has already counted them here.
    source: what it came from ("mic", a file's name, a session's link).
    Raises ProtocolError when the gap is longer than a minute: that comes as several chunks.
    """

    samples: Samples
    t_ns: int
    gap_samples: int = 0
    source: str = "mic"

    def __post_init__(self) -> None:
        assert self.samples.ndim == 1 and self.samples.dtype == np.float32, "samples: [T] float32"
        if not 0 <= self.gap_samples <= MAX_GAP_SAMPLES:
            raise ProtocolError(
                f"a gap of {self.gap_samples} samples is not between 0 and {MAX_GAP_SAMPLES}; "
                "report a longer one as several empty chunks"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Tick:
    """Exactly 80 ms of sound: what the session steps on.

    index: 0, 1, 2, … without holes.
    samples: [1280] float32.
    t_ns: capture time of the first sample, by sample count.
    gap_samples: how many of the 1280 are silence put in for lost samples.
    """

    index: int
    samples: Samples
    t_ns: int
    gap_samples: int = 0


def finite(samples: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same samples, themselves where all are numbers, as nearly always; else what is none is silence, and what is
    beyond all bounds is full scale. To look first costs a tenth of `nan_to_num`."""
    if np.count_nonzero(np.isfinite(samples)) == samples.size:  # `all` takes twice as long
        return samples
    mended: NDArray[np.floating] = np.nan_to_num(samples, nan=0.0, posinf=1.0, neginf=-1.0)
    return mended


def whole_numbers(scaled: NDArray[np.floating]) -> NDArray[np.int16]:
    """The nearest whole numbers of 16 bits, clipped; `scaled` is used up by it. What is no number was made silent
    before."""
    np.rint(scaled, out=scaled)
    np.minimum(scaled, _MOST, out=scaled)
    np.maximum(scaled, _LEAST, out=scaled)
    return scaled.astype(np.int16)


class Chunker:
    """Cuts any stream of chunks into exact ticks; marked gaps become silence.

    At every moment `received_samples + gap_samples == consumed_samples + pending_samples`, where consumed means handed
    out in ticks. Holds less than one tick between calls, however long the gap.
    """

    def __init__(self) -> None:
        self.received_samples = 0
        self.gap_samples = 0
        self.consumed_samples = 0
        self.pending_samples = 0
        self.drift_ns = 0
        """The last chunk's own time minus its time by sample count: for a meter, never for a decision."""
        self._ticks = 0
        self._origin_ns: int | None = None
        self._open = np.zeros(TICK_SAMPLES, np.float32)
        self._open_gap = 0

    def feed(self, chunk: AudioChunk) -> list[Tick]:
        """The ticks this chunk completes, in order; often none."""
        if self._origin_ns is None:
            self._origin_ns = chunk.t_ns - chunk.gap_samples * SAMPLE_NS
        self.gap_samples += chunk.gap_samples
        self.received_samples += len(chunk.samples)
        first = self.consumed_samples + self.pending_samples + chunk.gap_samples
        self.drift_ns = chunk.t_ns - self._origin_ns - first * SAMPLE_NS
        ticks: list[Tick] = []
        for at in range(0, chunk.gap_samples, TICK_SAMPLES):
            self._put(np.zeros(min(TICK_SAMPLES, chunk.gap_samples - at), np.float32), ticks, gap=True)
        self._put(chunk.samples, ticks)
        return ticks

    def flush(self) -> Tick | None:
        """The last, open tick with its missing rest as silence (counted as a gap), or None when nothing is open."""
        if not self.pending_samples:
            return None
        rest = TICK_SAMPLES - self.pending_samples
        self.gap_samples += rest
        ticks: list[Tick] = []
        self._put(np.zeros(rest, np.float32), ticks, gap=True)
        return ticks[0]

    def _put(self, samples: Samples, ticks: list[Tick], gap: bool = False) -> None:
        at = 0
        while at < len(samples):
            n = min(len(samples) - at, TICK_SAMPLES - self.pending_samples)
            self._open[self.pending_samples : self.pending_samples + n] = samples[at : at + n]
            self._open_gap += n if gap else 0
            self.pending_samples += n
            at += n
            if self.pending_samples == TICK_SAMPLES:
                ticks.append(self._close())

    def _close(self) -> Tick:
        assert self._origin_ns is not None
        tick = Tick(self._ticks, self._open, self._origin_ns + self._ticks * TICK_NS, self._open_gap)
        self._ticks += 1
        self.consumed_samples += TICK_SAMPLES
        self.pending_samples = 0
        self._open = np.zeros(TICK_SAMPLES, np.float32)
        self._open_gap = 0
        return tick
