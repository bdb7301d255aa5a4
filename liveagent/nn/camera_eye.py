"""`CameraEye`: what every eye with rows for a decoder does alike, for lanes that each look at a camera of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from liveagent.nn import lanes
from liveagent.nn.framing import Framing
from liveagent.video import Pixels


class CameraEye(nn.Module, ABC):
    """`video`: how a camera's pictures are brought to size. A state holds `rows [B, M, W]`, what was given last."""

    video: Framing

    @abstractmethod
    def count(self, patches: int) -> int:
        """Rows of a picture of so many patches."""

    @abstractmethod
    def look(self, pixels: Tensor, patches: Tensor, state: Any, lane: int) -> Tensor:
        """One lane's picture, of which `patches [N]` have changed, to rows `[M, W]`; `state` moves on in place."""

    def frame(self, pixels: Pixels | Tensor) -> Tensor:
        """A camera's picture `[H, W, 3]` of any size to `[3, height, width]` as it is looked at, bytes."""
        return self.video.frame(pixels)

    def reset(self, state: Any, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: Any, src: int, dst_state: Any, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    @torch.no_grad()
    def step(self, pixels: Tensor, patches: Tensor, state: Any, active: Tensor) -> Tensor:
        """`look` for several lanes at once: `pixels [B, 3, H, W]`, `patches [B, N]`, to rows `[B, M, W]`, in `active`
        [B] rows only; the others' are those of before."""
        for lane, on in enumerate(active.tolist()):
            if on:
                self.look(pixels[lane], patches[lane], state, lane)
        rows: Tensor = state.rows[:, : self.count(patches.shape[1])].clone()
        return rows
