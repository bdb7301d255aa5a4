"""`Resident`: the one conversation of a server that is a box on a shelf: there from when the weights are loaded, opened
anew whenever it has failed, and whoever opened the page last is the one who looks on."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.errors import LiveAgentError
from liveagent.runtime.clearing import Terms
from liveagent.runtime.engine import Lane
from liveagent.runtime.house import House, HouseConversation, OpenHouse, Put
from liveagent.runtime.link import Link
from liveagent.runtime.request import Options, Refused
from liveagent.runtime.seats import Seat, Seats
from liveagent.runtime.session import SessionConfig
from liveagent.voice import Voice
from liveagent.wire.codec import Codec
from liveagent.wire.native import Hello

if TYPE_CHECKING:
    from liveagent.nn.model import Model

_log = logging.getLogger("liveagent.server")


class Resident:
    """One server's. `open_house` finds the devices."""

    def __init__(self, seats: Seats, model: Model, open_house: OpenHouse, config: SessionConfig | None) -> None:
        self._seats, self._model, self._open_house, self._config = seats, model, open_house, config
        self._seat: Seat | None = None
        self._opening: asyncio.Task[Seat] | None = None
        self._gone = False

    @property
    def seat(self) -> Seat | None:
        """Its seat; None while it is not there."""
        return self._seat if self._seat is not None and self._seat in self._seats else None

    @property
    def house(self) -> House | None:
        """Its devices; None while it is not there."""
        conversation = self.seat.conversation if self.seat is not None else None
        return conversation.house if isinstance(conversation, HouseConversation) else None

    async def open(self) -> Seat:
        """Begin the conversation, unless it goes on. Raises what is wrong with the devices; Refused where there is no
        lane, and once it has left."""
        if (seat := self.seat) is not None:
            return seat
        if self._gone:
            raise Refused("the server is stopping", status=503, reason="stopping")
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._open(), name="liveagent-resident")
        return await asyncio.shield(self._opening)  # whoever waits may leave; devices are not left half open

    async def _open(self) -> Seat:
        self._seat = await self._seats.open("native", "", Options(), make=self._make)
        return self._seat

    async def again(self) -> None:
        """Open it where it has failed; what hinders that is logged, and it is tried again with the next call."""
        if not self._gone and (self._opening is None or self._opening.done()):
            try:
                await self.open()
            except LiveAgentError as error:
                _log.warning("the house's conversation could not be opened: %s", error)

    async def look_on(self, link: Link, owner: str, hello: Hello) -> Seat:
        """Whoever is behind `link` is the one that looks on from now. Raises as `open`."""
        seat = await self.open()
        await self._seats.look_on(seat, link, owner, hello)
        return seat

    async def leave(self) -> None:
        """It is not opened again; whoever ends all seats ends it."""
        self._gone = True
        if self._opening is not None:
            await asyncio.gather(self._opening, return_exceptions=True)

    async def _make(
        self, agent: Agent, lane: Lane, codec: Codec, voice: Voice | None, terms: Terms
    ) -> HouseConversation:
        put = Put()
        house = await asyncio.to_thread(self._open_house, agent, put)
        conversation = HouseConversation(
            agent, self._model, lane, codec, house, voice=voice, config=self._config, terms=terms
        )
        put.to(conversation)
        return conversation
