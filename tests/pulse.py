"""A sound card without hardware: a PulseAudio of our own with null sinks, in a temporary folder, ended by its pid.

What is played to `micfeed` is heard by `mic`; what is played to `speaker` can be recorded from `spkmon`.
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

import pytest

ALSA_CONF = Path("/usr/share/alsa/alsa.conf")
DEVICES = """load-module module-null-sink sink_name=spk rate=48000 channels=1 channel_map=mono
load-module module-null-sink sink_name=mic_src rate=48000 channels=1 channel_map=mono
load-module module-remap-source master=mic_src.monitor source_name=mic
"""
DEFAULT_PA = "load-module module-native-protocol-unix socket={socket} auth-anonymous=1\n" + DEVICES
ASOUND = """<{conf}>
pcm.speaker {{ type pulse device "spk"         hint {{ show on description "x" }} }}
pcm.mic     {{ type pulse device "mic"         hint {{ show on description "x" }} }}
pcm.spkmon  {{ type pulse device "spk.monitor" hint {{ show on description "x" }} }}
pcm.micfeed {{ type pulse device "mic_src"     hint {{ show on description "x" }} }}
pcm.!default {{ type asym playback.pcm "speaker" capture.pcm "mic" }}
"""


def missing() -> str:
    """Why the fixture cannot run here, or ""."""
    for program in ("pulseaudio", "pactl"):
        if shutil.which(program) is None:
            return f"{program} is not installed (apt-get install pulseaudio pulseaudio-utils)"
    if not ALSA_CONF.exists():
        return "alsa's configuration is not installed (apt-get install libasound2-data)"
    plugins = list(Path("/usr/lib").glob("*/alsa-lib/libasound_module_pcm_pulse.so"))
    if not plugins:
        return "ALSA cannot reach PulseAudio (apt-get install libasound2-plugins)"
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        return f"no PortAudio (apt-get install libportaudio2): {error}"
    return ""


class Pulse:
    """A running server. Within `unplugged` it has no device, within `silent` its microphone says nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = f"unix:{folder}/native"
        self.environment = {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PULSE_RUNTIME_PATH": str(folder),
            "PULSE_SERVER": self.server,
            "ALSA_CONFIG_PATH": str(folder / "asound.conf"),
        }

    def start(self) -> subprocess.Popen[bytes]:
        (self.folder / "default.pa").write_text(DEFAULT_PA.format(socket=self.folder / "native"))
        (self.folder / "asound.conf").write_text(ASOUND.format(conf=ALSA_CONF))
        arguments = ["--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no", "--log-level=error"]
        process = subprocess.Popen(
            ["pulseaudio", "-n", "-F", str(self.folder / "default.pa"), *arguments],
            env=os.environ | self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            if "mic\t" in self.pactl("list", "short", "sources", check=False):
                return process
            time.sleep(0.05)
        process.kill()
        process.wait()
        raise RuntimeError("pulseaudio did not start")

    def pactl(self, *arguments: str, check: bool = True) -> str:
        return subprocess.run(
            ["pactl", *arguments], env=os.environ | self.environment, capture_output=True, text=True, check=check
        ).stdout

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Take every device away: with one left, PulseAudio would move the streams there. They come back whatever
        happens inside: the tests that follow use them too."""
        for line in self.pactl("list", "short", "modules").splitlines():
            number, name, *_ = line.split("\t")
            if name in ("module-remap-source", "module-null-sink"):
                self.pactl("unload-module", number, check=False)  # one may have taken another with it
        try:
            yield
        finally:
            for line in DEVICES.splitlines():
                self.pactl(*line.split())

    @contextmanager
    def silent(self) -> Iterator[None]:
        """The microphone says nothing any more, without a word of error."""
        self.pactl("suspend-source", "mic", "1")
        try:
            yield
        finally:
            self.pactl("suspend-source", "mic", "0")


@contextmanager
def running() -> Iterator[Pulse]:
    """Starts a server, points this process's PortAudio at it, and undoes both."""
    from liveagent.ports import portaudio

    with tempfile.TemporaryDirectory(prefix="pulse") as name:
        pulse = Pulse(Path(name))
        os.chmod(name, 0o700)
        process = pulse.start()
        before = {key: os.environ.get(key) for key in pulse.environment}
        os.environ.update(pulse.environment)
        try:
            portaudio.refresh()
            yield pulse
        finally:
            for key, value in before.items():
                if value is None:
                    os.environ.pop(key, None)
                else:
                    os.environ[key] = value
            process.terminate()
            process.wait(10)
            portaudio.refresh()


@pytest.fixture(scope="module")
def pulse() -> Iterator[Pulse]:
    why = missing()
    if why and os.environ.get("CI") == "true":
        pytest.fail(why)
    if why:
        pytest.skip(why)
    with running() as server:
        yield server
