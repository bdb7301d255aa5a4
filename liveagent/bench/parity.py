"""Families of checkpoints, number by number: ours against `transformers`, on random weights that it writes to disk.

For each part of a family, tiny and in float32, once as it is initialised and once with gains that leave nothing near
zero or one (`…_gains`):

    …_whole, …_streamed     the largest error over the standard deviation of theirs; whole sequences, and the same in
                            pieces, beside another lane; of an eye, after 40 pictures of which a part changes   ≤ 1e-4
    teacher_forced_equal    each of 64 tokens that `transformers` says is the one that ours would say, for each
                            decoder                                                                             true
    …_mel, …_patches        what is made of sound and of pictures before the network, likewise; a picture that has to be
                            resized is compared in the tests, with the library that theirs resizes by           ≤ 1e-4
    mutations_caught        of mistakes made on purpose in a decoder (`detail.mutations`), how many exceed ten times
                            that, whole and streamed                                                            all

`worst_whole` and `worst_streamed` are the largest of all; a family whose class this `transformers` lacks is null.
"""

from __future__ import annotations

import importlib
import json
import random
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liveagent.bench.beside import (
    FAR,
    Compared,
    error,
    exact,
    gains,
    listen,
    saved,
    sound,
    stream,
    tower_gains,
)
from liveagent.bench.mutations import NAMES, mutated
from liveagent.bench.rival import reference
from liveagent.families import gemma4, gemma4_ear, gemma4_eye, llama, llava, nemotron, whisper
from liveagent.nn import patches
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.framing import Budget
from liveagent.nn.scribe import Scribe
from liveagent.nn.sound import SoundEncoder
from liveagent.nn.stack import Stack

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


# --- decoders


def _decoder(
    make: Callable[[int, bool], Any], read: Callable[[Checkpoint], Stack], folder: Path, gain: bool
) -> dict[str, float]:
    model = make(1, gain)
    net, ids = read(Checkpoint.open(saved(model, folder, "20kB"))), ids_of(2)
    theirs = model(ids).logits[0]
    streamed = (error(stream(net, net.embed(ids)[0], pieces_of(seed)), theirs) for seed in range(3))
    return {"whole": error(net(ids)[0], theirs), "streamed": max(streamed)}


