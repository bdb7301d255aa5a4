"""Trains `pieces.json`, the tokenizer of ear and decoder: `python -m liveagent.train.pieces OUT`.

Two stages of byte-pair encoding over texts made here. First the ear's: merges of lower-case letters up to four
characters, short enough that a piece has one sound or few (whole-word pieces teach an ear its sentences, not English).
Then the replies': only merges that hold a character other than those.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from pathlib import Path

from liveagent.nn.pieces import Pieces
from liveagent.train.sentences import TALK, Sentences
from liveagent.train.speech import tool_files

SPECIALS = (
    "<pad> <sys> <tool> <go> <user> <agent> <end> <call> <result> <say> <cut> <eou> <yes> <no> <audio> <image> <event>"
    " <listen> <spare1> <spare2> <spare3> <spare4>"
).split()
SPOKEN = set("abcdefghijklmnopqrstuvwxyz'▁")
LONGEST = 4  # characters of an ear piece, `▁` counted


def merge(words: Counter[tuple[str, ...]], count: int, allow: str, longest: int) -> list[tuple[str, str]]:
    """`count` merges, most frequent pair first (ties by spelling); `allow` is `spoken` or `other`."""
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:], strict=False):
                pairs[pair] += n
        fit = [
            (n, p)
            for p, n in pairs.items()
            if len(p[0] + p[1]) <= longest and (set(p[0] + p[1]) <= SPOKEN) == (allow == "spoken")
        ]
        if not fit:
            break
        best = max(fit, key=lambda x: (x[0], x[1]))[1]
        merges.append(best)
        joined: Counter[tuple[str, ...]] = Counter()
        for word, n in words.items():
            out: list[str] = []
            i = 0
            while i < len(word):
                if word[i : i + 2] == best:
                    out.append(best[0] + best[1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            joined[tuple(out)] += n
        words = joined
    return merges


def count_words(lines: list[str], known: list[tuple[str, str]]) -> Counter[tuple[str, ...]]:
    """Words of the lines as tuples of characters, after the merges already `known`."""
    words: Counter[tuple[str, ...]] = Counter()
    for line in lines:
        for word in line.split():
            words[tuple("▁" + word)] += 1
    for pair in known:
        joined: Counter[tuple[str, ...]] = Counter()
        for spelt, n in words.items():
            out: list[str] = []
            for letters in spelt:  # merges apply in order, left to right
                if out and (out[-1], letters) == pair:
                    out[-1] += letters
                else:
                    out.append(letters)
            joined[tuple(out)] += n
        words = joined
    return words


def reply_lines(source: Sentences, rng: random.Random) -> list[str]:
    """Texts with the looks of replies, tool headers and calls: capitals, stops, digits, `name=value`."""
    lines: list[str] = []
    for _ in range(6000):
        text = source.next()
        lines.append(text[0].upper() + text[1:] + rng.choice([".", ".", "!", "?", ","]))
        lines.append(re.sub(r"\bi\b", "I", text).capitalize() + rng.choice([".", "?"]))
        if rng.random() < 0.1:
            name, value = rng.choice(text.split()), rng.choice(text.split())
            lines.append(f"{name}={value} {name}={rng.randint(0, 100)} : {value},{name} {rng.randint(0, 100)}")
    for text in TALK:
        lines += [text[0].upper() + text[1:] + "."] * 5
    return lines


def train(seed: int = 1) -> Pieces:
    """Make the tokenizer; equal seeds give an equal one."""
    source = Sentences(tool_files(), seed)
    spoken = [source.next() for _ in range(12000)] + source.words * 8 + TALK * 8
    letters = sorted(SPOKEN)
    first = merge(count_words(spoken, []), 300 - len(letters), "spoken", LONGEST)
    ear = [*letters, *dict.fromkeys(a + b for a, b in first)]
    lines = reply_lines(source, random.Random(seed))
    printable = [chr(c) for c in range(33, 127) if chr(c) not in SPOKEN]
    second = merge(count_words(lines, first), 240, "other", 6)
    replies = [*printable, *dict.fromkeys(a + b for a, b in second)]
    raw_bytes = [f"<0x{b:02X}>" for b in range(256)]
    return Pieces(["<blank>", *ear, *raw_bytes, *replies, *SPECIALS], first + second, len(ear), SPECIALS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    made = train()
    made.save(parser.parse_args().out)
    print(f"{made.vocab_size} pieces, {len(made.ear_ids)} of the ear, hash {made.hash}")
