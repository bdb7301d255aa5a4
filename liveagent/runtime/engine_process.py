"""The engine in a process of its own, for servers: a crash in it, no memory or a stopped process takes no socket along.

`EngineProcess` has the methods of `Engine`. What is asked of a child that dies is answered with `EngineLost`, once, and
the child is started again; lanes of the old one are gone with it, and the numbers of new ones differ from all before.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import queue
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from liveagent.errors import ConfigError, DeviceError, EngineLost, LiveAgentError
from liveagent.runtime.boundary import Busy, Loaded, Message, pack, portable
from liveagent.runtime.linked_child import attend, begin, bury
from liveagent.runtime.work import Listen, Reply, Work

Done: TypeAlias = Callable[[Reply | BaseException], None]
State: TypeAlias = Literal["new", "loading", "up", "down", "closed"]

PING_S = 1.0
FROZEN_S = 10.0
"""A child that says nothing for so long, though it is asked every second, is stopped or stuck, and is killed."""
LOAD_S = 300.0
CLOSE_S = 5.0
MOST_RESTARTS = 3
RESTARTS_S = 60.0
"""Whoever dies more often than that within that time would die again: it stays down and says so."""
PENDING_A_LANE = 64

_log = logging.getLogger("liveagent.engine")


@dataclass(frozen=True, slots=True)
class Load:
    """How loaded the engine is: the child's busy share of the last second; the 95th percentile of how long hearing a
    tick of 80 ms took, there and back; what waits; how often it was started again."""

    busy: float
    hear_p95_s: float
    pending: int
    restarts: int
    rss_bytes: int


@dataclass(slots=True)
class _Pending:
    done: Done
    since: float
    hears: bool


class EngineProcess:
    """`Core` in a child process. `start`, then `wait` until it has loaded; `close` ends it.

    `on_lost(error, again)`: the child has ended; `again` says whether another is being started. `on_back(loaded)`: that
    other one stands. Both come from a thread of the engine's. `generation` counts the children.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        lanes: int = 4,
        slots: int = 1536,
        *,
        device: str = "cpu",
        dtype: str | None = None,
        quantize: str | None = None,
        on_lost: Callable[[EngineLost, bool], None] | None = None,
        on_back: Callable[[Loaded], None] | None = None,
    ) -> None:
        """`weights`: a folder; None takes the shipped ones. `dtype`, `quantize`: as an agent has them."""
        if lanes < 4:
            raise ConfigError(f"an engine needs at least 4 lanes, not {lanes}: smaller steps round differently (LAW 2)")
        self.lanes, self.generation, self.restarts = lanes, 0, 0
        folder = "" if weights is None else str(weights)
        self._arguments = (folder, device, str(lanes), str(slots), dtype or "", quantize or "")
        self._on_lost, self._on_back = on_lost, on_back
        self._lock = threading.Lock()
        self._state: State = "new"
        self._why: LiveAgentError = ConfigError("the engine was not started")
        self._free: list[int] = []
        self._pending: dict[int, _Pending] = {}
        self._numbers = itertools.count(1)
        self._queue: queue.SimpleQueue[tuple[int, bytes] | None] = queue.SimpleQueue()
        self._unwritten = 0  # items of the queue that the writer has not done with
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._settled = threading.Event()  # it stands, or never will
        self._loaded: Loaded | None = None
        self._busy = Busy()
        self._heard_s: deque[float] = deque(maxlen=512)
        self._threads = [
            threading.Thread(target=self._live, name="liveagent-engine", daemon=True),
            threading.Thread(target=self._write, name="liveagent-engine-out", daemon=True),
        ]

    # --- what a lane needs

    def open(self) -> int:
        """A free lane's number, as `Engine.open`. EngineLost while there is no child."""
        with self._lock:
            self._check()
            if not self._free:
                raise ConfigError(f"all {self.lanes} lanes are taken: start with more lanes, or end a session")
            return self.generation * self.lanes + self._free.pop(0)

    def release(self, lane: int) -> None:
        """Give a lane back. One of a child that is gone went with it."""
        generation, local = divmod(lane, self.lanes)
        with self._lock:
            if generation != self.generation or self._state != "up" or local in self._free:
                return
            self._free.append(local)
            self._post(generation, pack(("release", local)))

    def send(self, lane: int, work: Work, done: Done) -> None:
        """Queue work and return at once; `done` is called in a thread of the engine's."""
        generation, local = divmod(lane, self.lanes)
        data = portable(work)
        number = next(self._numbers)
        packed = pack(("work", number, local, data))
        with self._lock:
            self._check()
            if generation != self.generation:
                raise EngineLost("this lane went with the engine's last process; open another")
            if len(self._pending) >= PENDING_A_LANE * self.lanes:
                raise DeviceError("the engine is too far behind; end a session, or give it fewer lanes")
            self._pending[number] = _Pending(done, time.monotonic(), isinstance(work, Listen))
            self._post(generation, packed)

    def _post(self, generation: int, packed: bytes) -> None:
        """To the child, with the lock held: at once where its socket takes it and nothing waits before it, which spares
        the way through another thread; else by the writer."""
        if not self._unwritten and (link := self._link) is not None and generation == self.generation:
            try:
                packed = packed[link.send(packed, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                pass
            except OSError:  # the supervisor sees it too
                return
            if not packed:
                return
        self._unwritten += 1
        self._queue.put((generation, packed))

    def _check(self) -> None:
        if self._state != "up":
            raise self._why

    # --- its life

    @property
    def state(self) -> State:
        return self._state

    @property
    def pid(self) -> int | None:
        """The child's; None while there is none."""
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    @property
    def free_lanes(self) -> int:
        return len(self._free) if self._state == "up" else 0

    def load(self) -> Load:
        with self._lock:
            heard = sorted(self._heard_s)
            p95 = heard[min(len(heard) - 1, int(len(heard) * 0.95))] if heard else 0.0
            return Load(self._busy.share, p95, len(self._pending), self.restarts, self._busy.rss_bytes)

    def start(self) -> None:
        """Start the child; returns at once."""
        with self._lock:
            if self._state != "new":
                raise ConfigError("an engine is started once; make another")
            self._state, self._why = "loading", EngineLost("the engine is still loading")
        for thread in self._threads:
            thread.start()

    def wait(self, timeout_s: float = LOAD_S) -> Loaded:
        """Block until the weights are loaded. Raises what the child found wrong with them, DeviceError when nothing
        comes of it."""
        if not self._settled.wait(timeout_s):
            raise DeviceError(f"the engine has not loaded within {timeout_s:.0f} s; see `liveagent doctor`")
        if self._loaded is None:
            raise self._why
        return self._loaded

    def close(self) -> None:
        """End the child; whatever still waits gets a ConfigError."""
        with self._lock:
            if self._state == "closed":
                return
            began, loading = self._state != "new", self._state == "loading"
            self._state, self._why = "closed", ConfigError("the engine is closed")
        self._settled.set()
        with self._lock:
            self._unwritten += 1
        self._queue.put((self.generation, pack(("end",))))
        self._queue.put(None)
        if began and threading.current_thread() not in self._threads:
            if loading and (child := self._child) is not None:
                child.kill()  # it would only hear when it has loaded
            self._threads[0].join(CLOSE_S)
            if (child := self._child) is not None and child.poll() is None:
                child.kill()
            for thread in self._threads:
                thread.join(CLOSE_S)
        self._fail(self._why)

    # --- the supervisor's thread

    def _live(self) -> None:
        starts: deque[float] = deque(maxlen=MOST_RESTARTS)
        while True:
            try:
                refused = self._serve()
            except OSError as error:  # no process, no socket
                refused = DeviceError(f"the engine's process cannot be started ({error.strerror})")
            ended = self._bury()
            now = time.monotonic()
            often = len(starts) == MOST_RESTARTS and now - starts[0] < RESTARTS_S
            with self._lock:
                if self._state == "closed":
                    return
                again = refused is None and not often
                lost = self._lost(ended, again)
                self.generation += 1  # before there is another link: nothing meant for the old child reaches the new
                self._state, self._why = ("loading", lost) if again else ("down", refused or lost)
                self._free = []
                self._busy = Busy()
            _log.log(logging.WARNING if again else logging.ERROR, "%s", self._why)
            self._fail(lost if refused is None else refused)
            if not again:
                self._settled.set()
            if self._on_lost is not None:
                self._on_lost(lost, again)
            if not again:
                return
            starts.append(now)
            self.restarts += 1

    @staticmethod
    def _lost(ended: str, again: bool) -> EngineLost:
        if again:
            return EngineLost(f"the engine's process {ended}; it is started again")
        return EngineLost(
            f"the engine's process {ended}, more than {MOST_RESTARTS} times in {RESTARTS_S:.0f} s: it stays down. "
            "See what it wrote on standard error, then start again"
        )

    def _serve(self) -> LiveAgentError | None:
        """One child, from start to end. Returns why it refused to serve, if it did."""
        self._child, self._link = begin("liveagent.runtime.engine_child", self._arguments, threads=1)

        def ping(number: int) -> None:
            with self._lock:
                self._post(self.generation, pack(("ping", number)))

        return attend(
            self._child, self._link, self._take, ping, PING_S, lambda: self._state == "up",
            lambda: FROZEN_S if self._state == "up" else LOAD_S, _log,
        )  # fmt: skip

    def _take(self, message: Message, now: float) -> None:
        kind = message[0]
        if kind == "done":
            with self._lock:
                pending = self._pending.pop(message[1], None)
                if pending is not None and pending.hears:
                    self._heard_s.append(now - pending.since)
            if pending is not None:
                pending.done(message[2])
        elif kind == "pong":
            with self._lock:
                self._busy = message[2]
        elif kind == "loaded":
            first = self._loaded is None
            with self._lock:
                if self._state == "closed":
                    return
                self._loaded = message[1]
                self._free = list(range(self.lanes))
                self._state = "up"
            self._settled.set()
            if not first and self._on_back is not None:
                self._on_back(message[1])

    def _bury(self) -> str:
        """Reap the child; how it ended, in words."""
        child, link = self._child, self._link
        self._link = None
        ended = bury(child, link, CLOSE_S)
        self._child = None
        return ended

    def _fail(self, why: LiveAgentError) -> None:
        with self._lock:
            pending, self._pending = list(self._pending.values()), {}
        for each in pending:
            each.done(why)

    # --- the writer's thread

    def _write(self) -> None:
        """Everything that waits, in one write. It may block, on a child that does not read, until that is killed."""
        while (item := self._queue.get()) is not None:
            burst = [item]
            ends = False
            with contextlib.suppress(queue.Empty):
                while len(burst) < 256:
                    another = self._queue.get_nowait()
                    if another is None:
                        ends = True
                        break
                    burst.append(another)
            link = self._link
            data = b"".join(packed for generation, packed in burst if generation == self.generation)
            if link is not None and data:
                with contextlib.suppress(OSError):  # the supervisor sees it too
                    link.sendall(data)
            with self._lock:
                self._unwritten -= len(burst)
            if ends:
                return
