"""The level meter and the gate in front of the voice detector."""

from __future__ import annotations

import numpy as np
import pytest

from liveagent.audio import RATE_HZ, TICK_SAMPLES
from liveagent.level import SILENCE_DBFS, Level, LevelReading, dbfs


def noise(level_dbfs: float, ticks: int, seed: int = 1) -> np.ndarray:
    x = np.random.default_rng(seed).standard_normal(ticks * TICK_SAMPLES)
    return (x * 10 ** (level_dbfs / 20)).astype(np.float32)


def run(level: Level, samples: np.ndarray) -> list[LevelReading]:
    return [level.feed(samples[at : at + TICK_SAMPLES]) for at in range(0, len(samples), TICK_SAMPLES)]


def test_the_meter() -> None:
    square = np.ones(100, np.float32)
    sine = np.sin(2 * np.pi * np.arange(RATE_HZ) * 100 / RATE_HZ).astype(np.float32)
    assert dbfs(square) == pytest.approx(0)
    assert dbfs(sine) == pytest.approx(-3.01, abs=0.01)
    assert dbfs(sine / np.float32(10)) == pytest.approx(-23.01, abs=0.01)
    assert dbfs(np.zeros(10, np.float32)) == dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS
    assert dbfs(np.array([np.nan, np.inf, 1], np.float32)) == pytest.approx(0)


def test_a_steady_room_is_closed_and_speech_opens_it_at_once_and_for_a_while() -> None:
    level = Level()
    room = run(level, noise(-50, 200))
    assert not room[-1].is_open and room[-1].floor_dbfs == pytest.approx(-50, abs=1)
    loud = run(level, noise(-30, 10))
    assert all(r.is_open for r in loud)
    after = [r.is_open for r in run(level, noise(-50, 30))]
    assert after == [True] * 6 + [False] * 24  # held for 480 ms


def test_speech_does_not_lift_the_floor_much_and_a_fan_becomes_it() -> None:
    level = Level()
    run(level, noise(-60, 50))
    said = run(level, np.concatenate([np.concatenate([noise(-25, 5), noise(-60, 1)]) for _ in range(10)]))
    assert said[-1].floor_dbfs < -55
    fan = run(level, noise(-35, 200))
    assert fan[0].is_open and not fan[-1].is_open


def test_the_first_frame_may_be_speech() -> None:
    assert Level().feed(noise(-30, 1)).is_open


def test_a_noiseless_line_never_opens_on_its_last_bit() -> None:
    assert not any(r.is_open for r in run(Level(), noise(-90, 50)))


def test_the_same_samples_give_the_same_readings() -> None:
    x = np.concatenate([noise(-60, 20), noise(-20, 20, seed=2)])
    assert run(Level(), x) == run(Level(), x)
