"""Timers and alarms that ring: they say so in the conversation that set them, as soon as nobody speaks.

They live as long as the program does. A conversation that is over when one is due is not rung.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import Field

from liveagent import tool
from liveagent.call import Call
from liveagent.errors import ToolError
from liveagent.spoken import int_to_words

MOST = 16
"""Timers and alarms that one conversation may have."""


@dataclass(eq=False)
class Ringing:
    """One that is set: `what` is how it is called ("five minute timer"), `due_s` when, on the loop's clock."""

    what: str
    due_s: float
    handle: asyncio.TimerHandle | None = None


@dataclass
class Timers:
    """Those of all conversations. `now` tells the time of day."""

    now: Callable[[], datetime] = datetime.now
    _set: dict[str, list[Ringing]] = field(default_factory=dict)
    _saying: set[asyncio.Task[None]] = field(default_factory=set)

    def start(self, seconds: float, what: str, call: Call) -> None:
        """Ring in so many seconds. ToolError for one too many."""
        mine = self._set.setdefault(call.session, [])
        if len(mine) >= MOST:
            raise ToolError(f"{MOST} timers are running already; cancel one first")
        loop = asyncio.get_running_loop()
        one = Ringing(what, loop.time() + seconds)
        one.handle = loop.call_later(seconds, self._ring, one, call)
        mine.append(one)

    def cancel(self, session: str) -> str | None:
        """Cancel the one that was set last, and say which."""
        mine = self._set.get(session)
        if not mine:
            return None
        one = mine[-1]
        if one.handle is not None:
            one.handle.cancel()
        self._forget(session, one)
        return one.what

    def left(self, session: str) -> list[tuple[str, float]]:
        """Which are set, and in how many seconds each is due, the next one first."""
        now_s = asyncio.get_running_loop().time()
        mine = sorted(self._set.get(session, []), key=lambda one: one.due_s)
        return [(one.what, max(0.0, one.due_s - now_s)) for one in mine]

    def _ring(self, one: Ringing, call: Call) -> None:
        self._forget(call.session, one)
        task = asyncio.get_running_loop().create_task(self._say(f"The {one.what} is up.", call))
        self._saying.add(task)
        task.add_done_callback(self._saying.discard)

    @staticmethod
    async def _say(text: str, call: Call) -> None:
        with contextlib.suppress(ToolError):  # the conversation is over
            await call.say(text)

    def _forget(self, session: str, one: Ringing) -> None:
        mine = self._set.get(session, [])
        if one in mine:
            mine.remove(one)
        if not mine:
            self._set.pop(session, None)


timers = Timers()
NOBODY = Call()


def minute_timer(minutes: int) -> str:
    """How a timer is called."""
    return f"{int_to_words(minutes)} minute timer"


def duration(seconds: float) -> str:
    """About how long that is, as one says it."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} second{'' if whole == 1 else 's'}"
    minutes = round(whole / 60)
    if minutes < 60:
        return f"{minutes} minute{'' if minutes == 1 else 's'}"
    hours, rest = divmod(minutes, 60)
    said = f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{said} and {rest} minute{'' if rest == 1 else 's'}" if rest else said


def seconds_until(hour: int, minute: int, half: str | None, now: datetime) -> float:
    """Until the clock next shows it: without "am" or "pm", and up to twelve, in whichever half of the day comes first.
    ToolError for an hour that no half of a day has."""
    if half is not None and not 1 <= hour <= 12:
        raise ToolError(f"there is no {hour} {half}; say an hour from 1 to 12")
    if half is not None:
        hours = [hour % 12 + (12 if half == "pm" else 0)]
    else:
        hours = [hour] if hour > 12 or hour == 0 else [hour % 12, hour % 12 + 12]
    waits = []
    for each in hours:
        due = now.replace(hour=each, minute=minute, second=0, microsecond=0)
        waits.append((due if due > now else due + timedelta(days=1)) - now)
    return min(waits).total_seconds()


def time_words(at: datetime) -> str:
    """The time of day as one says it: 7:05 -> "seven oh five in the morning"."""
    hour, minute = at.hour % 12 or 12, at.minute
    words = int_to_words(hour) + (f" oh {int_to_words(minute)}" if 0 < minute < 10 else "")
    words += f" {int_to_words(minute)}" if minute >= 10 else ""
    part = "in the morning" if at.hour < 12 else "in the afternoon" if at.hour < 18 else "in the evening"
    return f"{words} {part}"


@tool(
    phrases=[
        "set a {seconds} second timer", "set a timer for {seconds} (second|seconds)",
    ],
)  # fmt: skip
async def timer_seconds(seconds: Annotated[int, Field(ge=1, le=600)], call: Call) -> str:
    """Start a short timer."""
    timers.start(seconds, f"{int_to_words(seconds)} second timer", call)
    return f"timer set for {seconds} second{'' if seconds == 1 else 's'}"


@tool(
    phrases=[
        "[please] set an alarm for {hour} [{minute}] [{half}]", "wake me [up] at {hour} [{minute}] [{half}]",
    ],
)  # fmt: skip
async def alarm(
    hour: Annotated[int, Field(ge=0, le=23)],
    call: Call,
    minute: Annotated[int, Field(ge=0, le=59)] = 0,
    half: Literal["am", "pm"] | None = None,
) -> str:
    """Set an alarm for a time of day."""
    now = timers.now()
    seconds = seconds_until(hour, minute, half, now)
    said = time_words(now + timedelta(seconds=seconds))
    timers.start(seconds, f"alarm for {said}", call)
    return f"the alarm is set for {said}"


@tool(phrases=["how (much time|long) is left [on (the|my) timer]", "(what|which) timers are (set|running)"],
      risk="observe")  # fmt: skip
async def timers_left(call: Call) -> str:
    """Say which timers and alarms are set."""
    left = timers.left(call.session)
    if not left:
        return "no timer is running"
    return ", ".join(f"the {what} is due in {duration(seconds)}" for what, seconds in left)
