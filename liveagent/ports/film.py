"""`Film`: a file or address with sound, pictures or both, on one time axis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_NS, TICK_SAMPLES, AudioChunk
from liveagent.clock import Pace, Timeline
from liveagent.errors import ConfigError, LinkError, LiveAgentError
from liveagent.ports.media import MediaFile
from liveagent.ports.scaler import Scaler
from liveagent.ports.videotrack import VideoTrack, place_of
from liveagent.probe import Probe
from liveagent.video import VideoFrame


class Film:
    """What a recorded file shows and says, in the order in which it happened.

    `for item in film`: as fast as it decodes, an AudioChunk (80 ms) or a VideoFrame each; a picture comes before the
    chunk in whose time it was taken. `async for item in film`: the same without blocking the loop, and in real time
    unless `real_time=False`. Times count from `start_ns`, which is the first sound or picture, whichever is earlier.
    Where there is no sound, before it, after it or at all, silence keeps the time, so a session's clock always runs.

    At most `fps` pictures a second are shown, the rest counted as `dropped`; size_px: see `Scaler`. Two readers of the
    same file, each a packet ahead, so memory does not grow with how badly the two are interleaved.

    Raises as `MediaFile` and `VideoTrack` do, on the first item; ConfigError when it has neither sound nor pictures.
    """

    def __init__(
        self,
        source: str | Path,
        fps: float = 5.0,
        size_px: int | None = 128,
        real_time: bool = True,
        start_ns: int = 0,
    ) -> None:
        if not 0 < fps <= 60:
            raise ConfigError(f"{fps} pictures a second: choose more than 0 and at most 60")
        self._source, self._real_time, self._start_ns = str(source), real_time, start_ns
        self._step_ns, self._scaler = round(1e9 / fps), Scaler(size_px)
        self._sounded = False  # what comes now is the silence behind it
        self.name = self._source.rsplit("/", 1)[-1]
        self.has_sound = self.has_pictures = False
        """As far as its header says; known from the first item on."""
        self.damage: str | None = None
        """What was wrong with it, once everything was read; None for a whole file."""
        self.corrupt = 0
        """Packets of pictures that could not be decoded."""
        self.mended_times = 0
        """Times of pictures that were missing, or did not grow."""

    def __iter__(self) -> Generator[AudioChunk | VideoFrame, None, None]:
        self.damage, self.corrupt, self.mended_times = None, 0, 0
        track = self._open()
        if track is None:
            yield from self._sound_alone()
            return
        with closing(track):
            self.has_pictures = True
            sound_s, first_s = track.sound_first_s, track.first_s or 0.0
            self.has_sound = sound_s is not None
            zero_s = min(first_s, first_s if sound_s is None else sound_s)
            lead = 0 if sound_s is None else round((sound_s - zero_s) * RATE_HZ)
            end_ns = self._start_ns
            for item in self._merged(self._sound(lead if self.has_sound else None), self._pictures(track, zero_s)):
                end_ns = _end_ns(item)
                yield item
            got_s = (end_ns - self._start_ns) / 1e9
            if track.length_s - got_s > 0.5:
                self._hurt(f"cut off after {got_s:.1f} s of {track.length_s:.1f} s")

    async def __aiter__(self) -> AsyncIterator[AudioChunk | VideoFrame]:
        loop = asyncio.get_running_loop()
        items = self.__iter__()
        begin_s: float | None = None
        try:
            while (item := await asyncio.to_thread(next, items, None)) is not None:
                begin_s = loop.time() if begin_s is None else begin_s
                if self._real_time:
                    await asyncio.sleep(max(0.0, begin_s + (_end_ns(item) - self._start_ns) / 1e9 - loop.time()))
                yield item
        finally:
            with suppress(ValueError):  # cancelled in the middle of an item: its thread ends by itself
                await asyncio.to_thread(items.close)

    def probe(self) -> Probe:
        """Opens it and decodes its beginning."""
        try:
            with closing(iter(self)) as items:
                next(items, None)
        except LiveAgentError as error:
            return Probe(False, str(error), "choose another file or address")
        what = " and ".join(w for w, has in (("sound", self.has_sound), ("pictures", self.has_pictures)) if has)
        return Probe(True, f"{self.name} has {what}")

    def _open(self) -> VideoTrack | None:
        """Its pictures, or None when it has none; then it is for `MediaFile` to say what is wrong, if anything."""
        place = place_of(self._source)
        if place.kind not in ("file", "address"):
            raise ConfigError(f"{self._source} is no recorded film; give a file or an address")
        try:
            return VideoTrack(place)
        except ConfigError:
            return None

    def _sound_alone(self) -> Iterator[AudioChunk]:
        media = MediaFile(self._source, start_ns=self._start_ns)
        self.has_sound = True
        try:
            yield from media
        except ConfigError as error:
            if "no sound" in str(error):
                raise ConfigError(f"{self.name} has neither sound nor pictures; choose another file") from error
            raise
        self._hurt(media.damage)

    def _sound(self, lead: int | None) -> Generator[AudioChunk, None, None]:
        """Its sound, `lead` samples after the beginning, then silence for ever; None: silence alone."""
        at_ns, self._sounded = self._start_ns, False
        nothing = np.zeros(0, np.float32)
        media = MediaFile(self._source, start_ns=self._start_ns + (lead or 0) * SAMPLE_NS)
        try:
            for chunk in media if lead is not None else ():
                begin_ns = chunk.t_ns  # a gap comes tick by tick: pictures were taken in its time
                while at_ns < begin_ns:
                    gap = min((begin_ns - at_ns) // SAMPLE_NS, TICK_SAMPLES)
                    at_ns += gap * SAMPLE_NS
                    yield AudioChunk(nothing, at_ns, gap, self.name)
                if len(chunk.samples):
                    at_ns = _end_ns(chunk)
                    yield replace(chunk, gap_samples=0)
        except (ConfigError, LinkError) as error:  # there are still the pictures
            self._hurt(str(error))
        self._hurt(media.damage)
        self._sounded = True
        silent = np.zeros(TICK_SAMPLES, np.float32)
        while True:
            yield AudioChunk(silent, at_ns, 0, self.name)
            at_ns += TICK_NS

    def _pictures(self, track: VideoTrack, zero_s: float) -> Iterator[VideoFrame]:
        line, pace, dropped = Timeline(track.step_s, zero_s), Pace(self._step_ns), 0
        try:
            for packet, _ in track.packets():
                for frame in track.decode(packet):
                    at_ns = round(line.feed(track.time_s(frame)) * 1e9)
                    pixels = track.scale(frame, self._scaler) if pace.is_due(at_ns) else None
                    if pixels is None:
                        dropped += 1
                        continue
                    pace.take(at_ns)
                    yield VideoFrame(pixels, self._start_ns + at_ns, dropped)
                    dropped = 0
        except LiveAgentError as error:
            self._hurt(str(error))
        finally:
            self.corrupt, self.mended_times = track.corrupt, line.mended
        if track.corrupt:
            self._hurt(f"{track.corrupt} packets of its pictures are damaged")

    def _merged(
        self, sound: Generator[AudioChunk, None, None], pictures: Iterator[VideoFrame]
    ) -> Iterator[AudioChunk | VideoFrame]:
        """Until both have ended; the silence behind the sound ends with the tick of the last picture."""
        with closing(sound):
            picture = next(pictures, None)
            for chunk in sound:
                if picture is None and self._sounded:
                    return
                while picture is not None and picture.t_ns < _end_ns(chunk):
                    yield picture
                    picture = next(pictures, None)
                yield chunk

    def _hurt(self, what: str | None) -> None:
        self.damage = self.damage or what


def _end_ns(item: AudioChunk | VideoFrame) -> int:
    return item.t_ns + (len(item.samples) * SAMPLE_NS if isinstance(item, AudioChunk) else 0)
