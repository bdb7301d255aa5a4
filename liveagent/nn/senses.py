"""What an engine asks of an ear and of an eye whose rows a decoder was trained to read, whatever stands behind them.

`RowEar` is a Conformer, `RawEar` one layer; `RowEye` a vision transformer, `RawEye` one layer. `state` is what each
made with `init_state`, one lane beside the other.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from liveagent.keyframe import Bools


class OwnEar(Protocol):
    """Sound to rows `[n, width]`, as it comes."""

    @property
    def width(self) -> int: ...

    @property
    def token_samples(self) -> int:
        """Samples of a row."""
        ...

    @property
    def block_samples(self) -> int:
        """Samples of the shortest piece that a step takes."""
        ...

    def init_state(self, lanes: int) -> Any: ...

    def reset(self, state: Any, lane: int) -> None: ...

    def step(self, samples: Tensor, state: Any, active: Tensor) -> Tensor:
        """`[B, n block_samples]` to rows `[B, m, width]`; `state` moves on in `active [B]` lanes only."""
        ...


class OwnEye(Protocol):
    """A camera's pictures to rows `[n, width]`, each from the one before."""

    @property
    def width(self) -> int: ...

    def init_state(self, lanes: int) -> Any: ...

    def reset(self, state: Any, lane: int) -> None: ...

    def grid(self, pixels: Tensor) -> tuple[int, int]:
        """Rows and columns of this eye's patches in a picture `[3, H, W]`."""
        ...

    def flags(self, patches: Bools, pixels: Tensor) -> Tensor:
        """What a detector of change flagged, for this eye's patches, `[N]`."""
        ...

    def look(self, pixels: Tensor, patches: Tensor, state: Any, lane: int) -> Tensor:
        """A lane's picture, of which `patches [N]` have changed, to rows; `state` moves on."""
        ...
