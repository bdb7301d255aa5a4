"""Mel: the numbers, and that time in a frame is what it says."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.nn.mel import EMPHASIS, FFT, FLOOR, HOP, MEAN, SCALE, WINDOW, Mel

MEL = Mel()


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 5))
def test_bit_equal_under_any_chunking(hops: list[int], lanes: int) -> None:
    torch.manual_seed(sum(hops))
    x = torch.randn(lanes, sum(hops) * HOP) * 10 ** torch.empty(lanes, 1).uniform_(-5, 0)
    state, active = MEL.init_state(lanes), torch.ones(lanes, dtype=torch.bool)
    parts = [MEL.step(piece, state, active) for piece in x.split([h * HOP for h in hops], dim=1)]
    assert torch.equal(torch.cat(parts, dim=1), MEL(x))
    assert torch.equal(MEL(x[:1]), MEL(x)[:1])  # nor do the other lanes matter


def test_agrees_with_the_formula() -> None:
    """Against a plain double-precision computation of one frame."""
    torch.manual_seed(1)
    x = torch.randn(1, 10 * HOP) * 0.2
    y = x[0].double()
    y = y - EMPHASIS * torch.cat([torch.zeros(1, dtype=torch.float64), y[:-1]])
    frame = y[8 * HOP - WINDOW : 8 * HOP] * torch.hann_window(WINDOW, dtype=torch.float64)
    k = torch.arange(FFT // 2 + 1, dtype=torch.float64)[:, None] * torch.arange(WINDOW, dtype=torch.float64)[None, :]
    angle = 2 * math.pi * k / FFT
    power = (frame * angle.cos()).sum(1) ** 2 + (frame * angle.sin()).sum(1) ** 2
    expected = (torch.log(power @ MEL.filters.double() + FLOOR) - MEAN) / SCALE
    torch.testing.assert_close(MEL(x)[0, 7].double(), expected, rtol=0, atol=1e-4)


def test_a_frame_sees_nothing_later() -> None:
    torch.manual_seed(2)
    x = torch.randn(1, 20 * HOP)
    changed = x.clone()
    changed[:, 12 * HOP :] = 0
    assert torch.equal(MEL(x)[:, :12], MEL(changed)[:, :12])
    assert not torch.equal(MEL(x)[:, 12], MEL(changed)[:, 12])


@pytest.mark.parametrize("hz", [300.0, 1000.0, 3000.0])
def test_a_tone_is_where_it_belongs(hz: float) -> None:
    x = 0.3 * torch.sin(2 * math.pi * hz * torch.arange(40 * HOP) / 16_000)[None]
    band = int(MEL(x)[0, 20].argmax())
    centre = int(MEL.filters[round(hz * FFT / 16_000)].argmax())
    assert abs(band - centre) <= 1


def test_training_mel_is_the_same_mel() -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 50 * HOP) * 0.1
    torch.testing.assert_close(MEL.nearly(x), MEL(x), rtol=0, atol=1e-5)


def test_every_band_hears_something() -> None:
    assert (MEL.filters.sum(0) > 0).all()


def test_odd_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="multiples of 160"):
        MEL(torch.zeros(1, 161))
