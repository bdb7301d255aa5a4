"""What somebody wants remembered, in their own words, and told again when they ask. Kept in the user's own data folder,
one file for each owner."""

from __future__ import annotations

import asyncio
from typing import Any

from liveagent import tool
from liveagent.call import Call
from liveagent.errors import ToolError
from liveagent.overlap import STOP_WORDS, stem
from liveagent.spoken import spoken
from liveagent.tools.datafile import DataFile

MOST = 500
FACT_CHARS = 200
TOLD = 3


def kept() -> DataFile:
    """Where they lie."""
    return DataFile("facts")


def _of(held: dict[str, Any]) -> list[str]:
    facts = held.setdefault("facts", [])
    if not isinstance(facts, list) or not all(isinstance(each, str) for each in facts):
        raise ToolError("what was remembered is damaged")
    return facts


def about(facts: list[str], words: str) -> list[str]:
    """The facts that share most words with these, the newest first among equals."""
    wanted = {stem(word) for word in words.split() if word not in STOP_WORDS}
    shared = [(len(wanted & {stem(word) for word in fact.split()}), at) for at, fact in enumerate(facts)]
    best = max((count for count, _ in shared), default=0)
    return [facts[at] for count, at in sorted(shared, reverse=True) if count == best and count > 0][:TOLD]


@tool(phrases=["remember that {fact}", "(note|keep in mind) that {fact}", "make a note that {fact}"])
async def remember_fact(fact: str, call: Call) -> str:
    """Remember what somebody says."""
    words = spoken(fact)[:FACT_CHARS]
    if not words:
        raise ToolError("there is no word in that")

    def add(held: dict[str, Any]) -> None:
        facts = _of(held)
        if words in facts:
            facts.remove(words)
        facts.append(words)
        del facts[:-MOST]  # what was said first is forgotten first

    await asyncio.to_thread(kept().change, add, call.owner)
    return f"i will remember that {words}"


@tool(
    phrases=["what did i (say|tell you) about {topic}", "what do you (know|remember) about {topic}"], risk="observe"
)  # fmt: skip
async def recall(topic: str, call: Call) -> str:
    """Tell what was remembered about something."""
    found = about(_of(await asyncio.to_thread(kept().read, call.owner)), spoken(topic))
    return "you told me that " + ", and that ".join(found) if found else f"you told me nothing about {spoken(topic)}"


@tool(phrases=["forget what i (said|told you) about {topic}"])
async def forget_fact(topic: str, call: Call) -> str:
    """Forget what was remembered about something."""

    def forget(held: dict[str, Any]) -> int:
        facts = _of(held)
        gone = about(facts, spoken(topic))
        for each in gone:
            facts.remove(each)
        return len(gone)

    count = await asyncio.to_thread(kept().change, forget, call.owner)
    return "it is forgotten" if count else f"i know nothing about {spoken(topic)}"
