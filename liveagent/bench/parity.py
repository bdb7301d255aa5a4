"""Families of checkpoints, number by number: ours against `transformers`, on random weights that it writes to disk.

For each part of a family, tiny and in float32, once as it is initialised and once with gains that leave nothing near
zero or one (`…_gains`):

    …_whole, …_streamed     the largest error over the standard deviation of theirs; whole sequences, and the same in
                            pieces, beside another lane; of an eye, after 40 pictures of which a part changes   ≤ 1e-4
    teacher_forced_equal    each of 64 tokens that `transformers` says is the one that ours would say, of each family
                            (`detail.teacher_forced`), of words alone and behind sound or a picture             true
    …_mel, …_patches        what is made of sound and of pictures before the network, likewise                  ≤ 1e-4
    processors              the same with each family's own settings and all kinds of sounds and pictures: see
                            `prepared.py`; the largest is `worst_processor`                                     ≤ 1e-4
    template                whole conversations as ids, for each shape of chat template: see `written.py`; all of it is
                            `template_equal`                                                                    true
    mutations_caught        of mistakes made on purpose in a decoder (`detail.mutations`), how many exceed ten times
                            the bar, whole and streamed; `processors` and `template` have their own             all

`worst_whole` and `worst_streamed` are the largest of all; a family whose class this `transformers` lacks is null. One
that comes new is a line of `PARTS`, and one of `forced.FAMILIES`.
"""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveagent.bench import forced, prepared, tiny, written
from liveagent.bench.beside import FAR, Compared, error, exact, listen, saved, sound, stream
from liveagent.bench.forced import Asked, dictated, llava_light, whisper_nets
from liveagent.bench.mutations import NAMES, mutated
from liveagent.bench.rival import reference
from liveagent.bench.tiny import ids_of, pieces_of, tiny_gemma, tiny_llama
from liveagent.families import gemma4, gemma4_ear, gemma4_eye, llama, llava, nemotron, whisper
from liveagent.nn import patches
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.framing import Budget
from liveagent.nn.stack import Stack

# --- decoders


def _decoder(
    make: Callable[[int, bool], Any], read: Callable[[Checkpoint], Stack], folder: Path, gain: bool
) -> dict[str, float]:
    model = make(1, gain)
    net, ids = read(Checkpoint.open(saved(model, folder, "20kB"))), ids_of(2)
    theirs = model(ids).logits[0]
    streamed = (error(stream(net, net.embed(ids)[0], pieces_of(seed)), theirs) for seed in range(3))
    return {"whole": error(net(ids)[0], theirs), "streamed": max(streamed)}


def caught(folder: Path) -> dict[str, float]:
    """Each mutation and the smaller of its errors, whole and streamed."""
    model = tiny_gemma(21)
    net, ids = gemma4.decoder(Checkpoint.open(saved(model, folder))), ids_of(22)
    theirs, found = model(ids).logits[0], dict[str, float]()
    for name in NAMES:
        wrong = mutated(net, name)
        streamed = stream(wrong, wrong.embed(ids)[0], pieces_of(1))
        found[name] = min(error(wrong(ids)[0], theirs), error(streamed, theirs))
    return found


# --- ears


def _gemma_ear(folder: Path, gain: bool) -> dict[str, float]:
    model, checkpoint = tiny.heard_gemma(folder, gain)
    token, extract = 640, reference().Gemma4AudioFeatureExtractor()
    ear, samples = gemma4_ear.ear(checkpoint), sound(2, 55, token)[:, : 54 * token + 327]
    padded = [np.pad(each.numpy(), (0, 1)) for each in samples]  # they drop the last frame unless a sample follows
    features = extract(padded, return_tensors="pt", sampling_rate=16_000)
    said = model.model.get_audio_features(features.input_features, features.input_features_mask, return_dict=True)
    theirs = said.pooler_output[said.attention_mask].view(2, -1, said.pooler_output.shape[-1])
    clip = samples[:, : 54 * token]
    heard = extract([np.pad(each.numpy(), (0, 1)) for each in clip], return_tensors="pt", sampling_rate=16_000)
    mel = gemma4_ear.mel_of(checkpoint)(clip)
    return {
        "whole": error(ear.whole(samples), theirs),
        "streamed": max(error(listen(ear, samples, sizes, token, rest=True), theirs) for sizes in ([1], [3, 1, 7, 2])),
        "mel": error(mel, heard.input_features[heard.input_features_mask].view(2, -1, mel.shape[-1])),
    }


