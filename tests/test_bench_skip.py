"""`bench skip` and the camera of `bench sessions` at tiny size, on random weights."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from liveagent.bench import sessions, skip
from liveagent.bench.eye import talking
from liveagent.bench.seats import Noting
from liveagent.runtime.looking import Looking
from liveagent.sight import CELLS, COUNT, PICTURE_PX, WIDTH
from tests.nano import random_nano

HUM = (np.sin(np.arange(4000) / 9) * 0.1).astype(np.float32)


@pytest.fixture(autouse=True)
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Noting.of
    monkeypatch.setattr(Noting, "of", lambda agent, model, use_recogniser: listener(agent, model, False))
    monkeypatch.setattr(skip, "sounds", lambda seed: (HUM, HUM))
    monkeypatch.setattr(skip, "KINDS", ("colour",))


@pytest.mark.slow
def test_its_keys_are_those_promised_and_silence_saves() -> None:
    found = asyncio.run(skip._all(random_nano(), 20, 1, 1))
    shares = {f"prune_{share}{what}" for share in (0, 10, 30, 50) for what in ("", "_saved")}
    assert set(found) == {"saved_text_only", "saved_silent", "saved_blind", "detail"} | shares
    assert found["saved_text_only"] > 0 and found["saved_silent"] > 0 and found["prune_0_saved"] == 0


def test_the_emptiest_cells_go_first() -> None:
    sight = np.zeros((CELLS, WIDTH), np.float32)
    sight[:, COUNT][:, 0] = np.linspace(0, 1, CELLS)
    whole = Looking.cells
    with skip.pruned(50):
        assert Looking.cells(None, sight) == list(range(CELLS // 2))  # type: ignore[arg-type]
    assert Looking.cells is whole


@pytest.mark.slow
def test_every_lane_is_shown_a_talking_head() -> None:
    model, clip = random_nano(), talking(PICTURE_PX, 4)
    _, parts, _ = asyncio.run(sessions.ticks_ms(model, 4, 10, HUM, HUM, warm_up=1, clip=clip))
    assert parts["eye"] > 0 and parts["what changed"] > 0
    assert sessions.seeing(model) is model
