"""Makes nano from nothing but programs that speak and seeds: `liveagent train recipe --data FOLDER`.

The steps, each a module of its own that can be run alone and goes on where it was stopped:

1. `pieces`   the tokenizer of ear and decoder, from generated text
2. `speech`   synthetic speech in every voice that is installed, on disk
3. `ear`      CTC from a flat start on aligned frames, clean first and then ever more damaged; annealed by wall time
4. `eye`      a vision transformer on drawn scenes, each drawn once; annealed by wall time
5. `sights`   what the trained eye says of scenes it has not seen, for the decoder
6. `decoder`  typed dialogues with tools in the prompt, two fifths of them tools that exist only in training; more
              than half of it about pictures, as the eye reads them
7. export     fp16 weights into the weights folder, with the sizes and the tokenizer's hash in their headers

A tokenizer made anew needs ear and decoder made anew: the ear's output columns are its ids.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def steps(data: Path, weights: Path, minutes: float, rounds: int) -> list[tuple[str, list[str]]]:
    """Name and command line of every step that is still to do. `minutes` is for each network."""
    python = [sys.executable, "-m"]
    pieces, ear, eye, decoder = weights / "pieces.json", data / "ear", data / "eye", data / "decoder"
    resume = ["--resume", str(decoder / "last.pt")] if (decoder / "last.pt").is_file() else []
    todo = [] if pieces.is_file() else [("pieces", [*python, "liveagent.train.pieces", str(pieces)])]
    train_decoder = [*python, "liveagent.train.decoder", "--pieces", str(pieces), "--out", str(decoder)]
    train_ear, train_eye = [*python, "liveagent.train.ear"], [*python, "liveagent.train.eye"]
    readings = ["--weights", str(weights / "eye.safetensors"), "--out", str(data / "sights"), "--count", "60000"]
    return [
        *todo,
        ("test speech", [*python, "liveagent.train.speech", "test", "--data", str(data)]),
        ("speech", [*python, "liveagent.train.speech", "make", "--data", str(data), "--rounds", str(rounds)]),
        ("ear", [*train_ear, "train", "--data", str(data), "--out", str(ear), "--minutes", str(minutes)]),
        ("eye", [*train_eye, "train", "--out", str(eye), "--minutes", str(minutes)]),
        ("export eye", [*train_eye, "export", "--out", str(eye), "--to", str(weights / "eye.safetensors")]),
        ("sights", [*python, "liveagent.train.sights", *readings]),
        (
            "decoder",
            [*train_decoder, "--until", f"{minutes:g}m", "--bf16", "--pools", str(data / "sights"), *resume],
        ),
        ("export ear", [*train_ear, "export", "--out", str(ear), "--to", str(weights / "ear.safetensors")]),
        ("export decoder", [*train_decoder, "--export", str(weights / "decoder.safetensors")]),
    ]


def main(tell: Callable[[str], None], arguments: list[str] | None = None) -> None:
    """Run what is still to do, in order, telling of each step; stops at the first that fails."""
    parser = argparse.ArgumentParser(prog="liveagent train recipe", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="where speech and checkpoints go: 5 to 10 GB")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the finished weights go")
    parser.add_argument("--minutes", type=float, default=120.0, help="of training, for each network")
    parser.add_argument("--rounds", type=int, default=16, help="of speech, about 1.2 hours each")
    given = parser.parse_args(arguments)
    given.data.mkdir(parents=True, exist_ok=True)
    given.weights.mkdir(parents=True, exist_ok=True)
    for name, command in steps(given.data, given.weights, given.minutes, given.rounds):
        tell(f"== {name}")
        done = subprocess.run(command, check=False)
        if done.returncode:
            sys.exit(f"{name} failed with status {done.returncode}; run the recipe again to go on from there")


if __name__ == "__main__":
    main(partial(print, flush=True))
