"""What `liveagent doctor` finds: what is there, whether it works here, how long a tick takes, and what to mend.

Every look is on its own: a part that is missing or broken is a finding, and keeps no other from being looked at.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import socket
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from liveagent.errors import LiveAgentError
from liveagent.probe import Probe

TICK_MS = 80.0
MEASURED_TICKS = 60
WARM_TICKS = 4  # the first ones load kernels


@dataclass(frozen=True, slots=True)
class Finding:
    """One look. `needed`: without it no session runs; the rest only costs what it gives."""

    name: str
    ok: bool
    what: str
    fix: str = ""
    needed: bool = False


def probe_all(measure: bool = True) -> list[Finding]:
    """Look at everything; takes a few seconds. `measure`: also run ticks of the real model."""
    looks: list[tuple[str, bool, Callable[[], Probe]]] = [
        ("python", True, _python),
        ("torch", True, _torch),
        ("threads", False, _threads),
        ("torchaudio", True, _torchaudio),
        ("llguidance", True, lambda: _package("llguidance")),
        ("av", True, lambda: _package("av")),
        ("weights", True, _weights),
        ("vad", True, _vad),
        ("recogniser", False, _recogniser),
        ("voice", False, _voice),
        ("portaudio", False, _portaudio),
        ("microphone", False, _microphone),
        ("loudspeaker", False, _loudspeaker),
        ("camera", False, _camera),
        ("clip", False, _clip),
        ("server", False, _server),
        ("page", False, _page),
        ("port", False, _port),
        ("certificate", False, _certificate),
    ]
    findings = [_look(name, needed, look) for name, needed, look in looks]
    if measure and all(each.ok for each in findings if each.needed):
        findings.append(_look("tick", False, _ticks))
    return findings


def _look(name: str, needed: bool, look: Callable[[], Probe]) -> Finding:
    try:
        found = look()
    except LiveAgentError as error:
        found = Probe(False, str(error))
    except Exception as error:  # whatever a broken installation throws is what was to be found out
        fix = f"pip install --force-reinstall {name}" if needed else ""
        found = Probe(False, f"{type(error).__name__}: {error}", fix)
    return Finding(name, found.ok, found.what, found.fix, needed)


def _python() -> Probe:
    what = f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Probe(True, what) if sys.version_info >= (3, 11) else Probe(False, what, "use Python 3.11 or newer")


def _package(name: str) -> Probe:
    try:
        return Probe(True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Probe(False, "not installed", f"pip install {name}")


def _torch() -> Probe:
    import torch

    cuda = "CUDA " + torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU, which is enough"
    return Probe(True, f"{torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {cuda}")


def _threads() -> Probe:
    import torch

    threads = torch.get_num_threads()
    waits = os.environ.get("OMP_WAIT_POLICY", "").lower()
    count = os.environ.get("OMP_NUM_THREADS", "unset")
    what = f"{threads} for torch, OMP_WAIT_POLICY={waits or 'unset'}, OMP_NUM_THREADS={count}"
    if threads > 1 and waits != "passive":
        return Probe(False, what, "export OMP_WAIT_POLICY=passive: threads that wait by spinning are 100 times slower")
    return Probe(True, what)


def _torchaudio() -> Probe:
    from liveagent.nn import torchaudio_cpu

    return Probe(True, str(torchaudio_cpu.load().__version__))


def _weights() -> Probe:
    from liveagent.nn.model import FILES, weights_folder
    from liveagent.nn.nano import Nano

    folder = weights_folder()
    nano = Nano.load(folder)
    size = sum((folder / name).stat().st_size for name in FILES) / 1e6
    return Probe(True, f"nano {nano.fingerprint}, {size:.1f} MB")


def _vad() -> Probe:
    from liveagent.nn.vad import Vad

    Vad.load()
    return _package("silero-vad")


def _recogniser() -> Probe:
    from liveagent.automaton import Automaton
    from liveagent.ports.recogniser import Recogniser

    Recogniser(Automaton.of((), ["hello"]))
    return Probe(True, f"PocketSphinx {importlib.metadata.version('pocketsphinx')} with its English model")


def _voice() -> Probe:
    from liveagent.ports.espeak import EspeakVoice

    return EspeakVoice().probe()


def _portaudio() -> Probe:
    from liveagent.ports import portaudio

    try:
        module = portaudio.load()
    except LiveAgentError as error:
        return Probe(False, str(error), portaudio.FIX)
    names = [f"{each['name']} ({each['max_input_channels']} in, {each['max_output_channels']} out)"
             for each in module.query_devices()]  # fmt: skip
    said = "; ".join(names) if names else "no device at all: is a sound server running?"
    return Probe(True, f"sounddevice {module.__version__}: {said}")


def _microphone() -> Probe:
    from liveagent.ports.mic import Mic

    return Mic().probe()


def _loudspeaker() -> Probe:
    from liveagent.ports.speaker import Speaker

    return Speaker().probe()


def _camera() -> Probe:
    from liveagent.ports.camera import Camera

    return Camera().probe()


def _clip() -> Probe:
    from liveagent.runtime.devices import clip_path

    path = clip_path()
    return Probe(True, f"{path.name}, {path.stat().st_size / 1e6:.1f} MB")


def _server() -> Probe:
    """What `serve` is made of. uvicorn reads websockets with either loop; uvloop's costs half as much a frame."""
    for name in ("uvicorn", "websockets"):
        if not (found := _package(name)).ok:
            return found
    what = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("uvicorn", "websockets"))
    if sys.platform == "win32":  # uvloop is not made for it
        return Probe(True, f"{what}, asyncio's own loop")
    loop = _package("uvloop")
    return Probe(loop.ok, f"{what}, {f'uvloop {loop.what}' if loop.ok else 'no uvloop: a frame costs twice'}", loop.fix)


