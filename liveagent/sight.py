"""What nano's eye says of a picture: a short row of numbers for each cell of a 4 x 4 grid.

As nano reads sound as weighted pieces, it reads a picture as weighted concepts: for every cell whether the centre of a
thing lies in it, of which colour and shape, and where in the cell. Cells go row by row from the top left.

    0..2    nothing, one thing, two or more things have their centre here (probabilities)
    3..10   its colour, in the order of COLOURS (probabilities; with several things, their mean)
    11..16  its shape, in the order of SHAPES (likewise)
    17, 18  where its centre lies in the cell: x to the right, y downwards, -1 .. 1 from edge to edge
    19      how likely the whole picture is something other than the toy table (the same number in every cell)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white")
SHAPES = ("ball", "cube", "cone", "cup", "star", "ring")

PICTURE_PX = 128
"""nano sees pictures of this height and width."""
GRID = 4
CELLS = GRID * GRID
COUNT = slice(0, 3)
COLOUR = slice(3, 11)
SHAPE = slice(11, 17)
PLACE = slice(17, 19)
OTHER = 19
WIDTH = 20

Sight: TypeAlias = NDArray[np.float32]
"""`[CELLS, WIDTH]`."""


def of_things(things: Iterable[tuple[int, int, float, float]], other: bool = False) -> Sight:
    """What a perfect eye would say. `things`: (colour, shape, x, y), x and y of the centre from 0 to 1 across the
    picture, from the top left."""
    sight = np.zeros((CELLS, WIDTH), np.float32)
    counts = np.zeros(CELLS, np.int64)
    for colour, shape, x, y in things:
        col, row = min(int(x * GRID), GRID - 1), min(int(y * GRID), GRID - 1)
        cell = sight[row * GRID + col]
        counts[row * GRID + col] += 1
        cell[COLOUR][colour] += 1
        cell[SHAPE][shape] += 1
        cell[PLACE] += (2 * (x * GRID - col) - 1, 2 * (y * GRID - row) - 1)
    sight[:, 3:19] /= np.maximum(counts, 1)[:, None]
    sight[np.arange(CELLS), np.minimum(counts, 2)] = 1
    sight[:, OTHER] = other
    return sight


def named(sight: Sight) -> tuple[str, ...]:
    """For people: the things that are likelier there than not, "red ball", in the order of their cells. A thing that
    lies between cells, which share it, is one."""
    found: list[tuple[int, str, float, float, float]] = []  # cell, name, how sure, and where in cells
    for cell in sorted(range(CELLS), key=lambda cell: float(sight[cell, COUNT][0])):
        row, there = sight[cell], 1.0 - float(sight[cell, COUNT][0])
        name = f"{COLOURS[int(row[COLOUR].argmax())]} {SHAPES[int(row[SHAPE].argmax())]}"
        x, y = (at + 0.5 + 0.5 * float(part) for at, part in zip((cell % GRID, cell // GRID), row[PLACE], strict=True))
        for at, (first, said, sure, x0, y0) in enumerate(found):
            if said == name and max(abs(x - x0), abs(y - y0)) < 0.5:
                found[at] = first, said, sure + there, x0, y0
                break
        else:
            found.append((cell, name, there, x, y))
    return tuple(name for _, name, sure, _, _ in sorted(found) if sure > 0.5)
