"""A robot's gripper: a tool with an effect in the world, the shipped arm's stop, and words no dictionary has.

`python examples/robot.py`, or with a recording: `liveagent talk examples/robot.py --source commands.wav`
"""

import asyncio
import sys
from typing import Literal

from liveagent import Agent, ToolError, tool
from liveagent.tools import robot

Part = Literal["gear", "bolt", "zigbee hub"]
holding: str | None = None


@tool(phrases=["(fetch|bring) [me] (a|the) {part}"], moves=True, timeout_s=5.0, say={"zigbee": "zig bee"})
async def fetch(part: Part) -> str:
    """Fetch a part from the shelf."""
    global holding
    if holding:
        raise ToolError(f"the gripper still holds the {holding}")
    await asyncio.sleep(0.2)  # the arm moves; the agent goes on hearing
    holding = part
    return f"here is the {part}"


@tool(phrases=["(release|drop) it"], moves=True)
async def release() -> str:
    """Open the gripper."""
    global holding
    part, holding = holding, None
    return f"released the {part}" if part else "the gripper is empty"


agent = Agent(
    "nano",
    instructions="You are the voice of a robot arm. Be brief.",
    tools=[fetch, release, robot.go_home, robot.stop],
    questions=["what can you do"],
)

if __name__ == "__main__":
    agent.talk(typed=sys.argv[1:] or None)
