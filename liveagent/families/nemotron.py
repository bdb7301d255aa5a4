"""NVIDIA's streaming FastConformer (`NemotronAsrStreamingForRNNT`): an ear that writes English as it is spoken.

A block is `lookahead + 1` tokens of 80 ms that see each other: the checkpoint was trained with several lookaheads, and
one that looks farther ahead hears better and answers later. Every block is heard once; nothing is written twice.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.checkpoint import Checkpoint, Made, Source
from liveagent.nn.conformer import ConformerConfig
from liveagent.nn.linear import sort_weights
from liveagent.nn.mel import HOP, Mel, MelConfig
from liveagent.nn.row_ear import RATE_HZ, RowEar, RowEarConfig
from liveagent.nn.speller import Speller
from liveagent.nn.stem import KERNEL, STRIDE, StemConfig
from liveagent.nn.transducer import Transducer, TransducerConfig
from liveagent.nn.wordstream import WordStream

ARCHITECTURE = "NemotronAsrStreamingForRNNT"
LANGUAGES = ("en",)
LOOKAHEADS = (13, 6, 1, 0)  # tokens; where the folder does not say
LOOKAHEAD = 1  # blocks of 160 ms: words come while they are said


def ear(
    checkpoint: Checkpoint, lookahead: int = LOOKAHEAD, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> Transducer:
    """The network with the checkpoint's weights, in blocks of `lookahead + 1` tokens.

    Raises:
        ConfigError: it is another kind of checkpoint, was not trained with this lookahead, or its files contradict
            each other.
    """
    if checkpoint.architecture != ARCHITECTURE:
        what = checkpoint.architecture or "nothing that is known"
        raise ConfigError(f"{checkpoint.folder} is no {ARCHITECTURE} but {what}: give another checkpoint as ear")
    known = lookaheads(checkpoint)
    if lookahead not in known:
        raise ConfigError(
            f"this ear was not trained to look {lookahead} tokens ahead: choose {', '.join(map(str, known))}"
        )
    try:
        mel, hearing = mel_of(checkpoint), hearing_config(checkpoint, lookahead)
        with torch.device("meta"):
            net = Transducer(RowEar(mel, hearing), transducer_config(checkpoint))
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ConfigError(f"{checkpoint.folder}: its settings are no {ARCHITECTURE}'s ({error})") from None
    checkpoint.fill(net, sources(hearing, net.config), dtype)
    net.eval().requires_grad_(False).to(device)
    if device == "cpu" and dtype == torch.float32:
        sort_weights(net)
    return net


def words(checkpoint: Checkpoint, net: Transducer) -> WordStream:
    """One stream of sound to words with times. ConfigError: the tokenizer's file is missing or damaged."""
    return WordStream(net, spellers(checkpoint, net))


def spellers(checkpoint: Checkpoint, net: Transducer) -> Callable[[], Speller]:
    """What makes, for each stream, that which makes words of its pieces. ConfigError: the tokenizer's file is missing
    or damaged."""
    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"{path} is missing: fetch the whole checkpoint, tokenizer.json among it")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ConfigError(f"{path} is damaged ({error}): fetch it again") from None
    count, blank = net.config.vocab_size, net.config.blank
    # Behind the pieces stand marks that this ear never writes: the converter puts them where there is room.
    pieces = tokenizer.get_vocab_size(with_added_tokens=False)
    if pieces > count or any(tokenizer.id_to_token(each) is None for each in range(count) if each != blank):
        raise ConfigError(f"{path} has {pieces} pieces, the ear writes {count - 1}: take both from the same release")
    marks = {blank, checkpoint.config.get("pad_token_id", 0)}
    return lambda: Speller(tokenizer, net.token_ms, frozenset(marks))


