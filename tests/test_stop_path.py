"""The software stop's own path, without processes: what a typed line means, frames, what is thrown away."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liveagent import Agent, tool
from liveagent.runtime import stop_child, stop_wire
from liveagent.runtime.stop_process import Lookout, StopProcess, robots_of
from liveagent.runtime.stop_wire import FRAME, Frames, Reports, StopAddress, frame, read_sound, report, sound
from liveagent.runtime.table_arm import TableArm
from liveagent.runtime.way import MqttWay
from liveagent.stop import is_stop

ARM = StopAddress("home", "arm", "mqtt://127.0.0.1:1")


@pytest.mark.parametrize("text", ["stop", "STOP!!!", "stop it", "please stop now", "stop stop stop", "halt", "freeze!"])
def test_a_typed_stop(text: str) -> None:
    assert is_stop(text)


@pytest.mark.parametrize(
    "text", ["", "don't stop", "do not stop", "stop the timer", "stop recording", "bus stop", "please now", "stopped"]
)
def test_a_line_that_is_none(text: str) -> None:
    assert not is_stop(text)


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(1, 40), min_size=1, max_size=30), rate=st.sampled_from([8000, 16000, 48000]))
def test_frames_arrive_whole_however_they_are_cut(cuts: list[int], rate: int) -> None:
    mic = np.arange(-60, 60, dtype=np.int16)
    data = sound(7, 123, mic, rate, None) + frame(stop_wire.PING) + sound(7, 456, mic, 16000, mic[::-1].copy())
    frames, got, at = Frames(), [], 0
    for cut in [*cuts, len(data)]:
        got += list(frames.feed(data[at : at + cut]))
        at += cut
    assert [(kind, lookout, t_ns) for kind, lookout, t_ns, _ in got] == [
        (stop_wire.SOUND, 7, 123), (stop_wire.PING, 0, 0), (stop_wire.SOUND, 7, 456)
    ]  # fmt: skip
    assert read_sound(got[0][3])[0] == rate and read_sound(got[0][3])[2] is None
    assert read_sound(got[2][3])[2].tolist() == mic[::-1].tolist()  # type: ignore[union-attr]


def test_damage_is_said_and_a_report_cut_in_two_loses_itself_alone() -> None:
    with pytest.raises(ValueError, match="damaged"):
        list(Frames().feed(FRAME.pack(99, 0, 0, 0)))
    with pytest.raises(ValueError):
        read_sound(b"\0\0")
    reports = Reports()
    assert reports.feed(report("pong", dropped_ms=1)[:9]) == []
    assert [each["kind"] for each in reports.feed(b"\n" + report("ready"))] == ["ready"]


def test_loud_and_nan_samples_become_sound() -> None:
    mic = np.array([np.nan, np.inf, -np.inf, 2.0, -1.0], np.float32)
    _, samples, _ = read_sound(list(Frames().feed(sound(1, 0, mic, 16000, None)))[0][3])
    assert samples.tolist() == [0, 32767, -32767, 32767, -32767]


def test_sound_that_nobody_takes_is_thrown_away_the_oldest_first_and_a_stop_never() -> None:
    stops = StopProcess()

    class Full:
        def send(self, data: bytes) -> int:
            raise BlockingIOError

    lookout = stops.lookout([ARM], told=lambda event: None)
    stops._link = Full()  # type: ignore[assignment]
    second = np.zeros(16000, np.int16)
    for at in range(40):
        lookout.hear(second + np.int16(at), at)
        if at == 5:
            lookout.press("button")
    kinds = [data[0] for data, _ in stops._waiting]
    assert kinds.count(stop_wire.PRESS) == 1 and 10 < kinds.count(stop_wire.SOUND) < 20
    assert stops._waiting_bytes <= 512 << 10
    kept_ms = 1000 * kinds.count(stop_wire.SOUND) + (1000 if stops._rest[:1] == bytes([stop_wire.SOUND]) else 0)
    assert stops.dropped_ms + kept_ms == 40_000
    newest = [FRAME.unpack_from(data)[2] for data, _ in stops._waiting if data[0] == stop_wire.SOUND]
    assert newest == sorted(newest) and newest[-1] == 39


def test_a_childs_ear_that_is_late_hears_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []
    inside, go = threading.Event(), threading.Event()

    class Ear:
        def __init__(self, *given: Any) -> None: ...

        def feed(self, mic: Any, t_ns: int, *more: Any) -> None:
            inside.set()
            go.wait(10)
            heard.append(t_ns)

    monkeypatch.setattr(stop_child, "StopEar", Ear)
    hearing = stop_child.Hearing(lambda *said: None, lambda *said: None)
    hearing.put(stop_wire.OPEN, 1, 0, b'{"others":[],"say":{},"robots":[]}')
    body = sound(1, 0, np.zeros(1600, np.int16), 16000, None)[FRAME.size :]
    hearing.put(stop_wire.SOUND, 1, 0, body)
    assert inside.wait(10)
    for at in range(1, 101):
        hearing.put(stop_wire.SOUND, 1, at, body)
    go.set()
    while not heard or heard[-1] != 100:
        inside.wait(0.01)
    assert heard == [0, *range(81, 101)]
    assert hearing.dropped_ms == 8000


def test_which_agents_have_a_robot() -> None:
    @tool
    def nothing() -> str:
        """Do nothing."""
        return ""

    arm = TableArm(MqttWay(ARM.url, ARM.site, ARM.robot))
    assert robots_of(Agent("nano", tools=[nothing])) == ()
    assert robots_of(Agent("nano", tools=[nothing], sources=[arm])) == (ARM,)
    stops = StopProcess()
    assert stops.lookout_of(Agent("nano", tools=[nothing]), print) is None
    assert stops.pid is None


def test_what_is_told_names_no_password() -> None:
    address = StopAddress("home", "arm", "mqtt://agent:secret@host:1883")
    assert "secret" not in repr(address)
    assert "secret" not in repr(Lookout(1, (address,), StopProcess(), print))
