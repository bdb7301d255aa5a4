"""A real Mosquitto for tests, on a free port of the loopback: `from tests.broker import broker`, then `broker` as an
argument of a test. Skips, and says so, where mosquitto is not installed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from liveagent.ports.mosquitto import Mosquitto, found

needs_mosquitto = pytest.mark.skipif(found() is None, reason="mosquitto is not installed (apt-get install mosquitto)")


@pytest.fixture
def broker() -> Iterator[Mosquitto]:
    """One that lets everybody in, and has forgotten everything after the test."""
    if found() is None:
        pytest.skip("mosquitto is not installed (apt-get install mosquitto)")
    with Mosquitto() as started:
        yield started
