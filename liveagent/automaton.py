"""The one automaton of everything a user may say: all phrases of all tools and all questions, as words.

It is built by composition: each phrase becomes a small network with its arguments' own networks put in place, all of
them side by side are made deterministic, and equal ends are merged. So a thousand values in twenty phrases cost their
sum, not their product, and the result is the smallest of its kind (Hopcroft & Ullman; for acyclic automata states
with equal ways out are merged from the ends, as in Daciuk et al. 2000).

A free-text argument has no list of words, so a phrase with one is not in the automaton: nobody can be *heard* saying
it within the grammar. `parse` still matches it on words that were typed or freely heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from liveagent.argument import Argument, Value
from liveagent.errors import ConfigError
from liveagent.phrase import Alt, Node, Phrase, Seq, Word
from liveagent.spoken import spoken, words_to_int
from liveagent.tool import Tool

MAX_STATES = 20_000
MAX_ARCS = 60_000
_TEXT = "{text}"  # stands for a free text where only sameness of phrases counts


@dataclass(frozen=True, slots=True)
class Parse:
    """A sentence read off a tool's phrase. `args` hold JSON values, only those that were said."""

    tool: Tool
    args: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Question:
    """A sentence that is one of the agent's questions."""

    words: str


class Automaton:
    """Deterministic, minimal, acyclic. State 0 is the start; `final` is the one accepting state with no way on.

    `ways[state]` maps a word to the next state, `accepting` are the states where a sentence may end.
    """

    def __init__(
        self,
        tools: Sequence[Tool],
        questions: Sequence[Phrase],
        ways: Sequence[dict[str, int]],
        accepting: Iterable[int],
    ) -> None:
        self.tools = tuple(tools)
        self.questions = tuple(questions)
        self.ways = tuple(MappingProxyType(way) for way in ways)
        self.accepting = frozenset(accepting)
        self.final = next(state for state in self.accepting if not self.ways[state])

    @classmethod
    def of(cls, tools: Sequence[Tool], questions: Sequence[str] = ()) -> Automaton:
        """Raises ConfigError when the phrases hold too many different sentences to be searched while one speaks."""
        asked = _question_phrases(questions)
        net = _Net()
        for at, tool in enumerate(tools):
            for phrase in tool.phrases:
                net.add(phrase, tool, at, free_text=False)
        for phrase in asked:
            net.add(phrase, None, len(tools), free_text=False)
        ways, owners = net.determinise()
        ways, accepting = _minimise(ways, [bool(owner) for owner in owners])
        arcs = sum(len(way) for way in ways)
        if len(ways) > MAX_STATES or arcs > MAX_ARCS:
            raise ConfigError(
                f"the phrases need {len(ways)} states and {arcs} words, at most {MAX_STATES} and {MAX_ARCS} can be "
                f"listened for; {_widest(tools)} has most values: narrow its arguments or give it fewer phrases"
            )
        return cls(tools, asked, ways, accepting)

    @property
    def states(self) -> int:
        return len(self.ways)

    @cached_property
    def arcs(self) -> tuple[tuple[int, int, str], ...]:
        """(from, to, word) with the one final state: a word that may end a sentence and may also go on is there
        twice. This is what PocketSphinx's `create_fsg` wants, which knows one final state and (here) no epsilon."""
        return tuple(
            (state, to, word)
            for state, way in enumerate(self.ways)
            for word, end in way.items()
            for to in ((end, self.final) if end in self.accepting and end != self.final else (end,))
        )

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The vocabulary, sorted."""
        return tuple(sorted({word for way in self.ways for word in way}))

    @cached_property
    def sentences(self) -> int:
        """How many sentences it accepts."""
        counts = [0] * self.states
        for state in _ends_first(self.ways):
            counts[state] = (state in self.accepting) + sum(counts[to] for to in self.ways[state].values())
        return counts[0]

    def accepts(self, words: str | Sequence[str]) -> bool:
        """Whether these words, in normal form, are a whole sentence."""
        state = 0
        for word in words.split() if isinstance(words, str) else words:
            if word not in self.ways[state]:
                return False
            state = self.ways[state][word]
        return state in self.accepting

    def begun(self, words: Sequence[str]) -> bool:
        """Whether a sentence begins with these words (at least one) and they are none yet."""
        state = 0
        for word in words:
            if word not in self.ways[state]:
                return False
            state = self.ways[state][word]
        return bool(words) and state not in self.accepting

    def next_words(self, state: int = 0) -> Mapping[str, int]:
        """Word → state for every word that may follow."""
        return self.ways[state]

    def parse(self, text: str) -> Parse | Question | None:
        """Read a whole utterance off the phrases; None when none matches. Closed phrases come before free text."""
        words = tuple(spoken(text).split())
        if not words:
            return None
        for free_text in (False, True):
            for tool in self.tools:
                arguments = {argument.name: argument for argument in tool.arguments}
                for phrase in tool.phrases:
                    if any(arguments[name].kind == "text" for name in phrase.names) == free_text:
                        for end, args in _match(phrase.root, words, 0, arguments):
                            if end == len(words):
                                return Parse(tool, MappingProxyType(args))
            if not free_text and any(
                end == len(words) for phrase in self.questions for end, _ in _match(phrase.root, words, 0, {})
            ):
                return Question(" ".join(words))
        return None


def sound_alike(tools: Sequence[Tool], questions: Sequence[str] = ()) -> tuple[str, str, str] | None:
    """Two tools (or a tool and the questions) that one sentence would call, and the shortest such sentence."""
    net = _Net()
    for at, tool in enumerate(tools):
        for phrase in tool.phrases:
            net.add(phrase, tool, at, free_text=True)
    for phrase in _question_phrases(questions):
        net.add(phrase, None, len(tools), free_text=True)
    names = [f"tool {tool.name!r}" for tool in tools] + ["the agent's questions"]
    ways, owners = net.determinise()
    path: dict[int, tuple[str, ...]] = {0: ()}
    queue = [0]
    for state in queue:  # breadth first: the first clash met is a shortest one
        if len(owners[state]) > 1:
            one, other, *_ = sorted(owners[state])
            return names[one], names[other], " ".join(path[state])
        for word, to in ways[state].items():
            if to not in path:
                path[to] = (*path[state], word)
                queue.append(to)
    return None


class _Net:
    """Phrases side by side from state 0, with empty arcs, before they are made deterministic."""

    def __init__(self) -> None:
        self.arcs: list[list[tuple[str, int]]] = [[]]  # "" is the empty word
        self.owner: dict[int, int] = {}  # end of a sentence -> whose
        self.slots: dict[int, tuple[list[dict[str, int]], set[int]]] = {}

    def add(self, phrase: Phrase, tool: Tool | None, owner: int, free_text: bool) -> None:
        arguments = {argument.name: argument for argument in tool.arguments} if tool else {}
        if free_text or not any(arguments[name].kind == "text" for name in phrase.names):
            self.owner[self.walk(phrase.root, 0, arguments)] = owner

    def state(self) -> int:
        self.arcs.append([])
        return len(self.arcs) - 1

    def walk(self, node: Node, start: int, arguments: Mapping[str, Argument]) -> int:
        if isinstance(node, Seq):
            for item in node.items:
                start = self.walk(item, start, arguments)
            return start
        end = self.state()
        if isinstance(node, Word):
            self.arcs[start].append((node.text, end))
        elif isinstance(node, Alt):
            for option in node.options:
                self.arcs[self.walk(option, start, arguments)].append(("", end))
        elif arguments[node.name].kind == "text":
            self.arcs[start].append((_TEXT, end))
        else:
            self.put(arguments[node.name], start, end)
        return end

    def put(self, argument: Argument, start: int, end: int) -> None:
        """A copy of an argument's own minimal network between two states."""
        if id(argument) not in self.slots:
            self.slots[id(argument)] = _slot(argument)
        ways, accepting = self.slots[id(argument)]
        states = [start] + [self.state() for _ in ways[1:]]
        for state, way in enumerate(ways):
            self.arcs[states[state]].extend((word, states[to]) for word, to in way.items())
            if state in accepting:
                self.arcs[states[state]].append(("", end))

    def determinise(self) -> tuple[list[dict[str, int]], list[frozenset[int]]]:
        """Subset construction: ways out of each state, and whose sentence ends there."""
        closed: list[tuple[int, ...] | None] = [None] * len(self.arcs)

        def closure(states: Iterable[int]) -> frozenset[int]:
            seen: set[int] = set()
            for state in states:
                reach = closed[state]
                if reach is None:
                    found, stack = {state}, [state]
                    while stack:
                        for word, to in self.arcs[stack.pop()]:
                            if not word and to not in found:
                                found.add(to)
                                stack.append(to)
                    reach = closed[state] = tuple(found)
                seen.update(reach)
            return frozenset(seen)

        first = closure([0])
        number, queue, ways = {first: 0}, [first], list[dict[str, int]]()
        for subset in queue:
            goals: dict[str, set[int]] = {}
            for state in sorted(subset):
                for word, to in self.arcs[state]:
                    if word:
                        goals.setdefault(word, set()).add(to)
            way: dict[str, int] = {}
            for word, goal in goals.items():
                target = closure(goal)
                if target not in number:
                    number[target] = len(queue)
                    queue.append(target)
                    if len(queue) > 20 * MAX_STATES:
                        raise ConfigError("the phrases hold too many different sentences: narrow their arguments")
                way[word] = number[target]
            ways.append(way)
        owners = [frozenset(self.owner[state] for state in subset if state in self.owner) for subset in queue]
        return ways, owners


