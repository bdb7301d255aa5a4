"""Cameras of every kind: on the network, unplugged and back, frozen, with clocks that lie; and films of every kind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liveagent.errors import ConfigError, DeviceError, LinkError
from liveagent.event import CameraFroze, DeviceBack, DeviceLost
from liveagent.ports import videotrack
from liveagent.ports.camera import RING, Camera
from liveagent.ports.scaler import decode_picture, read_picture
from liveagent.video import VideoFrame
from tests.films import BLUE, RED, MjpegCamera, film, halves, jpeg, noisy, turned
from tests.rtsp import RtspCamera
from tests.test_picture import png_header

PATIENCE_S = 20.0
GREEN = (30, 200, 30)


def look(camera: Camera, until: Callable[[list[VideoFrame]], bool]) -> list[VideoFrame]:
    """What it shows until that is so."""
    seen: list[VideoFrame] = []
    deadline = time.monotonic() + PATIENCE_S
    while not until(seen):
        assert time.monotonic() < deadline, "it never came to that"
        frame = camera.read()
        if frame is not None:
            seen.append(frame)
        time.sleep(0.005)
    return seen


def colour(pixels: np.ndarray) -> tuple[int, ...]:
    return tuple(int(each) for each in np.median(pixels.reshape(-1, 3), axis=0))


def is_like(pixels: np.ndarray, wanted: tuple[int, int, int]) -> bool:
    return all(abs(a - b) < 40 for a, b in zip(colour(pixels), wanted, strict=True))


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return [jpeg(noisy(halves(), seed)) for seed in range(40)]


@pytest.fixture
def network(pictures: list[bytes]) -> Iterator[MjpegCamera]:
    camera = MjpegCamera(lambda i: pictures[i % len(pictures)], fps=50)
    yield camera
    camera.unplug()


def test_mjpeg_over_http_unplugged_and_back(network: MjpegCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveagent.ports.camera.RETRY_S", (0.05, 0.1))
    told: list[Any] = []
    camera = Camera(network.address, fps=20, size_px=32, on_event=told.append)
    before_ns = time.monotonic_ns()
    camera.start()
    try:
        seen = look(camera, lambda seen: len(seen) >= 5)
        network.unplug()
        look(camera, lambda _: camera.lost)
        waited = camera.received_frames
        network.plug()
        seen += look(camera, lambda _: not camera.lost)
        seen += look(camera, lambda seen: len(seen) >= 3)
        assert camera.received_frames > waited
    finally:
        camera.close()
    assert [type(event) for event in told] == [DeviceLost, DeviceBack]
    assert told[0].device == told[1].device == camera.name
    assert "is lost" in told[0].message and "looked for again" in told[0].message and camera.name in told[0].message
    assert before_ns < seen[0].t_ns and all(a.t_ns < b.t_ns for a, b in pairwise(seen))
    assert all(frame.pixels.shape == (32, 32, 3) for frame in seen)
    assert is_like(seen[-1].pixels[6:14], RED) and is_like(seen[-1].pixels[18:26], BLUE)
    while (frame := camera.read()) is not None:  # what still waited
        seen.append(frame)
    # At 50 pictures a second of which 20 are looked at, many are never seen, and each is counted.
    shown = len(seen) + sum(frame.dropped for frame in seen)
    assert camera.received_frames == shown + camera.waiting_frames and shown > len(seen)


@pytest.mark.slow
def test_a_camera_that_hangs_has_frozen_and_then_is_lost(network: MjpegCamera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveagent.ports.camera.RETRY_S", (0.05,))
    told: list[Any] = []
    camera = Camera(network.address, 20, 16, told.append, freeze_s=0.3, timeout_s=(5.0, 1.0))
    camera.start()
    try:
        look(camera, lambda seen: len(seen) >= 2)
        network.hang.set()
        look(camera, lambda _: camera.frozen)
        look(camera, lambda _: camera.lost)
        network.hang.clear()
        look(camera, lambda _: not camera.lost)
        assert not camera.frozen
    finally:
        camera.close()
    assert [type(event) for event in told] == [CameraFroze, DeviceLost, DeviceBack]
    assert told[0].for_ms >= 300 and told[0].device == camera.name


def test_the_very_same_picture_is_a_frozen_camera(network: MjpegCamera, pictures: list[bytes]) -> None:
    told: list[Any] = []
    camera = Camera(network.address, 20, 16, told.append, freeze_s=0.3)
    camera.start()
    try:
        look(camera, lambda seen: len(seen) >= 3)
        network.draw = lambda i: pictures[0]
        look(camera, lambda _: camera.frozen)
        frozen = camera.received_frames
        look(camera, lambda _: camera.received_frames > frozen + 5)  # it still answers
        assert camera.frozen and not camera.lost and len(told) == 1
        network.draw = lambda i: pictures[i % len(pictures)]
        look(camera, lambda _: not camera.frozen)
    finally:
        camera.close()
    assert [type(event) for event in told] == [CameraFroze, DeviceBack]


@pytest.mark.slow
def test_corrupt_packets_are_skipped_and_counted(network: MjpegCamera, pictures: list[bytes]) -> None:
    random = np.random.default_rng(4)

    def draw(i: int) -> bytes:
        data = bytearray(pictures[i % len(pictures)])
        if i % 3 == 1:  # nothing of it is left
            data[2:] = random.integers(0, 255, len(data) - 2, dtype=np.uint8).tobytes()
        elif i % 3 == 2:
            del data[len(data) // 3 :]
        return bytes(data)

    network.draw = draw
    camera = Camera(network.address, fps=60, size_px=16)
    camera.start()
    try:
        seen = look(camera, lambda seen: len(seen) >= 4 and camera.received_frames > 15)
        assert not camera.lost
    finally:
        camera.close()
    assert camera.corrupt > 0
    assert sum(is_like(frame.pixels[3:6], RED) for frame in seen) >= 2


def test_a_slow_reader_gets_the_newest_and_the_count(network: MjpegCamera) -> None:
    camera = Camera(network.address, fps=60, size_px=16)
    camera.start()
    try:
        look(camera, lambda seen: len(seen) == 1)
        known = camera.received_frames
        deadline = time.monotonic() + PATIENCE_S
        while camera.received_frames < known + 15:  # nobody reads
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with camera._lock:
            times = [t_ns for _, t_ns, _ in camera._ring]
        assert len(times) == RING
        first = camera.read(times[0] - 1)  # a session far behind gets the oldest there is
        assert first is not None and first.dropped >= 7
        second = camera.read(times[3])
        assert second is not None and second.t_ns >= times[3] > first.t_ns
        frame = camera.read()
        assert frame is not None and frame.t_ns >= times[-1] and frame.dropped >= 3
        camera.close()
        rest = camera.read()
        assert camera.read() is None
        read = [f for f in (first, second, frame, rest) if f is not None]
        assert camera.received_frames - known - camera.waiting_frames == sum(1 + f.dropped for f in read)
    finally:
        camera.close()


def test_pictures_taken_later_wait(network: MjpegCamera) -> None:
    camera = Camera(network.address, fps=20, size_px=16)
    camera.start()
    try:
        seen = look(camera, lambda seen: len(seen) == 2)
        deadline = time.monotonic() + PATIENCE_S
        while camera.waiting_frames < 3:
            assert camera.read(seen[-1].t_ns) is None and time.monotonic() < deadline
            time.sleep(0.005)
        later = camera.read()
        assert later is not None and later.t_ns > seen[-1].t_ns
    finally:
        camera.close()


@pytest.mark.slow
def test_rtsp_with_a_clock_that_jumps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liveagent.ports.camera.RETRY_S", (0.05,))
    served = RtspCamera(lambda i: noisy(halves(), i), 30, lambda i: i / 30 - (3.0 if i > 40 else 0.0) + 1_000)
    told: list[Any] = []
    camera = Camera(served.address.replace("//", "//me:secret@"), fps=15, size_px=32, on_event=told.append)
    before_ns = time.monotonic_ns()
    try:
        camera.start()
        seen = look(camera, lambda seen: camera.received_frames > 60 and len(seen) > 5)
        assert "PLAY" in served.asked and "secret" not in camera.name
    finally:
        served.close()
    look(camera, lambda _: camera.lost)
    camera.close()
    assert all(a.t_ns < b.t_ns for a, b in pairwise(seen))
    assert before_ns < seen[0].t_ns and seen[-1].t_ns < time.monotonic_ns()
    assert is_like(seen[-1].pixels[6:14], RED) and is_like(seen[-1].pixels[18:26], BLUE)
    assert isinstance(told[0], DeviceLost) and "secret" not in told[0].message


def test_a_camera_that_is_not_there() -> None:
    with pytest.raises(LinkError, match="try again"):
        Camera("http://127.0.0.1:1/camera.mjpg").start()
    with pytest.raises(LinkError) as refused:
        Camera("rtsp://user:secret@127.0.0.1:1/camera").start()
    assert "secret" not in str(refused.value)
    with pytest.raises(ConfigError, match="https://"):
        Camera("ftp://127.0.0.1/film.mp4").start()
    with pytest.raises(DeviceError, match="Plug one in"):
        Camera("/dev/video77").start()
    assert not Camera("/dev/video77").probe().ok
    with pytest.raises(ConfigError, match="does not exist"):
        Camera("no/film.mp4").start()


def test_no_screen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(DeviceError, match="no X display"):
        Camera("screen").start()
    monkeypatch.setenv("DISPLAY", ":77")
    with pytest.raises(DeviceError, match="cannot be opened"):
        Camera("screen").start()


def test_settings_that_make_no_sense() -> None:
    for settings in ({"fps": 0.0}, {"fps": 1000.0}, {"size_px": 0}, {"size_px": 100_000}):
        with pytest.raises(ConfigError, match="choose"):
            Camera("camera", **settings)


# ---- films -----------------------------------------------------------------------------------------------------------


def test_a_file_of_uneven_rate_runs_at_its_own_pace(tmp_path: Path) -> None:
    times = [0.0, 0.05, 0.3, 0.32, 0.34, 0.36, 0.6]
    path = film(tmp_path / "a.mkv", times, lambda i: noisy(halves(), i))
    camera = Camera(str(path), fps=10, size_px=16, start_ns=1_000)
    camera.start()
    seen = look(camera, lambda _: camera.ended and not camera.waiting_frames)
    camera.close()
    # 0.05 comes too soon for ten a second; of the burst from 0.3 on, one is due.
    assert [frame.t_ns for frame in seen] == [1_000 + round(t * 1e9) for t in (0.0, 0.3, 0.6)]
    assert [frame.dropped for frame in seen] == [0, 1, 3]
    assert camera.corrupt == 0 and camera.mended_times == 0


@pytest.mark.parametrize(("degrees", "first", "last"), [(90, BLUE, RED), (180, BLUE, RED)])
def test_rotated_films_are_upright(tmp_path: Path, degrees: int, first: Any, last: Any) -> None:
    path = turned(film(tmp_path / "a.mp4", [0.0, 0.1], lambda i: halves(size=(64, 64))), degrees)
    camera = Camera(str(path), size_px=32)
    camera.start()
    pixels = look(camera, lambda seen: bool(seen))[0].pixels
    camera.close()
    if degrees == 90:  # what was above is now on the right
        pixels = np.swapaxes(pixels, 0, 1)
    assert is_like(pixels[2:14], first) and is_like(pixels[18:30], last)


def test_4k_is_scaled_while_decoding(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [0.0], lambda i: halves(RED, GREEN, (3_840, 2_160)), "mjpeg")
    camera = Camera(str(path), size_px=64)
    camera.start()
    frame = look(camera, lambda seen: bool(seen))[0]
    camera.close()
    assert frame.pixels.shape == (64, 64, 3)
    assert is_like(frame.pixels[16:30], RED) and is_like(frame.pixels[34:48], GREEN)
    assert (frame.pixels[:14] == 128).all() and (frame.pixels[50:] == 128).all()


@pytest.mark.slow
def test_one_picture_a_second_is_enough(tmp_path: Path) -> None:
    camera = Camera(str(film(tmp_path / "a.mp4", [0.0, 1.0], lambda i: halves())), size_px=16, start_ns=0)
    assert "64 x 48" in camera.probe().what
    camera.start()
    seen = look(camera, lambda _: camera.ended and not camera.waiting_frames)
    camera.close()
    assert [frame.t_ns for frame in seen] == [0, 10**9] and not camera.frozen


def test_a_damaged_film_shows_what_is_whole(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [i / 40 for i in range(20)], lambda i: noisy(halves(), i), "mjpeg")
    data = bytearray(path.read_bytes())
    a, b = int(len(data) * 0.4), int(len(data) * 0.5)
    data[a:b] = np.random.default_rng(3).integers(0, 256, b - a, dtype=np.uint8).tobytes()
    path.write_bytes(data)
    camera = Camera(str(path), fps=60, size_px=16)
    camera.start()
    seen = look(camera, lambda _: camera.ended and not camera.waiting_frames)
    camera.close()
    assert len(seen) >= 8 and all(is_like(frame.pixels[3:6], RED) for frame in seen[:5])
    assert all(a.t_ns < b.t_ns for a, b in pairwise(seen))


@pytest.mark.parametrize("share", [0.001, 0.05, 0.6, 0.97])
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_cut_anywhere_it_is_pictures_or_a_typed_error(tmp_path: Path, name: str, share: float) -> None:
    path = film(tmp_path / name, [0.0, 0.02, 0.04, 0.06], lambda i: noisy(halves(), i))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    camera = Camera(str(path), size_px=16)
    try:
        camera.start()
    except (ConfigError, DeviceError) as error:
        assert "choose" in str(error)
        return
    look(camera, lambda _: camera.ended)
    camera.close()


def test_times_of_a_file_that_go_backwards_only_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No muxer writes them, so a file's times are changed as they are read."""
    wrong = iter([5.0, 5.02, 5.02, 2.0, 2.02, None, 2.2])
    monkeypatch.setattr(videotrack.VideoTrack, "time_s", lambda track, frame: next(wrong))
    path = film(tmp_path / "a.mkv", [i / 50 for i in range(7)], lambda i: noisy(halves(), i))
    camera = Camera(str(path), fps=60, size_px=16, start_ns=0)
    camera.start()
    seen = look(camera, lambda _: camera.ended and not camera.waiting_frames)
    camera.close()
    assert all(a.t_ns < b.t_ns for a, b in pairwise(seen)) and seen[-1].t_ns < 10**9
    assert camera.mended_times >= 3


