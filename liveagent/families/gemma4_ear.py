"""The ear of Gemma 4 E2B and E4B (Apache-2.0): a causal Conformer that gives the decoder one row every 40 ms.

Every token is final as soon as its 640 samples are in: it sees itself and the tokens before it, so nothing is looked
ahead. transformers drops a clip's last frame unless one sample more follows; here a frame counts once it is whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.checkpoint import Checkpoint, Made, Source
from liveagent.nn.conformer import ConformerConfig
from liveagent.nn.linear import sort_weights
from liveagent.nn.mel import HOP, Mel, MelConfig
from liveagent.nn.row_ear import RATE_HZ, RowEar, RowEarConfig
from liveagent.nn.stem import StemConfig

TOWER, ROWS = "model.audio_tower.", "model.embed_audio."
EPS = 1e-6  # of norms that config.json says nothing of
BOUNDS = ("input_min", "input_max", "output_min", "output_max")


def ear(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32, device: str = "cpu") -> RowEar:
    """The network with the checkpoint's weights; its rows are as wide as the decoder's.

    Raises:
        ConfigError: the checkpoint has no ear, or asks for what is not known, or its files contradict each other.
    """
    try:
        mel, config = mel_of(checkpoint), config_of(checkpoint)
        with torch.device("meta"):
            net = RowEar(mel, config)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ConfigError(f"{checkpoint.folder}: its settings are no Gemma 4 ear's ({error})") from None
    checkpoint.fill(net, sources(checkpoint, config), dtype)
    net.eval().requires_grad_(False).to(device)
    if device == "cpu" and dtype == torch.float32:
        sort_weights(net)
    return net


def config_of(checkpoint: Checkpoint) -> RowEarConfig:
    """The network's sizes and options, as `config.json` says."""
    audio, text = (checkpoint.config.get(part) for part in ("audio_config", "text_config"))
    if not isinstance(audio, Mapping) or not isinstance(text, Mapping):
        raise ConfigError(f"config.json of {checkpoint.folder} speaks of no ear: take a Gemma 4 E2B or E4B")
    if (act := audio.get("hidden_act", "silu")) != "silu":
        raise ConfigError(f"config.json of {checkpoint.folder} asks for the activation {act!r}, which is not known")
    if ahead := audio.get("attention_context_right", 0):
        raise ConfigError(f"the ear in {checkpoint.folder} looks {ahead} tokens ahead, and cannot be streamed here")
    width, eps = audio.get("hidden_size", 1024), float(audio.get("rms_norm_eps", 1e-6))
    channels = tuple(audio.get("subsampling_conv_channels", (128, 32)))
    block = ConformerConfig(
        width=width,
        heads=audio.get("num_attention_heads", 8),
        hidden=4 * width,
        kernel=audio.get("conv_kernel_size", 5),
        left=audio.get("attention_context_left", 13) - 2,  # it counts the token itself, and one that is masked
        norm="rms",
        eps=EPS,
        mid_eps=eps,
        bias=False,
        depth_bias=False,
        post_norms=True,
        residual=audio.get("residual_weight", 0.5),
        places="relative",
        key_gain=math.log(1 + math.e) / math.log(2),
        cap=audio.get("attention_logit_cap", 50.0),
        clamp=audio.get("gradient_clipping", 1e10),
        clips=audio.get("use_clipped_linears", True),
        sortable=True,
    )
    # As many bands as the first convolution has channels: nothing else says how many.
    stem = StemConfig(channels[0], width, channels, bias=False, norm=True, eps=eps, sortable=True)
    return RowEarConfig(
        stem,
        block,
        layers=audio.get("num_hidden_layers", 12),
        out=audio.get("output_proj_dims", 1536),
        rows=text.get("hidden_size", 1536),
        eps=eps,
    )


def mel_of(checkpoint: Checkpoint) -> Mel:
    """How sound is measured, as the folder says; as all published ones do where it says nothing."""
    said = checkpoint.settings("processor_config.json").get("feature_extractor")
    said = said or checkpoint.settings("preprocessor_config.json")
    said = said.get("feature_extractor", said)
    rate_hz = said.get("sampling_rate", RATE_HZ)
    window, hop = (
        said.get(name) or round(RATE_HZ * said.get(f"{name}_ms", usual) / 1000)
        for name, usual in (("frame_length", 20.0), ("hop_length", 10.0))
    )
    strange = [name for name in ("preemphasis", "dither", "per_bin_mean", "per_bin_stddev") if said.get(name)]
    strange += ["input_scale_factor"] * (said.get("input_scale_factor", 1.0) != 1.0)
    if strange or rate_hz != RATE_HZ or hop != HOP or not 0 < window <= 2 * HOP or window % 2:
        what = strange[0] if strange else f"a window of {window} samples every {hop} at {rate_hz} Hz"
        raise ConfigError(f"{checkpoint.folder} measures sound with {what}, which is not known: take a Gemma 4 release")
    fft = 2 ** math.ceil(math.log2(window)) * (2 if said.get("fft_overdrive") else 1)
    return Mel(
        config=MelConfig(
            bands=said.get("feature_size", 128),
            window=window,
            fft=said.get("fft_length", fft),
            late_samples=HOP - window // 2,
            emphasis=0.0,
            power=1,
            low_hz=said.get("min_frequency", 0.0),
            high_hz=said.get("max_frequency", 8000.0),
            exact=True,
            floor=float(said.get("mel_floor", 1e-3)),
            mean=0.0,
            scale=1.0,
        )
    )


