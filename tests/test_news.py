"""News: what trembles is none; what comes, leaves, moves or changes is, once it has been so for a moment."""

from __future__ import annotations

import numpy as np
import pytest

from liveagent.news import News, differ
from liveagent.sight import COLOUR, COUNT, OTHER, PLACE, Sight, of_things

RED, BLUE, BALL, CUBE = 0, 2, 0, 1
MS = 1_000_000


def unsure(sight: Sight, rng: np.random.Generator, by: float = 0.25) -> Sight:
    """The same as an eye would say it that is never quite sure."""
    loose = sight + rng.uniform(0, by, sight.shape).astype(np.float32)
    for part in (COUNT, COLOUR):
        loose[:, part] /= loose[:, part].sum(1, keepdims=True)
    loose[:, PLACE] = sight[:, PLACE] + rng.normal(0, 0.15, (16, 2))
    loose[:, OTHER] = rng.uniform(0, 0.3)
    return np.asarray(loose, np.float32)


def kept(news: News, sights: list[Sight], every_ms: int = 200, start_ms: int = 0) -> list[tuple[int, str]]:
    """(number, why) of those that are kept."""
    whys = [news.feed(sight, (start_ms + i * every_ms) * MS) for i, sight in enumerate(sights)]
    return [(i, why) for i, why in enumerate(whys) if why]


def test_an_eye_that_trembles_has_no_news() -> None:
    rng = np.random.default_rng(0)
    scene = of_things([(RED, BALL, 0.1, 0.1), (BLUE, CUBE, 0.6, 0.4)])
    assert kept(News(), [unsure(scene, rng) for _ in range(140)]) == [(0, "first")]


def test_a_thing_on_the_edge_of_two_cells_does_not_move_when_the_eye_cannot_decide() -> None:
    left, right = (of_things([(RED, BALL, 0.5 + d, 0.1)]) for d in (-0.004, 0.004))
    assert not differ(left, right)
    assert kept(News(), [left, right] * 20) == [(0, "first")]
    both: Sight = ((left + right) / 2).astype(np.float32)  # half in either cell
    both[:, PLACE] = left[:, PLACE] + right[:, PLACE]
    assert not differ(left, both) and not differ(both, right)


@pytest.mark.parametrize("corners", [[(0, 0), (1, 0)], [(0, 0), (1, 0), (0, 1), (1, 1)]], ids=["edge", "corner"])
def test_a_thing_that_cells_share_comes_and_leaves_like_any_other(corners: list[tuple[int, int]]) -> None:
    """An eye that says half a ball in either of two cells, or a quarter in each of four, has seen one ball."""
    empty, shared = of_things([]), of_things([])
    for col, row in corners:
        cell = shared[row * 4 + col]
        cell[:] = of_things([(RED, BALL, 0.1, 0.1)])[0]
        cell[COUNT] = (1 - 1 / len(corners), 1 / len(corners), 0)
        cell[PLACE] = (1 - 2 * col, 1 - 2 * row)
    assert differ(empty, shared) and differ(shared, empty)
    whole = of_things([(RED, BALL, 0.249, 0.249 if len(corners) == 4 else 0.2)])
    if len(corners) == 4:
        assert not differ(shared, whole) and not differ(whole, shared)


@pytest.mark.parametrize(
    "things",
    [
        [],
        [(RED, BALL, 0.3, 0.3), (BLUE, CUBE, 0.8, 0.8)],
        [(RED, BALL, 0.48, 0.3)],
        [(BLUE, BALL, 0.3, 0.3)],
        [(RED, CUBE, 0.3, 0.3)],
        [(RED, BALL, 0.28, 0.3), (RED, BALL, 0.32, 0.3)],
    ],
    ids=["left", "came", "moved", "colour", "shape", "two"],
)
def test_what_really_changes_is_news_after_a_moment(things: list[tuple[int, int, float, float]]) -> None:
    before, after = of_things([(RED, BALL, 0.3, 0.3)]), of_things(things)
    assert differ(before, after) and differ(after, before)
    assert kept(News(), [before] * 5 + [after] * 5) == [(0, "first"), (6, "changed")]


def test_one_blurred_picture_is_no_news() -> None:
    scene, blurred = of_things([(RED, BALL, 0.3, 0.3)]), of_things([])
    assert kept(News(), [scene] * 5 + [blurred] + [scene] * 5) == [(0, "first")]


def test_the_same_sight_again_lets_the_moment_pass() -> None:
    """Nothing moves any more after the change, so the eye is not asked again: the session feeds the same object."""
    news, scene, empty = News(), of_things([(RED, BALL, 0.3, 0.3)]), of_things([])
    assert news.feed(scene, 0) == "first"
    assert news.feed(empty, 1000 * MS) is None
    assert news.feed(empty, 1100 * MS) is None
    assert news.feed(empty, 1150 * MS) == "changed"
    assert news.feed(empty, 9000 * MS) is None


def test_at_most_two_a_second_and_one_in_half_a_minute_at_least() -> None:
    moving = [of_things([(RED, BALL, 0.05 + 0.9 * (i % 20) / 20, 0.3)]) for i in range(100)]
    numbers = [i for i, _ in kept(News(), moving, every_ms=80)]
    assert all(b - a >= 7 for a, b in zip(numbers, numbers[1:], strict=False)) and len(numbers) > 8
    still = of_things([(RED, BALL, 0.3, 0.3)])
    assert kept(News(), [still] * 400) == [(0, "first"), (150, "refresh"), (300, "refresh")]


def test_no_toy_table_any_more_is_news() -> None:
    scene = of_things([])
    elsewhere = of_things([], other=True)
    assert kept(News(), [scene] * 3 + [elsewhere] * 3) == [(0, "first"), (4, "changed")]


def test_who_asks_now_need_not_wait() -> None:
    news, scene, empty = News(), of_things([(RED, BALL, 0.3, 0.3)]), of_things([])
    assert news.ask(scene, 0) == "first"
    assert news.ask(scene, 80 * MS) is None
    assert news.ask(empty, 160 * MS) == "changed"


def test_no_numbers_are_no_news_and_a_clock_that_jumps_back_stops_none() -> None:
    news, scene, empty = News(), of_things([(RED, BALL, 0.3, 0.3)]), of_things([])
    broken = np.full_like(scene, np.nan)
    assert news.feed(broken, 0) is None
    assert news.feed(scene, 10**15) == "first"
    assert news.feed(broken, 10**15 + 200 * MS) is None
    assert kept(news, [scene] * 2 + [empty] * 5) == [(3, "changed")]


def test_off_the_toy_table_nothing_but_coming_back_is_news() -> None:
    """What the eye makes of a face is different things all the time, and none of them is there."""
    off = [of_things([(at % 8, at % 6, 0.1 + 0.05 * at, 0.5)], other=True) for at in range(12)]
    back = of_things([(RED, BALL, 0.3, 0.3)])
    assert kept(News(), [*off, back, back, back]) == [(0, "first"), (13, "changed")]
