"""Readings of an eye, written for a decoder to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.vit_config import VitConfig
from liveagent.sight import CELLS, COUNT, WIDTH
from liveagent.train.glances import Pools
from liveagent.train.sights import ROW, measure, others, read, row, write


def small() -> Eye:
    torch.manual_seed(0)
    return Eye(EyeConfig(VitConfig(width=32, layers=2, heads=2, times=2, stem=4), hidden=32)).eval()


def test_a_file_holds_what_was_there_and_what_was_said(tmp_path: Path) -> None:
    eye, path = small(), tmp_path / "pool-000.npz"
    write(path, eye, 100, 80)
    assert [p.name for p in tmp_path.iterdir()] == ["pool-000.npz"]
    with np.load(path) as file:
        arrays = dict(file)
    assert arrays["sight"].shape == (80, CELLS, WIDTH) and arrays["sight"].dtype == np.float16
    assert np.allclose(arrays["sight"][..., COUNT].sum(-1), 1, atol=0.01)
    assert arrays["other"].sum() == 8 and (arrays["n"][arrays["other"] == 1] == 0).all()
    assert ((arrays["row"] == -1) == (arrays["other"] == 1)).all()
    first = arrays["row"] == 1
    shots = row(101)
    assert first.sum() == ROW == len(shots)
    for things, n, shot in zip(arrays["things"][first], arrays["n"][first], shots, strict=True):
        assert [tuple(t[:2]) for t in things[:n]] == [(t.colour, t.shape) for t in shot.things]
        assert not things[n:].any() and (things[:n, 2:4] > 0).all() and (things[:n, 2:4] < 1).all()
    assert np.allclose(arrays["sight"][first], read(eye, shots), atol=2e-3)


def test_a_row_is_one_table_that_changes(tmp_path: Path) -> None:
    changes = 0
    for seed in range(6):
        shots = row(seed)
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(shots, row(seed), strict=True))
        for one, two in zip(shots, shots[1:], strict=False):
            places = [{(t.colour, t.shape, round(t.x, 1), round(t.y, 1)) for t in s.things} for s in (one, two)]
            changes += places[0] != places[1]
    assert changes >= 12


def test_others_are_no_tables() -> None:
    strange = others(5000)
    assert all(shot.other and shot.weight == 1 and not shot.things for shot in (next(strange) for _ in range(4)))


def test_a_decoders_training_reads_the_file(tmp_path: Path) -> None:
    write(tmp_path / "pool-000.npz", small(), 7, 40)
    pools = Pools(tmp_path, seed=1)
    assert pools.look_again() > 10 and len(pools.elsewhere) == 4
    scene, sight = pools.draw()
    assert sight.shape == (CELLS, WIDTH) and len(scene) <= 5


def test_an_eye_that_learnt_nothing_is_measured_as_such() -> None:
    found = measure(small(), 40)
    assert found["pictures"] == 40 and found["colour right"] < 0.5 and found["shape right"] < 0.6
    assert found["place error px p50"] > 3
