"""The streaming networks and how each is fed: `LAWS`, what `test_laws.py` runs over.

A new streaming network adds one `Law` here. `make` gives the network (small, seeded), `feed` seeded input [B, blocks *
block, ...] along dimension 1, and `whole` the output for whole clips, in the form that `step` gives for one block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from liveagent.nn.decoder import Decoder, DecoderConfig, DecoderState
from liveagent.nn.ear import Ear, EarConfig
from liveagent.nn.mel import Mel
from liveagent.nn.vad import Vad


@dataclass(frozen=True)
class Law:
    """One streaming network under the laws.

    `exact`: the whole is bit-equal to the stream; otherwise within 1e-5. `chunks`: how many blocks one step may take.
    """

    name: str
    make: Callable[[], Any]
    feed: Callable[[int, int], Tensor]  # (lanes, blocks) -> input
    block: int  # length of a block along dimension 1
    whole: Callable[[Any, Tensor], Any]
    chunks: tuple[int, ...] = (1,)
    exact: bool = False


def outputs(value: Any) -> list[Tensor]:
    """The tensors of an output, each [B, T, ...]."""
    if isinstance(value, Tensor):
        return [value]
    assert isinstance(value, Iterable)
    return [t for part in value for t in outputs(part)]


def sound(lanes: int, blocks: int, block: int) -> Tensor:
    """Seeded sound: noise that swells, with a tone."""
    torch.manual_seed(lanes * 1000 + blocks)
    t = torch.arange(blocks * block) / 16_000
    tone = torch.sin(6.28 * (200 + 300 * torch.rand(lanes, 1)) * t)
    return 0.3 * torch.rand(lanes, 1) * tone + 0.1 * torch.randn(lanes, blocks * block) * (1 + torch.sin(5 * t))


def small_ear() -> Ear:
    """An ear of the shipped shape, narrow, with random weights."""
    torch.manual_seed(3)
    return Ear(EarConfig(pieces=31, width=32, layers=3, heads=2, stem=4, left=12, kernel=5)).eval()


def random_vad() -> Vad:
    """The voice detector's shape with random weights: the laws need no package of weights."""
    torch.manual_seed(5)
    return Vad().eval().requires_grad_(False)


class TokenByToken:
    """The decoder in the suite's form: input rows in, logits of every token out, a whole block or nothing per lane."""

    def __init__(self) -> None:
        torch.manual_seed(4)
        self.net = Decoder(DecoderConfig(50, width=32, layers=2, heads=2, hidden=48)).eval()

    def init_state(self, lanes: int) -> DecoderState:
        return self.net.init_state(lanes, 128)

    def step(self, x: Tensor, state: DecoderState, active: Tensor) -> Tensor:
        return self.net.logits(self.net.read(x, active.long() * x.shape[1], state))

    def __call__(self, x: Tensor) -> Tensor:
        return self.net(rows=x)

    def reset(self, state: DecoderState, lane: int) -> None:
        self.net.reset(state, lane)

    def copy_lane(self, src_state: DecoderState, src: int, dst_state: DecoderState, dst: int) -> None:
        self.net.copy_lane(src_state, src, dst_state, dst)


def token_rows(lanes: int, tokens: int) -> Tensor:
    """Seeded input rows of the decoder."""
    torch.manual_seed(lanes * 1000 + tokens)
    return torch.randn(lanes, tokens, 32)


LAWS: list[Law] = [
    Law("mel", Mel, lambda b, n: sound(b, n, 160), 160, lambda net, x: net(x), (1, 2, 3, 7, 16), exact=True),
    Law("ear", small_ear, lambda b, n: sound(b, n, 2560), 2560, lambda net, x: net(x)),
    Law("vad", random_vad, lambda b, n: sound(b, n, 512), 512, lambda net, x: net(x), (1, 2, 3, 5)),
    Law("decoder", TokenByToken, token_rows, 1, lambda net, x: net(x), (1, 2, 8)),
]
