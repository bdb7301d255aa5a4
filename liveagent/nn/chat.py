"""`Chat`: the `Format` of a checkpoint that brings a chat template. What stands between turns is not written down here:
a small conversation is rendered by the checkpoint's own template, and cut at the words that were put into it.

How its tools are called no template says in a form that can be read back, so that is the family's `CallSyntax`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from liveagent.argument import Value
from liveagent.errors import ConfigError
from liveagent.nn.tokens import Tokens
from liveagent.tool import Tool

Message: TypeAlias = Mapping[str, Any]
Render: TypeAlias = Callable[[Sequence[Message], Sequence[Mapping[str, Any]], bool], str]
"""Messages, tools as JSON schemas, and whether the agent's turn is to be opened behind them, to the template's text."""

_USER, _AGENT, _NEXT, _NOTE = "qusera", "qagentb", "qnextc", "qnoted"
QUESTION = "Look at what you see now. Is this true: {}? Answer yes or no."


class Mark(str):
    """A part of a text that is a mark of the model's, and nobody's word."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class SenseMarks:
    """The ids around what a checkpoint's own ear or eye gives: what opens it, holds the place of each row, and closes
    it. `layers`: the id that a row has where layers look ids up again. `timed`: minutes and seconds stand in front, as
    with the pictures of a film."""

    opens: int
    row: int
    closes: int
    layers: int
    timed: bool = False


class CallSyntax(Protocol):
    """How a family writes calls and what comes of them, as parts of text."""

    opens: Mark
    """In front of a call."""
    closes: Mark
    """Behind it."""

    def write(self, name: str, args: Mapping[str, Value]) -> list[str]:
        """What stands between the two."""
        ...

    def result(self, name: str, text: str) -> list[str]:
        """What a tool gave."""
        ...

    def parse(self, text: str) -> tuple[str, dict[str, Any]]:
        """A decoded call's name and arguments. ToolError."""
        ...

    def lark(self, tools: Sequence[Tool], mark: Callable[[str], str]) -> str:
        """The grammar of calls of these tools, for llguidance; `mark` says how it is told of a mark."""
        ...


