"""`Stage`: seeded sound scenes for the ear. Utterances with gaps, a room, a microphone and a background.

A scene has a fixed length and holds one to several utterances, as an ear that never stops hears them; so batches need
no padding. `hard` in [0, 1] turns everything up: 0 is clean speech with gaps, 1 is 3 dB noise, babble, echo and thin
microphones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from liveagent.train.speech import Row, Shards

HZ = 16_000
SPEECH, SILENCE, MUSIC, NOISE, UNSURE = 0, 1, 2, 3, -100


@dataclass
class Scene:
    """`samples` [S]; `texts` in order with `places` = (begin, end, marks in samples); `kinds` [tokens] of 40 ms."""

    samples: np.ndarray
    texts: list[str]
    places: list[tuple[int, int, list[tuple[int, int]]]]
    kinds: np.ndarray


def stretch(x: np.ndarray, factor: float) -> np.ndarray:
    """Play `factor` times faster by linear interpolation: moves pitch and formants together."""
    if abs(factor - 1.0) < 0.01:
        return x
    count = int(len(x) / factor)
    return np.interp(np.arange(count) * factor, np.arange(len(x)), x).astype(np.float32)


def tempo(x: np.ndarray, factor: float) -> np.ndarray:
    """Speak `factor` times faster at the same pitch: overlap-add with the best-fitting shift (WSOLA, Verhelst 1993)."""
    size, hop, reach = 640, 320, 160
    window = np.hanning(size).astype(np.float32)
    count = int(len(x) / factor / hop)
    x = np.concatenate([x, np.zeros(size + reach + hop, np.float32)])
    out = np.zeros(count * hop + size, np.float32)
    at = 0
    for i in range(count):
        aim = int(i * hop * factor)
        if i:
            lo = max(0, aim - reach)
            natural = x[at + hop : at + hop + size : 4]
            region = x[lo : aim + reach + size : 4]
            if len(region) >= len(natural) and len(natural) == size // 4:
                aim = lo + 4 * int(np.argmax(np.correlate(region, natural, "valid")))
        if aim + size > len(x):
            break
        out[i * hop : i * hop + size] += x[aim : aim + size] * window
        at = aim
    return out[: count * hop]


class Stage:
    """Makes scenes from shards; equal seeds and equal shards give equal scenes."""

    def __init__(self, shards: Shards, seed: int, natural: float = 0.65) -> None:
        """`natural` is the share of scenes spoken by a natural (recorded) voice."""
        self.shards, self.natural = shards, natural
        self.rng = np.random.default_rng(seed)
        self.voices: dict[str, list[Row]] = {}
        self.take_in(shards.refresh())

    def take_in(self, rows: list[Row]) -> None:
        """Make newly written utterances available."""
        for row in rows:
            if row.count < 5 * HZ:
                name = row.voice if not row.voice.startswith("espeak") else "espeak"
                self.voices.setdefault(name, []).append(row)

    # -- parts

    def _pick(self) -> list[Row]:
        """The utterances of a voice: espeak, or one of the natural ones, half of those with a borrowed accent."""
        kinds = ["espeak"] if self.rng.random() > self.natural else ["borrowed", "fl"][:: self.rng.choice([-1, 1])]
        for kind in kinds:
            names = [n for n in self.voices if n.startswith(kind) or (kind == "fl" and n.startswith("festival"))]
            if names:
                return self.voices[names[self.rng.integers(len(names))]]
        return self.voices[self.rng.choice(list(self.voices))]

    def noise(self, count: int) -> np.ndarray:
        """Coloured noise with a slow swell, unit power."""
        r = self.rng
        spectrum = np.fft.rfft(r.standard_normal(count).astype(np.float32))
        f = np.arange(len(spectrum), dtype=np.float32) + 3.0
        shape = f ** (-r.uniform(0.0, 1.1))
        for _ in range(r.integers(0, 4)):
            center, wide = r.uniform(0, len(f)), r.uniform(0.02, 0.3) * len(f)
            shape *= 1 + r.uniform(0, 6) * np.exp(-(((f - center) / wide) ** 2))
        y = np.fft.irfft(spectrum * shape, count).astype(np.float32)
        if r.random() < 0.3:  # hum
            t = np.arange(count) / HZ
            base = r.choice([50.0, 60.0, 100.0, 120.0, r.uniform(80, 400)])
            y /= y.std() + 1e-9
            y += sum(r.uniform(0, 1) * np.sin(2 * np.pi * base * k * t + r.uniform(0, 6)) for k in range(1, 5))
        if r.random() < 0.2:  # clicks
            y /= y.std() + 1e-9
            for at in r.integers(0, count - 400, r.integers(1, 12)):
                click = r.standard_normal(400) * np.exp(-np.arange(400) / r.uniform(10, 120))
                y[at : at + 400] += r.uniform(3, 15) * click
        if r.random() < 0.4:
            knots = r.uniform(0.2, 1.0, 8)
            y *= np.interp(np.arange(count), np.linspace(0, count, 8), knots)
        return (y / (y.std() + 1e-9)).astype(np.float32)

    def babble(self, count: int) -> np.ndarray:
        """Three to six voices over each other, unit power."""
        y = np.zeros(count, np.float32)
        for _ in range(self.rng.integers(3, 7)):
            at = 0
            while at < count:
                rows = self._pick()
                x = self.shards.samples(rows[self.rng.integers(len(rows))])[: count - at]
                y[at : at + len(x)] += x * self.rng.uniform(0.4, 1.0)
                at += len(x) + int(self.rng.integers(500, 6000))
        return y / (y.std() + 1e-9)

    def music(self, count: int) -> np.ndarray:
        """Chords, a tune and a beat from a few oscillators, unit power."""
        r = self.rng
        beat = int(HZ * r.uniform(0.2, 0.7))
        scale = np.array([0, 2, 4, 5, 7, 9, 11] if r.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
        root = r.uniform(90, 260)
        harmonics = r.uniform(0, 1, 6) / np.arange(1, 7) ** r.uniform(0.5, 1.5)
        decay = r.uniform(0.1, 1.5)
        y = np.zeros(count + beat * 4, np.float32)
        drums = r.random() < 0.5
        for at in range(0, count, beat):
            size = beat * int(r.integers(1, 4))
            t = np.arange(size, dtype=np.float32) / HZ
            fade = np.exp(-t / decay) * np.minimum(1, t * 100) * np.minimum(1, (size / HZ - t) * 50)
            for _ in range(r.integers(1, 4)):
                note = root * 2 ** ((r.choice(scale) + 12 * r.integers(0, 3)) / 12)
                wobble = 1 + r.uniform(0, 0.01) * np.sin(2 * np.pi * 5 * t)
                tone = sum(a * np.sin(2 * np.pi * note * (k + 1) * t * wobble) for k, a in enumerate(harmonics))
                y[at : at + size] += (tone * fade).astype(np.float32)[: len(y) - at]
            if drums:
                n = min(2000, beat)
                beaten = r.standard_normal(n) * np.exp(-np.arange(n) / 300) * r.uniform(0, 2)
                y[at : at + n] += beaten.astype(np.float32)
        y = y[:count]
        return y / (y.std() + 1e-9)

    def room(self, x: np.ndarray, hard: float) -> np.ndarray:
        """Reverberation by a decaying-noise impulse response."""
        r = self.rng
        t60 = r.uniform(0.08, 0.15 + 0.55 * hard)
        size = int(HZ * t60)
        tail = r.standard_normal(size) * 10 ** (-3 * np.arange(size) / size)
        tail *= r.uniform(0.05, 0.1 + 0.5 * hard) / (np.sqrt((tail**2).sum()) + 1e-9)
        tail[: int(r.uniform(16, 120))] = 0
        tail[0] = 1.0
        n = 1 << (len(x) + size).bit_length()
        return np.fft.irfft(np.fft.rfft(x, n) * np.fft.rfft(tail, n), n)[: len(x)].astype(np.float32)

    def color(self, x: np.ndarray, hard: float) -> np.ndarray:
        """A microphone's frequency response: tilt, bumps, sometimes a narrow band."""
        r = self.rng
        spectrum = np.fft.rfft(x)
        f = np.linspace(0, 8000, len(spectrum), dtype=np.float32)
        octaves = np.log2(np.maximum(f, 60) / 1000)
        db = r.uniform(-4, 4) * hard * octaves
        for _ in range(3):
            db += r.uniform(-8, 8) * hard * np.exp(-(((octaves - r.uniform(-3.5, 3)) / r.uniform(0.3, 1.2)) ** 2))
        if r.random() < 0.35 * hard:
            db -= 40 * (f > r.uniform(3400, 7000))
        if r.random() < 0.5 * hard:
            db -= 40 / (1 + (f / r.uniform(60, 320)) ** 4)
        return np.fft.irfft(spectrum * 10 ** (db / 20), len(x)).astype(np.float32)

    def _disguise(self, row: Row, hard: float) -> tuple[float, float]:
        """How much to stretch an utterance, and then to change its tempo.

        The few natural voices are bent far, from a child's to a giant's, and mostly brought back to a usual tempo: they
        stand in for all the speakers who are not there. espeak has many voices of its own.
        """
        r = self.rng
        if row.voice.startswith("espeak"):
            factor = float(np.clip(np.exp(r.normal(0, 0.10)), 0.82, 1.22)) if r.random() < 0.3 + 0.5 * hard else 1.0
            return factor, float(r.uniform(0.82, 1.2)) if r.random() < 0.3 * hard else 1.0
        if r.random() > 0.3 + 0.5 * hard:
            return 1.0, 1.0
        factor = float(np.exp(r.uniform(-0.28, 0.28) * (0.4 + 0.6 * hard)))
        back = abs(factor - 1) > 0.08 and r.random() < 0.8
        return factor, float(np.clip(r.uniform(0.85, 1.18) / factor, 0.7, 1.4)) if back else 1.0

    # -- the whole

    def scene(self, count: int, hard: float) -> Scene:
        """One scene of `count` samples."""
        r = self.rng
        x = np.zeros(count, np.float32)
        speech = np.zeros(count // 640, bool)
        texts: list[str] = []
        places: list[tuple[int, int, list[tuple[int, int]]]] = []
        at = int(r.uniform(0.02, 0.6) * HZ)
        if r.random() < 0.04:
            at = count  # nobody speaks here
        rows = self._pick()
        while True:
            if r.random() < 0.3:
                rows = self._pick()
            row = rows[r.integers(len(rows))]
            factor, speed = self._disguise(row, hard)
            if at + int(row.count / factor) + 5000 > count:
                break
            y = stretch(self.shards.samples(row), factor)
            scale = 1 / factor
            if speed != 1.0 and at + int(len(y) / speed) + 5000 <= count:
                y, scale = tempo(y, speed), scale / speed
            if at + len(y) + 4000 > count:
                break
            if r.random() < 0.7 * hard:
                y = self.color(y, hard)
            y = y * (10 ** (r.uniform(-10 * hard, 0) / 20))
            x[at : at + len(y)] += y
            marks = [(c, at + min(int(s * scale), len(y))) for c, s in row.marks]
            places.append((marks[0][1], marks[-1][1], marks))
            speech[marks[0][1] // 640 : marks[-1][1] // 640 + 1] = True
            texts.append(row.text)
            at += len(y) + int(r.exponential(0.35) * HZ) + (int(r.uniform(0.5, 2) * HZ) if r.random() < 0.1 else 0)
        power = math.sqrt(float((x**2).mean()) * len(speech) / max(1, int(speech.sum()))) or 0.08
        if r.random() < 0.5 * hard:
            x = self.room(x, hard)
        background, loud = np.full(len(speech), SILENCE), -90.0
        if r.random() < 0.25 + 0.6 * hard or not texts:
            snr = r.uniform(30 - 27 * hard, 38) if texts else r.uniform(-5, 25)
            u = r.random()
            what = self.babble if u < 0.15 * bool(texts) else self.music if u < 0.4 else self.noise
            level = power * 10 ** (-snr / 20)
            back = what(count) * level
            part = np.ones(len(speech), bool)
            if r.random() < 0.35:  # only for a while
                a, b = sorted(r.integers(0, len(speech), 2))
                part[:a] = part[b:] = False
                gate = np.repeat(part, 640).astype(np.float32)
                back[: len(gate)] *= np.convolve(gate, np.ones(320) / 320, "same").astype(np.float32)
            x += back
            loud = 20 * math.log10(level + 1e-9)
            label = UNSURE if what == self.babble else MUSIC if what == self.music else NOISE
            background[part] = label if loud > -50 else (UNSURE if loud > -62 else SILENCE)
        gain = 10 ** (r.uniform(-20 * max(hard, 0.3), 4) / 20)
        x = x * gain
        x += r.standard_normal(count).astype(np.float32) * 10 ** (r.uniform(-95, -62) / 20)
        if r.random() < 0.05 * hard:
            x = x * r.uniform(2, 8)
        return Scene(np.clip(x, -1, 1).astype(np.float32), texts, places, np.where(speech, SPEECH, background))
