"""Which pictures are worth keeping, by how much has changed in them."""

from __future__ import annotations

import numpy as np

from liveagent.keyframe import Change
from liveagent.news import Why
from liveagent.scenery import LEAST_PATCHES, Scenery

S = 1_000_000_000


def told(moves: dict[float, int], until_s: float, fps: int = 10, scenery: Scenery | None = None) -> dict[float, Why]:
    """What is kept of pictures in which, at some times, so many patches moved."""
    scenery, kept = scenery or Scenery(), {}
    for at in range(int(until_s * fps)):
        t_ns = at * S // fps
        moved = moves.get(round(at / fps, 2), 0)
        scenery.see(Change(np.arange(64) < moved, "changed" if moved else "still", moved), t_ns)
        if (why := scenery.feed(t_ns)) is not None:
            kept[round(t_ns / S, 2)] = why
    return kept


def test_what_has_changed_is_kept_once_it_is_still() -> None:
    assert told({2.0: 3, 2.1: 5, 2.2: 2}, 6) == {0.0: "first", 2.5: "changed"}


def test_what_goes_on_moving_is_kept_now_and_then() -> None:
    moving = {round(at / 10, 2): 6 for at in range(10, 100)}
    assert told(moving, 11) == {0.0: "first", 3.0: "changed", 5.1: "changed", 7.2: "changed", 9.3: "changed",
                                10.2: "changed"}  # fmt: skip


def test_a_shadow_is_no_news_and_what_drifts_is_found_out() -> None:
    assert told({2.0: LEAST_PATCHES - 1}, 6) == {0.0: "first"}
    assert told({at / 2 + 1: 1 for at in range(LEAST_PATCHES)}, 6) == {0.0: "first", 2.8: "changed"}


def test_nothing_new_is_kept_again_after_a_while() -> None:
    assert told({}, 65) == {0.0: "first", 30.0: "refresh", 60.0: "refresh"}


def test_who_asks_gets_what_is_there_now() -> None:
    scenery = Scenery()
    assert told({}, 2, scenery=scenery) == {0.0: "first"} and scenery.ask(2 * S) is None
    scenery.see(Change(np.arange(64) < 1, "changed", 1), 2 * S)
    assert scenery.feed(2 * S) is None and scenery.ask(2 * S) == "changed" and scenery.ask(2 * S + 1) is None


def test_a_clock_that_jumps_back_keeps_nothing_waiting_for_ever() -> None:
    scenery = Scenery()
    told({}, 1, scenery=scenery)
    scenery.see(Change(np.arange(64) < 9, "changed", 9), 50 * S)
    scenery.see(Change(np.arange(64) < 0, "still", 0), S)
    assert [scenery.feed(t) for t in (S, S + S // 4, S + S // 2)] == [None, None, "changed"]
