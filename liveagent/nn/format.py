"""`Format`: how the turns of a conversation become ids, in the model's own way. nano's is `Template`, that of a
checkpoint with a chat template `Chat`; whoever runs a conversation knows neither.

The order of a turn is always: `user_open`, words, `user_close`, `agent_open`; then `call_open` and a
call, or `say_open`, a reply, `reply_close`. A model with an ear of its own reads, in the place of words that were
spoken, `sound_open`, a `sound_id` for each row, `sound_close`. What a tool gave comes behind, as `returned` writes it.
A picture stands between two turns, or behind sound in the user's: `picture`, whose last ids hold the places of its
rows, and `picture_close`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from liveagent.argument import Value
from liveagent.tool import Tool


class Tokenizer(Protocol):
    """Text to ids and back."""

    @property
    def vocab_size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int], specials: bool = True) -> str: ...

    def id(self, piece: str) -> int: ...

    def piece(self, id: int) -> str: ...

    def __hash__(self) -> int: ...


class Format(Protocol):
    """`in_turn`: whether the agent's turn still stands open in the cache, behind a call that has not come back."""

    user_close: list[int]
    agent_open: list[int]
    say_open: list[int]
    call_open: list[int]
    cut_mark: list[int]
    """What stands in the place of words that nobody heard."""
    reply_stop: tuple[int, ...]
    call_stop: tuple[int, ...]
    never: tuple[int, ...]
    """What the decoder may not choose in a reply."""
    choice: tuple[int, ...]
    """The ids whose log-probabilities, behind `agent_open`, say whether a call or a reply comes; see `weigh`."""
    ending: list[int]
    """What is read behind a user's words to ask whether they have finished; `ending_answers` are the ids that then
    answer it, for `ended`."""
    ending_answers: tuple[int, ...]
    answers: tuple[int, int]
    """Yes and no, behind `watch`."""
    sound_open: list[int]
    """What stands before sound that the decoder reads as its own ear heard it; empty where it has none."""
    sound_close: list[int]
    sound_id: int
    """Holds the place of each of that ear's rows."""
    call_lark: Callable[[Sequence[Tool]], str] | None
    """The grammar of calls of these tools, behind `call_open`, for llguidance; None: nano's own."""

    def prompt(self, instructions: str, tools: Sequence[Tool]) -> list[int]:
        """The pinned prefix."""
        ...

    def encode(self, text: str) -> list[int]:
        """A reply's text."""
        ...

    def user_open(self, in_turn: bool) -> list[int]: ...

    def words(self, words: Sequence[str]) -> list[int]: ...

    def weigh(self, logp: Sequence[float]) -> tuple[float, float]:
        """Of those of `choice`: the log-probabilities of a call, and of a reply."""
        ...

    def ended(self, logp: Sequence[float]) -> float:
        """Of those of `ending_answers`: how likely the user has finished, 0 … 1."""
        ...

    def reply_close(self, stopped: bool) -> list[int]:
        """What ends a reply; `stopped`: the decoder has chosen one of `reply_stop` already."""
        ...

    def written(self, tool: Tool, args: Mapping[str, Value]) -> list[int]:
        """A whole call, from `call_open` on."""
        ...

    def returned(
        self, name: str, text: str, failed: bool = False, *, in_turn: bool = True, answer: bool = True, most: int = 256
    ) -> list[int]:
        """What a tool gave, in `most` tokens; then the agent's turn, if it is to `answer`."""
        ...

    def note(self, text: str) -> list[int]:
        """A word from whoever built the agent, between two turns."""
        ...

    def picture(self, cells: int, t_ns: int = 0, in_turn: bool = False, within: bool = False) -> list[int]:
        """A picture taken at `t_ns` on the session's clock: what stands in front, then so many ids that hold its rows'
        places. `within`: the user's turn stands open in front of it. ConfigError: this model reads none."""
        ...

    def picture_close(self, within: bool = False) -> list[int]:
        """What stands behind a picture."""
        ...

    def watch(self, condition: str) -> list[int]:
        """A question for `answers`: whether the condition holds."""
        ...

    def parse(self, ids: Sequence[int], tools: Sequence[Tool]) -> tuple[str, dict[str, Value]]:
        """Read a decoded call. ToolError for what is none of these tools'."""
        ...