class Chat:
    """See `Format`, which this is. `sound`, `picture`: of a checkpoint that hears and sees for itself; a picture
    between two turns is a user's turn of its own, for it comes when something is seen and may go before what was said
    does. ConfigError: the template cannot be taken apart, or the tokenizer lacks a mark."""

    def __init__(
        self,
        tokens: Tokens,
        render: Render,
        syntax: CallSyntax,
        sound: SenseMarks | None = None,
        picture: SenseMarks | None = None,
    ) -> None:
        self.tokens, self._render, self._syntax = tokens, render, syntax
        system = {"role": "system", "content": "-"}
        talk = [
            system,
            {"role": "user", "content": _USER},
            {"role": "assistant", "content": _AGENT},
            {"role": "user", "content": _NEXT},
        ]
        closes = _behind(self._render(talk[:3], (), False), _AGENT)
        between = _between(self._render(talk, (), False), _AGENT, _NEXT)
        user_closes = _behind(self._render(talk[:2], (), False), _USER)
        agent_opens = _behind(self._render(talk[:2], (), True), _USER).removeprefix(user_closes)
        if not between.startswith(closes) or not agent_opens or not closes.strip() or not user_closes.strip():
            raise ConfigError("this checkpoint's chat template writes turns that depend on what follows: not supported")
        self._user_opens = between.removeprefix(closes)
        self.user_close, self.agent_open = tokens.marked(user_closes), tokens.marked(agent_opens)
        self._closes = tokens.marked(closes)
        self.say_open: list[int] = []
        self.call_open = tokens.marked(syntax.opens)
        self.call_stop: tuple[int, ...] = (tokens.id(syntax.closes),)
        self.cut_mark = [*tokens.encode("…"), *self._closes]
        self.reply_stop: tuple[int, ...] = (self._closes[0],)
        self.choice: tuple[int, ...] = (self.call_open[0],)
        self.ending: list[int] = []
        self.ending_answers: tuple[int, ...] = (self.user_close[0],)
        self.answers = tokens.encode("Yes")[0], tokens.encode("No")[0]
        self.never = tuple(each for each in tokens.marks if each not in self.reply_stop)
        self.call_lark: Callable[[Sequence[Tool]], str] | None = self._lark
        self._note = self._noted()
        self.sound_open, self.sound_close, self.sound_id = list[int](), list[int](), 0
        if sound is not None:
            before, after = self._around("audio", tokens.piece(sound.row))
            self.sound_open = [*tokens.marked(before), sound.opens]
            self.sound_close, self.sound_id = [sound.closes, *tokens.marked(after)], sound.row
        self._picture, self._around_picture = picture, ("", "")
        if picture is not None:
            self._around_picture = self._around("image", tokens.piece(picture.row))

    def _around(self, kind: str, mark: str) -> tuple[str, str]:
        """What the template writes around sound or a picture within a user's turn; nothing where it knows of none."""
        talk: list[Message] = [
            {"role": "system", "content": "-"},
            {"role": "user", "content": [{"type": kind}]},
        ]
        try:
            whole = self._render(talk, (), False)
        except ConfigError:
            return "", ""
        turn = whole.rpartition(self._user_opens)[2].removesuffix(self.tokens.decode(self.user_close))
        before, found, after = turn.partition(mark)
        return (before, after) if found and mark not in after else ("", "")

    def _noted(self) -> tuple[str, str]:
        """What stands around a note between two turns; a template that has no place for one gets it as a user's."""
        messages = [
            {"role": "system", "content": "-"},
            {"role": "user", "content": _USER},
            {"role": "assistant", "content": _AGENT},
            {"role": "system", "content": _NOTE},
            {"role": "user", "content": _NEXT},
        ]
        plain = self._user_opens + "(", ")" + self.tokens.decode(self.user_close)
        try:
            whole = self._render(messages, (), False)
        except ConfigError:
            return plain
        if whole.count(_NOTE) != 1:
            return plain
        before, after = _between(whole, _AGENT, _NOTE), _between(whole, _NOTE, _NEXT)
        closes = self.tokens.decode(self._closes)
        if not before.startswith(closes) or not after.endswith(self._user_opens):
            return plain
        return before.removeprefix(closes), after.removesuffix(self._user_opens)

    def _ids(self, parts: Sequence[str]) -> list[int]:
        ids: list[int] = []
        for part in parts:
            ids += self.tokens.marked(part) if isinstance(part, Mark) else self.tokens.encode(part)
        return ids

    def prompt(self, instructions: str, tools: Sequence[Tool]) -> list[int]:
        schemas = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": self.tokens.plain(tool.description),
                    "parameters": self._plain(tool.schema),
                },
            }
            for tool in tools
        ]
        said = {"role": "system", "content": self.tokens.plain(instructions)}
        whole = self._render([said, {"role": "user", "content": _USER}], schemas, False)
        before = whole.partition(_USER)[0]
        if not before.endswith(self._user_opens):
            raise ConfigError("this checkpoint's chat template opens the first turn in a way of its own: not supported")
        return self.tokens.marked(before.removesuffix(self._user_opens))

    def _plain(self, value: Any) -> Any:
        """A schema that somebody else wrote, without anything that spells a mark."""
        if isinstance(value, str):
            return self.tokens.plain(value)
        if isinstance(value, Mapping):
            return {self.tokens.plain(str(key)): self._plain(each) for key, each in value.items()}
        return [self._plain(each) for each in value] if isinstance(value, list | tuple) else value

    def encode(self, text: str) -> list[int]:
        return self.tokens.encode(text)

    def user_open(self, in_turn: bool) -> list[int]:
        return [*(self._closes if in_turn else ()), *self.tokens.marked(self._user_opens)]

    def words(self, words: Sequence[str]) -> list[int]:
        return self.tokens.encode(" ".join(words))

    def weigh(self, logp: Sequence[float]) -> tuple[float, float]:
        call = logp[0]
        return call, math.log1p(-min(math.exp(call), 1.0 - 1e-12))

    def ended(self, logp: Sequence[float]) -> float:
        return math.exp(logp[0]) if logp else 0.5

    def reply_close(self, stopped: bool) -> list[int]:
        return self._closes[1:] if stopped else self._closes

    def written(self, tool: Tool, args: Mapping[str, Value]) -> list[int]:
        syntax = self._syntax
        in_order = {each.name: args[each.name] for each in tool.arguments if each.name in args}
        return self._ids([syntax.opens, *syntax.write(tool.name, in_order), syntax.closes])

    def returned(
        self, name: str, text: str, failed: bool = False, *, in_turn: bool = True, answer: bool = True, most: int = 256
    ) -> list[int]:
        text = f"failed: {text}" if failed else text
        opened = [] if in_turn else self.agent_open
        room = most - len(self._ids(self._syntax.result(name, ""))) - len(opened) - len(self._closes)
        kept = self.tokens.encode(text)[: max(0, room)]
        ids = self._ids(self._syntax.result(name, self.tokens.decode(kept, specials=False)))
        return [*opened, *ids, *(() if answer else self._closes)]

    def note(self, text: str) -> list[int]:
        before, after = self._note
        return [*self.tokens.marked(before), *self.tokens.encode(text), *self.tokens.marked(after)]

    def picture(self, cells: int, t_ns: int = 0, in_turn: bool = False, within: bool = False) -> list[int]:
        marks = self._picture
        if marks is None:
            raise ConfigError("this model has no eyes: give no camera, or choose one that sees")
        minutes, seconds = divmod(t_ns // 1_000_000_000, 60)
        stamp = f"{minutes:02d}:{seconds:02d} " if marks.timed else ""
        ids = self.tokens.marked(("" if within else self._user_opens) + self._around_picture[0] + stamp)
        return [*(self._closes if in_turn else ()), *ids, marks.opens, *[marks.row] * cells]

    def picture_close(self, within: bool = False) -> list[int]:
        marks, after = self._picture, self._around_picture[1]
        if marks is None:
            return []
        closes = "" if within else self.tokens.decode(self.user_close)
        return [marks.closes, *self.tokens.marked(after + closes)]

    def watch(self, condition: str) -> list[int]:
        asked = self.tokens.encode(QUESTION.format(condition))
        return [*self.user_open(False), *asked, *self.user_close, *self.agent_open]

    def parse(self, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
        return self._syntax.parse(self.tokens.decode(ids))

    def _lark(self, tools: Sequence[Tool]) -> str:
        return self._syntax.lark(tools, lambda mark: f"<[{self.tokens.id(mark)}]>")


def _behind(text: str, word: str) -> str:
    """What stands behind the only place of a word. ConfigError."""
    if text.count(word) != 1:
        raise ConfigError("this checkpoint's chat template leaves out what is said, or says it twice: not supported")
    return text.partition(word)[2]


def _between(text: str, first: str, second: str) -> str:
    return _behind(text, first).partition(second)[0]
