"""The engine's eyes: each lane its own, and what they said read as tokens."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from liveagent import ConfigError
from liveagent.nn.nano import Nano
from liveagent.runtime.core import Core
from liveagent.runtime.work import Append, Done, Look, Reset, Seen, Sights, Work
from liveagent.sight import CELLS, WIDTH
from tests.nano import random_nano


def core() -> Core:
    core = Core(random_nano(), lanes=4, slots=128)
    for _ in range(4):
        core.open()
    return core


def do(core: Core, lane: int, work: Work) -> Done:
    return cast(Done, core.run(lane, work))


def look(core: Core, lane: int, work: Look) -> Seen:
    return cast(Seen, core.run(lane, work))


def looks(seed: int) -> list[Look]:
    """A picture of coloured squares, then one square after the other in another colour."""
    rng = np.random.default_rng(seed)
    pixels = np.kron(rng.integers(0, 2, (8, 8, 3)) * 255, np.ones((16, 16, 1))).astype(np.uint8)
    found = [Look(pixels)]
    for _ in range(4):
        row, col = (int(at) for at in rng.integers(0, 8, 2))
        pixels = pixels.copy()
        pixels[row * 16 : row * 16 + 16, col * 16 : col * 16 + 16] ^= 255
        patches = np.zeros(64, bool)
        patches[row * 8 + col] = True
        found.append(Look(pixels, patches))
    return found


def test_two_lanes_eyes_do_not_touch() -> None:
    alone, both = core(), core()
    expected = [look(alone, 0, each) for each in looks(1)]
    got: list[object] = []
    for mine, other in zip(looks(1), looks(2), strict=True):
        both.submit(2, other, lambda _: None)
        both.submit(0, mine, got.append)
        while both.step():
            pass
    for was, now in zip(expected, got, strict=True):
        assert isinstance(now, Seen)
        assert np.array_equal(was.sight, now.sight) and (now.patches, now.of) == (was.patches, 64)
    assert expected[0].sight.shape == (CELLS, WIDTH) and expected[0].patches == 64
    assert not np.array_equal(expected[0].sight, expected[-1].sight)


def test_a_lane_that_begins_anew_has_seen_nothing() -> None:
    one, fresh = core(), core()
    for each in looks(1):
        look(one, 0, each)
    do(one, 0, Reset())
    first = looks(2)[0]
    assert np.array_equal(look(one, 0, first).sight, look(fresh, 0, first).sight)
    one.close(0)
    assert one.open() == 0
    assert np.array_equal(look(one, 0, first).sight, look(fresh, 1, first).sight)


def test_what_was_seen_is_read_after_its_mark_and_every_number_and_cell_counts() -> None:
    one = core()
    image = random_nano().template.image
    sight = np.random.default_rng(0).random((3, WIDTH)).astype(np.float32)
    cells = np.array([2, 7, 15])
    want = tuple(range(50))

    def read(lane: int, work: Append) -> np.ndarray:
        do(one, lane, Reset())
        do(one, lane, Append((5, 6, 7)))
        return np.array(do(one, lane, work).logp)

    whole = read(0, Append((image,) * 4, want, sights=Sights(sight, cells)))
    do(one, 1, Reset())
    do(one, 1, Append((5, 6, 7, image)))
    parts = np.array(do(one, 1, Append((image,) * 3, want, sights=Sights(sight, cells))).logp)
    assert np.allclose(whole, parts, atol=1e-5)
    hard = read(0, Append((image,) * 4, want))
    moved = read(0, Append((image,) * 4, want, sights=Sights(sight, np.array([2, 7, 14]))))
    other = sight.copy()
    other[1, 4] += 0.5
    changed = read(0, Append((image,) * 4, want, sights=Sights(other, cells)))
    later = read(0, Append((image,) * 4, want, sights=Sights(sight, cells), t_s=60.0))
    for differs in (hard, moved, changed, later):
        assert np.abs(whole - differs).max() > 1e-4
    with pytest.raises(ConfigError, match="3 cells of a picture in the place of 2 tokens"):
        do(one, 0, Append((image,) * 2, sights=Sights(sight, cells)))


def test_a_model_without_eyes_says_so_to_that_lane_alone() -> None:
    seeing = random_nano()
    blind = Core(Nano(seeing.ear, seeing.decoder, seeing.vad, seeing.pieces), lanes=4, slots=64)
    blind.open()
    with pytest.raises(ConfigError, match="no eyes"):
        blind.run(0, looks(0)[0])
    assert do(blind, 0, Append((5,))).length == 1
