"""`Ear`: sound to pieces. Log-mel, four-fold subsampling to 40 ms tokens, a causal chunked Conformer, two heads.

The pieces' head is trained with CTC (Graves et al. 2006); the other says for each token whether there is speech,
silence, music or noise. The block is 160 ms: 2560 samples in, 4 tokens out, nothing looked ahead beyond the block.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn import lanes, weights
from liveagent.nn.chunked import rotation, window_bias
from liveagent.nn.conformer import Block, ConformerConfig
from liveagent.nn.mel import HOP, Mel, MelState
from liveagent.nn.stem import Stem, StemConfig, StemState

VERSION = 1
KINDS = ("speech", "silence", "music", "noise")
CHUNK = 4  # tokens of a block
OLD_NAMES = {"stem_in.": "stem.halvings.0.conv.", "stem_out.": "stem.halvings.1.conv.", "enter.": "stem.enter."}
LEAST = -14.0  # log-probabilities end here, at a millionth: what lies below carries rounding and no news


@dataclass(frozen=True)
class EarConfig:
    """The sizes of an ear, written beside its weights."""

    pieces: int  # V: the blank and the ear's pieces
    pieces_hash: str = ""  # of the tokenizer it was trained with
    width: int = 160
    layers: int = 7
    heads: int = 4
    times: int = 2  # how much a feed-forward widens
    kernel: int = 9  # tokens of the causal convolution
    left: int = 40  # tokens of left context: 1.6 s
    stem: int = 32  # channels of the subsampling
    n_mels: int = 80


class Heard(NamedTuple):
    """What a block was heard as: `logp` [B, T, V] log-probabilities (no less than LEAST), `hidden` [B, T, D],
    `kind` [B, T, 4] logits."""

    logp: Tensor
    hidden: Tensor
    kind: Tensor


@dataclass
class EarState:
    """Everything the next block needs; lanes first. `length` [B] counts cached tokens, up to the left context."""

    mel: MelState
    stem: StemState
    keys: Tensor  # [B, layers, L, D]
    values: Tensor  # [B, layers, L, D]
    past: Tensor  # [B, layers, kernel - 1, D]
    length: Tensor  # [B] int64


class Ear(nn.Module):
    """The streaming ear; see the module."""

    block_samples = 16 * HOP
    cos: Tensor
    sin: Tensor

    def __init__(self, config: EarConfig, dropout: float = 0.0) -> None:
        super().__init__()
        c = self.config = config
        self.mel = Mel(c.n_mels)
        self.stem = Stem(StemConfig(c.n_mels, c.width, (c.stem, c.stem), activation="silu"))
        block = ConformerConfig(c.width, c.heads, c.width * c.times, c.kernel, CHUNK, c.left, dropout)
        self.blocks = nn.ModuleList(Block(block) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.head = nn.Linear(c.width, c.pieces)
        self.kind = nn.Linear(c.width, len(KINDS))
        cos, sin = rotation(c.left + CHUNK, c.width // c.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def init_state(self, lanes: int) -> EarState:
        """State of `lanes` lanes that have heard nothing."""
        c = self.config
        return EarState(
            mel=self.mel.init_state(lanes),
            stem=self.stem.init_state(lanes),
            keys=torch.zeros(lanes, c.layers, c.left, c.width),
            values=torch.zeros(lanes, c.layers, c.left, c.width),
            past=torch.zeros(lanes, c.layers, c.kernel - 1, c.width),
            length=torch.zeros(lanes, dtype=torch.int64),
        )

    def reset(self, state: EarState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: EarState, src: int, dst_state: EarState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    @torch.no_grad()
    def step(self, samples: Tensor, state: EarState, active: Tensor) -> Heard:
        """One block: samples [B, 2560] -> 4 tokens a lane. `state` moves on in place, in `active` [B] rows only."""
        if samples.shape[1] != self.block_samples:
            raise ValueError(f"Ear.step takes {self.block_samples} samples a lane, got {samples.shape[1]}")
        c = self.config
        x = self.stem.step(self.mel.step(samples, state.mel, active), state.stem, active)
        place = torch.arange(c.left + CHUNK)
        mask = (place[None, :] >= c.left - state.length[:, None])[:, None, None, :]
        moved = []
        for i, block in enumerate(self.blocks):
            cache = (state.keys[:, i], state.values[:, i], state.past[:, i])
            x, new = block.step(x, cache, mask, (self.cos, self.sin))
            moved.append(new)
        for whole, parts in zip((state.keys, state.values, state.past), zip(*moved, strict=True), strict=True):
            lanes.keep(whole, torch.stack(parts, dim=1), active)
        lanes.keep(state.length, (state.length + CHUNK).clamp_max(c.left), active)
        return self._said(self._heads(x))

    def forward(self, samples: Tensor) -> Heard:
        """Whole clips [B, S] from their beginning, S a multiple of 2560; the numbers that streaming gives."""
        return self._said(self.hear(self.mel(samples))[0])

    def hear(self, frames: Tensor, tap: int = -1) -> tuple[Heard, Tensor | None]:
        """Mel frames [B, T, F] of whole clips, T a multiple of 16. Also the log-probabilities after block `tap`.

        The tap is for a loss on a middle layer while training (Lee & Watanabe 2021).
        """
        c = self.config
        x = self.stem(frames)
        bias = window_bias(x.shape[1], CHUNK, c.left)
        rope = rotation(x.shape[1], c.width // c.heads)
        middle = None
        for i, block in enumerate(self.blocks):
            x = block(x, bias, rope)
            if i == tap:
                middle = fn.log_softmax(self.head(self.norm(x)).float(), dim=-1)
        return self._heads(x), middle

    def _said(self, heard: Heard) -> Heard:
        return heard._replace(logp=heard.logp.clamp_min(LEAST))

    def _heads(self, x: Tensor) -> Heard:
        hidden = self.norm(x)
        return Heard(fn.log_softmax(self.head(hidden).float(), dim=-1), hidden.float(), self.kind(hidden).float())

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Weights that were written before the stem was one under its own name are read too."""
        for name in [name for name in state_dict if name.startswith(prefix)]:
            for old, new in OLD_NAMES.items():
                if name.startswith(prefix + old):
                    state_dict[prefix + new + name.removeprefix(prefix + old)] = state_dict.pop(name)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def save(self, path: str | Path) -> None:
        """Write weights (fp16) and sizes as one safetensors file."""
        weights.save(self, path, "liveagent.ear", VERSION, dataclasses.asdict(self.config))

    @classmethod
    def load(cls, path: str | Path) -> Ear:
        """Read what `save` wrote, as fp32, ready to hear.

        Raises:
            ConfigError: the file is missing, damaged or of another version.
        """
        tensors, meta = weights.load(path, "liveagent.ear", VERSION)
        try:
            ear = cls(EarConfig(**json.loads(meta["config"])))
            ear.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{path} is damaged ({why}): fetch it again or export it anew") from None
        return ear.eval()
