"""`Terminal`: a session seen and driven from a terminal. Fed events and actions, it draws; what is typed it hands on.

Where standard output is no terminal (a pipe, a file, TERM=dumb) it writes one line for each thing that is finished.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from liveagent.action import Action
from liveagent.clients.terminal.entry import Entry
from liveagent.clients.terminal.keys import Line, has_keys, silence, typed_lines
from liveagent.clients.terminal.scene import Place, Seen, Touchable
from liveagent.clients.terminal.screen import ASCII, Screen, Signs, entry_line, entry_row
from liveagent.clients.terminal.touch import OFF, ON, WHERE, Touch
from liveagent.clients.terminal.view import View
from liveagent.event import Event
from liveagent.tool import Tool

__all__ = ["Terminal", "View", "typed_lines"]

REFRESH_HZ = 10
CALM_TICKS = 6
ROWS_BELOW = 12  # about what the status takes; entries get the rest


class Terminal:
    """`feed` it everything; between `with terminal.live():` it draws ten times a second. Safe to feed from any thread.

    `hints` are shown at the foot. `view` is what is drawn; `line` what is being typed.
    """

    def __init__(self, agent_name: str, tools: Sequence[Tool] = (), console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self.plain = not self.console.is_terminal or self.console.is_dumb_terminal
        self.view = View()
        self.line = Line()
        self.hints: list[str] = ["type and press Enter", "Ctrl-C ends"]
        self.title = f"{agent_name}, {len(tools)} tools" if tools else agent_name
        self.signs = Signs() if "utf" in self.console.encoding.lower() else ASCII
        self.script: Sequence[str] | None = None  # lines that stand for the keyboard, each typed when all is answered
        self._calm: Callable[[], None] | None = None
        self._lock = threading.Lock()  # between whoever feeds and whoever draws
        self._live: Live | None = None
        self._screen = _Locked(Screen(self.view, self.line, self.title, self.hints, self.signs), self._lock)
        self._touch = Touch(lambda: self._tell_terminal(WHERE), self._target)
        self._mouse = False

    @property
    def keyed(self) -> bool:
        """Whether somebody sits here who can press a key, and sees what for."""
        return not self.plain and self.script is None and sys.stdin is not None and has_keys(sys.stdin)

    def look(self, camera: object) -> None:
        """This is what the session looks at: it is drawn, if it has `pixels`, and the mouse moves what is in it, if it
        can be touched (see `scene.Touchable`)."""
        scene = self._screen.screen.scene
        scene.camera = camera if isinstance(camera, Seen) else None
        if self._live is not None and scene.touchable is not None and not self._mouse:
            self._mouse = True
            atexit.register(self._tell_terminal, OFF)
            self._tell_terminal(ON)

    def feed(self, item: Event | Action) -> None:
        """Take in one event or action; what is finished and has no room any more is written above, for good."""
        with self._lock:
            self.view.feed(item)
            done = self._finished()
            calm = self.view.calm_ticks >= CALM_TICKS
        self._write(done)
        if calm and self._calm is not None:
            self._calm()

    def render(self) -> RenderableType:
        """What is to be seen now."""
        return self._screen

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw until the block ends; then what is left of the conversation stays, and the rest is taken away."""
        if self.plain:
            try:
                yield
            finally:
                self._write_rest()
            return
        live = _AtOnce(
            get_renderable=self.render,
            console=self.console,
            refresh_per_second=REFRESH_HZ,
            transient=True,
            vertical_overflow="crop",
        )
        put_back = silence()  # at once: what is typed while the weights are read must not land on the screen
        try:
            with live:
                self._live = live
                try:
                    yield
                finally:
                    self._live = None
        finally:
            if self._mouse:
                self._mouse = False
                self._tell_terminal(OFF)
                atexit.unregister(self._tell_terminal)
            self.line.put_back()
            put_back()
        self._write_rest()

    def note(self, message: str) -> None:
        """One line above, for good; also before and after `live`."""
        self.console.print(Text(message), soft_wrap=self.plain)

    def typed_lines(self, pressed: Callable[[str], None] | None = None) -> AsyncGenerator[str, None]:
        """Every line typed (see `keys.typed_lines`), while the line being typed is drawn. `pressed`: see there."""
        if self.script is not None:
            return self._scripted(self.script)

        def key_pressed(key: str) -> None:
            if not self._touch.feed(key) and pressed is not None:
                pressed(key)

        return typed_lines(self.line, self._redraw, key_pressed)

    async def _scripted(self, lines: Sequence[str]) -> AsyncGenerator[str, None]:
        loop = asyncio.get_running_loop()
        calm = asyncio.Event()
        self._calm = lambda: _tell(loop, calm)
        try:
            for line in (*lines, None):  # None: the end, too, waits for the last answer
                while self.view.calm_ticks < CALM_TICKS:
                    calm.clear()
                    await calm.wait()
                self.view.calm_ticks = 0
                if line is not None:
                    yield line
        finally:
            self._calm = None

    def _target(self) -> tuple[Touchable, Place, int] | None:
        screen = self._screen.screen
        touchable, place = screen.scene.touchable, screen.scene.place
        return None if touchable is None or place is None else (touchable, place, screen.lines_below)

    def _tell_terminal(self, control: str) -> None:
        with suppress(OSError, ValueError):  # a terminal that is gone needs nothing
            self.console.file.write(control)
            self.console.file.flush()

    def _redraw(self) -> None:
        live = self._live
        if live is not None:
            live.refresh()

    def _finished(self) -> list[Entry]:
        if not self.plain:
            keep = max(3, (self.console.size.height - ROWS_BELOW) // 2)
            return self.view.take(keep)
        done = [entry for entry in self.view.entries if entry.settled and not entry.shown]
        for entry in done:
            entry.shown = True
        return done

    def _write_rest(self) -> None:
        with self._lock:
            rest = [entry for entry in self.view.entries if not entry.shown]
            self.view.entries.clear()
        self._write(rest)

    def _write(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self.plain:
                self.console.print(Text(entry_line(entry, self.signs)), soft_wrap=True)
            else:
                self.console.print(entry_row(entry, self.signs))


def _tell(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(event.set)


class _AtOnce(Live):
    """Asks the terminal to show each drawing when it is whole (mode 2026; others pass over it): pictures are long."""

    def refresh(self) -> None:
        with suppress(OSError, ValueError):
            self.console.file.write("\x1b[?2026h")
        try:
            super().refresh()
        finally:
            with suppress(OSError, ValueError):
                self.console.file.write("\x1b[?2026l")
                self.console.file.flush()


class _Locked:
    """Draws the screen while nobody feeds it."""

    def __init__(self, screen: Screen, lock: threading.Lock) -> None:
        self.screen, self.lock = screen, lock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self.lock:
            drawn = list(self.screen.__rich_console__(console, options))
        yield from drawn
