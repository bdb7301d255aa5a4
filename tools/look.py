"""What is to be seen now, told in words: for a model that asks for it, and for whoever says "look around"."""

from __future__ import annotations

from collections import Counter

from liveagent import tool
from liveagent.call import Call

TOLD = 8


def things_words(things: tuple[str, ...]) -> str:
    """("red ball", "red ball", "cup") -> "2 red balls and a cup"."""
    said = []
    for name, count in list(Counter(things).items())[:TOLD]:
        article = "an" if name[:1] in "aeiou" else "a"
        said.append(f"{article} {name}" if count == 1 else f"{count} {name}s")
    rest = len(set(things)) - TOLD
    if rest > 0:
        said.append(f"{rest} more")
    return said[0] if len(said) == 1 else ", ".join(said[:-1]) + f" and {said[-1]}"


@tool(phrases=["look around", "(have|take) a look", "what is there to see"], risk="observe")
async def look(call: Call) -> str:
    """Say what the camera shows now."""
    seen = call.sees()
    if seen is None:
        return "i see nothing: there is no camera"
    if not seen.known:
        return "i see something that i do not know"
    return f"i see {things_words(seen.things)}" if seen.things else "i see nothing on the table"
