"""`RowEar`: sound to rows, with carried state: log-mel, a stem, Conformer blocks, and what makes rows of a width.

This is an ear as others train them. What it says is not words but rows: those that a decoder reads among its own, or
those that a transducer writes words from.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn import lanes
from liveagent.nn.chunked import window_bias, window_mask
from liveagent.nn.conformer import Block, ConformerConfig
from liveagent.nn.linear import Linear
from liveagent.nn.mel import HOP, Mel, MelState
from liveagent.nn.stem import Stem, StemConfig, StemState

RATE_HZ = 16_000


@dataclass(frozen=True)
class RowEarConfig:
    """Everything that fixes an ear's tensors' shapes and its arithmetic."""

    stem: StemConfig
    block: ConformerConfig
    layers: int
    out: int
    """Width of the product behind the blocks."""
    rows: int = 0
    """Width of the rows where these are not that: what comes out is normed, without weights, and projected to this."""
    eps: float = 1e-6
    """Of that norm."""

    def __post_init__(self) -> None:
        if self.stem.width != self.block.width or self.layers < 1 or self.out < 1:
            raise ConfigError(
                f"a stem of width {self.stem.width} does not fit {self.layers} blocks of width {self.block.width}"
            )


@dataclass
class RowEarState:
    """Everything the next block needs; lanes first. `length` [B] counts tokens, up to the left context."""

    mel: MelState
    stem: StemState
    keys: Tensor  # [B, layers, H, L, size]
    values: Tensor  # [B, layers, H, L, size]
    past: Tensor  # [B, layers, kernel - 1, D]
    length: Tensor  # [B] int64


class RowEar(nn.Module):
    """See above. Nothing is looked ahead beyond a block; a block is one chunk of tokens. `mel` may stand beside a
    network that was made on the device "meta"."""

    def __init__(self, mel: Mel, config: RowEarConfig) -> None:
        super().__init__()
        c = self.config = config
        if mel.n_mels != c.stem.bands:
            raise ConfigError(f"{mel.n_mels} bands are measured, but {c.stem.bands} are wanted")
        self.mel = mel
        self.stem = Stem(c.stem)
        self.blocks = nn.ModuleList(Block(c.block) for _ in range(c.layers))
        self.out = Linear(c.block.width, c.out)
        self.enter = Linear(c.out, c.rows, bias=False) if c.rows else None

    @property
    def token_samples(self) -> int:
        """Samples of a token."""
        return self.config.stem.frames * HOP

    @property
    def token_ms(self) -> float:
        return 1000 * self.token_samples / RATE_HZ

    @property
    def block_samples(self) -> int:
        """Samples of the least that `step` takes. A token is final with the last sample of its block: what it looks
        ahead lies within, and the oldest token of a block waits longest."""
        return self.config.block.chunk * self.token_samples

    @property
    def width(self) -> int:
        """Of a row."""
        return self.config.rows or self.config.out

    def final(self, samples: int) -> int:
        """How many tokens are final once `samples` samples of a stream are in."""
        return samples // self.block_samples * self.config.block.chunk

    def init_state(self, lanes: int) -> RowEarState:
        """State of `lanes` lanes that have heard nothing."""
        block, layers, like = self.config.block, self.config.layers, self.out.weight
        return RowEarState(
            mel=self.mel.init_state(lanes),
            stem=self.stem.init_state(lanes),
            keys=like.new_zeros(lanes, layers, block.heads, block.left, block.width // block.heads),
            values=like.new_zeros(lanes, layers, block.heads, block.left, block.width // block.heads),
            past=like.new_zeros(lanes, layers, block.kernel - 1, block.width),
            length=torch.zeros(lanes, dtype=torch.int64, device=like.device),
        )

    def reset(self, state: RowEarState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: RowEarState, src: int, dst_state: RowEarState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    @torch.no_grad()
    def step(self, samples: Tensor, state: RowEarState, active: Tensor) -> Tensor:
        """Whole blocks [B, S] -> rows [B, S / token_samples, rows]. `state` moves on in place, in `active` [B] rows."""
        if samples.shape[1] % self.block_samples or not samples.shape[1]:
            raise ValueError(f"RowEar.step takes whole blocks of {self.block_samples} samples: wait for more")
        return self._hear(self.mel.step(samples, state.mel, active), state, active)

    @torch.no_grad()
    def provisional(self, samples: Tensor, state: RowEarState) -> Tensor:
        """What a clip that ended with these samples [B, S], less than a token's, would have as its last row
        [B, 1, rows]; [B, 0, rows] where they fill no frame. The state stays as it is."""
        samples = samples[:, : samples.shape[1] // HOP * HOP]
        if not samples.shape[1] or self.block_samples != self.token_samples:
            return self.out.weight.new_zeros(len(samples), 0, self.width)
        state = lanes.take(state, list(range(len(samples))))
        everyone = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
        frames = self.mel.step(samples, state.mel, everyone)
        return self._hear(self._padded(frames), state, everyone, frames.shape[1])

    def _hear(self, frames: Tensor, state: RowEarState, active: Tensor, real: int | None = None) -> Tensor:
        """Frames [B, T, F] of whole blocks -> rows. `real`: how many of them are no padding (None: all)."""
        block = self.config.block
        x = self.stem.step(frames, state.stem, active, state.length == 0, real)
        tokens = x.shape[1]
        place = torch.arange(block.left + tokens, device=x.device)
        filled = place[None, :] >= block.left - state.length[:, None]
        mask = (window_mask(tokens, block.chunk, block.left).to(x.device) & filled[:, None, :])[:, None]
        for i, each in enumerate(self.blocks):
            assert isinstance(each, Block)
            cache = (state.keys[:, i], state.values[:, i], state.past[:, i])
            x, moved = each.step(x, cache, mask)
            for old, new in zip(cache, moved, strict=True):
                torch.where(active.view(-1, *(1 for _ in range(old.dim() - 1))), new, old, out=old)
        lanes.keep(state.length, (state.length + tokens).clamp_max(max(block.left, 1)), active)
        return self._rows(x)

    def forward(self, samples: Tensor) -> Tensor:
        """Whole clips [B, S] from their beginning -> rows [B, T, rows], the numbers that streaming gives.

        Where blocks are single tokens a clip may end within one: its last row is then provisional, as one would have
        been that stood at a clip's end while this was trained. Where they are not, the clip must be of whole blocks.
        """
        return self.hear(self.mel(samples[:, : samples.shape[1] // HOP * HOP]))

    whole = forward

    def hear(self, frames: Tensor) -> Tensor:
        """Mel frames [B, T, F] of whole clips -> rows."""
        block = self.config.block
        if block.chunk > 1 and frames.shape[1] * HOP % self.block_samples:
            raise ValueError(f"RowEar takes clips of whole blocks of {self.block_samples} samples: pad with silence")
        x = self.stem(self._padded(frames), frames.shape[1])
        bias = window_bias(x.shape[1], block.chunk, block.left).to(x.device)
        for each in self.blocks:
            x = each(x, bias)
        return self._rows(x)

    def _padded(self, frames: Tensor) -> Tensor:
        return fn.pad(frames, (0, 0, 0, -frames.shape[1] % self.config.stem.frames))

    def _rows(self, x: Tensor) -> Tensor:
        x = self.out(x)
        if self.enter is None:
            return x
        rows: Tensor = self.enter(fn.rms_norm(x, x.shape[-1:], eps=self.config.eps))
        return rows
