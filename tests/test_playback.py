"""LAW 4 from tokens to ears: for every cut, exactly the tokens of the words that sounded to their last sample."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.action import Duck, Freeze, Resume, Say, SayWord, StopPlayback
from liveagent.errors import ProtocolError
from liveagent.event import SamplesPlayed, Voiced, WordMark
from liveagent.playback import Playback


def _playback() -> Playback:
    playback = Playback(7)
    playback.say(Say(7, "It is on.", (SayWord("It", 0, 2), SayWord("is", 2, 3), SayWord("on.", 3, 6))))
    playback.feed(Voiced(0, 7, 300, (WordMark(0, 10, 100), WordMark(1, 100, 180), WordMark(2, 180, 290)), final=True))
    return playback


def test_words_light_up_as_their_last_sample_sounds() -> None:
    playback = _playback()
    sounding = [playback.sounding]
    assert playback.feed(SamplesPlayed(5, 7, 50)) == ()
    assert [*sounding, playback.sounding] == [None, 0]
    assert [word.word for word in playback.feed(SamplesPlayed(6, 7, 185))] == ["It", "is"]
    assert (playback.heard, playback.sounding, playback.pending_samples, playback.done) == (2, 2, 115, False)
    assert [word.index for word in playback.feed(SamplesPlayed(9, 7, 300))] == [2]
    assert (playback.done, playback.pending_samples) == (True, 0)


@pytest.mark.parametrize(
    ("samples", "heard", "cut_word", "unheard", "keep"),
    [
        (0, (), None, ("It", "is", "on."), 0),
        (10, (), None, ("It", "is", "on."), 0),
        (11, (), "It", ("is", "on."), 0),
        (99, (), "It", ("is", "on."), 0),
        (100, ("It",), None, ("is", "on."), 2),
        (101, ("It",), "is", ("on.",), 2),
        (180, ("It", "is"), None, ("on.",), 3),
        (290, ("It", "is", "on."), None, (), 6),
        (9999, ("It", "is", "on."), None, (), 6),
    ],
)
def test_a_cut(samples: int, heard: Any, cut_word: Any, unheard: Any, keep: int) -> None:
    cut = _playback().cut(samples)
    assert (cut.heard_words, cut.cut_word, cut.unheard_words, cut.keep_tokens) == (heard, cut_word, unheard, keep)


def test_a_late_or_smaller_report_unhears_nothing_and_padding_is_not_heard() -> None:
    playback = _playback()
    playback.feed(SamplesPlayed(1, 7, 100))
    assert playback.feed(SamplesPlayed(2, 7, 60)) == () and playback.played_samples == 100
    playback.feed(SamplesPlayed(3, 7, 10_000))
    assert playback.played_samples == 300


def test_what_is_not_voiced_yet_cannot_be_heard() -> None:
    playback = Playback(1)
    playback.say(Say(1, "one two", (SayWord("one", 0, 1), SayWord("two", 1, 2)), final=False))
    playback.feed(Voiced(0, 1, 50, (WordMark(0, 0, 50),)))
    assert [w.word for w in playback.feed(SamplesPlayed(0, 1, 80))] == ["one"]
    assert not playback.done and playback.cut().keep_tokens == 1
    playback.say(Say(1, "three", (SayWord("three", 2, 5),)))
    playback.feed(Voiced(0, 1, 100, (WordMark(1, 50, 100), WordMark(2, 100, 150)), final=True))
    assert [w.word for w in playback.feed(SamplesPlayed(0, 1, 150))] == ["two", "three"]
    assert playback.done


def test_words_without_marks_end_with_what_follows_them() -> None:
    playback = Playback(1)
    playback.say(Say(1, "a b c d", tuple(SayWord(text, i, i + 1) for i, text in enumerate("abcd"))))
    playback.feed(Voiced(0, 1, 100, (WordMark(0, 0, 20), WordMark(2, 60, 80)), final=True))
    assert playback.cut(59).heard_words == ("a",) and playback.cut(59).cut_word == "b"
    assert playback.cut(60).heard_words == ("a", "b")
    assert playback.cut(99).heard_words == ("a", "b", "c")
    assert playback.cut(100).heard_words == ("a", "b", "c", "d")


def test_a_word_without_samples_is_not_heard_before_anything_sounded() -> None:
    playback = Playback(1)
    playback.say(Say(1, "- a", (SayWord("-", 0, 1), SayWord("a", 1, 2))))
    playback.feed(Voiced(0, 1, 30, (WordMark(0, 0, 0), WordMark(1, 0, 30)), final=True))
    assert playback.cut(0).keep_tokens == 0
    assert playback.cut(1).heard_words == ("-",)


def test_a_held_reply_goes_on_and_a_stopped_one_does_not() -> None:
    playback = _playback()
    playback.feed(SamplesPlayed(0, 7, 120))
    phases: list[str] = []
    for action in (Duck(7), Freeze(7)):
        playback.obey(action)
        phases.append(playback.phase)
    assert playback.pending_samples == 180
    playback.feed(SamplesPlayed(1, 7, 130))  # what was in the device's buffer
    playback.obey(Resume(7))
    assert playback.pending_samples == 170
    phases.append(playback.phase)
    playback.obey(StopPlayback(7))
    playback.obey(Resume(7))
    assert [*phases, playback.phase] == ["ducked", "frozen", "playing", "stopped"]
    playback.feed(SamplesPlayed(2, 7, 300))
    assert not playback.done and playback.cut().heard_words == ("It", "is", "on.")


def test_what_cannot_be_is_refused() -> None:
    playback = _playback()
    for wrong in (
        lambda: playback.feed(SamplesPlayed(0, 8, 1)),
        lambda: playback.feed(Voiced(0, 7, 1)),
        lambda: playback.say(Say(7, "x", (SayWord("x", 5, 6),))),
        lambda: playback.obey(Duck(1)),
    ):
        with pytest.raises(ProtocolError):
            wrong()
    for marks in ((WordMark(5, 0, 1),), (WordMark(1, 0, 5), WordMark(0, 5, 6)), (WordMark(0, 9, 8),)):
        fresh = Playback(7)
        fresh.say(Say(7, "a b", (SayWord("a", 0, 1), SayWord("b", 1, 2))))
        with pytest.raises(ProtocolError, match="out of order"):
            fresh.feed(Voiced(0, 7, 10, marks))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_kept_tokens_are_those_of_the_words_that_sounded(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 40)), min_size=1))
    words, marks, token, sample = [], [], 0, 0
    for index, (tokens, pause, samples) in enumerate(sizes):
        words.append(SayWord(f"w{index}", token, token + tokens))
        marks.append(WordMark(index, sample + pause, sample + pause + samples))
        token += tokens
        sample += pause + samples
    playback = Playback(1)
    playback.say(Say(1, "", tuple(words)))
    playback.feed(Voiced(0, 1, sample, tuple(marks), final=True))
    told: list[int] = []
    at = 0
    for step in data.draw(st.lists(st.integers(0, 60), max_size=8)):
        at += step
        told += [word.index for word in playback.feed(SamplesPlayed(0, 1, at))]
        played = min(at, sample)
        cut = playback.cut()
        # The obvious model: ask every token for its own word.
        keep = sum(word.end_token - word.start_token for word, mark in zip(words, marks, strict=True)
                   if mark.end_samples <= played)  # fmt: skip
        assert cut.keep_tokens == keep
        assert told == list(range(len(cut.heard_words)))
        assert len(cut.heard_words) + (cut.cut_word is not None) + len(cut.unheard_words) == len(words)
        assert (cut.cut_word is not None) == any(m.start_samples < played < m.end_samples for m in marks)
        assert playback.cut(played) == cut
    assert playback.done == (at >= sample)
