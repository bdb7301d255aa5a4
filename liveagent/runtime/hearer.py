"""`Hearer`: one utterance in a pretrained ear's process, for either kind of ear: `Retelling` for one that hears whole
clips, again and again, and `Streaming` for one that hears every sound once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from liveagent.audio import RATE_HZ, Samples
from liveagent.runtime.take import Said, Take
from liveagent.spoken import spoken

if TYPE_CHECKING:
    from liveagent.nn.checkpoint import Checkpoint
    from liveagent.nn.transcriber import Transcriber

MOST_BEHIND_SAMPLES = 30 * RATE_HZ
"""A stream that is so far behind is too slow for anybody."""
BUSY_S = 0.8
"""To hear a second may take so long, at most, where larger blocks are quicker."""


class Hearer(Protocol):
    """What the process asks of an utterance. `ended`: no more comes; it is told so."""

    ended: bool

    def add(self, samples: Samples, quiet: bool) -> None: ...

    @property
    def overfull(self) -> bool:
        """Whether more came than it can keep up with."""
        ...

    @property
    def done(self) -> bool:
        """Whether it has ended and all of it was heard."""
        ...

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for it."""
        ...

    @property
    def looked_s(self) -> float:
        """When it was last heard."""
        ...

    @property
    def said(self) -> Said: ...

    def due(self, now_s: float) -> bool:
        """Whether there is something to do for it now."""
        ...

    def hear(self, go_on: Callable[[], bool]) -> bool:
        """Do that. `go_on` is asked again and again; once it says no, what was done counts for nothing: False."""
        ...


class Pace:
    """How long a look at a clip takes here, as it goes."""

    def __init__(self, took_s: float) -> None:
        self.took_s = took_s

    def feed(self, took_s: float) -> None:
        self.took_s += 0.3 * (took_s - self.took_s)


def as_written(text: str) -> str:
    """Words of a language that has no normal form here."""
    return text


class Retelling:
    """An utterance for a `Transcriber`. `language`: None lets it say itself which one it hears, for as long as no word
    stands. What is English gets its normal form, and can be a tool's phrase; other languages stay as they are written.
    """

    def __init__(self, ear: Transcriber, pace: Pace, language: str | None = None) -> None:
        self._ear, self._pace = ear, pace
        self._take = Take(ear.mel.samples, ear.text)
        self._language, self._heard = language, language

    @property
    def ended(self) -> bool:
        return self._take.ended

    @ended.setter
    def ended(self, ended: bool) -> None:
        self._take.ended = ended

    def add(self, samples: Samples, quiet: bool) -> None:
        self._take.add(samples, quiet)

    @property
    def overfull(self) -> bool:
        return self._take.overfull

    @property
    def done(self) -> bool:
        return self._take.done

    @property
    def urgent(self) -> bool:
        return self._take.urgent

    @property
    def looked_s(self) -> float:
        return self._take.looked_s

    @property
    def said(self) -> Said:
        return self._take.said

    def due(self, now_s: float) -> bool:
        return self._take.due(now_s, self._pace.took_s)

    def hear(self, go_on: Callable[[], bool]) -> bool:
        look, wanted = self._take.look(), True

        def still() -> bool:
            nonlocal wanted
            wanted = go_on() and not self._take.outdated(look)
            return wanted

        began_s = time.monotonic()
        language = self._heard if look.begun else self._language
        written = self._ear.write(
            look.samples, language, most_tokens=look.most_tokens, begun=look.begun, go_on=still
        )  # fmt: skip
        if not wanted:
            return False
        now_s = time.monotonic()
        self._pace.feed(now_s - began_s)
        self._heard = written.language
        self._take.form = spoken if written.language in (None, "en") else as_written
        self._take.heard(look, written.ids, written.logp, written.spoken, now_s)
        return True


class Word(Protocol):
    @property
    def text(self) -> str: ...


class Words(Protocol):
    """A stream of sound to words: those that are whole, and one that may still grow."""

    def feed(self, samples: Samples) -> Sequence[Word]: ...

    @property
    def partial(self) -> Word | None: ...

    @property
    def confidence(self) -> float:
        """How likely what it wrote was, 0 … 1."""
        ...

    def end(self) -> Sequence[Word]: ...


