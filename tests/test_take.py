"""One utterance for an ear that hears whole clips (what stands, when it is looked at, where it is cut), and for one
that streams."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from liveagent import ConfigError
from liveagent.agreed import Agreed
from liveagent.audio import RATE_HZ, TICK_SAMPLES, Samples
from liveagent.nn.transcriber import Transcriber, Written
from liveagent.runtime.hearer import MOST_BEHIND_SAMPLES, Pace, Retelling, Streaming, read_ear
from liveagent.runtime.take import MOST_CLIPS, NEWS_SAMPLES, QUIET_SAMPLES, SPARE_SAMPLES, Take

CLIP = 10 * RATE_HZ
LOUD = np.full(TICK_SAMPLES, 0.2, np.float32)
QUIET = np.full(TICK_SAMPLES, 0.001, np.float32)
WORDS = ["turn", "on", "the", "light", "lights", "two", "of", "them"]


def text(ids: Sequence[int]) -> str:
    return " ".join(WORDS[each] for each in ids)


def take(ticks: int = 0) -> Take:
    made = Take(CLIP, text)
    for _ in range(ticks):
        made.add(LOUD, False)
    return made


@given(st.lists(st.lists(st.integers(0, 2), max_size=8), max_size=12))
def test_what_two_looks_agree_on_is_never_taken_back(tails: list[list[int]]) -> None:
    agreed = Agreed()
    stood: list[tuple[int, ...]] = [()]
    last: tuple[int, ...] = ()
    for tail in tails:
        ids = (*agreed.ids, *tail)  # every look begins with what stands
        agreed.look(ids)
        assert agreed.ids[: len(stood[-1])] == stood[-1]
        assert ids[: len(agreed.ids)] == agreed.ids and last[: len(agreed.ids)] == agreed.ids
        stood.append(agreed.ids)
        last = ids


def test_words_stand_when_two_looks_agree_but_the_last_may_grow() -> None:
    one = take(10)
    look = one.look()
    assert look.begun == () and not look.ends and len(look.samples) == 10 * TICK_SAMPLES
    said = one.heard(look, [0, 1, 3], -0.1, True, 1.0)
    assert (said.words, said.stands) == (("turn", "on", "light"), 0)
    one.add(LOUD, False)
    said = one.heard(one.look(), [0, 1, 2, 4], -0.2, True, 2.0)
    assert (said.words, said.stands) == (("turn", "on", "the", "lights"), 1)  # "on" could still be "once"
    assert one.look().begun == (0, 1)
    said = one.heard(one.look(), [0, 1, 2, 4], -0.2, True, 3.0)
    assert said.stands == 4 and said.confidence == pytest.approx(np.exp(-0.2))


def test_it_is_looked_at_when_there_is_news_at_a_pace_that_leaves_time() -> None:
    one = take(1)
    assert not one.due(0.0, 1.0)
    for _ in range(NEWS_SAMPLES // TICK_SAMPLES):
        one.add(LOUD, False)
    assert one.due(0.0, 1.0)
    one.heard(one.look(), [0], 0.0, True, 5.0)
    for _ in range(NEWS_SAMPLES // TICK_SAMPLES + 1):
        one.add(LOUD, False)
    assert not one.due(5.5, 1.0) and one.due(6.0, 1.0)


def test_the_first_quiet_is_looked_at_at_once_and_the_end_is_then_free() -> None:
    one = take(8)
    one.heard(one.look(), [0], 0.0, True, 0.0)
    one.add(LOUD, False)
    assert not one.due(0.1, 9.0)
    for _ in range(QUIET_SAMPLES // TICK_SAMPLES):
        one.add(QUIET, True)
    assert one.due(0.1, 9.0)
    one.heard(one.look(), [0, 1], 0.0, True, 0.2)
    one.add(QUIET, True)
    assert not one.due(99.0, 9.0) and not one.urgent
    one.ended = True
    assert one.done and one.said.words == ("turn", "on")


def test_an_end_after_unseen_words_is_urgent_and_outdates_a_look() -> None:
    one = take(8)
    look = one.look()
    assert not one.outdated(look)
    one.add(LOUD, False)
    one.ended = True
    assert one.outdated(look) and one.urgent and not one.done and one.due(0.0, 99.0)
    one.heard(one.look(), [3], -1.0, True, 1.0)
    assert one.done


def test_a_long_one_is_cut_where_it_is_quietest() -> None:
    one = take()
    ticks = (CLIP - SPARE_SAMPLES) // TICK_SAMPLES + 2
    pause = ticks - 30
    for at in range(ticks):
        one.add(QUIET if at == pause else LOUD, False)
    look = one.look()
    assert look.ends and one.urgent and abs(len(look.samples) - pause * TICK_SAMPLES) <= TICK_SAMPLES
    said = one.heard(look, [0, 1], -0.5, True, 1.0)
    assert (said.words, said.stands) == (("turn", "on"), 2) and not one.full
    rest = one.look()
    assert rest.begun == () and len(rest.samples) + len(look.samples) == ticks * TICK_SAMPLES
    said = one.heard(rest, [2, 3], -1.5, True, 2.0)
    assert (said.words, said.stands) == (("turn", "on", "the", "light"), 2)
    one.ended = True
    assert one.done and one.said.confidence == pytest.approx(np.exp(-1.0))


def test_what_nobody_said_is_no_text() -> None:
    one = take(10)
    assert one.heard(one.look(), [0, 1], -2.0, False, 1.0).words == ()
    assert take(10).said.words == () and take(10).said.confidence == 0.0


def test_it_is_bounded() -> None:
    one = take()
    for _ in range(MOST_CLIPS * CLIP // TICK_SAMPLES + 50):
        one.add(LOUD, False)
    assert one.overfull and one._samples <= MOST_CLIPS * CLIP + TICK_SAMPLES
    assert len(one.look().samples) < CLIP
    assert Take(CLIP, text).look().most_tokens < 64
    whole = take((CLIP - SPARE_SAMPLES) // TICK_SAMPLES).look()
    assert whole.most_tokens < 448 * CLIP / (30 * RATE_HZ)


class Word:
    def __init__(self, text: str) -> None:
        self.text = text


class Stream:
    """A word a tick, the last of which may still grow."""

    confidence = 0.25

    def __init__(self) -> None:
        self.ticks = 0

    def feed(self, samples: np.ndarray) -> list[Word]:
        self.ticks += 1
        return [Word(WORDS[self.ticks - 2])] if self.ticks > 1 else []

    @property
    def partial(self) -> Word | None:
        return Word(WORDS[self.ticks - 1][:3]) if self.ticks else None

    def end(self) -> list[Word]:
        return [Word(WORDS[self.ticks - 1])] if self.ticks else []


def so_far(one: Streaming) -> tuple[tuple[str, ...], int]:
    return one.said.words, one.said.stands


def waits(one: Streaming) -> bool:
    """Whether somebody waits for it, and it is not done."""
    assert one.urgent != one.done
    return one.urgent


def test_an_ear_that_streams_hears_everything_once() -> None:
    one = Streaming(Stream())
    assert not one.due(0.0) and so_far(one) == ((), 0) and one.said.confidence == 0.0
    for _ in range(3):
        one.add(LOUD, False)
    assert one.due(0.0) and one.hear(lambda: True) and not one.due(0.0)
    assert so_far(one) == (("turn", "on", "the"), 2)
    one.add(LOUD, False)
    one.ended = True
    assert waits(one)
    assert one.hear(lambda: True) and not waits(one)
    assert so_far(one) == (("turn", "on", "the", "light"), 4) and one.said.confidence == 0.25


def test_one_that_gives_way_goes_on_from_there() -> None:
    one = Streaming(Stream())
    for _ in range(4):
        one.add(LOUD, False)
    one.ended = True
    assert one.hear(lambda: False) and so_far(one) == (("tur",), 0) and waits(one) and one.due(0.0)
    assert one.hear(lambda: True) and so_far(one) == (("turn", "on", "the", "light"), 4)


def test_a_stream_that_falls_behind_is_bounded() -> None:
    one = Streaming(Stream())
    for _ in range(MOST_BEHIND_SAMPLES // TICK_SAMPLES + 2):
        one.add(LOUD, False)
    assert one.overfull


class Heard:
    """A transcriber that hears each look in another language, and keeps what it was asked to write in."""

    def __init__(self, *heard: str | None) -> None:
        self.mel, self.marks = SimpleNamespace(samples=CLIP), SimpleNamespace(languages={"en": 1, "de": 2})
        self.asked: list[str | None] = []
        self._heard = list(heard)

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(["Schöne", "Straße,", "bitte!"][each] for each in ids)

    def write(self, samples: Samples, language: str | None, begun: Sequence[int] = (), **_: Any) -> Written:
        self.asked.append(language)
        return Written("x", (0, 1, 2), language or self._heard.pop(0), -0.1, 0.0, True)


def looked(ear: Heard, language: str | None, looks: int = 3) -> Retelling:
    made = Retelling(cast(Transcriber, ear), Pace(0.1), language)
    for _ in range(looks):
        made.add(np.full(RATE_HZ, 0.2, np.float32), False)
        assert made.hear(lambda: True)
    return made


def test_words_of_another_language_stay_as_they_are_written() -> None:
    ear = Heard()
    assert looked(ear, "de").said.words == ("Schöne", "Straße,", "bitte!") and ear.asked == ["de", "de", "de"]
    assert looked(Heard("en"), "en").said.words == ("schone", "stra", "e", "bitte")
    assert looked(Heard(None), None, 1).said.words == ("schone", "stra", "e", "bitte")  # it knows one alone: English


def test_a_language_that_is_heard_stands_with_its_first_words() -> None:
    ear = Heard("en", "de", "zh")
    assert looked(ear, None).said.words == ("Schöne", "Straße,", "bitte!")
    assert ear.asked == [None, None, "de"]  # two looks agreed on words


def test_an_ear_for_one_language_refuses_others(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"architectures": ["NemotronAsrStreamingForRNNT"]}')
    with pytest.raises(ConfigError, match="this ear knows no language 'de'; it knows en"):
        read_ear(str(tmp_path), "cpu", "de")
