"""`StopProcess`: the software stop, in a process of its own: no engine, no tick, no tool and no order is on its way.

    stops = StopProcess()
    stops.start()
    lookout = stops.lookout(robots, told=print)          # one session's
    lookout.hear(samples, t_ns)                          # raw, as they come, from any thread
    lookout.press("button")                              # or a key, or a typed line
    lookout.close(); stops.close()

It is a software stop and no emergency stop in the sense of IEC 60204-1: that one is wired, cuts power, and depends on
no computer and no network. What holds when all of this is dead is the robot's own watchdog.

Whoever calls never waits. While the child does not read, half a megabyte waits for it; then sound goes, the oldest
first, and is counted. A child that dies or hangs is killed and started again, told of what it had not brought to its
end, and that is said to everybody.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy.typing as npt

from liveagent.audio import RATE_HZ
from liveagent.clients.robot.contract import ContractError, Stop, StopAck, read, write
from liveagent.event import Noted, RobotStopped
from liveagent.runtime import stop_wire as wire
from liveagent.runtime.stop_wire import FRAME, Reports, StopAddress
from liveagent.stop import is_stop

if TYPE_CHECKING:
    from liveagent.agent import Agent

PING_S = 0.5
FROZEN_S = 3.0
LOAD_S = 30.0
CLOSE_S = 2.0
AGAIN_S = (0.0, 0.1, 0.5, 1.0)
MOST_WAITING_BYTES = 512 << 10
KEPT_S = 30.0
MOST_KEPT = 64
MOST_WORDS = 500

Told: TypeAlias = Callable[[RobotStopped | Noted], None]
"""Told, in a thread of the process's, that a robot has stopped, or what is wrong."""

_log = logging.getLogger("liveagent.stop")


@dataclass(slots=True)
class _Kept:
    """A stop that not every robot has answered yet."""

    lookout: int
    src: str
    began_ns: int
    heard_ns: int
    left: dict[str, StopAddress]


@dataclass(frozen=True, slots=True)
class Door:
    """Where the process listens for robots that dial in: port 0 is any that is free. `certificate`: and its key, in
    files, as robots that came by wss:// expect."""

    host: str = "127.0.0.1"
    port: int = 0
    certificate: tuple[Path, Path] | None = None


@dataclass(eq=False)
class Lookout:
    """One session's: what it hears, what is pressed in it, and which robots stop by that."""

    number: int
    robots: tuple[StopAddress, ...]
    _process: StopProcess = field(repr=False)
    told: Told = field(repr=False)
    others: tuple[str, ...] = field(default=(), repr=False)
    say: Mapping[str, str] = field(default_factory=dict, repr=False)

    def hear(
        self, mic: npt.NDArray[Any], t_ns: int, rate_hz: int = RATE_HZ, reference: npt.NDArray[Any] | None = None
    ) -> None:
        """Raw samples, int16 or float, captured from `t_ns` on, on `time.monotonic_ns`. reference: what the loudspeaker
        played meanwhile, where that is known and the rate is 16 kHz. From any thread."""
        if len(mic):
            self._process._send(wire.sound(self.number, t_ns, mic, rate_hz, reference), True)

    def own_voice(self) -> None:
        """The loudspeaker itself is just saying a stop word, and nobody takes it out of the microphone."""
        self._process._send(wire.frame(wire.OWN, self.number, time.monotonic_ns()), True)

    def press(self, src: str) -> str:
        """A button, a key, a typed line: stop. Returns the stop's id, at once."""
        return self._process._press(self.number, src)

    def typed(self, text: str) -> bool:
        """Whether a typed line is a stop; then it is on its way."""
        if is_stop(text):
            self.press("typed")
            return True
        return False

    def close(self) -> None:
        self._process._end(self)


