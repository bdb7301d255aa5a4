"""No loudspeaker: plays into nothing at the pace of the ticks; a session without one still has playback marks."""

from __future__ import annotations

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, Samples
from liveagent.event import SamplesPlayed
from liveagent.playlist import Playlist
from liveagent.probe import Probe


class NullSpeaker:
    """As `Speaker`, but its clock is whoever asks `sounded(t_ns)`, once a tick: everything up to t_ns has sounded.

    Depends on nothing but what it is told, so a replay of the same ticks plays the same. There is no echo of it.
    """

    name = "no loudspeaker"
    lost = False

    def __init__(self, voice_hz: int = RATE_HZ) -> None:
        self._playlist = Playlist(voice_hz, voice_hz)
        self._now_ns: int | None = None
        self._reports: dict[int, int] = {}

    @property
    def queued_ms(self) -> int:
        return self._playlist.queued_samples * 1_000 // self._playlist.device_hz

    def start(self) -> None: ...

    def close(self) -> None: ...

    def play(self, utterance: int, samples: Samples, final: bool = False) -> None:
        """samples: [T] float32 at voice_hz. Raises DeviceError when five minutes wait."""
        self._playlist.feed(utterance, samples, final)

    def stop(self, utterance: int) -> int:
        """Throw away the rest; how many samples will have sounded in all."""
        played = self._playlist.stop(utterance)
        return self._reports.get(utterance, 0) if played is None else played

    def duck(self, gain_db: float = -15.0) -> None:
        self._playlist.duck(gain_db)

    def freeze(self) -> None:
        self._playlist.freeze()

    def resume(self) -> None:
        self._playlist.resume()

    def sounded(self, t_ns: int | None = None) -> list[SamplesPlayed]:
        """What sounds up to t_ns; without it, one tick more. The first call only sets the clock."""
        if t_ns is None:
            t_ns = (self._now_ns or 0) + TICK_SAMPLES * SAMPLE_NS
        first_ns, self._now_ns = (t_ns if self._now_ns is None else self._now_ns), t_ns
        hz = self._playlist.device_hz
        n = max(0, t_ns - first_ns) * hz // 1_000_000_000
        self._now_ns = first_ns + n * 1_000_000_000 // hz if n else self._now_ns
        _, taken = self._playlist.take(n)
        fresh: dict[int, SamplesPlayed] = {}
        for part in taken:
            end_ns = first_ns + part.before * 1_000_000_000 // hz
            fresh[part.utterance] = SamplesPlayed(end_ns, part.utterance, part.played_samples)
            self._reports.pop(part.utterance, None)
            self._reports[part.utterance] = part.played_samples
        while len(self._reports) > 16:
            del self._reports[next(iter(self._reports))]
        return list(fresh.values())

    def reference(self, t_ns: int, samples: int = TICK_SAMPLES) -> Samples:
        return np.zeros(samples, np.float32)

    def probe(self) -> Probe:
        return Probe(True, "no loudspeaker: replies are shown, not heard")
