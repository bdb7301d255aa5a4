"""LLaVA's eye with CLIP's and with SigLIP's tower against transformers': random weights that it wrote to a folder, read
by ours, number by number; then the gated way, with a class token, against the dense one."""

from __future__ import annotations

import dataclasses
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
from safetensors.torch import load_file, save_file
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.families import llava
from liveagent.keyframe import Keyframes
from liveagent.nn import torchaudio_cpu
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.framing import Crop, Stretch
from liveagent.nn.row_eye import RowEye
from liveagent.nn.vit import Vit
from tests.parity import BAR, FAR, error, exact

os.environ["HF_HUB_OFFLINE"] = "1"
torchaudio_cpu.load()
transformers = pytest.importorskip(
    "transformers", reason="transformers, which ours is compared with, is not installed"
)
transformers.logging.disable_progress_bar()

pytestmark = pytest.mark.slow

PX, SIDE = 6, 8
TOWER = {
    "hidden_size": 24, "intermediate_size": 34, "num_hidden_layers": 4, "num_attention_heads": 2,
    "image_size": PX * SIDE, "patch_size": PX, "layer_norm_eps": 1e-2,
}  # fmt: skip
TEXT = {"hidden_size": 20, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30}
KINDS = ["clip", "siglip"]


@pytest.fixture(autouse=True)
def _same() -> Iterator[None]:
    torch.manual_seed(0)
    with exact():
        yield


def tower_config(kind: str, **options: Any) -> Any:
    make = transformers.CLIPVisionConfig if kind == "clip" else transformers.SiglipVisionConfig
    return make(**TOWER | options)


def draw_gains(net: torch.nn.Module) -> None:
    """Weights of which nothing is near zero or one."""
    for name, tensor in net.state_dict().items():
        if not tensor.is_floating_point():
            continue
        if "position_embedding" in name or "class_embedding" in name:
            tensor.normal_(std=0.7)
        elif tensor.dim() > 1:
            tensor.normal_(std=1.2 / math.sqrt(tensor[0].numel()))
        else:
            tensor.uniform_(0.3, 0.8).mul_(torch.randint(0, 2, tensor.shape) * 2.0 - 1)


def processor(kind: str, px: int) -> dict[str, Any]:
    if kind == "clip":
        return {"size": {"shortest_edge": px}, "crop_size": {"height": px, "width": px}, "resample": 3}
    mean = {"image_mean": [0.4, 0.4, 0.4], "image_std": [0.5, 0.5, 0.5]}
    return {"size": {"height": px, "width": px}, "resample": 3} | mean


def written(folder: Path, kind: str, gains: bool = True, tower: dict[str, Any] | None = None, **options: Any) -> Any:
    """Their model in a folder."""
    config = transformers.LlavaConfig(
        vision_config=tower_config(kind, **tower or {}), text_config=transformers.LlamaConfig(**TEXT),
        image_token_index=5, **options,
    )  # fmt: skip
    net = transformers.LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    if gains:
        draw_gains(net.model.vision_tower)
        draw_gains(net.model.multi_modal_projector)
    net.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor(kind, config.vision_config.image_size)))
    return net


def light(kind: str, pixels: Tensor) -> Tensor:
    """Bytes as their processor gives them to their tower."""
    known = llava.CLIP if kind == "clip" else processor(kind, 1)
    mean, std = (torch.tensor(known[name])[:, None, None] for name in ("image_mean", "image_std"))
    return (pixels.float() / 255 - mean) / std


def theirs(net: Any, kind: str, pixels: Tensor) -> Tensor:
    """`pixels [B, 3, H, W]`, bytes, to rows `[B, M, W]`."""
    found = net.model.get_image_features(light(kind, pixels), return_dict=True).pooler_output
    return torch.stack(list(found)).clone()


def pictures(count: int = 2, side: int = PX * SIDE, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gains", [False, True], ids=["default", "gains"])
@pytest.mark.parametrize(
    "options",
    [{}, {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}, {"vision_feature_layer": [-2, 1, 0]}],
    ids=["default", "full", "several layers"],
)
def test_rows_equal_transformers(tmp_path: Path, kind: str, gains: bool, options: dict[str, Any]) -> None:
    net = written(tmp_path, kind, gains, multimodal_projector_bias="full" not in str(options), **options)
    eye = llava.eye(Checkpoint.open(tmp_path))
    assert error(eye(pictures()), theirs(net, kind, pictures())) < BAR


@pytest.mark.parametrize("kind", KINDS)
def test_a_tower_alone_equals_transformers(tmp_path: Path, kind: str) -> None:
    make = transformers.CLIPVisionModel if kind == "clip" else transformers.SiglipVisionModel
    net = make(tower_config(kind)).eval().requires_grad_(False)
    draw_gains(net)
    net.save_pretrained(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor(kind, PX * SIDE)))
    there = net(light(kind, pictures())).last_hidden_state
    if kind == "clip":
        there = there.roll(-1, 1)
    assert error(llava.tower(Checkpoint.open(tmp_path))(pictures()), there) < BAR


