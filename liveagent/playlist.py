"""What the loudspeaker has still to play: utterances one after the other, quieter, held or thrown away.

Without a clock and without a device: whoever owns one takes so many samples when the device asks for them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

import numpy as np

from liveagent.audio import RATE_HZ, Samples
from liveagent.errors import DeviceError
from liveagent.resample import Resampler

CAPACITY_MS = 300_000  # the longest text a voice takes at once, slowly spoken
RAMP_MS = 5  # no click when the level changes
_REMEMBERED = 64


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """A stretch that was taken for playing.

    samples: as fed, at the device's rate, before any gain. played_samples: of this utterance in all, at the voice's
    rate, once this has sounded. before: how many samples of the block end with it. done: nothing more of it comes.
    """

    utterance: int
    samples: Samples
    played_samples: int
    before: int
    done: bool


@dataclass(slots=True, eq=False)
class _Item:
    resampler: Resampler
    chunks: deque[Samples] = field(default_factory=deque)
    queued: int = 0  # device samples
    taken: int = 0  # device samples
    fed: int = 0  # voice samples
    final: bool = False


class Playlist:
    """voice_hz: rate of what is fed. device_hz: rate of what is taken. Not thread-safe: its owner holds the lock."""

    def __init__(self, voice_hz: int = RATE_HZ, device_hz: int = RATE_HZ) -> None:
        self.voice_hz, self.device_hz = voice_hz, device_hz
        self._items: OrderedDict[int, _Item] = OrderedDict()
        self._stopped: deque[int] = deque(maxlen=_REMEMBERED)
        self._gain = self._target = 1.0
        self._frozen = False

    @property
    def queued_samples(self) -> int:
        """At the device's rate."""
        return sum(item.queued for item in self._items.values())

    @property
    def sounding(self) -> int | None:
        """The utterance that is next to be taken from."""
        return next(iter(self._items), None)

    def feed(self, utterance: int, samples: Samples, final: bool = False) -> None:
        """samples: [T] float32 at voice_hz. What belongs to a stopped utterance is thrown away.

        Raises DeviceError when five minutes are waiting already.
        """
        if utterance in self._stopped:
            return
        if self.queued_samples + len(samples) * self.device_hz // self.voice_hz > CAPACITY_MS * self.device_hz // 1_000:
            raise DeviceError(f"{CAPACITY_MS // 60_000} minutes of speech are waiting for the loudspeaker; say less")
        item = self._items.get(utterance)
        if item is None:
            item = self._items[utterance] = _Item(Resampler(self.voice_hz, self.device_hz))
        item.fed += len(samples)
        item.final = item.final or final
        parts = [item.resampler.feed(samples)] + ([item.resampler.flush()] if final else [])
        for part in parts:
            if len(part):
                item.chunks.append(part)
                item.queued += len(part)

    def take(self, n: int) -> tuple[Samples, list[Taken]]:
        """The next n samples to play [n] at device_hz, silence where there is nothing, and what they are."""
        out = np.zeros(n, np.float32)
        gains = self._ramp(n)
        room = n if not self._frozen else int(np.count_nonzero(gains))
        taken: list[Taken] = []
        at = 0
        while self._items:
            utterance, item = next(iter(self._items.items()))
            part = self._pop(item, room - at)
            out[at : at + len(part)] = part
            at += len(part)
            ended = item.queued == 0 and (item.final or len(self._items) > 1)
            if len(part) or ended:
                taken.append(Taken(utterance, part, self._played(item), at, ended))
            if not ended:
                break
            self._drop(utterance)
        out *= gains
        return out, taken

    def unread(self, lost: list[Taken]) -> None:
        """Put back, in front, what was taken and never sounded: the device was lost before."""
        for part in reversed(lost):
            item = self._items.get(part.utterance)
            if item is None:
                if part.utterance in self._stopped:
                    continue
                item = self._items[part.utterance] = _Item(Resampler(self.voice_hz, self.device_hz), final=part.done)
                item.fed = part.played_samples
                item.taken = -(-part.played_samples * self.device_hz // self.voice_hz)
            self._items.move_to_end(part.utterance, last=False)
            if len(part.samples):
                item.chunks.appendleft(part.samples)
                item.queued += len(part.samples)
                item.taken -= len(part.samples)

    def stop(self, utterance: int) -> int | None:
        """Throw away what is left of it but a fade of 5 ms. Returns how much will have been played in all, at
        voice_hz; None when nothing of it is here."""
        self._stopped.append(utterance)
        item = self._items.get(utterance)
        if item is None:
            return None
        first = next(iter(self._items)) == utterance
        fade = 0 if self._frozen or not first else RAMP_MS * self.device_hz // 1_000
        rest = self._pop(item, fade)
        item.taken -= len(rest)
        rest = rest * np.linspace(1, 0, len(rest), dtype=np.float32)
        item.chunks, item.queued, item.final = deque([rest] if len(rest) else []), len(rest), True
        played = (item.taken + len(rest)) * self.voice_hz // self.device_hz
        item.fed = played = min(played, item.fed)
        if first:
            self._frozen, self._target = False, 1.0
            self._gain = 1.0 if not len(rest) else self._gain
        return played

    def duck(self, gain_db: float) -> None:
        """Play quieter, until `resume`."""
        self._target = 10 ** (min(0.0, gain_db) / 20)

    def freeze(self) -> None:
        """Hold where it is, losing nothing, until `resume`."""
        self._frozen = True

    def resume(self) -> None:
        """Full level, from exactly the next sample."""
        self._frozen, self._target = False, 1.0

    def set_device(self, device_hz: int) -> None:
        """Another device plays on: what waits is converted."""
        if device_hz == self.device_hz:
            return
        for item in self._items.values():
            whole = np.concatenate([*item.chunks, np.zeros(0, np.float32)])
            resampler = Resampler(self.device_hz, device_hz)
            again = np.concatenate([resampler.feed(whole), resampler.flush()])
            item.taken = item.taken * device_hz // self.device_hz
            item.chunks, item.queued = deque([again] if len(again) else []), len(again)
            item.resampler = Resampler(self.voice_hz, device_hz)
        self.device_hz = device_hz

    def _pop(self, item: _Item, n: int) -> Samples:
        parts: list[Samples] = []
        while n > 0 and item.chunks:
            chunk = item.chunks.popleft()
            if len(chunk) > n:
                item.chunks.appendleft(chunk[n:])
                chunk = chunk[:n]
            parts.append(chunk)
            n -= len(chunk)
            item.queued -= len(chunk)
            item.taken += len(chunk)
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _played(self, item: _Item) -> int:
        if item.final and item.queued == 0:
            return item.fed
        return min(item.fed, item.taken * self.voice_hz // self.device_hz)

    def _drop(self, utterance: int) -> None:
        del self._items[utterance]
        self._frozen, self._target = False, 1.0  # these were for that utterance

    def _ramp(self, n: int) -> Samples:
        target = 0.0 if self._frozen else self._target
        step = 1_000 / (RAMP_MS * self.device_hz)
        way = target - self._gain
        gains = self._gain + np.sign(way) * np.minimum(np.arange(1, n + 1) * step, abs(way))
        if n:
            self._gain = float(gains[-1])
            if abs(target - self._gain) < 1e-9:
                self._gain = target
        out: Samples = np.where(np.abs(gains) < 1e-9, 0.0, gains).astype(np.float32)
        return out
