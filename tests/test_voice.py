"""The contract of a voice. Run it on your own: LIVEAGENT_VOICE=my_module:make pytest tests/test_voice.py

`make()` returns the voice. Without that variable the shipped voice is checked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from importlib import import_module

import numpy as np
import pytest

from liveagent.voice import Voice, VoicePiece, words_of

TEXT = "The kitchen light is on. Shall I, at 5:30 p.m. — say — turn it off again?"


def make_voice() -> Voice:
    named = os.environ.get("LIVEAGENT_VOICE")
    if named:
        module, _, name = named.partition(":")
        voice: Voice = getattr(import_module(module), name)()
        return voice
    from liveagent.ports.espeak import EspeakVoice

    shipped = EspeakVoice()
    if not shipped.probe().ok and os.environ.get("CI") != "true":
        pytest.skip(shipped.probe().what)
    return shipped


def on_voice(use: Callable[[Voice], Awaitable[None]]) -> None:
    async def main() -> None:
        voice = make_voice()
        try:
            await use(voice)
        finally:
            await voice.close()

    asyncio.run(main())


async def whole(voice: Voice, text: str, utterance: int = 1) -> list[VoicePiece]:
    return [piece async for piece in voice.say(text, utterance)]


def check_complete(voice: Voice, text: str, pieces: list[VoicePiece]) -> None:
    assert [p.final for p in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(p.samples.ndim == 1 and p.samples.dtype == np.float32 for p in pieces)
    sound = np.concatenate([p.samples for p in pieces])
    assert np.isfinite(sound).all() and np.abs(sound).max(initial=0) <= 1
    words = [w for p in pieces for w in p.words]
    assert [(w.char_start, w.char_end) for w in words] == words_of(text)
    ends = [w.sample_end for w in words]
    edges = [edge for w in words for edge in (w.sample_start, w.sample_end)]
    assert edges == sorted(edges), "words come one after the other"
    for w in words:
        assert 0 <= w.sample_start <= w.sample_end <= len(sound)
        if w.sample_end - w.sample_start > 8:  # shorter is a word that shares its sound with the one before
            assert np.sqrt(np.mean(sound[w.sample_start : w.sample_end] ** 2)) > 1e-3, "a word is where its sound is"
    sounds = [w for w in words if w.sample_end - w.sample_start > 8]
    assert len(sounds) >= len(words) // 2
    if words:
        assert ends[-1] > 0.2 * len(sound) > 0


def test_it_speaks_every_word_and_says_where() -> None:
    async def use(voice: Voice) -> None:
        assert voice.probe().ok and voice.name and voice.rate_hz >= 8_000
        pieces = await whole(voice, TEXT)
        check_complete(voice, TEXT, pieces)
        assert len(pieces) > 2, "a voice streams"
        assert {p.utterance for p in pieces} == {1}

    on_voice(use)


@pytest.mark.parametrize("text", ["", " \n", "...", "Yes.", "\x01 a\x00b [[x]] <b>", "naïve 😀 Straße 12,345 of the"])
def test_no_text_breaks_it(text: str) -> None:
    async def use(voice: Voice) -> None:
        pieces = await whole(voice, text)
        assert [p.final for p in pieces] == [False] * (len(pieces) - 1) + [True]
        assert [(w.char_start, w.char_end) for p in pieces for w in p.words] == words_of(text)
        if not text.strip():
            assert sum(len(p.samples) for p in pieces) == 0
        check_complete(voice, "Good.", await whole(voice, "Good."))

    on_voice(use)


def test_closing_the_generator_aborts_and_the_next_utterance_is_whole() -> None:
    async def use(voice: Voice) -> None:
        for utterance in range(5):
            pieces = voice.say(TEXT, utterance)
            async for _ in pieces:
                break
            await pieces.aclose()
        check_complete(voice, TEXT, await whole(voice, TEXT, 9))

    on_voice(use)


def test_stop_ends_without_a_final_piece() -> None:
    async def use(voice: Voice) -> None:
        voice.stop(77)  # never said: nothing happens
        pieces: list[VoicePiece] = []
        async for piece in voice.say(" ".join([TEXT] * 8), 7):
            pieces.append(piece)
            voice.stop(7)
        assert pieces and not pieces[-1].final
        check_complete(voice, TEXT, await whole(voice, TEXT, 8))

    on_voice(use)


def test_utterances_may_overlap() -> None:
    async def use(voice: Voice) -> None:
        texts = [TEXT, "Yes.", "No, it is not."]
        said = await asyncio.gather(*(whole(voice, text, i) for i, text in enumerate(texts)))
        for i, (text, pieces) in enumerate(zip(texts, said, strict=True)):
            check_complete(voice, text, pieces)
            assert {p.utterance for p in pieces} == {i}

    on_voice(use)


def test_a_closed_voice_may_be_used_again() -> None:
    async def use(voice: Voice) -> None:
        check_complete(voice, "Yes.", await whole(voice, "Yes."))
        await voice.close()
        await voice.close()
        check_complete(voice, "Yes.", await whole(voice, "Yes."))

    on_voice(use)
