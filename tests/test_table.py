"""The toy table: what is drawn, and what moves by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.shapes import AREA, FORMS
from liveagent.sight import COLOURS, COUNT, SHAPES
from liveagent.table import RGB, SLIDE_TICKS, Surface, Table, Thing, ToyTable, draw, paint

BARE = Surface(grain=0.0, wood=False)


@pytest.mark.parametrize("shape", range(len(SHAPES)), ids=SHAPES)
def test_a_thing_is_drawn_where_it_lies_in_its_colour_and_nowhere_else(shape: int) -> None:
    thing = Thing(2, shape, 0.3, 0.6, 0.3)
    painted = paint(Table((thing,), BARE))
    rows, cols = np.nonzero(painted.owner == 0)
    middle = [(at.min() + at.max()) / 256 for at in (cols, rows)]
    assert middle == pytest.approx([0.3, 0.6], abs=0.03)
    assert 0.8 < (rows.max() - rows.min()) / (0.3 * 128) < 1.1
    red, _, blue = painted.light[painted.owner == 0].mean(axis=0)
    assert blue > red + 0.2
    tone = np.array(BARE.tone)
    far = np.hypot(*np.meshgrid(np.arange(128) - 0.3 * 128, np.arange(128) - 0.6 * 128)) > 0.25 * 128
    assert np.allclose(painted.light[far], tone, atol=1e-3)


def test_every_shape_is_another_outline_and_every_colour_another_colour() -> None:
    outlines = [paint(Table((Thing(0, s, 0.5, 0.5, 0.4),), BARE)).owner == 0 for s in range(len(SHAPES))]
    for i, one in enumerate(outlines):
        for two in outlines[:i]:
            assert (one != two).sum() > 0.05 * one.sum()
    apart = np.linalg.norm(RGB[:, None] - RGB[None], axis=-1) + np.eye(len(COLOURS))
    assert apart.min() > 0.3


def test_an_outline_is_the_same_at_any_size() -> None:
    table = Table((Thing(1, 3, 0.4, 0.4, 0.3), Thing(3, 4, 0.7, 0.7, 0.25, mirrored=True)), BARE)
    small, large = paint(table, 128), paint(table, 256)
    for i in range(2):
        share = (large.owner == i).sum() / 4 / (small.owner == i).sum()
        assert abs(share - 1) < 0.05
    assert draw(table, 256).shape == (256, 256, 3) and draw(table).dtype == np.uint8


def test_areas_are_those_drawn() -> None:
    assert len(FORMS) == len(AREA) == len(SHAPES)
    for shape, area in enumerate(AREA):
        drawn = (paint(Table((Thing(0, shape, 0.5, 0.5, 0.5),)), 256).owner == 0).sum() / 64**2
        assert abs(drawn / area - 1) < 0.02


def test_the_foremost_hides_what_is_behind_it() -> None:
    behind, before = Thing(0, 0, 0.5, 0.5, 0.25), Thing(2, 0, 0.56, 0.5, 0.25)
    shown = paint(Table((behind, before), BARE)).shown
    assert shown[1] > 0.98 and 0.2 < shown[0] < 0.6
    assert paint(Table((behind, replace(before, x=0.5)), BARE)).shown[0] < 0.05
    assert paint(Table((replace(behind, x=0.0),), BARE)).shown[0] == pytest.approx(0.5, abs=0.05)
    assert paint(Table((replace(behind, x=3.0),), BARE)).shown == (0.0,)


def test_a_picture_is_the_same_for_the_same_table_and_no_call_spoils_the_next() -> None:
    table = Table((Thing(4, 5, 0.2, 0.2),), Surface(seed=3))
    first = draw(table)
    draw(Table((Thing(0, 0, 0.5, 0.5),), Surface(seed=3)))
    assert np.array_equal(first, draw(table))
    assert not np.array_equal(first, draw(replace(table, surface=Surface(seed=4))))


def test_the_sight_of_a_table_is_what_lies_on_it() -> None:
    sight = Table((Thing(7, 1, 0.1, 0.1), Thing(3, 2, 0.9, 0.9))).sight()
    assert sight[:, COUNT].argmax(-1).tolist() == [1, *[0] * 14, 1]


def test_the_same_seed_gives_the_same_table_however_often_it_is_looked_at() -> None:
    one, two, other = ToyTable(5), ToyTable(5), ToyTable(6)
    for tick in range(0, 2000, 7):
        one.step(tick)
    two.step(1995)
    other.step(1995)
    assert one.step(1995) == two.table and one.changes == two.changes
    assert two.table.things != other.table.things
    assert {change.what for change in one.changes} == {"appear", "leave", "move"}
    with pytest.raises(ValueError, match="cannot go back"):
        one.step(3)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_a_moving_table_hides_nothing_jumps_nowhere_and_says_what_happened(seed: int) -> None:
    toy = ToyTable(seed)
    known = {(t.colour, t.shape) for t in toy.table.things}
    assert len(known) == 3
    before = toy.step(0)
    told = 0
    for tick in range(1, 500):
        table = toy.step(tick)
        for change in toy.changes[told:]:
            assert change.tick == tick
            if change.what == "appear":
                known.add((change.colour, change.shape))
            elif change.what == "leave":
                known.remove((change.colour, change.shape))
        told = len(toy.changes)
        assert known == {(t.colour, t.shape) for t in table.things} and 1 <= len(known) <= 5
        was = {(t.colour, t.shape): t for t in before.things}
        for i, t in enumerate(table.things):
            old = was.get((t.colour, t.shape), t)
            assert np.hypot(t.x - old.x, t.y - old.y) < 1.5 / SLIDE_TICKS
            for other in table.things[:i]:
                assert np.hypot(t.x - other.x, t.y - other.y) > 0.1
        before = table


def test_hands_put_drag_and_take_but_never_hide() -> None:
    toy = ToyTable(1, things=0, moving=False)
    ball, cube = toy.put(0, 0, 0.3, 0.3), toy.put(2, 1, 0.7, 0.7)
    with pytest.raises(ValueError, match="on the table already"):
        toy.put(0, 0)
    toy.drag(ball, 0.7, 0.7)
    things = toy.step(50).things
    assert 0.1 < np.hypot(things[0].x - 0.7, things[0].y - 0.7) < 0.25
    toy.drag(ball, -4.0, 9.0)
    thing = toy.table.things[ball]
    assert 0 < thing.x < 0.2 and 0.8 < thing.y < 1
    assert toy.at(thing.x, thing.y) == ball and toy.at(0.7, 0.7) == cube and toy.at(0.5, 0.1) is None
    toy.take(ball)
    assert [t.name for t in toy.step(100).things] == ["blue cube"]
    with pytest.raises(ValueError, match="no number 1"):
        toy.drag(1, 0.5, 0.5)
    assert [(c.what, c.tick) for c in toy.changes] == [("appear", 0), ("appear", 0), ("leave", 50)]


def test_a_hand_stops_what_was_sliding() -> None:
    toy = ToyTable(3)
    while not any(c.what == "move" for c in toy.changes):
        toy.step(toy.tick + 1)
    moved = toy.changes[-1]
    index = [(t.colour, t.shape) for t in toy.table.things].index((moved.colour, moved.shape))
    toy.moving = False
    toy.step(toy.tick + 4)
    toy.drag(index, 0.5, 0.5)
    there = toy.table.things[index]
    assert toy.step(toy.tick + 40).things[index] == there
