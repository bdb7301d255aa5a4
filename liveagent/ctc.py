"""CTC log-probabilities to words: searched within the automaton, read freely, and watched for one keyword.

CTC: Graves et al. 2006. The search is Viterbi token passing over the automaton with every word spelled in pieces: an
edge is "this piece was emitted here", a node is a place between pieces, where blanks may pass. Frames come in any
number at a time; the result does not depend on the chunking. Pure numpy, all states at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from liveagent.automaton import Automaton
from liveagent.errors import ConfigError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Spell = Callable[[str], Sequence[Sequence[int]]]
MAX_FRAMES = 500  # 20 s of 40 ms frames: an utterance takes nothing more in
_NO = -1e30  # instead of -inf, which makes NaN of differences


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A path. `ends` are the frames in which each word's last piece was first emitted. `final`: it is a whole sentence.

    `logp` is its log-probability, `free` that of the best path outside any grammar over the same frames, `pieces` how
    many pieces the longer of the two emits.
    """

    words: tuple[str, ...]
    logp: float
    ends: tuple[int, ...]
    final: bool
    free: float
    pieces: int
    frames: int

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def margin(self) -> float:
        """How far the grammar's path lies under the free one, in nats per piece: 0 is best, speech outside the grammar
        is far below."""
        return (self.logp - self.free) / max(1, self.pieces)


