"""Films and cameras for tests: video files of any kind made with FFmpeg, and a camera that serves MJPEG over HTTP."""

from __future__ import annotations

import http.server
import struct
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from liveagent.video import Pixels

RED, BLUE = (220, 30, 30), (30, 30, 220)


def halves(
    top: tuple[int, int, int] = RED, bottom: tuple[int, int, int] = BLUE, size: tuple[int, int] = (64, 48)
) -> Pixels:
    """One colour above another; size is (width, height)."""
    pixels = np.empty((size[1], size[0], 3), np.uint8)
    pixels[: size[1] // 2], pixels[size[1] // 2 :] = top, bottom
    return pixels


def noisy(pixels: Pixels, seed: int) -> Pixels:
    """As a camera sees it: no two pictures are the same."""
    noise = np.random.default_rng(seed).normal(0, 8, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def jpeg(pixels: Pixels) -> bytes:
    height, width = pixels.shape[:2]
    codec = av.CodecContext.create("mjpeg", "w")
    assert isinstance(codec, av.VideoCodecContext)
    codec.width, codec.height, codec.pix_fmt, codec.time_base = width, height, "yuvj420p", Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


def film(
    path: Path,
    times_s: Sequence[float],
    draw: Callable[[int], Pixels],
    codec: str = "mpeg4",
    sound: np.ndarray | None = None,
    sound_at_s: float = 0.0,
) -> Path:
    """A film with a picture at each of `times_s`, and perhaps sound (16 kHz), which begins at `sound_at_s`."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        first = draw(0)
        stream.width, stream.height, stream.pix_fmt = (
            first.shape[1],
            first.shape[0],
            "yuvj420p" if codec == "mjpeg" else "yuv420p",
        )
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1_000)
        heard: Any = container.add_stream("flac", rate=16_000, layout="mono") if sound is not None else None
        for i, at in enumerate(times_s):
            frame = av.VideoFrame.from_ndarray(draw(i), "rgb24")
            frame.pts, frame.time_base = round(at * 1_000), Fraction(1, 1_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            for at_sample in range(0, len(sound), 1_600):
                part = np.ascontiguousarray(sound[None, at_sample : at_sample + 1_600] * 32_767).astype(np.int16)
                chunk = av.AudioFrame.from_ndarray(part, "s16", "mono")
                chunk.sample_rate, chunk.time_base = 16_000, Fraction(1, 16_000)
                chunk.pts = at_sample + round(sound_at_s * 16_000)
                container.mux(heard.encode(chunk))
            container.mux(heard.encode(None))
    return path


def turned(path: Path, degrees: int) -> Path:
    """An MP4 whose header says that it is to be shown turned clockwise by a quarter or by a half."""
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    matrix = {90: (0, 65_536, 0, -65_536, 0, 0, 0, 0, 1 << 30), 180: (-65_536, 0, 0, 0, -65_536, 0, 0, 0, 1 << 30)}
    data[at : at + 36] = struct.pack(">9i", *matrix[degrees])
    path.write_bytes(data)
    return path


class MjpegCamera:
    """A camera on the network: each connection is served what `draw` gives, `fps` times a second, as multipart JPEGs.

    `hang`: while set, the line stays open and nothing comes. `unplug` closes everything; `plug` is back at the same
    port.
    """

    def __init__(self, draw: Callable[[int], bytes], fps: float = 20.0) -> None:
        self.draw, self.fps = draw, fps
        self.hang = threading.Event()
        self.served = 0
        self._gone = threading.Event()
        self._server: http.server.ThreadingHTTPServer | None = None
        self._port = 0
        self.plug()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}/camera.mjpg"

    def plug(self) -> None:
        camera, gone = self, threading.Event()

        class Serve(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
                self.end_headers()
                try:
                    while not gone.wait(1 / camera.fps):
                        if camera.hang.is_set():
                            continue
                        data = camera.draw(camera.served)
                        camera.served += 1
                        head = b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(data)
                        self.wfile.write(head + data + b"\r\n")
                except OSError:  # whoever looked has gone
                    return

            def log_message(self, *args: object) -> None: ...

        self._gone = gone
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self._port), Serve)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def unplug(self) -> None:
        self._gone.set()
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
