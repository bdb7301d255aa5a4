"""Sound out of files and addresses: anything FFmpeg reads becomes 16 kHz mono; and a WAV of it again.

What is broken is never a traceback and never a hang: what decoded before the damage is given, the missing rest is
marked as a gap as far as its length is known, and `damage` says in words what was wrong.
"""

from __future__ import annotations

import asyncio
import wave
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from liveagent.audio import MAX_GAP_SAMPLES, RATE_HZ, SAMPLE_NS, TICK_SAMPLES, AudioChunk, Samples
from liveagent.errors import ConfigError, LinkError
from liveagent.probe import Probe

if TYPE_CHECKING:
    import av

TIMEOUT_S = 10.0
HOLE_SAMPLES = RATE_HZ // 25  # a smaller jump of a file's times is its rounding
MOST_MISSING_SAMPLES = 600 * RATE_HZ  # a broken header may claim a year
BROKEN_PACKETS = 200  # so many in a row, and the rest is not sound


class MediaFile:
    """A file or URL with sound in it.

    `for chunk in media`: as fast as it decodes. `async for chunk in media`: the same without blocking the loop, and in
    real time unless `real_time=False`. Chunks are 80 ms, times count from `start_ns`. Each iteration starts anew.

    Raises, on the first chunk: ConfigError for a path that is no media file, is empty or has no sound in it; LinkError
    for an address that does not answer within 10 s. Later: LinkError when the network stops in the middle.
    """

    def __init__(self, source: str | Path, real_time: bool = True, start_ns: int = 0) -> None:
        self._source, self._real_time, self._start_ns = str(source), real_time, start_ns
        self.name = self._source.rsplit("/", 1)[-1]
        self.damage: str | None = None
        """What was wrong with it, once everything was read; None for a whole file."""
        self.missing_samples = 0
        """How much of what its header promises never came, at 16 kHz."""

    def __iter__(self) -> Generator[AudioChunk, None, None]:
        at = 0
        held = np.zeros(0, np.float32)
        found = False
        with closing(self._decode()) as parts:
            for samples, gap in parts:
                found = True
                if gap and len(held):
                    yield self._chunk(held, at, 0)
                    at += len(held)
                    held = np.zeros(0, np.float32)
                while gap:
                    n = min(gap, MAX_GAP_SAMPLES)
                    at += n
                    gap -= n
                    yield self._chunk(held, at, n)
                held = np.concatenate([held, samples])
                while len(held) >= TICK_SAMPLES:
                    yield self._chunk(held[:TICK_SAMPLES], at, 0)
                    at += TICK_SAMPLES
                    held = held[TICK_SAMPLES:]
        if len(held):
            yield self._chunk(held, at, 0)
        elif not found:
            raise ConfigError(
                f"{self.name} holds no sound at all ({self.damage or 'it is empty'}); choose another file"
            )

    async def __aiter__(self) -> AsyncIterator[AudioChunk]:
        loop = asyncio.get_running_loop()
        chunks = self.__iter__()
        begin_s: float | None = None
        try:
            while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                begin_s = loop.time() if begin_s is None else begin_s
                end_s = (chunk.t_ns - self._start_ns) / 1e9 + len(chunk.samples) / RATE_HZ
                if self._real_time:
                    # Like a microphone: a chunk is there when its last sample has been heard, a gap takes its time.
                    await asyncio.sleep(max(0.0, begin_s + end_s - loop.time()))
                yield chunk
        finally:
            with suppress(ValueError):  # cancelled in the middle of a chunk: its thread ends by itself
                await asyncio.to_thread(chunks.close)

    def read(self) -> Samples:
        """All of it, gaps as silence."""
        parts = [part for c in self for part in (np.zeros(c.gap_samples, np.float32), c.samples)]
        return np.concatenate([*parts, np.zeros(0, np.float32)])

    def probe(self) -> Probe:
        """Opens it and decodes its beginning."""
        try:
            with closing(self._decode()) as parts:
                if next(parts, None) is None:
                    raise ConfigError(f"{self.name} holds no sound at all")
        except (ConfigError, LinkError) as error:
            return Probe(False, str(error), "choose another file or address")
        return Probe(True, f"{self.name} has sound")

    def _chunk(self, samples: Samples, at: int, gap: int) -> AudioChunk:
        return AudioChunk(samples, self._start_ns + at * SAMPLE_NS, gap, self.name)

    def _open(self) -> Any:
        import av

        is_address = "://" in self._source
        if not is_address:
            path = Path(self._source)
            if not path.is_file():
                what = "is not a file" if path.exists() else "does not exist"
                raise ConfigError(f"{self._source} {what}; give a media file or an address")
            if path.stat().st_size == 0:
                raise ConfigError(f"{self.name} is empty; choose another file")
        try:
            container = av.open(self._source, timeout=TIMEOUT_S, metadata_errors="replace")
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if is_address:
                raise LinkError(f"{self._source} does not give any media ({error}); try again") from error
            raise ConfigError(f"{self.name} cannot be read as media ({error}); choose another file") from error
        if not container.streams.audio:
            container.close()
            raise ConfigError(f"{self.name} has no sound in it; choose a file with an audio track")
        return container

    def _decode(self) -> Generator[tuple[Samples, int], None, None]:
        """(samples at 16 kHz, gap before them), of any length."""
        self.damage, self.missing_samples = None, 0
        container = self._open()
        try:
            track = _Track(container, None if "://" in self._source else self._source)
            yield from track.parts()
        finally:
            container.close()
        self.damage, self.missing_samples = track.damage, track.missing_samples
        rest = min(track.missing_samples, MOST_MISSING_SAMPLES)
        if rest and track.at:
            yield np.zeros(0, np.float32), rest
        if track.broken_link:
            raise LinkError(f"{self._source} stopped in the middle ({track.damage}); try again")


