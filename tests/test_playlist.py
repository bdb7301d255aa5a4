"""What waits for the loudspeaker, and the loudspeaker that is none: counted, held, ducked, thrown away."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liveagent.audio import RATE_HZ, TICK_NS, TICK_SAMPLES, Samples
from liveagent.errors import DeviceError
from liveagent.event import SamplesPlayed
from liveagent.playlist import CAPACITY_MS, RAMP_MS, Playlist, Taken
from liveagent.ports.nullspeaker import NullSpeaker

RAMP = RAMP_MS * RATE_HZ // 1_000


def ones(n: int) -> Samples:
    return np.ones(n, np.float32)


def drain(playlist: Playlist, block: int = 320, blocks: int = 400) -> tuple[np.ndarray, list[Taken]]:
    out, taken = [], []
    for _ in range(blocks):
        samples, parts = playlist.take(block)
        out.append(samples)
        taken += parts
    return np.concatenate(out), taken


@given(st.lists(st.integers(0, 900), min_size=1, max_size=6), st.sampled_from([16_000, 44_100, 48_000]))
def test_every_sample_is_played_once_and_counted(sizes: list[int], device_hz: int) -> None:
    playlist = Playlist(RATE_HZ, device_hz)
    for i, n in enumerate(sizes):
        playlist.feed(7, ones(n), final=i == len(sizes) - 1)
    out, taken = drain(playlist, block=480)
    total = sum(sizes)
    assert taken[-1].done and taken[-1].played_samples == total
    played = [t.played_samples for t in taken]
    assert played == sorted(played) and sum(t.done for t in taken) == 1
    if device_hz == RATE_HZ:
        assert np.array_equal(out[:total], ones(total)) and not out[total:].any()
    assert playlist.queued_samples == 0 and playlist.sounding is None


def test_utterances_play_one_after_the_other_in_one_block() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(100), final=True)
    playlist.feed(2, ones(100) / np.float32(2), final=True)
    out, taken = playlist.take(320)
    assert out[99] == 1 and out[100] == 0.5 and out[199] == 0.5 and out[200] == 0
    assert [(t.utterance, t.played_samples, t.before, t.done) for t in taken] == [
        (1, 100, 100, True),
        (2, 100, 200, True),
    ]


def test_a_pause_of_the_voice_is_silence_and_not_the_end() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(100))
    _, first = playlist.take(320)
    _, second = playlist.take(320)
    playlist.feed(1, ones(50), final=True)
    _, third = playlist.take(320)
    assert [(t.played_samples, t.done) for t in first + second + third] == [(100, False), (150, True)]


def test_frozen_loses_nothing_and_goes_on_with_the_next_sample() -> None:
    playlist = Playlist()
    ramp = np.arange(1, 2_001, dtype=np.float32)
    playlist.feed(1, ramp, final=True)
    before, _ = playlist.take(320)
    playlist.freeze()
    held, taken = drain(playlist, blocks=5)
    assert taken[-1].played_samples == 320 + RAMP - 1 and not held[RAMP:].any()
    assert playlist.queued_samples == 2_000 - 320 - (RAMP - 1)
    playlist.resume()
    after, taken = drain(playlist, blocks=10)
    assert after[RAMP] == 320 + RAMP - 1 + RAMP + 1 and taken[-1].played_samples == 2_000
    assert np.array_equal(before, ramp[:320])


def test_ducked_is_quieter_without_a_click_and_ends_with_the_utterance() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(1_000), final=True)
    playlist.duck(-20)
    out, _ = playlist.take(1_000)
    assert out[RAMP + 5] == pytest.approx(0.1, abs=1e-4) and np.abs(np.diff(out)).max() < 0.02
    playlist.feed(2, ones(1_000), final=True)
    out, _ = playlist.take(1_000)
    assert out[-1] == 1


def test_stop_answers_at_once_how_much_will_have_sounded() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(2_000))
    playlist.feed(2, ones(500), final=True)
    playlist.take(320)
    assert playlist.stop(1) == 320 + RAMP
    playlist.feed(1, ones(500))  # a late piece of what was stopped
    out, taken = playlist.take(1_000)
    assert [(t.utterance, t.played_samples, t.done) for t in taken] == [(1, 320 + RAMP, True), (2, 500, True)]
    assert out[RAMP] == 1 and np.abs(np.diff(out[:RAMP])).max() < 0.02  # faded, then the next
    assert playlist.stop(3) is None


def test_stop_while_frozen_plays_nothing_more_and_lets_the_next_one_speak() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(2_000), final=True)
    playlist.take(320)
    playlist.freeze()
    playlist.take(320)
    assert playlist.stop(1) == 320 + RAMP - 1
    out, _ = playlist.take(320)
    assert not out.any()
    playlist.feed(2, ones(2_000), final=True)
    out, _ = playlist.take(320)
    assert out[0] == 1


@given(st.integers(1, 5), st.booleans())
def test_what_was_taken_and_never_sounded_is_played_again(blocks: int, final: bool) -> None:
    playlist = Playlist()
    whole = np.arange(1, 1_001, dtype=np.float32)
    playlist.feed(1, whole, final=True)
    playlist.feed(2, ones(100), final=final)
    playlist.take(320)
    lost = [part for _ in range(blocks) for part in playlist.take(320)[1]]
    playlist.unread(lost)
    out, taken = drain(playlist, blocks=8)
    assert np.array_equal(out[:680], whole[320:]) and np.array_equal(out[680:780], ones(100))
    assert [t.played_samples for t in taken if t.utterance == 1][-1] == 1_000
    assert [t.played_samples for t in taken if t.utterance == 2][-1] == 100


def test_another_device_plays_on() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(3_200), final=True)
    playlist.take(1_600)
    playlist.set_device(48_000)
    out, taken = drain(playlist, block=480, blocks=20)
    assert np.count_nonzero(np.abs(out - 1) < 0.01) == pytest.approx(4_800, abs=120)
    assert taken[-1].played_samples == 3_200 and taken[-1].done


def test_it_is_bounded() -> None:
    playlist = Playlist()
    playlist.feed(1, ones(CAPACITY_MS * RATE_HZ // 1_000))
    with pytest.raises(DeviceError, match="say less"):
        playlist.feed(1, ones(1))


def test_no_loudspeaker_plays_at_the_pace_of_the_ticks() -> None:
    speaker = NullSpeaker()
    assert speaker.sounded(0) == []
    speaker.play(1, ones(2_000), final=True)
    assert speaker.sounded(TICK_NS) == [SamplesPlayed(TICK_NS, 1, TICK_SAMPLES)]
    speaker.freeze()
    frozen = speaker.sounded(2 * TICK_NS)[-1].samples
    assert frozen == TICK_SAMPLES + RAMP - 1 and speaker.sounded(3 * TICK_NS) == []
    speaker.resume()
    (report,) = speaker.sounded(4 * TICK_NS)
    assert report.samples == 2_000 and 3 * TICK_NS < report.t_ns < 4 * TICK_NS
    assert speaker.stop(1) == 2_000 and not speaker.reference(0).any() and speaker.probe().ok
    speaker.play(2, ones(5_000))
    speaker.sounded(5 * TICK_NS)
    assert speaker.stop(2) == TICK_SAMPLES + RAMP
    assert speaker.sounded(6 * TICK_NS)[-1].samples == TICK_SAMPLES + RAMP
