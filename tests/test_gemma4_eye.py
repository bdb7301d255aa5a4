"""Gemma 4's eye against transformers': random weights that it wrote to a folder, read by ours, number by number; then
its gated way against its dense one.

At E2B's size, with the gains of one that queries' and keys' norms begin with, attention is nearly one-hot and sixteen
layers of it magnify rounding: theirs in fp32 is 2e-3 from theirs in fp64, and 7e-4 from itself without padding. With
gains that make attention as soft as it is elsewhere, ours is 3e-6 from theirs there too. Towers here are shallow."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.families import gemma4_eye
from liveagent.keyframe import Keyframes
from liveagent.nn import patches, torchaudio_cpu
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.framing import Budget
from liveagent.nn.row_eye import RowEye
from tests.parity import BAR, FAR, error, exact

os.environ["HF_HUB_OFFLINE"] = "1"
torchaudio_cpu.load()
transformers = pytest.importorskip(
    "transformers", reason="transformers, which ours is compared with, is not installed"
)
from transformers.models.gemma4 import configuration_gemma4 as settings_there  # noqa: E402
from transformers.models.gemma4.image_processing_pil_gemma4 import (  # noqa: E402
    Gemma4ImageProcessorPil,
    get_aspect_ratio_preserving_size,
)
from transformers.models.gemma4.modeling_gemma4 import Gemma4ForConditionalGeneration  # noqa: E402

transformers.logging.disable_progress_bar()
pytestmark = pytest.mark.slow

PX, GROUP = 4, 2
TEXT = {
    "vocab_size": 64, "hidden_size": 24, "num_hidden_layers": 1, "intermediate_size": 32, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 12, "global_head_dim": 12, "vocab_size_per_layer_input": 64,
    "hidden_size_per_layer_input": 4, "num_kv_shared_layers": 0, "layer_types": ["full_attention"],
}  # fmt: skip
VISION = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 12,
    "intermediate_size": 40, "patch_size": PX, "pooling_kernel_size": GROUP, "position_embedding_size": 24,
    "rms_norm_eps": 1e-3,
}  # fmt: skip
ALL: dict[str, Any] = {"use_clipped_linears": True, "standardize": True, "num_key_value_heads": 2}


@pytest.fixture(autouse=True)
def _same() -> Iterator[None]:
    torch.manual_seed(0)
    with exact():
        yield


def draw_gains(net: torch.nn.Module) -> None:
    """Weights of which nothing is near zero or one, and bounds that cut something off everywhere."""
    for name, tensor in net.state_dict().items():
        if name.endswith("_min"):
            tensor.uniform_(-2.5, -1.2)
        elif name.endswith("_max"):
            tensor.uniform_(1.2, 2.5)
        elif name.endswith("position_embedding_table"):
            tensor.normal_(std=0.7)
        elif tensor.dim() > 1:
            tensor.normal_(std=1.2 / math.sqrt(tensor[0].numel()))
        else:
            tensor.uniform_(0.3, 0.8).mul_(torch.randint(0, 2, tensor.shape) * 2.0 - 1)


def written(folder: Path, gains: bool = True, **vision: Any) -> tuple[Any, Checkpoint]:
    """Their model, and its folder opened."""
    config = settings_there.Gemma4Config(text_config=TEXT, vision_config=VISION | vision, audio_config=None)
    net = Gemma4ForConditionalGeneration(config).eval().requires_grad_(False)
    if gains:
        draw_gains(net.model.vision_tower)
        draw_gains(net.model.embed_vision)
    net.save_pretrained(folder)
    processor = {name: (VISION | vision)[name] for name in ("patch_size", "pooling_kernel_size")}
    processor["max_soft_tokens"] = 70
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": processor | {"max_soft_tokens": 140}, "video_processor": processor})
    )
    return net, Checkpoint.open(folder)


def picture(rows: int, cols: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, rows * PX, cols * PX), dtype=torch.uint8, generator=generator)


def padded(net: Any, pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Pictures of any shapes as patches and places of one length, as their processor gives them."""
    side = net.config.vision_config.patch_size
    most = 32 * net.config.vision_config.pooling_kernel_size ** 2
    values, places = torch.zeros(len(pictures), most, 3 * side * side), torch.full((len(pictures), most, 2), -1)
    for i, each in enumerate(pictures):
        flat = patches.cut(each, side).permute(0, 2, 3, 1).flatten(1).float() / 255
        down, across = torch.meshgrid(*(torch.arange(n // side) for n in each.shape[1:]), indexing="ij")
        values[i, : len(flat)] = flat
        places[i, : len(flat)] = torch.stack([across, down], -1).flatten(0, 1)
    return values, places


def theirs(net: Any, pictures: list[Tensor]) -> list[Tensor]:
    """Rows of their tower for pictures of any shapes. (Groups of one patch are not compared: with them theirs gives the
    rows of the padding.)"""
    found = net.model.get_image_features(*padded(net, pictures), return_dict=True).pooler_output
    return [each.clone() for each in found]


SHAPES = [(6, 10), (8, 4), (2, 20)]


@pytest.mark.parametrize("gains", [False, True], ids=["default", "gains"])
@pytest.mark.parametrize("options", [{}, ALL], ids=["plain", "all"])
def test_rows_equal_transformers(tmp_path: Path, gains: bool, options: dict[str, Any]) -> None:
    net, checkpoint = written(tmp_path, gains, **options)
    eye = gemma4_eye.eye(checkpoint)
    pictures = [picture(*shape, seed=i) for i, shape in enumerate(SHAPES)]
    for each, there in zip(pictures, theirs(net, pictures), strict=True):
        assert error(eye(each[None])[0], there) < BAR
    left = {name for name in checkpoint.unread if "vision" in name}
    assert not left, f"nobody asked for {sorted(left)[:3]}"


def test_pictures_of_a_film_one_by_one_equal_transformers(tmp_path: Path) -> None:
    net, checkpoint = written(tmp_path, **ALL)
    eye, film = gemma4_eye.eye(checkpoint), [picture(6, 10, seed) for seed in range(4)]
    values, places = padded(net, film)
    there = net.model.get_video_features(values, places, torch.tensor([3, 1]), return_dict=True).pooler_output
    state = eye.init_state(1, patches=64)
    ours = [eye.look(each, torch.ones(60, dtype=torch.bool), state, 0) for each in film]
    assert error(torch.cat(ours[:3]), there[0]) < BAR and error(ours[3], there[1]) < BAR
    assert (eye.video, eye.picture) == tuple(Budget(rows * GROUP**2, PX, GROUP) for rows in (70, 140))


@settings(max_examples=6)
@given(data=st.data())
def test_any_legal_configuration(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([1, 2, 6]))
    options: dict[str, Any] = {
        "hidden_size": data.draw(st.sampled_from([8, 20, 36])), "num_attention_heads": heads,
        "num_key_value_heads": data.draw(st.sampled_from([each for each in (1, 2, heads) if heads % each == 0])),
        "head_dim": data.draw(st.sampled_from([4, 8, 20])), "num_hidden_layers": data.draw(st.integers(1, 4)),
        "intermediate_size": data.draw(st.sampled_from([12, 50])), "patch_size": data.draw(st.sampled_from([2, 6])),
        "pooling_kernel_size": data.draw(st.sampled_from([2, 3])), "standardize": data.draw(st.booleans()),
        "use_clipped_linears": data.draw(st.booleans()),
        "rope_parameters": {"rope_type": "axial", "rope_theta": data.draw(st.sampled_from([10.0, 5000.0]))},
        "hidden_activation": data.draw(st.sampled_from(["gelu_pytorch_tanh", "gelu"])),
    }  # fmt: skip
    torch.manual_seed(data.draw(st.integers(0, 99)))
    net, checkpoint = written(tmp_path_factory.mktemp("eye"), **options)
    eye = gemma4_eye.eye(checkpoint)
    high, wide = (options["patch_size"] * options["pooling_kernel_size"] * n for n in (2, 5))
    pixels = torch.randint(0, 256, (3, high, wide), dtype=torch.uint8)
    assert error(eye(pixels[None])[0], theirs(net, [pixels])[0]) < BAR


def mutate(eye: RowEye, **config: Any) -> RowEye:
    """The same weights in an eye of another configuration."""
    from liveagent.nn.vit import Vit

    vit = Vit(dataclasses.replace(eye.vit.config, **config)).eval().requires_grad_(False)
    vit.load_state_dict(eye.vit.state_dict())
    return RowEye(vit, eye.projector, eye.picture, eye.video)


def swapped(eye: RowEye) -> RowEye:
    """Two heads' queries in each other's place."""
    found = mutate(eye)
    for block in found.vit.blocks:
        weight = block.get_submodule("qkv").weight
        assert isinstance(weight, Tensor)
        weight[: 2 * 12] = weight[: 2 * 12].roll(12, 0)
    return found


def turned_about(eye: RowEye) -> RowEye:
    found = mutate(eye)
    found.vit.positions.data = found.vit.positions.data.flip(0)
    return found


MUTATIONS: dict[str, Callable[[RowEye], RowEye]] = {
    "eps": lambda eye: mutate(eye, norm_eps=1e-6),
    "rope base": lambda eye: mutate(eye, rope=10_000.0),
    "no rope": lambda eye: mutate(eye, rope=0.0),
    "scale": lambda eye: mutate(eye, scale=None),
    "activation": lambda eye: mutate(eye, activation="quick_gelu"),
    "light": lambda eye: mutate(eye, std=(1.0, 1.0, 1.0)),
    "head order": swapped,
    "rows for columns": turned_about,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_eye_is_seen(tmp_path: Path, name: str) -> None:
    net, checkpoint = written(tmp_path)
    eye = gemma4_eye.eye(checkpoint)
    pixels = picture(6, 10)
    there = theirs(net, [pixels])[0]
    assert error(eye(pixels[None])[0], there) < BAR
    found = error(MUTATIONS[name](eye)(pixels[None])[0], there)
    assert found > FAR, found


@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_the_last_norm_has_the_towers_eps(tmp_path: Path, eps: float) -> None:
    net, checkpoint = written(tmp_path, standardize=True)
    eye = gemma4_eye.eye(checkpoint)
    assert eye.projector.eps == 1e-3
    eye.projector.eps = eps
    pixels = picture(6, 10)
    assert error(eye(pixels[None])[0], theirs(net, [pixels])[0]) > BAR


def test_in_half_precision_it_sees_the_same_by_both_ways(tmp_path: Path) -> None:
    checkpoint = written(tmp_path, **ALL)[1]
    whole, eye = gemma4_eye.eye(checkpoint), gemma4_eye.eye(checkpoint, torch.bfloat16)
    eye.vit.moved, eye.vit.probe = 0.0, 1
    state, pixels = eye.init_state(1, patches=64), picture(8, 8)
    assert {x.dtype for x in (state.vit.stream, state.vit.qkv, state.rows)} == {torch.bfloat16}
    eye.look(pixels, torch.ones(64, dtype=torch.bool), state, 0)
    flags = torch.arange(64) < 9
    pixels = changed(pixels, flags, 1)
    there = whole(pixels[None])[0].flatten()
    for rows in (eye.look(pixels, flags, state, 0), eye(pixels[None])[0]):
        assert rows.dtype == torch.bfloat16
        assert torch.cosine_similarity(rows.float().flatten(), there, 0) > 0.995


def changed(pixels: Tensor, flags: Tensor, seed: int) -> Tensor:
    rows, cols = (n // PX for n in pixels.shape[1:])
    where = flags.view(rows, cols).repeat_interleave(PX, 0).repeat_interleave(PX, 1)
    return torch.where(where, picture(rows, cols, seed), pixels)


def test_threshold_0_through_the_gather_path_equals_transformers_after_many_pictures(tmp_path: Path) -> None:
    net, checkpoint = written(tmp_path, **ALL)
    eye = gemma4_eye.eye(checkpoint)
    eye.vit.moved, eye.vit.probe = 0.0, 1
    state = eye.init_state(2, patches=64)
    generator = torch.Generator().manual_seed(5)
    for turn, (rows, cols) in enumerate([(8, 8), (6, 10), (8, 8)]):  # the camera is turned, and back
        pixels, of = picture(rows, cols, 77 + turn), rows * cols
        given_rows = eye.look(pixels, torch.ones(of, dtype=torch.bool), state, 1)
        for i in range(100):
            flags = torch.zeros(of, dtype=torch.bool)
            flags[torch.randperm(of, generator=generator)[: 1 + i % (of // 2 - 8)]] = True  # never all
            pixels = changed(pixels, flags, i)
            given_rows = eye.look(pixels, flags, state, 1)
        torch.testing.assert_close(given_rows, eye(pixels[None])[0], rtol=0, atol=1e-5)
        assert error(given_rows, theirs(net, [pixels])[0]) < BAR
    assert not state.vit.seen[0]


def test_the_three_tiers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter changes: fewer tokens are finished, and the rows are near the dense ones; nothing changes: no network
    runs, the same rows; all changes: the dense rows."""
    eye = gemma4_eye.eye(written(tmp_path)[1])
    eye.vit.moved, eye.vit.probe = 0.15, 4
    pixels, everything = picture(8, 8), torch.ones(64, dtype=torch.bool)
    state = eye.init_state(1, patches=64)
    first = eye.look(pixels, everything, state, 0)
    torch.testing.assert_close(first, eye(pixels[None])[0], rtol=0, atol=1e-5)
    before = state.vit.stream.clone()
    flags = torch.zeros(64, dtype=torch.bool)
    flags[:16] = True
    pixels = changed(pixels, flags, 1)
    some = eye.look(pixels, flags, state, 0)
    same = (state.vit.stream == before).all(-1)[0]
    assert int(same[0].sum()) == 48 and not same[-1, :16].any()
    assert torch.cosine_similarity(some.flatten(), eye(pixels[None]).flatten(), 0) > 0.95
    with monkeypatch.context() as patch:
        patch.setattr(eye.vit, "_all", None)
        patch.setattr(eye.vit, "_some", None)
        assert torch.equal(eye.look(picture(8, 8, 9), torch.zeros(64, dtype=torch.bool), state, 0), some)


def test_a_camera_goes_through_frame_detector_and_eye(tmp_path: Path) -> None:
    """Patches of 16 px, as the detector of change has them, at the real shape of a picture."""
    eye = gemma4_eye.eye(written(tmp_path, patch_size=16, pooling_kernel_size=3, position_embedding_size=64)[1])
    state, keyframes = eye.init_state(1), Keyframes(refresh_s=0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for i, count in enumerate((567, 0, 64)):
        if i == 2:
            pixels[100:200, 100:200] = 255 - pixels[100:200, 100:200]
        framed = eye.frame(pixels)
        assert framed.shape == (3, 21 * 16, 27 * 16)
        change = keyframes.feed(framed.permute(1, 2, 0).numpy(), i)
        assert change.count <= count
        rows = eye.look(framed, eye.flags(change.patches, framed), state, 0)
    assert rows.shape == (63, 24) and change.count
    assert torch.cosine_similarity(rows.flatten(), eye(framed[None]).flatten(), 0) > 0.9


@given(st.integers(1, 4000), st.integers(1, 4000), st.sampled_from([70, 280]))
def test_sides_are_those_of_their_processor(height: int, width: int, tokens: int) -> None:
    assert Budget(tokens * 9, 16, 3).sides(height, width) == get_aspect_ratio_preserving_size(
        height, width, 16, tokens * 9, 3
    )


def torchvision_processor(**options: Any) -> Any:
    """Their default processor, where its wheel fits this torch (none fits a CPU build)."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error_:
        pytest.skip(f"torchvision cannot be imported: {error_}")
    from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor

    return Gemma4ImageProcessor(**options)


@pytest.mark.parametrize("backend", ["torchvision", "pillow"])
@pytest.mark.parametrize("shape", [(336, 432), (480, 640), (90, 41), (37, 900)])
def test_patches_and_places_are_those_of_their_processor(shape: tuple[int, int], backend: str) -> None:
    """On torchvision within 1e-4; on Pillow too where nothing is resized, else within two steps of 255."""
    pytest.importorskip("PIL", reason="Pillow, which their processor needs, is not installed")
    make = torchvision_processor if backend == "torchvision" else Gemma4ImageProcessorPil
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    found = make(max_soft_tokens=70)(pixels, return_tensors="pt")
    framed = Budget(70 * 9, 16, 3).frame(pixels)
    ours = patches.cut(framed, 16).permute(0, 2, 3, 1).flatten(1).float() / 255
    real = found["image_position_ids"][0, :, 0] >= 0
    assert int(real.sum()) == len(ours) == 9 * int(found["num_soft_tokens_per_image"][0])
    cols = framed.shape[2] // 16
    number = torch.arange(len(ours))
    assert torch.equal(found["image_position_ids"][0][real], torch.stack([number % cols, number // cols], 1))
    apart = (found["pixel_values"][0][real] - ours).abs()
    resized = framed.shape[1:] != shape
    assert apart.max() < (2.01 / 255 if backend == "pillow" and resized else 1e-4)
    assert apart.mean() < 1e-4


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path)
    for change, said in (
        ({"vision_config": None}, "no eye"),
        ({"vision_config": VISION | {"hidden_activation": "relu"}}, "hidden_activation 'relu'"),
        ({"vision_config": VISION | {"hidden_size": 40}}, "shape"),
        ({"vision_config": VISION | {"num_hidden_layers": 4}}, "holds no weights"),
        ({"vision_config": VISION | {"pooling_kernel_size": 0}}, "pooling_kernel_size"),
        ({"vision_config": VISION | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}}}, "yarn"),
        ({"vision_config": VISION | {"patch_size": 8}}, "processor"),
    ):
        config = dict(checkpoint.config) | change
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(ConfigError, match=said):
            gemma4_eye.eye(Checkpoint.open(tmp_path))


def test_pictures_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    eye = gemma4_eye.eye(written(tmp_path)[1])
    state = eye.init_state(1, patches=16)
    for pixels in (torch.zeros(3, 9, 8), torch.zeros(3, 0, 8), torch.zeros(1, 8, 8), torch.zeros(3, 4, 25 * 4)):
        with pytest.raises(ValueError, match="whole patches"):
            eye(pixels[None])
    with pytest.raises(ValueError, match="groups"):
        eye(torch.zeros(1, 3, 12, 12))
    with pytest.raises(ValueError, match="a state for 16"):
        eye.look(picture(6, 6), torch.ones(36, dtype=torch.bool), state, 0)
    with pytest.raises(ValueError, match="4 flags"):
        eye.look(picture(4, 4), torch.ones(4, dtype=torch.bool), state, 0)
