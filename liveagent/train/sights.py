"""Readings of a trained eye, for a decoder to learn from: drawn tables photographed, and what the eye said of them.

    python -m liveagent.train.sights --weights EYE.safetensors --out DIR --count 60000
    python -m liveagent.train.sights --weights EYE.safetensors --out DIR --count 4000 --held-out
    python -m liveagent.train.sights --weights EYE.safetensors --measure 2000

Files `pool-NNN.npz` (`held-out-NNN.npz`), each whole or not there at all, of SHARE pictures:

    things  [S, 8, 5] float32   colour, shape, x, y, size of what can be seen; x, y of the centre, 0 to 1; rest 0
    n       [S] int8            how many of them
    other   [S] int8            1: no toy table
    sight   [S, 16, 20] float16 what the eye said
    row     [S] int32           pictures of one row follow each other on one table, ROW of them; -1 for other pictures

Between two pictures of a row something came, left or moved, or all is new. A third of the rows is drawn clean, as the
toy table shows itself; the rest by cameras from good to bad.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from liveagent.nn.eye import Eye
from liveagent.sight import CELLS, COLOUR, COUNT, OTHER, PLACE, SHAPE, WIDTH
from liveagent.table import Surface, Table, Thing
from liveagent.train.glances import changed_scene, random_scene
from liveagent.train.scene_words import Scene as Words
from liveagent.train.scenes import HELD_OUT, Scene, label, scene, shoot, shows_table, surface, tint

SHARE = 4000
ROW = 4
MOST = 8
OTHERS = 0.06
"""Share of pictures that show no table."""


def row(seed: int) -> list[Scene]:
    """ROW photographs of one table, which changes between them."""
    rng, words = np.random.default_rng(seed), random.Random(seed)
    clean = rng.random() < 1 / 3
    hard = 0.0 if clean else float(rng.uniform(0.2, 1.0))
    top = Surface(seed=int(rng.integers(1 << 16))) if clean else surface(rng)
    look: dict[tuple[int, int], Thing] = {}
    shots: list[Scene] = []
    things: Words = random_scene(words)
    for _ in range(ROW):
        for colour, shape, _x, _y in things:
            size = 0.22 if clean else float(rng.uniform(22, 34)) / 128
            hue = (0.0, 0.0, 0.0) if clean else tint(colour, rng)
            turned = 0.0 if clean else float(rng.normal(0, 0.12))
            look.setdefault((colour, shape), Thing(colour, shape, 0, 0, size, turned, rng.random() < 0.5 * hard, hue))
        placed = [_at(look[colour, shape], x, y) for colour, shape, x, y in things]
        shots.append(shoot(Table(tuple(placed), top), rng, hard))
        things = changed_scene(words, things)
    return shots


def _at(thing: Thing, x: float, y: float) -> Thing:
    return Thing(thing.colour, thing.shape, x, y, thing.size, thing.turn, thing.mirrored, thing.tint)


def others(first: int) -> Iterator[Scene]:
    """Pictures that are surely no table, from seeds on from `first`."""
    for seed in range(first, first + (1 << 30)):
        if not shows_table(seed) and (shot := scene(seed)).weight:
            yield shot


def read(eye: Eye, shots: list[Scene]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """What the eye says of photographs, `[S, 16, 20]`."""
    pixels = torch.from_numpy(np.stack([s.pixels.transpose(2, 0, 1) for s in shots]))
    return np.concatenate([eye.sight(part).numpy() for part in pixels.split(50)])


def write(path: Path, eye: Eye, first: int, count: int) -> None:
    """One file of `count` pictures from the seeds at `first`."""
    strange = others(first)
    shots, rows = [], []
    for at in range(count // ROW):
        if at % round(1 / OTHERS) == 0:
            shots += [next(strange) for _ in range(ROW)]
            rows += [-1] * ROW
        else:
            shots += row(first + at)
            rows += [at] * ROW
    things = np.zeros((len(shots), MOST, 5), np.float32)
    for each, shot in zip(things, shots, strict=True):
        for k, t in enumerate(shot.things[:MOST]):
            each[k] = t.colour, t.shape, t.x, t.y, t.size
    part = path.with_name("part-" + path.name)
    np.savez_compressed(
        part,
        things=things,
        n=np.array([min(MOST, len(s.things)) for s in shots], np.int8),
        other=np.array([s.other for s in shots], np.int8),
        sight=read(eye, shots).astype(np.float16),
        row=np.array(rows, np.int32),
    )
    os.replace(part, path)


def measure(eye: Eye, count: int) -> dict[str, float]:
    """How an eye errs on held-out rows, for whoever imitates one: typical confidences, and how often it is wrong."""
    shots = [shot for at in range(count // ROW) for shot in row(HELD_OUT + (1 << 36) + at)]
    sight, truth = read(eye, shots), np.stack([label(s.things, s.other) for s in shots])
    one, none, part = truth[..., 1] > 0.98, truth[..., 0] > 0.999, (truth[..., 0] > 0.15) & (truth[..., 0] < 0.85)
    found: dict[str, float] = {"pictures": len(shots), "cells with one": int(one.sum())}
    for name, where in (("colour", COLOUR), ("shape", SHAPE)):
        sure = sight[..., where].max(-1)[one]
        right = sight[..., where].argmax(-1)[one] == truth[..., where].argmax(-1)[one]
        found[f"{name} right"] = float(right.mean())
        for share in (1, 5, 25, 50):
            found[f"{name} confidence p{share}"] = float(np.percentile(sure, share))
        found[f"{name} confidence when wrong"] = float(sure[~right].mean()) if (~right).any() else 0.0
    found["one missed (p0 > 0.5)"] = float((sight[..., 0][one] > 0.5).mean())
    found["one seen as two (p2 > 0.5)"] = float((sight[..., 2][one] > 0.5).mean())
    found["two seen as one"] = float((sight[..., 1][truth[..., 2] > 0.98] > 0.5).mean())
    found["nothing seen as one (p0 < 0.5)"] = float((sight[..., 0][none] < 0.5).mean())
    for share in (1, 5, 50):
        found[f"one: p1 p{share}"] = float(np.percentile(sight[..., 1][one], share))
    for share in (50, 95, 99):
        found[f"none: 1 - p0 p{share}"] = float(np.percentile(1 - sight[..., 0][none], share))
    found["border cells: share"] = float(part.sum() / max(1, (truth[..., 0] < 0.85).sum()))
    found["border cells: mean error of p0"] = float(np.abs(sight[..., 0] - truth[..., 0])[part].mean())
    off = np.linalg.norm(sight[..., PLACE] - truth[..., PLACE], axis=-1)[one] * 16
    found["place error px p50"], found["place error px p95"] = (float(np.percentile(off, p)) for p in (50, 95))
    total = (sight[..., 1] + 2 * sight[..., 2]).sum(axis=1)
    count_true = np.array([len(s.things) for s in shots])
    found["count right by the rounded sum"] = float((np.round(total) == count_true).mean())
    empty = sight[none]
    found["empty cells: colour max mean"] = float(empty[:, COLOUR].max(-1).mean())
    found["empty cells: shape max mean"] = float(empty[:, SHAPE].max(-1).mean())
    found["empty cells: place abs mean"] = float(np.abs(empty[:, PLACE]).mean())
    found["table: other p50"], found["table: other p99"] = (
        float(np.percentile(sight[:, 0, OTHER], p)) for p in (50, 99)
    )
    strange = others(HELD_OUT + (1 << 36))
    said = read(eye, [next(strange) for _ in range(100)])
    found["no table: other p1"], found["no table: other p50"] = (
        float(np.percentile(said[:, 0, OTHER], p)) for p in (1, 50)
    )
    found["no table: cells with one"] = float((said[..., 0] < 0.5).sum(axis=1).mean())
    assert sight.shape[1:] == (CELLS, WIDTH) and np.allclose(sight[..., COUNT].sum(-1), 1, atol=1e-3)
    return found


def main(report: Callable[[str], object]) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=60_000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    parser.add_argument("--held-out", action="store_true", help="seeds that no training sees")
    parser.add_argument("--measure", type=int, default=0, help="pictures to measure the eye's errors on")
    o = parser.parse_args()
    torch.set_num_threads(1)
    eye = Eye.load(o.weights)
    for name, value in (measure(eye, o.measure) if o.measure else {}).items():
        report(f"{name:36} {value:.4g}")
    if o.out is None:
        return
    o.out.mkdir(parents=True, exist_ok=True)
    start, word = (HELD_OUT + (1 << 38), "held-out") if o.held_out else (1 << 34, "pool")
    for number in range(o.first, o.first + max(1, o.count // SHARE)):
        path = o.out / f"{word}-{number:03}.npz"
        if not path.exists():
            write(path, eye, start + number * SHARE * 100, min(SHARE, o.count))
            report(f"{path.name} written")


if __name__ == "__main__":
    main(print)
