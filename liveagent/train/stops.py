"""Speech for the spotter of the stop word: the word alone in many voices, and everything that it must not be taken for.

Run `python -m liveagent.train.stops make FOLDER`, a few minutes; `liveagent.train.spotter` trains on it.
"""

from __future__ import annotations

import functools
import random
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from liveagent.train.sentences import Sentences
from liveagent.train.speech import tool_files
from liveagent.train.voices import HELD_OUT, NATURAL, Espeak, speak

KNOWN = ("espeak", *NATURAL)
UNSEEN = HELD_OUT
ROUNDS = 3
BEFORE = ("please", "okay", "robot", "hey", "no", "now", "and", "oh")
"""Said before the word and not instead of it: it stops all the same."""
WITHIN = (
    "don't stop", "do not stop", "never stop", "you don't stop", "we can't stop", "cannot stop", "won't stop",
    "didn't stop", "did not stop", "bus stop", "a bus stop", "the bus stop", "the next stop", "this stop", "my stop",
    "first stop", "full stop", "non stop", "to stop", "they stop", "I stop", "it will stop", "does it stop",
    "when to stop", "let us not stop", "let it not stop", "must not stop", "don't ever stop", "don't you stop",
    "please don't stop", "please do not stop", "one stop shop", "pit stop", "short stop", "door stop", "truck stop",
)  # fmt: skip
"""The word, and another before it that makes it none."""
NEAR = (
    "don't stop", "do not stop", "never stop", "you can't stop me", "bus stop", "at the bus stop", "the bus stop is",
    "it won't stop raining", "when does it stop", "where is the next stop", "we stopped there", "a full stop",
    "they never stop talking", "I want to stop smoking", "the shop is open", "start the timer", "top of the list",
    "stuff", "start", "top", "step", "shop", "stock", "stop gap measures", "stomach", "stone", "stand up", "still",
    "stopped", "store", "story", "stay", "steep", "stoop", "drop it", "hop", "pop", "chop", "swap", "spot", "scott",
    "slop", "flop", "crop", "cop", "what", "not", "hot", "lot", "stack", "stuck", "stab", "stub", "stark", "sharp",
    "sock", "soap", "soup", "sob", "sit up", "set up", "step up", "is it up", "this top", "less top", "that's top",
)  # fmt: skip


@functools.cache
def _espeak() -> Espeak:
    return Espeak()  # one a process


def texts(seed: int, count: int) -> list[str]:
    """Of what is no stop: sentences, rows of words, and near misses."""
    rng = random.Random(seed)
    source = Sentences(tool_files(), seed)
    found: list[str] = []
    while len(found) < count:
        kind = len(found) % 4
        text = source.ordinary() if kind == 0 else source.salad() if kind == 1 else source.next()
        if kind == 3:
            text = rng.choice(NEAR)
        if not text.startswith(("stop", "halt", "freeze", *(f"{each} stop" for each in BEFORE))):
            found.append(text)
    return found


def make(voice: str, folder: str, stops: int, others: int, seed: int) -> str:
    """One voice's file: `stop` [n] and `other` [m] clips, end to end, with where each ends."""
    clips: dict[str, list[np.ndarray]] = {"stop": [], "before": [], "within": [], "other": []}
    wanted = {
        "stop": ["stop"] * stops,
        "before": [random.Random(f"{voice}{at}").choice(BEFORE) for at in range(stops // 3)],
        "within": [random.Random(f"{voice}{seed}{at}").choice(WITHIN) for at in range(stops)],
        "other": texts(seed, others),
    }
    for kind, lines in wanted.items():
        for at in range(0, len(lines), 50):
            made = speak(voice, lines[at : at + 50], seed + at, _espeak())
            clips[kind] += [each.samples for each in made]
    name = Path(folder) / f"{voice.replace('/', '-')}-{seed}.npz"
    found: dict[str, Any] = {}
    for kind, each in clips.items():
        found[kind] = np.concatenate(each) if each else np.zeros(0, np.int16)
        found[f"{kind}_ends"] = np.cumsum([len(one) for one in each])
    np.savez(name, **found)
    return f"{voice}: {len(clips['stop'])} stops, {len(clips['other'])} others"


def main(arguments: list[str]) -> int:
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    jobs = []
    for number, voice in enumerate(KNOWN * ROUNDS):
        part = 600 if voice == "espeak" else 120
        jobs.append((voice, str(folder), part, part * (2 if voice == "espeak" else 3), 1000 + number))
    with ProcessPoolExecutor(2) as pool:
        for said in pool.map(make, *zip(*jobs, strict=True)):
            print(said, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
