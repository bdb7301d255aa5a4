"""Which patches of a picture are worth encoding again: a rule over pixels, and nothing else.

A picture is compared with the reference, which is patch by patch the picture that was last encoded, and not with the
picture before it: what drifts slowly is found out in the end. What is compared are brightness and two colour
differences averaged over blocks of 4 x 4 px; averaging takes most of a sensor's noise away, and a thing that moves
still moves a block by more than that. How much noise is left is learnt from pictures that follow each other, patch by
patch, so a camera in the dark sends no more than one in the sun. A change of exposure is a gain and an offset of the
whole picture: small ones are taken out before comparing, large ones are a new scene.

Depends on the pixels and their times alone, so a replay decides the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from liveagent.video import Pixels

PATCH_PX = 16
BLOCK_PX = 4
SIDE = PATCH_PX // BLOCK_PX  # blocks along a patch
# R, G, B to brightness and two colour differences. Eighths, so that float32 holds every block's sum exactly.
TONES = np.array([[2, -1, 4], [5, -3, -3], [1, 4, -1]], np.float32) / (8 * BLOCK_PX * BLOCK_PX)
MIX = np.tile(TONES, (BLOCK_PX, 1))  # [12, 3]: four pixels side by side at once

LEARNT_FRAMES = 8  # until then noise is learnt in large steps
FIRST_NOISE, MOST_NOISE = 1.0, 3.0  # what it starts from at most (a moving scene looks like noise), and may reach
EXPOSED_SHARE = 0.3  # where fewer patches have moved, the others say that the exposure has not
Reason = Literal["first", "changed", "cut", "refresh", "still"]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What to do with a picture. `patches`: bool `[N]`, row by row from the top left: which to encode anew. `reason`:
    "first" (nothing was seen before, or of another size), "changed" (some patches), "cut" (too many: a new scene),
    "refresh" (time to look at everything again), "still" (none). `moved`: how many patches really changed; more may
    be sent, where a step costs the same with them."""

    patches: Bools
    reason: Reason
    moved: int

    @property
    def full(self) -> bool:
        """Everything is encoded anew: this is a keyframe."""
        return self.reason in ("first", "cut", "refresh")

    @property
    def count(self) -> int:
        """Patches to encode."""
        return int(self.patches.sum())


