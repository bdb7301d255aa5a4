"""The journal of calls: what is in it, what a crash leaves, what it refuses."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from liveagent.errors import ConfigError, DeviceError
from liveagent.ports import call_journal
from liveagent.ports.call_journal import CallJournal, read_rows
from liveagent.transaction import State, Transaction, key_of

LEAVES = """
import asyncio, sys
from pathlib import Path
from liveagent.ports.call_journal import CallJournal
from liveagent.transaction import Transaction
async def main():
    journal = CallJournal(Path(sys.argv[1]))
    for name in ("journalled", "released", "accepted", "done"):
        call = Transaction(name, "s", name, "heat", {"celsius": 21}, state="journalled")
        await journal.begin(call, "me")
        for state in ("released", "accepted", "done"):
            if name == "journalled" or call.state == name:
                break
            call = call.to(state)
            await journal.move(call)
    print("left", flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


def call(name: str = "1", state: State = "journalled", **args: Any) -> Transaction:
    key = key_of("s", name, "heat", args)
    return Transaction(key, "s", name, "heat", args, heard_ns=(5, 9), seen_ns=7, state=state)


def locks(folder: Path) -> list[Path]:
    return list(folder.glob("*.run"))


async def test_a_call_is_written_once_and_read_as_it_was(tmp_path: Path) -> None:
    journal = CallJournal(tmp_path / "calls.db", lambda: 1000)
    one = call(celsius=21)
    assert await journal.begin(one, "me") is None
    released = one.to("released")
    await journal.move(released)
    again = await journal.begin(one, "me")
    assert again == released, "whoever tries again is told how far it is"
    await journal.move(released.to("done"))
    await journal.move(released.to("failed"))  # an end is the end
    (row,) = await journal.rows()
    assert row.call == released.to("done") and (row.owner, row.at_ms, row.released_ms, row.ended_ms) == (
        "me", 1000, 1000, 1000,
    )  # fmt: skip
    assert row.call.heard_ns == (5, 9) and row.call.seen_ns == 7 and row.call.args == {"celsius": 21}
    await journal.close()
    await journal.close()
    assert (tmp_path / "calls.db").stat().st_mode & 0o077 == 0 and read_rows(tmp_path / "calls.db") == [row]
    assert not locks(tmp_path)
    with pytest.raises(DeviceError, match="closed"):
        await journal.begin(call("2"))


async def test_what_is_too_much_is_refused_and_what_is_old_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_journal, "MOST_ROWS", 5)
    monkeypatch.setattr(call_journal, "PRUNE_EVERY", 10)
    times = iter(range(1000))
    journal = CallJournal(None, lambda: next(times))
    with pytest.raises(ConfigError, match="16384 are the most"):
        await journal.begin(call(note="x" * 17_000))
    for at in range(20):
        await journal.begin(call(f"call {at}", "journalled" if at == 3 else "refused"))
    names = [row.call.call_id for row in await journal.rows()]
    assert names[0] == "call 3" and names[-1] == "call 19" and len(names) == 5, "what has not ended stays"
    await journal.close()


def left_by_another(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", LEAVES, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "left\n"
    return process


async def test_a_process_that_was_killed_leaves_what_is_asked_about_once(tmp_path: Path) -> None:
    path = tmp_path / "calls.db"
    with left_by_another(path) as process:
        journal = CallJournal(path)
        assert await journal.settle() == 0, "it lives"
        process.send_signal(signal.SIGKILL)
    assert await journal.settle() == 3
    assert {row.call.call_id: row.call.state for row in await journal.rows()} == {
        "journalled": "expired", "released": "asked", "accepted": "asked", "done": "done",
    }  # fmt: skip
    assert await journal.unknown("somebody else") == []
    assert {row.call.call_id for row in await journal.unknown("me")} == {"released", "accepted"}
    assert await journal.unknown("me") == [] and await journal.settle() == 0
    await journal.close()
    assert not locks(tmp_path)


async def test_a_full_disk_is_a_typed_error_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_journal, "MOST_PAGES", 16)
    journal = CallJournal(tmp_path / "calls.db")
    with pytest.raises(DeviceError, match="no tool is called"):
        for at in range(100):
            await journal.begin(call(f"call {at}", note="x" * 8000))
    assert len(await journal.rows()) >= 2
    await journal.close()


@pytest.mark.parametrize("what", ["garbage", "newer", "folder", "missing"])
def test_a_file_that_is_no_journal(tmp_path: Path, what: str) -> None:
    path = tmp_path / "calls.db"
    if what == "garbage":
        path.write_bytes(os.urandom(5000))
    elif what == "newer":
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
    elif what == "folder":
        path.mkdir()
    if what == "missing":
        with pytest.raises(ConfigError, match="there is no journal"):
            read_rows(path)
        return
    with pytest.raises((ConfigError, DeviceError)):
        CallJournal(path)
    assert not locks(tmp_path)
