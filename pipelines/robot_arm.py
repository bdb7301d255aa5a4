"""The agent of `make robot`: it hears, looks through a robot's camera, and has its arm pick up and put down.

LIVEAGENT_ROBOT says where the robot is, mqtt://[user:password@]host:port/SITE/NAME; else it is looked for here.
"""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from liveagent import Agent
from liveagent.runtime.table_arm import TableArm
from liveagent.runtime.way import MqttWay
from liveagent.tools.arm import arm_tools

url = urlsplit(os.environ.get("LIVEAGENT_ROBOT", "mqtt://127.0.0.1:1883/home/arm"))
site, _, name = url.path.strip("/").partition("/")
arm = TableArm(MqttWay(f"{url.scheme}://{url.netloc}", site or "home", name or "arm"))

agent = Agent(
    "nano",
    instructions="Be brief.",
    tools=arm_tools(arm.connected),
    sources=[arm],
    questions=[
        "(hello|hi) [there]", "good (morning|evening|night)", "how are you [today]", "what is your name", "who are you",
        "what can you do", "are you a robot", "can you hear me", "thank you [very much]", "thanks", "goodbye",
        "say that again", "repeat that", "never mind", "yes", "no",
    ],
)  # fmt: skip
