"""Take-back on the decoder's state: what was interrupted equals a conversation that never held the unheard words."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
import torch
from torch import Tensor

from liveagent.nn.decoder import Decoder, DecoderConfig, DecoderState

LANES = 4
CUT, END, USER, AGENT, EOU = range(90, 95)


@pytest.fixture(scope="module")
def net() -> Decoder:
    torch.manual_seed(2)
    made = Decoder(DecoderConfig(97, width=64, layers=3, heads=2, hidden=96)).eval()
    torch.nn.init.normal_(made.embedding.weight, std=0.3)
    return made


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


class Conversation:
    """One lane of a shared state, with the log of everything that is in it."""

    def __init__(self, net: Decoder, state: DecoderState, lane: int) -> None:
        self.net, self.state, self.lane = net, state, lane
        self.log: list[int] = []
        self.logits = torch.zeros(0)

    def read(self, ids: list[int], note: bool = True) -> None:
        """Append in the buckets of a live session."""
        at = 0
        while at < len(ids):
            left = len(ids) - at
            size = 32 if left >= 32 else 8 if left > 1 else 1
            n = min(size, left)
            x = torch.zeros(self.state.lanes, size, self.net.width)
            x[self.lane, :n] = self.net.embed(torch.tensor(ids[at : at + n]))
            count = [n * (b == self.lane) for b in range(self.state.lanes)]
            self.logits = self.net.step(x, count, self.state)[self.lane]
            at += n
        if note:
            self.log += ids

    def probe(self) -> None:
        self.state.fork(self.lane)
        kept = self.logits
        self.read([EOU], note=False)
        self.state.drop(self.lane)
        self.logits = kept

    def unhear(self, keep: int, reply_end: int) -> None:
        """Drop log places `keep .. reply_end`, mark the cut, read again what came in after `reply_end`."""
        later = self.log[reply_end:]
        self.state.rewind(self.lane, keep)
        del self.log[keep:]
        self.read([CUT, *later])


def words(rng: Random, low: int, high: int) -> list[int]:
    return [rng.randrange(90) for _ in range(rng.randint(low, high))]


def fresh(net: Decoder, log: list[int]) -> Tensor:
    """The oracle: a state that was only ever fed this log."""
    alone = Conversation(net, net.init_state(LANES, 512), 1)
    alone.read(log)
    return alone.logits


@pytest.mark.parametrize("seed", range(12))
def test_interrupted_equals_never_said(net: Decoder, seed: int) -> None:
    rng = Random(seed)
    talk = Conversation(net, net.init_state(LANES, 512), rng.randrange(LANES))
    talk.read(words(rng, 10, 60))
    for _ in range(4):
        talk.read([USER, *words(rng, 1, 12)])
        for _ in range(rng.randint(0, 2)):
            talk.probe()
        talk.read([END, AGENT])
        start = len(talk.log)
        for token in words(rng, 3, 20):  # the reply, decoded one by one
            talk.read([token])
        end = len(talk.log)
        meanwhile = [USER, *words(rng, 0, 9)] if rng.random() < 0.8 else []
        talk.read(meanwhile)  # the user talks into it
        talk.unhear(rng.randint(start, end), end)
        after = words(rng, 0, 4)
        talk.read(after)
        assert torch.isfinite(talk.logits).all()
        assert int(talk.state.length[talk.lane]) == len(talk.log)
        assert (talk.logits - fresh(net, talk.log)).abs().max() <= 1e-4


def test_repair_costs_one_pass_over_what_came_in_meanwhile(net: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of steps depends on what is read again alone, never on how long the conversation is."""
    steps: list[int] = []
    for history in (5, 200):
        talk = Conversation(net, net.init_state(LANES, 512), 0)
        talk.read(words(Random(1), history, history))
        talk.read(words(Random(2), 12, 12))
        end = len(talk.log)
        talk.read([USER, 1, 2, 3])
        count = 0
        step = net.step

        def counted(*args: object, real=step, **kwargs: object) -> Tensor:  # type: ignore[no-untyped-def]
            nonlocal count
            count += 1
            return real(*args, **kwargs)

        monkeypatch.setattr(net, "step", counted)
        talk.unhear(end - 7, end)
        monkeypatch.undo()
        steps.append(count)
    assert steps[0] == steps[1] == 1


def test_without_the_take_back_it_would_differ(net: Decoder) -> None:
    """The oracle can tell: leaving the unheard words in changes the logits by far more than the tolerance."""
    rng = Random(3)
    log, unheard, later = words(rng, 20, 20), words(rng, 5, 5), words(rng, 6, 6)
    left_in = fresh(net, [*log, *unheard, CUT, *later])
    assert (left_in - fresh(net, [*log, CUT, *later])).abs().max() > 1e-2
