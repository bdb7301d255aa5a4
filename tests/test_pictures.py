"""Pictures of strangers: decoded in a process of their own, in bounded time and memory, or refused in plain words."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import zlib
from collections.abc import AsyncIterator
from fractions import Fraction

import av
import numpy as np
import pytest
import pytest_asyncio

from liveagent.errors import ProtocolError
from liveagent.ports import pictures as module
from liveagent.ports.pictures import Pictures
from liveagent.video import Pixels

pytestmark = pytest.mark.slow  # processes that decode


def encoded(pixels: Pixels, codec: str = "mjpeg") -> bytes:
    context = av.CodecContext.create(codec, "w")
    context.height, context.width = pixels.shape[:2]  # type: ignore[attr-defined]
    context.pix_fmt = "yuvj444p" if codec == "mjpeg" else "rgb24"  # type: ignore[attr-defined]
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
    return b"".join(bytes(each) for each in [*context.encode(frame), *context.encode(None)])  # type: ignore[attr-defined]


def png_bomb(width: int, height: int) -> bytes:
    """A PNG of nothing but noughts, as small as it gets."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    packer = zlib.compressobj(9)
    rows = b"".join([packer.compress(bytes(1 + 3 * width)) for _ in range(height)] + [packer.flush()])
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def two_halves(width: int, height: int) -> Pixels:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2] = (220, 30, 30)
    pixels[:, width // 2 :] = (30, 30, 220)
    return pixels


@pytest_asyncio.fixture
async def pictures() -> AsyncIterator[Pictures]:
    pictures = Pictures()
    yield pictures
    await pictures.close()


@pytest.mark.parametrize("codec", ["mjpeg", "png"])
async def test_a_picture_comes_as_it_is(pictures: Pictures, codec: str) -> None:
    sent = two_halves(320, 240)
    got = await pictures.decode(encoded(sent, codec), "image/jpeg")
    assert got.shape == (240, 320, 3) and got.dtype == np.uint8
    assert np.abs(got[:, [40, 280]].astype(int) - sent[:, [40, 280]]).max() < 12


async def test_a_large_one_comes_smaller_in_its_proportions(pictures: Pictures) -> None:
    got = await pictures.decode(encoded(two_halves(1600, 1200)), "")
    assert got.shape == (480, 640, 3)


async def test_raw_pixels_need_no_decoder(pictures: Pictures) -> None:
    sent = two_halves(128, 128)
    got = await pictures.decode(sent.tobytes(), "image/x-rgb;width=128;height=128")
    assert np.array_equal(got, sent)
    for kind in ("image/x-rgb;width=128;height=127", "image/x-rgb;width=9000;height=1", "image/x-rgb;width=0;height=0"):
        with pytest.raises(ProtocolError, match="RGB"):
            await pictures.decode(sent.tobytes(), kind)


async def test_a_bomb_is_refused_by_its_header(pictures: Pictures) -> None:
    bomb = png_bomb(8000, 5000)
    assert len(bomb) < 200_000
    with pytest.raises(ProtocolError, match="too large"):
        await pictures.decode(bomb, "image/png")
    assert pictures._child is None, "nothing was started for it"


async def test_a_header_that_lies_costs_no_more_than_it_says(pictures: Pictures) -> None:
    bomb = bytearray(png_bomb(4000, 3000))
    bomb[16:24] = struct.pack(">II", 100, 100)  # and says it is small
    bomb[29:33] = struct.pack(">I", zlib.crc32(bytes(bomb[12:29])))
    with _either():
        await pictures.decode(bytes(bomb), "image/png")
    assert (await pictures.decode(encoded(two_halves(64, 64)), "")).shape == (64, 64, 3)


class _either:
    """The decoder may show the 100 x 100 that were promised, or say that it is damaged; both are good."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is None or issubclass(kind, ProtocolError)


@pytest.mark.parametrize("data", [b"", b"hello", b"\xff\xd8\xff\xe0", b"GIF89a", b"<svg/>", b"\0" * 1000])
async def test_what_is_no_picture_is_said_to_be_none(pictures: Pictures, data: bytes) -> None:
    with pytest.raises(ProtocolError):
        await pictures.decode(data, "image/jpeg")


async def test_one_that_is_cut_off_ends_nothing(pictures: Pictures) -> None:
    whole = encoded(two_halves(320, 240), "png")
    for length in (60, len(whole) // 2):
        with _either():
            await pictures.decode(whole[:length], "image/png")
    assert (await pictures.decode(whole, "image/png")).shape == (240, 320, 3)


async def test_too_many_bytes_are_refused_unread(pictures: Pictures) -> None:
    with pytest.raises(ProtocolError, match="too large"):
        await pictures.decode(b"\xff\xd8" + bytes(5 << 20), "image/jpeg")


async def test_a_decoder_that_dies_is_started_again(pictures: Pictures) -> None:
    picture = encoded(two_halves(64, 64))
    await pictures.decode(picture, "")
    assert pictures._child is not None
    os.kill(pictures._child.pid, signal.SIGKILL)
    with _either():  # whichever comes first
        await pictures.decode(picture, "")
    assert (await pictures.decode(picture, "")).shape == (64, 64, 3)


async def test_a_decoder_that_hangs_is_ended(pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = encoded(two_halves(64, 64))
    await pictures.decode(picture, "")
    assert pictures._child is not None
    monkeypatch.setattr(module, "DEADLINE_S", 0.3)
    os.kill(pictures._child.pid, signal.SIGSTOP)
    with pytest.raises(ProtocolError, match="too long"):
        await pictures.decode(picture, "")
    monkeypatch.setattr(module, "DEADLINE_S", 20.0)
    assert (await pictures.decode(picture, "")).shape == (64, 64, 3)


async def test_many_at_once_get_their_own(pictures: Pictures) -> None:
    sides = [32, 48, 64, 80] * 3
    got = await asyncio.gather(*(pictures.decode(encoded(two_halves(side, side)), "") for side in sides))
    assert [each.shape[0] for each in got] == sides


async def test_whoever_gives_up_leaves_no_answer_for_the_next(pictures: Pictures) -> None:
    await pictures.decode(encoded(two_halves(64, 64)), "")
    leaving = asyncio.ensure_future(pictures.decode(encoded(two_halves(1600, 1200)), ""))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert (await pictures.decode(encoded(two_halves(48, 48)), "")).shape == (48, 48, 3)
