"""Comparing our networks with the implementation in `transformers`: what the bench `parity` compares by, for tests."""

from __future__ import annotations

from types import ModuleType

import pytest

from liveagent.bench.beside import BAR, FAR, error, exact, gains, saved, stream

__all__ = ["BAR", "FAR", "error", "exact", "gains", "reference", "saved", "stream"]


def reference() -> ModuleType:
    """`transformers`, quiet and offline; skips the test where it is not installed."""
    from liveagent.bench.rival import reference as there

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("TRANSFORMERS_OFFLINE", "1")
        try:
            return there()
        except ModuleNotFoundError as error_:
            pytest.skip(f"{error_.name} is not installed, with which ours is compared")
