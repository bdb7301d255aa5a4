"""The far end of a voice that is a network: sentence by sentence, several utterances in turn, stopped within one.

Frames as espeak's process has them (see espeak_child.py); a mark is (a word's number in the text, its first sample, its
end). Whoever imports this is run as a process by `ProcessVoice`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import RawIOBase
from typing import BinaryIO, Protocol

import numpy as np

from liveagent.audio import Samples
from liveagent.errors import ConfigError, DeviceError, LiveAgentError
from liveagent.ports import espeak_child as wire
from liveagent.ports.heap import give_back
from liveagent.sentence import sentences_of
from liveagent.voice import words_of

MOST_SENTENCE_CHARACTERS = 300
"""A network's memory grows with what it says at once, and nobody waits longer for the first sound."""
MOST_SENTENCE_S = 90
MOST_SENTENCES = 20_000
"""Some 15 hours of speech, after which the process ends when it has nothing to say, and is started anew for the next
word: piper's phonemiser loses about 4 kB with each sentence."""
FRAME_S = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A sentence as sound. samples: [T] float32; spans: where each of its words is, first sample and end."""

    samples: Samples
    spans: Sequence[tuple[int, int]]


class Synthesiser(Protocol):
    """Makes sound of sentences, one at a time, in one thread; `stop` comes from another."""

    rate_hz: int

    def begin(self) -> None:
        """Forget a `stop` that came before."""
        ...

    def speak(self, sentence: str) -> Sound:
        """Raises anything at all when it was stopped."""
        ...

    def stop(self) -> None:
        """Abort `speak` where it is."""
        ...


@dataclass(slots=True)
class _Job:
    number: int
    text: str
    sentences: list[tuple[int, int]] = field(default_factory=list)
    said: int = 0
    samples: int = 0
    words: int = 0


class SentenceChild:
    """Reads jobs from `inward` in a thread; says a sentence of each in turn, in the thread that calls `run`."""

    def __init__(self, synthesiser: Synthesiser, inward: RawIOBase | BinaryIO, outward: BinaryIO) -> None:
        self._synthesiser, self._inward, self._outward = synthesiser, inward, outward
        self._jobs: deque[_Job] = deque()
        self._speaking: _Job | None = None
        self._stopped = False  # the one that is speaking
        self._closed = False
        self._left = MOST_SENTENCES
        self._changed = threading.Condition()

    def run(self) -> None:
        """Until the parent is gone."""
        _send(self._outward, wire.READY, 0, struct.pack("<I", self._synthesiser.rate_hz))
        threading.Thread(target=self._read_jobs, daemon=True).start()
        while (job := self._next()) is not None:
            self._speak(job)

    def _read_jobs(self) -> None:
        while len(header := _read(self._inward, wire.HEADER.size)) == wire.HEADER.size:
            kind, number, length = wire.HEADER.unpack(header)
            body = _read(self._inward, length)
            with self._changed:
                if kind == wire.SAY:
                    text = body.decode()
                    self._jobs.append(_Job(number, text, sentences_of(text, MOST_SENTENCE_CHARACTERS)))
                elif self._speaking is not None and self._speaking.number == number:
                    self._stopped = True
                    self._synthesiser.stop()
                else:
                    self._jobs = deque(job for job in self._jobs if job.number != number)
                self._changed.notify()
        with self._changed:
            self._closed = self._stopped = True
            self._synthesiser.stop()
            self._changed.notify()

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed or self._left <= 0)
            if self._closed or not self._jobs:
                return None
            self._left -= 1
            self._synthesiser.begin()
            self._stopped = False
            self._speaking = job = self._jobs.popleft()
            waiting = [each.number for each in self._jobs]
        for number in waiting:
            _send(self._outward, wire.MARKS, number)  # nothing yet: so that nobody takes the wait for a hang
        return job

    def _speak(self, job: _Job) -> None:
        """The job's next sentence."""
        start, end = job.sentences[job.said] if job.sentences else (0, 0)
        sentence = job.text[start:end]
        try:
            sound = checked(self._synthesiser.speak(sentence), len(words_of(sentence)), self._synthesiser.rate_hz)
            self._send_sound(job, sound)
        except BrokenPipeError:
            raise
        except Exception as error:
            # A library's own message may hold the words, and this one may reach a log.
            said = str(error) if isinstance(error, LiveAgentError) else type(error).__name__
            kind, body = (wire.END, b"\1") if self._stopped else (wire.ERROR, said.encode())
            _send(self._outward, kind, job.number, body)
            job.sentences = []
        with self._changed:
            self._speaking = None
            job.said += 1
            if self._stopped or not job.sentences:
                return
            if job.said < len(job.sentences):
                self._jobs.append(job)
                return
        _send(self._outward, wire.END, job.number, b"\0")

    def _send_sound(self, job: _Job, sound: Sound) -> None:
        marks = b"".join(
            wire.MARK.pack(job.words + at, job.samples + start, job.samples + end)
            for at, (start, end) in enumerate(sound.spans)
        )
        # First the marks: a sample that is played before its word is known would count for nobody.
        _send(self._outward, wire.MARKS, job.number, marks)
        frame = int(FRAME_S * self._synthesiser.rate_hz)
        whole = np.round(sound.samples * np.float32(32_767)).astype("<i2")
        for at in range(0, len(whole), frame):
            if self._stopped:
                return
            _send(self._outward, wire.AUDIO, job.number, whole[at : at + frame].tobytes())
        job.samples += len(whole)
        job.words += len(sound.spans)


