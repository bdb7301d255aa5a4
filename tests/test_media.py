"""Files of every kind and every breakage: each gives its sound, a typed error, or what was before the damage."""

from __future__ import annotations

import asyncio
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_SAMPLES, Chunker
from liveagent.errors import ConfigError, LinkError
from liveagent.ports import media as media_module
from liveagent.ports.media import MediaFile, write_wav

HZ = 440.0


def make(
    path: Path, codec: str, rate_hz: int = 48_000, layout: str = "mono", seconds: float = 2.0, level: float = 0.3
) -> Path:
    """A tone in every channel, written by FFmpeg."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate_hz, layout=layout)
        n = int(rate_hz * seconds)
        tone = level * np.sin(2 * np.pi * HZ * np.arange(n) / rate_hz)
        channels = len(av.AudioLayout(layout).channels)
        sound = np.repeat(tone.astype(np.float32)[None], channels, axis=0)
        for at in range(0, n, 960):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[:, at : at + 960]), "fltp", layout)
            frame.sample_rate = rate_hz
            frame.pts = at
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pitch(samples: np.ndarray) -> float:
    middle = samples[len(samples) // 4 : -len(samples) // 4]
    return float(np.argmax(np.abs(np.fft.rfft(middle * np.hanning(len(middle))))) * RATE_HZ / len(middle))


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "layout"),
    [
        ("a.wav", "pcm_s16le", 8_000, "mono"),
        ("a.wav", "pcm_f32le", 96_000, "stereo"),
        ("a.wav", "pcm_s24le", 44_100, "5.1"),
        ("a.flac", "flac", 48_000, "5.1"),
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.ogg", "libopus", 48_000, "mono"),
        ("a.m4a", "aac", 16_000, "mono"),
        ("a.mkv", "libopus", 48_000, "stereo"),
    ],
)
def test_every_kind_becomes_16_khz_mono(tmp_path: Path, name: str, codec: str, rate_hz: int, layout: str) -> None:
    media = MediaFile(make(tmp_path / name, codec, rate_hz, layout), start_ns=5)
    chunker, at = Chunker(), 0
    for chunk in media:
        assert chunk.t_ns == 5 + at * SAMPLE_NS and chunk.gap_samples == 0 and chunk.source == name
        assert 0 < len(chunk.samples) <= TICK_SAMPLES
        chunker.feed(chunk)
        at += len(chunk.samples)
    assert media.damage is None and media.missing_samples == 0
    assert at == pytest.approx(2 * RATE_HZ, abs=2_500) and chunker.received_samples == at
    sound = media.read()  # once more, from its start
    assert len(sound) == at and abs(pitch(sound) - HZ) < 3
    # Six channels are mixed down by FFmpeg's own rule; none may clip or vanish.
    assert 0.05 < np.abs(sound[2_000:-2_000]).max() <= 1.0


def test_a_silent_file_is_silence(tmp_path: Path) -> None:
    sound = MediaFile(make(tmp_path / "a.flac", "flac", level=0.0)).read()
    assert len(sound) == pytest.approx(2 * RATE_HZ, abs=10) and not sound.any()


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
def test_a_truncated_file_gives_what_it_has_and_marks_the_rest(tmp_path: Path, codec: str) -> None:
    path = cut(make(tmp_path / ("a.wav" if codec == "pcm_s16le" else "a.flac"), codec, seconds=4), 0.5)
    media = MediaFile(path)
    chunks = list(media)
    got = sum(len(c.samples) for c in chunks)
    assert got == pytest.approx(2 * RATE_HZ, rel=0.3)
    assert abs(pitch(np.concatenate([c.samples for c in chunks])) - HZ) < 3
    gap = sum(c.gap_samples for c in chunks)
    assert media.damage is not None and ("cut off after" in media.damage or "damaged" in media.damage)
    assert gap == media.missing_samples and got + gap == pytest.approx(4 * RATE_HZ, abs=200)


def test_damage_in_the_middle_is_a_gap_of_the_right_length(tmp_path: Path) -> None:
    path = make(tmp_path / "a.flac", "flac", seconds=6)
    data = bytearray(path.read_bytes())
    a, b = int(len(data) * 0.4), int(len(data) * 0.5)
    data[a:b] = np.random.default_rng(3).integers(0, 256, b - a, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    media = MediaFile(path)
    chunks = list(media)
    assert media.damage is not None and "damaged after" in media.damage
    total = sum(len(c.samples) + c.gap_samples for c in chunks)
    assert total == pytest.approx(6 * RATE_HZ, abs=RATE_HZ)
    assert any(c.gap_samples for c in chunks)
    assert all(np.isfinite(c.samples).all() and np.abs(c.samples).max(initial=0) <= 1 for c in chunks)


def test_a_file_that_claims_a_year_gets_ten_minutes_of_gap_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cut(make(tmp_path / "a.flac", "flac", seconds=4), 0.5)
    monkeypatch.setattr(media_module, "MOST_MISSING_SAMPLES", 1_000)
    media = MediaFile(path)
    assert sum(c.gap_samples for c in media) <= 1_000 < media.missing_samples


@pytest.mark.parametrize("extension", ["wav", "mp3", "ogg", "mp4", "flac"])
@pytest.mark.parametrize("seed", range(3))
def test_noise_is_no_media(tmp_path: Path, extension: str, seed: int) -> None:
    path = tmp_path / f"a.{extension}"
    path.write_bytes(np.random.default_rng(seed).integers(0, 256, 20_000, dtype=np.uint8).tobytes())
    with pytest.raises(ConfigError, match="choose another file"):
        list(MediaFile(path))


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a"])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.97])
def test_cut_anywhere_it_is_sound_or_a_typed_error(tmp_path: Path, name: str, share: float) -> None:
    codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac"}[name[2:]]
    media = MediaFile(cut(make(tmp_path / name, codec), share))
    try:
        sound = media.read()
    except ConfigError as error:
        assert "choose" in str(error)
        assert not media.probe().ok
    else:
        assert len(sound) and np.isfinite(sound).all()


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "a.m4a"])
@pytest.mark.parametrize("seed", range(4))
def test_bytes_changed_anywhere_it_is_sound_or_a_typed_error(tmp_path: Path, name: str, seed: int) -> None:
    codec = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "m4a": "aac"}[name[2:]]
    path = make(tmp_path / name, codec, seconds=1)
    random = np.random.default_rng(seed)
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    data[random.integers(0, len(data), 1 + len(data) // 50)] = random.integers(0, 256, 1 + len(data) // 50)
    data[: 64 * (seed % 2)] ^= 1 << seed  # every other time the header too
    path.write_bytes(data.tobytes())
    media = MediaFile(path)
    try:
        sound = media.read()
    except ConfigError as error:
        assert "choose" in str(error)
    else:
        assert np.isfinite(sound).all() and np.abs(sound).max(initial=0) <= 1
        assert len(sound) <= RATE_HZ * 3_600


def test_files_without_sound(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    with pytest.raises(ConfigError, match="is empty"):
        list(MediaFile(empty))
    with pytest.raises(ConfigError, match="does not exist"):
        list(MediaFile(tmp_path / "nothing.wav"))
    with pytest.raises(ConfigError, match="is not a file"):
        list(MediaFile(tmp_path))
    write_wav(tmp_path / "none.wav", np.zeros(0, np.float32))
    with pytest.raises(ConfigError, match="no sound at all|cannot be read"):
        list(MediaFile(tmp_path / "none.wav"))
    with av.open(str(tmp_path / "video.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    with pytest.raises(ConfigError, match="no sound in it"):
        list(MediaFile(tmp_path / "video.mp4"))


class _Serve(http.server.SimpleHTTPRequestHandler):
    """One file, or one that stops in the middle while the line stays open."""

    body = b""
    stall = threading.Event()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        if self.path.startswith("/stall"):
            self.wfile.write(self.body[: len(self.body) // 2])
            self.wfile.flush()
            self.stall.wait(20)
            return
        self.wfile.write(self.body)

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    _Serve.body = make(tmp_path / "a.mp3", "libmp3lame", seconds=20).read_bytes()
    _Serve.stall.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Serve)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    _Serve.stall.set()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_address(address: str) -> None:
    assert abs(pitch(MediaFile(f"{address}/a.mp3").read()) - HZ) < 3


@pytest.mark.slow
def test_an_address_that_stops_in_the_middle(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_module, "TIMEOUT_S", 1.0)
    got = 0
    with pytest.raises(LinkError, match="try again"):
        for chunk in MediaFile(f"{address}/stall.mp3"):
            got += len(chunk.samples)
    assert got > RATE_HZ


def test_an_address_that_is_not_there() -> None:
    with pytest.raises(LinkError, match="try again"):
        list(MediaFile("http://127.0.0.1:1/a.mp3"))


def test_async_and_left_early(tmp_path: Path) -> None:
    path = make(tmp_path / "a.flac", "flac")

    async def main() -> tuple[int, int]:
        whole = sum([len(c.samples) async for c in MediaFile(path, real_time=False)])
        few = 0
        async for chunk in MediaFile(path):  # at its own pace
            few += len(chunk.samples)
            if few >= 3 * TICK_SAMPLES:
                break
        return whole, few

    whole, few = asyncio.run(main())
    assert whole == pytest.approx(2 * RATE_HZ, abs=10) and few == 3 * TICK_SAMPLES


def test_a_wav_comes_back_as_it_was(tmp_path: Path) -> None:
    sound = np.clip(np.random.default_rng(5).standard_normal(10_000) * 0.3, -1, 1).astype(np.float32)
    write_wav(tmp_path / "a.wav", sound)
    assert np.abs(MediaFile(tmp_path / "a.wav").read() - sound).max() < 1 / 16_000
    write_wav(tmp_path / "b.wav", np.array([np.nan, np.inf, -2.0, 0.5], np.float32))
    assert MediaFile(tmp_path / "b.wav").read() == pytest.approx([0, 1, -1, 0.5], abs=1e-3)
    with pytest.raises(ConfigError, match="choose another place"):
        write_wav(tmp_path / "no" / "a.wav", sound)
