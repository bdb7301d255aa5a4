"""`DataFile`: what a tool keeps from one day to the next, as JSON in the user's own data folder.

A change is written beside the file and put in its place whole, under a lock that other programs of ours take, too. A
file that cannot be read is set aside, not overwritten.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from liveagent.errors import ToolError

T = TypeVar("T")

MOST_BYTES = 4 << 20


def data_folder() -> Path:
    """Where data is kept, as freedesktop.org's base directories say."""
    home = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(home) / "liveagent"


class DataFile:
    """A JSON object in a file, `name` for everybody or one for each owner. Not opened before it is used."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self._name, self._folder = name, folder

    def path(self, owner: str = "") -> Path:
        """Of one owner, "" for whoever sits at this machine."""
        kept = "".join(each for each in owner if each.isalnum())[:64]
        return (self._folder or data_folder()) / (f"{self._name}-{kept}.json" if kept else f"{self._name}.json")

    def read(self, owner: str = "") -> dict[str, Any]:
        """What is kept; empty where nothing is. ToolError for a file that nobody can read."""
        path = self.path(owner)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise ValueError("it is too large")
            held = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(held, dict):
                raise ValueError("it holds no object")
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ToolError(f"what was kept cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError):
            aside = path.with_suffix(".damaged")
            with contextlib.suppress(OSError):
                path.replace(aside)
            raise ToolError(f"what was kept is damaged; it lies in {aside.name} now, and is begun anew") from None
        return held

    def change(self, how: Callable[[dict[str, Any]], T], owner: str = "") -> T:
        """Read, let `how` change it, and write it whole. ToolError; then it is as it was."""
        path = self.path(owner)
        with self._locked(path):
            held = self.read(owner)
            result = how(held)
            text = json.dumps(held, ensure_ascii=False, indent=1)
            if len(text) > MOST_BYTES:
                raise ToolError("there is no room for more; something has to go first")
            try:
                number, name = tempfile.mkstemp(dir=path.parent, prefix=".")
                with os.fdopen(number, "w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, path)
            except OSError as error:
                raise ToolError(f"it cannot be kept: {error.strerror}") from None
            return result

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = path.with_suffix(".lock").open("w")
        except OSError as error:
            raise ToolError(f"it cannot be kept: {error.strerror}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
