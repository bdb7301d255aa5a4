"""The bench `live_gap`: its clock, and at tiny size that both sides read the same and would say the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from liveagent.audio import TICK_SAMPLES
from liveagent.bench import live_gap
from liveagent.bench.beside import BAR, error, exact
from liveagent.bench.live_gap import TICK_S, Answer, Turn, turn_of
from liveagent.bench.proportions import SIZES, whole
from liveagent.errors import ConfigError, DeviceError
from liveagent.keyframe import Keyframes
from liveagent.nn.vit import Vit

PICTURE = np.zeros((8, 8, 3), np.uint8)


class Watch:
    """A time that moves by what is done."""

    def __init__(self) -> None:
        self.now_s, self.done = 0.0, list[tuple[str, int]]()

    def perf_counter(self) -> float:
        return self.now_s


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What a piece of sound, a picture and the closing marks cost, in seconds; `did` what was done, and how much."""
    watch = Watch()
    cost: dict[str, Any] = {"hear": 0.01, "see": 0.0, "close": 0.05, "did": watch.done}

    class Reader:
        ids = [1, 2]

        def __init__(self, *_: Any) -> None: ...

        def listen(self, samples: np.ndarray) -> None: ...

        def hear(self, samples: np.ndarray, begins: bool) -> None:
            watch.done.append(("hear", len(samples) // TICK_SAMPLES))
            watch.now_s += cost["hear"]

        def see(self, pixels: Any, t_ns: int) -> None:
            watch.done.append(("see", sum(count for what, count in watch.done if what == "hear")))
            watch.now_s += cost["see"]

        def close(self) -> torch.Tensor:
            watch.now_s += cost["close"]
            return torch.zeros(3)

    monkeypatch.setattr(live_gap, "time", watch)
    monkeypatch.setattr(live_gap, "Reader", Reader)
    yield cost


def turn(ticks: int, pictures: dict[int, Any] | None = None) -> Turn:
    return Turn(np.zeros(ticks * TICK_SAMPLES, np.float32), pictures or {}, PICTURE)


def test_quick_work_waits_for_the_microphone(work: dict[str, Any]) -> None:
    answer = live_gap.ours(None, turn(10))  # type: ignore[arg-type]
    assert work["did"] == [("hear", 1)] * 10
    assert answer.gap_s == pytest.approx(0.06) and answer.left_s == pytest.approx(0.01)
    assert answer.load == pytest.approx(0.1 / 0.8)


def test_slow_work_finds_more_sound_and_what_is_behind_counts(work: dict[str, Any]) -> None:
    work["hear"] = 1.0
    answer = live_gap.ours(None, turn(20))  # type: ignore[arg-type]
    # The first tick is there after 0.08 s, and 13 more when it has been read: eight at most go in at once.
    assert [count for _, count in work["did"]] == [1, 8, 8, 3]
    assert answer.left_s == pytest.approx(TICK_S + 4 * 1.0 - 1.6) and answer.load == pytest.approx(4 / 1.6)
    assert answer.gap_s == pytest.approx(answer.left_s + 0.05)


def test_a_picture_goes_in_behind_the_sound_before_it(work: dict[str, Any]) -> None:
    work["see"] = 0.3
    answer = live_gap.ours(None, turn(10, {4: PICTURE}))  # type: ignore[arg-type]
    assert work["did"][5] == ("see", 5) and sum(count for what, count in work["did"] if what == "hear") == 10
    assert answer.load == pytest.approx((0.3 + 0.01 * (len(work["did"]) - 1)) / 0.8)


def test_figures_are_medians_without_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = iter([Answer(torch.zeros(1), s, 0.5, s / 2, [1] * 7) for s in (9.0, 0.1, 0.3, 0.2)])
    other = iter([Answer(torch.zeros(1), s, parts_s={"ear": s}) for s in (9.0, 0.4, 0.4, 0.8)])
    monkeypatch.setattr(live_gap, "ours", lambda *_: next(mine))
    monkeypatch.setattr(live_gap, "theirs", lambda *_: next(other))
    both: Any = type("Both", (), {"begin": lambda self: None})()
    figures, detail = live_gap.compared(both, turn(1), 3)
    assert figures == {"live_gap": 0.5, "ours_ms": 200.0, "theirs_ms": 400.0, "load_while_speaking": 0.5}
    assert detail == {"turn_tokens": 7, "left_over_ms": 100.0, "theirs_parts_ms": {"ear": 400.0}}


def test_too_little_memory_is_said_before_anything_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_gap, "free_memory", lambda: 8e9)
    with pytest.raises(DeviceError, match="8 GB of memory are free, e2b needs 20: take --size 0.3b"):
        live_gap.run("e2b")
    assert live_gap.largest() == "0.3b"
    monkeypatch.setattr(live_gap, "free_memory", lambda: None)
    assert live_gap.largest() == "e2b"
    with pytest.raises(ConfigError, match="no size is called 'e4b'"):
        live_gap.run("e4b")


@pytest.mark.parametrize("size", SIZES)
def test_marks_are_apart_and_in_the_vocabulary(size: str) -> None:
    config = whole(size)
    marks = [value for name, value in config.items() if name.endswith(("_id", "_index"))]
    assert len(set(marks)) == 7 and all(0 < each < config["text_config"]["vocab_size"] for each in marks)


@pytest.mark.slow
def test_both_sides_read_the_same_and_would_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    from liveagent.bench.sides import Sides

    # What the gated eye leaves out, and its detector takes for noise, is the eye bench's to say.
    monkeypatch.setattr(Vit, "moved", 0.0)
    monkeypatch.setattr(Vit, "probe", 1)
    monkeypatch.setattr(live_gap, "Keyframes", lambda **_: Keyframes(threshold=0))
    with exact():
        both = Sides("tiny", torch.float32, 700)
        both.remember(150)
        said = {}
        for name, said_when in (("one", turn_of(1, 12)), ("two", turn_of(2, 12))):
            both.begin()
            ours = live_gap.ours(both, said_when)
            theirs = live_gap.theirs(both, said_when, ours.ids)
            assert error(ours.logits, theirs.logits) <= BAR
            said[name] = ours
            assert {*theirs.parts_s} == {"processors", "ear", "eye", "decoder"}
            assert ours.ids.count(both.marks["audio_token_id"]) == 2 * said_when.ticks
            assert ours.ids.count(both.marks["image_token_id"]) == 64  # of the newest
        both.begin()
        other = live_gap.theirs(both, turn_of(1, 12, seed=4), said["one"].ids)
        assert error(said["one"].logits, other.logits) > 10 * BAR  # sound and picture do come through