@pytest.mark.parametrize("kind", KINDS)
def test_older_names_of_the_same_tensors(tmp_path: Path, kind: str) -> None:
    """As LLaVA 1.5 stands on the hub, with one module more around the tower; and as it stands in memory today."""
    net = written(tmp_path, kind)
    there, file = theirs(net, kind, pictures()), tmp_path / "model.safetensors"
    tensors = load_file(file)
    for old, new in (("vision_tower.", "vision_tower.vision_model."), ("", "model.")):
        tensors = {name.replace(old, new, 1) if name.startswith(old) else name: x for name, x in tensors.items()}
        save_file(tensors, file)
        assert error(llava.eye(Checkpoint.open(tmp_path))(pictures()), there) < BAR


@settings(max_examples=6)
@given(data=st.data())
def test_any_legal_configuration(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kind, heads = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from([1, 3]))
    side, px, layers = (data.draw(st.sampled_from(each)) for each in ([1, 3, 5], [2, 7], [2, 3]))
    tower = {
        "hidden_size": heads * data.draw(st.sampled_from([6, 10])), "num_attention_heads": heads,
        "num_hidden_layers": layers, "image_size": side * px, "patch_size": px,
        "hidden_act": data.draw(st.sampled_from(["gelu", "quick_gelu", "gelu_pytorch_tanh"])),
    }  # fmt: skip
    options: dict[str, Any] = {
        "vision_feature_layer": data.draw(st.sampled_from([-1, -2, 1, [1, -1]])),
        "vision_feature_select_strategy": data.draw(st.sampled_from(["full"] if side == 1 else ["full", "default"])),
    }
    folder = tmp_path_factory.mktemp("eye")
    torch.manual_seed(data.draw(st.integers(0, 99)))
    net = written(folder, kind, tower=tower, **options)
    pixels = pictures(2, side * px)
    assert error(llava.eye(Checkpoint.open(folder))(pixels), theirs(net, kind, pixels)) < BAR


@pytest.mark.parametrize("kind", KINDS)
def test_a_rest_that_makes_no_patch_is_not_looked_at(tmp_path: Path, kind: str) -> None:
    """SigLIP's largest have patches of 14 px in pictures of 384: the last 6 px are left out. And a camera's pictures of
    that size go through detector and eye."""
    px = 5 * 14 + 10
    net = written(tmp_path, kind, tower={"image_size": px, "patch_size": 14})
    eye, keyframes = llava.eye(Checkpoint.open(tmp_path)), Keyframes(threshold=0, refresh_s=0)
    eye.vit.moved, eye.vit.probe = 0.0, 1
    state = eye.init_state(1)
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (px, px, 3), dtype=np.uint8)
    for i in range(8):
        seen[16 * (i % 4) : 16 * (i % 4) + 9, 20:29] = rng.integers(0, 256, (9, 9, 3))
        pixels = eye.frame(seen)
        change = keyframes.feed(pixels.permute(1, 2, 0).numpy(), i)
        rows = eye.look(pixels, eye.flags(change.patches, pixels), state, 0)
        assert error(rows, theirs(net, kind, pixels[None])[0]) < BAR
    assert not change.full and int(eye.flags(change.patches, pixels).sum()) < 13


def mutate(eye: RowEye, **config: Any) -> RowEye:
    """The same weights in an eye of another configuration."""
    vit = Vit(dataclasses.replace(eye.vit.config, **config)).eval().requires_grad_(False)
    vit.load_state_dict(eye.vit.state_dict(), strict=False)
    return RowEye(vit, eye.projector, eye.picture, eye.video)


def swapped(eye: RowEye) -> RowEye:
    """Two heads' queries in each other's place."""
    found = mutate(eye)
    for block in found.vit.blocks:
        weight = block.get_submodule("qkv").weight
        assert isinstance(weight, Tensor)
        weight[:24] = weight[:24].roll(12, 0)
    return found


def class_first(eye: RowEye) -> RowEye:
    """The places as they stand in the file."""
    found = mutate(eye)
    found.vit.positions.data = found.vit.positions.data.roll(1, 0)
    return found


