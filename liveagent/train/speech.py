"""Synthetic speech on disk: `make` writes shards, `Shards` reads them.

A shard is `NAME.pcm` (int16, 16 kHz, utterances end to end) and `NAME.jsonl` (one line an utterance), renamed into
place when whole, so a training that is running sees only finished shards. Equal seeds give equal shards. Keep them
outside the repository.

    python -m liveagent.train.speech make --data DIR --rounds 20      # training voices
    python -m liveagent.train.speech test --data DIR                  # held-out voices, to measure with
"""

from __future__ import annotations

import argparse
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liveagent.train import voices
from liveagent.train.borrowed import BORROWED
from liveagent.train.sentences import Sentences
from liveagent.train.voices import HELD_OUT, NATURAL, Utterance, speak

SHARE = {"espeak": 1200, "flite/awb": 600, "flite/kal16": 500, "festival/kal_diphone": 400, "festival/ked_diphone": 500}
SHARE |= {f"borrowed/{name}": 400 for name in BORROWED}


def top() -> Path:
    """Where `tools/` and `pipelines/` lie: beside this package in the repository, inside it when installed."""
    here = Path(__file__).resolve().parents
    return here[1] if (here[1] / "tools").is_dir() else here[2]


def tool_files() -> list[Path]:
    """The tool files whose phrases are commands to train on."""
    return [top() / "tools" / name for name in ("home.py", "robot.py")]


def pieces_file() -> Path:
    """The shipped tokenizer."""
    return top() / "pipelines" / "nano" / "weights" / "pieces.json"


def _write(data: Path, name: str, made: list[Utterance]) -> None:
    at = 0
    with open(data / f"{name}.pcm", "wb") as pcm, open(data / f"{name}.part", "w") as index:
        for u in made:
            pcm.write(u.samples.tobytes())
            row = {"text": u.text, "voice": u.voice, "at": at, "count": len(u.samples), "marks": u.marks}
            index.write(json.dumps(row) + "\n")
            at += len(u.samples)
    os.replace(data / f"{name}.part", data / f"{name}.jsonl")


def make(data: Path, rounds: int, first: int = 0, report: Callable[[str], object] = str) -> None:
    """Write `rounds` training rounds, each some 6400 utterances over all training voices; skips what is there."""
    data.mkdir(parents=True, exist_ok=True)
    espeak = voices.espeak()
    for n in range(first, first + rounds):
        for voice, count in SHARE.items():
            name = f"train-{n:03d}-{voice.replace('/', '-')}"
            if (data / f"{name}.jsonl").exists():
                continue
            source = Sentences(tool_files(), seed=hash_seed(name))
            _write(data, name, speak(voice, [source.next() for _ in range(count)], n, espeak))
        report(f"round {n} is written")


def test(data: Path, per_voice: int = 36) -> None:
    """Write the test shards: for each voice two thirds commands and small talk, one third ordinary words and salad."""
    data.mkdir(parents=True, exist_ok=True)
    espeak = voices.espeak()
    for voice in ("espeak", *NATURAL, *HELD_OUT):
        source = Sentences(tool_files(), seed=hash_seed("test " + voice))
        talk = [source.command() for _ in range(per_voice * 2 // 3)]
        free = [source.salad() if i % 2 else source.ordinary() for i in range(per_voice // 3)]
        _write(data, f"test-{voice.replace('/', '-')}", speak(voice, talk + free, 9999, espeak))


def hash_seed(name: str) -> int:
    """A seed from a name, the same in every process (Python's own `hash` of a string is not)."""
    return random.Random(name).getrandbits(31)


@dataclass(frozen=True)
class Row:
    """One utterance of a shard: where it is, what it says."""

    shard: str
    text: str
    voice: str
    at: int
    count: int
    marks: tuple[tuple[int, int], ...]


class Shards:
    """Reads the shards of a folder; `refresh()` takes in those finished since."""

    def __init__(self, data: Path, kind: str) -> None:
        """`kind` is `train` or `test`."""
        self.data, self.kind = data, kind
        self.rows: list[Row] = []
        self._seen: set[str] = set()
        self._maps: dict[str, np.ndarray] = {}

    def refresh(self) -> list[Row]:
        """Read newly finished shards and return their rows, also kept in `rows`."""
        new: list[Row] = []
        for path in sorted(self.data.glob(f"{self.kind}-*.jsonl")):
            if path.stem in self._seen:
                continue
            self._seen.add(path.stem)
            self._maps[path.stem] = np.memmap(path.with_suffix(".pcm"), np.int16, "r")
            for line in path.read_text().splitlines():
                r = json.loads(line)
                marks = tuple((int(c), int(s)) for c, s in r["marks"])
                new.append(Row(path.stem, r["text"], r["voice"], r["at"], r["count"], marks))
        self.rows += new
        return new

    def samples(self, row: Row) -> np.ndarray:
        """float32 samples of an utterance, within [-1, 1]."""
        return self._maps[row.shard][row.at : row.at + row.count].astype(np.float32) / 32768.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["make", "test"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.what == "make":
        make(options.data, options.rounds, options.first, print)
    else:
        test(options.data)
