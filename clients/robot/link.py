"""`Link`: a robot's way to its agents, whatever it is made of; and `Outbox`, what waits to go out on it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import NamedTuple, Protocol

MOST_WAITING = 512
NEWEST_WINS = ("state", "camera/", "describe", "connection")


class LinkError(Exception):
    """The way is down; it is tried again by itself. Or, with `mendable`, somebody must mend something first."""

    def __init__(self, what: str, mendable: bool = False) -> None:
        super().__init__(what)
        self.mendable = mendable


class Letter(NamedTuple):
    tail: str
    payload: bytes
    qos: int
    retain: bool


class Inbox(Protocol):
    """Who is told what comes."""

    def receive(self, tail: str, payload: bytes, retained: bool) -> None: ...

    def link_up(self, settle_s: float) -> None:
        """All of the way is there. settle_s: how long until others of our name would have been heard."""

    def link_down(self, why: LinkError) -> None:
        """A part of it is not: orders, or a stop, may not get through."""

    def last_words(self, lost: bool) -> Letter:
        """What is to be said of us when we are lost, or leave."""


class Link(Protocol):
    async def run(self, inbox: Inbox) -> None:
        """Until cancelled, again and again."""

    def send(self, letter: Letter) -> None:
        """Returns at once; what has to wait too long is lost, the oldest first."""


class Outbox:
    """Letters in order; of what is only worth knowing as it is now, the newest."""

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._letters: deque[Letter] = deque()
        self._newest: OrderedDict[str, Letter] = OrderedDict()
        self._most = most
        self._came = asyncio.Event()
        self.dropped = 0

    def put(self, letter: Letter) -> None:
        if letter.tail.startswith(NEWEST_WINS):
            self._newest[letter.tail] = letter
        else:
            if len(self._letters) >= self._most:
                self._letters.popleft()
                self.dropped += 1
            self._letters.append(letter)
        self._came.set()

    async def next(self) -> Letter:
        while not self._letters and not self._newest:
            self._came.clear()
            await self._came.wait()
        if self._letters:
            return self._letters.popleft()
        return self._newest.popitem(last=False)[1]

    def clear(self) -> None:
        """What was meant for a link that is gone."""
        self._letters.clear()
        self._newest.clear()
