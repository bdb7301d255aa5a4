"""`StopEar`: one session's microphone in the process that stops robots: raw samples in, "the stop word has ended" out.

It knows nothing of turns, words or tools. The loudspeaker is taken out of the microphone first, where somebody tells
what it plays; so the agent's own "stop" begins no burst, and a person's over the agent's voice does.

What stops, and what does not, is declared here and tested with voices:

    "stop", "stop now", "stop it"         stops, 100 ms after the word, while the rest is being said
    "stop recording", "stop the timer"    stops: a burst of sound that begins with the word stops, whatever follows, for
                                          nobody can wait for it; a stop too many costs a walk to the robot, a stop too
                                          late may cost more
    "don't stop", "do not stop",          does not: another word came first
    "bus stop"
    the word again, after a breath        stops again: whoever was not heard says it louder
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, Samples
from liveagent.echo import DELAY_SAMPLES, Echo
from liveagent.ports.stop_word import StopWord
from liveagent.resample import Resampler
from liveagent.runtime.stop_wire import Int16
from liveagent.stop import STOP_WORDS

NEAR_BLOCKS = 6
"""Of 16 ms: somebody who was near so lately still is, between two syllables."""
OWN_NS = 600_000_000
"""So long after it was last told, the loudspeaker's own stop word counts as over."""


@dataclass(frozen=True, slots=True)
class WordEnded:
    """The stop word, of which the last sound was captured at `t_ns`."""

    t_ns: int


class StopEar:
    """`feed` it everything, in order. Raises DeviceError without pocketsphinx."""

    def __init__(self, others: Sequence[str] = (), say: Mapping[str, str] | None = None) -> None:
        """others: what else a burst is likely to begin with. say: how words are said that no dictionary has."""
        self._word = StopWord(STOP_WORDS, others=others, say=say)
        self._resampler: Resampler | None = None
        self._echo: Echo | None = None
        self._near: deque[bool] = deque(maxlen=NEAR_BLOCKS)
        self._own_ns: int | None = None

    def own_voice(self, t_ns: int) -> None:
        """The loudspeaker is just saying the word, and nobody takes it out."""
        self._own_ns = t_ns

    def feed(self, mic: Int16, t_ns: int, rate_hz: int = RATE_HZ, reference: Int16 | None = None) -> WordEnded | None:
        """mic: [T] captured from `t_ns` on. reference: [T] at 16 kHz, what the loudspeaker played meanwhile."""
        end_ns = t_ns + len(mic) * 1_000_000_000 // rate_hz
        samples: Samples = mic.astype(np.float32) / np.float32(32768.0)
        if rate_hz != RATE_HZ:
            if self._resampler is None or self._resampler.from_hz != rate_hz:
                self._resampler = Resampler(rate_hz, RATE_HZ)
            samples, reference = self._resampler.feed(samples), None
        near = True
        if reference is not None and self._echo is None and reference.any():
            self._echo = Echo()  # from here on: a session whose loudspeaker is silent, or far, never pays for it
            self._state = self._echo.init_state()
        if self._echo is not None:
            played = np.zeros(len(samples), np.float32)
            if reference is not None:
                played = reference.astype(np.float32) / np.float32(32768.0)
            clean = self._echo.feed(samples, played, self._state)
            samples = clean.samples
            self._near.extend(clean.near_end.tolist())
            near = any(self._near)
            end_ns -= (DELAY_SAMPLES + len(self._state.waiting_mic)) * SAMPLE_NS
        if not len(samples) or not self._word.feed(samples, near):
            return None
        if self._own_ns is not None and abs(end_ns - self._own_ns) < OWN_NS:
            return None
        return WordEnded(end_ns - self._word.ago_samples * SAMPLE_NS)

    def close(self) -> None:
        self._word.close()
