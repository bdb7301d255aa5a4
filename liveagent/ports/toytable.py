"""The toy table as a camera: a drawn scene that needs no device and no permission, and that can be touched.

Its time is the session's: the table goes on as far as it is read, so a recording or a test sees the same scenes at any
speed.
"""

from __future__ import annotations

from liveagent.audio import TICK_NS
from liveagent.errors import ConfigError
from liveagent.probe import Probe
from liveagent.sight import PICTURE_PX
from liveagent.table import Table, ToyTable, draw
from liveagent.video import Pixels, VideoFrame


class ToyTableCamera:
    """`start`, `read`, `close` as a `Camera`; and `grab`, `drag`, `drop` move a thing by hand.

    table: what it looks at; None: a table of `seed` that moves by itself. fps: how often it looks.
    """

    def __init__(
        self, table: ToyTable | None = None, seed: int = 0, fps: float = 5.0, size_px: int = PICTURE_PX
    ) -> None:
        if not 0 < fps <= 60:
            raise ConfigError(f"{fps} pictures a second: choose more than 0 and at most 60")
        self.table = table or ToyTable(seed)
        self.name = "toy table"
        self.received_frames = 0
        self._step_ns, self._size_px = round(1e9 / fps), size_px
        self._begin_ns: int | None = None
        self._next_ns = 0
        self._drawn: tuple[Table, Pixels] | None = None
        self._held: tuple[int, int] | None = None  # its colour and shape, of which there is but one

    def start(self) -> None: ...

    def close(self) -> None: ...

    def read(self, by_ns: int) -> VideoFrame | None:
        """The table at `by_ns`, or None when it was looked at just before. The first time asked for is its tick 0."""
        if self._begin_ns is None:
            self._begin_ns = self._next_ns = by_ns
        if by_ns < self._next_ns:
            return None
        self._next_ns += (1 + (by_ns - self._next_ns) // self._step_ns) * self._step_ns
        self.table.step(max(self.table.tick, (by_ns - self._begin_ns) // TICK_NS))
        self.received_frames += 1
        return VideoFrame(self.pixels, by_ns)

    @property
    def pixels(self) -> Pixels:
        """`[size_px, size_px, 3]`: the table as it stands, hands included; not to be written to."""
        table = self.table.table
        if self._drawn is None or self._drawn[0] != table:
            self._drawn = table, draw(table, self._size_px)
        return self._drawn[1]

    @property
    def held(self) -> str:
        """The thing in hand, in words; empty when there is none."""
        at = self._at_hand()
        return "" if at is None else self.table.table.things[at].name

    def grab(self, x: float, y: float) -> bool:
        """Take hold of the foremost thing at (x, y), from 0 to 1 across and down; whether there is one."""
        at = self.table.at(x, y)
        thing = None if at is None else self.table.table.things[at]
        self._held = None if thing is None else (thing.colour, thing.shape)
        return thing is not None

    def drag(self, x: float, y: float) -> None:
        """Move the thing in hand to (x, y), or as near as the others leave it in sight."""
        at = self._at_hand()
        if at is not None:
            self.table.drag(at, x, y)

    def _at_hand(self) -> int | None:
        """Where the thing in hand stands now: it may have left by itself."""
        things = self.table.table.things
        return next((i for i, thing in enumerate(things) if (thing.colour, thing.shape) == self._held), None)

    def drop(self) -> None:
        self._held = None

    def probe(self) -> Probe:
        return Probe(True, "the toy table, drawn")
