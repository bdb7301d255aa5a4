"""What the session sees, on the screen: the scene as it is, what looking costs, and the memory as a strip of pictures.

Where there is no room or no colour, the same in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

from rich.console import Console, ConsoleOptions
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from liveagent.clients.terminal.blocks import block_lines
from liveagent.clients.terminal.eyes import Eyes, Kept
from liveagent.video import Pixels

LABEL_WIDTH = 7
THUMB_ROWS, THUMB_COLS = 4, 8
THUMB_STEP = THUMB_COLS + 1
SIZES = ((16, 32), (12, 24), (8, 16))  # rows and columns of the scene
LEAST_WIDTH = 60


@runtime_checkable
class Seen(Protocol):
    """What is looked at, if it can be shown."""

    @property
    def pixels(self) -> Pixels | None: ...


@runtime_checkable
class Touchable(Seen, Protocol):
    """What can be touched too. Places are from 0 to 1 across and down."""

    @property
    def held(self) -> str: ...

    def grab(self, x: float, y: float) -> bool: ...

    def drag(self, x: float, y: float) -> None: ...

    def drop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where the scene stands in its lines, whose first is its own: from cell `col` on, so many rows and columns."""

    col: int
    rows: int
    cols: int


def age_words(seconds: float) -> str:
    """How long ago, in at most eight characters."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3_600 else f"{whole // 3_600} h {whole % 3_600 // 60:02d}"


class Scene:
    """Draws `eyes` and `camera`. Pictures that have not changed are not computed again."""

    def __init__(self, eyes: Eyes, dot: str = "·") -> None:
        self.eyes, self.dot = eyes, dot
        self.camera: Seen | None = None
        self.place: Place | None = None
        """Where the scene was drawn last, if it was."""
        self._scene: tuple[Pixels, int, list[list[Segment]]] | None = None
        self._thumbs: dict[int, list[list[Segment]]] = {}

    @property
    def touchable(self) -> Touchable | None:
        """What is looked at, when it can be dragged about."""
        return self.camera if isinstance(self.camera, Touchable) else None

    def lines(self, console: Console, width: int, most: int, now_ns: int, in_colour: bool) -> list[list[Segment]]:
        """At most `most` lines of at most `width` cells; none when nothing is seen."""
        self.place = None
        pixels = self.camera.pixels if self.camera is not None else None
        if not self.eyes.open and pixels is None:
            return []
        if in_colour and width >= LEAST_WIDTH:
            size = next((s for s in SIZES if s[0] <= most), None) if pixels is not None else (0, -2)
            if size is not None and most > THUMB_ROWS + 2:
                return self._drawn(console, width, size, pixels, most, now_ns)
        return self._worded(console, width, most, now_ns)

    # ---- in words

    def _worded(self, console: Console, width: int, most: int, now_ns: int) -> list[list[Segment]]:
        eyes = self.eyes
        words = self._counts(now_ns)
        newest = eyes.newest
        if newest is not None:
            oldest = next(iter(eyes.kept.values()))
            words += [f"sees {_things(newest)}"]
            words += [f"{len(eyes.kept)} kept, the oldest {age_words((now_ns - oldest.t_ns) / 1e9)} old"]
        text = Text(f" {self.dot} ".join(words), "dim")
        lines = console.render_lines(text, _narrow(console, width - LABEL_WIDTH), pad=False)
        return _labelled("sight", lines)[:most]

    def _counts(self, now_ns: int) -> list[str]:
        eyes = self.eyes
        said = [f"{eyes.frames} pictures seen", f"{eyes.keyframes} keyframes", f"{eyes.share:.0%} of patches encoded"]
        if eyes.evicted:
            gone = eyes.gone
            last = "" if gone is None else f", last one {age_words((now_ns - gone.t_ns) / 1e9)} old: {_things(gone)}"
            said.append(f"{eyes.evicted} evicted{last}")
        if eyes.dropped:
            said.append(f"{eyes.dropped} not looked at")
        return [*said, *clock_words(eyes)]

    # ---- in colour

    def _drawn(
        self, console: Console, width: int, size: tuple[int, int], pixels: Pixels | None, most: int, now_ns: int
    ) -> list[list[Segment]]:
        rows, cols = size
        left = LABEL_WIDTH + cols + 2
        beside = self._beside(console, width - left, most if pixels is None else rows, now_ns)
        if pixels is None:
            return _labelled("sight", beside)
        scene = self._scene_lines(pixels, rows, cols)
        self.place = Place(LABEL_WIDTH, rows, cols)
        both = []
        for at, line in enumerate(scene):
            other = beside[at] if at < len(beside) else []
            both.append([*line, Segment("  "), *other])
        return _labelled("sight", both)

    def _scene_lines(self, pixels: Pixels, rows: int, cols: int) -> list[list[Segment]]:
        if self._scene is None or self._scene[0] is not pixels or self._scene[1] != rows:
            self._scene = pixels, rows, block_lines(pixels, rows, cols)
        return self._scene[2]

    def _beside(self, console: Console, width: int, most: int, now_ns: int) -> list[list[Segment]]:
        """The words and the strip, right of the scene."""
        words: list[list[Segment]] = []
        said = [f" {self.dot} ".join(self._counts(now_ns))]
        newest = self.eyes.newest
        if newest is not None:
            said.append(f"sees {_things(newest)}")
        touchable = self.touchable
        if touchable is not None:
            said.append(f"in hand: {touchable.held}" if touchable.held else "drag things with the mouse")
        for each in said:
            words += console.render_lines(Text(each, "dim"), _narrow(console, width), pad=False)
        each_row = max(1, (width + 1) // THUMB_STEP)
        fit = max(0, (most - len(words)) // (THUMB_ROWS + 1)) * each_row
        return words[:most] + self._strip(_spread(list(self.eyes.kept.values()), fit), each_row, now_ns)

    def _strip(self, kept: Sequence[Kept], each_row: int, now_ns: int) -> list[list[Segment]]:
        lines: list[list[Segment]] = []
        known, self._thumbs = self._thumbs, {}
        for begin in range(0, len(kept), each_row):
            row = kept[begin : begin + each_row]
            drawn = []
            for each in row:
                thumb = known.get(each.span) or _thumb(each)
                self._thumbs[each.span] = thumb
                drawn.append(thumb)
            for at in range(THUMB_ROWS):
                lines.append([part for thumb in drawn for part in (*thumb[at], Segment(" "))])
            ages = "".join(age_words((now_ns - each.t_ns) / 1e9).ljust(THUMB_STEP) for each in row)
            lines.append([Segment(ages, _dim())])
        return lines


def clock_words(eyes: Eyes) -> list[str]:
    """How the clocks compare, in a few words; none for clocks that are the machine's own."""
    clocks = eyes.clocks
    if clocks is None:
        return []
    said = []
    if abs(clocks.microphone_ppm) >= 1:
        said.append(f"microphone {clocks.microphone_ppm:+.0f} ppm")
    if clocks.camera_ppm is not None:
        said.append(f"camera {clocks.camera_ppm:+.0f} ppm")
    if clocks.offset_ms is not None and clocks.confidence >= 0.5:
        said.append(f"pictures {abs(clocks.offset_ms):.0f} ms {'late' if clocks.offset_ms >= 0 else 'early'}")
    return said


def _things(kept: Kept) -> str:
    return ", ".join(kept.sees) or "nothing it knows"


def _thumb(kept: Kept) -> list[list[Segment]]:
    if kept.pixels is None:
        return [[Segment(" " * THUMB_COLS)] for _ in range(THUMB_ROWS)]
    return block_lines(kept.pixels, THUMB_ROWS, THUMB_COLS)


def _spread(kept: list[Kept], fit: int) -> list[Kept]:
    """At most `fit` of them, oldest first: the oldest, the newest and evenly what is between."""
    if len(kept) <= fit:
        return kept
    if fit < 2:
        return kept[-fit:] if fit else []
    return [kept[round(i * (len(kept) - 1) / (fit - 1))] for i in range(fit)]


@lru_cache(maxsize=1)
def _dim() -> Style:
    return Style(dim=True)


def _narrow(console: Console, width: int) -> ConsoleOptions:
    return console.options.update(width=max(8, width), height=None)


def _labelled(label: str, lines: list[list[Segment]]) -> list[list[Segment]]:
    first = Segment(label.ljust(LABEL_WIDTH), _dim())
    return [[first if at == 0 else Segment(" " * LABEL_WIDTH), *line] for at, line in enumerate(lines)]
