"""How long a person waits: one turn's stamps, and many turns' percentiles.

Everything is counted from the last sample the user spoke, which is what a person feels, and not from the moment the
silence was noticed. A pure ledger: whoever stamps brings the time.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

Stamp: TypeAlias = Literal["spoken", "decided", "words", "token", "call", "voiced", "played"]
"""In the order a turn usually takes them: last spoken sample, silence decided, words final, first token of the answer,
call sent, first sample voiced, first sample played. A step may be missing, and words may be final before the end."""
STAMPS: tuple[Stamp, ...] = get_args(Stamp)
NS_PER_MS = 1_000_000


@dataclass(slots=True)
class TurnLatency:
    """The stamps of one turn. The first of each kind counts, but `spoken` may move on while the user goes on."""

    t_ns: dict[Stamp, int] = field(default_factory=dict)

    def stamp(self, what: Stamp, t_ns: int) -> None:
        if what == "spoken":
            self.t_ns[what] = max(t_ns, self.t_ns.get(what, t_ns))
        else:
            self.t_ns.setdefault(what, t_ns)

    @property
    def durations_ms(self) -> dict[str, float | None]:
        """Every step's time after the last spoken sample; None for a step that did not happen. Typed turns have no
        spoken sample: they count from the decision."""
        start = self.t_ns.get("spoken", self.t_ns.get("decided"))
        return {
            what: None if start is None or what not in self.t_ns else (self.t_ns[what] - start) / NS_PER_MS
            for what in STAMPS
            if what != "spoken"
        }


@dataclass(frozen=True, slots=True)
class Percentiles:
    count: int
    p50: float
    p95: float
    worst: float


class Latencies:
    """The last `turns` turns (bounded), and what they say together."""

    def __init__(self, turns: int = 1000) -> None:
        self._turns: deque[dict[str, float | None]] = deque(maxlen=turns)

    def __len__(self) -> int:
        return len(self._turns)

    def feed(self, turn: TurnLatency) -> None:
        self._turns.append(turn.durations_ms)

    def summary(self) -> dict[str, Percentiles]:
        """Per step that happened at all, in ms. Percentiles are of the nearest rank: times that were measured."""
        found: dict[str, Percentiles] = {}
        for what in STAMPS:
            values = sorted(value for turn in self._turns if (value := turn.get(what)) is not None)
            if values:
                found[what] = Percentiles(len(values), _rank(values, 50), _rank(values, 95), values[-1])
        return found


def _rank(values: list[float], percent: int) -> float:
    return values[max(0, -(-len(values) * percent // 100) - 1)]
