"""The benches of the server: their keys are those that were asked for, on runs too small to mean anything."""

from __future__ import annotations

import pytest

from liveagent.bench import load, soak, soundroom, transport
from liveagent.bench.browser import CHROMIUM

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_transport() -> None:
    found = transport.run(peers=1, seconds=0.5, rounds=1)
    assert {*found} == {"cpu_us_per_20ms_frame", "vs_bare_websockets", "detail"}
    assert found["cpu_us_per_20ms_frame"] > 0


def test_load() -> None:
    found = load.run(most=2, seconds=1.0, asks=2)
    assert {*found} == {"sessions", "neighbour_p99_ratio", "refused_cleanly", "detail"}
    assert found["refused_cleanly"] == 1.0


def test_soak() -> None:
    found = soak.run(seconds=8)
    assert {*found} == {"rss_mb_per_hour", "fd_growth", "task_growth", "detail"}


@pytest.mark.audio
@pytest.mark.browser
def test_browser() -> None:
    from pathlib import Path

    from liveagent.bench import browser

    pytest.importorskip("playwright")
    if soundroom.missing() or not Path(CHROMIUM).exists():
        pytest.skip(soundroom.missing() or "Chromium is not installed: apt-get install chromium")
    found = browser.run(turns=1, pauses=1, cuts=1)
    keys = {
        "last_spoken_to_first_played_ms_p50", "last_spoken_to_first_played_ms_p95", "cut_offs",
        "barge_in_to_silence_ms_p95", "wrong_words_per_cut", "detail",
    }  # fmt: skip
    assert {*found} == keys and found["detail"]["turns"] == [1, 1]
