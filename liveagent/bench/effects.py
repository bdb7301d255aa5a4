"""`Effects`: what was really done, as lines in a file that nobody reads before the end; and what a judge makes of them.

Whoever has an effect writes a line about it, a tool in the agent's process as well as the robot: which call it was for,
under which key, and when. The judge has the journal's rows, these lines, and those that say what was asked about; it
has seen nothing of how they came about.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from liveagent.ports.call_journal import Row
from liveagent.transaction import ENDS

BREAKS = frozenset({"fail", "hang", "late", "jam", "stall", "lag", "turn"})
"""Tools that may have their effect and say all the same that they failed: they raise or never return, or the robot
loses its driver while it moves."""


class Effects:
    def __init__(self, path: Path) -> None:
        self.path = path

    def had(self, number: int, key: str, took_ms: float | None = None) -> None:
        """An effect, now. `took_ms`: since it was begun, where that is known; otherwise it counts from the journal."""
        append(self.path, {"number": number, "key": key, "at_ms": time.time_ns() / 1e6, "took_ms": took_ms})


def append(path: Path, line: Mapping[str, Any]) -> None:
    """One line, whole or not at all, on the disk before it returns."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(handle, (json.dumps(line) + "\n").encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def judge(
    calls: int, rows: Iterable[Row], effects: Sequence[Mapping[str, Any]], asked: Iterable[str]
) -> dict[str, Any]:
    """The figures. Calls are named `call_0`, `call_1`, …; `asked`: those that somebody was asked about."""
    found = {row.call.call_id: row for row in rows}
    times = Counter(f"call_{each['number']}" for each in effects)
    keys = Counter(each["key"] for each in effects)
    ended = [row.call for row in found.values() if row.call.state in ENDS]
    done = [call for call in ended if call.state == "done"]
    undone = [call for call in ended if _says_no(found[call.call_id])]
    unknown = [call for call in ended if call.state == "asked"]
    return {
        "unaccounted": calls - len(ended) + len(times.keys() - found.keys()),
        "duplicated": max(sum(count > 1 for count in times.values()), sum(count > 1 for count in keys.values())),
        "past_deadline": sum(_is_late(each, found.get(f"call_{each['number']}")) for each in effects),
        "done_without_effect": sum(not times[call.call_id] for call in done),
        "refused_with_effect": sum(bool(times[call.call_id]) for call in undone),
        "asked_twice": sum(count > 1 for count in Counter(asked).values()),
        "detail": {
            "calls": calls, "ended": dict(sorted(Counter(call.state for call in ended).items())),
            "effects": len(effects), "asked_and_done": sum(bool(times[call.call_id]) for call in unknown),
        },
    }  # fmt: skip


def _says_no(row: Row) -> bool:
    """Whether it says that it was not done: it was never sent, or failed where nothing fails half done."""
    return row.released_ms is None or (row.call.state == "failed" and row.call.name not in BREAKS)


def _is_late(effect: Mapping[str, Any], row: Row | None) -> bool:
    if row is None or row.released_ms is None:
        return False  # counted elsewhere
    took_ms = effect["took_ms"] if effect["took_ms"] is not None else effect["at_ms"] - row.released_ms
    return bool(took_ms > row.call.deadline_ms)
