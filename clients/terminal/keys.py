"""`typed_lines`: what is typed, line by line, while the screen above goes on moving; and `Line`, the line being typed.

On a terminal the keys come one by one, without echo, and Ctrl-C still interrupts; the terminal is put back as it was
whatever happens. From a pipe or a file, and where there is no termios, a thread reads whole lines.
"""

from __future__ import annotations

import asyncio
import atexit
import codecs
import os
import re
import sys
import threading
import unicodedata
from collections import deque
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import CancelledError as NoLoop
from contextlib import suppress
from typing import Any, TextIO

try:
    import termios
    import tty
except ImportError:  # not on Windows
    termios = None  # type: ignore[assignment]

MAX_LINE = 1000
MAX_WAITING = 64
HISTORY = 50

_ESCAPES = {
    "[A": "up", "[B": "down", "[C": "right", "[D": "left", "[H": "home", "[F": "end", "[1~": "home", "[4~": "end",
    "[3~": "delete", "OA": "up", "OB": "down", "OC": "right", "OD": "left", "OH": "home", "OF": "end", "OM": "enter",
}  # fmt: skip
_CONTROLS = {
    "\r": "enter", "\n": "enter", "\x7f": "back", "\b": "back", "\t": "tab", "\x01": "home", "\x05": "end",
    "\x02": "left", "\x06": "right", "\x0b": "kill", "\x15": "clear", "\x17": "word", "\x04": "eof", "\x10": "up",
    "\x0e": "down", "\x07": "go",
}  # fmt: skip


