"""The command line: quick to help, one line for what is wrong, statuses that say whose it is."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from liveagent import ConfigError, DeviceError, LinkError, ProtocolError, ToolError
from liveagent.cli import app
from liveagent.event import TextTyped, WordsHeard
from liveagent.ports.call_journal import CallJournal
from liveagent.transaction import Transaction

runner = CliRunner()


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **functions: Any) -> None:
    """A module of `liveagent.runtime` that a command would import, replaced."""
    module = types.ModuleType(name)
    module.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, name, module)


def test_help_and_version_are_quick_because_torch_stays_away() -> None:
    code = (
        "import sys, liveagent.cli as c\n"
        "try: c.main()\n"
        "except SystemExit as e: assert e.code == 0, e.code\n"
        "assert 'torch' not in sys.modules and 'av' not in sys.modules and 'rich.live' not in sys.modules"
    )
    for argument in ("--help", "--version"):
        done = subprocess.run([sys.executable, "-c", code, argument], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.mark.parametrize("command", ["talk", "serve", "replay", "audit", "doctor", "plan", "verify", "bench", "train"])
def test_each_command_explains_itself(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert result.exit_code == 0 and "Usage:" in result.output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["talk", "nope"], "no pipeline is called 'nope'"),
        (["talk", "none.py"], "none.py does not exist"),
        (["talk", "--text", "--source", "mic"], "choose one"),
        (["talk", "--fast"], "--source FILE"),
        (["talk", "--fast", "--source", "a.wav", "--camera", "screen"], "cannot hurry a camera"),
        (["talk", "--device", "abacus"], "give cpu, cuda"),
        (["talk", "--record", "no/such/folder/a.rec"], "there is no folder"),
        (["bench", "nope"], "no bench is called 'nope'"),
        (["train", "nope"], "no step of training is called 'nope'"),
    ],
)
def test_what_is_wrong_with_the_command_is_one_line_and_status_2(arguments: list[str], says: str) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2
    assert says in result.stderr and result.stderr.count("\n") == 1 and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "status"),
    [(ConfigError, 2), (DeviceError, 3), (LinkError, 4), (ProtocolError, 5), (ToolError, 6), (KeyboardInterrupt, 0)],
)
def test_a_status_says_whose_it_is(monkeypatch: pytest.MonkeyPatch, error: type[BaseException], status: int) -> None:
    async def talk(agent: Any, **_: Any) -> int:
        raise error("do this")

    fake(monkeypatch, "liveagent.runtime.talk", talk=talk)
    result = runner.invoke(app, ["talk"])
    assert result.exit_code == status
    assert result.stderr == ("liveagent: do this\n" if status else "")
    monkeypatch.setenv("LIVEAGENT_DEBUG", "1")
    if status:
        assert isinstance(runner.invoke(app, ["talk"]).exception, error)


def test_a_fault_of_its_own_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(agent: Any, **_: Any) -> int:
        raise ZeroDivisionError("a\nb")

    fake(monkeypatch, "liveagent.runtime.talk", talk=talk)
    result = runner.invoke(app, ["talk"])
    assert result.exit_code == 70 and "ZeroDivisionError: a; LIVEAGENT_DEBUG=1" in result.stderr
    assert runner.invoke(app, ["bench"]).exit_code == 0


def test_talk_is_called_as_agreed_and_its_status_is_the_commands(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    called: dict[str, Any] = {}

    async def talk(agent: Any, **more: Any) -> int:
        called.update(more, agent=agent)
        more["terminal"].feed(TextTyped(0, "hello"))
        return 7

    fake(monkeypatch, "liveagent.runtime.talk", talk=talk)
    result = runner.invoke(
        app,
        ["talk", "voice", "--source", "a.wav", "--fast", "--no-check", "--record", str(tmp_path / "r")]
        + ["--camera", "table", "--device", "cuda"],
    )
    assert result.exit_code == 7
    agent = called.pop("agent")
    assert called.pop("journal").name == "calls.db"
    assert agent.tool("light") and agent.device == "cuda" and called.pop("terminal").title.startswith("voice")
    assert called == {
        "source": "a.wav", "text_only": False, "record": tmp_path / "r", "check": False, "fast": True,
        "origin": "voice", "headphones": False, "full_duplex": False, "push_to_talk": False,
        "camera": "table",
    }  # fmt: skip


def test_replay_writes_what_was_and_fails_a_check_that_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    difference = types.SimpleNamespace(tick=3, was="Say on", now="Say off")
    events = ((1, WordsHeard(0, ("hello",), "ear", True)),)

    def replay(path: Path, check: bool, named: str | None) -> Any:
        differs = difference if path.name == "other" else None
        return types.SimpleNamespace(
            events=events, actions=(), warnings=("another torch",), trouble="", ticks=10, tokens=4, difference=differs
        )

    fake(monkeypatch, "liveagent.runtime.replay", replay=replay)
    same = runner.invoke(app, ["replay", "same", "--check"])
    assert same.exit_code == 0 and "you: hello  (ear)" in same.stdout and "warning: another torch" in same.stderr
    assert runner.invoke(app, ["replay", "other"]).exit_code == 0
    other = runner.invoke(app, ["replay", "other", "--check"])
    assert other.exit_code == 1 and "tick 3 came out otherwise" in other.stdout


def test_audit_shows_what_was_called_and_nothing_that_moves_a_cursor(tmp_path: Path) -> None:
    journal = CallJournal(tmp_path / "calls.db", lambda: 1_000)
    args: dict[str, Any] = {"door": "front\x1b[2J", "minutes": 5}
    call = Transaction("k", "session", "call_1", "unlock", args, "hazard", decided_ns=9_000_000_000,
                       heard_ns=(7_000_000_000, 8_000_000_000), confirmed_by="button", state="journalled")  # fmt: skip
    asyncio.run(journal.begin(call, "me"))
    asyncio.run(journal.move(call.to("released")))
    journal.shut()
    shown = runner.invoke(app, ["audit", str(tmp_path / "calls.db")], env={"COLUMNS": "200"})
    assert shown.exit_code == 0 and "\x1b[2J" not in shown.output
    for each in ("unlock(door=", "minutes=5", "hazard", "2.0 s before", "button", "released"):
        assert each in shown.output, each
    (row,) = json.loads(runner.invoke(app, ["audit", str(tmp_path / "calls.db"), "--json"]).output)
    assert row["call"]["args"] == args and row["released_ms"] == 1_000
    nothing = runner.invoke(app, ["audit", str(tmp_path / "none.db")])
    assert nothing.exit_code == 2 and "there is no journal of calls" in nothing.stderr


def test_benches_and_steps_are_listed_without_being_imported() -> None:
    listed = json.loads(runner.invoke(app, ["bench", "--json"]).stdout)
    assert listed["start"]
    steps = runner.invoke(app, ["train"]).stdout
    for step in ("speech", "pieces", "clip"):
        assert f"\n{step} " in "\n" + steps


def test_a_bench_prints_a_table_or_exactly_its_json(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"import_s": 0.25, "inner": {"p50": 3}}
    fake(monkeypatch, "liveagent.bench.start", run=lambda: figures)
    assert json.loads(runner.invoke(app, ["bench", "start", "--json"]).stdout) == figures
    table = runner.invoke(app, ["bench", "start"]).stdout
    assert "import_s  0.25" in table and "p50  3" in table


def test_arguments_of_a_step_reach_it(tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "80"}
    command = [sys.executable, "-m", "liveagent", "train", "clip", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "--to" in done.stdout


def test_plan_says_what_is_heard() -> None:
    result = runner.invoke(app, ["plan"])
    assert result.exit_code == 0
    assert "light" in result.stdout and "sentences of" in result.stdout


@pytest.mark.parametrize("command", [["talk"], ["serve"], ["plan"], ["ask", "film.mp4", "what is on the table"]])
def test_a_language_needs_an_ear_to_hear_it(command: list[str]) -> None:
    assert "--language" in runner.invoke(app, [command[0], "--help"], env={"COLUMNS": "200"}).output
    told = runner.invoke(app, [*command, "--language", "de"])
    assert told.exit_code == 2 and "give an ear= too" in told.stderr and told.stderr.count("\n") == 1
