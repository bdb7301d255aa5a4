"""Phrases: what a user may say to a tool, written as a small pattern.

    (turn|switch) {state} [the] {room} light      (a|b) one of them, [x] may be left out, {arg} an argument's words

Words are kept in the normal form of `spoken`. A phrase becomes a tree of `Word`, `Arg`, `Seq` and `Alt`; everything
that is built from phrases (sampling, the automaton, the parser) walks that tree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from random import Random

from liveagent.errors import ConfigError
from liveagent.spoken import spoken


@dataclass(frozen=True, slots=True)
class Word:
    text: str


@dataclass(frozen=True, slots=True)
class Arg:
    name: str


@dataclass(frozen=True, slots=True)
class Seq:
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alt:
    """One of `options`; `[x]` is the choice between `x` and an empty `Seq`."""

    options: tuple[Node, ...]


Node = Word | Arg | Seq | Alt
_TOKEN = re.compile(r"\s+|[()\[\]|]|\{[^{}]*\}|[^\s()\[\]{}|]+(?:\s+[^\s()\[\]{}|]+)*|[{}]")


@dataclass(frozen=True, slots=True)
class Phrase:
    """One phrase of one tool. `root` is its tree, `names` its arguments in order of first mention."""

    text: str
    root: Node
    names: tuple[str, ...]

    @classmethod
    def of(cls, text: str, owner: str = "") -> Phrase:
        """Parse a phrase; `owner` (the tool's name) only goes into the message. Raises ConfigError."""
        root = _Parser(text, owner).parse()
        names = tuple(dict.fromkeys(_names(root)))
        return cls(text, root, names)

    def arg_sets(self) -> frozenset[frozenset[str]]:
        """The sets of arguments that sentences of this phrase carry: one for `say {a}`, two for `say {a} [{b}]`."""
        return frozenset(frozenset(path) for path in _arg_paths(self.root))

    def sample(self, rng: Random, values: Mapping[str, str | Sequence[str]]) -> str:
        """One sentence. An argument's words come from `values`: one string, or a sequence to choose from."""

        def walk(node: Node) -> Iterator[str]:
            if isinstance(node, Word):
                yield node.text
            elif isinstance(node, Arg):
                value = values[node.name]
                yield value if isinstance(value, str) else rng.choice(value)
            elif isinstance(node, Seq):
                for item in node.items:
                    yield from walk(item)
            else:
                yield from walk(rng.choice(node.options))

        return " ".join(walk(self.root))

    def expand(self, limit: int = 10_000) -> list[str]:
        """Every sentence, arguments left as `{name}`; ConfigError when there are more than `limit`."""
        sentences = list(islice(dict.fromkeys(" ".join(words) for words in _sentences(self.root)), limit + 1))
        if len(sentences) > limit:
            raise ConfigError(f"phrase {self.text!r} stands for more than {limit} sentences: split it or say less")
        return sentences


def _names(node: Node) -> Iterator[str]:
    if isinstance(node, Arg):
        yield node.name
    elif isinstance(node, Seq):
        for item in node.items:
            yield from _names(item)
    elif isinstance(node, Alt):
        for option in node.options:
            yield from _names(option)


def _arg_paths(node: Node) -> set[tuple[str, ...]]:
    """The arguments met on each way through, sorted; one that is met twice is there twice."""
    if isinstance(node, Word):
        return {()}
    if isinstance(node, Arg):
        return {(node.name,)}
    if isinstance(node, Alt):
        return {path for option in node.options for path in _arg_paths(option)}
    paths: set[tuple[str, ...]] = {()}
    for item in node.items:
        paths = {tuple(sorted(front + back)) for front in paths for back in _arg_paths(item)}
    return paths


def _may_be_empty(node: Node) -> bool:
    if isinstance(node, Seq):
        return all(_may_be_empty(item) for item in node.items)
    return isinstance(node, Alt) and any(_may_be_empty(option) for option in node.options)


def _sentences(node: Node) -> Iterator[tuple[str, ...]]:
    if isinstance(node, Word):
        yield (node.text,)
    elif isinstance(node, Arg):
        yield ("{" + node.name + "}",)
    elif isinstance(node, Alt):
        for option in node.options:
            yield from _sentences(option)
    elif not node.items:
        yield ()
    else:
        for front in _sentences(node.items[0]):
            for back in _sentences(Seq(node.items[1:])):
                yield front + back


class _Parser:
    """Recursive descent over the tokens of one phrase."""

    def __init__(self, text: str, owner: str) -> None:
        self.text, self.owner = text, owner
        self.tokens = [(m[0], m.start()) for m in _TOKEN.finditer(text) if not m[0].isspace()]
        self.at = 0

    def parse(self) -> Node:
        root = self.sequence()
        if self.at < len(self.tokens):
            token, position = self.tokens[self.at]
            if token == "|":
                raise self.error("'|' outside brackets: write (a|b)", position)
            raise self.error(f"{token!r} closes nothing", position)
        if _may_be_empty(root):
            raise self.error("it can be said with no word at all: leave something outside [ ]", 0)
        for path in _arg_paths(root):
            for name in path:
                if path.count(name) > 1:
                    raise self.error(f"argument {{{name}}} stands twice in one sentence", self.text.rfind("{" + name))
        return root

    def sequence(self) -> Node:
        items: list[Node] = []
        while self.at < len(self.tokens):
            token, position = self.tokens[self.at]
            if token in ")]|":
                break
            self.at += 1
            if token in "([":
                items.append(self.group(token, position))
            elif token[0] == "{" and token[-1] == "}" and len(token) > 1:
                name = token[1:-1].strip()
                if not name.isidentifier():
                    raise self.error(f"{token!r} is no argument: write {{name}}", position)
                items.append(Arg(name))
            elif token in "{}":
                raise self.error(f"{token!r} without its partner", position)
            else:
                words = spoken(token).split()
                if not words:
                    raise self.error(f"{token!r} has no word in it", position)
                items.extend(Word(word) for word in words)
        return items[0] if len(items) == 1 else Seq(tuple(items))

    def group(self, opening: str, start: int) -> Node:
        closing = ")" if opening == "(" else "]"
        options = [self.sequence()]
        while self.at < len(self.tokens) and self.tokens[self.at][0] == "|":
            self.at += 1
            options.append(self.sequence())
        if self.at == len(self.tokens) or self.tokens[self.at][0] != closing:
            raise self.error(f"{opening!r} is never closed with {closing!r}", start)
        self.at += 1
        if Seq(()) in options:
            raise self.error("an empty choice: write [a|b] for what may be left out", start)
        if opening == "[":
            options.append(Seq(()))
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def error(self, what: str, position: int) -> ConfigError:
        owner = f"tool {self.owner!r}, " if self.owner else ""
        return ConfigError(f"{owner}phrase {self.text!r}, position {position}: {what}")
