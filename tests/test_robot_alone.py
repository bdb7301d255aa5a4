"""The gate in an environment of its own: a wheel without liveagent, torch or numpy, that runs a robot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow

ROBOT = """
import sys
for name in ("torch", "torchaudio", "numpy", "liveagent", "av"):
    sys.modules[name] = None
import asyncio
import liveagent_robot
from liveagent_robot import Call, Gate, Limits
assert liveagent_robot.__file__.startswith(sys.argv[1]), liveagent_robot.__file__
from liveagent_robot import mqtt_link, socket_link

async def main():
    gate = Gate("ws://127.0.0.1:9/robot", limits=Limits(speed={"vx": 1.0}))
    given = []
    gate.velocity(given.append)

    @gate.action()
    async def home(call: Call) -> str:
        "Go home."
        return "home"

    running = asyncio.create_task(gate.run())
    while len(given) < 3:
        await asyncio.sleep(0.01)
    stop_id = gate.stop("a button")
    assert gate.guard.latch.stopped and gate.reset(stop_id)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    print(gate.describe.tools[0].name, given[0])

asyncio.run(main())
assert not any(name.split(".")[0] in ("torch", "numpy", "liveagent") and sys.modules[name] for name in sys.modules)
"""


def test_the_gate_runs_without_torch(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file in (REPO / "clients" / "robot").iterdir():
        if file.suffix in (".py", ".toml"):
            (source / file.name).write_bytes(file.read_bytes())
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, cwd=tmp_path, env=clean)
    assert {each.name.split("-")[0] for each in site.iterdir()} == {"liveagent_robot"}
    done = subprocess.run(
        [sys.executable, "-c", ROBOT, str(site)], cwd=tmp_path, env={**clean, "PYTHONPATH": str(site)},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "home {'vx': 0.0}"
