"""The hands: tools and the functions of watches are called here, each call once, each with a deadline (LAW 6).

A call arrives as `CallTool`, is cleared (see `clearing`), and comes back as `ToolReturned` or `ToolFailed`, through the
session's inbox like a sound; a watch's as `CallWatch`, and what it wants said as `SayAsked`. A second call with an id
that was seen does nothing. Whatever a function raises becomes `ToolFailed` or `WatchFailed`; it never ends the session.
Plain functions run in a thread of their own, so that a slow one does not stop the clock, and one that never returns
keeps nobody from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from liveagent.action import CallTool, CallWatch, CancelCall, Halt, ReleaseCall
from liveagent.call import Call, Seen
from liveagent.errors import OutcomeLost, ToolError
from liveagent.event import (
    ConfirmAsked,
    Confirmed,
    DeviceLost,
    OutcomeUnknown,
    SayAsked,
    ToolCalled,
    ToolFailed,
    ToolProgressed,
    ToolReturned,
    WatchFailed,
)
from liveagent.jsonform import bounded_json
from liveagent.policy import Answered, Policy
from liveagent.runtime.clearing import By, Clearing, NotSent, Terms
from liveagent.tool import Tool
from liveagent.transaction import State, Transaction
from liveagent.watch import Sighting, Watch

REMEMBERED_CALLS = 4096
CALLS_IN_FLIGHT = 8
CLOSE_S = 1.0
WATCH_DEADLINE_MS = 60_000
SAYINGS = 8
SAYING_CHARS = 300
MESSAGE_CHARS = 1000
MOST_NOTES = 64
RESULT_BYTES = 64 << 10
"""What a tool may give back; who reads it reads a page at most."""
PROGRESS_NS = 100_000_000
"""Progress is told ten times a second at most."""

Outcome = (
    ToolReturned | ToolFailed | ToolProgressed | ConfirmAsked | Confirmed | OutcomeUnknown | DeviceLost | SayAsked
    | WatchFailed
)  # fmt: skip


class WatchSession:
    """The session as a watch's function is given it."""

    def __init__(self, call_id: str, put: Callable[[Outcome], None], now_ns: Callable[[], int]) -> None:
        self._call_id, self._put, self._now_ns = call_id, put, now_ns
        self._said = 0

    async def say(self, text: str) -> None:
        """Have this said aloud, as soon as nobody else speaks. Returns at once. ToolError for what cannot be said."""
        text = " ".join(text.split()) if isinstance(text, str) else ""
        if not text:
            raise ToolError("say() wants a text with a word in it")
        if len(text) > SAYING_CHARS:
            raise ToolError(f"say() was given {len(text)} characters; {SAYING_CHARS} are the most that is said at once")
        if self._said >= SAYINGS:
            raise ToolError(f"{SAYINGS} things are the most that is said of one call")
        self._said += 1
        self._put(SayAsked(self._now_ns(), self._call_id, text))


