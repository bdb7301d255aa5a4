"""How loud it is, and whether that is more than the room: the cheap gate in front of the voice detector.

The room's noise floor is followed by its minima: it falls at once and rises slowly (after R. Martin, "Noise power
spectral density estimation based on optimal smoothing and minimum statistics", 2001, without the spectrum), so speech
does not lift it, a fan that is switched on becomes the floor within seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log10

import numpy as np

from liveagent.audio import RATE_HZ, Samples

SILENCE_DBFS = -100.0


def dbfs(samples: Samples) -> float:
    """RMS level of [T] samples, 0 dBFS being a full-scale square wave; never below -100. Samples that are no numbers
    count as silence."""
    finite = samples[np.isfinite(samples)]
    power = float(np.mean(np.square(finite, dtype=np.float64))) if len(finite) else 0.0
    return max(SILENCE_DBFS, 10 * log10(power)) if power > 0 else SILENCE_DBFS


@dataclass(frozen=True, slots=True)
class LevelReading:
    """level_dbfs: of these samples. floor_dbfs: of the room. is_open: loud enough that it may be speech."""

    level_dbfs: float
    floor_dbfs: float
    is_open: bool


class Level:
    """The level meter and gate of one lane. Depends on the samples alone, so a replay gates the same.

    margin_db: how far above the floor is worth listening to (low: missing speech costs more than a step of the VAD).
    quiet_dbfs: nothing below this is ever worth it. hold_ms: how long the gate stays open behind the last loud frame.
    rise_db_s: how fast the floor may rise.
    """

    def __init__(
        self, margin_db: float = 6.0, quiet_dbfs: float = -65.0, hold_ms: int = 480, rise_db_s: float = 3.0
    ) -> None:
        self._margin_db, self._quiet_dbfs, self._rise_db_s = margin_db, quiet_dbfs, rise_db_s
        self._hold_samples = hold_ms * RATE_HZ // 1_000
        self._floor_dbfs: float | None = None
        self._open_samples = 0

    def feed(self, samples: Samples) -> LevelReading:
        """samples: [T] float32, one frame or one tick."""
        level = dbfs(samples)
        seconds = len(samples) / RATE_HZ
        if self._floor_dbfs is None:
            # The first frame may be speech already: start from a quiet room rather than from it.
            self._floor_dbfs = min(level, self._quiet_dbfs)
        self._floor_dbfs = min(level, self._floor_dbfs + self._rise_db_s * seconds)
        self._floor_dbfs = max(self._floor_dbfs, SILENCE_DBFS)
        if level > max(self._floor_dbfs + self._margin_db, self._quiet_dbfs):
            self._open_samples = self._hold_samples
            is_open = True
        else:
            is_open = self._open_samples > 0
            self._open_samples = max(0, self._open_samples - len(samples))
        return LevelReading(level, self._floor_dbfs, is_open)
