"""What one may ask of an arm that looks at a table: words here, eyes and motion in what is given to `arm_tools`.

Whoever stands behind it needs a camera and fingers that feel; see `Arm`. What came of a call is said word for word, not
in a model's own words: of what a robot did, and above all of what it did not do, nothing may be made up.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeAlias

from liveagent import tool
from liveagent.call import Call
from liveagent.errors import ToolError
from liveagent.tool import Tool

Color = Literal["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]
Shape = Literal["cube", "ball", "cylinder"]
Spot = Literal["left", "middle", "right", "front", "back"]
Direction = Literal["left", "right", "forward", "back", "up", "down"]
Centimeters = Literal[5, 10, 15, 20, 25, 30]
Told: TypeAlias = Callable[[float, str], None]
"""Told how far it is, from 0 to 1, and what is being done."""

_ALONG = {
    "left": (0, 1, 0), "right": (0, -1, 0), "forward": (1, 0, 0),
    "back": (-1, 0, 0), "up": (0, 0, 1), "down": (0, 0, -1),
}  # fmt: skip


class Arm(Protocol):
    """An arm with eyes. Each of these takes its time, and raises ToolError that says why it was not done."""

    async def pick(self, color: str, shape: str, told: Told) -> None: ...

    async def place_on_tray(self, color: str, told: Told) -> None: ...

    async def place_at(self, spot: str, told: Told) -> None: ...

    async def pick_and_place(self, color: str, shape: str, tray: str, told: Told) -> None: ...

    async def names(self) -> list[str]: ...

    async def move(self, dx: float, dy: float, dz: float, told: Told) -> bool: ...

    async def gripper(self, open: bool, told: Told) -> bool: ...

    async def home(self, told: Told) -> None: ...

    async def stop(self, reason: str) -> None: ...


def arm_tools(arm: Callable[[], Awaitable[Arm]]) -> list[Tool]:
    """The tools of one arm. `arm()` gives it, connected; ToolError or LinkError where it is not there."""

    @tool(
        phrases=["[please] (pick up|grab|take) the {color} {shape} [please]", "pick the {color} {shape} up"],
        moves=True, tell="silent", timeout_s=60,
    )  # fmt: skip
    @_aloud
    async def pick(color: Color, shape: Shape, call: Call) -> str:
        """Pick up an object."""
        await (await arm()).pick(color, shape, _telling(call))
        return f"i have the {color} {shape}"

    @tool(
        phrases=["(put|place|drop) it (on|in|onto) the {tray} tray [please]", "put it down (on|in) the {tray} tray"],
        moves=True, tell="silent", timeout_s=60,
    )  # fmt: skip
    @_aloud
    async def place(tray: Color, call: Call) -> str:
        """Put what the arm holds on a tray."""
        await (await arm()).place_on_tray(tray, _telling(call))
        return f"it is on the {tray} tray"

    @tool(
        phrases=["(put|place) it [down] (on|in|at) the {spot} [of the table]"],
        moves=True, tell="silent", timeout_s=60,
    )  # fmt: skip
    @_aloud
    async def put_down(spot: Spot, call: Call) -> str:
        """Put what the arm holds down on the table."""
        await (await arm()).place_at(spot, _telling(call))
        return f"it is on the table, {'in' if spot == 'middle' else 'at'} the {spot}"

    @tool(
        phrases=[
            "[please] (pick up|grab|take) the {color} {shape} and (put|place|drop) it (on|in|onto) the {tray} tray",
            "[please] (put|place|move|bring) the {color} {shape} (on|in|onto|to) the {tray} tray [please]",
        ],
        moves=True, tell="silent", timeout_s=120,
    )  # fmt: skip
    @_aloud
    async def pick_and_place(color: Color, shape: Shape, tray: Color, call: Call) -> str:
        """Pick up an object and put it on a tray."""
        await (await arm()).pick_and_place(color, shape, tray, _telling(call))
        return f"the {color} {shape} is on the {tray} tray"

    @tool(
        phrases=["what (do|can) you see", "what is (there|on the table)"],
        risk="observe", tell="silent", timeout_s=20,
    )  # fmt: skip
    @_aloud
    async def look(call: Call) -> str:
        """Say what lies on the table."""
        seen = [f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in await (await arm()).names()]
        if not seen:
            return "i see nothing on the table"
        return f"i see {', '.join(seen[:-1])}{' and ' if len(seen) > 1 else ''}{seen[-1]}"

    @tool(
        phrases=["(move|go) {direction} {distance} centimeters", "(move|go) {distance} centimeters {direction}"],
        moves=True, tell="silent", timeout_s=30,
    )  # fmt: skip
    @_aloud
    async def move(direction: Direction, distance: Centimeters, call: Call) -> str:
        """Move the hand."""
        dx, dy, dz = (distance / 100 * each for each in _ALONG[direction])
        clipped = await (await arm()).move(dx, dy, dz, _telling(call))
        return "that is as far as i reach" if clipped else f"moved {direction} {distance} centimeters"

    @tool(phrases=["{action} the (gripper|hand)"], moves=True, tell="silent", timeout_s=20)
    @_aloud
    async def gripper(action: Literal["open", "close"], call: Call) -> str:
        """Open or close the gripper."""
        await (await arm()).gripper(action == "open", _telling(call))
        return f"the gripper is {'open' if action == 'open' else 'closed'}"

    @tool(phrases=["go home", "(move|go) back to the start"], moves=True, tell="silent", timeout_s=30)
    @_aloud
    async def go_home(call: Call) -> str:
        """Bring the arm back to its start."""
        await (await arm()).home(_telling(call))
        return "i am home"

    @tool(phrases=["stop [now]", "halt", "freeze"], moves=True, tell="silent", timeout_s=5)
    @_aloud
    async def stop(call: Call) -> str:
        """Stop all movement at once."""
        await (await arm()).stop("asked for")
        return "stopped"

    return [pick, place, put_down, pick_and_place, look, move, gripper, go_home, stop]


def _aloud(function: Callable[..., Awaitable[str]]) -> Callable[..., Awaitable[str]]:
    """Have it said what came of a call, or why nothing did."""

    @functools.wraps(function)
    async def aloud(*, call: Call, **args: object) -> str:
        try:
            words = await function(call=call, **args)
        except ToolError as error:
            await call.say(str(error))
            raise
        await call.say(words)
        return words

    return aloud


def _telling(call: Call) -> Told:
    """Progress as a call has it, for whoever cannot wait."""
    loop, running = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def told(share: float, note: str) -> None:
        task = loop.create_task(call.progress(share, note))
        running.add(task)
        task.add_done_callback(running.discard)

    return told

