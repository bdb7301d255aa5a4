"""`CallJournal`: what became of every tool call, on disk before anything is sent. SQLite, by the standard library.

A row is a call: what was called with which arguments, how it was decided, and how far it came. Of what a user said
there is nothing in it beyond the arguments themselves, no result and no token; what it was decided on is named by its
times. It is bounded: a call's arguments in bytes, the rows in number (the oldest that have ended go first), the file in
pages. WAL and `synchronous=FULL`: what was committed is there after a crash and after a power cut.

One thread writes, so that no disk stops the clock. Several processes may share a file: each holds a lock on a name of
its own for as long as it lives, and a call that nobody alive holds is one that was left (`left`).
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from liveagent.errors import ConfigError, DeviceError
from liveagent.jsonform import Json
from liveagent.transaction import ENDS, FOLLOWS, State, Transaction, after_a_crash

try:
    import fcntl
except ImportError:  # not on Windows: there one process at a time has a journal
    fcntl = None  # type: ignore[assignment]

MOST_ROWS = 20_000
MOST_ARGS_BYTES = 16 << 10
MOST_PAGES = 16_384  # of 4 KiB: 64 MiB
PRUNE_EVERY = 256
VERSION = 1
BUSY_S = 5.0
T = TypeVar("T")

_TABLE = """
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, at INTEGER NOT NULL, owner TEXT NOT NULL, run TEXT NOT NULL, session TEXT NOT NULL,
    call_id TEXT NOT NULL, name TEXT NOT NULL, args TEXT NOT NULL, risk TEXT NOT NULL, decided_by TEXT NOT NULL,
    branch INTEGER NOT NULL, deadline_ms INTEGER NOT NULL, decided_ns INTEGER NOT NULL, heard_ns TEXT NOT NULL,
    seen_ns INTEGER, confirmed_by TEXT NOT NULL DEFAULT '', state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    released_at INTEGER, ended_at INTEGER, told INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID
