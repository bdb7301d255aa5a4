"""Rotary places: how far a key or a query is turned by its place in order and by its time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rope:
    """How places turn keys and queries: the pair i of `share` of a head's pairs by `base` to the power of -2 i / hd
    radians a place, the others not at all. Places are divided by `factor` first."""

    base: float = 10_000.0
    share: float = 1.0
    factor: float = 1.0


@lru_cache(maxsize=8)
def _rates(head_width: int, rope: Rope) -> Tensor:
    """`[hd / 2]` radians a place, float64."""
    with torch.inference_mode(False):  # kept for whoever asks next, who may be training
        rates = rope.base ** (-torch.arange(0, head_width, 2, dtype=torch.float64, device="cpu") / head_width)
        rates[int(rope.share * head_width // 2) :] = 0.0
        return rates / rope.factor


def turns(positions: Tensor, head_width: int, rope: Rope) -> Tensor:
    """Rotations `[..., hd, 2]` (cos, sin) of the places `positions [...]` as float32, from angles in float64.

    Su et al., "RoFormer" (2021), halves paired as (i, i + hd/2). In float32 an angle is off by 0.002 rad at position
    1e5; here only the finished cosine is rounded.
    """
    angle = positions[..., None].double() * _rates(head_width, rope).to(positions.device)
    angle = torch.cat([angle, angle], dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


@lru_cache(maxsize=8)
def angles(positions: int, head_width: int, rope: Rope) -> Tensor:
    """`turns` of the first places, `[positions, hd, 2]`: whole sequences are short and ask for the same again."""
    with torch.inference_mode(False):
        return turns(torch.arange(positions, device="cpu"), head_width, rope)


TIME_PERIODS_S = (6.0, 5400.0)
"""Shortest and longest period of the pairs that turn with time: what lies seconds, minutes or an hour back is told
apart. The slowest pairs of the order turn by less than a radian in a whole window, so they are hardly missed."""


@lru_cache(maxsize=4)
def _time_rates(pairs: int) -> Tensor:
    """`[pairs]` radians a second, float64; the longest period first."""
    short, long = TIME_PERIODS_S
    with torch.inference_mode(False):
        steps = torch.arange(pairs, dtype=torch.float64, device="cpu") / max(1, pairs - 1)
        return 2 * torch.pi / (long * (short / long) ** steps)


def rotations(table: Tensor, times: Tensor, pairs: int) -> Tensor:
    """The rotations `[..., hd, 2]` of tokens whose order alone gives `table [..., hd, 2]` and that stand at `times
    [...]` (float64, seconds): the last `pairs` of a head's pairs turn by time."""
    if not pairs:
        return table
    angle = times[..., None].double() * _time_rates(pairs).to(times.device)
    turned = torch.stack([angle.cos(), angle.sin()], dim=-1).to(table.dtype)
    half = table.shape[-2] // 2
    low, high = table[..., : half - pairs, :], table[..., half : 2 * half - pairs, :]
    return torch.cat([low, turned, high, turned], dim=-2)


def parts_at(
    places: Tensor, times: Tensor, head_width: int, rope: Rope, pairs: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What `turn` takes of tokens at `places [...]` and `times [...]`: cosines, and sines, negative in the lower half,
    `[..., hd]`. Those of `rotations`, to the bit, in a third of the operations."""
    half = head_width // 2
    angle = places[..., None].double() * _rates(head_width, rope)[: half - pairs]
    if pairs:
        angle = torch.cat([angle, times[..., None] * _time_rates(pairs)], dim=-1)
    cos, sin = angle.cos().float(), angle.sin().float()
    return torch.cat([cos, cos], dim=-1).to(device), torch.cat([-sin, sin], dim=-1).to(device)


def turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`rotate`, to the bit, in four operations instead of nine, for the few rows of a live pass."""
    return (x * cos).add_(x.roll(x.shape[-1] // 2, -1).mul_(sin))


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Rotate `x [..., T, hd]` by `table [..., T, hd, 2]`."""
    low, high = x.chunk(2, dim=-1)
    return x * table[..., 0] + torch.cat([-high, low], dim=-1) * table[..., 1]
