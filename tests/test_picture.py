"""Sizes of pictures, read before they are decoded: real ones from FFmpeg's encoders, and headers that lie."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction

import av
import numpy as np
import pytest

from liveagent.errors import ProtocolError
from liveagent.picture import MAX_PX, MAX_SIDE_PX, check_header, check_size

CODECS = {"jpeg": ("mjpeg", "yuvj420p"), "png": ("png", "rgb24"), "gif": ("gif", "rgb8")}


def encoded(kind: str, width: int, height: int) -> bytes:
    """A picture as FFmpeg writes it, with noise in it."""
    name, form = CODECS[kind]
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    codec = av.CodecContext.create(name, "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, form, Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format=form)
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def gif_of(data: bytes, width: int, height: int) -> bytes:
    """FFmpeg's encoder gives what stands behind the file's first thirteen bytes; these are the container's."""
    return data if data.startswith(b"GIF") else b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + data


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


@pytest.mark.parametrize("kind", CODECS)
@pytest.mark.parametrize(("width", "height"), [(64, 48), (17, 131)])
def test_sizes_of_real_pictures(kind: str, width: int, height: int) -> None:
    data = encoded(kind, width, height)
    assert check_header(gif_of(data, width, height) if kind == "gif" else data) == (width, height)


def test_webp_of_every_kind() -> None:
    lossy = b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 320 | 1 << 14, 200)
    lossless = b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + struct.pack("<I", 319 | 199 << 14)
    extended = b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0" + (319).to_bytes(3, "little") + (199).to_bytes(3, "little")
    for data in (lossy, lossless, extended):
        assert check_header(data) == (320, 200)
        for length in range(12, len(data)):
            with pytest.raises(ProtocolError, match="damaged or cut off"):
                check_header(data[:length])


def test_a_jpeg_with_a_profile_and_fill_bytes_before_its_size() -> None:
    data = encoded("jpeg", 40, 30)
    long = b"\xff\xd8" + b"\xff\xe1" + struct.pack(">H", 65_535) + b"\xff\xd9" * 32_766 + b"\0" + b"\xff\xff" + data[2:]
    assert check_header(long) == (40, 30)


@pytest.mark.parametrize(
    ("width", "height"), [(MAX_SIDE_PX + 1, 1), (1, MAX_SIDE_PX + 1), (8_000, 8_000), (2**32 - 1, 2**32 - 1)]
)
def test_what_is_too_large_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(ProtocolError, match="scale it down"):
        check_header(png_header(width, height))


def test_limits_are_reached_and_nothing_is_refused_too() -> None:
    check_size(MAX_SIDE_PX, MAX_PX // MAX_SIDE_PX)
    for size in ((0, 5), (5, 0)):
        with pytest.raises(ProtocolError, match="holds nothing"):
            check_header(png_header(*size))


@pytest.mark.parametrize("kind", CODECS)
def test_cut_and_changed_anywhere_it_is_a_size_or_a_typed_error(kind: str) -> None:
    data = encoded(kind, 64, 48)
    data = gif_of(data, 64, 48) if kind == "gif" else data
    random = np.random.default_rng(2)
    for trial in range(200):
        changed = bytearray(data[: int(random.integers(0, min(len(data), 700)))])
        for at in random.integers(0, max(1, len(changed)), trial % 7):
            if at < len(changed):
                changed[at] = int(random.integers(0, 256))
        try:
            width, height = check_header(bytes(changed))
        except ProtocolError as error:
            assert "send" in str(error) or "scale" in str(error)
        else:
            assert 0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX


def test_other_bytes_are_no_picture() -> None:
    for data in (b"", b"hello", b"RIFF\0\0\0\0WAVEfmt ", bytes(1_000)):
        with pytest.raises(ProtocolError, match="no picture"):
            check_header(data)
