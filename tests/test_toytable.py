"""The toy table behind a camera's interface: its pace, its time, and hands on it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from liveagent.audio import TICK_NS
from liveagent.errors import ConfigError
from liveagent.ports.toytable import ToyTableCamera
from liveagent.table import ToyTable, draw

TICKS = 250


def watch(camera: ToyTableCamera, begin_ns: int = 10**9) -> list[tuple[int, np.ndarray]]:
    camera.start()
    frames = [camera.read(begin_ns + i * TICK_NS) for i in range(TICKS)]
    camera.close()
    return [(frame.t_ns, frame.pixels) for frame in frames if frame is not None]


def test_it_looks_five_times_a_second_and_sees_the_same_again() -> None:
    first, again = watch(ToyTableCamera(seed=3)), watch(ToyTableCamera(seed=3))
    assert len(first) == 100  # of twenty seconds
    assert all(a[0] == b[0] and np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert {b[0] - a[0] for a, b in pairwise(first)} == {2 * TICK_NS, 3 * TICK_NS}
    changed = sum(not np.array_equal(a[1], b[1]) for a, b in pairwise(first))
    assert 5 < changed < 95  # things move, and lie still
    assert any(not np.array_equal(a[1], b[1]) for a, b in zip(first, watch(ToyTableCamera(seed=4)), strict=True))


def test_late_reading_catches_up_without_a_burst() -> None:
    camera = ToyTableCamera(ToyTable(3, moving=False))
    assert camera.read(0) is not None
    assert camera.read(10 * 10**9) is not None and camera.table.tick == 125
    assert camera.read(10 * 10**9 + TICK_NS) is None
    assert camera.received_frames == 2


def test_a_thing_is_dragged() -> None:
    camera = ToyTableCamera(ToyTable(5, things=1, moving=False))
    frame = camera.read(0)
    thing = camera.table.table.things[0]
    assert frame is not None and np.array_equal(frame.pixels, draw(camera.table.table))
    assert not camera.grab(0.0, 0.0) and camera.held == ""
    camera.drag(0.9, 0.9)  # nothing is in hand
    assert camera.table.table.things[0] == thing
    assert camera.grab(thing.x, thing.y) and camera.held == thing.name
    camera.drag(0.3, 0.7)
    moved = camera.table.table.things[0]
    assert (moved.x, moved.y) == pytest.approx((0.3, 0.7))
    camera.drop()
    camera.drag(0.9, 0.1)
    assert camera.table.table.things[0] == moved
    later = camera.read(10**9)
    assert later is not None and not np.array_equal(later.pixels, frame.pixels)


def test_what_leaves_while_it_is_held_is_not_held_any_more() -> None:
    camera = ToyTableCamera(ToyTable(5, things=2, moving=False))
    first, second = camera.table.table.things
    assert camera.grab(first.x, first.y)
    camera.table.take(0)
    camera.drag(0.5, 0.5)
    assert camera.held == "" and camera.table.table.things == (second,)


def test_a_pace_that_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match="choose"):
        ToyTableCamera(fps=0)
