"""A Whisper with random weights in a folder as hubs have it: the real layout and rules, words that mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LANGUAGES = ("en", "de", "zh")
WORDS = ("Ġthe", "Ġlight", "Ġon", "Ġturn", "Ġoff", "Ġred", "Ġball", "Ġgood")
WIDTH, LAYERS, HEADS, HIDDEN, PLACES = 32, 2, 4, 48, 448


def tokenizer() -> Tokenizer:
    """256 bytes, some words, then the marks and 1501 times, in a real one's order."""
    vocab = {piece: at for at, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        done = word[0]
        for letter in word[1:]:
            if (done, letter) not in merges:
                merges.append((done, letter))
            done += letter
            vocab.setdefault(done, len(vocab))
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{each}|>" for each in LANGUAGES), "<|translate|>"]
    marks += ["<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    made.add_special_tokens(marks)
    made.add_tokens([AddedToken(f"<|{at * 0.02:.2f}|>", special=False) for at in range(1501)])
    return made


def settings(words: Tokenizer, several: bool = True) -> dict[str, Any]:
    """What `generation_config.json` says."""
    said: dict[str, Any] = {
        "decoder_start_token_id": words.token_to_id("<|startoftranscript|>"),
        "eos_token_id": words.token_to_id("<|endoftext|>"),
        "pad_token_id": words.token_to_id("<|endoftext|>"),
        "bos_token_id": words.token_to_id("<|endoftext|>"),
        "no_timestamps_token_id": words.token_to_id("<|notimestamps|>"),
        "prev_sot_token_id": words.token_to_id("<|startofprev|>"),
        "max_initial_timestamp_index": 50,
        "max_length": PLACES,
        "is_multilingual": several,
        "return_timestamps": False,
        "suppress_tokens": [1, 2, 7, *(words.token_to_id(f"<|{each}|>") for each in ("startofprev", "translate"))],
        "begin_suppress_tokens": [220, words.token_to_id("<|endoftext|>")],
    }
    if several:
        said["lang_to_id"] = {f"<|{each}|>": words.token_to_id(f"<|{each}|>") for each in LANGUAGES}
        said["task_to_id"] = {each: words.token_to_id(f"<|{each}|>") for each in ("transcribe", "translate")}
    return said


def config(words: Tokenizer, seconds: int = 2, bands: int = 80) -> dict[str, Any]:
    """What `config.json` says."""
    said = settings(words)
    return {
        "architectures": ["WhisperForConditionalGeneration"],
        "model_type": "whisper",
        "vocab_size": words.get_vocab_size(),
        "num_mel_bins": bands,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "encoder_ffn_dim": HIDDEN,
        "decoder_layers": LAYERS,
        "decoder_attention_heads": HEADS,
        "decoder_ffn_dim": HIDDEN,
        "max_source_positions": seconds * 50,
        "max_target_positions": PLACES,
        "activation_function": "gelu",
        **{key: said[key] for key in ("decoder_start_token_id", "eos_token_id", "pad_token_id", "bos_token_id")},
    }


def write_beside(folder: Path, words: Tokenizer, seconds: int = 2, bands: int = 80, several: bool = True) -> None:
    """Everything but configuration and weights."""
    words.save(str(folder / "tokenizer.json"))
    (folder / "generation_config.json").write_text(json.dumps(settings(words, several)))
    heard = {"feature_size": bands, "sampling_rate": 16_000, "n_fft": 400, "hop_length": 160, "chunk_length": seconds}
    (folder / "preprocessor_config.json").write_text(json.dumps(heard))


def write(folder: Path, seconds: int = 30, seed: int = 1, chatty: bool = False) -> Path:
    """A whole folder, without help of another library. `chatty`: it writes whole words alone, and few of them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = tokenizer()
    write_beside(folder, words, seconds)
    end = words.token_to_id("<|endoftext|>")
    if chatty:
        rules = settings(words)
        said_ids = {words.token_to_id(each) for each in WORDS}
        rules["suppress_tokens"] = [each for each in range(words.get_vocab_size()) if each not in {*said_ids, end}]
        (folder / "generation_config.json").write_text(json.dumps(rules))
    said = config(words, seconds)
    (folder / "config.json").write_text(json.dumps(said))
    torch.manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}

    def linear(name: str, out: int, into: int, bias: bool = True, kernel: tuple[int, ...] = ()) -> None:
        tensors[f"{name}.weight"] = torch.randn(out, into, *kernel) * 1.5 * into**-0.5
        if bias:
            tensors[f"{name}.bias"] = torch.randn(out) * 0.1

    def norm(name: str) -> None:
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = 1 + 0.3 * torch.randn(WIDTH), 0.1 * torch.randn(WIDTH)

    for part in ("encoder", "decoder"):
        at = f"model.{part}"
        places = seconds * 50 if part == "encoder" else PLACES
        tensors[f"{at}.embed_positions.weight"] = torch.randn(places, WIDTH)
        norm(f"{at}.layer_norm")
        for n in range(LAYERS):
            layer = f"{at}.layers.{n}"
            for attn in ("self_attn", "encoder_attn") if part == "decoder" else ("self_attn",):
                norm(f"{layer}.{attn}_layer_norm")
                for each in ("q", "k", "v", "out"):
                    linear(f"{layer}.{attn}.{each}_proj", WIDTH, WIDTH, bias=each != "k")
            norm(f"{layer}.final_layer_norm")
            linear(f"{layer}.fc1", HIDDEN, WIDTH)
            linear(f"{layer}.fc2", WIDTH, HIDDEN)
    linear("model.encoder.conv1", WIDTH, 80, kernel=(3,))
    linear("model.encoder.conv2", WIDTH, WIDTH, kernel=(3,))
    tensors["model.decoder.embed_tokens.weight"] = torch.randn(said["vocab_size"], WIDTH)
    if chatty:
        tensors["model.decoder.embed_tokens.weight"][end] *= 1.5
        tensors["model.decoder.embed_positions.weight"] *= 3
    save_file(tensors, str(folder / "model.safetensors"), {"format": "pt"})
    return folder
