"""`Nets`: a `Model` with its networks, as the engine runs them."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn

from liveagent.errors import ConfigError, DeviceError
from liveagent.nn.ear import Ear
from liveagent.nn.eye import Eye
from liveagent.nn.linear import sort_weights
from liveagent.nn.model import Model
from liveagent.nn.stack import Stack
from liveagent.nn.vad import Vad


class Nets(Model):
    """`ear`, `eye` (None: it is blind), `decoder`, `vad`. Nothing here is changed by running, so one serves every
    session of a process."""

    ear: Ear
    eye: Eye | None
    decoder: Stack
    vad: Vad
    device: torch.device

    def hold(self, ear: Ear, decoder: Stack, vad: Vad, eye: Eye | None = None) -> None:
        """Take these networks, for running."""
        self.ear, self.decoder, self.vad = ear.eval(), decoder.eval(), vad.eval()
        self.eye = eye.eval() if eye is not None else None
        self.device = torch.device("cpu")
        for net in self._nets():
            net.requires_grad_(False)

    def heard_rows(self, weights: Tensor, hidden: Tensor | None = None) -> Tensor:
        """Input rows for what the ear thought. ConfigError for a decoder that reads words."""
        raise ConfigError("this decoder reads words, not what an ear thought")

    def seen_rows(self, sight: Tensor, cells: Tensor) -> Tensor:
        """Input rows for what the eye said. ConfigError for a decoder that reads none."""
        raise ConfigError("this decoder reads no pictures")

    def _nets(self) -> list[nn.Module]:
        return [net for net in (self.ear, self.decoder, self.vad, self.eye) if net is not None]

    def to(self, device: str | torch.device) -> Self:
        """Move the weights there; sessions of this model run there from then on. DeviceError when there is no such
        device here."""
        try:
            for net in self._nets():
                net.to(device)
            self.device = torch.empty(0, device=device).device
            if self.device.type == "cpu":
                for net in self._nets():
                    sort_weights(net)
        # torch says so in three ways: a build without CUDA asserts, one without a driver or card fails as it runs, and
        # a backend that is not there is not implemented.
        except (RuntimeError, AssertionError, NotImplementedError) as error:
            why = str(error).partition("\n")[0]
            raise DeviceError(f"cannot run on {device}: {why}; choose --device cpu") from None
        return self
