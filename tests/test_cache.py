"""The key/value cache against a plain list of what each lane should hold."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from liveagent.errors import ConfigError
from liveagent.nn.cache import KVCache
from liveagent.nn.lanes import tensors

LAYERS, LANES, HEADS, SLOTS, HEAD = 2, 4, 2, 16, 4


def fresh(slots: int = SLOTS) -> KVCache:
    return KVCache.empty(LANES, LAYERS, HEADS, slots, HEAD, HEADS * HEAD)


def append(cache: KVCache, lane: int, marks: list[int]) -> None:
    """Put tokens whose every number is their mark; keys are raw ones, turned by nothing."""
    at = cache.spot(lane, len(marks))
    value = torch.tensor(marks, dtype=torch.float32)
    heads = value[None, None, :, None].expand(LAYERS, HEADS, -1, HEAD)
    cache.keys[lane][:, :, at.slots], cache.raw[lane][:, :, at.slots] = heads, heads
    cache.values[lane][:, :, at.slots] = heads + 0.5
    cache.rows[lane][at.slots] = value[:, None].expand(-1, HEADS * HEAD)
    cache.advance(at, value.double() / 4)


def check(cache: KVCache, lane: int, marks: list[int]) -> None:
    """The lane holds exactly these tokens, in this order, at places without holes, and zeros elsewhere."""
    n, order = len(marks), cache.order(lane)
    value = torch.tensor(marks, dtype=torch.float32)
    assert len(order) == n and cache.room(lane) == cache.slots - n
    assert torch.equal(cache.raw[lane][1, 1][order, 2], value)
    assert torch.equal(cache.values[lane][0, 1][order, 0], value + 0.5)
    assert torch.equal(cache.rows[lane][order, 0], value) and torch.equal(cache.time[lane, order], value.double() / 4)
    end = int(cache.next_position[lane])
    assert cache.position[lane, order].tolist() == list(range(end - n, end))
    assert cache.serial[lane, order].diff().gt(0).all()
    assert int(cache.extent[lane]) == (int(order.max()) + 1 if n else 0) <= cache.slots
    dead = torch.ones(cache.slots, dtype=torch.bool)
    dead[order] = False
    for slab in (cache.keys, cache.values, cache.raw):
        assert not slab[lane][:, :, dead].any()
    assert not cache.rows[lane][dead].any()
    for table in (cache.position, cache.serial, cache.time):
        assert table[lane, dead].eq(-1).all()
    assert cache.slot[lane, n:].eq(-1).all()


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
    cache.keys[1, :, :, 1], cache.values[1, :, :, 1] = float("nan"), float("inf")
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
    cache, small = fresh(), fresh(2)
    append(cache, 0, [1, 2, 3])
    with pytest.raises(ConfigError, match="cannot rewind"):
        cache.rewind(0, 4)
    with pytest.raises(ConfigError, match="do not fit"):
        cache.copy_lane(0, small, 0)
    cache.fork(0)
    with pytest.raises(ConfigError, match="scratch branch already"):
        cache.fork(0)
