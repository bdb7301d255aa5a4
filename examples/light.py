"""The smallest agent: one tool, said or typed. `python examples/light.py`, or `liveagent talk examples/light.py`."""

from typing import Literal

from liveagent import Agent, tool


@tool(phrases=["(turn|switch) {state} [the] {room} light"])
async def light(room: Literal["kitchen", "bedroom"], state: Literal["on", "off"]) -> str:
    """Switch a room's light."""
    return f"the {room} light is {state}"


agent = Agent("nano", instructions="Be brief.", tools=[light])

if __name__ == "__main__":
    agent.talk()
