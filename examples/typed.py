"""A session without any device: lines instead of a keyboard and a microphone, tools that remember.

Typed words go the same way as heard ones. `python examples/typed.py`
"""

from typing import Annotated

from pydantic import Field

from liveagent import Agent, ToolError, tool

count = 0


@tool(phrases=["add {number}", "count {number} more"])
def add(number: Annotated[int, Field(ge=1, le=20)]) -> str:
    """Add to the counter."""
    global count
    if count + number > 30:
        raise ToolError(f"the counter stops at 30, and is at {count}")
    count += number
    return f"the counter is at {count}"


@tool(phrases=["what is the counter at"])
def read() -> str:
    """Say what the counter is at."""
    return f"the counter is at {count}"


agent = Agent("nano", tools=[add, read], voice=None)

if __name__ == "__main__":
    agent.talk(typed=["add twelve", "Count 7 more!", "add twenty", "What is the counter at?"])
