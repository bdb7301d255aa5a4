"""What is said of a checkpoint that `transformers` wrote, beside the bytes that it takes when it is really loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from liveagent.families import described, family_of, whisper
from liveagent.families.gemma4 import decoder
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.linear import Embedding, Linear, sort_weights
from liveagent.nn.quant import Folding, quantised, weight_bytes
from liveagent.plan import QUANTIZE, cost_of
from liveagent.release import Release
from liveagent.runtime.weighing import sorts_on, weigh_ear
from tests import tiny_whisper
from tests.parity import reference, saved
from tests.test_plan import held

pytestmark = pytest.mark.slow
TEXT = {
    "vocab_size": 199, "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 6, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 12, "global_head_dim": 20, "sliding_window": 9, "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "sliding_attention", "full_attention"] * 2, "vocab_size_per_layer_input": 199,
    "hidden_size_per_layer_input": 8, "use_double_wide_mlp": True, "attention_k_eq_v": True,
    "num_global_key_value_heads": 1,
}  # fmt: skip


def size(net: nn.Module) -> int:
    return sum(each.numel() * each.element_size() for each in net.state_dict().values())


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two networks hold the same numbers, to the bit."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        each.dtype == theirs[name].dtype and torch.equal(each, theirs[name]) for name, each in ours.items()
    )


def on_disk(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.glob("*.safetensors"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_a_decoder_and_its_cache(tmp_path: Path, tied: bool, dtype: torch.dtype) -> None:
    transformers = reference()
    config = transformers.Gemma4TextConfig(**TEXT, tie_word_embeddings=tied)
    saved(transformers.Gemma4ForCausalLM(config).to(torch.bfloat16), tmp_path, "20kB")
    found = Release.of_folder(tmp_path)
    family = described(found.architecture, "here")
    name = str(dtype).removeprefix("torch.")
    cost = cost_of(found, family.name, family.part_of, name, None, cache_tokens=300, lanes=2)
    net = decoder(Checkpoint.open(tmp_path), dtype)
    assert cost.weights_bytes == size(net) and set(cost.weights) == {"decoder", "table"}
    assert cost.cache_bytes == held(net.init_state(2, 300))
    assert cost.file_bytes == on_disk(tmp_path) and len(list(tmp_path.glob("*.safetensors"))) > 2
    assert cost_of(found, family.name).dtype == "bfloat16"
    sort_weights(net)
    copies = [each._sorted.weight for each in net.modules() if isinstance(each, Linear | Embedding)]
    if sorts_on("cpu", name):
        assert sum(each is None for each in copies) == (1 if tied else 2), "what is only looked up is not sorted"
        told = cost_of(found, family.name, family.part_of, name, sorts=True).sorted_bytes
        layers = [
            each for each in net.modules() if isinstance(each, Linear | Embedding) and each._sorted.weight is not None
        ]
        assert told == sum(each.weight.nbytes for each in layers)
    for kind in QUANTIZE:
        rounded = cost_of(found, family.name, family.part_of, name, kind)
        assert rounded.weights_bytes == weight_bytes(quantised(decoder(Checkpoint.open(tmp_path), dtype), kind))
        checkpoint = Checkpoint.open(tmp_path)
        checkpoint.fold = Folding(kind)
        as_read, after = decoder(checkpoint, dtype), quantised(decoder(Checkpoint.open(tmp_path), dtype), kind)
        assert same(as_read, after) and weight_bytes(as_read) == rounded.weights_bytes
        assert not checkpoint.unread - {"lm_head.weight"}


def test_a_whole_model_by_its_parts(tmp_path: Path) -> None:
    transformers = reference()
    audio = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "output_proj_dims": 24,
             "subsampling_conv_channels": [128, 4]}  # fmt: skip
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "num_key_value_heads": 2, "head_dim": 12, "position_embedding_size": 64}  # fmt: skip
    config = transformers.Gemma4Config(text_config=TEXT, audio_config=audio, vision_config=vision)
    model: Any = transformers.Gemma4ForConditionalGeneration(config).to(torch.bfloat16)
    saved(model, tmp_path)
    found = Release.of_folder(tmp_path)
    family = described(found.architecture, "here")
    cost = cost_of(found, family.name, family.part_of)
    inside = model.model
    assert cost.weights == {
        "decoder": size(inside.language_model) - size(inside.language_model.embed_tokens_per_layer),
        "table": size(inside.language_model.embed_tokens_per_layer),
        "ear": size(inside.audio_tower) + size(inside.embed_audio),
        "eye": size(inside.vision_tower) + size(inside.embed_vision),
    }
    assert cost.file_bytes == on_disk(tmp_path)
    assert cost.numbers == sum(each.numel() for each in inside.state_dict().values())
    assert cost.cache_bytes > 0
    (tmp_path / "processor_config.json").write_text("{}")
    checkpoint = Checkpoint.open(tmp_path)
    eye = family_of(checkpoint).own_eye(checkpoint, torch.bfloat16)
    kept = cost_of(found, family.name, family.part_of, lanes=3).sight_bytes
    state = eye.init_state(3)
    assert kept == pytest.approx(held(state.vit) + state.rows.nbytes, rel=1e-3), "of a camera's pictures, three lanes"


def test_one_without_encoders_whose_pictures_look_ahead(tmp_path: Path) -> None:
    transformers = reference()
    text = {name: value for name, value in TEXT.items() if "per_layer_input" not in name}
    config = transformers.Gemma4UnifiedConfig(
        text_config=text, audio_config={}, vision_config={"mm_embed_dim": 24, "output_proj_dims": 24, "patch_size": 2}
    )
    model: Any = transformers.Gemma4UnifiedForConditionalGeneration(config).to(torch.bfloat16)
    saved(model, tmp_path)
    found = Release.of_folder(tmp_path)
    family = described(found.architecture, "here")
    cost = cost_of(found, family.name, family.part_of, cache_tokens=300, lanes=2)
    inside = model.model
    assert cost.weights == {
        "decoder": size(inside.language_model), "ear": size(inside.embed_audio), "eye": size(inside.embed_vision)
    }  # fmt: skip
    net = family_of(Checkpoint.open(tmp_path)).decoder(Checkpoint.open(tmp_path), torch.bfloat16)
    assert net.shape.ahead == 280 and cost.cache_bytes == held(net.init_state(2, 300))


def test_an_ear_has_no_cache_that_rolls(tmp_path: Path) -> None:
    transformers = reference()
    config = transformers.WhisperConfig(
        vocab_size=99, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, pad_token_id=0,
        decoder_attention_heads=2, encoder_ffn_dim=8, decoder_ffn_dim=8, num_mel_bins=8, max_source_positions=16,
        bos_token_id=1, eos_token_id=2, decoder_start_token_id=3, max_target_positions=16,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config)
    saved(model, tmp_path)
    found = Release.of_folder(tmp_path)
    family = described(found.architecture, "here")
    cost = cost_of(found, family.name, family.part_of)
    assert family.ear and cost.cache_bytes == cost.cache_tokens == 0
    assert cost.weights == {"ear": size(model.model)} and cost.dtype == "float32"


def test_a_pretrained_ear_and_what_it_keeps_of_a_clip(tmp_path: Path) -> None:
    folder = tiny_whisper.write(tmp_path)
    cost, ear = weigh_ear(str(folder)), whisper.load(folder)
    held = size(ear.encoder) + size(ear.scribe)
    assert cost.weights_bytes == pytest.approx(held, rel=0.02), "but for biases of keys, which are none"
    state = ear.scribe.init_state(1)
    tensors = [each for each in vars(state).values() if isinstance(each, torch.Tensor) and each.is_floating_point()]
    assert cost.cache_bytes == sum(each.nbytes for each in tensors)
    if sorts_on("cpu", "float32"):
        layers = [each for each in nn.ModuleList([ear.encoder, ear.scribe]).modules()]
        copied = [each for each in layers if isinstance(each, Linear | Embedding) and each._sorted.weight is not None]
        assert sum(each.weight.nbytes for each in copied) <= cost.sorted_bytes <= cost.weights_bytes
