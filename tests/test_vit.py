"""The gated path: the gather path gives the dense numbers at threshold 0, small movements add up, nothing runs for
nothing, and what is no number heals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from liveagent.nn.eye import Eye, EyeConfig, pool, said
from liveagent.nn.framing import Budget, Crop, Framing, Stretch
from liveagent.nn.vit import Vit, VitState
from liveagent.nn.vit_config import VIT_B16, VitConfig

SMALL = VitConfig(image_px=64, patch_px=8, width=24, layers=5, heads=2, times=2, stem=4)
TINY = VitConfig(image_px=32, patch_px=4, width=16, layers=2, heads=2, times=2, stem=0)
WIDE = VitConfig(image_px=224, patch_px=16, width=16, layers=2, heads=2, times=2, stem=0)


def vit(config: VitConfig, moved: float = 0.0, probe: int = 1) -> Vit:
    torch.manual_seed(1)
    net = Vit(config).eval().requires_grad_(False)
    net.stem.out.weight *= 6  # what is in a patch counts for as much as where it is, as in trained weights
    net.moved, net.probe = moved, probe
    return net


def flags(config: VitConfig, chosen: Tensor) -> Tensor:
    found = torch.zeros(config.patches, dtype=torch.bool)
    found[chosen] = True
    return found


def changed(config: VitConfig, pixels: Tensor, patches: Tensor) -> Tensor:
    where = patches.view(config.side, config.side).repeat_interleave(config.patch_px, 0)
    where = where.repeat_interleave(config.patch_px, 1)
    return torch.where(where, torch.randint(0, 256, pixels.shape, dtype=torch.uint8), pixels)


def begun(net: Vit) -> tuple[Tensor, VitState]:
    c = net.config
    pixels = torch.randint(0, 256, (3, c.image_px, c.image_px), dtype=torch.uint8)
    state = net.init_state(1)
    net.look(pixels, torch.ones(c.patches, dtype=torch.bool), state, 0)
    return pixels, state


@pytest.mark.parametrize("config", [SMALL, WIDE], ids=["stem", "224"])
@pytest.mark.parametrize("seed", range(2))
def test_any_patches_in_any_order_give_the_dense_numbers(config: VitConfig, seed: int) -> None:
    torch.manual_seed(seed)
    net = vit(config)
    pixels, state = begun(net)
    for _ in range(12):
        count = int(torch.randint(1, config.patches // 2, ()))  # never all: the gather path
        patches = flags(config, torch.randperm(config.patches)[:count])
        pixels = changed(config, pixels, patches)
        tokens = net.look(pixels, patches, state, 0)
    torch.testing.assert_close(tokens, net(pixels[None])[0], rtol=0, atol=1e-5)


def test_five_hundred_pictures_without_a_refresh_stay_dense() -> None:
    torch.manual_seed(9)
    net = vit(TINY)
    pixels, state = begun(net)
    for _ in range(500):
        patches = flags(TINY, torch.randint(0, 64, (3,)))
        pixels = changed(TINY, pixels, patches)
        tokens = net.look(pixels, patches, state, 0)
    torch.testing.assert_close(tokens, net(pixels[None])[0], rtol=0, atol=1e-5)


def test_only_what_moved_is_finished_anew() -> None:
    net = vit(SMALL, moved=0.3, probe=2)
    pixels, state = begun(net)
    before = state.stream.clone()
    patches = flags(SMALL, torch.tensor([10, 11]))
    net.look(changed(SMALL, pixels, patches), patches, state, 0)
    same = (state.stream == before).all(-1)[0]  # [L + 1, N]
    assert not same[0, [10, 11]].any() and int(same[0].sum()) >= 56  # a bucket of eight at most
    assert not same[-1, 10] and 30 < int(same[-1].sum()) < 64


@pytest.mark.parametrize("probe", [1, 2, 4])
def test_small_movements_add_up_until_they_are_let_through(probe: int) -> None:
    """A patch fades so slowly that no picture moves a token by its share of itself; in the end it is as if seen anew.
    Compared with the picture before, nothing would ever be let through."""
    net = vit(SMALL, moved=0.1, probe=probe)
    torch.manual_seed(2)
    start, end = (torch.rand(3, 64, 64) for _ in range(2))
    state = net.init_state(1)
    net.look(start, torch.ones(64, dtype=torch.bool), state, 0)
    first = net.norm(state.stream[0, -1]).clone()
    patches = flags(SMALL, torch.arange(8, 16))
    let_through, was = 0, first.clone()
    for i in range(1, 201):
        faded = start.clone()
        faded[:, 8:16] += (end - start)[:, 8:16] * i / 200
        tokens = net.look(faded, patches, state, 0)
        let_through += int((tokens != was).any())
        was = tokens.clone()
    dense = net(faded[None])[0]
    assert 1 < let_through < 150
    still, gone = (dense - first)[8:16].norm(), (dense - tokens)[8:16].norm()
    assert gone < 0.3 * still


def test_the_tokens_stay_near_the_dense_ones_while_things_move() -> None:
    torch.manual_seed(3)
    net = vit(SMALL, moved=0.15, probe=4)
    pixels, state = begun(net)
    for i in range(60):
        patches = flags(SMALL, torch.arange(12) + i % 40)
        pixels = changed(SMALL, pixels, patches)
        tokens = net.look(pixels, patches, state, 0)
        alike = torch.cosine_similarity(tokens.flatten(), net(pixels[None])[0].flatten(), dim=0)
        assert alike > 0.98


def test_what_is_no_number_heals() -> None:
    for moved, probe in ((0.0, 1), (0.15, 4)):
        net = vit(SMALL, moved, probe)
        torch.manual_seed(4)
        good = torch.rand(3, 64, 64)
        bad = good.clone()
        bad[:, :8, :8] = float("nan")
        patches, state = flags(SMALL, torch.tensor([0])), net.init_state(1)
        net.look(good, torch.ones(64, dtype=torch.bool), state, 0)
        assert not net.look(bad, patches, state, 0).isfinite().all()
        for _ in range(2):
            tokens = net.look(good, patches, state, 0)
        if not moved:
            torch.testing.assert_close(tokens, net(good[None])[0], rtol=0, atol=1e-5)
        assert net.look(good, torch.ones(64, dtype=torch.bool), state, 0).isfinite().all()


def test_a_lane_that_has_seen_nothing_sees_all_patches() -> None:
    net = vit(SMALL)
    pixels = torch.rand(3, 64, 64)
    tokens = net.look(pixels, flags(SMALL, torch.tensor([5])), net.init_state(1), 0)
    torch.testing.assert_close(tokens, net(pixels[None])[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("framing", [Budget(30, 8, 2), Stretch(48), Crop(40, 48), Crop(48, 48, fill=(9, 8, 7))])
def test_what_was_brought_to_size_is_no_longer_the_cameras(framing: Framing) -> None:
    """Buffers that are written again, that are not for writing, and that lie upside down are all the same."""
    shot = np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8)
    frozen, upside_down = shot.copy(), shot[::-1].copy()[::-1]
    frozen.flags.writeable = False
    framed = framing.frame(shot)
    first = framed.clone()
    assert framed.dtype == torch.uint8 and all(side in (32, 40, 48) for side in framed.shape[1:])
    shot[:] = 0
    assert torch.equal(framed, first)
    assert torch.equal(framing.frame(frozen), first) and torch.equal(framing.frame(upside_down), first)


def test_a_budget_is_spent_and_kept() -> None:
    for height, width in ((480, 640), (640, 480), (1, 5000), (5000, 1), (7, 9)):
        high, wide = Budget(280 * 9, 16, 3).sides(height, width)
        assert high % 48 == wide % 48 == 0 < high * wide <= 280 * 9 * 256
    with pytest.raises(ValueError, match="something to see"):
        Budget(8, 16, 3).sides(480, 640)


def test_base_size_fits() -> None:
    assert (VIT_B16.patches, VIT_B16.side) == (196, 14)
    state = vit(WIDE, 0.1, 4).init_state(3)
    assert state.stream.shape == (3, 3, 196, 16) and state.used.shape == (3, 1, 196, 32)


def eye() -> Eye:
    torch.manual_seed(5)
    return Eye(EyeConfig(SMALL, hidden=16)).eval().requires_grad_(False)


def test_no_network_runs_where_nothing_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    net, on = eye(), torch.tensor([True, True, False])
    state, pixels = net.init_state(3), torch.rand(3, 3, 64, 64)
    first = net.step(pixels, torch.ones(3, 64, dtype=torch.bool), state, on)
    torch.testing.assert_close(first[:2], said(net(pixels))[:2], rtol=0, atol=1e-5)
    assert not first[2].any()

    def never(*_: object) -> Tensor:
        raise AssertionError("a network ran")

    monkeypatch.setattr(net.vit, "_all", never)
    monkeypatch.setattr(net.vit, "_some", never)
    again = net.step(torch.rand(3, 3, 64, 64), torch.zeros(3, 64, dtype=torch.bool), state, on)
    assert torch.equal(first, again)


def test_what_a_step_said_is_not_changed_by_the_next() -> None:
    net, on = eye(), torch.ones(1, dtype=torch.bool)
    state, everything = net.init_state(1), torch.ones(1, 64, dtype=torch.bool)
    first = net.step(torch.rand(1, 3, 64, 64), everything, state, on)
    kept = first.clone()
    net.step(torch.rand(1, 3, 64, 64), everything, state, on)
    assert torch.equal(first, kept)


def test_tokens_at_four_levels_are_means_of_each_other() -> None:
    net, pixels = eye(), torch.rand(2, 3, 64, 64)
    fine, mid, coarse, whole = (net.tokens(pixels, level) for level in ("fine", "mid", "coarse", "whole"))
    assert [t.shape[1] for t in (fine, mid, coarse, whole)] == [64, 16, 4, 1]
    torch.testing.assert_close(mid[:, 5], fine[:, [18, 19, 26, 27]].mean(1))  # second row, second column
    torch.testing.assert_close(coarse[:, 1], mid[:, [2, 3, 6, 7]].mean(1))
    torch.testing.assert_close(whole, coarse.mean(1, keepdim=True))
    assert pool(fine, None) is fine


def test_a_picture_of_any_size_gives_tokens_of_the_whole_and_of_tiles() -> None:
    net = eye()
    wide = torch.randint(0, 256, (100, 190, 3), dtype=torch.uint8).numpy()
    tokens = net.tokens_of(wide, "mid", most_tiles=6)
    assert tokens.shape == (1 + 6, 16, 24)  # 2 x 3 tiles of 64 px
    small = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8)
    alone = net.tokens_of(small.numpy(), "whole")
    torch.testing.assert_close(alone, net.tokens(small.permute(2, 0, 1)[None], "whole"))
