"""`Eyes`: what a session sees and what of it it keeps, folded from its events. Pure and bounded."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np

from liveagent import event as ev
from liveagent.clients.terminal.entry import plain
from liveagent.video import Pixels

MOST_KEPT = 64
THUMBNAIL_PX = 16


@dataclass(slots=True)
class Kept:
    """One picture in the memory: when it was taken, what is in it, and itself, `[16, 16, 3]`; None without one."""

    span: int
    t_ns: int
    sees: tuple[str, ...]
    pixels: Pixels | None


class Eyes:
    """`feed` it everything; it takes what concerns the eyes."""

    def __init__(self) -> None:
        self.frames = 0
        self.keyframes = 0
        self.dropped = 0
        self.patches = 0  # encoded
        self.of = 0  # of so many
        self.kept: dict[int, Kept] = {}  # by span, oldest first
        self.evicted = 0
        self.gone: Kept | None = None  # what was evicted last
        self.t_ns = 0  # of the newest picture
        self.clocks: ev.ClocksCompared | None = None

    @property
    def open(self) -> bool:
        """Whether anything was seen at all."""
        return self.frames > 0

    @property
    def share(self) -> float:
        """Which share of all patches was encoded anew."""
        return self.patches / self.of if self.of else 0.0

    @property
    def newest(self) -> Kept | None:
        return next(reversed(self.kept.values()), None)

    def feed(self, item: object) -> None:
        match item:
            case ev.FrameSeen():
                self.frames += 1
                self.keyframes += item.keyframe
                self.dropped += item.dropped
                self.patches += item.patches
                self.of += item.of
                self.t_ns = max(self.t_ns, item.t_ns)
            case ev.PictureKept():
                sees = tuple(plain(each) for each in item.sees)
                self.kept[item.span] = Kept(item.span, item.t_ns, sees, _thumbnail(item.thumbnail))
                while len(self.kept) > MOST_KEPT:
                    self.kept.pop(next(iter(self.kept)))
            case ev.PicturesEvicted():
                self.evicted += len(item.spans)
                for span in item.spans:
                    self.gone = self.kept.pop(span, self.gone)
            case ev.ClocksCompared():
                self.clocks = item


def _thumbnail(text: str) -> Pixels | None:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(data) != THUMBNAIL_PX * THUMBNAIL_PX * 3:
        return None
    return np.frombuffer(data, np.uint8).reshape(THUMBNAIL_PX, THUMBNAIL_PX, 3)
