"""A small robot arm's commands, acting on a model of a table; a real arm replaces the bodies.

Each tool here that moves something says so (`moves=True`); `stop` is also listened for on raw samples,
beside the decoder, and does not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from liveagent import tool

Color = Literal["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]
Shape = Literal["cube", "ball", "cylinder", "cup", "box"]
Spot = Literal["left", "right", "middle", "table", "shelf", "floor"]
Direction = Literal["left", "right", "forward", "back", "up", "down"]
Centimeters = Literal[5, 10, 15, 20, 25, 30, 40, 50]


@dataclass
class Arm:
    """What the arm holds and where its hand is, in centimetres from home."""

    held: str | None = None
    x_cm: int = 0
    y_cm: int = 0
    z_cm: int = 0
    open: bool = True
    stopped: bool = False


arm = Arm()
_STEP = {
    "left": (-1, 0, 0), "right": (1, 0, 0), "forward": (0, 1, 0),
    "back": (0, -1, 0), "up": (0, 0, 1), "down": (0, 0, -1),
}  # fmt: skip


@tool(
    phrases=["(pick up|grab|take) the {color} {shape} [please]", "pick the {color} {shape} up"],
    moves=True,
)
async def pick(color: Color, shape: Shape) -> str:
    """Pick up an object."""
    arm.held, arm.stopped = f"{color} {shape}", False
    return f"i have the {color} {shape}"


@tool(phrases=["(put|place) it (on|in) the {spot}", "put it down (on|in) the {spot}"], moves=True)
async def place(spot: Spot) -> str:
    """Put down what the arm holds."""
    held, arm.held = arm.held, None
    return f"the {held} is on the {spot}" if held else "i am not holding anything"


@tool(
    phrases=["(move|go) {direction} {distance} centimeters", "(move|go) {distance} centimeters {direction}"],
    moves=True,
)
async def move(direction: Direction, distance: Centimeters) -> str:
    """Move the hand."""
    dx, dy, dz = _STEP[direction]
    arm.x_cm, arm.y_cm, arm.z_cm = arm.x_cm + dx * distance, arm.y_cm + dy * distance, arm.z_cm + dz * distance
    arm.stopped = False
    return f"moved {direction} {distance} centimeters"


@tool(phrases=["{action} the (gripper|hand)"], moves=True)
async def gripper(action: Literal["open", "close"]) -> str:
    """Open or close the gripper."""
    arm.open = action == "open"
    return f"the gripper is {'open' if arm.open else 'closed'}"


@tool(phrases=["go home", "(move|go) back to the start"], moves=True)
async def go_home() -> str:
    """Bring the arm back to its start."""
    arm.x_cm = arm.y_cm = arm.z_cm = 0
    return "i am home"


@tool(phrases=["stop [now]", "halt", "freeze"], moves=True)
async def stop() -> str:
    """Stop all movement at once."""
    arm.stopped = True
    return "stopped"
