"""Whether the cache of an agent's sessions can hold its prompt and a conversation behind it, said before weights come.

Eviction keeps instructions and tools for ever, so a cache that they fill would forget every turn as it was said. Nano
has learnt no longer conversations than its usual cache holds; an open model reads as far as its places were trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from liveagent.agent import Agent
from liveagent.errors import ConfigError
from liveagent.plan import CACHE_TOKENS, check_places, usual_tokens
from liveagent.window import LEAST_TALK_TOKENS, Budget, least_tokens

if TYPE_CHECKING:
    from liveagent.nn.model import Model


def tokens_of(agent: Agent) -> int:
    """How many tokens a session of this agent holds. ConfigError: its model's `config.json` cannot be read."""
    if agent.cache_tokens is not None:
        return agent.cache_tokens
    path = Path(agent.model) / "config.json"
    if not path.is_file():
        return CACHE_TOKENS
    try:
        return usual_tokens(json.loads(path.read_text()))
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged ({type(error).__name__}): fetch it again") from None


def check_held(agent: Agent, model: Model) -> None:
    """ConfigError: the cache is too small for the agent's prompt, or larger than this model's places."""
    tokens = tokens_of(agent)
    check_places(tokens, model.most_tokens, agent.model)
    prompt = len(model.template.prompt(agent.instructions, agent.tools))
    if prompt + LEAST_TALK_TOKENS <= Budget.of(tokens).low_tokens:
        return
    needed = least_tokens(prompt)
    fewer = "shorten the instructions or give fewer tools"
    would = f"--cache-tokens {needed} would do, or {fewer}"
    if model.most_tokens is not None and needed > model.most_tokens:
        would = f"{fewer}, for {agent.model} reads {model.most_tokens} tokens at most"
    raise ConfigError(
        f"the instructions and tools take {prompt} tokens, and a cache of {tokens} leaves too little room beside them; "
        f"{would}"
    )
