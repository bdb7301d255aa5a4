"""A loudspeaker at the far end of a link: sound goes out a few seconds ahead, what was heard of it comes back.

A peer that plays and says so (`reports`) is believed, sample by sample. For one that cannot, playing is counted at real
time's pace from when the sound was sent, and what such a peer says after an interruption (`PlaybackCut`) has the last
word. A peer that promised to report and does not for `SILENT_NS` is counted for, too: its user must not wait for ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, Samples
from liveagent.errors import DeviceError
from liveagent.event import SamplesPlayed
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.wire.codec import Spoken

AHEAD_SAMPLES = 5 * RATE_HZ
"""What is sent and not yet played: enough for any jitter, little to throw away."""
PIECE_SAMPLES = RATE_HZ // 5
WAITING_SAMPLES = 300 * RATE_HZ
SILENT_NS = 4_000_000_000


@dataclass(slots=True)
class _Utterance:
    """How much of one was made, sent and played; `final`: no more is made."""

    number: int
    made: int = 0
    sent: int = 0
    played: int = 0
    final: bool = False
    ended: bool = False


class FarSpeaker:
    """As `Loudspeaker` of `runtime.live`. `send` is told what goes out; `now_ns` is the session's clock."""

    name = "far end"

    def __init__(self, send: Callable[[Spoken], None], now_ns: Callable[[], int], reports: bool = False) -> None:
        self._send, self._now_ns, self.reports = send, now_ns, reports
        self._queue: deque[tuple[_Utterance, Samples]] = deque()
        self._waiting = 0
        self._sounds: dict[int, _Utterance] = {}
        self._counted = NullSpeaker()
        self._heard_ns = 0  # when the peer last reported, or was sent the first of an utterance

    # --- what Live does

    def start(self) -> None: ...

    def close(self) -> None: ...

    def duck(self, gain_db: float) -> None: ...  # the peer is told the action itself, and does what it can

    def freeze(self) -> None: ...

    def resume(self) -> None: ...

    def reference(self, t_ns: int) -> Samples:
        """Zeros: whoever plays takes its own echo out."""
        return np.zeros(TICK_SAMPLES, np.float32)

    def play(self, utterance: int, samples: Samples, final: bool) -> None:
        """DeviceError when five minutes wait already."""
        if self._waiting + len(samples) > WAITING_SAMPLES:
            raise DeviceError("five minutes of speech are waiting to be sent; say less")
        sound = self._sounds.setdefault(utterance, _Utterance(utterance))
        if sound.ended:
            return
        sound.made, sound.final = sound.made + len(samples), sound.final or final
        self._queue.append((sound, samples))
        self._waiting += len(samples)
        self._pump()

    def stop(self, utterance: int) -> int | None:
        """Send nothing more of it. None: how much of it was heard will be told, or is known already."""
        sound = self._sounds.get(utterance)
        if sound is not None:
            sound.ended = True
        kept = [(each, samples) for each, samples in self._queue if each.number != utterance]
        self._queue, self._waiting = deque(kept), sum(len(samples) for _, samples in kept)
        self._counted.stop(utterance)
        return None

    def sounded(self, t_ns: int) -> list[SamplesPlayed]:
        """What more has been heard by then, as far as it is counted here; and send what may go out now."""
        fresh = self._counted.sounded(t_ns)
        if self.reports:
            self._mind_silence(t_ns)
            fresh = []
        for report in fresh:
            if report.utterance in self._sounds:
                self._sounds[report.utterance].played = report.samples
        self._pump()
        return [report for report in fresh if not self._sounds[report.utterance].ended] if fresh else []

    # --- what the peer says

    def heard(self, report: SamplesPlayed) -> None:
        """The peer has played so much."""
        self._heard_ns = report.t_ns
        sound = self._sounds.get(report.utterance)
        if sound is not None:
            sound.played = max(sound.played, min(report.samples, sound.sent))
            self._pump()

    # --- sending

    @property
    def sounding(self) -> bool:
        """Whether something was sent, or waits to be, and has not been played."""
        return any(sound.made > sound.played and not sound.ended for sound in self._sounds.values())

    def _pump(self) -> None:
        while self._queue:
            sound, samples = self._queue[0]
            ahead = sum(each.sent - each.played for each in self._sounds.values() if not each.ended)
            if ahead >= AHEAD_SAMPLES:
                return
            self._queue.popleft()
            self._waiting -= len(samples)
            if not sound.sent:
                self._heard_ns = self._now_ns()
            part, rest = samples[:PIECE_SAMPLES], samples[PIECE_SAMPLES:]
            if len(rest):
                self._queue.appendleft((sound, rest))
                self._waiting += len(rest)
            last = sound.final and sound.sent + len(part) == sound.made
            if not self.reports:
                self._counted.play(sound.number, part, last)
            self._send(Spoken(sound.number, sound.sent, part, last))
            sound.sent += len(part)
        while len(self._sounds) > 16:
            del self._sounds[next(iter(self._sounds))]

    def _mind_silence(self, t_ns: int) -> None:
        """A peer that has not said for long that it plays what it was sent: count for it from here on."""
        late = [sound for sound in self._sounds.values() if not sound.ended and sound.sent > sound.played]
        if late and t_ns - self._heard_ns > SILENT_NS + (late[0].sent - late[0].played) * SAMPLE_NS:
            self.reports = False
            for sound in late:
                self._counted.play(sound.number, np.zeros(sound.sent - sound.played, np.float32), sound.final)
