"""Random models of each family, a few thousand numbers large, made and written to a folder by `transformers` itself.

As it is initialised, or with gains that leave nothing near zero or one.
"""

from __future__ import annotations

import importlib
import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liveagent.bench.beside import gains, saved, tower_gains
from liveagent.bench.rival import reference
from liveagent.nn.checkpoint import Checkpoint

Written = tuple[Any, Checkpoint]
"""Their model, and its folder opened."""
TIME = 80
TEXT: dict[str, Any] = {
    "vocab_size": 199, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "global_head_dim": 20, "sliding_window": 9, "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2, "vocab_size_per_layer_input": 199,
    "hidden_size_per_layer_input": 8, "use_double_wide_mlp": True, "final_logit_softcapping": 30.0,
    "rms_norm_eps": 1e-3,
}  # fmt: skip
"""Gemma 4 for text: six layers of two kinds, the last two of which share keys."""
SMALL_TEXT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 12, "global_head_dim": 12, "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 4, "num_kv_shared_layers": 0, "layer_types": ["full_attention"],
}  # fmt: skip
"""Behind a Gemma's ear or eye."""


def tiny_gemma(seed: int, gain: bool = True, **options: Any) -> Any:
    """A random Gemma 4 for text."""
    transformers = reference()
    torch.manual_seed(seed)
    model = transformers.Gemma4ForCausalLM(transformers.Gemma4TextConfig(**TEXT | options)).eval()
    if gain:
        gains(model, seed)
    return model


def tiny_llama(seed: int, gain: bool = True, **options: Any) -> Any:
    transformers = reference()
    torch.manual_seed(seed)
    sizes = {"vocab_size": 199, "hidden_size": 32, "intermediate_size": 56, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-3}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads, **options)).eval()
    if gain:
        gains(model, seed)
    return model


def ids_of(seed: int, time: int = TIME) -> Tensor:
    return torch.randint(3, 199, (1, time), generator=torch.Generator().manual_seed(seed))


def pieces_of(seed: int, time: int = TIME) -> list[int]:
    """A random cutting of so many tokens."""
    rng, sizes = random.Random(seed), list[int]()
    while sum(sizes) < time:
        sizes.append(min(rng.choice((1, 1, 3, 8, 13, 32)), time - sum(sizes)))
    return sizes


# --- with ears


def _marks(size: int) -> dict[str, int]:
    """Ids of Gemma's marks: the last eight of a vocabulary."""
    names = "boi_token_id image_token_id eoi_token_id video_token_id boa_token_id audio_token_id".split()
    names.append("eoa_token_index")
    return {name: size - 8 + at for at, name in enumerate(names)}


def heard_gemma(folder: Path, gain: bool) -> Written:
    """With an ear. As much of it for text as is heard by."""
    transformers = reference()
    audio = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "output_proj_dims": 20,
             "subsampling_conv_channels": [128, 8]}  # fmt: skip
    if gain:
        audio |= {"gradient_clipping": 3.0, "rms_norm_eps": 1e-3, "residual_weight": 0.7}
    torch.manual_seed(1)
    config = transformers.Gemma4Config(
        text_config=SMALL_TEXT, audio_config=audio, vision_config=None, **_marks(SMALL_TEXT["vocab_size"])
    )
    model = transformers.Gemma4ForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        tower_gains(model.model.audio_tower, 1)
        tower_gains(model.model.embed_audio, 2)
    transformers.Gemma4AudioFeatureExtractor().save_pretrained(saved(model, folder))
    return model, Checkpoint.open(folder)


NEMOTRON_BANDS, NEMOTRON_BLANK = 40, 40


def nemotron(folder: Path, gain: bool) -> Written:
    there = importlib.import_module("transformers.models.nemotron_asr_streaming")
    encoder = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
               "subsampling_conv_channels": 8, "num_mel_bins": NEMOTRON_BANDS, "sliding_window": 15}  # fmt: skip
    torch.manual_seed(1)
    config = there.NemotronAsrStreamingConfig(
        encoder_config=encoder, vocab_size=41, decoder_hidden_size=24, num_decoder_layers=2,
        blank_token_id=NEMOTRON_BLANK, pad_token_id=0, max_symbols_per_step=3,
    )  # fmt: skip
    model = there.NemotronAsrStreamingForRNNT(config).eval().requires_grad_(False)
    model.generation_config.decoder_start_token_id = NEMOTRON_BLANK
    if gain:
        tower_gains(model, 1)
    nemotron_features().save_pretrained(saved(model, folder))
    return model, Checkpoint.open(folder)


def nemotron_features() -> Any:
    there = importlib.import_module("transformers.models.nemotron_asr_streaming")
    return there.NemotronAsrStreamingFeatureExtractor(feature_size=NEMOTRON_BANDS)