def test_a_live_camera_whose_clock_goes_backwards_stays_in_time(
    network: MjpegCamera, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = iter(range(10**9))

    def time_s(track: Any, picture: Any) -> float:
        i = next(count)
        return 1e4 - i if i % 5 else 7.0

    monkeypatch.setattr(videotrack.VideoTrack, "time_s", time_s)
    before_ns = time.monotonic_ns()
    camera = Camera(network.address, fps=60, size_px=16)
    camera.start()
    seen = look(camera, lambda seen: len(seen) >= 12)
    camera.close()
    assert camera.clock.jumps > 5
    assert all(a.t_ns < b.t_ns for a, b in pairwise(seen))
    assert before_ns < seen[0].t_ns and seen[-1].t_ns < time.monotonic_ns()


# ---- single pictures -------------------------------------------------------------------------------------------------


def test_a_picture_is_decoded_upright_and_square() -> None:
    data = jpeg(halves(size=(200, 100)))
    assert decode_picture(data).shape == (100, 200, 3)
    square = decode_picture(data, 50)
    assert square.shape == (50, 50, 3) and is_like(square[15:23], RED) and is_like(square[27:35], BLUE)
    exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    upright = decode_picture(data[:2] + exif + data[2:])
    assert upright.shape == (200, 100, 3)  # a quarter clockwise: what was above is on the right
    assert is_like(upright[:, 60:90], RED) and is_like(upright[:, 10:40], BLUE)


def test_huge_pictures_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    huge = tmp_path / "huge.png"
    huge.write_bytes(png_header(20_000, 20_000) + bytes(1_000))
    with pytest.raises(ConfigError, match=r"huge\.png: .*scale it down"):
        read_picture(huge)
    with pytest.raises(DeviceError, match="scale it down"):
        Camera(str(huge)).start()
    lying = bytearray(jpeg(halves()))
    at = lying.find(b"\xff\xc0")
    lying[at + 5 : at + 9] = b"\xf0\x00\xf0\x00"
    stream = MjpegCamera(lambda i: bytes(lying))
    try:
        with pytest.raises(DeviceError, match="choose a smaller size"):
            Camera(stream.address).start()
    finally:
        stream.unplug()


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    note = tmp_path / "note.jpg"
    note.write_bytes(b"hello")
    with pytest.raises(ConfigError, match="no picture"):
        read_picture(note)
    note.write_bytes(jpeg(halves())[:400])
    with pytest.raises(ConfigError, match=r"note\.jpg: .*send"):
        read_picture(note)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_picture(tmp_path / "nothing.jpg")


def test_proportions_are_kept_within_bounds() -> None:
    ribbon = decode_picture(jpeg(halves(size=(4_000, 8))), 64)
    assert ribbon.shape == (64, 64, 3) and (ribbon != 128).any(axis=2).sum() == 64
    assert decode_picture(jpeg(halves(size=(4_000, 8)))).shape == (3, 1_280, 3)
    tall = decode_picture(jpeg(halves(size=(8, 16))), 64)
    assert is_like(tall[2:30, 18:46], RED) and (tall[:, :16] == 128).all() and (tall[:, 48:] == 128).all()


def test_no_thread_stays_behind(network: MjpegCamera) -> None:
    camera = Camera(network.address)
    camera.start()
    camera.start()  # once is enough
    camera.close()
    camera.close()
    deadline = time.monotonic() + PATIENCE_S
    while any(thread.name == "camera" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
