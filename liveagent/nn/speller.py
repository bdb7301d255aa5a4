"""`Speller`: pieces to words with times, as they come. A word is whole when the next one begins, or when it is asked to
be; until then it is a guess that may grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BEGIN = "\u2581"  # what a piece starts with that begins a word
LONGEST = 64  # pieces of a word; what goes on and on is cut into several


@dataclass(frozen=True, slots=True)
class TimedWord:
    """A word, and from when to when its pieces were heard, in milliseconds of the stream."""

    text: str
    start_ms: float
    end_ms: float


class Speller:
    """One for each stream: it counts the tokens of sound. `skipped`: ids that are no text."""

    def __init__(self, tokenizer: Tokenizer, token_ms: float, skipped: frozenset[int] = frozenset()) -> None:
        self._tokenizer, self._token_ms, self._skipped = tokenizer, token_ms, skipped
        self._tokens = 0
        self._ids: list[int] = []
        self._begun_ms = self._ended_ms = 0.0

    def feed(self, pieces: Sequence[Sequence[int]]) -> list[TimedWord]:
        """The next tokens of sound, each with the ids of its pieces (negative: none) -> the words now whole."""
        whole: list[TimedWord] = []
        for ids in pieces:
            at_ms = self._tokens * self._token_ms
            self._tokens += 1
            for each in ids:
                if each < 0 or each in self._skipped:
                    continue
                piece = self._tokenizer.id_to_token(each) or ""
                if self._ids and (piece.startswith(BEGIN) or len(self._ids) >= LONGEST):
                    whole += self.end()
                if not self._ids:
                    self._begun_ms = at_ms
                self._ids.append(each)
                self._ended_ms = at_ms + self._token_ms
        return whole

    @property
    def partial(self) -> TimedWord | None:
        """The word that may still grow."""
        text = self._tokenizer.decode(self._ids).strip() if self._ids else ""
        return TimedWord(text, self._begun_ms, self._ended_ms) if text else None

    def end(self) -> list[TimedWord]:
        """Take the word that may still grow as whole: nobody has said anything for a while."""
        last = self.partial
        self._ids = []
        return [last] if last else []