class StopProcess:
    """One a server or program. `start`, and `close` at the end."""

    def __init__(self, door: Door | None = None) -> None:
        """door: where robots that dial in hear a stop; None: there are none."""
        self.restarts = 0
        self._door = door
        self._listening: socket.socket | None = None
        self.relay: Callable[[StopAddress, bytes], None] = lambda robot, stop: None
        """Has a stop brought, by whatever other way there is, to a robot that dials in and has not come to the door."""
        self.dropped_ms = 0.0
        """Of sound that nobody could hear in time, here and in the child."""
        self.ready = threading.Event()
        self.ways: dict[str, bool] = {}
        """Each robot's own connection, by name: whether it is there now."""
        self._lock = threading.RLock()
        self._link: socket.socket | None = None
        self._waiting: deque[tuple[bytes, bool]] = deque()  # frames, and whether they may be lost
        self._waiting_bytes = 0
        self._rest = b""  # of a frame that has begun
        self._lookouts: dict[int, Lookout] = {}
        self._numbers = itertools.count(1)
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._child: subprocess.Popen[bytes] | None = None
        self._standing: tuple[StopAddress, ...] = ()
        self._relayed: dict[str, int] = {}
        self._closed = False
        self._dropped_there_ms = 0.0
        self._thread = threading.Thread(target=self._live, name="liveagent-stop", daemon=True)

    def start(self) -> None:
        """Returns at once. Twice is once."""
        with self._lock:
            if self._thread.ident is None and not self._closed:
                if self._door is not None:
                    self._listening = socket.create_server((self._door.host, self._door.port))
                self._thread.start()

    @property
    def door_port(self) -> int | None:
        """Where robots that dial in hear a stop, once it has been started."""
        return None if self._listening is None else int(self._listening.getsockname()[1])

    @property
    def pid(self) -> int | None:
        child = self._child
        return child.pid if child is not None and child.poll() is None else None

    def keep(self, agent: Agent) -> None:
        """Have the ways to this agent's robots there before anybody comes; without robots nothing happens."""
        robots = robots_of(agent)
        if robots:
            with self._lock:
                self._standing = tuple(dict.fromkeys([*self._standing, *robots]))
                self._send_robots()
            self.start()

    def lookout_of(self, agent: Agent, told: Told) -> Lookout | None:
        """A session's of this agent, the process started; None, and no process, where its agent has no robot that a
        stop has a way of its own to."""
        robots = robots_of(agent)
        if not robots:
            return None
        self.start()
        return self.lookout(robots, told, others=tuple(agent.automaton.next_words()), say=agent.pronounced)

    def lookout(
        self, robots: Iterable[StopAddress], told: Told, *, others: Sequence[str] = (),
        say: Mapping[str, str] | None = None,
    ) -> Lookout:
        """A session's. robots: who stops by it. others, say: see `StopEar`."""
        with self._lock:
            made = Lookout(next(self._numbers), tuple(robots), self, told, tuple(others)[:MOST_WORDS], dict(say or {}))
            self._lookouts[made.number] = made
            self._send_robots()
            self._send(_opening(made), False)
        return made

    def close(self) -> None:
        """End it. May be called twice."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._send(wire.frame(wire.END), False)
        child = self._child
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)
        if child is not None and child.poll() is None:
            child.kill()
            self._thread.join(CLOSE_S)
        if self._listening is not None:
            self._listening.close()

    # --- from any thread

    def _press(self, lookout: int, src: str) -> str:
        stop_id, now_ns = secrets.token_hex(12), time.monotonic_ns()
        with self._lock:
            if not self._keep(stop_id, lookout, src, now_ns, now_ns):
                return stop_id
            self._send(self._pressing(stop_id), False)
        return stop_id

    def _end(self, lookout: Lookout) -> None:
        with self._lock:
            if self._lookouts.pop(lookout.number, None) is not None:
                self._send(wire.frame(wire.CLOSE, lookout.number), False)
                self._send_robots()

    def _pressing(self, stop_id: str) -> bytes:
        kept = self._kept[stop_id]
        what = {"id": stop_id, "src": kept.src, "robots": list(kept.left)}
        return wire.told(wire.PRESS, what, kept.lookout, kept.began_ns)

    def _send_robots(self) -> None:
        self._send(wire.told(wire.ROBOTS, wire.addresses(iter(self._robots()))), False)

    def _robots(self) -> list[StopAddress]:
        """Of the server, of all lookouts, and of those that are closed and have a stop that is open."""
        robots = [robot for each in self._lookouts.values() for robot in each.robots]
        open_ones = [robot for kept in self._kept.values() for robot in kept.left.values()]
        return list(dict.fromkeys([*self._standing, *robots, *open_ones]))

    def _send(self, data: bytes, may_be_lost: bool) -> None:
        with self._lock:
            if self._link is None:  # the next child is told all that still counts
                self.dropped_ms += _sound_ms(data) if may_be_lost else 0.0
                return
            if not may_be_lost and data[0] == wire.PRESS:  # before all sound that waits
                self._waiting.appendleft((data, False))
            else:
                self._waiting.append((data, may_be_lost))
            self._waiting_bytes += len(data)
            self._flush()
            while self._waiting_bytes > MOST_WAITING_BYTES and (at := self._oldest()) is not None:
                gone, _ = self._waiting[at]
                del self._waiting[at]
                self._waiting_bytes -= len(gone)
                self.dropped_ms += _sound_ms(gone)

    def _oldest(self) -> int | None:
        return next((at for at, (_, may_be_lost) in enumerate(self._waiting) if may_be_lost), None)

    def _flush(self) -> None:
        """With the lock held: as much as the socket takes."""
        link = self._link
        if link is None:
            return
        try:
            while self._rest or self._waiting:
                if not self._rest:
                    self._rest, _ = self._waiting.popleft()
                    self._waiting_bytes -= len(self._rest)
                self._rest = self._rest[link.send(self._rest) :]
        except BlockingIOError:
            return
        except OSError:  # the supervisor sees it too
            return

    # --- in the supervisor's thread

    def _live(self) -> None:
        quick = 0
        while True:
            began = time.monotonic()
            try:
                self._serve()
            except OSError as error:
                _log.error("the process that stops robots cannot be started (%s)", error.strerror)
            ended = self._bury()
            if self._closed:
                return
            self.restarts += 1
            quick = quick + 1 if time.monotonic() - began < 5.0 else 0
            said = f"the process that stops robots {ended}; it is started again"
            _log.error("%s", said)
            self._say_all("stop_lost", said)
            time.sleep(AGAIN_S[min(quick, len(AGAIN_S) - 1)])

    def _serve(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            fds = [theirs.fileno()] if self._listening is None else [theirs.fileno(), self._listening.fileno()]
            command = [sys.executable, "-P", "-m", "liveagent.runtime.stop_child", *map(str, fds)]
            if self._door is not None and self._door.certificate is not None:
                command += map(str, self._door.certificate)
            env = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            self._child = subprocess.Popen(command, pass_fds=fds, stdin=subprocess.DEVNULL, env=env)
        with self._lock:
            self._link, self._rest, self._waiting_bytes = ours, b"", 0
            self._waiting.clear()
            self._send_robots()
            for each in self._lookouts.values():
                self._send(_opening(each), False)
            for stop_id in self._kept:  # what the one before had not brought to its end
                self._send(self._pressing(stop_id), False)
            if self._closed:
                self._send(wire.frame(wire.END), False)
        reports = Reports()
        heard = pinged = time.monotonic()
        while True:
            ready, _, _ = select.select([ours], [ours] if self._rest or self._waiting else [], [], PING_S / 5)
            now = time.monotonic()
            with self._lock:
                self._flush()
            if ready:
                try:
                    data = ours.recv(1 << 16)
                except BlockingIOError:
                    continue
                except OSError:
                    data = b""
                if not data:
                    return
                heard = now
                for report in reports.feed(data):
                    self._take(report)
            if now - heard > (FROZEN_S if self.ready.is_set() else LOAD_S):
                _log.error("the process that stops robots has not answered for %.0f s and is killed", now - heard)
                self._child.kill()
                heard = now
            if now - pinged >= PING_S:
                pinged = now
                self._send(wire.frame(wire.PING), False) if len(self._waiting) < 100 else None

    def _bury(self) -> str:
        with self._lock:
            link, self._link = self._link, None
            self._dropped_there_ms = 0.0
            self.ready.clear()
            self.ways.clear()
        if link is not None:
            link.close()
        child, self._child = self._child, None
        if child is None:
            return "did not start"
        try:
            code = child.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            code = child.wait()
        return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"

    # --- what it reports

    def _take(self, report: Mapping[str, Any]) -> None:
        now_ns = time.monotonic_ns()
        match report["kind"]:
            case "ready":
                self.ready.set()
            case "pong":
                self.dropped_ms += report["dropped_ms"] - self._dropped_there_ms
                self._dropped_there_ms = report["dropped_ms"]
            case "heard":
                with self._lock:
                    if report["stop_id"] not in self._kept:
                        self._keep(report["stop_id"], report["lookout"], report["src"], report["word_end_ns"],
                                   report["heard_ns"])  # fmt: skip
                _log.info("stop", extra={"src": report["src"]})
            case "acked":
                self._acked(report, now_ns)
            case "unlinked":
                self._relay(report, now_ns)
            case "unheard":
                kept = self._kept.get(report["stop_id"])
                why = "does not answer" if report["connected"] else "cannot be reached"
                said = f"the robot {report['robot']} {why}, and may not have stopped: its own watchdog is all there is"
                _log.error("%s", said)
                self._say(kept.lookout if kept is not None else 0, Noted(now_ns, "stop_unheard", said))
            case "way":
                self.ways[report["robot"]] = report["up"]
                if not report["up"]:
                    _log.warning("no way for a stop to the robot %s: %s", report["robot"], report["problem"])
            case "deaf":
                said = f"the spoken stop is not heard: {report['problem']}"
                _log.error("%s", said)
                self._say(report["lookout"], Noted(now_ns, "stop_deaf", said))

    def _relay(self, report: Mapping[str, Any], now_ns: int) -> None:
        with self._lock:
            robot = next((each for each in self._robots() if each.name == report["robot"] and not each.url), None)
        if robot is not None:
            self._relayed[report["stop_id"]] = now_ns
            while len(self._relayed) > MOST_KEPT:
                del self._relayed[next(iter(self._relayed))]
            self.relay(robot, write(Stop(id=report["stop_id"], src=report["src"])))

    def answered(self, robot: str, payload: bytes) -> None:
        """What a robot says of a stop that was relayed to it. From any thread."""
        try:
            ack = read(StopAck, payload)
        except ContractError:
            return
        published_ns = self._relayed.pop(ack.id, None)
        if published_ns is not None:
            now_ns = time.monotonic_ns()
            report = {"stop_id": ack.id, "robot": robot, "published_ns": published_ns, "acked_ns": now_ns}
            self._acked(report, now_ns)

    def _acked(self, report: Mapping[str, Any], now_ns: int) -> None:
        with self._lock:
            kept = self._kept.get(report["stop_id"])
            if kept is None:
                return
            kept.left.pop(report["robot"], None)
            if not kept.left:
                del self._kept[report["stop_id"]]
        published_ns, acked_ns = report["published_ns"], report["acked_ns"]
        self._say(kept.lookout, RobotStopped(
            now_ns, report["robot"], kept.src, heard_ms=_ms(kept.heard_ns - kept.began_ns),
            sent_ms=_ms(published_ns - kept.heard_ns), ack_ms=_ms(acked_ns - published_ns),
        ))  # fmt: skip

    def _keep(self, stop_id: str, lookout: int, src: str, began_ns: int, heard_ns: int) -> bool:
        """With the lock held. False where there is no robot."""
        old_ns = time.monotonic_ns() - int(KEPT_S * 1e9)
        while self._kept and (len(self._kept) >= MOST_KEPT or next(iter(self._kept.values())).heard_ns < old_ns):
            self._kept.popitem(last=False)
        whose = self._lookouts.get(lookout)
        left = {robot.name: robot for robot in (whose.robots if whose is not None else self._robots())}
        if left:
            self._kept[stop_id] = _Kept(lookout, src, began_ns, heard_ns, left)
        return bool(left)

    def _say(self, lookout: int, event: RobotStopped | Noted) -> None:
        whose = self._lookouts.get(lookout)
        for each in [whose] if whose is not None else list(self._lookouts.values()):
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody is left to be told
                each.told(event)

    def _say_all(self, code: str, said: str) -> None:
        for each in list(self._lookouts.values()):
            with contextlib.suppress(RuntimeError):
                each.told(Noted(time.monotonic_ns(), code, said))


def robots_of(agent: Agent) -> tuple[StopAddress, ...]:
    """The robots among an agent's sources of tools."""
    found = (getattr(each, "stop_address", None) for each in agent.sources)
    return tuple(dict.fromkeys(each for each in found if isinstance(each, StopAddress)))


def _opening(lookout: Lookout) -> bytes:
    what = {"robots": [each.name for each in lookout.robots], "others": lookout.others, "say": dict(lookout.say)}
    return wire.told(wire.OPEN, what, lookout.number)


def _sound_ms(data: bytes) -> float:
    if data[0] != wire.SOUND:
        return 0.0
    rate_hz, mic, _ = wire.read_sound(data[FRAME.size :])
    return len(mic) * 1000 / rate_hz


def _ms(ns: int) -> float:
    return round(ns / 1e6, 1)
