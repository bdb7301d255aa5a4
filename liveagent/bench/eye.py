"""The eye: what looking only where something changed saves against encoding every picture, and what it costs in truth.

Three clips at 5 pictures a second, drawn from a seed, with a sensor's noise: a scene that stands still; one where a
quarter of the patches, a head that talks, changes in every picture; one where everything moves. Each picture is encoded
densely and by the gated path, in turns in one process on one thread, in wall time; the gated side pays for its
detector, for its refreshes every ten seconds and for reading what the eye says. A picture's time is the median of a few
runs of the same clip.

`cosine_min` is the worst picture's cosine between gated and dense tokens, over all clips of nano's eye and one of a toy
table on which things come, go and slide; `readings` is how often a cell of that table is read rightly (how many things,
of which colour and shape), dense and gated. `threshold0_max_abs` is the largest difference of a token from the dense
pass's after 500 pictures through the gather path without one refresh.

A vision transformer of the base size and Gemma 4's eye at E2B's size see the talking head too, with random weights, of
which `detail.random_weights` names the keys. They say nothing of truth: `gemma4_cosine` (the worst picture's, of the
rows that its decoder would read) shows that the path holds together, no more. Of time they say what it is where a
change stays near where it happened: queries and keys have gains that make attention as soft as it is elsewhere. With
gains of one it is nearly one-hot, a changed patch changes what all others find, and little is saved:
`detail.gemma4_sharp`. Which of the two trained weights are like, only they can say.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as fn

from liveagent.families import gemma4_eye
from liveagent.keyframe import Keyframes
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.framing import Budget
from liveagent.nn.linear import sort_weights
from liveagent.nn.pool_projector import PoolProjector
from liveagent.nn.row_eye import RowEye
from liveagent.nn.vit import Vit
from liveagent.nn.vit_config import VIT_B16
from liveagent.sight import COLOUR, COUNT, SHAPE, Sight
from liveagent.table import Surface, Table, Thing, ToyTable, draw
from liveagent.train.speech import top
from liveagent.video import Pixels

FRAME_NS = 200_000_000
NOISE = 3.0  # standard deviation of every pixel's noise, of 255
LANES = 4


def noisy(light: np.ndarray, rng: np.random.Generator) -> Pixels:
    noise = rng.standard_normal(light.shape, np.float32) * np.float32(NOISE)
    return np.clip(light + noise + 0.5, 0, 255).astype(np.uint8)


def table_of(seed: int) -> Table:
    things = (Thing(0, 0, 0.15, 0.2), Thing(2, 1, 0.85, 0.85), Thing(3, 4, 0.15, 0.85))
    return Table(things, Surface(seed=seed))


def texture(px: int, rng: np.random.Generator) -> np.ndarray:
    """Soft blotches that repeat after `px`, [px, px, 3] around nought."""
    waves = rng.standard_normal((px, px, 3))
    rate = np.abs(np.fft.fftfreq(px, 1 / px))
    keep = np.exp(-(((rate[:, None] ** 2 + rate[None] ** 2) ** 0.5 - px / 10) ** 2) / (px / 20) ** 2)
    soft = np.fft.ifft2(np.fft.fft2(waves, axes=(0, 1)) * keep[:, :, None], axes=(0, 1)).real
    return np.asarray(soft / soft.std(), np.float32)


def static(px: int, frames: int, seed: int = 1) -> list[Pixels]:
    rng = np.random.default_rng(seed)
    still = draw(table_of(seed), px).astype(np.float32)
    return [noisy(still, rng) for _ in range(frames)]


def talking(px: int, frames: int, seed: int = 2, patch_px: int = 16) -> list[Pixels]:
    """A face, so near that it fills half the picture's height and width, sways and speaks; the rest stands still."""
    rng = np.random.default_rng(seed)
    still = draw(table_of(seed), px).astype(np.float32)
    side = px // patch_px
    size, at = side // 2 * patch_px, (side - side // 2) // 2 * patch_px
    skin = 14 * texture(2 * size, rng)
    y, x = (axis.astype(np.float32) / size - 0.5 for axis in np.mgrid[:size, :size])
    clip = []
    for i in range(frames):
        dx, dy = 0.06 * np.sin(2.1 * i), 0.05 * np.sin(1.3 * i + 1)
        u, v = x - dx, y - dy
        face = np.empty((size, size, 3), np.float32)
        face[:] = np.where((u**2 + (v * 0.8) ** 2 < 0.2)[:, :, None], (205, 160, 135), (90, 70, 60))
        mouth = 0.02 + 0.05 * abs(np.sin(2.7 * i))
        face[(np.abs(v - 0.22) < mouth) & (np.abs(u) < 0.16)] = (120, 40, 45)
        face[((np.abs(u) - 0.17) ** 2 + (v + 0.12) ** 2) < 0.003] = (40, 30, 30)
        face += np.roll(skin, (round(dy * size), round(dx * size)), (0, 1))[:size, :size]
        light = still.copy()
        light[at : at + size, at : at + size] = face
        clip.append(noisy(light, rng))
    return clip


