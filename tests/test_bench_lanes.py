"""The bench `lanes`: its search, what a lane is asked for, and at tiny size that every lane comes round."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from liveagent.audio import TICK_SAMPLES
from liveagent.bench import lanes
from liveagent.bench.eye import talking
from liveagent.bench.most import Most, ranked
from liveagent.bench.sessions import seeing
from liveagent.errors import ConfigError, DeviceError
from liveagent.runtime.core import Core
from liveagent.runtime.work import Append, Decode, Done, Encode, Encoded, Listen, Look, Rewind, Seen
from tests.nano import random_nano

SPEECH = np.ones(7 * TICK_SAMPLES, np.float32)


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 5, 7, 8, 11, 16, 40])
def test_the_most_that_fit_are_found(limit: int) -> None:
    found, tried = Most(4, 16), list[int]()
    while (count := found.next) is not None:
        tried.append(count)
        found.tell(count, count <= limit)
    assert found.held == min(limit, 16)
    assert len(tried) == len({*tried}) <= 7 and max(tried) <= 16


def test_a_rank_is_a_value_that_was_measured() -> None:
    values = list(range(1, 201))
    assert (ranked(values, 0.5), ranked(values, 0.95), ranked(values, 0.99)) == (100, 190, 198)
    assert ranked([3.0], 0.99) == 3.0 and ranked([2.0, 1.0], 1.0) == 2.0


def asked(own: bool) -> list[list[Any]]:
    """The work of one lane in each tick of a round; what comes of it is made up."""
    model = type("Model", (), {"own_ear": own or None, "own_eye": own or None})()
    guest = lanes.Guest(type("Engine", (), {"model": model})(), 0, 0, SPEECH, talking(128, 2))
    told, length = [], lanes.room(model)[0]
    for _ in range(lanes.ROUND):
        work, here = guest.tick(), list[Any]()
        reply: Any = None
        try:
            while True:
                here.append(next(work) if reply is None else work.send(reply))
                length += len(here[-1].ids) if isinstance(here[-1], Append) else 0
                length += here[-1].max_tokens if isinstance(here[-1], Decode) else 0
                length = here[-1].length if isinstance(here[-1], Rewind) else length
                reply = {
                    Encode: Encoded(np.zeros((2, 8), np.float32)), Look: Seen(np.zeros((16, 20), np.float32), 16, 64)
                }.get(type(here[-1]), Done(length))  # fmt: skip
        except StopIteration:
            told.append(here)
    return told


@pytest.mark.parametrize("own", [True, False])
def test_a_lane_goes_round(own: bool) -> None:
    told = asked(own)
    kinds = Counter(type(each) for tick in told for each in tick)
    assert all(isinstance(tick[0], Listen) for tick in told)
    assert kinds[Encode] == (lanes.SPEAKS if own else 0)
    assert kinds[Look] == (1 if own else 40)
    kept = [each for tick in told for each in tick if isinstance(each, Append) and each.sights is not None]
    assert len(kept) == 1 and len(kept[0].ids) == 17
    decoded = sum(each.max_tokens for tick in told for each in tick if isinstance(each, Decode))
    assert decoded == sum(lanes.REPLY_TOKENS) == 30
    back = [each.length for tick in told for each in tick if isinstance(each, Rewind)]
    history = 8192 * 2 // 3 if own else 1024
    assert back == [history]  # at the round's end
    at = lanes.SPEAKS if own else lanes.SEEN_AT  # behind sound, in front of words
    assert [len(each.ids) for each in told[at] if isinstance(each, Append)] == ([17, 6] if own else [17])


def test_without_a_gpu_it_says_what_measures_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=r"^no GPU here: .*--device cpu measures the same on the processor$"):
        lanes.run()
    with pytest.raises(ConfigError, match="no size is called"):
        lanes.run("e4b", "cpu")


def test_memory_may_end_it_before_time_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def ticks_ms(model: Any, count: int, *_: Any) -> tuple[list[float], list[float]]:
        if count > 6:
            raise torch.OutOfMemoryError("there is no more")
        return [10.0 * count] * 96, [12.0 * count] * 4

    monkeypatch.setattr(lanes, "ticks_ms", ticks_ms)
    count, p99_ms, tried = lanes.held(None, 4, 64, 100, ())  # type: ignore[arg-type]
    assert (count, p99_ms) == (6, 72.0) and tried["8"] == "more than its memory holds"
    assert tried["6"] == {"p50_ms": 60.0, "p99_ms": 72.0, "listening_p99_ms": 60.0}
    monkeypatch.setattr(lanes, "ticks_ms", lambda *_: ([70.0] * 96, [90.0] * 4))
    assert lanes.held(None, 4, 64, 100, ())[:2] == (0, None)  # type: ignore[arg-type]


def test_what_goes_wrong_in_a_lane_ends_the_bench() -> None:
    core = Core(seeing(random_nano()), slots=64)
    guest = lanes.Guest(core, core.open(), lanes.ROUND - 1, SPEECH, ())
    with pytest.raises(ConfigError, match="cannot rewind to 1024"):
        lanes.House(core, [guest]).live(1)


def test_how_late_a_tick_is_and_who_falls_behind_stays_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    took_s = iter([0.01] * 3 + [0.2] + [0.01] * 50)

    class Engine:
        """One job a round."""

        model = type("Model", (), {"own_ear": None, "own_eye": None})()

        def __init__(self) -> None:
            self.jobs: list[Any] = []

        def submit(self, lane: int, work: Any, done: Any) -> None:
            self.jobs.append(done)

        def step(self) -> None:
            self.jobs.pop(0)(Done(1))

    class Quiet(lanes.Guest):
        def tick(self) -> Any:
            self.index += 1
            yield Listen(SPEECH)

    engine: Any = Engine()
    house = lanes.House(engine, [Quiet(engine, 0, lanes.SPEAKS - 1, SPEECH, ())])
    real = house.step
    monkeypatch.setattr(house, "step", lambda: real() * 0 + next(took_s))
    listening, replying = house.live(8)
    assert replying == pytest.approx([0.01, 0.01, 0.2, 0.13])  # the tick after the slow one was there before that ended
    assert listening == pytest.approx([0.01, 0.06, 0.01, 0.01])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nano", "a checkpoint's"])
def test_lanes_come_round(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_TOKENS", "OPEN_TOKENS"):
        monkeypatch.setattr(lanes, name, 540)
    made: list[Core] = []

    class Kept(Core):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(lanes, "Core", Kept)
    model = seeing(random_nano()) if kind == "nano" else lanes.random_model("tiny", "cpu")
    listening, replying = lanes.ticks_ms(model, 3, lanes.ROUND, talking(96 if model.own_eye else 128, 2))
    assert (len(listening), len(replying)) == (3 * 96, 3 * 4) and min(listening) > 0
    # Each has been taken back once, and has read again what somebody has said since.
    lengths = [lane.length for lane in made[0]._lane[:3]]
    assert lengths[0] == 360 and all(360 <= each < 540 for each in lengths) and len({*lengths}) == 3
