"""Gemma 4 (Apache-2.0): the eye of E2B, E4B and their larger siblings, as their checkpoints lay it out.

Patches of 16 px with a learned place for their column and one for their row, 16 layers with queries and keys that are
normed and turned by both places, then one row for each three by three patches. A picture keeps its proportions and may
cost 280 rows, a picture of a video 70; other budgets (70, 140, 280, 560, 1120) stand in the processor's file. Decoder
and ear are in `gemma4.py` and `gemma4_ear.py`. transformers pads every picture to its budget and masks that; here each
has its own size, which gives the same rows. Where it resizes with torchvision, which it prefers, its bytes are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.checkpoint import Checkpoint, Made, Source
from liveagent.nn.framing import Budget
from liveagent.nn.pool_projector import PoolProjector
from liveagent.nn.row_eye import RowEye
from liveagent.nn.vit import Vit
from liveagent.nn.vit_config import Activation, VitConfig
from liveagent.rescale import Filter

TOWER, EMBED = "model.vision_tower.", "model.embed_vision.embedding_projection.weight"
MOST_ROWS = 1120
PICTURE_ROWS, VIDEO_ROWS = 280, 70
ACTIVATIONS: Mapping[str, Activation] = {"gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu"}
FILTERS: Mapping[int, Filter] = {2: "bilinear", 3: "bicubic"}
BOUNDS = ("input_min", "input_max", "output_min", "output_max")


def eye(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> RowEye:
    """The eye of a checkpoint, its rows as wide as its decoder's.

    Raises:
        ConfigError: it has none, or one of another kind, or its files do not fit together.
    """
    settings, text = checkpoint.config.get("vision_config"), checkpoint.config.get("text_config")
    if not isinstance(settings, Mapping) or not isinstance(text, Mapping):
        raise ConfigError(f"{checkpoint.folder} has no eye: its config.json speaks of no vision_config")
    try:
        config, group = vit_config(settings), _group(settings)
        with torch.device("meta"):
            projector = PoolProjector(
                config.width, text["hidden_size"], group, config.norm_eps, bool(settings.get("standardize", False))
            )
            net = RowEye(Vit(config), projector, *framings(checkpoint, config.patch_px, group))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{checkpoint.folder}: config.json is no Gemma 4's ({type(error).__name__}: {error})"
        ) from None
    checkpoint.fill(net, names(net), dtype)
    return net.eval().requires_grad_(False)


def vit_config(settings: Mapping[str, Any]) -> VitConfig:
    """What `vision_config` says. What it leaves out is as in E2B, where that is what the implementation assumes."""
    ropes = settings.get("rope_parameters") or {}
    if ropes.get("rope_type", "axial") not in ("axial", "default"):
        raise ValueError(f"places that turn by {ropes['rope_type']!r}")
    act = settings.get("hidden_activation", "gelu_pytorch_tanh")
    if act not in ACTIVATIONS:
        raise ValueError(f"hidden_activation {act!r}")
    return VitConfig(
        image_px=0,
        most=MOST_ROWS * _group(settings) ** 2,
        patch_px=settings.get("patch_size", 16),
        width=settings.get("hidden_size", 768),
        layers=settings.get("num_hidden_layers", 16),
        heads=settings.get("num_attention_heads", 12),
        kv_heads=settings.get("num_key_value_heads", 12),
        head=settings.get("head_dim", 64),
        feed=settings.get("intermediate_size", 3072),
        stem=0,
        rms=True,
        norm_eps=settings.get("rms_norm_eps", 1e-6),
        head_norms=True,
        sandwich=True,
        gated=True,
        activation=ACTIVATIONS[act],
        bias=False,
        stem_bias=False,
        clipped=bool(settings.get("use_clipped_linears", False)),
        scale=1.0,
        axes=settings.get("position_embedding_size", 10240),
        rope=float(ropes.get("rope_theta", 100.0)),
        norm_last=False,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def framings(checkpoint: Checkpoint, patch_px: int, group: int) -> tuple[Budget, Budget]:
    """How single pictures and pictures of a video are brought to size."""
    both = checkpoint.settings("processor_config.json")
    picture = both.get("image_processor") or checkpoint.settings("preprocessor_config.json")
    video = both.get("video_processor") or checkpoint.settings("video_preprocessor_config.json")
    return _framing(picture, patch_px, group, PICTURE_ROWS), _framing(video, patch_px, group, VIDEO_ROWS)


def most_rows(checkpoint: Checkpoint) -> int:
    """How many rows its largest picture has. TypeError, ValueError: its settings are none."""
    settings = checkpoint.config["vision_config"]
    both = framings(checkpoint, settings.get("patch_size", 16), _group(settings))
    return max(each.patches // each.group**2 for each in both)


def video_framing(checkpoint: Checkpoint) -> Budget:
    """How a camera's pictures are brought to size. ConfigError."""
    settings = checkpoint.config.get("vision_config") or {}
    try:
        return framings(checkpoint, settings.get("patch_size", 16), _group(settings))[1]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{checkpoint.folder}: its processor is no Gemma 4's ({error})") from None


