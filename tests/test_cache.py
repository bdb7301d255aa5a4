"""The key/value cache against a plain list of what each lane should hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.nn.cache import KVCache
from liveagent.nn.lanes import tensors

LAYERS, LANES, HEADS, SLOTS, HEAD = 2, 4, 2, 16, 3


def fresh() -> KVCache:
    return KVCache.empty(LAYERS, LANES, HEADS, SLOTS, HEAD)


def append(cache: KVCache, lane: int, marks: list[int]) -> None:
    """Put tokens whose every number is their mark."""
    plain, deep = cache.places(lane, len(marks))
    value = torch.tensor(marks, dtype=torch.float32)
    heads = value[:, None, None].expand(-1, HEADS, HEAD)
    for layer in range(LAYERS):
        cache.put(torch.tensor(deep) + layer * SLOTS, heads + 0.25 * layer, heads + 0.5)
    raws = heads[:, None].expand(-1, LAYERS, -1, -1) + 0.125
    cache.put_raw(torch.tensor(plain), raws, value[:, None].expand(-1, HEADS * HEAD))
    cache.advance(lane, len(marks))


def check(cache: KVCache, lane: int, marks: list[int]) -> None:
    """The lane holds exactly these tokens, and zeros elsewhere."""
    n = len(marks)
    value = torch.tensor(marks, dtype=torch.float32)
    assert int(cache.length[lane]) == n and cache.room(lane) == SLOTS - n
    for layer, (keys, values) in enumerate(cache.seen(lane, n)):
        assert keys.shape == values.shape == (1, HEADS, n, HEAD)
        assert torch.equal(keys[0, 1, :, 2], value + 0.25 * layer) and torch.equal(values[0, 0, :, 1], value + 0.5)
    assert torch.equal(cache.rows[lane, :n, 0], value)
    assert torch.equal(cache.raw[lane, :n, 1, 1, 1], value + 0.125)
    assert cache.position[lane, :n].tolist() == list(range(n))
    for dead in (cache.keys[lane, :, n:], cache.values[lane, :, n:], cache.raw[lane, n:], cache.rows[lane, n:]):
        assert not dead.any()
    assert not cache.position[lane, n:].any()


KINDS = ["append", "rewind", "fork", "drop", "keep", "reset", "copy"]
ACTIONS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 9)), max_size=25)


@given(ACTIONS)
def test_lanes_hold_what_a_list_would(actions: list[tuple[str, int, int]]) -> None:
    cache, model = fresh(), [[] for _ in range(LANES)]  # type: ignore[var-annotated]
    forks: list[int | None] = [None] * LANES
    mark = 0
    for what, lane, number in actions:
        if what == "append" and len(model[lane]) + number <= SLOTS and number:
            marks = list(range(mark + 1, mark + 1 + number))
            mark += number
            append(cache, lane, marks)
            model[lane] += marks
        elif what == "rewind" and number <= len(model[lane]):
            cache.rewind(lane, number)
            del model[lane][number:]
            at = forks[lane]
            if at is not None and at > number:
                forks[lane] = None
        elif what == "fork" and forks[lane] is None:
            forks[lane] = cache.fork(lane)
            assert forks[lane] == len(model[lane])
        elif what in ("drop", "keep"):
            at = forks[lane]
            if at is None:
                with pytest.raises(ConfigError):
                    getattr(cache, what)(lane)
                continue
            getattr(cache, what)(lane)
            forks[lane] = None
            if what == "drop":
                del model[lane][at:]
        elif what == "reset":
            cache.reset(lane)
            model[lane], forks[lane] = [], None
        elif what == "copy":
            other = number % LANES
            cache.copy_lane(lane, cache, other)
            model[other], forks[other] = list(model[lane]), forks[lane]
    for lane in range(LANES):
        check(cache, lane, model[lane])


def test_a_fork_that_is_dropped_leaves_no_bit() -> None:
    cache = fresh()
    append(cache, 2, [5, 6, 7])
    before = [t.clone() for t in tensors(cache)]
    cache.fork(2)
    append(cache, 2, [8, 9])
    cache.drop(2)
    assert all(torch.equal(a, b) for a, b in zip(before, tensors(cache), strict=True))


def test_take_back_clears_nan() -> None:
    cache = fresh()
    append(cache, 1, [1, 2])
    cache.keys[1, :, 1], cache.values[1, :, 1] = float("nan"), float("inf")
    cache.rewind(1, 1)
    check(cache, 1, [1])
    cache.rows[1] = float("nan")
    cache.reset(1)
    check(cache, 1, [])


def test_a_copy_into_another_slab_is_its_own() -> None:
    one, two = fresh(), fresh()
    append(one, 0, [1, 2, 3])
    append(two, 3, [9])
    one.copy_lane(0, two, 3)
    check(two, 3, [1, 2, 3])
    one.rewind(0, 1)
    check(two, 3, [1, 2, 3])


def test_refusals() -> None:
    cache, small = fresh(), KVCache.empty(LAYERS, LANES, HEADS, 2, HEAD)
    append(cache, 0, [1, 2, 3])
    with pytest.raises(ConfigError, match="cannot rewind"):
        cache.rewind(0, 4)
    with pytest.raises(ConfigError, match="do not fit"):
        cache.copy_lane(0, small, 0)
    cache.fork(0)
    with pytest.raises(ConfigError, match="scratch branch already"):
        cache.fork(0)
