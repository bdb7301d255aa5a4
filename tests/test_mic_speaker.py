"""Microphone and loudspeaker through real PortAudio, on a sound card without hardware (tests/pulse.py)."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from liveagent.audio import MAX_GAP_SAMPLES, RATE_HZ, SAMPLE_NS, AudioChunk, Chunker
from liveagent.errors import DeviceError
from liveagent.event import DeviceBack, DeviceLost, SamplesPlayed
from liveagent.ports import portaudio
from liveagent.ports.mic import Mic
from liveagent.ports.speaker import Speaker
from tests.pulse import Pulse, pulse

__all__ = ["pulse"]
CHIRP = (0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 4_000, RATE_HZ)) / RATE_HZ)).astype(np.float32)


def until(done: Callable[[], object], *ears: Ear, limit_s: float = 30) -> None:
    """Wait for it, and let nobody's ring overflow meanwhile."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, "it never happened"
        for ear in ears:
            ear.hear()
        time.sleep(0.02)


def stays(so: Callable[[], object], *ears: Ear, s: float = 1.5) -> None:
    """Wait until it has been so, without a break, for that long: what happens in stages is over."""
    since = time.monotonic()

    def long_enough() -> bool:
        nonlocal since
        if not so():
            since = time.monotonic()
        return time.monotonic() - since > s

    until(long_enough, *ears)


def all_played(speaker: Speaker, reports: list[SamplesPlayed], samples: int) -> bool:
    """Collects its reports; whether they have come to so many samples."""
    reports += speaker.sounded()
    return bool(reports) and reports[-1].samples == samples


class Ear:
    """Reads a microphone, checks the accounts, keeps everything."""

    def __init__(self, mic: Mic) -> None:
        self.mic, self.chunker = mic, Chunker()
        self.chunks: list[AudioChunk] = []

    def hear(self) -> int:
        for chunk in self.mic.read():
            self.chunker.feed(chunk)
            self.chunks.append(chunk)
        return self.chunker.received_samples

    def samples(self) -> np.ndarray:
        parts = [p for c in self.chunks for p in (np.zeros(c.gap_samples, np.float32), c.samples)]
        return np.concatenate([*parts, np.zeros(0, np.float32)])

    def first_ns(self) -> int:
        return self.chunks[0].t_ns - self.chunks[0].gap_samples * SAMPLE_NS


@pytest.fixture
def opened() -> Iterator[Callable[..., Any]]:
    """Starts what it is given and closes it at the end."""
    ports: list[Mic | Speaker] = []

    def start(port: Mic | Speaker) -> Mic | Speaker:
        ports.append(port)
        port.start()
        return port

    yield start
    for port in ports:
        port.close()


