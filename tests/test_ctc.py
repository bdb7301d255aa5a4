"""The CTC search against every alignment of every sentence, and streamed against whole."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from liveagent.automaton import Automaton
from liveagent.ctc import MAX_FRAMES, CtcSearch, Greedy, Spot
from liveagent.errors import ConfigError

LETTERS = {letter: at + 1 for at, letter in enumerate("abc")}


def spell(word: str) -> list[list[int]]:
    return [[LETTERS[letter] for letter in word]]


def collapse(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(piece for piece, _ in itertools.groupby(path) if piece)


def log_probabilities(rng: np.random.Generator, frames: int, pieces: int = 4) -> np.ndarray:
    logits = rng.standard_normal((frames, pieces)) * 2
    logp: np.ndarray = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    return logp


def brute_force(logp: np.ndarray, sentences: list[str]) -> tuple[float, set[str]]:
    """The best alignment of any sentence, over all paths there are."""
    wanted: dict[tuple[int, ...], list[str]] = {}
    for s in sentences:
        wanted.setdefault(tuple(LETTERS[c] for c in s.replace(" ", "")), []).append(s)
    best, which = -np.inf, set()
    for path in itertools.product(range(logp.shape[1]), repeat=len(logp)):
        if collapse(path) in wanted:
            score = float(sum(logp[t, p] for t, p in enumerate(path)))
            if score > best + 1e-12:
                best, which = score, set(wanted[collapse(path)])
    return best, which


@pytest.mark.parametrize("seed", range(12))
def test_the_best_sentence_and_score_are_those_of_all_alignments(seed: int) -> None:
    grammars = [["a b", "b", "ab c"], ["aa", "a a b", "bb a"], ["abc", "ab", "c ca"], ["a", "b a", "b b", "cc b"]]
    sentences = grammars[seed % 4]
    search = CtcSearch(Automaton.of([], sentences), spell)
    logp = log_probabilities(np.random.default_rng(seed), 6)
    search.feed(logp)
    found = search.best(whole=True)
    best, which = brute_force(logp, sentences)
    assert found.final and found.logp == pytest.approx(best, abs=1e-9)
    assert found.text in which
    assert found.free == pytest.approx(float(logp.max(1).sum()))
    assert found.margin <= 0


@pytest.mark.parametrize("seed", range(6))
def test_the_partial_path_is_the_best_of_all_beginnings(seed: int) -> None:
    sentences = ["ab c", "a cb", "b b a"]
    spelled = [tuple(LETTERS[c] for c in s.replace(" ", "")) for s in sentences]
    beginnings = {s[:n] for s in spelled for n in range(len(s) + 1)}
    logp = log_probabilities(np.random.default_rng(100 + seed), 5)
    search = CtcSearch(Automaton.of([], sentences), spell)
    search.feed(logp)
    best = max(
        sum(logp[t, p] for t, p in enumerate(path))
        for path in itertools.product(range(4), repeat=5)
        if collapse(path) in beginnings
    )
    assert search.best().logp == pytest.approx(best, abs=1e-9)


def peaks(pieces: list[int], width: int = 4) -> np.ndarray:
    logp = np.full((len(pieces), width), 0.02 / (width - 1))
    logp[np.arange(len(pieces)), pieces] = 0.98
    np.log(logp, out=logp)
    return logp


def test_word_ends_are_where_the_last_piece_began() -> None:
    search = CtcSearch(Automaton.of([], ["ab c", "ab"]), spell)
    search.feed(peaks([0, 1, 1, 2, 2, 0, 3, 0]))
    found = search.best(whole=True)
    assert (found.words, found.ends, found.final) == (("ab", "c"), (3, 6), True)
    assert found.margin == pytest.approx(0.0)


def test_words_come_while_one_speaks() -> None:
    search = CtcSearch(Automaton.of([], ["ab c ba"]), spell)
    seen = []
    for row in peaks([0, 1, 2, 0, 3, 0, 2, 1]):
        search.feed(row[None])
        seen.append(search.best().text)
    assert seen == ["", "", "ab", "ab", "ab c", "ab c", "ab c", "ab c ba"]
    assert search.best().final


def test_speech_outside_the_grammar_has_a_low_margin() -> None:
    search = CtcSearch(Automaton.of([], ["ab c", "b a"]), spell)
    search.feed(peaks([0, 3, 0, 3, 2, 0, 3, 1]))
    assert search.best(whole=True).margin < -1.5


def test_streamed_equals_whole_whatever_the_chunks() -> None:
    rng = np.random.default_rng(3)
    logp = log_probabilities(rng, 80)
    automaton = Automaton.of([], ["a (b|c) [a] (ab|ba|aa)", "c [b] b a"])
    whole = CtcSearch(automaton, spell)
    whole.feed(logp)
    pieces = CtcSearch(automaton, spell)
    at = 0
    while at < len(logp):
        n = int(rng.integers(1, 9))
        pieces.feed(logp[at : at + n])
        at += n
    assert pieces.best() == whole.best()
    assert pieces.best(whole=True) == whole.best(whole=True)


def test_reset_forgets_everything() -> None:
    logp = log_probabilities(np.random.default_rng(4), 70)
    automaton = Automaton.of([], ["a b", "b [c]"])
    fresh, used = CtcSearch(automaton, spell), CtcSearch(automaton, spell)
    used.feed(logp[::-1])
    used.reset()
    for search in (fresh, used):
        search.feed(logp[:9])
    assert used.best(whole=True) == fresh.best(whole=True)


def test_another_search_of_the_same_sentences_knows_nothing_of_the_first() -> None:
    logp = log_probabilities(np.random.default_rng(5), 160)
    automaton = Automaton.of([], ["a b", "b [c] a"])
    first, alone = CtcSearch(automaton, spell), CtcSearch(automaton, spell)
    first.feed(logp[:50])
    other = first.another()
    for at in range(50, 160, 10):  # in turns
        first.feed(logp[at : at + 10])
        other.feed(logp[at : at + 10])
    alone.feed(logp[50:])
    assert other.best() == alone.best() and other.best(whole=True) == alone.best(whole=True)
    assert first.best().frames == 160
    alone.reset()
    alone.feed(logp)
    assert first.best() == alone.best()


def test_memory_is_bounded_and_an_endless_utterance_is_no_sentence() -> None:
    search = CtcSearch(Automaton.of([], ["a b"]), spell)
    for _ in range(MAX_FRAMES // 50 + 2):
        search.feed(peaks([0, 1, 0, 2, 0] * 10))
    assert search.frames == MAX_FRAMES and len(search._back) <= MAX_FRAMES
    assert not search.best(whole=True).final


def test_several_spellings_of_a_word() -> None:
    search = CtcSearch(Automaton.of([], ["ab"]), lambda word: [[1, 2], [3]])
    search.feed(peaks([0, 3, 0]))
    assert search.best(whole=True).margin == pytest.approx(0.0)


def test_a_word_that_cannot_be_spelled() -> None:
    with pytest.raises(ConfigError, match="'ab'"):
        CtcSearch(Automaton.of([], ["ab"]), lambda word: [])


def test_nothing_to_search() -> None:
    search = CtcSearch(Automaton.of([]), spell)
    search.feed(peaks([0, 1]))
    assert not search.best(whole=True).words and not search.best(whole=True).final


def test_greedy_gives_each_piece_once_in_any_chunks() -> None:
    logp = peaks([0, 1, 1, 0, 1, 2, 2, 3, 0])
    whole = Greedy().feed(logp)
    assert [(spike.piece, spike.frame) for spike in whole] == [(1, 1), (1, 4), (2, 5), (3, 7)]
    assert all(spike.confidence == pytest.approx(0.98) for spike in whole)
    streamed = Greedy()
    assert [spike for row in logp for spike in streamed.feed(row[None])] == whole


def test_spot_hears_its_word_anywhere_and_once() -> None:
    spot = Spot([[1, 2]])
    hits = [spot.feed(row[None]) for row in peaks([0, 3, 0, 1, 0, 2, 2, 0, 3, 0])]
    assert [at for at, hit in enumerate(hits) if hit] == [5]
    assert not Spot([[1, 2]]).feed(peaks([0, 2, 1, 0, 3, 1, 3, 2, 0]))


@pytest.mark.parametrize("seed", range(6))
def test_spot_scores_the_best_path_that_ends_now(seed: int) -> None:
    logp = log_probabilities(np.random.default_rng(seed), 6)
    relative = logp - logp.max(1, keepdims=True)
    keyword = [[1, 1], [1, 2], [2]][seed % 3]
    spot = Spot([keyword])
    spot.feed(logp)
    best = max(
        sum(relative[start + t, p] for t, p in enumerate(path))
        for start in range(6)
        for path in itertools.product(range(4), repeat=6 - start)
        if collapse(path) == tuple(keyword) and path[-1] == keyword[-1] and path[0] == keyword[0]
    )
    assert spot.score == pytest.approx(best / len(keyword), abs=1e-9)