def sources(checkpoint: Checkpoint, config: RowEarConfig) -> dict[str, Source]:
    """Where each tensor of the network stands in the checkpoint."""
    block, stem = config.block, "subsample_conv_projection."
    found: dict[str, Source] = {
        "stem.enter.weight": Made((f"{TOWER}{stem}input_proj_linear.weight",), _channels_first(config)),
        "out.weight": f"{TOWER}output_proj.weight",
        "out.bias": f"{TOWER}output_proj.bias",
        "enter.weight": f"{ROWS}embedding_projection.weight",
    }
    for i in range(2):
        found[f"stem.halvings.{i}.conv.weight"] = f"{TOWER}{stem}layer{i}.conv.weight"
        found[f"stem.halvings.{i}.norm.weight"] = f"{TOWER}{stem}layer{i}.norm.weight"
    table = _distances(checkpoint, block)
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}.", f"{TOWER}layers.{i}."
        products = {"attention.out": "self_attn.post"}
        for part, name in (("first", "feed_forward1"), ("second", "feed_forward2")):
            products |= {f"{part}.up": f"{name}.ffw_layer_1", f"{part}.down": f"{name}.ffw_layer_2"}
            found[f"{ours}{part}.norm.weight"] = f"{theirs}{name}.pre_layer_norm.weight"
            found[f"{ours}{part}.after.weight"] = f"{theirs}{name}.post_layer_norm.weight"
        products |= {"convolution.gate": "lconv1d.linear_start", "convolution.out": "lconv1d.linear_end"}
        qkv = [f"self_attn.{each}_proj" for each in "qkv"]
        if block.clips:
            products |= {f"attention.qkv.{j}": name for j, name in enumerate(qkv)}
        else:
            found[f"{ours}attention.qkv.weight"] = tuple(f"{theirs}{name}.linear.weight" for name in qkv)
        for mine, name in products.items():
            found[f"{ours}{mine}.weight"] = f"{theirs}{name}.linear.weight"
            if block.clips:
                found[f"{ours}{mine}.bounds"] = Made(tuple(f"{theirs}{name}.{each}" for each in BOUNDS), _together)
        found |= {
            f"{ours}attention.norm.weight": f"{theirs}norm_pre_attn.weight",
            f"{ours}attention.after.weight": f"{theirs}norm_post_attn.weight",
            f"{ours}attention.gain": Made((f"{theirs}self_attn.per_dim_scale",), _gain),
            f"{ours}attention.distances": Made((f"{theirs}self_attn.relative_k_proj.weight",), table),
            f"{ours}convolution.norm.weight": f"{theirs}lconv1d.pre_layer_norm.weight",
            f"{ours}convolution.depth.weight": f"{theirs}lconv1d.depthwise_conv1d.weight",
            f"{ours}convolution.mid.weight": f"{theirs}lconv1d.conv_norm.weight",
            f"{ours}norm.weight": f"{theirs}norm_out.weight",
        }
    return found


def _together(*numbers: Tensor) -> Tensor:
    return torch.stack([each.reshape(()) for each in numbers])


def _gain(per_dim: Tensor) -> Tensor:
    """What queries are multiplied with, from what was learnt: 1 / root(size) where that is as it began."""
    learnt: Tensor = torch.nn.functional.softplus(per_dim.float())
    return learnt / (math.sqrt(len(per_dim)) * math.log(2))


def _channels_first(config: RowEarConfig) -> Callable[[Tensor], Tensor]:
    """The stem's product reads bands of channels here, channels of bands there."""
    channels = config.stem.channels[-1]

    def turned(weight: Tensor) -> Tensor:
        return weight.reshape(len(weight), -1, channels).transpose(1, 2).flatten(1)

    return turned


def _distances(checkpoint: Checkpoint, block: ConformerConfig) -> Callable[[Tensor], Tensor]:
    """The key of each distance, from the farthest to none: sines and cosines of it, through a product.

    Theirs count distances from half of what a chunk of queries sees; what lies nearer than that reaches has no key.
    """
    audio = checkpoint.config["audio_config"]
    before = audio.get("attention_context_left", 13) - 1
    half = (audio.get("attention_chunk_size", 12) + before) // 2
    pairs = block.width // 2
    rate = torch.exp(torch.arange(pairs, dtype=torch.float64) * (-math.log(10_000.0) / max(pairs - 1, 1)))
    distance = torch.arange(block.left, -1, -1, dtype=torch.float64)
    angle = (distance + half - before)[:, None] * rate
    waves = torch.cat([angle.sin(), angle.cos()], dim=1) * (distance >= before - half)[:, None]

    def through(weight: Tensor) -> Tensor:
        table: Tensor = waves @ weight.double().T
        return table.float()

    return through
