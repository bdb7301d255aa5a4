"""`Eye`: a picture to `Sight`. A vision transformer over 16-px patches and a head over cells of 2 x 2 patches.

The head says for each cell how many things have their centre there, of which colour and shape, and where; a mean over
all patches says whether the picture is the toy table at all. See liveagent/sight.py for the numbers.

`step` sees a camera's picture from the one before (see liveagent/nn/vit.py); which patches to look at again is for
liveagent/keyframe.py to say. `tokens` is for decoders that read tokens of patches, at one of four levels of detail.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn import lanes, weights
from liveagent.nn.linear import Linear
from liveagent.nn.vit import Vit, VitState
from liveagent.nn.vit_config import VitConfig
from liveagent.sight import CELLS, COLOUR, COUNT, GRID, OTHER, PLACE, SHAPE, WIDTH
from liveagent.tiles import cut
from liveagent.video import Pixels

VERSION = 1
Level = Literal["whole", "coarse", "mid", "fine"]
SIDES: dict[Level, int | None] = {"whole": 1, "coarse": 2, "mid": 4, "fine": None}  # tokens in a row; None: patches


@dataclass(frozen=True)
class EyeConfig:
    """The sizes of an eye, written beside its weights."""

    vit: VitConfig = field(default_factory=VitConfig)
    hidden: int = 256
    """Width of the head's middle layer."""


@dataclass
class EyeState:
    """What the next picture is seen from; lanes first."""

    vit: VitState
    sight: Tensor  # [B, 16, 20] what was seen last


class Head(nn.Module):
    """Tokens of patches to logits of cells."""

    def __init__(self, config: EyeConfig) -> None:
        super().__init__()
        self.side, width = config.vit.side, config.vit.width
        if self.side % GRID:
            raise ValueError(f"{self.side} patches in a row do not make {GRID} cells")
        self.merge = (self.side // GRID) ** 2
        self.up = Linear(self.merge * width, config.hidden)
        self.out = Linear(config.hidden, OTHER)
        self.other = Linear(width, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        """`tokens [B, N, D]` to logits `[B, cells, 20]`; the last is the picture's, the same in every cell."""
        lanes = len(tokens)
        each = self.side // GRID
        grid = tokens.view(lanes, GRID, each, GRID, each, -1).transpose(2, 3).reshape(lanes, GRID * GRID, -1)
        cells: Tensor = self.out(fn.gelu(self.up(grid)))
        other: Tensor = self.other(tokens.mean(dim=1))
        return torch.cat([cells, other[:, None].expand(-1, GRID * GRID, -1)], dim=-1)


class Eye(nn.Module):
    """The eye; see the module. B pictures, N patches, D width."""

    def __init__(self, config: EyeConfig) -> None:
        super().__init__()
        self.config = config
        self.vit = Vit(config.vit)
        self.head = Head(config)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to logits `[B, 16, 20]`."""
        logits: Tensor = self.head(self.vit(pixels))
        return logits

    @torch.no_grad()
    def sight(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to sights `[B, 16, 20]` float32."""
        return said(self(pixels))

    def init_state(self, lanes: int) -> EyeState:
        """State of `lanes` lanes that have seen nothing."""
        return EyeState(self.vit.init_state(lanes), torch.zeros(lanes, CELLS, WIDTH))

    def reset(self, state: EyeState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: EyeState, src: int, dst_state: EyeState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    @torch.no_grad()
    def step(self, pixels: Tensor, patches: Tensor, state: EyeState, active: Tensor) -> Tensor:
        """One picture a lane: `pixels [B, 3, H, W]`, uint8 or 0..1, of which `patches [B, N]` (bool) have changed, to
        sights `[B, 16, 20]` float32. `state` moves on in place, in `active` [B] rows only; the others' sights are those
        of before. Where nothing has changed no network runs. A lane that has seen nothing sees all patches."""
        for lane, on in enumerate(active.tolist()):
            if on and (bool(patches[lane].any()) or not bool(state.vit.seen[lane])):
                tokens = self.vit.look(pixels[lane], patches[lane], state.vit, lane)
                state.sight[lane] = said(self.head(tokens[None]))[0]
        return state.sight.clone()

    @torch.no_grad()
    def tokens(self, pixels: Tensor, level: Level = "fine") -> Tensor:
        """Pictures `[B, 3, H, W]`, uint8 or 0..1, to tokens `[B, n, D]`: "fine" one a patch, "mid" 16, "coarse" 4,
        "whole" 1; each the mean of the patches in its part of the picture, row by row."""
        return pool(self.vit(pixels), SIDES[level])

    @torch.no_grad()
    def tokens_of(self, pixels: Pixels, level: Level = "fine", most_tiles: int = 6) -> Tensor:
        """One picture `[H, W, 3]` of any size to tokens `[1 + tiles, n, D]`: of the whole, then of each tile."""
        px = self.config.vit.image_px
        stack = torch.from_numpy(cut(pixels, px, most_tiles).stacked()).to(self.vit.positions.device)
        return self.tokens(stack.permute(0, 3, 1, 2), level)

    def save(self, path: str | Path) -> None:
        """Write weights (fp16) and sizes as one safetensors file."""
        weights.save(self, path, "liveagent.eye", VERSION, dataclasses.asdict(self.config))

    @classmethod
    def load(cls, path: str | Path) -> Eye:
        """Read what `save` wrote, as fp32, ready to see.

        Raises:
            ConfigError: the file is missing, damaged or of another version.
        """
        tensors, meta = weights.load(path, "liveagent.eye", VERSION)
        try:
            sizes = json.loads(meta["config"])
            eye = cls(EyeConfig(**sizes | {"vit": VitConfig(**sizes["vit"])}))
            eye.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{path} is damaged ({why}): fetch it again or export it anew") from None
        return eye.eval()


def pool(tokens: Tensor, side: int | None) -> Tensor:
    """Tokens of patches `[B, N, D]` to the means of `side` x `side` parts, `[B, side * side, D]`; None: as they are."""
    if side is None:
        return tokens
    patches = round(tokens.shape[1] ** 0.5)
    grid = tokens.transpose(1, 2).unflatten(2, (patches, patches))
    return fn.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)


def said(logits: Tensor) -> Tensor:
    """Logits `[..., 20]` as the numbers of a sight."""
    sight = torch.empty(logits.shape[:-1] + (WIDTH,), device=logits.device)
    logits = logits.float()
    for part in (COUNT, COLOUR, SHAPE):
        sight[..., part] = logits[..., part].softmax(-1)
    sight[..., PLACE] = logits[..., PLACE].tanh()
    sight[..., OTHER] = logits[..., OTHER].sigmoid()
    return sight
