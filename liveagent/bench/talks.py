"""Conversations to be written down: one with everything in it that `Chat` can write, and any number that are drawn.

A turn is its kind and what is said: a user's words, words behind a second of sound, or behind sound and a picture of
what moved meanwhile, a picture between two turns, a reply, one that was cut, a call, what it gave, a note.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Literal

from liveagent.tool import Tool, tool

INSTRUCTIONS = "You are a helpful agent in a house.\nBe brief."
Turn = tuple[str, Any]


@tool
async def light(room: Literal["kitchen", "living room"], state: Literal["on", "off"], level: int = 3) -> str:
    """Switch a room's light."""
    return ""


@tool
async def search(words: str, most: float = 1.5, safe: bool = True) -> str:
    """Search the web: "words" are looked for."""
    return ""


TOOLS = (light, search)
TALK: tuple[Turn, ...] = (
    ("user", "Hello there"),
    ("reply", "How are you today?"),
    ("note", "It rains."),
    ("user", "turn on the kitchen light please"),
    ("call", ("light", {"room": "living room", "state": "on", "level": 3})),
    ("result", ("light", "it is on.")),
    ("reply", "The light is on."),
    ("user", 'what is a "zigbee" hub, and where is mine?'),
    ("call", ("search", {"words": 'a "hub": é, {x}', "most": 0.5, "safe": False})),
    ("result", ("search", "failed: the web is far away")),
    ("call", ("search", {"words": "hubs"})),
    ("result", ("search", '{"found": [1, 2]}')),
    ("reply", "It is a radio; yours is… under the stairs."),
    ("user", "no, the other"),
    ("cut", "The other one is"),
    ("user", "thank you"),
)
HEARD: tuple[Turn, ...] = (
    *TALK, ("reply", "Gladly."), ("picture", (63, 7)), ("sound", "what did I say?"), ("reply", "That."),
    ("picture", (12, 3_725)), ("picture", (70, 3_726)), ("shown", (9, 3_727, "and that?")), ("reply", "This."),
    ("shown", (4, 3_800, "")), ("reply", "Well."), ("sound", ""),
)  # fmt: skip
"""Pictures: their rows, and the second in which they were seen."""


def schemas(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    return [
        {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": dict(t.schema)}}
        for t in tools
    ]


def messages(talk: Sequence[Turn]) -> list[dict[str, Any]]:
    """As `transformers` wants them."""
    found: list[dict[str, Any]] = [{"role": "system", "content": INSTRUCTIONS}]
    for kind, said in talk:
        if kind == "user":
            found.append({"role": "user", "content": said})
        elif kind == "sound":
            words = [{"type": "text", "text": said}] if said else []
            found.append({"role": "user", "content": [{"type": "audio"}, *words]})
        elif kind == "picture":
            found.append({"role": "user", "content": [{"type": "video"}]})
        elif kind == "shown":
            words = [{"type": "text", "text": said[2]}] if said[2] else []
            found.append({"role": "user", "content": [{"type": "audio"}, {"type": "video"}, *words]})
        elif kind in ("reply", "cut"):
            found.append({"role": "assistant", "content": said if kind == "reply" else f"{said}…"})
        elif kind == "note":
            found.append({"role": "system", "content": said})
        elif kind == "call":
            call = {"type": "function", "function": {"name": said[0], "arguments": said[1]}}
            found.append({"role": "assistant", "content": "", "tool_calls": [call]})
        else:
            found.append({"role": "tool", "name": said[0], "content": said[1]})
    return found


PIECES = "a light on it's x 12 3 0.5 é ü 日本 🙂 { } [ ] < | > \\ \" ' - . , … ! ? :".split(" ") + [
    " ",
    ". ",
    ", ",
    "  ",
    "\n",
    "\n\n",
    "\t",
]
"""Of what is said, with everything at which a tokenizer may cut in another way."""


def drawn(seed: int, senses: bool) -> tuple[Turn, ...]:
    """A conversation about nothing. `senses`: it is heard and seen too. Nobody's words begin or end with a space:
    templates differ in whether they take such away."""
    rng, talk = random.Random(seed), list[Turn]()

    def text(most: int = 9) -> str:
        return "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, most))).strip() or "x"

    def words() -> str:
        return " ".join(" ".join(text(3) for _ in range(rng.randrange(1, 6))).split())

    def call() -> tuple[str, dict[str, Any]]:
        if rng.random() < 0.5:
            level = {"level": rng.randrange(-5, 500)} if rng.random() < 0.5 else {}
            return "light", {
                "room": rng.choice(["kitchen", "living room"]),
                "state": rng.choice(["on", "off"]),
                **level,
            }
        most = {"most": rng.choice([0.5, 1e-7, 3.0, -2.25, 1e20])} if rng.random() < 0.5 else {}
        return "search", {"words": text(), **most, **({"safe": rng.random() < 0.5} if rng.random() < 0.5 else {})}

    for _ in range(rng.randrange(1, 6)):
        if senses and rng.random() < 0.3:
            talk.append(("picture", (rng.randrange(1, 20), rng.randrange(4_000))))
        kind = rng.choice(["user", "user", "sound", "shown"]) if senses else "user"
        talk.append((kind, (rng.randrange(1, 20), rng.randrange(4_000), words()) if kind == "shown" else words()))
        for _ in range(rng.randrange(3)):
            name, args = call()
            talk += [("call", (name, args)), ("result", (name, rng.choice(["", "failed: "]) + text()))]
        talk.append((rng.choice(["reply", "cut"]), text()))
        if rng.random() < 0.3:
            talk.append(("note", text()))
    return (*talk, ("user", words()))
