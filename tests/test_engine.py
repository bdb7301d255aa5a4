from __future__ import annotations

import asyncio
from typing import cast

import numpy as np
import pytest

from liveagent import ConfigError
from liveagent.runtime.constraint import CallMatcher
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Engine, Lane
from liveagent.runtime.work import Append, Decode, Done, Heard, Listen, Probe, Reply, Reset, Rewind, Work
from liveagent.tools import home
from tests.nano import marks, random_nano

IDS = tuple(range(5, 50))


@pytest.fixture
def core() -> Core:
    core = Core(random_nano(), lanes=4, slots=256)
    for _ in range(4):
        core.open()
    return core


def do(core: Core, lane: int, work: Work) -> Done:
    return cast(Done, core.run(lane, work))


def test_fewer_than_four_lanes_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 4 lanes"):
        Core(random_nano(), lanes=1)


def test_a_fifth_session_is_refused_and_a_closed_lane_is_free_again(core: Core) -> None:
    with pytest.raises(ConfigError, match="all 4 lanes"):
        core.open()
    core.close(2)
    assert core.open() == 2


def test_append_in_any_cutting_gives_the_same_logits(core: Core) -> None:
    whole = do(core, 0, Append(IDS, want=(1, 2, 3)))
    for cut in (1, 7, 8, 33):
        do(core, 1, Reset())
        do(core, 1, Append(IDS[:cut]))
        parts = do(core, 1, Append(IDS[cut:], want=(1, 2, 3)))
        assert parts.length == whole.length == len(IDS)
        assert np.allclose(parts.logp, whole.logp, atol=1e-5)


def test_a_lane_is_bit_equal_alone_and_beside_busy_neighbours(core: Core) -> None:
    alone = do(core, 0, Append(IDS, want=tuple(range(40))))
    crowd = Core(random_nano(), lanes=4, slots=256)
    got: list[object] = []
    for _ in range(4):
        crowd.open()
    for lane in (1, 2, 3):
        crowd.submit(lane, Append(IDS[: 9 * lane]), lambda _: None)
        crowd.submit(lane, Decode(20, (0,)), lambda _: None)
    crowd.submit(0, Append(IDS, want=tuple(range(40))), got.append)
    while crowd.step():
        pass
    assert cast(Done, got[0]).logp == alone.logp


def test_a_probe_leaves_no_trace(core: Core) -> None:
    do(core, 0, Append(IDS))
    probe = do(core, 0, Probe((7, 8), (1, 2)))
    assert probe.length == len(IDS)
    after = do(core, 0, Decode(10, (0,)))
    do(core, 1, Append(IDS))
    assert after.ids == do(core, 1, Decode(10, (0,))).ids
    whole = do(core, 2, Append((*IDS, 7, 8), want=(1, 2)))
    assert np.allclose(probe.logp, whole.logp, atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 2, 8, 9, 33])
def test_a_probe_of_any_length_gives_the_slots_back_once(core: Core, tokens: int) -> None:
    do(core, 0, Append(IDS))
    do(core, 0, Probe(IDS[:tokens], (1,)))
    assert do(core, 0, Append((3,))).length == len(IDS) + 1


def test_rewind_then_the_same_again_is_the_same(core: Core) -> None:
    first = do(core, 0, Append(IDS, want=(4, 5)))
    do(core, 0, Rewind(10))
    again = do(core, 0, Append(IDS[10:], want=(4, 5)))
    assert np.allclose(first.logp, again.logp, atol=1e-5)


def test_decoding_right_after_a_rewind_is_refused_and_the_lane_lives_on(core: Core) -> None:
    do(core, 0, Append(IDS))
    do(core, 0, Rewind(3))
    with pytest.raises(ConfigError, match="append something"):
        do(core, 0, Decode(1, (0,)))
    assert do(core, 0, Append((9,))).length == 4


def test_a_full_cache_is_a_clear_error_for_that_lane_alone(core: Core) -> None:
    with pytest.raises(ConfigError, match="cache is full"):
        do(core, 0, Append(tuple([5] * 300)))
    assert do(core, 1, Append(IDS)).length == len(IDS)
    assert do(core, 0, Append(IDS)).length == len(IDS)


def test_a_call_under_the_grammar_is_a_call(core: Core) -> None:
    model = random_nano()
    tools = (home.light, home.timer)
    do(core, 0, Reset(tools))
    do(core, 0, Append((model.template.call,)))
    done = do(core, 0, Decode(64, (model.template.end,), call=True))
    assert done.ended and done.ids[-1] == model.template.end
    name, args = model.parse_call(done.ids, tools)
    tool = next(tool for tool in tools if tool.name == name)
    assert set(tool.validate(args)) == {argument.name for argument in tool.arguments}


