"""The microphone: what it hears, stamped with when, and the clock of a session.

Nothing is lost without a word. A full ring, a device that overflowed, a microphone that was unplugged: each becomes a
marked gap of the right length. While there is no microphone, gaps keep coming at its pace, so the clock goes on.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial
from typing import Any

import numpy as np

from liveagent.audio import MAX_GAP_SAMPLES, RATE_HZ, SAMPLE_NS, AudioChunk, Samples
from liveagent.errors import DeviceError
from liveagent.event import DeviceBack, DeviceLost
from liveagent.ports import portaudio
from liveagent.probe import Probe
from liveagent.resample import Resampler

BLOCK_MS = 20
LATENCY_S = 0.04  # more comes in bursts, less tears on a busy machine
MOST_AGE_S = 0.1
ABSENT_SAMPLES = RATE_HZ // 25


class Mic:
    """`start` it, then `async for chunk in mic`, or `read()` from anywhere; `close` it.

    device: a name (a part is enough) or number; None is the default. ring_ms: what may wait unread; more is a gap.
    on_event: told DeviceLost and DeviceBack, in a thread of the microphone's. Times are of `time.monotonic_ns`.

    At every moment received_samples + gap_samples = what was read + what waits, at 16 kHz (give or take the few that
    a change of rate holds back).
    """

    def __init__(
        self,
        device: str | int | None = None,
        ring_ms: int = 2_000,
        on_event: Callable[[DeviceLost | DeviceBack], None] = lambda event: None,
    ) -> None:
        self._device, self._on_event = device, on_event
        self._capacity = ring_ms * RATE_HZ // 1_000
        self._ring: deque[tuple[Samples, int, int, int]] = deque()  # samples, their rate, t_ns, gap before them
        self._held = 0  # at 16 kHz, gaps not counted: they cost nothing
        self._lost_samples = 0  # at 16 kHz: the gap before what comes next
        self._end_ns: int | None = None  # of the last sample or gap that came
        self._fresh = True  # the next callback is a stream's first
        self._resampler = Resampler(RATE_HZ, RATE_HZ)
        self._resampled: tuple[int, int] | None = None  # since the last gap: first t_ns, samples handed out
        self._lock = threading.Lock()
        self._wake: Callable[[], None] = lambda: None
        self.tap: Callable[[Samples, int, int], None] = lambda samples, hz, t_ns: None
        """Given each block as it comes, with its rate and time, in PortAudio's thread: it must return at once."""
        self._keeper: portaudio.StreamKeeper | None = None
        self.name = "microphone"
        self.received_samples = 0
        self.gap_samples = 0
        self.overflows = 0

    @property
    def lost(self) -> bool:
        return self._keeper is not None and self._keeper.lost

    def start(self) -> None:
        """Raises DeviceError when there is no such microphone, it refuses, or PortAudio is missing."""
        if self._keeper is None:
            keeper = portaudio.StreamKeeper(
                self._open, lambda: not self.lost, self._on_lost, self._on_back, self._on_absent
            )
            self._keeper = keeper
            try:
                keeper.start()
            except DeviceError:
                self._keeper = None
                raise

    def close(self) -> None:
        """Stop hearing; what waits may still be read, and an `async for` ends after it."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.close()
        self._wake()

    def read(self) -> list[AudioChunk]:
        """Everything that waits, in order, without waiting."""
        with self._lock:
            entries = list(self._ring)
            self._ring.clear()
            self._held = 0
        chunks: list[AudioChunk] = []
        for samples, hz, t_ns, gap in entries:
            self._convert(samples, hz, t_ns, gap, chunks)
        return chunks

    def chunks(self) -> AsyncGenerator[AudioChunk, None]:
        """Starts at once (DeviceError), gives what is heard, and closes the microphone when the iterator is closed."""
        self.start()
        return self._until_closed()

    async def _until_closed(self) -> AsyncGenerator[AudioChunk, None]:
        try:
            async for chunk in self:
                yield chunk
        finally:
            await asyncio.to_thread(self.close)

    async def __aiter__(self) -> AsyncIterator[AudioChunk]:
        loop = asyncio.get_running_loop()
        news = asyncio.Event()

        def wake() -> None:
            # The callback may outlive the loop by one block.
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.set)

        self._wake = wake
        try:
            while True:
                running = self._keeper is not None
                chunks = self.read()
                for chunk in chunks:
                    yield chunk
                if not running:
                    return
                if not chunks:
                    await news.wait()
                    news.clear()
        finally:
            if self._wake is wake:  # a later reader has its own
                self._wake = lambda: None

    def probe(self) -> Probe:
        try:
            entry = portaudio.find(self._device, "input")
        except DeviceError as error:
            return Probe(False, str(error), portaudio.FIX if "PortAudio" in str(error) else "plug in a microphone")
        return Probe(True, f"microphone {entry['name']!r}")

    # ---- in PortAudio's thread ---------------------------------------------------------------------------------------

    def _hear(self, hz: int, block: Any, frames: int, when: Any, status: Any) -> None:
        now_ns = time.monotonic_ns()
        if self._keeper is not None:
            self._keeper.beat()
        # The stream's clock is not ours, but its distance from now is. A sound server's first guesses are wild (0.7 s
        # was seen for sound that had just been made), and the first one sets a session's clock: so only so much.
        age_s = when.currentTime - when.inputBufferAdcTime
        age_s = min(age_s, MOST_AGE_S) if age_s >= 0 else frames / hz
        t_ns = now_ns - int(age_s * 1e9)
        samples = block.mean(axis=1, dtype=np.float32)  # a copy: PortAudio uses its buffer again
        at_16k = frames * RATE_HZ // hz
        with self._lock:
            gap = 0
            if self._end_ns is not None and (self._fresh or status.input_overflow):
                gap = max(0, (t_ns - self._end_ns) // SAMPLE_NS)
            if status.input_overflow and not self._fresh:
                self.overflows += 1
                gap = max(gap, at_16k)  # how much is unknown when the clock does not tell; some was lost
            self._fresh = False
            self._end_ns = t_ns + at_16k * SAMPLE_NS
            self._put(samples, hz, t_ns, gap, at_16k)
        self.tap(samples, hz, t_ns)
        self._wake()

    def _put(self, samples: Samples, hz: int, t_ns: int, gap: int, at_16k: int) -> None:
        """With the lock held."""
        self._lost_samples += gap
        self.gap_samples += gap
        if self._held + at_16k > self._capacity:
            self._lost_samples += at_16k
            self.gap_samples += at_16k
            return
        self._ring.append((samples, hz, t_ns, self._lost_samples))
        self._lost_samples = 0
        self._held += at_16k
        self.received_samples += at_16k

    # ---- in the keeper's thread --------------------------------------------------------------------------------------

    def _open(self) -> Any:
        with self._lock:
            self._fresh = True
        stream = portaudio.open_stream(
            self._device, "input", RATE_HZ, BLOCK_MS, LATENCY_S, lambda hz: partial(self._hear, hz)
        )
        self.name = str(portaudio.find(self._device, "input")["name"])
        return stream

    def _on_lost(self, message: str) -> None:
        self._on_event(DeviceLost(time.monotonic_ns(), self.name, f"the microphone {self.name!r} is lost: {message}"))

    def _on_back(self) -> None:
        self._on_event(DeviceBack(time.monotonic_ns(), self.name))

    def _on_absent(self) -> None:
        """The clock goes on without a microphone: a gap up to now, a little behind so that what comes back fits."""
        with self._lock:
            if self._end_ns is None:
                return
            gap = (time.monotonic_ns() - self._end_ns) // SAMPLE_NS - ABSENT_SAMPLES
            if gap < ABSENT_SAMPLES:
                return
            self._end_ns += gap * SAMPLE_NS
            before, self._lost_samples = self._lost_samples, 0
            if self._ring and not len(self._ring[-1][0]):  # nobody reads: one entry is enough
                before += self._ring.pop()[3]
            self.gap_samples += gap
            self._ring.append((np.zeros(0, np.float32), RATE_HZ, self._end_ns, before + gap))
        self._wake()

    # ---- in the reader's thread --------------------------------------------------------------------------------------

    def _convert(self, samples: Samples, hz: int, t_ns: int, gap: int, chunks: list[AudioChunk]) -> None:
        if gap or self._resampler.from_hz != hz:
            self._emit(self._resampler.flush(), t_ns, 0, chunks)
            self._resampled = None
            if self._resampler.from_hz != hz:
                self._resampler = Resampler(hz, RATE_HZ)
        nothing = np.zeros(0, np.float32)
        while gap > MAX_GAP_SAMPLES:
            gap -= MAX_GAP_SAMPLES
            chunks.append(AudioChunk(nothing, t_ns - gap * SAMPLE_NS, MAX_GAP_SAMPLES))
        ready = self._resampler.feed(samples)
        if len(ready):
            self._emit(ready, t_ns, gap, chunks)
        elif gap:
            chunks.append(AudioChunk(nothing, t_ns, gap))

    def _emit(self, samples: Samples, t_ns: int, gap: int, chunks: list[AudioChunk]) -> None:
        if not len(samples):
            return
        if self._resampler.from_hz != RATE_HZ:  # late by what the filter holds back: time by count since the last gap
            first_ns, sent = self._resampled or (t_ns, 0)
            self._resampled = first_ns, sent + len(samples)
            t_ns = first_ns + sent * SAMPLE_NS
        chunks.append(AudioChunk(samples, t_ns, gap))
