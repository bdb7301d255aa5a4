"""`Backlog`: what a peer that comes back can be told again. Numbered messages, and speech that nobody has reported as
played. Bounded in bytes; the oldest goes first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

LOG_BYTES = 256 << 10
SPEECH_BYTES = 2 << 20
"""A minute of int16 at 16 kHz."""


@dataclass(slots=True)  # frozen ones take long to make, and there is one for every frame
class _Speech:
    utterance: int
    end: int  # the sample after its last
    frame: bytes


class Backlog:
    """`seq`: the number of the newest message."""

    def __init__(self) -> None:
        self.seq = 0
        self._lines: deque[tuple[int, str]] = deque()
        self._line_bytes = 0
        self._speech: deque[_Speech] = deque()
        self._speech_bytes = 0
        self._over = -1  # utterances up to this one have ended

    def number(self, body: str) -> str:
        """The next numbered message about `body`, an event or action as JSON."""
        self.seq += 1
        line = f'{{"seq":{self.seq},"e":{body}}}'
        self._lines.append((self.seq, line))
        self._line_bytes += len(line)
        while self._line_bytes > LOG_BYTES:
            self._line_bytes -= len(self._lines.popleft()[1])
        return line

    def after(self, seq: int) -> list[str] | None:
        """The messages after number `seq`, in order; None when they are not all here any more, or never were."""
        first = self._lines[0][0] if self._lines else self.seq + 1
        if not first - 1 <= seq <= self.seq:
            return None
        return [line for number, line in self._lines if number > seq]

    def keep(self, utterance: int, end: int, frame: bytes) -> bool:
        """Keep speech up to its sample `end` until it was played; False for an utterance that has ended."""
        if utterance <= self._over:
            return False
        self._speech.append(_Speech(utterance, end, frame))
        self._speech_bytes += len(frame)
        while self._speech_bytes > SPEECH_BYTES:
            self._speech_bytes -= len(self._speech.popleft().frame)
        return True

    def played(self, utterance: int, samples: int) -> None:
        """So much of an utterance has sounded: it is not told again."""
        self._drop(utterance, samples)

    def end(self, utterance: int) -> None:
        """Nothing more of it, nor of those before it, will sound."""
        self._over = max(self._over, utterance)
        self._drop(utterance, None)

    @property
    def speech(self) -> Iterator[bytes]:
        """What has not been played, in order."""
        return iter([each.frame for each in self._speech])

    def _drop(self, utterance: int, samples: int | None) -> None:
        kept = [s for s in self._speech if s.utterance != utterance or (samples is not None and s.end > samples)]
        self._speech = deque(kept)
        self._speech_bytes = sum(len(s.frame) for s in kept)
