"""Which words of a reply were heard.

The session says words with their tokens (`Say`), the voice says which samples they are (`Voiced`), the loudspeaker says
how many samples sounded (`SamplesPlayed`). Put together they say which tokens may stay in the cache.

LAW 4: a token is kept if and only if its word's last sample was played. A word that was cut is not heard.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from liveagent.action import Duck, Freeze, Resume, Say, SayWord, StopPlayback
from liveagent.errors import ProtocolError
from liveagent.event import SamplesPlayed, Voiced, WordPlayed

Phase: TypeAlias = Literal["playing", "ducked", "frozen", "stopped", "done"]


@dataclass(frozen=True, slots=True)
class Cut:
    """An utterance that ends after `samples` played samples.

    keep_tokens: how many of the reply's tokens stay, from its first: the end of the last heard word, else 0.
    """

    utterance: int
    samples: int
    heard_words: tuple[str, ...]
    cut_word: str | None
    unheard_words: tuple[str, ...]
    keep_tokens: int


@dataclass(frozen=True, slots=True)
class _Word:
    said: SayWord
    start_samples: int | None = None
    end_samples: int | None = None

    def heard(self, samples: int) -> bool:
        """Whether the last sample sounded; a word without samples counts with the sample that follows it."""
        if self.start_samples is None or self.end_samples is None:
            return False
        return self.end_samples <= samples and self.start_samples < samples

    def begun(self, samples: int) -> bool:
        return self.start_samples is not None and self.start_samples < samples


class Playback:
    """One utterance on its way from tokens to ears. Feed it what was said, voiced, played and done to it."""

    def __init__(self, utterance: int) -> None:
        self.utterance = utterance
        self.phase: Phase = "playing"
        self.voiced_samples = 0
        self.played_samples = 0
        self._words: list[_Word] = []
        self._marked = 0  # words before this one have their samples
        self._marked_samples = 0
        self._told = 0  # words before this one were reported as played
        self._said_all = False
        self._voiced_all = False

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(word.said.text for word in self._words)

    @property
    def heard(self) -> int:
        """How many words were heard; they are the first ones."""
        return self._told

    @property
    def sounding(self) -> int | None:
        """The index of the word that is being played, if one is."""
        if self._told < len(self._words) and self._words[self._told].begun(self.played_samples):
            return self._told
        return None

    @property
    def pending_samples(self) -> int:
        """Voiced and not played: what a `Resume` goes on with."""
        return self.voiced_samples - self.played_samples

    @property
    def done(self) -> bool:
        return self.phase == "done"

    def say(self, piece: Say) -> None:
        """The next piece of the utterance. ProtocolError when its token ranges do not follow those before it."""
        self._check(piece.utterance)
        end = self._words[-1].said.end_token if self._words else 0
        for word in piece.words:
            if not end <= word.start_token <= word.end_token:
                raise ProtocolError(f"utterance {self.utterance}: the words' tokens must follow each other")
            end = word.end_token
            self._words.append(_Word(word))
        self._said_all = self._said_all or piece.final

    def feed(self, event: Voiced | SamplesPlayed) -> tuple[WordPlayed, ...]:
        """The words whose last sample has now sounded, each told once. ProtocolError for marks out of order."""
        self._check(event.utterance)
        if isinstance(event, Voiced):
            self._mark(event)
        else:
            # A loudspeaker may report its device's padding too: what was not voiced cannot have been heard.
            self.played_samples = max(self.played_samples, min(event.samples, self.voiced_samples))
        told = []
        while self._told < len(self._words) and self._words[self._told].heard(self.played_samples):
            word = self._words[self._told].said.text
            told.append(WordPlayed(event.t_ns, self.utterance, self._told, word))
            self._told += 1
        if self._said_all and self._voiced_all and self.pending_samples == 0 and self.phase != "stopped":
            self.phase = "done"
        return tuple(told)

    def obey(self, action: Duck | Freeze | Resume | StopPlayback) -> None:
        """Follow what is done to the loudspeaker. What is stopped or done stays so; a resume plays on from the next
        sample, with nothing lost."""
        self._check(action.utterance)
        if self.phase in ("stopped", "done"):
            return
        phases: dict[type, Phase] = {Duck: "ducked", Freeze: "frozen", Resume: "playing", StopPlayback: "stopped"}
        self.phase = phases[type(action)]

    def cut(self, samples: int | None = None) -> Cut:
        """What an end after `samples` samples (default: those played so far) leaves. Ask it when the loudspeaker has
        answered a `StopPlayback` with its last `SamplesPlayed`: what still was in the device's buffer did sound."""
        at = self.played_samples if samples is None else max(0, min(samples, self.voiced_samples))
        heard = 0
        while heard < len(self._words) and self._words[heard].heard(at):
            heard += 1
        texts = self.words
        sounding = heard < len(texts) and self._words[heard].begun(at)
        return Cut(
            utterance=self.utterance,
            samples=at,
            heard_words=texts[:heard],
            cut_word=texts[heard] if sounding else None,
            unheard_words=texts[heard + 1 :] if sounding else texts[heard:],
            keep_tokens=self._words[heard - 1].said.end_token if heard else 0,
        )

    def _check(self, utterance: int) -> None:
        if utterance != self.utterance:
            raise ProtocolError(f"this is utterance {self.utterance}, not {utterance}")

    def _mark(self, voiced: Voiced) -> None:
        if voiced.samples < 0 or self._voiced_all:
            raise ProtocolError(f"utterance {self.utterance}: voiced after its end, or a negative length")
        self.voiced_samples += voiced.samples
        for mark in voiced.marks:
            if not (
                self._marked <= mark.index < len(self._words)
                and self._marked_samples <= mark.start_samples <= mark.end_samples
            ):
                raise ProtocolError(f"utterance {self.utterance}: the mark of word {mark.index} is out of order")
            self._share(mark.index, mark.start_samples)
            self._place(mark.index, mark.start_samples, mark.end_samples)
            self._marked = mark.index + 1
            self._marked_samples = mark.end_samples
        if voiced.final:
            self._share(len(self._words), max(self._marked_samples, self.voiced_samples))
            self._voiced_all = True

    def _share(self, before: int, samples: int) -> None:
        """Words that the voice gave no mark of lie somewhere before `samples`: together they end there."""
        for index in range(self._marked, before):
            self._place(index, self._marked_samples, samples)
        self._marked = max(self._marked, before)

    def _place(self, index: int, start_samples: int, end_samples: int) -> None:
        self._words[index] = replace(self._words[index], start_samples=start_samples, end_samples=end_samples)
