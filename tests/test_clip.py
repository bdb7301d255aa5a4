"""The shipped clip: it holds what it says it holds, and nothing of it is in training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from liveagent.pipelines.nano import clip
from liveagent.pipelines.voice import agent

ABOUT: dict[str, Any] = json.loads((clip.FOLDER / "clip.json").read_text())


@pytest.fixture(scope="module")
def sound() -> np.ndarray:
    """[T] float32."""
    with av.open(str(clip.FOLDER / "clip.flac")) as file:
        stream = file.streams.audio[0]
        assert (stream.rate, stream.channels) == (clip.HZ, 1)
        return np.concatenate([frame.to_ndarray()[0] for frame in file.decode(stream)]).astype(np.float32) / 32768


def level_dbfs(sound: np.ndarray, start: int, end: int) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(sound[start:end] ** 2)) + 1e-9))


def test_it_is_small_and_as_long_as_it_says(sound: np.ndarray) -> None:
    assert (clip.FOLDER / "clip.flac").stat().st_size < 1_500_000
    assert len(sound) == ABOUT["samples"]
    assert np.abs(sound).max() < 0.5


def test_speech_is_where_it_says_and_the_room_is_between(sound: np.ndarray) -> None:
    places = sorted((each["start_sample"], each["end_sample"]) for each in ABOUT["sentences"] + ABOUT["noises"])
    assert len(places) == len(clip.SCRIPT)
    before = 0
    for start, end in places:
        assert level_dbfs(sound, before, start) < -55
        assert level_dbfs(sound, start, end) > -35
        assert level_dbfs(sound, start, start + 1600) > -50
        assert level_dbfs(sound, end - 1600, end) > -54  # a last consonant may be soft
        before = end
    assert level_dbfs(sound, before, len(sound)) < -55
    timer = next(each for each in ABOUT["sentences"] if each.get("tool") == "timer")
    quiet = [level_dbfs(sound, at, at + 160) < -55 for at in range(timer["start_sample"], timer["end_sample"], 160)]
    assert sum(quiet) * 10 >= clip.PAUSE_MS  # the pause inside the sentence


def test_each_sentence_means_to_the_agent_what_it_says() -> None:
    kinds = set()
    for each in ABOUT["sentences"]:
        kinds.add(each["kind"])
        expected = {key: each[key] for key in ("tool", "args") if key in each}
        assert clip._expected(agent.automaton, each["text"], each["kind"]) == expected
    assert kinds == {"command", "question", "outside", "barge_in", "stop"}
    barge_in = next(at for at, each in enumerate(ABOUT["sentences"]) if each["kind"] == "barge_in")
    gap = ABOUT["sentences"][barge_in]["start_sample"] - ABOUT["sentences"][barge_in - 1]["end_sample"]
    assert gap / clip.HZ < 1.5


def test_the_voice_of_the_clip_is_kept_out_of_training() -> None:
    voices = pytest.importorskip("liveagent.train.voices")
    speech = pytest.importorskip("liveagent.train.speech")
    assert "flite/slt" in voices.HELD_OUT
    assert not {voice for voice in (*speech.SHARE, *voices.NATURAL) if "slt" in voice}


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
def test_the_recipe_makes_it_again(sound: np.ndarray, tmp_path: Path) -> None:
    samples, about = clip.make(clip.SCRIPT[:2])
    assert about["sentences"] == ABOUT["sentences"][:2]
    shipped = sound[: ABOUT["sentences"][1]["end_sample"]]
    made = samples[: len(shipped)].astype(np.float32) / 32768
    speech = slice(ABOUT["sentences"][0]["start_sample"], ABOUT["sentences"][0]["end_sample"])
    assert np.corrcoef(made[speech], shipped[speech])[0, 1] > 0.999  # the room's noise is another length's
    clip.write_flac(tmp_path / "short.flac", samples)
    with av.open(str(tmp_path / "short.flac")) as file:
        again = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert np.array_equal(again, samples)
