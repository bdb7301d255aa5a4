"""JPEG, for pictures that leave the robot."""

from __future__ import annotations

import av
import numpy as np

from liveagent.video import Pixels


def jpeg(pixels: Pixels, scale: int = 4) -> bytes:
    """`[H, W, 3]` as a JPEG; `scale` of its quantisers from 2 (fine) to 31 (coarse)."""
    height, width = pixels.shape[:2]
    codec = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = width, height, "yuvj420p"
    codec.options = {"qmin": str(scale), "qmax": str(scale)}
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuvj420p", dst_color_range="JPEG")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def pixels_of(data: bytes) -> Pixels:
    """The picture of a JPEG that this file wrote."""
    codec = av.CodecContext.create("mjpeg", "r")
    (frame,) = codec.decode(av.Packet(data))
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
