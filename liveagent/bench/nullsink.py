"""`NullSink`: a sound card of no hardware, whose sound is recorded: a PulseAudio of our own, ended by its pid.

The recording comes from the sink's monitor through PulseAudio's own program, so none of our code is in its way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from liveagent.audio import RATE_HZ, Samples

_PROGRAMS = ("pulseaudio", "pactl", "parec")
_ALSA = Path("/usr/share/alsa/alsa.conf")
_SERVER = """load-module module-native-protocol-unix socket={socket} auth-anonymous=1
load-module module-null-sink sink_name=spk rate=48000 channels=1 channel_map=mono
"""
_DEVICES = '<{conf}>\npcm.!default {{ type pulse device "spk" hint {{ show on description "x" }} }}\n'


class NullSink:
    """A running server with one sink, being recorded."""

    def __init__(self, recorder: subprocess.Popen[bytes], file: Path) -> None:
        self._recorder, self._file = recorder, file

    def recording(self) -> Samples:
        """Everything that sounded since the start, 16 kHz."""
        raw = self._file.read_bytes()
        return np.frombuffer(raw[: len(raw) // 2 * 2], np.int16).astype(np.float32) / np.float32(32768.0)


def missing() -> str:
    """What this machine lacks for it, or ""."""
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            return f"{program} is not installed"
    if not _ALSA.exists() or not list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so")):
        return "ALSA cannot reach PulseAudio"
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError):
        return "no PortAudio"
    return ""


@contextmanager
def null_sink() -> Iterator[NullSink]:
    """Start a server, make it this process's default device, record it; undo all of it. Raises RuntimeError."""
    from liveagent.ports import portaudio

    with tempfile.TemporaryDirectory(prefix="liveagent") as name:
        folder = Path(name)
        (folder / "server.pa").write_text(_SERVER.format(socket=folder / "native"))
        (folder / "asound.conf").write_text(_DEVICES.format(conf=_ALSA))
        own = {
            "HOME": name, "XDG_RUNTIME_DIR": name, "PULSE_RUNTIME_PATH": name,
            "PULSE_SERVER": f"unix:{folder}/native", "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }  # fmt: skip
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": os.environ | own}
        options = ["--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "-F", str(folder / "server.pa")]
        server = subprocess.Popen(["pulseaudio", "-n", *options], **quiet)  # type: ignore[call-overload]
        before = {key: os.environ.get(key) for key in own}
        recorder: subprocess.Popen[bytes] | None = None
        try:
            _await_sink(server, os.environ | own)
            file = folder / "heard.raw"
            listen = ["parec", "-d", "spk.monitor", f"--rate={RATE_HZ}", "--channels=1", "--format=s16le"]
            with file.open("wb") as out:
                recorder = subprocess.Popen(
                    [*listen, "--latency-msec=20"], stdout=out, stderr=subprocess.DEVNULL, env=os.environ | own
                )
            os.environ.update(own)
            portaudio.refresh()
            yield NullSink(recorder, file)
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
            for process in (recorder, server):
                if process is not None:
                    process.terminate()
                    process.wait(10)
            portaudio.refresh()


def _await_sink(server: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        sinks = subprocess.run(["pactl", "list", "short", "sinks"], env=environment, capture_output=True, text=True)
        if "spk\t" in sinks.stdout:
            return
        time.sleep(0.1)
    raise RuntimeError("pulseaudio did not start")
