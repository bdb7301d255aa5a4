"""The child in which a pretrained ear lives, for all sessions of a server. Started by `EarProcess`, which holds the
other end of its socket.

One thread, one utterance at a time: who has ended first, then who has waited longest. What arrives meanwhile is read
between two tokens, and a look that nobody waits for gives way to one that somebody does.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from liveagent.audio import Samples
from liveagent.errors import LiveAgentError
from liveagent.journal import to_float
from liveagent.runtime.boundary import EarLoaded, Message, Unpacker, pack, portable_error
from liveagent.runtime.hearer import Hearer, read_ear

READ_BYTES = 1 << 20
WAIT_MS = 40
MOST_TAKES = 3
"""Of one session: those that have ended and one that is open. An older one is too late for anybody."""
NICE = 5
"""The engine goes first: a late word costs less than a late tick."""

Key = tuple[int, int]
"""Which session, and when the utterance began."""


class EarChild:
    """Serves one ear over one socket. `begin` makes an utterance."""

    def __init__(self, link: socket.socket, begin: Callable[[], Hearer]) -> None:
        self._link, self._begin = link, begin
        self._unpacker = Unpacker()
        self._takes: dict[Key, Hearer] = {}
        self._told: dict[Key, tuple[tuple[str, ...], int]] = {}  # of each, what was said last
        self._gone = False

    def run(self) -> None:
        """Until the parent ends it or is gone."""
        while not self._gone:
            now_s = time.monotonic()
            due = [key for key, take in self._takes.items() if take.overfull or take.done or take.due(now_s)]
            if not due:
                self._read(WAIT_MS if self._takes else None)
                continue
            self._read(0)
            due = [key for key in due if key in self._takes]
            if due:
                self._attend(min(due, key=self._rank))

    def _rank(self, key: Key) -> tuple[bool, bool, float]:
        take = self._takes[key]
        return not take.done, not take.urgent, take.looked_s

    def _attend(self, key: Key) -> None:
        take = self._takes[key]
        if take.overfull:
            self._fail(key, "speech comes faster than this ear hears it here; take a smaller one")
            return

        def go_on() -> bool:
            self._read(0)
            waits = any(each.urgent for other, each in self._takes.items() if other != key)
            return not (self._gone or key not in self._takes or (waits and not take.urgent))

        if not take.done:
            try:
                heard = take.hear(go_on)
            except LiveAgentError as error:
                self._fail(key, str(error))
                return
            except (RuntimeError, MemoryError) as error:  # torch's, out of memory among them
                self._fail(key, f"the ear failed: {type(error).__name__}; a smaller one may not")
                return
            if not heard or key not in self._takes:
                return
        said, final = take.said, take.done
        if final:
            self._drop(key)
        elif self._told.get(key) == (said.words, said.stands):
            return
        else:
            self._told[key] = said.words, said.stands
        self._send(("heard", *key, said.words, len(said.words) if final else said.stands, final, said.confidence))

    # --- the parent

    def _read(self, wait_ms: int | None) -> None:
        """What has come; None waits for it."""
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        while not self._gone and poll.poll(wait_ms):
            wait_ms = 0
            data = self._link.recv(READ_BYTES)
            self._gone = not data
            for message in self._unpacker.feed(data):
                self._take(message)

    def _take(self, message: Message) -> None:
        kind, *rest = message
        if kind == "end_all":
            self._gone = True
        elif kind == "ping":
            self._send(("pong", rest[0]))
        elif kind == "begin":
            session, begun_ns, pcm = rest
            self._make_room(session)
            take = self._takes[session, begun_ns] = self._begin()
            take.add(_sound(pcm), False)
        elif (found := self._takes.get((rest[0], rest[1]))) is None:
            return
        elif kind == "more":
            found.add(_sound(rest[2]), rest[3])
        elif kind == "end":
            found.ended = True
        elif kind == "cancel":
            self._drop((rest[0], rest[1]))

    def _make_room(self, session: int) -> None:
        mine = [key for key in self._takes if key[0] == session]
        for key in mine[: max(0, len(mine) + 1 - MOST_TAKES)]:
            self._fail(key, "this ear is too slow here; take a smaller one")

    def _fail(self, key: Key, why: str) -> None:
        self._drop(key)
        self._send(("failed", *key, why))

    def _drop(self, key: Key) -> None:
        self._takes.pop(key, None)
        self._told.pop(key, None)

    def _send(self, message: Message) -> None:
        self._link.sendall(pack(message))


def _sound(pcm: bytes) -> Samples:
    return to_float(np.frombuffer(pcm, "<i2"))


def main(arguments: list[str]) -> int:
    """`FD FOLDER DEVICE LANGUAGE OTHERWISE`; the last two may be empty."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with contextlib.suppress(OSError):  # where memory runs out, this process goes before the engine
        Path("/proc/self/oom_score_adj").write_text("800")
    with contextlib.suppress(OSError):
        os.nice(NICE)
    fd, folder, device, language, otherwise = arguments
    link = socket.socket(fileno=int(fd))
    try:
        began_s = time.monotonic()
        ear = read_ear(folder, device, language or None, otherwise or None)
        load_s = time.monotonic() - began_s - ear.look_s
        link.sendall(pack(("loaded", EarLoaded(ear.name, load_s, ear.look_s, ear.block_ms))))
    except LiveAgentError as error:
        link.sendall(pack(("refused", portable_error(error))))
        return 2
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone
        EarChild(link, ear.begin).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
