"""The engine: many sessions on one set of weights, behind a message boundary.

A session never touches a tensor. It sends `Work` for its lane and gets a `Reply` back. `Engine` is the thread around
`Core`; `Lane` is one session's side of it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from liveagent.errors import ConfigError, DeviceError, LiveAgentError
from liveagent.runtime.work import (
    Append,
    Decode,
    Done,
    Encode,
    Encoded,
    Evict,
    Heard,
    Listen,
    Look,
    Probe,
    Reply,
    Reset,
    Rewind,
    Seen,
    Work,
)

if TYPE_CHECKING:
    from liveagent.runtime.core import Core


class Lanes(Protocol):
    """Whoever has lanes: `Engine` here, `EngineProcess` in a process of its own."""

    def open(self) -> int:
        """A free lane's number. ConfigError when every lane is taken."""
        ...

    def release(self, lane: int) -> None: ...

    def send(self, lane: int, work: Work, done: Callable[[Reply | BaseException], None]) -> None:
        """Queue work; `done` is called in a thread of the engine's, once. Raises what makes it hopeless right now."""
        ...

    def close(self) -> None: ...


class Engine:
    """`Core` in a thread of its own.

    The thread ends with `close`; a fault inside one lane's work goes to that lane's caller as a LiveAgentError and ends
    nobody else's session.
    """

    def __init__(self, core: Core) -> None:
        self.core = core
        self._inbox: queue.SimpleQueue[tuple[int, Work, Callable[[Reply | BaseException], None]] | None] = (
            queue.SimpleQueue()
        )
        self._lock = threading.Lock()
        self._gate = threading.Lock()
        self._ended: LiveAgentError | None = None
        self._thread = threading.Thread(target=self._live, name="liveagent-engine", daemon=True)
        self._thread.start()

    def open(self) -> int:
        with self._lock:
            return self.core.open()

    def release(self, lane: int) -> None:
        with self._lock:
            self.core.close(lane)

    def send(self, lane: int, work: Work, done: Callable[[Reply | BaseException], None]) -> None:
        """Queue work; `done` is called in the engine's thread with the reply or with what went wrong."""
        with self._gate:
            if self._ended is not None:
                raise self._ended
            self._inbox.put((lane, work, done))

    def close(self) -> None:
        if self._thread.is_alive():
            self._inbox.put(None)
            self._thread.join(timeout=10)

    def _live(self) -> None:
        ended: LiveAgentError = ConfigError("the engine is closed")
        try:
            self._run()
        except BaseException as error:  # whatever it was: nobody may wait for ever for what will not come
            ended = DeviceError(f"the engine stopped: {type(error).__name__}: {error}; start again")
            ended.__cause__ = error
        with self._gate:
            self._ended = ended
        while not self._inbox.empty():
            if (item := self._inbox.get()) is not None:
                item[2](ended)
        self.core.abort(ended)

    def _run(self) -> None:
        while True:
            item = self._inbox.get()
            while item is not None:
                self.core.submit(*item)
                try:
                    item = self._inbox.get_nowait()
                except queue.Empty:
                    break
            if item is None:
                return
            with self._lock:
                while self.core.step():
                    # New work of other lanes joins the next round instead of waiting for this lane's whole reply.
                    try:
                        while (item := self._inbox.get_nowait()) is not None:
                            self.core.submit(*item)
                        return
                    except queue.Empty:
                        pass


class Lane:
    """One session's side of the engine: awaitable requests for one lane."""

    def __init__(self, engine: Lanes, number: int) -> None:
        self.engine, self.number = engine, number

    async def ask(self, work: Work) -> Reply:
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()

        def settle(reply: Reply | BaseException) -> None:
            if future.done():
                return
            if isinstance(reply, LiveAgentError):
                future.set_exception(reply)
            elif isinstance(reply, BaseException):
                error = DeviceError(f"the engine failed: {type(reply).__name__}: {reply}; see `liveagent doctor`")
                error.__cause__ = reply
                future.set_exception(error)
            else:
                future.set_result(reply)

        def done(reply: Reply | BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
                loop.call_soon_threadsafe(settle, reply)

        self.engine.send(self.number, work, done)
        return await future

    async def hear(self, samples: np.ndarray) -> Heard:
        reply = await self.ask(Listen(samples))
        assert isinstance(reply, Heard)
        return reply

    async def see(self, pixels: np.ndarray, patches: np.ndarray | None = None) -> Seen:
        reply = await self.ask(Look(pixels, patches))
        assert isinstance(reply, Seen)
        return reply

    async def encode(self, samples: np.ndarray, begins: bool = False) -> np.ndarray:
        """Rows `[n, D]` of the model's own ear."""
        reply = await self.ask(Encode(samples, begins))
        assert isinstance(reply, Encoded)
        return reply.rows

    async def do(self, work: Append | Probe | Rewind | Evict | Decode | Reset) -> Done:
        reply = await self.ask(work)
        assert isinstance(reply, Done)
        return reply

    def close(self) -> None:
        self.engine.release(self.number)
