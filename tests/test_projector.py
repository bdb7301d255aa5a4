"""What the projector works out of a picture's cells, against counting by hand."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from liveagent.errors import ConfigError
from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.projector import FEATURES, NUMBERS, PLACES, Projector, features
from liveagent.sight import CELLS, GRID, WIDTH, of_things
from liveagent.train.glances import random_scene


def by_hand(scene: list[tuple[int, int, float, float]], at: int) -> list[float]:
    """Of the thing `at`: how many there are, of its colour, of its shape, of both; its third; its place; how many are
    read before it and after it."""
    colour, shape, x, y = scene[at]
    counts = [len(scene), sum(t[0] == colour for t in scene), sum(t[1] == shape for t in scene),
              sum(t[:2] == (colour, shape) for t in scene)]  # fmt: skip
    tents = [float(number == count) for count in counts for number in range(NUMBERS)]
    third = int(x * 3)
    before = sum(cell_of(*t[2:]) < cell_of(x, y) for t in scene)
    order = [float(number == count) for count in (before, len(scene) - 1 - before) for number in range(PLACES)]
    return [*tents, *(float(i == third) for i in range(3)), 2 * x - 1, 2 * y - 1, *order]


def cell_of(x: float, y: float) -> int:
    return int(y * GRID) * GRID + int(x * GRID)


def test_numbers_and_places_are_those_of_the_picture() -> None:
    rng, seen = random.Random(1), 0
    for _ in range(60):
        scene = random_scene(rng)
        found = features(torch.from_numpy(of_things(scene)), torch.arange(CELLS)).numpy()
        cells = [cell_of(x, y) for _, _, x, y in scene]
        assert not found[[c for c in range(CELLS) if c not in cells]].any()
        if len(set(cells)) < len(cells):
            continue  # two in one cell: their mean
        for at, cell in enumerate(cells):
            if min(abs(scene[at][2] - 1 / 3), abs(scene[at][2] - 2 / 3)) > 0.1:
                np.testing.assert_allclose(found[cell], by_hand(scene, at), atol=5e-3)
                seen += 1
    assert seen > 60


def test_cells_left_out_and_other_pictures_change_nothing() -> None:
    scenes = [[(0, 0, 0.1, 0.1), (0, 1, 0.6, 0.6), (1, 0, 0.9, 0.9)], [(0, 0, 0.1, 0.1)]]
    sights = [torch.from_numpy(of_things(scene)) for scene in scenes]
    kept = [torch.tensor([cell_of(x, y) for _, _, x, y in scene]) for scene in scenes]
    net = Projector(WIDTH, CELLS, 8)
    with torch.inference_mode():
        alone = [net(sight, torch.arange(CELLS))[cells] for sight, cells in zip(sights, kept, strict=True)]
        flat = torch.cat([sight[cells] for sight, cells in zip(sights, kept, strict=True)])
        both = net(flat, torch.cat(kept), torch.tensor([0, 0, 0, 1]))
        lanes = net(torch.stack(sights), torch.arange(CELLS).expand(2, -1))
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(lanes[1][kept[1]], alone[1], atol=1e-6, rtol=1e-5)


def test_weights_that_know_fewer_features_still_load() -> None:
    old, new = Projector(WIDTH, CELLS, 8).state_dict(), Projector(WIDTH, CELLS, 8)
    fewer = FEATURES - 2 * PLACES
    new.load_state_dict({name: w[:, :fewer] if name == "more.weight" else w for name, w in old.items()})
    assert new.more is not None and not new.more.weight[:, fewer:].any()
    torch.testing.assert_close(new.more.weight[:, :fewer], old["more.weight"][:, :fewer])


def test_no_cells_at_all() -> None:
    net = Projector(WIDTH, CELLS, 8)
    nothing = torch.zeros(0, WIDTH), torch.zeros(0, dtype=torch.long)
    assert net(*nothing).shape == (0, 8)
    assert net(*nothing, torch.zeros(0, dtype=torch.long)).shape == (0, 8)
    assert features(*nothing).shape == (0, FEATURES)


def test_a_decoder_without_eyes_says_so() -> None:
    decoder = Decoder(DecoderConfig(40, width=16, layers=1, heads=2, hidden=16))
    with pytest.raises(ConfigError, match="no eyes"):
        decoder.see_embed(torch.zeros(1, WIDTH), torch.zeros(1, dtype=torch.long))
