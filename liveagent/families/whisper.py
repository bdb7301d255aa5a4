"""Whisper (Radford et al. 2022): ears with an encoder of whole clips and a decoder that writes, MIT and Apache-2.0.

A folder as the hub has it: `config.json`, `model.safetensors`, `tokenizer.json`, and, in all but the oldest,
`generation_config.json` and `preprocessor_config.json`. Distilled ones (fewer layers that write) and fine-tuned ones of
the same shape are read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from liveagent.errors import ConfigError
from liveagent.languages import code_of
from liveagent.nn.checkpoint import Checkpoint, Made, Source
from liveagent.nn.clip_mel import RATE_HZ, ClipMel
from liveagent.nn.linear import sort_weights
from liveagent.nn.scribe import Scribe, ScribeConfig
from liveagent.nn.sound import Activation, SoundConfig, SoundEncoder
from liveagent.nn.transcriber import Marks, Transcriber

ARCHITECTURE = "WhisperForConditionalGeneration"
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": "silu",
}  # fmt: skip
IGNORED = ("proj_out.weight",)  # stored twice, where it is tied to the embedding


def is_whisper(checkpoint: Checkpoint) -> bool:
    return checkpoint.architecture == ARCHITECTURE or checkpoint.config.get("model_type") == "whisper"


def load(folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Transcriber:
    """Read a checkpoint's folder.

    Raises:
        ConfigError: it is no Whisper, a file is missing or damaged, or the files contradict each other.
    """
    checkpoint = Checkpoint.open(folder)
    if not is_whisper(checkpoint):
        what = checkpoint.architecture or checkpoint.config.get("model_type") or "nothing that is known"
        raise ConfigError(f"{folder} is no Whisper but {what}: give a Whisper checkpoint as ear")
    sound, writing = configs(checkpoint)
    tokenizer = tokenizer_of(checkpoint)
    marks = marks_of(checkpoint, tokenizer, writing.vocab_size)
    mel = mel_of(checkpoint, sound)
    with torch.device("meta"):
        encoder, scribe = SoundEncoder(sound), Scribe(writing)
    checkpoint.fill(encoder, sound_sources(sound.layers), dtype)
    checkpoint.fill(scribe, scribe_sources(writing.layers, writing.tied), dtype)
    if left := sorted(checkpoint.unread - set(IGNORED)):
        raise ConfigError(f"{folder} holds weights that no Whisper has ({left[0]}, {len(left)} in all)")
    for net in (encoder, scribe):
        net.eval().requires_grad_(False).to(device)
        if device == "cpu" and dtype == torch.float32:
            sort_weights(net)
    return Transcriber(mel.to(device), encoder, scribe, marks, tokenizer, Path(folder).name)


def configs(checkpoint: Checkpoint) -> tuple[SoundConfig, ScribeConfig]:
    """The two networks' sizes."""
    config = checkpoint.config

    def number(name: str) -> int:
        value = config.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"config.json of {checkpoint.folder} says {name} {value!r}: fetch it again")
        return value

    named = config.get("activation_function", "gelu")
    if named not in ACTIVATIONS:
        raise ConfigError(f"config.json of {checkpoint.folder} asks for the activation {named!r}, which is not known")
    activation, width, rows = ACTIVATIONS[named], number("d_model"), number("max_source_positions")
    sound = SoundConfig(
        number("num_mel_bins"), width, number("encoder_layers"), number("encoder_attention_heads"),
        number("encoder_ffn_dim"), rows, activation,
    )  # fmt: skip
    writing = ScribeConfig(
        number("vocab_size"), width, number("decoder_layers"), number("decoder_attention_heads"),
        number("decoder_ffn_dim"), number("max_target_positions"), rows, activation,
        tied=config.get("tie_word_embeddings", True) is not False,
    )  # fmt: skip
    return sound, writing


def mel_of(checkpoint: Checkpoint, sound: SoundConfig) -> ClipMel:
    """How sound is measured, as `preprocessor_config.json` says."""
    said = checkpoint.settings("preprocessor_config.json")
    said = said.get("feature_extractor", said)
    rate_hz, bands = said.get("sampling_rate", RATE_HZ), said.get("feature_size", sound.bands)
    fft, hop, seconds = said.get("n_fft", 400), said.get("hop_length", 160), said.get("chunk_length", 30)
    if rate_hz != RATE_HZ or bands != sound.bands or seconds * RATE_HZ // hop != 2 * sound.places:
        raise ConfigError(
            f"preprocessor_config.json of {checkpoint.folder} contradicts its config.json ({bands} bands, {seconds} s, "
            f"{rate_hz} Hz against {sound.bands} bands and {2 * sound.places} frames): take both from the same release"
        )
    return ClipMel(bands, fft, hop, seconds)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    path = checkpoint.folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"{path} is missing: fetch the whole checkpoint, tokenizer.json among it")
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise ConfigError(f"{path} is damaged ({error}): fetch it again") from None


