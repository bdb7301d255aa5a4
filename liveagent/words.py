"""`Words`: two hearings of one utterance, our ear's and the recogniser's, made into one, with its source and how sure.

The ear hears synthetic voices well, the recogniser people; each is right or wrong for its own reasons, so agreement is
strong evidence. Where neither finds a sentence of the grammar near, the ear's free words are given as such, never the
nearest sentence.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from liveagent.ctc import Hypothesis

Source = Literal["ear", "recogniser", "both"]


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a recogniser heard in one utterance. `score` is the words' mean in nats per frame (0 is best), `confidence`
    maps it to 0…1 with ½ at its threshold. `in_grammar` is False when no whole sentence was found, it was not near, or
    the sound is as steady as noise."""

    words: tuple[str, ...] = ()
    score: float = -math.inf
    confidence: float = 0.0
    in_grammar: bool = False

    @property
    def text(self) -> str:
        return " ".join(self.words)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """`ear_half` is the margin (nats per piece) at which the ear's sentence is as likely wrong as right, `ear_slope`
    how fast that changes; `fit` finds both. A sentence is taken from `accept` on, its confidence from 0 to 1."""

    ear_half: float = -1.2
    ear_slope: float = 0.25
    accept: float = 0.5
    agree: float = 0.05  # both found the same sentence: taken when each is at least this sure
    lead: float = 0.2  # both found different ones: the surer is taken when it leads by this
    free: float = 0.6  # mean probability from which the ear's free words are believed

    def ear(self, hypothesis: Hypothesis | None) -> float:
        """Confidence of the ear's sentence; 0 when it found none."""
        if hypothesis is None or not hypothesis.final or not hypothesis.words:
            return 0.0
        return 1 / (1 + math.exp(min(50.0, (self.ear_half - hypothesis.margin) / self.ear_slope)))


@dataclass(frozen=True, slots=True)
class Heard:
    """One utterance's words. `unsure`: ask again rather than act. `source` says whose words they are."""

    text: str
    source: Source
    confidence: float
    in_grammar: bool
    unsure: bool


class Words:
    """Decides between hearings of the same utterance; holds nothing but its thresholds."""

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()

    def decide(
        self,
        free: str = "",
        free_confidence: float = 0.0,
        ear: Hypothesis | None = None,
        recognised: Recognised | None = None,
    ) -> Heard:
        """`free`: the ear's words without grammar and their mean probability; `ear`: its best whole sentence;
        `recognised`: the recogniser's. Any may be missing."""
        limits = self.thresholds
        by_ear = limits.ear(ear)
        by_other = recognised.confidence if recognised and recognised.words else 0.0
        ear_text = ear.text if ear else ""
        other_text = recognised.text if recognised else ""
        if ear_text and ear_text == other_text and min(by_ear, by_other) >= limits.agree:
            return Heard(ear_text, "both", 1 - (1 - by_ear) * (1 - by_other), True, False)
        source: Source = "ear" if by_ear >= by_other else "recogniser"
        text = ear_text if source == "ear" else other_text
        surer, other = max(by_ear, by_other), min(by_ear, by_other)
        if surer >= limits.accept:
            contested = other >= limits.accept and surer - other < limits.lead
            return Heard(text, source, surer * (1 - other / 2), True, contested)
        return Heard(free, "ear", free_confidence, False, not free or free_confidence < limits.free)


def fit(scores: Sequence[float], right: Sequence[bool], rounds: int = 50) -> tuple[float, float]:
    """Half-way point and slope of a logistic curve from scores of right and wrong sentences (Platt 1999: the targets
    are drawn in a little, so that scores which part cleanly still give a finite slope). ValueError without both."""
    good, bad = sum(right), len(right) - sum(right)
    if not good or not bad:
        raise ValueError("fit needs some right and some wrong sentences")
    aim = [(good + 1) / (good + 2) if is_right else 1 / (bad + 2) for is_right in right]
    mean = sum(scores) / len(scores)
    scale = max(1e-6, math.sqrt(sum((score - mean) ** 2 for score in scores) / len(scores)))
    z = [(score - mean) / scale for score in scores]

    def loss(a: float, b: float) -> float:
        return sum(math.log1p(math.exp(-abs(a * x + b))) + max(0.0, a * x + b) - t * (a * x + b)
                   for x, t in zip(z, aim, strict=True)) + 1e-3 * a * a  # fmt: skip

    a, b = 1.0, 0.0
    for _ in range(rounds):  # Newton, halving a step that does not lower the loss
        p = [1 / (1 + math.exp(-max(-50.0, min(50.0, a * x + b)))) for x in z]
        grad_a = sum((q - t) * x for q, t, x in zip(p, aim, z, strict=True)) + 2e-3 * a
        grad_b = sum(q - t for q, t in zip(p, aim, strict=True))
        weight = [max(1e-9, q * (1 - q)) for q in p]
        aa = sum(w * x * x for w, x in zip(weight, z, strict=True)) + 2e-3
        ab = sum(w * x for w, x in zip(weight, z, strict=True))
        bb = sum(weight) + 1e-9
        det = aa * bb - ab * ab
        step_a, step_b = (bb * grad_a - ab * grad_b) / det, (aa * grad_b - ab * grad_a) / det
        now, size = loss(a, b), 1.0
        while size > 1e-6 and loss(a - size * step_a, b - size * step_b) > now:
            size /= 2
        a, b = a - size * step_a, b - size * step_b
    slope = scale / a if abs(a) > 1e-9 else math.inf
    return mean - b * slope, slope
