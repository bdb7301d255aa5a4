"""A voice of piper's: one .onnx file with its settings beside it, said by piper-tts in a process of its own.

`pip install "liveagent[piper]"` brings the library. It is GPL-3 and holds espeak-ng's global state: this file only
talks to a separate process that loads it. Sessions that use the same file share one process.
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

_FIX = 'pip install "liveagent[piper]"'
HANG_S = 60.0
"""A sentence of the largest voice, on a slow machine, behind those of others."""


class PiperVoice(ProcessVoice):
    """A `Voice`. speaker: a name or number, of a voice with several; rate: how fast, 1 is the voice's own.

    Where a word ends comes from the network's own durations. A file that does not tell them has its sentences shared
    out over their phones (liveagent/alignment.py says how, and how far off that is).
    """

    shared = True

    def __init__(self, model: str | Path, speaker: str = "", rate: float = 1.0, rate_hz: int = RATE_HZ) -> None:
        if not 0.5 <= rate <= 2.0:
            raise ConfigError("a voice speaks half to twice as fast as it does by itself: rate=0.5 to 2")
        super().__init__(rate_hz, HANG_S)
        file = VoiceFile.of(f"{model}#{speaker}" if speaker else str(model))
        if file is None or file.kind != "piper":
            raise ConfigError(f"{model} is no voice of piper: it has no {Path(model).name}.json beside it")
        self._file, self._rate = file, rate

    @property
    def name(self) -> str:
        return f"piper {self._file.name}"

    def probe(self) -> Probe:
        if find_spec("piper") is None:
            return Probe(False, "piper-tts is not installed", _FIX)
        return Probe(True, f"{self.name} (piper-tts {importlib.metadata.version('piper-tts')})")

    def _command(self) -> list[str]:
        if find_spec("piper") is None:  # looked at, not imported
            raise DeviceError(f"{self._file.model.name} needs piper-tts, which is not installed: {_FIX}")
        files = [str(self._file.model.absolute()), str(self._file.beside.absolute())]
        return [sys.executable, "-P", "-m", "liveagent.ports.piper_child", *files, self._file.speaker, str(self._rate)]

    def _clock(self, text: str) -> ToldWords:
        return ToldWords(text)
