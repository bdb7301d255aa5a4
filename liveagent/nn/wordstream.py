"""`WordStream`: one stream of sound, in pieces of any length, to words with times: a transducer with its state and a
speller. (Who serves many sessions runs the transducer's lanes together, and has a speller for each.)"""

from __future__ import annotations

from collections.abc import Callable

import torch

from liveagent.audio import Samples
from liveagent.nn.speller import Speller, TimedWord
from liveagent.nn.transducer import Transducer

SILENT_TOKENS = 2
"""Of silence behind what was said at least: a last piece may be written late."""


class WordStream:
    """`speller` makes one that has heard nothing. Sound is heard in whole blocks of the transducer; less than one waits
    for the rest."""

    def __init__(self, net: Transducer, speller: Callable[[], Speller]) -> None:
        self._net, self._make = net, speller
        self._everyone = torch.ones(1, dtype=torch.bool, device=net.head.weight.device)
        self.reset()

    def another(self) -> WordStream:
        """One beside this one, that has heard nothing."""
        return WordStream(self._net, self._make)

    def reset(self) -> None:
        """Begin anew, at 0 ms."""
        self._state, self._speller = self._net.init_state(1), self._make()
        self._waiting = self._everyone.new_zeros(1, 0, dtype=torch.float32)
        self._confidence = 0.0

    def feed(self, samples: Samples) -> list[TimedWord]:
        """The next samples at 16 kHz -> the words that are whole with them."""
        new = torch.as_tensor(samples, dtype=torch.float32, device=self._waiting.device)[None]
        waiting, block, words = torch.cat([self._waiting, new], dim=1), self._net.block_samples, []
        while waiting.shape[1] >= block:
            pieces = self._net.step(waiting[:, :block], self._state, self._everyone)
            words += self._speller.feed(pieces[0].tolist())
            waiting = waiting[:, block:]
            self._confidence = self._net.confidence(self._state, 0)
        self._waiting = waiting.clone()  # and not all that it was cut from
        return words

    @property
    def block_samples(self) -> int:
        """So much is heard at once."""
        return self._net.block_samples

    @property
    def confidence(self) -> float:
        """How likely the pieces were on average, 0 … 1; once it has ended, those of what ended."""
        return self._confidence

    @property
    def partial(self) -> TimedWord | None:
        """The last word, which may still grow."""
        return self._speller.partial

    def end(self) -> list[TimedWord]:
        """No more comes: what waits is heard with silence behind it, the last word is whole, and it begins anew."""
        waiting, least = self._waiting.shape[1], SILENT_TOKENS * self._net.ear.token_samples
        silence = self._waiting.new_zeros(least + -(waiting + least) % self.block_samples)
        words = self.feed(silence.cpu().numpy()) + self._speller.end()
        confidence = self._confidence
        self.reset()
        self._confidence = confidence
        return words
