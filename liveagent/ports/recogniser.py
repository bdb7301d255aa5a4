"""`Recogniser`: words from PocketSphinx, whose acoustic model was trained on people, within one automaton.

It finds the nearest sentence of the grammar, so it must also say when none was near. A path's score is how far it lies
under the best of all the sounds that are still in the search, in nats per frame; the more words compete, the farther
speech that is none of them falls behind. `reject_nats` cuts there; the README says what that keeps and rejects.
(Scoring every sound of the model in every frame instead was measured: it costs twice as much and tells no better.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from liveagent.automaton import Automaton
from liveagent.errors import ConfigError
from liveagent.ports.dictionary import decoder_of
from liveagent.pronounce import phones_of_letters
from liveagent.words import Recognised

Floats = npt.NDArray[np.float32]
RATE_HZ = 16_000
_SLOPE_NATS = 0.25
_WORD_NATS, _WORD_FRAMES = -6.0, 8  # one word this far off spoils the sentence, unless it is shorter than that
# "Silence" nearly as loud as the words was speech that no word took: "good morning (everyone and welcome)".
_QUIET_DB, _QUIET_FRAMES = -4.0, 15
_PAD_SAMPLES = 4_000  # quiet before and after: the models of silence need some frames to stand in
_PAD_FRAMES = _PAD_SAMPLES // 160
_MAX_SAMPLES = 20 * RATE_HZ  # nobody says one command for longer, and the search keeps its whole history
# A steady noise lies far from all sounds alike, so a short word fits it as well as any. Speech swings.
_MIN_SWING_DB = 6.0


@cache
def _whisper() -> Floats:
    """A second of fixed noise to add, twice over, so that a second from any place is one piece: digital silence has log
    energy -inf and spoils the running mean of cepstra."""
    second = np.random.default_rng(16_000).standard_normal(RATE_HZ).astype(np.float32) * np.float32(1e-4)
    return np.tile(second, 2)


def reject_nats(words: int) -> float:
    """Mean score of the words, per frame of 10 ms, below which speech counts as outside a grammar of so many words.

    Fitted on grammars of 2 to 190 words and eight voices, people's among them: it lies half-way between the worst
    sentence that was in the grammar and the best that was not.
    """
    return -1.9 - 0.2 * min(5.0, math.log2(max(1.0, words / 8)))


class Recogniser:
    """One lane's recogniser. `feed` it while somebody speaks, then `end`; the next `feed` begins a new utterance.

    `say` tells how words outside the dictionary are said, in words inside it; `pronounce` gives phones for the rest
    (default: guessed from the letters); `cut_nats` replaces the `reject_nats` of the grammar's words. Raises
    DeviceError when pocketsphinx is not installed, ConfigError for a word that nobody can guess and for an automaton
    without sentences.
    """

    def __init__(
        self,
        automaton: Automaton,
        say: Mapping[str, str] | None = None,
        pronounce: Callable[[str], Sequence[str]] = phones_of_letters,
        cut_nats: float | None = None,
    ) -> None:
        if not automaton.arcs:
            raise ConfigError("there is nothing to recognise: no tool has a closed phrase, and there are no questions")
        self.automaton = automaton
        self.reject_nats = reject_nats(len(automaton.words)) if cut_nats is None else cut_nats
        self._decoder, self.guessed = decoder_of(automaton.words, say, pronounce)
        transitions = [(start, end, 1.0, word) for start, end, word in automaton.arcs]
        self._decoder.add_fsg("said", self._decoder.create_fsg("said", 0, automaton.final, transitions))
        self._decoder.activate_search("said")
        self._samples = -1  # fed to this utterance; -1: none begun
        self._levels_db: list[float] = []  # of its 10 ms pieces

    def feed(self, samples: Floats) -> None:
        """16 kHz mono float32 in [-1, 1], any length. Past 20 s an utterance takes nothing more in."""
        if self._samples < 0:
            self._decoder.start_utt()
            self._samples = 0
            self._levels_db.clear()
            self._process(np.zeros(_PAD_SAMPLES, np.float32))
        if len(samples) and self._samples < _MAX_SAMPLES:
            self._process(samples)
            pieces = np.nan_to_num(samples[: len(samples) // 160 * 160].astype(np.float64)).reshape(-1, 160)
            self._levels_db.extend(10 * np.log10((pieces**2).mean(1) + 1e-10))

    def partial(self) -> tuple[str, ...]:
        """The words of the best path so far; a later call may take some back."""
        hypothesis = self._decoder.hyp() if self._samples > 0 else None
        return tuple(hypothesis.hypstr.split()) if hypothesis else ()

    def end(self) -> Recognised:
        """Close the utterance. Without anything fed: an empty result."""
        if self._samples < 0:
            return Recognised()
        self._process(np.zeros(_PAD_SAMPLES, np.float32))
        self._decoder.end_utt()
        cut = self._samples >= _MAX_SAMPLES
        self._samples = -1
        levels_db = np.asarray(self._levels_db)
        words: list[str] = []
        spoken_db: list[float] = []
        pauses: list[np.ndarray] = []
        nats, frames, torn = 0.0, 0, False
        for segment in self._decoder.seg() or ():
            here = segment.end_frame - segment.start_frame + 1
            score = math.log(max(segment.ascore, 1e-300))
            loud_db = levels_db[max(0, segment.start_frame - _PAD_FRAMES) : max(0, segment.end_frame + 1 - _PAD_FRAMES)]
            if segment.word[0] in "<[+":  # silence, noise
                pauses.append(loud_db)
                continue
            torn |= here >= _WORD_FRAMES and score / here < _WORD_NATS
            words.append(segment.word.partition("(")[0])  # "the(2)" is the second way to say it
            spoken_db.extend(loud_db)
            nats += score
            frames += here
        if not words:
            return Recognised()
        score = nats / frames
        low, high = np.percentile(levels_db, [10, 90]) if len(levels_db) else (0.0, 0.0)
        quiet_db = float(np.median(spoken_db)) + _QUIET_DB if spoken_db else 0.0
        torn |= any(np.count_nonzero(each > quiet_db) >= _QUIET_FRAMES for each in pauses)
        whole = self.automaton.accepts(words) and not cut and not torn and high - low >= _MIN_SWING_DB
        confidence = 1 / (1 + math.exp(min(50.0, (self.reject_nats - score) / _SLOPE_NATS))) if whole else 0.0
        return Recognised(tuple(words), score, confidence, whole and score >= self.reject_nats)

    def reset(self) -> None:
        """Forget the utterance that was begun; what was learnt of the microphone stays."""
        if self._samples >= 0:
            self._decoder.end_utt()
            self._samples = -1

    def _process(self, samples: Floats) -> None:
        self._decoder.process_raw(pcm(samples, self._samples), False, False)
        self._samples += len(samples)


class KeyPhrase:
    """Waits for one phrase of two or more words (a wake phrase) on raw samples, all the time, beside everything else.

    `feed` returns True once for each time it was said. `threshold`: smaller hears more, and more that was not said.
    A single short word is better left to `StopWord`, which knows what else might have been said.
    """

    def __init__(
        self,
        phrase: str,
        threshold: float = 1e-5,
        say: Mapping[str, str] | None = None,
        pronounce: Callable[[str], Sequence[str]] = phones_of_letters,
    ) -> None:
        self.phrase = phrase
        self._decoder, _ = decoder_of(phrase.split(), say, pronounce, kws_threshold=threshold)
        self._decoder.add_keyphrase("key", phrase)
        self._decoder.activate_search("key")
        self._decoder.start_utt()
        self._samples = 0

    def feed(self, samples: Floats) -> bool:
        """16 kHz mono float32, any length."""
        if not len(samples):
            return False
        self._decoder.process_raw(pcm(samples, self._samples), False, False)
        self._samples += len(samples)
        heard = self._decoder.hyp() is not None
        if heard or self._samples > _MAX_SAMPLES:  # a new utterance: its history stays short
            self.reset()
        return heard

    def reset(self) -> None:
        """Forget what was heard so far."""
        self._decoder.end_utt()
        self._decoder.start_utt()
        self._samples = 0

    def close(self) -> None:
        """A decoder that is dropped within an utterance never gives its memory back. Feed nothing after this."""
        self._decoder.end_utt()


def pcm(samples: Floats, at: int) -> bytes:
    """16 bit, over the fixed whisper of noise at this place of the utterance; what is no number counts as silence."""
    clean = np.asarray(samples, np.float32)
    if not np.isfinite(clean).all():
        clean = np.nan_to_num(clean, nan=0.0, posinf=0.0, neginf=0.0)
    first = at % RATE_HZ
    floor = np.resize(_whisper()[first : first + RATE_HZ], len(clean))
    sound: bytes = (np.clip(clean + floor, -1, 1) * 32767).astype("<i2").tobytes()
    return sound
