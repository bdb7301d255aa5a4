"""An agent in a process of its own that drives a robot until it is ended: `python -m tests.driver URL ROBOT CA`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from liveagent.errors import LinkError, ToolError
from tests.lab import seen


async def main(url: str, name: str, ca: str) -> None:
    async with seen(url, Path(ca) if ca else None, name) as robot, robot.drive() as drive:
        while True:
            try:
                await drive.velocity(vx=0.2)
            except (ToolError, LinkError):
                await asyncio.sleep(60)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*(sys.argv[1:] + [""])[:3]))
