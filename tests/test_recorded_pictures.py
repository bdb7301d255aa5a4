"""Recorded pictures: every pixel comes back, still ones cost nothing, and what is damaged is said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent.errors import ProtocolError
from liveagent.film import MAX_PX, Film
from liveagent.video import VideoFrame


def frames(seed: int, sizes: list[tuple[int, int]]) -> list[VideoFrame]:
    """Noise of these heights and widths, a few values apart from one to the next."""
    rng = np.random.default_rng(seed)
    return [
        VideoFrame(rng.integers(100, 110, (*size, 3)).astype(np.uint8), at * 200_000_000 - 5, at)
        for at, size in enumerate(sizes)
    ]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.lists(st.sampled_from([(1, 1), (16, 24), (24, 16)]), min_size=1, max_size=6))
def test_every_picture_comes_back(seed: int, sizes: list[tuple[int, int]]) -> None:
    written, read = Film(), Film()
    for frame in frames(seed, sizes):
        again = read.read(written.write(frame))
        assert (again.t_ns, again.dropped) == (frame.t_ns, frame.dropped)
        assert np.array_equal(again.pixels, frame.pixels)


def test_what_a_camera_does_with_its_memory_afterwards_changes_nothing() -> None:
    written, read = Film(), Film()
    (frame,) = frames(0, [(16, 16)])
    first = written.write(frame)
    was = frame.pixels.copy()
    frame.pixels[:] = 255  # a camera's buffer is used again
    assert np.array_equal(read.read(first).pixels, was)
    assert np.array_equal(read.read(written.write(frame)).pixels, frame.pixels)


def test_a_still_picture_costs_next_to_nothing() -> None:
    film = Film()
    (frame,) = frames(1, [(128, 128)])
    film.write(frame)
    assert len(film.write(frame)) < 128


def test_what_is_damaged_is_a_protocol_error_and_what_is_huge_is_not_unpacked() -> None:
    first, second = frames(2, [(32, 32), (32, 32)])
    film = Film()
    whole, difference = film.write(first), film.write(second)
    rng = np.random.default_rng(3)
    for data in (b"", whole[:16], whole[:-3], whole + b"x", b"\2" + whole[1:], difference):
        with pytest.raises(ProtocolError):
            Film().read(data)
    for at in rng.integers(0, len(whole), 200):  # any changed byte: an error, or a picture of the same bounds
        try:
            again = Film().read(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        except ProtocolError:
            continue
        assert max(again.pixels.shape) <= MAX_PX
    with pytest.raises(ValueError, match="at most"):
        film.write(VideoFrame(np.zeros((1, MAX_PX + 1, 3), np.uint8), 0))
