"""`Eye`: a picture to `Sight`. A vision transformer over 16-px patches and a head over cells of 2 x 2 patches.

The head says for each cell how many things have their centre there, of which colour and shape, and where; a mean over
all patches says whether the picture is the toy table at all. See liveagent/sight.py for the numbers.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn.vit import Vit, VitConfig
from liveagent.sight import COLOUR, COUNT, GRID, OTHER, PLACE, SHAPE, WIDTH

VERSION = 1


@dataclass(frozen=True)
class EyeConfig:
    """The sizes of an eye, written beside its weights."""

    vit: VitConfig = field(default_factory=VitConfig)
    hidden: int = 256
    """Width of the head's middle layer."""


class Head(nn.Module):
    """Tokens of patches to logits of cells."""

    def __init__(self, config: EyeConfig) -> None:
        super().__init__()
        self.side, width = config.vit.side, config.vit.width
        if self.side % GRID:
            raise ValueError(f"{self.side} patches in a row do not make {GRID} cells")
        self.merge = (self.side // GRID) ** 2
        self.up = nn.Linear(self.merge * width, config.hidden)
        self.out = nn.Linear(config.hidden, OTHER)
        self.other = nn.Linear(width, 1)

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

    def save(self, path: str | Path) -> None:
        """Write weights (fp16) and sizes as one safetensors file."""
        config = json.dumps(dataclasses.asdict(self.config))
        meta = {"format": "liveagent.eye", "version": str(VERSION), "config": config}
        weights = {k: v.detach().to(torch.float16).contiguous() for k, v in self.state_dict().items()}
        save_file(weights, str(path), metadata=meta)

    @classmethod
    def load(cls, path: str | Path) -> Eye:
        """Read what `save` wrote, as fp32, ready to see.

        Raises:
            ConfigError: the file is missing, damaged or of another version.
        """
        if not Path(path).is_file():
            raise ConfigError(f"{path} is missing: reinstall, or train an eye and export it there")
        try:
            with safe_open(str(path), framework="pt") as f:
                meta = f.metadata() or {}
                weights = {name: f.get_tensor(name).float() for name in f.keys()}  # noqa: SIM118 (no mapping)
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{path} is damaged ({error}): fetch it again or export it anew") from None
        if meta.get("format") != "liveagent.eye" or meta.get("version") != str(VERSION):
            found = f"{meta.get('format')} version {meta.get('version')}"
            raise ConfigError(f"{path} holds {found}, wanted liveagent.eye version {VERSION}: export it anew")
        try:
            sizes = json.loads(meta["config"])
            eye = cls(EyeConfig(**sizes | {"vit": VitConfig(**sizes["vit"])}))
            eye.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ConfigError(f"{path} is damaged ({why}): fetch it again or export it anew") from None
        return eye.eval()


def said(logits: Tensor) -> Tensor:
    """Logits `[..., 20]` as the numbers of a sight."""
    sight = torch.empty(logits.shape[:-1] + (WIDTH,), device=logits.device)
    logits = logits.float()
    for part in (COUNT, COLOUR, SHAPE):
        sight[..., part] = logits[..., part].softmax(-1)
    sight[..., PLACE] = logits[..., PLACE].tanh()
    sight[..., OTHER] = logits[..., OTHER].sigmoid()
    return sight
