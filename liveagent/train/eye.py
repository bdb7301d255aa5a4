"""Trains the eye on drawn scenes, measures it and exports it.

    python -m liveagent.train.eye train --out DIR --minutes 60        # goes on from DIR/last.pt if there
    python -m liveagent.train.eye evaluate --weights EYE.safetensors
    python -m liveagent.train.eye export --out DIR --to EYE.safetensors

Another process draws (liveagent/train/scenes.py), each scene from its own seed; nothing is kept on disk. The learning
rate follows a cosine in spent time, as the ear's does. Matrices of the transformer learn by Muon (Jordan et al. 2024;
`torch.optim.Muon`), everything else by AdamW. Beside the sight's own losses each patch learns which thing shows in it:
without that, shapes come late. Those labels' head is not part of the eye.
"""

from __future__ import annotations

import argparse
import copy
import math
import multiprocessing as mp
import os
import queue
import signal
import time
from collections.abc import Callable
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.sight import COLOUR, COLOURS, COUNT, OTHER, PLACE, SHAPE, SHAPES
from liveagent.train.scenes import HELD_OUT, Scene, label, scene

Arrays: TypeAlias = dict[str, NDArray[np.generic]]
KEPT = 250
"""Batches kept in memory, to learn from again while the drawing falls behind."""


def patch_labels(shot: Scene, patch_px: int = 16) -> NDArray[np.int64]:
    """`[N, 2]` colour and shape of the thing that shows most in a patch, counted from 1; 0 none, -100 hardly one."""
    side = len(shot.owner) // patch_px
    cut = shot.owner.reshape(side, patch_px, side, patch_px).transpose(0, 2, 1, 3).reshape(side * side, -1)
    found = np.zeros((side * side, 2), np.int64)
    if shot.things:
        shares = np.stack([(cut == i).sum(axis=1) for i in range(len(shot.things))], axis=1)
        most, share = shares.argmax(axis=1), shares.max(axis=1)
        found[:, 0] = np.array([t.colour for t in shot.things])[most] + 1
        found[:, 1] = np.array([t.shape for t in shot.things])[most] + 1
        found[share < 0.12 * patch_px**2] = -100
        found[share < 4] = 0
    return found


def batch_of(seeds: range) -> Arrays:
    """Scenes as arrays: `pixels` [B, 3, px, px] uint8, `sight` [B, 16, 20], `patch` [B, N, 2], `weight` and `count`
    [B]."""
    shots = [scene(seed) for seed in seeds]
    return {
        "pixels": np.stack([s.pixels.transpose(2, 0, 1) for s in shots]),
        "sight": np.stack([label(s.things, s.other) for s in shots]),
        "patch": np.stack([patch_labels(s) for s in shots]),
        "weight": np.array([s.weight for s in shots], np.float32),
        "count": np.array([len(s.things) for s in shots]),
    }


