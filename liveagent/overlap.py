"""Which of the tools that somebody brought a request can mean, and with which values: by the words that they share.

A small decoder cannot know what a tool does that it has never seen. It is therefore offered those tools only whose
name, description or values share words with the request, and for their arguments only what the request itself holds:
values that it names, numbers in it, and stretches of its words that the tool has no word for. Between these the decoder
chooses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from liveagent.argument import Argument
from liveagent.declared import elsewhere
from liveagent.errors import ToolError
from liveagent.spoken import spoken, words_to_int
from liveagent.tool import Tool

ENOUGH = 2.0
"""Points that a tool needs: a word of its name, or two of its description or values."""
MEANT = 3.0
"""Points at which a request that lacks an argument is surely meant for a tool, so that one may ask for it. So is one
that has all the words of its name."""
NEAR = 0.75
"""Tools with at least this share of the best one's points are offered beside it."""
SPANS = 48
SPAN_WORDS = 8
STOP_WORDS = frozenset(
    "a an the this that these those some any is are was were be been am do does did can could will would shall should "
    "may might must have has had i me my mine we us our you your it its he she they them of in on at to for from by "
    "with about into over and or but if then so not no yes please now just what which who whom where when why how much "
    "many tell give get let show make want need like there here up out as than too very also use using value".split()
)


@dataclass(frozen=True, slots=True)
class Offer:
    """Tools to choose from, with their arguments narrowed to what the request holds. `missing`: the best tool's first
    argument that it needs and the request does not hold, in words; the offer is empty then."""

    tools: tuple[Tool, ...] = ()
    missing: str = ""


def offer(request: str, tools: Sequence[Tool]) -> Offer:
    """What a request in spoken form can mean."""
    words = request.split()
    points = {tool.name: shared(words, tool) for tool in tools}
    best = max(points.values(), default=0.0)
    if best < ENOUGH:
        return Offer()
    missing, found = "", []
    for tool in sorted(tools, key=lambda tool: -points[tool.name]):
        if points[tool.name] < max(ENOUGH, NEAR * best):
            break
        narrowed, lacks = _narrow(words, tool)
        if narrowed is not None:
            found.append(narrowed)
        elif points[tool.name] >= MEANT or _terms([tool.name]) <= {stem(word) for word in words}:
            missing = missing or lacks
    return Offer(tuple(found), "" if found else missing)


