"""`Spotter`: a small network that hears one word, also in noise: log-mel bands, dilated causal convolutions, one logit.

It sees a frame of bands each 10 ms and says something each 20 ms: two frames are one step, which buys twice the
weights. Plain numpy, a fiftieth of a core, so that the process that stops robots has it without torch. Trained by
`liveagent.train.spotter` on synthetic voices; `StopWord`, beside it, knows people's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from liveagent.audio import RATE_HZ, Samples
from liveagent.errors import ConfigError

Floats = NDArray[np.float32]

FILE = "stop.safetensors"
HOP_SAMPLES, WINDOW_SAMPLES, FFT = 160, 400, 512
BANDS = 40
KERNEL = 5
DILATIONS = (1, 1, 2, 4, 8, 1)
STEP = 2
"""Frames that are one step of the network."""
STEP_SAMPLES = STEP * HOP_SAMPLES
SLOW = 0.005
"""Of the running mean of each band, a frame: two seconds."""
_LEAST = 1e-7


def bands() -> Floats:
    """[257, 40] triangles, even on the mel scale, from 80 Hz to 7.6 kHz."""
    mel = lambda hz: 2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0)  # noqa: E731
    edges = 700.0 * (10 ** (np.linspace(mel(80.0), mel(7600.0), BANDS + 2) / 2595.0) - 1.0)
    hz = np.arange(FFT // 2 + 1)[:, None] * RATE_HZ / FFT
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)


def levelled_bands(above: Floats) -> Floats:
    """Logarithms above their mean, as the network has them."""
    return np.clip(above, -6, 10) * np.float32(0.5)


class Ears:
    """Sound, in pieces of any length, to frames [T, 40]: how far each band is above its mean of late."""

    def __init__(self) -> None:
        self._bands = bands()
        self._window = np.hanning(WINDOW_SAMPLES).astype(np.float32)
        self._rest: Samples = np.zeros(0, np.float32)
        self._mean: Floats | None = None

    def powers(self, samples: Samples) -> Floats:
        """[T, 40] of the frames that are whole now."""
        held = np.concatenate([self._rest, samples])
        count = max(0, (len(held) - WINDOW_SAMPLES) // HOP_SAMPLES + 1)
        if not count:
            self._rest = held
            return np.zeros((0, BANDS), np.float32)
        frames = np.lib.stride_tricks.sliding_window_view(held, WINDOW_SAMPLES)[::HOP_SAMPLES][:count]
        self._rest = held[count * HOP_SAMPLES :].copy()
        power: Floats = np.abs(np.fft.rfft(frames * self._window, FFT)).astype(np.float32) ** 2 @ self._bands
        return power

    def feed(self, samples: Samples) -> Floats:
        log = np.log(self.powers(samples) + np.float32(_LEAST))
        if not len(log):
            return log
        if self._mean is None:
            self._mean = log[0].copy()
        mean = self._mean
        for at in range(len(log)):
            mean += np.float32(SLOW) * (log[at] - mean)
            log[at] -= mean
        return levelled_bands(log)


@dataclass(frozen=True, slots=True)
class _Layer:
    weight: Floats  # [kernel, in, out]
    bias: Floats
    dilation: int


class Spotter:
    """One stream's. `feed` gives the probability, for each new step of 20 ms, that the word has just ended."""

    def __init__(self, weights: dict[str, Floats]) -> None:
        """ConfigError for weights of another shape."""
        try:
            self._layers = [
                _Layer(weights[f"conv{at}.weight"], weights[f"conv{at}.bias"], dilation)
                for at, dilation in enumerate(DILATIONS)
            ]
            self._head, self._bias = weights["head.weight"], float(weights["head.bias"][0])
        except KeyError as error:
            raise ConfigError(f"{FILE} is no spotter: it has no {error}; install liveagent again") from None
        if self._layers[0].weight.shape[:2] != (KERNEL, STEP * BANDS):
            raise ConfigError(f"{FILE} is no spotter of this version; install liveagent again")
        self._ears = Ears()
        self._odd: Floats = np.zeros((0, BANDS), np.float32)
        self._held = [
            np.zeros(((KERNEL - 1) * each.dilation, each.weight.shape[1]), np.float32) for each in self._layers
        ]

    @classmethod
    def load(cls, folder: Path) -> Spotter:
        """ConfigError where there is none."""
        from safetensors.numpy import load_file

        if not (folder / FILE).is_file():
            raise ConfigError(f"{folder / FILE} is missing; install liveagent again")
        return cls({name: value.astype(np.float32) for name, value in load_file(folder / FILE).items()})

    def feed(self, samples: Samples) -> Floats:
        frames = np.concatenate([self._odd, self._ears.feed(samples)])
        steps = len(frames) // STEP
        self._odd = frames[steps * STEP :]
        if not steps:
            return np.zeros(0, np.float32)
        x = frames[: steps * STEP].reshape(steps, STEP * BANDS)
        for at, layer in enumerate(self._layers):
            held = np.concatenate([self._held[at], x])
            self._held[at] = held[len(x) :]
            y = np.broadcast_to(layer.bias, (len(x), len(layer.bias))).copy()
            for tap in range(KERNEL):
                first = tap * layer.dilation
                y += held[first : first + len(x)] @ layer.weight[tap]
            np.maximum(y, 0, out=y)
            x = y if at == 0 else y + x
        logit = x @ self._head + self._bias
        return (1.0 / (1.0 + np.exp(-np.clip(logit, -30, 30)))).astype(np.float32)
