"""`ClipMel`: log-mel of a whole clip of fixed length, as encoders want it that were trained on whole clips.

Every value is raised to within a fixed range below the loudest of the clip, so the loudest moment decides about all
others: this cannot be streamed. A clip that grows is measured anew, which is exact for the clip as it is then. (`Mel`
has no such look ahead and is what nano hears with.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RATE_HZ = 16_000
RANGE = 8.0  # powers of ten below the loudest that are told apart
FLOOR = 1e-10


class ClipMel(nn.Module):
    """`bands` F, a window of `fft` samples every `hop`, clips of `seconds`, padded with silence or cut."""

    filters: Tensor
    window: Tensor

    def __init__(self, bands: int = 80, fft: int = 400, hop: int = 160, seconds: int = 30) -> None:
        super().__init__()
        self.bands, self.fft, self.hop, self.samples = bands, fft, hop, seconds * RATE_HZ
        self.register_buffer("filters", slaney(bands, fft).float(), persistent=False)  # [bins, F]
        self.register_buffer("window", torch.hann_window(fft, periodic=True), persistent=False)

    @property
    def frames(self) -> int:
        """Of a clip."""
        return self.samples // self.hop

    def forward(self, samples: Tensor) -> Tensor:
        """`samples [B, S]` at 16 kHz to `[B, F, frames]`."""
        short = self.samples - samples.shape[1]
        clip = nn.functional.pad(samples, (0, short)) if short > 0 else samples[:, : self.samples]
        spectrum = torch.stft(clip, self.fft, self.hop, window=self.window, return_complex=True)[..., :-1]
        power = torch.view_as_real(spectrum).square().sum(-1)
        logs = (self.filters.T @ power).clamp_min(FLOOR).log10()
        logs = torch.maximum(logs, logs.amax((1, 2), keepdim=True) - RANGE)
        return (logs + 4.0) / 4.0


def slaney(bands: int, fft: int) -> Tensor:
    """Triangular filters `[fft / 2 + 1, bands]` of equal area, float64, on the scale of Slaney's Auditory Toolbox
    (1998): even up to 1 kHz, then 27 bands to each factor of 6.4."""
    top = RATE_HZ / 2
    most = 15 + 27 * math.log(top / 1000) / math.log(6.4)
    mels = torch.linspace(0, most, bands + 2, dtype=torch.float64)
    hz = torch.where(mels < 15, mels * 200 / 3, 1000 * torch.exp((mels - 15) * math.log(6.4) / 27))
    bins = torch.linspace(0, top, fft // 2 + 1, dtype=torch.float64)[:, None]
    low, peak, high = hz[:-2], hz[1:-1], hz[2:]
    rise, fall = (bins - low) / (peak - low), (high - bins) / (high - peak)
    return torch.minimum(rise, fall).clamp_min(0) * 2 / (high - low)
