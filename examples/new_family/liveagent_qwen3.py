"""Qwen3 (Apache-2.0), a family that does not come with liveagent: this file, and an entry point that names `FAMILY`.

Its decoder is Llama's, with norms of queries and keys; it calls tools with JSON between two marks of its own, and what
they give comes back as a turn of the user's.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from liveagent.errors import ConfigError
from liveagent.families import Family, Member, llama
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.json_calls import JsonCalls
from liveagent.nn.stack import Stack

FAMILY = Family(
    "qwen3", "Qwen3", ("Qwen3ForCausalLM",), __name__, "nothing", "nothing", "words", "Apache-2.0",
    (Member("Qwen/Qwen3-0.6B", 0.6e9, 1.5e9), Member("Qwen/Qwen3-1.7B", 1.7e9, 4.1e9)), "decoder", live="talks",
)  # fmt: skip


def decoder(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Stack:
    """The decoder of a checkpoint, ready to run. ConfigError: weights and `config.json` do not fit."""
    if checkpoint.config.get("use_sliding_window"):
        raise ConfigError(f"{checkpoint.folder} is a Qwen3 whose layers see a window: not supported")
    shape = llama.text_config(checkpoint.config, str(checkpoint.folder))
    shape = replace(shape, blocks=tuple(replace(block, qk_norm=True) for block in shape.blocks))
    sources = llama.text_sources(shape, "model.")
    for number in range(len(shape.blocks)):
        ours, theirs = f"layers.{number}.", f"model.layers.{number}.self_attn."
        sources |= {
            f"{ours}norm_queries.weight": f"{theirs}q_norm.weight",
            f"{ours}norm_keys.weight": f"{theirs}k_norm.weight",
        }
    with torch.device("meta"):
        net = Stack(shape)
    checkpoint.fill(net, sources, dtype)
    return net.eval().requires_grad_(False)


class Calls(JsonCalls):
    """`{"name": "light", "arguments": {"room": "kitchen"}}` in a line of its own; a result is a turn of the user's."""

    def __init__(self) -> None:
        before = "<|im_end|>\n<|im_start|>user\n<tool_response>\n"
        behind = "\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"  # it does not think
        super().__init__("<tool_call>", "</tool_call>", before, behind)
