"""The ear of rows: what it says of itself, what it refuses, and what its parts refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from liveagent.errors import ConfigError
from liveagent.nn.chunked import window_bias, window_mask
from liveagent.nn.conformer import ConformerConfig
from liveagent.nn.mel import Mel, MelConfig, rounded_triangles, triangles
from liveagent.nn.row_ear import RowEar, RowEarConfig
from liveagent.nn.stem import Stem, StemConfig
from tests.laws import causal_ear, chunked_ear, sound


def test_it_says_its_times() -> None:
    one, three = causal_ear(), chunked_ear()
    assert (one.token_ms, one.block_samples, one.width) == (40.0, 640, 16)
    assert (three.token_ms, three.block_samples, three.width) == (80.0, 3840, 16)
    assert [one.final(n) for n in (0, 639, 640, 1919)] == [0, 0, 1, 2]
    assert [three.final(n) for n in (3839, 3840, 8000)] == [0, 3, 6]


@pytest.mark.parametrize("net", [causal_ear(), chunked_ear()], ids=["causal", "chunked"])
def test_nothing_is_looked_ahead_beyond_the_block(net: RowEar) -> None:
    block = net.block_samples
    samples = sound(1, 12, block)
    changed = samples.clone()
    changed[:, 9 * block :] = 0
    tokens = net.final(9 * block)
    with torch.no_grad():
        a, b = net(samples), net(changed)
    torch.testing.assert_close(a[:, :tokens], b[:, :tokens], rtol=0, atol=1e-6)
    assert float((a[:, tokens] - b[:, tokens]).abs().max()) > 1e-3


def test_a_clip_may_end_within_a_token_and_its_last_row_is_provisional() -> None:
    net, samples = causal_ear(), sound(4, 10, 640)
    state, active = net.init_state(4), torch.ones(4, dtype=torch.bool)
    rows = net.step(samples[:, : 9 * 640], state, active)
    kept = state.keys.clone()
    with torch.no_grad():
        for rest in (0, 159, 160, 400, 639):
            cut = samples[:, : 9 * 640 + rest]
            last = net.provisional(cut[:, 9 * 640 :], state)
            assert last.shape[1] == (rest >= 160)
            torch.testing.assert_close(torch.cat([rows, last], dim=1), net(cut), rtol=0, atol=1e-5)
    assert torch.equal(kept, state.keys)  # asking changes nothing
    assert chunked_ear().provisional(samples[:, :400], chunked_ear().init_state(4)).shape[1] == 0


def test_what_is_no_whole_block_is_refused() -> None:
    net = chunked_ear()
    state, active = net.init_state(4), torch.ones(4, dtype=torch.bool)
    for samples in (0, 1280, 3841):
        with pytest.raises(ValueError, match="3840"):
            net.step(torch.zeros(4, samples), state, active)
    with pytest.raises(ValueError, match="3840"):
        net(torch.zeros(1, 5000))


def test_the_two_masks_say_the_same() -> None:
    for chunk, left in ((1, 5), (3, 6), (4, 0), (14, 28)):
        tokens = 6 * chunk
        bias = window_bias(tokens, chunk, left)
        seen = torch.cat([group[:, left:] for group in bias[:1]]) == 0  # the first group: keys from the beginning
        within = window_mask(tokens, chunk, left)[:, left:]
        count = min(tokens, bias.shape[1])
        assert torch.equal(seen[:count, :count], within[:count, :count])
        assert torch.equal(within.diagonal(), torch.ones(tokens, dtype=torch.bool))


def test_bands_are_the_same_by_either_arithmetic() -> None:
    for config in (MelConfig(), MelConfig(64, low_hz=0.0, high_hz=8000.0, mel="slaney", even_area=True)):
        a, b = triangles(config), rounded_triangles(config)
        torch.testing.assert_close(a.float(), b, rtol=0, atol=2e-5 * float(b.max()))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: ConformerConfig(30, 4, 40, 3),
        lambda: ConformerConfig(32, 4, 40, 0),
        lambda: ConformerConfig(32, 4, 40, 3, left=-1),
        lambda: StemConfig(20, 24, (4, 0)),
        lambda: StemConfig(20, 24, (4, 5), separable=True),
        lambda: RowEarConfig(StemConfig(20, 24, (4,)), ConformerConfig(32, 4, 40, 3), 2, 8),
        lambda: RowEar(Mel(30), RowEarConfig(StemConfig(20, 32, (4,)), ConformerConfig(32, 4, 40, 3), 2, 8)),
    ],
)
def test_sizes_that_cannot_be_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError):
        wrong()


def test_a_stem_halves_bands_as_its_convolutions_do() -> None:
    for behind in (False, True):
        for bands in (5, 8, 13, 40):
            stem = Stem(StemConfig(bands, 6, (3, 3, 3), behind=behind))
            assert stem(torch.randn(1, 16, bands)).shape == (1, 2, 6)
