"""A session's hearing: from a tick of sound to frames for turn-taking, and to the words so far.

Microphone → echo gate → VAD and ear (engine) → listener. What follows from it is for `Turns` to say; nothing here
decides whose turn it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from liveagent.agent import Agent
from liveagent.audio import SAMPLE_NS, TICK_NS, Samples, Tick
from liveagent.echo import DELAY_SAMPLES, Echo
from liveagent.event import StopHeard, WordsHeard
from liveagent.level import dbfs
from liveagent.manners import Manners
from liveagent.runtime.engine import Lane
from liveagent.runtime.listener import Listener, Understood
from liveagent.runtime.user_turn import agreeing
from liveagent.runtime.work import VAD_FRAME_SAMPLES, Heard
from liveagent.stop import Stop
from liveagent.turns import Frame, Sense

FREE_FINISHED = 0.35  # words of no phrase: nobody knows how they may go on, so wait longer than the shortest silence
MISSING_NS = 1_000_000_000
"""Ticks whose times jump so far are not counted on from: the machine slept, and nobody heard what was in between."""
LONE_FINISHED = 0.57  # words of the recogniser alone, which hears a sentence in anything: 640 ms of silence


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """One tick as it was heard: `samples` [1280] without the loudspeaker; `near_end`: somebody else than it may sound
    in them; `late_samples`: by how much the echo gate holds them back."""

    samples: Samples
    heard: Heard
    level_dbfs: float
    near_end: bool
    late_samples: int

    @property
    def speech(self) -> float:
        return max(self.heard.vad, default=0.0)


class Hearing:
    """One session's. `words` are those of the open utterance so far, `stable` those that two looks agree on."""

    def __init__(self, agent: Agent, lane: Lane, listener: Listener, manners: Manners, echo_gate: bool) -> None:
        self.agent, self.lane, self.listener, self.manners, self.echo_gate = agent, lane, listener, manners, echo_gate
        self.echo = Echo()
        self.stop = Stop()
        self.words: tuple[str, ...] = ()
        self.stable: tuple[str, ...] = ()
        self.quiet = True
        """Whether the newest frame was silence."""
        self._echo_state = self.echo.init_state()
        self._frames = 0  # VAD frames so far
        self._ticks = 0
        self._origin_ns: int | None = None  # when the first of them would have been, had no time been missing since
        # What was told last, how much of it stood, and what sounded then.
        self._told: tuple[tuple[str, ...], int | None, int | None] = (), None, None
        self._sense: Sense | None = None
        self._lone = False

    async def hear(self, tick: Tick, reference: Samples) -> Sound:
        """Take the loudspeaker out of a tick, and ask the VAD and the ear about the rest."""
        if self._origin_ns is None:
            self._origin_ns = tick.t_ns
        missing_ns = tick.t_ns - self._origin_ns - self._ticks * TICK_NS
        if missing_ns > MISSING_NS:
            self._origin_ns += missing_ns
        self._ticks += 1
        samples, near_end, late_samples = tick.samples, True, 0
        if self.echo_gate:
            played = reference if len(reference) else np.zeros_like(samples)
            gate = self.echo.feed(samples, played, self._echo_state)
            samples, near_end, late_samples = gate.samples, bool(gate.near_end.any()), DELAY_SAMPLES
        heard = await self.lane.hear(samples)
        if heard.kind is not None:
            self._sense = _sense(heard.kind)
        return Sound(samples, heard, dbfs(samples), near_end, late_samples)

    def stops(self, sound: Sound, t_ns: int, own_voice: Callable[[], bool]) -> Iterator[StopHeard]:
        """Who heard the stop word in it. `own_voice`: whether the loudspeaker itself is just saying it."""
        for name, score in self.listener.stop_scores(sound.samples, sound.heard, sound.near_end):
            stopped = self.stop.feed(t_ns, name, score, own_voice=own_voice())
            if stopped is not None:
                yield stopped

    def frames(self, sound: Sound) -> Iterator[Frame]:
        """Its 32 ms frames for turn-taking."""
        assert self._origin_ns is not None
        for probability in sound.heard.vad:
            self.quiet = probability < self.manners.keep_speech
            t_ns = self._origin_ns + (self._frames * VAD_FRAME_SAMPLES - sound.late_samples) * SAMPLE_NS
            self._frames += 1
            yield Frame(t_ns, probability, sound.level_dbfs, sound.near_end, self._sense)

    # --- the open utterance

    def begin(self) -> None:
        self.listener.begin()
        self._clear()

    def cancel(self) -> None:
        """It was nothing, or it is said in another way."""
        self.listener.cancel()
        self._clear()

    def end(self) -> Understood | None:
        """Close it: what was said, or None when there were no words in it."""
        self._clear()
        return self.listener.end()

    def _clear(self) -> None:
        self.words = self.stable = ()

    def new_words(self, t_ns: int, playing: int | None) -> tuple[WordsHeard, WordsHeard | None] | None:
        """The words so far if that is news: as they are shown, and as turn-taking may count on them (None: not yet).
        `playing`: the reply that sounds; it is only taken back for words that two looks agree on."""
        partial = self.listener.partial()
        if partial is None or (partial.words, partial.stands, playing) == self._told:
            return None
        self._told = partial.words, partial.stands, playing
        stands = agreeing(self.words, partial.words) if partial.stands is None else partial.words[: partial.stands]
        self.stable = tuple(stands)
        self.words = partial.words
        shown = WordsHeard(
            t_ns, partial.words, partial.source, False, partial.in_grammar, partial.confidence, partial.closed
        )
        self._lone = partial.source == "recogniser"
        told = replace(shown, in_grammar=False, closed=False) if self._lone else shown
        if playing is not None:
            if not self.stable:
                return shown, None
            told = replace(told, words=self.stable, in_grammar=False, closed=False)
        return shown, told

    def at_most(self, finished: float) -> float:
        """How surely these words may be all that is said, where the decoder thinks `finished`."""
        automaton = self.agent.automaton
        if automaton.begun(self.words):  # "put coffee": every sentence of the grammar goes on from here
            return min(finished, self.manners.unsure_finished)
        if not automaton.accepts(self.words):
            return min(finished, FREE_FINISHED)
        return min(finished, LONE_FINISHED) if self._lone else finished


def _sense(kind: np.ndarray) -> Sense:
    speech, silence, music, noise = kind.mean(axis=0)
    if speech >= max(silence, music + noise):
        return "speech"
    return "silence" if silence >= music + noise else "noise"
