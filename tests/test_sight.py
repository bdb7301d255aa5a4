"""Sights in words."""

from __future__ import annotations

import numpy as np

from liveagent.sight import COUNT, PLACE, named, of_things

RED, BLUE, BALL, CUBE = 0, 2, 0, 1


def test_things_are_named_cell_by_cell_and_what_is_hardly_there_is_not() -> None:
    sight = of_things([(BLUE, CUBE, 0.9, 0.9), (RED, BALL, 0.1, 0.1)])
    assert named(sight) == ("red ball", "blue cube")
    sight[15, COUNT] = 0.6, 0.4, 0.0
    assert named(sight) == ("red ball",)
    assert named(of_things([])) == ()


def test_a_thing_that_two_cells_share_is_one_and_two_alike_are_two() -> None:
    sight = np.maximum(of_things([(RED, BALL, 0.249, 0.1)]), of_things([(RED, BALL, 0.251, 0.1)]))
    for cell, place in ((0, 0.95), (1, -0.95)):
        sight[cell, COUNT] = 0.55, 0.45, 0.0
        sight[cell, PLACE] = place, -0.2
    assert named(sight) == ("red ball",)
    assert named(of_things([(RED, BALL, 0.1, 0.1), (RED, BALL, 0.4, 0.1)])) == ("red ball", "red ball")
