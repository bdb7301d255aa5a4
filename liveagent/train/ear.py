"""Trains the ear, measures it and exports it.

    python -m liveagent.train.ear train --data DIR --out DIR --minutes 120     # goes on from DIR/last.pt if there
    python -m liveagent.train.ear evaluate --data DIR --weights EAR.safetensors
    python -m liveagent.train.ear export --out DIR --to EAR.safetensors

The learning rate follows a cosine in *spent time*, so a run that shares its machine still comes to rest when it should;
a resumed run counts on from what it had spent. The loss is CTC, with frame labels from the synthesiser's word times at
the start (plain CTC stays on blanks for long) and with CTC on a middle layer all along.
"""

from __future__ import annotations

import argparse
import copy
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as fn

from liveagent.errors import ConfigError
from liveagent.nn.ear import Ear, EarConfig
from liveagent.nn.pieces import Pieces
from liveagent.train.batches import Batch, Batches
from liveagent.train.speech import Shards, pieces_file
from liveagent.train.voices import HELD_OUT


def greedy(logp: Tensor, pieces: Pieces) -> str:
    """The text of one clip's [T, V] by best path: repeats merged, blanks dropped."""
    best = logp.argmax(-1).tolist()
    return pieces.decode([i for i, before in zip(best, [0, *best], strict=False) if i != before and i != 0])


