"""Lanes of a state: what resets, copies and guards one row of every tensor in a state dataclass.

Every state here is a dataclass of tensors whose first dimension is B, the lanes, of tuples of such, or of states.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

S = TypeVar("S")


def tensors(state: Any) -> list[Tensor]:
    """The tensors of a state, nested states included, in field order."""
    found: list[Tensor] = []
    for field in dataclasses.fields(state):
        value = getattr(state, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            found += [each] if isinstance(each, Tensor) else tensors(each)
    return found


def reset(state: Any, lane: int) -> None:
    """Zero one lane: the state of a lane that has heard nothing."""
    for tensor in tensors(state):
        tensor[lane].zero_()


def copy_lane(src_state: Any, src: int, dst_state: Any, dst: int) -> None:
    """Make lane `dst` of one state equal lane `src` of another (or of the same one)."""
    for source, target in zip(tensors(src_state), tensors(dst_state), strict=True):
        target[dst].copy_(source[src].clone())


def take(state: S, rows: list[int]) -> S:
    """A state of its own of these lanes, in this order; a lane may stand in it twice."""
    whole: Any = state
    parts = {field.name: _taken(getattr(whole, field.name), rows) for field in dataclasses.fields(whole)}
    return cast("S", dataclasses.replace(whole, **parts))


def _taken(value: Any, rows: list[int]) -> Any:
    if isinstance(value, tuple):
        return tuple(_taken(each, rows) for each in value)
    return value[rows] if isinstance(value, Tensor) else take(value, rows)


def put(state: S, rows: list[int], part: S) -> None:
    """Write the first lanes of `part` back to where `take` had them from."""
    for whole, piece in zip(tensors(state), tensors(part), strict=True):
        whole[rows] = piece[: len(rows)]


def keep(old: Tensor, new: Tensor, active: Tensor) -> None:
    """Write `new` into `old` where `active` [B]; other rows keep their bits, whatever `new` holds there."""
    mask = active.view(-1, *(1 for _ in range(old.dim() - 1)))
    old.copy_(torch.where(mask, new, old))
