"""The process that stops robots: raw samples, keys and buttons in, a software stop out, on connections of its own.

Started by `StopProcess`, which holds the other end of its socket. It has no decoder, no turns and no tools, and imports
no torch. One thread reads and sends, another hears; sound that is not heard within two seconds is thrown away, the
oldest first, and counted. There is no way back here: no reset, and nothing that makes a robot move.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from liveagent.clients.robot.contract import ContractError
from liveagent.errors import LiveAgentError
from liveagent.ports.stop_door import StopDoor, is_token
from liveagent.runtime import stop_wire as wire
from liveagent.runtime.stop_ear import StopEar
from liveagent.runtime.stop_sender import BrokerSender, DoorSender, StopSender
from liveagent.runtime.stop_wire import Frames, StopAddress, report

MOST_WAITING_NS = 2_000_000_000
READ_BYTES = 1 << 18
MOST_LOOKOUTS = 256
NICE = -10

_log = logging.getLogger("liveagent.stop")


class Hearing:
    """All lookouts' ears, in a thread of their own. `heard(lookout, word_end_ns, heard_ns)` is called in it."""

    def __init__(self, heard: Any, problem: Any) -> None:
        self._heard, self._problem = heard, problem
        self._news = threading.Condition()
        self._queue: deque[tuple[int, int, int, bytes]] = deque()
        self._waiting_ns: dict[int, int] = {}
        self._ears: dict[int, StopEar | None] = {}
        self.dropped_ms = 0.0
        threading.Thread(target=self._run, name="stop-hearing", daemon=True).start()

    def put(self, kind: int, lookout: int, t_ns: int, body: bytes) -> None:
        """Behind what waits; what has waited for too long goes."""
        length_ns = _length_ns(body) if kind == wire.SOUND else 0
        with self._news:
            self._queue.append((kind, lookout, t_ns, body))
            waiting_ns = self._waiting_ns[lookout] = self._waiting_ns.get(lookout, 0) + length_ns
            if waiting_ns > MOST_WAITING_NS:
                self._drop(lookout)
            self._news.notify()

    def _drop(self, lookout: int) -> None:
        kept: deque[tuple[int, int, int, bytes]] = deque()
        for each in self._queue:
            if each[0] == wire.SOUND and each[1] == lookout and self._waiting_ns[lookout] > MOST_WAITING_NS:
                length_ns = _length_ns(each[3])
                self._waiting_ns[lookout] -= length_ns
                self.dropped_ms += length_ns / 1e6
            else:
                kept.append(each)
        self._queue = kept

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._queue:
                    self._news.wait()
                kind, lookout, t_ns, body = self._queue.popleft()
                if kind == wire.SOUND:
                    self._waiting_ns[lookout] = self._waiting_ns.get(lookout, 0) - _length_ns(body)
            try:
                self._take(kind, lookout, t_ns, body)
            except (ValueError, KeyError, TypeError):  # a message that is none
                continue
            except Exception as error:  # one session's ear: the others go on hearing
                self._ears[lookout] = None
                self._problem(lookout, f"{type(error).__name__}: {error}")

    def _take(self, kind: int, lookout: int, t_ns: int, body: bytes) -> None:
        if kind == wire.OPEN:
            if len(self._ears) >= MOST_LOOKOUTS:
                raise ValueError("too many")
            what = json.loads(body)
            self._ears[lookout] = StopEar(tuple(what["others"]), what["say"])
        elif kind == wire.CLOSE:
            self._waiting_ns.pop(lookout, None)
            if (gone := self._ears.pop(lookout, None)) is not None:
                gone.close()
        elif (ear := self._ears.get(lookout)) is not None:
            if kind == wire.OWN:
                ear.own_voice(t_ns)
                return
            rate_hz, mic, reference = wire.read_sound(body)
            if (ended := ear.feed(mic, t_ns, rate_hz, reference)) is not None:
                self._heard(lookout, ended.t_ns, time.monotonic_ns())


