"""What a model costs, said before it is loaded: to the byte what its tensors and its cache take, and what would fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from liveagent import ConfigError
from liveagent.families.gemma4 import text_config
from liveagent.header import Stored
from liveagent.nn.cache import KVCache
from liveagent.nn.stack import DecoderState, Stack
from liveagent.plan import PROCESS_BYTES, CacheShape, Cost, cost_of, stored_dtype, tensor_bytes, with_advice
from liveagent.release import CONFIG, WHOLE, Release

GB = 10**9


def held(state: KVCache) -> int:
    """The bytes of everything that a cache allocated."""
    tensors = [getattr(state, each.name) for each in dataclasses.fields(state)]
    return sum(each.numel() * each.element_size() for each in tensors)


def settings_of(draw: Any) -> dict[str, Any]:
    """A Gemma's settings within its legal range, small."""
    heads = draw(st.sampled_from([2, 4]))
    kinds = ["sliding_attention", "full_attention"]
    kinds += draw(st.lists(st.sampled_from(kinds), min_size=0, max_size=4)) + ["full_attention"]
    ropes = {"full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25, "rope_theta": 1e6},
             "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}  # fmt: skip
    text = {
        "vocab_size": 30, "vocab_size_per_layer_input": 30, "hidden_size": 24, "intermediate_size": 16,
        "num_hidden_layers": len(kinds), "layer_types": kinds, "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([1, 2])), "head_dim": draw(st.sampled_from([4, 10])),
        "num_kv_shared_layers": draw(st.integers(0, len(kinds) - 2)), "rms_norm_eps": 1e-6,
        "sliding_window": draw(st.sampled_from([1, 7, 64])), "hidden_activation": "gelu_pytorch_tanh",
        "hidden_size_per_layer_input": draw(st.sampled_from([0, 6])), "attention_k_eq_v": draw(st.booleans()),
        "rope_parameters": ropes,
    }  # fmt: skip
    if draw(st.booleans()):
        text |= {"global_head_dim": draw(st.sampled_from([8, 12])), "num_global_key_value_heads": heads}
    else:
        own = {"head_dim": 12, "num_key_value_heads": draw(st.sampled_from([1, heads]))}
        text["per_layer_config"] = {str(n): own for n, kind in enumerate(kinds) if kind == "full_attention"}
    return {"architectures": ["Gemma4ForConditionalGeneration"], "text_config": text}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_cache_is_told_to_the_byte(data: st.DataObject) -> None:
    config = settings_of(data.draw)
    lanes, tokens, back = data.draw(st.integers(1, 4)), data.draw(st.integers(64, 300)), data.draw(st.integers(0, 99))
    checkpoint: Any = SimpleNamespace(config=config, folder=Path("here"))
    with torch.device("meta"):
        net = Stack(text_config(checkpoint))
    dtype = data.draw(st.sampled_from([torch.float32, torch.bfloat16]))
    state = net.to(dtype).init_state(lanes, tokens, back)
    shape = CacheShape.of(config)
    assert shape is not None
    assert shape.size_bytes(tokens, lanes, dtype.itemsize, back) == held(state)
    assert shape.size_bytes(tokens, lanes, dtype.itemsize, back) != shape.size_bytes(tokens + 1, lanes, dtype.itemsize)


def test_a_plain_decoder_and_what_is_none() -> None:
    plain = {"num_hidden_layers": 3, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    shape = CacheShape.of(plain)
    assert shape is not None
    assert shape.size_bytes(100, 2, 4) == held(DecoderState.empty(2, 3, 2, 100, 8, 32))
    assert CacheShape.of({"encoder_layers": 2}) is None and CacheShape.of(plain | {"is_encoder_decoder": True}) is None


@pytest.mark.parametrize(
    "wrong",
    [{"num_hidden_layers": "three"}, {"layer_types": ["full_attention"]}, {"num_attention_heads": 0}]
    + [{"layer_types": ["full_attention", "sliding_attention"]}, {"per_layer_config": [1]}, {"hidden_size": None}],
)
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    plain = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    with pytest.raises(ConfigError, match="says nothing sensible of the decoder's layers .*: fetch it again"):
        CacheShape.of(plain | wrong)


def release(folder: Path, tensors: dict[str, Tensor], config: dict[str, Any] | None = None) -> Release:
    folder.mkdir(exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config or {}))
    save_file(tensors, folder / WHOLE)
    return Release.of_folder(folder)


TENSORS = {
    "model.embed_tokens.weight": torch.zeros(40, 64, dtype=torch.bfloat16),
    "model.norm.weight": torch.zeros(64, dtype=torch.bfloat16),
    "model.audio_tower.in.weight": torch.zeros(64, 33, dtype=torch.bfloat16),
    "model.vision_tower.thin.weight": torch.zeros(2, 64, dtype=torch.bfloat16),
    "model.steps": torch.zeros(3, dtype=torch.int64),
}
PARTS = (("audio_tower.", "ear"), ("vision_tower.", "eye"))


def test_weights_by_part_in_every_precision(tmp_path: Path) -> None:
    found = release(tmp_path / "a", TENSORS)
    as_stored = cost_of(found, "x", PARTS)
    assert as_stored.dtype == "bfloat16" == stored_dtype(found)
    assert as_stored.weights == {"decoder": 40 * 64 * 2 + 64 * 2 + 24, "ear": 64 * 33 * 2, "eye": 2 * 64 * 2}
    assert as_stored.weights_bytes == sum(each.numel() * each.element_size() for each in TENSORS.values())
    assert as_stored.file_bytes == (tmp_path / "a" / WHOLE).stat().st_size and as_stored.cache_bytes == 0
    assert as_stored.memory_bytes == as_stored.weights_bytes + PROCESS_BYTES
    assert as_stored.step_bytes == as_stored.weights["decoder"] + as_stored.weights["ear"]
    assert cost_of(found, "x", PARTS, "float32").weights_bytes == 2 * (as_stored.weights_bytes - 24) + 24
    eight, four = cost_of(found, "x", PARTS, None, "int8"), cost_of(found, "x", PARTS, None, "int4")
    rest = 64 * 2 + 24
    assert eight.weights["decoder"] == 40 * 64 + 40 * 2 + rest  # a byte a number, a scale a row
    assert four.weights["decoder"] == eight.weights["decoder"], "the output stays at 8 bits"
    assert eight.weights["ear"] == four.weights["ear"] == as_stored.weights["ear"], "ears and eyes stay as they are"
    assert eight.memory_bytes == eight.weights_bytes + PROCESS_BYTES < as_stored.memory_bytes, "rounded as it is read"
    matrices = 40 * 64 * 2 + 64 * 33 * 2 + 2 * 64 * 2
    twice = cost_of(found, "x", PARTS, sorts=True)
    assert twice.sorted_bytes == matrices and twice.memory_bytes == as_stored.memory_bytes + matrices
    assert cost_of(found, "x", PARTS, quantize="int8", sorts=True).sorted_bytes == 64 * 33 * 2 + 2 * 64 * 2
    untied = cost_of(release(tmp_path / "b", TENSORS | {"lm_head.weight": torch.zeros(40, 64)}), "x", PARTS)
    assert untied.weights["table"] == 40 * 64 * 2
    halves = cost_of(Release.of_folder(tmp_path / "b"), "x", PARTS, None, "int4")
    assert halves.weights["table"] == 40 * 64 // 2 + 40 * 2 * 4  # half a byte a number, four bytes for 32


def test_numbers_of_four_bits_and_none() -> None:
    assert Stored("F4", (3, 4)).size_bytes == 6 and Stored("F32", ()).count == 1
    assert tensor_bytes(Stored("BOOL", (9,)), "float32", "int8") == 9
    assert tensor_bytes(Stored("F32", (4, 40)), "float32", "int4") == 4 * 40 + 4 * 4  # 40 is no multiple of 16
    assert tensor_bytes(Stored("F32", (4, 48)), "bfloat16", "int4") == 4 * 24 + 4 * 3 * 4  # groups of 16


@pytest.mark.parametrize(
    ("options", "says"),
    [({"dtype": "float16"}, "give one of float32"), ({"quantize": "int3"}, "give one of int8, int4, or none"),
     ({"cache_tokens": 1}, "give a number from 64"), ({"cache_tokens": 1 << 30}, "give a number from 64")],
)  # fmt: skip
def test_what_nobody_could_load(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    found = release(tmp_path, TENSORS)
    with pytest.raises(ConfigError, match=says):
        cost_of(found, "x", **options)


def cost(numbers: float = 5 * GB, free: float | None = 20 * GB, **more: Any) -> Cost:
    given: dict[str, Any] = {
        "model": "owner/model", "family": "x", "licence": "mit", "numbers": int(numbers), "file_bytes": 1,
        "download_bytes": 1, "dtype": "bfloat16", "quantize": None, "cache_tokens": 4096, "lanes": 1,
        "weights": {"decoder": int(numbers) * 2}, "cache_bytes": GB, "free_bytes": free,
    }  # fmt: skip
    return Cost(**given | more)


def test_the_tick_is_an_estimate_from_what_memory_gives() -> None:
    assert cost().tick_ms is None
    assert cost(bandwidth=100 * GB).step_ms == pytest.approx(100) == cost(bandwidth=100 * GB).tick_ms
    assert cost(numbers=GB, bandwidth=100 * GB).tick_ms == 80.0


def test_what_fits_and_what_would_instead() -> None:
    assert cost().fits and cost().refusal is None and with_advice(cost(), [cost()], {}).instead == ()
    assert cost(free=None).fits is None and cost(free=None).refusal is None
    tight = cost(free=8 * GB)
    assert not tight.fits and str(tight.refusal).endswith("8.0 GB are free; take a smaller model")
    others = [
        cost(cache_tokens=2048, cache_bytes=GB // 2),
        cost(quantize="int8", weights={"decoder": 5 * GB}),
        cost(quantize="int8", weights={"decoder": 5 * GB}, cache_tokens=2048, cache_bytes=GB // 2),
    ]
    told = with_advice(tight, others, {"owner/small": 2 * GB, "owner/large": 9 * GB, "owner/same": 4.9 * GB})
    assert told.instead == ("int8 (6.6 GB)", "owner/small (about 6 GB)")
    cached = with_advice(cost(free=11.4 * GB), others[:1], {})
    assert cached.instead == ("a cache of 2048 tokens (11.1 GB)",)
    precise = cost(dtype="float32", weights={"decoder": 20 * GB}, free=16 * GB)
    assert with_advice(precise, [cost()], {}).instead == ("bfloat16 (11.6 GB)",)
    assert str(told.refusal).startswith(
        "owner/model needs 11.6 GB of memory, and 8.0 GB are free; these would fit: int8 ("
    )
    assert str(told.refusal).endswith("; owner/small (about 6 GB)")
