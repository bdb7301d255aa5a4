"""Scenes for the spotter of the stop word, as powers of bands: clean ones with marks, noise, and the agent's residue.

They are mixed anew for every step of training (`mixed`), so no two epochs hear the same noise at the same level; that
is a hundred times cheaper than mixing sound. What is left of two sounds in one band is their sum and a random beat.

A scene is marked where the word ends as the first of a burst of sound, alone, after a "please", or with more behind it;
the word within a sentence is no stop where it is so clear that the words before it can be heard, and what lies between
is not counted. Who speaks over the agent is heard through its echo's residue, and that is recorded here as well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from liveagent.audio import RATE_HZ
from liveagent.echo import DELAY_SAMPLES, Echo, EchoConfig
from liveagent.nn.spotter import BANDS, HOP_SAMPLES, SLOW, WINDOW_SAMPLES, Ears, levelled_bands
from liveagent.train.augment import stretch, tempo
from liveagent.train.stops import KINDS

SCENE_S = 4.0
CLEAR_DB = 18.0
"""In more noise than that nobody can tell whether another word came first, and nobody is asked to."""
NO, YES, UNSURE, SOMEWHERE, NO_IF_CLEAR = 0, 1, -1, 2, 3
"""A mark for each frame. SOMEWHERE: in one of these frames the word has ended, nobody knows which."""
AFTER_FRAMES, FOR_FRAMES = 3, 20
"""The word is to be known so long after its end, for so long."""
RESIDUE_S = 8.0
_PAD = 800  # of quiet around each clip


class Clips:
    """The clips of all voices' files."""

    def __init__(self, folder: str) -> None:
        self.kinds: dict[str, list[list[np.ndarray]]] = {kind: [] for kind in KINDS}
        self.word_ends: list[np.ndarray] = []
        for file in sorted(Path(folder).glob("*.npz")):
            data = np.load(file)
            for kind, voices in self.kinds.items():
                voices.append(np.split(data[kind], data[f"{kind}_ends"][:-1]))
            self.word_ends.append(data["after_word"])

    @property
    def voices(self) -> int:
        return len(self.word_ends)

    def one(self, kind: str, voice: int, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        """A clip, and where the word ends in it, if told."""
        clips = self.kinds[kind][voice]
        at = int(rng.integers(len(clips)))
        return clips[at].astype(np.float32) / 32768, int(self.word_ends[voice][at]) if kind == "after" else 0

    def anyone(self, rng: np.random.Generator) -> np.ndarray:
        return self.one("other", int(rng.integers(self.voices)), rng)[0]


def people(clips: Clips, count: int, rng: np.random.Generator, most: int = 5) -> np.ndarray:
    """One or a few at once, unit power."""
    y = np.zeros(count, np.float32)
    for _ in range(rng.integers(1, most + 1)):
        at = -int(rng.integers(0, RATE_HZ))
        while at < count:
            x = clips.anyone(rng)[max(0, -at) : count - at]
            y[max(0, at) : max(0, at) + len(x)] += x * rng.uniform(0.4, 1.0)
            at = max(0, at) + len(x) + int(rng.integers(500, 9000))
    return y / (y.std() + np.float32(1e-9))


def noise(clips: Clips, count: int, rng: np.random.Generator) -> np.ndarray:
    """Hiss of any colour with hum and clicks, or a few voices, unit power."""
    if rng.random() < 0.45:
        return people(clips, count, rng)
    spectrum = np.fft.rfft(rng.standard_normal(count).astype(np.float32))
    f = np.arange(len(spectrum), dtype=np.float32) + 3.0
    shape = f ** (-rng.uniform(0.0, 1.1))
    for _ in range(max(0, int(rng.integers(-2, 4)))):
        center, wide = rng.uniform(0, len(f)), rng.uniform(0.02, 0.3) * len(f)
        shape *= 1 + rng.uniform(0, 6) * np.exp(-(((f - center) / wide) ** 2))
    y = np.fft.irfft(spectrum * shape, count).astype(np.float32)
    y /= y.std() + 1e-9
    if rng.random() < 0.25:
        t, hum = np.arange(count) / RATE_HZ, rng.uniform(50, 400)
        for k in range(1, 6):
            y += rng.uniform(0, 1) * np.sin(2 * np.pi * hum * k * t + rng.uniform(0, 6)).astype(np.float32)
    if rng.random() < 0.25:
        for at in rng.integers(0, count - 800, rng.integers(1, 10)):
            fade = np.exp(-np.arange(800) / rng.uniform(10, 250))
            y[at : at + 800] += rng.uniform(2, 15) * rng.standard_normal(800) * fade
    if rng.random() < 0.4:
        y *= np.interp(np.arange(count), np.linspace(0, count, 8), rng.uniform(0.2, 1.0, 8))
    return (y / (y.std() + 1e-9)).astype(np.float32)


def echoed(x: np.ndarray, taps: int, level: float, late: int, rng: np.random.Generator) -> np.ndarray:
    """Through a room of so many taps; all of the reverberation as loud as `level`."""
    response = rng.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / taps) * level
    response[0] = 1.0
    size = len(x) + taps
    y = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)
    return np.concatenate([np.zeros(late), y])[: len(x)].astype(np.float32)


