"""`StopMic`: this machine's microphone, heard for a stop in a thread of its own, whatever the event loop is doing."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import Protocol

from liveagent.audio import RATE_HZ, Samples
from liveagent.ports.mic import Mic
from liveagent.resample import Resampler
from liveagent.runtime.stop_process import Lookout

MOST_BLOCKS = 100  # 2 s


class Played(Protocol):
    """Knows what sounded."""

    def reference(self, t_ns: int) -> Samples:
        """[1280] what sounded from then on, as far as it has."""
        ...


class StopMic:
    """From now until `close`. `speaker`: whose sound is taken out of the microphone's; None: nothing of it is in it."""

    def __init__(self, lookout: Lookout, mic: Mic, speaker: Played | None) -> None:
        self._lookout, self._mic, self._speaker = lookout, mic, speaker
        self._blocks: deque[tuple[Samples, int, int] | None] = deque(maxlen=MOST_BLOCKS)
        self._came = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, name="liveagent-stop-mic", daemon=True)
        self._before = mic.tap
        mic.tap = self._put
        self._thread.start()

    def _put(self, samples: Samples, hz: int, t_ns: int) -> None:
        self._blocks.append((samples, hz, t_ns))  # of too many the oldest goes
        self._came.release()

    def _run(self) -> None:
        resampler = Resampler(RATE_HZ, RATE_HZ)
        while True:
            self._came.acquire()
            if not self._blocks:  # more came than were kept
                continue
            block = self._blocks.popleft()
            if block is None:
                return
            samples, hz, t_ns = block
            if resampler.from_hz != hz:
                resampler = Resampler(hz, RATE_HZ)
            samples = resampler.feed(samples)
            reference = None
            if self._speaker is not None and len(samples):
                with contextlib.suppress(Exception):  # a loudspeaker that is just being closed
                    reference = self._speaker.reference(t_ns)[: len(samples)]
            self._lookout.hear(samples, t_ns, RATE_HZ, reference)

    def close(self) -> None:
        self._mic.tap = self._before
        self._blocks.append(None)
        self._came.release()
        self._thread.join(1.0)
