"""The process in which Kokoro speaks: `python -m liveagent.ports.kokoro_child MODEL VOICES SPEAKER LANGUAGE RATE`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np

from liveagent.alignment import owners, shared_edges, sounding, sounds, word_spans
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports.onnx_session import OnnxSession
from liveagent.ports.sentence_child import Sound, serve
from liveagent.voice import words_of

LANGUAGES = {
    "a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "j": "ja", "p": "pt-br", "z": "cmn",
}  # fmt: skip
"""What the first letter of a speaker's name stands for, as espeak calls it."""
FAVOURITE = "af_heart"
_PAUSE_S = 0.25
"""Silence after a sentence: the library cuts the network's own away."""
_BETWEEN = ";"


class KokoroSynthesiser:
    """One model and one speaker. ConfigError for a speaker or a language that is not there, DeviceError for a damaged
    file."""

    def __init__(self, model: Path, voices: Path, speaker: str = "", language: str = "", rate: float = 1.0) -> None:
        from kokoro_onnx import Kokoro
        from kokoro_onnx.config import SAMPLE_RATE

        self._session = OnnxSession(str(model), model.name)
        wanted = {each.name for each in self._session.get_inputs()}
        if not ({"style", "speed"} <= wanted and wanted & {"tokens", "input_ids"}):
            raise DeviceError(f"{model.name} is not Kokoro: it takes {', '.join(sorted(wanted))}")
        if not is_zipfile(voices):
            raise DeviceError(f"{voices.name} is damaged or no voices of Kokoro: get it again")
        self._kokoro: Any = Kokoro.from_session(self._session.session, str(voices))
        try:
            names = self._kokoro.get_voices()
            name = speaker or (FAVOURITE if FAVOURITE in names else names[0])
            # A row for each length of sentence; of shape [lengths, 1, width].
            self._style = self._kokoro.voices[name] if name in names else np.zeros((1, 1, 1), np.float32)
            shaped = self._style.ndim == 3 and self._style.dtype.kind == "f" and np.isfinite(self._style).all()
        except Exception as error:  # numpy's kinds of error for a file that is none of its own are many
            raise DeviceError(f"{voices.name} is damaged ({type(error).__name__}): get it again") from None
        finally:
            self._kokoro.voices.close()
        if name not in names:
            raise ConfigError(f"{voices.name} has no speaker {speaker!r}: it has {', '.join(names[:8])}")
        if not shaped:
            raise DeviceError(f"{voices.name} is damaged: {name} is no voice; get it again")
        self._kokoro.sess = self._session  # one that can be stopped
        self._language = language or LANGUAGES.get(name[:1], "")
        if not self._language:
            raise ConfigError(f"{name!r} does not say its language: KokoroVoice(..., language='en-us') does")
        self._rate = rate
        self.rate_hz = int(SAMPLE_RATE)
        try:
            self._kokoro.tokenizer.phonemize("one", self._language)
        except RuntimeError:
            raise ConfigError(
                f"espeak-ng has no language {self._language!r}: `espeak-ng --voices` lists what there is"
            ) from None

    def begin(self) -> None:
        self._session.begin()

    def stop(self) -> None:
        self._session.stop()

    def speak(self, sentence: str) -> Sound:
        words = [sentence[start:end] for start, end in words_of(sentence)]
        phones = " ".join(self._kokoro.tokenizer.phonemize(sentence, self._language).split())
        if not any(map(sounds, phones)):
            return Sound(np.zeros(0, np.float32), [(0, 0)] * len(words))
        samples, _, told = self._kokoro.create_timed(
            phones, self._style, self._rate, self._language, is_phonemes=True
        )
        samples = np.asarray(samples, np.float32)
        edges = self._edges(phones, told) or shared_edges(phones, samples, self.rate_hz)
        spans = word_spans(owners(phones, self._alone(words)), edges, len(words))
        quiet = len(samples) - sounding(samples, self.rate_hz)[1]
        pause = max(0, int(_PAUSE_S * self.rate_hz) - quiet)
        return Sound(np.concatenate([samples, np.zeros(pause, np.float32)]), spans)

    def _alone(self, words: Sequence[str]) -> list[str]:
        """Each word's phones, in one call to espeak: a mark between two keeps them apart."""
        text = f"{_BETWEEN} ".join(word.replace(_BETWEEN, "") or "-" for word in words)
        said: list[str] = self._kokoro.tokenizer.phonemize(text, self._language).split(_BETWEEN)
        return said if len(said) == len(words) else [each.lower() for each in words]

    def _edges(self, phones: str, told: Sequence[Any]) -> list[tuple[int, int] | None] | None:
        """Where each phone is. The library leaves out blanks where it cuts what is too long."""
        edges: list[tuple[int, int] | None] = []
        left = list(reversed(told))
        for phone in phones:
            if left and left[-1].phoneme == phone:
                timing = left.pop()
                edges.append((round(timing.start * self.rate_hz), round(timing.end * self.rate_hz)))
            else:
                edges.append(None)
        return edges if told and not left else None


def main(arguments: list[str]) -> int:
    model, voices, speaker, language, rate = arguments
    return serve(lambda: KokoroSynthesiser(Path(model), Path(voices), speaker, language, float(rate)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