def moving(px: int, frames: int, seed: int = 3) -> list[Pixels]:
    """The camera pans."""
    rng = np.random.default_rng(seed)
    wide = 128 + 40 * texture(2 * px, rng)
    return [noisy(np.roll(wide, -7 * i, 1)[:px, :px], rng) for i in range(frames)]


def alive(frames: int, seed: int) -> tuple[list[Pixels], list[Sight]]:
    """A toy table that moves by itself, and what is on it."""
    rng = np.random.default_rng(seed)
    toys = ToyTable(seed, pause_ticks=(8, 20))
    scenes = [toys.step(round(i * 2.5)) for i in range(frames)]
    return [noisy(draw(scene).astype(np.float32), rng) for scene in scenes], [scene.sight() for scene in scenes]


class Gated:
    """One camera through the detector and the gated path, as a session does it; `head` reads the tokens."""

    def __init__(self, vit: Vit, head: Callable[[Tensor], Tensor], patches: int | None = None) -> None:
        self.vit, self.head = vit, head
        self.keyframes, self.state = Keyframes(), vit.init_state(1, patches)
        self.tokens, self.said = torch.zeros(0), torch.zeros(0)
        self.t_ns, self.sent, self.all = 0, 0, 0

    def see(self, pixels: Pixels) -> Tensor:
        change = self.keyframes.feed(pixels, self.t_ns)
        self.t_ns += FRAME_NS
        self.all += len(change.patches)
        self.sent += change.count
        if change.count:
            patches = torch.from_numpy(change.patches)
            self.tokens = self.vit.look(torch.from_numpy(pixels).permute(2, 0, 1), patches, self.state, 0)
            self.said = self.head(self.tokens[None])
        return self.said


def dense(vit: Vit, head: Callable[[Tensor], Tensor], pixels: Pixels) -> Tensor:
    return head(vit(torch.from_numpy(pixels).permute(2, 0, 1)[None]))


def patches_of(vit: Vit, clip: list[Pixels]) -> int:
    """Of one picture of the clip."""
    height, width, _ = clip[0].shape
    return height * width // vit.config.patch_px**2


def timed(vit: Vit, head: Callable[[Tensor], Tensor], clip: list[Pixels], rounds: int) -> dict[str, Any]:
    """Wall seconds a picture, dense and ours, over the clip but for its first picture; and the speed-up."""
    spent = np.zeros((2, rounds, len(clip)))
    for r in range(rounds):
        ours = Gated(vit, head, patches_of(vit, clip))
        for i, pixels in enumerate(clip):
            began = time.perf_counter()
            dense(vit, head, pixels)
            middle = time.perf_counter()
            ours.see(pixels)
            spent[:, r, i] = middle - began, time.perf_counter() - middle
    dense_s, ours_s = (float(np.median(part, axis=0)[1:].mean()) for part in spent)
    return {
        "speedup": round(dense_s / ours_s, 2), "dense_ms": round(dense_s * 1e3, 3), "ours_ms": round(ours_s * 1e3, 3),
        "patches": round(ours.sent / ours.all, 3),
    }  # fmt: skip