def lookaheads(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Those it was trained with, in tokens. ConfigError: its processor's file says nothing sensible of them."""
    said = checkpoint.settings("processor_config.json").get("supported_num_lookahead_tokens") or LOOKAHEADS
    if not isinstance(said, list | tuple) or not all(type(each) is int and each >= 0 for each in said):
        raise ConfigError(f"processor_config.json of {checkpoint.folder} looks {said!r} tokens ahead: fetch it again")
    return tuple(said)


def hearing_config(checkpoint: Checkpoint, lookahead: int) -> RowEarConfig:
    """The hearing part's sizes and options, as `config.json` says."""
    said = _encoder(checkpoint)
    width, bands, factor = (
        said.get("hidden_size", 1024),
        said.get("num_mel_bins", 80),
        said.get("subsampling_factor", 8),
    )
    halvings = round(math.log2(factor))
    shape = (said.get("subsampling_conv_kernel_size", 3), said.get("subsampling_conv_stride", 2))
    act = said.get("hidden_act", "silu")
    if act != "silu" or shape != (KERNEL, STRIDE) or STRIDE**halvings != factor:
        raise ConfigError(
            f"config.json of {checkpoint.folder} asks for the activation {act!r} and convolutions of {shape} to a "
            f"{factor}th, which are not all known: take a published release"
        )
    chunk, convolution_bias = lookahead + 1, said.get("convolution_bias", True)
    stem = StemConfig(
        bands,
        width,
        (said.get("subsampling_conv_channels", 256),) * halvings,
        behind=True,
        separable=True,
        sortable=True,
        scale=math.sqrt(width) if said.get("scale_input", True) else 1.0,
    )
    block = ConformerConfig(
        width=width,
        heads=said.get("num_attention_heads", 8),
        hidden=said.get("intermediate_size", 4096),
        kernel=said.get("conv_kernel_size", 9),
        chunk=chunk,
        left=(said.get("sliding_window", 71) - 1) // chunk * chunk,  # whole chunks
        bias=said.get("attention_bias", True),
        depth_bias=convolution_bias,
        places="relative biased",
        sortable=True,
    )
    out = checkpoint.config.get("decoder_hidden_size", 640)
    return RowEarConfig(stem, block, said.get("num_hidden_layers", 24), out)


def transducer_config(checkpoint: Checkpoint) -> TransducerConfig:
    """The writing part's sizes and rules."""
    said = checkpoint.config
    if (act := said.get("hidden_act", "relu")) != "relu":
        raise ConfigError(f"config.json of {checkpoint.folder} asks for the activation {act!r}, which is not known")
    return TransducerConfig(
        said.get("vocab_size", 1025),
        said.get("decoder_hidden_size", 640),
        said.get("num_decoder_layers", 2),
        said.get("blank_token_id", 1024),
        said.get("max_symbols_per_step", 10),
    )


def mel_of(checkpoint: Checkpoint) -> Mel:
    """How sound is measured: log-mel without any statistics of the clip, a frame centred every 10 ms."""
    said = checkpoint.settings("processor_config.json").get("feature_extractor")
    said = said or checkpoint.settings("preprocessor_config.json")
    encoder = _encoder(checkpoint)
    bands = said.get("feature_size", encoder.get("num_mel_bins", 80))
    window, fft = said.get("win_length", 400), said.get("n_fft", 512)
    strange = {
        "sampling_rate": said.get("sampling_rate", RATE_HZ) != RATE_HZ,
        "hop_length": said.get("hop_length", HOP) != HOP,
        "win_length": window % 2 or not 0 < window <= fft,
        "mel_filters_dtype": said.get("mel_filters_dtype", "float32") != "float32",
        "feature_size": bands != encoder.get("num_mel_bins", 80),
    }
    if named := [name for name, bad in strange.items() if bad]:
        raise ConfigError(
            f"{checkpoint.folder} measures sound with {named[0]} {said.get(named[0])!r}, which is not known or "
            "contradicts its config.json: take a published release"
        )
    frames = encoder.get("subsampling_factor", 8)
    return Mel(
        config=MelConfig(
            bands=bands,
            window=window,
            fft=fft,
            late_samples=HOP * frames - window // 2,  # a token's last frame is the last of its block of frames
            emphasis=said.get("preemphasis", 0.97) or 0.0,
            periodic=False,
            low_hz=0.0,
            high_hz=8000.0,
            mel="slaney",
            even_area=True,
            exact=True,
            floor=2.0**-24,
            mean=0.0,
            scale=1.0,
        )
    )


def sources(hearing: RowEarConfig, writing: TransducerConfig) -> dict[str, Source]:
    """Where each tensor of the network stands in the checkpoint."""
    block, both = hearing.block, ("weight", "bias")
    found: dict[str, Source] = {"embed.weight": "decoder.embedding.weight"}
    for end in both:
        found[f"ear.stem.halvings.0.conv.{end}"] = f"encoder.subsampling.conv_in.{end}"
        for i in range(1, len(hearing.stem.channels)):
            ours, theirs = f"ear.stem.halvings.{i}.", f"encoder.subsampling.layers.{i - 1}."
            found[f"{ours}conv.{end}"] = f"{theirs}depthwise_conv.{end}"
            found[f"{ours}point.{end}"] = f"{theirs}pointwise_conv.{end}"
        found[f"ear.stem.enter.{end}"] = f"encoder.subsampling.linear.{end}"
        found[f"ear.out.{end}"] = f"encoder_projector.{end}"
        found[f"project.{end}"] = f"decoder.decoder_projector.{end}"
        found[f"head.{end}"] = f"joint.head.{end}"
    for layer in range(writing.layers):
        weights, biases = ([f"decoder.lstm.{end}_{way}_l{layer}" for way in ("ih", "hh")] for end in both)
        found[f"layers.{layer}.gates.weight"] = Made(tuple(weights), _beside)
        found[f"layers.{layer}.gates.bias"] = Made(tuple(biases), torch.add)
    table = _distances(block)
    for i in range(hearing.layers):
        ours, theirs = f"ear.blocks.{i}.", f"encoder.layers.{i}."
        products = {"attention.out": "self_attn.o_proj"}
        norms = {"attention.norm": "norm_self_att", "convolution.norm": "norm_conv", "norm": "norm_out"}
        norms["convolution.mid"] = "conv.norm"
        for part, name in (("first", "feed_forward1"), ("second", "feed_forward2")):
            products |= {f"{part}.up": f"{name}.linear1", f"{part}.down": f"{name}.linear2"}
            norms[f"{part}.norm"] = f"norm_{name}"
        for end in both:
            found |= {f"{ours}{mine}.{end}": f"{theirs}{name}.{end}" for mine, name in (products | norms).items()}
            found[f"{ours}attention.qkv.{end}"] = tuple(f"{theirs}self_attn.{each}_proj.{end}" for each in "qkv")
            found[f"{ours}convolution.depth.{end}"] = f"{theirs}conv.depthwise_conv.{end}"
        for mine, name in (("gate", "pointwise_conv1"), ("out", "pointwise_conv2")):
            found[f"{ours}convolution.{mine}.weight"] = Made((f"{theirs}conv.{name}.weight",), _product)
            found[f"{ours}convolution.{mine}.bias"] = f"{theirs}conv.{name}.bias"
        for mine, name in (("token_bias", "bias_u"), ("distance_bias", "bias_v")):
            found[f"{ours}attention.{mine}"] = Made((f"{theirs}self_attn.{name}",), torch.flatten)
        found[f"{ours}attention.distances"] = Made((f"{theirs}self_attn.relative_k_proj.weight",), table)
    return found


def _encoder(checkpoint: Checkpoint) -> Mapping[str, Any]:
    said = checkpoint.config.get("encoder_config")
    if not isinstance(said, Mapping):
        raise ConfigError(f"config.json of {checkpoint.folder} says nothing of an encoder: fetch it again")
    return said


def _beside(of_input: Tensor, of_memory: Tensor) -> Tensor:
    """Two products that are added are one of both."""
    return torch.cat([of_input, of_memory], dim=1)


def _product(weight: Tensor) -> Tensor:
    """A convolution over one token is a product."""
    return weight.squeeze(-1)


def _distances(block: ConformerConfig) -> Callable[[Tensor], Tensor]:
    """The key of each distance, from the farthest before to the last of the chunk: sine and cosine of it in turns,
    through a product."""
    rate = 10_000.0 ** (-torch.arange(0, block.width, 2, dtype=torch.float64) / block.width)
    distance = torch.arange(block.left + block.chunk - 1, -block.chunk, -1, dtype=torch.float64)
    angle = distance[:, None] * rate
    waves = torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)

    def through(weight: Tensor) -> Tensor:
        table: Tensor = waves @ weight.double().T
        return table.float()

    return through
