"""Prompts that a lane has read, kept as they stand in the cache, for the next lane that begins with the same one.

Every conversation of an agent begins with its instructions and tools. Reading those is most of what opening a session
costs, and it keeps the others' ticks waiting; copying what came of it is a hundredth of that, and the numbers are the
same to the bit, since a prompt is always read in the same steps from an empty lane (LAW 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from liveagent.nn.stack import DecoderState, Stack

MOST_PROMPTS = 4
"""Of nano, one of 700 tokens takes 10 MB."""
LEAST_TOKENS = 64
"""What is shorter is read as quickly as it is copied."""


@dataclass(slots=True)
class _Prompt:
    state: DecoderState  # one lane, as long as the prompt
    logits: torch.Tensor  # [V] after its last token
    uses: int = 0


class Prompts:
    """One core's. What is used most stays: sessions that bring instructions of their own, each other ones, do not push
    out those of the agent that everybody else talks to."""

    def __init__(self, decoder: Stack, most: int = MOST_PROMPTS) -> None:
        """`most` 0 keeps none."""
        self._decoder, self._most = decoder, most
        self._kept: dict[tuple[int, ...], _Prompt] = {}  # the longest unused first

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, ids: tuple[int, ...], cache: DecoderState, lane: int) -> torch.Tensor | None:
        """Make an empty lane one that has read `ids`; the logits [V] behind them. None, and nothing done, when they
        are not kept."""
        prompt = self._kept.pop(ids, None)
        if prompt is None:
            return None
        self._kept[ids] = prompt
        prompt.uses += 1
        self._decoder.copy_lane(prompt.state, 0, cache, lane)
        return prompt.logits.clone()

    def keep(self, ids: tuple[int, ...], cache: DecoderState, lane: int, logits: torch.Tensor) -> None:
        """`lane` has just read `ids`, and nothing else."""
        if self._most <= 0 or len(ids) < LEAST_TOKENS or ids in self._kept:
            return
        if len(self._kept) >= self._most:
            del self._kept[min(self._kept, key=lambda each: self._kept[each].uses)]
            for each in self._kept.values():
                each.uses //= 2  # what was used much, and is no more, goes in the end
        state = self._decoder.init_state(1, len(ids))
        self._decoder.copy_lane(cache, lane, state, 0)
        self._kept[ids] = _Prompt(state, logits.clone())