def same(tokens: Tensor) -> Tensor:
    return tokens


def likeness(vit: Vit, clips: list[list[Pixels]], head: Callable[[Tensor], Tensor] = same) -> tuple[float, float]:
    """The least cosine of what `head` makes of a picture's tokens, and of a single one, gated against dense."""
    worst, worst_token = 1.0, 1.0
    for clip in clips:
        ours = Gated(vit, head, patches_of(vit, clip))
        for pixels in clip:
            a, b = ours.see(pixels)[0], dense(vit, head, pixels)[0]
            worst = min(worst, float(fn.cosine_similarity(a.flatten(), b.flatten(), dim=0)))
            worst_token = min(worst_token, float(fn.cosine_similarity(a, b, dim=1).min()))
    return worst, worst_token


def read(logits: Tensor) -> np.ndarray:
    """How many (0, 1, 2 for more), which colour, which shape, of each cell: [16, 3]; colour and shape of nothing: 0."""
    said = logits[0].numpy()
    count = said[:, COUNT].argmax(-1)
    parts = [(said[:, part].argmax(-1) + 1) * (count == 1) for part in (COLOUR, SHAPE)]
    return np.stack([count, *parts], axis=1)


def readings(eye: Eye, tables: int, frames: int) -> dict[str, float]:
    """Shares of cells read wholly right on living tables: dense, gated, and where both say the same."""
    right: dict[str, list[float]] = {"dense": [], "gated": [], "same": []}
    for seed in range(tables):
        clip, truth = alive(frames, 100 + seed)
        ours = Gated(eye.vit, eye.head)
        for pixels, sight in zip(clip, truth, strict=True):
            a, b = read(ours.see(pixels)), read(dense(eye.vit, eye.head, pixels))
            real = read(torch.from_numpy(sight)[None])
            for key, x, y in (("dense", b, real), ("gated", a, real), ("same", a, b)):
                right[key].append(float((x == y).all(axis=1).mean()))
    return {key: round(float(np.mean(each)), 4) for key, each in right.items()}


