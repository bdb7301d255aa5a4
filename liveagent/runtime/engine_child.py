"""The child in which the weights live: `Core` behind a socket. Started by `EngineProcess`, which holds the other end.

One thread: what has arrived is submitted, the core does a round, and what it finishes goes back at once, so that one
session goes on while the round still computes for others. A ping is answered between rounds, so a pong says that the
core is alive and not only that the process is. It ends when the parent says so or is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from liveagent.errors import LiveAgentError
from liveagent.runtime.boundary import Busy, Loaded, Message, Unpacker, pack, portable_error
from liveagent.runtime.work import Reply

if TYPE_CHECKING:
    from liveagent.runtime.core import Core

READ_BYTES = 1 << 20


class EngineChild:
    """Serves one `Core` over one socket. All lanes are open from the start: who may use which, the parent decides."""

    def __init__(self, link: socket.socket, core: Core) -> None:
        self._link, self._core = link, core
        self._unpacker = Unpacker()
        self._busy_s, self._since = 0.0, time.monotonic()
        self._rounds = 0
        for _ in range(core.lanes):
            core.open()

    def run(self) -> None:
        """Until the parent ends it or is gone."""
        working = False
        while True:
            try:
                data = self._link.recv(READ_BYTES, socket.MSG_DONTWAIT if working else 0)
            except BlockingIOError:
                data = None
            if data == b"":
                return
            for message in self._unpacker.feed(data) if data else ():
                if message[0] == "end":
                    return
                self._take(message)
            began = time.monotonic()
            working = self._core.step()
            self._busy_s += time.monotonic() - began
            self._rounds += working

    def _take(self, message: Message) -> None:
        kind = message[0]
        if kind == "work":
            _, number, lane, work = message

            def done(reply: Reply | BaseException) -> None:
                answer = portable_error(reply) if isinstance(reply, BaseException) else reply
                self._link.sendall(pack(("done", number, answer)))

            self._core.submit(lane, work, done)
        elif kind == "release":
            self._core.close(message[1])
            self._core.open()  # the only one that is free: the same again
        elif kind == "ping":
            now = time.monotonic()
            share = self._busy_s / max(1e-6, now - self._since)
            self._busy_s, self._since = 0.0, now
            self._link.sendall(pack(("pong", message[1], Busy(min(1.0, share), self._rounds, _rss_bytes()))))


def _rss_bytes() -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def main(arguments: list[str]) -> int:
    """`FD WEIGHTS DEVICE LANES SLOTS DTYPE QUANTIZE`; WEIGHTS empty: the shipped ones."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with contextlib.suppress(OSError):  # where memory runs out, this process goes and not the one with the sockets
        Path("/proc/self/oom_score_adj").write_text("500")
    fd, weights, device, lanes, slots, dtype, quantize = arguments
    link = socket.socket(fileno=int(fd))
    try:
        began = time.monotonic()
        from liveagent.runtime.core import Core
        from liveagent.runtime.open_model import folder_of, load_nets

        folder = folder_of(weights or None)
        model = load_nets(folder, device, dtype or None, quantize or None)
        child = EngineChild(link, Core(model, int(lanes), int(slots)))
        size = sum(each.stat().st_size for each in folder.iterdir() if each.is_file())
        loaded = Loaded(model.fingerprint, size, time.monotonic() - began, str(model.device), model.sees)
        link.sendall(pack(("loaded", loaded)))
    except LiveAgentError as error:
        link.sendall(pack(("refused", portable_error(error))))
        return 2
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the parent is gone
        child.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
