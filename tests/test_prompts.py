"""A prompt that was read is kept, and a lane that begins with it is the same to the bit as one that read it itself."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from liveagent.runtime.core import Core
from liveagent.runtime.prompts import LEAST_TOKENS
from liveagent.runtime.work import Append, Decode, Done, Reset, Rewind, Soft, Work
from liveagent.tools import home
from tests.nano import random_nano

IDS = tuple(range(5, 105))
MORE = tuple(range(40, 60))


def core_of(prompts: int = 2) -> Core:
    core = Core(random_nano(), lanes=4, slots=256, prompts=prompts)
    for _ in range(4):
        core.open()
    return core


def do(core: Core, lane: int, work: Work) -> Done:
    return cast(Done, core.run(lane, work))


def passes(core: Core, lane: int, work: Work) -> int:
    """How many rounds it takes."""
    core.submit(lane, work, lambda reply: None)
    rounds = 0
    while core.step():
        rounds += 1
    return rounds


def held(core: Core, lane: int) -> list[torch.Tensor]:
    cache = core._cache
    extent = int(cache.extent[lane])
    slabs = [slab[lane, :, :, :extent] for slab in (cache.keys, cache.values, cache.raw)]
    return [*slabs, cache.rows[lane], cache.position[lane], cache.serial[lane], cache.time[lane], cache.slot[lane]]


def test_a_lane_that_is_given_a_kept_prompt_goes_on_to_the_bit_as_one_that_read_it() -> None:
    keeps, reads = core_of(), core_of(prompts=0)
    for core in (keeps, reads):
        do(core, 0, Append(IDS))
        do(core, 2, Append(MORE))  # somebody else, who talks meanwhile
        do(core, 1, Reset((home.light, home.timer)))
    assert passes(reads, 1, Append(IDS)) == 4 and passes(keeps, 1, Append(IDS)) == 1
    for work in (
        Append(MORE, want=tuple(range(30)), t_s=0.4),
        Decode(8, stop=(), t_s=0.8),
        Rewind(104),
        Append((7, 8), want=tuple(range(30)), t_s=1.2),
        Decode(20, stop=(1,), call=True, t_s=1.6),
    ):
        assert do(keeps, 1, work) == do(reads, 1, work)
    for one, other in zip(held(keeps, 1), held(reads, 1), strict=True):
        assert torch.equal(one, other)


def test_what_is_wanted_behind_a_kept_prompt_is_told_and_can_be_chosen_from() -> None:
    core = core_of()
    first = do(core, 0, Append(IDS, want=(3, 4)))
    again = do(core, 1, Append(IDS, want=(3, 4)))
    assert again.logp == first.logp and again.length == first.length
    assert do(core, 0, Decode(4, stop=())) == do(core, 1, Decode(4, stop=()))


def test_whoever_is_given_one_writes_into_nobody_elses() -> None:
    core = core_of()
    do(core, 0, Append(IDS))
    for lane in (1, 2):
        do(core, lane, Append(IDS))
    before = [each.clone() for each in held(core, 2)]
    do(core, 1, Rewind(10))
    do(core, 1, Append(MORE))
    assert all(torch.equal(*both) for both in zip(before, held(core, 2), strict=True))
    do(core, 3, Append(IDS))
    assert all(torch.equal(*both) for both in zip(before, held(core, 3), strict=True))


def test_only_ids_alone_at_the_beginning_of_a_lane_are_a_prompt() -> None:
    core = core_of()
    model = core.model
    soft = Soft(
        np.full((len(IDS), model.ear_pieces.ear_vocab), 0.01, np.float32),
        np.zeros((len(IDS), model.ear.config.width), np.float32),
    )
    for work in (Append(IDS, soft=soft), Append(IDS, t_s=0.08), Append(IDS[: LEAST_TOKENS - 1])):
        do(core, 0, Reset())
        do(core, 0, work)
    do(core, 0, Append(IDS))  # behind others
    assert len(core._prompts) == 0
    do(core, 0, Reset())
    do(core, 0, Append(IDS))
    assert len(core._prompts) == 1


def test_what_is_used_most_stays_whatever_strangers_bring() -> None:
    core = core_of(prompts=2)
    do(core, 0, Append(IDS))
    do(core, 1, Append(IDS))
    for number in range(6):
        do(core, 2, Reset())
        do(core, 2, Append((200 + number, *IDS)))
        do(core, 3, Reset())
        assert passes(core, 3, Append(IDS)) == 1
        assert len(core._prompts) == 2


def test_one_that_nobody_uses_any_more_goes() -> None:
    core = core_of(prompts=1)
    do(core, 0, Append(IDS))
    for _ in range(3):
        do(core, 0, Reset())
        do(core, 0, Append(IDS))
    other = (200, *IDS)
    do(core, 1, Append(other))
    do(core, 2, Append(other))
    assert len(core._prompts) == 1
    do(core, 3, Reset())
    assert passes(core, 3, Append(other)) == 1
