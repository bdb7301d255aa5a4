""" "Stop" has a path of its own: from a keyword's score to `Halt`, without turn, decoder or words.

Whoever listens for the word (the recogniser's keyword search, the ear's spot over its letters, the keyboard) feeds
scores here each time it has one. The rule is small enough to be sure of: a score above the source's threshold, as often
in a row as the source needs it, fires once; then it is latched until released, and deaf for a refractory time so that
one spoken word fires once. Stopping once too often is cheap, stopping too late is not: thresholds lean that way.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from liveagent.errors import ConfigError
from liveagent.event import StopHeard
from liveagent.spoken import spoken

NS_PER_MS = 1_000_000
STOP_WORDS = ("stop", "halt", "freeze")
BESIDE = frozenset({"please", "now", "it", "that", "right", "at", "once", "everything", "moving", "robot", "arm"})
"""Words that a typed stop may have beside it."""


def is_stop(text: str) -> bool:
    """Whether a typed line stops robots: a stop word, and no others but `BESIDE`. A line is there whole, so unlike a
    voice nobody has to guess how it goes on: "don't stop" and "stop the timer" do not."""
    words = spoken(text).split()
    return any(word in STOP_WORDS for word in words) and all(word in STOP_WORDS or word in BESIDE for word in words)


@dataclass(frozen=True, slots=True)
class StopSource:
    """What one listener's score must be: at least `threshold`, `hits` times in a row."""

    threshold: float
    hits: int = 1

    def __post_init__(self) -> None:
        if self.hits < 1:
            raise ConfigError("stop word: a source needs at least one hit")


def _sources() -> dict[str, StopSource]:
    return {"typed": StopSource(0.5), "recogniser": StopSource(0.5), "ear": StopSource(0.8)}


@dataclass(frozen=True, slots=True)
class StopConfig:
    refractory_ms: int = 1500
    sources: dict[str, StopSource] = field(default_factory=_sources)


class Stop:
    """The decision. `latched` stays True from the stop until `release`: nothing new is spoken or moved meanwhile."""

    def __init__(self, config: StopConfig | None = None) -> None:
        self.config = config or StopConfig()
        self.latched = False
        self._hits: dict[str, int] = {}
        self._deaf_until_ns: int | None = None

    def feed(self, t_ns: int, source: str, score: float, own_voice: bool = False) -> StopHeard | None:
        """One score of one source for sound that ends at `t_ns`. Returns the event when it fires.

        own_voice: the loudspeaker is saying the stop word itself just now (the session knows from the playback's
        marks): then only the keyboard counts. ConfigError for a source that the config does not name.
        """
        rule = self.config.sources.get(source)
        if rule is None:
            raise ConfigError(f"stop word: no threshold for source {source!r}; add it to StopConfig.sources")
        if not score >= rule.threshold or (own_voice and source != "typed"):  # a NaN is no stop
            self._hits[source] = 0
            return None
        self._hits[source] = self._hits.get(source, 0) + 1
        if self._hits[source] < rule.hits or (self._deaf_until_ns is not None and t_ns < self._deaf_until_ns):
            return None
        self._hits.clear()
        self._deaf_until_ns = t_ns + self.config.refractory_ms * NS_PER_MS
        self.latched = True
        return StopHeard(t_ns, source, score)

    def release(self) -> None:
        """The user says or types something else: go on."""
        self.latched = False
