"""A LeRobot `Robot` behind the gate: limits, watchdog and a latched stop before whatever arm LeRobot can drive.

`python examples/lerobot_arm.py mqtt://broker:1883 /dev/ttyACM0` for an SO-101, with `pip install lerobot`. Whatever has
the methods of its `Robot`, and one `….pos` a joint, will do. Agents have it as `Robot(MqttWay(url, "home", "so101"))`.
"""

import asyncio
import sys
from typing import Any

from liveagent.clients.robot import Gate, Limits


def gate_of(arm: Any, url: str, **more: Any) -> Gate:
    """`arm` is connected. Positions go to it as chunks of joint targets, none farther from the last than 3 units."""
    names = [name.removesuffix(".pos") for name in arm.action_features]
    gate = Gate(url, joints=names, chunk="position", limits=Limits(joint_step=3.0), **more)

    @gate.joints
    def send(targets: tuple[float, ...]) -> None:
        arm.send_action({f"{name}.pos": target for name, target in zip(names, targets, strict=True)})

    @gate.state
    def state() -> dict[str, Any]:
        seen = arm.get_observation()
        return {"joints": {name: float(seen[f"{name}.pos"]) for name in names}}

    return gate


if __name__ == "__main__":
    from lerobot.robots.so_follower import SO101Follower, SO101FollowerConfig

    arm = SO101Follower(SO101FollowerConfig(port=sys.argv[2], max_relative_target=5.0))
    arm.connect()
    try:
        asyncio.run(gate_of(arm, sys.argv[1], robot="so101").run())
    finally:
        arm.disconnect()
