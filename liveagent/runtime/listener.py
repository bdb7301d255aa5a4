"""From sound to words, for one session: our ear and the recogniser, both against the agent's one automaton, and a
pretrained ear beside them where the agent has one.

Between utterances only a short pre-roll is kept; `begin` hands it to both, so that the syllable which woke the voice
detector is not lost. While somebody speaks `partial` gives the words so far, `end` decides between the two sources and
says which it was. What those two hear is a function of the samples, so a replay hears the same words; a pretrained
ear's words come through the inbox (`Dictation`), and go before theirs: it knows more words, and people's voices.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from liveagent.agent import Agent
from liveagent.audio import Samples
from liveagent.automaton import Automaton, Parse
from liveagent.ctc import CtcSearch, Greedy, Spike, Spot
from liveagent.errors import ConfigError, DeviceError
from liveagent.event import EarHeard, WordSource
from liveagent.runtime.dictation import Dictation
from liveagent.runtime.work import Heard, Soft
from liveagent.spoken import spoken
from liveagent.words import Thresholds, Words

if TYPE_CHECKING:
    from liveagent.nn.model import Model
    from liveagent.nn.pieces import Pieces
    from liveagent.ports.recogniser import KeyPhrase, Recogniser
    from liveagent.ports.stop_word import StopWord

PREROLL_TICKS = 5
PREROLL_BLOCKS = 3
CATCH_UP_TICKS = 2  # of sound that the recogniser takes in one tick: the pre-roll at once would be a burst of 25 ms
MAX_SPIKES = 200
QUIET_SPEECH = 0.35
BELIEVED = 0.37
"""A pretrained ear whose tokens are less likely than this, on average, has guessed."""
PARTIAL_NATS = -0.3  # margin from which the ear's words so far go before the recogniser's: four in five right ones
STOP_NATS = -0.5
"""On the voices of nano's test, every spoken "stop" scores 0 and 250 of 252 other utterances score below this."""


@dataclass(frozen=True, slots=True)
class Understood:
    """Words of an utterance, so far or finally.

    in_grammar: a whole sentence of the automaton; closed: and no longer one begins with it. stands: so many words will
    not change; None: nobody knows. unsure: no source believes in it, so the agent should ask again instead of acting.
    pieces, soft: of words that the ear heard outside the grammar, its spikes and all that it thought there.
    """

    words: tuple[str, ...]
    source: WordSource
    in_grammar: bool = False
    confidence: float = 1.0
    closed: bool = False
    stands: int | None = None
    unsure: bool = False
    pieces: tuple[int, ...] = ()
    soft: Soft | None = None


