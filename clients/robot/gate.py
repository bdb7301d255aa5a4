"""`Gate`: the robot's door. What comes over the network moves the robot through here, within its limits, or not at all.

    gate = Gate("mqtts://arm:secret@broker:8883", site="home", robot="arm",
                limits=Limits(speed={"vx": 0.5, "wz": 1.0}), standstill_ms=320)

    @gate.action(risk="reversible")
    async def home(call: Call) -> str:
        \"\"\"Go to the resting place.\"\"\"

    @gate.velocity
    def drive(axes): motors.speed(axes["vx"], axes["wz"])      # at each tick, 50 times a second

    @gate.on_stop
    def halt(stop): motors.off()

    asyncio.run(gate.run())

It is a software stop's robot side, and no emergency stop: that is wired, and works without a computer. Its guarantee is
the watchdog: who drives says so ten times a second, and 300 ms after the last of these the setpoint is on its ramp to
zero, whatever has happened to agent, network and broker. Nothing resumes by itself after that. The functions given to
`velocity`, `joints`, `state`, `on_stop` and `on_hold` are plain and quick: they run in the loop that keeps the promise.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from . import contract
from .action import Action, action
from .cameras import Cameras
from .contract import (
    Cancel,
    Chunk,
    Command,
    Connection,
    ContractError,
    Describe,
    Lease,
    Reason,
    Reset,
    Risk,
    State,
    Stop,
    StopAck,
    Velocity,
)
from .guard import Guard
from .limits import Limits
from .link import Letter, Link, LinkError
from .motion import Motion
from .now import Now
from .runs import Runs

F = TypeVar("F", bound=Callable[..., Any])

TICK_HZ = 50.0
STATE_HZ = 20.0
CONFLICT_S = 3.0
ANNOUNCE_S = 1.0

_log = logging.getLogger("liveagent.robot")


class Gate:
    """One robot. Declare what it can do, then `run`."""

    def __init__(
        self,
        url: str,
        *,
        site: str = "home",
        robot: str = "robot",
        limits: Limits | None = None,
        axes: Sequence[str] = (),
        joints: Sequence[str] = (),
        chunk: Literal["position", "velocity"] | None = None,
        description: str = "",
        standstill_ms: float = 500.0,
        ramp_ms: float = 100.0,
        tick_hz: float = TICK_HZ,
        state_hz: float = STATE_HZ,
        ca: Path | None = None,
        key: str | None = None,
        confirm_key: bytes | None = None,
        link: Link | None = None,
    ) -> None:
        """url: mqtt:// or mqtts:// for a broker, ws:// or wss:// for a liveagent server's /robot. axes: the names of
        speeds that it can be given; joints: of its joints; chunk: what a chunk's columns are, speeds by `axes` or
        positions by `joints`. standstill_ms: how long it takes to stand after a zero setpoint; ramp_ms: how long its
        setpoint takes to zero when its driver is lost. Both are told to agents, and both count. key: for a server.
        confirm_key: shared with the agent, proves that a person confirmed a hazard. ValueError for what cannot be."""
        self.site, self.robot = contract.checked(site), contract.checked(robot)
        self.limits = limits or Limits()
        self.boot = secrets.token_hex(8)
        now = Now.read()
        self.guard = Guard(self.limits, now, confirm_key=confirm_key)
        axes = tuple(axes) or tuple(self.limits.spec.speed)
        self.motion = Motion(self.limits, axes, joints, chunk, ramp_ms, standstill_ms)
        self._can_confirm = confirm_key is not None
        self._link = link or _link(url, self.site, self.robot, self.boot, ca, key)
        self._actions: dict[str, Action] = {}
        self.runs = Runs(self.guard, self._send_update, self._move, self._aim)
        self._cameras = Cameras(lambda tail, data: self._put(tail, data))
        self._description, self._standstill_ms, self._ramp_ms = description, standstill_ms, ramp_ms
        self._tick_s, self._state_s = 1.0 / tick_hz, 1.0 / state_hz
        self._velocity: Callable[[dict[str, float]], object] | None = None
        self._joints: Callable[[tuple[float, ...]], object] | None = None
        self._state: Callable[[], Mapping[str, Any]] = dict
        self._on_stop: list[Callable[[Stop], object]] = []
        self._on_hold: list[Callable[[Reason], object]] = []
        self._on_reset: list[Callable[[], object]] = []
        self._known: Mapping[str, Any] = {}  # what `_state` said last
        self._state_seq = 0
        self._hold: Reason | None = None
        self._refused: Counter[str] = Counter()
        self._up = False
        self._settled_s = 0.0
        self._other_until_s = 0.0
        self._announced_s = 0.0

    # --- what it can do

    def action(
        self,
        *,
        risk: Risk = "reversible",
        motion: bool | None = None,
        name: str | None = None,
        phrases: Sequence[str] = (),
        timeout_s: float = 30.0,
        cancel_on_barge_in: bool = False,
        point: Sequence[str] | Mapping[str, str] = (),
    ) -> Callable[[F], F]:
        """What a robot does when it is ordered to: an async function (or a plain one, which gets a thread), whose
        signature says what it takes. An argument annotated `Call` is the running order, for progress and motion.
        motion: whether it moves; all but observers do. point: arguments that are x, y, z within the limits' box."""

        def declare(function: F) -> F:
            moves = risk != "observe" if motion is None else motion
            where = dict(point) if isinstance(point, Mapping) else {each: each for each in point}
            made = action(
                function, risk=risk, motion=moves, name=name, phrases=tuple(phrases), timeout_s=timeout_s,
                cancel_on_barge_in=cancel_on_barge_in, point=where,
            )  # fmt: skip
            if made.spec.name in self._actions or made.spec.name == "noop":
                raise ValueError(f"two actions are named {made.spec.name}")
            if risk == "hazard" and not self._can_confirm:
                raise ValueError(f"action {made.spec.name} is a hazard: give the gate its confirm_key=")
            self._actions[made.spec.name] = made
            return function

        return declare

    def velocity(self, function: F) -> F:
        """Called at each tick with the speed of every axis, to be given to the motors. Plain and quick."""
        self._velocity = function
        return function

    def joints(self, function: F) -> F:
        """Called at each tick for which there are joint targets, in the order of `joints=`. Plain and quick."""
        self._joints = function
        return function

    def state(self, function: F) -> F:
        """Called for what the robot knows of itself: {"joints": {name: value}, "pose": {"x": …}, anything plain}."""
        self._state = function
        return function

    def on_stop(self, function: F) -> F:
        """Called at once when it is stopped, before anything else happens."""
        self._on_stop.append(function)
        return function

    def on_hold(self, function: F) -> F:
        """Called when whoever led the robot leads it no more; its setpoint is on the ramp to zero."""
        self._on_hold.append(function)
        return function

    def on_reset(self, function: F) -> F:
        """Called when an operator has lifted a stop. Nothing moves by that."""
        self._on_reset.append(function)
        return function

    def camera(
        self, name: str, read: Callable[[], bytes | None | Awaitable[bytes | None]], *, fps: float = 10.0,
        size: tuple[int, int] | None = None,
    ) -> None:
        """A camera: `read` gives a JPEG, or None; a plain one runs in a thread."""
        self._cameras.add(name, read, fps, size)

    @property
    def describe(self) -> Describe:
        features = [
            name for name, there in (
                ("vel", self._velocity is not None), ("chunk", self.motion.chunk is not None),
                ("camera", bool(self._cameras.specs)), ("confirm", self._can_confirm),
            ) if there
        ]  # fmt: skip
        return Describe(
            site=self.site, robot=self.robot, boot=self.boot, description=self._description, features=features,
            tools=[each.spec for each in self._actions.values()], limits=self.limits.spec, axes=list(self.motion.axes),
            joints=list(self.motion.joints), chunk=self.motion.chunk, frames=self._cameras.specs,
            tick_hz=1.0 / self._tick_s, standstill_ms=self._standstill_ms, ramp_ms=self._ramp_ms,
        )  # fmt: skip

    # --- its life

    async def run(self) -> None:
        """Until cancelled. A way to the agents that is down, or does not let it in, is tried again for ever."""
        tasks = [asyncio.create_task(each) for each in (self._link.run(self), self._tick(), self._cameras.run())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.motion.stop()
            self._drive(Now.read())
            for task in tasks:
                task.cancel()
            await self.runs.close()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self, reason: str = "", src: str = "robot") -> str:
        """Stop it from here, a button on its back for instance; the id that `reset` wants."""
        stop = Stop(id=secrets.token_hex(8), reason=reason, src=src)
        self._stop(stop, Now.read())
        return stop.id

    def reset(self, stop_id: str) -> bool:
        """Lift a stop from here: somebody stands beside it."""
        now = Now.read()
        if not self.guard.latch.reset(stop_id, now):
            return False
        self.guard.lease.drop()
        self._hold = None
        for each in self._on_reset:
            self._safely(each)
        self._announce()
        return True

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        due, told = loop.time(), 0.0
        while True:
            now = Now.read()
            self._watch(now)
            self._drive(now)
            if now.s - told >= self._state_s - self._tick_s / 2:
                told = now.s
                self._tell(now)
            due = max(due + self._tick_s, loop.time())
            await asyncio.sleep(due - loop.time())

    def _watch(self, now: Now) -> None:
        """What may have ended without anybody saying so."""
        if self.guard.lease.lapse(now):
            self._held(Reason.NO_LEASE, now)
        conflict = now.s < self._other_until_s
        path = Reason.CONFLICT if conflict else Reason.LINK if not self._up else None
        path = path or (Reason.BUSY if now.s < self._settled_s else None)
        if path is not None and self.guard.path is None and path != Reason.BUSY:
            self._held(path, now)
        changed = (path == Reason.CONFLICT) != (self.guard.path == Reason.CONFLICT)
        self.guard.path = path
        if changed or (conflict and now.s - self._announced_s >= ANNOUNCE_S):
            self._announce()
        if self.runs.overdue(now) and not self.runs.moving:
            self.motion.hold(now)

    def _drive(self, now: Now) -> None:
        dry = self.motion.buffer.runs_dry(now.s)
        setpoint = self.motion.tick(now, self._known.get("pose", {}))
        if (dry or self.motion.starved) and self._hold is None:
            self._hold = Reason.STARVED
            self._call_hold(Reason.STARVED)
        if self._velocity is not None:
            self._safely(self._velocity, setpoint.axes)
        if self._joints is not None and setpoint.targets is not None:
            self._safely(self._joints, setpoint.targets)
        known = self._safely(self._state)
        self._known = known if isinstance(known, Mapping) else {}

    # --- what comes in

    def receive(self, tail: str, payload: bytes, retained: bool) -> None:
        """One message of the link's. Never raises."""
        now = Now.read()
        try:
            if tail == "connection":
                self._heard_of(contract.read(Connection, payload), retained, now)
                return
            if retained:  # from before; an order is never kept
                return
            self._watch(now)
            match tail:
                case "stop":
                    self._asked_to_stop(payload, now)
                case "stop/reset":
                    self.reset(contract.read(Reset, payload).stop_id)
                case "lease":
                    self._beat(contract.read(Lease, payload), now)
                case "cmd":
                    self._order(payload, now)
                case "cancel":
                    self._cancel(contract.read(Cancel, payload), now)
                case "vel":
                    self._stream(contract.read(Velocity, payload), now)
                case "chunk":
                    self._stream(contract.read(Chunk, payload, contract.MOST_CHUNK_BYTES), now)
        except ContractError as error:
            self._refused["MALFORMED"] += 1
            _log.warning("ignored a message on %s: %s", tail, error)

    def link_up(self, settle_s: float) -> None:
        self._up = True
        self._settled_s = Now.read().s + settle_s
        self._put("describe", contract.write(self.describe), qos=1, retain=True)
        self._announce()

    def link_down(self, why: LinkError) -> None:
        if self._up:
            _log.warning("%s", why)
        self._up = False
        self._watch(Now.read())

    def last_words(self, lost: bool) -> Letter:
        said = self._connection("CONNECTION_BROKEN" if lost else "OFFLINE")
        return Letter("connection", contract.write(said), 1, True)

    def _asked_to_stop(self, payload: bytes, now: Now) -> None:
        try:
            stop = contract.read(Stop, payload)
        except ContractError:  # whatever it says, it came on this topic
            stop = Stop(id=secrets.token_hex(8), reason="unreadable")
        if not stop.dry_run:
            self._stop(stop, now)
        self._put("stop/ack", contract.write(StopAck(
            id=stop.id, stop_id=self.guard.latch.stop_id, epoch=self.guard.latch.epoch, at_ms=Now.read().ms,
            dry_run=stop.dry_run,
        )), qos=1)  # fmt: skip

    def _stop(self, stop: Stop, now: Now) -> None:
        self.motion.stop()
        for each in self._on_stop:
            self._safely(each, stop)
        if self._velocity is not None:
            self._safely(self._velocity, dict(self.motion.applied))
        fresh = self.guard.latch.stop(stop.id, now)
        self._hold = Reason.STOPPED
        self.runs.end_motion(Reason.STOPPED)
        if fresh:
            self.guard.lease.drop()
            self._announce()

    def _held(self, reason: Reason, now: Now) -> None:
        """Whoever led it leads it no more."""
        led = self.motion.streaming or self.runs.moving
        self.motion.hold(now)
        self.runs.end_motion(reason)
        self.guard.lease.drop()
        if led and not self.guard.latch.stopped:
            self._hold = reason
            self._call_hold(reason)

    def _call_hold(self, reason: Reason) -> None:
        for each in self._on_hold:
            self._safely(each, reason)

    def _beat(self, lease: Lease, now: Now) -> None:
        echo = self.guard.beat(lease, now)
        self._put("lease/echo", contract.write(echo))

    def _order(self, payload: bytes, now: Now) -> None:
        try:
            command = contract.read(Command, payload)
        except ContractError as error:
            self.runs.unreadable(payload, str(error))
            return
        made = self._actions.get(command.tool)
        if self.runs.order(command, made, now) and made is not None and made.spec.motion:
            self._hold = None

    def _cancel(self, cancel: Cancel, now: Now) -> None:
        if self.runs.cancel(cancel) and not self.runs.moving:
            self.motion.hold(now)
        if cancel.id == "*" and self.guard.lease.holder == cancel.session and self.motion.streaming:
            self.motion.hold(now)
            self._hold = Reason.CANCELLED
            self._call_hold(Reason.CANCELLED)

    def _stream(self, message: Velocity | Chunk, now: Now) -> None:
        refusal = self.guard.stream(message)
        wrong: str | None
        if refusal is not None:
            self._refused[refusal.reason.value] += 1
            return
        if self.runs.moving:
            self._refused[Reason.BUSY.value] += 1
            return
        offset = self.guard.lease.offset
        if isinstance(message, Velocity):
            wrong = self.motion.velocity(message, offset, now)
        else:
            wrong = self.motion.feed(message, offset, now)
        if wrong is not None:
            self._refused[Reason.EXPIRED.value if wrong in ("late", "all of it is past") else Reason.LIMIT.value] += 1
        else:
            self._hold = None

    def _heard_of(self, connection: Connection, retained: bool, now: Now) -> None:
        """Somebody is said to be what we are."""
        if connection.boot == self.boot:
            return
        if not retained and connection.state in ("ONLINE", "CONFLICT"):
            if now.s >= self._other_until_s:
                _log.error("another robot calls itself %s/%s: neither moves", self.site, self.robot)
            self._other_until_s = now.s + CONFLICT_S
            self._watch(now)
        else:  # one that was here before
            self._announce()

    # --- what goes out

    def _move(self, axes: Mapping[str, float]) -> dict[str, float]:
        self.motion.move(axes, Now.read())
        return dict(self.motion.applied)

    def _aim(self, targets: Sequence[float]) -> tuple[float, ...]:
        self.motion.targets = self.limits.joint_targets(self.motion.joints, targets, self.motion.targets)
        return self.motion.targets

    def _send_update(self, update: contract.ActionUpdate) -> None:
        self._put(f"action/{update.id}", contract.write(update), qos=1)

    def _tell(self, now: Now) -> None:
        known = dict(self._known)
        self._state_seq += 1
        try:
            state = State(
                t_ms=now.ms, seq=self._state_seq, epoch=self.guard.latch.epoch, boot=self.boot,
                stop_id=self.guard.latch.stop_id, holder=self.guard.lease.holder, grant=self.guard.lease.grant,
                hold=self._hold, joints=known.pop("joints", {}), pose=known.pop("pose", {}),
                applied=self.motion.applied, actions=self.runs.ids, refused=dict(self._refused),
                starved_ticks=self.motion.buffer.starved_ticks, more=known,
            )  # fmt: skip
        except ValueError as error:
            _log.error("what @gate.state gives cannot be told: %s", str(error).splitlines()[0])
            return
        self._put("state", contract.write(state))

    def _connection(self, state: Literal["ONLINE", "OFFLINE", "CONNECTION_BROKEN", "CONFLICT"]) -> Connection:
        return Connection(state=state, epoch=self.guard.latch.epoch, boot=self.boot, stop_id=self.guard.latch.stop_id)

    def _announce(self) -> None:
        now = Now.read()
        self._announced_s = now.s
        said = self._connection("CONFLICT" if now.s < self._other_until_s else "ONLINE")
        self._put("connection", contract.write(said), qos=1, retain=True)

    def _put(self, tail: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> None:
        if self._up:
            self._link.send(Letter(tail, payload, qos, retain))

    def _safely(self, function: Callable[..., Any], *given: Any) -> Any:
        """What the robot's own functions raise is logged, and keeps no watchdog from watching."""
        try:
            return function(*given)
        except Exception:  # whatever a stranger's function raises
            _log.exception("%s failed", getattr(function, "__name__", function))
            return None


def _link(url: str, site: str, robot: str, boot: str, ca: Path | None, key: str | None) -> Link:
    scheme = url.partition("://")[0]
    if scheme in ("mqtt", "mqtts"):
        from .mqtt_link import MqttLink

        return MqttLink(url, site, robot, boot, ca=ca)
    if scheme in ("ws", "wss"):
        from .socket_link import SocketLink

        return SocketLink(url, site, robot, boot, ca=ca, key=key)
    raise ValueError(f"{scheme}:// is no way to an agent; use mqtt://, mqtts://, ws:// or wss://")