def _page() -> Probe:
    from liveagent.runtime.page import Page

    page = Page()
    if page.get("") is None:
        return Probe(False, "the web page's files are missing", "install liveagent again")
    files = [file for name in page.names if name and (file := page.get(name)) is not None]
    return Probe(True, f"{len(files)} files, {sum(len(data) for data, _ in files) / 1e3:.0f} kB")


def _port() -> Probe:
    from liveagent.runtime.serve import Place

    place = Place()
    where = f"port {place.port} of {place.host}"
    try:
        socket.create_server((place.host, place.port)).close()
    except OSError as error:
        return Probe(False, f"{where} is not to be had ({error.strerror})", "liveagent serve --port 0 takes a free one")
    return Probe(True, f"{where} is free")


def _certificate() -> Probe:
    """`--tls-self-signed`, which nothing is kept of; and whether there is a place for it."""
    from liveagent.ports.certificate import make, own_names
    from liveagent.runtime.serve import state_folder

    names = own_names()
    make(names)
    folder = there = state_folder()
    while not there.exists():
        there = there.parent
    if not os.access(there, os.W_OK):
        return Probe(False, f"nothing can be written to {folder}", "make it writable, or give --tls-cert and --tls-key")
    return Probe(True, f"--tls-self-signed would be good for {', '.join(names)}")


def _ticks() -> Probe:
    """The first seconds of the shipped clip through a session of the shipped agent, with a command and its answer."""
    times = asyncio.run(_tick_times_ms())
    times.sort()
    middle, high = statistics.median(times), times[len(times) * 95 // 100]
    what = f"p50 {middle:.1f} ms, p95 {high:.1f} ms, of the {TICK_MS:.0f} ms there are ({len(times)} ticks)"
    if high < TICK_MS:
        return Probe(True, what)
    return Probe(False, what, "sound will be answered late: end other programs, or choose a faster machine")


async def _tick_times_ms() -> list[float]:
    from liveagent.audio import Chunker
    from liveagent.load import load_agent
    from liveagent.ports.media import MediaFile
    from liveagent.runtime.devices import clip_path
    from liveagent.runtime.session import SILENT_SAMPLES
    from liveagent.runtime.talk import open_session

    times: list[float] = []
    chunker = Chunker()
    async with open_session(load_agent("voice")) as session:
        async for chunk in MediaFile(str(clip_path()), real_time=False):
            for tick in chunker.feed(chunk):
                start = time.perf_counter()
                await session.tick(tick, [], SILENT_SAMPLES)
                times.append((time.perf_counter() - start) * 1e3)
            if len(times) >= WARM_TICKS + MEASURED_TICKS:
                break
    return times[WARM_TICKS:]
