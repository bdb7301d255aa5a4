"""Trains the finder on pictures of the simulated arm's table, measures it and exports it.

    python -m liveagent.train.finder train --out DIR --minutes 25        # goes on from DIR/last.pt if there
    python -m liveagent.train.finder evaluate --weights FINDER.safetensors
    python -m liveagent.train.finder export --out DIR --to FINDER.safetensors

Everything happens in one thread of one process. Each step takes a few new shots (liveagent/train/shots.py), each from
its own seed, and learns from those and from some of the last thousands, mirrored now and then. The learning rate
follows a cosine in spent time; what ships is the running average of the weights.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as fn

from liveagent.clients.arm.scene import HELD_OUT
from liveagent.errors import ConfigError
from liveagent.nn.finder import Finder, FinderConfig
from liveagent.sight import COLOURS
from liveagent.train.shots import Shot, Studio

FRESH, KEPT = 8, 5000
"""New shots in a step, and how many are kept in memory to learn from again."""
GRID = 32
NEAR_M = 0.02
"""A thing found nearer than this to where it is counts as found."""


def targets(shot: Shot, kinds: Sequence[str], mirrored: bool = False) -> dict[str, np.ndarray]:
    """`heat` [K, G, G] from 0 to 1, `known` [G, G] whether anybody may be asked there; and for cells that hold a middle
    or touch one that does, first of what stands, then of trays: `colour` [2, G, G], `where` and `turn` [2, 2, G, G],
    `here` [2, G, G] whether there is one, `sided` [2, G, G] whether it has sides."""
    heat = np.zeros((len(kinds), GRID, GRID), np.float32)
    known = np.ones((GRID, GRID), np.float32)
    colour = np.zeros((2, GRID, GRID), np.int64)
    where, turn = np.zeros((2, 2, 2, GRID, GRID), np.float32)
    here, sided = np.zeros((2, 2, GRID, GRID), np.float32)
    rows, cols = np.mgrid[0:GRID, 0:GRID] + 0.5
    for u, v in shot.doubtful:
        u = 1 - u if mirrored else u
        known[(rows - v * GRID) ** 2 + (cols - u * GRID) ** 2 < 6] = 0
    for item, u, v, angle in shot.items:
        u, angle = (1 - u, -angle) if mirrored else (u, angle)
        d2 = (rows - v * GRID) ** 2 + (cols - u * GRID) ** 2
        kind = kinds.index(item.kind)
        heat[kind] = np.maximum(heat[kind], np.exp(-d2 / (2 * 0.7**2)))
        row, col = min(GRID - 1, int(v * GRID)), min(GRID - 1, int(u * GRID))
        heat[kind, row, col] = 1.0
        near = d2 < 1.0
        near[row, col] = True
        of = int(item.kind == "tray")
        colour[of][near] = item.colour
        where[of, 0][near], where[of, 1][near] = u * GRID - cols[near], v * GRID - rows[near]
        turn[of, 0][near], turn[of, 1][near] = math.cos(4 * angle), math.sin(4 * angle)
        here[of][near], sided[of][near] = 1.0, float(item.kind in ("cube", "tray"))
    return {"heat": heat, "known": known, "colour": colour, "where": where, "turn": turn, "here": here, "sided": sided}


def losses(maps: Tensor, want: dict[str, Tensor], kinds: int) -> dict[str, Tensor]:
    """The parts of the loss. Heat is learnt by the focal loss of keypoints (Zhou et al. 2019)."""
    logits, heat, known = maps[:, :kinds], want["heat"], want["known"][:, None]
    chance = logits.sigmoid()
    there = (heat >= 1.0).float()
    hit = there * (1 - chance) ** 2 * fn.logsigmoid(logits)
    miss = (1 - there) * (1 - heat) ** 4 * chance**2 * fn.logsigmoid(-logits)
    many = there.sum().clamp_min(1)
    here = want["here"].sum().clamp_min(1)
    each = maps[:, kinds:].unflatten(1, (2, -1))
    colours, where, turn = each.split((len(COLOURS), 2, 2), dim=2)
    named = fn.cross_entropy(colours.transpose(1, 2), want["colour"], reduction="none")
    off = fn.smooth_l1_loss(where, want["where"], reduction="none", beta=0.1).sum(2)
    bent = fn.smooth_l1_loss(turn, want["turn"], reduction="none", beta=0.3).sum(2)
    return {
        "heat": -((hit + miss) * known).sum() / many,
        "colour": (named * want["here"]).sum() / here,
        "where": (off * want["here"]).sum() / here,
        "turn": (bent * want["sided"]).sum() / want["sided"].sum().clamp_min(1),
    }


SHARES = {"heat": 1.0, "colour": 0.7, "where": 2.0, "turn": 0.5}


def score(finder: Finder, studio: Studio, count: int, first: int = HELD_OUT) -> dict[str, float]:
    """On scenes that no training sees, with a camera's faults: `found` things of all there are, `false` ones of all
    that were found, `colour` right of those found, `off_mm` how far off, `turn_deg` how wrong (cubes)."""
    there = found_right = colour_right = said = 0
    off: list[float] = []
    bent: list[float] = []
    for seed in range(first, first + count):
        shot = studio.shot(seed)
        found = finder.find(shot.pixels, studio.view)
        said += len(found)
        for item, *_, angle in shot.items:
            there += 1
            mine = [(math.hypot(f.x - item.x, f.y - item.y), f) for f in found if f.kind == item.kind]
            away_m, best = min(mine, key=lambda each: each[0], default=(math.inf, None))
            if best is None or away_m > NEAR_M:
                continue
            found_right += 1
            colour_right += best.colour == item.colour
            off.append(1000 * away_m)
            if item.kind == "cube":
                bent.append(abs(math.degrees(math.remainder(best.turn - angle, math.pi / 2))))
    return {
        "found": found_right / max(1, there),
        "false": (said - found_right) / max(1, said),
        "colour": colour_right / max(1, found_right),
        "off_mm": float(np.mean(off or [math.nan])),
        "off_mm_p99": float(np.percentile(off or [math.nan], 99)),
        "turn_deg": float(np.mean(bent or [math.nan])),
    }


class Trainer:
    """One training run in a folder: `last.pt` to go on from, `finder.safetensors` to use, `log.txt` to read."""

    def __init__(
        self, out: Path, config: FinderConfig, seed: int, peak: float, report: Callable[[str], object] = str
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        self.out, self.peak, self.report = out, peak, report
        self.finder = Finder(config)
        self.mean = copy.deepcopy(self.finder).eval()  # the running average of the weights, which is what ships
        flat = [p for p in self.finder.parameters() if p.dim() <= 1]
        rest = [p for p in self.finder.parameters() if p.dim() > 1]
        groups = [{"params": rest, "weight_decay": 0.02}, {"params": flat, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98))
        self.steps, self.spent_s, self.next = 0, 0.0, seed << 24
        self.studio = Studio()
        self.pool: list[Shot] = []
        self.rng = np.random.default_rng(seed)
        if (out / "last.pt").exists():
            saved = torch.load(out / "last.pt", weights_only=True)
            self.finder.load_state_dict(saved["finder"])
            self.mean.load_state_dict(saved["mean"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.steps, self.spent_s, self.next = saved["steps"], saved["spent_s"], saved["next"]

    def say(self, text: str) -> None:
        """Write a line to the log and report it."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self.report(line)
        with open(self.out / "log.txt", "a") as f:
            f.write(line + "\n")

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights for use; whole or not at all."""
        state = {"finder": self.finder.state_dict(), "mean": self.mean.state_dict()}
        more = {"steps": self.steps, "spent_s": self.spent_s, "next": self.next}
        torch.save({**state, **more, "optimizer": self.optimizer.state_dict()}, self.out / "last.part")
        os.replace(self.out / "last.part", self.out / "last.pt")
        self.mean.save(self.out / "finder.part")
        os.replace(self.out / "finder.part", self.out / "finder.safetensors")

    def batch(self, size: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Fresh shots, and some of those before."""
        for _ in range(FRESH):
            self.pool.append(self.studio.shot(self.next))
            self.next += 1
        del self.pool[:-KEPT]
        old = self.rng.integers(len(self.pool), size=size - FRESH)
        shots = [*self.pool[-FRESH:], *(self.pool[int(at)] for at in old)]
        mirrored = self.rng.random(size) < 0.5
        made = [targets(s, self.finder.config.kinds, bool(m)) for s, m in zip(shots, mirrored, strict=True)]
        pixels = np.stack([s.pixels[:, ::-1] if m else s.pixels for s, m in zip(shots, mirrored, strict=True)])
        want = {key: torch.from_numpy(np.stack([each[key] for each in made])) for key in made[0]}
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), want

    def run(self, end_s: float, size: int, check_every_s: float = 240.0) -> None:
        """Train until the clock (`time.time`) says `end_s`; SIGTERM saves and ends."""
        began, before = time.time(), self.spent_s
        whole, checked = before + end_s - began, began
        sums: dict[str, float] = {}
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
        kinds = len(self.finder.config.kinds)
        self.finder.train()
        while time.time() < end_s and not told:
            progress = min(1.0, self.spent_s / whole)
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
            rate = self.peak * min(1.0, (self.steps + 1) / 100) * cosine
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            pixels, want = self.batch(size)
            with torch.autocast("cpu", torch.bfloat16):
                maps = self.finder(pixels)
            parts = losses(maps.float(), want, kinds)
            total = torch.stack([SHARES[name] * part for name, part in parts.items()]).sum()
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(self.finder.parameters(), 5.0))
            if math.isfinite(norm):
                self.optimizer.step()
            self.steps += 1
            with torch.no_grad():
                keep = min(0.995, self.steps / (self.steps + 20))
                new = self.finder.state_dict()
                for name, old in self.mean.state_dict().items():
                    old.lerp_(new[name], 1 - keep) if old.is_floating_point() else old.copy_(new[name])
            for name, part in (*parts.items(), ("norm", torch.tensor(norm))):
                sums[name] = sums.get(name, 0.0) + float(part.detach())
            self.spent_s = before + time.time() - began
            if self.steps % 50 == 0:
                text = " ".join(f"{k} {v / 50:.4f}" for k, v in sums.items())
                self.say(f"step {self.steps} {100 * progress:.1f}% {text} | {self.spent_s:.0f} s")
                sums = {}
            if time.time() - checked > check_every_s:
                self.check(100)
                checked = time.time()
        self.save() if told else self.check(400)

    def check(self, count: int) -> None:
        """Measure the averaged weights, log, save."""
        found = score(self.mean, self.studio, count)
        self.say("held out: " + " ".join(f"{k} {v:.4f}" for k, v in found.items()))
        self.save()


def main(report: Callable[[str], object]) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "evaluate", "export"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--size", type=int, default=32, help="shots in a step")
    parser.add_argument("--peak", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="held-out scenes to evaluate")
    o = parser.parse_args()
    torch.set_num_threads(1)
    if o.what == "evaluate":
        found = score(Finder.load(o.weights), Studio(), o.count, HELD_OUT + (1 << 20))
        report(" ".join(f"{k} {v:.4f}" for k, v in found.items()))
        return
    if o.out is None:
        raise ConfigError(f"{o.what} needs --out, the folder of the run")
    if o.what == "train":
        Trainer(o.out, FinderConfig(), o.seed, o.peak, report).run(time.time() + 60 * o.minutes, o.size)
    else:
        Finder.load(o.out / "finder.safetensors").save(o.to)


if __name__ == "__main__":
    main(print)
