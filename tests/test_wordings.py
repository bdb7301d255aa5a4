"""What measures nano is not what it was trained on."""

from __future__ import annotations

import random

import pytest

from liveagent.bench.wordings import LOOK_WORDINGS, WORDINGS
from liveagent.pipelines.voice import agent
from liveagent.train.look_phrases import HELD_OUT as LOOKS_HELD_OUT
from liveagent.train.look_phrases import PHRASES
from liveagent.train.paraphrases import AFTER, BEFORE, HELD_OUT, PARAPHRASES
from liveagent.train.schemas import expand, top_choice

TIMES = 300


def said(rng: random.Random, phrases: list[str]) -> set[str]:
    return {expand(rng, phrase.split(": ")[-1]) for phrase in phrases for _ in range(TIMES)}


@pytest.mark.parametrize("tool", agent.tools, ids=lambda tool: tool.name)
def test_no_wording_of_the_bench_is_in_training(tool) -> None:  # type: ignore[no-untyped-def]
    rng = random.Random(0)
    trained = said(rng, [*PARAPHRASES[tool.name], *HELD_OUT[tool.name], *(phrase.text for phrase in tool.phrases)])
    assert len(trained) > 20
    measured = said(rng, WORDINGS[tool.name])
    assert len(measured) >= 4
    assert not measured & trained


def test_every_tool_is_measured() -> None:
    assert set(WORDINGS) == {tool.name for tool in agent.tools}


def test_no_wording_about_pictures_is_in_training_not_even_with_polite_words_around_it() -> None:
    rng = random.Random(1)
    for kind, phrase in LOOK_WORDINGS.items():
        ways = {expand(rng, top_choice(rng, words[kind])) for words in (PHRASES, LOOKS_HELD_OUT) for _ in range(500)}
        assert len(ways) > 6
        for wording in phrase.split("|"):
            for before in ("", *BEFORE):
                for after in ("", *AFTER):
                    core = f" {wording} ".removeprefix(f" {before} ".rstrip() + " ").removesuffix(f" {after} ")
                    assert core.strip() not in ways, (kind, wording)
