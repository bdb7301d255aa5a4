"""The bench `hours` at tiny size: it rolls, its oracle agrees, and its oracle can tell."""

from __future__ import annotations

import pytest
import torch

from liveagent.bench import hours
from liveagent.bench.beside import exact
from liveagent.bench.proportions import E2B, random_stack, tiny
from liveagent.ledger import CachePlan
from liveagent.nn.cache import KVCache, Rope
from liveagent.nn.stack import Stack
from liveagent.window import Budget

SMALL = Budget(420, 320, 280, 60, 40)


@pytest.fixture(scope="module")
def net() -> Stack:
    return random_stack({**tiny(E2B, 10), "sliding_window": 24}, torch.float32)


def test_the_pattern_is_the_real_one() -> None:
    config = hours.gemma()
    assert len(config["layer_types"]) == 35 and config["num_kv_shared_layers"] == 20
    assert [at for at, kind in enumerate(config["layer_types"]) if kind == "full_attention"] == list(range(4, 35, 5))


@pytest.mark.slow
def test_it_rolls_and_every_figure_is_there(net: Stack) -> None:
    with exact():
        figures, detail = hours.live(net, 9, 1, 3, SMALL, every=3)
    assert set(figures) == {"flatness", "oracle_diff", "divergence"}
    assert figures["oracle_diff"] <= 1e-4 and figures["divergence"] > 0
    assert detail["evictions"] > 3 and detail["take_backs"] == 18
    assert set(detail["kinds"]) >= {"system", "audio", "reply", "mark", "picture"}


@pytest.mark.slow
@pytest.mark.parametrize("blind", ["keys stay where they were", "a window one wider"])
def test_the_oracle_can_tell(net: Stack, blind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if blind == "keys stay where they were":
        obey = KVCache.apply

        def lazy(self: KVCache, lane: int, plan: CachePlan, first: int, rope: Rope) -> None:
            obey(self, lane, plan, first, lambda places, times: rope(places * 0, times))

        monkeypatch.setattr(KVCache, "apply", lazy)
    else:
        seen = KVCache.near_mask
        monkeypatch.setattr(KVCache, "near_mask", lambda self, at, window, *more: seen(self, at, window + 1, *more))
    with exact():
        figures, _ = hours.live(net, 6, 1, 1, SMALL, every=3)
    assert figures["oracle_diff"] > 1e-3