class Hands:
    """Runs one session's tool calls and the functions of its watches. `put(event)` receives what came of each;
    `now_ns()` stamps it. `clearing` is what a call passes before it is sent: by `policy`, on `terms`."""

    def __init__(
        self,
        tools: Sequence[Tool],
        put: Callable[[Outcome], None],
        now_ns: Callable[[], int],
        watches: Sequence[Watch] = (),
        policy: Policy | None = None,
        terms: Terms | None = None,
    ) -> None:
        self.clearing = Clearing(policy or Policy(), put, now_ns, terms)
        self._tools = {tool.name: tool for tool in tools}
        self._found: dict[str, Tool] = {}
        self._watches = {watch.name: watch for watch in watches}
        self._put, self._now_ns = put, now_ns
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._moves: dict[str, bool] = {}
        self._unsent: set[str] = set()  # calls that are not released yet
        self.sees: Callable[[], Seen | None] = lambda: None
        """What the conversation's camera shows now."""
        self._notes: set[asyncio.Task[None]] = set()  # lines of the journal that nothing waits for
        self._halts = 0
        self._closing = False
        self._inner: set[asyncio.Task[Any]] = set()  # the tools' own, those past their deadline too
        self._threads = 0  # of plain functions, those past their deadline too

    def found(self, tools: Sequence[Tool]) -> None:
        """What the agent's sources have now. Its own tools keep their names; calls that run go on."""
        self._found = {tool.name: tool for tool in tools}

    def _tool(self, name: str) -> Tool | None:
        return self._tools.get(name) or self._found.get(name)

    def decided(self, called: ToolCalled) -> None:
        """What a call that is coming was decided on."""
        self.clearing.decided(called)

    def confirm(self, call_id: str, token: str, yes: bool, by: By) -> Answered:
        """A person has answered, by a button or a key, with the token that their link was given."""
        return self.clearing.answer(call_id, token, yes, by)

    def obey(self, action: CallTool | ReleaseCall | CallWatch | CancelCall | Halt) -> None:
        """Start, release or cancel a call, or halt. Returns at once."""
        if isinstance(action, Halt):
            self._halt()
            return
        if isinstance(action, ReleaseCall):
            self.clearing.survived(action.call_id)
            return
        if isinstance(action, CancelCall):
            task = self._tasks.get(action.call_id)
            if task is not None:
                task.cancel()
            return
        if action.call_id in self._seen:
            return
        self._seen[action.call_id] = None
        while len(self._seen) > REMEMBERED_CALLS:
            self._seen.popitem(last=False)
        running = max(len(self._tasks), len(self._inner), self._threads)
        if isinstance(action, CallWatch):
            if running >= CALLS_IN_FLIGHT:
                self._put(self._watch_failed(action, f"{CALLS_IN_FLIGHT} calls are still running"))
                return
            told = asyncio.get_running_loop().create_task(self._tell(action), name=f"watch {action.watch}")
            self._tasks[action.call_id] = told
            told.add_done_callback(lambda _: self._forget(action.call_id))
            return
        if running >= CALLS_IN_FLIGHT and action.name != "stop":  # a stop is never made to wait
            self._note(self._end(action, "refused", "busy"))
            self._fail(action.call_id, "refused", f"{CALLS_IN_FLIGHT} calls are still running")
            return
        task = asyncio.get_running_loop().create_task(self._call(action), name=f"tool {action.name}")
        self._tasks[action.call_id] = task
        tool = self._tool(action.name)
        self._moves[action.call_id] = tool is not None and tool.moves
        self._unsent.add(action.call_id)
        task.add_done_callback(lambda _: self._over(action, task))

    def _halt(self) -> None:
        """The stop word: what was not sent yet never is, calls that move something are cancelled, and a tool named
        `stop` is called at once."""
        for call_id, task in self._tasks.items():
            if self._moves.get(call_id) or call_id in self._unsent:
                task.cancel()
        tool = self._tools.get("stop")
        if tool is not None and not any(argument.required for argument in tool.arguments):
            self._halts += 1
            self.obey(CallTool(f"halt_{self._halts}", "stop", deadline_ms=int(tool.timeout_s * 1000), by="grammar"))

    async def _call(self, action: CallTool) -> None:
        tool, clearing = self._tool(action.name), self.clearing
        call = clearing.begun(action, tool)
        try:
            if tool is None:
                raise ToolError(f"there is no tool named {action.name}")
            args = tool.validate(action.args)
            call = await clearing.clear(call, action, tool, args)
        except NotSent as why:
            self._fail(action.call_id, why.reason, str(why))
            return
        except asyncio.CancelledError:
            self._fail(action.call_id, "taken_back", "it was taken back before it was sent", answer=False)
            return
        except ToolError as error:
            await clearing.end(call, "refused", "invalid")
            self._fail(action.call_id, "refused", str(error))
            return
        self._unsent.discard(action.call_id)
        await self._send(call, tool, args, action.deadline_ms)

    async def _send(self, call: Transaction, tool: Tool, args: dict[str, Any], deadline_ms: int) -> None:
        """Have the effect, now that the call is released."""
        doing = _Doing(self, call)
        state: State = "failed"
        reason, message, result = "", "", None
        try:
            given = await self._within(deadline_ms, self._do(tool, args, doing.call))
            result = bounded_json(given, tool.name, RESULT_BYTES)
            state = "done"
        except TimeoutError:
            state, reason, message = "expired", "deadline", f"no answer within {deadline_ms} ms"
        except asyncio.CancelledError:
            reason, message = "cancelled", "the call was cancelled"
        except OutcomeLost as error:
            state, reason, message = "asked", "unknown", str(error)
        except ToolError as error:
            reason, message = "refused", str(error)
        except Exception as error:  # a user's tool may raise anything; it concerns this call alone
            reason, message = "error", f"{type(error).__name__}: {error}"
        doing.over = True
        if self._closing and not tool.is_async and reason == "cancelled":
            return  # a thread cannot be cancelled: nobody knows how this ends, and the next session asks
        await asyncio.shield(asyncio.ensure_future(self.clearing.end(doing.transaction, state, reason)))
        if state == "done":
            self._put(ToolReturned(self._now_ns(), call.call_id, result))
        else:
            self._fail(call.call_id, reason, message)

    def saying(self, call_id: str) -> Callable[[str], Awaitable[None]]:
        """How the tool of this call has something said, now and later. A tool that keeps it, as a timer does, keeps no
        conversation alive by that."""
        here = weakref.ref(self)

        def open_hands() -> Hands:
            hands = here()
            if hands is None or hands._closing:
                raise ToolError("the conversation is over; nobody is told")
            return hands

        return WatchSession(call_id, lambda said: open_hands()._put(said), lambda: open_hands()._now_ns()).say

    def progressed(self, doing: _Doing, share: float | None, note: str) -> None:
        """A tool tells how far it is; the first time, that it has taken the call on."""
        if doing.over:
            return
        if doing.transaction.state == "released":
            doing.transaction = doing.transaction.to("accepted")
            self._note(self.clearing.accepted(doing.transaction))
        now_ns = self._now_ns()
        if now_ns - doing.told_ns >= PROGRESS_NS or share == 1.0:
            doing.told_ns = now_ns
            self._put(ToolProgressed(now_ns, call_id=doing.transaction.call_id, share=share, note=note))

    async def _tell(self, action: CallWatch) -> None:
        """Run the function of a watch that has fired. Whatever it raises is told, and ends nothing else."""
        watch = self._watches.get(action.watch)
        if watch is None:
            self._put(self._watch_failed(action, "this agent has no such watch"))
            return
        sighting = Sighting(action.watch, action.change, action.seen_ns, action.holds, action.things)
        session = WatchSession(action.call_id, self._put, self._now_ns)
        try:
            await self._within(WATCH_DEADLINE_MS, watch(sighting, session))
        except TimeoutError:
            self._put(self._watch_failed(action, f"it did not end within {WATCH_DEADLINE_MS // 1000} s"))
        except asyncio.CancelledError:
            self._put(self._watch_failed(action, "it was cancelled"))
        except ToolError as error:
            self._put(self._watch_failed(action, str(error)))
        except Exception as error:  # a user's function may raise anything; it concerns this call alone
            self._put(self._watch_failed(action, f"{type(error).__name__}: {error}"))

    def _watch_failed(self, action: CallWatch, why: str) -> WatchFailed:
        return WatchFailed(self._now_ns(), action.call_id, action.watch, why)

    async def _within(self, deadline_ms: int, call: Coroutine[Any, Any, Any]) -> Any:
        """The result, or TimeoutError at the deadline, even if the tool will not be cancelled."""
        task = asyncio.get_running_loop().create_task(call)
        self._inner.add(task)
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task}, timeout=deadline_ms / 1000)
            if task.done():
                return task.result()
        finally:
            task.cancel()
        raise TimeoutError

    async def _do(self, tool: Tool, args: dict[str, Any], call: Call) -> Any:
        if tool.takes_call:
            args = {**args, tool.takes_call: call}
        return await tool(**args) if tool.is_async else await self._in_thread(tool, args)

    async def _in_thread(self, tool: Tool, args: dict[str, Any]) -> Any:
        """Not the loop's own workers: those are waited for at the end, and a tool may never return."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()

        def settle(result: Any, error: BaseException | None) -> None:
            self._threads -= 1
            if future.done():
                return
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)

        def work() -> None:
            result: Any = None
            failed: BaseException | None = None
            try:
                result = tool(**args)
            except StopIteration:  # a future refuses it
                failed = ToolError("the tool stopped without a result")
            except BaseException as error:
                failed = error if isinstance(error, Exception) else ToolError(f"the tool ended with {error!r}")
            with contextlib.suppress(RuntimeError):  # the session has ended meanwhile
                loop.call_soon_threadsafe(settle, result, failed)

        self._threads += 1
        threading.Thread(target=work, name=f"tool {tool.name}", daemon=True).start()
        return await future

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._inner.discard(task)
        if not task.cancelled():
            task.exception()  # after a deadline nobody else asks for it

    def _fail(self, call_id: str, reason: str, message: str, answer: bool = True) -> None:
        self._put(ToolFailed(self._now_ns(), call_id, reason, message[:MESSAGE_CHARS], answer))

    def _over(self, action: CallTool, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before it had so much as begun
            self._note(self._end(action, "taken_back", ""))
            self._fail(action.call_id, "taken_back", "it was taken back before it was sent", answer=False)
        self._forget(action.call_id)

    async def _end(self, action: CallTool, state: State, reason: str) -> None:
        await self.clearing.end(self.clearing.begun(action, self._tool(action.name)), state, reason)

    def _note(self, writing: Coroutine[Any, Any, None]) -> None:
        """Write something down while other things go on; not without end where a disk hangs."""
        if len(self._notes) >= MOST_NOTES:
            writing.close()
            return
        task = asyncio.get_running_loop().create_task(writing)
        self._notes.add(task)
        task.add_done_callback(self._notes.discard)

    def _forget(self, call_id: str) -> None:
        self._tasks.pop(call_id, None)
        self._moves.pop(call_id, None)
        self._unsent.discard(call_id)

    async def close(self) -> None:
        """Cancel what still runs, and wait a second for it to end."""
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)
        if self._notes:
            await asyncio.wait(self._notes, timeout=CLOSE_S)


class _Doing:
    """A call that was sent: how far it is, and its tool's view of it."""

    def __init__(self, hands: Hands, transaction: Transaction) -> None:
        self.transaction = transaction
        self.told_ns = -PROGRESS_NS
        self.over = False
        here = weakref.ref(hands)

        def told(share: float | None, note: str) -> None:
            if (hands := here()) is not None:
                hands.progressed(self, share, note)

        def sees() -> Seen | None:
            return hands.sees() if (hands := here()) is not None else None

        self.call = Call(
            transaction.call_id, transaction.key, transaction.deadline_ms,
            told, bool(transaction.confirmed_by),
            session=transaction.session, owner=hands.clearing.terms.owner, say=hands.saying(transaction.call_id),
            sees=sees,
        )  # fmt: skip
