"""`Touch`: the mouse of a terminal, on what is drawn in it.

A terminal says in which cell of its window the mouse is; where in the window a program's lines stand it says only when
it is asked. So a press asks, and what the mouse did meanwhile is done when the answer has come.
"""

from __future__ import annotations

from collections.abc import Callable

from liveagent.clients.terminal.scene import Place, Touchable

ON = "\x1b[?1002h\x1b[?1006h"  # xterm: presses, and movements with a button down; as numbers (SGR), whatever the width
OFF = "\x1b[?1006l\x1b[?1002l"
WHERE = "\x1b[6n"  # ECMA-48: report the cursor's place


class Touch:
    """Fed with the keys "mouse down X Y", "mouse drag X Y", "mouse up X Y" and "cursor ROW COLUMN". ask: writes WHERE
    to the terminal."""

    def __init__(self, ask: Callable[[], None], target: Callable[[], tuple[Touchable, Place, int] | None]) -> None:
        """target: what can be touched now, where it is drawn, and on which line below the scene's first the cursor
        rests; None: nothing can."""
        self._ask, self._target = ask, target
        self._pressed: tuple[int, int] | None = None  # and not yet known on what
        self._moved: list[tuple[str, int, int]] = []
        self._held: tuple[Touchable, Place, int] | None = None  # and the screen line of the scene's first

    def feed(self, key: str) -> bool:
        """Obey a key; whether it was one of the mouse's."""
        words = key.split(" ")
        if len(words) < 3 or not all(word.isdigit() for word in words[-2:]):
            return False
        a, b = int(words[-2]), int(words[-1])
        match words[:-2]:
            case ["mouse", "down"]:
                self._drop()
                self._moved.clear()
                if self._target() is not None:
                    self._pressed = a, b
                    self._ask()
            case ["mouse", ("drag" | "up") as what] if self._pressed is not None:
                self._moved = [*self._moved[-15:], (what, a, b)]
            case ["mouse", "drag"]:
                self._drag(a, b)
            case ["mouse", "up"]:
                self._drag(a, b)
                self._drop()
            case ["cursor"]:
                self._found(a)
            case _:
                return False
        return True

    def _found(self, cursor_row: int) -> None:
        pressed, self._pressed = self._pressed, None
        target = self._target()
        if pressed is None or target is None:
            return
        thing, place, below = target
        self._held = thing, place, cursor_row - below
        where = self._where(*pressed, inside=True)
        if where is None or not thing.grab(*where):
            self._held = None
            return
        for what, x, y in self._moved:
            self._drag(x, y)
            if what == "up":
                self._drop()
        self._moved.clear()

    def _drag(self, col: int, row: int) -> None:
        where = self._where(col, row)
        if self._held is not None and where is not None:
            self._held[0].drag(*where)

    def _drop(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            held[0].drop()

    def _where(self, col: int, row: int, inside: bool = False) -> tuple[float, float] | None:
        """Of a cell of the window, counted from 1: where in the scene it is."""
        if self._held is None:
            return None
        _, place, first_row = self._held
        x = (col - 1 - place.col + 0.5) / place.cols
        y = (row - first_row + 0.5) / place.rows
        if inside and not (0 <= x <= 1 and 0 <= y <= 1):
            return None
        return min(1.0, max(0.0, x)), min(1.0, max(0.0, y))
