"""`Take`: one utterance for an ear that hears whole clips: when it is looked at, how much of it, and what stands.

While somebody speaks, all of it is looked at again and again, at a pace that leaves the machine half its time; at the
first quiet it is looked at once more, since that may have been all, and then the end costs nothing more. What two looks
agree on stands, and the next begins with it. An utterance longer than a clip is cut where it was quietest; what was
heard up to there stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from liveagent.agreed import Agreed
from liveagent.audio import RATE_HZ, TICK_SAMPLES, Samples
from liveagent.spoken import spoken

NEWS_SAMPLES = RATE_HZ * 2 // 5
"""So much more must have come for another look, while somebody speaks."""
QUIET_SAMPLES = 2 * TICK_SAMPLES
SPARE_SAMPLES = 2 * RATE_HZ
"""A clip is cut when so little room is left in it, and not nearer to its end than this."""
CUT_SAMPLES = 5 * RATE_HZ
"""… within so much before that."""
MOST_CLIPS = 2
TOKENS_S = 12.0
"""Nobody says more tokens in a second; so a text that goes round in circles ends."""
TOKENS_AT_LEAST = 16


@dataclass(frozen=True, slots=True)
class Look:
    """What to look at: `samples`; `begun`: the ids that the text begins with; `most_tokens` it may have. `ends`: it is
    cut off here, so whatever is heard stands."""

    samples: Samples
    begun: tuple[int, ...]
    most_tokens: int
    ends: bool


@dataclass(frozen=True, slots=True)
class Said:
    """The words so far, of which the first `stands` will not change, and how likely the tokens were, 0 … 1."""

    words: tuple[str, ...]
    stands: int
    confidence: float


class Take:
    """`clip_samples`: what is looked at once at most. `text`: what ids say."""

    def __init__(self, clip_samples: int, text: Callable[[Sequence[int]], str]) -> None:
        self._clip, self._text = clip_samples, text
        self.form: Callable[[str], str] = spoken
        """How words are written down."""
        self.ended = False
        self.overfull = False
        """More came than can be kept: nobody looks at it in time."""
        self.looked_s = -math.inf
        """When the last look was over."""
        self._pieces: list[Samples] = []
        self._samples = 0
        self._spoken = 0  # up to where somebody spoke
        self._seen = 0  # up to where it was looked at
        self._agreed = Agreed()
        self._before: list[str] = []  # what was said before the cut
        self._logps: list[float] = []
        self._logp = 0.0

    def add(self, samples: Samples, quiet: bool) -> None:
        if self._samples >= MOST_CLIPS * self._clip:
            self.overfull = True
            return
        self._pieces.append(samples)
        self._samples += len(samples)
        if not quiet:
            self._spoken = self._samples

    @property
    def full(self) -> bool:
        return self._samples > self._clip - SPARE_SAMPLES

    @property
    def done(self) -> bool:
        """Whether it has ended, and everything that was said in it was looked at."""
        return self.ended and not self.full and self._spoken <= self._seen

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for it."""
        return (self.ended and not self.done) or self.full

    def due(self, now_s: float, took_s: float) -> bool:
        """Whether to look now, where a look takes `took_s`."""
        if self.urgent:
            return True
        if self._spoken <= self._seen:
            return False
        if self._samples - self._spoken >= QUIET_SAMPLES:
            return True
        return self._samples - self._seen >= NEWS_SAMPLES and now_s - self.looked_s >= took_s

    def look(self) -> Look:
        """What to look at now."""
        at = self._cut() if self.full else self._samples
        samples = np.concatenate(self._pieces)[:at] if self._pieces else np.zeros(0, np.float32)
        most = int(TOKENS_AT_LEAST + TOKENS_S * len(samples) / RATE_HZ) - len(self._agreed.ids)
        return Look(samples, self._agreed.ids, max(1, most), self.full)

    def outdated(self, look: Look) -> bool:
        """Whether it has ended meanwhile, after words that `look` does not have."""
        return self.ended and not look.ends and self._spoken > len(look.samples)

    def heard(self, look: Look, ids: Sequence[int], logp: float, spoken: bool, now_s: float) -> Said:
        """What came of a look: `ids`, the mean log-probability of its tokens, and whether anybody said it."""
        self.looked_s, self._logp = now_s, logp
        self._agreed.look(ids if spoken or self._agreed.ids else ())
        if not look.ends:
            self._seen = len(look.samples)
            return self.said
        self._before.append(self._text(self._agreed.newest))
        self._logps.append(logp)
        rest = np.concatenate(self._pieces)[len(look.samples) :]
        self._pieces, self._samples = [rest], len(rest)
        self._spoken, self._seen = max(0, self._spoken - len(look.samples)), 0
        self._agreed = Agreed()
        return self.said

    @property
    def said(self) -> Said:
        newest, stands = self._agreed.newest, self._agreed.ids
        words = self._words(newest)
        # The last word that stands may still grow: "light" to "lights".
        sure = len(words) if stands == newest else max(len(self._words(())), len(self._words(stands)) - 1)
        logps = [*self._logps, self._logp] if newest else self._logps
        return Said(words, min(sure, len(words)), math.exp(min(0.0, sum(logps) / len(logps))) if logps else 0.0)

    def _words(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(self.form(" ".join([*self._before, self._text(ids)])).split())

    def _cut(self) -> int:
        """Where it is quietest, before the clip is full."""
        last = self._clip - SPARE_SAMPLES
        sound = np.concatenate(self._pieces)[last - min(last // 2, CUT_SAMPLES) : last]
        ticks = sound[: len(sound) // TICK_SAMPLES * TICK_SAMPLES].reshape(-1, TICK_SAMPLES)
        quietest = int(np.square(ticks, dtype=np.float64).sum(1).argmin()) if len(ticks) else 0
        return last - len(sound) + quietest * TICK_SAMPLES + TICK_SAMPLES // 2
