"""`Finder`: a picture of the arm's table to the things on it and where they lie.

A few convolutions over a grid of 32 x 32 cells; each cell says whether a cube, a ball, a cylinder or a tray has its
middle there, of which colour, where in the cell, and how its sides are turned; the last three twice, since a thing may
stand on a tray. Peaks of that are things; a calibrated camera (liveagent/viewpoint.py) makes places of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn import weights
from liveagent.sight import COLOURS
from liveagent.spotted import Spotted
from liveagent.video import Pixels
from liveagent.viewpoint import Viewpoint

VERSION = 1
OF_ONE = len(COLOURS) + 4
"""Numbers that tell of one thing: its colour, where it is, how it is turned."""
SURE = 0.4
"""A peak lower than this is nothing."""
COLOUR_SURE = 0.4
"""A thing whose colour is less sure is not spoken of."""
FILE = "finder.safetensors"


@dataclass(frozen=True)
class FinderConfig:
    """Sizes, kinds, and at which height each kind's middle lies, in metres; written beside the weights."""

    kinds: tuple[str, ...] = ("cube", "ball", "cylinder", "tray")
    heights_m: tuple[float, ...] = (0.420, 0.422, 0.426, 0.404)
    px: int = 256
    width: int = 48
    layers: int = 4


class Block(nn.Module):
    """A convolution that sees `reach` cells to each side, added to what was."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=reach, dilation=reach, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return fn.relu(x + self.norm(self.conv(x)))


class Finder(nn.Module):
    """See the module. B pictures, K kinds, G cells in a row."""

    def __init__(self, config: FinderConfig) -> None:
        super().__init__()
        self.config = config
        width, kinds = config.width, len(config.kinds)
        sizes = (3, 16, 32, width)
        self.stem = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 5 if a == 3 else 3, 2, 2 if a == 3 else 1, bias=False),
                              nn.BatchNorm2d(b), nn.ReLU())
                for a, b in zip(sizes[:-1], sizes[1:], strict=True)
            )
        )  # fmt: skip
        self.blocks = nn.Sequential(*(Block(width, 1 + at % 2) for at in range(config.layers)))
        self.out = nn.Conv2d(width, kinds + 2 * OF_ONE, 1)
        nn.init.constant_(self.out.bias[:kinds], -4.0)  # nearly all cells are empty

    def forward(self, pixels: Tensor) -> Tensor:
        """Pictures `[B, 3, px, px]`, uint8 or 0..1, to `[B, K + 2 * 12, G, G]`: logits of kinds; then, of what stands
        there and of the tray that lies there, logits of colours, where in the cell (-0.5 .. 0.5), and cosine and sine
        of four times the turn."""
        x = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
        found: Tensor = self.out(self.blocks(self.stem((x - 0.5) * 4)))
        return found

    @torch.no_grad()
    def find(self, pixels: Pixels, view: Viewpoint) -> list[Spotted]:
        """The things in one square picture `[H, W, 3]`, the surest first, with places in the viewpoint's frame."""
        device = self.out.weight.device
        whole = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255
        if whole.shape[-1] != self.config.px:
            whole = fn.interpolate(whole, (self.config.px, self.config.px), mode="bilinear", antialias=True)
        return self.read(self(whole)[0].cpu(), view)

    def read(self, maps: Tensor, view: Viewpoint) -> list[Spotted]:
        """What one picture's maps `[K + 24, G, G]` say."""
        kinds, side = len(self.config.kinds), maps.shape[-1]
        heat = maps[:kinds].sigmoid()
        # A thing is one kind: what is no peak among all kinds' heat, save a tray's under a thing, is not one either.
        flat = self.config.kinds.index("tray") if "tray" in self.config.kinds else kinds
        upright = heat[[k for k in range(kinds) if k != flat]].amax(0)
        found = []
        for kind in range(kinds):
            over = heat[kind] if kind == flat else upright
            peak = fn.max_pool2d(over[None, None], 3, 1, 1)[0, 0]
            spots = (heat[kind] == peak) & (heat[kind] >= SURE)
            for row, col in spots.nonzero().tolist():
                begin = kinds + (OF_ONE if kind == flat else 0)
                cell = maps[begin : begin + OF_ONE, row, col]
                colours = cell[: len(COLOURS)].softmax(0)
                dx, dy, c, s = cell[len(COLOURS) :].tolist()
                u, v = (col + 0.5 + dx) / side, (row + 0.5 + dy) / side
                place = view.place(u, v, self.config.heights_m[kind])
                if place is not None:
                    colour = int(colours.argmax())
                    found.append(
                        Spotted(self.config.kinds[kind], colour, *place, math.atan2(s, c) / 4,
                              float(heat[kind, row, col]), float(colours[colour]))
                    )  # fmt: skip
        return sorted(found, key=lambda each: -each.sure)

    def save(self, path: str | Path) -> None:
        """Write weights (fp16) and sizes as one safetensors file."""
        weights.save(self, path, "liveagent.finder", VERSION, dataclasses.asdict(self.config))

    @classmethod
    def load(cls, path: str | Path) -> Finder:
        """Read what `save` wrote, as fp32, ready to look.

        Raises:
            ConfigError: the file is missing, damaged or of another version.
        """
        tensors, meta = weights.load(path, "liveagent.finder", VERSION)
        try:
            sizes = json.loads(meta["config"])
            sizes |= {key: tuple(sizes[key]) for key in ("kinds", "heights_m")}
            finder = cls(FinderConfig(**sizes))
            finder.load_state_dict(tensors)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{path} is damaged ({why}): fetch it again or export it anew") from None
        return finder.eval()