def marks_of(checkpoint: Checkpoint, tokenizer: Tokenizer, vocab_size: int) -> Marks:
    """Marks and rules, as `generation_config.json` says; what it does not say the tokenizer and `config.json` do."""
    said: Mapping[str, Any] = checkpoint.settings("generation_config.json") or checkpoint.config
    folder = checkpoint.folder

    def mark(key: str, name: str) -> int:
        found = said.get(key)
        if not isinstance(found, int):
            found = tokenizer.token_to_id(name)
        if found is None or not 0 <= found < vocab_size:
            raise ConfigError(f"{folder} does not say which token is {name}: fetch its tokenizer.json again")
        return found

    def ids(key: str) -> tuple[int, ...]:
        listed = said.get(key) or ()
        if any(not isinstance(each, int) or not 0 <= each < vocab_size for each in listed):
            raise ConfigError(f"generation_config.json of {folder} names tokens under {key} that do not exist")
        return tuple(listed)

    no_times = mark("no_timestamps_token_id", "<|notimestamps|>")
    several = said.get("is_multilingual", bool(said.get("lang_to_id")))
    languages = {name.strip("<|>"): each for name, each in dict(said.get("lang_to_id") or {}).items()}
    tasks = dict(said.get("task_to_id") or {})
    if several and not languages:
        raise ConfigError(
            f"generation_config.json of {folder} is of an old release: it lists no languages; fetch it anew"
        )
    outside = [each for each in (*languages.values(), *tasks.values()) if not 0 <= each < vocab_size]
    if outside:
        raise ConfigError(f"generation_config.json of {folder} names token {outside[0]}, which does not exist")
    return Marks(
        start=mark("decoder_start_token_id", "<|startoftranscript|>"),
        end=mark("eos_token_id", "<|endoftext|>"),
        no_times=no_times,
        no_speech=no_times - 1,
        languages=languages if several else {},
        tasks=tasks if several else {},
        suppressed=ids("suppress_tokens"),
        suppressed_first=ids("begin_suppress_tokens"),
        latest_first=said.get("max_initial_timestamp_index"),
        usual=_usual(said, languages) if several else None,
    )


def _usual(said: Mapping[str, Any], languages: Mapping[str, int]) -> str | None:
    """The language that a checkpoint is to write in; fine-tuned ones name one, or force its mark to be the first."""
    named = said.get("language")
    if isinstance(named, str):
        code = code_of(named.strip("<|>"))
        return code if code in languages else None
    forced = said.get("forced_decoder_ids")
    if said.get("task") is not None or not isinstance(forced, list):
        return None
    first = next((each[1] for each in forced if isinstance(each, list) and len(each) == 2 and each[0] == 1), None)
    return next((code for code, mark in languages.items() if mark == first), None)


# --- names


def sound_sources(layers: int) -> dict[str, Source]:
    """Where the encoder's tensors stand."""
    at = "model.encoder"
    found: dict[str, Source] = {"positions": f"{at}.embed_positions.weight"}
    for ours, theirs in (("near", "conv1"), ("far", "conv2"), ("norm", "layer_norm")):
        found |= _both(ours, f"{at}.{theirs}")
    for n in range(layers):
        found |= _attention(f"layers.{n}", f"{at}.layers.{n}") | _feed(f"layers.{n}", f"{at}.layers.{n}")
    return found


def scribe_sources(layers: int, tied: bool) -> dict[str, Source]:
    """Where the decoder's tensors stand."""
    at = "model.decoder"
    found: dict[str, Source] = {
        "embedding.weight": f"{at}.embed_tokens.weight",
        "positions": f"{at}.embed_positions.weight",
        **_both("norm", f"{at}.layer_norm"),
    }
    if not tied:
        found["output.weight"] = "proj_out.weight"
    for n in range(layers):
        ours, theirs = f"layers.{n}", f"{at}.layers.{n}"
        clip = f"{theirs}.encoder_attn"
        found |= _attention(ours, theirs) | _feed(ours, theirs)
        found |= _both(f"{ours}.norm_clip", f"{theirs}.encoder_attn_layer_norm")
        found |= _both(f"{ours}.clip_q", f"{clip}.q_proj") | _both(f"{ours}.clip_out", f"{clip}.out_proj")
        found[f"{ours}.clip_kv.weight"] = (f"{clip}.k_proj.weight", f"{clip}.v_proj.weight")
        found[f"{ours}.clip_kv.bias"] = Made((f"{clip}.v_proj.bias",), _no_key_bias)
    return found


def _attention(ours: str, theirs: str) -> dict[str, Source]:
    attn = f"{theirs}.self_attn"
    return {
        **_both(f"{ours}.norm_attend", f"{theirs}.self_attn_layer_norm"),
        **_both(f"{ours}.out", f"{attn}.out_proj"),
        f"{ours}.qkv.weight": tuple(f"{attn}.{each}_proj.weight" for each in "qkv"),
        f"{ours}.qkv.bias": Made((f"{attn}.v_proj.bias", f"{attn}.q_proj.bias"), _no_key_bias),
    }


def _feed(ours: str, theirs: str) -> dict[str, Source]:
    found: dict[str, Source] = {}
    for mine, other in (("norm_feed", "final_layer_norm"), ("up", "fc1"), ("down", "fc2")):
        found |= _both(f"{ours}.{mine}", f"{theirs}.{other}")
    return found


def _both(ours: str, theirs: str) -> dict[str, Source]:
    return {f"{ours}.{each}": f"{theirs}.{each}" for each in ("weight", "bias")}


def _no_key_bias(values: torch.Tensor, queries: torch.Tensor | None = None) -> torch.Tensor:
    """Queries', keys' and values' bias one above the other; keys have none here, as it changes no attention."""
    keys = torch.zeros_like(values)
    return torch.cat([keys, values] if queries is None else [queries, keys, values])
