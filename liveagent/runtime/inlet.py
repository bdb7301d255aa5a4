"""What comes in through a link, in one order: sound, events and stills become the ticks of a session.

An event takes effect when the sound before it has been heard. A turn that a key ended is closed by silence first, so
that ear and recogniser have closed their last block. Every sample that came is in a tick, or counted as a gap (LAW 3).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, Samples
from liveagent.event import Inbox, TalkPressed, TalkReleased, TurnDropped
from liveagent.resample import Resampler
from liveagent.video import VideoFrame
from liveagent.wire.codec import Sound

AHEAD_NS = 12_000_000_000
"""By voice, sound that is so far ahead of real time is not taken. (A protocol with a limit of its own is stricter.)"""
CLOSING_TICKS = 3
MOST_GAP_SAMPLES = 60 * RATE_HZ


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A tick's worth: `samples` [1280], of which `gap_samples` are silence in the place of sound that never came (none
    where nothing was to come). `still`: a picture to be looked at in it."""

    samples: Samples
    gap_samples: int
    still: VideoFrame | None = None


class Inlet:
    """Holds what waits, in order. Reads no clock: `now_ns` and `t_ns` are told."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        """Of sound."""
        self.received_samples = self.consumed_samples = self.gap_samples = 0
        """`received == consumed + what waits + gap`, where a gap is sound that was lost on its way or not taken."""
        self.manual = False
        """Turns are taken by key: bursts are legal."""
        self._queue: deque[Samples | int | Inbox | VideoFrame] = deque()  # a number is a hole, in samples
        self._resamplers: dict[int, Resampler] = {}
        self._part: list[Samples] = []
        self._part_samples = 0
        self._lost_samples = 0  # of the part, silence where there is a hole
        self._padding = 0  # silent ticks that are still owed before the event in front
        self._end_ns = 0  # up to when all that came would last, were it played

    # --- in

    def hear(self, sound: Sound, now_ns: int) -> bool:
        """Take sound in; False when it comes so much faster than real time that it is not taken."""
        samples = sound.pcm.astype(np.float32) / 32768.0
        if sound.rate_hz != RATE_HZ:
            resampler = self._resamplers.get(sound.rate_hz)
            if resampler is None:
                resampler = self._resamplers[sound.rate_hz] = Resampler(sound.rate_hz, RATE_HZ)
            samples = resampler.feed(samples)
        end_ns = max(now_ns, self._end_ns) + len(samples) * SAMPLE_NS
        self.received_samples += len(samples)
        if not self.manual and end_ns - now_ns > AHEAD_NS:
            self.gap_samples += len(samples)
            return False
        self._end_ns = end_ns
        gap = min(sound.gap_samples, MOST_GAP_SAMPLES)
        if gap:
            self.waiting_bytes += gap * samples.itemsize
            self._queue.append(gap)
        if len(samples):
            self.waiting_bytes += samples.nbytes
            self._queue.append(samples)
        return True

    def add(self, item: Inbox | VideoFrame) -> None:
        """An event, or a still, behind all the sound that has come."""
        self._queue.append(item)

    # --- out

    def fill(self, t_ns: int) -> tuple[Piece | None, list[Inbox]]:
        """The next tick if there is enough for one, and the events that go into it. `t_ns`: when that tick begins."""
        events: list[Inbox] = []
        if self._padding:
            self._padding -= 1
            return self.cut(), events
        while self._queue:
            item = self._queue[0]
            if isinstance(item, np.ndarray | int):
                self._draw(item)
                if self._part_samples == TICK_SAMPLES:
                    return self.cut(), events
                continue
            if isinstance(item, TalkReleased | TurnDropped) and self._owes_silence(item):
                return self.cut(), events
            self._queue.popleft()
            if isinstance(item, VideoFrame):
                return self.cut(item), events
            if isinstance(item, TalkPressed | TalkReleased | TurnDropped):  # where it stands in the sound is when
                item = replace(item, t_ns=t_ns)
            events.append(item)
        return None, events

    def cut(self, still: VideoFrame | None = None) -> Piece:
        """What there is for a tick, the rest of it silent."""
        samples = np.zeros(TICK_SAMPLES, np.float32)
        if self._part:
            sound = np.concatenate(self._part)
            samples[: len(sound)] = sound
        lost, self._lost_samples = self._lost_samples, 0
        self.consumed_samples += self._part_samples - lost
        self.gap_samples += lost
        gap = lost + (TICK_SAMPLES - self._part_samples)
        self._part, self._part_samples = [], 0
        return Piece(samples, 0 if gap == TICK_SAMPLES else gap, still)

    def _draw(self, front: Samples | int) -> None:
        """As much of the sound, or the hole, in front as the open tick takes."""
        room = TICK_SAMPLES - self._part_samples
        if isinstance(front, int):
            part = np.zeros(min(front, room), np.float32)
            self._lost_samples += len(part)
            left: Samples | int = front - len(part)
        else:
            part, left = front[:room], front[room:]
        self._part.append(part)
        self._part_samples += len(part)
        self.waiting_bytes -= part.nbytes
        if left if isinstance(left, int) else len(left):
            self._queue[0] = left
        else:
            self._queue.popleft()

    def _owes_silence(self, item: TalkReleased | TurnDropped) -> bool:
        """Whether the sound before a key that was let go has still to be closed by silence."""
        if isinstance(item, TalkReleased) and item.t_ns >= 0:
            self._queue[0] = replace(item, t_ns=-1)  # the silence is owed once
            self._padding = CLOSING_TICKS - 1
            return True
        return self._part_samples > 0
