"""Drawn scenes for the eye's training: seeded, labelled by what can be seen, no two cameras alike."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from liveagent.sight import CELLS, COLOUR, COUNT, OTHER, PLACE, SHAPE, of_things
from liveagent.table import Surface, Table, Thing, paint
from liveagent.train.eye import batch_of, patch_labels
from liveagent.train.scenes import LEAST_SHOWN, TONES, Scene, arrange, blur, develop, label, scene, shoot


@cache
def shots() -> list[Scene]:
    """The first scenes of all."""
    return [scene(seed) for seed in range(150)]


def test_a_seed_gives_one_scene() -> None:
    again, other = scene(7), scene(8)
    assert np.array_equal(again.pixels, shots()[7].pixels) and again.things == shots()[7].things
    assert not np.array_equal(other.pixels, again.pixels)
    assert all(s.pixels.shape == (128, 128, 3) and s.pixels.dtype == np.uint8 for s in shots())


def test_scenes_are_of_every_kind() -> None:
    assert {len(s.things) for s in shots()} >= set(range(6))
    assert {t.colour for s in shots() for t in s.things} == set(range(8))
    assert {t.shape for s in shots() for t in s.things} == set(range(6))
    assert 3 <= sum(s.other for s in shots()) <= 26
    assert not any(s.things for s in shots() if s.other)
    centres = [np.unique([int(t.y * 4) * 4 + int(t.x * 4) for t in s.things], return_counts=True)[1] for s in shots()]
    assert any(n.size and n.max() > 1 for n in centres)


def test_a_label_is_of_things_that_can_be_seen() -> None:
    for shot in shots():
        shown = np.bincount(shot.owner.ravel() + 1, minlength=len(shot.things) + 1)[1:]
        for thing, area in zip(shot.things, shown, strict=True):
            assert area > 0.5 * LEAST_SHOWN * 1.4 * (thing.size * 64) ** 2
            assert 0 < thing.x < 1 and 0 < thing.y < 1
        assert shot.owner.max() < len(shot.things)


def test_a_thing_behind_another_is_not_labelled() -> None:
    rng = np.random.default_rng(1)
    table = Table((Thing(0, 4, 0.5, 0.5, 0.2), Thing(2, 0, 0.5, 0.5, 0.25)), Surface())
    shot = shoot(table, rng, hard=0.0)
    assert [t.name for t in shot.things] == ["blue ball"]
    assert set(np.unique(shot.owner)) == {-1, 0}


def test_without_hardship_a_photograph_shows_the_things_where_they_lie() -> None:
    table = Table((Thing(3, 1, 0.3, 0.4, 0.25),), Surface())
    shot = shoot(table, np.random.default_rng(4), hard=0.0)
    assert shot.things[0].x == pytest.approx(0.3) and shot.things[0].y == pytest.approx(0.4)
    clean = paint(table).light * 255
    assert np.abs(shot.pixels - clean)[shot.owner == 0].mean() < 40


def test_labels_equal_a_perfect_eye_away_from_borders_and_are_shared_at_them() -> None:
    things = [Thing(1, 2, 0.4, 0.6), Thing(5, 0, 0.85, 0.1), Thing(5, 3, 0.87, 0.15)]
    assert np.allclose(label(things), of_things((t.colour, t.shape, t.x, t.y) for t in things), atol=1e-6)
    between = label([Thing(0, 0, 0.5, 0.6)])
    assert between[9, COUNT].tolist() == [0.5, 0.5, 0] and between[10, COUNT].tolist() == [0.5, 0.5, 0]
    assert between[9, PLACE][0] == 1 and between[10, PLACE][0] == -1
    for shot in shots():
        sight = label(shot.things, shot.other)
        assert (sight[:, 1] + 2 * sight[:, 2]).sum() == pytest.approx(len(shot.things), abs=0.3)
        assert np.allclose(sight[:, COUNT].sum(axis=1), 1, atol=1e-5)
        there = sight[:, 0] < 1
        for part in (COLOUR, SHAPE):
            assert np.allclose(sight[there, part].sum(axis=1), 1, atol=1e-5)
        assert np.abs(sight[:, PLACE]).max(initial=0) <= 1
        assert (sight[:, OTHER] == shot.other).all()


def test_patches_are_labelled_by_what_shows_in_them() -> None:
    shot = shoot(Table((Thing(6, 5, 0.25, 0.25, 0.25),)), np.random.default_rng(2), hard=0.0)
    labels = patch_labels(shot)
    assert labels.shape == (64, 2)
    assert {tuple(row) for row in labels.tolist()} <= {(0, 0), (7, 6), (-100, -100)}
    assert (labels[[9, 10, 17, 18]] == (7, 6)).all() and (labels[32:] == 0).all()


def test_a_batch_is_the_scenes_of_its_seeds() -> None:
    batch = batch_of(range(5, 9))
    assert batch["pixels"].shape == (4, 3, 128, 128) and batch["sight"].shape == (4, CELLS, 20)
    assert np.array_equal(batch["pixels"][2].transpose(1, 2, 0), shots()[7].pixels)
    assert batch["count"].tolist() == [len(s.things) for s in shots()[5:9]]


def test_the_camera_keeps_brightness_and_noise_within_bounds() -> None:
    flat = np.full((128, 128, 3), 0.5, np.float32)
    made = [develop(flat, np.random.default_rng(seed)).astype(float) for seed in range(60)]
    means, noise = [s.mean() for s in made], [s[40:88, 40:88].std(axis=(0, 1)).max() for s in made]
    assert min(means) > 50 and max(means) < 235 and max(means) - min(means) > 40
    assert min(noise) < 2 and 6 < max(noise) < 20


def test_blur_spreads_light_and_keeps_it() -> None:
    light = np.zeros((31, 31, 3), np.float32)
    light[15, 15] = 1
    spread = blur(light, 1.2, 0.3)
    assert spread.sum() == pytest.approx(3, abs=1e-4) and spread[12, 15, 0] > 0.005 > spread[15, 12, 0]


def test_no_table_is_as_dark_as_black_or_as_light_as_white() -> None:
    tones = np.array(TONES)
    assert tones.min() > 0.25 and tones.max() < 0.75
    tables = [arrange(np.random.default_rng(seed)).surface for seed in range(100)]
    assert all(0.18 < np.mean(t.tone) < 0.82 for t in tables)
