"""`StopWord`: hears "stop" at the beginning of a burst of sound, on raw samples, without waiting for its end.

A keyphrase search takes "start" for "stop" once in a while. Here "stop" competes with the other words that are likely
to be said, all of them in a loop; it counts when it wins as the first word of a burst and the next sound has begun.
It costs nothing while it is quiet.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from liveagent.ports.dictionary import decoder_of
from liveagent.ports.recogniser import RATE_HZ, Floats, pcm
from liveagent.pronounce import phones_of_letters

_FRAME = 160  # 10 ms
_RISE_DB = 12.0  # over the floor: a burst begins
_QUIET_FRAMES = 30  # 300 ms under that: the burst is over
_LEAD_FRAMES = 20  # of what came before are searched too: a plosive begins before it is loud
_LISTEN_FRAMES = 150  # a first word is over by then
_SETTLE_FRAMES = 8  # the word must have ended this long ago
_LOST_FRAMES = 75  # another first word that ended this long ago stays the first; with 50 a tenth fewer stops are heard
_HMMS = 1500  # in the search, a frame; with 1000 a tenth fewer stops are heard
_GAUSSIANS = 2  # of each codebook; with 4 it hears the same and costs a tenth more. Every second frame would hear less
_REJECT_NATS = -5.0
_CLEAR_DB = 30.0  # so far over the quietest of late a burst must come for its words to be sure
_LATE_FRAMES = 200
_BESIDE = frozenset({"please", "no", "now", "and"})  # said before the word, and not instead of it
# Frequent words to lose to, and some that sound like it; not "stopped" or "stuff", which would win too often.
_OTHERS = (
    "start star story top shop hold hot help free trees please i you he she it we they the a this that there what "
    "where who how why can could do does is are have get give make see say tell think want know not no yes and but if "
    "so of at for with from about good morning thank now"
)


class StopWord:
    """`feed` returns True once for each burst that begins with one of `words`. Raises DeviceError without
    pocketsphinx. `others`: what else a burst is likely to begin with, such as the
    automaton's first words (`automaton.next_words()`)."""

    def __init__(
        self,
        words: Sequence[str] = ("stop", "halt", "freeze"),
        others: Sequence[str] = (),
        say: Mapping[str, str] | None = None,
        pronounce: Callable[[str], Sequence[str]] = phones_of_letters,
    ) -> None:
        self.words = frozenset(words)
        rivals = sorted({*_OTHERS.split(), *others} - self.words)
        said = [*sorted(self.words), *rivals]
        self._decoder, _ = decoder_of(said, say, pronounce, maxhmmpf=_HMMS, topn=_GAUSSIANS)
        arcs = [(0, 1, 1.0, word) for word in (*sorted(self.words), *rivals)]
        arcs += [(1, 1, 1.0, word) for word in rivals]
        self._decoder.add_fsg("stop", self._decoder.create_fsg("stop", 0, 1, arcs))
        self._decoder.activate_search("stop")
        self._open = False
        self._other: int | None = None
        self.ago_samples = 0
        """How long before the newest sample the word ended that was heard last."""
        self.reset()

    def reset(self) -> None:
        """Forget the burst and the floor."""
        self._end()
        self._floor_db = -60.0
        self._rest = np.zeros(0, np.float32)
        self._lead: deque[Floats] = deque(maxlen=_LEAD_FRAMES)
        self._levels: deque[float] = deque(maxlen=_LATE_FRAMES)
        self._quiet = 0

    def feed(self, samples: Floats, near: bool = True) -> bool:
        """16 kHz mono float32 in [-1, 1], any length. `near`: somebody may sound in it; what is known to be the
        loudspeaker's echo alone begins no burst, though it may lie before one."""
        heard = False
        samples = np.concatenate([self._rest, np.nan_to_num(samples).astype(np.float32)])
        whole = len(samples) // _FRAME * _FRAME
        self._rest = samples[whole:]
        frames = samples[:whole].reshape(-1, _FRAME)
        levels_db = 10 * np.log10(np.square(frames, dtype=np.float64).mean(1) + 1e-9)
        for frame, level_db in zip(frames, levels_db.tolist(), strict=True):
            self._levels.append(level_db)
            # The floor follows down at once and up by 3 dB a second.
            self._floor_db = min(max(self._floor_db + 0.03, -75.0), max(level_db, -75.0))
            loud = near and level_db > self._floor_db + _RISE_DB
            self._quiet = 0 if loud else self._quiet + 1
            if loud and not self._open:
                self._decoder.start_utt()
                self._open, self._frames, self._done = True, 0, False
                self._peak_db, self._age, self._other = level_db, len(self._lead), None
                for before in self._lead:
                    self._process(before)
            self._lead.append(frame)
            if not self._open:
                continue
            self._age += 1
            self._peak_db = max(self._peak_db, level_db)
            if self._quiet > _QUIET_FRAMES:
                self._end()
            elif not self._done:
                self._process(frame)
                if self._frames % 4 == 0 and self._won():
                    heard = self._done = True
                self._done |= self._frames > _LISTEN_FRAMES
        return heard

    def _process(self, frame: Floats) -> None:
        self._decoder.process_raw(pcm(frame, self._frames * _FRAME % RATE_HZ), False, False)
        self._frames += 1

    def _won(self) -> bool:
        """Whether a stop word is the first; ends the search of this burst when another one is, for good."""
        for segment in self._decoder.seg() or ():
            if segment.word[0] in "<[+":
                continue
            here = segment.end_frame - segment.start_frame + 1
            score = math.log(max(segment.ascore, 1e-300)) / here
            ago = self._frames - segment.end_frame
            if segment.word.partition("(")[0] not in self.words:
                self._done |= ago > _LOST_FRAMES
                self._other = None if segment.word.partition("(")[0] in _BESIDE else segment.end_frame
                return False
            won = bool(ago > _SETTLE_FRAMES and score >= _REJECT_NATS)
            if won:
                self.ago_samples = ago * _FRAME
            return won
        return False

    @property
    def clear(self) -> bool:
        """Whether the open burst came so far over the quietest of late that its words can be told."""
        return self._open and self._age < _LATE_FRAMES and self._peak_db - min(self._levels) > _CLEAR_DB

    @property
    def other_first(self) -> bool:
        """Whether the open burst, which is clear, began with another word so far; what is in noise nobody can say."""
        return self.clear and self._other is not None

    def close(self) -> None:
        """End the burst; a decoder that is dropped within one never gives its memory back."""
        self._end()

    def _end(self) -> None:
        if self._open:
            self._decoder.end_utt()
        self._open = False
