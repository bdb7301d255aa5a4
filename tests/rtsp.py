"""An RTSP camera for tests: H.264 over RTP inside the RTSP connection (RFC 2326, 10.12; RFC 6184, single NAL units)."""

from __future__ import annotations

import re
import socketserver
import struct
import threading
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av

from liveagent.video import Pixels

RTP_HZ = 90_000
SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"
)


class RtspCamera:
    """Serves what `draw` gives, `fps` times a second. `clock_s` says what time its own clock shows at its n-th picture:
    a drift, a jump."""

    def __init__(
        self, draw: Callable[[int], Pixels], fps: float = 20.0, clock_s: Callable[[int], float] | None = None
    ) -> None:
        self.draw, self.fps = draw, fps
        self.clock_s = clock_s or (lambda i: i / fps)
        self.asked: list[str] = []
        self._gone = threading.Event()
        camera = self

        class Serve(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                try:
                    while not camera._gone.is_set() and self._answer():
                        pass
                except (OSError, ValueError):  # whoever looked has gone
                    return

            def _answer(self) -> bool:
                lines: list[str] = []
                while (line := self.rfile.readline().decode().strip()) or not lines:
                    if not line:
                        return False
                    lines.append(line)
                verb = lines[0].split()[0]
                camera.asked.append(verb)
                sequence = next(each.split(":")[1].strip() for each in lines if each.lower().startswith("cseq"))
                more, body = "", ""
                if verb == "OPTIONS":
                    more = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
                elif verb == "DESCRIBE":
                    body = SDP
                    more = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
                elif verb == "SETUP":
                    more = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 7\r\n"
                elif verb == "PLAY":
                    more = "Session: 7\r\nRange: npt=0-\r\n"
                self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{more}\r\n{body}".encode())
                if verb == "PLAY":
                    camera._send(self.wfile)
                return verb not in ("PLAY", "TEARDOWN")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Serve)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"rtsp://127.0.0.1:{self._server.server_address[1]}/camera"

    def close(self) -> None:
        self._gone.set()
        self._server.shutdown()
        self._server.server_close()

    def _send(self, out: Any) -> None:
        first = self.draw(0)
        codec = av.CodecContext.create("libx264", "w")
        assert isinstance(codec, av.VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt, codec.time_base = (
            first.shape[1],
            first.shape[0],
            "yuv420p",
            Fraction(1, 25),
        )
        codec.options = {"tune": "zerolatency", "preset": "ultrafast", "g": "5"}
        sequence = 0
        i = 0
        while not self._gone.wait(1 / self.fps):
            frame = av.VideoFrame.from_ndarray(self.draw(i), "rgb24").reformat(format="yuv420p")
            frame.pts = i
            stamp = round(self.clock_s(i) * RTP_HZ) & 0xFFFFFFFF
            i += 1
            for packet in codec.encode(frame):
                units = [unit for unit in re.split(b"\x00\x00\x00?\x01", bytes(packet)) if unit]
                for at, unit in enumerate(units):
                    marker = 0x80 if at == len(units) - 1 else 0
                    head = struct.pack(">BBHII", 0x80, marker | 96, sequence & 0xFFFF, stamp, 77)
                    sequence += 1
                    out.write(struct.pack(">BBH", 0x24, 0, len(head) + len(unit)) + head + unit)
