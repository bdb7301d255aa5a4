"""Which word a phone belongs to, where words are, and where one sentence ends."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.alignment import owners, shared_edges, sounding, word_spans
from liveagent.ports.espeak import EspeakVoice
from liveagent.ports.told_words import ToldWords
from liveagent.sentence import sentences_of
from liveagent.voice import words_of


def belongs(phones: str, words: list[str]) -> list[str]:
    found = owners(phones, words)
    return ["".join(phone for phone, word in zip(phones, found, strict=True) if word == n) for n in range(len(words))]


@pytest.mark.parametrize(
    ("phones", "words", "whose"),
    [
        ("ʌvðə bˈɛst.", ["ʌv", "ðə", "bˈɛst."], ["ʌv", "ðə", "bˈɛst"]),  # two words said as one
        ("ʌvðə twˈɛnti fˈaɪv", ["ʌv", "ðə", "twˈɛnti fˈaɪv"], ["ʌv", "ðə", "twˈɛntifˈaɪv"]),  # and one as two
        ("tˈɜːn ɪɾ ˈɔf", ["tˈɜːn", "ɪt", "ˈɔf"], ["tˈɜːn", "ɪɾ", "ˈɔf"]),  # another sound beside its neighbours
        ("sˈeɪ — jˈɛs", ["sˈeɪ", "—", "jˈɛs"], ["sˈeɪ", "", "jˈɛs"]),
        ("ab", [], []),
        ("abc de", ["", ""], ["", ""]),
    ],
)
def test_a_phone_belongs_to_the_word_that_says_it(phones: str, words: list[str], whose: list[str]) -> None:
    assert belongs(phones, words) == whose


@given(st.text("abˈː ,", max_size=12), st.lists(st.text("abcˈ.", max_size=4), max_size=5))
def test_owners_go_up_and_spans_never_overlap(phones: str, words: list[str]) -> None:
    found = owners(phones, words)
    known = [word for word in found if word is not None]
    assert known == sorted(known) and all(0 <= word < len(words) for word in known)
    edges = [(10 * at, 10 * at + 10) for at in range(len(phones))]
    spans = word_spans(found, edges, len(words))
    flat = [edge for span in spans for edge in span]
    assert len(spans) == len(words) and flat == sorted(flat) and all(0 <= edge <= 10 * len(phones) for edge in flat)
    samples = np.ones(1_000, np.float32)
    shared = [edge for pair in shared_edges(phones, samples, 1_000) for edge in pair]
    assert shared == sorted(shared) and all(0 <= edge <= 1_000 for edge in shared) and len(shared) == 2 * len(phones)


def test_a_word_without_a_phone_stands_where_the_one_before_it_ended() -> None:
    assert word_spans([None, 1, None, 3], [(0, 5), (5, 9), None, (12, 15)], 5) == [
        (0, 0), (5, 9), (9, 9), (12, 15), (15, 15),
    ]  # fmt: skip


def test_silence_around_a_sentence_is_nobodys() -> None:
    sound = np.concatenate([np.zeros(3_000), np.sin(np.arange(8_000) / 5), np.zeros(5_000)]).astype(np.float32)
    assert sounding(sound, 16_000) == (2_880, 11_040)  # frames of 160 samples
    assert sounding(np.zeros(100, np.float32), 16_000) == sounding(np.zeros(0, np.float32), 16_000) == (0, 0)
    edges = shared_edges("ab,cd.", sound, 16_000)
    assert edges[0][0] == 2_880 and edges[-1] == (11_040, 11_040) and edges[2][1] - edges[2][0] > 3_000


@pytest.mark.slow
def test_what_is_shared_out_is_near_to_what_espeak_says() -> None:
    """espeak knows where its words are; its sound alone, and its phones, place them about as well as is promised."""
    pytest.importorskip("piper")
    from piper.phonemize_espeak import EspeakPhonemizer

    phonemiser = EspeakPhonemizer()
    text = (
        "The kitchen light is on, and the garage door is closed. I have put the red cup on the left shelf. Good day! "
        "It is a quarter past five; shall I wake you at seven? There are three messages, one of them from Anna. "
        "I could not find your keys, but I saw them on the table about 20 minutes ago."
    )

    def phones(part: str) -> list[str]:
        return [phone for said in phonemiser.phonemize("en-us", part) for phone in said]

    async def main() -> list[float]:
        voice = EspeakVoice()
        off_ms = []
        for start, end in sentences_of(text, 300):
            sentence = text[start:end]
            pieces = [piece async for piece in voice.say(sentence, 1)]
            sound = np.concatenate([piece.samples for piece in pieces])
            alone = [phones(sentence[a:b]) for a, b in words_of(sentence)]
            all_phones = phones(sentence)
            guessed = word_spans(owners(all_phones, alone), shared_edges(all_phones, sound, 16_000), len(alone))
            told = [word for piece in pieces for word in piece.words]
            off_ms += [abs(span[1] - word.sample_end) / 16 for span, word in zip(guessed, told, strict=True)]
        await voice.close()
        return off_ms

    if not EspeakVoice().probe().ok:
        pytest.skip("espeak-ng is not installed")
    off_ms = asyncio.run(main())
    assert np.median(off_ms) < 70 and np.percentile(off_ms, 90) < 160


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One. ", "Two! ", "Three?"]),
        ("At 5:30 p.m. or so. Dr. Who, no. 5, came.", ["At 5:30 p.m. or so. ", "Dr. Who, no. 5, came."]),
        ('He said "Yes." Then he left… Or not', ['He said "Yes." ', "Then he left… ", "Or not"]),
        ("It costs 3.50 now. 20 of them.", ["It costs 3.50 now. ", "20 of them."]),
        ("a\nb\n\nc", ["a\n", "b\n\n", "c"]),
        ("今日は。元気？", ["今日は。", "元気？"]),
        (" \n ", []),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert [text[start:end] for start, end in sentences_of(text, 200)] == parts


@given(st.text("ab .,!A\n—", max_size=80), st.integers(5, 40))
def test_sentences_hold_every_word_whole_and_none_is_too_long(text: str, most: int) -> None:
    found = sentences_of(text, most)
    assert all(end - start <= most for start, end in found)
    edges = [edge for pair in found for edge in pair]
    assert edges == sorted(edges)
    if all(end - start < most for start, end in words_of(text)):
        words = [text[start:end][a:b] for start, end in found for a, b in words_of(text[start:end])]
        assert words == text.split()


def test_told_words_come_once_and_in_order() -> None:
    told = ToldWords("a b c d")
    assert told.feed(0, 5, 9) == [(0, 1, 5, 9)]
    assert told.feed(0, 5, 9) == []
    assert told.feed(2, 8, 20) == [(2, 3, 9, 9), (4, 5, 9, 20)]
    assert told.feed(9, 0, 1) == []
    assert told.flush(50) == [(6, 7, 20, 20)] and told.flush(50) == []