def _slot(argument: Argument) -> tuple[list[dict[str, int]], set[int]]:
    ways: list[dict[str, int]] = [{}]
    ends = set()
    for words in argument.slots:
        state = 0
        for word in words.split():
            if word not in ways[state]:
                ways[state][word] = len(ways)
                ways.append({})
            state = ways[state][word]
        ends.add(state)
    return _minimise(ways, [state in ends for state in range(len(ways))])


def _ends_first(ways: Sequence[Mapping[str, int]]) -> list[int]:
    """The states in an order where every state comes after all it leads to."""
    order: list[int] = []
    seen = {0}
    stack: list[tuple[int, Iterator[int]]] = [(0, iter(ways[0].values()))]
    while stack:
        state, rest = stack[-1]
        for to in rest:
            if to not in seen:
                seen.add(to)
                stack.append((to, iter(ways[to].values())))
                break
        else:
            order.append(state)
            stack.pop()
    return order


def _minimise(ways: Sequence[dict[str, int]], ends: Sequence[bool]) -> tuple[list[dict[str, int]], set[int]]:
    """Merge states with equal ways out, from the ends; the start becomes 0."""
    merged: dict[tuple[bool, frozenset[tuple[str, int]]], int] = {}
    of: dict[int, int] = {}
    out: list[dict[str, int]] = []
    accepting: set[int] = set()
    for state in _ends_first(ways):
        way = {word: of[to] for word, to in ways[state].items()}
        key = (ends[state], frozenset(way.items()))
        if key not in merged:
            merged[key] = len(out)
            out.append(way)
        of[state] = merged[key]
        if ends[state]:
            accepting.add(of[state])
    last = len(out) - 1  # the start came last: nothing leads to it, so nothing equals it
    if not accepting:  # no phrases at all: a final state that cannot be reached
        out.insert(0, {})
        accepting, last = {0}, 1
    return (
        [{word: last - to for word, to in way.items()} for way in reversed(out)],
        {last - state for state in accepting},
    )


