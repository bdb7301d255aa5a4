"""`Nets`: a `Model` with its networks, as the engine runs them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

from liveagent.errors import ConfigError, DeviceError
from liveagent.nn.ear import Ear
from liveagent.nn.eye import Eye
from liveagent.nn.linear import sort_weights
from liveagent.nn.model import Model
from liveagent.nn.stack import Stack
from liveagent.nn.vad import Vad

if TYPE_CHECKING:
    from liveagent.nn.senses import OwnEar, OwnEye


class Nets(Model):
    """`ear`, `eye` (nano's; None: it is blind or has its own), `decoder`, `vad`, and `own_ear` and `own_eye` where the
    decoder was trained with them: their rows are read as they are, for the ids `own_id` and `seen_id` where layers look
    ids up. Nothing here is changed by running, so one serves every session of a process."""

    ear: Ear
    eye: Eye | None
    decoder: Stack
    vad: Vad
    own_ear: OwnEar | None
    own_id: int
    own_eye: OwnEye | None
    seen_id: int
    device: torch.device

    def hold(
        self,
        ear: Ear,
        decoder: Stack,
        vad: Vad,
        eye: Eye | None = None,
        own_ear: OwnEar | None = None,
        own_id: int = 0,
        own_eye: OwnEye | None = None,
        seen_id: int = 0,
    ) -> None:
        """Take these networks, for running. ConfigError: what ear or eye say does not fit the decoder."""
        for name, sense in (("ear", own_ear), ("eye", own_eye)):
            if sense is not None and sense.width != decoder.width:
                raise ConfigError(f"the {name}'s rows are {sense.width} wide, the decoder reads {decoder.width}")
        self.ear, self.decoder, self.vad, self.eye = ear, decoder, vad, eye
        self.own_ear, self.own_id, self.own_eye, self.seen_id = own_ear, own_id, own_eye, seen_id
        self.device = torch.device("cpu")
        for net in self._nets():
            net.eval().requires_grad_(False)

    def heard_rows(self, weights: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Input rows for what the ear thought. ConfigError for a decoder that reads words."""
        raise ConfigError("this decoder reads words, not what an ear thought")

    def seen_rows(self, sight: Tensor, cells: Tensor) -> Tensor:
        """Input rows for what the eye said of cells `[k]`. ConfigError for a decoder that reads none."""
        if self.own_eye is None:
            raise ConfigError("this decoder reads no pictures")
        return self.decoder.picture_rows(sight, self.seen_id)

    def sound_rows(self, rows: Tensor) -> Tensor:
        """Input rows for those `[n, D]` of the model's own ear. ConfigError for a decoder that reads none."""
        if self.own_ear is None:
            raise ConfigError("this decoder reads words, not sound")
        return self.decoder.rows(rows, self.own_id)

    def _nets(self) -> list[nn.Module]:
        nets = self.ear, self.decoder, self.vad, self.eye, self.own_ear, self.own_eye
        return [net for net in nets if isinstance(net, nn.Module)]

    def to(self, device: str | torch.device) -> Self:
        """Move the weights there; sessions of this model run there from then on. DeviceError when there is no such
        device here."""
        with reaching(device):
            for net in self._nets():
                net.to(device)
            self.device = torch.empty(0, device=device).device
            if self.device.type == "cpu":
                for net in self._nets():
                    sort_weights(net)
        return self


@contextmanager
def reaching(device: str | torch.device) -> Iterator[None]:
    """DeviceError where what is done with a device fails since there is no such one here."""
    try:
        yield
    # torch says so in three ways: a build without CUDA asserts, one without a driver or card fails as it runs, and
    # a backend that is not there is not implemented.
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        why = str(error).partition("\n")[0]
        raise DeviceError(f"cannot run on {device}: {why}; choose --device cpu") from None
