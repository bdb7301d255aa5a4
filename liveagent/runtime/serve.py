"""`liveagent serve`: an agent, the page and everything else of `Server`, on an address of this machine.

On the loopback nobody needs a key and there is no TLS unless it is wanted. Elsewhere both must be there: what a
microphone hears does not cross a network in the clear, nor is it heard by whoever finds the port.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from liveagent.agent import Agent
from liveagent.errors import ConfigError
from liveagent.ports.certificate import fingerprint, own_names, self_signed
from liveagent.ports.qr import qr_text
from liveagent.ports.webserver import WebServer
from liveagent.runtime.door import is_loopback
from liveagent.runtime.house import OpenHouse
from liveagent.runtime.logline import JsonLines, PlainLines
from liveagent.runtime.server import Server

Tell: TypeAlias = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Where to serve. `certificate`, `key_file`: PEM files; `self_signed`: make them. `keys`: who may come."""

    host: str = "127.0.0.1"
    port: int = 8000
    certificate: Path | None = None
    key_file: Path | None = None
    self_signed: bool = False
    keys: Sequence[str] = ()
    origins: Sequence[str] = ()

    def check(self) -> None:
        """ConfigError that says everything that is missing."""
        if (self.certificate is None) != (self.key_file is None):
            raise ConfigError("--tls-cert and --tls-key belong together: give both, or --tls-self-signed")
        if self.self_signed and self.certificate is not None:
            raise ConfigError("--tls-self-signed makes a certificate, --tls-cert names one: choose one of them")
        if is_loopback(self.host):
            return
        missing = []
        if self.certificate is None and not self.self_signed:
            missing.append("TLS (--tls-self-signed, or --tls-cert and --tls-key)")
        if not self.keys:
            missing.append("a key (LIVEAGENT_KEY, or --key)")
        if missing:
            raise ConfigError(f"--host {self.host} can be reached from elsewhere, which needs {' and '.join(missing)}")

    def files(self) -> tuple[Path, Path] | None:
        """Certificate and key, made now if that is wanted."""
        if self.self_signed:
            return self_signed(state_folder())
        if self.certificate is None or self.key_file is None:
            return None
        for file in (self.certificate, self.key_file):
            if not file.is_file():
                raise ConfigError(f"{file} does not exist; give a PEM file")
        return self.certificate, self.key_file

    def addresses(self, port: int) -> list[str]:
        """Where the page is, the one to open here first."""
        scheme = "https" if self.self_signed or self.certificate is not None else "http"
        names = [self.host]
        if self.host in ("0.0.0.0", "::"):
            names = [each for each in own_names() if each != "::1" and (self.host == "::" or ":" not in each)]
            names.remove("127.0.0.1")
        return [f"{scheme}://{f'[{name}]' if ':' in name else name}:{port}/" for name in names]


async def serve(
    agent: Agent, place: Place, *, lanes: int = 4, camera: str | None = None, house: OpenHouse | None = None,
    tell: Tell, open_page: bool = True, journal: Path | None = None,
) -> None:
    """Until Ctrl-C or a polite kill. `tell` is told what a person should read. `journal`: see `Server`. Raises
    LiveAgentError."""
    place.check()
    server = Server(agent, lanes=lanes, keys=place.keys, origins=place.origins, camera=camera, house=house,
                    journal=journal)  # fmt: skip
    files = await asyncio.to_thread(place.files)
    web = WebServer(server, place.host, place.port, certificate=files)
    web.bind()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if stop.is_set():
            web.stop(at_once=True)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, leave)
    addresses = place.addresses(web.port)
    server.start()
    running = asyncio.create_task(web.run())
    watching = asyncio.create_task(stop.wait())
    try:
        tell(f"loading {agent.model} ({server.weights_bytes / 1e6:.0f} MB)")
        _tell_where(addresses, place, files, tell)
        loaded = asyncio.create_task(server.loaded())
        await asyncio.wait([loaded, watching, running], return_when=asyncio.FIRST_COMPLETED)
        if loaded.done():
            found = loaded.result()
            if server.resident is not None and (devices := server.resident.house) is not None:
                tell(devices.names)
            tell(f"ready after {found.load_s:.1f} s, on {found.device}; Ctrl-C ends it")
            if open_page and has_desktop():
                await asyncio.to_thread(webbrowser.open, addresses[0])
            await asyncio.wait([watching, running], return_when=asyncio.FIRST_COMPLETED)
        else:
            loaded.cancel()
        await server.stop()
    finally:
        web.stop()
        watching.cancel()
        await asyncio.gather(running, watching, return_exceptions=True)
        await server.close()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    if not running.cancelled() and (error := running.exception()) is not None:
        raise error


def _tell_where(addresses: Sequence[str], place: Place, files: tuple[Path, Path] | None, tell: Tell) -> None:
    tell("page    " + "  ".join(addresses))
    one = addresses[0].removesuffix("/")
    tell(f"OpenAI  {one}/v1    Gemini  {one}")
    if place.self_signed and files is not None:
        tell(f"This certificate is its own authority: trust {files[0]}, or compare its SHA-256 in the browser:")
        tell(f"  {fingerprint(files[0])}")
        tell(f"  clients in Python: SSL_CERT_FILE={files[0]}    in Node: NODE_EXTRA_CA_CERTS={files[0]}")
    if not is_loopback(place.host):
        with contextlib.suppress(IndexError):
            far = [each for each in addresses if "localhost" not in each]
            tell(qr_text(far[-1] if far else addresses[0]))


def state_folder() -> Path:
    """Where what must outlive a run is kept, as freedesktop.org's base directories say."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "liveagent"


def calls_file() -> Path:
    """Where `talk` and `serve` write calls down."""
    return state_folder() / "calls.db"


def has_desktop() -> bool:
    """Whether a browser that is opened here would be seen by somebody."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def write_log(as_json: bool) -> None:
    """liveagent's own log to standard error, a line each."""
    lines = logging.StreamHandler()
    lines.setFormatter(JsonLines() if as_json else PlainLines())
    log = logging.getLogger("liveagent")
    log.handlers = [lines]
    log.setLevel(logging.INFO)
    log.propagate = False
