"""From patches to a decoder's rows, one for each patch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from liveagent.nn.linear import Linear
from liveagent.nn.vit_config import Activation
from liveagent.nn.vit_layer import ACTIVATIONS


class MlpProjector(nn.Module):
    """Two linear layers (Liu et al., "Improved Baselines with Visual Instruction Tuning", 2023). A class token, which
    comes last, becomes the first row; `but_first` leaves the first row out, whatever it is. B pictures, N patches."""

    def __init__(
        self, width: int, rows_width: int, activation: Activation, bias: bool, class_token: bool, but_first: bool
    ) -> None:
        super().__init__()
        self.up, self.down = Linear(width, rows_width, bias=bias), Linear(rows_width, rows_width, bias=bias)
        self.act, self.class_token, self.but_first = ACTIVATIONS[activation], class_token, but_first

    @property
    def rows_width(self) -> int:
        """Numbers of a decoder's row."""
        return self.down.out_features

    def count(self, patches: int) -> int:
        """Rows that so many patches give."""
        return patches + self.class_token - self.but_first

    def forward(self, tokens: Tensor, rows: int, cols: int) -> Tensor:
        """`tokens [B, N, D]` of a picture of `rows * cols` patches to `[B, M, rows_width]`."""
        if self.class_token and self.but_first:
            tokens = tokens[:, : rows * cols]
        elif self.class_token:
            tokens = torch.cat([tokens[:, rows * cols :], tokens[:, : rows * cols]], dim=1)
        elif self.but_first:
            tokens = tokens[:, 1:]
        found: Tensor = self.down(self.act(self.up(tokens)))
        return found
