"""Gemma 4 12B, which has no encoders, against `transformers`: random weights that it wrote to a folder, read by ours;
decoder, ear and eye each for themselves, and all of it in one prompt.

transformers 5.24 has two rules for whom a picture's rows see: the model's forward lets those of all layers look ahead,
`create_masks_for_generate` (and Gemma 4's forward, since its issue 46711) only those of layers with a window, and not
out of it, as the weights were trained. Ours is the second; masks made by it are given to theirs here, and a mutation
that is the first must be seen."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from liveagent.bench.naive import Naive
from liveagent.errors import ConfigError
from liveagent.families import gemma4_unified as family
from liveagent.keyframe import Keyframes
from liveagent.ledger import CachePlan, Hole, Move
from liveagent.nn import patches
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.framing import Budget
from liveagent.nn.raw_ear import RawEar
from liveagent.nn.raw_eye import RawEye
from liveagent.nn.stack import Stack
from tests.laws import sound
from tests.parity import BAR, FAR, error, exact, gains, reference

pytestmark = pytest.mark.slow

PX, GROUP, SAMPLES = 4, 2, 24
SIDE = PX * GROUP
TEXT: dict[str, Any] = {
    "vocab_size": 199, "hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 10, "global_head_dim": 16, "num_global_key_value_heads": 1,
    "attention_k_eq_v": True, "sliding_window": 9, "final_logit_softcapping": 30.0, "rms_norm_eps": 1e-3,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
}  # fmt: skip
VISION: dict[str, Any] = {
    "patch_size": PX, "pooling_kernel_size": GROUP, "mm_embed_dim": 28, "mm_posemb_size": 12, "output_proj_dims": 28,
    "rms_norm_eps": 1e-2,
}  # fmt: skip
AUDIO: dict[str, Any] = {"audio_embed_dim": SAMPLES, "rms_norm_eps": 1e-3}
MARKS = {
    "boi_token_id": 190, "eoi_token_id": 191, "image_token_id": 192, "video_token_id": 193, "boa_token_id": 194,
    "eoa_token_index": 195, "audio_token_id": 196,
}  # fmt: skip
MOST = 70


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    torch.manual_seed(0)
    with exact():
        yield


def drawn(net: Any, seed: int) -> None:
    """Weights that hide nothing; places and layer norms' weights too."""
    gains(net, seed)
    eye = net.model.embed_vision
    if eye is not None:
        with torch.no_grad():
            eye.pos_embedding.normal_(generator=torch.Generator().manual_seed(seed), std=0.7)


def written(
    folder: Path, gain: bool = True, seed: int = 1, text: dict[str, Any] | None = None, **parts: Any
) -> tuple[Any, Checkpoint]:
    """Their model, and its folder opened; skips where there is nothing to compare with."""
    there = reference().models.gemma4_unified.configuration_gemma4_unified
    config = there.Gemma4UnifiedConfig(
        text_config=TEXT | (text or {}), vision_config=parts.get("vision", VISION),
        audio_config=parts.get("audio", AUDIO), **MARKS,
        tie_word_embeddings=(text or {}).get("tie_word_embeddings", True),
    )  # fmt: skip
    torch.manual_seed(seed)
    net = reference().Gemma4UnifiedForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        drawn(net, seed)
    elif net.model.embed_vision is not None:
        net.model.embed_vision.pos_embedding.normal_()  # else default places are near nought
    net.save_pretrained(folder, max_shard_size="60kB")
    looks = {"patch_size": PX, "pooling_kernel_size": GROUP, "max_soft_tokens": MOST}
    if vision := parts.get("vision", VISION):
        looks |= {name: vision[name] for name in ("patch_size", "pooling_kernel_size")}
    hears = {
        "sampling_rate": 16_000,
        "audio_samples_per_token": (parts.get("audio", AUDIO) or AUDIO)["audio_embed_dim"],
    }
    processor = {"image_processor": looks, "video_processor": looks, "feature_extractor": hears}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    return net, Checkpoint.open(folder)


def picture(rows: int, cols: int, seed: int = 0, side: int = SIDE) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, rows * side, cols * side), dtype=torch.uint8, generator=generator)


