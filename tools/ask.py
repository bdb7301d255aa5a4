"""Hands a question to a text model that the user runs or has a key for, over the API that most of them speak.

    LIVEAGENT_ASK_URL=http://localhost:8080/v1 LIVEAGENT_ASK_MODEL=llama liveagent serve
    tools=[ask]                                     as the environment says
    tools=[asking("http://localhost:8080/v1", "llama")]

What is asked leaves this machine if the service is elsewhere; nothing else of the conversation does.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from typing import Any

from liveagent import tool
from liveagent.errors import ToolError
from liveagent.tool import Tool
from liveagent.tools.webcall import check_url, post_json

TIMEOUT_S = 45.0
ANSWER_CHARS = 600
ANSWER_TOKENS = 300
MANNER = "Answer in one to three short spoken sentences, without lists, signs or markup."


PHRASES = ("ask [the] (assistant|computer|internet) {question}", "(look up|find out) {question}")


@tool(phrases=PHRASES, timeout_s=TIMEOUT_S, risk="observe")
async def ask(question: str) -> str:
    """Ask a large model a question of general knowledge."""
    where, which = os.environ.get("LIVEAGENT_ASK_URL"), os.environ.get("LIVEAGENT_ASK_MODEL")
    if not where or not which:
        raise ToolError("there is nobody to ask: set LIVEAGENT_ASK_URL and LIVEAGENT_ASK_MODEL")
    return await answered(question, where, which, os.environ.get("LIVEAGENT_ASK_KEY", ""))


def asking(url: str, model: str, key: str = "", *, name: str = "ask", phrases: Sequence[str] = PHRASES) -> Tool:
    """The tool for one service. ConfigError for what is no address."""
    check_url(url, "url")

    @tool(name=name, phrases=phrases, timeout_s=TIMEOUT_S, risk="observe")
    async def ask_it(question: str) -> str:
        """Ask a large model a question of general knowledge."""
        return await answered(question, url, model, key)

    return ask_it


async def answered(question: str, url: str, model: str, key: str) -> str:
    """What the service says to it. ToolError."""
    body = {
        "model": model,
        "messages": [{"role": "system", "content": MANNER}, {"role": "user", "content": question[:2000]}],
        "max_tokens": ANSWER_TOKENS,
    }
    address = f"{check_url(url, 'LIVEAGENT_ASK_URL')}/chat/completions"
    return answer_of(await asyncio.to_thread(post_json, address, body, key=key, timeout_s=TIMEOUT_S - 5))


def answer_of(answer: Any) -> str:
    """What was answered, as it can be said. ToolError where nothing was."""
    try:
        text = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str) or not text.strip():
        raise ToolError("it did not answer")
    text = re.sub(r"<think>.*?</think>", " ", text, flags=re.DOTALL)
    text = " ".join(re.sub(r"[*_#`>|]+", " ", text).split())
    if len(text) <= ANSWER_CHARS:
        return text
    short = text[:ANSWER_CHARS]
    end = max(short.rfind(". "), short.rfind("? "), short.rfind("! "))
    return short[: end + 1] if end > ANSWER_CHARS // 3 else short.rsplit(" ", 1)[0] + " …"