class _Track:
    """The first audio track of an open container, decoded once."""

    def __init__(self, container: Any, path: str | None) -> None:
        self._container, self._path = container, path
        self._stream = container.streams.audio[0]
        self._resampler: av.AudioResampler | None = None
        self._form: tuple[Any, ...] = ()
        self._first: Fraction | None = None
        self.at = 0  # samples and gaps handed out
        self.damage: str | None = None
        self.missing_samples = 0
        self.broken_link = False

    def parts(self) -> Iterator[tuple[Samples, int]]:
        import av

        broken = 0
        packets = self._container.demux(self._stream)
        while broken < BROKEN_PACKETS:
            try:
                packet = next(packets, None)
                if packet is None:
                    break
                frames = packet.decode()
            except (av.error.EOFError, StopIteration):
                break
            except (av.error.ExitError, av.error.TimeoutError, ConnectionError) as error:
                self._hurt(f"the network stopped: {error}")
                self.broken_link = self._path is None
                break
            except (av.error.FFmpegError, ValueError, OSError) as error:
                self._hurt(f"damaged after {self.at / RATE_HZ:.1f} s: {error}")
                broken += 1
                continue
            try:
                for frame in frames:
                    yield from self._convert(frame)
                    broken = 0
            except (av.error.FFmpegError, ValueError) as error:  # a rate or layout that no sound has
                self._hurt(f"damaged after {self.at / RATE_HZ:.1f} s: {error}")
                self._resampler = None
                broken += 1
        yield from self._flush()
        promised = self._promised_samples()
        if promised - self.at > RATE_HZ // 2:
            self.missing_samples = promised - self.at
            self._hurt(f"cut off after {self.at / RATE_HZ:.1f} s of {promised / RATE_HZ:.1f} s")

    def _promised_samples(self) -> int:
        """What the header says; 0 when it does not. FFmpeg believes a WAV's size, not its header: so that is read."""
        if self._path is not None and self._container.format.name == "wav":
            with suppress(wave.Error, EOFError, OSError), wave.open(self._path, "rb") as file:
                if 0 < file.getnframes() * file.getnchannels() * file.getsampwidth() < 0x7FFF0000:  # else: unknown
                    return file.getnframes() * RATE_HZ // max(1, file.getframerate())
        length = self._stream.duration * self._stream.time_base if self._stream.duration else 0
        return int(length * RATE_HZ)

    def _hurt(self, what: str) -> None:
        self.damage = self.damage or what

    def _convert(self, frame: Any) -> Iterator[tuple[Samples, int]]:
        import av

        gap = 0
        if frame.pts is not None and frame.time_base:
            time = frame.pts * frame.time_base
            self._first = time if self._first is None else self._first
            hole = int((time - self._first) * RATE_HZ) - self.at
            if HOLE_SAMPLES < hole <= MAX_GAP_SAMPLES:  # a decoder may jump over damage without a word
                yield from self._flush()
                gap = max(0, int((time - self._first) * RATE_HZ) - self.at)
                self._hurt(f"damaged after {self.at / RATE_HZ:.1f} s: {gap / RATE_HZ:.1f} s are missing")
        form = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or form != self._form:
            yield from self._flush()
            self._form = form
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE_HZ)
        frame.pts = None  # the resampler would fill or drop to follow times; here they are followed by gaps
        for out in self._resampler.resample(frame):
            samples = _samples_of(out)
            if len(samples) or gap:
                self.at += gap + len(samples)
                yield samples, gap
            gap = 0

    def _flush(self) -> Iterator[tuple[Samples, int]]:
        resampler, self._resampler = self._resampler, None
        if resampler is None:
            return
        for out in resampler.resample(None):
            samples = _samples_of(out)
            self.at += len(samples)
            if len(samples):
                yield samples, 0


def _samples_of(frame: Any) -> Samples:
    samples: Samples = np.nan_to_num(frame.to_ndarray().reshape(-1), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


def write_wav(path: str | Path, samples: Samples, rate_hz: int = RATE_HZ) -> None:
    """samples: [T] float32 as 16-bit mono. Raises ConfigError when it cannot be written there."""
    whole = np.clip(np.nan_to_num(samples, posinf=1.0, neginf=-1.0), -1.0, 1.0)
    try:
        with open(path, "wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate_hz)
            file.writeframes(np.rint(whole * 32_767).astype("<i2").tobytes())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); choose another place") from error
