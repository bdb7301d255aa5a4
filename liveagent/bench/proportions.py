"""Stacks of well-known proportions with random weights, honest for speed: 0.3 B and Gemma 4 E2B; and tiny ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liveagent.families.gemma4 import text_config
from liveagent.nn.block import Block
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.stack import Stack

LOCAL, GLOBAL = "sliding_attention", "full_attention"
GEMMA: dict[str, Any] = {
    "rms_norm_eps": 1e-6,
    "hidden_activation": "gelu_pytorch_tanh",
    "rope_parameters": {
        LOCAL: {"rope_type": "default", "rope_theta": 10_000.0},
        GLOBAL: {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1_000_000.0},
    },
}  # fmt: skip

THIRD: dict[str, Any] = GEMMA | {
    "vocab_size": 32_000, "hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 24,
    "num_attention_heads": 16, "num_key_value_heads": 4, "head_dim": 64, "global_head_dim": 64, "sliding_window": 512,
    "layer_types": ([LOCAL] * 5 + [GLOBAL]) * 4, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 32_000,
}  # fmt: skip
"""0.3 billion weights, five layers of six with a local window."""

E2B: dict[str, Any] = GEMMA | {
    "vocab_size": 262_144, "hidden_size": 1536, "intermediate_size": 6144, "num_hidden_layers": 35,
    "num_attention_heads": 8, "num_key_value_heads": 1, "head_dim": 256, "global_head_dim": 512, "sliding_window": 512,
    "layer_types": ([LOCAL] * 4 + [GLOBAL]) * 7, "num_kv_shared_layers": 20, "use_double_wide_mlp": True,
    "hidden_size_per_layer_input": 256, "vocab_size_per_layer_input": 262_144, "final_logit_softcapping": 30.0,
}  # fmt: skip
"""The decoder of Gemma 4 E2B: 2.3 billion weights that are multiplied with, 5.1 with the table of each layer's own
inputs, which are looked up."""


def tiny(config: Mapping[str, Any], layers: int | None = None) -> dict[str, Any]:
    """The same pattern of layers at widths that take no time."""
    kinds = list(config["layer_types"])[-layers:] if layers else config["layer_types"]
    return {
        **config, "vocab_size": 199, "hidden_size": 48, "intermediate_size": 72, "num_attention_heads": 4,
        "num_key_value_heads": min(2, config["num_key_value_heads"]), "head_dim": 12, "global_head_dim": 20,
        "sliding_window": 40, "hidden_size_per_layer_input": config["hidden_size_per_layer_input"] and 8,
        "vocab_size_per_layer_input": 199, "layer_types": kinds, "num_hidden_layers": len(kinds),
        "num_kv_shared_layers": config.get("num_kv_shared_layers", 0) * len(kinds) // config["num_hidden_layers"],
    }  # fmt: skip


def random_stack(config: Mapping[str, Any], dtype: torch.dtype, seed: int = 0) -> Stack:
    """A decoder of a text `config.json`, its weights drawn so that nothing grows or vanishes on its way."""
    with torch.device("meta"):
        net = Stack(text_config(Checkpoint(Path(), dict(config), {}))).to(dtype)
    net.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randn(1 << 20, generator=generator).to(dtype)  # billions of weights repeat a million drawn ones
    with torch.no_grad():
        for weight in [*net.parameters(), *net.buffers()]:
            _fill(weight, pool)
        for layer in net.layers:  # attention spread as a trained one's is, or roundings choose the tokens
            if isinstance(layer, Block) and layer.norm_queries is not None:
                layer.norm_queries.weight.fill_(layer.head_width**-0.5)
    return net.eval().requires_grad_(False)


def _fill(weight: torch.Tensor, pool: torch.Tensor) -> None:
    if weight.ndim < 2:
        weight.fill_(1.0)
        return
    flat, scale = weight.view(-1), weight.shape[-1] ** -0.5
    scaled = pool * scale
    for at in range(0, flat.numel(), len(pool)):
        part = flat[at : at + len(pool)]
        part.copy_(scaled[: len(part)])


def numbers(net: nn.Module) -> int:
    return sum(each.numel() for each in net.parameters())
