"""`VideoTrack`: the pictures of a device, an address, a file or the screen, opened within limits, decoded one by one.

FFmpeg does the work; here stands what it may open, how much it may take, and what its errors mean to a person.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from liveagent.errors import ConfigError, DeviceError, LinkError, LiveAgentError, ProtocolError
from liveagent.picture import MAX_PX, MAX_SIDE_PX, check_header, check_size
from liveagent.ports.scaler import Scaler
from liveagent.video import Pixels

OPEN_S = 10.0
READ_S = 10.0
BROKEN_PACKETS = 50  # so many in a row, and what comes is no picture
USUAL_STEP_S = 0.04
LONG_PROBE = 1 << 20

Kind = Literal["device", "screen", "address", "file"]
STILLS = frozenset({".jpg", ".jpeg", ".png", ".gif", ".webp"})
NETWORK = "http,https,httpproxy,tcp,tls,rtsp,rtp,udp,crypto"  # not file: a playlist from elsewhere reads none of ours


@dataclass(frozen=True)
class Place:
    """Where pictures come from, as FFmpeg is told it. `name` is for people: no password stands in it."""

    kind: Kind
    url: str
    name: str
    format: str | None = None
    options: dict[str, str] = field(default_factory=dict)

    @property
    def live(self) -> bool:
        """Whether it goes on whether one looks or not."""
        return self.kind != "file"


def cameras() -> list[tuple[str, str]]:
    """The cameras that are plugged in: (path, what it calls itself)."""
    found = []
    for path in sorted(Path("/dev").glob("video[0-9]*")):
        name = ""
        with suppress(OSError):
            name = Path(f"/sys/class/video4linux/{path.name}/name").read_text().strip()
        found.append((str(path), name))
    return found


def place_of(source: str) -> Place:
    """What `source` means: "camera", "/dev/video0", "screen", an address or a file.

    Raises DeviceError for a camera or screen that is not there, ConfigError for a file that is not.
    """
    soon = {"fflags": "nobuffer", "flags": "low_delay"}
    brief = {**soon, "probesize": "32768", "analyzeduration": "200000"}
    if source == "camera" or source.startswith("/dev/"):
        there = cameras()
        path = (there[0][0] if there else "") if source == "camera" else source
        if not path or not Path(path).exists():
            what = f"there are: {', '.join(p for p, _ in there)}" if there else "there is none at all"
            raise DeviceError(f"no camera {'' if source == 'camera' else source + ' '}here; {what}. Plug one in, or "
                              "look at an address, a file or the toy table")  # fmt: skip
        return Place("device", path, dict(there).get(path) or path, "v4l2", {"video_size": "640x480", **soon})
    if source == "screen":
        display = os.environ.get("DISPLAY", "")
        if not display:
            raise DeviceError("no screen to look at: there is no X display (DISPLAY is not set); start one or look "
                              "elsewhere")  # fmt: skip
        return Place("screen", display, "screen", "x11grab", {"framerate": "10", **soon})
    if "://" in source:
        parts = urlsplit(source)
        if parts.scheme not in ("http", "https", "rtsp"):
            raise ConfigError(f"pictures do not come by {parts.scheme}://; give http://, https:// or rtsp://")
        options = {**brief, "protocol_whitelist": NETWORK}
        if parts.scheme == "rtsp":
            options |= {"rtsp_transport": "tcp", "probesize": str(LONG_PROBE), "analyzeduration": "1000000"}
        return Place(
            "address", source, f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}", None, options
        )
    file = Path(source)
    if not file.is_file():
        what = "is not a file" if file.exists() else "does not exist"
        raise ConfigError(f"{source} {what}; give a file, an address, a camera (/dev/video0) or screen")
    return Place("file", source, file.name, None, {"protocol_whitelist": "file"})


class VideoTrack:
    """The first video track of a place, open. `packets` in order, then `decode` those that are wanted.

    Raises when it is opened: DeviceError for a device or screen that refuses, or pictures that are too large;
    ConfigError for a file without pictures; LinkError for an address that gives none.
    """

    def __init__(self, place: Place, timeout_s: tuple[float, float] = (OPEN_S, READ_S)) -> None:
        """timeout_s: for opening, and for each read."""
        self.place = place
        self.corrupt = 0
        """How many packets could not be decoded."""
        self._broken = 0  # in a row
        self._container = self._open(timeout_s)
        try:
            self._stream = self._first()
            codec = self._stream.codec_context
            self.width, self.height = self._check_size(codec)
            codec.options = {"max_pixels": str(MAX_PX)}
            codec.thread_count = 1  # threads each hold pictures, and delay them
            self.intra = bool(getattr(codec.codec, "intra_only", False))
            """Whether each picture stands alone, so that not all need decoding."""
            rate = self._stream.average_rate or self._stream.guessed_rate
            self.step_s = float(1 / rate) if rate else USUAL_STEP_S
            """The usual time from picture to picture."""
        except BaseException:
            self.close()
            raise

    @property
    def first_s(self) -> float | None:
        """The time of its first picture, as the file has it."""
        return _start_s(self._stream)

    @property
    def sound_first_s(self) -> float | None:
        """The time of the first sound beside it; None when there is no sound."""
        sound = self._container.streams.audio
        return (_start_s(sound[0]) or 0.0) if sound else None

    @property
    def length_s(self) -> float:
        """As its header says; 0 when it does not."""
        return max(0.0, (self._container.duration or 0) / 1e6)

    def close(self) -> None:
        self._container.close()

    def packets(self) -> Iterator[tuple[Any, int]]:
        """Each picture, not yet decoded, with when it arrived on `time.monotonic_ns`; lastly an empty packet.

        Raises LinkError when a live place gives nothing for 10 s or ends, DeviceError when there is only damage.
        """
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (StopIteration, av.error.EOFError):
                packet = None
            except (av.error.ExitError, av.error.TimeoutError) as error:
                raise LinkError(f"{self.place.name} gives no pictures any more; try again") from error
            except (av.error.FFmpegError, ValueError, OSError) as error:
                if self.place.live:
                    raise LinkError(f"{self.place.name} broke off ({_said(error)}); try again") from error
                self._hurt(error)
                continue
            arrived_ns = time.monotonic_ns()
            if packet is None or packet.size == 0:
                if self.place.live:
                    raise LinkError(f"{self.place.name} has ended; try again")
                if packet is not None:
                    yield packet, arrived_ns
                return
            yield packet, arrived_ns

    def decode(self, packet: Any) -> list[Any]:
        """The pictures that this packet completes, often one. What is damaged is skipped and counted."""
        import av

        try:
            frames: list[Any] = packet.decode()
        except (av.error.EOFError, StopIteration):
            return []
        except (av.error.FFmpegError, ValueError, OSError) as error:
            self._hurt(error)
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self.corrupt += len(frames) - len(whole)
        return whole

    def scale(self, frame: Any, scaler: Scaler) -> Pixels | None:
        """A decoded picture as pixels, or None for one whose form makes no sense."""
        import av

        try:
            pixels = scaler.scale(frame)
        except (av.error.FFmpegError, ValueError) as error:
            self._hurt(error)
            return None
        self._broken = 0
        return pixels

    def time_s(self, picture: Any) -> float | None:
        """The place's own time of a packet or picture; None when it gives none."""
        if picture.pts is None or not picture.time_base:
            return None
        return float(picture.pts * picture.time_base)

    def _hurt(self, error: Exception) -> None:
        self.corrupt += 1
        self._broken += 1
        if self._broken >= BROKEN_PACKETS:
            raise DeviceError(f"{self.place.name} gives nothing but damage ({_said(error)}); choose another") from error

    def _open(self, timeout_s: tuple[float, float]) -> Any:
        import av

        place = self.place
        if place.kind == "file":
            _check_file(place)
        options = {"max_pixels": str(MAX_PX), **place.options}
        try:
            return av.open(place.url, format=place.format, options=options, timeout=timeout_s,
                           metadata_errors="replace")  # fmt: skip
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise _refused(place, error) from error

    def _first(self) -> Any:
        import av

        for stream in self._container.streams.video:
            if not stream.disposition & av.stream.Disposition.attached_pic:  # a record's cover is no film
                return stream
        raise ConfigError(f"{self.place.name} has no pictures in it; choose a source with video")

    def _check_size(self, codec: Any) -> tuple[int, int]:
        name = self.place.name
        if not codec.width or not codec.height:  # FFmpeg forgets a size that it refused
            raise DeviceError(
                f"the pictures of {name} are damaged, or larger than {MAX_SIDE_PX} px on a side and "
                f"{MAX_PX // 1_000_000} million px in all; choose a smaller size"
            )
        try:
            check_size(codec.width, codec.height)
        except ProtocolError as error:
            raise DeviceError(f"{name}: {error}") from error
        return codec.width, codec.height


