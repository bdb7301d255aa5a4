"""`Verified`: what `liveagent verify` found, as a report for anybody: no path, no name of a machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Part: TypeAlias = Literal["loop", "quality", "speed"]
Outcome: TypeAlias = Literal["passed", "failed", "noted", "absent"]

SIGNS: Mapping[Outcome, str] = {"passed": "ok", "failed": "FAILED", "noted": "see", "absent": "none"}
WEAK = "no"  # in place of FAILED where nothing of the loop did
MEANT = (
    ("loop", "what liveagent does: a failure is a fault of the loop, or a checkpoint that it does not fit"),
    ("quality", "what the model says: weights that were not trained, or are small, fail here and break nothing"),
    ("speed", "what this machine gives"),
)
_PATHS = re.compile(r"(?:[A-Za-z]:\\|(?<![\w<|:])(?:~|\.{1,2})?/)[^\s'\",;()]+")


@dataclass(frozen=True, slots=True)
class Check:
    """One question and what came of it. `part`: whose it is; `noted`: worth reading, and neither right nor wrong;
    `absent`: it was not put, and `said` why. `figures`: what was measured on the way."""

    name: str
    part: Part
    outcome: Outcome
    said: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sign(self) -> str:
        return WEAK if self.outcome == "failed" and self.part != "loop" else SIGNS[self.outcome]


def check(name: str, part: Part, held: bool, said: str, **figures: Any) -> Check:
    """One that passed if it `held`."""
    return Check(name, part, "passed" if held else "failed", said, figures)


@dataclass(frozen=True, slots=True)
class Verified:
    """`model`: as it is called among people; `about`: versions, machine in general words, dtype, fingerprint."""

    model: str
    about: Mapping[str, str]
    checks: tuple[Check, ...]
    took_s: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether no check of the loop failed."""
        return not any(each.part == "loop" and each.outcome == "failed" for each in self.checks)

    @property
    def verdict(self) -> str:
        """In a line."""
        counts = []
        for part, _ in MEANT:
            asked = [each for each in self.checks if each.part == part and each.outcome in ("passed", "failed")]
            if asked:
                counts.append(f"{part} {sum(each.outcome == 'passed' for each in asked)} of {len(asked)}")
        absent = [each.name for each in self.checks if each.outcome == "absent"]
        left = f"; not tried: {', '.join(absent)}" if absent else ""
        return f"{'the loop holds' if self.holds else 'the loop does NOT hold'}: {', '.join(counts)}{left}"

    def of(self, name: str) -> Check:
        return next(each for each in self.checks if each.name == name)

    def to_json(self) -> dict[str, Any]:
        return {
            "model": self.model, "holds": self.holds, "verdict": self.verdict, "about": dict(self.about),
            "took_s": round(self.took_s, 1), "checks": [asdict(each) for each in self.checks],
        }  # fmt: skip

    def markdown(self) -> str:
        return "\n".join(self._markdown()) + "\n"

    def _markdown(self) -> Iterator[str]:
        yield f"# liveagent verify {self.model}"
        yield ""
        yield f"{self.verdict[0].upper()}{self.verdict[1:]}. It took {self.took_s:.0f} s."
        yield ""
        for name, value in self.about.items():
            yield f"- {name}: {value}"
        yield ""
        yield "| | check | of the | what came of it |"
        yield "|---|---|---|---|"
        for each in self.checks:
            yield f"| {each.sign} | {each.name} | {each.part} | {_cell(each.said)} |"
        yield ""
        yield from (f"*{part}*: {what}.  " for part, what in MEANT)
        measured = [each for each in self.checks if each.figures]
        if measured:
            yield ""
            yield "| check | figure | value |"
            yield "|---|---|---|"
        for each in measured:
            for name, value in each.figures.items():
                yield f"| {each.name} | {name} | {_cell(str(value))} |"


def shared(text: str, places: Iterable[tuple[str, str]] = ()) -> str:
    """A text for a report: each of `places`, longest first, by its other name, any other path left out, in one line."""
    for place, name in sorted(places, key=lambda each: -len(each[0])):
        text = text.replace(place, name)
    return " ".join(_PATHS.sub("…", text).split())


def places_of(folder: Path, title: str) -> tuple[tuple[str, str], ...]:
    """What errors may call a checkpoint's folder, and what a report calls it."""
    return (str(folder.resolve()), title), (str(folder), title)


def title_of(model: str) -> str:
    """What a model is called in a report: its hub's name, or the last part of a folder's."""
    path = Path(model).expanduser()
    return path.resolve().name if path.exists() else model


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "\\<").replace("\n", " ")
