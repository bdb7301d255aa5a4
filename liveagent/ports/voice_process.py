"""`ProcessVoice`: a voice whose library lives in a process of its own, and the near end of the pipe to it.

A library that keeps global state, or that may crash or hang, does so there; whatever it computes, it computes off the
event loop. What is said goes through the pipe and nowhere else: the process's standard error is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from typing import BinaryIO, Protocol, cast

import numpy as np

from liveagent.audio import RATE_HZ
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports import espeak_child as wire
from liveagent.probe import Probe
from liveagent.resample import Resampler
from liveagent.voice import SpokenWord, VoicePiece, words_of

MAX_TEXT_CHARACTERS = 4_000
_LOST, _STOPPED = -1, -2


class Clock(Protocol):
    """Turns a process's marks into the words of one text, each once and in order. Samples here are the process's."""

    def feed(self, kind: int, at: int, sample: int) -> list[SpokenWord]: ...

    def flush(self, total_samples: int) -> list[SpokenWord]:
        """All words left, when the utterance has ended with so many samples."""
        ...


class VoiceProcess:
    """The far end of the pipe: writes jobs, and reads frames in a thread into each job's queue."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.command = tuple(command)
        self.users = 0
        self.rate_hz = 0
        self.refused: tuple[int, str] | None = None
        self.ready = threading.Event()
        self.dead = False
        self._jobs: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Queue[tuple[int, bytes]]]] = {}
        self._last_job = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._read, name="voice", daemon=True)
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


_SHARED: dict[tuple[str, ...], VoiceProcess] = {}
"""Processes that several voices use at once: by their command."""
_SHARING = threading.Lock()


class ProcessVoice(ABC):
    """A `Voice`, all but what it is: `_command`, `_clock`, `name` and `probe` say that.

    The process starts at the first word (or at `open`) and again after it was killed: an utterance of which nothing
    had come yet is then said after all, one that had begun raises DeviceError.

    hang_s: how long the process may stay silent before it counts as hung. `fix`: what to do when it does not start;
    `hint`: when it refuses a name. shared: voices with the same command use one process, so that large weights are in
    memory once; the last one closes it.
    """

    fix = ""
    hint = ""
    shared = False

    def __init__(self, rate_hz: int = RATE_HZ, hang_s: float = 10.0) -> None:
        self._rate_hz, self.hang_s = rate_hz, hang_s
        self._child: VoiceProcess | None = None
        self._starting = threading.Lock()
        self._live: dict[int, list[asyncio.Queue[tuple[int, bytes]]]] = {}

    @abstractmethod
    def _command(self) -> list[str]:
        """How to start the process. DeviceError or ConfigError where that cannot be."""

    @abstractmethod
    def _clock(self, text: str) -> Clock:
        """What becomes of a text's words and sound."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @abstractmethod
    def probe(self) -> Probe: ...

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
            await asyncio.to_thread(self._leave, child)

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
        # Same length and same words, so that positions stay: control characters would be commands to espeak, and a
        # zero its end.
        plain = "".join(c if c.isprintable() else " " if c.isspace() else "-" for c in text)
        job, inbox = child.start_job(plain.encode("utf-8", "replace"))
        self._live.setdefault(utterance, []).append(inbox)
        clock, resampler = self._clock(text), Resampler(child.rate_hz, self._rate_hz)
        words: list[SpokenWord] = []
        running = True
        try:
            while True:
                try:
                    async with asyncio.timeout(self.hang_s):
                        kind, body = await inbox.get()
                except TimeoutError:
                    child.process.kill()
                    raise DeviceError("the voice hung and was ended; it starts again with the next words") from None
                if kind == wire.MARKS:
                    for mark in wire.MARK.iter_unpack(body):
                        words += clock.feed(*mark)
                elif kind == wire.AUDIO:
                    samples = resampler.feed(np.frombuffer(body, "<i2").astype(np.float32) / np.float32(32_768))
                    # A resampler rings: what was as loud as can be becomes a little louder.
                    yield VoicePiece(utterance, np.clip(samples, -1, 1), self._place(words, child.rate_hz))
                    words = []
                elif kind == wire.END:
                    running = False
                    words += clock.flush(resampler.received_samples)
                    sent = resampler.sent_samples
                    rest = np.clip(resampler.flush(), -1, 1)
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

    # --- the process

    def _start(self) -> VoiceProcess:
        with self._starting:
            if self._child is not None and self._child.dead:
                self._leave(self._child)
                self._child = None
            if self._child is None:
                self._child = self._join()
            child = self._child
            if child.ready.wait(self.hang_s) and child.rate_hz and not child.dead:
                return child
            self._child = None
        if not child.ready.is_set():
            child.process.kill()
        self._leave(child)
        kind, message = child.refused or (wire.ERROR, "its process ended at once")
        if kind == wire.REFUSED:
            raise ConfigError(f"{message}; {self.hint}" if self.hint else message)
        raise DeviceError(f"the voice did not start: {message}; {self.fix}" if self.fix else message)

    def _join(self) -> VoiceProcess:
        command = self._command()
        if not self.shared:
            return VoiceProcess(command)
        with _SHARING:
            child = _SHARED.get(tuple(command))
            if child is None or child.dead:
                child = _SHARED[tuple(command)] = VoiceProcess(command)
            child.users += 1
            return child

    def _leave(self, child: VoiceProcess) -> None:
        if self.shared:
            with _SHARING:
                child.users -= 1
                if child.users:
                    return
                if _SHARED.get(child.command) is child:
                    del _SHARED[child.command]
        child.close()
