"""The voice that needs no weights: espeak-ng, in a process of its own.

The library comes with `pip install espeakng-loader` or is the system's libespeak-ng. It is GPL-3: this file only talks
to a separate process that loads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes.util
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from liveagent.audio import RATE_HZ
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports import espeak_child as wire
from liveagent.probe import Probe
from liveagent.resample import Resampler
from liveagent.voice import SpokenWord, VoicePiece, words_of

MAX_TEXT_CHARACTERS = 4_000
HANG_S = 10.0
_FIX = "pip install espeakng-loader, or install your system's espeak-ng"
_LOST, _STOPPED = -1, -2


def find_espeak() -> tuple[str, str]:
    """(library, data folder or "" for the library's own). Raises DeviceError when there is none."""
    spec = find_spec("espeakng_loader")  # looked at, not imported
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent
        for name in ("libespeak-ng.so", "libespeak-ng.dylib", "espeak-ng.dll"):
            if (folder / name).exists():
                return str(folder / name), str(folder / "espeak-ng-data")
    system = ctypes.util.find_library("espeak-ng")
    if system is None:
        raise DeviceError(f"there is no voice: espeak-ng was not found; {_FIX}")
    return system, ""


class WordClock:
    """Turns espeak's marks into SpokenWords, each when its end is known. Samples here are espeak's.

    espeak reports its own words (one for "p" and one for "m" in "p.m."; sometimes one for two of ours): its marks are
    laid on the words between white space. Words that came as one sound end together, where that sound ends.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._spans = words_of(text)
        self._next = 0  # the first word not handed out yet
        self._open: int | None = None  # the word sounding
        self._start = 0
        self._pause: int | None = None
        self._end = 0

    def feed(self, kind: int, character: int, sample: int) -> list[SpokenWord]:
        if kind == wire.PAUSE:
            self._pause = sample if self._pause is None else self._pause
        elif kind == wire.SOUND:
            self._pause = None
        elif kind == wire.WORD:
            word = next((i for i, (_, end) in enumerate(self._spans) if end > character), len(self._spans) - 1)
            if self._open is None or word > self._open:
                closed = self._close(word, sample)
                self._open, self._start, self._pause = max(word, self._next), sample, None
                return closed
            self._pause = None
        return []

    def flush(self, total_samples: int) -> list[SpokenWord]:
        """All words left, when the utterance has ended with so many samples."""
        return self._close(len(self._spans), total_samples)

    def _close(self, before: int, sample: int) -> list[SpokenWord]:
        end = max(self._end, sample if self._pause is None else min(sample, self._pause))
        start = self._start if self._open is not None else self._end
        spans = list(enumerate(self._spans))[self._next : before]
        sounding = [
            i
            for i, (a, b) in spans
            if i == self._open or (self._open is not None and any(c.isalnum() for c in self._text[a:b]))
        ]
        words = []
        for i, (a, b) in spans:
            later = len([j for j in sounding if j > i])
            if i in sounding:
                # Where one sound ends for several words is all that is known: the last samples are shared out, so that
                # marks do not overlap and none counts as heard much before the sound has ended.
                until = max(start, end - later)
                words.append(SpokenWord(a, b, start, until))
                start = until
            else:
                at = start if later else end
                words.append(SpokenWord(a, b, at, at))
        self._next, self._end = max(self._next, before), end
        return words


class _Child:
    """The far end of the pipe: writes jobs, and reads frames in a thread into each job's queue."""

    def __init__(self, arguments: list[str]) -> None:
        library, data = find_espeak()
        script = str(Path(wire.__file__))
        self.process = subprocess.Popen(
            # -I -S: nothing but the standard library, so it starts fast and no file beside it shadows a module.
            [sys.executable, "-I", "-S", script, library, data, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.rate_hz = 0
        self.refused: tuple[int, str] | None = None
        self.ready = threading.Event()
        self.dead = False
        self._jobs: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[tuple[int, bytes]]]] = {}
        self._last_job = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="espeak", daemon=True)
        self._thread.start()

    def send(self, kind: int, job: int, body: bytes = b"") -> None:
        with self._lock:
            try:
                cast(BinaryIO, self.process.stdin).write(wire.HEADER.pack(kind, job, len(body)) + body)
                cast(BinaryIO, self.process.stdin).flush()
            except (OSError, ValueError):  # gone, or closed: the reader tells everybody
                self.dead = True

    def start_job(self, text: bytes) -> tuple[int, asyncio.Queue[tuple[int, bytes]]]:
        inbox: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()  # bounded by MAX_TEXT_CHARACTERS of speech
        with self._lock:
            self._last_job += 1
            job = self._last_job
            self._jobs[job] = (asyncio.get_running_loop(), inbox)
        self.send(wire.SAY, job, text)
        if self.dead:
            inbox.put_nowait((_LOST, b""))
        return job, inbox

    def end_job(self, job: int, stop: bool) -> None:
        with self._lock:
            known = self._jobs.pop(job, None)
        if known and stop:
            self.send(wire.STOP, job)

    def close(self) -> None:
        with self._lock:
            self.dead = True
            with contextlib.suppress(OSError):
                cast(BinaryIO, self.process.stdin).close()  # the child leaves when its input ends
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._thread.join()
        cast(BinaryIO, self.process.stdout).close()

    def _read(self) -> None:
        outward = cast(BinaryIO, self.process.stdout)
        while len(header := outward.read(wire.HEADER.size)) == wire.HEADER.size:
            kind, job, length = wire.HEADER.unpack(header)
            body = outward.read(length)
            if kind == wire.READY:
                (self.rate_hz,) = struct.unpack("<I", body)
                self.ready.set()
            elif job == 0:
                self.refused = kind, body.decode()
            else:
                self._deliver(job, kind, body)
        self.dead = True
        self.ready.set()
        with self._lock:
            jobs = list(self._jobs)
        for job in jobs:
            self._deliver(job, _LOST, b"")

    def _deliver(self, job: int, kind: int, body: bytes) -> None:
        with self._lock:
            known = self._jobs.get(job)
        if known is None:
            return  # stopped: what still comes is nobody's
        loop, inbox = known
        try:
            loop.call_soon_threadsafe(inbox.put_nowait, (kind, body))
        except RuntimeError:  # that loop has ended, and its listener with it
            self.end_job(job, stop=True)


