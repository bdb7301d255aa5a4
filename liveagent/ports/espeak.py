"""The voice that needs no weights: espeak-ng, in a process of its own.

The library comes with `pip install espeakng-loader` or is the system's libespeak-ng. It is GPL-3: this file only talks
to a separate process that loads it.
"""

from __future__ import annotations

import ctypes.util
import sys
from importlib.util import find_spec
from pathlib import Path

from liveagent.audio import RATE_HZ
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports import espeak_child as wire
from liveagent.ports.voice_process import ProcessVoice
from liveagent.probe import Probe
from liveagent.voice import SpokenWord, words_of

_FIX = "pip install espeakng-loader, or install your system's espeak-ng"


def find_espeak() -> tuple[str, str]:
    """(library, data folder or "" for the library's own). Raises DeviceError when there is none."""
    spec = find_spec("espeakng_loader")  # looked at, not imported
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        for name in ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll"):
            if (folder / name).exists():
                return str(folder / name), str(folder / "espeak-ng-data")
    system = ctypes.util.find_library("espeak-ng")
    if system is None:
        raise DeviceError(f"there is no voice: espeak-ng was not found; {_FIX}")
    return system, ""


class WordClock:
    """Turns espeak's marks into SpokenWords, each when its end is known. Samples here are espeak's.

    espeak reports its own words (one for "p" and one for "m" in "p.m."; sometimes one for two of ours): its marks are
    laid on the words between white space. Words that came as one sound end together, where that sound ends.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans = words_of(text)
        self._next = 0  # the first word not handed out yet
        self._open: int | None = None  # the word sounding
        self._start = 0
        self._pause: int | None = None
        self._end = 0

    def feed(self, kind: int, character: int, sample: int) -> list[SpokenWord]:
        if kind == wire.PAUSE:
            self._pause = sample if self._pause is None else self._pause
        elif kind == wire.SOUND:
            self._pause = None
        elif kind == wire.WORD:
            word = next((i for i, (_, end) in enumerate(self._spans) if end > character), len(self._spans) - 1)
            if self._open is None or word > self._open:
                closed = self._close(word, sample)
                self._open, self._start, self._pause = max(word, self._next), sample, None
                return closed
            self._pause = None
        return []

    def flush(self, total_samples: int) -> list[SpokenWord]:
        """All words left, when the utterance has ended with so many samples."""
        return self._close(len(self._spans), total_samples)

    def _close(self, before: int, sample: int) -> list[SpokenWord]:
        end = max(self._end, sample if self._pause is None else min(sample, self._pause))
        start = self._start if self._open is not None else self._end
        spans = list(enumerate(self._spans))[self._next : before]
        sounding = [
            i
            for i, (a, b) in spans
            if i == self._open or (self._open is not None and any(c.isalnum() for c in self._text[a:b]))
        ]
        words = []
        for i, (a, b) in spans:
            later = len([j for j in sounding if j > i])
            if i in sounding:
                # Where one sound ends for several words is all that is known: the last samples are shared out, so that
                # marks do not overlap and none counts as heard much before the sound has ended.
                until = max(start, end - later)
                words.append(SpokenWord(a, b, start, until))
                start = until
            else:
                at = start if later else end
                words.append(SpokenWord(a, b, at, at))
        self._next, self._end = max(self._next, before), end
        return words


class EspeakVoice(ProcessVoice):
    """A `Voice`. voice: espeak's name of a language or variant; rate_wpm: words a minute; pitch: 0 to 99."""

    fix = _FIX
    hint = "`espeak-ng --voices` lists what there is"

    def __init__(self, voice: str = "en-us", rate_wpm: int = 165, pitch: int = 50, rate_hz: int = RATE_HZ) -> None:
        if not 80 <= rate_wpm <= 450 or not 0 <= pitch <= 99:
            raise ConfigError("a voice speaks 80 to 450 words a minute at a pitch of 0 to 99")
        super().__init__(rate_hz)
        self._voice, self._rate_wpm, self._pitch = voice, rate_wpm, pitch

    @property
    def name(self) -> str:
        return f"espeak-ng {self._voice}"

    def probe(self) -> Probe:
        try:
            library, _ = find_espeak()
        except DeviceError as error:
            return Probe(False, str(error), _FIX)
        return Probe(True, f"{self.name} ({library})")

    def _command(self) -> list[str]:
        library, data = find_espeak()
        settings = [self._voice, str(self._rate_wpm), str(self._pitch)]
        # -I -S: nothing but the standard library, so it starts fast and no file beside it shadows a module.
        return [sys.executable, "-I", "-S", str(Path(wire.__file__)), library, data, *settings]

    def _clock(self, text: str) -> WordClock:
        return WordClock(text)
