"""Gemma 4's ear against transformers': random weights that it wrote to a folder, read by ours, number by number."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.families import gemma4_ear
from liveagent.nn import torchaudio_cpu
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.row_ear import RowEar, RowEarConfig
from tests.laws import sound

os.environ["HF_HUB_OFFLINE"] = "1"
torchaudio_cpu.load()
pytest.importorskip("transformers", reason="transformers, which ours is compared with, is not installed")
from transformers.models.gemma4 import configuration_gemma4 as settings_there  # noqa: E402
from transformers.models.gemma4.feature_extraction_gemma4 import Gemma4AudioFeatureExtractor  # noqa: E402
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration  # noqa: E402

pytestmark = pytest.mark.slow

BAR = 1e-4  # largest error, in standard deviations of the reference
TOKEN = 640
TEXT = {
    "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 12, "global_head_dim": 12, "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 4, "num_kv_shared_layers": 0, "layer_types": ["full_attention"],
}  # fmt: skip
AUDIO = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "subsampling_conv_channels": [128, 8],
    "output_proj_dims": 20,
}  # fmt: skip
EXTRACTOR = Gemma4AudioFeatureExtractor()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def draw_gains(net: torch.nn.Module) -> None:
    """Weights of which nothing is near zero or one, and bounds that cut something off everywhere."""
    for name, tensor in net.state_dict().items():
        if name.endswith("_min"):
            tensor.uniform_(-2.5, -1.2)
        elif name.endswith("_max"):
            tensor.uniform_(1.2, 2.5)
        elif tensor.dim() > 1:
            tensor.normal_(std=1.2 / math.sqrt(tensor[0].numel()))
        elif name.endswith("per_dim_scale"):
            tensor.normal_()
        else:
            tensor.uniform_(0.3, 0.8).mul_(torch.randint(0, 2, tensor.shape) * 2.0 - 1)


def written(folder: Path, gains: bool = False, **audio: Any) -> tuple[Any, Checkpoint]:
    """Their model, and its folder opened."""
    config = settings_there.Gemma4Config(text_config=TEXT, audio_config=AUDIO | audio, vision_config=None)
    net = Gemma4ForConditionalGeneration(config).eval().requires_grad_(False)
    if gains:
        draw_gains(net.model.audio_tower)
        draw_gains(net.model.embed_audio)
    net.save_pretrained(folder)
    EXTRACTOR.save_pretrained(folder)
    return net, Checkpoint.open(folder)


def theirs(net: Any, samples: Tensor) -> Tensor:
    """Their rows of one clip [1, S]. They drop the last frame unless a sample more follows, which they never read."""
    features = EXTRACTOR([np.pad(samples[0].numpy(), (0, 1))], return_tensors="pt", sampling_rate=16_000)
    said = net.model.get_audio_features(features.input_features, features.input_features_mask, return_dict=True)
    rows: Tensor = said.pooler_output[said.attention_mask]
    return rows


def off(ours: Tensor, reference: Tensor) -> float:
    assert ours.shape == reference.shape
    return float((ours - reference).abs().max() / reference.std())


def streamed(net: RowEar, samples: Tensor, sizes: list[int]) -> Tensor:
    state, active = net.init_state(len(samples)), torch.ones(len(samples), dtype=torch.bool)
    parts, at, i = [], 0, 0
    while at < samples.shape[1] // TOKEN * TOKEN:
        wide = min(sizes[i % len(sizes)] * TOKEN, samples.shape[1] // TOKEN * TOKEN - at)
        parts.append(net.step(samples[:, at : at + wide], state, active))
        at, i = at + wide, i + 1
    return torch.cat([*parts, net.provisional(samples[:, at:], state)], dim=1)


@pytest.fixture(scope="module", params=[False, True], ids=["default", "gains"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Checkpoint]:
    torch.manual_seed(1)
    more: dict[str, Any] = {"gradient_clipping": 3.0, "rms_norm_eps": 1e-3, "residual_weight": 0.7}
    folder = tmp_path_factory.mktemp("gemma")
    return written(folder, request.param, **(more if request.param else {}))


@pytest.mark.parametrize("rest", [0, 160, 320 + 7, 639])
def test_whole_and_streamed_are_theirs(pair: tuple[Any, Checkpoint], rest: int) -> None:
    net, checkpoint = pair
    ear = gemma4_ear.ear(checkpoint)
    samples = sound(4, 55, TOKEN)[:, : 54 * TOKEN + rest]
    reference = torch.stack([theirs(net, clip[None]) for clip in samples])
    with torch.no_grad():
        assert off(ear.whole(samples), reference) <= BAR
    for sizes in ([1], [3, 1, 7, 2]):
        assert off(streamed(ear, samples, sizes), reference) <= BAR
    assert reference.shape[1] == 54 + (rest >= 160) and ear.final(samples.shape[1]) == 54


def test_it_says_what_it_is(pair: tuple[Any, Checkpoint]) -> None:
    ear = gemma4_ear.ear(pair[1])
    assert (ear.token_ms, ear.block_samples, ear.width) == (40.0, TOKEN, 24)
    assert not [name for name in pair[1].unread if "audio" in name and "relative_k" not in name]


def test_a_final_token_never_changes(pair: tuple[Any, Checkpoint]) -> None:
    ear, samples = gemma4_ear.ear(pair[1]), sound(1, 40, TOKEN)
    with torch.no_grad():
        full = ear.whole(samples)
        for cut in (TOKEN * 7, TOKEN * 7 + 300, TOKEN * 20 + 480):
            rows = ear.whole(samples[:, :cut])
            final = ear.final(cut)
            torch.testing.assert_close(rows[:, :final], full[:, :final], rtol=0, atol=1e-5)
            if rows.shape[1] > final:  # and what is provisional does change, else this test says nothing
                assert float((rows[:, final] - full[:, final]).abs().max()) > 1e-3


def mutants(config: RowEarConfig) -> dict[str, RowEarConfig]:
    def block(**more: Any) -> RowEarConfig:
        return dataclasses.replace(config, block=dataclasses.replace(config.block, **more))

    return {
        "eps": block(eps=1e-2),
        "eps of the convolution": block(mid_eps=1e-2),
        "eps of the rows": dataclasses.replace(config, eps=1e-1),
        "eps of the stem": dataclasses.replace(config, stem=dataclasses.replace(config.stem, eps=1e-1)),
        "window + 1": block(left=config.block.left + 1),
        "window - 1": block(left=config.block.left - 1),
        "softcap": block(cap=2.0),
        "no softcap": block(cap=0.0),
        "key gain": block(key_gain=config.block.key_gain * 1.05),
        "residual": block(residual=0.5),
        "no clamps": block(clamp=0.0),
    }


def test_each_mutation_is_seen(tmp_path: Path) -> None:
    net, checkpoint = written(
        tmp_path, True, gradient_clipping=3.0, rms_norm_eps=1e-3, residual_weight=0.7, attention_logit_cap=1.5
    )
    samples = sound(1, 40, TOKEN)
    reference = theirs(net, samples)
    right = gemma4_ear.config_of(checkpoint)

    def read(config: RowEarConfig, change: Callable[[RowEar], None] = lambda ear: None) -> float:
        ear = RowEar(gemma4_ear.mel_of(checkpoint), config)
        checkpoint.fill(ear, gemma4_ear.sources(checkpoint, config))
        change(ear)
        with torch.no_grad():
            return off(ear(samples)[0], reference)

    assert read(right) <= BAR
    wrong = {name: read(config) for name, config in mutants(right).items()}

    def each_block(do: Callable[[Any], None]) -> Callable[[RowEar], None]:
        def change(ear: RowEar) -> None:
            for block in ear.blocks:
                do(block)

        return change

    def swap_heads(block: Any) -> None:
        weight = block.attention.qkv[0].weight
        weight.data = weight.data.view(4, 8, -1).flip(0).flatten(0, 1)

    def other_distances(block: Any) -> None:
        block.attention.distances.data = block.attention.distances.data.roll(1, 0)

    def unbound(block: Any) -> None:
        block.second.down.bounds.copy_(torch.tensor([-9e9, 9e9, -9e9, 9e9]))

    wrong["head order"] = read(right, each_block(swap_heads))
    wrong["distances"] = read(right, each_block(other_distances))
    wrong["bounds"] = read(right, each_block(unbound))
    unseen = {name: error for name, error in wrong.items() if error <= 10 * BAR}
    assert not unseen


@settings(max_examples=8)
@given(
    heads=st.sampled_from([1, 2, 4]), size=st.sampled_from([4, 10]), layers=st.integers(1, 3),
    kernel=st.integers(1, 6), chunk=st.integers(2, 15), left=st.integers(2, 16), clips=st.booleans(),
    cap=st.floats(1.0, 60.0), residual=st.floats(0.1, 1.0), out=st.integers(4, 24), channels=st.integers(1, 9),
)  # fmt: skip
def test_any_legal_configuration(
    tmp_path_factory: pytest.TempPathFactory, heads: int, size: int, layers: int, kernel: int, chunk: int, left: int,
    clips: bool, cap: float, residual: float, out: int, channels: int,
) -> None:  # fmt: skip
    net, checkpoint = written(
        tmp_path_factory.mktemp("drawn"), True, hidden_size=heads * size, num_attention_heads=heads,
        num_hidden_layers=layers, conv_kernel_size=kernel, attention_chunk_size=chunk, attention_context_left=left,
        use_clipped_linears=clips, attention_logit_cap=cap, residual_weight=residual, output_proj_dims=out,
        subsampling_conv_channels=[128, channels],
    )  # fmt: skip
    samples = sound(2, 31, TOKEN)
    reference = torch.stack([theirs(net, clip[None]) for clip in samples])
    assert off(streamed(gemma4_ear.ear(checkpoint), samples, [4, 1, 3]), reference) <= BAR


def test_mel_is_theirs_and_nearer_to_the_truth() -> None:
    checkpoint = Checkpoint(Path("nowhere"), {}, {})
    mel = gemma4_ear.mel_of(checkpoint)
    for loud in (1.0, 1e-3):
        samples = sound(1, 100, TOKEN) * loud
        features = EXTRACTOR([np.pad(samples[0].numpy(), (0, 1))], return_tensors="pt", sampling_rate=16_000)
        reference = features.input_features[0][features.input_features_mask[0]]
        ours = mel(samples)[0]
        assert off(ours, reference) <= BAR
        padded = np.pad(samples[0].numpy().astype(np.float64), (160, 0))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 320)[::160][: len(ours)]
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(320) / 320)
        amplitude = np.abs(np.fft.rfft(frames * window, 512))
        truth = torch.from_numpy(np.log(amplitude @ EXTRACTOR.mel_filters + 1e-3))
        assert off(ours.double(), truth) <= 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_hears_the_same(pair: tuple[Any, Checkpoint], dtype: torch.dtype) -> None:
    samples = sound(4, 30, TOKEN)
    full, half = gemma4_ear.ear(pair[1]), gemma4_ear.ear(pair[1], dtype)
    rows, less = streamed(full, samples, [2]), streamed(half, samples, [2])
    assert less.dtype == dtype
    assert float(torch.cosine_similarity(rows.flatten(), less.float().flatten(), dim=0)) > 0.99


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"audio_config": None}, "speaks of no ear"),
        ({"hidden_act": "gelu"}, "activation"),
        ({"attention_context_right": 2}, "ahead"),
        ({"num_attention_heads": 3}, "damaged"),
        ({"hidden_size": 40}, "shape"),
        ({"num_hidden_layers": 9}, "holds no weights"),
        ({"num_attention_heads": 0}, "no Gemma 4 ear's"),
        ({"hidden_size": "wide"}, "no Gemma 4 ear's"),
        ({"subsampling_conv_channels": None}, "no Gemma 4 ear's"),
    ],
)
def test_a_bad_config_says_what_to_do(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    _, checkpoint = written(tmp_path)
    config = dict(checkpoint.config)
    audio = config["audio_config"] | change
    config["audio_config"] = change.get("audio_config", audio)
    spoilt = Checkpoint(checkpoint.folder, config, checkpoint._places)
    with pytest.raises(ConfigError, match=says):
        gemma4_ear.ear(spoilt)


def test_an_unknown_measure_is_refused(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"preemphasis": 0.0', '"preemphasis": 0.97'))
    with pytest.raises(ConfigError, match="preemphasis"):
        gemma4_ear.ear(checkpoint)
