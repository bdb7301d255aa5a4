"""The cache bench at tiny size, on random weights: it runs, its keys are those promised, and it can tell."""

from __future__ import annotations

import asyncio

import pytest
import torch

from liveagent.bench import cache
from liveagent.ledger import CachePlan
from liveagent.nn.cache import KVCache, Rope
from liveagent.nn.decoder import DecoderConfig
from liveagent.window import Budget
from tests.nano import random_nano

SMALL = Budget(420, 320, 280, 60, 40)
TINY = DecoderConfig(61, width=32, layers=3, heads=4, kv_heads=2, hidden=48, windows=(40, 0, 40))


@pytest.mark.slow
def test_the_window_rolls_and_every_figure_is_there() -> None:
    with torch.inference_mode():
        figures, detail = asyncio.run(cache.hours(random_nano(), 12, 1, 3, SMALL))
        apart, more = asyncio.run(cache.divergences(random_nano(), 12, 1, SMALL))
        ratios, big = cache.large(TINY, 2, 1, Budget(200, 150, 120, 40, 30))
    keys = {*figures, *apart, *ratios}
    assert keys == {
        "flatness", "rss_growth_mb", "evict_vs_reprefill", "evict_vs_rerotate", "oracle_diff", "divergence",
        "divergence_streamingllm", "divergence_sliding", "evict_vs_reprefill_300m", "evict_vs_rerotate_300m",
    }  # fmt: skip
    assert figures["oracle_diff"] <= 1e-4
    assert detail["take_backs"] == 12 and detail["evictions"] > 3 and detail["window_turned_over"] > 1
    assert SMALL.low_tokens - 100 < detail["window_tokens"]["last"] <= SMALL.high_tokens
    assert set(detail["kinds"]) >= {"system", "audio", "reply", "mark", "picture"}
    assert more["divergence_samples"] > 0 and 0 < apart["divergence"] < apart["divergence_sliding"]
    assert big["evictions"] == 2


def test_the_oracle_sees_keys_that_stay_where_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    net = random_nano().decoder
    budget = Budget(128, 80, 60, 40, 30)
    with torch.inference_mode():
        assert cache.against_oracle(net, 150, 1, budget) <= 1e-4
        obey = KVCache.apply

        def lazy(self: KVCache, lane: int, plan: CachePlan, first: int, rope: Rope) -> None:
            obey(self, lane, plan, first, lambda places, times: rope(places * 0, times))

        monkeypatch.setattr(KVCache, "apply", lazy)
        assert cache.against_oracle(net, 150, 1, budget) > 1e-3