def level_of(x: np.ndarray) -> float:
    loud = x[np.abs(x) > 0.02 * max(1e-6, np.abs(x).max())]
    return float(np.sqrt(np.mean(loud**2))) if len(loud) else 0.1


def residue(clips: Clips, rng: np.random.Generator) -> np.ndarray:
    """[T] what `Echo` leaves of the agent's voice while somebody speaks now and then, beside a unit voice."""
    count = int(RESIDUE_S * RATE_HZ)
    played = np.zeros(0, np.float32)
    voice = int(rng.integers(clips.voices))
    while len(played) < count:
        gap = np.zeros(int(rng.integers(1000, 9000)), np.float32)
        played = np.concatenate([played, gap, clips.one("other", voice, rng)[0]])
    played = played[:count]
    played *= np.float32(0.05 / level_of(played))
    back = echoed(played, int(rng.uniform(0.06, 0.4) * RATE_HZ), rng.uniform(0.03, 0.25),
                  int(rng.uniform(0.01, 0.2) * RATE_HZ), rng)  # fmt: skip
    back *= np.float32(10 ** (rng.uniform(-26, 2) / 20) * 0.05 / level_of(back))
    near = noise(clips, count, rng) * np.float32(0.05 * 10 ** (-rng.uniform(4, 35) / 20))
    at = int(rng.uniform(0, 3) * RATE_HZ)
    while at < count and rng.random() < 0.7:
        said = clips.anyone(rng)[: count - at]
        near[at : at + len(said)] += said * np.float32(0.05 / level_of(said))
        at += len(said) + int(rng.uniform(0.3, 2) * RATE_HZ)
    echo = Echo(EchoConfig(floor_db=0.0))
    out = echo.feed((back + near).astype(np.float32), played, echo.init_state()).samples
    left: np.ndarray = out[DELAY_SAMPLES:] - near[: len(out) - DELAY_SAMPLES]
    return left / np.float32(0.05)


