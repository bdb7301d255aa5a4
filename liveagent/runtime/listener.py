"""From sound to words, for one session: our ear and the recogniser, both against the agent's one automaton.

Between utterances only a short pre-roll is kept; `begin` hands it to both, so that the syllable which woke the voice
detector is not lost. While somebody speaks `partial` gives the words so far, `end` decides between the two sources and
says which it was. Everything is a function of the samples, so a replay hears the same words.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from liveagent.agent import Agent
from liveagent.audio import Samples
from liveagent.errors import ConfigError, DeviceError
from liveagent.event import WordSource
from liveagent.runtime.engine import Heard

if TYPE_CHECKING:
    from liveagent.nn.nano import Nano
    from liveagent.ports.recogniser import KeyPhrase, Recogniser

PREROLL_TICKS = 5
PREROLL_BLOCKS = 3


@dataclass(frozen=True, slots=True)
class Understood:
    """Words of an utterance, so far or finally.

    in_grammar: a whole sentence of the automaton; closed: and no longer one begins with it. unsure: neither source
    believes in it, so the agent should ask again instead of acting.
    """

    words: tuple[str, ...]
    source: WordSource
    in_grammar: bool = False
    confidence: float = 1.0
    closed: bool = False
    unsure: bool = False


class Listener:
    """One session's sources of words. `problems` says, for the user, which of them is missing and why."""

    def __init__(self, agent: Agent, recogniser: Recogniser | None, stop: KeyPhrase | None) -> None:
        self.agent = agent
        self.problems: list[str] = []
        self.open = False
        self._recogniser, self._stop = recogniser, stop
        self._sound: deque[Samples] = deque(maxlen=PREROLL_TICKS)
        self._blocks: deque[np.ndarray] = deque(maxlen=PREROLL_BLOCKS)

    @classmethod
    def of(cls, agent: Agent, model: Nano, use_recogniser: bool = True) -> Listener:
        """Build for an agent. A recogniser that is not installed becomes a problem that is told, not an error."""
        recogniser, stop, problems = None, None, []
        if use_recogniser:
            from liveagent.ports.recogniser import KeyPhrase, Recogniser

            try:
                recogniser = Recogniser(agent.automaton, agent.pronounced)
                stop = KeyPhrase("stop")
            except DeviceError as error:
                problems.append(f"{error}; only synthetic voices will be understood")
            except ConfigError:
                if agent.automaton.arcs:
                    raise
        listener = cls(agent, recogniser, stop)
        listener.problems = problems
        return listener

    @property
    def has_recogniser(self) -> bool:
        return self._recogniser is not None

    def begin(self) -> None:
        """Somebody began to speak: an utterance opens, from the pre-roll on."""
        self.open = True
        for sound in self._sound:
            if self._recogniser is not None:
                self._recogniser.feed(sound)

    def feed(self, samples: Samples, heard: Heard) -> None:
        """One tick. Outside an utterance it only fills the pre-roll."""
        self._sound.append(samples)
        if heard.logp is not None:
            self._blocks.append(heard.logp)
        if self.open and self._recogniser is not None:
            self._recogniser.feed(samples)

    def stop_scores(self, samples: Samples, heard: Heard) -> list[tuple[str, float]]:
        """Who heard the stop word in this tick, by source, 0 … 1."""
        if self._stop is None:
            return []
        return [("recogniser", 1.0 if self._stop.feed(samples) else 0.0)]

    def partial(self) -> Understood | None:
        """The words so far; None outside an utterance or before the first word."""
        if not self.open or self._recogniser is None:
            return None
        words = self._recogniser.partial()
        return self._understood(words, "recogniser", 1.0) if words else None

    def end(self) -> Understood | None:
        """Close the utterance; None when there were no words in it."""
        if not self.open:
            return None
        self.open = False
        if self._recogniser is None:
            return None
        result = self._recogniser.end()
        if not result.words:
            return None
        return self._understood(result.words, "recogniser", result.confidence)

    def cancel(self) -> None:
        """It was nothing: forget the open utterance."""
        if self.open and self._recogniser is not None:
            self._recogniser.reset()
        self.open = False

    def close(self) -> None:
        self.cancel()

    def _understood(self, words: tuple[str, ...], source: WordSource, confidence: float) -> Understood:
        automaton = self.agent.automaton
        state = 0
        for word in words:
            if word not in automaton.ways[state]:
                return Understood(words, source, False, confidence)
            state = automaton.ways[state][word]
        whole = state in automaton.accepting
        return Understood(words, source, whole, confidence, whole and not automaton.ways[state])
