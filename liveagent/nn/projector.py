"""From what an eye says to what a decoder reads."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from liveagent.sight import COLOUR, GRID, PLACE, SHAPE, WIDTH

NUMBERS = 6
"""None to five things are told apart; five stands for more."""
SIDES = 3
PLACES = 5
"""None to four things in front of one, in the order in which cells are read, and as many behind it."""
FEATURES = 4 * NUMBERS + SIDES + 2 + 2 * PLACES
_SHARP = 60.0  # how abruptly left becomes middle, per picture's width: within about 3 px


class Projector(nn.Module):
    """A two-layer MLP with GELU (Liu et al., "Improved Baselines with Visual Instruction Tuning", 2023), and an
    embedding of the cell beside it, so that a cell may be left out without the others losing their place.

    What a small decoder is slow to find out by itself is worked out here, from all cells of a picture: where in the
    picture a thing stands and in which third, how many things there are, and how many of its colour, of its shape, and
    of both. So counting is looking at one such cell. How many things are read before it and after it says which comes
    next in a list, and which last.
    """

    def __init__(self, inputs: int, cells: int, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, width)
        self.cell = nn.Embedding(cells, width)
        nn.init.normal_(self.cell.weight, std=0.05)
        self.more = nn.Linear(FEATURES, width, bias=False) if inputs == WIDTH else None

    def forward(self, sight: Tensor, cells: Tensor, pictures: Tensor | None = None) -> Tensor:
        """`sight [..., k, A]` of the cells `cells [..., k]` (int64) of one picture to input rows `[..., k, D]`.
        `pictures [k]`: to which picture a cell belongs, counted from 0, where they are of several."""
        rows: Tensor = self.down(F.gelu(self.up(sight))) + self.cell(cells)
        if self.more is None:
            return rows
        return rows + self.more(features(sight, cells, pictures).to(self.more.weight.dtype))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        """Weights from before there were so many features: what they do not know of adds nothing."""
        name = f"{prefix}more.weight"
        known = state_dict.get(name)
        if known is not None and self.more is not None and known.shape[1] < FEATURES:
            state_dict[name] = F.pad(known, (0, FEATURES - known.shape[1]))
        super()._load_from_state_dict(state_dict, prefix, *args)


def features(sight: Tensor, cells: Tensor, pictures: Tensor | None = None) -> Tensor:
    """`[..., k, FEATURES]` of cells as for `Projector.forward`: tents at 0 .. 5 over the number of things in the
    picture, of this cell's colour, of its shape, of both; how much in the left, middle and right third; place across
    and down from -1 to 1; tents at 0 .. 4 over the number of things in cells before it and in cells after it. All times
    how surely something is there."""
    amount = sight[..., 1] + 2 * sight[..., 2]
    colour, shape = sight[..., COLOUR], sight[..., SHAPE]
    both = (colour[..., :, None] * shape[..., None, :]).flatten(-2)
    kinds = torch.cat([torch.ones_like(colour[..., :1]), colour, shape, both], dim=-1)
    ours = kinds * amount[..., None]
    if pictures is None:
        sums = ours.sum(-2, keepdim=True) if sight.dim() > 1 else ours
    else:
        sums = ours.new_zeros(int(pictures.max()) + 1 if len(pictures) else 0, ours.shape[-1])
        sums = sums.index_add(0, pictures, ours)[pictures]
    parts = (kinds * sums).split([1, colour.shape[-1], shape.shape[-1], both.shape[-1]], dim=-1)
    numbers = torch.stack([part.sum(-1) for part in parts], dim=-1).clamp(0, NUMBERS - 1)
    tents = _tents(numbers, NUMBERS)
    every = ours[..., 0]
    upto, number = every.cumsum(-1), sums[..., 0]
    if pictures is not None:
        first = torch.ones_like(pictures, dtype=torch.bool)
        first[1:] = pictures[1:] != pictures[:-1]
        upto = upto - (upto - every)[first][pictures]
    order = _tents(torch.stack([upto - every, number - upto], dim=-1).clamp(0, PLACES - 1), PLACES)
    corner = torch.stack([cells % GRID, cells // GRID], dim=-1).to(sight.dtype)
    place = (corner + 0.5 + 0.5 * sight[..., PLACE]) / GRID
    left = torch.sigmoid(_SHARP * (1 / 3 - place[..., :1]))
    right = torch.sigmoid(_SHARP * (place[..., :1] - 2 / 3))
    there = 1 - sight[..., :1]
    return torch.cat([tents, left, 1 - left - right, right, 2 * place - 1, order], dim=-1) * there


def _tents(numbers: Tensor, most: int) -> Tensor:
    """Of numbers `[..., n]` how near each is to 0, 1, .., most - 1, `[..., n * most]`: 1 at it, 0 from one away."""
    return (1 - (numbers[..., None] - torch.arange(most, device=numbers.device)).abs()).clamp_min(0).flatten(-2)
