"""The rolling cache against the oracle: the same log of appends, take-backs and evictions, computed anew each time."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import torch
from torch import Tensor

from liveagent.bench.naive import Naive
from liveagent.errors import ConfigError, TooFarBack
from liveagent.ledger import CachePlan, Hole, Ledger, Move
from liveagent.nn.decoder import Decoder, DecoderConfig, DecoderState
from liveagent.window import Budget, plan

LANES, LANE, SLOTS = 4, 2, 96
CONFIGS = {
    "plain": DecoderConfig(61, width=32, layers=2, heads=2, hidden=48),
    "shared keys": DecoderConfig(61, width=48, layers=2, heads=4, hidden=48, kv_heads=2, time_pairs=3),
    "windows": DecoderConfig(61, width=32, layers=4, heads=2, hidden=32, kv_heads=1, windows=(9, 9, 0, 30)),
}


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(params=CONFIGS)
def net(request: pytest.FixtureRequest) -> Decoder:
    torch.manual_seed(3)
    made = Decoder(CONFIGS[request.param]).eval()
    for weight in made.parameters():
        if weight.ndim == 2:
            torch.nn.init.normal_(weight, std=0.4 if weight is made.embedding.weight else 0.15)
    return made


def feed(net: Decoder, state: DecoderState, rows: Tensor, times: list[float], lane: int = LANE) -> Tensor:
    """Rows `[n, D]` in buckets of 32, 8 and 1."""
    at, out = 0, torch.zeros(0)
    while at < len(rows):
        left = len(rows) - at
        size = 32 if left >= 32 else 8 if left > 1 else 1
        n = min(size, left)
        x, when = torch.zeros(LANES, size, net.width), torch.zeros(LANES, size, dtype=torch.float64)
        x[lane, :n], when[lane, :n] = rows[at : at + n], torch.tensor(times[at : at + n])
        out = net.step(x, [n * (b == lane) for b in range(LANES)], state, when)[lane]
        at += n
    return out


class Both:
    """A lane, the oracle, and a ledger that says what they hold."""

    def __init__(self, net: Decoder, seed: int) -> None:
        self.net, self.rng = net, Random(seed)
        self.state, self.naive, self.ledger = net.init_state(LANES, SLOTS, back=40), Naive(net), Ledger()
        self.now, self.worst, self.evicted, self.moved_back = 0.0, 0.0, 0, 0

    def read(self, kind: str, count: int) -> None:
        rows = self.net.embed(torch.tensor([self.rng.randrange(61) for _ in range(count)]))
        self.now += self.rng.random() * 30
        times = [self.now] * count
        logits, expected = feed(self.net, self.state, rows, times), self.naive.read(rows, times)
        assert expected.std() > 0.1
        self.worst = max(self.worst, float((logits - expected).abs().max()))
        self.ledger.append(kind, count, round(self.now * 1e9))  # type: ignore[arg-type]

    def take_back(self, count: int) -> None:
        place = max(self.ledger.end - count, self.ledger.first + self.ledger.pinned_tokens)
        at = place - self.ledger.first
        self.ledger.truncate(place)
        self.state.rewind(LANE, at)
        self.naive.rewind(at)

    def evict(self, todo: CachePlan) -> None:
        first = self.ledger.first
        self.net.evict(todo, first, self.state, LANE)
        self.naive.evict({slot - first for hole in todo.holes for slot in range(hole.start, hole.end)})
        self.ledger.apply(todo)
        self.evicted += todo.evicted_tokens
        self.moved_back += sum(move.length for move in todo.moves if move.by < 0)

    def turn(self) -> None:
        rng = self.rng
        if rng.random() < 0.8:
            self.ledger.begin_turn()
        self.read(rng.choice(["text", "audio", "picture"]), rng.randint(1, 9))
        if rng.random() < 0.3:
            self.take_back(rng.randint(1, 12))
        self.read("picture" if rng.random() < 0.5 else "text", rng.randint(1, 4))
        if todo := plan(self.ledger, Budget(SLOTS, 70, 50, 24, 16)):
            self.evict(todo)


def test_a_log_of_everything_equals_the_oracle(net: Decoder) -> None:
    both = Both(net, 2)
    both.read("system", 9)
    for _ in range(36):
        both.turn()
        assert both.worst <= 1e-4
        assert int(both.state.length[LANE]) == len(both.naive.told) == both.ledger.used_tokens
        assert int(both.state.extent[LANE]) <= SLOTS
    assert both.evicted > 100 and both.moved_back > 0


def test_the_oracle_can_tell(net: Decoder) -> None:
    """A hole left open, and keys turned by one place too few, are seen."""
    both = Both(net, 5)
    both.read("system", 9)
    for _ in range(12):
        both.ledger.begin_turn()
        both.read("text", 6)
    todo = plan(both.ledger, Budget(SLOTS, 70, 40))
    wrong = CachePlan(todo.holes, tuple(Move(m.start, m.length, m.by - 1) for m in todo.moves), todo.spans)
    for moves in (CachePlan(todo.holes, (), todo.spans), wrong):
        kept = Both(net, 5)
        both.net.copy_lane(both.state, LANE, kept.state, LANE)
        kept.naive.told, kept.naive.written = list(both.naive.told), both.naive.written
        first = both.ledger.first
        net.evict(moves, first, kept.state, LANE)
        kept.naive.evict({slot - first for hole in todo.holes for slot in range(hole.start, hole.end)})
        kept.read("text", 3)
        assert kept.worst > 1e-3


def test_places_far_out_are_as_exact() -> None:
    """A million places on, attention finds the same: angles are of float64, and distances are all that counts."""
    torch.manual_seed(3)
    net = Decoder(CONFIGS["shared keys"]).eval()
    torch.nn.init.normal_(net.embedding.weight, std=0.4)
    both = Both(net, 1)
    both.read("system", 20)
    both.state.position[LANE, :20] += 1_000_000
    both.state.next_position[LANE] += 1_000_000
    both.state._turn(LANE, both.state.order(LANE), net._rope)
    both.read("text", 5)
    assert both.worst <= 1e-5


def test_slots_are_taken_again_and_nothing_else_moves(net: Decoder) -> None:
    both = Both(net, 7)
    both.read("system", 10)
    for _ in range(6):
        both.ledger.begin_turn()
        both.read("text", 10)
    values = both.state.values[LANE].clone()
    both.evict(plan(both.ledger, Budget(SLOTS, 60, 40)))
    free = both.state.position[LANE] < 0
    assert free[10:40].all() and not free[:10].any() and not free[40:70].any()
    assert torch.equal(both.state.values[LANE][:, :, ~free], values[:, :, ~free])
    for slab in (both.state.keys, both.state.values, both.state.raw):
        assert not slab[LANE][:, :, free].any()
    both.read("text", 32)
    assert int(both.state.extent[LANE]) == 72 and both.worst <= 1e-4


def test_a_branch_over_holes_is_dropped_to_the_bit(net: Decoder) -> None:
    """After an eviction the branch lies in freed slots; dropped, the next logits are as they were, bit for bit."""
    both = Both(net, 8)
    both.read("system", 10)
    for _ in range(6):
        both.ledger.begin_turn()
        both.read("text", 10)
    both.evict(plan(both.ledger, Budget(SLOTS, 60, 40)))
    other = net.init_state(LANES, SLOTS, back=40)
    net.copy_lane(both.state, LANE, other, LANE)
    both.state.fork(LANE)
    row = net.embed(torch.tensor([3, 4, 5, 6, 7, 8, 9, 10, 11]))
    feed(net, both.state, row, [both.now] * 9)
    both.state.drop(LANE)
    for one, two in ((both.state.keys, other.keys), (both.state.position, other.position)):
        assert torch.equal(one[LANE], two[LANE])
    assert torch.equal(feed(net, both.state, row, [1.0] * 9), feed(net, other, row, [1.0] * 9))


def test_an_eviction_below_a_branch_keeps_the_branch(net: Decoder) -> None:
    both = Both(net, 9)
    both.read("system", 10)
    both.ledger.begin_turn()
    both.read("text", 30)
    both.ledger.begin_turn()
    both.read("text", 5)
    both.state.fork(LANE)
    feed(net, both.state, net.embed(torch.tensor([1, 2, 3])), [0.0] * 3)
    both.net.evict(CachePlan((Hole(10, 30),), (Move(0, 10, 30),)), 0, both.state, LANE)
    both.state.drop(LANE)
    assert int(both.state.length[LANE]) == 15


def test_a_plan_for_another_lane_is_refused(net: Decoder) -> None:
    both = Both(net, 1)
    both.read("system", 10)
    with pytest.raises(ConfigError, match="another lane"):
        net.evict(CachePlan((Hole(5, 10),)), 0, both.state, LANE)


def test_local_layers_say_when_a_take_back_is_too_long() -> None:
    net = Decoder(CONFIGS["windows"]).eval()
    state = net.init_state(LANES, 200, back=8)
    assert state.near_keys.shape == (LANES, 3, 1, 30 + 8 + 32, 16) and state.keys.shape[1] == 1
    rows = torch.randn(150, 32)
    feed(net, state, rows, [0.0] * 150)
    state.rewind(LANE, 150 - 40)
    with pytest.raises(TooFarBack):
        state.rewind(LANE, 150 - 100)
    state.rewind(LANE, 0)
    again, whole = feed(net, state, rows[:30], [0.0] * 30), net(rows=rows[None, :30])[0, -1]
    torch.testing.assert_close(again, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sizes", [[1], [32, 1, 8]])
def test_live_equals_whole_with_windows_and_shared_keys(net: Decoder, sizes: list[int]) -> None:
    rows, times = net.embed(torch.randint(0, 61, (57,))), torch.cumsum(torch.rand(57, dtype=torch.float64), 0)
    whole = net(rows=rows[None], times=times[None])[0]
    state, at, turn = net.init_state(LANES, SLOTS, back=0), 0, 0
    while at < 57:
        n = min(sizes[turn % len(sizes)], 57 - at)
        x, when = torch.zeros(LANES, n, net.width), torch.zeros(LANES, n, dtype=torch.float64)
        x[1], when[1] = rows[at : at + n], times[at : at + n]
        logits = net.step(x, [0, n, 0, 0], state, when)[1]
        at, turn = at + n, turn + 1
        torch.testing.assert_close(logits, whole[at - 1], rtol=0, atol=2e-5)


def test_probes_in_training_see_as_far_as_live_ones(net: Decoder) -> None:
    """Leaves under local windows answer what a branch answers live."""
    trunk, probe, after = torch.randint(0, 61, (40,)), torch.tensor([7]), [13, 39, 25]
    mask = torch.zeros(1, 3, 43, dtype=torch.bool)
    mask[0, :, 40:] = torch.eye(3, dtype=torch.bool)
    for i, a in enumerate(after):
        mask[0, i, : a + 1] = True
    leaves = torch.tensor([[a + 1 for a in after]]), mask
    out = net(torch.cat([trunk, probe.repeat(3)])[None], leaves=leaves)[0]
    for i, a in enumerate(after):
        state = net.init_state(LANES, SLOTS)
        feed(net, state, net.embed(trunk[: a + 1]), [0.0] * (a + 1))
        torch.testing.assert_close(feed(net, state, net.embed(probe), [0.0]), out[40 + i], rtol=0, atol=2e-5)


def test_head_and_window_counts_that_do_not_fit() -> None:
    for wrong in (dict(kv_heads=3), dict(windows=(4,))):
        with pytest.raises(ConfigError, match="share"):
            Decoder(DecoderConfig(61, width=32, layers=2, heads=2, **wrong))