def _nemotron(folder: Path, gain: bool) -> dict[str, float]:
    model, checkpoint = tiny.nemotron(folder, gain)
    token, lookahead, extract = 1280, 1, tiny.nemotron_features()
    ear, samples = nemotron.ear(checkpoint, lookahead), sound(2, 56, token)
    padded = [np.pad(each.numpy(), (0, token)) for each in samples]
    mel = extract(padded, return_tensors="pt", sampling_rate=16_000).input_features[:, : 8 * 56 - 7]
    seen = torch.ones(mel.shape[:2], dtype=torch.bool)
    theirs = model.get_audio_features(mel, attention_mask=seen, num_lookahead_tokens=lookahead).pooler_output
    streamed = (listen(ear.ear, samples, sizes, ear.block_samples) for sizes in ([1], [2, 1]))
    return {
        "whole": error(ear.ear(samples), theirs),
        "streamed": max(error(each, theirs) for each in streamed),
        "mel": error(nemotron.mel_of(checkpoint)(samples)[:, 7 : 7 + mel.shape[1]], mel),
    }


def _whisper(folder: Path, gain: bool) -> dict[str, float]:
    model, checkpoint = tiny.whisper(folder, gain)
    encoder, scribe = whisper_nets(checkpoint)
    extract = reference().WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    samples, ids = sound(1, 17, 1600), ids_of(5, 64)
    mel = whisper.mel_of(checkpoint, whisper.configs(checkpoint)[0])(samples)
    there = extract(samples[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    encoded = model.model.encoder(there).last_hidden_state
    theirs = model(encoder_outputs=(encoded,), decoder_input_ids=ids).logits[0]
    ours = encoder(there)
    return {
        "whole": max(error(ours, encoded), error(scribe(ids, ours)[0], theirs)),
        "streamed": error(dictated(scribe, ours[0], ids[0], pieces_of(3, 64)), theirs),
        "mel": error(mel, there),
    }


# --- eyes


def _after_many(eye: Any, rows: int, cols: int, px: int) -> tuple[Tensor, Tensor]:
    """The picture after forty of which a part changed, and what the gated way says of it at threshold 0."""
    eye.vit.moved, eye.vit.probe = 0.0, 1
    state, of, generator = eye.init_state(2), rows * cols, torch.Generator().manual_seed(5)

    def drawn() -> Tensor:
        return torch.randint(0, 256, (3, rows * px, cols * px), dtype=torch.uint8, generator=generator)

    pixels = drawn()
    found = eye.look(pixels, torch.ones(of, dtype=torch.bool), state, 1)
    for turn in range(40):
        flags = torch.zeros(of, dtype=torch.bool)
        flags[torch.randperm(of, generator=generator)[: 1 + turn % (of // 2 - 8)]] = True
        where = flags.view(rows, cols).repeat_interleave(px, 0).repeat_interleave(px, 1)
        pixels = torch.where(where, drawn(), pixels)
        found = eye.look(pixels, flags, state, 1)
    return pixels, found


def _gemma_eye(folder: Path, gain: bool) -> dict[str, float]:
    model, checkpoint = tiny.seen_gemma(folder, gain)
    eye, px, most = gemma4_eye.eye(checkpoint), tiny.GEMMA_PX, 70 * tiny.GEMMA_GROUP**2

    def theirs(pixels: Tensor) -> Tensor:
        rows, cols = (side // px for side in pixels.shape[1:])
        values, places = torch.zeros(1, most, 3 * px * px), torch.full((1, most, 2), -1)
        values[0, : rows * cols] = patches.cut(pixels, px).permute(0, 2, 3, 1).flatten(1).float() / 255
        down, across = torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij")
        places[0, : rows * cols] = torch.stack([across, down], -1).flatten(0, 1)
        found: Tensor = model.model.get_image_features(values, places, return_dict=True).pooler_output[0]
        return found

    pixels, found = _after_many(eye, 8, 8, px)
    return {
        "whole": error(eye(pixels[None])[0], theirs(pixels)),
        "streamed": error(found, theirs(pixels)),
        "patches": _gemma_patches(),
    }


def _gemma_patches() -> float:
    """Of a picture whose sides need no change."""
    there = importlib.import_module("transformers.models.gemma4.image_processing_pil_gemma4")
    pixels = np.random.default_rng(1).integers(0, 256, (336, 432, 3), dtype=np.uint8)
    said = there.Gemma4ImageProcessorPil(max_soft_tokens=70)(pixels, return_tensors="pt")
    ours = patches.cut(Budget(70 * 9, 16, 3).frame(pixels), 16).permute(0, 2, 3, 1).flatten(1).float() / 255
    return error(ours, said["pixel_values"][0][said["image_position_ids"][0, :, 0] >= 0])


def _llava_eye(kind: str, folder: Path, gain: bool) -> dict[str, float]:
    model, checkpoint = tiny.llava(kind, folder, gain)
    eye = llava.eye(checkpoint)
    pixels, found = _after_many(eye, tiny.LLAVA_SIDE, tiny.LLAVA_SIDE, tiny.LLAVA_PX)
    theirs = model.model.get_image_features(llava_light(pixels)[None], return_dict=True)
    there = torch.stack(list(theirs.pooler_output))[0]
    return {"whole": error(eye(pixels[None])[0], there), "streamed": error(found, there)}


# --- words, sound and pictures in one prompt


def _unified(folder: Path, gain: bool) -> dict[str, float]:
    asked = Asked.of_unified(*tiny.unified(folder, gain))
    theirs = asked.theirs(asked.ids)
    streamed = (error(asked.streamed(asked.rows, sizes), theirs) for sizes in ([1], [32], pieces_of(4)))
    return {"whole": error(asked.net(rows=asked.rows[None])[0], theirs), "streamed": max(streamed)}


PARTS: Mapping[str, Compared] = {
    "gemma4_text": partial(_decoder, tiny_gemma, gemma4.decoder),
    "gemma4_ear": _gemma_ear,
    "gemma4_eye": _gemma_eye,
    "gemma4_unified": _unified,
    "llama_text": partial(_decoder, tiny_llama, llama.decoder),
    "llava_clip_eye": partial(_llava_eye, "clip"),
    "llava_siglip_eye": partial(_llava_eye, "siglip"),
    "nemotron_ear": _nemotron,
    "whisper": _whisper,
}


def compared(parts: Mapping[str, Compared], folder: Path) -> dict[str, float | None]:
    """The errors of each part, by default initialisation and with gains."""
    found: dict[str, float | None] = {}
    for name, part in parts.items():
        for gain in (False, True):
            key, place = f"{name}_gains" if gain else name, folder / f"{name}-{gain}"
            try:
                found |= {f"{key}_{what}": each for what, each in part(place, gain).items()}
            except (AttributeError, ModuleNotFoundError) as missing:
                if "ransformers" not in str(missing):
                    raise
                found |= {f"{key}_whole": None, f"{key}_streamed": None}
    return found


def run(parts: Mapping[str, Compared] = PARTS) -> dict[str, Any]:
    """The figures; half a minute."""
    with exact(), tempfile.TemporaryDirectory() as folder:
        found = compared(parts, Path(folder))
        same = forced.compared(Path(folder, "forced"))
        processors, template = prepared.compared(Path(folder, "prepared")), written.compared(Path(folder, "written"))
        mutations = caught(Path(folder, "mutations"))

    def worst(what: str) -> float:
        return max(each for key, each in found.items() if each is not None and key.endswith(what))

    return {
        "worst_whole": float(f"{worst('_whole'):.2g}"),
        "worst_streamed": float(f"{worst('_streamed'):.2g}"),
        "teacher_forced_equal": all(each is not False for each in same.values()),
        "mutations_caught": f"{sum(each > FAR for each in mutations.values())} of {len(mutations)}",
        "worst_processor": processors["worst"],
        "template_equal": template["equal"],
        **{key: None if each is None else float(f"{each:.2g}") for key, each in found.items()},
        "processors": processors,
        "template": template,
        "detail": {
            "teacher_forced": same,
            "mutations": {name: float(f"{each:.2g}") for name, each in mutations.items()},
        },
    }