class Listener:
    """One session's sources of words. `problems` says, for the user, which of them is missing and why."""

    def __init__(
        self,
        agent: Agent,
        pieces: Pieces,
        recogniser: Recogniser | None = None,
        stop: StopWord | None = None,
        wake: KeyPhrase | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        self.agent, self.pieces = agent, pieces
        self.problems: list[str] = []
        self.open = False
        self.dictation: Dictation | None = None
        self._words = Words(thresholds)
        self._search = _search(agent.automaton, pieces).another()
        self._greedy = Greedy(pieces.blank)
        self._spikes: list[Spike] = []
        self._thoughts: list[Soft] = []  # one a spike
        self._spot = Spot([pieces.encode("stop")], pieces.blank, STOP_NATS)
        self._recogniser, self._stop, self._wake = recogniser, stop, wake
        self.has_recogniser = recogniser is not None or stop is not None
        """Whether PocketSphinx listens, or did, be it for the stop word alone."""
        self._sound: deque[Samples] = deque(maxlen=PREROLL_TICKS)
        self._behind: deque[Samples] = deque()  # sound of the utterance that the recogniser has not taken yet
        self._blocks: deque[Heard] = deque(maxlen=PREROLL_BLOCKS)

    @classmethod
    def of(cls, agent: Agent, model: Model, use_recogniser: bool = True) -> Listener:
        """Build for an agent. A recogniser that is not installed becomes a problem that is told, not an error."""
        recogniser, stop, wake, problems = None, None, None, []
        if use_recogniser:
            from liveagent.ports.recogniser import KeyPhrase, Recogniser
            from liveagent.ports.stop_word import StopWord

            try:
                if agent.automaton.arcs:
                    recogniser = Recogniser(agent.automaton, agent.pronounced)
                    if recogniser.guessed:
                        words = ", ".join(recogniser.guessed)
                        problems.append(f"guessed how these are said: {words}; a tool's say={{...}} tells it better")
                stop = StopWord(others=tuple(agent.automaton.next_words()), say=agent.pronounced)
                wake = KeyPhrase(agent.wake, say=agent.pronounced) if agent.wake else None
            except DeviceError as error:
                problems.append(f"{error}; only voices like the ones nano was trained on will be understood")
        if agent.wake and wake is None:
            raise ConfigError(f"wake={agent.wake!r} needs PocketSphinx to listen for it: pip install pocketsphinx")
        listener = cls(agent, model.ear_pieces, recogniser, stop, wake)
        listener.problems = problems
        return listener

    @property
    def preroll(self) -> tuple[Samples, ...]:
        """The newest ticks of sound."""
        return tuple(self._sound)

    def begin(self) -> None:
        """Somebody began to speak: an utterance opens, from the pre-roll on."""
        self.open = True
        self._search.reset()
        self._greedy.reset()
        self._spikes.clear()
        self._thoughts.clear()
        for block in self._blocks:
            self._read(block)
        self._behind = deque(self._sound)
        self._recognise(1)
        if self.dictation is not None:
            self.dictation.begin(np.concatenate(self._sound) if self._sound else np.zeros(0, np.float32))

    def feed(self, samples: Samples, heard: Heard) -> None:
        """One tick. Outside an utterance it only fills the pre-roll."""
        self._sound.append(samples)
        if heard.logp is not None:
            self._blocks.append(heard)
        if not self.open:
            return
        if heard.logp is not None:
            self._read(heard)
        self._behind.append(samples)
        self._recognise(CATCH_UP_TICKS)
        if self.dictation is not None:
            self.dictation.feed(samples, max(heard.vad, default=1.0) < QUIET_SPEECH)

    def _recognise(self, ticks: int) -> None:
        """Let the recogniser take so much of what it has not heard yet."""
        for _ in range(min(ticks, len(self._behind))):
            sound = self._behind.popleft()
            if self._recogniser is not None:
                self._recogniser.feed(sound)

    def stop_scores(self, samples: Samples, heard: Heard, near: bool = True) -> list[tuple[str, float]]:
        """Who heard the stop word in this tick, by source, 0 … 1. `near`: somebody may sound in it."""
        scores = []
        if self._stop is not None:
            scores.append(("recogniser", float(self._stop.feed(samples, near))))
        if heard.logp is not None:
            scores.append(("ear", float(self._spot.feed(heard.logp))))
        return scores

    def wake_heard(self, samples: Samples) -> bool:
        """Whether the agent's wake phrase ended in this tick."""
        return self._wake is not None and self._wake.feed(samples)

    def partial(self) -> Understood | None:
        """The words so far; None outside an utterance or before the first word."""
        if not self.open:
            return None
        if self.dictation is not None and (newest := self.dictation.newest) is not None and newest.words:
            return replace(self._understood(newest.words, "scribe", newest.confidence), stands=newest.stands)
        ear, whole = self._search.best(), self._search.best(whole=True)
        words = self._recogniser.partial() if self._recogniser is not None else ()
        sure = self._words.thresholds.ear(whole)
        # A whole sentence that one source is sure of, or that both found, is worth more than a longer beginning. Where
        # the recogniser hears something else, the ear must be surer: "front" is near "thanks", and thanks ends a turn.
        near = whole.margin >= PARTIAL_NATS if words else sure >= self._words.thresholds.accept
        if whole.words and (near or whole.words == words):
            return self._understood(whole.words, "both" if whole.words == words else "ear", sure)
        near = ear.margin >= PARTIAL_NATS
        if ear.words and (not words or near):
            return self._understood(ear.words, "ear", 0.5 if near else 0.0)
        return self._understood(words, "recogniser", 0.5) if words else None

    def end(self) -> Understood | None:
        """Close the utterance; None when there were no words in it."""
        if not self.open:
            return None
        self.open = False
        if self.dictation is not None:
            self.dictation.end()
        self._recognise(len(self._behind))
        recognised = self._recogniser.end() if self._recogniser is not None else None
        text, confidence = self._free()
        sentence = self._search.best(whole=True)
        decided = self._words.decide(text, confidence, sentence, recognised)
        if not decided.text:
            return None
        found = self._understood(tuple(decided.text.split()), decided.source, decided.confidence)
        unsure = decided.unsure
        if decided.in_grammar and unsure and recognised is not None:
            unsure = not self._same_call(sentence.text, recognised.text)
        found = replace(found, in_grammar=decided.in_grammar, unsure=unsure)
        if decided.in_grammar or not self._spikes:
            return found
        weights = np.concatenate([each.weights for each in self._thoughts])
        hidden = np.concatenate([each.hidden for each in self._thoughts])
        return replace(found, pieces=tuple(each.piece for each in self._spikes), soft=Soft(weights, hidden))

    def dictated(self, heard: EarHeard | None, others: Understood | None) -> Understood | None:
        """A closed utterance's words, where a pretrained ear `heard` some, or nothing, or (None) was not done in time;
        `others`: what `end` gave."""
        if heard is None or not heard.words:
            silent = heard is not None and heard.final and not (others is not None and others.in_grammar)
            return None if silent else others  # where it heard nothing, a guess outside the grammar is none
        found = self._understood(heard.words, "scribe", heard.confidence)
        return replace(found, unsure=not found.in_grammar and heard.confidence < BELIEVED)

    def _same_call(self, one: str, other: str) -> bool:
        """Whether two sentences ask for the same: "light" or "lights" is no reason to ask again."""
        calls = [self.agent.automaton.parse(words) for words in (one, other)]
        first, second = ((each.tool.name, dict(each.args)) if isinstance(each, Parse) else None for each in calls)
        return first is not None and first == second

    def forget(self) -> None:
        """Drop the pre-roll: what was said so far is nobody's beginning."""
        self._sound.clear()
        self._blocks.clear()

    def cancel(self) -> None:
        """It was nothing: forget the open utterance."""
        if self.open and self.dictation is not None:
            self.dictation.cancel()
        if self.open and self._recogniser is not None:
            self._recogniser.reset()
        self.open = False

    def close(self) -> None:
        """Hear nothing any more. The recogniser's megabytes go now: the collector, which sees some small objects in a
        circle, would let them wait for hours. None is let go within an utterance: PocketSphinx loses what it holds."""
        self.cancel()
        for each in (self._stop, self._wake):
            if each is not None:
                each.close()
        self._recogniser = self._stop = self._wake = None

    def _read(self, heard: Heard) -> None:
        assert heard.logp is not None and heard.hidden is not None
        self._search.feed(heard.logp)
        if len(self._spikes) >= MAX_SPIKES:
            return
        first = self._greedy.frames
        for spike in self._greedy.feed(heard.logp):
            at = slice(spike.frame - first, spike.frame - first + 1)
            self._spikes.append(spike)
            self._thoughts.append(Soft(np.exp(heard.logp[at]), heard.hidden[at]))

    def _free(self) -> tuple[str, float]:
        """The ear's words without a grammar, and the mean probability of their pieces."""
        if not self._spikes:
            return "", 0.0
        text = spoken(self.pieces.decode([spike.piece for spike in self._spikes]))
        return text, sum(spike.confidence for spike in self._spikes) / len(self._spikes)

    def _understood(self, words: tuple[str, ...], source: WordSource, confidence: float) -> Understood:
        ways, state = self.agent.automaton.ways, 0
        for word in words:
            if word not in ways[state]:
                return Understood(words, source, False, confidence)
            state = ways[state][word]
        whole = state in self.agent.automaton.accepting
        return Understood(words, source, whole, confidence, whole and not ways[state])


@lru_cache(maxsize=8)
def _search(automaton: Automaton, pieces: Pieces) -> CtcSearch:
    """Spelled once for all sessions of an agent."""
    return CtcSearch(automaton, lambda word: [pieces.encode(word)], pieces.blank)
