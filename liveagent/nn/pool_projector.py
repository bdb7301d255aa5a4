"""From patches to a decoder's rows, where the decoder reads fewer rows than there are patches."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.nn.linear import Linear


class PoolProjector(nn.Module):
    """The mean of each group of `group` by `group` patches, made larger by the root of its width; as an option moved
    and scaled to a standard; normed without weights; one linear layer. B pictures, N patches, D width."""

    def __init__(self, width: int, rows_width: int, group: int, eps: float, standardize: bool = False) -> None:
        super().__init__()
        self.width, self.group, self.eps = width, group, eps
        self.less = nn.Buffer(torch.zeros(width)) if standardize else None
        self.by = nn.Buffer(torch.ones(width)) if standardize else None
        self.out = Linear(width, rows_width, bias=False)

    @property
    def rows_width(self) -> int:
        """Numbers of a decoder's row."""
        return self.out.out_features

    def count(self, patches: int) -> int:
        """Rows that so many patches give."""
        return patches // self.group**2

    def forward(self, tokens: Tensor, rows: int, cols: int) -> Tensor:
        """`tokens [B, rows * cols, D]` to `[B, M, rows_width]`, group by group, row by row."""
        if rows % self.group or cols % self.group:
            raise ValueError(f"{rows} x {cols} patches do not make groups of {self.group} x {self.group}")
        grid = tokens.float().unflatten(1, (rows // self.group, self.group, cols // self.group, self.group))
        pooled = grid.mean(dim=(2, 4)).flatten(1, 2) * self.width**0.5
        if self.less is not None and self.by is not None:
            pooled = (pooled - self.less.float()) * self.by.float()
        found: Tensor = self.out(fn.rms_norm(pooled.to(tokens.dtype), (self.width,), eps=self.eps))
        return found