def threshold0(vit: Vit, frames: int, seed: int = 4, every: int = 50) -> float:
    """The largest difference of tokens from the dense pass's, some of `frames` pictures compared, at threshold 0."""
    kept = vit.moved, vit.probe
    vit.moved, vit.probe = 0.0, 1
    rng = np.random.default_rng(seed)
    c = vit.config
    pixels = rng.integers(0, 256, (3, c.image_px, c.image_px), dtype=np.uint8)
    state, worst = vit.init_state(1), 0.0
    vit.look(torch.from_numpy(pixels), torch.ones(c.patches, dtype=torch.bool), state, 0)
    for i in range(1, frames + 1):
        patches = np.zeros(c.patches, np.bool_)
        patches[rng.choice(c.patches, int(rng.integers(1, c.patches // 2)), replace=False)] = True
        where = patches.reshape(c.side, c.side).repeat(c.patch_px, 0).repeat(c.patch_px, 1)
        noise = rng.integers(0, 256, pixels.shape, dtype=np.uint8)
        pixels = np.where(where, noise if i % 3 else noise // 32 + pixels // 2, pixels)
        tokens = vit.look(torch.from_numpy(pixels), torch.from_numpy(patches), state, 0)
        if i % every == 0 or i == frames:
            worst = max(worst, float((tokens - vit(torch.from_numpy(pixels)[None])[0]).abs().max()))
    vit.moved, vit.probe = kept
    return worst


def weights_at(path: str | Path | None) -> tuple[Eye, bool]:
    """The eye of that file, else nano's, else random ones of its size; and whether they are trained."""
    path = Path(path) if path else top() / "pipelines" / "nano" / "weights" / "eye.safetensors"
    if path.is_file():
        return Eye.load(path), True
    torch.manual_seed(0)
    return Eye(EyeConfig()).eval(), False


def gemma4() -> RowEye:
    """An eye of E2B's size with random weights, its attention soft."""
    torch.manual_seed(2)
    config = gemma4_eye.vit_config({})
    vit, budget = Vit(config), Budget(gemma4_eye.VIDEO_ROWS * 9, 16, 3)
    vit.positions.data.normal_(std=0.3)
    gains(vit, config.head_width**-0.25)
    return RowEye(vit, PoolProjector(config.width, 1536, 3, config.norm_eps), budget, budget).eval()


def gains(vit: Vit, by: float) -> None:
    """Of the norms of queries and keys."""
    for name, weight in vit.named_parameters():
        if name.endswith(("norm_queries.weight", "norm_keys.weight")):
            weight.data.fill_(by)


def rows_of(eye: RowEye, px: int) -> Callable[[Tensor], Tensor]:
    """What a decoder would read of the tokens of square pictures."""
    side = px // eye.vit.config.patch_px
    return lambda tokens: eye.projector(tokens, side, side)


def measure(
    eye: Eye, base: Vit, tower: RowEye, frames: int, rounds: int, base_frames: int, tower_frames: int, tower_px: int,
    unrefreshed: int = 500,
) -> dict[str, Any]:  # fmt: skip
    vit, px = eye.vit, eye.config.vit.image_px
    clips = {"static": static(px, frames), "talking": talking(px, frames), "moving": moving(px, frames // 2)}
    nano = {name: timed(vit, eye.head, clip, rounds) for name, clip in clips.items()}
    base_clip = talking(base.config.image_px, base_frames)
    vit_b16 = timed(base, same, base_clip, 1)
    tower_clip, rows = talking(tower_px, tower_frames), rows_of(tower, tower_px)
    gemma = timed(tower.vit, rows, tower_clip, 1)
    gemma_cosine = likeness(tower.vit, [tower_clip[:5]], rows)[0]
    gains(tower.vit, 1.0)
    sharp = timed(tower.vit, rows, tower_clip[:4], 1)
    sharp |= {"cosine_min": round(likeness(tower.vit, [tower_clip[:4]], rows)[0], 5)}
    tables = [alive(frames, 100 + seed)[0] for seed in range(3)]
    cosine, worst_token = likeness(vit, [*clips.values(), *tables])
    return {
        "static_speedup": nano["static"]["speedup"],
        "talking_speedup": nano["talking"]["speedup"],
        "talking_speedup_vit_b16": vit_b16["speedup"],
        "moving_speedup": nano["moving"]["speedup"],
        "cosine_min": round(cosine, 5),
        "threshold0_max_abs": threshold0(vit, unrefreshed),
        "gemma4_speedup": gemma["speedup"],
        "gemma4_cosine": round(gemma_cosine, 5),
        "detail": {
            "random_weights": ["talking_speedup_vit_b16", "gemma4_speedup", "gemma4_cosine"],
            "clips": nano,
            "vit_b16": vit_b16 | {"cosine_min_random_weights": round(likeness(base, [base_clip[:5]])[0], 5)},
            "gemma4": gemma | {"picture_px": tower_px},
            "gemma4_sharp": sharp,
            "cosine_worst_token": round(worst_token, 5),
            "readings": readings(eye, 3, frames),
        },
    }


def run(weights: str | Path | None = None) -> dict[str, Any]:
    """Measure on one thread; `detail.trained` says whether nano's eye is trained."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        eye, trained = weights_at(weights)
        torch.manual_seed(1)
        base = Vit(VIT_B16).eval()
        tower = gemma4()
        for net in (eye, base, tower):  # as a session runs them, dense and gated alike
            sort_weights(net.requires_grad_(False))
        with torch.inference_mode():
            found = measure(eye, base, tower, 101, 5, 51, 13, 384)
        found["detail"]["trained"] = trained
        return found
    finally:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", help="an eye.safetensors; nano's own where none is given")
    print(run(parser.parse_args().weights))