def _framing(settings: Mapping[str, Any], patch_px: int, group: int, rows: int) -> Budget:
    if settings.get("patch_size", patch_px) != patch_px or settings.get("pooling_kernel_size", group) != group:
        raise ValueError("the processor cuts other patches than the eye was trained on")
    for name, wanted in (("do_resize", True), ("do_rescale", True), ("rescale_factor", 1 / 255)):
        if settings.get(name, wanted) != wanted:
            raise ValueError(f"the processor's {name} is {settings[name]!r}")
    if settings.get("do_normalize") and (
        any(settings.get("image_mean") or ()) or set(settings.get("image_std") or (1,)) != {1}
    ):
        raise ValueError("the processor moves light, which the eye does itself")
    filter_ = settings.get("resample", 3)
    if filter_ not in FILTERS:
        raise ValueError(f"the processor's resample is {filter_!r}")
    rows = settings.get("max_soft_tokens", rows)
    if rows > MOST_ROWS:
        raise ValueError(f"the processor's max_soft_tokens is {rows}")
    return Budget(rows * group**2, patch_px, group, FILTERS[filter_])


def names(net: RowEye) -> dict[str, Source]:
    """Where each of the network's tensors stands in a checkpoint."""
    config, stem = net.vit.config, TOWER + "patch_embedder."
    found: dict[str, Source] = {
        "vit.stem.out.weight": Made((stem + "input_proj.weight",), _colours_first),
        "vit.positions": stem + "position_embedding_table",
        "projector.less": TOWER + "std_bias",
        "projector.by": TOWER + "std_scale",
        "projector.out.weight": EMBED,
    }
    for i in range(config.layers):
        ours, theirs = f"vit.blocks.{i}.", f"{TOWER}encoder.layers.{i}."
        found |= {
            f"{ours}norm_attend.weight": f"{theirs}input_layernorm.weight",
            f"{ours}norm_queries.weight": f"{theirs}self_attn.q_norm.weight",
            f"{ours}norm_keys.weight": f"{theirs}self_attn.k_norm.weight",
            f"{ours}norm_attended.weight": f"{theirs}post_attention_layernorm.weight",
            f"{ours}norm_feed.weight": f"{theirs}pre_feedforward_layernorm.weight",
            f"{ours}norm_fed.weight": f"{theirs}post_feedforward_layernorm.weight",
        }
        qkv = [f"{theirs}self_attn.{each}_proj." for each in "qkv"]
        gates = [f"{theirs}mlp.gate_proj.", f"{theirs}mlp.up_proj."]
        products = {"out": f"{theirs}self_attn.o_proj.", "down": f"{theirs}mlp.down_proj."}
        if config.clipped:
            products |= {f"qkv.parts.{j}": name for j, name in enumerate(qkv)}
            products |= {f"up.parts.{j}": name for j, name in enumerate(gates)}
        else:
            found[f"{ours}qkv.weight"] = tuple(f"{name}linear.weight" for name in qkv)
            found[f"{ours}up.weight"] = tuple(f"{name}linear.weight" for name in gates)
        for mine, name in products.items():
            found[f"{ours}{mine}.weight"] = f"{name}linear.weight"
            if config.clipped:
                found[f"{ours}{mine}.bounds"] = Made(tuple(name + each for each in BOUNDS), _together)
    return found


def _group(settings: Mapping[str, Any]) -> int:
    group = settings.get("pooling_kernel_size", 3)
    if not isinstance(group, int) or group < 1:
        raise ValueError(f"pooling_kernel_size {group!r}")
    return group


def _colours_first(weight: Tensor) -> Tensor:
    """A patch's pixels stand as line, column, colour there, and as colour, line, column here."""
    side = round((weight.shape[1] / 3) ** 0.5)
    return weight.view(-1, side, side, 3).permute(0, 3, 1, 2).flatten(1)


def _together(*numbers: Tensor) -> Tensor:
    return torch.stack([each.reshape(()) for each in numbers])
