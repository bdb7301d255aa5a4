"""`PretendedSpeaker`: a voice and a loudspeaker where nobody listens, for sessions that are measured and not held."""

from __future__ import annotations

from liveagent.action import Action, Freeze, Resume, Say, StopPlayback
from liveagent.audio import TICK_SAMPLES
from liveagent.event import Inbox, SamplesPlayed, Voiced, WordMark

WORD_SAMPLES = 4000
"""Of each word: a quarter of a second."""


class PretendedSpeaker:
    """One session's. It says at once what it is told to, plays a tick a tick, and reports both."""

    def __init__(self) -> None:
        self._voiced: dict[int, int] = {}  # samples of each utterance that are not played to the end
        self._played: dict[int, int] = {}
        self._words: dict[int, int] = {}
        self._held = False

    @property
    def sounding(self) -> bool:
        """Whether a reply waits to be played, or is."""
        return bool(self._voiced)

    def obey(self, action: Action, now_ns: int) -> list[Inbox]:
        """What comes back of an action; nothing for those that are no speaker's."""
        if isinstance(action, Say):
            first = self._words.get(action.utterance, 0)
            last = self._words[action.utterance] = first + len(action.words)
            marks = tuple(WordMark(at, at * WORD_SAMPLES, (at + 1) * WORD_SAMPLES) for at in range(first, last))
            samples = len(action.words) * WORD_SAMPLES
            # Where it ran dry meanwhile it goes on behind what was played.
            before = self._voiced.get(action.utterance, self._played.get(action.utterance, 0))
            self._voiced[action.utterance] = before + samples
            return [Voiced(now_ns, action.utterance, samples, marks, action.final)]
        if isinstance(action, StopPlayback):
            self._voiced.pop(action.utterance, None)
            self._held = False
            return [SamplesPlayed(now_ns, action.utterance, self._played.get(action.utterance, 0))]
        if isinstance(action, Freeze | Resume):
            self._held = isinstance(action, Freeze)
        return []

    def play(self, now_ns: int) -> list[Inbox]:
        """Play one tick; what is told of it. Nothing where nothing sounds."""
        if self._held or not self._voiced:
            return []
        utterance, voiced = next(iter(self._voiced.items()))
        played = self._played[utterance] = min(voiced, self._played.get(utterance, 0) + TICK_SAMPLES)
        if played == voiced:
            del self._voiced[utterance]
        return [SamplesPlayed(now_ns, utterance, played)]
