"""`Agreed`: what stands of a text that is written anew again and again as more is heard.

Two looks in a row that begin alike agree on that beginning, and it is never taken back (local agreement: Liu et al.,
"Low-latency sequence-to-sequence speech recognition and translation by partial hypothesis selection", 2020). The rest
is whatever the newest look says.
"""

from __future__ import annotations

from collections.abc import Sequence


class Agreed:
    """`ids`: the beginning that stands. Every look is to begin with it."""

    def __init__(self) -> None:
        self.ids: tuple[int, ...] = ()
        self.newest: tuple[int, ...] = ()

    def look(self, ids: Sequence[int]) -> None:
        """The whole text as it is heard now."""
        at = 0
        while at < min(len(ids), len(self.newest)) and ids[at] == self.newest[at]:
            at += 1
        if at > len(self.ids) and self.newest[: len(self.ids)] == self.ids:
            self.ids = self.newest[:at]
        self.newest = tuple(ids)
