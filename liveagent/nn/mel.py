"""`Mel`: a causal streaming log-mel spectrogram, bit-equal under any chunking in multiples of its hop.

Frame t looks at samples up to (t+1)*hop and no further, so a frame exists as soon as its last hop does. A mel matrix
multiplication would spoil bit-equality (BLAS picks other kernels for other row counts), so each band sums its own
bins in a fixed order, elementwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liveagent.nn import lanes, torchaudio_cpu

WINDOW, HOP, FFT = 400, 160, 512  # samples at 16 kHz: 25 ms, 10 ms
EMPHASIS = 0.97
FLOOR = 1e-5  # power added before the log: about the noise of a quiet microphone, so digital silence is no outlier
MEAN, SCALE = -3.0, 4.0  # fixed normalisation: speech spans about -2 to 2; no statistics of the clip


@dataclass
class MelState:
    """The samples a next frame still needs: `tail` [B, WINDOW - HOP + 1]."""

    tail: Tensor


class Mel(nn.Module):
    """Log-mel of 80 bands, 25 ms window, 10 ms hop, 16 kHz."""

    block_samples = HOP
    bands: Tensor
    bins: Tensor
    filters: Tensor

    def __init__(self, n_mels: int = 80) -> None:
        super().__init__()
        self.n_mels = n_mels
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=True), persistent=False)
        functional = torchaudio_cpu.load().functional
        filters = functional.melscale_fbanks(FFT // 2 + 1, 20.0, 7600.0, n_mels, 16_000, norm=None, mel_scale="htk")
        filled = filters > 0
        width = int(filled.sum(0).max())
        first = filled.float().argmax(0)
        bins = (first[None, :] + torch.arange(width)[:, None]).clamp_max(FFT // 2)  # [K, F]
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("bins", bins, persistent=False)
        bands = torch.gather(filters, 0, bins)
        bands[torch.arange(width)[:, None] >= filled.sum(0)[None, :]] = 0.0
        self.register_buffer("bands", bands, persistent=False)  # [K, F]

    def init_state(self, lanes: int) -> MelState:
        """State of `lanes` lanes that have heard nothing (which equals silence)."""
        return MelState(torch.zeros(lanes, WINDOW - HOP + 1))

    def step(self, samples: Tensor, state: MelState, active: Tensor) -> Tensor:
        """Samples [B, S] -> frames [B, S / 160, F]; S is a multiple of 160. Only `active` [B] rows move on."""
        joined = torch.cat([state.tail, samples], dim=1)
        lanes.keep(state.tail, joined[:, samples.shape[1] :], active)
        return self._frames(joined)

    def forward(self, samples: Tensor) -> Tensor:
        """Whole clips [B, S] -> [B, S / 160, F], the very bits that streaming gives."""
        return self._frames(nn.functional.pad(samples, (WINDOW - HOP + 1, 0)))

    def nearly(self, samples: Tensor) -> Tensor:
        """As `forward` up to rounding, by a matrix product: several times faster, for training only."""
        return self._log(self._power(nn.functional.pad(samples, (WINDOW - HOP + 1, 0))) @ self.filters)

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
        return (torch.log(total + FLOOR) - MEAN) / SCALE

    def _power(self, joined: Tensor) -> Tensor:
        if (joined.shape[1] - (WINDOW - HOP + 1)) % HOP:
            raise ValueError(f"Mel takes samples in multiples of {HOP}: pad or wait for more")
        y = joined[:, 1:] - EMPHASIS * joined[:, :-1]
        frames = y.unfold(1, WINDOW, HOP) * self.window
        spectrum = torch.view_as_real(torch.fft.rfft(frames, n=FFT))
        return spectrum[..., 0] * spectrum[..., 0] + spectrum[..., 1] * spectrum[..., 1]
