"""A streaming FastConformer with random weights in a folder as the hub has it, written by transformers: the real
layout, pieces that mean nothing."""

from __future__ import annotations

import itertools
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models
from torch import Tensor

from liveagent.nn import torchaudio_cpu
from liveagent.nn.checkpoint import Checkpoint
from tests.laws import sound

os.environ["HF_HUB_OFFLINE"] = "1"
torchaudio_cpu.load()
pytest.importorskip("transformers", reason="transformers, which ours is compared with, is not installed")
from transformers import ParakeetTokenizer  # noqa: E402
from transformers.models import nemotron_asr_streaming  # noqa: E402

there = nemotron_asr_streaming

TOKEN = 1280
BANDS, PIECES, BLANK, MOST = 40, 41, 40, 3
ENCODER = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 48,
    "subsampling_conv_channels": 8, "num_mel_bins": BANDS, "sliding_window": 15,
}  # fmt: skip
EXTRACTOR = there.NemotronAsrStreamingFeatureExtractor(feature_size=BANDS)


def features(samples: Tensor) -> Tensor:
    """Their mel of clips [B, S] of whole tokens: as many frames as these need, for which they want 200 samples more."""
    padded = [np.pad(clip.numpy(), (0, TOKEN)) for clip in samples]
    mel: Tensor = EXTRACTOR(padded, return_tensors="pt", sampling_rate=16_000).input_features
    return mel[:, : 8 * (samples.shape[1] // TOKEN) - 7]


def rows_there(net: Any, samples: Tensor, lookahead: int) -> Tensor:
    mel = features(samples)
    seen = torch.ones(mel.shape[:2], dtype=torch.bool)
    rows: Tensor = net.get_audio_features(mel, attention_mask=seen, num_lookahead_tokens=lookahead).pooler_output
    return rows


def draw_gains(net: Any) -> None:
    """Weights of which nothing is near zero or one; rows and scores whose winner changes, the blank in two of three."""
    for name, tensor in net.state_dict().items():
        if tensor.dim() > 1 and "bias" not in name:
            tensor.normal_(std=1.2 / math.sqrt(tensor[0].numel()))
        elif "bias" in name:
            tensor.normal_(std=0.3)
        else:
            tensor.uniform_(0.6, 1.6).mul_(torch.randint(0, 2, tensor.shape) * 2.0 - 1)
    if not hasattr(net, "joint"):
        return
    rows = rows_there(net, sound(4, 56, TOKEN), 1).flatten(0, 1)
    net.encoder_projector.weight.mul_(1.5 / rows.std(0).mean())
    rows = rows_there(net, sound(4, 56, TOKEN), 1).flatten(0, 1)
    net.encoder_projector.bias.sub_(rows.mean(0))
    net.joint.head.weight.mul_(2)
    scores = net.joint.head(torch.relu(rows - rows.mean(0)))
    lead = scores[:, :BLANK].amax(1) - scores[:, BLANK]
    net.joint.head.bias[BLANK] += lead.quantile(0.6)


def written(folder: Path, gains: bool = True, **encoder: Any) -> tuple[Any, Checkpoint]:
    """Their model, and its folder opened."""
    config = there.NemotronAsrStreamingConfig(
        encoder_config=ENCODER | encoder, vocab_size=PIECES, decoder_hidden_size=24, num_decoder_layers=2,
        blank_token_id=BLANK, pad_token_id=0, max_symbols_per_step=MOST,
    )  # fmt: skip
    net = there.NemotronAsrStreamingForRNNT(config).eval().requires_grad_(False)
    net.generation_config.decoder_start_token_id = BLANK
    if gains:
        draw_gains(net)
    net.save_pretrained(folder)
    EXTRACTOR.save_pretrained(folder)
    return net, Checkpoint.open(folder)


def pieces_there(net: Any, samples: Tensor, lookahead: int) -> list[tuple[int, int]]:
    """(token of sound, piece) of one clip [1, S], as they write it."""
    mel = features(samples)
    seen = torch.ones(mel.shape[:2], dtype=torch.bool)
    said = net.generate(
        input_features=mel, attention_mask=seen, num_lookahead_tokens=lookahead, max_new_tokens=20 * mel.shape[1]
    )
    at = (said.durations.cumsum(-1) - said.durations)[0].tolist()
    return [(t, piece) for t, piece in zip(at, said.sequences[0].tolist(), strict=True) if piece != BLANK]


def tokenizer() -> Tokenizer:
    """Forty pieces as SentencePiece has them: some begin a word."""
    inner = [a + b for a, b in itertools.product("abcdefghijklm", "xyz")]
    pieces = ["<unk>", *("\u2581" * (i % 2) + piece for i, piece in enumerate(inner))][:BLANK]
    made = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    made.decoder = decoders.Metaspace()
    return made


def as_on_the_hub(folder: Path) -> Any:
    """A whole folder as its converter leaves it; their model. Behind the pieces the tokenizer has marks of its own,
    which the network does not know: "<pad>" where the network has its blank, and "<blank>" after it."""
    net, _ = written(folder)
    (folder / "preprocessor_config.json").unlink()  # the processor's file holds it
    words = ParakeetTokenizer(tokenizer_object=tokenizer(), clean_up_tokenization_spaces=False)
    words.add_tokens([AddedToken(each, normalized=False, special=True) for each in ("<pad>", "<blank>")])
    words.add_special_tokens({"pad_token": "<pad>", "unk_token": "<unk>"})
    processor = there.NemotronAsrStreamingProcessor(EXTRACTOR, words, supported_num_lookahead_tokens=[13, 6, 1, 0])
    processor.save_pretrained(folder)
    return net
