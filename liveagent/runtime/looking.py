"""A session's sense of sight: pictures in, and now and then one that is worth a place in the cache.

Way of a picture: frame → changed patches (`Keyframes`) → eye (engine) → what it says (`Sight`) → is that news (`News`)?
→ a span `<image>` and a row for each cell. A picture in which nothing changed costs the comparison of its pixels, and a
session without a camera none of this. Which pictures are kept depends on the pictures and their times alone.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from liveagent.event import FrameSeen, PictureKept
from liveagent.keyframe import Keyframes
from liveagent.news import News, Why
from liveagent.runtime.context import Context
from liveagent.runtime.engine import Lane
from liveagent.runtime.work import Sights
from liveagent.sight import CELLS, COUNT, OTHER, Sight, named
from liveagent.video import Pixels, VideoFrame, resize

if TYPE_CHECKING:
    from liveagent.nn.model import Model

EMPTY = 0.9
"""A cell that is likelier to hold nothing than this may be left out of a picture."""
LIKELY_EMPTY = 0.5
"""The same while ticks are late (`liveagent.overrun`)."""
THUMBNAIL_PX = 16


def kept_cells(sight: Sight, prune: bool, empty: float = EMPTY) -> list[int]:
    """The cells of a picture that enter the cache: all, or with `prune` those that are less likely than `empty` to hold
    nothing. A picture of something other than the toy table keeps at least one, which says so."""
    if not prune:
        return list(range(CELLS))
    cells = [cell for cell in range(CELLS) if sight[cell, COUNT][0] < empty]
    return cells or ([0] if sight[0, OTHER] > 0.5 else [])


class Looking:
    """What one session sees. Not for two tasks at once."""

    def __init__(
        self,
        model: Model,
        lane: Lane,
        context: Context,
        prune: bool = True,
        keyframes: Keyframes | None = None,
        news: News | None = None,
    ) -> None:
        self._model, self._lane, self._context = model, lane, context
        self.prune = prune
        self.sparing = False
        """Whether ticks are late and pictures are kept with fewer cells, whatever `prune` says."""
        self._keyframes = keyframes or Keyframes()
        self._news = news or News()
        self.sight: Sight | None = None
        """What the eye says of the newest picture; None before the first."""
        self.kept: Sight | None = None
        """What it said of the one that was kept last."""
        self.patches: NDArray[np.bool_] | None = None
        """Which patches of the newest picture were encoded anew, row by row; None before the first."""
        self._pixels: Pixels | None = None
        self.t_ns = 0
        """When the newest picture was taken."""
        self._new = False  # a picture came since it was last asked whether it is worth keeping

    @property
    def pixels(self) -> Pixels | None:
        """The newest picture, as it is seen; None before the first."""
        return self._pixels

    @property
    def subject(self) -> object:
        """What the picture that was kept last is about: as long as it is the same, there is nothing new to remark.
        None before the first."""
        return named(self.kept) if self.kept is not None else None

    @property
    def waiting(self) -> bool:
        """Whether a picture came that nobody has decided about."""
        return self._new

    async def see(self, frame: VideoFrame) -> FrameSeen:
        """Look at a picture: encode what changed in it."""
        frame = self._model.small(frame)
        change = self._keyframes.feed(frame.pixels, frame.t_ns)
        self.patches = change.patches
        if change.count:
            patches = None if change.full else change.patches
            self.sight = (await self._lane.see(frame.pixels, patches)).sight
        self._pixels, self.t_ns, self._new = frame.pixels, frame.t_ns, True
        return FrameSeen(frame.t_ns, change.full, change.reason, change.count, len(change.patches), frame.dropped)

    def news(self) -> Why | None:
        """Whether the newest picture is worth keeping; then `keep` it. Asked only when there is room for it: what came
        in between is forgotten, the newest counts."""
        self._new = False
        return self._news.feed(self.sight, self.t_ns) if self.sight is not None else None

    async def prepare(self) -> None:
        """While somebody speaks: do now what keeping the newest picture will cost. nano's eye has looked already."""

    def late_news(self) -> Why | None:
        """As `news`, in front of a question: what is there now counts, even if it has not been so for long."""
        if self.sight is None or self.sight is self.kept:
            return None
        self._new = False
        return self._news.ask(self.sight, self.t_ns)

    def cells(self, sight: Sight) -> list[int]:
        """Which cells of a picture are kept, as things stand."""
        return kept_cells(sight, self.prune or self.sparing, LIKELY_EMPTY if self.sparing else EMPTY)

    async def keep(self, why: Why, within: bool = False) -> PictureKept:
        """Put the newest picture into the cache, at its end. `within`: the user's turn stands open there."""
        assert self.sight is not None and self._pixels is not None
        self.kept = self.sight
        cells = self.cells(self.sight)
        sights = Sights(self.sight[cells], np.array(cells, np.int64))
        ids = self._model.template.picture(len(cells))
        await self._context.add("picture", ids, self.t_ns, sights=sights)
        span = self._context.ledger.spans[-1]
        return PictureKept(self.t_ns, span.id, len(ids), why, named(self.sight), thumbnail(self._pixels))


def thumbnail(pixels: Pixels) -> str:
    """For people: the picture very small, its bytes in base 64."""
    return base64.b64encode(resize(pixels, THUMBNAIL_PX, THUMBNAIL_PX).tobytes()).decode()
