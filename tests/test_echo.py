"""The echo gate: streaming laws, and what it does to an echo, to a person, and to both at once.

Speech is imitated by noise that comes in syllables; real voices, the real VAD and the real rules are `bench echo`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.audio import RATE_HZ, Samples
from liveagent.echo import BLOCK_SAMPLES, DELAY_SAMPLES, Cleaned, Echo, EchoState

SECOND = RATE_HZ


def _speech(seconds: float, seed: int, level: float = 0.1) -> Samples:
    """Noise coloured and broken like speech: syllables of about 5 a second."""
    rng = np.random.default_rng(seed)
    n = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    hz = np.fft.rfftfreq(n, 1 / RATE_HZ)
    wave = np.fft.irfft(spectrum * (hz > 120) / (1 + (hz / 600) ** 1.5), n)
    t = np.arange(n) / RATE_HZ
    envelope = np.clip(np.sin(2 * np.pi * 2.5 * t + rng.uniform(0, 6)) + 0.3 * np.sin(2 * np.pi * 0.9 * t), 0, 1)
    wave *= envelope
    return (wave * level / np.sqrt(np.mean(wave**2))).astype(np.float32)


def _room(reference: Samples, late_ms: float, gain_db: float, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    taps = int(0.15 * RATE_HZ)
    response = rng.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / (0.2 * RATE_HZ)) * 0.2
    response[0] = 1.0
    response *= 10 ** (gain_db / 20) / np.sqrt(np.sum(response**2))
    full = np.concatenate([np.zeros(int(late_ms * RATE_HZ / 1000)), response])
    size = len(reference) + len(full)
    echo = np.fft.irfft(np.fft.rfft(reference, size) * np.fft.rfft(full, size), size)[: len(reference)]
    return (echo + rng.standard_normal(len(reference)) * 3e-4).astype(np.float32)


def _run(echo: Echo, mic: Samples, reference: Samples, state: EchoState | None = None, step: int = 1280) -> Cleaned:
    state = echo.init_state() if state is None else state
    parts = [echo.feed(mic[i : i + step], reference[i : i + step], state) for i in range(0, len(mic), step)]
    return Cleaned(
        np.concatenate([p.samples for p in parts]),
        np.concatenate([p.echo_ratio for p in parts]),
        np.concatenate([p.near_end for p in parts]),
    )


def _db(samples: Samples) -> float:
    return float(10 * np.log10(np.mean(samples.astype(np.float64) ** 2) + 1e-12))


def test_without_a_loudspeaker_the_microphone_passes_bit_for_bit() -> None:
    mic = _speech(1.0, 1)
    cleaned = _run(Echo(), mic, np.zeros_like(mic))
    whole = len(mic) // BLOCK_SAMPLES * BLOCK_SAMPLES
    assert np.array_equal(cleaned.samples[DELAY_SAMPLES:], mic[: whole - DELAY_SAMPLES])
    assert not cleaned.samples[:DELAY_SAMPLES].any()
    assert cleaned.near_end.all() and not cleaned.echo_ratio.any()


@pytest.fixture(scope="module")
def conversation() -> tuple[Samples, Samples]:
    """A reply, somebody speaking into it, a gap, and a second reply."""
    reference = np.concatenate([_speech(1.2, 2), np.zeros(SECOND, np.float32), _speech(0.5, 3)])
    mic = _room(reference, 60, -15)
    mic[12_000:16_000] += _speech(0.25, 4)
    return mic, reference


@settings(max_examples=6, deadline=None)
@given(cuts=st.lists(st.integers(0, 43_000), max_size=12), clone=st.integers(0, 11))
def test_any_cutting_is_the_same_and_a_clone_goes_on_identically(
    conversation: tuple[Samples, Samples], cuts: list[int], clone: int
) -> None:
    mic, reference = conversation
    echo = Echo()
    whole = echo.feed(mic, reference, echo.init_state())
    state = echo.init_state()
    edges = [0, *sorted(cuts), len(mic)]
    found: list[Samples] = []
    ratios: list[float] = []
    for i, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        if i == clone:
            other = state.copy()
            echo.feed(_speech(0.3, 9), _speech(0.3, 10), state)  # what happens to the old state is not the clone's
            state = other
        part = echo.feed(mic[low:high], reference[low:high], state)
        found.append(part.samples)
        ratios += part.echo_ratio.tolist()
    assert np.array_equal(np.concatenate(found), whole.samples)
    assert ratios == whole.echo_ratio.tolist()


def test_the_state_never_grows() -> None:
    echo, state = Echo(), Echo().init_state()

    def size() -> int:
        return sum(getattr(state, f.name).nbytes for f in dataclasses.fields(state))

    empty = size()
    rng = np.random.default_rng(0)
    mic, reference = _speech(1.0, 14), _speech(1.0, 15)
    for n in rng.integers(0, 900, 60):
        echo.feed(mic[:n], reference[:n], state)
        assert size() < empty + 2 * 4 * BLOCK_SAMPLES


@pytest.mark.parametrize("late_ms", [0, 60, 137, 380])
def test_an_echo_is_taken_out_from_its_first_word_on(late_ms: int) -> None:
    reference = _speech(5.0, 5)
    mic = _room(reference, late_ms, -15)
    cleaned = _run(Echo(), mic, reference)
    first = slice(late_ms * 16, late_ms * 16 + SECOND // 2)
    assert _db(cleaned.samples[first]) < _db(mic[first]) - 15
    assert _db(cleaned.samples[3 * SECOND :]) < _db(mic[3 * SECOND :]) - 25
    heard = np.array([_db(mic[i * 256 : (i + 1) * 256]) > -55 for i in range(len(cleaned.near_end))])
    assert cleaned.near_end[heard].mean() < 0.05


@pytest.mark.parametrize("learned", [False, True])
def test_a_person_at_normal_level_comes_through(learned: bool) -> None:
    reference = _speech(6.0, 6)
    person = np.zeros_like(reference)
    at = 4 * SECOND if learned else SECOND // 4
    person[at : at + SECOND] = _speech(1.0, 7)
    mic = _room(reference, 60, -15) + person
    cleaned = _run(Echo(), mic, reference)
    got = cleaned.samples[at + DELAY_SAMPLES : at + SECOND + DELAY_SAMPLES]
    want = person[at : at + SECOND]
    assert _db(got) > _db(want) - (1 if learned else 6)  # what nobody knows yet is paid for
    assert np.corrcoef(got, want)[0, 1] > (0.95 if learned else 0.8)
    loud = np.abs(want).reshape(-1, 250).max(axis=1).repeat(250)[: len(want) // 256 * 256 : 256] > 0.05
    near = cleaned.near_end[at // 256 + 1 : at // 256 + 1 + len(loud)]
    assert near[loud[: len(near)]].mean() > (0.9 if learned else 0.6)


def test_a_room_that_changes_is_learned_again() -> None:
    reference = _speech(10.0, 8)
    mic = np.concatenate(
        [_room(reference, 60, -15, seed=1)[: 4 * SECOND], _room(reference, 150, -12, seed=2)[4 * SECOND :]]
    )
    cleaned = _run(Echo(), mic, reference)
    assert _db(cleaned.samples[8 * SECOND :]) < _db(mic[8 * SECOND :]) - 20


def test_after_the_reply_the_microphone_passes_untouched_again() -> None:
    reference = np.concatenate([_speech(1.0, 11), np.zeros(2 * SECOND, np.float32)])
    mic = _room(reference, 60, -15)
    mic[2 * SECOND :] = _speech(1.0, 12)
    cleaned = _run(Echo(), mic, reference)
    at = slice(int(2.2 * SECOND), int(2.9 * SECOND))
    late = slice(at.start + DELAY_SAMPLES, at.stop + DELAY_SAMPLES)
    assert np.array_equal(cleaned.samples[late], mic[at])


def test_hostile_samples_do_no_lasting_harm() -> None:
    reference = _speech(5.0, 13)
    mic = _room(reference, 60, -15)
    for array, at in ((mic, 8000), (reference, 9000)):
        array[at : at + 3] = (np.nan, np.inf, -np.inf)
    mic[20_000:20_400] = 30.0
    cleaned = _run(Echo(), mic, reference)
    assert np.isfinite(cleaned.samples).all()
    assert _db(cleaned.samples[4 * SECOND :]) < _db(mic[4 * SECOND :]) - 20
