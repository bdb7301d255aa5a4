"""PortAudio, as sounddevice gives it: found or not, its devices by name, and streams that come back.

PortAudio reads its list of devices once. To see one that was plugged in later it must be ended and started again, with
no stream open: `refresh` ends them in an orderly way, and their keepers open them again as after any other loss.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

from liveagent.errors import DeviceError

Kind = Literal["input", "output"]
WORDS = {"input": "microphone", "output": "loudspeaker"}
FIX = "install PortAudio (Debian, Ubuntu: apt install libportaudio2) and sounddevice (pip install sounddevice)"

FIRST_CALLBACK_S = 5.0  # a sound server may take 2 s to begin
STALL_S = 1.0
BACK_S = 0.5  # a stream that fails is asked for a buffer's worth first, and a sound server moves it about meanwhile
LOOK_S = 0.04
RETRY_S = (0.25, 0.5, 1.0, 2.0)
_lock = threading.RLock()  # PortAudio allows no two of opening, closing and starting anew at once
_keepers: list[StreamKeeper] = []


def load() -> ModuleType:
    """The sounddevice module. Raises DeviceError when it, or PortAudio, is not there."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:  # OSError: sounddevice is there, the library it wraps is not
        raise DeviceError(f"no microphone and no loudspeaker, PortAudio is missing: {FIX}") from error
    module: ModuleType = sounddevice
    return module


def refresh() -> None:
    """Read the list of devices anew. Ends every open stream of this process; kept ones open again by themselves."""
    sd = load()
    with _lock:
        for keeper in list(_keepers):
            keeper.end()
        sd._terminate()
        sd._initialize()


def find(device: str | int | None, kind: Kind) -> dict[str, Any]:
    """sounddevice's entry of that device: by name (a part is enough), by number, or the default one.

    Raises DeviceError that names what there is.
    """
    sd = load()
    with _lock:
        try:
            return dict(sd.query_devices(device, kind))
        except (sd.PortAudioError, ValueError) as error:
            there = [d["name"] for d in sd.query_devices() if d[f"max_{kind}_channels"] > 0]
            which = f"no {WORDS[kind]}" if device is None else f"no {WORDS[kind]} called {device!r}"
            what = f"there are: {', '.join(there)}" if there else "there is none at all"
            raise DeviceError(f"{which}; {what}. Plug one in or choose another") from error


def open_stream(
    device: str | int | None,
    kind: Kind,
    rate_hz: int,
    block_ms: int,
    latency_s: float,
    make_callback: Callable[[int], Callable[..., None]],
) -> Any:
    """A started mono stream at rate_hz where the device can, else at its own rate, else with two channels.

    make_callback: given the rate that was agreed on, before the first call. Raises DeviceError when the device refuses.
    """
    sd = load()
    entry = find(device, kind)
    own_hz = int(entry["default_samplerate"])
    channels = min(2, int(entry[f"max_{kind}_channels"]))
    kinds = {"input": sd.InputStream, "output": sd.OutputStream}
    tries = list(dict.fromkeys([(rate_hz, 1), (own_hz, 1), (rate_hz, channels), (own_hz, channels)]))
    with _lock:
        for hz, count in tries:
            stream = None
            try:
                stream = kinds[kind](
                    samplerate=hz,
                    blocksize=hz * block_ms // 1_000,
                    device=entry["index"],
                    channels=count,
                    dtype="float32",
                    latency=latency_s,
                    callback=make_callback(hz),
                )
                stream.start()
                return stream
            except sd.PortAudioError as error:
                failed = error
                if stream is not None:
                    with contextlib.suppress(sd.PortAudioError):
                        stream.close()
    raise DeviceError(
        f"the {WORDS[kind]} {entry['name']!r} cannot be opened ({failed.args[0]}); is it in use by another program?"
    ) from failed


class StreamKeeper:
    """Opens a stream, notices when it ends or falls silent, and opens it again, waiting longer each time up to 2 s.

    open: makes a started stream or raises DeviceError. busy: whether ending the stream now would be heard.
    on_lost(message), on_back(): told once each, in this keeper's thread; back is what has run for half a second. Until
    then the stream is on trial: its callback runs and `lost` still holds. on_absent(): every 40 ms while lost and
    while no callback runs.
    """

    def __init__(
        self,
        open: Callable[[], Any],
        busy: Callable[[], bool],
        on_lost: Callable[[str], None],
        on_back: Callable[[], None],
        on_absent: Callable[[], None] = lambda: None,
    ) -> None:
        self._open, self._busy = open, busy
        self._on_lost, self._on_back, self._on_absent = on_lost, on_back, on_absent
        self._stream: Any = None
        self._closing = threading.Event()
        self._deadline_s = 0.0
        self._first_s: float | None = None  # of this stream: its first callback, and the latest
        self._latest_s = 0.0
        self.lost = False
        self._thread = threading.Thread(target=self._keep, name="portaudio", daemon=True)

    def start(self) -> None:
        """Open for the first time. Raises DeviceError."""
        self._begin()
        _keepers.append(self)
        self._thread.start()

    def beat(self) -> None:
        """The stream's callback ran."""
        now_s = time.monotonic()
        if self._first_s is None:
            self._first_s = now_s
        self._latest_s = now_s
        self._deadline_s = now_s + STALL_S

    def close(self) -> None:
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        if self in _keepers:
            _keepers.remove(self)
        self.end()

    def end(self) -> None:
        with _lock:
            stream, self._stream = self._stream, None
            if stream is not None:
                # An ended or broken stream says so when it is closed; it is gone either way.
                with contextlib.suppress(Exception):
                    stream.abort(ignore_errors=True)
                with contextlib.suppress(Exception):
                    stream.close(ignore_errors=True)
            self._first_s = None

    def _begin(self) -> None:
        self._first_s = None
        stream = self._open()
        with _lock:
            self._stream = stream
        self._deadline_s = time.monotonic() + FIRST_CALLBACK_S

    def _trouble(self) -> str:
        with _lock:
            if self._stream is None or not self._stream.active:
                return "it was unplugged, or its sound server ended"
            return "it has fallen silent" if time.monotonic() > self._deadline_s else ""

    def _keep(self) -> None:
        while not self._closing.wait(LOOK_S):
            trouble = self._trouble()
            if trouble:
                self.lost = True
                self.end()
                self._on_lost(trouble)
                self._return()

    def _proven(self) -> bool:
        """Whether this stream's callback has been running for long enough to count as a device."""
        return self._first_s is not None and self._latest_s - self._first_s >= BACK_S

    def _on_trial(self) -> bool:
        return self.lost and self._first_s is not None

    def _return(self) -> None:
        tries, next_s, opened = 0, time.monotonic(), False
        while not self._closing.wait(LOOK_S):
            if opened and self._trouble():  # a sound server may open what it cannot serve
                self.end()
                opened = False
                tries += 1
                next_s = time.monotonic() + RETRY_S[min(tries, len(RETRY_S) - 1)]
            if opened and self._proven():
                self.lost = False
                self._on_back()
                return
            if not self._on_trial():  # a stream on trial brings its own time along
                self._on_absent()
            if opened or time.monotonic() < next_s:
                continue
            try:
                self._begin()
                opened = True
            except DeviceError:
                self.end()
                tries += 1
                if tries % 3 == 0 and not any(k._busy() or k._on_trial() for k in list(_keepers) if k is not self):
                    refresh()
            next_s = time.monotonic() + RETRY_S[min(tries, len(RETRY_S) - 1)]
