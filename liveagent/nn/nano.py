"""`Nano`: the model that liveagent ships. Ear, decoder, VAD and pieces from one folder, and how to prompt them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from liveagent.argument import Value
from liveagent.errors import ConfigError, ToolError
from liveagent.nn.decoder import Decoder
from liveagent.nn.ear import Ear
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template, name_words
from liveagent.nn.vad import Vad
from liveagent.tool import Tool

FILES = ("pieces.json", "ear.safetensors", "decoder.safetensors")


class Nano:
    """Everything a session needs of a model: `ear`, `decoder`, `vad`, `pieces`, `template`.

    `fingerprint` is 16 hex digits over the weight files: recordings carry it. `slots` is the context it was trained
    for. Nothing here is changed by running, so one Nano serves every session of a process.
    """

    slots = 1024

    def __init__(self, ear: Ear, decoder: Decoder, vad: Vad, pieces: Pieces, fingerprint: str = "") -> None:
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
        self.ear, self.decoder, self.vad, self.pieces = ear.eval(), decoder.eval(), vad.eval(), pieces
        self.template = Template(pieces)
        self.fingerprint = fingerprint
        for net in (ear, decoder, vad):
            net.requires_grad_(False)

    @classmethod
    def load(cls, folder: str | Path | None = None) -> Nano:
        """Load from a weights folder; None takes the weights that come with the package.

        Raises:
            ConfigError: the folder or a file is missing, cut short, of another version, or the files do not fit.
        """
        folder = weights_folder() if folder is None else Path(folder)
        if not folder.is_dir():
            raise ConfigError(f"there is no weights folder {folder}: give one that holds {', '.join(FILES)}")
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ConfigError(
                f"{folder} lacks {', '.join(missing)}: install again, or give a folder with {', '.join(FILES)}"
            )
        pieces = Pieces.load(folder / "pieces.json")
        ear = Ear.load(folder / "ear.safetensors")
        decoder = Decoder.load(folder / "decoder.safetensors", pieces.hash, ear.config.width)
        return cls(ear, decoder, Vad.load(), pieces, fingerprint(folder))

    def heard_rows(self, weights: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Input rows `[n, D]` for n heard pieces: `weights` `[n, E + 1]` are the ear's probabilities at its spikes (the
        blank's column is left out and the rest scaled to 1), `hidden` `[n, ear width]` its state there."""
        full = torch.zeros(len(weights), self.pieces.vocab_size)
        ear = weights[:, 1 : self.pieces.ear_vocab]
        full[:, 1 : self.pieces.ear_vocab] = ear / ear.sum(-1, keepdim=True).clamp_min(1e-9)
        return self.decoder.hear_embed(full, hidden)

    def parse_call(self, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
        """Read a decoded call (with or without `<call>` before and `<end>` after it) as a tool's name and arguments.

        Values are JSON ones where the tool lists them, the words as they stand where it takes any. Raises ToolError
        for what is no call of one of these tools, worded for the model.
        """
        template = self.template
        body = [i for i in ids if i not in (template.call, template.end)]
        return parse_call(self.pieces.decode(body), tools)


def parse_call(text: str, tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
    """`light ; room = bath ; state = on` to ("light", {"room": "bath", "state": "on"}). Raises ToolError."""
    head, *parts = (part.strip() for part in text.split(";"))
    tool = next((tool for tool in tools if name_words(tool.name) == head), None)
    if tool is None:
        raise ToolError(f"there is no tool {head!r}; there are {', '.join(tool.name for tool in tools) or 'none'}")
    args: dict[str, Value] = {}
    for part in parts:
        name, equals, words = (each.strip() for each in part.partition("="))
        argument = next((each for each in tool.arguments if name_words(each.name) == name), None)
        if argument is None or not equals or argument.name in args:
            raise ToolError(f"{tool.name} cannot be called with {part!r}")
        args[argument.name] = argument.slots.get(words, words) if argument.slots else words
    return tool.name, args


def weights_folder() -> Path:
    """Where the weights that come with liveagent lie: in an installed package, or in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "pipelines" / "nano" / "weights", here.parent / "pipelines" / "nano" / "weights"):
        if folder.is_dir():
            return folder
    raise ConfigError("nano's weights did not come with this install of liveagent: install it again, from a wheel")


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits over the files that make a model's numbers."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]
