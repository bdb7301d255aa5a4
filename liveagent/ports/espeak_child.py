"""The process in which espeak-ng lives, because its state is global and a crash in it must stay there.

Run by EspeakVoice as `python -I -S espeak_child.py LIBRARY DATA VOICE RATE_WPM PITCH`; needs the standard library only.
Frames both ways: kind u8, job u32, length u32 (little-endian), then so many bytes.

    in   SAY   utf-8 text           STOP  -
    out  READY rate u32             AUDIO int16 samples      MARKS (kind i32, character i32, sample i32)*
         END   stopped u8           ERROR utf-8 message     REFUSED utf-8 message (no such voice)

MARKS carry WORD (a word begins: its first character, from 0) and SOUND / PAUSE (a phoneme, or a pause, begins).
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import struct
import sys
import threading
from typing import Any, BinaryIO

HEADER = struct.Struct("<BII")
MARK = struct.Struct("<iii")
SAY, STOP = 1, 2
READY, AUDIO, MARKS, END, ERROR, REFUSED = 16, 17, 18, 19, 20, 21
WORD, SOUND, PAUSE = 1, 2, 3
CHUNK_MS = 60

# From espeak-ng's speak_lib.h (the interface, version 12).
_OUTPUT_SYNCHRONOUS = 2
_OPTION_PHONEME_EVENTS, _OPTION_DONT_EXIT = 0x0001, 0x8000
_EVENT_WORD, _EVENT_PHONEME = 1, 7
_CHARS_UTF8, _END_PAUSE = 1, 0x1000
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3


class _Id(ctypes.Union):
    _fields_ = [("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    ]


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Event))


class EspeakChild:
    """Reads jobs from `inward` in a thread, so that STOP is seen while espeak speaks; speaks in the main thread."""

    def __init__(self, inward: BinaryIO, outward: BinaryIO) -> None:
        self._inward, self._outward = inward, outward
        self._jobs: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._stopped: set[int] = set()
        self._lock = threading.Lock()
        self._job = 0

    def send(self, kind: int, body: bytes = b"") -> None:
        self._outward.write(HEADER.pack(kind, self._job, len(body)) + body)
        self._outward.flush()

    def read_jobs(self) -> None:
        while True:
            header = self._inward.read(HEADER.size)
            if len(header) < HEADER.size:
                os._exit(0)  # the parent is gone; espeak may be anywhere, so no tidy way out
            kind, job, length = HEADER.unpack(header)
            body = self._inward.read(length)
            if kind == SAY:
                self._jobs.put((job, body))
            elif kind == STOP:
                with self._lock:
                    self._stopped.add(job)

    def is_stopped(self) -> bool:
        with self._lock:
            return self._job in self._stopped

    def hear(self, samples: int | None, count: int, events: Any) -> int:
        """espeak's callback; returning 1 aborts."""
        if self.is_stopped():
            return 1
        marks = b""
        at = 0
        while events[at].type:
            event = events[at]
            if event.type == _EVENT_WORD:
                marks += MARK.pack(WORD, event.text_position - 1, event.sample)
            elif event.type == _EVENT_PHONEME:
                # Names of pauses begin with "_"; the string is 8 bytes and need not end in a zero.
                kind = PAUSE if bytes(event.id.string)[:1] in (b"_", b"") else SOUND
                marks += MARK.pack(kind, -1, event.sample)
            at += 1
        try:
            if marks:
                self.send(MARKS, marks)
            if samples and count:
                self.send(AUDIO, ctypes.string_at(samples, 2 * count))
        except OSError:
            os._exit(0)  # nobody listens; an exception would be lost in espeak's C frames
        return 0

    def run(self, library: str, data: str, voice: str, rate_wpm: int, pitch: int) -> None:
        lib = ctypes.CDLL(library)
        lib.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        lib.espeak_Synth.argtypes = [
            ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        rate_hz = lib.espeak_Initialize(
            _OUTPUT_SYNCHRONOUS, CHUNK_MS, os.fsencode(data) or None, _OPTION_PHONEME_EVENTS | _OPTION_DONT_EXIT
        )
        if rate_hz <= 0:
            raise RuntimeError("espeak-ng did not start: its data is missing")
        if lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise LookupError(f"espeak-ng has no voice {voice!r}")
        lib.espeak_SetParameter(_PARAMETER_RATE, rate_wpm, 0)
        lib.espeak_SetParameter(_PARAMETER_PITCH, pitch, 0)
        callback = _Callback(self.hear)
        lib.espeak_SetSynthCallback(callback)
        self.send(READY, struct.pack("<I", rate_hz))
        threading.Thread(target=self.read_jobs, daemon=True).start()
        while (task := self._jobs.get()) is not None:
            self._job, text = task
            if not self.is_stopped():
                status = lib.espeak_Synth(text + b"\0", len(text) + 1, 0, 1, 0, _CHARS_UTF8 | _END_PAUSE, None, None)
                if status != 0:
                    self.send(ERROR, f"espeak-ng answered {status}".encode())
                    continue
            self.send(END, b"\1" if self.is_stopped() else b"\0")
            with self._lock:
                self._stopped = {job for job in self._stopped if job > self._job}  # a STOP may come after its END


def main(arguments: list[str]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    # espeak and its parts may print; the frames keep the real stdout to themselves.
    outward = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    child = EspeakChild(sys.stdin.buffer, outward)
    try:
        library, data, voice, rate_wpm, pitch = arguments
        child.run(library, data, voice, int(rate_wpm), int(pitch))
    except BrokenPipeError:
        return 0
    except LookupError as error:
        child.send(REFUSED, str(error).encode())
        return 1
    except Exception as error:
        child.send(ERROR, str(error).encode())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
