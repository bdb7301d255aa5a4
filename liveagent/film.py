"""Pictures on their way into a recording and out of it: the first whole, each later one as its difference.

    kind(u8: 0 whole, 1 difference) t_ns(i64) dropped(u32) height(u16) width(u16), all little-endian, then zlib's raw
    deflate of `[H, W, 3]` uint8; a difference is that to the picture before, modulo 256

Lossless: what a session decides about a picture depends on every pixel of it. A still picture takes a hundred bytes,
one of 128 px with a sensor's noise about 20 kB; whoever records gives up pictures, not their pixels, when that is too
much.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from liveagent.errors import ProtocolError
from liveagent.video import Pixels, VideoFrame

WHOLE, DIFFERENCE = 0, 1
MAX_PX = 1024
"""Height and width of a picture that may be recorded; sessions look at far smaller ones."""

_TOP = struct.Struct("<BqIHH")


class Film:
    """One recording's pictures, in order. A film that is written and one that is read are two."""

    def __init__(self) -> None:
        self._last: Pixels | None = None

    def write(self, frame: VideoFrame) -> bytes:
        """The next picture's payload. ValueError for one larger than MAX_PX."""
        height, width = frame.pixels.shape[:2]
        if max(height, width) > MAX_PX:
            raise ValueError(f"a picture of {width} x {height} px; at most {MAX_PX} are recorded")
        last = self._last if self._last is not None and self._last.shape == frame.pixels.shape else None
        body = frame.pixels if last is None else frame.pixels - last
        # Runs alone: a difference is noughts and noise, and longer matches are not worth the search.
        packer = zlib.compressobj(1, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY if last is None else zlib.Z_RLE)
        data = packer.compress(np.ascontiguousarray(body).tobytes()) + packer.flush()
        self._last = frame.pixels.copy()
        kind = WHOLE if last is None else DIFFERENCE
        return _TOP.pack(kind, frame.t_ns, min(frame.dropped, 2**32 - 1), height, width) + data

    def read(self, payload: bytes) -> VideoFrame:
        """The next picture. ProtocolError for what `write` did not write after those that were read before."""
        if len(payload) < _TOP.size:
            raise ProtocolError("recording: a picture that is cut short")
        kind, t_ns, dropped, height, width = _TOP.unpack_from(payload)
        size = height * width * 3
        if kind not in (WHOLE, DIFFERENCE) or not 0 < height <= MAX_PX or not 0 < width <= MAX_PX:
            raise ProtocolError(f"recording: a picture of kind {kind} and {width} x {height} px")
        last = self._last if kind == DIFFERENCE else None
        if kind == DIFFERENCE and (last is None or last.shape != (height, width, 3)):
            raise ProtocolError("recording: a picture that differs from one that is not there")
        unpacker = zlib.decompressobj(-15)
        try:
            data = unpacker.decompress(payload[_TOP.size :], size + 1)
        except zlib.error:
            raise ProtocolError("recording: a damaged picture") from None
        if len(data) != size or not unpacker.eof or unpacker.unused_data:
            raise ProtocolError("recording: a damaged picture")
        pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        self._last = pixels if last is None else pixels + last
        return VideoFrame(self._last, t_ns, dropped)
