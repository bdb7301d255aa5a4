"""The grammar of tool calls: which piece may come next while the decoder writes one (llguidance).

A call is `light ; room = living room ; state = on <end>`: the tool's name, then its arguments in order of the
signature, optional ones perhaps left out. Choices are the values' own words, numbers those of the range, free text a
few words of the spoken form. What comes out under the mask is a call of one of the tools, whatever the weights.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

from liveagent.argument import Argument
from liveagent.errors import ConfigError
from liveagent.nn.format import Format, Tokenizer
from liveagent.nn.pieces import Pieces
from liveagent.nn.template import BOOL_WORDS, name_words
from liveagent.nn.tokens import Tokens
from liveagent.tool import Tool

TEXT_WORDS = 12
"""Most words of a free-text argument."""
WORD_LETTERS = 24
LISTED = 1000
"""Up to so many values of a number are listed; over that any number words pass and the tool's own check decides."""
_NUMBER_WORDS = (
    "minus point and hundred thousand zero one two three four five six seven eight nine ten eleven twelve thirteen "
    "fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety"
).replace(" ", "|")


class CallGrammar:
    """The grammar of all calls of `tools`, for the part after `<call>`. Compiled once, then one matcher per call."""

    def __init__(self, tools: Sequence[Tool], pieces: Tokenizer, form: Format | None = None) -> None:
        """`form`: how calls are written, where that is not nano's way."""
        if not tools:
            raise ConfigError("a call needs at least one tool: give the agent tools=[...]")
        names = [name_words(tool.name) for tool in tools]
        for name in names:
            if not name or names.count(name) > 1:
                raise ConfigError(f"the tools' names must differ as words, {name!r} does not: rename one")
        self.pieces = pieces
        self.end = form.call_stop[0] if form is not None else pieces.id("<end>")
        if form is not None and form.call_lark is not None:
            self._first = _compiled(form.call_lark(tools), pieces, self.end)
            return
        self.regex = "(" + "|".join(_call(tool) for tool in tools) + ")"
        self._first = _compiled("start: /" + self.regex.replace("/", "\\/") + "/", pieces, self.end)

    def matcher(self) -> CallMatcher:
        """A matcher at the place right after `<call>`."""
        return CallMatcher(self._first.deep_copy(), self.pieces, self.end)


class CallMatcher:
    """Where one call is in its grammar."""

    def __init__(self, matcher: LLMatcher, pieces: Tokenizer, end: int) -> None:
        self._matcher, self._pieces, self._end = matcher, pieces, end
        self._ids: list[int] = []
        self._bits = allocate_token_bitmask(1, pieces.vocab_size)

    @property
    def is_done(self) -> bool:
        """Whether the call was closed by `<end>`."""
        return bool(self._ids) and self._ids[-1] == self._end

    def _closable(self) -> bool:
        return self._matcher.is_accepting() and not self._matcher.is_error()

    def mask(self) -> np.ndarray:
        """Which ids may come next, bool `[V]`; none after `<end>`."""
        allowed = np.zeros(self._pieces.vocab_size, bool)
        if self.is_done:
            return allowed
        if not self._matcher.is_stopped():
            fill_next_token_bitmask(self._matcher, self._bits)
            allowed |= np.unpackbits(self._bits.view(np.uint8), bitorder="little")[: len(allowed)].astype(bool)
        allowed[self._end] = self._closable()
        return allowed

    def ahead(self, most: int) -> list[int]:
        """Likely next ids, at most so many: the bytes that must come here, cut as text is. The decoder may cut them in
        another way, so this is a guess; `mask` has the say."""
        if most <= 0 or self.is_done or self._matcher.is_stopped():
            return []
        # Of a copy: where a mark must come, llguidance forgets what may come once it has been asked this.
        ahead, mark, _ = self._matcher.deep_copy().compute_ff_bytes().partition(b"\xff")
        if mark and not ahead:
            return []
        text = ahead.decode("ascii", "ignore")
        ids = self._pieces.encode(text)
        if isinstance(self._pieces, Pieces) and ids and not text.startswith(" ") and self._pieces.piece(ids[0]) == "▁":
            del ids[0]  # text begins with a space, the middle of a word does not
        return ids[:most]

    def consume(self, piece: int) -> None:
        """Take one id. ConfigError when it is not allowed; the matcher is then as before."""
        if piece == self._end and not self.is_done:
            taken = self._closable()
        else:
            open_ = not self.is_done and not self._matcher.is_stopped()
            taken = open_ and self._matcher.try_consume_tokens([piece]) == 1
        if not taken:
            raise ConfigError(f"piece {piece} ({self._pieces.piece(piece)!r}) cannot come here in a call")
        self._ids.append(piece)

    def rollback(self, count: int) -> None:
        """Take back the last `count` ids."""
        if count > len(self._ids):
            raise ConfigError(f"cannot take back {count} pieces of a call that has {len(self._ids)}")
        inside = count - (1 if count and self.is_done else 0)  # `<end>` is ours, the matcher never saw it
        if inside and not self._matcher.rollback(inside):
            raise ConfigError("the grammar cannot go back that far: start the call again")
        del self._ids[len(self._ids) - count :]


