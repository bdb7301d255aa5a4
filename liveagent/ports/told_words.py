"""`ToldWords`: the words of a text, from marks that say each one's samples outright."""

from __future__ import annotations

from liveagent.voice import SpokenWord, words_of


class ToldWords:
    """A `Clock` for marks (a word's number, its first sample, its end), in order. A word that is left out stands where
    the one before it ended."""

    def __init__(self, text: str) -> None:
        self._spans = words_of(text)
        self._next = 0
        self._end = 0

    def feed(self, kind: int, at: int, sample: int) -> list[SpokenWord]:
        number, start, end = kind, at, sample
        if not self._next <= number < len(self._spans):
            return []
        words = self._silent(number)
        start = max(start, self._end)
        self._end = max(start, end)
        self._next = number + 1
        return [*words, SpokenWord(*self._spans[number], start, self._end)]

    def flush(self, total_samples: int) -> list[SpokenWord]:
        return self._silent(len(self._spans))

    def _silent(self, before: int) -> list[SpokenWord]:
        words = [SpokenWord(*span, self._end, self._end) for span in self._spans[self._next : before]]
        self._next = max(self._next, before)
        return words
