"""What is made of sound and of pictures before a network reads it, ours against the processors of `transformers`: both
read the same files of a folder.

Sound: noise that swells, nearly nothing, what clips, silence with a click in it; whole, and in pieces where it streams.
Pictures: of the right size already, and of sizes that must be brought to it. `transformers` resizes by torchvision
where that can be imported, else by Pillow. With torchvision ours are the same bytes (`…_resized`, null without it);
from Pillow's they differ as torchvision's do (`…_pillow_steps`: the mean difference in steps of 255, of the worst
size), which is more where a picture is enlarged one way and shrunk the other: that is compared with torchvision alone.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from liveagent.bench.beside import FAR, error, sound
from liveagent.bench.rival import reference
from liveagent.families import gemma4_ear, gemma4_eye, llava, nemotron, whisper
from liveagent.nn import patches
from liveagent.nn.checkpoint import CONFIG, WHOLE, Checkpoint
from liveagent.nn.clip_mel import ClipMel
from liveagent.nn.framing import Budget, Crop, Framing, Stretch
from liveagent.nn.mel import HOP, Mel, MelConfig
from liveagent.nn.patches import Scale
from liveagent.video import Pixels

MOST_STEPS = 0.05
"""Of 255, in the mean, that a picture may differ from one that Pillow has resized; a mistake is ten times as far."""
Theirs = Callable[[Pixels], Tensor]
"""A picture to what their processor gives."""


def folder_of(folder: Path, processor: Any, config: Mapping[str, Any] | None = None) -> Checkpoint:
    """A checkpoint whose weights nobody reads, with the settings that one of their processors saved, or settings."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps(config or {}))
    if isinstance(processor, Mapping):
        (folder / "processor_config.json").write_text(json.dumps(processor))
    else:
        processor.save_pretrained(str(folder))
    save_file({"none": torch.zeros(1)}, folder / WHOLE)
    return Checkpoint.open(folder)


# --- sound


@dataclass(frozen=True)
class Heard:
    """One family's features: `ours` measures `samples [B, S]`, `theirs` is what it should be; `streamed`: ours in
    pieces."""

    ours: Mel | ClipMel
    of: Callable[[Mel | ClipMel], Tensor]
    theirs: Tensor
    streamed: Tensor | None = None