def checked(sound: Sound, words: int, rate_hz: int) -> Sound:
    """The sound, cut to [-1, 1]. Raises DeviceError for what no sentence sounds like."""
    if len(sound.spans) != words:
        raise DeviceError(f"{len(sound.spans)} of {words} words were placed")
    if len(sound.samples) > MOST_SENTENCE_S * rate_hz:
        raise DeviceError(f"a sentence became {len(sound.samples) / rate_hz:.0f} s of sound: the voice file is damaged")
    if not np.isfinite(sound.samples).all():
        raise DeviceError("what it says is no sound: the voice file is damaged")
    most = len(sound.samples)
    return Sound(np.clip(sound.samples, -1, 1), [(min(start, most), min(end, most)) for start, end in sound.spans])


def _read(inward: RawIOBase | BinaryIO, size: int) -> bytes:
    """So many bytes, fewer at the end."""
    got = b""
    while len(got) < size and (more := inward.read(size - len(got))):
        got += more
    return got


def _send(outward: BinaryIO, kind: int, job: int, body: bytes = b"") -> None:
    outward.write(wire.HEADER.pack(kind, job, len(body)) + body)
    outward.flush()


def serve(make: Callable[[], Synthesiser]) -> int:
    """A process's whole life. `make` loads the voice: ConfigError refuses a name, another error says what is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    logging.disable(logging.CRITICAL)  # both libraries would log what is said
    # Libraries may print; the frames keep the real stdout to themselves.
    outward = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        synthesiser = make()
        synthesiser.begin()
        checked(synthesiser.speak("One."), 1, synthesiser.rate_hz)  # so that what cannot speak says so before it has to
        give_back()  # what reading the file took
    except ConfigError as error:
        _send(outward, wire.REFUSED, 0, str(error).encode())
        return 1
    except Exception as error:
        said = str(error) if isinstance(error, LiveAgentError) else f"{type(error).__name__}: {error}"
        _send(outward, wire.ERROR, 0, " ".join(said.split())[:300].encode())
        return 1
    # Unbuffered: a process may leave while its reader waits, and a buffer's lock would then be held for good.
    with contextlib.suppress(BrokenPipeError), open(0, "rb", buffering=0, closefd=False) as inward:
        SentenceChild(synthesiser, inward, outward).run()
    return 0
