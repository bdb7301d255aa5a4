"""Train the spotter of the stop word: scenes of the word and of everything else, in rooms and noise; ten minutes.

    python -m liveagent.train.stops make SPEECH
    python -m liveagent.train.spotter SPEECH WEIGHTS

A scene is marked where the word ends as the first of a burst of sound, alone or after a "please"; the word within a
sentence is no stop, and what lies between is not counted.
"""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from liveagent.audio import RATE_HZ
from liveagent.nn.spotter import BANDS, DILATIONS, FILE, HOP_SAMPLES, KERNEL, WINDOW_SAMPLES, Ears
from liveagent.train.augment import stretch, tempo

SCENE_S = 4.0
SCENES, EPOCHS, BATCH, WIDTH = 10_200, 20, 48, 64
CLEAR_DB = 18.0
"""In more noise than that nobody can tell whether another word came first, and nobody is asked to."""
NO, YES, UNSURE = 0, 1, -1


class Clips:
    """The clips of all voices' files."""

    def __init__(self, folder: str) -> None:
        self.kinds: dict[str, list[list[np.ndarray]]] = {"stop": [], "before": [], "within": [], "other": []}
        for file in sorted(Path(folder).glob("*.npz")):
            data = np.load(file)
            for kind, voices in self.kinds.items():
                voices.append(np.split(data[kind], data[f"{kind}_ends"][:-1]))

    def one(self, kind: str, voice: int, rng: np.random.Generator) -> np.ndarray:
        clips = self.kinds[kind][voice]
        return clips[rng.integers(len(clips))].astype(np.float32) / 32768


def noise(clips: Clips, count: int, rng: np.random.Generator) -> np.ndarray:
    """Hiss of any colour with hum and clicks, or a few voices, unit power."""
    if rng.random() < 0.5:
        y = np.zeros(count, np.float32)
        for _ in range(rng.integers(1, 6)):
            at = 0
            while at < count:
                x = clips.one("other", int(rng.integers(len(clips.kinds["other"]))), rng)[: count - at]
                y[at : at + len(x)] += x * rng.uniform(0.4, 1.0)
                at += len(x) + int(rng.integers(500, 9000))
        return y / (y.std() + 1e-9)
    spectrum = np.fft.rfft(rng.standard_normal(count).astype(np.float32))
    f = np.arange(len(spectrum), dtype=np.float32) + 3.0
    shape = f ** (-rng.uniform(0.0, 1.1))
    for _ in range(rng.integers(0, 4)):
        center, wide = rng.uniform(0, len(f)), rng.uniform(0.02, 0.3) * len(f)
        shape *= 1 + rng.uniform(0, 6) * np.exp(-(((f - center) / wide) ** 2))
    y = np.fft.irfft(spectrum * shape, count).astype(np.float32)
    y /= y.std() + 1e-9
    if rng.random() < 0.3:
        t, hum = np.arange(count) / RATE_HZ, rng.uniform(50, 400)
        for k in range(1, 6):
            y += rng.uniform(0, 1) * np.sin(2 * np.pi * hum * k * t + rng.uniform(0, 6)).astype(np.float32)
    if rng.random() < 0.3:
        for at in rng.integers(0, count - 800, rng.integers(1, 10)):
            fade = np.exp(-np.arange(800) / rng.uniform(10, 250))
            y[at : at + 800] += rng.uniform(2, 15) * rng.standard_normal(800) * fade
    if rng.random() < 0.5:
        y *= np.interp(np.arange(count), np.linspace(0, count, 8), rng.uniform(0.2, 1.0, 8))
    return (y / (y.std() + 1e-9)).astype(np.float32)


def room(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    taps = int(rng.uniform(0.05, 0.35) * RATE_HZ)
    response = rng.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / taps) * rng.uniform(0.02, 0.2)
    response[0] = 1.0
    size = len(x) + taps
    return np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)[: len(x)].astype(np.float32)


