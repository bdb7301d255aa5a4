"""`Mel`: a causal streaming log-mel spectrogram, bit-equal under any chunking in multiples of its hop.

Frame t looks at samples up to (t+1)*hop and no further, so a frame exists as soon as its last hop does. Ears that were
trained elsewhere measure otherwise, as `MelConfig` says; where their frames end later, `late_samples` has each wait
until it is whole. A mel matrix multiplication would spoil bit-equality (BLAS picks other kernels for other row counts),
so each band sums its own bins in a fixed order, elementwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from liveagent.nn import lanes, torchaudio_cpu

WINDOW, HOP, FFT = 400, 160, 512  # samples at 16 kHz: 25 ms, 10 ms
EMPHASIS = 0.97
FLOOR = 1e-5  # power added before the log: about the noise of a quiet microphone, so digital silence is no outlier
MEAN, SCALE = -3.0, 4.0  # fixed normalisation: speech spans about -2 to 2; no statistics of the clip


@dataclass(frozen=True)
class MelConfig:
    """How sound is measured; nano's way where nothing is said."""

    bands: int = 80
    window: int = WINDOW
    fft: int = FFT
    late_samples: int = 0
    """How long before the end of its hop a frame's window ends. What a stream begins with stands before its first
    sample, then: the frames of the hops that these samples fill."""
    emphasis: float = EMPHASIS
    periodic: bool = True
    """The window's shape."""
    power: Literal[1, 2] = 2
    """Of a bin's amplitude."""
    low_hz: float = 20.0
    high_hz: float = 7600.0
    mel: Literal["htk", "slaney"] = "htk"
    """The scale that bands are even on."""
    even_area: bool = False
    """Bands are as strong as they are narrow."""
    exact: bool = False
    """Bands, spectrum and logarithm are reckoned in float64: for ears that were trained on another's arithmetic, beside
    a loud tone above all. nano was trained on float32."""
    floor: float = FLOOR
    mean: float = MEAN
    scale: float = SCALE


def rounded_triangles(config: MelConfig) -> Tensor:
    """The bands as torchaudio reckons them, in float32, `[bins, F]`."""
    c, functional = config, torchaudio_cpu.load().functional
    area = "slaney" if c.even_area else None
    filters: Tensor = functional.melscale_fbanks(c.fft // 2 + 1, c.low_hz, c.high_hz, c.bands, 16_000, area, c.mel)
    return filters


def triangles(config: MelConfig) -> Tensor:
    """The bands reckoned in float64, `[bins, F]`; one that is narrower than a bin may be silent.

    "htk": 2595 log10(1 + hz / 700); "slaney": even up to 1 kHz, then 27 to each factor of 6.4.
    """
    c = config
    knee, step = 1000.0, math.log(6.4) / 27

    def mel(hz: float) -> float:
        if c.mel == "htk":
            return 2595 * math.log10(1 + hz / 700)
        return hz * 3 / 200 if hz < knee else 15 + math.log(hz / knee) / step

    mels = torch.linspace(mel(c.low_hz), mel(c.high_hz), c.bands + 2, dtype=torch.float64)
    if c.mel == "htk":
        hz = 700 * (10 ** (mels / 2595) - 1)
    else:
        hz = torch.where(mels < 15, mels * 200 / 3, knee * torch.exp((mels - 15) * step))
    bins = torch.linspace(0, 8000, c.fft // 2 + 1, dtype=torch.float64)[:, None]
    low, peak, high = hz[:-2], hz[1:-1], hz[2:]
    filters = torch.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)).clamp_min(0)
    return filters * 2 / (high - low) if c.even_area else filters


@dataclass
class MelState:
    """The samples a next frame still needs: `tail` [B, window - HOP + 1 + late]."""

    tail: Tensor


class Mel(nn.Module):
    """Log-mel of some bands, a frame every 10 ms, 16 kHz."""

    block_samples = HOP
    window: Tensor
    bands: Tensor
    bins: Tensor
    filters: Tensor

    def __init__(self, n_mels: int = 80, config: MelConfig | None = None) -> None:
        super().__init__()
        c = self.config = config or MelConfig(n_mels)
        self.n_mels = c.bands
        self._tail = c.window - HOP + 1 + c.late_samples
        kind = torch.float64 if c.exact else torch.float32
        window = torch.hann_window(c.window, periodic=c.periodic, dtype=kind)
        self.register_buffer("window", window, persistent=False)
        filters = triangles(c) if c.exact else rounded_triangles(c)
        filled = filters > 0
        width = int(filled.sum(0).max())
        first = filled.float().argmax(0)
        bins = (first[None, :] + torch.arange(width)[:, None]).clamp_max(c.fft // 2)  # [K, F]
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("bins", bins, persistent=False)
        bands = torch.gather(filters, 0, bins)
        bands[torch.arange(width)[:, None] >= filled.sum(0)[None, :]] = 0.0
        self.register_buffer("bands", bands, persistent=False)  # [K, F]

    def init_state(self, lanes: int) -> MelState:
        """State of `lanes` lanes that have heard nothing (which equals silence)."""
        return MelState(torch.zeros(lanes, self._tail, device=self.window.device))

    def step(self, samples: Tensor, state: MelState, active: Tensor) -> Tensor:
        """Samples [B, S] -> frames [B, S / 160, F]; S is a multiple of 160. Only `active` [B] rows move on."""
        joined = torch.cat([state.tail, samples], dim=1)
        lanes.keep(state.tail, joined[:, samples.shape[1] :], active)
        return self._frames(joined)

    def forward(self, samples: Tensor) -> Tensor:
        """Whole clips [B, S] -> [B, S / 160, F], the very bits that streaming gives."""
        return self._frames(nn.functional.pad(samples, (self._tail, 0)))

    def nearly(self, samples: Tensor) -> Tensor:
        """As `forward` up to rounding, by a matrix product: several times faster, for training only."""
        return self._log(self._power(nn.functional.pad(samples, (self._tail, 0))) @ self.filters)

    def reset(self, state: MelState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: MelState, src: int, dst_state: MelState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    def _frames(self, joined: Tensor) -> Tensor:
        power = self._power(joined)
        total = power[..., self.bins[0]] * self.bands[0]
        for k in range(1, len(self.bins)):
            total = total + power[..., self.bins[k]] * self.bands[k]
        return self._log(total)

    def _log(self, total: Tensor) -> Tensor:
        return ((torch.log(total + self.config.floor) - self.config.mean) / self.config.scale).float()

    def _power(self, joined: Tensor) -> Tensor:
        c = self.config
        if (joined.shape[1] - self._tail) % HOP:
            raise ValueError(f"Mel takes samples in multiples of {HOP}: pad or wait for more")
        joined = joined[:, : joined.shape[1] - c.late_samples].to(self.window.dtype)
        y = joined[:, 1:] - c.emphasis * joined[:, :-1] if c.emphasis else joined[:, 1:]
        frames = y.unfold(1, c.window, HOP) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=c.fft))
        power = spectrum[..., 0] * spectrum[..., 0] + spectrum[..., 1] * spectrum[..., 1]
        return power if c.power == 2 else power.sqrt()
