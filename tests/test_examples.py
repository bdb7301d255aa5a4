"""Every example, run as a person would run it: with the shipped weights, or random ones where those are missing.

What is asserted goes through the grammar, so it holds for any weights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from liveagent.nn.model import FILES, weights_folder
from tests.nano import random_nano

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
RUNS: dict[str, tuple[list[str], str, list[str]]] = {
    "light": (
        ["-m", "liveagent", "talk", "light.py", "--text"],
        "turn on the kitchen light\n",
        ["tool: light(state=on, room=kitchen) ✓ the kitchen light is on  (by grammar"],
    ),
    "typed": (
        ["typed.py"],
        "",
        [
            "tool: add(number=12) ✓ the counter is at 12  (by grammar",
            "tool: add(number=7) ✓ the counter is at 19  (by grammar",
            "the counter stops at 30, and is at 19  (by grammar",
            "tool: read() ✓ the counter is at 19  (by grammar",
        ],
    ),
    "served": (
        ["served.py", "turn", "on", "the", "kitchen", "light"],
        "",
        ["instructions: You speak with Anna. Be brief.", "tool: the kitchen light is on"],
    ),
    "robot": (
        ["robot.py", "fetch the zigbee hub", "bring me a bolt", "drop it"],
        "",
        [
            "tool: fetch(part=zigbee hub) ✓ here is the zigbee hub  (by grammar",
            "the gripper still holds the zigbee hub",
            "tool: release() ✓ released the zigbee hub",
        ],
    ),
}

ELSEWHERE = ("lerobot_arm",)
"""Wants an arm; tests/test_robot_socket.py gives it one."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The examples, with weights that are there: theirs, or random ones and no voice for what those would say."""
    folder = tmp_path_factory.mktemp("examples")
    shipped = all((weights_folder() / name).is_file() for name in FILES)
    if not shipped:
        nano = random_nano()
        nano.ear.save(folder / "ear.safetensors")
        nano.decoder.save(folder / "decoder.safetensors", nano.pieces.hash)
        shutil.copy(weights_folder() / "pieces.json", folder)
    for file in EXAMPLES.glob("*.py"):
        text = file.read_text()
        if not shipped:
            text = text.replace(", voice=None", "").replace('"nano",', f"{str(folder)!r}, voice=None,")
        (folder / file.name).write_text(text)
    return folder


def test_no_example_is_forgotten() -> None:
    assert sorted([*RUNS, *ELSEWHERE]) == sorted(file.stem for file in EXAMPLES.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_an_example_runs(name: str, folder: Path) -> None:
    arguments, typed, said = RUNS[name]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, input=typed, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stdout + done.stderr
    at = 0
    for part in said:
        found = done.stdout.find(part, at)
        assert found >= 0, f"{part!r} is not in what came after {at}:\n{done.stdout}"
        at = found
