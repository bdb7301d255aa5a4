"""Gemma 4 12B "Unified" (its licence: see its page): a Gemma 4 without encoders.

The decoder is Gemma 4's (`gemma4.py`), without inputs of each layer's own; 40 ms of raw sound are one row, and so are
48 by 48 px of a picture. What an encoder would do the decoder does: in layers with a window a picture's rows see all of
it, those behind them too, so a picture is read in one step. Sources: `transformers`, against which
`tests/test_gemma4_unified.py` compares every number, and what the processor's files say.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.families import gemma4
from liveagent.families.gemma4 import Calls, framing, picture_marks, sound_marks
from liveagent.families.gemma4_eye import framings
from liveagent.nn.checkpoint import Checkpoint, Made
from liveagent.nn.raw_ear import RawEar
from liveagent.nn.raw_eye import RawEye, RawEyeConfig
from liveagent.nn.row_ear import RATE_HZ
from liveagent.nn.stack import Stack

__all__ = ["ARCHITECTURES", "Calls", "decoder", "framing", "own_ear", "own_eye", "picture_marks", "sound_marks"]

ARCHITECTURES = ("Gemma4UnifiedForConditionalGeneration", "Gemma4UnifiedForCausalLM")
EAR, EYE = "model.embed_audio.", "model.vision_embedder."
TOKEN_SAMPLES = 640


def decoder(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> Stack:
    """The text decoder of a checkpoint, ready to run. ConfigError: weights and `config.json` do not fit."""
    return gemma4.decoder(checkpoint, dtype, looks_ahead="vision")


def own_ear(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> RawEar:
    """The ear whose rows the decoder reads. ConfigError: it has none, or its files do not fit together."""
    audio, text = (checkpoint.config.get(part) for part in ("audio_config", "text_config"))
    if not isinstance(audio, Mapping) or not isinstance(text, Mapping):
        raise ConfigError(f"{checkpoint.folder} has no ear: its config.json speaks of no audio_config")
    said = checkpoint.settings("processor_config.json").get("feature_extractor")
    said = said or checkpoint.settings("preprocessor_config.json")
    said = said.get("feature_extractor", said)
    try:
        samples = audio.get("audio_embed_dim", TOKEN_SAMPLES)
        measured = said.get("audio_samples_per_token", samples), said.get("sampling_rate", RATE_HZ)
        if measured != (samples, RATE_HZ):
            raise ValueError(f"{measured[0]} samples at {measured[1]} Hz are a token, and not {samples} at {RATE_HZ}")
        with torch.device("meta"):
            net = RawEar(samples, text["hidden_size"], float(audio.get("rms_norm_eps", 1e-6)))
    except (KeyError, TypeError, ValueError) as error:
        raise _strange(checkpoint, error) from None
    checkpoint.fill(net, {"enter.weight": f"{EAR}embedding_projection.weight"}, dtype)
    return net.eval().requires_grad_(False)


def own_eye(checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> RawEye:
    """The eye whose rows the decoder reads. ConfigError: it has none, or its files do not fit together."""
    settings, text = (checkpoint.config.get(part) for part in ("vision_config", "text_config"))
    if not isinstance(settings, Mapping) or not isinstance(text, Mapping):
        raise ConfigError(f"{checkpoint.folder} has no eye: its config.json speaks of no vision_config")
    try:
        small_px, group = settings.get("patch_size", 16), settings.get("pooling_kernel_size", 3)
        config = RawEyeConfig(
            patch_px=small_px * group,
            width=settings.get("mm_embed_dim", 3840),
            rows=text["hidden_size"],
            places=settings.get("mm_posemb_size", 1120),
            eps=float(settings.get("rms_norm_eps", 1e-6)),
        )
        with torch.device("meta"):
            net = RawEye(config, *framings(checkpoint, small_px, group))
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise _strange(checkpoint, error) from None
    found: dict[str, str | Made] = {
        "enter.weight": Made((f"{EYE}patch_dense.weight",), _colours_first),
        "enter.bias": f"{EYE}patch_dense.bias",
        "positions": Made((f"{EYE}pos_embedding",), lambda table: table.transpose(0, 1).contiguous()),
        "out.weight": "model.embed_vision.embedding_projection.weight",
    }
    for part in ("weight", "bias"):
        found[f"norm_pixels.{part}"] = Made((f"{EYE}patch_ln1.{part}",), _colours_first)
        found[f"norm_entered.{part}"] = f"{EYE}patch_ln2.{part}"
        found[f"norm_placed.{part}"] = f"{EYE}pos_norm.{part}"
    checkpoint.fill(net, found, dtype)
    return net.eval().requires_grad_(False)


def _strange(checkpoint: Checkpoint, error: Exception) -> ConfigError:
    return ConfigError(f"{checkpoint.folder}: its settings are no Gemma 4 12B's ({type(error).__name__}: {error})")


def _colours_first(weight: Tensor) -> Tensor:
    """A patch's pixels stand as line, column, colour there, and as colour, line, column here."""
    side = round((weight.shape[-1] / 3) ** 0.5)
    return weight.view(*weight.shape[:-1], side, side, 3).movedim(-1, -3).flatten(-3)
