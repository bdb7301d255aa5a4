"""`SoundRoom`: a loudspeaker and a microphone of no hardware on one clock, both recorded: a PulseAudio of our own.

One null sink of two channels is the room: programs play into its left one (`spk`), what is said goes into its right one
(`voice`), which is also their microphone (`mic`). Its monitor, recorded by PulseAudio's own program, so holds what was
said and what was answered sample by sample side by side, with nothing of ours in between.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from liveagent.audio import RATE_HZ, Samples

PROGRAMS = ("pulseaudio", "pactl", "parec", "pacat")
_LEFT, _RIGHT = "front-left", "front-right"
_SERVER = f"""load-module module-native-protocol-unix socket={{socket}} auth-anonymous=1
load-module module-null-sink sink_name=room rate=48000 channels=2 channel_map={_LEFT},{_RIGHT}
load-module module-remap-sink sink_name=spk master=room channels=1 channel_map=mono master_channel_map={_LEFT} remix=no
load-module module-remap-sink sink_name=voice master=room channels=1 channel_map=mono master_channel_map={_RIGHT} \
remix=no
load-module module-remap-source source_name=mic master=room.monitor channels=1 channel_map=mono \
master_channel_map={_RIGHT} remix=no
set-default-sink spk
set-default-source mic
"""


class SoundRoom:
    """A running room. `environment` is what a program needs to be in it."""

    def __init__(self, environment: Mapping[str, str], file: Path) -> None:
        self.environment, self._file = environment, file

    def say(self, samples: Samples) -> None:
        """Play `[T]` float32 at 16 kHz where the microphone is; returns when it has been played."""
        pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
        play = ["pacat", "-d", "voice", f"--rate={RATE_HZ}", "--channels=1", "--format=s16le", "--latency-msec=40"]
        subprocess.run(play, input=pcm, env=self.environment, check=True, stderr=subprocess.DEVNULL)

    def recording(self) -> tuple[Samples, Samples]:
        """(what programs played, what was said), both at 16 kHz, from the start up to now."""
        raw = self._file.read_bytes()
        both = np.frombuffer(raw[: len(raw) // 4 * 4], "<i2").reshape(-1, 2).astype(np.float32) / np.float32(32768)
        return both[:, 0], both[:, 1]


def missing() -> str:
    """What this machine lacks for it, or ""."""
    lacks = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"{', '.join(lacks)} not installed: apt-get install pulseaudio pulseaudio-utils" if lacks else ""


@contextmanager
def sound_room() -> Iterator[SoundRoom]:
    """Start a server, record it, end both. RuntimeError where it does not start."""
    with tempfile.TemporaryDirectory(prefix="liveagent") as name:
        folder = Path(name)
        (folder / "server.pa").write_text(_SERVER.format(socket=folder / "native"))
        own = {
            "HOME": name, "XDG_RUNTIME_DIR": name, "PULSE_RUNTIME_PATH": name, "PULSE_SERVER": f"unix:{folder}/native"
        }  # fmt: skip
        environment = dict(os.environ) | own
        silent = subprocess.DEVNULL
        options = ["--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "-F", str(folder / "server.pa")]
        server = subprocess.Popen(["pulseaudio", "-n", *options], stdout=silent, stderr=silent, env=environment)
        recorder: subprocess.Popen[bytes] | None = None
        try:
            _await(server, environment)
            file = folder / "room.raw"
            listen = ["parec", "-d", "room.monitor", f"--rate={RATE_HZ}", "--channels=2", "--format=s16le"]
            with file.open("wb") as out:
                recorder = subprocess.Popen(
                    [*listen, "--latency-msec=20"], stdout=out, stderr=silent, env=environment
                )
            yield SoundRoom(environment, file)
        finally:
            for process in (recorder, server):
                if process is not None:
                    process.terminate()
                    process.wait(10)


def _await(server: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        sources = subprocess.run(["pactl", "list", "short", "sources"], env=environment, capture_output=True, text=True)
        if "mic\t" in sources.stdout:
            return
        time.sleep(0.1)
    raise RuntimeError("pulseaudio did not start")
