"""`RowLooking`: a session's sense of sight with an eye whose rows the decoder was trained to read.

Such an eye is large, and nobody but its decoder knows what it says. So which pictures are kept depends on their pixels
(`Scenery`), and the eye looks only at those, and only at the patches that have changed since it looked last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from liveagent.errors import LiveAgentError
from liveagent.event import FrameSeen, PictureKept
from liveagent.keyframe import Keyframes
from liveagent.news import Why
from liveagent.runtime.context import Context
from liveagent.runtime.engine import Lane
from liveagent.runtime.looking import Looking, thumbnail
from liveagent.runtime.work import Sights
from liveagent.scenery import Scenery
from liveagent.video import VideoFrame

if TYPE_CHECKING:
    from liveagent.nn.model import Model


class RowLooking(Looking):
    """What one session sees. Not for two tasks at once."""

    def __init__(
        self,
        model: Model,
        lane: Lane,
        context: Context,
        keyframes: Keyframes | None = None,
        scenery: Scenery | None = None,
    ) -> None:
        super().__init__(model, lane, context, prune=False, keyframes=keyframes or Keyframes(refresh_s=0))
        self._scenery = scenery or Scenery()
        self._stale: NDArray[np.bool_] | None = None  # patches that the eye has not seen as they are; None: all
        self._changes = 0
        self._ready: Why | None = None  # why a picture that has been looked at is to be kept

    async def see(self, frame: VideoFrame) -> FrameSeen:
        """Find out what changed in a picture."""
        frame = self._model.small(frame)
        change = self._keyframes.feed(frame.pixels, frame.t_ns)
        self.patches = change.patches
        if change.full or self._pixels is None:
            self._stale = None
        elif self._stale is not None:
            self._stale |= change.patches
        self._scenery.see(change, frame.t_ns)
        self._pixels, self.t_ns, self._new = frame.pixels, frame.t_ns, True
        return FrameSeen(frame.t_ns, change.full, change.reason, change.count, len(change.patches), frame.dropped)

    def news(self) -> Why | None:
        """Whether the newest picture is worth keeping; while ticks are late, the first alone is."""
        return self._fresh() or self._ready

    def _fresh(self) -> Why | None:
        self._new = False
        if self._pixels is None or (self.sparing and self.subject is not None):
            return None
        return self._scenery.feed(self.t_ns)

    async def prepare(self) -> None:
        """While somebody speaks: look at the newest picture now if it is news. It is kept behind what is said, and what
        has moved by then is all that is left to be looked at."""
        if (why := self._fresh()) is not None:
            self._ready = why
            await self._look()

    def late_news(self) -> Why | None:
        if self._pixels is None:
            return None
        self._new = False
        return self._scenery.ask(self.t_ns) or self._ready

    @property
    def subject(self) -> object:
        return self._changes or None

    async def keep(self, why: Why, within: bool = False) -> PictureKept:
        """Look at the newest picture, and put it into the cache, at its end."""
        pixels, t_ns, rows = self._pixels, self.t_ns, await self._look()
        assert pixels is not None
        self._ready = None
        if why != "refresh":
            self._changes += 1
        template = self._model.template
        ids = template.picture(len(rows), t_ns, self._context.in_turn, within)
        sights = Sights(rows, np.arange(len(rows), dtype=np.int64))
        await self._context.add("picture", ids, t_ns, sights=sights)
        await self._context.add("picture", template.picture_close(within), t_ns, grow=True)
        span = self._context.ledger.spans[-1]
        return PictureKept(t_ns, span.id, span.length, why, (), thumbnail(pixels))

    async def _look(self) -> NDArray[np.float32]:
        """What the eye makes of the newest picture: rows `[n, D]`. Where it has seen all of it, no network runs."""
        assert self._pixels is not None and self.patches is not None
        stale, self._stale = self._stale, np.zeros(len(self.patches), np.bool_)
        try:
            return (await self._lane.see(self._pixels, stale)).sight
        except LiveAgentError:
            self._stale = None
            raise
