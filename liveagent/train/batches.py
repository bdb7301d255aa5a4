"""`Batches`: endless training batches of the ear, made in a process of their own.

A scene is synthesised once and used `uses` times, each time under other masks and another bend of the mel axis; sound
synthesis on a small machine costs as much as a training step.
"""

from __future__ import annotations

import multiprocessing as mp
import os
from dataclasses import dataclass
from pathlib import Path
from queue import Full
from typing import Any

import numpy as np
import torch

from liveagent.nn.mel import Mel
from liveagent.nn.pieces import Pieces
from liveagent.train.augment import Scene, Stage
from liveagent.train.speech import Shards

TOKEN_SAMPLES = 640
SHIFT = 2  # tokens that an aligned label comes late: a causal ear knows a sound only when it has heard it


@dataclass
class Batch:
    """`mel` [B, T, F] float32; `targets` of all scenes end to end with `lengths` [B]; per token `labels`, `kinds`."""

    mel: torch.Tensor
    targets: torch.Tensor
    lengths: torch.Tensor
    labels: torch.Tensor
    kinds: torch.Tensor


def align(scene: Scene, pieces: Pieces, tokens: int) -> tuple[list[int], np.ndarray]:
    """Piece ids of a scene, and for every token the piece sounding there (0, the blank, between)."""
    ids: list[int] = []
    labels = np.zeros(tokens, np.int64)
    for text, (_, _, marks) in zip(scene.texts, scene.places, strict=True):
        chars, samples = zip(*marks, strict=True)
        at = -1  # the first piece's `▁` stands before the text
        for i in pieces.encode(text):
            ids.append(i)
            ends = np.interp([max(at, 0), at + len(pieces.piece(i))], chars, samples)
            at += len(pieces.piece(i))
            first = int(ends[0] / TOKEN_SAMPLES) + SHIFT
            labels[first : max(first + 1, int(ends[1] / TOKEN_SAMPLES) + SHIFT)] = i
    return ids, labels


def disguise(mel: np.ndarray, rng: np.random.Generator, hard: float) -> np.ndarray:
    """SpecAugment (Park et al. 2019) and a bend of the mel axis (VTLP, Jaitly & Hinton 2013) on one clip [T, F]."""
    frames, bands = mel.shape
    y = mel
    if rng.random() < 0.7 * hard:
        factor = rng.uniform(1 - 0.1 * hard, 1 + 0.1 * hard)
        place = np.clip(np.arange(bands) * factor + rng.uniform(-1, 1), 0, bands - 1.001)
        low = place.astype(int)
        part = (place - low).astype(np.float32)
        y = y[:, low] * (1 - part) + y[:, low + 1] * part
    y = y.copy()
    for _ in range(2):
        wide = int(rng.integers(0, 1 + int(13 * hard)))
        start = int(rng.integers(0, bands - wide))
        y[:, start : start + wide] = 0.0
    for _ in range(int(frames / 160)):
        wide = int(rng.integers(0, 1 + int(16 * hard)))
        start = int(rng.integers(0, frames - wide))
        y[start : start + wide] = 0.0
    return y


def _work(data: str, pieces_path: str, seed: int, size: int, count: int, uses: int, hard: Any, queue: Any) -> None:
    os.nice(5)
    torch.set_num_threads(1)
    pieces = Pieces.load(pieces_path)
    shards = Shards(Path(data), "train")
    stage = Stage(shards, seed)
    rng = np.random.default_rng(seed + 1)
    mel = Mel()
    pool: list[list[Any]] = []
    made, parent = 0, os.getppid()
    while True:
        if made % 50 == 0:
            stage.take_in(shards.refresh())
        made += 1
        h = float(hard.value)
        for _ in range(size if pool else 4 * size):
            scene = stage.scene(count, h * rng.uniform(0.3, 1.0))
            ids, labels = align(scene, pieces, count // TOKEN_SAMPLES)
            frames = mel.nearly(torch.from_numpy(scene.samples)[None])[0].numpy()
            pool.append([frames, ids, labels, scene.kinds, uses])
        for _ in range(uses):
            chosen = rng.permutation(len(pool))[:size]
            rows = [pool[i] for i in chosen]
            for row in rows:
                row[4] -= 1
            item = (
                np.stack([disguise(r[0], rng, h) for r in rows]).astype(np.float16),
                [r[1] for r in rows],
                np.stack([r[2] for r in rows]).astype(np.int16),
                np.stack([r[3] for r in rows]).astype(np.int8),
            )
            while True:
                try:
                    queue.put(item, timeout=10)
                    break
                except Full:
                    if os.getppid() != parent:  # the training was killed
                        queue.cancel_join_thread()
                        return
            pool = [r for r in pool if r[4] > 0]


class Batches:
    """Iterate for ever; `set_hard` turns the curriculum. End with `close()`."""

    def __init__(
        self, data: Path, pieces: Path, seed: int, size: int = 12, count: int = 128_000, uses: int = 2
    ) -> None:
        """`size` scenes of `count` samples a batch."""
        context = mp.get_context("spawn")
        self._hard = context.Value("d", 0.0)
        self._queue = context.Queue(maxsize=6)
        args = (str(data), str(pieces), seed, size, count, uses, self._hard, self._queue)
        self._process = context.Process(target=_work, args=args, daemon=True)
        self._process.start()

    def set_hard(self, hard: float) -> None:
        """How strongly scenes made from now on are disturbed, 0 to 1."""
        self._hard.value = hard

    def next(self) -> Batch:
        """The next batch; waits for it."""
        mel, ids, labels, kinds = self._queue.get(timeout=300)
        kind = np.where(kinds < 0, -100, kinds).astype(np.int64)
        return Batch(
            torch.from_numpy(mel.astype(np.float32)),
            torch.tensor([i for row in ids for i in row], dtype=torch.int64),
            torch.tensor([len(row) for row in ids]),
            torch.from_numpy(labels.astype(np.int64)),
            torch.from_numpy(kind),
        )

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
