"""Llama (and Vicuna, which LLaVA 1.5 builds on): the decoder, as `LlamaForCausalLM` checkpoints lay it out.

Sources: Touvron et al., "LLaMA" (2023); the checkpoints' `config.json`; compared with `transformers` in
`tests/test_llama.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from liveagent.errors import ConfigError
from liveagent.nn.block import BlockConfig
from liveagent.nn.checkpoint import Checkpoint, Source
from liveagent.nn.rotary import Rope
from liveagent.nn.stack import Stack, StackConfig


def text_config(config: Mapping[str, Any], where: str) -> StackConfig:
    """What a decoder is that calls itself `llama`. ConfigError for what is none, or has what we lack."""
    try:
        heads, width = config["num_attention_heads"], config["hidden_size"]
        if config.get("hidden_act", "silu") != "silu" or config.get("mlp_bias"):
            raise ConfigError(f"{where} is a Llama with another feed-forward part: not supported")
        block = BlockConfig(
            width=width,
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_width=config.get("head_dim") or width // heads,
            hidden=config["intermediate_size"],
            norm_eps=config["rms_norm_eps"],
            qkv_bias=bool(config.get("attention_bias")),
            out_bias=bool(config.get("attention_bias")),
        )
        return StackConfig(
            vocab_size=config["vocab_size"],
            width=width,
            blocks=(block,) * config["num_hidden_layers"],
            norm_eps=config["rms_norm_eps"],
            rope=_rope(config, where),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ConfigError(f"{where}: config.json is no Llama's ({type(error).__name__}: {error})") from None


def _rope(config: Mapping[str, Any], where: str) -> Rope:
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind not in ("default", "linear"):
        raise ConfigError(f"{where} stretches places by {kind!r}: not supported")
    base = parameters.get("rope_theta", config.get("rope_theta", 10_000.0))
    return Rope(float(base), factor=float(parameters.get("factor", 1.0)) if kind == "linear" else 1.0)


def text_sources(config: StackConfig, prefix: str, head: str = "lm_head.") -> dict[str, Source]:
    """Where the decoder's tensors stand in a checkpoint: behind `prefix`, and the output's behind `head`."""
    sources: dict[str, Source] = {
        "embedding.weight": f"{prefix}embed_tokens.weight",
        "norm.weight": f"{prefix}norm.weight",
    }
    if not config.tied:
        sources["head.weight"] = f"{head}weight"
    for number, block in enumerate(config.blocks):
        ours, theirs = f"layers.{number}.", f"{prefix}layers.{number}."
        for kind in ("weight", "bias") if block.qkv_bias else ("weight",):
            sources[f"{ours}qkv.{kind}"] = tuple(f"{theirs}self_attn.{each}_proj.{kind}" for each in "qkv")
            sources[f"{ours}out.{kind}"] = f"{theirs}self_attn.o_proj.{kind}"
        sources |= {
            f"{ours}norm_attend.weight": f"{theirs}input_layernorm.weight",
            f"{ours}norm_feed.weight": f"{theirs}post_attention_layernorm.weight",
            f"{ours}gate_up.weight": (f"{theirs}mlp.gate_proj.weight", f"{theirs}mlp.up_proj.weight"),
            f"{ours}down.weight": f"{theirs}mlp.down_proj.weight",
        }
    return sources


def decoder(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Stack:
    """The decoder of a checkpoint, ready to run. ConfigError: weights and `config.json` do not fit."""
    config = text_config(checkpoint.config, str(checkpoint.folder))
    with torch.device("meta"):
        net = Stack(config)
    checkpoint.fill(net, text_sources(config, "model."), dtype)
    return net.eval().requires_grad_(False)