def _draw(out: Queue[Arrays], first: int, size: int) -> None:
    """The drawing process: batches of fresh seeds for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(4)
    for seed in range(first, HELD_OUT, size):
        out.put(batch_of(range(seed, seed + size)))


class Drawn:
    """Batches from a drawing process; when none is ready, one of those before again. `drawn`: scenes so far."""

    def __init__(self, first: int, size: int) -> None:
        context = mp.get_context("spawn")
        self.size, self.drawn, self._rng = size, 0, np.random.default_rng(first)
        self._ready: Queue[Arrays] = context.Queue(16)
        self._kept: list[Arrays] = []
        self._process = context.Process(target=_draw, args=(self._ready, first, size), daemon=True)
        self._process.start()

    def next(self) -> Arrays:
        """A batch."""
        try:
            batch = self._ready.get(block=len(self._kept) < 8)
        except queue.Empty:
            return self._kept[int(self._rng.integers(len(self._kept)))]
        self.drawn += self.size
        self._kept = [*self._kept[-KEPT + 1 :], batch]
        return batch

    def close(self) -> None:
        """End the drawing."""
        self._process.terminate()
        self._process.join()


def losses(logits: Tensor, sight: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """The parts of the loss: `logits` and `sight` `[B, 16, 20]`, `weight` `[B]` of whether it is a table."""
    there = 1 - sight[..., 0]
    total = there.sum().clamp_min(1)
    log_count = logits[..., COUNT].log_softmax(-1)
    parts = {"count": (-(sight[..., COUNT] * log_count).sum(-1) * (1 + 2 * sight[..., 2])).mean()}
    more = log_count.exp() - sight[..., COUNT]
    many = (more[..., 1] + 2 * more[..., 2]).sum(dim=1)  # so that cells agree about a thing between them
    parts["sum"] = fn.huber_loss(many, torch.zeros_like(many), delta=0.5)
    for name, part in (("colour", COLOUR), ("shape", SHAPE)):
        parts[name] = (-(sight[..., part] * logits[..., part].log_softmax(-1)).sum(-1) * there).sum() / total
    place = fn.huber_loss(logits[..., PLACE].tanh(), sight[..., PLACE], reduction="none", delta=0.2).sum(-1)
    parts["place"] = (place * there).sum() / total
    other = fn.binary_cross_entropy_with_logits(logits[:, 0, OTHER], sight[:, 0, OTHER], reduction="none")
    parts["other"] = (other * weight).mean()
    return parts


SHARES = {"count": 4.0, "sum": 0.6, "colour": 1.0, "shape": 1.0, "place": 2.0, "other": 1.0, "patch": 0.5}
"""What each part counts in the whole."""


def held_out(count: int, first: int = HELD_OUT) -> list[Arrays]:
    """Scenes that no training sees."""
    return [batch_of(range(at, min(at + 50, first + count))) for at in range(first, first + count, 50)]


@torch.no_grad()
def evaluate(eye: Eye, batches: list[Arrays]) -> dict[str, float]:
    """Shares of 1: `exact` pictures whose number of things is right, `f1` of cells that hold one, `colour` and `shape`
    where one thing is, `place_px` mean error, `other` pictures rightly called a table or not."""
    sight = torch.cat([eye.sight(torch.from_numpy(batch["pixels"])) for batch in batches])
    truth, weight, count = (
        torch.from_numpy(np.concatenate([b[k] for b in batches])) for k in ("sight", "weight", "count")
    )
    return score(sight, truth, weight, count)


def score(sight: Tensor, truth: Tensor, weight: Tensor, count: Tensor) -> dict[str, float]:
    """The figures of `evaluate` from sights and labels `[S, 16, 20]`, weights and counts `[S]`."""
    table = truth[:, 0, OTHER] < 0.5
    found = (sight[..., 1] + 2 * sight[..., 2]).sum(dim=1).round()
    seen, there = sight[..., 0] < 0.5, truth[..., 0] < 0.5
    hit = float((seen & there)[table].sum())
    one = truth[..., 1] > 0.75
    off = (sight[..., PLACE] - truth[..., PLACE])[one].norm(dim=-1) * 16
    right = ((sight[:, 0, OTHER] > 0.5) == (truth[:, 0, OTHER] > 0.5))[weight > 0]
    return {
        "exact": float((found == count)[table].float().mean()),
        "f1": 2 * hit / max(1.0, float(seen[table].sum() + there[table].sum())),
        "colour": float((sight[..., COLOUR].argmax(-1) == truth[..., COLOUR].argmax(-1))[one].float().mean()),
        "shape": float((sight[..., SHAPE].argmax(-1) == truth[..., SHAPE].argmax(-1))[one].float().mean()),
        "place_px": float(off.mean()),
        "other": float(right.float().mean()),
    }


class Trainer:
    """One training run in a folder: `last.pt` to go on from, `eye.safetensors` to use, `log.txt` to read."""

    def __init__(
        self, out: Path, config: EyeConfig, seed: int, peak: float, report: Callable[[str], object] = str
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        self.out, self.peak, self.report = out, peak, report
        self.eye = Eye(config)
        self.patch = nn.Linear(config.vit.width, 2 + len(COLOURS) + len(SHAPES))
        self.mean = copy.deepcopy(self.eye).eval()  # the running average of the weights, which is what ships
        matrices = [p for name, p in self.eye.named_parameters() if ".blocks." in name and p.dim() == 2]
        chosen = {id(p) for p in matrices}
        rest = [p for p in [*self.eye.parameters(), *self.patch.parameters()] if id(p) not in chosen]
        groups = [
            {"params": [p for p in rest if p.dim() > 1], "weight_decay": 0.02},
            {"params": [p for p in rest if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.Muon(matrices, lr=peak, weight_decay=0.02, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), eps=1e-8, foreach=True),
        ]
        self.held: list[Arrays] = []
        self.steps, self.spent_s, self.drawn = 0, 0.0, seed << 24
        if (out / "last.pt").exists():
            saved = torch.load(out / "last.pt", weights_only=True)
            self.eye.load_state_dict(saved["eye"])
            self.mean.load_state_dict(saved["mean"])
            self.patch.load_state_dict(saved["patch"])
            for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(state)
            self.steps, self.spent_s, self.drawn = saved["steps"], saved["spent_s"], saved["drawn"]

    def say(self, text: str) -> None:
        """Write a line to the log and report it."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self.report(line)
        with open(self.out / "log.txt", "a") as f:
            f.write(line + "\n")

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights for use; whole or not at all."""
        state = {"eye": self.eye.state_dict(), "mean": self.mean.state_dict(), "patch": self.patch.state_dict()}
        more = {"steps": self.steps, "spent_s": self.spent_s, "drawn": self.drawn}
        optimizers = {"optimizers": [o.state_dict() for o in self.optimizers]}
        torch.save(state | more | optimizers, self.out / "last.part")
        os.replace(self.out / "last.part", self.out / "last.pt")
        self.mean.save(self.out / "eye.part")
        os.replace(self.out / "eye.part", self.out / "eye.safetensors")

    def loss(self, batch: Arrays) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts."""
        pixels, sight, patch, weight = (torch.from_numpy(batch[k]) for k in ("pixels", "sight", "patch", "weight"))
        with torch.autocast("cpu", torch.bfloat16):
            tokens = self.eye.vit(pixels)
            logits = self.eye.head(tokens)
            shows = self.patch(tokens)
        parts = losses(logits.float(), sight, weight)
        colour, shape = shows.float().split((1 + len(COLOURS), 1 + len(SHAPES)), dim=-1)
        parts["patch"] = fn.cross_entropy(colour.flatten(0, 1), patch[..., 0].flatten())
        parts["patch"] = parts["patch"] + fn.cross_entropy(shape.flatten(0, 1), patch[..., 1].flatten())
        total = torch.stack([SHARES[name] * part for name, part in parts.items()]).sum()
        return total, {k: float(v.detach()) for k, v in parts.items()}

    def run(self, end_s: float, size: int, check_every_s: float = 180.0) -> None:
        """Train until the clock (`time.time`) says `end_s`; SIGTERM saves and ends."""
        drawing = Drawn(self.drawn, size)
        began, before, first = time.time(), self.spent_s, self.drawn
        checked, mark, count = began, began, 0
        sums: dict[str, float] = {}
        whole = before + end_s - began
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
        parameters = [*self.eye.parameters(), *self.patch.parameters()]
        while time.time() < end_s and not told:
            progress = min(1.0, self.spent_s / whole)
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
            rate = self.peak * min(1.0, (self.steps + 1) / 150) * cosine
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate
            total, parts = self.loss(drawing.next())
            for optimizer in self.optimizers:
                optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, 2.0))
            if math.isfinite(norm):
                for optimizer in self.optimizers:
                    optimizer.step()
            self.steps, count = self.steps + 1, count + 1
            with torch.no_grad():
                keep = min(0.998, self.steps / (self.steps + 50))
                for old, new in zip(self.mean.parameters(), self.eye.parameters(), strict=True):
                    old.lerp_(new, 1 - keep)
            for k, v in (parts | {"norm": norm}).items():
                sums[k] = sums.get(k, 0.0) + v
            self.spent_s, self.drawn = before + time.time() - began, first + drawing.drawn
            if self.steps % 50 == 0:
                text = " ".join(f"{k} {v / count:.3f}" for k, v in sums.items())
                pace = count * size / (time.time() - mark)
                fresh = self.drawn & ((1 << 24) - 1)
                self.say(f"step {self.steps} {100 * progress:.1f}% {text} | {pace:.0f} scenes/s, {fresh} drawn")
                sums, count, mark = {}, 0, time.time()
            if time.time() - checked > check_every_s:
                self.check()
                checked = mark = time.time()
                sums, count = {}, 0
        drawing.close()
        self.save() if told else self.check()

    def check(self) -> None:
        """Measure the averaged weights, log, save."""
        self.held = self.held or held_out(1000)
        found = evaluate(self.mean, self.held)
        self.say("held out: " + " ".join(f"{k} {v:.3f}" for k, v in found.items()))
        self.save()


def main(report: Callable[[str], object]) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "evaluate", "export"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--until", help="HH:MM, instead of --minutes")
    parser.add_argument("--size", type=int, default=32, help="scenes in a batch")
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=4000, help="held-out scenes to evaluate")
    o = parser.parse_args()
    torch.set_num_threads(1)
    if o.what == "evaluate":
        found = evaluate(Eye.load(o.weights), held_out(o.count, HELD_OUT + (1 << 20)))
        report(" ".join(f"{k} {v:.4f}" for k, v in found.items()))
        return
    if o.out is None:
        raise ConfigError(f"{o.what} needs --out, the folder of the run")
    if o.what == "train":
        end_s = time.time() + 60 * o.minutes
        if o.until:
            end_s = time.mktime(time.strptime(time.strftime("%Y-%m-%d ") + o.until, "%Y-%m-%d %H:%M"))
        Trainer(o.out, EyeConfig(), o.seed, o.peak, report).run(end_s, o.size)
    else:
        Eye.load(o.out / "eye.safetensors").save(o.to)


if __name__ == "__main__":
    main(print)
