"""LLaVA (Apache-2.0 code; its weights' licences are those of what they were made of): the eye and the decoder of
`LlavaForConditionalGeneration` checkpoints, and the towers it may have, CLIP's and SigLIP's, which also stand alone.

Square pictures of one size, patches with a learned place each; CLIP's has a class token and a norm before the first
layer. A decoder reads what the tower made of the patches after the last layer but one, as a rule, through two linear
layers. Checkpoints have had several layouts, in which the same tensors stand under longer or shorter names: what is
looked for is how a name ends. The strategy "default" leaves out the first row, which is CLIP's class token; of a tower
without one transformers leaves out the first patch, and so do we, so that the rows are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.families import llama
from liveagent.nn.checkpoint import Checkpoint, Made, Source
from liveagent.nn.framing import Crop, Framing, Stretch
from liveagent.nn.mlp_projector import MlpProjector
from liveagent.nn.row_eye import RowEye
from liveagent.nn.stack import Stack
from liveagent.nn.vit import Vit
from liveagent.nn.vit_config import Activation, VitConfig
from liveagent.rescale import Filter

ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu", "quick_gelu": "quick_gelu", "gelu_pytorch_tanh": "gelu_tanh", "gelu_new": "gelu_tanh",
}  # fmt: skip
FILTERS: Mapping[int, Filter] = {2: "bilinear", 3: "bicubic"}
SIZES = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    "image_size": 224,
}  # fmt: skip
CLIP = {
    **SIZES, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    "image_mean": (0.48145466, 0.4578275, 0.40821073), "image_std": (0.26862954, 0.26130258, 0.27577711),
}  # fmt: skip
SIGLIP = {
    **SIZES, "patch_size": 16, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
    "image_mean": (0.5, 0.5, 0.5), "image_std": (0.5, 0.5, 0.5),
}  # fmt: skip
LEFT_OUT: Mapping[str, Mapping[str, Any]] = {"clip_vision_model": CLIP, "siglip_vision_model": SIGLIP}
"""What a tower's settings are where `config.json` leaves them out."""
TEXT = {
    "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "rms_norm_eps": 1e-6,
}  # fmt: skip
"""What a decoder's settings are where `config.json` leaves them out, as LLaVA 1.5's does."""
PATCHES, FIRST_LAYER = "embeddings.patch_embedding.weight", "multi_modal_projector.linear_1.weight"


