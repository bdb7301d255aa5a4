"""`VoiceFile`: which voice a file is, told by what lies beside it.

    en_US-lessac-medium.onnx        piper's, with en_US-lessac-medium.onnx.json beside it
    kokoro-v1.0.onnx                Kokoro's, with its voices (voices-v1.0.bin) beside it
    kokoro-v1.0.onnx#bf_emma        one of several speakers, by its name (or, piper's, its number)
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from liveagent.errors import ConfigError

_SUFFIX = ".onnx"
_OTHER = (".bin", ".npz", ".json", ".pt", ".pth", ".ckpt", ".safetensors", ".gguf")


@dataclass(frozen=True)
class VoiceFile:
    """beside: piper's settings, or Kokoro's voices. speaker: "" for the first."""

    kind: Literal["piper", "kokoro"]
    model: Path
    beside: Path
    speaker: str = ""

    @property
    def name(self) -> str:
        """What may be shown to a peer: no folder of this machine."""
        return f"{self.model.stem}#{self.speaker}" if self.speaker else self.model.stem

    @classmethod
    def of(cls, named: str) -> VoiceFile | None:
        """None for what is no file's name. Raises ConfigError for a file that is missing, or is no voice."""
        parted = part(named)
        if parted is None:
            return None
        model, speaker = parted
        if model.suffix != _SUFFIX:
            raise ConfigError(f"{model} is no voice: give its {_SUFFIX} file")
        if not model.is_file():
            raise ConfigError(f"there is no voice file {model}")
        settings = model.with_name(f"{model.name}.json")
        if settings.is_file():
            return cls("piper", model, settings, speaker)
        beside = sorted(each for each in model.parent.glob("voices*") if each.suffix in (".bin", ".npz"))
        if len(beside) != 1:
            found = f"several ({', '.join(each.name for each in beside)})" if beside else "neither"
            raise ConfigError(
                f"{model} wants beside it {settings.name} (a voice of piper) or one file voices….bin (Kokoro): "
                f"there is {found}"
            )
        return cls("kokoro", model, beside[0], speaker)


def part(named: str) -> tuple[Path, str] | None:
    """A file's name and the speaker's behind "#"; None for what is no file's name. Looks at no disk."""
    file, _, speaker = named.partition("#")
    path = Path(file).expanduser()
    return (path, speaker) if path.suffix == _SUFFIX or path.suffix in _OTHER else None


def shown(named: str | None) -> str | None:
    """An agent's voice as a peer may know it."""
    parted = part(named) if named is not None else None
    return named if parted is None else parted[0].stem + (f"#{parted[1]}" if parted[1] else "")