class StopChild:
    """Behind one socket, until it is closed."""

    def __init__(self, link: socket.socket, door: socket.socket | None = None, certificate: Any = None) -> None:
        link.setblocking(False)
        self._link, self._door, self._certificate = link, door, certificate
        self._senders: dict[StopAddress, tuple[StopSender, asyncio.Task[None]]] = {}
        self._whose: dict[int, frozenset[str]] = {}  # which robots a lookout is for
        self._out = bytearray()

    async def run(self) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self._hearing = Hearing(self._heard_there, self._problem_there)
        frames = Frames()
        opened = asyncio.create_task(self._open_door())
        self._report("ready", pid=os.getpid())
        try:
            while data := await loop.sock_recv(self._link, READ_BYTES):
                for kind, lookout, t_ns, body in frames.feed(data):
                    if kind == wire.END:
                        return
                    self._take(kind, lookout, t_ns, body)
        finally:
            tasks = [opened, *(task for _, task in self._senders.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _open_door(self) -> None:
        if self._door is None:
            return
        try:
            await StopDoor(self._door, self._guest, self._certificate).run()
        except (LiveAgentError, OSError) as error:
            self._report("way", robot="that dial in", up=False, problem=str(error))

    def _guest(self, token: str) -> DoorSender | None:
        """Whose token this is."""
        doors = [sender for sender, _ in self._senders.values() if isinstance(sender, DoorSender)]
        return next((each for each in doors if is_token(token, each.address.token)), None)

    def _take(self, kind: int, lookout: int, t_ns: int, body: bytes) -> None:
        if kind == wire.PRESS:
            what = json.loads(body)
            self._stop(lookout, what["id"], what["src"], t_ns, time.monotonic_ns(), frozenset(what["robots"]))
        elif kind == wire.ROBOTS:
            self._reach([StopAddress(**each) for each in json.loads(body)])
        elif kind == wire.PING:
            self._report("pong", dropped_ms=round(self._hearing.dropped_ms, 1))
        else:
            if kind == wire.OPEN:
                self._whose[lookout] = frozenset(json.loads(body)["robots"])
            elif kind == wire.CLOSE:
                self._whose.pop(lookout, None)
            self._hearing.put(kind, lookout, t_ns, body)

    def _reach(self, robots: list[StopAddress]) -> None:
        for gone in self._senders.keys() - set(robots):
            self._senders.pop(gone)[1].cancel()
        for address in robots:
            if address in self._senders:
                continue
            try:
                kind = BrokerSender if address.url else DoorSender
                sender = kind(address, lambda kind, fields: self._report(kind, **fields))
            except (LiveAgentError, ContractError) as error:
                self._report("way", robot=address.name, up=False, problem=str(error))
                continue
            self._senders[address] = sender, self._loop.create_task(sender.run(), name=f"way to {address.name}")

    def _stop(
        self, lookout: int, stop_id: str, src: str, word_end_ns: int, heard_ns: int, robots: frozenset[str]
    ) -> None:
        for address, (sender, _) in self._senders.items():
            if address.name in robots:
                sender.stop(stop_id, src)
        self._report("heard", lookout=lookout, stop_id=stop_id, src=src, word_end_ns=word_end_ns, heard_ns=heard_ns)

    # --- from the hearing thread

    def _heard_there(self, lookout: int, word_end_ns: int, heard_ns: int) -> None:
        robots = self._whose.get(lookout, frozenset())
        self._loop.call_soon_threadsafe(
            self._stop, lookout, secrets.token_hex(12), "spoken", word_end_ns, heard_ns, robots
        )

    def _problem_there(self, lookout: int, problem: str) -> None:
        self._loop.call_soon_threadsafe(lambda: self._report("deaf", lookout=lookout, problem=problem[:300]))

    def _report(self, kind: str, **fields: Any) -> None:
        """Never waits: a parent that does not read loses what it has not read, and no robot waits for it."""
        self._out += report(kind, **fields)
        with contextlib.suppress(BlockingIOError, OSError):
            del self._out[: self._link.send(self._out)]
        if len(self._out) > READ_BYTES:
            self._out.clear()


def _length_ns(body: bytes) -> int:
    """Of a SOUND's microphone."""
    try:
        rate_hz, mic, _ = wire.read_sound(body)
    except ValueError:
        return 0
    return len(mic) * 1_000_000_000 // rate_hz


def main(arguments: list[str]) -> int:
    """`FD [DOOR_FD [CERTIFICATE KEY]]`: the parent's socket, and one that listens for robots that dial in."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    with contextlib.suppress(OSError):  # where we may, before whatever else wants the processor
        os.setpriority(os.PRIO_PROCESS, 0, NICE)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    link, *doors = (socket.socket(fileno=int(each)) for each in arguments[:2])
    certificate = (Path(arguments[2]), Path(arguments[3])) if len(arguments) > 3 else None
    with contextlib.suppress(ConnectionError, ValueError):  # the parent is gone, or what it says is damaged
        asyncio.run(StopChild(link, doors[0] if doors else None, certificate).run())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
