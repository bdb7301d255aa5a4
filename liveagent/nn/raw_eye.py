"""`RawEye`: a picture to rows of a decoder's width without an encoder: one row a patch, of that patch's pixels alone.

A patch's pixels are normed, go through one linear layer, are normed again, get the patch's place (one learned for its
column, one for its row), are normed, and go through a last linear layer (Gemma Team 2026). No patch looks at another;
so of a camera's picture only the patches that changed are computed, and the rows are those of the whole picture, to the
bit: every product has `PIECE` rows, however few or many are wanted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.keyframe import Bools, regrid
from liveagent.nn.camera_eye import CameraEye
from liveagent.nn.framing import Budget
from liveagent.nn.linear import Linear
from liveagent.nn.patches import cut

PIECE = 16
"""Rows of a product. So few are bound by reading the weights: one row costs nearly as much."""


@dataclass(frozen=True)
class RawEyeConfig:
    """Everything that fixes an eye's tensors' shapes and its arithmetic."""

    patch_px: int
    width: int
    """Between its two linear layers."""
    rows: int
    """Width of a row."""
    places: int
    """How many columns, and how many rows of patches, a picture may have."""
    eps: float = 1e-6
    """Of the last norm, which has no weights."""


@dataclass
class RawEyeState:
    """What the next picture is seen from; lanes first."""

    rows: Tensor  # [B, N, W] what was given last
    grid: Tensor  # [B, 2] int64: rows and columns of the picture that was seen last; 0: none was


class RawEye(CameraEye):
    """See the module; in the form of `RowEye`. B pictures, N patches, W width of a row.

    picture, video: how single pictures and those of a camera are brought to size; a camera's are usually smaller.
    """

    def __init__(self, config: RawEyeConfig, picture: Budget, video: Budget) -> None:
        super().__init__()
        c = self.config = config
        self.picture, self.video = picture, video
        self.norm_pixels = nn.LayerNorm(3 * c.patch_px**2)
        self.enter = Linear(3 * c.patch_px**2, c.width)
        self.norm_entered = nn.LayerNorm(c.width)
        self.positions = nn.Parameter(torch.zeros(2, c.places, c.width))  # of columns, of rows
        self.norm_placed = nn.LayerNorm(c.width)
        self.out = Linear(c.width, c.rows, bias=False)

    @property
    def width(self) -> int:
        """Of a row."""
        return self.config.rows

    def flags(self, patches: Bools, pixels: Tensor) -> Tensor:
        """What the detector flagged in `pixels [3, H, W]`, for this eye's patches, `[N]`."""
        height, width = pixels.shape[1:]
        return torch.from_numpy(regrid(patches, height, width, self.config.patch_px))

    def count(self, patches: int) -> int:
        return patches

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """Rows and columns of patches of pictures `[..., 3, H, W]`. ValueError: not such as this was made for."""
        c, (colours, high, wide) = self.config, pixels.shape[-3:]
        rows, cols = high // c.patch_px, wide // c.patch_px
        if colours != 3 or high % c.patch_px or wide % c.patch_px or not rows * cols > 0 or max(rows, cols) > c.places:
            most = f"whole patches of {c.patch_px} px, at most {c.places} a side"
            raise ValueError(f"pixels: [B, 3, H, W] of {most}, not {list(pixels.shape)}")
        return rows, cols

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to rows `[B, N, W]`."""
        every = torch.arange(self._count(pixels), device=self.positions.device)
        return torch.stack([self._rows(each, every) for each in pixels.to(self.positions.device)])

    def init_state(self, lanes: int, patches: int | None = None) -> RawEyeState:
        """State of `lanes` lanes that have seen nothing. patches: the most that a camera's picture will have; as many
        as `video` makes of it, where nothing is said."""
        most = patches or self.video.patches // self.video.group**2
        return RawEyeState(
            self.positions.detach().new_zeros(lanes, most, self.config.rows), torch.zeros(lanes, 2, dtype=torch.int64)
        )

    @torch.no_grad()
    def look(self, pixels: Tensor, patches: Tensor, state: RawEyeState, lane: int) -> Tensor:
        """One lane's picture `[3, H, W]`, uint8 or 0..1, of which `patches [N]` (bool) have changed, to rows `[N, W]`.
        `state` moves on in place. Where nothing has changed no network runs. A lane that has seen nothing, or nothing
        of this shape, sees all patches."""
        grid, room = self.grid(pixels), state.rows.shape[1]
        of = grid[0] * grid[1]
        if len(patches) != of or of > room:
            raise ValueError(f"a picture of {of} patches, {len(patches)} flags, a state for {room}")
        known = tuple(state.grid[lane].tolist()) == grid
        wanted = patches.nonzero()[:, 0] if known else torch.arange(of, device=patches.device)
        given = state.rows[lane, :of]
        if len(wanted):
            here = wanted.to(given.device)
            given.index_copy_(0, here, self._rows(pixels.to(given.device), here))
            state.grid[lane, 0], state.grid[lane, 1] = grid
        return given.clone()

    def _count(self, pixels: Tensor) -> int:
        rows, cols = self.grid(pixels)
        return rows * cols

    def _rows(self, pixels: Tensor, wanted: Tensor) -> Tensor:
        """The patches `wanted [k]` of a picture `[3, H, W]` to rows `[k, W]`."""
        cols, few = self.grid(pixels)[1], cut(pixels, self.config.patch_px)[wanted].flatten(1)
        light = (few.float() / 255 if few.dtype == torch.uint8 else few).to(self.positions.dtype)
        places = self.positions[0, wanted % cols] + self.positions[1, wanted // cols]
        lack = -len(wanted) % PIECE
        both = (fn.pad(each, (0, 0, 0, lack)).split(PIECE) for each in (light, places))
        return torch.cat([self._piece(*piece) for piece in zip(*both, strict=True)])[: len(wanted)]

    def _piece(self, light: Tensor, places: Tensor) -> Tensor:
        x = self.norm_placed(self.norm_entered(self.enter(self.norm_pixels(light))) + places)
        rows: Tensor = self.out(fn.rms_norm(x, (self.config.width,), eps=self.config.eps))
        return rows
