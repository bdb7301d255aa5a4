"""The laws of streaming, over every streaming network: streamed equals whole, lanes apart, memory constant."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from liveagent.nn.lanes import tensors
from tests.laws import LAWS, Law, outputs

pytestmark = pytest.mark.slow

BLOCKS = 14
LANES = 4


@pytest.fixture(params=LAWS, ids=lambda law: law.name)
def law(request: pytest.FixtureRequest) -> Law:
    found: Law = request.param
    return found


def stream(law: Law, net: Any, x: Tensor, sizes: list[int], state: Any = None, active: Any = None) -> list[Tensor]:
    """Feed `x` in steps of `sizes` blocks, over and over; the outputs joined along time."""
    state = net.init_state(len(x)) if state is None else state
    active = torch.ones(len(x), dtype=torch.bool) if active is None else active
    parts, at, i = [], 0, 0
    with torch.no_grad():
        while at < x.shape[1]:
            wide = min(sizes[i % len(sizes)] * law.block, x.shape[1] - at)
            parts.append([t.clone() for t in outputs(net.step(x[:, at : at + wide], state, active))])
            at, i = at + wide, i + 1
    return [torch.cat(tensors_, dim=1) for tensors_ in zip(*parts, strict=True)]


@cache
def undisturbed(law: Law) -> list[Tensor]:
    """What a lane says that nothing happens to: the stream, a block a step."""
    return stream(law, law.make(), law.feed(LANES, BLOCKS), [1])


def same(law: Law, a: list[Tensor], b: list[Tensor]) -> None:
    assert len(a) == len(b)
    for left, right in zip(a, b, strict=True):
        if law.exact:
            assert torch.equal(left, right)
        else:
            torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


def bits(state: Any, lane: int) -> list[Tensor]:
    return [t[lane].clone() for t in tensors(state)]


def equal_bits(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(x.numpy().tobytes() == y.numpy().tobytes() for x, y in zip(a, b, strict=True))


def test_any_chunking_gives_the_whole(law: Law) -> None:
    net, x = law.make(), law.feed(LANES, BLOCKS)
    with torch.no_grad():
        whole = [t.clone() for t in outputs(law.whole(net, x))]
    assert all(t.isfinite().all() and t.std() > 0 for t in whole)  # it says something
    for size in law.chunks:
        same(law, stream(law, net, x, [size]), whole)
    same(law, stream(law, net, x, list(law.chunks)), whole)


def test_long_streams_stay_equal(law: Law) -> None:
    """Far beyond every context, so that what has fallen out of the state is seen not to matter."""
    net, x = law.make(), law.feed(1, 60)
    with torch.no_grad():
        whole = outputs(law.whole(net, x))
    same(law, stream(law, net, x, [law.chunks[0]]), whole)


def test_neighbours_do_not_matter(law: Law) -> None:
    net, x = law.make(), law.feed(LANES, BLOCKS)
    for hostile in (1e6, float("nan"), float("inf")):
        loud = x.clone()
        loud[0] *= hostile
        loud[3] = hostile
        beside = stream(law, net, loud, [1])
        for a, b in zip(undisturbed(law), beside, strict=True):
            assert torch.equal(a[1], b[1]) and torch.equal(a[2], b[2]), hostile


def test_inactive_rows_keep_their_bits(law: Law) -> None:
    net, x = law.make(), law.feed(LANES, BLOCKS)
    state = net.init_state(LANES)
    half = BLOCKS // 2 * law.block
    stream(law, net, x[:, :half], [1], state)
    before = bits(state, 1)
    poisoned = x[:, half:].clone()
    poisoned[1] = float("nan")
    active = torch.tensor([True, False, True, True])
    stream(law, net, poisoned, [1], state, active)
    assert equal_bits(before, bits(state, 1))
    # and it goes on from there as if nothing had been
    rest = stream(law, net, x[:, half:], [1], state)
    for a, b in zip(rest, undisturbed(law), strict=True):
        torch.testing.assert_close(a[1], b[1, -a.shape[1] :], rtol=0, atol=0)


def test_a_copy_goes_on_identically(law: Law) -> None:
    net, x = law.make(), law.feed(LANES, BLOCKS)
    state, other = net.init_state(LANES), net.init_state(LANES)
    half = BLOCKS // 2 * law.block
    stream(law, net, x[:, :half], [1], state)
    untouched = bits(other, 0)
    net.copy_lane(state, 2, other, 3)  # out to another slab
    net.copy_lane(state, 2, state, 1)  # and to a lane beside it
    assert equal_bits(untouched, bits(other, 0))
    later = x[:, half:].clone()
    later[1] = later[3] = later[2]
    here = stream(law, net, later, [1], state)
    there = stream(law, net, later, [1], other)
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a[2], a[1]) and torch.equal(a[2], b[3])


def test_restore_takes_back_what_came_since(law: Law) -> None:
    net, x = law.make(), law.feed(LANES, BLOCKS)
    state, kept = net.init_state(LANES), net.init_state(1)
    half = BLOCKS // 2 * law.block
    stream(law, net, x[:, :half], [1], state)
    net.copy_lane(state, 2, kept, 0)
    first = stream(law, net, x[:, half:], [1], state)
    net.copy_lane(kept, 0, state, 2)
    again = stream(law, net, x[:, half:], [1], state)
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a[2], b[2])


def test_a_reset_lane_has_heard_nothing(law: Law) -> None:
    net, x = law.make(), law.feed(LANES, BLOCKS)
    state = net.init_state(LANES)
    dirty = x.clone()
    dirty[2] = float("nan")
    stream(law, net, dirty, [1], state)
    others = [bits(state, lane) for lane in (0, 1, 3)]
    net.reset(state, 2)
    assert all(equal_bits(a, bits(state, lane)) for a, lane in zip(others, (0, 1, 3), strict=True))
    assert equal_bits(bits(state, 2), bits(net.init_state(LANES), 2))
    for a, b in zip(undisturbed(law), stream(law, net, x, [1], state), strict=True):
        assert torch.equal(a[2], b[2])


def test_memory_is_constant(law: Law) -> None:
    """A state's tensors stay the same storage, shape and size however long it runs."""
    net, x = law.make(), law.feed(LANES, BLOCKS)
    state = net.init_state(LANES)
    before = [(t.data_ptr(), t.shape, t.stride(), t.untyped_storage().nbytes()) for t in tensors(state)]
    for _ in range(2):
        stream(law, net, x, [law.chunks[-1]], state)
    assert before == [(t.data_ptr(), t.shape, t.stride(), t.untyped_storage().nbytes()) for t in tensors(state)]
    assert all(t.shape[0] == LANES for t in tensors(state))