def scene(clips: Clips, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Samples, and a mark for each frame."""
    count = int(SCENE_S * RATE_HZ)
    x = np.zeros(count, np.float32)
    marks = np.zeros((count - WINDOW_SAMPLES) // HOP_SAMPLES + 1, np.int8)
    voice = int(rng.integers(len(clips.kinds["stop"])))
    voice = 0 if rng.random() < 0.25 else voice  # espeak, which is many
    size, pace = rng.uniform(0.76, 1.28), rng.uniform(0.85, 1.2)  # of the speaker, and how fast they speak
    ends: list[tuple[int, bool | None]] = []  # where a stop ended; whether it counts

    def put(kind: str, at: int) -> int:
        clip = stretch(clips.one(kind, voice, rng), size if kind in ("stop", "before", "within") else pace)
        if kind in ("stop", "within"):
            clip = np.concatenate([tempo(clip[:-800], pace / size), np.zeros(800, np.float32)])
        clip *= np.float32(rng.uniform(0.6, 1.0))
        x[at : at + len(clip)] += clip[: max(0, count - at)]
        return at + len(clip)

    snr_db = rng.triangular(2, 8, 32)
    at = int(rng.uniform(0.2, 1.2) * RATE_HZ)
    wanted = rng.random() < 0.55
    while at < count - RATE_HZ // 3:
        kind = rng.random()
        if wanted and kind < 0.6:
            if rng.random() < 0.2:
                at = put("before", at) + int(rng.uniform(-0.08, 0.08) * RATE_HZ)
            at = put("stop", at)
            ends.append((at - 800, True))
            if rng.random() < 0.35:
                at = put("other", at + int(rng.uniform(-0.09, 0.4) * RATE_HZ))
        elif kind < 0.75:
            at = put("within", at)
            if snr_db <= CLEAR_DB:
                ends.append((at - 800, None))
        else:
            at = put("other", at)
            if rng.random() < 0.3:  # within a sentence; after a breath nobody knows
                gap = rng.uniform(-0.09, 0.25)
                at = put("stop", at + int(gap * RATE_HZ))
                ends.append((at - 800, False if gap < 0.05 and snr_db > CLEAR_DB else None))
        at += int(rng.uniform(0.3, 1.3) * RATE_HZ)
    for end, counts in ends:
        frame = (end - WINDOW_SAMPLES) // HOP_SAMPLES + 1
        marks[max(0, frame - 8) : max(0, frame + 40)] = UNSURE
        if counts is not None:
            marks[max(0, frame - 1) : max(0, frame + 20)] = YES if counts else NO
        if counts is False:
            marks[max(0, frame - 8) : max(0, frame + 40)] = NO
    if rng.random() < 0.4:
        x = room(x, rng)
    loud = x[np.abs(x) > 0.02 * max(1e-6, np.abs(x).max())]
    level = float(np.sqrt(np.mean(loud**2))) if len(loud) else 0.1
    around = noise(clips, count, rng) * np.float32(10 ** (-snr_db / 20))
    y: np.ndarray = x / np.float32(level) + around
    if rng.random() < 0.4:  # a microphone that has a tone of its own
        spectrum = np.fft.rfft(y)
        knots = rng.uniform(-9, 6, 7)
        tone = np.interp(np.arange(len(spectrum)), np.linspace(0, len(spectrum), 7), knots)
        y = np.fft.irfft(spectrum * 10 ** (tone / 20), count)
    y = y * 10 ** (rng.uniform(-42, -14) / 20)
    return np.clip(y, -1, 1).astype(np.float32), marks


def scenes(folder: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    clips, rng = Clips(folder), np.random.default_rng(seed)
    frames, marks = [], []
    for _ in range(count):
        samples, mark = scene(clips, rng)
        frames.append(Ears().feed(samples).astype(np.float16))
        marks.append(mark)
    return np.stack(frames), np.stack(marks)


class Net(nn.Module):
    """As `Spotter`, in torch, for whole scenes: [B, T, 40] to logits [B, T]."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv1d(BANDS if at == 0 else width, width, KERNEL, dilation=dilation)
            for at, dilation in enumerate(DILATIONS)
        )
        self.head = nn.Linear(width, 1)

    def forward(self, frames: Tensor) -> Tensor:
        x = frames.transpose(1, 2)
        for at, (conv, dilation) in enumerate(zip(self.convs, DILATIONS, strict=True)):
            y = torch.relu(conv(nn.functional.pad(x, ((KERNEL - 1) * dilation, 0))))
            x = y if at == 0 else x + y
        logits: Tensor = self.head(x.transpose(1, 2)).squeeze(-1)
        return logits

    def weights(self) -> dict[str, np.ndarray]:
        """As `Spotter` wants them."""
        found = {}
        for name, value in self.convs.state_dict().items():
            at, _, part = name.partition(".")
            found[f"conv{at}.{part}"] = (value.permute(2, 1, 0) if part == "weight" else value).contiguous().numpy()
        found["head.weight"] = self.head.weight.detach()[0].numpy().copy()
        found["head.bias"] = self.head.bias.detach().numpy().copy()
        return found


def fit(frames: np.ndarray, marks: np.ndarray, epochs: int) -> Net:
    """Train on scenes; the last tenth of them is only looked at."""
    torch.manual_seed(0)
    net = Net()
    rng = np.random.default_rng(0)
    held = len(frames) * 9 // 10
    steps = epochs * (held // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for epoch in range(epochs):
        began, total = time.monotonic(), 0.0
        order = rng.permutation(held)
        for at in range(0, held - BATCH + 1, BATCH):
            chosen = order[at : at + BATCH]
            x = torch.from_numpy(frames[chosen].astype(np.float32))
            y = torch.from_numpy(marks[chosen].astype(np.float32))
            loss = nn.functional.binary_cross_entropy_with_logits(
                net(x), y.clamp_min(0), weight=(y >= 0).float(), pos_weight=torch.tensor(3.0)
            )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.item()
        with torch.inference_mode():
            p = torch.cat([
                net(torch.from_numpy(frames[at : at + 64].astype(np.float32))) for at in range(held, len(frames), 64)
            ]).sigmoid().numpy()  # fmt: skip
        seen = marks[held:]
        found, false = np.mean(p[seen == YES] > 0.5), np.mean(p[seen == NO] > 0.5)
        took_s = time.monotonic() - began
        print(f"epoch {epoch}: loss {total / (held // BATCH):.4f}, of the marks {found:.3f}, of the rest {false:.5f}, "
              f"{took_s:.0f} s", flush=True)  # fmt: skip
    return net


def main(arguments: list[str]) -> int:
    from safetensors.numpy import save_file

    speech, weights = arguments[:2]
    count, epochs = int(arguments[2]) if arguments[2:] else SCENES, int(arguments[3]) if arguments[3:] else EPOCHS
    torch.set_num_threads(2)
    with ProcessPoolExecutor(2) as pool:
        made = list(pool.map(scenes, [speech] * 12, range(12), [count // 12] * 12))
    frames, marks = (np.concatenate(each) for each in zip(*made, strict=True))
    print(f"{len(frames)} scenes, {np.mean(marks == YES):.4f} of the frames marked", flush=True)
    net = fit(frames, marks, epochs)
    save_file({name: value.astype(np.float16) for name, value in net.weights().items()}, Path(weights) / FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
