"""Where nobody asks what comes next, layers that hold no keys do not run, and the cache is the same to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from liveagent.bench.beside import exact
from liveagent.bench.proportions import E2B, random_ear, random_stack, running, tiny, whole
from liveagent.errors import ConfigError
from liveagent.nn.block import Block
from liveagent.nn.stack import Stack
from liveagent.runtime.core import Core
from liveagent.runtime.work import Append, Decode, Done, Encode, Encoded, Sounds


@pytest.fixture(scope="module")
def net() -> Stack:
    return random_stack({**tiny(E2B, 10), "sliding_window": 9}, torch.float32)


def test_the_cache_is_that_of_a_step(net: Stack) -> None:
    one, other = (net.init_state(3, 128, back=16) for _ in range(2))
    generator, ran = torch.Generator().manual_seed(1), list[int]()
    with exact():
        for size, counts in ((32, [20, 0, 32]), (8, [8, 3, 0]), (1, [1, 1, 0])):
            rows = net.embed(torch.randint(3, 199, (3, size), generator=generator))
            net.step(rows, counts, one)
            hooks = [layer.register_forward_pre_hook(lambda *_: ran.append(1)) for layer in net.layers[5:]]
            hooks += [each.gate_up.register_forward_pre_hook(lambda *_: ran.append(1))
                      for each in net.layers[5:] if isinstance(each, Block)]  # fmt: skip
            net.append(rows, counts, other)
            for hook in hooks:
                hook.remove()
    for name, slab in vars(one).items():
        assert torch.equal(slab, vars(other)[name]), name
    assert not ran


def test_marks_behind_sound_say_what_they_said_before(net: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(2).standard_normal((23, 48)).astype(np.float32)
    config = whole("tiny")
    said: list[tuple[tuple[float, ...], tuple[int, ...]]] = []
    for asks in (Core._asks, lambda job, fed: True):
        monkeypatch.setattr(Core, "_asks", staticmethod(asks))
        core = Core(running(net, random_ear(config, torch.float32), None), slots=128)
        lane = core.open()
        core.run(lane, Append((5, 6), sounds=None))
        read = core.run(lane, Append((7, *[0] * 23), sounds=Sounds(rows)))
        assert isinstance(read, Done) and read.length == 26
        if not said:
            with pytest.raises(ConfigError, match="nothing to decode from"):
                core.run(lane, Decode(1, ()))
        closed = core.run(lane, Append((8, 9), want=(3, 4, 5)))
        decoded = core.run(lane, Decode(6, ()))
        assert isinstance(closed, Done) and isinstance(decoded, Done)
        said.append((closed.logp, decoded.ids))
    assert said[0] == said[1]


def test_a_piece_that_has_rows_enough_is_heard_alone(net: Stack) -> None:
    ear = random_ear(whole("tiny"), torch.float32)
    core, lanes = Core(running(net, ear, None), slots=64), list[int]()
    step = ear.step
    core.model.own_ear.step = lambda x, state, active: lanes.append(len(x)) or step(x, state, active)  # type: ignore
    number, sound = core.open(), np.random.default_rng(3).standard_normal(16 * 1280).astype(np.float32) * 0.1
    parts = []
    for begin, ticks in ((0, 1), (1, 2), (3, 8), (11, 1)):
        piece = sound[begin * 1280 : (begin + ticks) * 1280]
        encoded = core.run(number, Encode(piece, begin == 0))
        assert isinstance(encoded, Encoded)
        parts.append(encoded.rows)
    assert lanes == [4, 1, 1, 4]
    whole_clip = ear.whole(torch.from_numpy(sound[: 12 * 1280])[None])[0].numpy()
    np.testing.assert_allclose(np.concatenate(parts), whole_clip, atol=1e-4)
