"""Networks of well-known proportions with random weights, honest for speed: 0.3 B and Gemma 4 E2B; and tiny ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from liveagent.errors import ConfigError
from liveagent.families import gemma4_ear, gemma4_eye
from liveagent.families.gemma4 import text_config
from liveagent.nn.block import Block
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.ear import Ear
from liveagent.nn.framing import Budget
from liveagent.nn.model import checked
from liveagent.nn.nets import Nets
from liveagent.nn.pieces import Pieces
from liveagent.nn.pool_projector import PoolProjector
from liveagent.nn.row_ear import RowEar
from liveagent.nn.row_eye import RowEye
from liveagent.nn.stack import Stack
from liveagent.nn.vad import Vad
from liveagent.nn.vit import Vit

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


AUDIO: Mapping[str, dict[str, Any]] = {
    "e2b": {},
    "0.3b": {"hidden_size": 512, "num_hidden_layers": 8, "output_proj_dims": 1024},
    "tiny": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "subsampling_conv_channels": [128, 8],
        "output_proj_dims": 20,
    },
}  # fmt: skip
VISION: Mapping[str, dict[str, Any]] = {
    "e2b": {},
    "0.3b": {
        "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6,
        "num_key_value_heads": 6,
    },
    "tiny": {
        "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 12, "position_embedding_size": 32,
    },
}  # fmt: skip
"""What an ear's and an eye's config says where it is not that of Gemma 4 E2B, for each of `SIZES`."""
SIZES = tuple(AUDIO)
MARKS = ("boi_token_id", "image_token_id", "eoi_token_id", "boa_token_id", "audio_token_id", "eoa_token_index")


def whole(size: str) -> dict[str, Any]:
    """`config.json` of a checkpoint that hears and sees; its marks are the last ids. ConfigError: no such size."""
    if size not in SIZES:
        raise ConfigError(f"no size is called {size!r}; there is {', '.join(SIZES)}")
    text = {"e2b": E2B, "0.3b": THIRD, "tiny": tiny(E2B, 10)}[size]
    marks = {name: text["vocab_size"] - 1 - at for at, name in enumerate((*MARKS, "video_token_id"))}
    return {"text_config": text, "audio_config": AUDIO[size], "vision_config": VISION[size], **marks}


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


def random_ear(config: Mapping[str, Any], dtype: torch.dtype, seed: int = 0) -> RowEar:
    """The ear of a whole `config.json`, as networks are before they learn."""
    torch.manual_seed(seed)
    checkpoint = Checkpoint(Path(), dict(config), {})
    net = RowEar(gemma4_ear.mel_of(checkpoint), gemma4_ear.config_of(checkpoint))
    for name, part in net.named_children():
        if name != "mel":  # which has nothing that was learnt
            part.to(dtype)
    return net.eval().requires_grad_(False)


def random_eye(config: Mapping[str, Any], dtype: torch.dtype, seed: int = 0) -> RowEye:
    """The eye of a whole `config.json`, likewise; its attention soft, as trained eyes' is elsewhere."""
    torch.manual_seed(seed)
    shape, budget = gemma4_eye.vit_config(config["vision_config"]), Budget(gemma4_eye.VIDEO_ROWS * 9, 16, 3)
    vit = Vit(shape)
    vit.positions.data.normal_(std=0.3)
    soften(vit, ("norm_queries.weight", "norm_keys.weight"), shape.head_width)
    projector = PoolProjector(shape.width, config["text_config"]["hidden_size"], 3, shape.norm_eps)
    return RowEye(vit, projector, budget, budget).to(dtype).eval().requires_grad_(False)


def running(decoder: Stack, ear: RowEar | None, eye: RowEye | None, device: str = "cpu") -> Nets:
    """These networks as the engine runs them, beside nano's own that every session hears with. DeviceError."""
    nano = checked(None)
    nets = Nets(Pieces.load(nano / "pieces.json"))
    nets.hold(Ear.load(nano / "ear.safetensors"), decoder, Vad.load(), own_ear=ear, own_eye=eye)
    return nets.to(device)


def soften(eye: nn.Module, norms: tuple[str, ...], head_width: int) -> None:
    """With gains of one a random eye's attention is nearly one-hot, and each patch decides what all others see."""
    for name, weight in eye.named_parameters():
        if name.endswith(norms):
            weight.data.fill_(head_width**-0.25)


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
