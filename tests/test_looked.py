"""Questions about pictures for the bench: balanced, of pictures that repeat, judged rightly; forced choices forced."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter

import numpy as np
import pytest

from liveagent.bench import looked
from liveagent.bench.looked import Looked, choices
from liveagent.bench.seats import Seat
from liveagent.load import load_agent
from liveagent.sight import PICTURE_PX
from liveagent.train.questions import Asked
from tests.nano import random_nano


def test_pictures_repeat_for_a_seed() -> None:
    one, two, other = (list(itertools.islice(looked.pictures(seed), 4)) for seed in (3, 3, 4))
    for (a, shot), (b, again) in zip(one, two, strict=True):
        assert a == b
        np.testing.assert_array_equal(shot, again)
    assert [scene for scene, _ in one] != [scene for scene, _ in other]


@pytest.mark.parametrize("kind", ["colour", "count", "exists"])
def test_questions_are_balanced(kind: str) -> None:
    answers = Counter(each.asked.answer for each in looked.questions(kind, 40, 1))
    assert set(answers) <= set(choices(kind))
    assert max(answers.values()) <= 40 / len(choices(kind)) + 6


def test_a_list_may_have_any_order_and_nothing_else() -> None:
    asked = Asked("list", "what is there", "A red ball, an orange cup and a red ball.")
    assert looked.right(asked, "An orange cup, a red ball and a red ball.")
    assert not looked.right(asked, "An orange cup and a red ball.")
    assert not looked.right(asked, "A red ball, an orange cup and a blue ball.")
    assert not looked.right(asked, "")
    assert looked.right(Asked("then_list", "", "Nothing."), "Nothing.")
    assert not looked.right(Asked("colour", "", "It is red."), "It is Red.")


def test_a_forced_choice_is_the_likeliest_piece_by_piece() -> None:
    async def of(asked: Asked) -> tuple[str, str]:
        async with looked.watchers(random_nano(), load_agent("voice")) as made:
            seat = made[0]
            await seat.fresh()
            found = await looked.choose(seat, Looked(asked, np.full((PICTURE_PX, PICTURE_PX, 3), 128, np.uint8)))
            return found, await by_hand(seat, choices(asked.kind))

    async def by_hand(seat: Seat, answers: list[str]) -> str:
        """All next pieces at every step, and of those that an answer has, the likeliest."""
        template = seat.model.template
        left = [[*template.encode(answer), template.end] for answer in answers]
        for at in range(max(map(len, left))):
            if len({tuple(ids) for ids in left}) == 1:
                break
            logp = await seat.session.context.probe([template.say, *left[0][:at]], range(seat.model.pieces.vocab_size))
            best = max({ids[at] for ids in left}, key=lambda piece: logp[piece])
            left = [ids for ids in left if ids[at] == best]
        return next(a for a in answers if [*template.encode(a), template.end] == left[0])

    for kind, words in (("colour", "what color is the ball"), ("count", "how many things are there")):
        found, expected = asyncio.run(of(Asked(kind, words, choices(kind)[0])))
        assert found == expected and found in choices(kind)


def test_a_conversation_is_fresh_after_an_eviction_too() -> None:
    async def held() -> tuple[int, int]:
        async with looked.watchers(random_nano(), load_agent("voice")) as made:
            context = made[0].session.context
            while not context.evicted_tokens:
                context.ledger.begin_turn()
                await context.add("text", [5] * 100, 0)
                await context.trim()
            await made[0].fresh()
            return context.ledger.used_tokens, context.ledger.pinned_tokens

    used, pinned = asyncio.run(held())
    assert used == pinned > 0


def test_nothing_changes_around_the_ages_that_are_asked_about() -> None:
    rng = random.Random(2)
    for _ in range(20):
        story = looked.past(rng)
        assert len(story.scenes) > 3
        for age in looked.AGES_S.values():
            around = {id(story.at(looked.LENGTH_S - age * factor)) for factor in (0.75, 0.9, 1.0, 1.1, 1.19)}
            assert len(around) == 1
        assert story.at(looked.LENGTH_S - 60) is not story.at(looked.LENGTH_S - 1)


@pytest.mark.slow
def test_what_is_remembered_is_asked_of_the_cache_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looked, "LENGTH_S", 80)
    monkeypatch.setattr(looked, "AGES_S", {"one": 30, "two": 60})

    async def remembered() -> dict[str, list[tuple[Asked, str]]]:
        async with looked.watchers(random_nano(), load_agent("voice")) as made:
            return await looked.memory(made, 1)

    told = asyncio.run(remembered())
    assert set(told) == {"one", "two"}
    assert all(asked.kind.startswith(("then_", "absent")) for pairs in told.values() for asked, _ in pairs)
    assert sum(map(len, told.values())) >= 2