class Keys:
    """Bytes of a terminal → names of keys, and single characters. A broken-off escape sequence waits for its rest."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """The keys that `data` completes. An escape with nothing behind it is the key `escape`."""
        text = self._rest + self._decode.decode(data)
        self._rest = ""
        keys: list[str] = []
        at = 0
        while at < len(text):
            char = text[at]
            if char != "\x1b":
                at += 1
                if char in _CONTROLS:
                    keys.append(_CONTROLS[char])
                elif unicodedata.category(char)[0] != "C":
                    keys.append(char)
            elif at + 1 == len(text) or text[at + 1] not in "[O":
                at += 1
                keys.append("escape")
            else:
                end = at + 2
                while end < len(text) and not "@" <= text[end] <= "~":
                    end += 1
                if end >= len(text):
                    self._rest = text[at:] if end - at < 32 else ""
                    break
                keys += _escape(text[at + 1 : end + 1])
                at = end + 1
        return keys


def _escape(text: str) -> list[str]:
    """The key that an escape sequence without its escape means, if any: also "mouse down 12 5" (xterm's SGR mouse, left
    button alone) and "cursor 24 80" (a cursor report)."""
    if text in _ESCAPES:
        return [_ESCAPES[text]]
    if mouse := re.fullmatch(r"\[<(0|32);(\d{1,5});(\d{1,5})([Mm])", text):
        button, x, y, end = mouse.groups()
        return [f"mouse {'up' if end == 'm' else 'down' if button == '0' else 'drag'} {x} {y}"]
    if cursor := re.fullmatch(r"\[(\d{1,5});(\d{1,5})R", text):
        return [f"cursor {cursor[1]} {cursor[2]}"]
    return []


class Line:
    """The line being typed, its cursor, and the lines before it.

    `put_back` gives the terminal back as it was before; a loop over `typed_lines` that ends in an error does not close
    it at once, so whoever drew the line calls this.
    """

    def __init__(self) -> None:
        self.put_back: Callable[[], None] = _nothing
        self.text = ""
        self.at = 0
        self._past: deque[str] = deque(maxlen=HISTORY)
        self._back = 0  # how far up in the past; 0 is the line itself
        self._draft = ""

    def press(self, key: str) -> str | None:
        """Obey one key. Gives the line when it is finished and has something in it, else None."""
        text, at = self.text, self.at
        match key:
            case "enter":
                self._set("")
                self._back = 0
                if not text.strip():
                    return None
                if not self._past or self._past[-1] != text:
                    self._past.append(text)
                return text.strip()
            case "back":
                self._set(text[: max(0, at - 1)] + text[at:], max(0, at - 1))
            case "delete":
                self._set(text[:at] + text[at + 1 :], at)
            case "word":
                kept = text[:at].rstrip()
                kept = kept[: kept.rfind(" ") + 1]
                self._set(kept + text[at:], len(kept))
            case "clear":
                self._set(text[at:], 0)
            case "kill":
                self._set(text[:at])
            case "left" | "right" | "home" | "end":
                moved = {"left": at - 1, "right": at + 1, "home": 0, "end": len(text)}[key]
                self.at = max(0, min(len(text), moved))
            case "up" | "down":
                self._recall(1 if key == "up" else -1)
            case _ if len(key) == 1 and len(text) < MAX_LINE:
                self._set(text[:at] + key + text[at:], at + 1)
        return None

    def _set(self, text: str, at: int | None = None) -> None:
        self.text, self.at = text, len(text) if at is None else at

    def _recall(self, step: int) -> None:
        back = max(0, min(len(self._past), self._back + step))
        if back == self._back:
            return
        if self._back == 0:
            self._draft = self.text
        self._back = back
        self._set(self._past[-back] if back else self._draft)


def _nothing() -> None:
    pass


def silence(source: TextIO | None = None) -> Callable[[], None]:
    """Have the terminal echo nothing and give each key at once; what was typed before is kept.

    Returns the way back, which is taken at the latest when the process ends. Does nothing to what is no terminal.
    """
    source = sys.stdin if source is None else source
    if source is None or source.closed or not has_keys(source):
        return _nothing
    fd = source.fileno()
    before = termios.tcgetattr(fd)

    def put_back() -> None:
        atexit.unregister(put_back)
        with suppress(termios.error, OSError):  # a terminal that was closed needs nothing
            termios.tcsetattr(fd, termios.TCSADRAIN, before)

    atexit.register(put_back)
    tty.setcbreak(fd, termios.TCSADRAIN)
    return put_back


async def typed_lines(
    line: Line | None = None,
    changed: Callable[[], None] | None = None,
    pressed: Callable[[str], None] | None = None,
    stdin: TextIO | None = None,
) -> AsyncGenerator[str, None]:
    """Every line typed, without its end; empty ones are passed over. Ends at the end of the input (Ctrl-D).

    `changed` is called after each key that was typed on a terminal; `pressed` gets the keys that no line needs:
    "tab", "escape", "go" (Ctrl-G), and those of the mouse.
    """
    source = sys.stdin if stdin is None else stdin
    if source is None or source.closed:
        return
    queue: asyncio.Queue[str | None] = asyncio.Queue(MAX_WAITING)
    if has_keys(source):
        lines = _from_terminal(source, queue, line or Line(), changed, pressed)
    else:
        lines = _from_file(source, queue)
    try:
        async for each in lines:
            yield each
    finally:
        await lines.aclose()


def has_keys(source: TextIO) -> bool:
    """Whether single keys can be read: a terminal, and this process in front of it (else reading would stop it)."""
    if termios is None or not source.isatty():
        return False
    try:
        return os.tcgetpgrp(source.fileno()) == os.getpgrp()
    except OSError:  # not the terminal that this process was started from, so nobody stops it
        return True


async def _from_terminal(
    source: TextIO,
    queue: asyncio.Queue[str | None],
    line: Line,
    changed: Callable[[], None] | None,
    pressed: Callable[[str], None] | None,
) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()
    fd = source.fileno()
    keys = Keys()
    waiting: deque[str | None] = deque()  # finished lines that the full queue did not take; reading pauses meanwhile

    def read() -> None:
        try:
            data = os.read(fd, 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        for key in keys.feed(data) if data else ["eof"]:
            if key == "eof":
                if not line.text or not data:
                    waiting.append(None)
            elif key in ("tab", "escape", "go") or " " in key[1:]:
                if pressed is not None:
                    pressed(key)
            elif (done := line.press(key)) is not None:
                waiting.append(done)
        hand_on()
        if waiting or not data:
            loop.remove_reader(fd)
        if changed is not None:
            changed()

    def hand_on() -> None:
        while waiting and not queue.full():
            queue.put_nowait(waiting.popleft())

    put_back = line.put_back = silence(source)
    try:
        loop.add_reader(fd, read)
        while (done := await queue.get()) is not None:
            if waiting:
                hand_on()
                if not waiting:
                    loop.add_reader(fd, read)
            yield done
    finally:
        loop.remove_reader(fd)
        put_back()
        line.put_back = _nothing


async def _from_file(source: TextIO, queue: asyncio.Queue[str | None]) -> AsyncGenerator[str, None]:
    loop = asyncio.get_running_loop()

    def put(item: str | None) -> bool:
        job: Any = None
        try:
            job = queue.put(item)
            asyncio.run_coroutine_threadsafe(job, loop).result()  # waits while the queue is full
        except (RuntimeError, NoLoop):  # the loop is gone, and with it whoever listened
            if job is not None:
                job.close()
            return False
        return True

    def read() -> None:
        try:
            for each in source:
                if (text := each.strip()[:MAX_LINE]) and not put(text):
                    return
        except (OSError, ValueError):  # closed under our hands
            pass
        put(None)

    # A daemon: reading a pipe cannot be interrupted, and must not keep a finished session alive.
    threading.Thread(target=read, name="typed lines", daemon=True).start()
    while (line := await queue.get()) is not None:
        yield line
