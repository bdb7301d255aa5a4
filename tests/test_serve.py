"""`liveagent serve`: what it refuses, what it tells, and that Ctrl-C ends everything it started."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from liveagent.errors import ConfigError
from liveagent.ports.certificate import self_signed
from liveagent.runtime import serve
from liveagent.runtime.logline import JsonLines, PlainLines, Scrub
from liveagent.runtime.serve import Place
from tests.site import write_weights

KEY = "0123456789abcdef"


@pytest.mark.parametrize(
    ("place", "missing"),
    [
        (Place("0.0.0.0"), ["TLS", "key"]),
        (Place("192.168.1.20", keys=(KEY,)), ["TLS"]),
        (Place("::", self_signed=True), ["key"]),
        (Place("agent.example.org"), ["TLS", "key"]),
        (Place(certificate=Path("x")), ["--tls-key"]),
        (Place(key_file=Path("x")), ["--tls-cert"]),
        (Place(certificate=Path("x"), key_file=Path("y"), self_signed=True), ["choose one"]),
    ],
)
def test_what_is_missing_is_said_before_anything_is_opened(place: Place, missing: list[str]) -> None:
    with pytest.raises(ConfigError) as why:
        place.check()
    for each in missing:
        assert each in str(why.value)
    assert ("key (" in str(why.value)) == ("key" in missing)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_on_this_machine_nothing_is_needed(host: str) -> None:
    Place(host).check()
    Place(host, self_signed=True, keys=(KEY,)).check()


def test_a_certificate_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="gone.pem"):
        Place(certificate=tmp_path / "gone.pem", key_file=tmp_path / "k.pem").files()


def test_from_elsewhere_one_is_told_how_to_trust_it_and_where_to_point_a_telephone(tmp_path: Path) -> None:
    files = self_signed(tmp_path, ["localhost", "192.168.1.20"])
    place = Place("192.168.1.20", 8000, self_signed=True, keys=(KEY,))
    said: list[str] = []
    serve._tell_where(place.addresses(8000), place, files, said.append)
    text = "\n".join(said)
    assert "https://192.168.1.20:8000/" in text and str(files[0]) in text
    assert re.search(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", text)
    assert any(line.count("█") > 5 for line in text.splitlines())
    assert KEY not in text


def test_at_any_address_every_name_of_this_machine_is_told() -> None:
    addresses = Place("0.0.0.0", 8000, self_signed=True, keys=(KEY,)).addresses(8000)
    assert addresses[0] == "https://localhost:8000/" and not any("0.0.0.0" in each for each in addresses)
    assert Place("::1").addresses(80) == ["http://[::1]:80/"]


# --- the log


def record(text: str, *args: object, **more: object) -> logging.LogRecord:
    made = logging.LogRecord("uvicorn.error", logging.INFO, "", 0, text, args, None)
    vars(made).update(more)
    return made


def test_addresses_lose_their_queries_and_keys_are_never_written() -> None:
    line = record('%s - "WebSocket %s" [accepted]', "127.0.0.1:5", "/ws/x?key=sk-canary&alt=1")
    assert Scrub().filter(line)
    assert line.getMessage() == '127.0.0.1:5 - "WebSocket /ws/x?(query)" [accepted]'
    line = record("> Authorization: Bearer canary / ek_canary / auth_tokens/canary")
    Scrub().filter(line)
    assert "canary" not in line.getMessage()
    broken = record("%d", "canary")
    assert Scrub().filter(broken), "whoever logs wrongly is told so by logging itself"


def test_a_line_for_machines_and_one_for_people() -> None:
    line = record("session opened", session="ab12", protocol="native")
    said = json.loads(JsonLines().format(line))
    assert said["text"] == "session opened" and said["session"] == "ab12" and said["level"] == "info"
    assert PlainLines().format(line).endswith("session opened  session=ab12 protocol=native")
    try:
        raise ValueError("x")
    except ValueError:
        line.exc_info = sys.exc_info()
    assert "ValueError" in json.loads(JsonLines().format(line))["trace"]


# --- the whole


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    write_weights(tmp_path)
    agent = tmp_path / "mine.py"
    agent.write_text(f"from liveagent import Agent\nagent = Agent({str(tmp_path)!r}, voice=None)\n")
    env = {**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": ""}
    env.pop("LIVEAGENT_KEY", None)
    child = subprocess.Popen(
        [sys.executable, "-m", "liveagent", "serve", str(agent), "--port", "0", "--log-json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env,
    )  # fmt: skip
    yield child, agent
    if child.poll() is None:
        child.kill()
    child.communicate()


def all_children(pid: int) -> list[int]:
    """Of all its threads."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(each) for each in (task / "children").read_text().split()]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_serves_and_ends_politely(
    served: tuple[subprocess.Popen[str], Path], how: signal.Signals
) -> None:
    child, _ = served
    assert child.stdout is not None
    lines: list[str] = []
    while not any(line.startswith("ready") for line in lines):
        line = child.stdout.readline()
        assert line, child.communicate()[1]
        lines.append(line)
    assert lines[0].startswith("loading")
    found = re.search(r"http://127\.0\.0\.1:\d+/", "".join(lines))
    assert found
    with urllib.request.urlopen(found[0]) as page:
        assert b"<!doctype html>" in page.read()
    helpers = all_children(child.pid)
    assert helpers, "the engine is a process of its own"
    child.send_signal(how)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "Traceback" not in err
    assert all(json.loads(line)["level"] in ("info", "warning") for line in err.splitlines())
    assert not any(Path(f"/proc/{each}").exists() for each in helpers)


@pytest.mark.slow
def test_weights_that_are_damaged_end_it_with_one_line(served: tuple[subprocess.Popen[str], Path]) -> None:
    child, agent = served
    child.kill()
    (agent.parent / "ear.safetensors").write_bytes(b"damaged")
    done = subprocess.run(
        [sys.executable, "-m", "liveagent", "serve", str(agent), "--port", "0", "--no-open"],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 2 and "damaged" in done.stderr and "Traceback" not in done.stderr
