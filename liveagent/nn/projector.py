"""From what an eye says to what a decoder reads."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class Projector(nn.Module):
    """A two-layer MLP with GELU (Liu et al., "Improved Baselines with Visual Instruction Tuning", 2023), and an
    embedding of the cell beside it, so that a cell may be left out without the others losing their place."""

    def __init__(self, inputs: int, cells: int, width: int, hidden: int = 128) -> None:
        super().__init__()
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, width)
        self.cell = nn.Embedding(cells, width)
        nn.init.normal_(self.cell.weight, std=0.05)

    def forward(self, sight: Tensor, cells: Tensor) -> Tensor:
        """`sight [..., A]` of the cells `cells [...]` (int64) to input rows `[..., D]`."""
        rows: Tensor = self.down(F.gelu(self.up(sight))) + self.cell(cells)
        return rows
