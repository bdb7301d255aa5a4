"""`RowEye`: a picture to rows of a decoder's width, one for each few patches: a vision transformer and a projector.

nano's eye says what it sees in twenty numbers a cell (liveagent/nn/eye.py); this one leaves that to a decoder that was
trained with it. It looks at a camera's picture from the one before in the same three ways: where nothing changed, the
rows of before; where some patches changed, the gated way (liveagent/nn/vit.py); else all of it. Which patches changed
is for liveagent/keyframe.py to say, of pictures that have been through `frame`; `flags` puts that into this eye's
patches.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from liveagent.keyframe import Bools, regrid
from liveagent.nn.camera_eye import CameraEye
from liveagent.nn.framing import Budget, Framing
from liveagent.nn.mlp_projector import MlpProjector
from liveagent.nn.pool_projector import PoolProjector
from liveagent.nn.vit import Vit, VitState


@dataclass
class RowEyeState:
    """What the next picture is seen from; lanes first."""

    vit: VitState
    rows: Tensor  # [B, M, W] what was given last


class RowEye(CameraEye):
    """See the module. B pictures, N patches, M rows of width W.

    picture, video: how single pictures and those of a camera are brought to size; a camera's are usually smaller.
    """

    def __init__(self, vit: Vit, projector: PoolProjector | MlpProjector, picture: Framing, video: Framing) -> None:
        super().__init__()
        self.vit, self.projector = vit, projector
        self.picture, self.video = picture, video

    def flags(self, patches: Bools, pixels: Tensor) -> Tensor:
        """What the detector flagged in `pixels [3, H, W]`, for this eye's patches, `[N]`."""
        height, width = pixels.shape[1:]
        return torch.from_numpy(regrid(patches, height, width, self.vit.config.patch_px))

    def count(self, patches: int) -> int:
        return self.projector.count(patches)

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of pictures `[..., 3, H, W]`."""
        return self.vit.grid(pixels)

    @property
    def width(self) -> int:
        """Of a row."""
        return self.projector.rows_width

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to rows `[B, M, W]`."""
        return self._rows(self.vit(pixels.to(self.vit.positions.device)), pixels)

    def init_state(self, lanes: int, patches: int | None = None) -> RowEyeState:
        """State of `lanes` lanes that have seen nothing. patches: the most that a camera's picture will have; as many
        as `video` makes of it, where nothing is said."""
        most = patches or (self.video.patches if isinstance(self.video, Budget) else self.vit.config.patches)
        vit = self.vit.init_state(lanes, most)
        return RowEyeState(vit, vit.stream.new_zeros(lanes, self.projector.count(most), self.projector.rows_width))

    @torch.no_grad()
    def look(self, pixels: Tensor, patches: Tensor, state: RowEyeState, lane: int) -> Tensor:
        """One lane's picture `[3, H, W]`, uint8 or 0..1, of which `patches [N]` (bool) have changed, to rows `[M, W]`.
        `state` moves on in place. Where nothing has changed no network runs. A lane that has seen nothing, or nothing
        of this shape, sees all patches."""
        rows, cols = self.vit.grid(pixels)
        pixels = pixels.to(state.rows.device)
        given = state.rows[lane, : self.count(rows * cols)]
        if bool(patches.any()) or not self.vit.knows(pixels, state.vit, lane):
            given.copy_(self._rows(self.vit.look(pixels, patches, state.vit, lane)[None], pixels)[0])
        return given.clone()

    def _rows(self, tokens: Tensor, pixels: Tensor) -> Tensor:
        rows: Tensor = self.projector(tokens, *self.vit.grid(pixels))
        return rows