def edits(said: list[str], heard: list[str]) -> int:
    """Words to insert, delete or replace."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


@torch.no_grad()
def evaluate(
    ear: Ear, pieces: Pieces, data: Path, noise_db: float | None = None, every: int = 1
) -> dict[str, tuple[float, float]]:
    """Word errors in percent, per test voice as (commands, other text), and their means over held-out and seen voices.

    `noise_db`: add noise at this ratio; `every`: use only each n-th utterance.
    """
    was, rng = ear.training, np.random.default_rng(5)
    ear.eval()
    shards = Shards(data, "test")
    shards.refresh()
    counts: dict[str, list[int]] = {}
    places: dict[str, int] = {}
    for row in shards.rows:
        voice = "espeak" if row.voice.startswith("espeak") else row.voice
        places[voice] = places.get(voice, -1) + 1
        if places[voice] % every:
            continue
        x = shards.samples(row) * 0.6
        if noise_db is not None:
            level = math.sqrt(float((x**2).mean())) * 10 ** (-noise_db / 20)
            x = np.pad(x, (4800, 11200)) + 0
            tint = np.convolve(rng.standard_normal(len(x)), np.ones(3) / math.sqrt(3), "same")
            x = x + tint * level
        else:
            x = np.pad(x, (4800, 11200))
        x = np.pad(x, (0, -len(x) % ear.block_samples)).astype(np.float32)
        text = greedy(ear(torch.from_numpy(x)[None]).logp[0], pieces)
        free = 2 * (places[voice] >= 24)
        tally = counts.setdefault(voice, [0, 0, 0, 0])
        tally[free] += edits(row.text.split(), text.split())
        tally[free + 1] += len(row.text.split())
    ear.train(was)
    groups = {voice: [voice] for voice in counts}
    groups["held_out"] = [v for v in counts if v in HELD_OUT]
    groups["seen"] = [v for v in counts if v not in HELD_OUT]

    def percent(voices: list[str], i: int) -> float:
        return round(100 * sum(counts[v][i] for v in voices) / max(1, sum(counts[v][i + 1] for v in voices)), 1)

    return {name: (percent(voices, 0), percent(voices, 2)) for name, voices in groups.items()}


class Trainer:
    """One training run in a folder: `last.pt` to go on from, `ear.safetensors` to use, `log.txt` to read."""

    def __init__(
        self, data: Path, out: Path, config: EarConfig, seed: int, peak: float, report: Callable[[str], object] = str
    ) -> None:
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        self.data, self.out, self.peak, self.seed, self.report = data, out, peak, seed, report
        self.pieces = Pieces.load(pieces_file())
        self.config = replace(config, pieces=self.pieces.ear_vocab, pieces_hash=self.pieces.hash)
        self.ear = Ear(self.config, dropout=0.05)
        self.mean = copy.deepcopy(self.ear).eval()  # the running average of the weights, which is what ships
        decay = [p for p in self.ear.parameters() if p.dim() > 1]
        plain = [p for p in self.ear.parameters() if p.dim() <= 1]
        groups = [{"params": decay, "weight_decay": 0.02}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), eps=1e-8, foreach=True)
        self.steps, self.spent_s, self.best = 0, 0.0, math.inf
        if (out / "last.pt").exists():
            saved = torch.load(out / "last.pt", weights_only=True)
            self.ear.load_state_dict(saved["ear"])
            self.mean.load_state_dict(saved["mean"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.steps, self.spent_s, self.best = saved["steps"], saved["spent_s"], saved["best"]

    def say(self, text: str) -> None:
        """Write a line to the log and report it."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self.report(line)
        with open(self.out / "log.txt", "a") as f:
            f.write(line + "\n")

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights for use; whole or not at all."""
        state = {"ear": self.ear.state_dict(), "mean": self.mean.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state | {"steps": self.steps, "spent_s": self.spent_s, "best": self.best}, self.out / "last.part")
        os.replace(self.out / "last.part", self.out / "last.pt")
        self.mean.save(self.out / "ear.part")
        os.replace(self.out / "ear.part", self.out / "ear.safetensors")

    def loss(self, batch: Batch, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The loss to descend and its parts."""
        with torch.autocast("cpu", torch.bfloat16):
            heard, middle = self.ear.hear(batch.mel, tap=self.config.layers // 2)
        assert middle is not None
        tokens = torch.full((len(batch.mel),), heard.logp.shape[1])
        parts = {}
        for name, logp in (("ctc", heard.logp), ("mid", middle)):
            parts[name] = fn.ctc_loss(
                logp.transpose(0, 1), batch.targets, tokens, batch.lengths, reduction="sum", zero_infinity=True
            ) / batch.lengths.sum().clamp_min(1)
        parts["kind"] = fn.cross_entropy(heard.kind.flatten(0, 1), batch.kinds.flatten())
        total = parts["ctc"] + 0.3 * parts["mid"] + 0.3 * parts["kind"]
        guided = max(0.0, 1.0 - progress / 0.15)
        if guided > 0:
            weight = torch.ones(self.config.pieces)
            weight[0] = 0.3  # most tokens are blank
            parts["frame"] = fn.nll_loss(heard.logp.flatten(0, 1), batch.labels.flatten(), weight)
            parts["frame"] = parts["frame"] + fn.nll_loss(middle.flatten(0, 1), batch.labels.flatten(), weight)
            total = (1 - 0.8 * guided) * total + 2 * guided * parts["frame"]
        return total, {k: float(v.detach()) for k, v in parts.items()}

    def run(self, end_s: float, size: int, save_every_s: float = 240.0) -> None:
        """Train until the clock (`time.time`) says `end_s`; SIGTERM saves and ends."""
        batches = Batches(self.data, pieces_file(), self.seed + self.steps, size=size)
        self.ear.train()
        began, before = time.time(), self.spent_s
        saved, mark, count = began, began, 0
        sums: dict[str, float] = {}
        whole = before + end_s - began
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
        while time.time() < end_s and not told:
            progress = min(1.0, self.spent_s / whole)
            batches.set_hard(min(1.0, max(0.0, (progress - 0.06) / 0.25)))
            cosine = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
            rate = self.peak * min(1.0, (self.steps + 1) / 200) * cosine
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            batch = batches.next()
            total, parts = self.loss(batch, progress)
            self.optimizer.zero_grad(set_to_none=True)
            total.backward()
            norm = float(torch.nn.utils.clip_grad_norm_(self.ear.parameters(), 2.0))
            if math.isfinite(norm):
                self.optimizer.step()
            self.steps += 1
            with torch.no_grad():
                keep = min(0.998, self.steps / (self.steps + 50))
                for old, new in zip(self.mean.parameters(), self.ear.parameters(), strict=True):
                    old.lerp_(new, 1 - keep)
            count += 1
            for k, v in (parts | {"norm": norm}).items():
                sums[k] = sums.get(k, 0.0) + v
            self.spent_s = before + time.time() - began
            if self.steps % 50 == 0:
                text = " ".join(f"{k} {v / count:.3f}" for k, v in sums.items())
                pace = count / (time.time() - mark)
                self.say(f"step {self.steps} {100 * progress:.1f}% lr {rate:.5f} {text} | {pace:.2f} steps/s")
                sums, count, mark = {}, 0, time.time()
            if time.time() - saved > save_every_s:
                self.check()
                saved = mark = time.time()
                sums, count = {}, 0
        batches.close()
        if told:
            self.save()
        else:
            self.check(every=1)

    def check(self, every: int = 2) -> None:
        """Measure the averaged weights, log, save; keep the best by held-out errors as `best.safetensors` too."""
        found = evaluate(self.mean, self.pieces, self.data, every=every)
        self.say("WER (commands, other) " + " ".join(f"{k}={v}" for k, v in found.items()))
        score = sum(found["held_out"])
        if score < self.best:
            self.best = score
            self.mean.save(self.out / "best.safetensors")
        self.save()


def export(out: Path, to: Path, best: bool = False) -> None:
    """Write the trained ear of a run's folder to `to`: the last average, or the best by held-out errors.

    Raises:
        ConfigError: the run has written nothing yet.
    """
    Ear.load(out / ("best.safetensors" if best else "ear.safetensors")).save(to)


def main(report: Callable[[str], object]) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "evaluate", "export"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--best", action="store_true")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--until", help="HH:MM, instead of --minutes")
    parser.add_argument("--size", type=int, default=12, help="scenes of 8 s in a batch")
    parser.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    torch.set_num_threads(1)
    if o.what == "train":
        if o.data is None or o.out is None:
            raise ConfigError("train needs --data and --out")
        end_s = time.time() + 60 * o.minutes
        if o.until:
            end_s = time.mktime(time.strptime(time.strftime("%Y-%m-%d ") + o.until, "%Y-%m-%d %H:%M"))
        Trainer(o.data, o.out, EarConfig(pieces=0), o.seed, o.peak, report).run(end_s, o.size)
    elif o.what == "evaluate":
        ear, pieces = Ear.load(o.weights), Pieces.load(pieces_file())
        for noise in (None, 10.0, 5.0):
            found = evaluate(ear, pieces, o.data, noise)
            report(f"{'clean' if noise is None else f'{noise} dB'} {found}")
    else:
        export(o.out, o.to, o.best)


if __name__ == "__main__":
    main(print)
