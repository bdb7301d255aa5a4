"""`SoundEncoder`: log-mel of a whole clip to one row every few frames; every row has seen the whole clip.

Two convolutions halve the frames, positions are added, then pre-norm blocks of attention and feed-forward (Vaswani et
al. 2017; the form of Radford et al. 2022). It is a block model and its block is the clip: for sound that still comes
in, all of it is encoded again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn.linear import Linear

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True)
class SoundConfig:
    """Everything that fixes the encoder's tensors' shapes and its arithmetic."""

    bands: int = 80
    width: int = 384
    layers: int = 4
    heads: int = 6
    hidden: int = 1536
    places: int = 1500
    """Rows that a clip gives: half its frames."""
    activation: Activation = "gelu"
    """Of the blocks; between the convolutions it is GELU."""
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        check_heads(self.width, self.heads)


def check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads or width % 2:
        raise ConfigError(f"width {width} does not split into {heads} heads, or is odd")


def active(x: Tensor, activation: Activation) -> Tensor:
    if activation == "gelu":
        return fn.gelu(x)
    if activation == "gelu_tanh":
        return fn.gelu(x, approximate="tanh")
    return fn.relu(x) if activation == "relu" else fn.silu(x)


class SoundLayer(nn.Module):
    """One pre-norm block in which every row sees every row."""

    def __init__(self, config: SoundConfig) -> None:
        super().__init__()
        self.heads, self.activation = config.heads, config.activation
        self.norm_attend = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.qkv = Linear(config.width, 3 * config.width)
        self.out = Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width, eps=config.norm_eps)
        self.up = Linear(config.width, config.hidden)
        self.down = Linear(config.hidden, config.width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        q, k, v = split_heads(self.qkv(self.norm_attend(x)), 3, self.heads)
        x = x + self.out(join_heads(fn.scaled_dot_product_attention(q, k, v)))
        return x + self.down(active(self.up(self.norm_feed(x)), self.activation))


class SoundEncoder(nn.Module):
    """See the module. B lanes, F mel bins, T rows, D width."""

    def __init__(self, config: SoundConfig) -> None:
        super().__init__()
        self.config = c = config
        self.near = nn.Conv1d(c.bands, c.width, 3, padding=1)
        self.far = nn.Conv1d(c.width, c.width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(sines(c.places, c.width))
        """Sines at first; weights that were trained bring their own, which may be the same."""
        self.layers = nn.ModuleList(SoundLayer(c) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width, eps=c.norm_eps)

    @property
    def frames(self) -> int:
        """How many frames a clip must have."""
        return 2 * self.config.places

    def forward(self, mel: Tensor) -> Tensor:
        """`mel [B, F, frames]` to `[B, places, D]`. ConfigError for a clip of another length."""
        if mel.shape[1:] != (self.config.bands, self.frames):
            raise ConfigError(f"the encoder takes [B, {self.config.bands}, {self.frames}], not {list(mel.shape)}")
        x = fn.gelu(self.far(fn.gelu(self.near(mel)))).transpose(1, 2) + self.positions
        for layer in self.layers:
            x = layer(x)
        rows: Tensor = self.norm(x)
        return rows


def split_heads(x: Tensor, parts: int, heads: int) -> tuple[Tensor, ...]:
    """`[B, T, parts * D]` to so many `[B, H, T, hd]`."""
    return tuple(part.transpose(1, 2) for part in x.unflatten(-1, (parts, heads, -1)).unbind(2))


def join_heads(x: Tensor) -> Tensor:
    """`[B, H, T, hd]` to `[B, T, D]`."""
    return x.transpose(1, 2).flatten(2)


def sines(places: int, width: int) -> Tensor:
    """`[places, width]`: sines, then cosines, of wavelengths from 2 pi to 10 000 times that."""
    rates = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2, dtype=torch.float64))
    angle = torch.arange(places, dtype=torch.float64)[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], dim=1).float()
