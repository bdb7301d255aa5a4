"""`Transducer`: sound to pieces of words as they are said, each with the token of the ear that it was heard in.

An RNN transducer (Graves 2012) read greedily: a `RowEar` gives a row for every token of sound; an LSTM knows what was
written so far; both together say the next piece or, with the blank, that this token holds no more. So a piece is out
with the block of sound that it was heard in, and is never taken back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from liveagent.errors import ConfigError
from liveagent.nn import lanes
from liveagent.nn.linear import Embedding, Linear
from liveagent.nn.row_ear import RowEar, RowEarState

NONE = -1  # where no piece was written


@dataclass(frozen=True)
class TransducerConfig:
    """Everything that fixes the writing part's tensors' shapes and its rules."""

    vocab_size: int
    """The blank counted."""
    width: int
    layers: int
    blank: int
    most: int = 10
    """Pieces in one token of sound at most: then it goes on whatever comes."""

    def __post_init__(self) -> None:
        if not 0 <= self.blank < self.vocab_size or min(self.width, self.layers, self.most) < 1:
            raise ConfigError(f"blank {self.blank} among {self.vocab_size} pieces cannot be: the settings are damaged")


@dataclass
class TransducerState:
    """Everything the next block needs; lanes first."""

    ear: RowEarState
    hidden: Tensor  # [B, layers, W]
    cell: Tensor  # [B, layers, W]
    said: Tensor  # [B, W] what the pieces so far say about the next
    begun: Tensor  # [B] int64, 0 where nothing was heard yet
    pieces: Tensor  # [B] int64, how many were written
    logp: Tensor  # [B] float32, their log-probabilities together


class Recurrence(nn.Module):
    """One layer of an LSTM (Hochreiter & Schmidhuber 1997) for one piece: one product makes the four gates. (torch's
    own sorts its weights anew in every call, which takes ten times the product.)"""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gates = Linear(2 * width, 4 * width)

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """x, hidden, cell [B, W] -> the next hidden and cell."""
        let_in, keep, new, out = self.gates(torch.cat([x, hidden], dim=-1)).chunk(4, dim=-1)
        cell = torch.sigmoid(keep) * cell + torch.sigmoid(let_in) * torch.tanh(new)
        return torch.sigmoid(out) * torch.tanh(cell), cell


class Transducer(nn.Module):
    """See above."""

    def __init__(self, ear: RowEar, config: TransducerConfig) -> None:
        super().__init__()
        c = self.config = config
        if ear.width != c.width:
            raise ConfigError(f"rows of width {ear.width} do not fit a transducer of width {c.width}")
        self.ear = ear
        self.embed = Embedding(c.vocab_size, c.width)
        self.layers = nn.ModuleList(Recurrence(c.width) for _ in range(c.layers))
        self.project = Linear(c.width, c.width)
        self.head = Linear(c.width, c.vocab_size)

    @property
    def block_samples(self) -> int:
        """Samples of the least that `step` takes; see `RowEar`."""
        return self.ear.block_samples

    @property
    def token_ms(self) -> float:
        return self.ear.token_ms

    def init_state(self, lanes: int) -> TransducerState:
        """State of `lanes` lanes that have heard nothing."""
        c, like = self.config, self.head.weight
        return TransducerState(
            ear=self.ear.init_state(lanes),
            hidden=like.new_zeros(lanes, c.layers, c.width),
            cell=like.new_zeros(lanes, c.layers, c.width),
            said=like.new_zeros(lanes, c.width),
            begun=torch.zeros(lanes, dtype=torch.int64, device=like.device),
            pieces=torch.zeros(lanes, dtype=torch.int64, device=like.device),
            logp=torch.zeros(lanes, dtype=torch.float32, device=like.device),
        )

    def reset(self, state: TransducerState, lane: int) -> None:
        """Let one lane begin anew."""
        lanes.reset(state, lane)

    def copy_lane(self, src_state: TransducerState, src: int, dst_state: TransducerState, dst: int) -> None:
        """Copy one lane's state onto another lane."""
        lanes.copy_lane(src_state, src, dst_state, dst)

    @torch.no_grad()
    def step(self, samples: Tensor, state: TransducerState, active: Tensor) -> Tensor:
        """Whole blocks [B, S] -> the pieces of each token of sound, [B, T, most], NONE where there are no more. `state`
        moves on in place, in `active` [B] rows only."""
        return self.write(self.ear.step(samples, state.ear, active), state, active)

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """Whole clips [B, S] of whole blocks, from their beginning -> pieces as `step` gives them."""
        everyone = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
        return self.write(self.ear(samples), self.init_state(len(samples)), everyone)

    whole = forward

    def confidence(self, state: TransducerState, lane: int) -> float:
        """How likely a lane's pieces were, 0 … 1: the geometric mean; 0 where it wrote none."""
        pieces = int(state.pieces[lane])
        return math.exp(min(0.0, float(state.logp[lane]) / pieces)) if pieces else 0.0

    def scores(self, row: Tensor, said: Tensor) -> Tensor:
        """Scores [.., V] of the next piece, from a row of the ear and what is said so far, [.., W]."""
        scores: Tensor = self.head(torch.relu(row + said))
        return scores

    def write(self, rows: Tensor, state: TransducerState, active: Tensor) -> Tensor:
        """Rows [B, T, W] of the ear -> pieces [B, T, most]."""
        c = self.config
        written = torch.full((*rows.shape[:2], c.most), NONE, device=rows.device)
        memory, said, pieces, logp = (state.hidden, state.cell), state.said, state.pieces, state.logp
        blank = torch.full((len(rows),), c.blank, device=rows.device)
        memory, said = self._after(blank, (state.begun == 0) & active, memory, said)
        for t in range(rows.shape[1]):
            going = active
            for n in range(c.most):
                scores = self.scores(rows[:, t], said)
                piece = scores.argmax(-1)
                going = going & (piece != c.blank)
                if not bool(going.any()):
                    break
                written[:, t, n] = torch.where(going, piece, NONE)
                likely = scores.float().log_softmax(-1).gather(-1, piece[:, None])[:, 0]
                pieces, logp = pieces + going, torch.where(going, logp + likely, logp)
                memory, said = self._after(piece, going, memory, said)
        kept = (state.hidden, state.cell, state.said, state.pieces, state.logp)
        for old, new in zip(kept, (*memory, said, pieces, logp), strict=True):
            lanes.keep(old, new, active)
        lanes.keep(state.begun, torch.ones_like(state.begun), active)
        return written

    def _after(
        self, piece: Tensor, going: Tensor, memory: tuple[Tensor, Tensor], said: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """What is known once `piece` [B] is written, in the lanes `going`; all else as it was."""
        if not bool(going.any()):
            return memory, said
        x, here, moved = self.embed(piece), going[:, None], []
        for layer, hidden, cell in zip(self.layers, *(each.unbind(1) for each in memory), strict=True):
            x, cell = layer(x, hidden, cell)
            moved.append((x, cell))
        hiddens, cells = (torch.stack(each, dim=1) for each in zip(*moved, strict=True))
        old_hidden, old_cell = memory
        kept = torch.where(here[..., None], hiddens, old_hidden), torch.where(here[..., None], cells, old_cell)
        return kept, torch.where(here, self.project(x), said)
