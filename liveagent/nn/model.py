"""`Model`: what a conversation needs of a checkpoint, which is not its numbers.

The pieces, the prompt format, how a call is read, whether it sees, and which weights these are: read from the same
folder as the networks, without torch, in milliseconds. So a server's process holds a `Model`, and the networks
(`Nano`, which is one) live in a process of their own.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from liveagent.argument import Value
from liveagent.errors import ConfigError
from liveagent.nn.format import Format, Tokenizer
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template
from liveagent.plan import CACHE_TOKENS
from liveagent.sight import PICTURE_PX
from liveagent.spoken import spoken
from liveagent.tool import Tool
from liveagent.video import VideoFrame, resize

if TYPE_CHECKING:
    from liveagent.nn.framing import Framing

FILES = ("pieces.json", "ear.safetensors", "decoder.safetensors")
EYE_FILE = "eye.safetensors"


class Model:
    """`pieces` (the decoder's), `ear_pieces`, `template` (how turns are written), `sees`, and
    `fingerprint`: 16 hex digits over the weight files, which recordings carry.

    `most_tokens`: how many it can have before it at once, None where nobody knows; `device` where its weights are, by
    torch's name of it.
    """

    most_tokens: int | None = CACHE_TOKENS
    device: object
    framing: Framing | None = None
    """How pictures are brought to the size of an eye whose rows the decoder reads; None: it has none such."""

    pieces: Tokenizer
    template: Format

    def __init__(self, pieces: Pieces, fingerprint: str = "", sees: bool = False, device: str = "cpu") -> None:
        self.pieces, self.template, self.fingerprint = pieces, Template(pieces), fingerprint
        self.ear_pieces = pieces
        self.device = device
        self._sees = sees

    @property
    def reads_thoughts(self) -> bool:
        """Whether the decoder reads what the ear thought of words outside the grammar, and not the words alone."""
        return self.pieces is self.ear_pieces

    @property
    def reads_sound(self) -> bool:
        """Whether the decoder reads what an ear of the model's own makes of sound, and not words."""
        return bool(self.template.sound_open)

    def as_read(self, text: str) -> str:
        """What somebody typed, as the decoder reads it: nano in spoken form, an open model as it was written."""
        return spoken(text) if self.reads_thoughts else text.strip()

    @property
    def sees(self) -> bool:
        """Whether it has an eye, and a decoder that can read what the eye says."""
        return self._sees or self.framing is not None

    @property
    def names_things(self) -> bool:
        """Whether what its eye says can be read here as well (`liveagent.sight`), and not by its decoder alone."""
        return self.sees and self.framing is None

    def small(self, frame: VideoFrame) -> VideoFrame:
        """The picture as its eye sees it: nano's is 128 x 128 px, the proportions kept."""
        if self.framing is not None:
            high, wide = self.framing.sides(*frame.pixels.shape[:2])
            if frame.pixels.shape[:2] == (high, wide):
                return frame
            pixels = self.framing.small(frame.pixels)
        else:
            pixels = resize(frame.pixels, PICTURE_PX, PICTURE_PX, letterbox=True)
        return frame if pixels is frame.pixels else VideoFrame(pixels, frame.t_ns, frame.dropped)

    @classmethod
    def read(cls, folder: str | Path | None = None, device: str = "cpu") -> Model:
        """The model in a weights folder; None takes the one that comes with the package. ConfigError: a file is
        missing, damaged, or its pieces are not those of the decoder. Whether the networks can be made of it shows
        where they are loaded."""
        folder = checked(folder)
        pieces = Pieces.load(folder / "pieces.json")
        path = folder / "decoder.safetensors"
        try:
            with safe_open(str(path), framework="np") as file:  # reads the header alone
                meta = file.metadata() or {}
            config = json.loads(meta.get("config", "{}"))
        except (SafetensorError, OSError, ValueError) as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again or export it anew") from None
        if meta.get("pieces") != pieces.hash:
            raise ConfigError(f"{path} was trained with another pieces.json: take both from the same release")
        sees = (folder / EYE_FILE).is_file() and bool(config.get("sight_width"))
        return Model(pieces, fingerprint(folder), sees, device)

    def parse_call(self, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
        """Read a decoded call (with or without its marks) as a tool's name and arguments.

        Values are JSON ones where the tool lists them, the words as they stand where it takes any. Raises ToolError
        for what is no call of one of these tools, worded for the model.
        """
        return self.template.parse(ids, tools)


def weights_folder() -> Path:
    """Where the weights that come with liveagent lie: in an installed package, or in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for folder in (here / "pipelines" / "nano" / "weights", here.parent / "pipelines" / "nano" / "weights"):
        if folder.is_dir():
            return folder
    raise ConfigError("nano's weights did not come with this install of liveagent: install it again, from a wheel")


def checked(folder: str | Path | None) -> Path:
    """A weights folder that has all its files; None is the shipped one. ConfigError says what is missing."""
    folder = weights_folder() if folder is None else Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"there is no weights folder {folder}: give one that holds {', '.join(FILES)}")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder} lacks {', '.join(missing)}: install again, or give a folder with {', '.join(FILES)}"
        )
    return folder


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits over the files that make a model's numbers."""
    digest = hashlib.sha256()
    for name in (*FILES, *([EYE_FILE] if (folder / EYE_FILE).is_file() else [])):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]