def talkative(model: Any, rows: Tensor) -> None:
    """Let what it writes of these rows of its ear, `[T, D]`, change from one to the next, and be nothing for half."""
    model.encoder_projector.weight.mul_(1.5 / rows.std(0).mean())
    model.encoder_projector.bias.sub_(1.5 * rows.mean(0) / rows.std(0).mean())
    scores = model.joint.head(torch.relu(1.5 * (rows - rows.mean(0)) / rows.std(0).mean()))
    lead = scores[:, :NEMOTRON_BLANK].amax(1) - scores[:, NEMOTRON_BLANK]
    model.joint.head.bias[NEMOTRON_BLANK] += lead.median()


def whisper(folder: Path, gain: bool) -> Written:
    transformers = reference()
    torch.manual_seed(7)
    config = transformers.WhisperConfig(
        vocab_size=199, num_mel_bins=80, d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=48, decoder_ffn_dim=48, max_source_positions=100,
        max_target_positions=120, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=3,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        gains(model, 3)
    transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=2).save_pretrained(saved(model, folder))
    return model, Checkpoint.open(folder)


# --- with eyes

GEMMA_PX, GEMMA_GROUP = 4, 2


def seen_gemma(folder: Path, gain: bool) -> Written:
    """With an eye. As much of it for text as is seen by."""
    transformers = reference()
    vision = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "intermediate_size": 40, "patch_size": GEMMA_PX, "pooling_kernel_size": GEMMA_GROUP,
        "position_embedding_size": 24, "rms_norm_eps": 1e-3, "use_clipped_linears": True, "standardize": True,
    }  # fmt: skip
    torch.manual_seed(1)
    config = transformers.Gemma4Config(
        text_config=SMALL_TEXT, vision_config=vision, audio_config=None, **_marks(SMALL_TEXT["vocab_size"])
    )
    model = transformers.Gemma4ForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        tower_gains(model.model.vision_tower, 1)
        tower_gains(model.model.embed_vision, 2)
    _looks(saved(model, folder), GEMMA_PX, GEMMA_GROUP)
    return model, Checkpoint.open(folder)


def _looks(folder: Path, px: int, group: int) -> None:
    said = {"patch_size": px, "pooling_kernel_size": group, "max_soft_tokens": 70}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": said, "video_processor": said}))


LLAVA_PX, LLAVA_SIDE, LLAVA_ROW = 6, 8, 198
LLAVA_MEAN, LLAVA_STD = 0.4, 0.5


def llava(kind: str, folder: Path, gain: bool) -> Written:
    """`kind`: of its tower, "clip" or "siglip"."""
    transformers, px = reference(), LLAVA_PX * LLAVA_SIDE
    tower = {"hidden_size": 24, "intermediate_size": 34, "num_hidden_layers": 4, "num_attention_heads": 2,
             "image_size": px, "patch_size": LLAVA_PX, "layer_norm_eps": 1e-2}  # fmt: skip
    text = {"hidden_size": 20, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
            "vocab_size": 199}  # fmt: skip
    made = transformers.CLIPVisionConfig if kind == "clip" else transformers.SiglipVisionConfig
    torch.manual_seed(1)
    config = transformers.LlavaConfig(
        vision_config=made(**tower), text_config=transformers.LlamaConfig(**text), image_token_index=LLAVA_ROW
    )
    model = transformers.LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        tower_gains(model.model.vision_tower, 1)
        tower_gains(model.model.multi_modal_projector, 2)
        gains(model.model.language_model, 3)
        gains(model.lm_head, 4)
    square = {"height": px, "width": px}
    light: dict[str, Any] = {"image_mean": [LLAVA_MEAN] * 3, "image_std": [LLAVA_STD] * 3, "resample": 3}
    light |= {"size": {"shortest_edge": px}, "crop_size": square} if kind == "clip" else {"size": square}
    (saved(model, folder) / "preprocessor_config.json").write_text(json.dumps(light))
    return model, Checkpoint.open(folder)


# --- without encoders

UNIFIED_SAMPLES = 24
"""Of a token of sound."""


def unified(folder: Path, gain: bool) -> Written:
    """Gemma 4 12B: text, raw sound and raw pictures."""
    there = reference().models.gemma4_unified.configuration_gemma4_unified
    text: dict[str, Any] = {
        "vocab_size": 199, "hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10, "global_head_dim": 16,
        "num_global_key_value_heads": 1, "attention_k_eq_v": True, "sliding_window": 9,
        "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
    }  # fmt: skip
    vision = {"patch_size": GEMMA_PX, "pooling_kernel_size": GEMMA_GROUP, "mm_embed_dim": 28, "mm_posemb_size": 12,
              "output_proj_dims": 28, "rms_norm_eps": 1e-2}  # fmt: skip
    audio = {"audio_embed_dim": UNIFIED_SAMPLES, "rms_norm_eps": 1e-3}
    config = there.Gemma4UnifiedConfig(text_config=text, vision_config=vision, audio_config=audio, **_marks(199))
    torch.manual_seed(1)
    model = reference().Gemma4UnifiedForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        gains(model, 1)
    model.model.embed_vision.pos_embedding.normal_(generator=torch.Generator().manual_seed(1), std=0.7)
    _looks(saved(model, folder), GEMMA_PX, GEMMA_GROUP)
    return model, Checkpoint.open(folder)