def likeness_of(sound: np.ndarray, pattern: np.ndarray) -> float:
    """Tenths of a second of the pattern, each found by itself: the median, since a busy machine may tear one."""
    return float(np.median([found(sound, piece)[1] for piece in pattern.reshape(-1, RATE_HZ // 10)]))


def found(sound: np.ndarray, pattern: np.ndarray) -> tuple[int, float]:
    """Where the pattern is in the sound, and the correlation there."""
    size = 1 << int(np.ceil(np.log2(len(sound) + len(pattern))))
    product = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(pattern, size).conj(), size)
    at = int(np.argmax(product[: len(sound) - len(pattern)]))
    piece = sound[at : at + len(pattern)]
    return at, float(piece @ pattern / np.sqrt((piece @ piece) * (pattern @ pattern) + 1e-12))


@pytest.mark.audio
@pytest.mark.parametrize("own_rate", [False, True], ids=["16 kHz", "the device's own rate, two channels"])
def test_what_is_played_is_heard(
    pulse: Pulse, opened: Callable[..., Any], own_rate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if own_rate:
        sd = portaudio.load()
        for name in ("InputStream", "OutputStream"):
            real = getattr(sd, name)

            def picky(*, samplerate: int, channels: int, real: Any = real, **rest: Any) -> Any:
                if samplerate == RATE_HZ or channels == 1:
                    raise sd.PortAudioError("Invalid sample rate")
                return real(samplerate=samplerate, channels=channels, **rest)

            monkeypatch.setattr(sd, name, picky)
    ear = Ear(opened(Mic("mic")))
    until(ear.hear)
    speaker = opened(Speaker("micfeed", latency_s=0.1))
    until(lambda: speaker._written, ear)
    speaker.play(1, CHIRP, final=True)
    reports: list[SamplesPlayed] = []
    until(lambda: all_played(speaker, reports, len(CHIRP)), ear)
    counts = [r.samples for r in reports]
    assert counts == sorted(counts) and len(counts) > 5 and {r.utterance for r in reports} == {1}
    assert reports[0].t_ns < reports[-1].t_ns < time.monotonic_ns()
    enough = ear.hear() + RATE_HZ
    until(lambda: ear.hear() > enough)
    assert speaker._playlist.device_hz == (44_100 if own_rate else RATE_HZ)
    correlation = likeness_of(ear.samples(), CHIRP)
    print(f"correlation {correlation:.4f}, own rate {own_rate}, xruns {ear.mic.overflows} {speaker.underflows}")
    assert correlation > 0.95
    # The reference is the same sound, where the reports say it was.
    start_ns = reports[-1].t_ns - 3 * RATE_HZ * SAMPLE_NS
    where, likeness = found(speaker.reference(start_ns, 4 * RATE_HZ), CHIRP)
    print(f"reference: likeness {likeness:.4f}, its end {(where - 2 * RATE_HZ) / 16:.1f} ms from where it was reported")
    assert likeness > 0.99 and abs(where - 2 * RATE_HZ) < RATE_HZ // 8
    assert ear.mic.received_samples >= ear.chunker.received_samples


@pytest.mark.audio
def test_stop_and_freeze_count_what_sounded(pulse: Pulse, opened: Callable[..., Any]) -> None:
    ear = Ear(opened(Mic("spkmon")))
    speaker = opened(Speaker("speaker"))
    until(lambda: ear.hear() and speaker._written)
    tone = np.full(20 * RATE_HZ, 0.3, np.float32)
    speaker.play(1, tone, final=True)
    until(speaker.sounded, ear)
    speaker.freeze()
    at_freeze = speaker._written
    until(lambda: speaker._written > at_freeze + 640, ear)  # the ramp is over
    waits = speaker.queued_ms
    until(lambda: not speaker.sounded() and not speaker._handed, ear)
    assert speaker.queued_ms == waits > 0
    speaker.resume()
    until(speaker.sounded, ear)
    played = speaker.stop(1)
    assert 0 < played < len(tone)
    last: list[SamplesPlayed] = []
    until(lambda: all_played(speaker, last, played), ear)
    assert speaker.stop(1) == played and speaker.queued_ms == 0
    enough = ear.hear() + RATE_HZ
    until(lambda: ear.hear() > enough)
    heard = ear.samples()
    assert np.count_nonzero(np.abs(heard) > 0.01) == pytest.approx(played, rel=0.15)
    assert not np.abs(heard[-RATE_HZ // 4 :]).max() > 0.01


@pytest.mark.audio
def test_unplugged_and_plugged_in_again(pulse: Pulse, opened: Callable[..., Any]) -> None:
    events: list[DeviceLost | DeviceBack] = []
    ear = Ear(opened(Mic("mic", on_event=events.append)))
    speaker = opened(Speaker("speaker", on_event=events.append))
    until(lambda: ear.hear() and speaker._written)
    with pulse.unplugged():
        stays(lambda: ear.mic.lost and speaker.lost, ear)
        assert {e.device for e in events if isinstance(e, DeviceLost)} == {"mic", "speaker"}
        before = len(events)
        speaker.play(1, CHIRP, final=True)
        received, gaps = ear.hear(), ear.chunker.gap_samples
        until(lambda: ear.chunker.gap_samples > gaps + RATE_HZ // 2, ear)  # the clock goes on
        assert ear.chunker.received_samples == received and not speaker.sounded()
        assert len(events) == before and ear.mic.lost and speaker.lost
    until(lambda: {e.device for e in events[before:] if isinstance(e, DeviceBack)} == {"mic", "speaker"}, ear)
    until(lambda: ear.hear() > received + RATE_HZ // 2)
    reports: list[SamplesPlayed] = []
    until(lambda: all_played(speaker, reports, len(CHIRP)), ear)
    # The gap is as long as the silence was: by count, the last chunk is where its own time says.
    assert abs(ear.chunker.drift_ns) < 700_000_000
    assert ear.mic.gap_samples >= ear.chunker.gap_samples


@pytest.mark.audio
def test_a_microphone_that_falls_silent_is_lost_too(pulse: Pulse, opened: Callable[..., Any]) -> None:
    events: list[DeviceLost | DeviceBack] = []
    ear = Ear(opened(Mic("mic", on_event=events.append)))
    until(ear.hear)
    with pulse.silent():
        until(lambda: events)
        assert isinstance(events[0], DeviceLost) and "silent" in events[0].message
    until(lambda: any(isinstance(e, DeviceBack) for e in events))
    received = ear.hear()
    until(lambda: ear.hear() > received + 1_000)
    assert ear.chunker.gap_samples > 0


@pytest.mark.slow
def test_a_stream_that_ends_after_its_first_blocks_is_not_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """PortAudio fills a stream's buffer before it finds out that the device is gone."""
    monkeypatch.setattr(portaudio, "RETRY_S", (0.05,))
    told: list[str] = []
    streams: list[SimpleNamespace] = []
    keeper: portaudio.StreamKeeper

    def open_one() -> SimpleNamespace:
        streams.append(SimpleNamespace(active=True, abort=lambda **_: None, close=lambda **_: None))
        keeper.beat()
        return streams[-1]

    keeper = portaudio.StreamKeeper(
        open_one, lambda: True, lambda message: told.append("lost"), lambda: told.append("back")
    )
    keeper.start()
    try:
        for count in (1, 2, 3):
            until(lambda n=count: len(streams) == n)  # type: ignore[misc]
            keeper.beat()
            assert told == ["lost"] * (count > 1) and keeper.lost == (count > 1)
            streams[-1].active = False
        until(lambda: len(streams) == 4)
        until(lambda: keeper.beat() or "back" in told)  # type: ignore[func-returns-value]
        assert told == ["lost", "back"] and not keeper.lost
    finally:
        keeper.close()


def test_words_wait_while_a_stream_is_on_trial() -> None:
    speaker = Speaker()
    speaker.play(1, CHIRP, final=True)
    speaker._keeper = SimpleNamespace(lost=True, beat=lambda: None)  # type: ignore[assignment]
    when, block = SimpleNamespace(currentTime=0.0, outputBufferDacTime=0.0), np.zeros((320, 1), np.float32)

    def blocks() -> None:
        for _ in range(4):
            speaker._first_ns = speaker._last_ns = time.monotonic_ns() - 10**9
            speaker._speak(RATE_HZ, block, 320, when, SimpleNamespace(output_underflow=False))

    blocks()
    assert speaker.queued_ms == 1_000 and not block.any()
    speaker._keeper.lost = False  # type: ignore[union-attr]
    blocks()
    assert speaker.queued_ms == 1_000 - 4 * 20


@pytest.mark.audio
def test_what_nobody_reads_becomes_a_marked_gap(pulse: Pulse, opened: Callable[..., Any]) -> None:
    mic = opened(Mic("mic", ring_ms=100))
    until(lambda: mic.gap_samples > RATE_HZ // 2)
    ear = Ear(mic)
    first = ear.hear()
    assert 0 < first <= RATE_HZ // 10
    until(lambda: ear.hear() > first)
    gaps = [c.gap_samples for c in ear.chunks if c.gap_samples]
    assert gaps and gaps[0] > RATE_HZ // 4
    assert abs(ear.chunker.drift_ns) < 300_000_000


@pytest.mark.audio
def test_async_for(pulse: Pulse) -> None:
    async def main() -> list[AudioChunk]:
        mic = Mic("mic")
        mic.start()
        chunks = []
        async for chunk in mic:
            chunks.append(chunk)
            if len(chunks) == 10:
                mic.close()
        return chunks

    chunks = asyncio.run(main())
    assert len(chunks) >= 10 and all(c.t_ns > 0 for c in chunks)

    async def brief() -> Mic:
        mic = Mic("mic")
        async with aclosing(mic.chunks()) as chunks:
            async for _ in chunks:
                return mic
        raise AssertionError("it ended")

    assert asyncio.run(brief())._keeper is None
    with pytest.raises(DeviceError):
        Mic("nowhere").chunks()


@pytest.mark.audio
def test_devices_that_are_not_there(pulse: Pulse) -> None:
    for port in (Mic("nowhere"), Speaker("nowhere")):
        with pytest.raises(DeviceError, match="called 'nowhere'; there are: .*pulse"):
            port.start()
        assert not port.probe().ok and port.probe().fix
    assert Mic("mic").probe().ok and Speaker("speaker").probe().ok


@pytest.mark.parametrize("port", [Mic(), Speaker()], ids=["mic", "speaker"])
def test_without_portaudio(port: Mic | Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(DeviceError, match="apt install libportaudio2"):
        port.start()
    assert "libportaudio2" in port.probe().fix


def hear(
    mic: Mic, frames: int, age_s: float = 0.0, overflow: bool = False, hz: int = RATE_HZ, channels: int = 1
) -> None:
    """One callback, as PortAudio would make it."""
    when = SimpleNamespace(currentTime=100.0, inputBufferAdcTime=100.0 - age_s)
    mic._hear(hz, np.full((frames, channels), 0.5, np.float32), frames, when, SimpleNamespace(input_overflow=overflow))


def test_an_overflow_is_a_gap() -> None:
    mic = Mic()
    hear(mic, 320)
    assert mic._end_ns is not None
    mic._end_ns -= 10**9 // 2
    hear(mic, 320, overflow=True)  # the clock says that about half a second is missing
    mic._end_ns += 10**9
    hear(mic, 320, overflow=True)  # the clock says nothing
    hear(mic, 320)
    gaps = [c.gap_samples for c in mic.read()]
    assert gaps[0] == 0 and abs(gaps[1] - (RATE_HZ // 2 - 320)) < 2_000 and gaps[2:] == [320, 0]
    assert mic.overflows == 2 and mic.received_samples == 4 * 320 and mic.gap_samples == sum(gaps)


def test_an_impossible_device_clock_is_not_believed() -> None:
    mic = Mic()
    before = time.monotonic_ns()
    hear(mic, 320, age_s=-5)
    hear(mic, 320, age_s=1e9)
    assert all(before - 10**9 // 8 < c.t_ns <= time.monotonic_ns() for c in mic.read())


def test_other_rates_and_channels_are_resampled_and_a_gap_stays_in_its_place() -> None:
    mic, chunker = Mic(ring_ms=10_000), Chunker()
    for i in range(50):
        hear(mic, 882, hz=44_100, channels=2, overflow=i == 25)
    chunks = mic.read()
    for chunk in chunks:
        chunker.feed(chunk)
    assert mic.received_samples == 50 * 320
    assert chunker.received_samples == pytest.approx(50 * 320, abs=40)  # what the filter holds back
    assert chunker.gap_samples == mic.gap_samples >= 320
    (at,) = [i for i, c in enumerate(chunks) if c.gap_samples]
    assert sum(len(c.samples) for c in chunks[:at]) == 25 * 320
    assert np.abs(np.concatenate([c.samples for c in chunks])[500:7_000] - 0.5).max() < 0.01


def test_a_long_absence_is_many_gaps_of_a_minute() -> None:
    mic = Mic()
    hear(mic, 320)
    mic._end_ns = time.monotonic_ns() - 150 * 10**9
    mic._on_absent()
    mic._on_absent()
    chunks = mic.read()
    assert [c.gap_samples for c in chunks][1:3] == [MAX_GAP_SAMPLES] * 2 and len(chunks) == 4
    assert sum(c.gap_samples for c in chunks) == mic.gap_samples == pytest.approx(150 * RATE_HZ, abs=RATE_HZ)
