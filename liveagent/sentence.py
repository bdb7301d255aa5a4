"""Where one sentence ends and the next begins: what a voice says in one breath, and a network makes in one pass."""

from __future__ import annotations

import re

_END = re.compile(r"""[.!?…]+["'”’)\]]*\s+|[。！？]+["'”’」』）]*\s*|\n\s*""")
_SHORT = re.compile(r"(^|[\s(\"'“‘])((\w\.)+|(mr|mrs|ms|dr|prof|st|vs|no|fig|ca|approx|e\.g|i\.e)\.)$", re.IGNORECASE)
_CLAUSE = re.compile(r"[,;:—–、，；：]\s*")


def sentences_of(text: str, most_characters: int) -> list[tuple[int, int]]:
    """The sentences of a text as (start, end), in order; together they hold every word, and none holds part of one,
    unless a word is longer than `most_characters`. A sentence that is longer is cut at a comma or between words.

    A full stop before a small letter ends nothing ("at 5 p.m. or so"), nor one that makes a word short ("Dr. Who").
    """
    found: list[tuple[int, int]] = []
    start = 0
    for mark in _END.finditer(text):
        after = text[mark.end() : mark.end() + 1]
        stop = mark[0][0] == "." and "\n" not in mark[0]
        if stop and (not after or not (after.isupper() or after.isdigit() or after in "\"'“‘([")) and after:
            continue
        if stop and _SHORT.search(text[start : mark.start() + 1]):
            continue
        found += _cut(text, start, mark.end(), most_characters)
        start = mark.end()
    found += _cut(text, start, len(text), most_characters)
    return found


def _cut(text: str, start: int, end: int, most: int) -> list[tuple[int, int]]:
    pieces = []
    while start < end and text[start].isspace():
        start += 1
    while end - start > most:
        within = text[start : start + most + 1]
        clauses = [mark.end() for mark in _CLAUSE.finditer(within) if mark[0][-1].isspace()]
        cut = max((each for each in clauses if each > most // 3), default=0)
        cut = cut or max((at + 1 for at in range(most) if within[at].isspace()), default=0) or most
        pieces.append((start, start + cut))
        start += cut
    if text[start:end].strip():
        pieces.append((start, end))
    return pieces