"""
_OPEN = "state NOT IN ({})".format(", ".join(f"'{state}'" for state in sorted(ENDS)))


@dataclass(frozen=True, slots=True)
class Row:
    """A call as it stands in the journal. Times are Unix time in ms; `told`: whether the user was asked about it, where
    nobody knows how it ended."""

    call: Transaction
    at_ms: int
    owner: str
    run: str
    released_ms: int | None = None
    ended_ms: int | None = None
    told: bool = True


class CallJournal:
    """One process's. Raises DeviceError for a disk that takes nothing more and for a file that is none."""

    def __init__(self, path: Path | None = None, now_ms: Callable[[], int] | None = None) -> None:
        """`path`: None keeps it in memory, for as long as the process lives. `now_ms`: Unix time."""
        self.path = path
        self.run = secrets.token_hex(8)
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="call journal")
        self._since_pruned = 0
        self._held: IO[bytes] | None = None
        self._closed = False
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                str(path) if path else ":memory:", timeout=BUSY_S, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise self._trouble(error) from error
        try:
            self._open()
            if path is not None:
                self._held = self._hold(path)
        except (OSError, sqlite3.Error) as error:
            self._db.close()
            raise self._trouble(error) from error
        except ConfigError:
            self._db.close()
            raise

    # --- writing

    async def begin(self, call: Transaction, owner: str = "") -> Transaction | None:
        """Write a call down; its state says how far it is. If its key is here already, nothing is written and the call
        as it stands comes back: whoever tries again does nothing twice."""
        written = json.dumps(dict(call.args), separators=(",", ":"))
        if len(written) > MOST_ARGS_BYTES:
            raise ConfigError(f"{call.name}: its arguments take {len(written)} bytes; {MOST_ARGS_BYTES} are the most")
        return await self._do(lambda: self._begin(call, written, owner))

    async def move(self, call: Transaction) -> None:
        """Write down how far a call is now."""
        await self._do(lambda: self._move(call))

    def _begin(self, call: Transaction, args: str, owner: str) -> Transaction | None:
        now = self._now_ms()
        done = self._db.execute(
            "INSERT OR IGNORE INTO calls VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,1)",
            (call.key, now, owner, self.run, call.session, call.call_id, call.name, args, call.risk, call.by,
             call.branch, call.deadline_ms, call.decided_ns, json.dumps(call.heard_ns), call.seen_ns, call.confirmed_by,
             call.state, call.reason, None, now if call.ended else None),
        )  # fmt: skip
        if not done.rowcount:
            return self._row(self._db.execute("SELECT * FROM calls WHERE key = ?", (call.key,)).fetchone()).call
        self._since_pruned += 1
        if self._since_pruned >= PRUNE_EVERY:
            self._prune()
        return None

    def _move(self, call: Transaction) -> None:
        now = self._now_ms()
        self._db.execute(
            "UPDATE calls SET state = ?, reason = ?, confirmed_by = ?, released_at = COALESCE(released_at, ?), "
            f"ended_at = ? WHERE key = ? AND {_OPEN}",
            (call.state, call.reason, call.confirmed_by, now if call.state == "released" else None,
             now if call.ended else None, call.key),
        )

    def _prune(self) -> None:
        self._since_pruned = 0
        (count,) = self._db.execute("SELECT count(*) FROM calls").fetchone()
        if count > MOST_ROWS:
            self._db.execute(
                f"DELETE FROM calls WHERE key IN (SELECT key FROM calls WHERE NOT ({_OPEN}) AND told "
                "ORDER BY at LIMIT ?)",
                (count - MOST_ROWS,),
            )

    # --- after a crash

    async def settle(self) -> int:
        """End what processes that are gone have left open; how many calls that were. What was not sent is `expired`;
        what may have been done is `asked`, and waits in `unknown` for its owner to come."""
        return await self._do(self._settle)

    async def unknown(self, owner: str, most: int = 100) -> list[Row]:
        """Calls of `owner` of which nobody knows how they ended, and that they were not asked about yet: each once."""
        return await self._do(lambda: self._unknown(owner, most))

    def _settle(self) -> int:
        runs = [run for (run,) in self._db.execute(f"SELECT DISTINCT run FROM calls WHERE {_OPEN}") if run != self.run]
        gone = [run for run in runs if not self._lives(run)]
        settled = 0
        for run in gone:
            for state in FOLLOWS:
                settled += self._end(run, state)
            self._forget_run(run)
        return settled

    def _end(self, run: str, state: State) -> int:
        ended = after_a_crash(state)
        found = self._db.execute(
            "UPDATE calls SET state = ?, reason = 'crash', ended_at = ?, told = ? WHERE run = ? AND state = ?",
            (ended, self._now_ms(), ended != "asked", run, state),
        )
        return found.rowcount

    def _unknown(self, owner: str, most: int) -> list[Row]:
        found = self._db.execute(
            "SELECT * FROM calls WHERE owner = ? AND state = 'asked' AND NOT told ORDER BY at LIMIT ?", (owner, most)
        ).fetchall()
        self._db.executemany("UPDATE calls SET told = 1 WHERE key = ?", [(row["key"],) for row in found])
        return [self._row(row) for row in found]

    # --- reading

    async def rows(self, most: int = 100) -> list[Row]:
        """The newest calls, oldest first."""
        return await self._do(lambda: self._rows(most))

    def _rows(self, most: int) -> list[Row]:
        found = self._db.execute("SELECT * FROM calls ORDER BY at DESC, decided_ns DESC LIMIT ?", (most,)).fetchall()
        return [self._row(row) for row in reversed(found)]

    def _row(self, row: sqlite3.Row) -> Row:
        args: dict[str, Json] = json.loads(row["args"])
        call = Transaction(
            row["key"], row["session"], row["call_id"], row["name"], args, row["risk"], row["decided_by"],
            row["branch"], row["deadline_ms"], row["decided_ns"], tuple(json.loads(row["heard_ns"])), row["seen_ns"],
            row["confirmed_by"], row["state"], row["reason"],
        )  # fmt: skip
        return Row(
            call, row["at"], row["owner"], row["run"], row["released_at"], row["ended_at"], bool(row["told"])
        )  # fmt: skip

    async def close(self) -> None:
        """What is being written is written to its end. May be called twice."""
        if self._closed:
            return
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self.shut)

    def shut(self) -> None:
        """`close`, for whoever has no event loop."""
        self._closed = True
        self._writer.shutdown()
        with suppress(sqlite3.Error):
            (left,) = self._db.execute(f"SELECT count(*) FROM calls WHERE run = ? AND {_OPEN}", (self.run,)).fetchone()
            if not left:
                self._forget_run(self.run)
        self._db.close()
        if self._held is not None:
            self._held.close()

    # --- the file, and who lives

    def _open(self) -> None:
        db = self._db
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA max_page_count = {MOST_PAGES}")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise ConfigError(f"{self.path} was written by a newer liveagent (journal {version}); name another file")
        db.execute(_TABLE)
        db.execute("CREATE INDEX IF NOT EXISTS by_run ON calls (run, state)")
        db.execute("CREATE INDEX IF NOT EXISTS by_time ON calls (at)")
        db.execute(f"PRAGMA user_version = {VERSION}")
        if self.path is not None:
            with suppress(OSError):  # what somebody did is nobody else's to read
                self.path.chmod(0o600)

    def _lock_file(self, run: str) -> Path | None:
        return None if self.path is None else self.path.with_name(f"{self.path.name}.{run}.run")

    def _hold(self, path: Path) -> IO[bytes]:
        held = path.with_name(f"{path.name}.{self.run}.run").open("wb")
        if fcntl is not None:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return held

    def _lives(self, run: str) -> bool:
        """Whether the process that wrote under this name still holds its lock."""
        file = self._lock_file(run)
        if file is None or fcntl is None:
            return False
        try:
            with file.open("rb") as found:
                fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # its file is gone, and so is it
            return False
        return False

    def _forget_run(self, run: str) -> None:
        file = self._lock_file(run)
        if file is not None:
            with suppress(OSError):
                os.unlink(file)

    # --- its thread

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._writer, work)
        except RuntimeError as error:  # it was closed
            raise DeviceError("the journal of calls is closed") from error
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> DeviceError:
        where = self.path or "memory"
        return DeviceError(
            f"the journal of calls at {where} takes nothing ({error}); free the disk or name another file: without it "
            "no tool is called"
        )


def read_rows(path: Path, most: int = 100) -> list[Row]:
    """The newest calls of a journal that others may be writing, oldest first. ConfigError where there is none."""
    if not path.is_file():
        raise ConfigError(f"there is no journal of calls at {path}; `liveagent talk` and `serve` write one")
    journal = CallJournal(path)
    try:
        return journal._rows(most)
    except sqlite3.Error as error:
        raise ConfigError(f"{path} is no journal of calls: {error}") from error
    finally:
        journal.shut()
