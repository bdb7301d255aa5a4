"""EspeakVoice beyond the contract of test_voice.py: its process, its word marks, what happens when there is none."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.errors import ConfigError, DeviceError
from liveagent.ports import espeak
from liveagent.ports.espeak import EspeakVoice, WordClock
from liveagent.ports.espeak_child import PAUSE, SOUND, WORD
from liveagent.voice import SpokenWord, words_of

pytestmark = pytest.mark.skipif(
    not EspeakVoice().probe().ok and os.environ.get("CI") != "true", reason="espeak-ng is not installed"
)
LONG = "The kitchen light is on, and the garage door is closed. " * 20


async def said(voice: EspeakVoice, text: str) -> tuple[np.ndarray, list[SpokenWord]]:
    pieces = [p async for p in voice.say(text, 1)]
    return np.concatenate([p.samples for p in pieces]), [w for p in pieces for w in p.words]


def test_a_word_ends_where_the_pause_begins() -> None:
    async def main() -> None:
        voice = EspeakVoice()
        sound, words = await said(voice, "Hello, the light is on. Good night.")
        await voice.close()
        for before, after in [(0, 1), (4, 5)]:  # at the comma and at the full stop
            end, start = words[before][3], words[after][2]
            assert start - end > 1_000
            edge = 32  # the resampler's ringing
            assert np.abs(sound[end + edge : start - edge]).max() < 1e-3
            assert np.sqrt(np.mean(sound[end - 400 : end] ** 2)) > 1e-3
        assert np.abs(sound[words[-1][3] + 32 :]).max() < 1e-3

    asyncio.run(main())


def test_a_killed_process_comes_back() -> None:
    async def main() -> None:
        voice = EspeakVoice()
        await voice.open()
        assert voice._child is not None
        first = voice._child.process
        first.kill()
        first.wait()
        whole, _ = await said(voice, "Nothing had been said yet, so it is said after all.")
        assert len(whole) > 16_000 and voice._child.process.pid != first.pid

        pieces = voice.say(LONG * 3, 2)  # minutes of it: the kill comes before its end on a busy machine too
        await anext(pieces)
        voice._child.process.kill()
        with pytest.raises(DeviceError, match="starts again"):
            async for _ in pieces:
                pass
        again, _ = await said(voice, "Here I am.")
        assert len(again) > 8_000
        await voice.close()

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_hung_process_is_ended() -> None:
    async def main() -> None:
        voice = EspeakVoice()
        await voice.open()
        assert voice._child is not None
        process = voice._child.process
        process.send_signal(signal.SIGSTOP)
        voice.hang_s = 0.3
        pieces = voice._say_once("Hello.", 1)
        with pytest.raises(DeviceError, match="hung"):
            await anext(pieces)
        voice.hang_s = 10.0
        assert len((await said(voice, "Hello."))[0]) > 4_000
        assert process.poll() is not None
        await voice.close()

    asyncio.run(main())


def test_an_aborted_utterance_is_not_synthesised_to_its_end() -> None:
    async def main() -> None:
        voice = EspeakVoice()
        pieces = voice.say(LONG, 1)
        got = len((await anext(pieces)).samples)
        await pieces.aclose()
        assert got < 3_200 and not voice._live
        assert voice._child is not None and not voice._child._jobs
        await voice.close()

    asyncio.run(main())


def test_no_such_voice() -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="espeak-ng --voices"):
            await EspeakVoice("klingon-of-nowhere").open()

    asyncio.run(main())


def test_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeak, "find_spec", lambda name: None)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    voice = EspeakVoice()
    assert not voice.probe().ok and "pip install espeakng-loader" in voice.probe().fix

    async def main() -> None:
        with pytest.raises(DeviceError, match="pip install espeakng-loader"):
            await anext(voice.say("Hello.", 1))

    asyncio.run(main())


def test_a_setting_out_of_reason_is_refused() -> None:
    with pytest.raises(ConfigError):
        EspeakVoice(rate_wpm=10_000)

    async def main() -> None:
        with pytest.raises(ConfigError, match="pieces"):
            await anext(EspeakVoice().say("a" * 5_000, 1))

    asyncio.run(main())


def test_the_child_does_not_outlive_its_parent() -> None:
    code = (
        "import asyncio, os\nfrom liveagent.ports.espeak import EspeakVoice\n"
        "v = EspeakVoice()\nasyncio.run(v.open())\nprint(v._child.process.pid, flush=True)\nos._exit(1)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pid = int(out.stdout)
    deadline = time.monotonic() + 20

    def alive() -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        try:  # an orphan in a container may stay a zombie when nobody reaps
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
        except OSError:
            return False

    while alive():
        assert time.monotonic() < deadline, "the voice's process is still there"
        time.sleep(0.02)


def test_the_word_clock_trims_pauses_and_joins_what_sounds_as_one() -> None:
    clock = WordClock("of the house, — yes")
    got = clock.feed(WORD, 0, 0) + clock.feed(SOUND, -1, 10)
    got += clock.feed(WORD, 7, 500)  # espeak said "of the" in one go
    assert got == [(0, 2, 0, 499), (3, 6, 499, 500)]
    got = clock.feed(SOUND, -1, 510) + clock.feed(PAUSE, -1, 900) + clock.feed(PAUSE, -1, 950)
    got += clock.feed(WORD, 16, 1_000)
    assert got == [(7, 13, 500, 900), (14, 15, 900, 900)]
    clock.feed(SOUND, -1, 1_000)
    assert clock.flush(1_400) == [(16, 19, 1_000, 1_400)]


@given(
    st.text(st.sampled_from("ab .,—5"), max_size=30),
    st.lists(st.tuples(st.sampled_from([WORD, SOUND, PAUSE]), st.integers(-1, 40), st.integers(0, 3_000)), max_size=30),
)
def test_whatever_espeak_reports_every_word_gets_one_mark_in_order(
    text: str, marks: list[tuple[int, int, int]]
) -> None:
    clock, words = WordClock(text), []
    for kind, character, sample in sorted(marks, key=lambda m: m[2]):
        words += clock.feed(kind, character, sample)
    words += clock.flush(3_000)
    assert [(w.char_start, w.char_end) for w in words] == words_of(text)
    assert all(w.sample_start <= w.sample_end <= 3_000 for w in words)
    edges = [edge for w in words for edge in (w.sample_start, w.sample_end)]
    assert edges == sorted(edges)
