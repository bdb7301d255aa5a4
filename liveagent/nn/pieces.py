"""`Pieces`: the one tokenizer of ear and decoder.

Byte-pair encoding (Sennrich et al. 2016) with a byte fallback, so every text can be written. Ids lie in this order:

    0                     `<blank>`, the CTC blank; never part of a text
    1 .. E                the ear's pieces: lower-case letters, apostrophe, `▁` (word start), and short merges of them
    then                  256 bytes, pieces for replies (capitals, punctuation, digits), and the specials last

so a column of the ear's output is a piece's id. A text in spoken form (lower case, a-z and ') encodes to the ear's
pieces only, because no merge of the others consists of such letters alone.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from liveagent.errors import ConfigError

VERSION = 1


class Pieces:
    """Text to piece ids and back. Specials come into a prompt by `id` or `encode(..., specials=True)` only."""

    def __init__(self, vocab: list[str], merges: list[tuple[str, str]], ear: int, specials: list[str]) -> None:
        """`vocab` in id order, `ear` = E, `specials` a tail of `vocab`."""
        self.vocab, self.merges = list(vocab), [tuple(m) for m in merges]
        self.specials = list(specials)
        self.vocab_size = len(vocab)
        self.blank = 0
        self.ear_ids = list(range(1, ear + 1))
        self.ear_vocab = ear + 1  # blank and the ear's pieces: V of the ear's output
        self._id = {piece: i for i, piece in enumerate(vocab)}
        self._special_ids = {self._id[s] for s in specials}
        plain = {p: i for p, i in self._id.items() if p not in specials and p != "<blank>"}
        model = models.BPE(vocab=plain, merges=[(a, b) for a, b in self.merges], byte_fallback=True)
        self._tok = Tokenizer(model)
        self._tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
        self._tok.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
        self._split = re.compile("|".join(re.escape(s) for s in specials)) if specials else None

    @classmethod
    def load(cls, path: str | Path) -> Pieces:
        """Read `pieces.json`.

        Raises:
            ConfigError: the file is missing, broken or of another version.
        """
        try:
            raw = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise ConfigError(f"{path} is missing: make it with `python -m liveagent.train.pieces {path}`") from None
        except ValueError as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again or make it anew") from None
        if raw.get("version") != VERSION:
            raise ConfigError(f"{path} has version {raw.get('version')}, this liveagent reads {VERSION}: make it anew")
        try:
            return cls(raw["vocab"], [tuple(m) for m in raw["merges"]], raw["ear"], raw["specials"])
        except KeyError as error:
            raise ConfigError(f"{path} is damaged (no {error}): fetch it again or make it anew") from None

    def save(self, path: str | Path) -> None:
        """Write `pieces.json`."""
        raw = {"version": VERSION, "ear": len(self.ear_ids), "specials": self.specials, "vocab": self.vocab}
        raw["merges"] = [list(m) for m in self.merges]
        Path(path).write_text(json.dumps(raw, ensure_ascii=False, indent=0) + "\n")

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change with the vocabulary; weights trained with it carry them."""
        text = json.dumps([self.vocab, self.merges, len(self.ear_ids)], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def id(self, special: str) -> int:
        """The id of a special (`"<user>"`) or of any piece; KeyError if there is none."""
        return self._id[special]

    def encode(self, text: str, specials: bool = False) -> list[int]:
        """Ids of a text. Only with `specials` are `<user>` and its like read as such: never pass a user's words so."""
        if not specials or self._split is None:
            return self._plain(text)
        ids: list[int] = []
        at = 0
        for found in self._split.finditer(text):
            ids += self._plain(text[at : found.start()])
            ids.append(self._id[found[0]])
            at = found.end()
        return ids + self._plain(text[at:])

    def _plain(self, text: str) -> list[int]:
        text = text.strip(" ")
        return list(self._tok.encode(text, add_special_tokens=False).ids) if text else []

    def decode(self, ids: Sequence[int], specials: bool = True) -> str:
        """The text of ids; blanks are skipped, and specials too unless wanted. Broken bytes become `\\ufffd`."""
        parts: list[str] = []
        run: list[str] = []
        for i in [*ids, -1]:
            if i >= 0 and i not in self._special_ids:
                if i != self.blank:
                    run.append(self.vocab[i])
                continue
            if run:
                parts.append(self._tok.decoder.decode(run).strip(" "))
                run = []
            if i >= 0 and specials:
                parts.append(self.vocab[i])
        return " ".join(p for p in parts if p)

    def piece(self, i: int) -> str:
        """The piece with id `i`, `▁` marking a word's start."""
        return self.vocab[i]
