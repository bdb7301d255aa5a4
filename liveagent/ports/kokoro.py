"""Kokoro: one .onnx file with its speakers' file beside it, said by kokoro-onnx in a process of its own.

`pip install "liveagent[kokoro]"` brings the library. Its phones come from espeak-ng, which is GPL-3 and keeps global
state: this file only talks to a separate process that loads it. Sessions that use the same file share one process.
"""

from __future__ import annotations

import importlib.metadata
import sys
from importlib.util import find_spec
from pathlib import Path

from liveagent.audio import RATE_HZ
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports.told_words import ToldWords
from liveagent.ports.voice_file import VoiceFile
from liveagent.ports.voice_process import ProcessVoice
from liveagent.probe import Probe

_FIX = 'pip install "liveagent[kokoro]"'
HANG_S = 60.0
"""A sentence on a slow machine, behind those of others."""


class KokoroVoice(ProcessVoice):
    """A `Voice`. speaker: its name in the voices' file, such as "af_heart"; its first letter says which language it
    speaks, and `language` says another, by espeak's name of it. rate: how fast, 1 is the voice's own.

    Where a word ends comes from the network's durations. Files that do not tell them (the first ones of v1.0) have
    their sentences shared out over their phones (liveagent/alignment.py says how, and how far off that is).
    """

    shared = True

    def __init__(
        self,
        model: str | Path,
        speaker: str = "",
        language: str = "",
        rate: float = 1.0,
        rate_hz: int = RATE_HZ,
    ) -> None:
        if not 0.5 <= rate <= 2.0:
            raise ConfigError("a voice speaks half to twice as fast as it does by itself: rate=0.5 to 2")
        super().__init__(rate_hz, HANG_S)
        file = VoiceFile.of(f"{model}#{speaker}" if speaker else str(model))
        if file is None or file.kind != "kokoro":
            raise ConfigError(f"{model} is not Kokoro: no voices….bin lies beside it")
        self._file, self._language, self._rate = file, language, rate

    @property
    def name(self) -> str:
        return f"kokoro {self._file.name}"

    def probe(self) -> Probe:
        if find_spec("kokoro_onnx") is None:
            return Probe(False, "kokoro-onnx is not installed", _FIX)
        return Probe(True, f"{self.name} (kokoro-onnx {importlib.metadata.version('kokoro-onnx')})")

    def _command(self) -> list[str]:
        if find_spec("kokoro_onnx") is None:  # looked at, not imported
            raise DeviceError(f"{self._file.model.name} needs kokoro-onnx, which is not installed: {_FIX}")
        files = [str(self._file.model.absolute()), str(self._file.beside.absolute())]
        settings = [self._file.speaker, self._language, str(self._rate)]
        return [sys.executable, "-P", "-m", "liveagent.ports.kokoro_child", *files, *settings]

    def _clock(self, text: str) -> ToldWords:
        return ToldWords(text)
