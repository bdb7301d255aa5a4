"""Manners of conversation: how long a silence, how short a cough, how sure a guess.

`Turns` obeys them. They are one frozen value, so that an agent can carry its own and a bench can name the setting that
its figures were measured at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from liveagent.errors import ConfigError

Mode: TypeAlias = Literal["open", "push_to_talk", "wake_phrase"]


@dataclass(frozen=True, slots=True)
class Manners:
    """Defaults suit a person at a desk; `bench turn` and `bench echo` measure them."""

    mode: Mode = "open"
    half_duplex: bool = False
    """Without headphones or an echo gate: hear nothing but the stop word while a reply sounds."""
    half_duplex_tail_ms: int = 300
    start_speech: float = 0.5
    keep_speech: float = 0.35
    min_level_dbfs: float = -60.0
    start_ms: int = 64
    min_silence_ms: int = 200
    max_silence_ms: int = 1000
    unsure_finished: float = 0.3
    """At or below this P(finished) the longest silence is needed …"""
    sure_finished: float = 0.9
    """… and at or above this one the shortest."""
    sentence_silence_ms: int = 280
    """Enough after a whole sentence of the grammar that could still go on ("… please")."""
    last_word_ms: int = 400
    """A sentence that was complete this long before the last speech is not complete any more."""
    max_turn_ms: int = 30_000
    barge_speech: float = 0.6
    barge_start_ms: int = 96
    freeze_ms: int = 192
    take_ms: int = 640
    """Speech without words that lasts as long takes the floor."""
    backchannel_take_ms: int = 1600
    """… and as long when all its words are backchannels."""
    resume_ms: int = 400
    """Quiet for as long after a contest, and the reply goes on."""
    noise_ms: int = 1600
    """A contest that the ear calls noise ends after as long, even if it goes on."""
    late_words_ms: int = 1200
    """Words may come this long after the speech they were in, and still take back."""
    awake_ms: int = 8000
    backchannels: frozenset[str] = frozenset(
        {"uh", "huh", "mhm", "mm", "hm", "hmm", "okay", "ok", "yes", "yeah", "yep", "right", "sure", "aha", "ah", "oh"}
    )
    stop_words: frozenset[str] = frozenset({"stop"})

    def __post_init__(self) -> None:
        if not 0 < self.min_silence_ms <= self.max_silence_ms < self.max_turn_ms:
            raise ConfigError("turns: 0 < min_silence_ms <= max_silence_ms < max_turn_ms must hold")
        if not self.min_silence_ms <= self.sentence_silence_ms <= self.max_silence_ms:
            raise ConfigError("turns: sentence_silence_ms must lie between min_silence_ms and max_silence_ms")
        if not 0 <= self.unsure_finished < self.sure_finished <= 1:
            raise ConfigError("turns: 0 <= unsure_finished < sure_finished <= 1 must hold")
        if not 0 < self.keep_speech <= self.start_speech <= 1 or not 0 < self.keep_speech <= self.barge_speech <= 1:
            raise ConfigError("turns: keep_speech must not be above start_speech or barge_speech")
        if not 0 < self.barge_start_ms <= self.freeze_ms <= self.take_ms <= self.backchannel_take_ms:
            raise ConfigError("turns: barge_start_ms <= freeze_ms <= take_ms <= backchannel_take_ms must hold")