def _match(
    node: Node, words: tuple[str, ...], at: int, arguments: Mapping[str, Argument]
) -> Iterator[tuple[int, dict[str, Value]]]:
    """Every way `node` can take words from `at` on: where it ends, and the arguments it read."""
    if isinstance(node, Word):
        if at < len(words) and words[at] == node.text:
            yield at + 1, {}
    elif isinstance(node, Alt):
        for option in node.options:
            yield from _match(option, words, at, arguments)
    elif isinstance(node, Seq):
        if not node.items:
            yield at, {}
        else:
            rest = Seq(node.items[1:])
            for middle, front in _match(node.items[0], words, at, arguments):
                for end, back in _match(rest, words, middle, arguments):
                    yield end, {**front, **back}
    else:
        argument = arguments[node.name]
        for end in range(len(words), at, -1):  # the longest value first: "twenty five" before "twenty"
            said = " ".join(words[at:end])
            if argument.kind == "text":
                yield end, {argument.name: said}
            elif said in argument.slots:
                yield end, {argument.name: argument.slots[said]}
            elif argument.kind == "int":  # the same number said another way: "a hundred and five"
                number = words_to_int(words[at:end])
                if number is not None and argument.say(number) in argument.slots:
                    yield end, {argument.name: number}


def _question_phrases(questions: Sequence[str]) -> tuple[Phrase, ...]:
    if isinstance(questions, str):
        raise ConfigError("questions wants a list of phrases, not one string")
    phrases = tuple(Phrase.of(question, "questions") for question in questions)
    for phrase in phrases:
        if phrase.names:
            raise ConfigError(f"question {phrase.text!r} names {{{phrase.names[0]}}}: only tools have arguments")
    return phrases


def _widest(tools: Sequence[Tool]) -> str:
    sizes = {tool.name: len(tool.phrases) * sum(len(slot) for slot in tool.slots.values()) for tool in tools}
    return f"tool {max(sizes, key=sizes.__getitem__)!r}" if sizes else "the questions list"