class Streaming:
    """An utterance for an ear whose words, once they are whole, stand."""

    def __init__(self, words: Words) -> None:
        self.ended = self._closed = False
        self.looked_s = float("-inf")
        self._words = words
        self._waiting: deque[Samples] = deque()
        self._behind = 0
        self._whole: list[str] = []

    def add(self, samples: Samples, quiet: bool) -> None:
        self._waiting.append(samples)
        self._behind += len(samples)

    @property
    def overfull(self) -> bool:
        return self._behind > MOST_BEHIND_SAMPLES

    @property
    def done(self) -> bool:
        return self._closed

    @property
    def urgent(self) -> bool:
        return self.ended and not self._closed

    @property
    def said(self) -> Said:
        partial = None if self._closed else self._words.partial
        whole = tuple(spoken(" ".join(self._whole)).split())
        words = tuple(spoken(" ".join([*self._whole, *([partial.text] if partial else [])])).split())
        stands = next((at for at, (a, b) in enumerate(zip(whole, words, strict=False)) if a != b), len(whole))
        return Said(words, min(stands, len(words)), self._words.confidence if words else 0.0)

    def due(self, now_s: float) -> bool:
        return bool(self._waiting) or self.urgent

    def hear(self, go_on: Callable[[], bool]) -> bool:
        while self._waiting:
            samples = self._waiting.popleft()
            self._behind -= len(samples)
            self._whole += [word.text for word in self._words.feed(samples)]
            if self._waiting and not go_on():
                break  # nothing is lost: it goes on from here
        if self.ended and not self._waiting:
            self._whole += [word.text for word in self._words.end()]
            self._closed = True
        self.looked_s = time.monotonic()
        return True


@dataclass(frozen=True, slots=True)
class ReadEar:
    """A checkpoint's ear. `look_s`: how long it takes to hear a clip here, or a second of a stream; `begin`: begins an
    utterance; `block_ms`: how much of a stream is heard at once, 0 of clips."""

    name: str
    look_s: float
    begin: Callable[[], Hearer]
    block_ms: float = 0.0


def read_ear(folder: str, device: str, language: str | None = None, otherwise: str | None = None) -> ReadEar:
    """A checkpoint's ear. `language`, `otherwise`: see `Marks.language`.

    Raises:
        ConfigError: it is no ear, or none for this language, a file is missing or damaged, or the files contradict each
            other.
    """
    import numpy as np

    from liveagent.errors import ConfigError
    from liveagent.families import described, family_of
    from liveagent.nn.checkpoint import Checkpoint

    checkpoint = Checkpoint.open(folder)
    family = described(checkpoint.architecture, folder)
    if not family.ear:
        raise ConfigError(f"{folder} is a {family.title}, which is no ear that could stand in front of another model")
    module = family_of(checkpoint)
    if hasattr(module, "words"):  # a stream
        if language is not None and language not in module.LANGUAGES:
            raise ConfigError(f"this ear knows no language {language!r}; it knows {', '.join(module.LANGUAGES)}")
        return _stream(module, checkpoint, device)
    ear: Transcriber = module.load(folder, device)
    spoken_here = ear.marks.language(language, otherwise)
    began_s = time.monotonic()
    ear.write(np.zeros(0, np.float32), most_tokens=1)
    pace = Pace(time.monotonic() - began_s)
    return ReadEar(ear.name, pace.took_s, lambda: Retelling(ear, pace, spoken_here))


def _stream(module: Any, checkpoint: Checkpoint, device: str, busy_s: float = BUSY_S) -> ReadEar:
    """One that streams, in the least blocks in which it keeps up here: weights are read once for each block, so larger
    ones, whose words come later, take little longer."""

    def read(lookahead: int) -> ReadEar:
        stream = module.words(checkpoint, module.ear(checkpoint, lookahead, device=device))
        block_ms = stream.block_samples / RATE_HZ * 1e3
        return ReadEar(checkpoint.folder.name, _second_s(stream), lambda: Streaming(stream.another()), block_ms)

    known = sorted(module.lookaheads(checkpoint))
    *nearer, farthest = [each for each in known if each >= module.LOOKAHEAD] or known[-1:]
    for lookahead in nearer:
        found = read(lookahead)
        if found.look_s <= busy_s:
            return found
        del found  # before the next is read
    return read(farthest)


def _second_s(like: Any) -> float:
    """How long a stream takes to hear a second."""
    import numpy as np

    stream = like.another()
    samples = max(1, round(RATE_HZ / stream.block_samples)) * stream.block_samples
    for _ in range(2):  # the first time is longer
        began_s = time.monotonic()
        stream.feed(np.zeros(samples, np.float32))
        took_s = time.monotonic() - began_s
    return took_s * RATE_HZ / samples
