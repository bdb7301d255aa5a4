"""`EarProcess`: a pretrained ear in a process of its own, one for all sessions, never on anybody's loop or tick.

`start`, `wait` until it has loaded, then an `EarLine` for each session: what the session wants heard goes in, and
`EarHeard` and `EarFailed` come out. A child that dies is started again; what it was hearing has failed then, and the
session goes on with its other ears.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import queue
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from liveagent.agent import Agent
from liveagent.errors import ConfigError, DeviceError, LiveAgentError
from liveagent.event import EarFailed, EarHeard
from liveagent.journal import to_int16
from liveagent.runtime.boundary import EarLoaded, Message, pack
from liveagent.runtime.dictation import Hark
from liveagent.runtime.linked_child import attend, begin, bury

PING_S = 2.0
FROZEN_S = 60.0
"""Between two tokens it answers; a look at a whole clip may take this long before the first."""
LOAD_S = 600.0
CLOSE_S = 5.0
MOST_RESTARTS = 3
RESTARTS_S = 120.0
MOST_WAITING_BYTES = 8 << 20
"""Of sound that the child does not take: four minutes."""
SETTLE_S = 120.0

_log = logging.getLogger("liveagent.ear")


def find_ear(agent: Agent) -> EarProcess | None:
    """The agent's pretrained ear, not started yet; None where it has none. One that has a hub's name is fetched, which
    may take long. Raises as `hub.fetch` does."""
    if agent.ear is None:
        return None
    from liveagent.ports.hub import fetch

    otherwise = "en" if agent.model == "nano" else None  # whose commands are English, whoever says them
    return EarProcess(fetch(agent.ear), agent.device, agent.language, otherwise)


class EarProcess:
    """`folder`: a checkpoint's; `device` is torch's name of where it runs. `language`: what it is to write in;
    `otherwise`: the same, where neither that nor the checkpoint says so and it knows several."""

    def __init__(
        self, folder: str | Path, device: str = "cpu", language: str | None = None, otherwise: str | None = None
    ) -> None:
        self.folder, self.restarts = Path(folder), 0
        self._arguments = (str(folder), device, language or "", otherwise or "")
        self._lock = threading.Lock()
        self._lines: dict[int, EarLine] = {}
        self._numbers = itertools.count(1)
        self._queue: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._waiting_bytes = 0
        self._generation = 0
        self._up = self._closed = False
        self._settled = threading.Event()
        self._loaded: EarLoaded | None = None
        self._why: LiveAgentError = ConfigError("the ear was not started")
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._threads = [
            threading.Thread(target=self._live, name="liveagent-ear", daemon=True),
            threading.Thread(target=self._write, name="liveagent-ear-out", daemon=True),
        ]

    @property
    def pid(self) -> int | None:
        """The child's; None while there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @property
    def up(self) -> bool:
        return self._up

    def start(self) -> None:
        """Start the child; returns at once. ConfigError for a folder that is none."""
        if not self.folder.is_dir():
            raise ConfigError(f"there is no folder {self.folder}: give a pretrained ear's, with its config.json")
        for thread in self._threads:
            thread.start()

    def wait(self, timeout_s: float = LOAD_S) -> EarLoaded:
        """Block until it has loaded. Raises what is wrong with it; DeviceError when nothing comes of it."""
        if not self._settled.wait(timeout_s):
            raise DeviceError(f"the ear has not loaded within {timeout_s:.0f} s; take a smaller one")
        if self._loaded is None:
            raise self._why
        return self._loaded

    def open(self, put: Callable[[EarHeard | EarFailed], None], now_ns: Callable[[], int]) -> EarLine:
        """A session's line, on the loop that runs; `put` is called on it."""
        line = EarLine(self, next(self._numbers), put, now_ns)
        with self._lock:
            self._lines[line.number] = line
        return line

    def close(self) -> None:
        """End the child. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed, self._up, self._why = True, False, ConfigError("the ear is closed")
        self._settled.set()
        child = self._child
        if child is not None:
            child.terminate()  # it keeps nothing
        self._queue.put(None)
        for thread in self._threads:
            if thread.ident is not None and thread is not threading.current_thread():
                thread.join(CLOSE_S)

    # --- of its lines

    def send(self, message: Message) -> bool:
        """False where nobody takes it."""
        packed = pack(message)
        with self._lock:
            if not self._up or self._waiting_bytes + len(packed) > MOST_WAITING_BYTES:
                return False
            self._waiting_bytes += len(packed)
            self._queue.put((self._generation, packed))
        return True

    def leave(self, number: int) -> None:
        with self._lock:
            self._lines.pop(number, None)

    # --- the supervisor's thread

    def _live(self) -> None:
        starts: deque[float] = deque(maxlen=MOST_RESTARTS)
        while True:
            try:
                refused = self._serve()
            except OSError as error:  # no process, no socket
                refused = DeviceError(f"the ear's process cannot be started ({error.strerror})")
            ended = self._bury()
            now_s = time.monotonic()
            often = len(starts) == MOST_RESTARTS and now_s - starts[0] < RESTARTS_S
            with self._lock:
                self._up = False
                self._generation += 1
                closed, lines = self._closed, list(self._lines.values())
                again = not closed and refused is None and not often and self._loaded is not None
                if not closed:
                    said = f"the ear's process {ended}; it {'is started again' if again else 'stays down'}"
                    self._why = refused or DeviceError(said)
            why = str(self._why)
            for line in lines:
                line.lost(why)
            if closed or not again:
                if not closed:
                    _log.error("%s", why)
                self._settled.set()
                return
            _log.warning("%s", why)
            starts.append(now_s)
            self.restarts += 1

    def _serve(self) -> LiveAgentError | None:
        """One child, from start to end. Returns why it refused to serve, if it did."""
        with self._lock:
            if self._closed:
                return None
            threads = max(1, (os.cpu_count() or 1) // 2)
            child, link = begin("liveagent.runtime.ear_child", self._arguments, threads)
            self._child, self._link = child, link
        return attend(
            child, link, self._take, self._ping, PING_S, lambda: self._up,
            lambda: self._frozen_s if self._up else LOAD_S, _log,
        )  # fmt: skip

    def _ping(self, number: int) -> None:
        self.send(("ping", number))

    @property
    def _frozen_s(self) -> float:
        return max(FROZEN_S, 5 * self._loaded.look_s) if self._loaded is not None else FROZEN_S

    def _take(self, message: Message, now_s: float) -> None:
        kind, *rest = message
        if kind == "loaded":
            with self._lock:
                self._loaded, self._up = rest[0], not self._closed
            self._settled.set()
        elif kind in ("heard", "failed"):
            with self._lock:
                line = self._lines.get(rest[0])
            if line is not None:
                line.take(kind, *rest[1:])

    def _bury(self) -> str:
        """Reap the child; how it ended, in words."""
        child, link = self._child, self._link
        self._link = None
        return bury(child, link, CLOSE_S)

    # --- the writer's thread

    def _write(self) -> None:
        while (item := self._queue.get()) is not None:
            generation, packed = item
            link = self._link
            if link is not None and generation == self._generation:
                with contextlib.suppress(OSError):  # the supervisor sees it too
                    link.sendall(packed)
            with self._lock:
                self._waiting_bytes -= len(packed)


class EarLine:
    """One session's. On its loop alone, but for `take` and `lost`, which the ear's thread calls."""

    def __init__(
        self,
        process: EarProcess,
        number: int,
        put: Callable[[EarHeard | EarFailed], None],
        now_ns: Callable[[], int],
    ) -> None:
        self.number = number
        self._process, self._put, self._now_ns = process, put, now_ns
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, bool] = {}  # utterances whose last words are to come; whether they have ended
        self._news = asyncio.Event()

    def obey(self, hark: Hark) -> None:
        """What the session wants heard. An ear that is not there, or takes nothing any more, has failed at once."""
        name, begun_ns = self.number, hark.begun_ns
        if hark.what == "begin":
            self._open[begun_ns] = False
        elif begun_ns not in self._open:
            return
        pcm = b"" if hark.samples is None else to_int16(hark.samples).tobytes()
        messages: dict[str, Message] = {
            "begin": ("begin", name, begun_ns, pcm),
            "more": ("more", name, begun_ns, pcm, hark.quiet),
            "end": ("end", name, begun_ns),
            "cancel": ("cancel", name, begun_ns),
        }
        taken = self._process.send(messages[hark.what])
        if hark.what == "cancel":
            del self._open[begun_ns]
        elif not taken:
            self._process.send(("cancel", name, begun_ns))
            self._failed(begun_ns, "the pretrained ear is not there, or hears too slowly; it is not waited for")
        elif hark.what == "end":
            self._open[begun_ns] = True

    async def settle(self, most_s: float = SETTLE_S) -> None:
        """Wait until the last words of everything that has ended have come: for sound that is heard faster than it was
        said."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                while any(self._open.values()):
                    self._news.clear()
                    await self._news.wait()

    def close(self) -> None:
        self._process.leave(self.number)
        for begun_ns in list(self._open):
            self.obey(Hark(begun_ns, "cancel"))

    # --- from the ear's thread

    def take(self, kind: str, begun_ns: int, *rest: object) -> None:
        self._call(self._heard if kind == "heard" else self._failed, begun_ns, *rest)

    def lost(self, why: str) -> None:
        """The child is gone, and everything that it was hearing."""
        self._call(self._lost, why)

    def _call(self, what: Callable[..., None], *given: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and the session with it
            self._loop.call_soon_threadsafe(what, *given)

    def _heard(self, begun_ns: int, words: tuple[str, ...], stands: int, final: bool, confidence: float) -> None:
        if begun_ns not in self._open:
            return
        if final:
            del self._open[begun_ns]
        self._put(EarHeard(self._now_ns(), begun_ns, words, stands, final, round(confidence, 4)))
        self._news.set()

    def _failed(self, begun_ns: int, why: str) -> None:
        if self._open.pop(begun_ns, None) is not None:
            self._put(EarFailed(self._now_ns(), begun_ns, why))
            self._news.set()

    def _lost(self, why: str) -> None:
        for begun_ns in list(self._open):
            self._failed(begun_ns, why)
