"""PocketSphinx within the automaton, on people's voices (Debian's alsa-utils) and flite's, and what it must reject."""

from __future__ import annotations

import shutil
import subprocess
import sys
import wave
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from liveagent import tool
from liveagent.automaton import Automaton
from liveagent.errors import ConfigError, DeviceError
from liveagent.ports.recogniser import KeyPhrase, Recogniser
from liveagent.ports.stop_word import StopWord
from liveagent.pronounce import PHONES, phones_of_ipa, phones_of_letters

CLIPS = Path("/usr/share/sounds/alsa")
PLACES = [
    "front center", "front left", "front right", "rear center", "rear left", "rear right", "side left", "side right",
]  # fmt: skip
needs_pocketsphinx = pytest.mark.skipif(
    find_spec("pocketsphinx") is None, reason="no pocketsphinx: pip install pocketsphinx==5.1.1"
)
needs_clips = pytest.mark.skipif(not CLIPS.is_dir(), reason="no human clips: apt install alsa-utils")
needs_flite = pytest.mark.skipif(not shutil.which("flite"), reason="no flite: apt install flite")


@tool(phrases=["(turn|switch) {state} the {room} (light|lights)"])
def light(room: Literal["kitchen", "bedroom", "garden"], state: Literal["on", "off"]) -> None:
    """Switch a light."""


AUTOMATON = Automaton.of([light], [*PLACES, "stop [now]", "good morning", "what can you do"])


def read(path: Path) -> np.ndarray:
    """Mono float32 at 16 kHz; a 48 kHz clip is averaged three by three, enough of a filter for a test."""
    with wave.open(str(path)) as clip:
        raw = np.frombuffer(clip.readframes(clip.getnframes()), "<i2").reshape(-1, clip.getnchannels()).mean(1) / 32768
        ratio = clip.getframerate() // 16_000
    sound: np.ndarray = raw[: len(raw) // ratio * ratio].reshape(-1, ratio).mean(1).astype(np.float32)
    return sound


def flite(text: str, folder: Path, voice: str = "rms") -> np.ndarray:
    path = folder / "said.wav"
    subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
    sound = read(path)
    quiet = np.zeros(4800, np.float32)
    return np.concatenate([quiet, sound * (0.5 / np.abs(sound).max()), quiet])


@needs_pocketsphinx
@needs_clips
def test_people_are_heard_and_noise_is_rejected() -> None:
    recogniser = Recogniser(AUTOMATON)
    right = 0
    for place in PLACES:
        sound = read(CLIPS / ("_".join(word.capitalize() for word in place.split()) + ".wav"))
        for at in range(0, len(sound), 2560):
            recogniser.feed(sound[at : at + 2560])
        heard = recogniser.end()
        right += heard.text == place and heard.in_grammar
    assert right == 8
    recogniser.feed(read(CLIPS / "Noise.wav"))
    assert not recogniser.end().in_grammar


@needs_pocketsphinx
@needs_flite
def test_what_was_said_and_what_was_not_in_the_grammar(tmp_path: Path) -> None:
    recogniser = Recogniser(AUTOMATON)
    for said in ("turn on the kitchen light", "switch off the garden lights", "what can you do"):
        recogniser.feed(flite(said, tmp_path))
        heard = recogniser.end()
        assert (heard.text, heard.in_grammar) == (said, True)
    for said in ("good morning everyone and welcome", "we ran out of paper towels again", "turn on the moon"):
        recogniser.feed(flite(said, tmp_path))
        assert not recogniser.end().in_grammar


@needs_pocketsphinx
@needs_flite
def test_words_come_while_one_speaks_and_a_reset_forgets_them(tmp_path: Path) -> None:
    recogniser = Recogniser(AUTOMATON)
    sound = flite("good morning", tmp_path)
    seen = []
    for at in range(0, len(sound), 2560):
        recogniser.feed(sound[at : at + 2560])
        seen.append(recogniser.partial())
    assert ("good", "morning") in seen
    recogniser.reset()
    assert recogniser.partial() == () and recogniser.end().words == ()


@needs_pocketsphinx
def test_hostile_sound_is_no_sentence() -> None:
    recogniser = Recogniser(AUTOMATON)
    rng = np.random.default_rng(0)
    for sound in (
        np.zeros(16_000, np.float32),
        np.full(16_000, np.nan, np.float32),
        rng.standard_normal(32_000).astype(np.float32) * 0.1,
        rng.standard_normal(8_000).astype(np.float32) * 1e9,
        np.zeros(0, np.float32),
    ):
        recogniser.feed(sound)
        assert not recogniser.end().in_grammar
    assert not recogniser.end().in_grammar  # nothing was fed


@needs_pocketsphinx
def test_a_word_that_nobody_knows() -> None:
    known = Recogniser(Automaton.of([], ["open the zigbee flarn tv"]), say={"zigbee": "zig bee"})
    assert known.guessed == ("flarn",) or known.guessed == ("flarn", "zigbee")
    with pytest.raises(ConfigError, match=r"'bzzzzzt'.*say="):
        Recogniser(Automaton.of([], ["go bzzzzzt"]))


@needs_pocketsphinx
def test_nothing_to_recognise() -> None:
    with pytest.raises(ConfigError, match="nothing to recognise"):
        Recogniser(Automaton.of([]))


@needs_pocketsphinx
@needs_flite
def test_stop_is_heard_before_the_end_and_start_is_not_stop(tmp_path: Path) -> None:
    stop = StopWord(others=list(AUTOMATON.next_words()))
    pause = np.zeros(16_000, np.float32)

    def hits(text: str) -> int:
        sound = np.concatenate([flite(text, tmp_path, "slt"), pause])
        return sum(stop.feed(sound[at : at + 1280]) for at in range(0, len(sound), 1280))

    assert hits("stop") == 1
    assert hits("start a timer please") == 0
    assert hits("turn on the kitchen light") == 0
    assert hits("stop now") == 1


@needs_pocketsphinx
@needs_flite
def test_a_wake_phrase(tmp_path: Path) -> None:
    wake = KeyPhrase("hey nano")
    sound = np.concatenate([flite("hey nano turn on the light", tmp_path), np.zeros(8000, np.float32)])
    assert sum(wake.feed(sound[at : at + 1280]) for at in range(0, len(sound), 1280)) == 1
    sound = flite("turn on the kitchen light", tmp_path)
    assert not any(wake.feed(sound[at : at + 1280]) for at in range(0, len(sound), 1280))


def test_without_pocketsphinx_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(DeviceError, match="pip install"):
        Recogniser(AUTOMATON)


def test_guessed_phones_are_phones() -> None:
    assert phones_of_letters("phone") == ("F", "OW", "N")
    assert phones_of_letters("tv") == ("T", "IY", "V", "IY")
    assert phones_of_letters("bzzzzzt") == ()
    assert phones_of_ipa("ɡɹəfˈɑːnə") == ("G", "R", "AH", "F", "AA", "N", "AH")
    for word in ("zigbee", "grafana", "strength", "queue", "xylophone", "o'clock"):
        assert set(phones_of_letters(word)) <= PHONES and phones_of_letters(word)
