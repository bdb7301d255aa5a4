"""`Runs`: the orders that are being carried out: each once, until its own end, a cancel, a stop, or its time is up.

What comes again is answered with what became of it. An order is answered at once, and its last word is kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .action import Action, ArgumentError
from .call import REPORT_S, Call, Halted
from .contract import ID, ActionUpdate, Cancel, Command, Reason, Status
from .guard import Guard, Refusal
from .now import Now

MOST_AT_ONCE = 8
MOST_RESULT_BYTES = 64 << 10
CLOSE_S = 1.0

_log = logging.getLogger("liveagent.robot")


class _Run:
    """One order. `why`: set by whoever ended it before its own end."""

    def __init__(self, command: Command, action: Action, now: Now) -> None:
        self.command, self.action = command, action
        self.until_s = now.s + action.spec.timeout_s
        self.why: Reason | None = None
        self.progress = 0.0
        self.reported_s = 0.0
        self.call: Call | None = None
        self.task: asyncio.Task[Any] | None = None


class Runs:
    def __init__(
        self,
        guard: Guard,
        tell: Callable[[ActionUpdate], None],
        move: Callable[[Mapping[str, float]], dict[str, float]],
        aim: Callable[[Sequence[float]], tuple[float, ...]],
    ) -> None:
        self._guard, self._tell, self._move, self._aim = guard, tell, move, aim
        self._runs: dict[str, _Run] = {}
        self._threads: set[asyncio.Task[Any]] = set()  # plain functions that have not come back
        self._seq = 0

    @property
    def ids(self) -> list[str]:
        return list(self._runs)

    @property
    def moving(self) -> bool:
        """Whether one of them moves the robot."""
        return any(run.action.spec.motion for run in self._runs.values())

    def order(self, command: Command, action: Action | None, now: Now) -> bool:
        """Begin it, or say why not. Whether it was begun."""
        seen = self._guard.seen
        if seen.knows(command):
            self._again(command)
            return False
        if command.tool == "noop":
            self._say(command.id, Status.FINISHED, progress=1.0)
            return False
        refusal = self._guard.command(command, None if action is None else action.spec, now, self.moving)
        args: dict[str, Any] = {}
        if refusal is None and action is not None:
            try:
                args = action.read(command.args)
            except ArgumentError as error:
                refusal = Refusal(Reason.BAD_ARGS, str(error))
            else:
                refusal = self._out_of_reach(action, args) or self._too_many()
        if command.dry_run:
            status = Status.FINISHED if refusal is None else Status.FAILED
            self._say(command.id, status, reason=refusal and refusal.reason, detail=refusal.detail if refusal else "")
            return False
        if not seen.full(now):
            seen.take(command, now)
        if refusal is not None or action is None:
            assert refusal is not None
            self._say(command.id, Status.FAILED, reason=refusal.reason, detail=refusal.detail)
            return False
        run = _Run(command, action, now)
        run.call = Call(command.id, lambda share, detail: self._report(run, share, detail), self._move, self._aim)
        self._runs[command.id] = run
        self._say(command.id, Status.RUNNING)
        run.task = asyncio.get_running_loop().create_task(self._do(run, args), name=f"action {command.tool}")
        return True

    def unreadable(self, payload: bytes, why: str) -> None:
        """An order that is none: answered if it says what it is called."""
        try:
            name = json.loads(payload)["id"]
        except (ValueError, KeyError, TypeError, RecursionError):
            name = None
        _log.warning("ignored an order: %s", why)
        if isinstance(name, str) and ID.fullmatch(name) and self._guard.seen.last(name) is None:
            self._say(name, Status.FAILED, reason=Reason.BAD_ARGS, detail=why[:500])

    def cancel(self, cancel: Cancel) -> bool:
        """Whether that ended a motion."""
        moved = False
        for name, run in list(self._runs.items()):
            if cancel.id in ("*", name):
                moved = moved or run.action.spec.motion
                self._end(run, Reason.CANCELLED)
        return moved

    def end_motion(self, reason: Reason) -> None:
        """Whatever moves the robot, moves it no more."""
        for run in list(self._runs.values()):
            if run.action.spec.motion:
                self._end(run, reason)

    def overdue(self, now: Now) -> bool:
        """End what takes longer than it may; whether that ended a motion."""
        moved = False
        for run in list(self._runs.values()):
            if now.s > run.until_s:
                moved = moved or run.action.spec.motion
                self._end(run, Reason.EXPIRED)
        return moved

    async def close(self) -> None:
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        for run in list(self._runs.values()):
            self._end(run, Reason.LINK)
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    # --- inside

    async def _do(self, run: _Run, args: dict[str, Any]) -> None:
        if run.action.takes_call:
            args[run.action.takes_call] = run.call
        try:
            if run.action.is_async:
                result = await run.action.function(**args)
            else:
                inner = asyncio.ensure_future(asyncio.to_thread(run.action.function, **args))
                self._threads.add(inner)
                inner.add_done_callback(self._threads.discard)
                result = await asyncio.shield(inner)
            size = len(json.dumps(result, allow_nan=False))
            if size > MOST_RESULT_BYTES:
                raise ValueError(f"a result of {size} bytes; {MOST_RESULT_BYTES} are the most")
        except asyncio.CancelledError:
            self._over(run, Status.FAILED, reason=run.why or Reason.CANCELLED)
        except Halted:
            self._over(run, Status.FAILED, reason=run.why or Reason.STOPPED)
        except Exception as error:  # a robot's function may raise anything; it concerns this order alone
            _log.warning("action %s failed: %s", run.action.spec.name, error)
            self._over(run, Status.FAILED, reason=Reason.ERROR, detail=f"{type(error).__name__}: {error}"[:500])
        else:
            self._over(run, Status.FINISHED, result=result)

    def _end(self, run: _Run, reason: Reason) -> None:
        """Told at once: the setpoint is already on its way to zero, however long the function takes to notice."""
        if run.call is not None:
            run.call.over = True
        run.why = run.why or reason
        if run.task is not None:
            run.task.cancel()
        self._over(run, Status.FAILED, reason=reason)

    def _over(
        self, run: _Run, status: Status, *, reason: Reason | None = None, detail: str = "", result: Any = None
    ) -> None:
        if self._runs.pop(run.command.id, None) is None:
            return
        if run.call is not None:
            run.call.over = True
        if run.action.spec.motion and reason in (None, Reason.ERROR):  # whoever ended it else, sees to that
            self._move({})
        progress = 1.0 if status is Status.FINISHED else run.progress
        self._say(run.command.id, status, progress=progress, reason=reason, detail=detail, result=result)

    def _report(self, run: _Run, progress: float, detail: str) -> None:
        run.progress = progress
        now = Now.read()
        if run.command.id in self._runs and now.s - run.reported_s >= REPORT_S:
            run.reported_s = now.s
            self._say(run.command.id, Status.RUNNING, progress=progress, detail=detail[:500])

    def _again(self, command: Command) -> None:
        """What became of it the first time; to a command that merely has its id, that it is another's."""
        last = self._guard.seen.last(command.id)
        if last is None:
            return
        differs = self._guard.seen.differs(command)
        changes: dict[str, Any] = {"duplicate": True}
        if differs:
            changes |= {"reason": Reason.DUPLICATE, "detail": "another order has this id"}
        self._tell(last.model_copy(update=changes))

    def _say(
        self, name: str, status: Status, *, progress: float = 0.0, reason: Reason | None = None, detail: str = "",
        result: Any = None,
    ) -> None:
        self._seq += 1
        update = ActionUpdate(
            id=name, status=status, progress=progress, reason=reason, detail=detail, result=result, seq=self._seq,
            epoch=self._guard.latch.epoch, at_ms=Now.read().ms,
        )  # fmt: skip
        self._guard.seen.update(update)
        self._tell(update)

    def _out_of_reach(self, action: Action, args: Mapping[str, Any]) -> Refusal | None:
        where = {axis: args[name] for axis, name in action.point.items() if args.get(name) is not None}
        wrong = self._guard.limits.point(**where)
        return Refusal(Reason.LIMIT, wrong) if wrong else None

    def _too_many(self) -> Refusal | None:
        if max(len(self._runs), len(self._threads)) >= MOST_AT_ONCE:
            return Refusal(Reason.BUSY, f"{MOST_AT_ONCE} orders are still running")
        return None