def decoder(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Stack:
    """The decoder of a LLaVA checkpoint, where that is a Llama: it reads the eye's rows in the places of the ids that
    stand for a picture. ConfigError for another, and as for `eye`."""
    settings = checkpoint.config.get("text_config")
    if not isinstance(settings, Mapping) or settings.get("model_type", "llama") != "llama":
        raise ConfigError(f"{checkpoint.folder} is a LLaVA whose decoder is no Llama: not supported")
    tied = checkpoint.config.get("tie_word_embeddings", settings.get("tie_word_embeddings", False))
    config = llama.text_config({**TEXT, **settings, "tie_word_embeddings": tied}, str(checkpoint.folder))
    head = "" if config.tied else _before(checkpoint, "lm_head.weight") + "lm_head."
    with torch.device("meta"):
        net = Stack(config)
    prefix = _before(checkpoint, "embed_tokens.weight")
    checkpoint.fill(net, llama.text_sources(config, prefix, head), dtype)
    return net.eval().requires_grad_(False)


def eye(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> RowEye:
    """The eye of a LLaVA checkpoint, its rows as wide as its decoder's.

    Raises:
        ConfigError: it has none, or one of another kind, or its files do not fit together.
    """
    config = checkpoint.config
    if not isinstance(config.get("vision_config"), Mapping) or not isinstance(config.get("text_config"), Mapping):
        raise ConfigError(f"{checkpoint.folder} has no eye: its config.json speaks of no vision_config")
    try:
        settings = _settings(config["vision_config"])
        vit = vit_config(settings, _processor(checkpoint), _layers(config, settings["num_hidden_layers"]))
        strategy = config.get("vision_feature_select_strategy", "default")
        if strategy not in ("default", "full"):
            raise ValueError(f"vision_feature_select_strategy {strategy!r}")
        with torch.device("meta"):
            projector = MlpProjector(
                vit.width * len(vit.outputs),
                config["text_config"].get("hidden_size", 4096),
                _activation(config.get("projector_hidden_act", "gelu")),
                config.get("multimodal_projector_bias", True),
                vit.class_token,
                strategy == "default",
            )
            framing = framing_of(_processor(checkpoint), vit)
            net = RowEye(Vit(vit), projector, framing, framing)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{checkpoint.folder}: config.json is no LLaVA's ({type(error).__name__}: {error})") from None
    theirs = _before(checkpoint, FIRST_LAYER)
    found = {f"vit.{name}": source for name, source in names(vit, _before(checkpoint, PATCHES)).items()}
    for ours, layer in (("up", "linear_1"), ("down", "linear_2")):
        for part in ("weight", "bias"):
            found[f"projector.{ours}.{part}"] = f"{theirs}multi_modal_projector.{layer}.{part}"
    checkpoint.fill(net, found, dtype)
    return net.eval().requires_grad_(False)


def tower(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Vit:
    """CLIP's or SigLIP's tower alone: what it makes of patches, and behind them of the class token. ConfigError as for
    `eye`."""
    try:
        settings = _settings(checkpoint.config.get("vision_config") or checkpoint.config)
        with torch.device("meta"):
            net = Vit(vit_config(settings, _processor(checkpoint)))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{checkpoint.folder}: config.json is no tower's ({type(error).__name__}: {error})") from None
    checkpoint.fill(net, names(net.config, _before(checkpoint, PATCHES)), dtype)
    return net.eval().requires_grad_(False)


def vit_config(settings: Mapping[str, Any], processor: Mapping[str, Any], outputs: tuple[int, ...] = ()) -> VitConfig:
    """What `vision_config` and the processor's file say. outputs: after which layers tokens are taken, not normed."""
    clip = settings["model_type"] == "clip_vision_model"
    normalize = processor.get("do_normalize", True)
    return VitConfig(
        image_px=settings["image_size"],
        patch_px=settings["patch_size"],
        ragged=True,
        width=settings["hidden_size"],
        layers=max(outputs) if outputs else settings["num_hidden_layers"],
        heads=settings["num_attention_heads"],
        head=settings["hidden_size"] // settings["num_attention_heads"],
        feed=settings["intermediate_size"],
        stem=0,
        norm_eps=settings["layer_norm_eps"],
        activation=_activation(settings["hidden_act"]),
        stem_bias=not clip,
        class_token=clip,
        norm_first=clip,
        norm_last=not clip and not outputs,
        outputs=outputs,
        mean=tuple(processor.get("image_mean") or settings["image_mean"]) if normalize else (0.0, 0.0, 0.0),
        std=tuple(processor.get("image_std") or settings["image_std"]) if normalize else (1.0, 1.0, 1.0),
    )


def names(config: VitConfig, before: str) -> dict[str, Source]:
    """Where each of a tower's tensors stands in a checkpoint whose names of them begin with `before`."""
    table = f"{before}embeddings.position_embedding.weight"
    found: dict[str, Source] = {
        "stem.out.weight": Made((before + PATCHES,), lambda weight: weight.flatten(1)),
        "stem.out.bias": f"{before}embeddings.patch_embedding.bias",
        "extra": Made((f"{before}embeddings.class_embedding",), lambda row: row[None]),
        "positions": Made((table,), _first_last) if config.class_token else table,
    }
    pairs = {"norm_first": "pre_layrnorm", "norm": "post_layernorm"}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}.", f"encoder.layers.{i}."
        pairs |= {
            f"{ours}norm_attend": f"{theirs}layer_norm1",
            f"{ours}out": f"{theirs}self_attn.out_proj",
            f"{ours}norm_feed": f"{theirs}layer_norm2",
            f"{ours}up": f"{theirs}mlp.fc1",
            f"{ours}down": f"{theirs}mlp.fc2",
        }
        for part in ("weight", "bias"):
            found[f"{ours}qkv.{part}"] = tuple(f"{before}{theirs}self_attn.{each}_proj.{part}" for each in "qkv")
    for mine, name in pairs.items():
        for part in ("weight", "bias"):
            found[f"{mine}.{part}"] = f"{before}{name}.{part}"
    return found


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(given.get("model_type"))
    if kind not in LEFT_OUT:
        raise ValueError(f"a tower of the kind {kind!r}; there are {', '.join(LEFT_OUT)}")
    if given.get("num_channels", 3) != 3:
        raise ValueError(f"num_channels {given['num_channels']!r}")
    return {**LEFT_OUT[kind], **given}


def _layers(config: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    """After how many layers tokens are taken."""
    wanted = config.get("vision_feature_layer", -2)
    every = [wanted] if isinstance(wanted, int) else list(wanted)
    found = tuple(each if each >= 0 else layers + 1 + each for each in every)
    if not found or not all(0 <= each <= layers for each in found) or not max(found):
        raise ValueError(f"vision_feature_layer {wanted!r} of {layers} layers")
    return found


def _processor(checkpoint: Checkpoint) -> Mapping[str, Any]:
    both = checkpoint.settings("processor_config.json").get("image_processor")
    return both or checkpoint.settings("preprocessor_config.json")


def framing_of(processor: Mapping[str, Any], vit: VitConfig) -> Framing:
    """How pictures are brought to size. ValueError: in a way that is not there."""
    for name, wanted in (("do_resize", True), ("do_rescale", True), ("rescale_factor", 1 / 255)):
        if processor.get(name, wanted) != wanted:
            raise ValueError(f"the processor's {name} is {processor[name]!r}")
    resample = processor.get("resample", 3)
    if resample not in FILTERS:
        raise ValueError(f"the processor's resample is {resample!r}")
    size = processor.get("size", {"shortest_edge": vit.image_px} if vit.class_token else vit.image_px)
    if isinstance(size, int):  # as older files say it: the shorter side where a crop follows, else both
        size = {"shortest_edge": size} if vit.class_token else {"height": size, "width": size}
    crop = _side(processor.get("crop_size", vit.image_px))
    fill = tuple(int(each * 255) for each in vit.mean) if processor.get("do_pad") else ()
    if short := size.get("shortest_edge"):
        if not processor.get("do_center_crop", True) or crop != vit.image_px:
            raise ValueError("the processor does not give squares of the tower's size")
        return Crop(crop, short, FILTERS[resample], fill)
    if _side(size) != vit.image_px or fill:
        raise ValueError("the processor does not give squares of the tower's size")
    return Stretch(vit.image_px, FILTERS[resample])


def _side(size: int | Mapping[str, int]) -> int:
    if isinstance(size, int):
        return size
    if size["height"] != size["width"]:
        raise ValueError(f"pictures of {size['height']} x {size['width']} px are no squares")
    return size["height"]


def _activation(name: str) -> Activation:
    if name not in ACTIVATIONS:
        raise ValueError(f"an activation {name!r}")
    return ACTIVATIONS[name]


def _before(checkpoint: Checkpoint, ending: str) -> str:
    """What the one name that ends so begins with."""
    found = [name for name in checkpoint.names if name == ending or name.endswith("." + ending)]
    if len(found) != 1:
        raise ConfigError(
            f"{checkpoint.folder} holds {len(found)} tensors {ending!r}, not one: it is no such checkpoint"
        )
    return found[0].removesuffix(ending)


def _first_last(table: Tensor) -> Tensor:
    """The class token's place is the first there, the last here."""
    return table.roll(-1, 0)
