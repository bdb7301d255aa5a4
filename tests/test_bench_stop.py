"""The stop's bench: its sounds are what they are said to be, and its ear tells a stop from none."""

from __future__ import annotations

import functools
import shutil

import numpy as np
import pytest

from liveagent.bench import stop
from liveagent.bench.stop import SPEECH_RMS, by_itself, hear, hearing, levelled, spoken, trials
from liveagent.runtime.stop_ear import StopEar
from tests.espeak import new_espeak

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
pytest.importorskip("espeakng_loader")


@pytest.fixture(autouse=True)
def same_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "espeak", functools.cache(new_espeak))


def test_its_noise_is_as_loud_as_it_says() -> None:
    made = list(trials(("espeak",), 6, 1))
    assert [each.reference is not None for each in made] == [False, True] * 3
    for each in made[::2]:
        assert each.end is not None and 0 < each.end < len(each.mic)
        quiet = each.mic[:16000]
        snr_db = 20 * np.log10(SPEECH_RMS / np.sqrt(np.mean(quiet**2)))
        assert abs(snr_db - each.snr_db) < 6 and 5 <= each.snr_db <= 20


def test_a_word_in_noise_is_heard_and_what_is_played_is_not() -> None:
    rng = np.random.default_rng(2)
    heard = 0
    for said in spoken(("espeak",), "stop", 6, 3):
        word = levelled(said.samples)
        mic = np.concatenate([np.zeros(24000, np.float32), word, np.zeros(16000, np.float32)])
        mic = (mic + rng.standard_normal(len(mic)) * SPEECH_RMS * 0.1).astype(np.float32)
        ear = StopEar()
        at = [place for place, _ in hear(ear, mic, None)]
        ear.close()
        heard += bool(at) and 24000 < at[0] < 24000 + len(word) + 8000
    assert heard >= 5
    assert by_itself(4, 5) == 0


def test_a_word_in_noise_is_heard_over_the_agent() -> None:
    found = hearing(("espeak",), 10, 4)
    assert found["of"] == 10 and found["missed"] <= 1, found


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
@pytest.mark.parametrize(("text", "stops"), [("stop now", True), ("stop the timer", True), ("don't stop", False),
                                             ("bus stop", False)])  # fmt: skip
def test_declared_outcomes(text: str, stops: bool) -> None:
    found = []
    for said in spoken(("flite/awb", "flite/kal16", "espeak"), text, 3, 7):
        mic = np.concatenate([np.zeros(24000, np.float32), levelled(said.samples), np.zeros(16000, np.float32)])
        mic = (mic + np.random.default_rng(1).standard_normal(len(mic)) * SPEECH_RMS * 0.03).astype(np.float32)
        ear = StopEar()
        found.append(bool(hear(ear, mic, None)))
        ear.close()
    assert sum(found) >= 2 if stops else not any(found), found
