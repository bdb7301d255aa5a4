"""`StopEar`: one session's microphone in the process that stops robots: raw samples in, "the stop word has ended" out.

It knows nothing of turns or tools. Two listen: `Spotter`, trained on synthetic voices, hears in noise and is enough by
itself there; `StopWord`, whose sounds were learnt from people, wants it quiet. Where it is, each has its say on the
other: what the spotter rules out is none, and where it is not very sure, what the recogniser takes for another word.

Where somebody tells what the loudspeaker plays, that is taken out of the microphone first, so the agent's own "stop" is
none, and a person's over the agent's voice is one. Only what a filter can predict is taken out: what is left of the
agent's voice would be taken out together with half of the person's, and the spotter was trained to hear beside it.

What stops, and what does not, is declared here and tested with voices:

    "stop", "stop now", "stop please"     stops, 100 ms after the word, while the rest is being said
    "stop recording", "stop the timer"    stops: a burst of sound that begins with the word stops, whatever follows, for
                                          nobody can wait for it; a stop too many costs a walk to the robot, a stop too
                                          late may cost more
    "don't stop", "do not stop",          does not: another word came first. In noise nobody can tell, and it may
    "bus stop"
    "please stop", "no, stop"             may or may not: say the word first
    the word again, after a breath        stops again: whoever was not heard says it louder
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, Samples
from liveagent.echo import DELAY_SAMPLES, Echo, EchoConfig
from liveagent.errors import DeviceError
from liveagent.nn.model import weights_folder
from liveagent.nn.spotter import Spotter
from liveagent.ports.stop_word import StopWord
from liveagent.resample import Resampler
from liveagent.runtime.stop_wire import Int16
from liveagent.stop import STOP_WORDS

LINEAR = EchoConfig(floor_db=0.0)
NEAR_BLOCKS, LATE_BLOCKS = 7, 20
"""Of 16 ms: in so many of the last ones somebody beside the loudspeaker was there, or the word was not theirs."""
BEGIN_BLOCKS = 6
"""Somebody who was near so lately still is, between two syllables."""
SURE, SURE_IF_CLEAR = 0.45, 0.4
"""In noise, and where the recogniser has its say: there one that it takes for another word is none."""
HITS = 4
"""So many steps of 20 ms in a row the spotter must be sure."""
PLAIN = 0.8
"""So sure, it needs nobody's word for it."""
HEARD_SAMPLES = 7 * RATE_HZ // 100
"""How long ago the word had ended by then."""
NOT_RULED_OUT = 0.15
"""So sure the spotter must have been of late, for a word of the recogniser's to count."""
LATELY_STEPS = 30
AGAIN_SAMPLES = RATE_HZ // 2
"""One word is heard once, by whoever hears it first."""
OWN_NS = 600_000_000
"""So long after it was last told, the loudspeaker's own stop word counts as over."""


@dataclass(frozen=True, slots=True)
class WordEnded:
    """The stop word, of which the last sound was captured at `t_ns`; `by` whom it was heard."""

    t_ns: int
    by: Literal["spotter", "recogniser"]


class StopEar:
    """`feed` it everything, in order. Without pocketsphinx the spotter listens alone. ConfigError without weights."""

    def __init__(
        self, others: Sequence[str] = (), say: Mapping[str, str] | None = None, weights: Path | None = None
    ) -> None:
        """others: what else a burst is likely to begin with. say: how words are said that no dictionary has. weights:
        the spotter's folder; None: the shipped one."""
        self._word: StopWord | None = None
        with contextlib.suppress(DeviceError):
            self._word = StopWord(STOP_WORDS, others=others, say=say)
        self._spotter = Spotter.load(weights or weights_folder())
        self._lately: deque[float] = deque(maxlen=LATELY_STEPS)
        self._sure, self._told = 0, False
        self._deaf_samples = 0
        self._resampler: Resampler | None = None
        self._echo: Echo | None = None
        self._near: deque[bool] = deque(maxlen=LATE_BLOCKS)
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
        if not len(samples):
            return None
        heard = self._listen(samples, reference)
        if heard is None or (self._own_ns is not None and abs(end_ns - self._own_ns) < OWN_NS):
            return None
        ago_samples = DELAY_SAMPLES + len(self._state.waiting_mic) if self._echo is not None else 0
        ago_samples += self._word.ago_samples if self._word is not None and heard == "recogniser" else HEARD_SAMPLES
        return WordEnded(end_ns - ago_samples * SAMPLE_NS, heard)

    def _cleaned(self, samples: Samples, reference: Int16 | None) -> Samples:
        """Without the loudspeaker."""
        if reference is not None and self._echo is None and reference.any():
            self._echo = Echo(LINEAR)  # from here on: a session whose loudspeaker is silent, or far, never pays for it
            self._state = self._echo.init_state()
        if self._echo is None:
            return samples
        played = np.zeros(len(samples), np.float32)
        if reference is not None:
            played = reference.astype(np.float32) / np.float32(32768.0)
        clean = self._echo.feed(samples, played, self._state)
        self._near.extend(clean.near_end.tolist())
        return clean.samples

    def _listen(self, samples: Samples, reference: Int16 | None) -> Literal["spotter", "recogniser"] | None:
        """Who hears a stop word now, for the first time."""
        clean = self._cleaned(samples, reference)
        begins = self._echo is None or any(list(self._near)[-BEGIN_BLOCKS:])
        by_word = self._word is not None and self._word.feed(clean, begins)
        by_spotter = False
        for probability in self._spotter.feed(clean).tolist():
            self._lately.append(probability)
            self._sure = self._sure + 1 if probability > SURE_IF_CLEAR else 0
            self._told &= self._sure > 0
            if self._sure >= HITS and not self._told and self._is_theirs() and self._is_plain():
                by_spotter = self._told = True
        self._deaf_samples = max(0, self._deaf_samples - len(samples))
        by_word &= max(self._lately, default=0.0) > NOT_RULED_OUT
        if not (by_word or by_spotter) or self._deaf_samples:
            return None
        self._deaf_samples = AGAIN_SAMPLES
        return "spotter" if by_spotter else "recogniser"

    def _is_plain(self) -> bool:
        """Whether it is so sure as it must be: in noise nobody else can tell; where it is clear, the recogniser can."""
        least = min(list(self._lately)[-HITS:])
        if least > PLAIN:
            return True
        if self._word is None or not self._word.clear:
            return least > SURE
        return not self._word.other_first

    def _is_theirs(self) -> bool:
        """Whether the word was somebody's beside the loudspeaker."""
        return self._echo is None or sum(self._near) >= min(NEAR_BLOCKS, len(self._near))

    def close(self) -> None:
        if self._word is not None:
            self._word.close()
