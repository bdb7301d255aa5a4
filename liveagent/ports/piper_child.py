"""The process in which piper speaks: `python -m liveagent.ports.piper_child MODEL JSON SPEAKER RATE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liveagent.alignment import bare, owners, shared_edges, word_spans
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports.onnx_session import OnnxSession
from liveagent.ports.sentence_child import Sound, serve
from liveagent.voice import words_of

_PAD, _BEGIN, _END = "_", "^", "$"
_ESPEAK, _FETCHES = "espeak", ("pinyin",)


class PiperSynthesiser:
    """One voice file. ConfigError for a speaker or a language that is not there, DeviceError for a damaged file."""

    def __init__(self, model: Path, settings: Path, speaker: str = "", rate: float = 1.0) -> None:
        from piper import PiperVoice, SynthesisConfig

        from liveagent.ports.onnx_durations import with_durations

        self._config = _read(settings)
        self._session = OnnxSession(with_durations(model) or str(model), model.name)
        wanted = {each.name for each in self._session.get_inputs()}
        if not {"input", "input_lengths", "scales"} <= wanted:
            raise DeviceError(f"{model.name} is no voice of piper: it takes {', '.join(sorted(wanted))}")
        session: Any = self._session
        self._voice = PiperVoice(session=session, config=self._config)
        self._how = SynthesisConfig(
            speaker_id=_speaker(self._config, speaker, model.name), length_scale=self._config.length_scale / rate
        )
        self.rate_hz = int(self._config.sample_rate)
        try:
            self._voice.phonemize("one")
        except RuntimeError:
            raise ConfigError(
                f"{model.name} speaks {self._config.espeak_voice!r}, and piper's espeak-ng has no such language"
            ) from None
        except ImportError as error:
            raise DeviceError(f"{model.name} needs the package {error.name}, which is not installed") from None

    def begin(self) -> None:
        self._session.begin()

    def stop(self) -> None:
        self._session.stop()

    def speak(self, sentence: str) -> Sound:
        words = [sentence[start:end] for start, end in words_of(sentence)]
        pieces: list[np.ndarray] = []
        phones: list[str] = []
        edges: list[tuple[int, int]] = []
        done = 0
        for chunk in self._voice.synthesize(_plain(sentence), self._how, include_alignments=True):
            samples = np.atleast_1d(chunk.audio_float_array)
            told = self._edges(chunk.phonemes, chunk.phoneme_id_samples, len(samples))
            told = told or shared_edges(chunk.phonemes, samples, self.rate_hz)
            edges += [(done + start, done + end) for start, end in told]
            phones += chunk.phonemes
            pieces.append(samples)
            done += len(samples)
        alone = self._alone(words)
        sound = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
        return Sound(sound, word_spans(owners(phones, alone), edges, len(words)))

    def _alone(self, words: Sequence[str]) -> list[list[str]]:
        """Each word's phones. In one call, with a mark between two, since each call costs some memory for good."""
        spoken = [at for at, word in enumerate(words) if bare(word)]
        alone: list[list[str]] = [[] for _ in words]
        apart: list[list[str]] = [[]]
        for phone in self._phones("; ".join(bare(words[at]) for at in spoken)):
            if phone == ";":
                apart.append([])
            else:
                apart[-1].append(phone)
        if len(apart) != len(spoken):
            apart = [self._phones(bare(words[at])) for at in spoken]
        for at, phones in zip(spoken, apart, strict=True):
            alone[at] = phones
        return alone

    def _phones(self, text: str) -> list[str]:
        return [phone for part in self._voice.phonemize(_plain(text)) for phone in part]

    def _edges(
        self, phones: Sequence[str], told: np.ndarray | None, samples: int
    ) -> list[tuple[int, int]] | None:
        """Where each phone is, from how long each id lasts: a phone may have several, and a pad follows each. None
        where the file does not tell."""
        ids = self._config.phoneme_id_map
        pad = len(ids[_PAD])
        counts = [len(ids[phone]) + pad if phone in ids else 0 for phone in phones]
        head = len(ids[_BEGIN]) + pad
        if told is None or np.size(told) != head + sum(counts) + len(ids[_END]) or not np.sum(told) > 0:
            return None
        ends = np.concatenate([[0], np.cumsum(told)])
        at = np.round(ends * (samples / ends[-1])).astype(int)
        bounds = head + np.concatenate([[0], np.cumsum(counts)]).astype(int)
        return [(int(at[a]), int(at[b])) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _plain(text: str) -> str:
    """What stands in double brackets would be phones to piper. Same words, same length."""
    return text.replace("[[", "((").replace("]]", "))")


def _read(settings: Path) -> Any:
    from piper import PiperConfig

    try:
        found = json.loads(settings.read_text(encoding="utf-8"))
        config = PiperConfig.from_dict(found)
        kind = str(getattr(config.phoneme_type, "value", config.phoneme_type))
        complete = all(config.phoneme_id_map[each] for each in (_PAD, _BEGIN, _END)) and config.sample_rate > 0
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        said = f"{type(error).__name__}: {error}".partition("\n")[0][:100]
        raise DeviceError(f"{settings.name} is damaged or no settings of piper ({said}): get it again") from None
    if not complete:
        raise DeviceError(f"{settings.name} is damaged: it names no phone, or no rate; get it again")
    if kind in _FETCHES:
        raise ConfigError(f"{settings.name} is for {kind}, for which piper would fetch more by itself: choose another")
    return config


def _speaker(config: Any, wanted: str, called: str) -> int | None:
    if not wanted:
        return None
    named = dict(config.speaker_id_map)
    if wanted in named:
        return int(named[wanted])
    if wanted.isdecimal() and int(wanted) < config.num_speakers:
        return int(wanted)
    some = ", ".join(list(named)[:8]) or f"0 to {config.num_speakers - 1}"
    raise ConfigError(f"{called} has no speaker {wanted!r}: it has {some}")


def main(arguments: list[str]) -> int:
    model, settings, speaker, rate = arguments
    return serve(lambda: PiperSynthesiser(Path(model), Path(settings), speaker, float(rate)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
