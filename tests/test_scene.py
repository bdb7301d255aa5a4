"""What a session sees, in the terminal: the scene, the strip of memory, and the mouse on the toy table."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.segment import Segment

from liveagent import event as ev
from liveagent.clients.terminal import Terminal
from liveagent.clients.terminal.blocks import BLOCK, block_lines
from liveagent.clients.terminal.eyes import MOST_KEPT, Eyes
from liveagent.clients.terminal.keys import Keys
from liveagent.clients.terminal.scene import Place, Touchable, age_words
from liveagent.clients.terminal.touch import OFF, ON, WHERE, Touch
from liveagent.ports.camera import Camera
from liveagent.ports.toytable import ToyTableCamera
from liveagent.table import ToyTable
from tests.films import halves
from tests.test_terminal import S, feed, seen, terminal, written

RED = np.full((16, 16, 3), (200, 40, 40), np.uint8)


def kept(span: int, at_s: float, sees: Sequence[str] = ("red ball",), pixels: np.ndarray = RED) -> ev.PictureKept:
    thumbnail = base64.b64encode(pixels.tobytes()).decode()
    return ev.PictureKept(round(at_s * S), span, 8, "changed", tuple(sees), thumbnail)


SEEN: list[Any] = [
    ev.FrameSeen(1 * S, True, "first", 64, 64),
    kept(4, 1),
    ev.FrameSeen(2 * S, False, "changed", 8, 64, dropped=5),
    kept(5, 2, ("blue cup", "red ball")),
    ev.FrameSeen(3 * S, False, "still", 0, 64),
    ev.TickHeard(63 * S, 700, -40.0),
]


def table() -> ToyTableCamera:
    return ToyTableCamera(ToyTable(5, moving=False))


def drawn(made: Terminal, width: int = 100, height: int = 45) -> list[str]:
    console = Console(file=io.StringIO(), record=True, width=width, height=height, force_terminal=True,
                      color_system="truecolor", _environ={}, highlight=False)  # fmt: skip
    console.print(made.render())
    return console.export_text().splitlines()


def test_in_words_where_there_are_no_colours() -> None:
    text = " ".join(seen(feed(terminal(120), SEEN)).split())
    for part in (
        "3 pictures seen", "1 keyframes", "38% of patches encoded", "5 not looked at", "sees blue cup, red ball",
        "2 kept, the oldest 1 min old",
    ):  # fmt: skip
        assert part in text, part
    assert BLOCK not in text
    made = feed(terminal(encoding="ascii"), SEEN)
    made.look(table())
    assert seen(made).isascii()


def test_who_sees_nothing_shows_nothing() -> None:
    assert "sight" not in seen(terminal()) and "pictures" not in seen(terminal())


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
@pytest.mark.parametrize("height", [14, 24, 36, 60])
def test_it_fits_any_window(width: int, height: int) -> None:
    made = feed(terminal(width, height=height), [*SEEN, *(kept(10 + i, 10 + i) for i in range(30))])
    made.look(table())
    lines = drawn(made, width, height)
    assert len(lines) < height and max(len(line) for line in lines) <= width
    assert any(line.startswith("sight") for line in lines)
    assert lines[-1].startswith("type and press")
    if width >= 60 and height >= 36:
        blocks = [line for line in lines if BLOCK * 32 in line]
        assert len(blocks) == 16


def test_the_strip_shows_pictures_with_their_ages() -> None:
    made = feed(terminal(100), SEEN)
    lines = drawn(made)
    assert sum(BLOCK * 8 in line for line in lines) == 4
    ages = next(line for line in lines if "1 min" in line and BLOCK not in line)
    assert ages.split() == ["1", "min", "1", "min"]
    feed(made, [ev.PicturesEvicted(64 * S, (4,), 8)])
    assert "1 evicted, last one 1 min old: red ball" in " ".join(" ".join(drawn(made)).replace(BLOCK, "").split())
    assert list(made.view.eyes.kept) == [5]
    newest = feed(made, [kept(9, 60, ())])
    assert any("sees nothing it knows" in line for line in drawn(newest))


def test_more_pictures_than_fit_are_shown_spread() -> None:
    made = feed(terminal(60), [*SEEN, *(kept(10 + i, i) for i in range(50))])
    ages = " ".join(line for line in drawn(made, 60) if BLOCK not in line)
    assert "1 min" in ages and "14 s" in ages  # the oldest and the newest


def test_ages_are_short() -> None:
    assert [age_words(s) for s in (-1, 5, 59.9, 60, 3_599, 3_661, 35_000)] == [
        "0 s", "5 s", "59 s", "1 min", "59 min", "1 h 01", "9 h 43",
    ]  # fmt: skip


def test_a_block_is_two_pixels() -> None:
    lines = block_lines(halves((255, 0, 0), (0, 0, 255), (8, 6)), 3, 4)
    assert ["".join(part.text for part in line) for line in lines] == [BLOCK * 4] * 3

    def colours(segment: Segment) -> tuple[Any, Any]:
        assert segment.style is not None and segment.style.color is not None and segment.style.bgcolor is not None
        return segment.style.color.triplet, segment.style.bgcolor.triplet

    red, blue = (248, 0, 0), (0, 0, 248)
    assert [len(line) for line in lines] == [1, 1, 1]
    assert [colours(line[0]) for line in lines] == [(red, red), (red, blue), (blue, blue)]


def test_what_is_no_thumbnail_is_left_blank_and_memory_is_bounded() -> None:
    eyes = Eyes()
    for span, text in enumerate(("", "!", "AAAA", base64.b64encode(bytes(769)).decode())):
        eyes.feed(ev.PictureKept(0, span, 1, "first", ("\x1b[2J",), text))
        assert eyes.kept[span].pixels is None and "\x1b" not in eyes.kept[span].sees[0]
    made = feed(terminal(100), [ev.FrameSeen(0, True, "first", 1, 1), ev.PictureKept(0, 1, 1, "first")])
    assert any(line.startswith("sight") for line in drawn(made))
    for span in range(3 * MOST_KEPT):
        eyes.feed(kept(span, span))
    assert len(eyes.kept) == MOST_KEPT


def test_clocks_and_what_became_of_a_camera() -> None:
    compared = ev.ClocksCompared(S, 12.4, -80.0, 120.0, 0.8)
    made = feed(terminal(120), [*SEEN, compared, ev.CameraFroze(S, "front door", 5_200)])
    text = " ".join(seen(made).split())
    assert "microphone +12 ppm · camera -80 ppm · pictures 120 ms late" in text
    assert "front door has frozen: nothing new for 5 s" in text
    feed(made, [ev.DeviceBack(S, "front door"), ev.ClocksCompared(S, -0.4, None, 120.0, 0.2)])
    text = " ".join(seen(made).split())
    assert "frozen" not in text and "front door is back" in text and "ms late" not in text and "ppm" not in text


def test_watches_are_told() -> None:
    made = feed(terminal(tty=False), [ev.WatchSet(0, "a red ball is on the table"), ev.WatchFired(0, "a red ball")])
    feed(made, [ev.WatchSet(0, "a red ball is on the table", "user", False)])
    assert written(made).splitlines() == [
        "note: watching for: a red ball is on the table",
        "note: appear: a red ball",
        "note: no longer watching for: a red ball is on the table",
    ]


# ---- the mouse -------------------------------------------------------------------------------------------------------


def test_the_mouse_and_the_cursor_are_keys() -> None:
    data = b"a\x1b[<0;21;10M\x1b[<32;20;9M\x1b[<0;20;9m\x1b[45;100R\x1b[<64;1;1M\x1b[<2;3;4Mb"
    wanted = ["a", "mouse down 21 10", "mouse drag 20 9", "mouse up 20 9", "cursor 45 100", "b"]
    assert Keys().feed(data) == wanted
    pieces, got, begin = Keys(), [], 0
    for end in range(1, len(data) + 1):
        if data[end - 1] != 0x1B:  # an escape alone is a key of its own
            got += pieces.feed(data[begin:end])
            begin = end
    assert got == wanted


PLACE = Place(7, 16, 32)
FIRST = 4  # the scene's first line, of the window
CURSOR = FIRST + 20


def cell(x: float, y: float) -> str:
    return f"{1 + PLACE.col + int(x * PLACE.cols)} {FIRST + int(y * PLACE.rows)}"


def touching(camera: ToyTableCamera) -> tuple[Touch, list[str]]:
    asked: list[str] = []
    assert isinstance(camera, Touchable)
    return Touch(lambda: asked.append(WHERE), lambda: (camera, PLACE, CURSOR - FIRST)), asked


def test_a_thing_is_dragged_with_the_mouse() -> None:
    camera = table()
    touch, asked = touching(camera)
    thing = camera.table.table.things[2]
    assert touch.feed(f"mouse down {cell(thing.x, thing.y)}") and asked == [WHERE] and not camera.held
    assert touch.feed(f"cursor {CURSOR} 30") and camera.held == thing.name
    touch.feed(f"mouse drag {cell(0.2, 0.7)}")
    moved = camera.table.table.things[2]
    assert (moved.x, moved.y) == pytest.approx((0.2, 0.7), abs=0.05) and moved.name == thing.name
    touch.feed("mouse drag 500 1")  # beyond the edges it stays on the table
    touch.feed("mouse up 500 1")
    assert not camera.held
    place = camera.table.table.things[2]
    touch.feed(f"mouse drag {cell(0.5, 0.5)}")
    assert camera.table.table.things[2] == place


def test_a_quick_hand_is_faster_than_the_terminal_answers() -> None:
    camera = table()
    touch, _ = touching(camera)
    thing = camera.table.table.things[2]
    for key in ("down " + cell(thing.x, thing.y), "drag " + cell(0.5, 0.6), "up " + cell(0.2, 0.7)):
        touch.feed(f"mouse {key}")
    assert camera.table.table.things[2] == thing
    touch.feed(f"cursor {CURSOR} 1")
    moved = camera.table.table.things[2]
    assert (moved.x, moved.y) == pytest.approx((0.2, 0.7), abs=0.05) and not camera.held


def test_a_press_beside_things_or_beside_the_table_does_nothing() -> None:
    camera = table()
    before = camera.table.table
    touch, asked = touching(camera)
    for at in (cell(0.02, 0.98), "90 5", "1 1"):
        touch.feed(f"mouse down {at}")
        touch.feed(f"cursor {CURSOR} 1")
        touch.feed(f"mouse drag {cell(0.5, 0.5)}")
        touch.feed(f"mouse up {cell(0.5, 0.5)}")
    assert camera.table.table == before and not camera.held and len(asked) == 3
    touch.feed("cursor 9 9")  # that nobody asked for
    nothing = Touch(lambda: asked.append("?"), lambda: None)
    assert nothing.feed("mouse down 3 3") and len(asked) == 3
    assert not touch.feed("tab") and not touch.feed("x") and not touch.feed("mouse down here")


def test_the_mouse_is_given_back_even_after_an_error() -> None:
    made = terminal(100)
    with pytest.raises(RuntimeError), made.live():
        made.look(table())
        assert written(made).count(ON) == 1 and OFF not in written(made)
        made.look(table())
        raise RuntimeError("broken")
    assert written(made).count(ON) == written(made).count(OFF) == 1


def test_without_a_table_or_a_screen_the_mouse_stays_as_it_is() -> None:
    plain = terminal(100, tty=False)
    with plain.live():
        plain.look(table())
    made = terminal(100)
    with made.live():
        made.look(Camera("film.mp4"))
    assert ON not in written(plain) + written(made)


def test_what_is_touched_is_where_it_is_drawn() -> None:
    made = feed(terminal(100, height=45), SEEN)
    camera = table()
    made.look(camera)
    lines = drawn(made)
    target = made._target()
    assert target is not None
    thing, place, below = target
    first = len(lines) - 1 - below
    assert thing is camera and lines[first].startswith("sight")
    assert all(
        line[place.col : place.col + place.cols] == BLOCK * place.cols for line in lines[first : first + place.rows]
    )
    assert BLOCK * place.cols not in lines[first + place.rows]
