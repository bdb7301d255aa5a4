"""The user's words, or their sound, on the way into the cache: read while they are spoken, put right, and closed.

In the cache a turn is what opens it, the words, and two marks (`<user> words <end> <agent>`). While somebody speaks,
the words that stand are read already, so that at the end only the last ones and the two marks are left; when a later
look changes a word, the cache goes back to there. A model with an ear of its own reads what that makes of the sound
(`<user> <sound> rows </sound> <end> <agent>`), which nothing changes afterwards; a picture may stand behind the sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from liveagent.ledger import Kind
from liveagent.runtime.context import Context
from liveagent.runtime.work import Done, Soft, Sounds

if TYPE_CHECKING:
    from liveagent.nn.model import Model

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Begun:
    """An open turn that has stepped aside."""

    ids: list[int]
    rows: list[np.ndarray]


class UserTurn:
    """What of the open turn is in the cache. `open` while something is; `ids` are the tokens, from `<user>` on."""

    def __init__(self, model: Model, context: Context) -> None:
        self._model, self._context = model, context
        self.ids: list[int] = []
        self.start = 0
        self._opened: list[int] = []  # what stands before the words
        self._rows: list[np.ndarray] = []  # of the sound that was heard, `[n, D]` each
        self.ended = False
        """Whether all of its sound has been read."""
        self._begun_s = 0.0  # when its first came: so all of them are read again in few passes
        self._asked: tuple[list[int], int] = [], -1  # what was asked last, and behind how many tokens
        self._finished = 0.0  # and what was answered

    @property
    def open(self) -> bool:
        return bool(self.ids)

    @property
    def sounds(self) -> bool:
        """Whether what is open is sound, and not words."""
        return bool(self._rows)

    def ids_of(self, words: Sequence[str]) -> list[int]:
        template = self._model.template
        opened = self._opened if self.open else template.user_open(self._context.in_turn)
        return [*opened, *template.words(words)]

    async def read(self, words: Sequence[str], t_ns: int) -> None:
        """Words that stand, while the user still speaks. Fewer than are there already change nothing."""
        whole = self.ids_of(words)
        if len(whole) < len(self.ids) and self.ids[: len(whole)] == whole:
            return
        await self._hold(whole, t_ns)

    async def hear(self, rows: np.ndarray, t_ns: int) -> None:
        """Rows `[n, D]` of the model's own ear, as they come while the user speaks."""
        if not len(rows):
            return
        template, grow = self._model.template, self.open
        ids = [template.sound_id] * len(rows)
        if not grow:
            self._begin()
            self._begun_s = self._context.now_s
            ids = [*self._opened, *template.sound_open, *ids]
        self.ids = [*self.ids, *ids]
        self._rows.append(rows)
        await self._context.add("audio", ids, t_ns, grow=grow, sounds=Sounds(rows), t_s=self._begun_s)

    async def end_sound(self, t_ns: int) -> None:
        """That was all of it. What else belongs to the turn may be added behind, and then it is closed."""
        if self.sounds and not self.ended:
            self.ended = True
            self.ids = [*self.ids, *self._model.template.sound_close]
            await self._context.add("audio", self._model.template.sound_close, t_ns, grow=True)

    async def finished(self, words: Sequence[str], t_ns: int) -> float:
        """What the decoder answers on the scratch branch: is that all they want to say? 0 … 1. While nothing comes in
        it stands by its answer."""
        template = self._model.template
        whole = [*self.ids, *template.sound_close] if self.sounds else self.ids_of(words)
        if whole[: len(self.ids)] != self.ids:  # the words changed under what is in the cache: put that right first
            await self._hold(whole, t_ns)
        rest = whole[len(self.ids) :]
        if self._asked == (whole, self._context.end):
            return self._finished
        logp = await self._context.probe([*rest, *template.ending], template.ending_answers)
        self._asked = whole, self._context.end
        self._finished = template.ended(logp)
        return self._finished

    async def close(
        self, words: str, kind: Kind, t_ns: int, pieces: Sequence[int], soft: Soft | None, answer: bool = True
    ) -> Done:
        """Everything, and the agent's turn (unless nobody asked for an `answer` yet). Returns what the decoder makes of
        `<call>` and `<say>` there.

        `soft` with its `pieces`: outside the grammar all that the ear thought is read, and not one guess of it. Where
        its sound was read, that stands and no `words`.
        """
        template = self._model.template
        marks = [*template.user_close, *(template.agent_open if answer else ())]
        if self.sounds:
            await self.end_sound(t_ns)
            rest, grow = marks, self._context.ledger.spans[-1].kind == "audio"
        elif soft is None:
            whole = [*self.ids_of([words]), *marks]
            same = await self._keep(whole)
            rest, grow = whole[same:], same > 0
        else:
            await self.drop()
            self._begin()
            await self._context.add(kind, self._opened, t_ns)
            await self._context.add(kind, pieces, t_ns, grow=True, soft=soft)
            rest, grow = marks, True
        self.forget()
        return await self._context.add(kind, rest, t_ns, want=template.choice, grow=grow)

    async def drop(self) -> None:
        """It was nothing, or it is said again in another way: take all of it back."""
        if self.open:
            await self._context.rewind(self.start)
            self.forget()

    def forget(self) -> None:
        """Nothing is open, whatever the cache holds."""
        self.ids, self._rows, self.ended = [], [], False

    async def step_aside(self) -> Begun | None:
        """Take it out of the cache for something that comes before it; `step_back` puts it behind."""
        begun = Begun(self.ids, self._rows) if self.open else None
        await self.drop()
        return begun

    async def step_back(self, begun: Begun | None, t_ns: int) -> None:
        if begun is None:
            return
        self.start, self.ids, self._rows = self._context.end, begun.ids, begun.rows
        sounds = Sounds(np.concatenate(begun.rows)) if begun.rows else None
        await self._context.add("audio", begun.ids, t_ns, sounds=sounds, t_s=self._begun_s if begun.rows else None)

    def moved(self) -> None:
        """What was before it in the cache has changed its length; it is still the last."""
        self.start = self._context.end - len(self.ids)

    def _begin(self) -> None:
        self._opened = self._model.template.user_open(self._context.in_turn)
        self._context.ledger.begin_turn()
        self.start = self._context.end
        self._asked = [], -1

    async def _keep(self, whole: Sequence[int]) -> int:
        """Take back what does not agree with `whole`; how many of its tokens stay."""
        if not self.open:
            self._begin()
            return 0
        same = len(agreeing(self.ids, whole))
        if same < len(self.ids):
            await self._context.rewind(self.start + same)
        return same

    async def _hold(self, whole: list[int], t_ns: int) -> None:
        same = await self._keep(whole)
        if whole[same:]:
            await self._context.add("audio", whole[same:], t_ns, grow=same > 0)
        self.ids = list(whole)


def agreeing(one: Sequence[T], other: Sequence[T]) -> Sequence[T]:
    """The beginning that two sequences share."""
    at = 0
    while at < len(one) and at < len(other) and one[at] == other[at]:
        at += 1
    return one[:at]