def _call(tool: Tool) -> str:
    text = re.escape(" " + name_words(tool.name)).replace("\\ ", " ")
    for argument in tool.arguments:
        one = f"; {name_words(argument.name)}={_value(argument)}"
        text += one if argument.required else f"({one})?"
    return text


def _value(argument: Argument) -> str:
    if argument.kind == "bool":
        return "( " + "| ".join(BOOL_WORDS) + ")"
    if argument.kind == "text":
        return f"( [a-z0-9']{{1,{WORD_LETTERS}}}){{1,{TEXT_WORDS}}}"
    if argument.kind in ("int", "float") and len(argument.slots) > LISTED:
        return f"( ({_NUMBER_WORDS})){{1,9}}"
    return "( " + "| ".join(re.escape(words).replace("\\ ", " ") for words in argument.slots) + ")"


@lru_cache(maxsize=8)
def _compiled(rules: str, pieces: Tokenizer, end: int) -> LLMatcher:
    """A matcher at the beginning, to be copied: every session of an agent has the same one. ConfigError."""
    tokenizer = _tokenizer(pieces, end)
    # No forcing: what bytes must follow is told to the tokenizer without the word's pieces so far, so it would cut
    # them differently and forbid the right piece.
    grammar = LLMatcher.grammar_from_lark('%llguidance {"no_forcing": true}\n' + rules)
    failed, notes = LLMatcher.validate_grammar_with_warnings(grammar, tokenizer)
    if failed:
        raise ConfigError(f"no grammar can be made of these tools ({notes[0]}): give fewer or shorter choices")
    return LLMatcher(tokenizer, grammar)


@lru_cache(maxsize=4)
def _tokenizer(pieces: Tokenizer, ends: int) -> LLTokenizer:
    """llguidance's view of the pieces: each as its bytes, `▁` a space. Specials and pieces that can never be meant
    (the blank, a byte that is a piece of its own) are special tokens, which a regular expression never matches."""
    if isinstance(pieces, Tokens):
        return LLTokenizer(pieces.json, n_vocab=pieces.vocab_size, eos_token=ends)
    assert isinstance(pieces, Pieces)
    tokens: list[bytes] = []
    special = []
    single = {piece for piece in pieces.vocab if len(piece) == 1}
    for i, piece in enumerate(pieces.vocab):
        byte = re.fullmatch(r"<0x([0-9A-F]{2})>", piece)
        if piece in pieces.specials or i == pieces.blank:
            special.append(i)
            tokens.append(piece.encode())
        elif byte:
            value = bytes([int(byte[1], 16)])
            known = value == b" " or value.decode("latin-1") in single
            if known:
                special.append(i)
            tokens.append(piece.encode() if known else value)
        else:
            tokens.append(piece.replace("▁", " ").encode())

    class View:
        eos_token_id = ends
        bos_token_id = None

        def __init__(self) -> None:
            self.tokens, self.special_token_ids = tokens, special

        def __call__(self, text: str | bytes) -> list[int]:
            return pieces.encode(text if isinstance(text, str) else text.decode("utf-8", "replace"))

    return LLTokenizer(TokenizerWrapper(View()), n_vocab=pieces.vocab_size, eos_token=ends)
