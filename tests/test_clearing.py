"""Calls on their way through the hands: window, policy, a person's yes, journal, progress, and what a tool may do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from liveagent import tool
from liveagent.action import CallTool, CancelCall, Halt, ReleaseCall
from liveagent.call import Call
from liveagent.errors import OutcomeLost
from liveagent.event import (
    ConfirmAsked,
    Confirmed,
    DeviceLost,
    OutcomeUnknown,
    ToolCalled,
    ToolFailed,
    ToolProgressed,
    ToolReturned,
)
from liveagent.policy import Limits, Policy, Question
from liveagent.ports.call_journal import CallJournal
from liveagent.runtime.clearing import Terms
from liveagent.runtime.hands import RESULT_BYTES, Hands
from liveagent.transaction import Transaction, key_of

DONE: list[str] = []
EVER = asyncio.Event()


@tool(risk="hazard")
async def unlock(door: str, call: Call) -> str:
    """Unlock a door."""
    DONE.append(f"{door} {call.confirmed}")
    return "unlocked"


@tool(risk="observe")
async def look() -> str:
    """Look."""
    DONE.append("looked")
    return "seen"


@tool(moves=True, hold_ms=240)
async def drive(metres: int) -> str:
    """Drive."""
    DONE.append(f"drove {metres}")
    return "there"


@tool
async def mow(call: Call) -> str:
    """Mow."""
    await call.accepted()
    for at in range(200):
        await call.progress(at / 199, "mowing")
    return call.key


@tool
async def flood(kind: str) -> Any:
    """Give back too much, or what is none."""
    if kind == "long":
        return "x" * 50_000_000
    if kind == "many":
        return [0] * 10_000_000
    ring: list[Any] = []
    ring.append(ring)
    return ring


@tool(timeout_s=60)
async def wait() -> None:
    """Wait."""
    await asyncio.Event().wait()


@tool
async def post() -> None:
    """Send it to somebody who is gone before they answer."""
    raise OutcomeLost("nobody knows whether that was done")


TOOLS = [unlock, look, drive, mow, flood, wait, post]


class Desk:
    """Hands, what came of their calls, and what a person was shown."""

    def __init__(self, policy: Policy | None = None, terms: Terms | None = None, shown: bool = True) -> None:
        self.now_ns = 0
        self.came: list[Any] = []
        self.shown: list[tuple[Question, str]] = []
        self.news = asyncio.Event()
        self.hands = Hands(TOOLS, self.put, lambda: self.now_ns, (), policy, terms)

        def show(question: Question, token: str, left_s: float) -> bool:
            self.shown.append((question, token))
            return shown

        self.hands.clearing.show = show
        self.calls = 0

    def call(self, name: str, hold_ms: int = 0, deadline_ms: int = 60_000, **args: Any) -> str:
        self.calls += 1
        self.hands.obey(CallTool(f"call_{self.calls}", name, args, deadline_ms, hold_ms=hold_ms))
        return f"call_{self.calls}"

    async def until(self, kind: type | tuple[type, ...], count: int = 1) -> Any:
        while len(found := [each for each in self.came if isinstance(each, kind)]) < count:
            self.news.clear()
            await self.news.wait()
        return found[-1]

    def put(self, event: Any) -> None:
        self.came.append(event)
        self.news.set()

    def ended(self) -> Sequence[Any]:
        return [each for each in self.came if isinstance(each, ToolReturned | ToolFailed)]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    DONE.clear()
    desk = Desk()
    yield desk
    await desk.hands.close()


async def test_a_hazard_waits_for_a_yes_to_exactly_its_arguments(desk: Desk) -> None:
    called = desk.call("unlock", door="front")
    asked = await desk.until(ConfirmAsked)
    assert asked == ConfirmAsked(0, called, "unlock", {"door": "front"}, 15_000) and not DONE
    (question, token), = desk.shown  # fmt: skip
    assert question.args == {"door": "front"} and token not in repr(desk.came)
    assert desk.hands.confirm(called, token, True, "button") == "yes"
    assert desk.hands.confirm(called, token, True, "button") == "unknown"
    assert (await desk.until(ToolReturned)).result == "unlocked"
    assert DONE == ["front True"] and Confirmed(0, called, True, "button") in desk.came


async def test_a_no_and_a_wrong_token_release_nothing(desk: Desk) -> None:
    one, other = desk.call("unlock", door="front"), desk.call("unlock", door="back")
    await desk.until(ConfirmAsked, 2)
    tokens = {question.call_id: token for question, token in desk.shown}
    assert desk.hands.confirm(one, tokens[other], True, "button") == "wrong"
    assert desk.hands.confirm("call_9", tokens[one], True, "button") == "unknown"
    assert desk.hands.confirm(one, tokens[one], False, "key") == "no"
    failed = await desk.until(ToolFailed)
    assert (failed.call_id, failed.reason) == (one, "refused") and "declined" in failed.message
    for _ in range(3):
        desk.hands.confirm(other, "guess", True, "button")
    await desk.until(ToolFailed, 2)
    assert desk.hands.confirm(other, tokens[other], True, "button") == "unknown" and not DONE


async def test_a_yes_that_comes_too_late() -> None:
    DONE.clear()
    desk = Desk(Policy(confirm_s=0.05))
    called = desk.call("unlock", door="front")
    failed = await desk.until(ToolFailed)
    assert failed.reason == "expired" and "0.05 seconds" in failed.message
    assert desk.hands.confirm(called, desk.shown[0][1], True, "button") == "unknown" and not DONE
    desk.call("unlock", door="front")
    await desk.until(ConfirmAsked, 2)
    desk.now_ns = 60_000_000  # the session's own clock counts, whatever the machine's timers say
    assert desk.hands.confirm("call_2", desk.shown[1][1], True, "button") == "expired"
    await desk.until(ToolFailed, 2)
    assert not DONE


async def test_where_there_is_no_button_a_hazard_is_refused_and_says_why() -> None:
    DONE.clear()
    desk = Desk(shown=False)
    desk.call("unlock", door="front")
    assert "this connection has none" in (await desk.until(ToolFailed)).message and not DONE
    assert not [each for each in desk.came if isinstance(each, ConfirmAsked)]


@pytest.mark.parametrize("said", [True, False, "yes", None])
async def test_a_phone_may_be_asked(said: Any) -> None:
    DONE.clear()

    async def phone(question: Question) -> bool:
        if said is None:
            raise OSError("no net")
        return said

    desk = Desk(Policy(confirm_s=0.2), Terms(elsewhere=phone), shown=False)
    desk.call("unlock", door="front")
    ended = await desk.until((ToolReturned, ToolFailed))
    if said is True:
        assert ended.result == "unlocked" and Confirmed(0, "call_1", True, "phone") in desk.came
    else:
        assert isinstance(ended, ToolFailed) and not DONE, "anything but True is no yes"
    assert any(isinstance(each, DeviceLost) for each in desk.came) == (said is None)


async def test_another_link_is_given_tokens_of_its_own(desk: Desk) -> None:
    called = desk.call("unlock", door="front")
    await desk.until(ConfirmAsked)
    desk.hands.clearing.show_again()
    (_, old), (question, new) = desk.shown
    assert question.call_id == called and desk.hands.confirm(called, old, True, "button") == "wrong"
    assert desk.hands.confirm(called, new, True, "button") == "yes"
    await desk.until(ToolReturned)


async def test_a_held_call_is_sent_when_it_is_released_and_not_before(desk: Desk) -> None:
    called = desk.call("drive", hold_ms=240, metres=1)
    await asyncio.sleep(0.02)
    assert not DONE
    desk.hands.obey(ReleaseCall(called))
    await desk.until(ToolReturned)
    assert DONE == ["drove 1"]


@pytest.mark.parametrize("back", [CancelCall("call_1", "taken_back"), Halt()])
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_branch_that_is_taken_back_sends_nothing(desk: Desk, back: Any, at_once: bool) -> None:
    called = desk.call("drive", hold_ms=240, metres=1)
    if not at_once:
        await asyncio.sleep(0.01)
    desk.hands.obey(back)
    desk.hands.obey(ReleaseCall(called))
    failed = await desk.until(ToolFailed)
    assert (failed.reason, failed.answer) == ("taken_back", False)
    await asyncio.sleep(0.01)
    assert not DONE and len(desk.ended()) == 1


async def test_a_policy_refuses_in_words_for_the_model() -> None:
    DONE.clear()
    limits = {"drive": Limits(ranges={"metres": (0, 5)}), "look": Limits(risk="forbidden"), "mow": Limits(per_minute=1)}
    desk = Desk(Policy(allow=["drive", "look", "mow"], limits=limits))
    for name, args, why in (
        ("drive", {"metres": 9}, "from 0 to 5"), ("look", {}, "never called"), ("wait", {}, "not among"),
        ("drive", {"metres": "far"}, "metres"), ("fly", {}, "no tool named fly"),
    ):  # fmt: skip
        desk.call(name, **args)
        failed = (await desk.until(ToolFailed, len(desk.ended()) + 1))
        assert failed.reason == "refused" and why in failed.message
    for _ in range(2):
        desk.call("mow")
    await desk.until((ToolReturned,))
    assert "too often" in (await desk.until(ToolFailed, 6)).message and not DONE


async def test_progress_is_told_and_not_too_often(desk: Desk) -> None:
    desk.call("mow")
    await desk.until(ToolReturned)
    told = [each for each in desk.came if isinstance(each, ToolProgressed)]
    assert [each.share for each in told] == [None, 1.0] and told[-1].note == "mowing"


@pytest.mark.parametrize("kind", ["long", "many", "ring"])
async def test_a_result_without_end_is_a_failure(desk: Desk, kind: str) -> None:
    desk.call("flood", kind=kind)
    failed = await desk.until(ToolFailed)
    assert failed.reason == "error" and f"more than {RESULT_BYTES}" in failed.message and len(failed.message) < 200


async def test_what_became_of_each_call_is_in_the_journal(desk: Desk) -> None:
    journal = CallJournal()
    desk = Desk(Policy(confirm_s=0.05), Terms(journal, session="s", owner="me"))
    desk.hands.decided(ToolCalled(5, "call_1", "look", heard_ns=(2, 4), seen_ns=3, branch=7))
    desk.call("look")
    await desk.until(ToolReturned)
    desk.call("unlock", door="front")
    desk.call("drive", hold_ms=240, metres=1)
    desk.call("drive", metres="far")
    desk.call("flood", kind="ring")
    desk.call("wait", deadline_ms=20)
    await desk.until(ToolFailed, 4)
    desk.hands.obey(CancelCall("call_3", "taken_back"))
    desk.call("mow")
    await desk.until(ToolFailed, 5)
    await desk.until(ToolReturned, 2)
    rows = {row.call.call_id: row for row in await journal.rows()}
    assert {name: (row.call.state, row.call.reason) for name, row in rows.items()} == {
        "call_1": ("done", ""), "call_2": ("expired", "unconfirmed"), "call_3": ("taken_back", ""),
        "call_4": ("refused", "invalid"), "call_5": ("failed", "error"), "call_6": ("expired", "deadline"),
        "call_7": ("done", ""),
    }  # fmt: skip
    first = rows["call_1"].call
    assert (first.heard_ns, first.seen_ns, first.decided_ns, first.risk) == ((2, 4), 3, 5, "observe")
    assert desk.came[-1].result == rows["call_7"].call.key, "a tool knows the key"
    assert rows["call_1"].released_ms is not None and rows["call_2"].released_ms is None
    await desk.hands.close()
    await journal.close()


async def test_a_retry_of_the_same_call_does_nothing(desk: Desk) -> None:
    journal = CallJournal()
    for _ in range(2):  # as after a crash: the same session, the same call
        again = Desk(None, Terms(journal, session="s"))
        again.call("look")
        await again.until((ToolReturned, ToolFailed))
    assert DONE == ["looked"]
    (failed,) = again.ended()
    assert failed.reason == "duplicate" and "was done before" in failed.message
    await journal.close()


async def test_what_nobody_knows_the_end_of_is_asked_about_once() -> None:
    journal = CallJournal()
    desk = Desk(None, Terms(journal, owner="me"))
    desk.call("post")
    failed = await desk.until(ToolFailed)
    assert (failed.reason, failed.message) == ("unknown", "nobody knows whether that was done") and failed.answer
    (row,) = await journal.rows()
    assert (row.call.state, row.call.reason) == ("asked", "unknown")
    await desk.hands.clearing.ask_about_the_past()  # of the next session of the same owner
    assert not [each for each in desk.came if isinstance(each, OutcomeUnknown)]
    await journal.close()


async def test_what_an_earlier_process_left_is_asked_about_and_a_broken_journal_calls_nothing(tmp_path: Path) -> None:
    DONE.clear()
    earlier = CallJournal(tmp_path / "calls.db")
    args: dict[str, Any] = {"metres": 3}
    left = Transaction(key_of("old", "call_1", "drive", args), "old", "call_1", "drive", args, state="journalled")
    await earlier.begin(left, "me")
    await earlier.move(left.to("released"))
    assert earlier._held is not None
    earlier._held.close()  # as if its process had ended
    journal = CallJournal(tmp_path / "calls.db")
    desk = Desk(None, Terms(journal, owner="me"))
    await desk.hands.clearing.ask_about_the_past()
    (unknown,) = desk.came
    assert isinstance(unknown, OutcomeUnknown) and (unknown.name, unknown.args) == ("drive", {"metres": 3})
    await desk.hands.clearing.ask_about_the_past()
    assert len(desk.came) == 1
    await journal.close()
    desk.call("look")
    assert "cannot be written down" in (await desk.until(ToolFailed)).message and not DONE
    assert any(isinstance(each, DeviceLost) for each in desk.came)
    await desk.hands.clearing.ask_about_the_past()
    earlier.shut()
