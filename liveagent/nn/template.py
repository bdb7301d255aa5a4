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

import re
from collections.abc import Mapping, Sequence

from liveagent.argument import Argument
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


class Template:
    """Turns into ids. Everything returned is a list of piece ids."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        ids = (pieces.id(name) for name in SPECIALS)
        self.pad, self.sys, self.tool, self.go, self.user, self.end, self.agent, self.call, self.result, self.say, \
            self.cut, self.eou, self.yes, self.no, self.image, self.event = ids  # fmt: skip
        self.about, self.arg, self.is_, self.or_, self.number, self.text = (pieces.id(s) for s in SIGNS.values())

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

    def picture(self, cells: int) -> list[int]:
        """A picture of which so many cells are kept; all but the first id hold the place of what the eye said."""
        return [self.image] * (1 + cells)

    def watch(self, condition: str) -> list[int]:
        """The probe for a condition in spoken form ("a red ball is on the table")."""
        return [self.event, *self.pieces.encode(condition), self.end]
