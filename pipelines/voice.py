"""A voice for a home and a small robot arm, on this machine alone: it hears and speaks, and sees nothing."""

from __future__ import annotations

from liveagent import Agent
from liveagent.tools import home, robot

agent = Agent(
    "nano",
    instructions="Be brief.",
    tools=[
        home.light, home.dim, home.timer, home.cancel_timer, home.add_item, home.read_list, home.clear_list,
        home.remember, home.where_is,
        robot.pick, robot.place, robot.move, robot.gripper, robot.go_home, robot.stop,
    ],
    questions=[
        "(hello|hi) [there]", "good (morning|evening|night)", "how are you [today]", "what is your name", "who are you",
        "what can you do", "are you a robot", "can you hear me", "tell me a joke", "thank you [very much]", "thanks",
        "goodbye", "how old are you", "do you like music", "say that again", "repeat that", "never mind", "yes", "no",
    ],
)  # fmt: skip
