"""The decoder: live equals whole, lanes apart to the bit, take-back, probes, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from liveagent.errors import ConfigError
from liveagent.nn.decoder import Decoder, DecoderConfig, DecoderState
from liveagent.nn.lanes import tensors
from liveagent.nn.rotary import rotate

LANES = 4


@pytest.fixture(scope="module")
def net() -> Decoder:
    torch.manual_seed(1)
    made = Decoder(DecoderConfig(97, width=64, layers=3, heads=2, hidden=96, hear_width=12)).eval()
    torch.nn.init.normal_(made.embedding.weight, std=0.3)
    return made


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def tokens(count: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 97, (count,), generator=torch.Generator().manual_seed(seed))


def feed(net: Decoder, state: DecoderState, lane: int, ids: Tensor, junk: float = 0.0) -> Tensor:
    """Read `ids` into one lane in buckets of 32, 8 and 1, other rows being `junk`; the last logits."""
    at, out = 0, torch.zeros(0)
    while at < len(ids):
        left = len(ids) - at
        size = 32 if left >= 32 else 8 if left > 1 else 1
        n = min(size, left)
        x = torch.full((state.lanes, size, net.width), junk)
        x[lane, :n] = net.embed(ids[at : at + n])
        count = [0] * state.lanes
        count[lane] = n
        out = net.step(x, count, state)[lane]
        at += n
    return out


def bits(state: DecoderState, lane: int) -> list[bytes]:
    return [t[lane].numpy().tobytes() for t in tensors(state)]


@pytest.mark.parametrize("length", [1, 2, 8, 33, 77])
def test_live_equals_whole(net: Decoder, length: int) -> None:
    ids = tokens(length)
    whole = net(ids[None])[0]
    assert whole.std() > 0.1
    state = net.init_state(LANES, 128)
    torch.testing.assert_close(feed(net, state, 2, ids), whole[-1], rtol=0, atol=1e-5)
    one = net.init_state(LANES, 128)
    for i in range(length):
        logits = feed(net, one, 1, ids[i : i + 1])
        torch.testing.assert_close(logits, whole[i], rtol=0, atol=1e-5)


def test_live_equals_whole_with_times() -> None:
    """Tokens that came an hour apart, in one block and in several, give what the whole pass gives; and time tells."""
    torch.manual_seed(6)
    net = Decoder(DecoderConfig(97, width=64, layers=3, heads=2, hidden=96, hear_width=12, time_pairs=4)).eval()
    torch.nn.init.normal_(net.embedding.weight, std=0.3)
    ids, times = tokens(45), torch.cumsum(torch.rand(45, dtype=torch.float64) * 400, 0)
    whole = net(ids[None], times=times[None])[0]
    assert (whole - net(ids[None])[0]).abs().max() > 1e-2
    for sizes in ([1] * 45, [32, 8, 5], [8, 32, 1, 4]):
        state, at = net.init_state(LANES, 64), 0
        for size in sizes:
            x, when = torch.zeros(LANES, size, 64), torch.zeros(LANES, size, dtype=torch.float64)
            x[2], when[2] = net.embed(ids[at : at + size]), times[at : at + size]
            logits = net.step(x, [0, 0, size, 0], state, when)[2]
            at += size
            torch.testing.assert_close(logits, whole[at - 1], rtol=0, atol=1e-5)
        assert torch.equal(state.time[2, :45], times)


@pytest.mark.parametrize("hostile", [0.0, 1e6, float("nan"), float("inf")])
def test_a_lane_does_not_see_its_neighbours(net: Decoder, hostile: float) -> None:
    """Bit-equal: alone, beside quiet lanes, beside lanes of another length that hold what would poison it."""
    ids = tokens(41)
    alone, beside = net.init_state(LANES, 128), net.init_state(LANES, 128)
    for lane, length in ((0, 70), (3, 5)):
        x = torch.full((LANES, 1, net.width), hostile)
        for _ in range(length):
            net.step(x, [int(b == lane) for b in range(LANES)], beside)
    assert torch.equal(feed(net, alone, 1, ids), feed(net, beside, 1, ids, junk=hostile))
    x = net.embed(tokens(LANES)).view(LANES, 1, -1)
    quiet = net.step(x, [0, 1, 0, 0], alone)[1]
    x[0], x[3] = hostile, hostile
    assert torch.equal(quiet, net.step(x, [1, 1, 0, 1], beside)[1])
    assert bits(alone, 1) == bits(beside, 1)


def test_bits_do_not_depend_on_how_many_lanes_there_are(net: Decoder) -> None:
    """A lane of four and a lane of nine, whose neighbours step with it or not: the same bits."""
    ids = tokens(44)
    few, many = net.init_state(LANES, 64), net.init_state(9, 64)
    assert torch.equal(feed(net, few, 1, ids), feed(net, many, 7, ids))
    feed(net, many, 2, tokens(30, 5))
    x = net.embed(tokens(9)).view(9, 1, -1)
    for counts in ([0, 0, 0, 0, 0, 0, 0, 1, 0], [1] * 9, [0, 1, 1, 1, 1, 1, 1, 1, 0]):
        alone = net.step(x[7:8].expand(LANES, -1, -1), [0, 1, 0, 0], few)[1]
        assert torch.equal(alone, net.step(x, counts, many)[7])


def test_rows_past_the_count_do_not_matter(net: Decoder) -> None:
    one, two = net.init_state(LANES, 64), net.init_state(LANES, 64)
    x = net.embed(tokens(LANES * 8)).view(LANES, 8, -1).clone()
    counts = [3, 8, 1, 0]
    first = net.step(x, counts, one)
    for lane, count in enumerate(counts):
        x[lane, count:] = float("nan")
    assert torch.equal(first, net.step(x, counts, two))
    assert all(bits(one, lane) == bits(two, lane) for lane in range(LANES))
    assert first[3].eq(0).all()


def test_take_back_is_exact(net: Decoder) -> None:
    base, tail, later = tokens(20, 1), tokens(13, 2), tokens(9, 3)
    state, never = net.init_state(LANES, 64), net.init_state(LANES, 64)
    feed(net, never, 0, base)
    feed(net, state, 0, base)
    feed(net, state, 0, tail)
    state.rewind(0, 20)
    assert bits(state, 0) == bits(never, 0)
    assert torch.equal(feed(net, state, 0, later), feed(net, never, 0, later))


def test_a_scratch_branch_leaves_nothing(net: Decoder) -> None:
    state = net.init_state(LANES, 64)
    feed(net, state, 3, tokens(17))
    before = bits(state, 3)
    state.fork(3)
    feed(net, state, 3, tokens(5, 8))
    state.drop(3)
    assert bits(state, 3) == before


def test_probes_in_training_are_scratch_branches_live(net: Decoder) -> None:
    """A leaf of `forward` answers what a probe on a fork answers, and the trunk does not notice it."""
    trunk, probe = tokens(12), torch.tensor([96])
    after = [4, 11, 0]
    positions = torch.tensor([[a + 1 for a in after]])
    mask = torch.zeros(1, 3, 15, dtype=torch.bool)
    mask[0, :, 12:] = torch.eye(3, dtype=torch.bool)
    for i, a in enumerate(after):
        mask[0, i, : a + 1] = True
    out = net(torch.cat([trunk, probe.repeat(3)])[None], leaves=(positions, mask))[0]
    torch.testing.assert_close(out[:12], net(trunk[None])[0], rtol=0, atol=1e-5)
    for i, a in enumerate(after):
        state = net.init_state(LANES, 32)
        feed(net, state, 0, trunk[: a + 1])
        torch.testing.assert_close(feed(net, state, 0, probe), out[12 + i], rtol=0, atol=1e-5)


def test_nothing_depends_on_a_later_token(net: Decoder) -> None:
    ids = tokens(30)
    changed = ids.clone()
    changed[20:] = tokens(10, 9)
    assert torch.equal(net(ids[None])[0, :20], net(changed[None])[0, :20])


def test_raw_keys_rotate_to_the_stored_ones(net: Decoder) -> None:
    state = net.init_state(LANES, 64)
    feed(net, state, 1, tokens(25))
    table = net._table(25)[:25]
    for layer in range(3):
        assert torch.equal(rotate(state.raw[1, layer, :, :25], table), state.keys[1, layer, :, :25])


def test_a_full_lane_is_refused_and_nothing_changes(net: Decoder) -> None:
    state = net.init_state(LANES, 16)
    feed(net, state, 0, tokens(15))
    before = [bits(state, lane) for lane in range(LANES)]
    with pytest.raises(ConfigError, match="lane 0 is full"):
        net.step(torch.zeros(LANES, 8, net.width), [2, 2, 0, 0], state)
    assert before == [bits(state, lane) for lane in range(LANES)]


@pytest.mark.parametrize("counts", [[9, 0, 0, 0], [1, 0, 0], [0, 0, 0, 0, 1]])
def test_counts_that_do_not_fit(net: Decoder, counts: Sequence[int]) -> None:
    with pytest.raises(ConfigError, match="counts"):
        net.step(torch.zeros(LANES, 8, net.width), counts, net.init_state(LANES, 16))


def test_heard_pieces(net: Decoder) -> None:
    """Hard weights are the id's own row; mixes lie between; the ear's hidden path starts silent."""
    weights = torch.zeros(2, 97)
    weights[0, 5] = 1.0
    weights[1, 5], weights[1, 9] = 0.5, 0.5
    rows = net.hear_embed(weights, torch.randn(2, 12))
    torch.testing.assert_close(rows[0], net.embed(torch.tensor(5)))
    torch.testing.assert_close(rows[1], (net.embed(torch.tensor(5)) + net.embed(torch.tensor(9))) / 2)


def test_files(net: Decoder, tmp_path: Path) -> None:
    path = tmp_path / "decoder.safetensors"
    net.save(path, "abc", {"steps": 3})
    again = Decoder.load(path, "abc", hear_width=7)  # an untrained path from the ear fits any ear
    ids = tokens(10)[None]
    assert again.config.hear_width == 7
    torch.testing.assert_close(again(ids), net(ids), rtol=0, atol=0.02)
    with pytest.raises(ConfigError, match="another pieces.json"):
        Decoder.load(path, "abd")
    with pytest.raises(ConfigError, match="missing"):
        Decoder.load(tmp_path / "none.safetensors", "abc")
    whole = path.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ConfigError, match=r"damaged|holds"):
            Decoder.load(path, "abc")


def test_another_version_is_refused(net: Decoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "decoder.safetensors"
    monkeypatch.setattr("liveagent.nn.decoder.VERSION", 99)
    net.save(path, "abc")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match="version 99"):
        Decoder.load(path, "abc")
