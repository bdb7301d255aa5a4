"""Scenes of the stop word: marked where the word has ended, and mixed with noise as if sound had been."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveagent.train.spotter import loss_of, of_steps
from liveagent.train.stop_scenes import (
    AFTER_FRAMES,
    FOR_FRAMES,
    NO,
    NO_IF_CLEAR,
    SOMEWHERE,
    UNSURE,
    YES,
    Clips,
    banded,
    mixed,
    scene,
)
from liveagent.train.stops import KINDS


def speech(folder: Path, kinds: tuple[str, ...] = KINDS) -> Clips:
    """One voice that hisses, for as long as a word, between 50 ms of quiet."""
    rng = np.random.default_rng(1)
    found: dict[str, Any] = {}
    for kind in KINDS:
        clip = np.concatenate([np.zeros(800), rng.standard_normal(8000) * 5000 * (kind in kinds), np.zeros(800)])
        found[kind], found[f"{kind}_ends"] = np.tile(clip.astype(np.int16), 2), np.array([9600, 19200])
    np.savez(folder / "hiss-1.npz", after_word=np.zeros(2, np.int64), **found)
    return Clips(str(folder))


def test_the_word_is_marked_once_it_has_ended(tmp_path: Path) -> None:
    clips, rng, marked = speech(tmp_path, ("stop",)), np.random.default_rng(3), 0
    for _ in range(40):
        samples, marks = scene(clips, rng)
        starts = np.flatnonzero((marks[1:] == YES) & (marks[:-1] != YES)) + 1
        for at in starts.tolist():
            if at < 30 or at > len(marks) - FOR_FRAMES - 2:
                continue
            marked += 1
            end = (at - AFTER_FRAMES - 1) * 160 + 400  # of the frame in which the word's last sound is
            before, after = samples[end - 1600 : end - 400], samples[end + 700 : end + 1100]
            assert np.sqrt(np.mean(before**2)) > 1.5 * np.sqrt(np.mean(after**2))  # a room rings on
    assert marked > 10


def test_bands_are_mixed_as_sound_would_be() -> None:
    rng = np.random.default_rng(5)
    swell = np.repeat(rng.uniform(0.05, 1.0, 32), 2000)
    around = rng.standard_normal(64000).astype(np.float32)
    near = (rng.standard_normal(64000) * swell).astype(np.float32)
    near /= near.std()
    silence = np.full((1, 790, 40), -30, np.float16)
    frames, snr_db = mixed(banded(near)[None], banded(around)[None], silence, np.zeros(24, int), rng)
    assert frames.shape == (24, 398, 40) and np.isfinite(frames).all() and frames.std() > 0.3
    assert 2 <= snr_db.min() < 10 and 15 < snr_db.max() <= 32
    swing = frames.std(axis=(1, 2))  # what is quiet stands out less in more noise
    assert np.corrcoef(snr_db, swing)[0, 1] > 0.5


def test_what_came_before_is_asked_only_where_it_is_clear() -> None:
    marks = np.array([[NO, NO_IF_CLEAR, YES, NO_IF_CLEAR]] * 2, np.int8)
    assert of_steps(marks, np.array([30.0, 5.0])).tolist() == [[NO, NO], [UNSURE, UNSURE]]


def test_one_of_several_places_is_enough() -> None:
    marks = torch.full((1, 40), UNSURE)
    marks[0, 10:30] = SOMEWHERE
    never, once = torch.full((1, 40), -6.0), torch.full((1, 40), -6.0)
    once[0, 15:20] = 6.0
    elsewhere = torch.full((1, 40), -6.0)
    elsewhere[0, 32:37] = 6.0
    clear = torch.tensor([False])
    assert loss_of(once, marks, clear) < 0.1 < loss_of(never, marks, clear)
    assert torch.isclose(loss_of(elsewhere, marks, clear), loss_of(never, marks, clear))


def test_in_quiet_what_is_no_stop_weighs_more() -> None:
    logits, marks = torch.zeros(1, 40), torch.full((1, 40), NO)
    assert loss_of(logits, marks, torch.tensor([True])) > 2 * loss_of(logits, marks, torch.tensor([False]))
