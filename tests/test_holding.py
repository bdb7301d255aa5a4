"""How many tokens a session holds: the marks that follow, what does not fit, and who is told so before weights come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from liveagent import Agent, ConfigError, tool
from liveagent.cli import app
from liveagent.nn.model import Model
from liveagent.plan import CACHE_TOKENS, CacheShape, places_of
from liveagent.runtime import talk
from liveagent.runtime.conversation import Conversation
from liveagent.runtime.holding import check_held
from liveagent.runtime.server import Server
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import load_model, open_session
from liveagent.window import LEAST_TALK_TOKENS, Budget, least_tokens
from liveagent.wire.codec import Welcome
from liveagent.wire.native import NativeCodec
from tests.nano import random_nano
from tests.world import World

runner = CliRunner()


@tool(phrases=["open the door"])
async def open_door() -> str:
    """Open the front door of the house and leave it open for a while."""
    return "open"


AGENT = Agent(tools=[open_door])
PROMPT = len(Model.read().template.prompt(AGENT.instructions, AGENT.tools))


def test_the_usual_size_has_the_usual_marks() -> None:
    assert SessionConfig.of(AGENT, voice=False) == SessionConfig(voice=False)
    assert SessionConfig.of(AGENT.replace(cache_tokens=CACHE_TOKENS)) == SessionConfig()
    assert SessionConfig().slots == CACHE_TOKENS


@given(tokens=st.integers(least_tokens(0), 1 << 20))
def test_marks_grow_with_the_cache_and_leave_room_for_a_reply(tokens: int) -> None:
    made = SessionConfig.of(AGENT.replace(cache_tokens=tokens))
    found, more = made.budget, Budget.of(tokens + 1)
    assert found.capacity_tokens == tokens and tokens - found.high_tokens >= 320
    assert found.high_tokens - found.low_tokens == tokens // 12
    assert found.picture_high / found.high_tokens == pytest.approx(208 / 1216, abs=0.01)
    assert more.high_tokens >= found.high_tokens and more.picture_low >= found.picture_low


@given(prompt=st.integers(0, 20_000))
def test_the_least_that_holds_a_prompt_is_the_least(prompt: int) -> None:
    needed = least_tokens(prompt)
    assert Budget.of(needed).low_tokens >= prompt + LEAST_TALK_TOKENS
    if prompt:
        assert Budget.of(needed - 1).low_tokens < prompt + LEAST_TALK_TOKENS


@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "many", (1 << 20) + 1])
def test_what_is_no_number_of_tokens(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="give a whole number up to 1048576, or none"):
        Agent(cache_tokens=wrong)


def test_what_holds_no_conversation_at_all() -> None:
    with pytest.raises(ConfigError, match=f"a cache of 100 tokens holds no conversation: give {least_tokens(0)} at"):
        Agent(cache_tokens=100)
    Agent(cache_tokens=least_tokens(0))


def test_one_too_small_for_the_prompt_says_how_many_it_needs() -> None:
    needed = least_tokens(PROMPT)
    check_held(AGENT.replace(cache_tokens=needed), Model.read())
    small = AGENT.replace(cache_tokens=needed - 1)
    says = f"take {PROMPT} tokens, and a cache of {needed - 1} leaves too .* --cache-tokens {needed} would do"
    for refuses in (load_model, Server, Agent.plan):
        with pytest.raises(ConfigError, match=says):
            refuses(small)
    wordy = Agent(instructions="be brief " * 1000)
    with pytest.raises(ConfigError, match="shorten the instructions .*, for nano reads 1536 tokens at most"):
        check_held(wordy, Model.read())


def test_one_longer_than_what_a_model_has_learnt() -> None:
    with pytest.raises(ConfigError, match="nano reads 1536 tokens at most, and not 1537: --cache-tokens 1536 or fewer"):
        check_held(AGENT.replace(cache_tokens=1537), Model.read())
    said = {"max_position_embeddings": 99}
    assert places_of(said) == 99 == places_of({"text_config": said})
    assert all(places_of(each) is None for each in ({}, {"text_config": 3}, {"max_position_embeddings": "99"}))
    plain = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2, "num_key_value_heads": 2}
    shape = CacheShape.of(plain | {"max_position_embeddings": 4096})
    assert shape is not None and shape.places == 4096


def test_everybody_takes_it_from_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = AGENT.replace(cache_tokens=900)
    server = Server(agent)
    assert server.engine._arguments[3] == "900"
    lane: Any = None
    conversation = Conversation(agent, server.model, lane, NativeCodec(Welcome("s", "nano")), voice=None)
    assert conversation._config == SessionConfig.of(agent, voice=False, echo_gate=False)
    assert conversation._config.slots == 900


async def test_a_smaller_cache_rolls_within_its_own_marks() -> None:
    agent = AGENT.replace(cache_tokens=least_tokens(PROMPT), instructions="Be brief.")
    async with open_session(agent, None, random_nano(), use_recogniser=False) as session:
        budget = Budget.of(least_tokens(PROMPT))
        assert session.context.budget.high_tokens == budget.high_tokens
        world = World(session)
        while not session.context.evicted_tokens:
            world.type("open the door")
            await world.run(30)
            assert world.now_ns < 600e9
        assert session.context.ledger.used_tokens <= budget.high_tokens
        assert session.context.ledger.pinned_tokens == PROMPT
        session.context.ledger.check()


def test_on_the_command_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[Agent] = []

    async def talked(agent: Agent, **_: Any) -> int:
        given.append(agent)
        return 0

    monkeypatch.setattr(talk, "talk", talked)
    assert runner.invoke(app, ["talk", "voice", "--text", "--cache-tokens", "1300"]).exit_code == 0
    assert given[0].cache_tokens == 1300
    for command in ("talk", "serve", "plan"):
        assert "--cache-tokens" in runner.invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        told = runner.invoke(app, [command, "voice", "--cache-tokens", "100"])
        assert told.exit_code == 2 and "holds no conversation" in told.stderr and told.stderr.count("\n") == 1
    for command in ("serve", "plan"):
        told = runner.invoke(app, [command, "voice", "--cache-tokens", "3000"])
        assert told.exit_code == 2 and "nano reads 1536 tokens at most" in told.stderr
    assert json.loads(runner.invoke(app, ["plan", "voice", "--cache-tokens", "1300", "--json"]).output)["cost"] is None
