"""The terminal: what a person sees of scripted sessions, and what a typed line becomes."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TextIO

import pytest
from rich.console import Console

from liveagent import action as act
from liveagent import event as ev
from liveagent.clients.terminal import Terminal, typed_lines
from liveagent.clients.terminal.entry import plain
from liveagent.clients.terminal.keys import Keys, Line
from liveagent.clients.terminal.view import MAX_ENTRIES

S = 1_000_000_000
REPLY = ("The", "kitchen", "light", "is", "on.")


def terminal(width: int = 80, tty: bool = True, height: int = 40, encoding: str = "utf-8") -> Terminal:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True)
    colors: Literal["truecolor"] | None = "truecolor" if tty else None
    console = Console(file=file, width=width, height=height, force_terminal=tty, color_system=colors,
                      _environ={"TERM": "xterm"}, highlight=False)  # fmt: skip
    return Terminal("voice", (), console)


def written(made: Terminal) -> str:
    file = made.console.file
    assert isinstance(file, io.TextIOWrapper) and isinstance(file.buffer, io.BytesIO)
    return file.buffer.getvalue().decode(file.encoding)


def seen(made: Terminal, width: int | None = None, styles: bool = False) -> str:
    size = made.console.size
    console = Console(file=io.StringIO(), record=True, width=width or size.width, height=size.height, highlight=False,
                      force_terminal=styles, color_system="standard" if styles else None, _environ={})  # fmt: skip
    console.print(made.render())
    return console.export_text(styles=styles)


def feed(made: Terminal, items: Sequence[ev.Event | act.Action]) -> Terminal:
    for item in items:
        made.feed(item)
    return made


def say(utterance: int = 1, words: Sequence[str] = REPLY) -> act.Say:
    return act.Say(utterance, " ".join(words), tuple(act.SayWord(word, n, n + 1) for n, word in enumerate(words)))


TURN: list[ev.Event | act.Action] = [
    ev.SessionStarted(0, "clip"),
    ev.TickHeard(S, 12, -20.0, 0.97),
    ev.WordsHeard(S, ("turn", "on", "the", "kitchen", "light"), "recogniser", final=True, in_grammar=True),
    ev.TurnEnded(S, S),
    act.CallTool("c1", "light", {"room": "kitchen", "state": "on"}, by="grammar"),
    ev.ToolCalled(S, "c1", "light", {"room": "kitchen", "state": "on"}, "grammar"),
    ev.ToolReturned(S + 12_000_000, "c1", "the kitchen light is on"),
    ev.ReplyStarted(S, 1),
    say(),
    ev.TurnTimed(S, {"decided": 320.0, "call": None, "played": 561.4}),
    ev.CacheChanged(2 * S, 300, 1000, {"system": 100, "tool": 150, "audio": 50}, 70, S),
]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_turn_is_seen_whole_at_any_width(width: int) -> None:
    lines = seen(feed(terminal(width), TURN)).splitlines()
    assert max(len(line) for line in lines) <= width
    text = " ".join(" ".join(lines).split())
    for part in (
        "you turn on the kitchen light (recogniser, in grammar)",
        "light(room=kitchen, state=on) ✓ the kitchen light is on (by grammar, 12 ms)",
        "agent The kitchen light is on.",
        "decided 320 → played 561 ms",
        "-20 dB speech",
        "system 100", "tool 150", "audio 50", "300 of 1000 tokens", "oldest 1 s", "evicted 70",
        "median 561 of 1",
    ):  # fmt: skip
        assert part in text, part
    assert "call" not in text.split("time")[1]  # a step that did not happen is not shown


def test_words_are_dim_while_they_are_heard_and_bold_when_they_are_sure() -> None:
    made = feed(terminal(), [ev.SpeechStarted(0), ev.WordsHeard(0, ("turn", "on"), "ear")])
    assert "turn on … (ear)" in seen(made)
    assert "\x1b[2;3mturn on" in seen(made, styles=True)
    feed(made, [ev.WordsHeard(0, ("turn", "on", "it"), "ear", final=True)])
    assert "\x1b[1mturn on it" in seen(made, styles=True)
    assert len(made.view.entries) == 1


def test_speech_that_came_to_nothing_leaves_no_trace_and_a_rejected_sentence_says_so() -> None:
    made = feed(terminal(), [ev.WordsHeard(0, ("turn",), "ear"), ev.WordsHeard(0, (), "ear"), say()])
    assert "you" not in seen(made)
    made = feed(terminal(), [ev.WordsHeard(0, ("turn",), "ear"), ev.WordsHeard(0, (), "ear", final=True)])
    assert "not understood" in seen(made)


def test_typed_words_are_one_entry_and_a_new_turn_is_a_new_one() -> None:
    typed = ev.WordsHeard(0, ("turn", "it", "on"), "typed", True, True)
    made = feed(terminal(), [ev.TextTyped(0, "Turn it ON!"), typed])
    assert "Turn it ON!  (typed, in grammar)" in seen(made)
    feed(made, [ev.SpeechStarted(0), ev.WordsHeard(0, ("turn", "it", "on"), "ear", True)])
    assert [entry.settled for entry in made.view.entries] == [True, True]


def test_lines_typed_at_once_are_read_one_by_one() -> None:
    made = feed(terminal(), [ev.TextTyped(0, "One"), ev.TextTyped(0, "Two")])
    feed(made, [ev.WordsHeard(0, ("one",), "typed", True, True), ev.WordsHeard(0, ("two",), "typed", True)])
    assert "One  (typed, in grammar)" in seen(made) and "Two  (typed)" in seen(made)
    assert len(made.view.entries) == 2


def test_the_word_being_played_is_lit() -> None:
    made = feed(terminal(), [say(), ev.ReplyStarted(0, 1)])
    assert "\x1b[7" not in seen(made, styles=True).split("mic")[0]
    feed(made, [ev.SamplesPlayed(0, 1, 400)])
    assert "\x1b[1;7mThe" in seen(made, styles=True)
    feed(made, [ev.WordPlayed(0, 1, 0, "The"), ev.WordPlayed(0, 1, 1, "kitchen")])
    text = seen(made, styles=True)
    assert "The kitchen \x1b[0m\x1b[1;7mlight" in text or "The kitchen \x1b[1;7mlight" in text
    assert "\x1b[2mis" in text  # not played yet
    feed(made, [ev.ReplyEnded(0, 1)])
    assert "The kitchen light is on." in seen(made)
    assert "\x1b[7m" not in seen(made, styles=True).split("mic")[0]


def test_an_interruption_strikes_what_nobody_heard() -> None:
    made = feed(terminal(), [say(), ev.WordPlayed(0, 1, 0, "The"), ev.Ducked(0, 1, frozen=True)])
    assert "(waiting)" in seen(made)
    feed(made, [ev.Interrupted(0, 1, ("The",), ("light", "is", "on."), "kitchen")])
    assert "unheard: 4 of 5 words" in seen(made)
    text = seen(made, styles=True)
    assert "\x1b[9;31mkitchen" in text and "\x1b[2;9mlight" in text


def test_an_end_may_be_known_before_the_last_words() -> None:
    made = feed(terminal(tty=False), [ev.ReplyStarted(0, 1), ev.ReplyEnded(0, 1)])
    assert written(made) == ""
    feed(made, [say(), ev.ReplyStarted(0, 2)])
    assert written(made) == "agent: The kitchen light is on.\n"
    feed(made, [ev.Interrupted(0, 2, (), ("No",)), say(2, ["No"])])
    assert written(made).splitlines()[1:] == ["agent: [unheard: No]"]


def test_a_cough_lets_the_reply_go_on() -> None:
    made = feed(terminal(), [say(), ev.Ducked(0, 1), ev.Resumed(0, 1)])
    assert "quieter" not in seen(made) and "interrupted" not in seen(made)


def test_a_call_waits_fails_and_says_why() -> None:
    made = feed(terminal(), [ev.ToolCalled(0, "c", "pick", {"color": "red"})])
    assert "pick(color=red) … waiting  (by model)" in seen(made)
    feed(made, [ev.ToolFailed(S, "c", "deadline", "the arm did not answer")])
    assert "✗ deadline: the arm did not answer  (by model, 1000 ms)" in seen(made)


def test_what_is_wrong_is_said_until_it_is_mended() -> None:
    made = feed(terminal(), [ev.DeviceLost(0, "microphone", "unplugged"), ev.LagNoted(0, 3, 400.0)])
    assert "microphone is gone: unplugged" in seen(made) and "400 ms behind" in seen(made)
    feed(made, [ev.DeviceBack(0, "microphone"), ev.GapMarked(3 * S, 0, 8000)])
    text = seen(made)
    assert "is gone" not in text and "microphone is back" in text
    assert "500 ms of sound never came" in text and "behind" not in text


def test_without_colours_kinds_differ_and_ascii_is_enough() -> None:
    made = feed(terminal(encoding="ascii"), TURN)
    text = seen(made)
    assert text.isascii()
    assert "# system 100" in text and "= tool 150" in text


def test_nothing_that_comes_from_outside_moves_the_cursor() -> None:
    assert plain("a\x1b[2J\nb\x07 c\u202e") == "a [2J b c"
    assert len(plain("x" * 10_000)) <= 400
    made = terminal(tty=False)
    feed(made, [ev.ToolCalled(0, "c", "f", {"a": "\x1b[31m"}), ev.ToolReturned(0, "c", "\x1b]0;x\x07")])
    assert "\x1b" not in written(made)


def test_it_fits_a_low_window_and_keeps_the_newest() -> None:
    made = terminal(80, height=12)
    for turn in range(30):
        made.view.feed(ev.TextTyped(0, f"number {turn}"))
    text = seen(made)
    assert len(text.splitlines()) <= 12
    assert "number 29" in text and "number 0 " not in text


def test_it_is_bounded() -> None:
    made = terminal(tty=True)
    for turn in range(3 * MAX_ENTRIES):
        made.view.feed(ev.ToolCalled(0, f"c{turn}", "f"))  # never returns
    assert len(made.view.entries) == MAX_ENTRIES
    assert len(made.view._calls) == MAX_ENTRIES


def test_what_is_finished_goes_above_and_the_live_part_goes_away() -> None:
    made = terminal(80, height=20)
    with made.live():
        feed(made, [*TURN, ev.ReplyEnded(2 * S, 1)])
        for turn in range(10):
            made.feed(ev.TextTyped(0, f"number {turn}"))
        assert len(made.view.entries) < 10
    assert not made.view.entries
    text = written(made)
    assert text.index("number 3") < text.rindex("number 9")
    assert text.rstrip().splitlines()[-1].endswith("number 9\x1b[0m\x1b[2m  (typed)\x1b[0m")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is given back


def test_without_a_terminal_each_finished_thing_is_one_line() -> None:
    made = terminal(40, tty=False)
    with made.live():
        feed(made, TURN)
        assert "agent:" not in written(made)  # it is still being spoken
        feed(made, [ev.Interrupted(0, 1, ("The",), ("light", "is", "on."), "kitchen"), ev.SessionEnded(0)])
    assert written(made).splitlines() == [
        "you: turn on the kitchen light  (recogniser, in grammar)",
        "tool: light(room=kitchen, state=on) ✓ the kitchen light is on  (by grammar, 12 ms)",
        "time: last word → decided 320 → played 561 ms",
        "agent: The [unheard: kitchen light is on.]",
    ]


def press(line: Line, keys: str) -> list[str]:
    return [done for key in Keys().feed(keys.encode()) if (done := line.press(key)) is not None]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("helo\x1b[Dl\r", "hello"),
        ("ab\x7fc\r", "ac"),
        ("one two\x17three\r", "one three"),
        ("wrong\x15right\n", "right"),
        ("bc\x01a\x05d\r", "abcd"),
        ("abc\x1b[H\x1b[3~\r", "bc"),
        ("abcd\x02\x02\x0b\r", "ab"),
        ("grün 木\r", "grün 木"),
        ("\x1b[99~\x1b[5Aok\r", "ok"),
    ],
)
def test_a_line_is_edited(keys: str, line: str) -> None:
    assert press(Line(), keys) == [line]


def test_lines_before_come_back_and_the_draft_too() -> None:
    line = Line()
    assert press(line, "one\rtwo\r  \r") == ["one", "two"]
    press(line, "dra\x1b[A\x1b[A")
    assert line.text == "one"
    press(line, "\x1b[B\x1b[B")
    assert line.text == "dra"
    press(line, "x" * 5000)
    assert len(line.text) == 1000


def test_keys_may_come_in_pieces() -> None:
    keys = Keys()
    data = "ü\x1b[A\x1b".encode()
    assert [key for at in range(len(data)) for key in keys.feed(data[at : at + 1])][0] == "ü"
    assert Keys().feed(b"\x1b") == ["escape"]
    pieces = Keys()
    assert pieces.feed(b"\x1b[") == [] and pieces.feed(b"A") == ["up"]


async def test_lines_come_from_a_file_and_end_with_it(tmp_path: Path) -> None:
    path = tmp_path / "said.txt"
    path.write_text("one\n\n two \n" + "".join(f"{n}\n" for n in range(500)))
    with path.open() as file:
        assert [line async for line in typed_lines(stdin=file)] == ["one", "two", *map(str, range(500))]


async def test_lines_of_a_script_wait_for_their_answers() -> None:
    made = terminal(tty=False)
    made.script = ["one", "two"]
    lines = made.typed_lines()

    async def next_line() -> str:
        return await anext(lines, "the end")

    async def ticks(count: int) -> None:
        for _ in range(count):
            made.feed(ev.TickHeard(0, 0, -60.0))
        for _ in range(5):
            await asyncio.sleep(0)

    job = asyncio.create_task(next_line())
    await ticks(20)
    assert await job == "one"
    job = asyncio.create_task(next_line())
    feed(made, [ev.TextTyped(0, "one"), ev.WordsHeard(0, ("one",), "typed", True), ev.ToolCalled(0, "c", "f")])
    await ticks(50)
    assert not job.done()  # the call waits
    feed(made, [ev.ToolReturned(0, "c", "done"), say(1)])
    await ticks(50)
    assert not job.done()  # it is being said
    made.feed(ev.ReplyEnded(0, 1))
    await ticks(20)
    assert await job == "two"
    job = asyncio.create_task(next_line())
    await ticks(3)
    assert not job.done()
    await ticks(20)
    assert await job == "the end"


@pytest.mark.skipif(sys.platform == "win32", reason="a pseudo-terminal is needed")
async def test_the_keyboard_is_put_back_even_after_an_error() -> None:
    import pty
    import termios

    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    made = terminal()
    typing: list[str] = []
    got: list[str] = []
    os.write(ours, b"hi\x7fello\r")  # waits in the terminal until it is read

    async def listen(stdin: TextIO) -> None:
        with made.live():
            async for each in typed_lines(made.line, lambda: typing.append(made.line.text), stdin=stdin):
                got.append(each)
                assert not termios.tcgetattr(theirs)[3] & termios.ECHO
                raise RuntimeError("broken")

    with os.fdopen(theirs, "r", closefd=False) as stdin, pytest.raises(RuntimeError, match="broken"):
        await listen(stdin)
    assert termios.tcgetattr(theirs) == before
    assert got == ["hello"] and typing[-1] == ""
    os.close(ours)
    os.close(theirs)
