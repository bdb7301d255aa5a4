"""Tool calls that hang, raise, repeat themselves or will not be cancelled: each comes back once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from liveagent import tool, watch
from liveagent.action import CallTool, CallWatch, CancelCall, Halt
from liveagent.event import SayAsked, ToolFailed, ToolReturned, WatchFailed
from liveagent.runtime.hands import CALLS_IN_FLIGHT, Hands, Outcome
from liveagent.tool import Tool
from liveagent.watch import Sighting

Came = Outcome
NEVER = threading.Event()


@tool
def plain(word: str) -> str:
    """Say a word in a thread."""
    return f"{word} from {threading.current_thread().name}"


@tool
def hang() -> None:
    """Never return."""
    NEVER.wait()


@tool
async def stubborn() -> None:
    """Ignore being cancelled, once."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(3600)
    await asyncio.sleep(3600)


@tool
async def wait() -> None:
    """Take an hour."""
    await asyncio.sleep(3600)


@tool(moves=True)
async def move() -> None:
    """Take an hour, and move."""
    await asyncio.sleep(3600)


@tool
def stop() -> str:
    """Stop."""
    return "stopped"


@tool
def odd() -> Any:
    """Give what no JSON has."""
    return object()


@tool
def ends() -> None:
    """End the program."""
    raise SystemExit(3)


TOOLS: list[Tool] = [plain, hang, stubborn, wait, move, stop, odd, ends]


class Desk:
    """Hands, and what comes back from them."""

    def __init__(self) -> None:
        self.came: list[Came] = []
        self.news = asyncio.Event()
        self.hands = Hands(TOOLS, self.put, lambda: 7)
        self.calls = 0

    def put(self, event: Came) -> None:
        self.came.append(event)
        self.news.set()

    def call(self, name: str, deadline_ms: int = 60_000, **args: Any) -> str:
        self.calls += 1
        self.hands.obey(CallTool(f"call_{self.calls}", name, args, deadline_ms))
        return f"call_{self.calls}"

    async def until(self, count: int) -> list[Came]:
        while len(self.came) < count:
            self.news.clear()
            await self.news.wait()
        return self.came


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.hands.close()


async def test_a_plain_function_runs_in_a_thread_of_its_own(desk: Desk) -> None:
    desk.call("plain", word="hello")
    (came,) = await desk.until(1)
    assert came == ToolReturned(7, "call_1", "hello from tool plain")


@pytest.mark.parametrize("name", ["hang", "stubborn", "wait"])
async def test_a_tool_that_never_returns_fails_at_its_deadline(desk: Desk, name: str) -> None:
    desk.call(name, deadline_ms=20)
    (came,) = await desk.until(1)
    assert isinstance(came, ToolFailed) and (came.reason, came.message) == ("deadline", "no answer within 20 ms")
    desk.call("plain", word="still")
    assert isinstance((await desk.until(2))[1], ToolReturned)


async def test_hung_calls_are_counted_and_a_stop_is_never_refused(desk: Desk) -> None:
    for _ in range(CALLS_IN_FLIGHT):
        desk.call("hang", deadline_ms=10)
    await desk.until(CALLS_IN_FLIGHT)
    desk.call("plain", word="late")
    refused = (await desk.until(CALLS_IN_FLIGHT + 1))[-1]
    assert isinstance(refused, ToolFailed) and refused.reason == "refused"
    desk.hands.obey(Halt())
    assert (await desk.until(CALLS_IN_FLIGHT + 2))[-1] == ToolReturned(7, "halt_1", "stopped")


@pytest.mark.parametrize(("name", "reason"), [("odd", "error"), ("ends", "refused"), ("nobody", "refused")])
async def test_whatever_goes_wrong_is_that_calls_alone(desk: Desk, name: str, reason: str) -> None:
    desk.call(name)
    (came,) = await desk.until(1)
    assert isinstance(came, ToolFailed) and came.reason == reason and came.message


async def test_the_same_call_twice_is_one_effect(desk: Desk) -> None:
    action = CallTool("call_1", "plain", {"word": "once"}, 60_000)
    desk.hands.obey(action)
    desk.hands.obey(action)
    desk.call("plain", word="x")  # its id is call_1 too
    await desk.until(1)
    await asyncio.sleep(0.02)
    assert len(desk.came) == 1


async def test_a_call_is_cancelled_by_its_id_and_physical_ones_by_halt(desk: Desk) -> None:
    waiting, _ = desk.call("wait"), desk.call("move")
    await asyncio.sleep(0)
    desk.hands.obey(Halt())
    came = await desk.until(2)
    assert {getattr(each, "call_id", "") for each in came} == {"call_2", "halt_1"}
    desk.hands.obey(CancelCall(waiting, "taken back"))
    last = (await desk.until(3))[-1]
    assert isinstance(last, ToolFailed) and (last.call_id, last.reason) == ("call_1", "cancelled")


async def test_closing_waits_for_nobody_who_will_not_end() -> None:
    desk = Desk()
    done: list[Callable[[], object]] = [lambda: desk.call("hang"), lambda: desk.call("stubborn")]
    for each in done:
        each()
    await asyncio.sleep(0.01)
    await desk.hands.close()
    assert {each.reason for each in desk.came if isinstance(each, ToolFailed)} == {"cancelled"}


@watch("a red ball is on the table")
async def greets(sight: Sighting, session: Any) -> None:
    await session.say(f"  {sight.things[0]},\n{sight.change} ")
    await session.say("Mind it!")


@watch("a green cup is on the table")
async def breaks(sight: Sighting, session: Any) -> None:
    await session.say("Hm.")
    raise KeyError(sight.watch)


@watch("a blue cup is on the table")
async def talks(sight: Sighting, session: Any) -> None:
    for _ in range(100):
        await session.say("And another thing.")


@watch("a cone is on the table")
async def says_nothing(sight: Sighting, session: Any) -> None:
    await session.say("  ")


async def told(name: str, call_id: str = "watch_1", twice: bool = False) -> list[Any]:
    came: list[Any] = []
    hands = Hands([], came.append, lambda: 7, [greets, breaks, talks, says_nothing])
    for _ in range(2 if twice else 1):
        hands.obey(CallWatch(call_id, name, "appear", 5, 0.9, ("red ball",)))
    for _ in range(20):
        await asyncio.sleep(0)
    await hands.close()
    return came


async def test_a_watch_that_fires_runs_its_function_once() -> None:
    assert await told("greets", twice=True) == [
        SayAsked(7, "watch_1", "red ball, appear"),
        SayAsked(7, "watch_1", "Mind it!"),
    ]


async def test_what_a_watchs_function_raises_is_told_and_what_it_said_before_stands() -> None:
    assert await told("breaks") == [
        SayAsked(7, "watch_1", "Hm."),
        WatchFailed(7, "watch_1", "breaks", "KeyError: 'breaks'"),
    ]


async def test_a_watchs_function_says_so_much_and_no_more() -> None:
    *said, failed = await told("talks")
    assert len(said) == 8 and all(isinstance(each, SayAsked) for each in said)
    assert isinstance(failed, WatchFailed) and "8 things are the most" in failed.message
    (failed,) = await told("says_nothing")
    assert isinstance(failed, WatchFailed) and "a word in it" in failed.message


async def test_a_watch_that_is_not_there() -> None:
    assert await told("nobody") == [WatchFailed(7, "watch_1", "nobody", "this agent has no such watch")]
