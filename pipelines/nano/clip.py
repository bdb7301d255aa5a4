"""Makes the shipped clip: what is heard where there is no microphone. `liveagent train clip`

A minute of somebody talking to the shipped agent, in a voice that nano is never trained on (flite's slt, whose licence
is BSD-like): commands and questions with time to answer, a pause inside a sentence, a cough into a reply, a sentence
that is none of the agent's, and a command spoken into a reply. Beside it `clip.json` says what begins and ends where.
The same text, the same flite and the same seed give the same samples.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from liveagent.automaton import Automaton, Parse, Question
from liveagent.errors import ConfigError
from liveagent.pipelines.voice import agent

HZ = 16_000
SEED = 7
PEAK = 0.35
FLOOR_DBFS = -62.0  # a quiet room; digital silence is what no microphone gives
COUGH = "(cough)"
FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Line:
    """`parts` are spoken with `PAUSE_MS` between them; after them `then_ms` of room."""

    parts: tuple[str, ...]
    then_ms: int
    kind: str = "command"


PAUSE_MS = 500
SCRIPT = (
    Line(("turn on the kitchen light",), 3300),
    Line(("set a timer for", "five minutes"), 3200),
    Line(("how are you today",), 3200, "question"),
    Line(("add milk to the shopping list",), 3000),
    Line(("pick up the red cube",), 1150),
    Line((COUGH,), 2500, "noise"),
    Line(("put it on the shelf",), 3000),
    Line(("my uncle sells old furniture in the village",), 3600, "outside"),
    Line(("what is on the shopping list",), 1200),
    Line(("turn off the kitchen light",), 3200, "barge_in"),
    Line(("my keys are in the drawer",), 3000),
    Line(("where are my keys",), 3000),
    Line(("move left ten centimeters",), 3000),
    Line(("stop",), 2500, "stop"),
)


def make(script: tuple[Line, ...] = SCRIPT, seed: int = SEED) -> tuple[NDArray[np.int16], dict[str, Any]]:
    """The clip's samples at 16 kHz, and what `clip.json` says. Raises ConfigError without flite."""
    rng = np.random.default_rng(seed)
    pieces: list[NDArray[np.float32]] = [np.zeros(HZ * 8 // 10, np.float32)]
    sentences: list[dict[str, Any]] = []
    noises: list[dict[str, Any]] = []
    automaton = agent.automaton
    for line in script:
        start = sum(map(len, pieces))
        for at, part in enumerate(line.parts):
            if at:
                pieces.append(np.zeros(PAUSE_MS * HZ // 1000, np.float32))
            pieces.append(_cough(rng) if part == COUGH else _speak(part))
        end = sum(map(len, pieces))
        pieces.append(np.zeros(line.then_ms * HZ // 1000, np.float32))
        place = {"start_sample": start, "end_sample": end}
        if line.kind == "noise":
            noises.append({"kind": "cough", **place})
        else:
            text = " ".join(line.parts)
            sentences.append({"text": text, "kind": line.kind, **place, **_expected(automaton, text, line.kind)})
    clean = np.concatenate(pieces)
    heard = clean + _room(rng, len(clean))
    about = {
        "voice": "flite slt", "sample_rate_hz": HZ, "samples": len(heard), "sentences": sentences, "noises": noises,
    }  # fmt: skip
    return np.clip(np.rint(heard * 32767), -32768, 32767).astype(np.int16), about


def _expected(automaton: Automaton, text: str, kind: str) -> dict[str, Any]:
    """What the agent's own phrases make of a sentence; ConfigError when that is not what the script says it is."""
    found = automaton.parse(text)
    if isinstance(found, Parse) and kind in ("command", "barge_in", "stop"):
        return {"tool": found.tool.name, "args": dict(found.args)}
    if (isinstance(found, Question) and kind == "question") or (found is None and kind == "outside"):
        return {}
    raise ConfigError(f"the clip's sentence {text!r} is no {kind} of the shipped agent any more: change SCRIPT")


def _speak(text: str) -> NDArray[np.float32]:
    """[T] float32 of flite's slt saying `text`, without silence around it."""
    if shutil.which("flite") is None:
        raise ConfigError("the clip's voice is flite: install it (apt install flite)")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "said.wav"
        subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(out)], check=True, capture_output=True)
        with wave.open(str(out)) as file:
            if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (HZ, 1, 2):
                raise ConfigError("this flite does not speak 16 kHz mono; use flite 2.2")
            said = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768.0
    loud = np.flatnonzero(np.abs(said) > 0.02 * np.abs(said).max())
    said = said[max(0, loud[0] - HZ // 50) : loud[-1] + HZ // 25]
    return said * np.float32(PEAK / np.abs(said).max())


def _cough(rng: np.random.Generator) -> NDArray[np.float32]:
    """Two bursts of noise, each with a hard beginning and 60 ms of decay."""
    bursts = []
    for length_ms, peak in ((140, 0.3), (190, 0.22)):
        length = length_ms * HZ // 1000
        noise = np.convolve(rng.standard_normal(length), [0.25, 0.5, 0.25], "same")
        noise *= np.exp(-np.arange(length) / (0.06 * HZ)) * np.minimum(1.0, np.arange(length) / (0.004 * HZ))
        bursts.append(noise * peak / np.abs(noise).max())
    return np.concatenate(bursts).astype(np.float32)


def _room(rng: np.random.Generator, samples: int) -> NDArray[np.float32]:
    """Soft noise with more of the low tones, as rooms have it."""
    white = rng.standard_normal(samples)
    spectrum = np.fft.rfft(white)
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), samples * 60 / HZ))
    noise = np.fft.irfft(spectrum, samples)
    return (noise * (10 ** (FLOOR_DBFS / 20) / np.sqrt(np.mean(noise**2)))).astype(np.float32)


def write_flac(path: Path, samples: NDArray[np.int16]) -> None:
    """Mono, 16 bit, 16 kHz."""
    import av

    with av.open(str(path), "w", format="flac") as file:
        stream = file.add_stream("flac", rate=HZ, options={"compression_level": "12"})
        stream.layout = "mono"
        stream.format = "s16"
        for at in range(0, len(samples), 4096):
            frame = av.AudioFrame.from_ndarray(samples[None, at : at + 4096], format="s16", layout="mono")
            frame.sample_rate = HZ
            frame.pts = at
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder of clip.flac and clip.json")
    to = parser.parse_args().to
    samples, about = make()
    write_flac(to / "clip.flac", samples)
    (to / "clip.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