def _check_file(place: Place) -> None:
    path = Path(place.url)
    try:
        with path.open("rb") as opened:
            data = opened.read(1 << 20)
    except OSError as error:
        raise ConfigError(f"{place.name} cannot be read ({error.strerror}); choose another file") from error
    if not data:
        raise ConfigError(f"{place.name} is empty; choose another file")
    if path.suffix.lower() in STILLS:
        try:
            check_header(data)
        except ProtocolError as error:
            raise DeviceError(f"{place.name}: {error}") from error


def _refused(place: Place, error: Exception) -> LiveAgentError:
    said = _said(error)
    if place.kind == "address":
        return LinkError(f"{place.name} gives no pictures ({said}); try again")
    if place.kind == "file":
        return ConfigError(f"{place.name} cannot be read as video ({said}); choose another file")
    hint = "is it in use by another program?"
    if isinstance(error, PermissionError):
        hint = "add yourself to the group that may use it (often: video), and log in again"
    return DeviceError(f"the camera {place.name} cannot be opened ({said}); {hint}")


def _said(error: Exception) -> str:
    """What FFmpeg says, without the address it says it of: a password may stand in that."""
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _start_s(stream: Any) -> float | None:
    return float(stream.start_time * stream.time_base) if stream.start_time is not None else None
