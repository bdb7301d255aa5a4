"""`Vad`: is somebody speaking? Silero VAD v6 (MIT, github.com/snakers4/silero-vad), written again in plain torch.

Batched over lanes with its state carried outside; the weights (309 633) are read from the installed `silero-vad`
package without importing it. With the weights of the package's compiled model (a later training, of the same recall on
our clips, but only loadable through TorchScript) it gives that model's numbers to 1e-4 (tests/test_vad.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn import lanes

FRAME_SAMPLES = 512  # 32 ms at 16 kHz
CONTEXT_SAMPLES = 64
WINDOW, HOP, BINS, WIDTH = 256, 128, 129, 128
_FIX = "pip install 'silero-vad>=6.2,<7'"


@dataclass
class VadState:
    """`context` [B, 64]: the samples before the next frame; `hidden`, `cell` [B, D]: the recurrent memory."""

    context: Tensor
    hidden: Tensor
    cell: Tensor


class Vad(nn.Module):
    """Probability of speech in each 32 ms frame: a short spectrum, four convolutions, one LSTM cell."""

    block_samples = FRAME_SAMPLES

    def __init__(self) -> None:
        super().__init__()
        self.stft_conv = nn.Conv1d(1, 2 * BINS, WINDOW, HOP, bias=False)
        self.conv1 = nn.Conv1d(BINS, 128, 3, 1, padding=1)
        self.conv2 = nn.Conv1d(128, 64, 3, 2, padding=1)
        self.conv3 = nn.Conv1d(64, 64, 3, 2, padding=1)
        self.conv4 = nn.Conv1d(64, WIDTH, 3, 1, padding=1)
        self.lstm_cell = nn.LSTMCell(WIDTH, WIDTH)
        self.final_conv = nn.Conv1d(WIDTH, 1, 1)

    @classmethod
    def load(cls) -> Vad:
        """The published weights, for inference. Raises ConfigError when the package is missing or is another one."""
        spec = find_spec("silero_vad")
        if spec is None or spec.origin is None:
            raise ConfigError(f"the voice detector's weights are missing: {_FIX}")
        path = Path(spec.origin).parent / "data" / "silero_vad_16k.safetensors"
        vad = cls()
        try:
            vad.load_state_dict(load_file(path))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise ConfigError(f"{path} is not the voice detector this was written for: {_FIX}") from error
        return vad.eval().requires_grad_(False)

    def init_state(self, lanes: int) -> VadState:
        """State of `lanes` lanes that have heard nothing."""
        return VadState(torch.zeros(lanes, CONTEXT_SAMPLES), torch.zeros(lanes, WIDTH), torch.zeros(lanes, WIDTH))

    def step(self, samples: Tensor, state: VadState, active: Tensor) -> Tensor:
        """Samples [B, S] -> probability of speech [B, S / 512]; S is a multiple of 512. Only `active` [B] move on."""
        joined = torch.cat([state.context, samples], dim=1)
        speech, hidden, cell = self._listen(joined, state.hidden, state.cell)
        lanes.keep(state.context, joined[:, samples.shape[1] :], active)
        lanes.keep(state.hidden, hidden, active)
        lanes.keep(state.cell, cell, active)
        return speech

    def forward(self, samples: Tensor) -> Tensor:
        """Whole clips [B, S] -> [B, S / 512], the same numbers."""
        joined = nn.functional.pad(samples, (CONTEXT_SAMPLES, 0))
        zeros = samples.new_zeros(samples.shape[0], WIDTH)
        return self._listen(joined, zeros, zeros)[0]

    def reset(self, state: VadState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: VadState, src: int, dst_state: VadState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    def _listen(self, joined: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if (joined.shape[1] - CONTEXT_SAMPLES) % FRAME_SAMPLES:
            raise ValueError(f"Vad takes samples in multiples of {FRAME_SAMPLES}: wait for more")
        frames = joined.unfold(1, CONTEXT_SAMPLES + FRAME_SAMPLES, FRAME_SAMPLES)  # [B, T, 576]
        B, T, S = frames.shape
        x = frames.reshape(B * T, S)
        # Only the right side is reflected: the left has its context.
        x = torch.cat([x, x[:, -CONTEXT_SAMPLES - 1 : -1].flip(1)], dim=1)
        # Convolutions over 4, 2 and 1 columns are mostly overhead; as one matrix product each they cost a third.
        spectrum = nn.functional.linear(x.unfold(1, WINDOW, HOP), self.stft_conv.weight[:, 0])  # [B * T, 4, 2 * 129]
        x = torch.sqrt(spectrum[..., :BINS] ** 2 + spectrum[..., BINS:] ** 2)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            columns = nn.functional.pad(x, (0, 0, 1, 1)).unfold(1, 3, conv.stride[0]).flatten(2)
            x = torch.relu(nn.functional.linear(columns, conv.weight.flatten(1), conv.bias))
        x = x.view(B, T, WIDTH)
        speech = []
        for t in range(T):
            hidden, cell = self.lstm_cell(x[:, t], (hidden, cell))
            speech.append(hidden)
        if not speech:
            return x.new_zeros(B, 0), hidden, cell
        scores = nn.functional.linear(torch.relu(torch.stack(speech, dim=1)), self.final_conv.weight[:, :, 0])
        assert self.final_conv.bias is not None
        return torch.sigmoid(scores + self.final_conv.bias)[:, :, 0], hidden, cell
