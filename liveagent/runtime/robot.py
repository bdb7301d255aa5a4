"""`Robot`: one robot as the agent sees it: its tools, its state, its cameras, a way to drive it and to stop it.

    robot = Robot(MqttWay("mqtts://agent:secret@broker:8883", "home", "arm"))
    agent = Agent("nano", tools=[robot])                    # what it announces becomes tools

    await robot.do("pick", {"thing": "cube"})               # to its end; ToolError says why not
    async with robot.drive() as drive:                      # while this lasts the robot hears that we are here
        await drive.velocity(vx=0.2)
    await robot.stop("the user said so", src="spoken")

A command has an id by which the robot does it once; when the way is lost and comes back it is asked for again under the
same id, so an outcome that was not heard is found out, and nothing is repeated. There is no reset here: a stop is
lifted by an operator, and no tool and no model can do that.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from liveagent.call import Call
from liveagent.clients.robot.contract import (
    ID,
    MOST_DESCRIBE_BYTES,
    START_DEADLINE_MS,
    ActionUpdate,
    Cancel,
    Command,
    Connection,
    ContractError,
    Describe,
    LeaseEcho,
    Reason,
    State,
    Stop,
    StopAck,
    ToolSpec,
    confirm_token,
    read,
    write,
)
from liveagent.errors import LinkError, LiveAgentError, OutcomeLost, ToolError
from liveagent.runtime.drive import Drive
from liveagent.runtime.lead import Lead, now_ms
from liveagent.runtime.order import Order
from liveagent.runtime.robot_camera import RobotCamera
from liveagent.runtime.robot_tools import GRACE_S, tools_of
from liveagent.runtime.stop_wire import StopAddress
from liveagent.runtime.way import Way
from liveagent.tool import Tool

OPEN_S = 3.0
PROBE_S = 2.0
STOP_S = 2.0
STOP_AGAIN_S = 0.1
LINGER_S = 2.0
"""A lead is kept for the next order that long, so that it need not be taken again."""
CONFIRM_MS = 15_000
MOST_ORDERS = 32
MOST_PROBLEMS = 32

_log = logging.getLogger("liveagent.robots")


class Robot:
    """One robot, from `open` to `close`. As a source of tools it may stand among an agent's."""

    def __init__(
        self, way: Way, *, prefix: str = "", confirm_key: bytes | None = None, session: str | None = None
    ) -> None:
        """prefix: before each tool's name, for several robots. confirm_key: shared with the robot, proves to it that a
        person has confirmed a hazard."""
        self._way, self._prefix, self._confirm_key = way, prefix, confirm_key
        self.session = session or f"agent-{secrets.token_hex(6)}"
        self.describe: Describe | None = None
        self.connection: Connection | None = None
        self.state: State | None = None
        """The newest: joints, pose, what is applied, whether it is stopped."""
        self.cameras: dict[str, RobotCamera] = {}
        self.barred: str | None = None
        """Why it is not given orders although it is there; None when it is."""
        self._tools: list[Tool] = []
        self._problems: list[str] = []
        self._changed: Callable[[], None] = lambda: None
        self._ready = asyncio.Event()
        self._up = False
        self._probed = ""  # which boot of the robot was probed on this connection
        self._orders: dict[str, Order] = {}
        self._acks: dict[str, asyncio.Future[StopAck]] = {}
        self._lead: Lead | None = None
        self._drivers = 0
        self._linger: asyncio.TimerHandle | None = None
        self._seq = itertools.count(1).__next__
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running: asyncio.Task[None] | None = None

    @property
    def reachable(self) -> bool:
        """Whether it is there now, and can be given orders."""
        online = self.connection is not None and self.connection.state == "ONLINE"
        return self._up and online and self.describe is not None and self.barred is None

    # --- as a source of tools

    @property
    def name(self) -> str:
        return f"the robot {self._way.site}/{self._way.robot} at {self._way.where}"

    async def open(self, changed: Callable[[], None] = lambda: None) -> None:
        """Look for it, and wait a moment for it to say what it can do. ConfigError: the broker will not have us."""
        self._changed = changed
        self._running = asyncio.create_task(self._way.run(self), name=self.name)
        ready = asyncio.create_task(self._ready.wait())
        await asyncio.wait({ready, self._running}, timeout=OPEN_S, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        self._running.add_done_callback(self._ended)
        if self._running.done() and not self._running.cancelled() and (error := self._running.exception()) is not None:
            raise _first(error)

    @property
    def stop_address(self) -> StopAddress | None:
        """Where it hears a stop that comes on a way of its own."""
        address = getattr(self._way, "stop_address", None)
        return address if isinstance(address, StopAddress) else None

    def tools(self) -> Sequence[Tool]:
        return self._tools

    def problems(self) -> Sequence[str]:
        found = list(self._problems)
        if self.connection is None or self.connection.state != "ONLINE":
            state = "not there" if self.connection is None else self.connection.state.lower().replace("_", " ")
            found.append(f"{self.name} is {state}")
        if self.barred is not None:
            found.append(f"{self.name}: {self.barred}")
        return found

    async def close(self) -> None:
        if self._lead is not None:
            self._lead.end()
        for camera in self.cameras.values():
            await camera.end()
        tasks = [task for task in (*self._tasks, self._running) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for order in self._orders.values():
            order.lose("the robot was let go of")

    # --- what it does

    async def do(
        self,
        name: str,
        args: dict[str, Any] | None = None,
        *,
        order_id: str | None = None,
        confirmed: bool = False,
        told: Callable[[float, str], None] = lambda share, note: None,
    ) -> Any:
        """Have it do something, to the end; what it returns. Cancelling this cancels it. ToolError says why it was not
        done; OutcomeLost, that nobody knows whether it was."""
        spec = self._spec(name)
        if len(self._orders) >= MOST_ORDERS:
            raise ToolError(f"{MOST_ORDERS} orders to this robot are still running")
        async with contextlib.AsyncExitStack() as stack:
            grant = await stack.enter_async_context(self._led()) if spec.motion else None
            order_id = order_id or secrets.token_hex(12)
            now = now_ms()
            assert self.connection is not None
            command = Command(
                id=order_id, tool=name, args=args or {}, sent_ms=now, deadline_ms=now + START_DEADLINE_MS,
                epoch=self.connection.epoch, session=self.session, grant=grant,
                confirm_token=self._token(order_id, name, args or {}) if confirmed else None,
            )  # fmt: skip
            order = self._orders[order_id] = Order(command, self.connection.boot, told)
            try:
                return await self._follow(order, spec.timeout_s + GRACE_S / 2)
            except asyncio.CancelledError:
                self._soon(self._cancel(order_id, "cancelled"))
                raise
            finally:
                self._orders.pop(order_id, None)
                order.close()

    async def stop(self, reason: str = "", src: str = "agent") -> StopAck:
        """Stop it, and hear that it has stopped. LinkError when it does not say so: then its own watchdog is all there
        is. Sent again and again until it is heard."""
        stop = Stop(id=secrets.token_hex(12), reason=reason[:500], src=src[:500], sent_ms=now_ms())
        return await self._until_heard(stop, STOP_S)

    @asynccontextmanager
    async def drive(self) -> AsyncIterator[Drive]:
        """Lead it by streams for a while. ToolError when somebody else does, or it is stopped."""
        self._spec(None)
        async with self._led() as grant:
            assert self._lead is not None
            drive = Drive(self._lead, grant, self._say, self._seq)
            try:
                yield drive
            finally:
                with contextlib.suppress(LiveAgentError):
                    await self._cancel("*", "the drive ended")

    async def probe(self) -> str | None:
        """Whether orders and stops get through and answers come back: brokers drop what they forbid without a word.
        What is wrong, or None."""
        try:
            await self._until_heard(Stop(id=secrets.token_hex(12), src="probe", dry_run=True), PROBE_S)
        except LinkError:
            return "a stop does not get through; the broker's rules must let us write …/stop and read …/stop/ack"
        now = now_ms()
        command = Command(
            id=secrets.token_hex(12), tool="noop", sent_ms=now, deadline_ms=now + START_DEADLINE_MS,
            epoch=self.connection.epoch if self.connection else 0, session=self.session, dry_run=True,
        )  # fmt: skip
        boot = self.connection.boot if self.connection else ""
        order = self._orders[command.id] = Order(command, boot, lambda share, note: None)
        try:
            await self._say("cmd", write(command))
            async with asyncio.timeout(PROBE_S):
                await order.result()
        except (TimeoutError, LiveAgentError):
            return "orders do not get through; the broker's rules must let us write …/cmd and read …/action/+"
        finally:
            self._orders.pop(command.id, None)
            order.close()
        return None

    # --- what comes

    def up(self) -> None:
        self._up = True
        self._probed = ""
        self._try()
        self._ask_again()

    def down(self, error: LiveAgentError) -> None:
        self._up = False
        if self._lead is not None:
            self._lead.end(str(error))

    def came(self, tail: str, payload: bytes) -> None:
        """One message of the robot's. Never raises."""
        kind, _, rest = tail.partition("/")
        try:
            if tail == "connection":
                self._connected(read(Connection, payload))
            elif tail == "describe":
                self._described(read(Describe, payload, MOST_DESCRIBE_BYTES))
            elif kind == "action":
                update = read(ActionUpdate, payload, MOST_DESCRIBE_BYTES)
                if update.id == rest and (order := self._orders.get(update.id)) is not None:
                    order.feed(update)
                    if update.reason is Reason.NO_LEASE and self._lead is not None:
                        self._lead.end("the robot let go")  # the next order takes another
            elif tail == "lease/echo" and self._lead is not None:
                self._lead.feed(read(LeaseEcho, payload))
            elif tail == "stop/ack":
                ack = read(StopAck, payload)
                if (waiting := self._acks.get(ack.id)) is not None and not waiting.done():
                    waiting.set_result(ack)
            elif tail == "state":
                self._felt(read(State, payload))
            elif kind == "camera" and (camera := self.cameras.get(rest.removesuffix("/jpeg"))) is not None:
                camera.feed(payload)
        except ContractError as error:
            self._problem(f"{self.name} sends what it may not: {error}")

    def _connected(self, connection: Connection) -> None:
        before, self.connection = self.connection, connection
        if connection.state == "ONLINE":
            for order in [each for each in self._orders.values() if each.boot != connection.boot]:
                order.lose("the robot has restarted meanwhile; nobody knows whether that was done")
        if self._lead is not None and (connection.state != "ONLINE" or self._lead.epoch != connection.epoch):
            self._lead.end("the robot was stopped, has restarted, or is gone")
        if connection.state == "ONLINE":
            self._ask_again()
            self._try()
        if before is None or (before.state, before.boot) != (connection.state, connection.boot):
            self._changed()

    def _ask_again(self) -> None:
        """The way was lost, or the robot has just come back: what became of everything that is under way? By its id it
        is not done again."""
        for order in self._orders.values():
            order.sent += 1
            self._soon(self._say("cmd", write(order.command)))

    def _described(self, describe: Describe) -> None:
        if (describe.site, describe.robot) != (self._way.site, self._way.robot):
            raise ContractError("it describes another robot")
        self.describe = describe
        self._tools, left_out = tools_of(describe, self._call, self._prefix)
        self._problems = []
        for line in left_out:
            self._problem(line)
        for spec in describe.frames:
            if spec.name not in self.cameras:
                self.cameras[spec.name] = RobotCamera(f"{self._way.robot} {spec.name}")
        self._try()
        self._changed()

    def _felt(self, state: State) -> None:
        if self.state is None or state.boot != self.state.boot or state.seq > self.state.seq:
            self.state = state

    # --- inside

    async def _call(self, name: str, args: dict[str, Any], call: Call) -> Any:
        """As a tool."""
        loop = asyncio.get_running_loop()

        def told(share: float, note: str) -> None:
            progress = loop.create_task(call.progress(share, note))
            self._tasks.add(progress)
            progress.add_done_callback(self._tasks.discard)

        key = call.key if ID.fullmatch(call.key) else hashlib.sha256(call.key.encode()).hexdigest()[:32]
        return await self.do(name, args, order_id=key, confirmed=call.confirmed, told=told)

    async def _follow(self, order: Order, timeout_s: float) -> Any:
        await self._send_order(order)
        try:
            async with asyncio.timeout(START_DEADLINE_MS / 1000.0 + GRACE_S / 2):
                await order.accepted.wait()
        except TimeoutError:
            self._soon(self._cancel(order.command.id, "no answer"))
            raise OutcomeLost("the robot does not answer; nobody knows whether it was done") from None
        try:
            async with asyncio.timeout(timeout_s):
                return await order.result()
        except TimeoutError:
            self._soon(self._cancel(order.command.id, "too long"))
            raise OutcomeLost("the robot has not said how it ended; nobody knows whether it was done") from None

    async def _send_order(self, order: Order) -> None:
        order.sent += 1
        try:
            await self._say("cmd", write(order.command))
        except LinkError as error:
            # The broker may have had it all the same: it is asked about as soon as the way is back.
            _log.warning("an order to %s may not have got through: %s", self.name, error)

    async def _until_heard(self, stop: Stop, within_s: float) -> StopAck:
        ack: asyncio.Future[StopAck] = asyncio.get_running_loop().create_future()
        self._acks[stop.id] = ack
        problem = f"{self.name} has not said that it heard a stop"
        try:
            async with asyncio.timeout(within_s):
                while not ack.done():
                    try:
                        await self._say("stop", write(stop))
                    except LinkError as error:
                        problem = f"{self.name} cannot be reached for a stop: {error}"
                    await asyncio.wait({ack}, timeout=STOP_AGAIN_S)
                return ack.result()
        except TimeoutError:
            raise LinkError(problem) from None
        finally:
            del self._acks[stop.id]
            ack.cancel()

    @asynccontextmanager
    async def _led(self) -> AsyncIterator[int]:
        """A lead for as long as this lasts, shared by all that need one."""
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if self._lead is None or self._lead.lost is not None:
            assert self.connection is not None
            self._lead = Lead(
                self.session, self.connection.epoch, self._seq, lambda beat: self._say("lease", beat, qos=0)
            )
        lead = self._lead
        self._drivers += 1
        try:
            yield await lead.taken()
        finally:
            self._drivers -= 1
            if not self._drivers and lead is self._lead:
                self._linger = asyncio.get_running_loop().call_later(LINGER_S, self._let_go, lead)

    def _let_go(self, lead: Lead) -> None:
        self._linger = None
        lead.end()

    def _spec(self, name: str | None) -> ToolSpec:
        """What it says of an action (None: of driving). ToolError when it cannot be asked for now."""
        if self.describe is None or self.connection is None or not self._up:
            raise ToolError(f"{self.name} is not there")
        if self.connection.state == "CONFLICT":
            raise ToolError("two robots have this name; neither moves until one is gone")
        if self.connection.state != "ONLINE":
            raise ToolError(f"{self.name} is not connected")
        if self.barred is not None:
            raise ToolError(f"{self.name} is given no orders: {self.barred}")
        drive = ToolSpec(name="drive", description="drive it")
        spec = drive if name is None else next((each for each in self.describe.tools if each.name == name), None)
        if spec is None:
            raise ToolError(f"the robot cannot {name}; it can {', '.join(each.name for each in self.describe.tools)}")
        if spec.motion and self.connection.stop_id is not None:
            raise ToolError("the robot is stopped; somebody has to release it by hand")
        return spec

    def _token(self, order_id: str, name: str, args: dict[str, Any]) -> str | None:
        if self._confirm_key is None:
            return None
        return confirm_token(self._confirm_key, order_id, name, args, now_ms() + CONFIRM_MS)

    async def _say(self, tail: str, payload: bytes, qos: int = 1) -> None:
        await self._way.send(tail, payload, qos=qos)

    async def _cancel(self, order_id: str, reason: str) -> None:
        await self._say("cancel", write(Cancel(id=order_id, session=self.session, reason=reason)))

    def _try(self) -> None:
        """Once it is there, whether it can be reached."""
        connection = self.connection
        if self.describe is None or connection is None or connection.state != "ONLINE":
            return
        if not self._up:
            return
        self._ready.set()
        if self._probed != connection.boot:
            self._probed = connection.boot
            self._soon(self._probe(connection.boot))

    async def _probe(self, boot: str) -> None:
        barred = await self.probe()
        there = self._up and self.connection is not None and self.connection.state == "ONLINE"
        if not there or self.connection is None or self.connection.boot != boot:  # it left meanwhile: says nothing
            self._probed = ""
        elif barred != self.barred:
            self.barred = barred
            self._changed()

    def _soon(self, what: Any) -> None:
        async def quietly() -> None:
            try:
                await what
            except LiveAgentError as error:
                _log.warning("%s: %s", self.name, error)

        task = asyncio.get_running_loop().create_task(quietly())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _ended(self, running: asyncio.Task[None]) -> None:
        """Nobody tries any more: what the broker wants must be mended first."""
        if not running.cancelled() and (error := running.exception()) is not None:
            self._up = False
            self._problem(f"{self.name}: {_first(error)}")
            self._changed()

    def _problem(self, line: str) -> None:
        if line not in self._problems:
            _log.warning("%s", line)
            self._problems = [*self._problems, line][-MOST_PROBLEMS:]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
