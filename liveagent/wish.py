"""Watches that a user asks for in words: "tell me when the red ball is gone".

A small grammar with free ends: what follows "tell me when" is read as a thing and what becomes of it where it can be,
and else taken as a condition as it stands. Pure; words are in the normal form of `spoken`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from liveagent.sight import COLOURS, SHAPES
from liveagent.watch import MAX_WORDS, Change, Watch

WHEN = (
    "tell me when", "let me know when", "tell me as soon as", "let me know as soon as", "tell me if", "let me know if",
    "warn me when", "warn me if", "call me when", "say when", "say something when", "speak up when",
)  # fmt: skip
FOR = ("watch out for", "look out for", "watch for", "wait for")
SEES = ("you can see", "you see", "there is", "there's")
ENDS: tuple[tuple[Change, tuple[str, ...]], ...] = (
    ("leave", (
        "is gone", "has gone", "goes away", "is away", "disappears", "vanishes", "leaves the table", "leaves",
        "is taken away", "is not there any more", "isn't there any more", "is not there anymore",
        "isn't there anymore", "is not there", "isn't there", "is no longer there", "is off the table", "goes",
        "is not on the table any more", "is not on the table", "isn't on the table",
    )),
    ("move", (
        "moves", "moved", "is moved", "has moved", "is moving", "changes its place", "gets moved", "starts moving",
    )),
    ("appear", (
        "appears", "is there", "is on the table", "shows up", "turns up", "comes back", "is back", "comes", "arrives",
        "is there again", "is put on the table", "appears on the table", "is visible", "is here", "",
    )),
)  # fmt: skip
STOPS = frozenset((
    "stop watching", "stop watching for it", "stop watching that", "stop waiting", "stop waiting for it",
    "do not watch any more", "don't watch any more", "you can stop watching", "forget the watch",
    "you do not need to tell me", "you don't need to tell me", "no need to tell me",
))  # fmt: skip
SAID_HOLD_S = 0.25
TOY_WORDS = (*COLOURS, *SHAPES)
PHRASES = (
    f"(tell me|let me know) when (the|a) [({'|'.join(COLOURS)})] ({'|'.join(SHAPES)}) (appears|is gone|moves)",
    f"watch for a ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})",
)
"""For `Agent(questions=…)`: so that these sentences are heard within the grammar."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for: a watch, or None to end those that were asked for before. `toy`: it is about a thing that can
    stand on the toy table, so nano can watch for it."""

    watch: Watch | None
    toy: bool = True


def wish(words: str) -> Wish | None:
    """What a user's sentence asks to be told about; None when it asks for something else."""
    words = words.removeprefix("please ").removesuffix(" please").removeprefix("can you ").removeprefix("could you ")
    if words in STOPS:
        return Wish(None)
    for lead in (*WHEN, *FOR):
        if words.startswith(lead + " "):
            rest = words[len(lead) + 1 :]
            break
    else:
        return None
    if not rest or len(rest.split()) > MAX_WORDS:
        return None
    for lead in SEES:
        if rest.startswith(lead + " "):
            thing = _thing(rest[len(lead) + 1 :].removesuffix(" there").removesuffix(" on the table").split())
            return _of(thing, "appear") if thing is not None else _free(rest)
    for change, ends in ENDS:
        for end in ends:
            if end and not rest.endswith(" " + end):
                continue
            thing = _thing(rest.removesuffix(end).split())
            if thing is not None:
                return _of(thing, change)
    return _free(rest)


def _thing(words: Sequence[str]) -> str | None:
    """"the red ball" to "red ball"; None for what is no thing of the toy table."""
    rest = list(words)
    if rest and rest[0] in ("the", "a", "an", "my", "that", "this", "some", "any"):
        rest = rest[1:]
    if rest[:1] in (["something"], ["anything"]):
        if len(rest) == 2 and rest[1] in COLOURS:
            return f"something {rest[1]}"
        return "something" if len(rest) == 1 else None
    if len(rest) == 2 and rest[0] in COLOURS:
        if rest[1] in ("thing", "one", "object"):
            return f"something {rest[0]}"
        return " ".join(rest) if rest[1] in SHAPES else None
    return rest[0] if len(rest) == 1 and rest[0] in SHAPES else None


def _of(thing: str, change: Change) -> Wish:
    some = thing.startswith("something")
    one = thing if some else f"{'an' if thing[0] in 'aeiou' else 'a'} {thing}"
    if change == "move":
        moving = f"the {thing}" if " " in thing and not some else one
        watch = Watch(f"{thing} move", f"{moving} moved", "move", 0.0, again=False)
    else:
        watch = Watch(f"{thing} {change}", f"{one} is on the table", change, SAID_HOLD_S, again=False)
    return Wish(watch)


def _free(rest: str) -> Wish:
    return Wish(Watch(rest, rest, "appear", SAID_HOLD_S, again=False), toy=False)


ASKS_WHEN = ("when", "at what time", "at what moment", "at which moment", "what time", "at what second")
AUXILIARIES = ("did", "does", "do", "has", "was", "is", "could", "can", "had")
CAME: dict[Change, tuple[str, ...]] = {
    "leave": (
        "leave the table", "leave", "left", "disappear", "disappeared", "vanish", "go away", "go", "gone", "taken away",
        "removed", "get taken away",
    ),
    "move": ("move", "moved", "get moved", "start to move", "start moving", "moving"),
    "appear": (
        "appear", "appeared", "come back", "come", "came", "show up", "turn up", "arrive", "put on the table",
        "on the table", "visible", "there", "get there", "",
    ),
}  # fmt: skip
SEEN = ("you see", "there", "you first see", "we see")


def asked_when(words: str) -> Wish | None:
    """"when did the red ball appear" as the watch that finds out; None for what asks for no moment. Then `toy` says
    whether it is about a thing of the toy table."""
    for lead in ASKS_WHEN:
        if words.startswith(lead + " "):
            rest = words[len(lead) + 1 :].split()
            break
    else:
        return None
    if rest[0] not in AUXILIARIES or len(rest) > MAX_WORDS:
        return None
    text = " ".join(rest[1:])
    for seen in SEEN:
        if text.startswith(seen + " ") and (thing := _thing(text[len(seen) + 1 :].split())) is not None:
            return _of(thing, "appear")
    for change, ends in CAME.items():
        for end in ends:
            if end and not text.endswith(" " + end):
                continue
            thing = _thing(text.removesuffix(end).split())
            if thing is not None:
                return _of(thing, change)
    return Wish(None, toy=False)


def moving_thing(condition: str) -> tuple[int | None, int | None] | None:
    """Which thing "the red ball moved" is about: its places in COLOURS and SHAPES, None for whichever. None when it is
    about no one thing of the toy table."""
    return _named(condition, " moved")


def standing_thing(condition: str) -> tuple[int | None, int | None] | None:
    """The same of "a red ball is on the table"."""
    return _named(condition, " is on the table")


def _named(condition: str, end: str) -> tuple[int | None, int | None] | None:
    thing = _thing(condition.removesuffix(end).split()) if condition.endswith(end) else None
    words = [] if thing is None else thing.removeprefix("something").split()
    if not words:
        return None
    colour = COLOURS.index(words[0]) if words[0] in COLOURS else None
    return colour, SHAPES.index(words[-1]) if words[-1] in SHAPES else None
