"""The eye's bench at tiny size on random weights: its keys, its clips, and that it can tell a wrong eye from a right
one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from liveagent.bench import eye as bench
from liveagent.families import gemma4_eye
from liveagent.keyframe import Keyframes
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.framing import Budget
from liveagent.nn.pool_projector import PoolProjector
from liveagent.nn.row_eye import RowEye
from liveagent.nn.vit import Vit
from liveagent.nn.vit_config import VitConfig

SMALL = VitConfig(width=24, layers=2, heads=2, times=2, stem=4)


def small() -> Eye:
    torch.manual_seed(0)
    return Eye(EyeConfig(SMALL, hidden=16)).eval().requires_grad_(False)


def small_tower() -> RowEye:
    """Gemma 4's eye, narrow."""
    given = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    given |= {"head_dim": 8, "intermediate_size": 32, "position_embedding_size": 8}
    torch.manual_seed(0)
    vit, budget = Vit(gemma4_eye.vit_config(given)), Budget(36, 16, 3)
    return RowEye(vit, PoolProjector(24, 16, 3, 1e-6), budget, budget).eval().requires_grad_(False)


def test_keys_are_those_of_the_issue() -> None:
    base = Vit(SMALL).eval().requires_grad_(False)
    found = bench.measure(small(), base, small_tower(), 6, 1, 3, 3, 96, unrefreshed=12)
    assert set(found) == {
        "static_speedup", "talking_speedup", "talking_speedup_vit_b16", "moving_speedup", "cosine_min",
        "threshold0_max_abs", "gemma4_speedup", "gemma4_cosine", "detail",
    }  # fmt: skip
    assert 0.5 < found["gemma4_cosine"] <= 1 and "gemma4_cosine" in found["detail"]["random_weights"]
    assert found["threshold0_max_abs"] <= 1e-5 and 0.5 < found["cosine_min"] <= 1
    assert 0 <= found["detail"]["readings"]["same"] <= 1


@pytest.mark.parametrize("px, quarter", [(128, 16), (224, 49)])
def test_clips_are_what_they_are_called(px: int, quarter: int) -> None:
    def moved(clip: list[np.ndarray]) -> list[int]:
        keyframes = Keyframes(refresh_s=0, fill=False)
        return [keyframes.feed(pixels, i * bench.FRAME_NS).moved for i, pixels in enumerate(clip)][1:]

    assert sum(moved(bench.static(px, 8))) <= 2
    assert all(abs(n - quarter) <= 2 for n in moved(bench.talking(px, 8)))
    assert min(moved(bench.moving(px, 6))) > 0.9 * 4 * quarter
    assert np.array_equal(bench.talking(px, 3)[2], bench.talking(px, 3)[2])


def test_a_gather_path_that_forgets_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    vit = small().vit
    assert bench.threshold0(vit, 8, every=4) <= 1e-5
    embed = Vit._embed_some

    def stale(self: Vit, pixels: Tensor, rows: Tensor) -> Tensor:
        return embed(self, pixels, rows).roll(1, 0)

    monkeypatch.setattr(Vit, "_embed_some", stale)
    assert bench.threshold0(vit, 8, every=4) > 1e-3
    assert bench.likeness(vit, [bench.talking(128, 4)])[0] < 1
    assert (vit.moved, vit.probe) == (Vit.moved, Vit.probe)


def test_weights_are_said_to_be_trained_only_where_there_are_some(tmp_path: Path) -> None:
    path = tmp_path / "eye.safetensors"
    small().save(path)
    eye, trained = bench.weights_at(path)
    assert trained and eye.config.vit == SMALL
    assert not bench.weights_at(tmp_path / "none.safetensors")[1]
