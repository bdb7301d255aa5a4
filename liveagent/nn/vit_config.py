"""`VitConfig`: what a vision transformer is like. See liveagent/nn/vit.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["gelu", "gelu_tanh", "quick_gelu"]


@dataclass(frozen=True)
class VitConfig:
    """The sizes of a vision transformer, and what its layers are like. N = (image_px / patch_px) squared patches."""

    image_px: int = 128
    """Side of the pictures, which are squares; 0: any shape of whole patches, `most` of them at most."""
    patch_px: int = 16
    width: int = 192
    layers: int = 4
    heads: int = 3
    times: int = 4
    """How much a feed-forward widens."""
    stem: int = 32
    """Channels of the stem that looks into a patch; 0: one linear layer."""
    most: int = 0
    ragged: bool = False
    """Whether squares may have a rest that makes no whole patch, at the right and below, which is not looked at."""
    feed: int = 0
    """Width of a feed-forward's middle, where it is no multiple of `width`; 0: `times` as much."""
    head: int = 0
    """Width of a head; 0: width / heads."""
    kv_heads: int = 0
    """Heads of keys and values; 0: as many as `heads`."""
    rms: bool = False
    """Norms divide by the root mean square, without a mean and without biases."""
    norm_eps: float = 1e-5
    head_norms: bool = False
    """Whether each head's queries and keys are normed, with weights, and its values, without."""
    sandwich: bool = False
    """Whether what attention and feed-forward give is normed too."""
    gated: bool = False
    """Whether a feed-forward's middle is multiplied by gates."""
    activation: Activation = "gelu"
    bias: bool = True
    """Of a layer's products."""
    stem_bias: bool = True
    clipped: bool = False
    """Whether what enters and leaves a layer's products is cut off at bounds."""
    scale: float | None = None
    """What queries times keys are multiplied by; None: one over the root of a head's width."""
    axes: int = 0
    """How many columns and how many rows have learned places, which are added up; 0: each patch has one of its own."""
    rope: float = 0.0
    """Base of the rates at which places turn queries and keys, across and down; 0: they do not."""
    class_token: bool = False
    norm_first: bool = False
    """Whether tokens are normed before the first layer."""
    norm_last: bool = True
    outputs: tuple[int, ...] = ()
    """After how many layers tokens are taken, side by side where there are several; (): after the last one."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def __post_init__(self) -> None:
        for name in ("mean", "std", "outputs"):  # lists, where they come from a file
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def check(self) -> None:
        """ValueError: sizes that do not fit together."""
        rest = self.image_px % self.patch_px and not (self.ragged and self.side)
        whole = not rest if self.image_px else self.most > 0 and self.axes > 0
        heads = (self.head > 0 or self.width % (4 * self.heads) == 0) and self.heads % self.key_heads == 0
        taken = not self.outputs or (max(self.outputs) == self.layers and min(self.outputs) >= 0 and not self.norm_last)
        if not whole or not heads or not taken or (self.rope and (self.head_width % 4 or self.class_token)):
            shape = f"{self.image_px} px in patches of {self.patch_px}, {self.width} wide in {self.heads} heads"
            raise ValueError(f"{shape}: no fit")

    @property
    def side(self) -> int:
        """Patches in a row of a square picture."""
        return self.image_px // self.patch_px

    @property
    def patches(self) -> int:
        """N, at most."""
        return self.side * self.side if self.image_px else self.most

    @property
    def tokens(self) -> int:
        """Patches and class token."""
        return self.patches + self.class_token

    @property
    def head_width(self) -> int:
        """hd."""
        return self.head or self.width // self.heads

    @property
    def key_heads(self) -> int:
        """KV."""
        return self.kv_heads or self.heads

    @property
    def hidden(self) -> int:
        """Width of a feed-forward's middle."""
        return self.feed or self.times * self.width

    @property
    def parts(self) -> tuple[int, int, int]:
        """Widths of a token's queries, keys and values."""
        keys = self.key_heads * self.head_width
        return self.heads * self.head_width, keys, keys


VIT_B16 = VitConfig(image_px=224, width=768, layers=12, heads=12, stem=0)
"""The base size of Dosovitskiy et al. 2021."""
