"""nano's prompt format: how instructions, tools and turns become piece ids.

    <sys> be brief
    <tool> light : switch a room's light ; room = kitchen , bedroom ; state = on , off
    <tool> timer : start a timer ; minutes = #
    <tool> note : write a note ; words = * <go>
    <user> turn on the kitchen light <end>
    <agent> <call> light ; room = kitchen ; state = on <end>
    <result> the kitchen light is on <end>
    <agent> <say> The kitchen light is on . <end>

Specials and the signs : ; = , # * . are one id each and never part of a word's pieces, so that a word has the same
pieces in the prompt, in the user's mouth, in a call and in a reply: filling an argument is copying. Values are in
spoken form ("five"), names with spaces for underscores; required arguments of a call come in the order of the
signature, optional ones may be left out. A reply that was interrupted ends in `<cut>` in place of `<end>`. After any
part of a user's words the probe `<eou>` is answered by `<yes>` or `<no>` ("has the user finished?"); a probe lives on a
scratch branch and is never followed by anything.

Where eyes look on, a picture stands between two turns: `<image>`, and one row for each cell of it that is kept, in
order. These rows are what the eye said (`Decoder.see_embed`); their ids here are `<image>` again and only hold the
place. A watch is a probe as well: `<event>`, a condition in spoken form, `<end>`; then `<yes>` or `<no>`:

    <image> .. .. .. <event> a red ball is on the table <end>
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from liveagent.argument import Argument, Value
from liveagent.errors import ToolError
from liveagent.nn.pieces import Pieces
from liveagent.spoken import spoken
from liveagent.tool import Tool

SPECIALS = (
    "<pad> <sys> <tool> <go> <user> <end> <agent> <call> <result> <say> <cut> <eou> <yes> <no> <image> <event>"
).split()
SIGNS = {"about": ":", "arg": ";", "is_": "=", "or_": ",", "number": "#", "text": "*"}
"""What the format needs of a tokenizer, each one id."""

_PARTS = re.compile(r"[A-Za-z0-9']+(?:[ ]+[A-Za-z0-9']+)*|[^\sA-Za-z0-9']")

BOOL_WORDS = ("yes", "no")


def name_words(name: str) -> str:
    """A tool's or argument's name as words: "cancel_timer" -> "cancel timer"."""
    return spoken(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " "))


def result_words(text: str) -> str:
    """A tool's answer as the decoder reads it: spoken form with commas where a pause was."""
    parts = (spoken(part) for part in re.split(r"[,:;!?\n]|\.(?!\d)", text))
    return ", ".join(part for part in parts if part)


