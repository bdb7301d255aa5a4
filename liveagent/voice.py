"""What a voice is: anything with these five names. A new one is one file, passed to `Agent(voice=…)`.

`LIVEAGENT_VOICE=my_module:make pytest tests/test_voice.py` checks your own against the contract.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from liveagent.audio import Samples
from liveagent.probe import Probe


class SpokenWord(NamedTuple):
    """One word of the text, `text[char_start:char_end]`, and its samples in the utterance, end exclusive.

    `sample_end - 1` is the last sample that belongs to the word: the pause after it does not. A word without a sound
    of its own (a lone dash) has none, and stands where the word before it ended. Words do not overlap.
    """

    char_start: int
    char_end: int
    sample_start: int
    sample_end: int


@dataclass(frozen=True, slots=True, eq=False)
class VoicePiece:
    """The next stretch of an utterance.

    samples: [T] float32 mono at the voice's `rate_hz`; the last piece may be empty.
    words: the words whose end is now known, in order, each once. They may lie in samples handed out earlier, because
        where a word ends is known when the next begins.
    final: nothing more comes; all words have been given.
    """

    utterance: int
    samples: Samples
    words: tuple[SpokenWord, ...] = ()
    final: bool = False


class Voice(Protocol):
    """Makes speech of text, streaming."""

    @property
    def name(self) -> str: ...

    @property
    def rate_hz(self) -> int: ...

    def say(self, text: str, utterance: int) -> AsyncGenerator[VoicePiece, None]:
        """The pieces of `text`, each as soon as it exists, the last with `final` set.

        Every word of `words_of(text)` gets one SpokenWord. Closing the generator, or `stop`, aborts at once. Calls may
        overlap. Raises DeviceError when the voice cannot speak (the agent is then mute and says so), ConfigError for
        a text that no utterance should have.
        """
        ...

    def stop(self, utterance: int) -> None:
        """Abort this utterance: its generator ends without a final piece. Unknown utterances are ignored."""
        ...

    async def close(self) -> None:
        """Give back what the voice holds. It may be used again afterwards."""
        ...

    def probe(self) -> Probe: ...


def words_of(text: str) -> list[tuple[int, int]]:
    """The words of a text as (char_start, char_end): what stands between white space."""
    return [match.span() for match in re.finditer(r"\S+", text)]
