"""`Dictation`: a session's side of a pretrained ear, which hears in a process of its own.

What it is to hear leaves the session like an action does (`Hark`), and what it made of that comes back through the
inbox (`EarHeard`), late and whenever it is done. So the session waits for nothing, a recording holds the words, and a
replay needs no ear.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from liveagent.audio import Samples
from liveagent.event import EarHeard


@dataclass(frozen=True, slots=True, eq=False)
class Hark:
    """Of the utterance that began at `begun_ns`: it begins with `samples`, goes on with them, ends, or was nothing.
    `quiet`: nobody speaks in them."""

    begun_ns: int
    what: Literal["begin", "more", "end", "cancel"]
    samples: Samples | None = None
    quiet: bool = False


class Dictation:
    """One session's. `begun_ns` names the open utterance, or the last one: by its time and not by a count, so that it
    is the same in a recording of which something was forgotten. `newest`: what was last heard of it."""

    def __init__(self) -> None:
        self.now_ns = 0
        """The end of the open tick; the session sets it."""
        self.begun_ns = 0
        self.open = False
        self.newest: EarHeard | None = None
        self._orders: list[Hark] = []

    def begin(self, preroll: Samples) -> None:
        self.cancel()
        self.begun_ns = max(self.now_ns, self.begun_ns + 1)
        self.open, self.newest = True, None
        self._orders.append(Hark(self.begun_ns, "begin", preroll))

    def feed(self, samples: Samples, quiet: bool) -> None:
        if self.open:
            self._orders.append(Hark(self.begun_ns, "more", samples, quiet))

    def end(self) -> None:
        """No more comes; its last words will."""
        self._close("end")

    def cancel(self) -> None:
        """It was nothing."""
        self._close("cancel")

    def _close(self, what: Literal["end", "cancel"]) -> None:
        if self.open:
            self._orders.append(Hark(self.begun_ns, what))
        self.open, self.newest = False, None

    def take(self, heard: EarHeard) -> None:
        """Words that came; those of another utterance than the open one say nothing any more."""
        if self.open and heard.begun_ns == self.begun_ns:
            self.newest = heard

    def orders(self) -> list[Hark]:
        """What was asked of it since this was last called."""
        orders, self._orders = self._orders, []
        return orders
