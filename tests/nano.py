"""A nano with random weights, for tests of everything around the weights: real networks, real sizes, no training."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.ear import Ear, EarConfig
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.model import Model
from liveagent.nn.nano import Nano
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import Template
from liveagent.nn.vad import Vad
from liveagent.nn.vit_config import VitConfig
from liveagent.sight import WIDTH

PIECES = Path(__file__).parents[1] / "pipelines" / "nano" / "weights" / "pieces.json"


@cache
def random_nano(seed: int = 0) -> Nano:
    torch.manual_seed(seed)
    pieces = Pieces.load(PIECES)
    ear = Ear(EarConfig(pieces=pieces.ear_vocab, pieces_hash=pieces.hash, width=64, layers=2, stem=8))
    sizes = DecoderConfig(
        pieces.vocab_size, width=64, layers=2, hidden=128, hear_width=64, time_pairs=4, sight_width=WIDTH
    )
    decoder = Decoder(sizes)
    eye = Eye(EyeConfig(VitConfig(width=32, layers=2, heads=2, times=2, stem=4), hidden=32))
    return Nano(ear, decoder, Vad.load(), pieces, f"random-{seed}", eye)


def marks(model: Model) -> Template:
    """nano's marks, of a model that is nano."""
    assert isinstance(model.template, Template)
    return model.template
