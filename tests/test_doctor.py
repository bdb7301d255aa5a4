"""`liveagent doctor`: it looks at everything, whatever is broken, and says what to mend."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from functools import partial

import pytest
from typer.testing import CliRunner

from liveagent import DeviceError
from liveagent.cli import app
from liveagent.nn.vad import Vad
from liveagent.ports import portaudio
from liveagent.runtime import doctor, serve
from liveagent.runtime.doctor import Finding, probe_all
from liveagent.runtime.page import Page
from liveagent.runtime.serve import Place


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in findings}


def test_it_finds_what_is_here() -> None:
    found = by_name(probe_all(measure=False))
    for name in ("python", "torch", "threads", "torchaudio", "llguidance", "av", "vad", "recogniser", "clip"):
        assert found[name].ok and found[name].what, found[name]
    assert {"weights", "voice", "portaudio", "microphone", "loudspeaker", "camera"} <= set(found)
    assert all(each.what for each in found.values())


def test_what_is_broken_is_a_finding_and_hides_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    version = importlib.metadata.version

    def without_av(name: str) -> str:
        if name == "av":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    def no_portaudio() -> None:
        raise DeviceError("PortAudio is missing")

    def broken() -> None:
        raise ValueError("cut short")

    monkeypatch.setattr(importlib.metadata, "version", without_av)
    monkeypatch.setattr(portaudio, "load", no_portaudio)
    monkeypatch.setattr(Vad, "load", broken)
    found = by_name(probe_all())
    assert (found["av"].ok, found["av"].fix) == (False, "pip install av")
    assert not found["portaudio"].ok and found["portaudio"].fix == portaudio.FIX
    assert not found["microphone"].ok and not found["microphone"].needed and found["microphone"].fix
    assert found["vad"].what == "ValueError: cut short"
    assert found["clip"].ok
    assert "tick" not in found  # nothing to measure where a needed part is missing


def test_what_serving_needs_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    found = by_name(probe_all(measure=False))
    assert found["server"].ok and "websockets" in found["server"].what
    assert found["page"].ok and "files" in found["page"].what
    assert found["certificate"].ok and "localhost" in found["certificate"].what

    with socket.create_server(("127.0.0.1", 0)) as other:
        monkeypatch.setattr(serve, "Place", partial(Place, port=other.getsockname()[1]))
        taken = doctor._port()
        assert not taken.ok and "--port" in taken.fix
    assert doctor._port().ok, "it is free again"

    version = importlib.metadata.version

    def without_uvloop(name: str) -> str:
        if name == "uvloop":
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", without_uvloop)
    assert (doctor._server().ok, doctor._server().fix) == (False, "pip install uvloop")
    monkeypatch.setattr(Page, "get", lambda self, name: None)
    assert not doctor._page().ok


def test_the_command_prints_and_its_status_is_of_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [Finding("torch", True, "2.13", needed=True), Finding("microphone", False, "none", "plug one in")]
    monkeypatch.setattr(doctor, "probe_all", lambda: findings)
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "plug one in" in result.stdout
    assert json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)[1]["fix"] == "plug one in"
    findings.append(Finding("weights", False, "missing", needed=True))
    assert CliRunner().invoke(app, ["doctor"]).exit_code == 1
