"""The eye's dense part: what goes in, what comes out, what is kept on disk, and that it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from liveagent.errors import ConfigError
from liveagent.nn.eye import Eye, EyeConfig, said
from liveagent.nn.vit import Vit
from liveagent.nn.vit_config import VIT_B16, VitConfig
from liveagent.sight import COLOUR, COUNT, OTHER, PLACE, SHAPE
from liveagent.train.eye import Trainer, batch_of, evaluate, held_out, losses, score
from liveagent.train.scenes import HELD_OUT

SMALL = EyeConfig(VitConfig(width=32, layers=2, heads=2, times=2, stem=4), hidden=32)


def eye(seed: int = 0, config: EyeConfig = SMALL) -> Eye:
    torch.manual_seed(seed)
    return Eye(config).eval()


def pictures(count: int = 2) -> torch.Tensor:
    return torch.from_numpy(batch_of(range(HELD_OUT, HELD_OUT + count))["pixels"])


def test_a_sight_has_probabilities_and_places() -> None:
    sight = eye().sight(pictures())
    assert sight.shape == (2, 16, 20) and sight.dtype == torch.float32
    for part in (COUNT, COLOUR, SHAPE):
        assert torch.allclose(sight[..., part].sum(-1), torch.ones(2, 16), atol=1e-5)
    assert sight[..., PLACE].abs().max() <= 1 and 0 < sight[..., OTHER].min() < sight[..., OTHER].max() < 1
    assert (sight[..., OTHER] == sight[:, :1, OTHER]).all()


def test_bytes_and_light_are_the_same_picture_and_a_picture_stands_alone() -> None:
    model, pixels = eye(), pictures(3)
    with torch.no_grad():
        logits = model(pixels)
        assert torch.allclose(logits, model(pixels.float() / 255), atol=1e-6)
        assert torch.allclose(logits[1:2], model(pixels[1:2]), atol=1e-5)
        assert torch.allclose(said(logits), model.sight(pixels))


@pytest.mark.parametrize("stem", [0, 4])
def test_a_patch_is_embedded_from_its_own_pixels_only(stem: int) -> None:
    torch.manual_seed(1)
    vit = Vit(VitConfig(width=32, layers=1, heads=2, stem=stem))
    before = pictures(1)
    after = before.clone()
    after[:, :, 16:32, 48:64] = 255 - after[:, :, 16:32, 48:64]  # row 1, column 3
    with torch.no_grad():
        moved = (vit.embed(vit.cut(after)) - vit.embed(vit.cut(before))).abs().amax(-1)[0]
    assert moved[11] > 0.01 and moved[torch.arange(64) != 11].max() == 0


def test_patches_are_cut_row_by_row() -> None:
    pixels = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    pixels[0, 1, 16:32, 48:64] = torch.arange(256, dtype=torch.uint8).view(16, 16)
    cut = Vit(SMALL.vit).cut(pixels)
    assert cut.shape == (1, 64, 3, 16, 16)
    assert torch.allclose((cut[0, 11, 1] + 2) / 4 * 255, torch.arange(256.0).view(16, 16), atol=1e-4)
    assert (cut[0, torch.arange(64) != 11] == -2).all()


def test_sizes() -> None:
    assert 1.5e6 < sum(p.numel() for p in Eye(EyeConfig()).parameters()) < 2.5e6
    assert VIT_B16.patches == 196 and VIT_B16.side == 14
    with pytest.raises(ValueError, match="no fit"):
        Vit(VitConfig(image_px=100))
    with pytest.raises(ValueError, match="cells"):
        Eye(EyeConfig(VitConfig(image_px=96, width=32, layers=1, heads=2)))
    with pytest.raises(ValueError, match="128, 128"):
        eye()(torch.zeros(1, 3, 64, 128))


def test_saved_and_loaded(tmp_path: Path) -> None:
    first, pixels = eye(3), pictures()
    first.save(tmp_path / "eye.safetensors")
    second = Eye.load(tmp_path / "eye.safetensors")
    assert second.config == SMALL and not second.training
    assert torch.allclose(first.sight(pixels), second.sight(pixels), atol=0.01)
    second.save(tmp_path / "again.safetensors")
    kept, again = (load_file(tmp_path / name) for name in ("eye.safetensors", "again.safetensors"))
    assert kept.keys() == again.keys() and all(torch.equal(kept[name], again[name]) for name in kept)


def test_a_bad_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "eye.safetensors"
    with pytest.raises(ConfigError, match="train an eye"):
        Eye.load(path)
    eye().save(path)
    whole = path.read_bytes()
    weights = {name: weight.clone() for name, weight in load_file(path).items()}  # no longer mapped from the file
    for spoilt in (whole[: len(whole) // 2], whole[:4], b"", b"\x00" * 900):
        path.write_bytes(spoilt)
        with pytest.raises(ConfigError, match="damaged"):
            Eye.load(path)
    save_file(weights, path)
    with pytest.raises(ConfigError, match=r"wanted liveagent\.eye version 1"):
        Eye.load(path)
    save_file(weights, path, metadata={"format": "liveagent.eye", "version": "1", "config": '{"vit": {"layers": 3}}'})
    with pytest.raises(ConfigError, match="damaged"):
        Eye.load(path)
    save_file(weights, path, metadata={"format": "liveagent.eye", "version": "1", "config": '{"vit": {"lobes": 3}}'})
    with pytest.raises(ConfigError, match="damaged"):
        Eye.load(path)


def test_a_perfect_sight_scores_full_and_a_blind_one_does_not() -> None:
    batch = {name: torch.from_numpy(part) for name, part in batch_of(range(HELD_OUT, HELD_OUT + 60)).items()}
    full = score(batch["sight"], batch["sight"], batch["weight"], batch["count"])
    assert full["exact"] > 0.95 and full["place_px"] == 0
    assert all(full[name] == 1 for name in ("f1", "colour", "shape", "other"))
    found = evaluate(eye(), held_out(60))
    assert found["exact"] < 0.5 and found["colour"] < 0.5 and found["shape"] < 0.6 and found["place_px"] > 3


def test_the_loss_is_least_where_the_sight_is_right() -> None:
    batch = {name: torch.from_numpy(part) for name, part in batch_of(range(40)).items()}
    right = torch.cat(
        [batch["sight"][..., :17].clamp_min(1e-6).log(), torch.atanh(batch["sight"][..., PLACE] * 0.999)], -1
    )
    right = torch.cat([right, torch.where(batch["sight"][..., OTHER:] > 0.5, 9.0, -9.0)], dim=-1)
    least = losses(right, batch["sight"], batch["weight"])
    for name, part in losses(torch.roll(right, 1, dims=0), batch["sight"], batch["weight"]).items():
        assert part > least[name] + 0.02
    assert least["place"] < 1e-4 and least["other"] < 1e-3


@pytest.mark.slow
def test_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    trainer = Trainer(tmp_path, SMALL, seed=1, peak=3e-3)
    batch = batch_of(range(12))
    found = []
    for _ in range(12):
        total, parts = trainer.loss(batch)
        assert set(parts) == {"count", "sum", "colour", "shape", "place", "other", "patch"}
        found.append(float(total.detach()))
        for optimizer in trainer.optimizers:
            optimizer.zero_grad()
        total.backward()
        for optimizer in trainer.optimizers:
            optimizer.step()
    assert found[-1] < 0.8 * found[0]
    trainer.steps, trainer.drawn = 12, 144
    trainer.save()
    again = Trainer(tmp_path, SMALL, seed=2, peak=3e-3)
    assert (again.steps, again.drawn) == (12, 144)
    assert torch.equal(again.eye.head.up.weight, trainer.eye.head.up.weight)
    assert float(again.loss(batch)[0].detach()) == pytest.approx(float(trainer.loss(batch)[0].detach()))
    assert Eye.load(tmp_path / "eye.safetensors").config == SMALL