def parse_call(text: str, tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
    """`light ; room = bath ; state = on` to ("light", {"room": "bath", "state": "on"}). Raises ToolError."""
    head, *parts = (part.strip() for part in text.split(";"))
    tool = next((tool for tool in tools if name_words(tool.name) == head), None)
    if tool is None:
        raise ToolError(f"there is no tool {head!r}; there are {', '.join(tool.name for tool in tools) or 'none'}")
    args: dict[str, Value] = {}
    for part in parts:
        name, equals, words = (each.strip() for each in part.partition("="))
        argument = next((each for each in tool.arguments if name_words(each.name) == name), None)
        if argument is None or not equals or argument.name in args:
            raise ToolError(f"{tool.name} cannot be called with {part!r}")
        args[argument.name] = argument.slots.get(words, words) if argument.slots else words
    return tool.name, args


class Template:
    """Turns into ids: nano's `Format`. Everything returned is a list of piece ids."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        ids = (pieces.id(name) for name in SPECIALS)
        self.pad, self.sys, self.tool, self.go, self.user, self.end, self.agent, self.call, self.result, self.say, \
            self.cut, self.eou, self.yes, self.no, self.image, self.event = ids  # fmt: skip
        self.about, self.arg, self.is_, self.or_, self.number, self.text = (pieces.id(s) for s in SIGNS.values())
        # As `Format` has them.
        self.user_close, self.agent_open = [self.end], [self.agent]
        self.say_open, self.call_open, self.cut_mark = [self.say], [self.call], [self.cut]
        self.reply_stop: tuple[int, ...] = (self.end,)
        self.call_stop: tuple[int, ...] = (self.end,)
        self.sound_open, self.sound_close, self.sound_id = list[int](), list[int](), self.pad
        self.choice: tuple[int, ...] = (self.call, self.say)
        self.answers = (self.yes, self.no)
        self.ending = [self.eou]
        self.ending_answers: tuple[int, ...] = (self.yes, self.no)
        self.never: tuple[int, ...] = ()
        self.call_lark: Callable[[Sequence[Tool]], str] | None = None

    def encode(self, text: str) -> list[int]:
        """Ids of a text with signs: a sign is its own piece ("on." is "on" and ".")."""
        ids: list[int] = []
        for part in _PARTS.findall(text):
            if part[0].isalnum() or part[0] == "'":
                ids += self.pieces.encode(part)
            else:
                try:
                    ids.append(self.pieces.id(part))
                except KeyError:  # not in the vocabulary: its bytes
                    ids += self.pieces.encode(part)
        return ids

    def prompt(self, instructions: str, tools: Sequence[Tool]) -> list[int]:
        """The pinned prefix: instructions, then every tool."""
        ids = [self.sys, *self.pieces.encode(spoken(instructions))]
        for tool in tools:
            ids += self.tool_ids(tool)
        return [*ids, self.go]

    def tool_ids(self, tool: Tool) -> list[int]:
        ids = [self.tool, *self.pieces.encode(name_words(tool.name))]
        ids += [self.about, *self.pieces.encode(spoken(tool.description))]
        for argument in tool.arguments:
            ids += [self.arg, *self.pieces.encode(name_words(argument.name)), self.is_, *self._wants(argument)]
        return ids

    def _wants(self, argument: Argument) -> list[int]:
        if argument.kind in ("int", "float"):
            return [self.number]
        if argument.kind == "text":
            return [self.text]
        ids: list[int] = []
        for words in BOOL_WORDS if argument.kind == "bool" else argument.slots:
            ids += [self.or_, *self.pieces.encode(words)]
        return ids[1:]

    def user_open(self, in_turn: bool) -> list[int]:
        return [self.user]

    def words(self, words: Sequence[str]) -> list[int]:
        return self.pieces.encode(" ".join(words))

    def weigh(self, logp: Sequence[float]) -> tuple[float, float]:
        return logp[0], logp[1]

    def ended(self, logp: Sequence[float]) -> float:
        yes, no = logp
        return 1.0 / (1.0 + math.exp(min(30.0, max(-30.0, no - yes))))

    def reply_close(self, stopped: bool) -> list[int]:
        return [] if stopped else [self.end]

    def written(self, tool: Tool, args: Mapping[str, Value]) -> list[int]:
        words = {name: tool.argument(name).say(value) for name, value in args.items()}
        return self.call_turn(tool, words)[1:]  # `<agent>` stands already

    def returned(
        self, name: str, text: str, failed: bool = False, *, in_turn: bool = True, answer: bool = True, most: int = 256
    ) -> list[int]:
        ids = self.result_turn(text, failed)
        if len(ids) > most:
            ids = [*ids[: most - 1], self.end]
        return [*ids, self.agent] if answer else ids

    def note(self, text: str) -> list[int]:
        return [self.sys, *self.pieces.encode(spoken(text)), self.end]

    def parse(self, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
        return parse_call(self.pieces.decode([i for i in ids if i not in (self.call, self.end)]), tools)

    def user_turn(self, words: str) -> list[int]:
        """What a user said, already in spoken form."""
        return [self.user, *self.pieces.encode(words), self.end]

    def call_turn(self, tool: Tool, words: Mapping[str, str]) -> list[int]:
        """A call; `words` holds the spoken form of each argument's value. Starts at `<agent>`."""
        ids = [self.agent, self.call, *self.pieces.encode(name_words(tool.name))]
        for argument in tool.arguments:
            if argument.name in words:
                ids += [self.arg, *self.pieces.encode(name_words(argument.name)), self.is_]
                ids += self.pieces.encode(words[argument.name])
        return [*ids, self.end]

    def result_turn(self, text: str, failed: bool = False) -> list[int]:
        """What a tool answered; a failure is marked by the word "failed" in front."""
        words = result_words(text) or "done"
        return [self.result, *self.encode("failed, " + words if failed else words), self.end]

    def say_turn(self, text: str) -> list[int]:
        """A whole reply, as text with capitals and punctuation. Starts at `<agent>`."""
        return [self.agent, self.say, *self.encode(text), self.end]

    def picture(self, cells: int, t_ns: int = 0, in_turn: bool = False, within: bool = False) -> list[int]:
        """A picture of which so many cells are kept; all but the first id hold the place of what the eye said."""
        return [self.image] * (1 + cells)

    def picture_close(self, within: bool = False) -> list[int]:
        return []

    def watch(self, condition: str) -> list[int]:
        """The probe for a condition in spoken form ("a red ball is on the table")."""
        return [self.event, *self.pieces.encode(condition), self.end]
