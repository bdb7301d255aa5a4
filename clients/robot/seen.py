"""`Seen`: what became of each command, so that one that comes again is answered and not done again.

For ten minutes at least, and bounded: when it is full of younger ones it takes no more, because forgetting one early
would be doing it twice.
"""

from __future__ import annotations

from collections import OrderedDict

from .contract import DUPLICATES_S, ActionUpdate, Command
from .now import Now

MOST = 8192


class Seen:
    def __init__(self, keep_s: float = DUPLICATES_S, most: int = MOST) -> None:
        self._keep_s, self._most = keep_s, most
        self._all: OrderedDict[str, tuple[float, str, ActionUpdate | None]] = OrderedDict()

    def full(self, now: Now) -> bool:
        while self._all:
            first = next(iter(self._all))
            if now.s - self._all[first][0] <= self._keep_s:
                break
            del self._all[first]
        return len(self._all) >= self._most

    def take(self, command: Command, now: Now) -> None:
        self._all[command.id] = (now.s, command.digest, None)

    def knows(self, command: Command) -> bool:
        return command.id in self._all

    def differs(self, command: Command) -> bool:
        """Whether a command of this id was another one."""
        return self._all[command.id][1] != command.digest

    def update(self, update: ActionUpdate) -> None:
        if update.id in self._all:
            began_s, digest, _ = self._all[update.id]
            self._all[update.id] = (began_s, digest, update)

    def last(self, command_id: str) -> ActionUpdate | None:
        return self._all[command_id][2] if command_id in self._all else None
