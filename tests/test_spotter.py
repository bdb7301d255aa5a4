"""The spotter of the stop word: streamed equals whole, numpy equals torch; and the ear that it is a part of."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.nn.spotter import Ears, Spotter
from liveagent.train.spotter import Net


def sound(seed: int, count: int) -> np.ndarray:
    swell = np.interp(np.arange(count), [0, count // 2, count], [0.001, 0.3, 0.01])
    return (np.random.default_rng(seed).standard_normal(count) * swell).astype(np.float32)


def net() -> Net:
    """As if trained a little: its norms have seen something."""
    torch.manual_seed(1)
    made = Net(16)
    with torch.no_grad():
        for _ in range(20):
            made(torch.randn(4, 60, 40) * 2 + 1)
    return made.eval()


def weights() -> dict[str, np.ndarray]:
    return net().weights()


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 2000), min_size=1, max_size=30))
def test_streamed_equals_whole(cuts: list[int]) -> None:
    x, made = sound(3, 24_000), weights()
    whole = Spotter(made).feed(x)
    one, parts, at = Spotter(made), [], 0
    for cut in [*cuts, len(x)]:
        parts.append(one.feed(x[at : at + cut]))
        at += cut
    streamed = np.concatenate(parts)
    assert len(whole) == ((24_000 - 400) // 160 + 1) // 2
    np.testing.assert_allclose(streamed, whole, atol=1e-5)


def test_it_is_the_network_that_was_trained() -> None:
    trained = net()
    frames = Ears().feed(sound(5, 20_000))
    with torch.inference_mode():
        expected = trained(torch.from_numpy(frames)[None]).sigmoid()[0].numpy()
    np.testing.assert_allclose(Spotter(trained.weights()).feed(sound(5, 20_000)), expected, atol=1e-5)


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(ConfigError, match="no spotter"):
        Spotter({"a": np.zeros(1, np.float32)})
    with pytest.raises(ConfigError, match="of this version"):
        Spotter({**weights(), "conv0.weight": np.zeros((5, 40, 16), np.float32)})
