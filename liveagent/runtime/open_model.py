"""An open checkpoint in the loop: its decoder, its chat template, and its own ear and eye where it has them.

What people say reaches a decoder with an ear of its own as sound; nano's ear, the recogniser and, where one is given, a
pretrained ear then say whose turn it is, and which of the tools' phrases was said. Without such an ear their words are
what the decoder reads. nano's eye is of no use to it: without an eye of its own it is blind.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from liveagent.errors import ConfigError
from liveagent.families import family_of
from liveagent.nn.model import Model, checked, weights_folder
from liveagent.nn.pieces import Pieces
from liveagent.plan import places_of
from liveagent.sight import PICTURE_PX

if TYPE_CHECKING:
    from liveagent.nn.chat import SenseMarks
    from liveagent.nn.checkpoint import Checkpoint
    from liveagent.nn.nets import Nets

DTYPES = ("float32", "bfloat16")
SAMPLES, SAMPLE_BYTES = 64, 4096
"""How many places of a file of weights its fingerprint looks at, and how much of each."""


def is_checkpoint(folder: str | Path | None) -> bool:
    """Whether this is an open checkpoint's folder, and not one of nano's."""
    return folder is not None and (Path(folder) / "config.json").is_file()


def folder_of(model: str | Path | None) -> Path:
    """Where a model's files lie; None: nano's. ConfigError: some are missing."""
    return Path(model) if model is not None and is_checkpoint(model) else checked(model)


def picture_px(folder: str | Path | None) -> int | None:
    """The side of the square to which a camera may bring its pictures for this model's eye, before anything of it is
    read; None: it takes their proportions as they are."""
    return None if is_checkpoint(folder) else PICTURE_PX


def read_model(folder: str | Path | None = None, device: str = "cpu") -> Model:
    """What a conversation needs of the model in a folder, without its weights; None: nano's. ConfigError."""
    if folder is None or not is_checkpoint(folder):
        return Model.read(folder, device)
    from liveagent.nn.checkpoint import Checkpoint

    model = Model(Pieces.load(weights_folder() / "pieces.json"), device=device)
    _speak(model, Checkpoint.open(folder))
    return model


def load_nets(
    folder: str | Path | None = None, device: str = "cpu", dtype: str | None = None, quantize: str | None = None
) -> Nets:
    """The networks of the model in a folder; None: nano's. `dtype`: "float32" or "bfloat16"; None: what suits the
    device. `quantize`: "int8" or "int4" for the decoder's weights.

    Raises:
        ConfigError: a file is missing or damaged, or this family cannot talk.
        DeviceError: there is no such device.
    """
    import torch

    from liveagent.nn.checkpoint import Checkpoint
    from liveagent.nn.ear import Ear
    from liveagent.nn.nano import Nano
    from liveagent.nn.nets import Nets, reaching
    from liveagent.nn.quant import Folding, quantised
    from liveagent.nn.vad import Vad

    if folder is None or not is_checkpoint(folder):
        if dtype or quantize:
            raise ConfigError("nano's weights are as they are: dtype and quantize are for open models")
        return Nano.load(folder, device)
    if dtype is None:
        dtype = "float32" if device == "cpu" else "bfloat16"
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: give {' or '.join(DTYPES)}")
    checkpoint = Checkpoint.open(folder)
    family = family_of(checkpoint)
    if not hasattr(family, "decoder"):
        raise ConfigError(f"{checkpoint.architecture} hears or sees, but does not talk: give it as --ear")
    nano = checked(None)
    nets = Nets(Pieces.load(nano / "pieces.json"), device=device)
    _speak(nets, checkpoint)
    kind = getattr(torch, dtype)
    marks, seen = _sound_marks(checkpoint), _picture_marks(checkpoint)
    own = family.own_ear(checkpoint, kind) if marks is not None else None
    eye = family.own_eye(checkpoint, kind) if seen is not None else None
    if quantize is not None:
        with reaching(device):
            torch.empty(0, device=device)  # before minutes are spent on reading
        checkpoint.fold = Folding(quantize, device)
    decoder = family.decoder(checkpoint, kind)
    if quantize is not None:
        decoder = quantised(decoder, quantize)
    nets.hold(
        Ear.load(nano / "ear.safetensors"),
        decoder,
        Vad.load(),
        own_ear=own,
        own_id=marks.layers if marks is not None else 0,
        own_eye=eye,
        seen_id=seen.layers if seen is not None else 0,
    )
    return nets.to(device)


def _sound_marks(checkpoint: Checkpoint) -> SenseMarks | None:
    """How it marks sound; None: it hears none itself, or its family is not read so far."""
    family = family_of(checkpoint)
    found: SenseMarks | None = family.sound_marks(checkpoint) if hasattr(family, "sound_marks") else None
    return found


def _picture_marks(checkpoint: Checkpoint) -> SenseMarks | None:
    """How it marks pictures; None: it sees none itself, or its family's are not read so far."""
    family = family_of(checkpoint)
    found: SenseMarks | None = family.picture_marks(checkpoint) if hasattr(family, "picture_marks") else None
    return found


def _speak(model: Model, checkpoint: Checkpoint) -> None:
    """Let a model speak as a checkpoint does."""
    from liveagent.nn.chat import Chat
    from liveagent.nn.tokens import Tokens
    from liveagent.ports.chat_template import ChatTemplate

    family = family_of(checkpoint)
    if not hasattr(family, "Calls"):
        raise ConfigError(f"{checkpoint.architecture} hears or sees, but does not talk: give it as --ear")
    vocab_size = (checkpoint.config.get("text_config") or checkpoint.config).get("vocab_size")
    tokens = Tokens.load(checkpoint.folder, vocab_size)
    model.pieces = tokens
    render = ChatTemplate.load(checkpoint.folder).render
    seen = _picture_marks(checkpoint)
    model.template = Chat(tokens, render, family.Calls(), _sound_marks(checkpoint), seen)
    if seen is not None:
        model.framing = family.framing(checkpoint)
    model.fingerprint = _fingerprint(checkpoint.folder)
    model.most_tokens = places_of(checkpoint.config)


def _fingerprint(folder: Path) -> str:
    """Sixteen hex digits over what says which weights these are: names, sizes, headers, and of gigabytes a few places
    all over each file, where no two trainings left the same."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*")):
        if path.suffix in (".json", ".jinja"):
            digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
        elif path.suffix == ".safetensors":
            with path.open("rb") as file:
                size = path.stat().st_size
                digest.update(f"{path.name} {size}".encode() + file.read(1 << 16))
                for part in range(SAMPLES):
                    file.seek(size * part // SAMPLES)
                    digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:16]
