"""`Voices`: synthetic speakers of English, and speech from them with the time of each word.

espeak-ng is driven in process (its library, from the `espeakng-loader` wheel), flite and festival as programs. What is
given back is 16 kHz mono, with silence trimmed to 50 ms, and `marks`: pairs (character index, sample) between which
time is taken to run evenly over the characters.
"""

from __future__ import annotations

import ctypes
import functools
import os
import random
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from liveagent.errors import ConfigError
from liveagent.nn import torchaudio_cpu

HELD_OUT = ("flite/slt", "flite/rms", "festival/cmu_us_slt_arctic_hts")  # never trained on: they measure
NATURAL = ("flite/awb", "flite/kal16", "festival/kal_diphone", "festival/ked_diphone")
ACCENTS = (
    "en-us en-us en-us en-gb en-gb en-gb-scotland en-gb-x-gbclan en-gb-x-rp en-gb-x-gbcwmd en-029 en-us-nyc".split()
)


@dataclass(frozen=True)
class Utterance:
    """Speech of one sentence: `samples` int16 at 16 kHz, `marks` rising pairs (character, sample)."""

    text: str
    voice: str
    samples: np.ndarray
    marks: list[tuple[int, int]]


@functools.cache
def _resampler(hz: int) -> Any:
    return torchaudio_cpu.load().transforms.Resample(hz, 16_000)


def finish(text: str, voice: str, wav: np.ndarray, hz: int, marks: list[tuple[int, int]] | None) -> Utterance | None:
    """To 16 kHz, trimmed, at half of full scale; None if there is hardly any sound."""
    x = torch.from_numpy(wav.astype(np.float32) / 32768.0)
    if hz != 16_000:
        x = _resampler(hz)(x)
    loud = (x.abs() > 0.01 * float(x.abs().max().clamp_min(1e-6))).nonzero()
    if len(loud) < 1600:
        return None
    begin, end = int(loud[0]), int(loud[-1]) + 1
    lo, hi = max(0, begin - 800), min(len(x), end + 800)
    points = [(0, begin - lo), (len(text), end - lo)]
    if marks:
        inner = [(c, round(s * 16_000 / hz) - lo) for c, s in marks if c > 0]
        last_c, last_s = points[0]
        kept = []
        for c, s in inner:
            if c > last_c and last_s < s < end - lo:
                kept.append((c, s))
                last_c, last_s = c, s
        points[1:1] = kept
    y = x[lo:hi]
    y = y * (0.5 / float(y.abs().max()))
    return Utterance(text, voice, (y * 32767).to(torch.int16).numpy(), points)


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user", ctypes.c_void_p),
        ("id", ctypes.c_byte * 8),
    ]


class Espeak:
    """espeak-ng with word times. Its state is global, so there is one a process: take `espeak()`."""

    def __init__(self) -> None:
        import espeakng_loader

        data = Path(espeakng_loader.get_data_path())
        self.lib = ctypes.CDLL(espeakng_loader.get_library_path())
        self.hz = int(self.lib.espeak_Initialize(1, 0, str(data.parent).encode(), 0))
        if self.hz <= 0:
            raise ConfigError("espeak-ng did not start: reinstall espeakng-loader")
        folder = data / "voices" / "!v"
        self.variants = sorted(p.name for p in folder.iterdir() if p.name not in ("whisper", "whisperf", "croak"))
        kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))
        self._keep = kind(self._hear)
        self.lib.espeak_SetSynthCallback(self._keep)
        self._wav: list[np.ndarray] = []
        self._marks: list[tuple[int, int]] = []

    def _hear(self, wav: Any, count: int, events: Any) -> int:
        if count > 0 and wav:
            self._wav.append(np.ctypeslib.as_array(wav, (count,)).copy())
        i = 0
        while events[i].type != 0:
            if events[i].type == 1:
                at = events[i].audio_position * self.hz // 1000
                self._marks.append((events[i].text_position - 1, at))
            i += 1
        return 0

    def say(self, text: str, rng: random.Random) -> Utterance | None:
        """Speak with an accent, variant, rate and pitch drawn from `rng`."""
        voice = f"{rng.choice(ACCENTS)}+{rng.choice(self.variants)}"
        self.lib.espeak_SetVoiceByName(voice.encode())
        for parameter, value in ((1, rng.randint(125, 215)), (3, rng.randint(25, 75)), (4, rng.randint(25, 75))):
            self.lib.espeak_SetParameter(parameter, value, 0)  # rate, pitch, range
        self._wav.clear()
        self._marks.clear()
        raw = text.encode()
        self.lib.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, 1, None, None)
        self.lib.espeak_Synchronize()
        if not self._wav:
            return None
        return finish(text, "espeak/" + voice, np.concatenate(self._wav), self.hz, list(self._marks))


