"""The page's reflex: a reply is held as soon as somebody speaks into it. Run by Node, as the page's own module."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

WEB = Path(__file__).parents[1] / "clients" / "web"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed: apt-get install nodejs")

RUN = """
import {{ readFileSync }} from "node:fs";
const text = readFileSync({path}, "utf8");
const {{ Reflex }} = await import("data:text/javascript," + encodeURIComponent(text));
const did = [];
const player = {{ sounding: true, freeze: () => did.push([at, "hold"]), resume: () => did.push([at, "go on"]) }};
const reflex = new Reflex(player);
let at = 0;
for (const step of {steps}) {{
  if (typeof step === "string") reflex.obey(step);
  else if (typeof step === "boolean") player.sounding = step;
  else {{ reflex.feed(step); at++; }}
}}
console.log(JSON.stringify(did));
"""


def did(*steps: float | str | bool) -> list[list[object]]:
    """What it did to the loudspeaker, and after how many blocks of 10 ms."""
    text = RUN.format(path=json.dumps(str(WEB / "reflex.js")), steps=json.dumps(steps))
    done = subprocess.run(["node", "--input-type=module", "-e", text], capture_output=True, text=True, check=True)
    found: list[list[object]] = json.loads(done.stdout)
    return found


def test_a_voice_into_a_reply_holds_it_within_four_blocks_and_it_goes_on_when_nobody_noticed() -> None:
    assert did(*[0.002] * 20, *[0.1] * 6, *[0.002] * 40) == [[23, "hold"], [57, "go on"]]


def test_a_click_holds_nothing_and_nothing_is_held_in_silence() -> None:
    assert did(*[0.002] * 20, *[0.3] * 3, *[0.002] * 20) == []
    assert did(False, *[0.1] * 20) == []


def test_once_the_server_has_noticed_it_decides() -> None:
    voice: list[float | str | bool] = [*[0.002] * 20, *[0.1] * 9, "duck", *[0.002] * 90]
    assert did(*voice) == [[23, "hold"]]
    assert did(*voice, "resume", *[0.1] * 4) == [[23, "hold"], [122, "hold"]]  # the loudspeaker obeys that by itself
    assert did(*voice, "stop", *[0.002] * 60) == [[23, "hold"]]


def test_a_steady_noise_that_nobody_minds_becomes_the_floor() -> None:
    assert did(*[0.002] * 20, *[0.05] * 600) == [[23, "hold"], [223, "go on"]]


def test_what_is_left_of_the_loudspeaker_is_no_voice() -> None:
    assert did(*[0.006] * 150, *[0.011] * 300) == []
