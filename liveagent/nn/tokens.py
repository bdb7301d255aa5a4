"""`Tokens`: the tokenizer that comes with a checkpoint (`tokenizer.json`), as the rest of liveagent asks for one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from liveagent.errors import ConfigError

FILE = "tokenizer.json"


class Tokens:
    """`json` is the file's text; `vocab_size` how many ids the model has, which may be more than the file names."""

    def __init__(self, json: str, vocab_size: int | None = None) -> None:
        """ConfigError for what is no tokenizer."""
        self.json = json
        try:
            self._tokenizer, self._plain = Tokenizer.from_str(json), Tokenizer.from_str(json)
        except Exception as error:  # the library raises nothing more special
            raise ConfigError(f"{FILE} is no tokenizer ({error}): fetch it again") from None
        self._plain.encode_special_tokens = True
        known: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.vocab_size = vocab_size or known
        added = self._tokenizer.get_added_tokens_decoder()
        self.marks = tuple(sorted(id for id, token in added.items() if token.special))
        """The ids of all marks."""
        spelled = sorted((re.escape(added[id].content) for id in self.marks), key=len, reverse=True)
        self._spelled = re.compile("|".join(spelled)) if spelled else None
        if known > self.vocab_size:
            raise ConfigError(f"{FILE} has {known} ids, the model {self.vocab_size}: take both from the same release")

    @classmethod
    def load(cls, folder: str | Path, vocab_size: int | None = None) -> Tokens:
        """ConfigError: there is none, or it is damaged, or of another model."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise ConfigError(f"{path} is missing: fetch the checkpoint again, with its tokenizer")
        return cls(path.read_text(encoding="utf-8"), vocab_size)

    def encode(self, text: str) -> list[int]:
        """Ids of what somebody said or wrote. Marks that it spells out stay letters: nobody ends a turn so."""
        ids: list[int] = self._plain.encode(text, add_special_tokens=False).ids
        return ids

    def plain(self, text: str) -> str:
        """A text without what spells a mark: for a place where it will stand among marks."""
        while self._spelled and self._spelled.search(text):  # what is left may spell one again
            text = self._spelled.sub("", text)
        return text

    def marked(self, text: str) -> list[int]:
        """Ids of a text of our own, in which marks are marks."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def decode(self, ids: Sequence[int], specials: bool = True) -> str:
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=not specials)
        return text

    def id(self, piece: str) -> int:
        """The one id of a mark. ConfigError where it has none."""
        found: int | None = self._tokenizer.token_to_id(piece)
        if found is None:
            raise ConfigError(f"{FILE} knows no {piece!r}: it is the tokenizer of another model")
        return found

    def piece(self, id: int) -> str:
        return self._tokenizer.id_to_token(id) or f"<{id}>"
