"""Whoever is thrown out again and again waits, longer each time; nobody else does."""

from __future__ import annotations

from itertools import count

import pytest

from liveagent.runtime.cooldown import FORGIVEN_S, FREE, MOST_CULPRITS, MOST_S, CoolDown, who_of
from liveagent.runtime.request import Refused


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def wait_s(cooldown: CoolDown, who: str) -> int:
    try:
        cooldown.check(who)
    except Refused as why:
        assert why.status == 503 and why.reason == "cooldown" and why.retry_s is not None
        return why.retry_s
    return 0


def test_the_first_offences_are_free_and_then_it_doubles_up_to_a_minute(clock: Clock) -> None:
    cooldown = CoolDown(clock)
    waits = []
    for _ in range(FREE + 9):
        cooldown.offend("a")
        waits.append(wait_s(cooldown, "a"))
        clock.now += waits[-1]
        assert not wait_s(cooldown, "a"), "after that time they may"
    assert waits == [0] * FREE + [1, 2, 4, 8, 16, 32, 60, 60, 60] and max(waits) == MOST_S


def test_nobody_else_waits(clock: Clock) -> None:
    cooldown = CoolDown(clock)
    for _ in range(FREE + 3):
        cooldown.offend("a")
    assert wait_s(cooldown, "a") and not wait_s(cooldown, "b") and not wait_s(cooldown, "")


def test_it_is_forgiven_in_time(clock: Clock) -> None:
    cooldown = CoolDown(clock)
    for _ in range(FREE + 5):
        cooldown.offend("a")
    clock.now += FORGIVEN_S + 1
    cooldown.offend("a")
    assert not wait_s(cooldown, "a")


def test_never_more_than_so_many_are_remembered_and_the_latest_are(clock: Clock) -> None:
    cooldown = CoolDown(clock)
    numbers = count()
    for _ in range(FREE + 3):
        cooldown.offend("a")
    for _ in range(3 * MOST_CULPRITS):
        cooldown.offend(f"stranger {next(numbers)}")
        if next(numbers) % 1000 < 2:
            cooldown.offend("a")
    assert len(cooldown._culprits) == MOST_CULPRITS
    assert wait_s(cooldown, "a") == MOST_S


def test_who_answers_is_a_key_at_an_address_and_of_ipv6_at_a_network() -> None:
    assert who_of("k/u", "10.0.0.1") == who_of("k/u", "::ffff:10.0.0.1") != who_of("k/u", "10.0.0.2")
    assert who_of("k/u", "10.0.0.1") != who_of("k/v", "10.0.0.1")
    assert who_of("k/u", "2001:db8::1") == who_of("k/u", "2001:db8::ffff:2") != who_of("k/u", "2001:db8:0:1::1")
    assert who_of("k/u", "") == "k/u@"
