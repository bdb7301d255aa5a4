"""Mutations of a decoder: each a mistake that someone could make, which a comparison must see."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import Tensor

from liveagent.nn.rotary import Rope
from liveagent.nn.stack import Stack, StackConfig

Mutate = Callable[[StackConfig], StackConfig]


def _blocks(change: Callable[[Any], Any], shape: StackConfig) -> StackConfig:
    return dataclasses.replace(shape, blocks=tuple(change(block) for block in shape.blocks))


MUTATIONS: Mapping[str, Mutate] = {
    "rope base": lambda shape: dataclasses.replace(shape, rope=Rope(shape.rope.base * 1.1, shape.rope.share)),
    "rope share": lambda shape: dataclasses.replace(shape, rope=Rope(shape.rope.base, 0.5)),
    "near rope base": lambda shape: dataclasses.replace(shape, near_rope=Rope(shape.near_rope.base * 1.1)),
    "eps": partial(_blocks, lambda block: dataclasses.replace(block, norm_eps=block.norm_eps * 2)),
    "window + 1": partial(_blocks, lambda block: dataclasses.replace(block, window=block.window and block.window + 1)),
    "window - 1": partial(_blocks, lambda block: dataclasses.replace(block, window=block.window and block.window - 1)),
    "scale": partial(_blocks, lambda block: dataclasses.replace(block, scale=0.98)),
    "activation": partial(_blocks, lambda block: dataclasses.replace(block, activation="silu")),
    "embedding scale": lambda shape: dataclasses.replace(shape, embed_scale=shape.embed_scale * 1.01),
    "softcap": lambda shape: dataclasses.replace(shape, softcap=31.0),
    "keys of another": partial(_blocks, lambda block: block if block.keys_from is None or not block.window else
                               dataclasses.replace(block, keys_from=1)),
}  # fmt: skip
"""Of what a stack is."""


def _heads_reversed(weights: dict[str, Tensor]) -> None:
    weights["layers.2.out.weight"] = weights["layers.2.out.weight"].unflatten(1, (4, -1)).flip(1).flatten(1)


def _norm_plus_one(weights: dict[str, Tensor]) -> None:
    weights["layers.1.norm_attend.weight"] += 1


OF_WEIGHTS: Mapping[str, Callable[[dict[str, Tensor]], None]] = {
    "head order": _heads_reversed,
    "norm weights plus one": _norm_plus_one,
}
"""Of how its weights are read."""

NAMES = (*MUTATIONS, *OF_WEIGHTS)


def mutated(net: Stack, name: str) -> Stack:
    """A stack of six layers and four heads with one thing wrong."""
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    if name in OF_WEIGHTS:
        OF_WEIGHTS[name](weights)
    wrong = Stack(MUTATIONS[name](net.shape) if name in MUTATIONS else net.shape).eval()
    wrong.load_state_dict(weights)
    return wrong
