"""The benches of hands and watchdog at tiny size: they run on real parts, and their keys are those promised."""

from __future__ import annotations

import pytest

from liveagent.bench import hands, watchdog
from liveagent.ports import mosquitto

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(mosquitto.found() is None, reason="mosquitto is not installed"),
]


def test_hands() -> None:
    figures = hands.run(orders=3, seconds=0.5)
    assert set(figures) == {"release_to_accept_ms_p50", "chunk_starved_ticks", "detail"}
    assert set(figures["release_to_accept_ms_p50"]) == {"mqtt", "websocket"}
    assert figures["detail"]["orders"] == {"mqtt": 3, "websocket": 3}
    assert figures["detail"]["step_starved_ticks"] > 0  # it can tell


def test_watchdog() -> None:
    figures = watchdog.run(times=1, kinds=("cut_off",))
    assert set(figures) == {"stopped_within_ms_p100", "resumed", "detail"}
    assert figures["stopped_within_ms_p100"] > 0 and figures["resumed"] == 0
    assert figures["detail"]["cut_off"]["times"] == 1
