"""A small robot for tests: an omni base that integrates its speed at 50 Hz, behind a real gate.

`python -m tests.omnibot URL ROBOT` runs it in a process of its own, which prints `ready`.
"""

from __future__ import annotations

import asyncio
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liveagent.clients.robot import Call, Gate, Limits, Reason, Stop

AXES = ("vx", "vy", "wz")
KEY = b"a key of tests"


class Omnibot:
    """`pose` is where it is; `given` every setpoint that its motors got, with when."""

    def __init__(self, url: str = "", robot: str = "base", **more: Any) -> None:
        more.setdefault("limits", Limits(speed={"vx": 0.5, "vy": 0.5, "wz": 1.5}, box={"x": (-2, 2), "y": (-2, 2)}))
        self.gate = Gate(
            url, site="lab", robot=robot, joints=("pan",), chunk="velocity", standstill_ms=100, ramp_ms=60,
            confirm_key=KEY, description="an omni base", **more,
        )  # fmt: skip
        self.pose = {"x": 0.0, "y": 0.0, "yaw": 0.0}
        self.given: list[tuple[float, dict[str, float]]] = []
        self.stops: list[Stop] = []
        self.holds: list[Reason] = []
        self.counted = 0
        self._last_s = time.monotonic()
        gate = self.gate
        gate.velocity(self._drive)
        gate.on_stop(self.stops.append)
        gate.on_hold(self.holds.append)
        gate.state(lambda: {"pose": dict(self.pose), "joints": {"pan": self.pose["yaw"]}, "battery": 0.8})
        self.picture = b"\xff\xd8 no picture \xff\xd9"
        gate.camera("front", lambda: self.picture, fps=20)
        gate.action(risk="observe")(self.where)
        gate.action(phrases=["go forward"], point=("x", "y"))(self.go)
        gate.action(risk="observe")(self.count)
        gate.action(risk="hazard", motion=False)(self.unlock)
        gate.action(risk="observe", timeout_s=0.3)(self.think)
        gate.action(risk="observe")(self.flood)

    def _drive(self, axes: Mapping[str, float]) -> None:
        now = time.monotonic()
        dt, self._last_s = min(0.1, now - self._last_s), now
        yaw = self.pose["yaw"]
        self.pose["x"] += (axes["vx"] * math.cos(yaw) - axes["vy"] * math.sin(yaw)) * dt
        self.pose["y"] += (axes["vx"] * math.sin(yaw) + axes["vy"] * math.cos(yaw)) * dt
        self.pose["yaw"] += axes["wz"] * dt
        self.given.append((now, dict(axes)))

    @property
    def moves(self) -> bool:
        return bool(self.given) and any(self.given[-1][1].values())

    async def where(self) -> dict[str, float]:
        """Say where it is."""
        return {name: round(value, 3) for name, value in self.pose.items()}

    async def go(self, call: Call, x: float, y: float = 0.0, speed: float = 0.5) -> str:
        """Go to a place."""
        far = math.hypot(x - self.pose["x"], y - self.pose["y"])
        while (left := math.hypot(x - self.pose["x"], y - self.pose["y"])) > 0.02:
            pace = min(speed, left * 5) / left
            call.move(vx=(x - self.pose["x"]) * pace, vy=(y - self.pose["y"]) * pace)
            call.report(1 - left / far, "on the way")
            await asyncio.sleep(0.02)
        return "there"

    async def count(self) -> int:
        """Count how often this was asked."""
        self.counted += 1
        return self.counted

    async def unlock(self, door: str) -> str:
        """Unlock a door."""
        return f"{door} is unlocked"

    async def think(self) -> None:
        """Think for ever."""
        await asyncio.Event().wait()

    async def flood(self) -> str:
        """Say far too much."""
        return "x" * (1 << 20)


async def main(url: str, robot: str, ca: str) -> None:
    bot = Omnibot(url, robot, ca=Path(ca) if ca else None)
    print("ready", flush=True)
    await bot.gate.run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], (sys.argv[3:] or [""])[0]))