class CtcSearch:
    """One lane's search. `feed` it while somebody speaks, look at `best`, close with `best(whole=True)`, `reset`.

    `spell` gives a word's piece ids, one or several ways; `blank` is the id of CTC's blank. ConfigError for a word
    that cannot be spelled.
    """

    def __init__(self, automaton: Automaton, spell: Spell, blank: int = 0) -> None:
        self.automaton = automaton
        self.blank = blank
        edges: list[tuple[int, int, int, str]] = []  # from node, to node, piece, word that it completes
        nodes = automaton.states
        spellings = {word: [tuple(ids) for ids in spell(word)] for word in automaton.words}
        for word, ways in spellings.items():
            if not ways or any(not ids or blank in ids for ids in ways):
                raise ConfigError(f"the ear cannot spell the word {word!r} of a phrase: write it with letters a to z")
        for state, way in enumerate(automaton.ways):
            tree: dict[tuple[int, ...], int] = {(): state}  # words that begin alike share their first pieces
            for word, to in way.items():
                for ids in spellings[word]:
                    for at in range(1, len(ids)):
                        if ids[:at] not in tree:
                            tree[ids[:at]] = nodes
                            edges.append((tree[ids[: at - 1]], nodes, ids[at - 1], ""))
                            nodes += 1
                    edges.append((tree[ids[:-1]], to, ids[-1], word))
        edges.sort(key=lambda edge: edge[1])  # edges into a node lie side by side
        self.nodes = nodes
        self._from: Ints = np.array([edge[0] for edge in edges], np.int64)
        self._to: Ints = np.array([edge[1] for edge in edges], np.int64)
        self._piece: Ints = np.array([edge[2] for edge in edges], np.int64)
        self._word = [edge[3] for edge in edges]
        self._entered, self._starts = np.unique(self._to, return_index=True)
        self._edges = len(edges)
        self._own = np.arange(self._edges)
        # The same piece twice running needs a blank between: those edges may not be entered from an equal neighbour.
        self._twins: list[tuple[int, Ints]] = []
        for edge in range(self._edges):
            into = np.arange(*np.searchsorted(self._to, (self._from[edge], self._from[edge] + 1)))
            if (self._piece[into] == self._piece[edge]).any():
                self._twins.append((edge, into[self._piece[into] != self._piece[edge]]))
        accepting = np.zeros(nodes, bool)
        accepting[list(automaton.accepting)] = True
        self._accepting = np.concatenate([accepting[self._to], accepting])
        self._begin()

    def another(self) -> CtcSearch:
        """One more lane's search of the same sentences, from the start. What is only read they share."""
        search = copy(self)
        search._begin()
        return search

    def _begin(self) -> None:
        # Where each state's token came from, frame by frame. States: edges, then nodes (= a blank was last).
        self._back = np.zeros((64, self._edges + self.nodes), np.int32)
        self.reset()

    def reset(self) -> None:
        """Begin a new utterance."""
        self._score = np.full(self._edges + self.nodes, _NO)
        self._score[self._edges] = 0.0  # at the start, nothing emitted
        self.frames = 0
        self.free = 0.0
        self._free_pieces = 0
        self._last = self.blank
        self.full = False

    def feed(self, logp: npt.NDArray[np.floating]) -> None:
        """`logp` [T, V] log-probabilities, T any number. Past `MAX_FRAMES` an utterance takes nothing more in."""
        for row in np.asarray(logp, np.float64):
            if self.frames == MAX_FRAMES:
                self.full = True
                return
            top = int(row.argmax())
            self.free += float(row[top])
            self._free_pieces += top not in (self.blank, self._last)
            self._last = top
            if self._edges:
                self._step(row)
            self.frames += 1

    def _step(self, row: Floats) -> None:
        if self.frames == len(self._back):
            grown = np.zeros((min(MAX_FRAMES, 2 * len(self._back)), self._back.shape[1]), np.int32)
            grown[: self.frames] = self._back
            self._back = grown
        emitted, between = self._score[: self._edges], self._score[self._edges :]
        # The best token that stands at each node, whether a blank or a piece came last.
        arrived = np.full(self.nodes, _NO)
        arrived[self._entered] = np.maximum.reduceat(emitted, self._starts)
        which = np.zeros(self.nodes, np.int64)
        winners = np.flatnonzero(emitted == arrived[self._to])
        which[self._to[winners]] = winners
        rested = between >= arrived
        stand = np.where(rested, between, arrived)
        source = np.where(rested, np.arange(self._edges, self._edges + self.nodes), which)
        enter, entered_by = stand[self._from], source[self._from]
        for edge, others in self._twins:
            node = self._from[edge]
            enter[edge], entered_by[edge] = between[node], self._edges + node
            if len(others):
                best = others[emitted[others].argmax()]
                if emitted[best] > enter[edge]:
                    enter[edge], entered_by[edge] = emitted[best], best
        stay = emitted >= enter
        back = self._back[self.frames]
        back[: self._edges] = np.where(stay, self._own, entered_by)
        back[self._edges :] = source
        score = np.empty_like(self._score)
        score[: self._edges] = np.where(stay, emitted, enter) + row[self._piece]
        score[self._edges :] = stand + row[self.blank]
        self._score = np.maximum(score, _NO)

    def best(self, whole: bool = False) -> Hypothesis:
        """The best path so far, or with `whole` the best that is a whole sentence (no words when there is none yet)."""
        score = np.where(self._accepting, self._score, _NO) if whole else self._score
        state = int(score.argmax())
        logp = float(score[state])
        if logp <= _NO / 2:
            return Hypothesis((), _NO, (), False, self.free, self._free_pieces, self.frames)
        words: list[str] = []
        ends: list[int] = []
        final, pieces = bool(self._accepting[state]), 0
        for frame in range(self.frames - 1, -1, -1):
            before = int(self._back[frame, state])
            if state < self._edges and before != state:  # a piece is entered in this frame
                pieces += 1
                if self._word[state]:
                    words.append(self._word[state])
                    ends.append(frame)
            state = before
        return Hypothesis(
            tuple(reversed(words)), logp, tuple(reversed(ends)), final and not self.full, self.free,
            max(pieces, self._free_pieces), self.frames,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Spike:
    """A piece that was emitted: in which frame it began, and its probability there."""

    piece: int
    frame: int
    confidence: float


class Greedy:
    """Free decoding: the likeliest piece of each frame, repeats and blanks dropped. What was given stays given."""

    def __init__(self, blank: int = 0) -> None:
        self.blank = blank
        self.reset()

    def reset(self) -> None:
        """Begin a new utterance, from frame 0."""
        self.frames = 0
        self._last = self.blank

    def feed(self, logp: npt.NDArray[np.floating]) -> list[Spike]:
        """`logp` [T, V] → the spikes that begin in these frames."""
        spikes = []
        for row in np.asarray(logp):
            piece = int(row.argmax())
            if piece not in (self.blank, self._last):
                spikes.append(Spike(piece, self.frames, float(np.exp(row[piece]))))
            self._last = piece
            self.frames += 1
        return spikes


class Spot:
    """Watches for one keyword, anywhere, without end: how far the keyword's best path that ends in this frame lies
    under the free path over the same frames, in nats per piece."""

    def __init__(self, spellings: Sequence[Sequence[int]], blank: int = 0, threshold: float = -1.5) -> None:
        if not spellings or any(not ids or blank in ids for ids in spellings):
            raise ConfigError("a keyword needs at least one spelling in pieces")
        self.blank = blank
        self.threshold = threshold
        self._chains = [list(ids) for ids in spellings]
        self.reset()

    def reset(self) -> None:
        """Forget what was begun."""
        self._emitted = [[_NO] * len(chain) for chain in self._chains]
        self._between = [[_NO] * len(chain) for chain in self._chains]
        self.score = _NO
        self._deaf_frames = 0

    def feed(self, logp: npt.NDArray[np.floating]) -> bool:
        """`logp` [T, V] → whether the keyword ended in one of these frames. Deaf for half a second after a hit."""
        heard = False
        for row in np.asarray(logp, np.float64):
            row = row - row.max()
            self.score = max(
                self._step(row, chain, emitted, between) / len(chain)
                for chain, emitted, between in zip(self._chains, self._emitted, self._between, strict=True)
            )
            self._deaf_frames = max(0, self._deaf_frames - 1)
            if self.score >= self.threshold and not self._deaf_frames:
                heard, self._deaf_frames = True, 12
        return heard

    def _step(self, row: Floats, chain: list[int], emitted: list[float], between: list[float]) -> float:
        rest = float(row[self.blank])
        for at in range(len(chain) - 1, -1, -1):  # from the end, so that each reads its neighbour's last frame
            enter = 0.0  # anything may have come before the keyword, at the free path's own cost
            if at:
                enter = between[at - 1]
                if chain[at] != chain[at - 1]:
                    enter = max(enter, emitted[at - 1])
            between[at] = max(_NO, max(between[at], emitted[at]) + rest)
            emitted[at] = max(_NO, max(emitted[at], enter) + float(row[chain[at]]))
        return emitted[-1]