def says_the_same(net: Stack, model: Any, tokens: int = 64) -> bool:
    """What they say on their own is what ours would say after each of it."""
    ids = ids_of(8, 12)
    said = model.generate(ids, max_new_tokens=tokens, do_sample=False, eos_token_id=None, pad_token_id=0)
    ours = net(said[:, :-1])[0, 11:].argmax(-1)
    streamed = stream(net, net.embed(said[:, :-1])[0], [12] + [1] * (tokens - 1))[11:].argmax(-1)
    return torch.equal(ours, said[0, 12:]) and torch.equal(streamed, said[0, 12:])


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
    transformers, token = reference(), 640
    audio = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "output_proj_dims": 20,
             "subsampling_conv_channels": [128, 8]}  # fmt: skip
    if gain:
        audio |= {"gradient_clipping": 3.0, "rms_norm_eps": 1e-3, "residual_weight": 0.7}
    torch.manual_seed(1)
    config = transformers.Gemma4Config(text_config=SMALL_TEXT, audio_config=audio, vision_config=None)
    model = transformers.Gemma4ForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        tower_gains(model.model.audio_tower, 1)
        tower_gains(model.model.embed_audio, 2)
    extract = transformers.Gemma4AudioFeatureExtractor()
    extract.save_pretrained(saved(model, folder))
    checkpoint = Checkpoint.open(folder)
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
    there = importlib.import_module("transformers.models.nemotron_asr_streaming")
    token, bands, lookahead = 1280, 40, 1
    encoder = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
               "subsampling_conv_channels": 8, "num_mel_bins": bands, "sliding_window": 15}  # fmt: skip
    torch.manual_seed(1)
    config = there.NemotronAsrStreamingConfig(
        encoder_config=encoder, vocab_size=41, decoder_hidden_size=24, num_decoder_layers=2, blank_token_id=40,
        pad_token_id=0, max_symbols_per_step=3,
    )  # fmt: skip
    model = there.NemotronAsrStreamingForRNNT(config).eval().requires_grad_(False)
    model.generation_config.decoder_start_token_id = 40
    if gain:
        tower_gains(model, 1)
    extract = there.NemotronAsrStreamingFeatureExtractor(feature_size=bands)
    extract.save_pretrained(saved(model, folder))
    checkpoint = Checkpoint.open(folder)
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
    extract = transformers.WhisperFeatureExtractor(feature_size=80, chunk_length=2)
    extract.save_pretrained(saved(model, folder))
    checkpoint = Checkpoint.open(folder)
    hearing, writing = whisper.configs(checkpoint)
    encoder, scribe = SoundEncoder(hearing).eval(), Scribe(writing).eval()
    checkpoint.fill(encoder, whisper.sound_sources(hearing.layers))
    checkpoint.fill(scribe, whisper.scribe_sources(writing.layers, writing.tied))
    samples, ids = sound(1, 17, 1600), ids_of(5, 64)
    mel = whisper.mel_of(checkpoint, hearing)(samples)
    there = extract(samples[0].numpy(), sampling_rate=16_000, return_tensors="pt").input_features
    encoded = model.model.encoder(there).last_hidden_state
    theirs = model(encoder_outputs=(encoded,), decoder_input_ids=ids).logits[0]
    ours = encoder(there)
    state = scribe.init_state(2)
    scribe.listen(ours[0], state, 1)
    at, parts = 0, []
    for size in pieces_of(3, 64):
        rows = torch.zeros(2, size, dtype=torch.long)
        rows[1] = ids[0, at : at + size]
        parts.append(scribe.step(rows, [0, size], state)[1, :size])
        at += size
    return {
        "whole": max(error(ours, encoded), error(scribe(ids, ours)[0], theirs)),
        "streamed": error(torch.cat(parts), theirs),
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
    transformers, px, group = reference(), 4, 2
    vision = {
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "intermediate_size": 40, "patch_size": px, "pooling_kernel_size": group, "position_embedding_size": 24,
        "rms_norm_eps": 1e-3, "use_clipped_linears": True, "standardize": True,
    }  # fmt: skip
    torch.manual_seed(1)
    config = transformers.Gemma4Config(text_config=SMALL_TEXT, vision_config=vision, audio_config=None)
    model = transformers.Gemma4ForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        tower_gains(model.model.vision_tower, 1)
        tower_gains(model.model.embed_vision, 2)
    saved(model, folder)
    processor = {"patch_size": px, "pooling_kernel_size": group, "max_soft_tokens": 70}
    (folder / "processor_config.json").write_text(
        json.dumps({"image_processor": processor, "video_processor": processor})
    )
    eye = gemma4_eye.eye(Checkpoint.open(folder))

    def theirs(pixels: Tensor) -> Tensor:
        rows, cols = (side // px for side in pixels.shape[1:])
        values, places = torch.zeros(1, 70 * group**2, 3 * px * px), torch.full((1, 70 * group**2, 2), -1)
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
    transformers, px, side = reference(), 6, 8
    tower = {"hidden_size": 24, "intermediate_size": 34, "num_hidden_layers": 4, "num_attention_heads": 2,
             "image_size": px * side, "patch_size": px, "layer_norm_eps": 1e-2}  # fmt: skip
    text = {"hidden_size": 20, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "vocab_size": 30}  # fmt: skip
    made = transformers.CLIPVisionConfig if kind == "clip" else transformers.SiglipVisionConfig
    torch.manual_seed(1)
    config = transformers.LlavaConfig(
        vision_config=made(**tower), text_config=transformers.LlamaConfig(**text), image_token_index=5
    )
    model = transformers.LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    if gain:
        tower_gains(model.model.vision_tower, 1)
        tower_gains(model.model.multi_modal_projector, 2)
    size = {"height": px * side, "width": px * side}
    light: dict[str, Any] = {"image_mean": [0.4, 0.4, 0.4], "image_std": [0.5, 0.5, 0.5], "resample": 3}
    light |= {"size": {"shortest_edge": px * side}, "crop_size": size} if kind == "clip" else {"size": size}
    (saved(model, folder) / "preprocessor_config.json").write_text(json.dumps(light))
    eye = llava.eye(Checkpoint.open(folder))
    pixels, found = _after_many(eye, side, side, px)
    theirs = model.model.get_image_features(((pixels.float() / 255 - 0.4) / 0.5)[None], return_dict=True)
    there = torch.stack(list(theirs.pooler_output))[0]
    return {"whole": error(eye(pixels[None])[0], there), "streamed": error(found, there)}


PARTS: Mapping[str, Compared] = {
    "gemma4_text": partial(_decoder, tiny_gemma, gemma4.decoder),
    "gemma4_ear": _gemma_ear,
    "gemma4_eye": _gemma_eye,
    "llama_text": partial(_decoder, tiny_llama, llama.decoder),
    "llava_clip_eye": partial(_llava_eye, "clip"),
    "llava_siglip_eye": partial(_llava_eye, "siglip"),
    "nemotron_ear": _nemotron,
    "whisper": _whisper,
}


def run(parts: Mapping[str, Compared] = PARTS) -> dict[str, Any]:
    """The figures; half a minute."""
    found: dict[str, float | None] = {}
    with exact(), tempfile.TemporaryDirectory() as folder:
        for name, compared in parts.items():
            for gain in (False, True):
                key, place = f"{name}_gains" if gain else name, Path(folder, f"{name}-{gain}")
                try:
                    found |= {f"{key}_{what}": each for what, each in compared(place, gain).items()}
                except (AttributeError, ModuleNotFoundError) as missing:
                    if "ransformers" not in str(missing):
                        raise
                    found |= {f"{key}_whole": None, f"{key}_streamed": None}
        same = []
        for make, read in ((tiny_gemma, gemma4.decoder), (tiny_llama, llama.decoder)):
            model = make(7)
            same.append(says_the_same(read(Checkpoint.open(saved(model, Path(folder, make.__name__)))), model))
        mutations = caught(Path(folder, "mutations"))

    def worst(what: str) -> float:
        return max(each for key, each in found.items() if each is not None and key.endswith(what))

    return {
        "worst_whole": float(f"{worst('_whole'):.2g}"),
        "worst_streamed": float(f"{worst('_streamed'):.2g}"),
        "teacher_forced_equal": all(same),
        "mutations_caught": f"{sum(each > FAR for each in mutations.values())} of {len(mutations)}",
        **{key: None if each is None else float(f"{each:.2g}") for key, each in found.items()},
        "detail": {"mutations": {name: float(f"{each:.2g}") for name, each in mutations.items()}},
    }
