"""`Nano`: the model that liveagent ships. Ear, eye, decoder, VAD and pieces from one folder, and how to prompt them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.decoder import Decoder
from liveagent.nn.ear import Ear
from liveagent.nn.eye import Eye
from liveagent.nn.model import EYE_FILE, checked, fingerprint
from liveagent.nn.nets import Nets
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template
from liveagent.nn.vad import Vad
from liveagent.sight import WIDTH as SIGHT_WIDTH


class Nano(Nets):
    """nano's networks, and how it is spoken with."""

    decoder: Decoder
    pieces: Pieces
    template: Template

    def __init__(
        self, ear: Ear, decoder: Decoder, vad: Vad, pieces: Pieces, fingerprint: str = "", eye: Eye | None = None
    ) -> None:
        if decoder.config.vocab_size != pieces.vocab_size:
            raise ConfigError(
                f"the decoder knows {decoder.config.vocab_size} pieces, the tokenizer has {pieces.vocab_size}: "
                "take pieces.json and decoder.safetensors from the same release"
            )
        if ear.config.pieces != pieces.ear_vocab:
            raise ConfigError(
                f"the ear knows {ear.config.pieces} pieces, the tokenizer has {pieces.ear_vocab} for it: "
                "take pieces.json and ear.safetensors from the same release"
            )
        if ear.config.pieces_hash not in ("", pieces.hash):
            raise ConfigError(
                "the ear was trained with another tokenizer: take pieces.json and ear.safetensors from the same release"
            )
        if eye is not None and decoder.config.sight_width not in (0, SIGHT_WIDTH):
            raise ConfigError(
                f"the decoder reads {decoder.config.sight_width} numbers of a cell, the eye says {SIGHT_WIDTH}: "
                f"take {EYE_FILE} and decoder.safetensors from the same release"
            )
        super().__init__(pieces, fingerprint)
        self.hold(ear, decoder, vad, eye)

    @property
    def sees(self) -> bool:
        return self.eye is not None and self.decoder.projector is not None

    @classmethod
    def load(cls, folder: str | Path | None = None, device: str = "cpu") -> Nano:
        """Load from a weights folder; None takes the weights that come with the package. A folder without
        `eye.safetensors` gives a blind one.

        Raises:
            ConfigError: the folder or a file is missing, cut short, of another version, or the files do not fit.
            DeviceError: there is no such device.
        """
        folder = checked(folder)
        pieces = Pieces.load(folder / "pieces.json")
        ear = Ear.load(folder / "ear.safetensors")
        decoder = Decoder.load(folder / "decoder.safetensors", pieces.hash, ear.config.width)
        eye = Eye.load(folder / EYE_FILE) if (folder / EYE_FILE).is_file() else None
        return cls(ear, decoder, Vad.load(), pieces, fingerprint(folder), eye).to(device)

    def heard_rows(self, weights: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Input rows `[n, D]` for n heard pieces: `weights` `[n, E + 1]` are the ear's probabilities at its spikes (the
        blank's column is left out and the rest scaled to 1), `hidden` `[n, ear width]` its state there."""
        full = weights.new_zeros(len(weights), self.pieces.vocab_size)
        ear = weights[:, 1 : self.pieces.ear_vocab]
        full[:, 1 : self.pieces.ear_vocab] = ear / ear.sum(-1, keepdim=True).clamp_min(1e-9)
        return self.decoder.hear_embed(full, hidden)

    def seen_rows(self, sight: Tensor, cells: Tensor) -> Tensor:
        """Input rows `[k, D]` for what the eye said, `sight` `[k, 20]`, of the cells `[k]` of a picture. ConfigError
        for a decoder that cannot read pictures."""
        return self.decoder.see_embed(sight, cells)
