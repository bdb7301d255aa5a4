"""The camera: what it sees, newest first, stamped with when it was taken.

Nothing is lost without a word: pictures that nobody looked at are counted on the next one that somebody does. A camera
that is unplugged, ends or falls silent is told as lost, looked for again and told as back; one that shows the very same
picture again and again, or that hangs, is told as frozen.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing

import numpy as np

from liveagent.clock import ClockFit, Pace, Timeline
from liveagent.errors import ConfigError, LiveAgentError
from liveagent.event import CameraFroze, DeviceBack, DeviceLost
from liveagent.ports.scaler import Scaler
from liveagent.ports.videotrack import OPEN_S, READ_S, VideoTrack, cameras, place_of
from liveagent.probe import Probe
from liveagent.video import Pixels, VideoFrame

RETRY_S = (0.25, 0.5, 1.0, 2.0)
FREEZE_S = 5.0  # a camera's noise changes some pixel of every picture; a network may be held up for less than this
CLOSE_S = 1.0
RING = 8  # a second and a half at 5 pictures a second


class Camera:
    """`start` it, then `read` from anywhere: the newest picture, once; `close` it.

    source: "camera" (the first there is), "/dev/video0", an address (rtsp, or http with MJPEG or any stream), "screen",
    or a file, which runs at its own pace and ends. fps: how many pictures a second are looked at, at most. size_px: see
    `Scaler`. on_event: told CameraFroze, DeviceLost and DeviceBack, in a thread of the camera's or in the reader's.
    freeze_s: how long without a new picture is frozen.

    A live picture's time is that of its arrival on `time.monotonic_ns`, corrected by the camera's own clock once that
    is known; a file's is its own, counted from `start_ns` (None: the moment of `start`). Times only grow. At every
    moment received_frames = pictures read + what they have as `dropped` + waiting_frames.
    """

    def __init__(
        self,
        source: str = "camera",
        fps: float = 5.0,
        size_px: int | None = 128,
        on_event: Callable[[CameraFroze | DeviceLost | DeviceBack], None] = lambda event: None,
        start_ns: int | None = None,
        freeze_s: float = FREEZE_S,
        timeout_s: tuple[float, float] = (OPEN_S, READ_S),
    ) -> None:
        if not 0 < fps <= 60:
            raise ConfigError(f"{fps} pictures a second: choose more than 0 and at most 60")
        self._source, self._on_event, self._start_ns = source, on_event, start_ns
        self._step_ns = round(1e9 / fps)
        self._scaler, self._timeout_s = Scaler(size_px), timeout_s
        self._freeze_ns = round(freeze_s * 1e9)
        self._lock = threading.Lock()
        self._ring: deque[tuple[Pixels, int, int]] = deque()  # pixels, t_ns, dropped before it
        self._unshown = 0  # came since the last in the ring
        self._taken_ns: int | None = None  # of the last picture that was looked at
        self._last: Pixels | None = None
        self._changed_ns = 0
        self._noisy = False  # whether standing still is wrong
        self._watched = False  # and no loss already says so
        self._opened, self._closing = threading.Event(), threading.Event()
        self._refusal: LiveAgentError | None = None
        self._thread: threading.Thread | None = None
        self.name = "camera"
        self.clock = ClockFit()
        """The camera's own clock against this machine's: drift, jumps."""
        self.lost = False
        self.frozen = False
        self.ended = False
        """A file was shown to its end."""
        self.received_frames = 0
        self.corrupt = 0
        """Packets that could not be decoded."""
        self.mended_times = 0
        """Times of a file that were missing, or did not grow."""

    @property
    def waiting_frames(self) -> int:
        """Came, and neither read nor counted on one that was."""
        with self._lock:
            return self._unshown + sum(1 + dropped for _, _, dropped in self._ring)

    @property
    def pixels(self) -> Pixels | None:
        """The newest picture, read or not; not to be written to."""
        return self._last

    def start(self) -> None:
        """Raises DeviceError, ConfigError or LinkError that says what is missing; may take 10 s to find that out."""
        if self._thread is not None:
            return
        self._closing.clear()
        self._opened.clear()
        self.ended = self.lost = self.frozen = False
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._thread.start()
        self._opened.wait()
        if self._refusal is not None:
            self._thread = None
            raise self._refusal

    def close(self) -> None:
        """Look away. A camera that hangs lets go of its device when its time is over, at the latest after 10 s."""
        self._closing.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(CLOSE_S)

    def read(self, by_ns: int | None = None) -> VideoFrame | None:
        """The newest picture that was taken by `by_ns` (None: at all) and was not yet read, without waiting.

        Those taken later wait, a few of them: of one whose session is far behind its camera, the oldest that waits.
        """
        with self._lock:
            dropped, newest = 0, None
            while self._ring and (by_ns is None or self._ring[0][1] <= by_ns or len(self._ring) == RING):
                dropped += (newest is not None) + self._ring[0][2]
                newest = self._ring.popleft()
            still_ns = time.monotonic_ns() - self._changed_ns
            froze = self._watched and not (self.frozen or self.lost) and still_ns > self._freeze_ns
            self.frozen = self.frozen or froze
        if froze:
            self._on_event(CameraFroze(time.monotonic_ns(), self.name, still_ns // 1_000_000))
        return VideoFrame(newest[0], newest[1], dropped) if newest is not None else None

    def probe(self) -> Probe:
        """Whether it would give pictures here. A device is looked up and not switched on."""
        try:
            place = place_of(self._source)
            if place.kind == "device":
                return Probe(True, "; ".join(f"{path} {name!r}" for path, name in cameras()) or place.name)
            with closing(VideoTrack(place, self._timeout_s)) as track:
                return Probe(True, f"{place.name}: {track.width} x {track.height} px")
        except LiveAgentError as error:
            return Probe(False, str(error), "plug in a camera, or look at an address, a file or the toy table")

    # ---- in the camera's thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        tries, self._refusal = 0, None
        while not self._closing.is_set():
            try:
                track = VideoTrack(place_of(self._source), self._timeout_s)
            except LiveAgentError as error:
                if not self._opened.is_set():
                    self._refusal = error
                    self._opened.set()
                    return
                tries += 1
                self._closing.wait(RETRY_S[min(tries, len(RETRY_S)) - 1])
                continue
            before = self.received_frames
            message = self._show(track)
            if self.ended or self._closing.is_set():
                return
            tries = 0 if self.received_frames > before else tries + 1
            with self._lock:
                lost, self.lost, self._watched = self.lost, True, False
            if not lost:
                said = f"the camera is lost: {message.removesuffix('; try again')}; it is looked for again"
                self._on_event(DeviceLost(time.monotonic_ns(), self.name, said))
            self._closing.wait(RETRY_S[min(tries, len(RETRY_S) - 1)])

    def _show(self, track: VideoTrack) -> str:
        """Until it ends; then says why, if that is anybody's business."""
        self.name = track.place.name
        with self._lock:
            self._changed_ns = time.monotonic_ns()
            self._noisy = track.place.kind in ("device", "address")
            self._watched = self._noisy and not self.lost
        if not self._opened.is_set():
            if self._start_ns is None:
                self._start_ns = time.monotonic_ns()
            self._opened.set()
        corrupt = self.corrupt
        try:
            with closing(track):
                self._live(track) if track.place.live else self._play(track)
        except LiveAgentError as error:
            if not track.place.live:  # the rest of a file is damage
                self.ended = True
            return str(error)
        finally:
            self.corrupt = corrupt + track.corrupt
        return ""

    def _live(self, track: VideoTrack) -> None:
        """All pictures are counted and tell their clock; only those that are due are decoded, where that can be."""
        pace = Pace(self._step_ns)
        for packet, arrived_ns in track.packets():
            if self._closing.is_set():
                return
            due = pace.is_due(arrived_ns)
            if not due and track.intra:
                self._time_ns(track, packet, arrived_ns)
                self._skip()
                continue
            for frame in track.decode(packet):
                t_ns = self._time_ns(track, frame, arrived_ns)
                pixels = track.scale(frame, self._scaler) if due else None
                if pixels is None:
                    self._skip()
                else:
                    self._put(pixels, t_ns)
                    pace.take(arrived_ns)

    def _time_ns(self, track: VideoTrack, picture: object, arrived_ns: int) -> int:
        time_s = track.time_s(picture)
        return arrived_ns if time_s is None else self.clock.feed(round(time_s * 1e9), arrived_ns)

    def _play(self, track: VideoTrack) -> None:
        """A file, at its own pace: each picture when it is its time."""
        assert self._start_ns is not None
        begin_ns = time.monotonic_ns()
        line = Timeline(track.step_s)
        pace = Pace(self._step_ns)
        for packet, _ in track.packets():
            for frame in track.decode(packet):
                at_ns = round(line.feed(track.time_s(frame)) * 1e9)
                self.mended_times = line.mended
                if self._closing.wait(max(0.0, (begin_ns + at_ns - time.monotonic_ns()) / 1e9)):
                    return
                pixels = track.scale(frame, self._scaler) if pace.is_due(at_ns) else None
                if pixels is None:
                    self._skip()
                else:
                    self._put(pixels, self._start_ns + at_ns)
                    pace.take(at_ns)
        self.ended = True

    def _skip(self) -> None:
        with self._lock:
            self.received_frames += 1
            self._unshown += 1

    def _put(self, pixels: Pixels, t_ns: int) -> None:
        with self._lock:
            self.received_frames += 1
            if self._taken_ns is not None and t_ns <= self._taken_ns:  # after a second opening, say
                t_ns = self._taken_ns + 1
            self._taken_ns = t_ns
            dropped, self._unshown = self._unshown, 0
            if len(self._ring) == RING:  # the oldest gives way, and the next to be read says so
                lost = 1 + self._ring.popleft()[2]
                oldest = self._ring.popleft()
                self._ring.appendleft((oldest[0], oldest[1], oldest[2] + lost))
            self._ring.append((pixels, t_ns, dropped))
            moved = self._last is None or not np.array_equal(pixels, self._last)
            self._last = pixels
            back = self.lost or (self.frozen and moved)
            if moved:
                self._changed_ns = time.monotonic_ns()
            if back:
                self.lost = self.frozen = False
                self._changed_ns, self._watched = time.monotonic_ns(), self._noisy
        if back:
            self._on_event(DeviceBack(time.monotonic_ns(), self.name))