def flat(pixels: Tensor, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """A picture as patches and places, as their processor gives them."""
    cut = patches.cut(pixels, side).permute(0, 2, 3, 1).flatten(1).float() / 255
    down, across = torch.meshgrid(*(torch.arange(n // side) for n in pixels.shape[1:]), indexing="ij")
    return cut, torch.stack([across, down], -1).flatten(0, 1)


def padded(pictures: list[Tensor], side: int = SIDE) -> tuple[Tensor, Tensor]:
    found = [flat(each, side) for each in pictures]
    most = max(len(each[0]) for each in found) + 3
    values, places = torch.zeros(len(found), most, 3 * side * side), torch.full((len(found), most, 2), -1)
    for i, (cut, at) in enumerate(found):
        values[i, : len(cut)], places[i, : len(cut)] = cut, at
    return values, places


def seen_by(net: Any, pictures: list[Tensor], side: int = SIDE) -> list[Tensor]:
    return list(net.model.get_image_features(*padded(pictures, side), return_dict=True).pooler_output)


def heard_by(net: Any, samples: Tensor) -> Tensor:
    extractor = reference().models.gemma4_unified.feature_extraction_gemma4_unified.Gemma4UnifiedAudioFeatureExtractor
    size = net.config.audio_config.audio_embed_dim
    features = extractor(feature_size=size, audio_samples_per_token=size)(list(samples.numpy()), return_tensors="pt")
    said = net.model.get_audio_features(features.input_features, features.input_features_mask, return_dict=True)
    rows: Tensor = said.pooler_output
    return rows


# --- the ear


@pytest.mark.parametrize("gain", [False, True], ids=["default", "gains"])
@pytest.mark.parametrize("rest", [0, 1, SAMPLES - 1])
def test_sound_whole_and_streamed_is_theirs(tmp_path: Path, gain: bool, rest: int) -> None:
    net, checkpoint = written(tmp_path, gain)
    ear = family.own_ear(checkpoint)
    samples = sound(4, 41, SAMPLES)[:, : 40 * SAMPLES + rest]
    there = heard_by(net, samples)
    assert error(ear.whole(samples), there) < BAR
    state, everyone, rng, at, parts = ear.init_state(4), torch.ones(4, dtype=torch.bool), random.Random(rest), 0, []
    while at < 40 * SAMPLES:
        size = min(rng.choice((1, 1, 2, 7)) * SAMPLES, 40 * SAMPLES - at)
        parts.append(ear.step(samples[:, at : at + size], state, everyone))
        at += size
    parts.append(ear.provisional(samples[:, at:], state))
    assert error(torch.cat(parts, 1), there) < BAR
    assert there.shape[1] == 40 + (rest > 0) and ear.final(samples.shape[1]) == 40
    assert (ear.token_samples, ear.block_samples, ear.width) == (SAMPLES, SAMPLES, 40)
    assert not {name for name in checkpoint.unread if "audio" in name}


def test_a_real_token_is_40_ms(tmp_path: Path) -> None:
    ear = RawEar(640, 8)
    assert ear.token_ms == 40.0 and ear(torch.zeros(1, 1280)).shape == (1, 2, 8)
    with pytest.raises(ValueError, match="wait for more"):
        ear.step(torch.zeros(1, 641), ear.init_state(1), torch.ones(1, dtype=torch.bool))


@pytest.mark.parametrize("name", ["eps", "token", "order"])
def test_a_wrong_ear_is_heard(tmp_path: Path, name: str) -> None:
    net, checkpoint = written(tmp_path)
    ear, samples = family.own_ear(checkpoint), 0.05 * sound(2, 12, SAMPLES)
    there = heard_by(net, samples)
    assert error(ear(samples), there) < BAR
    if name == "eps":
        ear.eps *= 2
    elif name == "token":
        samples = samples.roll(1, 1)
    else:
        ear.enter.weight.copy_(ear.enter.weight.flip(1))
    assert error(ear(samples), there) > FAR


# --- the eye


SHAPES = [(3, 5), (4, 2), (1, 12), (12, 1)]


@pytest.mark.parametrize("gain", [False, True], ids=["default", "gains"])
def test_pictures_of_any_shape_are_theirs(tmp_path: Path, gain: bool) -> None:
    net, checkpoint = written(tmp_path, gain)
    eye, pictures = family.own_eye(checkpoint), [picture(*shape, seed=i) for i, shape in enumerate(SHAPES)]
    for each, there in zip(pictures, seen_by(net, pictures), strict=True):
        assert error(eye(each[None])[0], there) < BAR
        assert error(eye(each[None].float() / 255)[0], there) < BAR
    values, places = padded(pictures[:2])
    film = net.model.get_video_features(values, places, torch.tensor([2]), return_dict=True).pooler_output[0]
    assert error(torch.cat([eye(each[None])[0] for each in pictures[:2]]), film) < BAR
    assert not {name for name in checkpoint.unread if "vision" in name}
    assert (eye.video, eye.picture) == (Budget(MOST * GROUP**2, PX, GROUP),) * 2


def changed(pixels: Tensor, flags: Tensor, seed: int) -> Tensor:
    rows, cols = (n // SIDE for n in pixels.shape[1:])
    where = flags.view(rows, cols).repeat_interleave(SIDE, 0).repeat_interleave(SIDE, 1)
    return torch.where(where, picture(rows, cols, seed), pixels)


def test_a_quarter_of_the_patches_anew_is_all_of_them_anew_to_the_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, checkpoint = written(tmp_path)
    eye = family.own_eye(checkpoint)
    state, generator, pixels = eye.init_state(2, 60), torch.Generator().manual_seed(3), picture(6, 10)
    every = torch.ones(60, dtype=torch.bool)
    assert torch.equal(eye.look(pixels, every & False, state, 1), eye(pixels[None])[0])  # it has seen nothing: all
    given_rows = state.rows[1].clone()
    for turn in range(40):
        flags = torch.zeros(60, dtype=torch.bool)
        flags[torch.randperm(60, generator=generator)[:15]] = True
        before, pixels = given_rows, changed(pixels, flags, 100 + turn)
        with monkeypatch.context() as patch:
            rows = list[int]()
            patch.setattr(eye.enter, "product", counted(eye.enter.product, rows))
            given_rows = eye.look(pixels, flags, state, 1)
        assert rows == [16]  # a quarter of the patches costs one piece of sixteen rows, and not four
        assert torch.equal(given_rows, eye.look(pixels, every, eye.init_state(1, 60), 0))
        assert torch.equal(given_rows, eye(pixels[None])[0])
        assert torch.equal(given_rows[~flags], before[~flags]) and not torch.equal(given_rows, before)
    assert error(given_rows, seen_by(net, [pixels])[0]) < BAR
    with monkeypatch.context() as patch:
        patch.setattr(eye, "_rows", None)
        assert torch.equal(eye.look(picture(6, 10, 9), every & False, state, 1), given_rows)
    turned = picture(10, 6, 5)  # the camera is turned: nothing of before counts
    assert torch.equal(eye.look(turned, every & False, state, 1), eye(turned[None])[0])
    assert not state.rows[0].any() and not state.grid[0].any()


def counted(product: Callable[[Tensor], Tensor], rows: list[int]) -> Callable[[Tensor], Tensor]:
    def counting(x: Tensor) -> Tensor:
        rows.append(len(x))
        return product(x)

    return counting


def test_a_camera_goes_through_frame_detector_and_eye(tmp_path: Path) -> None:
    """Patches of 48 px, at the real shape of a picture."""
    vision = VISION | {"patch_size": 16, "pooling_kernel_size": 3, "mm_posemb_size": 64}
    eye = family.own_eye(written(tmp_path, vision=vision)[1])
    state, keyframes = eye.init_state(1), Keyframes(refresh_s=0)
    pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    for turn in range(3):
        if turn == 2:
            pixels[100:200, 100:200] = 255 - pixels[100:200, 100:200]
        framed = eye.frame(pixels)
        assert framed.shape == (3, 7 * 48, 9 * 48)
        change = keyframes.feed(framed.permute(1, 2, 0).numpy(), turn)
        flags = eye.flags(change.patches, framed)
        assert flags.shape == (63,) and int(flags.sum()) <= (63, 0, 25)[turn]
        rows = eye.look(framed, flags, state, 0)
        assert torch.equal(rows, eye(framed[None])[0])
    assert change.count and rows.shape == (63, 40)


def shuffled(eye: RawEye, name: str) -> None:
    if name == "eps":
        eye.config = dataclasses.replace(eye.config, eps=0.1)
    elif name == "layer norms' eps":
        eye.norm_pixels.eps = 1e-3
    elif name == "rows for columns":
        eye.positions.copy_(eye.positions.flip(0))
    elif name == "colours last":
        eye.enter.weight.copy_(eye.enter.weight.unflatten(1, (3, -1)).transpose(1, 2).flatten(1))
    else:
        eye.enter.bias.zero_()


@pytest.mark.parametrize("name", ["eps", "layer norms' eps", "rows for columns", "colours last", "bias"])
def test_a_wrong_eye_is_seen(tmp_path: Path, name: str) -> None:
    net, checkpoint = written(tmp_path)
    eye, pixels = family.own_eye(checkpoint), picture(4, 7)
    there = seen_by(net, [pixels])[0]
    assert error(eye(pixels[None])[0], there) < BAR
    shuffled(eye, name)
    assert error(eye(pixels[None])[0], there) > FAR


# --- the decoder, and all of it


def prompt(seed: int, shapes: list[tuple[int, int]], tokens: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """Ids `[1, T]` in which pictures and a clip stand among words, the pictures, and the clip `[1, S]`."""
    rng, pictures = random.Random(seed), [picture(*shape, seed=seed + i) for i, shape in enumerate(shapes)]
    ids = list[int]()

    def words() -> None:
        ids.extend(rng.randrange(3, 189) for _ in range(rng.randrange(2, 9)))

    for rows, cols in shapes:
        words()
        ids += [190, *[192] * (rows * cols), 191]
    words()
    ids += [194, *[196] * tokens, 195]
    words()
    return torch.tensor([ids]), pictures, sound(1, tokens, SAMPLES)


def logits_of(net: Any, ids: Tensor, pictures: list[Tensor], clip: Tensor, plain: bool = False) -> Tensor:
    """Theirs, with the masks that they make for generating; `plain`: with those of their forward."""
    size = clip.shape[1] // SAMPLES
    given: dict[str, Any] = {"input_ids": ids, "mm_token_type_ids": (ids == 192).long() + 3 * (ids == 196).long()}
    if size:
        features = clip.reshape(1, size, SAMPLES)
        given |= {"input_features": features, "input_features_mask": torch.ones(1, size, dtype=torch.bool)}
    if pictures:
        given |= dict(zip(("pixel_values", "image_position_ids"), padded(pictures), strict=True))
    if not plain:
        time = ids.shape[1]
        given["attention_mask"] = net.create_masks_for_generate(
            net.config, torch.empty(1, time, 0), None, None, torch.arange(time)[None],
            mm_token_type_ids=given["mm_token_type_ids"],
        )  # fmt: skip
    logits: Tensor = net(**given).logits[0]
    return logits


def rows_of(checkpoint: Checkpoint, net: Stack, ids: Tensor, pictures: list[Tensor], clip: Tensor) -> Tensor:
    """What our decoder reads for a prompt, from our ear and our eye, `[T, R]`."""
    rows, marks, heard = net.embed(ids[0]), family.picture_marks(checkpoint), family.sound_marks(checkpoint)
    assert marks is not None and heard is not None
    if clip.shape[1]:
        rows[ids[0] == heard.row] = net.rows(family.own_ear(checkpoint)(clip)[0], heard.layers)
    eye, begins = family.own_eye(checkpoint), (ids[0] == marks.opens).nonzero()[:, 0].tolist()
    for first, pixels in zip(begins, pictures, strict=True):
        seen = eye(pixels[None])[0]
        rows[first + 1 : first + 1 + len(seen)] = net.picture_rows(seen, marks.layers)
    return rows


def streamed(net: Stack, rows: Tensor, sizes: list[int]) -> Tensor:
    """Logits `[T, V]` of rows that come in pieces of about these sizes, into one lane of three."""
    state, at, out = net.init_state(3, 256, back=16), 0, list[Tensor]()
    for turn in range(len(rows)):
        if at == len(rows):
            break
        size = net.piece(rows[at:], sizes[turn % len(sizes)])
        x = torch.zeros(3, max(size, net.pass_rows), rows.shape[1])
        x[1, :size] = rows[at : at + size]
        x[0, 0] = rows[0]
        out.append(net.steps(x, [1, size, 0], state)[1, :size])
        at += size
    return torch.cat(out)


SEEN = [(2, 4), (4, 5), (1, 1)]


@pytest.mark.parametrize("gain", [False, True], ids=["default", "gains"])
@pytest.mark.parametrize("window", [9, 64])
def test_words_pictures_and_sound_in_one_prompt(tmp_path: Path, gain: bool, window: int) -> None:
    """One picture is larger than the smaller window."""
    net, checkpoint = written(tmp_path, gain, text={"sliding_window": window})
    ours = family.decoder(checkpoint)
    asked = prompt(5, SEEN, 11)
    there, rows = logits_of(net, *asked), rows_of(checkpoint, ours, *asked)
    assert ours.shape.ahead == MOST and rows.shape[1] == 41
    assert error(ours(rows=rows[None])[0], there) < BAR
    for sizes in ([1], [32], [3, 1, 8, 13]):
        assert error(streamed(ours, rows, sizes), there) < BAR
    words = asked[0][:, :2]
    assert error(ours(words)[0], logits_of(net, words, [], torch.zeros(1, 0))) < BAR
    assert not checkpoint.unread - {name for name in checkpoint.unread if "embed" in name}


def test_it_generates_the_same_behind_a_picture(tmp_path: Path) -> None:
    net, checkpoint = written(tmp_path, seed=3)
    ours, asked = family.decoder(checkpoint), prompt(8, [(3, 4)], 5)
    rows, state = rows_of(checkpoint, ours, *asked), ours.init_state(4, 128, back=8)
    x = torch.zeros(4, len(rows), ours.row_width)
    x[2] = rows
    logits, said, ids = ours.step(x, [0, 0, len(rows), 0], state)[2], list[int](), asked[0]
    for _ in range(24):
        said.append(int(logits[:190].argmax()))
        x = torch.zeros(4, 1, ours.row_width)
        x[2, 0] = ours.embed(torch.tensor(said[-1]))
        logits = ours.step(x, [0, 0, 1, 0], state)[2]
        ids = torch.cat([ids, torch.tensor([said[-1:]])], 1)
    there = logits_of(net, ids, *asked[1:])[len(rows) - 1 : -1, :190].argmax(-1)
    assert said == there.tolist()


def mutated(net: Stack, name: str) -> Stack:
    shape, weights = net.shape, {key: value.clone() for key, value in net.state_dict().items()}
    if name == "head order":
        weights["layers.1.out.weight"] = weights["layers.1.out.weight"].unflatten(1, (4, -1)).flip(1).flatten(1)

    def blocks(**change: Any) -> Any:
        return dataclasses.replace(shape, blocks=tuple(dataclasses.replace(each, **change) for each in shape.blocks))

    def windows(by: int) -> Any:
        found = (dataclasses.replace(each, window=each.window and each.window + by) for each in shape.blocks)
        return dataclasses.replace(shape, blocks=tuple(found))

    shapes: dict[str, Callable[[], Any]] = {
        "eps": lambda: blocks(norm_eps=2e-3),
        "scale": lambda: blocks(scale=0.98),
        "window + 1": lambda: windows(1),
        "window - 1": lambda: windows(-1),
        "rope base": lambda: dataclasses.replace(
            shape, near_rope=dataclasses.replace(shape.near_rope, base=shape.near_rope.base * 1.2)
        ),
        "softcap": lambda: dataclasses.replace(shape, softcap=31.0),
    }
    wrong = Stack(shapes.get(name, lambda: shape)()).eval()
    wrong.load_state_dict(weights)
    return wrong


@pytest.mark.parametrize(
    "name",
    ["eps", "scale", "window + 1", "window - 1", "rope base", "softcap", "head order", "blind", "deaf", "causal"],
)
def test_mutations_are_caught(tmp_path: Path, name: str) -> None:
    net, checkpoint = written(tmp_path, seed=21)
    ours, asked = family.decoder(checkpoint), prompt(22, [(4, 5), (2, 3)], 9)
    there, rows = logits_of(net, *asked), rows_of(checkpoint, ours, *asked)
    assert error(ours(rows=rows[None])[0], there) < BAR
    wrong = mutated(ours, name)
    if name == "blind":
        rows = rows_of(checkpoint, ours, asked[0], [each.flip(2) for each in asked[1]], asked[2])
    elif name == "deaf":
        rows = rows_of(checkpoint, ours, *asked[:2], asked[2].flip(1))
    elif name == "causal":
        rows[:, -1] = 0
    assert error(wrong(rows=rows[None])[0], there) > FAR
    assert error(streamed(wrong, rows, [5, 8]), there) > FAR


def test_their_plain_forward_follows_another_rule(tmp_path: Path) -> None:
    """If this fails, transformers has mended it: the masks above need not be made any more."""
    net, checkpoint = written(tmp_path, seed=23)
    asked = prompt(22, [(4, 5), (2, 3)], 9)
    ours = family.decoder(checkpoint)
    rows = rows_of(checkpoint, ours, *asked)
    assert error(logits_of(net, *asked, plain=True), logits_of(net, *asked)) > FAR
    assert error(ours(rows=rows[None])[0], logits_of(net, *asked)) < BAR
    heard, words = asked[2], asked[0][:, -18:]  # where no picture is, both are one
    assert error(logits_of(net, words, [], heard, plain=True), logits_of(net, words, [], heard)) < BAR


@settings(max_examples=6)
@given(data=st.data())
def test_any_legal_configuration(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([2, 4]))
    kinds = data.draw(st.lists(st.sampled_from(["sliding_attention", "full_attention"]), min_size=1, max_size=3))
    kinds = ["sliding_attention", "full_attention", *kinds, "full_attention"]
    group, px = data.draw(st.sampled_from([1, 2, 3])), data.draw(st.sampled_from([2, 4]))
    width = data.draw(st.sampled_from([12, 30]))
    text = {
        "hidden_size": data.draw(st.sampled_from([24, 40])), "num_attention_heads": heads,
        "num_key_value_heads": data.draw(st.sampled_from([1, 2])), "num_hidden_layers": len(kinds),
        "layer_types": kinds, "head_dim": data.draw(st.sampled_from([4, 10])),
        "global_head_dim": data.draw(st.sampled_from([8, 12])), "attention_k_eq_v": data.draw(st.booleans()),
        "num_global_key_value_heads": data.draw(st.sampled_from([None, 1, 2])),
        "num_kv_shared_layers": data.draw(st.integers(0, len(kinds) - 2)),
        "use_double_wide_mlp": data.draw(st.booleans()), "attention_bias": data.draw(st.booleans()),
        "sliding_window": data.draw(st.sampled_from([1, 3, 16])),
        "final_logit_softcapping": data.draw(st.sampled_from([None, 25.0])),
        "tie_word_embeddings": data.draw(st.booleans()),
        "use_bidirectional_attention": data.draw(st.sampled_from([None, "vision"])),
    }  # fmt: skip
    vision = VISION | {
        "patch_size": px, "pooling_kernel_size": group, "mm_embed_dim": width, "output_proj_dims": width,
        "mm_posemb_size": data.draw(st.integers(4, 9)),
    }  # fmt: skip
    net, checkpoint = written(
        tmp_path_factory.mktemp("unified"), seed=data.draw(st.integers(0, 99)), text=text, vision=vision
    )
    ours, asked = family.decoder(checkpoint), prompt(5, [(2, 4), (3, 3)], 5)
    pictures = [picture(*shape, seed=5 + i, side=px * group) for i, shape in enumerate([(2, 4), (3, 3)])]
    seen = seen_by(net, pictures, px * group)
    assert error(family.own_eye(checkpoint)(pictures[0][None])[0], seen[0]) < BAR
    rows = ours.embed(asked[0][0])
    embeds = net.get_input_embeddings()(asked[0])
    for first, each in zip((asked[0][0] == 190).nonzero()[:, 0].tolist(), seen, strict=True):
        rows[first + 1 : first + 1 + len(each)] = ours.picture_rows(each, 0)
        embeds[0, first + 1 : first + 1 + len(each)] = each
    time = embeds.shape[1]
    masks = net.create_masks_for_generate(
        net.config, embeds, None, None, torch.arange(time)[None], mm_token_type_ids=(asked[0] == 192).long()
    )
    there = net(inputs_embeds=embeds, attention_mask=masks).logits[0]
    precise = family.decoder(checkpoint, torch.float64)
    bar = max(BAR, 4 * error(there, precise(rows=rows[None].double())[0]))  # some weights blow rounding up
    assert bar < FAR
    assert error(ours(rows=rows[None])[0], there) < bar
    assert error(streamed(ours, rows, [7, 1, 4]), there) < bar


def test_a_picture_is_read_in_one_step_or_refused(tmp_path: Path) -> None:
    net, checkpoint = written(tmp_path)
    ours = family.decoder(checkpoint)
    rows = ours.picture_rows(torch.randn(12, 40), 0)
    both = torch.cat([ours.embed(torch.tensor([5, 190])), rows, ours.embed(torch.tensor([191, 7, 8]))])
    assert [ours.piece(both[at:], size) for at, size in ((0, 1), (0, 8), (2, 8), (2, 32), (0, 14), (14, 2))] == [
        1, 2, 12, 15, 14, 2,
    ]  # fmt: skip
    state = ours.init_state(4, 64)
    with pytest.raises(ConfigError, match="is cut"):
        ours.step(both[None, :8].expand(4, -1, -1), [0, 8, 0, 0], state)
    assert not state.length.any()
    with pytest.raises(ConfigError, match="71 rows"):
        ours.picture_rows(torch.randn(71, 40), 0)
    with pytest.raises(ConfigError, match="layers with a window hold"):
        ours.step(torch.zeros(4, 400, 41), [400, 0, 0, 0], ours.init_state(4, 512, back=16))


def test_a_picture_is_taken_back_or_evicted_whole(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path, seed=4)
    ours = family.decoder(checkpoint)
    generator = torch.Generator().manual_seed(6)
    words = ours.embed(torch.randint(3, 189, (40,), generator=generator))
    first, second = (ours.picture_rows(torch.randn(n, 40, generator=generator), 0) for n in (30, 12))
    rows, state = torch.cat([words[:9], first, words[9:14], second, words[14:20]]), ours.init_state(1, 128, back=4)

    def read(more: Tensor) -> Tensor:
        x = torch.zeros(1, max(4, len(more)), 41)
        x[0, : len(more)] = more
        return ours.step(x, [len(more)], state)[0]

    read(rows[:39])
    assert error(read(rows[39:]), ours(rows=rows[None])[0, -1]) < BAR
    state.rewind(0, 44)  # before the second
    rows = torch.cat([rows[:44], words[20:26]])
    assert error(read(rows[44:]), ours(rows=rows[None])[0, -1]) < BAR
    read(words[26:30])
    naive = Naive.of(ours, state, 0)
    ours.evict(CachePlan(holes=(Hole(9, 30),), moves=(Move(0, 9, 30),)), 0, state, 0)
    naive.evict(range(9, 39))
    for each in words[30:33]:
        assert error(read(each[None]), naive.read(each[None], [0.0])) < BAR


# --- what its files say


def test_marks_are_those_of_its_config(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path)
    seen, heard = family.picture_marks(checkpoint), family.sound_marks(checkpoint)
    assert seen is not None and heard is not None
    assert (seen.opens, seen.row, seen.closes, seen.layers) == (190, 192, 191, 0)
    assert (heard.opens, heard.row, heard.closes, heard.layers) == (194, 196, 195, 0)


def test_one_without_senses_has_none(tmp_path: Path) -> None:
    net, checkpoint = written(tmp_path, vision=None, audio=None)
    assert family.picture_marks(checkpoint) is None and family.sound_marks(checkpoint) is None
    for build in (family.own_ear, family.own_eye):
        with pytest.raises(ConfigError, match="no e"):
            build(checkpoint)
    ours, ids = family.decoder(checkpoint), torch.randint(3, 190, (1, 30))
    assert ours.shape.ahead == 0 and error(ours(ids)[0], net(ids).logits[0]) < BAR


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    _, checkpoint = written(tmp_path)
    config, files = dict(checkpoint.config), checkpoint._places

    def wrong(part: str, **change: Any) -> Checkpoint:
        return Checkpoint(tmp_path, {**config, part: config[part] | change}, files)

    for build, bad, said in (
        (family.decoder, wrong("text_config", use_bidirectional_attention="all"), "'all' looks ahead"),
        (family.decoder, wrong("text_config", intermediate_size=57), "speaks of"),
        (family.decoder, wrong("vision_config", patch_size=8), "other patches"),
        (family.own_ear, wrong("audio_config", audio_embed_dim=30), "not 30 at 16000"),
        (family.own_ear, wrong("text_config", hidden_size=48), "shape"),
        (family.own_eye, wrong("vision_config", mm_embed_dim=30), "shape"),
        (family.own_eye, wrong("vision_config", mm_embed_dim="wide"), "settings are no"),
        (family.own_eye, wrong("vision_config", pooling_kernel_size=0), "other patches"),
    ):
        with pytest.raises(ConfigError, match=said):
            build(bad)
    for build_marks in (family.picture_marks, family.sound_marks):
        with pytest.raises(ConfigError, match="which its decoder"):
            build_marks(wrong("text_config", vocab_size=192))
    eye = family.own_eye(checkpoint)
    for pixels in (torch.zeros(3, SIDE + 1, SIDE), torch.zeros(3, 0, SIDE), torch.zeros(3, SIDE, 13 * SIDE)):
        with pytest.raises(ValueError, match="whole patches"):
            eye(pixels[None])
    with pytest.raises(ValueError, match="a state for 4"):
        eye.look(picture(3, 3), torch.ones(9, dtype=torch.bool), eye.init_state(1, 4), 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_senses_the_same(tmp_path: Path, dtype: torch.dtype) -> None:
    _, checkpoint = written(tmp_path)
    samples, pixels = sound(4, 9, SAMPLES), picture(3, 5)
    for full, half, given_ in (
        (family.own_ear(checkpoint), family.own_ear(checkpoint, dtype), samples),
        (family.own_eye(checkpoint), family.own_eye(checkpoint, dtype), pixels[None]),
    ):
        less = half(given_)
        assert less.dtype == dtype
        assert torch.cosine_similarity(full(given_).flatten(), less.float().flatten(), 0) > 0.99


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of their processor. It imports torchvision, which no CPU build of torch has, for resizing alone."""
    name, package = "image_processing_gemma4_unified", reference().models.gemma4_unified.__name__
    resizing = "torchvision.transforms.v2.functional"
    if importlib.util.find_spec("torchvision") is None:
        for at in range(resizing.count(".") + 1):
            part = ".".join(resizing.split(".")[: at + 1])
            monkeypatch.setitem(sys.modules, part, ModuleType(part))
        sys.modules["torchvision.transforms.v2"].__dict__["functional"] = sys.modules[resizing]
        sys.modules[resizing].__dict__["InterpolationMode"] = object
    yield importlib.import_module(f"{package}.{name}")
    sys.modules.pop(f"{package}.{name}")


@pytest.mark.parametrize("shape", [(336, 432), (480, 640), (90, 41), (37, 900)])
def test_patches_and_places_are_those_of_their_processor(processor: Any, shape: tuple[int, int]) -> None:
    """Behind the resizing, which `tests/test_gemma4_eye.py` compares."""
    framing = Budget(70 * 9, 16, 3)
    assert framing.sides(*shape) == processor.get_aspect_ratio_preserving_size(*shape, 16, 630, 3)
    framed = framing.frame(np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8))
    small = processor.convert_image_to_patches(framed.float() / 255, 16)
    cols, number = framed.shape[2] // 16, torch.arange(len(small))
    places = torch.stack([number % cols, number // cols], 1)
    merged, where = processor.patches_merge(small[None], places[None], len(small) // 9)
    for theirs, ours in zip((merged[0], where[0]), flat(framed, 48), strict=True):
        assert torch.equal(theirs, ours)
