"""`RawEar`: sound to rows without an encoder: the samples of a token, normed, through one linear layer.

What an encoder does is left to the decoder that was trained with it (Gemma Team 2026). A row depends on its own samples
alone: nothing is carried from one to the next, and a token is final with its last sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.nn.linear import Linear
from liveagent.nn.row_ear import RATE_HZ


@dataclass
class RawEarState:
    """What a lane has heard, of which the next token needs nothing."""


class RawEar(nn.Module):
    """See above; in the form of `RowEar`. B lanes, S samples, T tokens."""

    def __init__(self, token_samples: int, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        if token_samples < 1 or width < 1:
            raise ValueError(f"rows of {width} numbers for each {token_samples} samples")
        self.token_samples, self.width, self.eps = token_samples, width, eps
        self.enter = Linear(token_samples, width, bias=False)

    @property
    def token_ms(self) -> float:
        return 1000 * self.token_samples / RATE_HZ

    @property
    def block_samples(self) -> int:
        """Samples of the least that `step` takes: one token's."""
        return self.token_samples

    def final(self, samples: int) -> int:
        """How many tokens are final once `samples` samples of a stream are in."""
        return samples // self.token_samples

    def init_state(self, lanes: int) -> RawEarState:
        """State of `lanes` lanes that have heard nothing."""
        return RawEarState()

    def reset(self, state: RawEarState, lane: int) -> None:
        """Let one lane begin anew, as every token does."""

    def copy_lane(self, src_state: RawEarState, src: int, dst_state: RawEarState, dst: int) -> None:
        """Copy one lane's state, of which there is none, onto another lane."""

    @torch.no_grad()
    def step(self, samples: Tensor, state: RawEarState, active: Tensor) -> Tensor:
        """Whole tokens [B, S] -> rows [B, T, width]; those of lanes that are not `active` [B] mean nothing."""
        if samples.shape[1] % self.token_samples or not samples.shape[1]:
            raise ValueError(f"RawEar.step takes whole tokens of {self.token_samples} samples: wait for more")
        return self._rows(samples)

    @torch.no_grad()
    def provisional(self, samples: Tensor, state: RawEarState) -> Tensor:
        """What a clip that ended with these samples [B, S], less than a token's, would have as its last row
        [B, 1, width]: silence fills it; [B, 0, width] where there are none."""
        return self._rows(self._padded(samples))

    def forward(self, samples: Tensor) -> Tensor:
        """Whole clips [B, S] -> rows [B, T, width]; a clip may end within a token, whose row is then provisional."""
        return self._rows(self._padded(samples))

    whole = forward

    def _padded(self, samples: Tensor) -> Tensor:
        return fn.pad(samples, (0, -samples.shape[1] % self.token_samples))

    def _rows(self, samples: Tensor) -> Tensor:
        tokens = samples.unflatten(1, (-1, self.token_samples)).to(self.enter.weight.dtype)
        rows: Tensor = self.enter(fn.rms_norm(tokens, (self.token_samples,), eps=self.eps))
        return rows
