"""`Sides`: one model of random weights on both sides, in the engine's core here and in `transformers` there, and a
conversation that both remember."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from liveagent.bench.beside import saved
from liveagent.bench.decode import occupy
from liveagent.bench.proportions import random_stack, running, soften, whole
from liveagent.bench.rival import Rival, reference
from liveagent.families import gemma4_ear, gemma4_eye
from liveagent.nn.checkpoint import Checkpoint
from liveagent.runtime.core import Core

HERE, KEPT = 0, 1
"""The lane that reads a turn, and the one that holds what was before it."""


class Sides:
    """See the module. `core` is ours; `rival`, and the processors `extract` (of sound) and `process` (of
    pictures), are theirs. `marks` are the ids around sound and pictures."""

    def __init__(self, size: str, dtype: torch.dtype, slots: int) -> None:
        """The decoder's weights are in memory once; ear and eye are read by both from a folder that `transformers`
        wrote."""
        transformers, self.marks = reference(), whole(size)
        decoder = random_stack(self.marks["text_config"], dtype)
        with tempfile.TemporaryDirectory() as name:
            folder = saved(_senses(self.marks).to(dtype), Path(name))
            theirs = transformers.Gemma4ForConditionalGeneration.from_pretrained(folder, dtype=dtype).eval()
            checkpoint = Checkpoint.open(folder)
            ear, eye = gemma4_ear.ear(checkpoint, dtype), gemma4_eye.eye(checkpoint, dtype)
        self.rival = Rival.whole(decoder, self.marks, theirs)
        self.core = Core(running(decoder, ear, eye), slots=slots)
        self.extract = transformers.Gemma4AudioFeatureExtractor()
        pictures = transformers.models.gemma4.image_processing_pil_gemma4
        self.process = pictures.Gemma4ImageProcessorPil(max_soft_tokens=gemma4_eye.VIDEO_ROWS)
        self._cache: Any = None
        self._tokens = 0

    def remember(self, tokens: int) -> None:
        """Both hold so many tokens from now on: the same keys and values, drawn."""
        net, state = self.core.model.decoder, self.core._cache
        occupy(state, KEPT, tokens)
        self._cache, self._tokens = reference().DynamicCache(config=self.rival.config), tokens
        ring = state.near[KEPT] >= 0
        serials = state.near[KEPT][ring]
        for number, block in enumerate(net.shape.blocks):
            if block.keys_from is not None:
                continue
            place = net.shape.places[number]
            keys, values = torch.randn(2, block.kv_heads, tokens, block.head_width).to(net.embedding.dtype)
            self._cache.update(keys[None], values[None], number)
            if block.window:
                state.near_keys[KEPT, place][:, ring] = keys[:, serials]
                state.near_values[KEPT, place][:, ring] = values[:, serials]
                continue
            for slab, drawn in ((state.keys, keys), (state.raw, keys), (state.values, values)):
                slab[KEPT, place, :, :tokens] = drawn

    def begin(self) -> None:
        """Both remember that and nothing else."""
        self.core._cache.copy_lane(KEPT, self.core._cache, HERE)
        self.core._lane[HERE].length = self._tokens
        self.rival.cache = copy.deepcopy(self._cache)


def _senses(config: Mapping[str, Any]) -> Any:
    """A random model in `transformers` with this ear and eye, and hardly any decoder behind them."""
    transformers = reference()
    one_layer = {
        "vocab_size": 64, "vocab_size_per_layer_input": 64, "num_hidden_layers": 1, "num_kv_shared_layers": 0,
        "layer_types": ["full_attention"],
    }  # fmt: skip
    torch.manual_seed(1)
    made = transformers.Gemma4Config(**{**config, "text_config": {**config["text_config"], **one_layer}})
    model = transformers.Gemma4ForConditionalGeneration(made).eval().requires_grad_(False)
    eye = model.model.vision_tower
    soften(eye, ("q_norm.weight", "k_norm.weight"), made.vision_config.head_dim)
    eye.patch_embedder.position_embedding_table.normal_(std=0.3)
    return model