def read_wave(path: Path) -> tuple[np.ndarray, int]:
    """int16 samples and rate of a mono wave file."""
    with wave.open(str(path)) as f:
        return np.frombuffer(f.readframes(f.getnframes()), np.int16), f.getframerate()


def flite(voice: str, texts: list[str], rng: random.Random, folder: Path) -> Iterator[Utterance]:
    """Speak with a flite voice; rate and pitch drawn from `rng`."""
    need("flite")
    out = folder / "flite.wav"
    for text in texts:
        turn = ["--setf", f"duration_stretch={rng.uniform(0.82, 1.25):.3f}"]
        if voice.startswith("kal"):
            turn += ["--setf", f"int_f0_target_mean={rng.uniform(80, 190):.1f}"]
        command = ["flite", "-voice", voice, *turn, "-t", text, "-o", str(out)]
        subprocess.run(command, check=True, capture_output=True)
        made = finish(text, "flite/" + voice, *read_wave(out), None)
        if made:
            yield made


def festival(voice: str, texts: list[str], rng: random.Random, folder: Path) -> Iterator[Utterance]:
    """Speak a batch with a festival voice in one process; rate and pitch drawn from `rng`."""
    need("festival")
    lines = [f"(voice_{voice})"]
    for i, text in enumerate(texts):
        lines.append(f"(Parameter.set 'Duration_Stretch {rng.uniform(0.82, 1.25):.3f})")
        if "diphone" in voice:
            mean = rng.uniform(80, 190)
            lines.append(
                f"(set! int_lr_params '((target_f0_mean {mean:.1f}) (target_f0_std {mean * 0.13:.1f})"
                " (model_f0_mean 170) (model_f0_std 34)))"
            )
        lines.append(f'(utt.save.wave (utt.synth (Utterance Text "{text}")) "{folder}/f{i}.wav" \'riff)')
    script = folder / "say.scm"
    script.write_text("\n".join(lines))
    subprocess.run(["festival", "-b", str(script)], check=True, capture_output=True)
    for i, text in enumerate(texts):
        made = finish(text, "festival/" + voice, *read_wave(folder / f"f{i}.wav"), None)
        if made:
            yield made


def need(program: str) -> None:
    """Raise ConfigError if a program is not installed."""
    if shutil.which(program) is None:
        raise ConfigError(f"{program} is not installed: install it with your package manager (apt install {program})")


@functools.cache
def espeak() -> Espeak:
    """This process's; a second one begun beside it would wait for the first one's thread for ever."""
    return Espeak()


def speak(voice: str, texts: list[str], seed: int, espeak: Espeak) -> list[Utterance]:
    """Speak `texts` with a voice: `espeak`, `flite/NAME`, `festival/NAME` or `borrowed/NAME`."""
    from liveagent.train.borrowed import borrowed

    rng = random.Random(f"{voice} {seed}")
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        kind, _, rest = voice.partition("/")
        if kind == "espeak":
            return [u for t in texts if (u := espeak.say(t, rng))]
        speakers = {"flite": flite, "festival": festival, "borrowed": borrowed}
        return list(speakers[kind](rest, texts, rng, Path(name)))