@pytest.mark.parametrize("guess", ["none", "of the grammar", "wrong"])
def test_a_call_is_the_same_token_by_token_and_with_what_the_grammar_guesses(
    core: Core, monkeypatch: pytest.MonkeyPatch, guess: str
) -> None:
    call = Decode(60, stop=(marks(core.model).end,), call=True)

    def decoded(lane: int) -> tuple[Done, int]:
        do(core, lane, Reset((home.light, home.timer)))
        do(core, lane, Append(IDS))
        rounds = 0
        box: list[Reply | BaseException] = []
        core.submit(lane, call, box.append)
        while not box:
            core.step()
            rounds += 1
        return cast(Done, box[0]), rounds

    with monkeypatch.context() as without:
        without.setattr(CallMatcher, "ahead", lambda self, most: [])
        one, steps = decoded(0)
    if guess == "wrong":
        monkeypatch.setattr(CallMatcher, "ahead", lambda self, most: [1, 2, 3][:most])
    elif guess == "none":
        monkeypatch.setattr(CallMatcher, "ahead", lambda self, most: [])
    other, fewer = decoded(1)
    assert other == one and core._lane[1].length == core._lane[0].length
    assert fewer < steps if guess == "of the grammar" else fewer == steps
    for lane in (0, 1):  # what was guessed wrongly has left no trace
        assert int(core._cache.length[lane]) == core._lane[lane].length
    after = [do(core, lane, Append(IDS, want=(1, 2, 3))).logp for lane in (0, 1)]
    assert np.allclose(after[0], after[1], atol=1e-5)


def test_hearing_in_ticks_gives_every_frame_and_block_once(core: Core) -> None:
    sound = (np.random.default_rng(0).standard_normal(1280 * 10) * 0.1).astype(np.float32)
    frames, blocks = 0, []
    for at in range(0, len(sound), 1280):
        heard = cast(Heard, core.run(0, Listen(sound[at : at + 1280])))
        frames += len(heard.vad)
        if heard.logp is not None:
            blocks.append(heard.logp)
    assert frames == len(sound) // 512
    assert len(blocks) == len(sound) // 2560 and blocks[0].shape[0] == 4


async def test_lanes_share_the_thread_and_get_their_own_answers() -> None:
    engine = Engine(Core(random_nano(), lanes=4, slots=256))
    try:
        lanes = [Lane(engine, engine.open()) for _ in range(4)]
        done = await asyncio.gather(*(lane.do(Append(IDS[: 10 + at])) for at, lane in enumerate(lanes)))
        assert [each.length for each in done] == [10, 11, 12, 13]
        with pytest.raises(ConfigError, match="cannot rewind"):
            await lanes[0].do(Rewind(99))
        assert (await lanes[0].do(Append(IDS[:1]))).length == 11
    finally:
        engine.close()
    with pytest.raises(ConfigError, match="closed"):
        await lanes[0].do(Append((1,)))


def test_what_a_lane_hears_is_bit_equal_however_many_lanes_there_are_and_whoever_else_hears() -> None:
    rng = np.random.default_rng(3)
    sound = [rng.normal(0, 0.1, 1280).astype(np.float32) for _ in range(6)]

    def heard(lanes: int, lane: int, others: list[int]) -> list[Heard]:
        core = Core(random_nano(), lanes=lanes, slots=64)
        for _ in range(lanes):
            core.open()
        said = []
        for samples in sound:
            for other in others:
                core.submit(other, Listen(samples[::-1].copy()), lambda reply: None)
            said.append(cast(Heard, core.run(lane, Listen(samples))))
            while core.step():
                pass
        return said

    alone = heard(4, 0, [])
    assert sum(each.logp is not None for each in alone) == 3
    for lanes, lane, others in ((9, 7, []), (9, 2, [0, 1]), (9, 8, [0, 1, 2, 3, 4]), (5, 4, [0, 1, 2, 3])):
        for one, other in zip(alone, heard(lanes, lane, others), strict=True):
            assert one.vad == other.vad
            assert (one.logp is None) == (other.logp is None)
            if one.logp is not None and one.hidden is not None:
                assert np.array_equal(one.logp, other.logp) and np.array_equal(one.hidden, other.hidden)  # type: ignore[arg-type]