def sounds(samples: int) -> Tensor:
    """Four of them `[4, S]`."""
    swells = sound(1, -(-samples // HOP), HOP, seed=3)[0, :samples]
    click = torch.zeros(samples)
    click[samples // 3] = 0.9
    return torch.stack([swells, 1e-3 * swells.flip(0), (swells * 30).clamp(-1, 1), click])


def pieces(mel: Mel, samples: Tensor, block: int, sizes: Sequence[int] = (1, 3, 2, 7)) -> Tensor:
    """Sound that comes in pieces of so many blocks, over and over."""
    state, active = mel.init_state(len(samples)), torch.ones(len(samples), dtype=torch.bool)
    parts, at, turn = [], 0, 0
    while at < samples.shape[1]:
        wide = sizes[turn % len(sizes)] * block
        parts.append(mel.step(samples[:, at : at + wide], state, active))
        at, turn = at + wide, turn + 1
    return torch.cat(parts, dim=1)


def _gemma_sound(folder: Path) -> Heard:
    extract = reference().Gemma4AudioFeatureExtractor()
    mel, samples = gemma4_ear.mel_of(folder_of(folder, extract)), sounds(93 * 640)
    padded = [np.pad(each.numpy(), (0, 1)) for each in samples]  # they drop the last frame unless a sample follows
    said = extract(padded, return_tensors="pt", sampling_rate=16_000)
    theirs = said.input_features[said.input_features_mask].view(len(samples), -1, extract.feature_size)
    return Heard(mel, lambda ours: ours(samples), theirs, pieces(mel, samples, HOP))


def _nemotron_sound(folder: Path) -> Heard:
    there = importlib.import_module("transformers.models.nemotron_asr_streaming")
    extract = there.NemotronAsrStreamingFeatureExtractor(feature_size=80)
    config = {"encoder_config": {"num_mel_bins": 80}}
    mel, samples = nemotron.mel_of(folder_of(folder, extract, config)), sounds(64 * 1280)
    padded = [np.pad(each.numpy(), (0, 1280)) for each in samples]
    theirs = extract(padded, return_tensors="pt", sampling_rate=16_000).input_features[:, : 8 * 64 - 7]
    return Heard(mel, lambda ours: ours(samples)[:, 7:], theirs, pieces(mel, samples, HOP)[:, 7:])


def _whisper_sound(bands: int, seconds: float, folder: Path) -> Heard:
    extract = reference().WhisperFeatureExtractor(feature_size=bands, chunk_length=4)
    config = {"num_mel_bins": bands, "max_source_positions": 200, "d_model": 8, "encoder_layers": 1,
              "encoder_attention_heads": 1, "encoder_ffn_dim": 8, "decoder_layers": 1, "decoder_attention_heads": 1,
              "decoder_ffn_dim": 8, "vocab_size": 16, "max_target_positions": 8}  # fmt: skip
    checkpoint = folder_of(folder, extract, config)
    samples = sounds(round(seconds * 16_000))
    theirs = extract([each.numpy() for each in samples], sampling_rate=16_000, return_tensors="pt").input_features
    return Heard(whisper.mel_of(checkpoint, whisper.configs(checkpoint)[0]), lambda ours: ours(samples), theirs)


SOUNDS: Mapping[str, Callable[[Path], Heard]] = {
    "gemma4_mel": _gemma_sound,
    "nemotron_mel": _nemotron_sound,
    "whisper_mel": lambda folder: _whisper_sound(80, 2.7, folder),
    "whisper_mel_128_cut": lambda folder: _whisper_sound(128, 5.3, folder),
}


def _mel(name: str, change: Callable[[MelConfig], Any], mel: Mel | ClipMel) -> Mel:
    assert isinstance(mel, Mel)
    return Mel(config=dataclasses.replace(mel.config, **{name: change(mel.config)}))


def _clip(change: Callable[[ClipMel], object], mel: Mel | ClipMel) -> ClipMel:
    assert isinstance(mel, ClipMel)
    found = ClipMel(mel.bands, mel.fft, mel.hop, mel.samples // 16_000)
    change(found)
    return found


MISTAKES: Mapping[str, Callable[[Mel | ClipMel], Mel | ClipMel]] = {
    "window's shape": partial(_mel, "periodic", lambda c: not c.periodic),
    "scale of the bands": partial(_mel, "mel", lambda c: "slaney" if c.mel == "htk" else "htk"),
    "lowest band": partial(_mel, "low_hz", lambda c: c.low_hz + 20.0),
    "power": partial(_mel, "power", lambda c: 3 - c.power),
    "floor": partial(_mel, "floor", lambda c: c.floor * 1.5),
    "emphasis": partial(_mel, "emphasis", lambda c: 0.0 if c.emphasis else 0.97),
    "area of the bands": partial(_mel, "even_area", lambda c: not c.even_area),
    "a quarter of a hop late": partial(_mel, "late_samples", lambda c: c.late_samples + HOP // 4),
}
OF_CLIPS: Mapping[str, Callable[[Mel | ClipMel], Mel | ClipMel]] = {
    "window's shape": partial(_clip, lambda mel: mel.window.copy_(torch.hann_window(mel.fft, periodic=False))),
    "a band of another's": partial(_clip, lambda mel: mel.filters.copy_(mel.filters.roll(1, 1))),
    "area of the bands": partial(_clip, lambda mel: mel.filters.div_(mel.filters.sum(0))),
}


# --- pictures


def _processor(name: str, made: str) -> Any:
    """One of theirs; None where that needs a torchvision that is not there, or does not fit this torch."""
    reference()
    if not made.endswith("Pil"):
        try:
            importlib.import_module("torchvision")
        except (ImportError, RuntimeError):
            return None
    return getattr(importlib.import_module(f"transformers.models.{name}"), made)


@dataclass(frozen=True)
class Seen:
    """One family's pictures: `framing` brings one to size, `light` makes of that the numbers that theirs are compared
    with; `right`: a size that needs no change. `exact` and `pillow`: theirs, if they can be had."""

    framing: Framing
    light: Callable[[Tensor], Tensor]
    right: tuple[int, int]
    exact: Theirs | None
    pillow: Theirs | None
    step: float
    """How much of `light` a step of 255 is."""


def _cells(side: int) -> Callable[[Tensor], Tensor]:
    """Patches as theirs: line, column, colour."""
    return lambda small: patches.cut(small, side).permute(0, 2, 3, 1).flatten(1).float() / 255


def _gemma_seen(rows: int, film: bool, folder: Path) -> Seen:
    options = {"max_soft_tokens": rows}
    exact, pillow = (
        _processor(f"gemma4.{file}", name)
        for file, name in (
            ("video_processing_gemma4", "Gemma4VideoProcessor") if film
            else ("image_processing_gemma4", "Gemma4ImageProcessor"),
            ("image_processing_pil_gemma4", "Gemma4ImageProcessorPil"),
        )
    )  # fmt: skip

    def of(processor: Any) -> Theirs:
        def theirs(pixels: Pixels) -> Tensor:
            given = processor(**options)(pixels, return_tensors="pt")
            found: Tensor = given["pixel_values"][0][given["image_position_ids"][0, :, 0] >= 0]
            return found

        return theirs

    def of_film(pixels: Pixels) -> Tensor:
        film = np.stack([pixels, pixels[::-1]])  # the first of two pictures
        given = exact(**options)(film, return_tensors="pt", do_sample_frames=False)
        found: Tensor = given["pixel_values_videos"][0][given["video_position_ids"][0, :, 0] >= 0]
        return found

    there = exact if film else pillow or exact
    said = {"video_processor": {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": rows}}
    both = folder_of(folder, said if there is None else there(**options))
    return Seen(
        gemma4_eye.framings(both, 16, 3)[film], _cells(16), (336, 432) if rows == 70 else (768, 768),
        None if exact is None else of_film if film else of(exact), None if pillow is None else of(pillow), 1 / 255,
    )  # fmt: skip


def _unified_seen(folder: Path) -> Seen:
    exact = _processor("gemma4_unified.image_processing_gemma4_unified", "Gemma4UnifiedImageProcessor")
    said = {"image_processor": {"patch_size": 16, "pooling_kernel_size": 3, "max_soft_tokens": 70}}
    both = folder_of(folder, said if exact is None else exact(max_soft_tokens=70))

    def theirs(pixels: Pixels) -> Tensor:
        given = exact(max_soft_tokens=70)(pixels, return_tensors="pt")
        found: Tensor = given["pixel_values"][0][given["image_position_ids"][0, :, 0] >= 0]
        return found

    framing = gemma4_eye.framings(both, 16, 3)[0]
    return Seen(framing, _cells(48), (336, 432), None if exact is None else theirs, None, 1 / 255)


def _tower_seen(kind: str, folder: Path) -> Seen:
    """CLIP's, SigLIP's, and LLaVA's, which makes a picture square first."""
    px, mean, std = 64, [0.3, 0.4, 0.5], [0.2, 0.25, 0.3]
    square = {"height": px, "width": px}
    said: dict[str, Any] = {"image_mean": mean, "image_std": std, "resample": 3}
    said |= {"size": square} if kind == "siglip" else {"size": {"shortest_edge": px}, "crop_size": square}
    said |= {"do_pad": True} if kind == "llava" else {}
    name = {"clip": "CLIP", "siglip": "Siglip", "llava": "Llava"}[kind]
    exact = _processor(f"{kind}.image_processing_{kind}", f"{name}ImageProcessor")
    pillow = _processor(f"{kind}.image_processing_pil_{kind}", f"{name}ImageProcessorPil")

    def of(processor: Any) -> Theirs:
        def theirs(pixels: Pixels) -> Tensor:
            found: Tensor = processor(**said)(pixels, return_tensors="pt")["pixel_values"][0]
            return found

        return theirs

    tower = "siglip_vision_model" if kind == "siglip" else "clip_vision_model"
    settings = {**llava.LEFT_OUT[tower], "model_type": tower, "image_size": px, "patch_size": 16}
    processor = (pillow or exact)(**said)
    read = folder_of(folder, processor).settings("preprocessor_config.json")
    vit = llava.vit_config(settings, read)
    return Seen(
        llava.framing_of(read, vit), Scale(vit.mean, vit.std).whole, (px, px), None if exact is None else of(exact),
        None if pillow is None else of(pillow), 1 / 255 / max(std),
    )  # fmt: skip


PICTURES: Mapping[str, Callable[[Path], Seen]] = {
    "gemma4_picture": lambda folder: _gemma_seen(280, False, folder),
    "gemma4_film": lambda folder: _gemma_seen(70, True, folder),
    "gemma4_unified_picture": _unified_seen,
    "clip_picture": lambda folder: _tower_seen("clip", folder),
    "siglip_picture": lambda folder: _tower_seen("siglip", folder),
    "llava_picture": lambda folder: _tower_seen("llava", folder),
}
SIZES = ((480, 640), (37, 300), (201, 200), (20, 31))
BOTH_WAYS = ((90, 41), (300, 37))


def drawn(high: int, wide: int) -> Pixels:
    """Noise: nothing in it is even."""
    return np.random.default_rng(1).integers(0, 256, (high, wide, 3), dtype=np.uint8)


def _other_filter(framing: Framing) -> Framing:
    return dataclasses.replace(framing, filter="bilinear" if framing.filter == "bicubic" else "bicubic")


def _ragged(framing: Framing) -> Framing:
    """Something else than what is there: proportions that are not kept, or that are; a crop without its border."""
    if isinstance(framing, Budget):
        return dataclasses.replace(framing, patches=framing.patches // 2)
    if isinstance(framing, Stretch):
        return Crop(framing.px, framing.px, framing.filter)
    return Stretch(framing.px, framing.filter) if not framing.fill else dataclasses.replace(framing, fill=())


OF_FRAMINGS: Mapping[str, Callable[[Framing], Framing]] = {"filter": _other_filter, "framing": _ragged}
OF_LIGHT: Mapping[str, Callable[[Tensor], Tensor]] = {
    "colours turned about": lambda small: small.flip(0),
    "upside down": lambda small: small.flip(1),
    "a pixel aside": lambda small: small.roll(1, 2),
}


# --- all of it


def _apart(seen: Seen, framing: Framing, theirs: Theirs, sizes: Sequence[tuple[int, int]]) -> float:
    """The mean difference in steps of 255, of the worst size."""
    worst = 0.0
    for size in sizes:
        ours, there = seen.light(framing.frame(drawn(*size))), theirs(drawn(*size))
        apart = (ours - there).abs().mean() if ours.shape == there.shape else torch.tensor(float("inf"))
        worst = max(worst, float(apart) / seen.step)
    return worst


def _pictures(name: str, seen: Seen) -> tuple[dict[str, float | None], Iterator[tuple[str, bool]]]:
    """The figures, and of each mistake whether it is seen."""
    plain, exact, pillow = drawn(*seen.right), seen.exact, seen.pillow
    any_of = exact or pillow
    found: dict[str, float | None] = dict.fromkeys((name, f"{name}_resized", f"{name}_pillow_steps"))
    if any_of is not None:
        found[name] = error(seen.light(seen.framing.frame(plain)), any_of(plain))
    if exact is not None:
        apart = (error(seen.light(seen.framing.frame(drawn(*size))), exact(drawn(*size))) for size in SIZES + BOTH_WAYS)
        found[f"{name}_resized"] = max(apart)
    if pillow is not None:
        found[f"{name}_pillow_steps"] = _apart(seen, seen.framing, pillow, SIZES)

    def mistakes() -> Iterator[tuple[str, bool]]:
        if any_of is None:
            return
        for what, change in OF_FRAMINGS.items():
            far = _apart(seen, change(seen.framing), any_of, SIZES)
            yield f"{name}: {what}", far > 10 * MOST_STEPS
        for what, turned in OF_LIGHT.items():
            yield f"{name}: {what}", error(seen.light(turned(seen.framing.frame(plain))), any_of(plain)) > FAR

    return found, mistakes()


def compared(folder: Path) -> dict[str, Any]:
    """Each processor's error, in standard deviations of theirs (`…_pillow_steps`: in steps of 255), the largest of the
    former, and of how many mistakes in them that can be told."""
    found, seen = dict[str, float | None](), dict[str, bool]()
    for name, heard_of in SOUNDS.items():
        try:
            heard = heard_of(folder / name)
        except (AttributeError, ModuleNotFoundError) as missing:
            if "ransformers" not in str(missing):
                raise
            found[name] = None
            continue
        found[name] = error(heard.of(heard.ours), heard.theirs)
        if heard.streamed is not None:
            found[f"{name}_streamed"] = error(heard.streamed, heard.theirs)
        for what, wrong in (MISTAKES if isinstance(heard.ours, Mel) else OF_CLIPS).items():
            seen[f"{name}: {what}"] = error(heard.of(wrong(heard.ours)), heard.theirs) > FAR
    for name, seen_of in PICTURES.items():
        figures, mistakes = _pictures(name, seen_of(folder / name))
        found |= figures
        seen |= dict(mistakes)
    apart = {key: each for key, each in found.items() if each is not None}
    return {key: None if each is None else float(f"{each:.2g}") for key, each in found.items()} | {
        "worst": float(f"{max(each for key, each in apart.items() if not key.endswith('steps')):.2g}"),
        "worst_pillow_steps": max(float(f"{each:.2g}") for key, each in apart.items() if key.endswith("steps")),
        "mutations_caught": f"{sum(seen.values())} of {len(seen)}",
        "not_caught": [what for what, caught in seen.items() if not caught],
    }