def bucket(count: int, of: int) -> int:
    """The least number of patches that a step is made for and that holds `count`: a multiple of eight up to half of
    `of`, else all. Few shapes, all soon warm; and eight rows fill a processor's registers, seven cost as much."""
    rounded = -(-count // 8) * 8
    return rounded if rounded <= of // 2 else of


def regrid(patches: Bools, height: int, width: int, patch_px: int) -> Bools:
    """Flags of the patches that are told apart here, of a picture of `height` x `width` px, as flags of an eye's
    patches of `patch_px`, row by row: each that lies over a flagged one, if only in part. A rest that makes no whole
    patch of the eye's, at the right and below, has none."""
    if patch_px == PATCH_PX and not height % PATCH_PX and not width % PATCH_PX:
        return patches
    over = []
    for side in (height, width):
        ours, eye = np.arange(-(-side // PATCH_PX)) * PATCH_PX, np.arange(side // patch_px)[:, None] * patch_px
        over.append((ours < eye + patch_px) & (ours + PATCH_PX > eye))  # [the eye's, ours]
    down, across = over
    grid = patches.reshape(down.shape[1], across.shape[1])
    found: Bools = (down.astype(np.int32) @ grid.astype(np.int32) @ across.T.astype(np.int32) > 0).ravel()
    return found


def blocks(pixels: Pixels) -> Floats:
    """`[H, W, 3]` -> `[H / 4, W / 4, 3]` means of brightness and colour differences, exact. H and W are first rounded
    up to whole patches by repeating the last row and column."""
    height, width = pixels.shape[:2]
    if height % PATCH_PX or width % PATCH_PX:
        pixels = np.pad(pixels, ((0, -height % PATCH_PX), (0, -width % PATCH_PX), (0, 0)), mode="edge")
        height, width = pixels.shape[:2]
    lines = np.ascontiguousarray(pixels).reshape(height // BLOCK_PX, BLOCK_PX, width * 3)
    total = lines[:, 0].astype(np.uint16)
    for i in range(1, BLOCK_PX):
        total += lines[:, i]
    mixed: Floats = np.matmul(total.astype(np.float32).reshape(-1, BLOCK_PX * 3), MIX, dtype=np.float32)
    return mixed.reshape(height // BLOCK_PX, width // BLOCK_PX, 3)


class Keyframes:
    """The decision for one camera, and what it remembers: the reference, the noise of each patch, the exposure.

    threshold: how many times a patch's noise one of its blocks must have moved. 0: any change of a block's mean counts,
    and nothing is taken for exposure. least: a smaller change of a block's mean, in 1/255, never counts (but at
    threshold 0). cut_share: above this share of changed patches everything is encoded. refresh_s: everything is
    encoded this often, by the pictures' own times; 0: never. fill: fill the step's bucket with the patches that moved
    most among the others, which costs nothing.
    """

    def __init__(
        self, threshold: float = 7.0, least: float = 1.5, cut_share: float = 0.4, refresh_s: float = 10.0,
        fill: bool = True,
    ) -> None:  # fmt: skip
        self._threshold, self._least, self._cut_share, self._fill = threshold, least, cut_share, fill
        self._refresh_ns = int(refresh_s * 1e9)
        self.reset()

    def reset(self) -> None:
        """Begin anew: the next picture is the first."""
        self._reference: Floats | None = None  # [H / 4, W / 4, 3], at the exposure of the last keyframe
        self._before: Floats | None = None  # brightness of the picture before, [H / 4, W / 4]
        self._noise: Floats = np.zeros(0, np.float32)  # [N] mean absolute difference that noise makes from one to next
        self._usual = 0.0  # the same of the whole picture
        self._frames, self._wild = 0, False
        self._gain, self._offset = np.float32(1), np.float32(0)
        self._full_ns = 0

    def feed(self, pixels: Pixels, t_ns: int) -> Change:
        """`pixels`: `[H, W, 3]` uint8; `t_ns`: when they were taken. Feed every picture that is looked at."""
        now = blocks(pixels)
        rows, cols = now.shape[0] // SIDE, now.shape[1] // SIDE
        if self._reference is None or self._reference.shape != now.shape:
            self.reset()
            self._before = now[:, :, 0]
            return self._keyframe(now, t_ns, "first", rows * cols)
        self._learn(now, rows, cols)
        score = self._score(now, rows, cols)
        limit = self._limit()
        moved = int((score > limit).sum())
        still_wild, self._wild = self._wild, moved > self._cut_share * len(score)
        if self._wild and still_wild:  # it goes on moving: no exposure does
            return self._keyframe(now, t_ns, "cut", moved)
        if self._threshold > 0 and moved > EXPOSED_SHARE * len(score):
            score, moved, exposed = self._expose(now, rows, cols, score, moved)
            if not exposed:
                return self._keyframe(now, t_ns, "cut", moved)
            self._wild = moved > self._cut_share * len(score)
        if self._wild:
            return self._keyframe(now, t_ns, "cut", moved)
        self._full_ns = min(self._full_ns, t_ns)  # a clock that jumped back
        if self._refresh_ns and t_ns - self._full_ns >= self._refresh_ns:
            return self._keyframe(now, t_ns, "refresh", moved)
        if not moved:
            return Change(np.zeros(len(score), np.bool_), "still", 0)
        patches = score > limit
        if self._fill:
            order = np.argsort(score / np.maximum(limit, np.float32(1e-6)), kind="stable")
            patches[order[len(score) - bucket(moved, len(score)) :]] = True
        seen = patches.reshape(rows, 1, cols, 1, 1)
        old = self._reference.reshape(rows, SIDE, cols, SIDE, 3)
        dark = np.array([self._offset, 0, 0], np.float32)
        new = ((now - dark) / self._gain).reshape(old.shape)
        np.copyto(old, new, where=seen)
        return Change(patches, "changed", moved)

    def _keyframe(self, now: Floats, t_ns: int, reason: Reason, moved: int) -> Change:
        self._reference, self._full_ns = now.copy(), t_ns
        self._gain, self._offset = np.float32(1), np.float32(0)
        return Change(np.ones(now.shape[0] * now.shape[1] // SIDE**2, np.bool_), reason, moved)

    def _limit(self) -> Floats:
        if self._threshold == 0:
            return np.zeros(len(self._noise), np.float32)
        limit: Floats = np.maximum(self._noise * np.float32(self._threshold), np.float32(self._least))
        return limit

    def _score(self, now: Floats, rows: int, cols: int) -> Floats:
        """How far the block that moved most has moved, for every patch: [N]."""
        reference = self._reference
        assert reference is not None
        if self._gain != 1 or self._offset != 0:
            reference = reference * self._gain
            reference[:, :, 0] += self._offset
        apart = np.abs(now - reference)
        tall = apart.reshape(rows, SIDE, cols * SIDE * 3).max(axis=1)
        most: Floats = tall.reshape(rows * cols, SIDE * 3).max(axis=1)
        return most

    def _learn(self, now: Floats, rows: int, cols: int) -> None:
        """Follow each patch's noise: the median over time of what the picture before differs by, less what the whole
        patch moved by (flicker). A step up or down by a few per cent a picture, after M. Lamoureux's and others' frugal
        medians: something that moves through for a second hardly lifts it."""
        bright = now[:, :, 0]
        assert self._before is not None
        apart = (bright - self._before).reshape(rows, SIDE, cols, SIDE)
        self._before = bright
        tall = apart.transpose(0, 2, 1, 3).reshape(rows * cols, SIDE * SIDE)
        tall = tall - tall.mean(axis=1, keepdims=True)
        found = np.abs(tall).mean(axis=1)
        usual = float(np.sort(found)[len(found) // 2])
        self._frames += 1
        if self._frames == 1:
            self._usual = min(usual, FIRST_NOISE)
            self._noise = np.full(len(found), self._usual, np.float32)
            return
        # While everything moves it is hardly noise, but it might be: dusk falls, and the sensor's gain goes up.
        step = 1.02 if self._wild else 1.2 if self._frames <= LEARNT_FRAMES else 1.05
        self._usual = min(_nearer(self._usual, usual, step), MOST_NOISE)
        up = np.float32(step)
        noise = np.where(found > self._noise, self._noise * up, self._noise / up)
        # A patch where something always moves must not be learnt as noise altogether.
        self._noise = np.clip(noise, 0.7 * self._usual, min(3 * self._usual + 0.05, MOST_NOISE))

    def _expose(self, now: Floats, rows: int, cols: int, score: Floats, moved: int) -> tuple[Floats, int, bool]:
        """Many patches moved: is it the exposure? The gain and offset that most patches agree on (least trimmed
        squares, Rousseeuw 1984, by concentration steps) are taken where they explain more than what is known now.
        False when they explain the picture and are too large to be taken out."""
        reference = self._reference
        assert reference is not None
        old, new = (_patch_means(b, rows, cols) for b in (reference[:, :, 0], now[:, :, 0]))
        gain, offset = 1.0, float(np.median(new - old))
        keep = len(old) // 2 + 1
        for _ in range(4):
            best = np.argsort(np.abs(new - gain * old - offset), kind="stable")[:keep]
            x, y = old[best], new[best]
            spread = x - x.mean()
            power = float(spread @ spread)
            gain = float(spread @ y) / power if power > 4.0 * keep else 1.0
            offset = float(y.mean() - gain * x.mean())
        held = self._gain, self._offset
        self._gain, self._offset = np.float32(gain), np.float32(offset)
        there = self._score(now, rows, cols)
        left = int((there > self._limit()).sum())
        if left >= moved:
            self._gain, self._offset = held
            return score, moved, True
        return there, left, abs(gain - 1) <= 0.15 and abs(offset) <= 12


def _patch_means(tone: Floats, rows: int, cols: int) -> NDArray[np.float64]:
    means: NDArray[np.float64] = tone.reshape(rows, SIDE, cols, SIDE).mean(axis=(1, 3), dtype=np.float64).ravel()
    return means


def _nearer(value: float, target: float, step: float) -> float:
    """`value` moved towards `target` by a factor of at most `step`; from 0 it goes at once."""
    if value <= 0:
        return target
    return min(max(target, value / step), value * step)
