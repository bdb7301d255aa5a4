"""`Stem`: log-mel frames to a Conformer's tokens, by convolutions that halve time and bands, with carried state.

Each convolution sees three frames and gives one for two, so it needs one frame of what came before. Where a token's
frames end (`StemConfig.behind`) says how frames and tokens lie to each other: with the token's last frame in the middle
of the last convolution's three, or at their end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn import lanes
from liveagent.nn.linear import Linear

KERNEL, STRIDE = 3, 2


@dataclass(frozen=True)
class StemConfig:
    """Everything that fixes a stem's tensors' shapes and its arithmetic."""

    bands: int
    width: int
    """Of tokens."""
    channels: tuple[int, ...]
    """What each convolution gives."""
    behind: bool = False
    """A convolution's three frames end with the newest, and not beside it. Then a stream's first block begins with
    frames from before its first sample (`lead`), which count as nothing."""
    separable: bool = False
    """All convolutions but the first go through each channel alone, and then through all at each place."""
    bias: bool = True
    """Of convolutions and of the product."""
    norm: bool = False
    """Channels are normed behind each convolution, without biases."""
    eps: float = 1e-5
    activation: Literal["relu", "silu"] = "relu"
    scale: float = 1.0
    """What tokens are multiplied with."""
    sortable: bool = False
    """The product is a `linear.Linear`, whose weights may be sorted for few rows."""

    def __post_init__(self) -> None:
        if min(self.bands, self.width, *self.channels) < 1 or (self.separable and len(set(self.channels)) > 1):
            raise ConfigError(f"a stem of {self.bands} bands and channels {self.channels} cannot be")

    @property
    def frames(self) -> int:
        """That make a token."""
        return STRIDE ** len(self.channels)

    @property
    def lead(self) -> int:
        """How many frames of a stream's first block stand before its first sample."""
        return self.frames - 1 if self.behind else 0

    def halved(self, bands: int) -> int:
        """Bands that a convolution makes of `bands`."""
        return bands // STRIDE + 1 if self.behind else -(-bands // STRIDE)


@dataclass
class StemState:
    """`last`: for each convolution the last frame of what goes into it, [B, C, 1, F]."""

    last: tuple[Tensor, ...]


class Convolved(nn.Module):
    """One halving: convolution, norm, activation."""

    def __init__(self, config: StemConfig, before: int, channels: int, alone: bool) -> None:
        super().__init__()
        self.behind, self.activation = config.behind, config.activation
        groups, beside = before if alone else 1, (0, 0 if config.behind else 1)
        self.conv = nn.Conv2d(before, channels, KERNEL, STRIDE, beside, groups=groups, bias=config.bias)
        self.point = nn.Conv2d(channels, channels, 1, bias=config.bias) if alone else None
        self.norm = nn.LayerNorm(channels, eps=config.eps, bias=False) if config.norm else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, 1 + 2 T, F], the last frame before it first -> [B, C', T, F']."""
        x = self.conv(fn.pad(x, (2, 1)) if self.behind else x)
        x = x if self.point is None else self.point(x)
        if self.norm is not None:
            x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return fn.silu(x) if self.activation == "silu" else torch.relu(x)


class Stem(nn.Module):
    """See above."""

    def __init__(self, config: StemConfig) -> None:
        super().__init__()
        self.config = c = config
        sizes = (1, *c.channels)
        self.halvings = nn.ModuleList(
            Convolved(c, sizes[i], sizes[i + 1], c.separable and i > 0) for i in range(len(c.channels))
        )
        self.shapes = []  # (channels, bands) of what goes into each convolution
        bands = c.bands
        for each in sizes[:-1]:
            self.shapes.append((each, bands))
            bands = c.halved(bands)
        self.enter = (Linear if c.sortable else nn.Linear)(c.channels[-1] * bands, c.width, bias=c.bias)

    def init_state(self, lanes: int) -> StemState:
        """State of `lanes` lanes that have heard nothing."""
        like = self.enter.weight
        return StemState(tuple(like.new_zeros(lanes, channels, 1, bands) for channels, bands in self.shapes))

    def step(
        self, frames: Tensor, state: StemState, active: Tensor, first: Tensor | None = None, real: int | None = None
    ) -> Tensor:
        """Frames [B, T, F], T whole tokens -> tokens [B, T / frames, D]. Only `active` [B] rows of the state move on.

        `first` [B]: lanes whose first frames these are, which matters where frames stand `behind`. `real`: how many
        frames are no padding (None: all).
        """
        x, last = self._through(frames, state.last, None if first is None else first[:, None, None, None], real)
        for old, new in zip(state.last, last, strict=True):
            lanes.keep(old, new, active)
        return x

    def forward(self, frames: Tensor, real: int | None = None) -> Tensor:
        """Whole clips, which may end within a token: `real` says how many frames are no padding (None: all)."""
        first = torch.ones(len(frames), 1, 1, 1, dtype=torch.bool, device=frames.device)
        return self._through(frames, self.init_state(len(frames)).last, first, real)[0]

    def _through(
        self, frames: Tensor, last: tuple[Tensor, ...], first: Tensor | None, real: int | None
    ) -> tuple[Tensor, list[Tensor]]:
        x = frames.unsqueeze(1).to(self.enter.weight.dtype)
        lead, ends = self.config.lead, []
        for halving, before in zip(self.halvings, last, strict=True):
            if lead and first is not None:
                x = x.masked_fill(first & (_places(x) < lead), 0.0)
            if real is not None:
                x, real = x.masked_fill(_places(x) >= real, 0.0), -(-real // STRIDE)
            ends.append(x[:, :, -1:])
            x, lead = halving(torch.cat([before, x], dim=2)), lead // STRIDE
        tokens: Tensor = self.enter(x.transpose(1, 2).flatten(2))
        return tokens if self.config.scale == 1.0 else tokens * self.config.scale, ends


def _places(x: Tensor) -> Tensor:
    return torch.arange(x.shape[2], device=x.device)[:, None]
