"""Speech for the spotter of the stop word: the word alone in many voices, and everything that it must not be taken for.

Run `python -m liveagent.train.stops make FOLDER`, ten minutes; `liveagent.train.spotter` trains on it.
"""

from __future__ import annotations

import random
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from liveagent.train.borrowed import BORROWED
from liveagent.train.sentences import Sentences
from liveagent.train.speech import tool_files
from liveagent.train.voices import HELD_OUT, NATURAL, espeak, speak
from liveagent.train.words import ADJECTIVES, ADVERBS, NAMES, NOUNS, SMALL, VERBS

KNOWN = ("espeak", *NATURAL)
UNSEEN = HELD_OUT
MANY = {"espeak": 2400, "borrowed": 120}
"""Times the word, of espeak, which is a hundred, and of each borrowed speaker, who has an accent; of others 300."""
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
AFTER = (
    "now", "please", "it", "that", "there", "here", "right now", "this", "the robot", "moving", "recording",
    "the timer", "the music", "and wait", "go back", "what are you doing", "at once", "everything", "I said", "rolling",
    "now please", "immediately", "him", "her", "all of it", "stop", "stop stop", "or else", "you", "driving",
    "at the door",
)  # fmt: skip
"""What goes on after the word and stops no less."""
NEAR = (
    "don't stop", "do not stop", "never stop", "you can't stop me", "bus stop", "at the bus stop", "the bus stop is",
    "it won't stop raining", "when does it stop", "where is the next stop", "we stopped there", "a full stop",
    "they never stop talking", "I want to stop smoking", "the shop is open", "start the timer", "top of the list",
    "stuff", "start", "top", "step", "shop", "stock", "stop gap measures", "stomach", "stone", "stand up", "still",
    "stopped", "store", "story", "stay", "steep", "stoop", "drop it", "hop", "pop", "chop", "swap", "spot", "scott",
    "slop", "flop", "crop", "cop", "what", "not", "hot", "lot", "stack", "stuck", "stab", "stub", "stark", "sharp",
    "sock", "soap", "soup", "sob", "sit up", "set up", "step up", "is it up", "this top", "less top", "that's top",
)  # fmt: skip


HARD = (
    *NEAR, *(word for word in (*NOUNS, *VERBS, *ADJECTIVES, *ADVERBS, *SMALL, *NAMES) if word[0] == "s"), "start it",
    "start now", "start please", "start recording", "star", "starter", "start to", "set", "said", "shot", "shock",
    "sharp", "shout", "shut", "shut up", "sought", "short", "sort", "spark", "stalk", "stork", "staff", "stag", "stem",
    "stew", "strap", "strip", "drop", "prop", "crop it", "tops", "top up", "tap", "tip", "tock", "talk", "took",
    "tough", "top it", "stopwatch", "stopping", "stopper", "stopover", "stops", "stock up", "stocking",
    "storage", "stoic",
    "state", "sport", "sponge", "sit", "sap", "sip", "sup", "soppy", "sop", "swamp", "swan", "swat", "squat", "scar",
    "scoff", "scald", "scope", "slot", "slap", "slip", "snap", "snob", "spa", "spot on", "spots", "what's up", "hop on",
    "it's hot", "let's talk", "yes top", "cop", "mop", "pop", "chop", "chopped", "job", "rob", "bob", "off", "of", "oh",
    "call", "cold", "caught", "car", "cup", "god", "got", "open", "hope", "soaked", "sofa", "sir", "search", "such",
    "touch", "tub", "tube", "tar", "target", "dark", "dot", "dock", "daughter", "thought", "thorn", "fought", "father",
)  # fmt: skip
"""Words that a burst may begin with and that begin, or end, or sound nearly as it does."""


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


def hard(seed: int, count: int) -> list[str]:
    """Of what is most like a stop: such a word alone, or with a few more behind it, and commands that begin so."""
    rng = random.Random(seed)
    source = Sentences(tool_files(), seed)
    found: list[str] = []
    while len(found) < count:
        text = rng.choice(HARD)
        kind = rng.random()
        if kind < 0.4:
            text += " " + source.salad()
        elif kind < 0.6:
            text = source.command()
            if not text.startswith(("s", "t")):
                continue
        if text == "stop" or text.startswith(("stop ", "halt", "freeze")):
            continue
        found.append(text)
    return found


KINDS = ("stop", "before", "after", "within", "other", "hard")


def lines(voice: str, seed: int, many: int) -> dict[str, list[str]]:
    """What one voice says, by kind; `many` of the word alone."""
    rng = random.Random(f"{voice}{seed}")
    return {
        "stop": [rng.choice(("stop", "stop", "stop", "stop!")) for _ in range(many)],
        "before": [rng.choice(BEFORE) for _ in range(many // 6)],
        "after": [f"stop {rng.choice(AFTER)}" for _ in range(many // 2)],
        "within": [rng.choice(WITHIN) for _ in range(many // 2)],
        "other": texts(seed, 2 * many),
        "hard": hard(seed, 2 * many),
    }


def make(voice: str, folder: str, many: int, seed: int) -> str:
    """One voice's file: of each kind the clips, end to end, and where each ends; `after_word`: where the word does, of
    those that tell (0: not told)."""
    found: dict[str, Any] = {}
    for kind, said in lines(voice, seed, many).items():
        clips = [
            each for at in range(0, len(said), 50) for each in speak(voice, said[at : at + 50], seed + at, espeak())
        ]
        found[kind] = np.concatenate([each.samples for each in clips]) if clips else np.zeros(0, np.int16)
        found[f"{kind}_ends"] = np.cumsum([len(each.samples) for each in clips])
        if kind == "after":
            found["after_word"] = np.array([dict(each.marks).get(len("stop "), 0) for each in clips])
    np.savez(Path(folder) / f"{voice.replace('/', '-')}-{seed}.npz", **found)
    return f"{voice}: {len(found['stop_ends'])} stops, {len(found['other_ends']) + len(found['hard_ends'])} others"


def main(arguments: list[str]) -> int:
    folder = Path(arguments[1])
    folder.mkdir(parents=True, exist_ok=True)
    voices = (*KNOWN, *(f"borrowed/{name}" for name in BORROWED))
    jobs = [(each, str(folder), MANY.get(each.partition("/")[0], 300), 2000 + at) for at, each in enumerate(voices)]
    with ProcessPoolExecutor(2) as pool:
        for said in pool.map(make, *zip(*jobs, strict=True)):
            print(said, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