MUTATIONS: dict[str, Callable[[RowEye], RowEye]] = {
    "eps": lambda eye: mutate(eye, norm_eps=1e-6),
    "scale": lambda eye: mutate(eye, scale=1.0),
    "activation": lambda eye: mutate(eye, activation="gelu"),
    "a layer less": lambda eye: mutate(eye, layers=2, outputs=(2,)),
    "no norm before the first layer": lambda eye: mutate(eye, norm_first=False),
    "light": lambda eye: mutate(eye, std=(0.25, 0.25, 0.25)),
    "head order": swapped,
    "class token first": class_first,
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_wrong_eye_is_seen(tmp_path: Path, name: str) -> None:
    net = written(tmp_path, "clip")
    eye, there = llava.eye(Checkpoint.open(tmp_path)), theirs(net, "clip", pictures())
    assert error(eye(pictures()), there) < BAR
    assert error(MUTATIONS[name](eye)(pictures()), there) > FAR


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"vision_feature_select_strategy": "full", "vision_feature_layer": [-1, 2]}])
def test_threshold_0_through_the_gather_path_equals_transformers_after_many_pictures(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    net = written(tmp_path, kind, **options)
    eye = llava.eye(Checkpoint.open(tmp_path))
    eye.vit.moved, eye.vit.probe = 0.0, 1
    state, of = eye.init_state(2), SIDE * SIDE
    generator = torch.Generator().manual_seed(5)
    pixels = pictures(1)[0]
    rows = eye.look(pixels, torch.ones(of, dtype=torch.bool), state, 1)
    for i in range(150):
        flags = torch.zeros(of, dtype=torch.bool)
        flags[torch.randperm(of, generator=generator)[: 1 + i % (of // 2 - 8)]] = True  # never all
        where = flags.view(SIDE, SIDE).repeat_interleave(PX, 0).repeat_interleave(PX, 1)
        pixels = torch.where(where, pictures(1, seed=i)[0], pixels)
        rows = eye.look(pixels, flags, state, 1)
    torch.testing.assert_close(rows, eye(pixels[None])[0], rtol=0, atol=1e-5)
    assert error(rows, theirs(net, kind, pixels[None])[0]) < BAR
    assert torch.equal(eye.look(pixels, torch.zeros(of, dtype=torch.bool), state, 1), rows)


@pytest.mark.parametrize("shape", [(336, 336), (480, 640), (90, 41), (37, 500)])
def test_pictures_are_those_of_their_processors(shape: tuple[int, int]) -> None:
    """On Pillow, within two steps of 255 where something is resized."""
    pytest.importorskip("PIL", reason="Pillow, which their processors need, is not installed")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    plain: dict[str, Any] = {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    square: dict[str, Any] = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    wide: dict[str, Any] = {"size": {"shortest_edge": 336}, "crop_size": {"height": 400, "width": 400}}
    for framing, there in (
        (Crop(336, 336), CLIPImageProcessorPil(**square, **plain)),
        (Crop(400, 336), CLIPImageProcessorPil(**wide, **plain)),
        (Crop(336, 336, fill=(0, 0, 0)), LlavaImageProcessorPil(**square, do_pad=True, **plain)),
        (Stretch(384), SiglipImageProcessorPil(size={"height": 384, "width": 384}, **plain)),
    ):
        ours = framing.frame(pixels)
        apart = (there(pixels, return_tensors="pt")["pixel_values"][0] - ours / 255).abs()
        assert apart.max() < (1e-4 if ours.shape[1:] == shape else 2.01 / 255) and apart.mean() < 1e-4


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "clip")
    config = json.loads((tmp_path / "config.json").read_text())
    tower = config["vision_config"]
    for change, said in (
        ({"vision_config": None}, "no eye"),
        ({"vision_config": tower | {"model_type": "pixtral"}}, "'pixtral'"),
        ({"vision_config": tower | {"hidden_act": "relu"}}, "'relu'"),
        ({"vision_config": tower | {"hidden_size": 48}}, "shape"),
        ({"vision_feature_layer": -9}, "vision_feature_layer"),
        ({"vision_feature_select_strategy": "some"}, "'some'"),
        ({"vision_config": tower | {"image_size": 54}}, "squares"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ConfigError, match=said):
            llava.eye(Checkpoint.open(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(config))
    for change, said in (
        ({"do_resize": False}, "do_resize"),
        ({"do_center_crop": False}, "squares"),
        ({"crop_size": {"height": 48, "width": 40}}, "no squares"),
        ({"resample": 0}, "resample"),
    ):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor("clip", 48) | change))
        with pytest.raises(ConfigError, match=said):
            llava.eye(Checkpoint.open(tmp_path))
    for older in ({"size": 48, "crop_size": 48}, {}):
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(older))
        assert llava.eye(Checkpoint.open(tmp_path)).picture == Crop(48, 48)
    (tmp_path / "model.safetensors").unlink()
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match="holds 0 tensors"):
        llava.eye(Checkpoint.open(tmp_path))
