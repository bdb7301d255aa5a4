"""`Rival`: the same decoder in `transformers`, on the same tensors in memory, with its own cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from liveagent.families.gemma4 import text_sources
from liveagent.nn.decoder import Decoder
from liveagent.nn.stack import Stack


def reference() -> ModuleType:
    """`transformers`, quiet and offline. ModuleNotFoundError where it is not installed."""
    from liveagent.nn import torchaudio_cpu

    torchaudio_cpu.load()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    module: ModuleType = transformers
    return module


class Rival:
    """`model` and how it steps. `cache`: "dynamic" grows with each token, "static" is allocated whole."""

    def __init__(self, model: Any, config: Any) -> None:
        self.model, self.config = model, config
        self.cache: Any = None

    @classmethod
    def of(cls, net: Stack, config: Mapping[str, Any]) -> Rival:
        """The decoder of a text `config.json` with `net`'s weights, which both read where they are."""
        transformers = reference()
        made = transformers.Gemma4TextConfig(**config)
        sources = text_sources(net.shape, "model.")
        return cls._on(transformers.Gemma4ForCausalLM, made, net, sources)

    @classmethod
    def whole(cls, net: Stack, config: Mapping[str, Any], senses: Any) -> Rival:
        """The same of a whole `config.json`, with ear and eye of `senses`, a model that `transformers` has read."""
        transformers = reference()
        made = transformers.Gemma4Config(**config)
        sources = text_sources(net.shape, "model.language_model.")
        parts = {
            name: getattr(senses.model, name) for name in ("audio_tower", "vision_tower", "embed_audio", "embed_vision")
        }
        return cls._on(transformers.Gemma4ForConditionalGeneration, made, net, sources, parts)

    @classmethod
    def of_nano(cls, net: Decoder) -> Rival:
        """A Llama of nano's sizes: what nano does beside, the map of the row before, it need not do."""
        transformers, shape = reference(), net.config
        made = transformers.LlamaConfig(
            vocab_size=shape.vocab_size, hidden_size=shape.width, intermediate_size=shape.hidden,
            num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.key_heads,
            rms_norm_eps=shape.norm_eps, tie_word_embeddings=True, max_position_embeddings=8192,
            pad_token_id=0, bos_token_id=1, eos_token_id=2,
        )  # fmt: skip
        sources: dict[str, Any] = {"embedding.weight": "model.embed_tokens.weight", "norm.weight": "model.norm.weight"}
        for number in range(shape.layers):
            ours, theirs = f"layers.{number}.", f"model.layers.{number}."
            sources |= {
                f"{ours}qkv.weight": tuple(f"{theirs}self_attn.{each}_proj.weight" for each in "qkv"),
                f"{ours}out.weight": f"{theirs}self_attn.o_proj.weight",
                f"{ours}norm_attend.weight": f"{theirs}input_layernorm.weight",
                f"{ours}norm_feed.weight": f"{theirs}post_attention_layernorm.weight",
                f"{ours}gate_up.weight": (f"{theirs}mlp.gate_proj.weight", f"{theirs}mlp.up_proj.weight"),
                f"{ours}down.weight": f"{theirs}mlp.down_proj.weight",
            }
        return cls._on(transformers.LlamaForCausalLM, made, net, sources)

    @classmethod
    def _on(
        cls,
        kind: Any,
        config: Any,
        net: Stack,
        sources: Mapping[str, Any],
        parts: Mapping[str, nn.Module] | None = None,
    ) -> Rival:
        """`parts`: what of the model is there already."""
        with torch.device("meta"):
            model = kind(config).eval()
        for name, part in (parts or {}).items():
            setattr(model.model, name, part)
        wanted, weights, given = model.state_dict(), net.state_dict(), dict[str, Tensor]()
        for name, source in sources.items():
            names = (source,) if isinstance(source, str) else source
            given.update(zip(names, weights[name].split([wanted[each].shape[0] for each in names]), strict=True))
        given["lm_head.weight"] = weights["embedding.weight"]
        model.load_state_dict(given, assign=True, strict=not parts)
        for module in model.modules():  # buffers that no checkpoint holds
            if hasattr(module, "scalar_embed_scale"):
                module.embed_scale = torch.tensor(module.scalar_embed_scale)
        inner = getattr(model.model, "language_model", model.model)
        inner.rotary_emb = type(inner.rotary_emb)(inner.config)
        left = [name for name, each in [*model.named_parameters(), *model.named_buffers()] if each.is_meta]
        assert not left, f"nothing fills {left}"
        return cls(model.requires_grad_(False), inner.config)

    def fill(self, kind: str, tokens: int, more: int, keys: Mapping[int, tuple[int, int]], dtype: torch.dtype) -> None:
        """A cache that holds random keys of so many tokens, and has room for more. `keys`: heads and width of each
        layer that has its own."""
        transformers = reference()
        self.cache = (
            transformers.DynamicCache(config=self.config) if kind == "dynamic"
            else transformers.StaticCache(config=self.config, max_cache_len=tokens + more)
        )  # fmt: skip
        for layer, (heads, width) in keys.items():
            drawn = torch.randn(2, 1, heads, tokens, width).to(dtype)
            self.cache.update(drawn[0], drawn[1], layer)

    def step(self, token: int) -> Tensor:
        """Append one token; the logits after it."""
        ids = torch.tensor([[token]])
        logits: Tensor = self.model(input_ids=ids, cache=self.cache, use_cache=True, logits_to_keep=1).logits
        return logits[0, -1]