def narrow(request: str, tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """Those of these tools that the request fills, whatever it shares with them otherwise."""
    found = (_narrow(request.split(), tool)[0] for tool in tools)
    return tuple(tool for tool in found if tool is not None)


def invented(request: str, tool: Tool, args: Mapping[str, object]) -> bool:
    """Whether a call holds free text that the request does not."""
    texts = [argument.name for argument in tool.arguments if argument.kind == "text" and argument.name in args]
    return any(f" {args[name]} " not in f" {request} " for name in texts)


def shared(words: Sequence[str], tool: Tool) -> float:
    """Points for the words that a request and a tool share: two for each of its name, one for the others. A value that
    the tool lists counts once."""
    said = {stem(word) for word in words if word not in STOP_WORDS}
    name = _terms([tool.name])
    other = _terms([tool.description, *(argument.name for argument in tool.arguments)]) - name
    points = 2.0 * len(said & name) + len(said & other)
    for argument in tool.arguments:
        if argument.kind == "choice" and any(_place(words, value) is not None for value in argument.slots):
            points += 1.0
    return points


def stem(word: str) -> str:
    """A word without the endings that most often differ: "lights", "lighting" and "lighted" are "light"."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def _terms(texts: Iterable[str]) -> set[str]:
    found: set[str] = set()
    for text in texts:
        apart = "".join(f" {c}" if c.isupper() else " " if c in "_.-" else c for c in text)
        found |= {stem(word) for word in spoken(apart).split() if word not in STOP_WORDS}
    return found


def _narrow(words: Sequence[str], tool: Tool) -> tuple[Tool | None, str]:
    """The tool with what the request holds for its arguments, or None and the argument that is missing."""
    taken = [False] * len(words)
    narrowed: dict[str, Argument] = {}
    for argument in tool.arguments:
        values = _values(words, argument, taken) if argument.kind != "text" else []
        if values:  # it was said, so it is meant
            narrowed[argument.name] = replace(_listed(argument, values), required=True)
        elif argument.kind == "bool":
            narrowed[argument.name] = argument
    texts = [argument for argument in tool.arguments if argument.kind == "text"]
    surely = _texts(words, taken, tool, whole=len(texts) == 1)
    spans = surely or _texts(words, taken, tool, whole=len(texts) == 1, anything=True)
    for argument in texts:
        if spans if argument.required else surely:
            narrowed[argument.name] = _listed(argument, spans)
    for argument in tool.arguments:
        if argument.required and argument.name not in narrowed:
            return None, spoken(argument.name.replace("_", " "))
    arguments = tuple(narrowed[argument.name] for argument in tool.arguments if argument.name in narrowed)
    return replace(tool, function=elsewhere, arguments=arguments, phrases=()), ""


def _texts(
    words: Sequence[str], taken: Sequence[bool], tool: Tool, whole: bool, anything: bool = False
) -> list[str]:
    """Stretches of the request that may be free text: words that neither the tool nor the language has a use for. With
    `anything`, where nothing is left, words that the tool only describes itself by. `whole`: only the longest ones."""
    name, names = _terms([tool.name]), _terms(argument.name for argument in tool.arguments)
    levels = (name | names | _terms([tool.description]), name | names, name)
    for terms in levels if anything else levels[:1]:
        used = [gone or word in STOP_WORDS or stem(word) in terms for word, gone in zip(words, taken, strict=True)]
        spans = _spans(words, used)
        if spans:
            return [each for each in spans if not any(each != one and f" {each} " in f" {one} " for one in spans)] if (
                whole) else spans  # fmt: skip
    return []


def _values(words: Sequence[str], argument: Argument, taken: list[bool]) -> list[str]:
    """The values that a request names; their words are `taken` then."""
    if argument.kind in ("int", "float"):
        return _numbers(words, argument, taken)
    found: list[tuple[int, int, str]] = []
    for value in argument.slots:
        place = _place(words, value)
        if place is not None:
            found.append((len(value.split()), place, value))
    longest = [each for each in found if not any(_within(each, other) for other in found)]
    for length, place, _ in longest:
        taken[place : place + length] = [True] * length
    return [value for _, _, value in longest]


def _within(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    """Whether a value's words are part of a longer value's: "living" in "living room"."""
    return other[0] > one[0] and other[1] <= one[1] and one[1] + one[0] <= other[1] + other[0]


def _place(words: Sequence[str], value: str) -> int | None:
    """Where a value's words stand in a request, word by word up to their endings."""
    wanted = [stem(word) for word in value.split()]
    said = [stem(word) for word in words]
    for at in range(len(said) - len(wanted) + 1):
        if wanted and said[at : at + len(wanted)] == wanted:
            return at
    return None


def _numbers(words: Sequence[str], argument: Argument, taken: list[bool]) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(words):
        for end in range(min(len(words), at + 8), at, -1):
            said = " ".join(words[at:end])
            if words_to_int(said) is not None:
                try:
                    argument.read(said)
                except ToolError:  # out of its range: no value of this argument
                    break
                found.append(said)
                taken[at:end] = [True] * (end - at)
                at = end - 1
                break
        at += 1
    return found


def _spans(words: Sequence[str], taken: Sequence[bool]) -> list[str]:
    """Stretches of words that begin and end with one that is free, longest first."""
    free = [at for at in range(len(words)) if not taken[at]]
    runs = [
        (first, last)
        for first in free
        for last in free
        if first <= last < first + SPAN_WORDS and sum(taken[first : last + 1]) <= 2
    ]
    runs.sort(key=lambda run: (run[0] - run[1], run[0]))
    return list(dict.fromkeys(" ".join(words[first : last + 1]) for first, last in runs))[:SPANS]


def _listed(argument: Argument, values: Sequence[str]) -> Argument:
    return replace(argument, kind="choice", choices=tuple(values), low=None, high=None, step=None, enum_type=None)