class EspeakVoice:
    """A `Voice`. voice: espeak's name of a language or variant; rate_wpm: words a minute; pitch: 0 to 99.

    The process starts at the first word (or at `open`) and again after it was killed: an utterance of which nothing
    had come yet is then said after all, one that had begun raises DeviceError.
    """

    def __init__(self, voice: str = "en-us", rate_wpm: int = 165, pitch: int = 50, rate_hz: int = RATE_HZ) -> None:
        if not 80 <= rate_wpm <= 450 or not 0 <= pitch <= 99:
            raise ConfigError("a voice speaks 80 to 450 words a minute at a pitch of 0 to 99")
        self._voice, self._rate_wpm, self._pitch, self._rate_hz = voice, rate_wpm, pitch, rate_hz
        self._child: _Child | None = None
        self._starting = threading.Lock()
        self._live: dict[int, list[asyncio.Queue[tuple[int, bytes]]]] = {}

    @property
    def name(self) -> str:
        return f"espeak-ng {self._voice}"

    @property
    def rate_hz(self) -> int:
        return self._rate_hz

    async def open(self) -> None:
        """Start the process now, so that the first word is not late. DeviceError; ConfigError for no such voice."""
        await asyncio.to_thread(self._start)

    def stop(self, utterance: int) -> None:
        for inbox in self._live.get(utterance, []):
            inbox.put_nowait((_STOPPED, b""))

    async def close(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await asyncio.to_thread(child.close)

    def probe(self) -> Probe:
        try:
            library, _ = find_espeak()
        except DeviceError as error:
            return Probe(False, str(error), _FIX)
        return Probe(True, f"{self.name} ({library})")

    async def say(self, text: str, utterance: int) -> AsyncGenerator[VoicePiece, None]:
        if len(text) > MAX_TEXT_CHARACTERS:
            raise ConfigError(f"an utterance of {len(text)} characters: say it in pieces of {MAX_TEXT_CHARACTERS}")
        if not words_of(text):
            yield VoicePiece(utterance, np.zeros(0, np.float32), final=True)
            return
        begun = False
        for attempt in (1, 2):
            pieces = self._say_once(text, utterance)
            try:
                async for piece in pieces:
                    begun = True
                    yield piece
                return
            except DeviceError:
                if begun or attempt == 2:
                    raise
            finally:
                await pieces.aclose()

    async def _say_once(self, text: str, utterance: int) -> AsyncGenerator[VoicePiece, None]:
        child = self._child
        if child is None or child.dead or not child.rate_hz:
            child = await asyncio.to_thread(self._start)
        # Same length, so that positions stay: control characters would be commands to espeak, and a zero its end.
        plain = "".join(c if c.isprintable() else " " for c in text)
        job, inbox = child.start_job(plain.encode("utf-8", "replace"))
        self._live.setdefault(utterance, []).append(inbox)
        clock, resampler = WordClock(text), Resampler(child.rate_hz, self._rate_hz)
        words: list[SpokenWord] = []
        running = True
        try:
            while True:
                try:
                    async with asyncio.timeout(HANG_S):
                        kind, body = await inbox.get()
                except TimeoutError:
                    child.process.kill()
                    raise DeviceError("the voice hung and was ended; it starts again with the next words") from None
                if kind == wire.MARKS:
                    for mark in wire.MARK.iter_unpack(body):
                        words += clock.feed(*mark)
                elif kind == wire.AUDIO:
                    samples = resampler.feed(np.frombuffer(body, "<i2").astype(np.float32) / np.float32(32_768))
                    yield VoicePiece(utterance, samples, self._place(words, child.rate_hz))
                    words = []
                elif kind == wire.END:
                    running = False
                    words += clock.flush(resampler.received_samples)
                    sent = resampler.sent_samples
                    rest = resampler.flush()
                    last = self._place(words, child.rate_hz, sent + len(rest))
                    yield VoicePiece(utterance, rest, last, final=True)
                    return
                elif kind == _STOPPED:
                    return
                else:
                    running = False
                    what = body.decode() if kind == wire.ERROR else "its process ended"
                    raise DeviceError(f"the voice failed: {what}; it starts again with the next words")
        finally:
            child.end_job(job, stop=running)
            self._live[utterance].remove(inbox)
            if not self._live[utterance]:
                del self._live[utterance]

    def _place(self, words: list[SpokenWord], from_hz: int, total_samples: int | None = None) -> tuple[SpokenWord, ...]:
        def at(sample: int) -> int:
            out = -(-sample * self._rate_hz // from_hz)
            return out if total_samples is None else min(out, total_samples)

        return tuple(SpokenWord(a, b, at(start), at(end)) for a, b, start, end in words)

    def _start(self) -> _Child:
        with self._starting:
            if self._child is not None and not self._child.dead:
                child = self._child
            else:
                if self._child is not None:
                    self._child.close()
                self._child = child = _Child([self._voice, str(self._rate_wpm), str(self._pitch)])
            if child.ready.wait(HANG_S) and child.rate_hz and not child.dead:
                return child
            self._child = None
        if not child.ready.is_set():
            child.process.kill()
        child.close()
        kind, message = child.refused or (wire.ERROR, "its process ended at once")
        if kind == wire.REFUSED:
            raise ConfigError(f"{message}; `espeak-ng --voices` lists what there is")
        raise DeviceError(f"the voice did not start: {message}; {_FIX}")