def scene(clips: Clips, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Samples without noise, of a unit voice, and a mark for each frame."""
    count = int(SCENE_S * RATE_HZ)
    x = np.zeros(count, np.float32)
    marks = np.zeros((count - WINDOW_SAMPLES) // HOP_SAMPLES + 1, np.int8)
    voice = int(rng.integers(clips.voices))
    size, pace = rng.uniform(0.78, 1.26), rng.uniform(0.85, 1.18)  # of the speaker, and how fast they speak
    if rng.random() < 0.5:
        size = rng.uniform(0.95, 1.05)

    def frame(sample: float) -> int:
        return int(sample - WINDOW_SAMPLES) // HOP_SAMPLES + 1

    def mark(first: int, end: int, what: int) -> None:
        marks[max(0, first) : max(0, end)] = what

    def put(kind: str, at: int) -> tuple[int, int, int]:
        """Where it begins and ends, and where the word does, if told."""
        clip, word = clips.one(kind, voice, rng)
        clip, word = stretch(clip, size), int(word / size)
        if kind in ("stop", "before", "within", "hard") and rng.random() < 0.5:
            clip = np.concatenate([tempo(clip[: -_PAD // 2], pace / size), np.zeros(_PAD // 2, np.float32)])
        clip = clip * np.float32(rng.uniform(0.55, 1.0))
        at = max(0, at)
        x[at : at + len(clip)] += clip[: max(0, count - at)]
        return at, at + len(clip), at + word if word else 0

    def ended(end: int, what: int) -> None:
        mark(frame(end) - 8, frame(end) + 40, UNSURE)
        mark(frame(end) + AFTER_FRAMES, frame(end) + AFTER_FRAMES + FOR_FRAMES, what)

    later: list[tuple[int, int]] = []
    at = int(rng.uniform(0.2, 1.2) * RATE_HZ)
    wanted = rng.random() < 0.5
    while at < count - RATE_HZ // 3:
        kind = rng.random() if wanted else rng.uniform(0.6, 1.0)
        if wanted and kind < 0.42:
            if rng.random() < 0.15:
                at = put("before", at)[1] + int(rng.uniform(-0.08, 0.08) * RATE_HZ)
            _, at, _ = put("stop", at)
            later.append((at - _PAD, YES))
            if rng.random() < 0.3:
                _, at, _ = put("other", at + int(rng.uniform(-0.09, 0.4) * RATE_HZ))
        elif wanted and kind < 0.6:
            begin, at, word = put("after", at)
            mark(frame(begin), frame(at) + 5, UNSURE)
            if word:
                ended(word, YES)
            elif not (marks == SOMEWHERE).any():
                first = begin + _PAD
                mark(frame(first + 0.25 * RATE_HZ), min(frame(first + 0.85 * RATE_HZ), frame(at) + 12), SOMEWHERE)
        elif kind < 0.68:
            begin, at, _ = put("within", at)
            mark(frame(begin + 0.15 * RATE_HZ), frame(at) + 40, NO_IF_CLEAR)
        elif kind < 0.85:
            _, at, _ = put("hard", at)
        else:
            _, at, _ = put("other", at)
            if rng.random() < 0.25:  # within a sentence; after a breath nobody knows
                gap = rng.uniform(-0.09, 0.25)
                _, at, _ = put("stop", at + int(gap * RATE_HZ))
                later.append((at - _PAD, NO_IF_CLEAR if gap < 0.05 else UNSURE))
        at += int(rng.uniform(0.3, 1.3) * RATE_HZ)
    for end, what in later:
        if what == NO_IF_CLEAR:
            mark(frame(end) - 8, frame(end) + 40, what)
        else:
            ended(end, what)
    if rng.random() < 0.4:
        x = echoed(x, int(rng.uniform(0.05, 0.35) * RATE_HZ), rng.uniform(0.02, 0.2), 0, rng)
    return x / np.float32(level_of(x)), marks


def banded(samples: np.ndarray) -> np.ndarray:
    """[T, 40] logarithms of the bands' powers."""
    return np.log(Ears().powers(samples) + np.float32(1e-9)).astype(np.float16)


def made(folder: str, what: str, seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` of `scene`, `noise` or `residue` as bands, and marks, of scenes."""
    clips, rng = Clips(folder), np.random.default_rng((seed, {"scene": 0, "noise": 1, "residue": 2}[what]))
    bands, marks = [], []
    for _ in range(count):
        if what == "scene":
            x, mark = scene(clips, rng)
            marks.append(mark)
        else:
            x = residue(clips, rng) if what == "residue" else noise(clips, int(SCENE_S * RATE_HZ), rng)
        bands.append(banded(x))
    return np.stack(bands), np.stack(marks) if marks else np.zeros(0, np.int8)


def warped(bands: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """[B, T, 40] of somebody whose mouth is so much smaller or larger, [B]."""
    place = np.clip(np.arange(BANDS) * factor[:, None, None], 0, BANDS - 1.001).astype(np.float32)
    low = place.astype(np.int64)
    below, above = (np.take_along_axis(bands, low + each, 2) for each in (0, 1))
    mixture: np.ndarray = below + (above - below) * (place - low.astype(np.float32))
    return mixture


def mixed(
    scenes: np.ndarray, noises: np.ndarray, residues: np.ndarray, chosen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """[B, T, 40] frames as the spotter hears them, of the `chosen` scenes in noise; [B] their level over it, dB."""
    many, frames = len(chosen), scenes.shape[1]
    factor = np.where(rng.random(many) < 0.6, rng.uniform(0.88, 1.12, many), 1.0)
    power = np.exp(warped(scenes[chosen].astype(np.float32), factor))
    snr_db = rng.triangular(2, 8, 32, many).astype(np.float32)

    def add(other: np.ndarray, down_db: np.ndarray) -> None:
        """Two sounds in one band: their powers, and a beat of a random phase, less where many lines are in one band."""
        other = np.exp(other) * 10 ** (-down_db[:, None, None] / 10).astype(np.float32)
        beat = rng.standard_normal(power.shape, np.float32) * (1.0 / np.sqrt(np.arange(BANDS) / 4 + 2.0)).astype(
            np.float32
        )
        power[:] = np.maximum(power + other + np.clip(beat, -1.4, 1.4) * np.sqrt(power * other), 0.02 * (power + other))

    drawn = rng.integers(len(noises), size=many)
    turn = rng.integers(frames, size=many)
    places = (np.arange(frames)[None] + turn[:, None]) % frames
    add(noises[drawn[:, None], places].astype(np.float32), snr_db)
    over = np.flatnonzero(rng.random(many) < 0.4)
    if len(over):
        drawn, longer = rng.integers(len(residues), size=many), residues.shape[1] - frames
        places = np.arange(frames)[None] + rng.integers(longer, size=many)[:, None]
        down_db = np.full(many, 200.0, np.float32)
        down_db[over] = rng.uniform(-5, 8, len(over))
        add(residues[drawn[:, None], places].astype(np.float32), down_db)
    knots = rng.uniform(-9, 7, (many, 7)) * (rng.random((many, 1)) < 0.5)  # a microphone that has a tone of its own
    tone = np.stack([np.interp(np.arange(BANDS), np.linspace(0, BANDS, 7), each) for each in knots])
    gain_db = tone + rng.uniform(-44, -12, (many, 1))
    log = np.log(power * (10 ** (gain_db / 10)).astype(np.float32)[:, None] + np.float32(1e-7))
    settled = rng.random((many, 1)) < 0.5  # somebody who listened for long knows the mean
    mean = np.where(settled, log.mean(1) + rng.uniform(-0.7, 0.7, (many, 1)), log[:, 0]).astype(np.float32)
    for at in range(frames):
        mean += np.float32(SLOW) * (log[:, at] - mean)
        log[:, at] -= mean
    frames_of = levelled_bands(log)
    for at in np.flatnonzero(rng.random(many) < 0.25).tolist():  # a few bands that nothing can be heard in
        first = int(rng.integers(BANDS))
        frames_of[at, :, first : first + int(rng.integers(1, 7))] = 0
    return frames_of, snr_db
