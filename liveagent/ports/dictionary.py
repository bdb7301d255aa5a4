"""How words are said, for PocketSphinx: each decoder gets the words that it listens for, and no other.

The dictionary that comes with PocketSphinx has 134 000 words. A decoder that reads all of it takes a quarter of a
second and 30 MB, for every session twice; here it is read once for the process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liveagent.errors import ConfigError, DeviceError
from liveagent.pronounce import PHONES, phones_of_letters

if TYPE_CHECKING:
    import pocketsphinx


def _package() -> Any:
    try:
        import pocketsphinx
    except ImportError as error:
        raise DeviceError(
            "pocketsphinx is not installed, so only the ear hears: pip install 'pocketsphinx==5.1.1'"
        ) from error
    return pocketsphinx


@cache
def dictionary() -> Mapping[str, tuple[str, ...]]:
    """Each word's ways to be said, as phones with spaces between, the first being the main one."""
    path = Path(_package().get_model_path()) / "en-us" / "cmudict-en-us.dict"
    found: dict[str, tuple[str, ...]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            word, _, phones = line.strip().partition(" ")
            word = word.partition("(")[0] or word  # "the(2)" is the second way to say it
            found[word] = (*found.get(word, ()), phones)
    return found


def decoder_of(
    words: Sequence[str],
    say: Mapping[str, str] | None = None,
    pronounce: Callable[[str], Sequence[str]] = phones_of_letters,
    **options: Any,
) -> tuple[pocketsphinx.Decoder, tuple[str, ...]]:
    """A decoder that knows these words, and those of them whose sound was guessed. `say`: how a word is said, in words
    of the dictionary; `pronounce`: a guess for the rest, from the letters. DeviceError when pocketsphinx is not
    installed, ConfigError for a word that nobody can guess."""
    package = _package()
    guessed: list[str] = []
    lines: list[str] = []
    for word in dict.fromkeys(words):
        ways = dictionary().get(word, ())
        if not ways or (say and word in say):
            phones, sure = _phones(word, (say or {}).get(word, word), pronounce)
            ways = (*ways, phones)
            if not sure:
                guessed.append(word)
        lines += [f"{word}{f'({at})' if at > 1 else ''} {phones}" for at, phones in enumerate(ways, 1)]
    handle, name = tempfile.mkstemp(suffix=".dict")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return package.Decoder(lm=None, dict=name, loglevel="FATAL", **options), tuple(guessed)
    finally:
        os.unlink(name)


def _phones(word: str, said: str, pronounce: Callable[[str], Sequence[str]]) -> tuple[str, bool]:
    """Phones of a word that is said like `said`, and whether all of them were known."""
    phones: list[str] = []
    sure = True
    for part in said.split():
        known = dictionary().get(part)
        if known is not None:
            phones += known[0].split()
            continue
        guess = [phone for phone in pronounce(part) if phone in PHONES]
        if not guess:
            raise ConfigError(
                f"nobody can guess how the word {part!r} in a phrase is said: add "
                f'say={{"{word}": "words that sound like it"}} to its tool or to the agent'
            )
        sure = False
        phones += guess
    return " ".join(phones), sure
