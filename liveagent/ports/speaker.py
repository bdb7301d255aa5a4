"""The loudspeaker: plays what the voice made, and knows what has really sounded.

What was handed to the device sounds a little later, at the time its clock says; only then it counts as played, and that
is also the reference from which the echo gate takes the agent's own voice out of the microphone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from math import gcd
from typing import Any

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, Samples
from liveagent.errors import DeviceError
from liveagent.event import DeviceBack, DeviceLost, SamplesPlayed
from liveagent.playlist import Playlist, Taken
from liveagent.ports import portaudio
from liveagent.probe import Probe
from liveagent.resample import Resampler

BLOCK_MS = 20
LATENCY_S = 0.08  # a network computes beside us: less tears
SETTLE_S = 0.3  # what a sound server takes at its start it may throw away
BURST_S = 0.4
REFERENCE_S = 4
JUMP_NS = 50_000_000  # the device's times jitter; only a step like this means that something was lost
_EDGE = 64  # samples around a stretch, for its resampling


class Speaker:
    """`start` it, `play` samples, ask once a tick what has `sounded`; `close` it.

    device: a name (a part is enough) or number; None is the default. voice_hz: rate of what is played, and of every
    count of samples. latency_s: what the device buffers: more of it tears less on a busy machine, and is as much less
    that can be taken back. on_event: told DeviceLost and DeviceBack, in a thread of the loudspeaker's. While it is lost
    nothing is played and nothing is thrown away. Times are of `time.monotonic_ns`. All methods may be called from
    anywhere.
    """

    def __init__(
        self,
        device: str | int | None = None,
        voice_hz: int = RATE_HZ,
        on_event: Callable[[DeviceLost | DeviceBack], None] = lambda event: None,
        latency_s: float = LATENCY_S,
    ) -> None:
        self._device, self._on_event, self._latency_s = device, on_event, latency_s
        self._playlist = Playlist(voice_hz, voice_hz)
        self._handed: deque[tuple[int, Taken]] = deque()  # when its last sample sounds, what
        self._reports: dict[int, SamplesPlayed] = {}
        self._lock = threading.Lock()
        self._keeper: portaudio.StreamKeeper | None = None
        # What was played: a ring at the device's rate; sample `i` of the stream lies at i % len.
        self._ring = np.zeros(REFERENCE_S * voice_hz, np.float32)
        self._written = 0
        self._zero_ns: int | None = None  # when sample 0 sounded
        self._first_ns: int | None = None  # this stream's first callback
        self._last_ns = 0
        self._credit_s = 0.0
        self.name = "loudspeaker"
        self.underflows = 0

    @property
    def lost(self) -> bool:
        return self._keeper is not None and self._keeper.lost

    @property
    def queued_ms(self) -> int:
        """What waits to be handed to the device."""
        with self._lock:
            return self._playlist.queued_samples * 1_000 // self._playlist.device_hz

    def start(self) -> None:
        """Raises DeviceError when there is no such loudspeaker, it refuses, or PortAudio is missing."""
        if self._keeper is None:
            keeper = portaudio.StreamKeeper(self._open, lambda: self.queued_ms > 0, self._on_lost, self._on_back)
            self._keeper = keeper
            try:
                keeper.start()
            except DeviceError:
                self._keeper = None
                raise

    def close(self) -> None:
        """Be silent at once."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()

    def play(self, utterance: int, samples: Samples, final: bool = False) -> None:
        """samples: [T] float32 at voice_hz, after what came before. Raises DeviceError when five minutes wait."""
        with self._lock:
            self._playlist.feed(utterance, samples, final)

    def stop(self, utterance: int) -> int:
        """Throw away what has not been handed to the device, but for a fade of 5 ms. Returns how many samples of the
        utterance will have sounded in all: those in the device's buffer cannot be taken back."""
        with self._lock:
            played = self._playlist.stop(utterance)
            if played is None:
                played = max((t.played_samples for _, t in self._handed if t.utterance == utterance), default=0)
                done = self._reports.get(utterance)
                played = max(played, done.samples if done else 0)
            return played

    def duck(self, gain_db: float = -15.0) -> None:
        """Play quieter until `resume`, or until the utterance ends."""
        with self._lock:
            self._playlist.duck(gain_db)

    def freeze(self) -> None:
        """Hold, losing nothing, until `resume`."""
        with self._lock:
            self._playlist.freeze()

    def resume(self) -> None:
        """Full level, from exactly the next sample."""
        with self._lock:
            self._playlist.resume()

    def sounded(self, t_ns: int | None = None) -> list[SamplesPlayed]:
        """What more has sounded by t_ns (default: now) since this was last asked: one report an utterance, with the
        count of all its samples so far."""
        now_ns = time.monotonic_ns() if t_ns is None else t_ns
        fresh: dict[int, SamplesPlayed] = {}
        with self._lock:
            while self._handed and self._handed[0][0] <= now_ns:
                end_ns, part = self._handed.popleft()
                fresh[part.utterance] = SamplesPlayed(end_ns, part.utterance, part.played_samples)
            for utterance, report in fresh.items():
                self._reports.pop(utterance, None)
                self._reports[utterance] = report
            while len(self._reports) > 16:
                del self._reports[next(iter(self._reports))]
        return list(fresh.values())

    def reference(self, t_ns: int, samples: int = TICK_SAMPLES) -> Samples:
        """[samples] at 16 kHz: what sounded from t_ns on; zeros where nothing did, or where it is more than 4 s ago."""
        with self._lock:
            hz = self._playlist.device_hz
            if self._zero_ns is None:
                return np.zeros(samples, np.float32)
            # Stretches that are whole samples at both rates, so that neighbouring ones fit exactly.
            wanted = (t_ns - self._zero_ns) // SAMPLE_NS
            grid, own_grid = RATE_HZ // gcd(hz, RATE_HZ), hz // gcd(hz, RATE_HZ)
            margin = -(-_EDGE // grid)
            base = wanted // grid - margin
            end = (wanted + samples) // grid + 1 + margin
            at = np.arange(base * own_grid, end * own_grid)
            known = (at >= max(0, self._written - len(self._ring))) & (at < self._written)
            raw: Samples = np.where(known, self._ring[at % len(self._ring)], np.float32(0))
        skip = wanted - base * grid
        if hz != RATE_HZ and raw.any():
            resampler = Resampler(hz, RATE_HZ)
            raw = np.concatenate([resampler.feed(raw), resampler.flush()])
        elif hz != RATE_HZ:
            raw = np.zeros((end - base) * grid, np.float32)
        return raw[skip : skip + samples]

    def probe(self) -> Probe:
        try:
            entry = portaudio.find(self._device, "output")
        except DeviceError as error:
            return Probe(False, str(error), portaudio.FIX if "PortAudio" in str(error) else "plug in a loudspeaker")
        return Probe(True, f"loudspeaker {entry['name']!r}")

    # ---- in PortAudio's thread ---------------------------------------------------------------------------------------

    def _speak(self, hz: int, block: Any, frames: int, when: Any, status: Any) -> None:
        now_ns = time.monotonic_ns()
        if self._keeper is not None:
            self._keeper.beat()
        ahead_s = when.outputBufferDacTime - when.currentTime
        if not 0 <= ahead_s < 2:
            ahead_s = self._latency_s
        sounds_ns = now_ns + int(ahead_s * 1e9)
        with self._lock:
            if status.output_underflow:
                self.underflows += 1
            out: Samples = np.zeros(frames, np.float32)
            taken: list[Taken] = []
            if self._may_take(now_ns, frames / hz):
                out, taken = self._playlist.take(frames)
            expected_ns = None if self._zero_ns is None else self._zero_ns + self._written * 1_000_000_000 // hz
            if expected_ns is None or abs(sounds_ns - expected_ns) > JUMP_NS:
                self._zero_ns = sounds_ns - self._written * 1_000_000_000 // hz
            at = np.arange(self._written, self._written + frames) % len(self._ring)
            self._ring[at] = out
            self._written += frames
            for part in taken:
                self._handed.append((sounds_ns + part.before * 1_000_000_000 // hz, part))
        block[:] = out[:, None]

    def _may_take(self, now_ns: int, block_s: float) -> bool:
        """Whether the device asks at a pace at which it can play. Behind an underflow, and at its start, a sound server
        may swallow seconds at once, and a stream that is not yet proven may end: those get silence, the words wait."""
        if self._first_ns is None:
            self._first_ns = self._last_ns = now_ns
        # A little faster than the clock, since the device's own may be.
        self._credit_s = min(BURST_S, self._credit_s + (now_ns - self._last_ns) / 1e9 * 1.05)
        self._last_ns = now_ns
        if self.lost or self._credit_s < block_s or now_ns - self._first_ns < SETTLE_S * 1e9:
            return False
        self._credit_s -= block_s
        return True

    # ---- in the keeper's thread --------------------------------------------------------------------------------------

    def _open(self) -> Any:
        def begin(hz: int) -> Callable[..., None]:
            with self._lock:
                self._playlist.set_device(hz)
                self._ring = np.zeros(REFERENCE_S * hz, np.float32)
                self._written, self._zero_ns, self._first_ns, self._credit_s = 0, None, None, 0.0
            return partial(self._speak, hz)

        wanted_hz = self._playlist.voice_hz
        stream = portaudio.open_stream(self._device, "output", wanted_hz, BLOCK_MS, self._latency_s, begin)
        self.name = str(portaudio.find(self._device, "output")["name"])
        return stream

    def _on_lost(self, message: str) -> None:
        now_ns = time.monotonic_ns()
        with self._lock:
            lost = [part for end_ns, part in self._handed if end_ns > now_ns]
            self._handed = deque(entry for entry in self._handed if entry[0] <= now_ns)
            self._playlist.unread(lost)  # in the device's buffer, and never heard
        self._on_event(DeviceLost(now_ns, self.name, f"the loudspeaker {self.name!r} is lost: {message}"))

    def _on_back(self) -> None:
        self._on_event(DeviceBack(time.monotonic_ns(), self.name))
