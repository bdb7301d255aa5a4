"""Films: sound and pictures on one time axis, whichever of the two is there, and in whatever state."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from liveagent.audio import RATE_HZ, SAMPLE_NS, TICK_NS, AudioChunk, Chunker
from liveagent.errors import ConfigError, DeviceError, LinkError
from liveagent.ports.film import Film
from liveagent.ports.media import write_wav
from liveagent.video import VideoFrame
from tests.films import film, halves, noisy
from tests.test_picture import png_header

FLASH_S = (0.4, 1.2, 1.6)
TIMES = [i / 25 for i in range(50)]


def beeps(seconds: float, at_s: tuple[float, ...] = FLASH_S) -> np.ndarray:
    sound = np.zeros(round(seconds * RATE_HZ), np.float32)
    for at in at_s:
        first = round(at * RATE_HZ)
        part = sound[first : first + 800]
        part[:] = 0.5 * np.sin(np.arange(len(part)) * 0.4)
    return sound


def flash(i: int) -> np.ndarray:
    """White for 40 ms at each beep."""
    lit = any(abs(TIMES[i] - at) < 0.001 for at in FLASH_S)
    return noisy(halves((250,) * 3, (250,) * 3) if lit else halves((20,) * 3, (20,) * 3), i)


def parts(items: list[AudioChunk | VideoFrame]) -> tuple[list[AudioChunk], list[VideoFrame]]:
    return [i for i in items if isinstance(i, AudioChunk)], [i for i in items if isinstance(i, VideoFrame)]


def check_order(items: list[AudioChunk | VideoFrame], start_ns: int = 0) -> int:
    """Sound without holes from `start_ns`, each picture before the chunk in whose time it was taken; its end."""
    end_ns, last_ns = start_ns, start_ns - 1
    for item in items:
        if isinstance(item, AudioChunk):
            assert item.t_ns - item.gap_samples * SAMPLE_NS == end_ns
            end_ns = item.t_ns + len(item.samples) * SAMPLE_NS
        else:
            assert end_ns <= item.t_ns < end_ns + TICK_NS and item.t_ns > last_ns
            last_ns = item.t_ns
    return end_ns


@pytest.mark.parametrize("sound_at_s", [0.0, 0.5])
def test_sound_and_pictures_meet_on_one_axis(tmp_path: Path, sound_at_s: float) -> None:
    sound = beeps(2 - sound_at_s, tuple(at - sound_at_s for at in FLASH_S if at >= sound_at_s))
    path = film(tmp_path / "a.mkv", TIMES, flash, sound=sound, sound_at_s=sound_at_s)
    whole = Film(path, fps=25, size_px=16, start_ns=77)
    items = list(whole)
    chunks, frames = parts(items)
    assert check_order(items, 77) == pytest.approx(77 + 2e9, abs=TICK_NS)
    assert len(frames) == 50 and whole.damage is None and whole.mended_times == 0
    heard = np.concatenate([part for c in chunks for part in (np.zeros(c.gap_samples, np.float32), c.samples)])
    loud = np.flatnonzero(np.abs(heard) > 0.1) / RATE_HZ
    for at in FLASH_S:
        seen = [(f.t_ns - 77) / 1e9 for f in frames if f.pixels[5:11].mean() > 128]
        assert min(abs(each - at) for each in seen) < 0.005
        if at >= sound_at_s:
            assert loud[loud >= at - 0.01][0] == pytest.approx(at, abs=0.01)


def test_what_is_not_looked_at_is_counted(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", TIMES, flash, sound=beeps(2))
    frames = parts(list(Film(path, fps=5, size_px=16)))[1]
    assert 9 <= len(frames) <= 11 and sum(1 + f.dropped for f in frames) >= 46
    assert all(b.t_ns - a.t_ns >= 160_000_000 for a, b in pairwise(frames))


def test_pictures_alone_have_silence_for_a_clock(tmp_path: Path) -> None:
    whole = Film(film(tmp_path / "a.mp4", [0.0, 0.5, 1.1], lambda i: noisy(halves(), i)), size_px=16)
    items = list(whole)
    chunks, frames = parts(items)
    assert check_order(items) == 14 * TICK_NS
    assert not any(c.samples.any() for c in chunks) and all(c.source == "a.mp4" for c in chunks)
    assert [f.t_ns for f in frames] == [0, 500_000_000, 1_100_000_000]
    assert whole.probe().what == "a.mp4 has pictures"
    chunker = Chunker()
    assert sum(len(chunker.feed(chunk)) for chunk in chunks) == 14


def test_sound_that_ends_early_or_late(tmp_path: Path) -> None:
    draw, times = lambda i: noisy(halves(), i), [0.0, 0.3, 0.9]  # noqa: E731
    early = list(Film(film(tmp_path / "a.mkv", times, draw, sound=beeps(0.5, ())), size_px=16))
    assert check_order(early) >= 900_000_000 and len(parts(early)[1]) == 3
    late = list(Film(film(tmp_path / "b.mkv", times, draw, sound=beeps(2.0, ())), size_px=16))
    assert check_order(late) == 2_000_000_000 and len(parts(late)[1]) == 3


def test_sound_alone_is_as_before(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", beeps(1.0))
    whole = Film(tmp_path / "a.wav")
    items = list(whole)
    assert check_order(items) == 10**9 and not whole.has_pictures and whole.probe().what == "a.wav has sound"


def test_what_is_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "note.mp4").write_text("hello, this is no film at all")
    for source, what in (("note.mp4", "choose another"), ("nothing.mp4", "does not exist"), (".", "is not a file")):
        with pytest.raises(ConfigError, match=what):
            list(Film(tmp_path / source))
        assert not Film(tmp_path / source).probe().ok
    with pytest.raises(LinkError, match="try again"):
        list(Film("http://127.0.0.1:1/film.mp4"))
    monkeypatch.setenv("DISPLAY", ":77")
    with pytest.raises(ConfigError, match="no recorded film"):
        list(Film("screen"))
    huge = tmp_path / "huge.png"
    huge.write_bytes(png_header(20_000, 20_000))
    with pytest.raises(DeviceError, match="scale it down"):
        list(Film(huge))


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_cut_film_gives_what_it_has(tmp_path: Path, share: float) -> None:
    path = film(tmp_path / "a.mkv", TIMES, flash, sound=beeps(2))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    whole = Film(path, fps=25, size_px=16)
    try:
        items = list(whole)
    except (ConfigError, DeviceError) as error:
        assert "choose" in str(error)
        return
    assert check_order(items) <= 2_000_000_000 + TICK_NS
    if share == 0.5:
        assert 10 < len(parts(items)[1]) < 45 and whole.damage is not None


def test_damaged_pictures_and_whole_sound(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", TIMES, flash, "mjpeg", sound=beeps(2))
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(1)
    at = 0
    while (at := data.find(b"\xff\xd8", at + 1)) > 0:
        if random.random() < 0.3:
            data[at : at + 560] = bytes(560)
    path.write_bytes(data)
    whole = Film(path, fps=25, size_px=16)
    items = list(whole)
    assert check_order(items) == pytest.approx(2e9, abs=TICK_NS)
    assert 20 < len(parts(items)[1]) < 50 and whole.corrupt > 3 and whole.damage is not None


def test_async_and_left_early(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", TIMES, flash, sound=beeps(2))

    async def main() -> tuple[int, int]:
        whole = len([item async for item in Film(path, size_px=16, real_time=False)])
        few = 0
        async for _ in Film(path, size_px=16):  # at its own pace
            few += 1
            if few == 4:
                break
        return whole, few

    whole, few = asyncio.run(main())
    assert whole == 25 + 11 and few == 4
