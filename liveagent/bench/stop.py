"""The software stop: from the end of the word "stop" to a robot's zero setpoint; how often missed, how often false.

Latencies are of real processes in real time: sound at its pace into the process that stops robots, a real Mosquitto, a
robot behind its gate in a process of its own, which moves and tells when its setpoint becomes zero.

    from_word_end_ms_p50, _p95   from the last sound of the word to the robot's zero setpoint            p95 <= 300
    publish_to_ack_ms_p50, _p99  of presses: from publishing to the robot's answer                        p99 <= 10

Hearing goes through the same `StopEar`, faster than real time: 500 spoken stops at 5 to 20 dB, over hiss of several
colours and over people talking, every other one while the agent speaks through the same room.

    missed            known voices: those that the spotter was trained on, at other paces and pitches      <= 0.01
    missed_unseen     voices that no training has heard                                                    report
    false_per_hour    of other speech, all voices in turn, two hours: sentences, commands, rows of words    <= 1
    stopped_by_itself replies of 50, nobody speaking, in which the agent says "stop" itself, that stopped  0

`detail` has the misses by background, by level and by voice, what the declared outcomes were, and how often words that
rhyme with it or hold it ("top", "stock", "the next stop") were taken for it, which are no part of the speech above.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import multiprocessing
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from liveagent.audio import RATE_HZ, SAMPLE_NS, Samples
from liveagent.bench.echo import ECHO_DB, LATE_SAMPLES, REPLY_TEXTS
from liveagent.bench.rover import NAME, SITE, ready, rover
from liveagent.clients.robot import contract
from liveagent.clients.robot.contract import Reset
from liveagent.errors import ToolError
from liveagent.event import Noted, RobotStopped
from liveagent.ports.mosquitto import Mosquitto
from liveagent.ports.mqtt import Mqtt
from liveagent.runtime.robot import Robot
from liveagent.runtime.stop_ear import StopEar
from liveagent.runtime.stop_process import Lookout, StopProcess
from liveagent.runtime.stop_wire import StopAddress, pcm
from liveagent.runtime.way import MqttWay
from liveagent.train.stops import KNOWN, NEAR, UNSEEN, texts
from liveagent.train.voices import Utterance, espeak, speak

STOPS = 500
HOURS = 2.0
SPOKEN, PRESSED = 40, 200
TRIES = 4
"""At a spoken stop in real time, where the robot's own watchdog came first: what is measured is the stop's way."""
BEFORE_NS = 500_000_000
"""Longer before its end than that, no word has stopped anything."""
SPEECH_RMS = 10 ** (-26 / 20)
CHUNK = 320
LEAD_S, TAIL_S = 1.5, 0.8
SEEDS = 90_000  # of voices' rates and pitches; training has those around 1000
DECLARED = {
    "stop now": True, "stop please": True, "stop it": True, "stop recording": True, "stop the timer": True,
    "don't stop": False, "do not stop": False, "bus stop": False, "start": False, "top": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Trial:
    """One sound: where the word ends in it (None: there is none), the agent's own voice, and what it was."""

    mic: Samples
    reference: Samples | None
    end: int | None
    voice: str
    background: str
    snr_db: float


# --- sounds


def levelled(samples: np.ndarray) -> Samples:
    wave = samples.astype(np.float32) / 32768
    loud = wave[np.abs(wave) > 0.02 * np.abs(wave).max()]
    return (wave * (SPEECH_RMS / np.sqrt(np.mean(loud**2)))).astype(np.float32)


def hiss(rng: np.random.Generator, count: int, slope: float) -> Samples:
    """Unit power, falling by `slope` of amplitude a frequency: 0 white, 0.5 pink, 1 brown."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    f = np.maximum(np.arange(len(spectrum)), count // 400)
    x = np.fft.irfft(spectrum * f ** (-slope), count)
    return (x / np.sqrt(np.mean(x**2))).astype(np.float32)


def talking(rng: np.random.Generator, clips: Sequence[Samples], count: int) -> Samples:
    """Five people at once, unit power."""
    x = np.zeros(count, np.float32)
    for _ in range(5):
        at = -int(rng.integers(0, RATE_HZ))
        while at < count:
            clip = clips[int(rng.integers(len(clips)))]
            low, high = max(0, at), min(count, at + len(clip))
            if low < high:
                x[low:high] += clip[low - at : high - at]
            at += len(clip) + int(rng.integers(1000, 8000))
    return x / np.float32(np.sqrt(np.mean(x**2)) + 1e-9)


def echo_of(rng: np.random.Generator, played: Samples) -> Samples:
    """What comes back of it from a room."""
    taps = int(0.2 * RATE_HZ)
    response = rng.standard_normal(taps) * np.exp(-6.9 * np.arange(taps) / (0.25 * RATE_HZ)) * 0.25
    response[0] = 1.0
    response *= 10 ** (ECHO_DB / 20) / np.sqrt(np.sum(response**2))
    whole = np.concatenate([np.zeros(LATE_SAMPLES), response])
    size = len(played) + len(whole)
    return np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(whole, size), size)[: len(played)].astype(np.float32)


def spoken(voices: Sequence[str], text: str, count: int, seed: int) -> list[Utterance]:
    """The same text in turn by all voices, each time at another pace and pitch."""
    said: list[Utterance] = []
    for at, voice in enumerate(voices):
        mine = len(range(at, count, len(voices)))
        said += speak(voice, [text] * mine, SEEDS + seed + at, espeak())
    return said


def trials(voices: Sequence[str], count: int, seed: int) -> Iterator[Trial]:
    """Spoken stops in noise; every other one over the agent's own voice, whose echo is no part of the noise."""
    rng = np.random.default_rng(seed)
    background = [levelled(u.samples) for u in speak("espeak", texts(seed + 77, 40), seed + 5, espeak())]
    replies = [levelled(u.samples) for u in speak("espeak", list(REPLY_TEXTS[:6]), seed + 6, espeak())]
    for at, said in enumerate(spoken(voices, "stop", count, seed)):
        word = levelled(said.samples)
        agent = at % 2 == 1
        lead = int((LEAD_S + (3.0 if agent else 0.0)) * RATE_HZ)
        mic = np.concatenate([np.zeros(lead, np.float32), word, np.zeros(int(TAIL_S * RATE_HZ), np.float32)])
        snr_db = float(rng.uniform(5, 20))
        kind = ("white", "pink", "brown", "people")[int(rng.integers(4))]
        if kind == "people":
            around = talking(rng, background, len(mic))
        else:
            around = hiss(rng, len(mic), {"white": 0.0, "pink": 0.5, "brown": 1.0}[kind])
        mic += around * np.float32(SPEECH_RMS * 10 ** (-snr_db / 20))
        reference = None
        if agent:
            reply = replies[int(rng.integers(len(replies)))]
            reference = np.resize(np.concatenate([reply, np.zeros(2000, np.float32)]), len(mic))
            mic = mic + echo_of(rng, reference)
        yield Trial(mic.astype(np.float32), reference, lead + len(word) - 800, said.voice, kind, snr_db)


def hear(ear: StopEar, mic: Samples, reference: Samples | None) -> list[tuple[int, str]]:
    """The places at which it hears a stop, in samples, and by whom."""
    heard: list[tuple[int, str]] = []
    whole, played = pcm(mic), pcm(reference) if reference is not None else None
    for at in range(0, len(whole) - CHUNK + 1, CHUNK):
        part = played[at : at + CHUNK] if played is not None else None
        if (ended := ear.feed(whole[at : at + CHUNK], at * SAMPLE_NS, RATE_HZ, part)) is not None:
            heard.append((at + CHUNK, ended.by))
    return heard


def hearing(voices: Sequence[str], count: int, seed: int) -> dict[str, Any]:
    """How many of `count` were missed, and what those were."""
    missed, by, waits = 0, defaultdict[str, Counter[str]](Counter), list[float]()
    total = 0
    for each in trials(voices, count, seed):
        ear = StopEar()
        assert each.end is not None
        got = [at for at, _ in hear(ear, each.mic, each.reference) if at > each.end - RATE_HZ // 2]
        ear.close()
        total += 1
        level = f"{int(each.snr_db // 5) * 5} to {int(each.snr_db // 5) * 5 + 5} dB"
        agent = "over the agent" if each.reference is not None else "alone"
        for name in (each.background, level, agent, each.voice.partition("/")[0] if each.voice.startswith("espeak")
                     else each.voice):  # fmt: skip
            by[name]["of"] += 1
            by[name]["missed"] += not got
        if got:
            waits.append((got[0] - each.end) / 16)
        missed += not got
    return {
        "of": total, "missed": missed, "heard_ms_p50": _percentile(waits, 50), "heard_ms_p95": _percentile(waits, 95),
        "by": {name: f"{each['missed']} of {each['of']}" for name, each in sorted(by.items())},
    }  # fmt: skip


def others(voice: str, minutes: float, seed: int) -> tuple[float, list[str]]:
    """Minutes of other speech by one voice, at 25 dB; what was said whenever a stop was heard."""
    rng = np.random.default_rng(seed)
    ear, false, heard_s = StopEar(), [], 0.0
    turn = 0
    while heard_s < minutes * 60:
        turn += 1
        lines = [text for text in texts(seed + 1000 * turn, 60) if text not in NEAR]
        for said in speak(voice, lines, SEEDS + seed + turn, espeak()):
            word = levelled(said.samples)
            mic = np.concatenate([word, np.zeros(int(rng.uniform(0.4, 1.5) * RATE_HZ), np.float32)])
            mic = mic + hiss(rng, len(mic), 0.5) * np.float32(SPEECH_RMS * 10 ** (-25 / 20))
            false += [f"{said.text} ({voice}, by {by})" for _, by in hear(ear, mic, None)]
            heard_s += len(mic) / RATE_HZ
            if heard_s >= minutes * 60:
                break
    ear.close()
    return heard_s / 60, false


def by_itself(count: int, seed: int) -> int:
    """Replies in which the agent says the word, nobody else speaking, that stop the robot."""
    rng = np.random.default_rng(seed)
    lines = ["The robot is moving to the door now. Say stop, and it stops at once.", "Stop. That is what you say."]
    stopped = 0
    for said in speak("espeak", [lines[at % 2] for at in range(count)], SEEDS + seed, espeak()):
        reply = np.concatenate([np.zeros(RATE_HZ, np.float32), levelled(said.samples), np.zeros(RATE_HZ, np.float32)])
        mic = echo_of(rng, reply) + hiss(rng, len(reply), 0.5) * np.float32(10 ** (-62 / 20))
        ear = StopEar()
        stopped += bool(hear(ear, mic, reply))
        ear.close()
    return stopped


def rhymes(voices: Sequence[str], count: int, seed: int) -> str:
    """How many near misses stopped, at 25 dB."""
    rng = np.random.default_rng(seed)
    stopped = 0
    for at in range(count):
        text = NEAR[at % len(NEAR)]
        for said in spoken((voices[at % len(voices)],), text, 1, seed + at):
            mic = np.concatenate([np.zeros(RATE_HZ, np.float32), levelled(said.samples), np.zeros(RATE_HZ, np.float32)])
            ear = StopEar()
            stopped += bool(hear(ear, mic + hiss(rng, len(mic), 0.5) * np.float32(SPEECH_RMS * 0.05), None))
            ear.close()
    return f"{stopped} of {count}"


def declared(voices: Sequence[str], count: int, seed: int) -> dict[str, str]:
    """How often each of the declared lines stopped, in quiet."""
    rng = np.random.default_rng(seed)
    found = {}
    for text, wanted in DECLARED.items():
        stops = 0
        said = spoken(voices, text, count, seed)
        for each in said:
            mic = np.concatenate([np.zeros(RATE_HZ, np.float32), levelled(each.samples), np.zeros(RATE_HZ, np.float32)])
            ear = StopEar()
            stops += bool(hear(ear, mic + hiss(rng, len(mic), 0.5) * np.float32(SPEECH_RMS * 0.05), None))
            ear.close()
        found[text] = f"{stops} of {len(said)} stop; {'all' if wanted else 'none'} should"
    return found


# --- in real time


class Lines:
    """What the robot tells, as it comes."""

    def __init__(self, told: IO[str]) -> None:
        self._queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def pour() -> None:
            for line in told:
                with contextlib.suppress(RuntimeError):  # the bench is over
                    loop.call_soon_threadsafe(self._queue.put_nowait, json.loads(line))

        self.task = asyncio.ensure_future(asyncio.to_thread(pour))

    def forget(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    async def moves(self, wanted: bool) -> int:
        async with asyncio.timeout(5):
            while (said := await self._queue.get()).get("moves") is not wanted:
                pass
            return int(said["t_ns"])


async def at_its_pace(lookout: Lookout, sound: Samples, end: int) -> int:
    """Feed it as a microphone does; when the word ended."""
    begin_ns = time.monotonic_ns()
    whole = pcm(sound)

    def run() -> None:
        for at in range(0, len(whole) - CHUNK + 1, CHUNK):
            due_ns = begin_ns + (at + CHUNK) * SAMPLE_NS
            time.sleep(max(0, due_ns - time.monotonic_ns()) / 1e9)
            lookout.hear(whole[at : at + CHUNK], due_ns - CHUNK * SAMPLE_NS)

    await asyncio.to_thread(run)
    return begin_ns + end * SAMPLE_NS


async def live(count: int, presses: int, seed: int) -> dict[str, Any]:
    told: list[RobotStopped | Noted] = []
    stops = StopProcess()
    stops.start()
    waits, parts, acks, unheard, spoiled = list[float](), list[RobotStopped](), list[float](), 0, 0
    with Mosquitto() as broker, rover(broker.url()) as lines:
        await ready(lines)
        heard = Lines(lines)
        robot = await _led(broker.url())
        lookout = stops.lookout([StopAddress(SITE, NAME, broker.url())], told.append)
        try:
            async with Mqtt(broker.url()) as operator, asyncio.timeout(60 + 8 * TRIES * count + presses):
                while not stops.ways.get(f"{SITE}/{NAME}"):  # noqa: ASYNC110 (another thread's)
                    await asyncio.sleep(0.01)
                for each in trials(("flite/awb", "flite/kal16", "espeak"), count, seed):
                    if each.reference is not None:  # the loudspeaker is taken out in the same way wherever it runs
                        continue
                    for _ in range(TRIES):
                        try:
                            wait_ms = await _trial(robot, operator, heard, lookout, each)
                        except (TimeoutError, ToolError):
                            spoiled += 1  # the machine was so busy that the robot's own watchdog came first
                            continue
                        unheard += wait_ms is None
                        if wait_ms is not None:
                            waits.append(wait_ms)
                            parts.append(next(e for e in reversed(told) if isinstance(e, RobotStopped)))
                        break
                for _ in range(presses):
                    told.clear()
                    lookout.press("button")
                    while not any(isinstance(e, RobotStopped) for e in told):  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
                    acks += [e.ack_ms for e in told if isinstance(e, RobotStopped)]
                    await asyncio.sleep(0.02)
        finally:
            await asyncio.to_thread(stops.close)
            await robot.close()
    await heard.task
    return {
        "from_word_end_ms_p50": _percentile(waits, 50), "from_word_end_ms_p95": _percentile(waits, 95),
        "publish_to_ack_ms_p50": _percentile(acks, 50), "publish_to_ack_ms_p99": _percentile(acks, 99),
        "stops": len(waits), "unheard": unheard, "spoiled": spoiled, "presses": len(acks),
        "dropped_ms": stops.dropped_ms, "heard_ms_p50": _percentile([e.heard_ms for e in parts], 50),
    }  # fmt: skip


async def _trial(robot: Robot, operator: Mqtt, heard: Lines, lookout: Lookout, trial: Trial) -> float | None:
    """Milliseconds from the word's end to a zero setpoint while it rolls; None: it was not heard. TimeoutError or
    ToolError when it did not roll up to there, whatever stopped it."""
    assert trial.end is not None
    await _lifted(robot, operator)
    heard.forget()
    rolling = asyncio.create_task(robot.do("roll"))
    try:
        await heard.moves(True)
        ended_ns = await at_its_pace(lookout, trial.mic, trial.end)
        try:
            async with asyncio.timeout(1.0):
                stopped_ns = await heard.moves(False)
        except TimeoutError:
            return None
        if stopped_ns < ended_ns - BEFORE_NS:
            raise TimeoutError("it stopped before anybody spoke")
        async with asyncio.timeout(2.0):
            while robot.connection is None or robot.connection.stop_id is None:  # noqa: ASYNC110 (the robot's word)
                await asyncio.sleep(0.01)
        return (stopped_ns - ended_ns) / 1e6
    finally:
        rolling.cancel()
        await asyncio.gather(rolling, return_exceptions=True)


async def _led(url: str) -> Robot:
    """The robot as an agent has it, ready for orders; on a busy machine its probe may come too late."""
    while True:
        robot = Robot(MqttWay(url, SITE, NAME))
        await robot.open()
        try:
            await robot.do("nothing")
            return robot
        except ToolError:
            await robot.close()


async def _lifted(robot: Robot, operator: Mqtt) -> None:
    """Somebody releases it by hand."""
    topic = contract.topic(SITE, NAME, "stop/reset")
    while robot.connection is None or robot.connection.stop_id is not None or not robot.tools():
        if robot.connection is not None and robot.connection.stop_id is not None:
            await operator.publish(topic, contract.write(Reset(id="lift", stop_id=robot.connection.stop_id)), qos=1)
        await asyncio.sleep(0.05)


def _percentile(values: Sequence[float], percent: float) -> float | None:
    ranked = sorted(values)
    return round(ranked[max(0, -int(-len(ranked) * percent // 100) - 1)], 1) if ranked else None


def run(
    stops: int = STOPS, hours: float = HOURS, spoken_live: int = 2 * SPOKEN, presses: int = PRESSED, seed: int = 11
) -> dict[str, Any]:
    """The figures; a quarter of an hour on two cores, of which three minutes are real time."""
    logging.getLogger("liveagent").setLevel(logging.CRITICAL)
    lived = asyncio.run(live(spoken_live, presses, seed))
    voices = (*KNOWN, *UNSEEN)
    minutes = hours * 60 / len(voices)
    # Not by a fork: this process has espeak's threads, and its child would not.
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        known = [pool.submit(hearing, KNOWN, stops // 2, seed + 100 + at) for at in range(2)]
        unseen = [pool.submit(hearing, UNSEEN, stops // 4, seed + 200 + at) for at in range(2)]
        other = [pool.submit(others, voice, minutes, seed + 300 + at) for at, voice in enumerate(voices)]
        near = pool.submit(rhymes, voices, 120 if stops >= 100 else 8, seed)
        own = pool.submit(by_itself, 50 if stops >= 50 else stops, seed)
        said = pool.submit(declared, voices, len(voices) * (5 if stops >= 100 else 1), seed)
        heard, strange = [each.result() for each in known], [each.result() for each in unseen]
        speech = [each.result() for each in other]
        stopped_by_itself, outcomes = own.result(), said.result()
    false = [text for _, texts_ in speech for text in texts_]
    listened = sum(minutes_ for minutes_, _ in speech) / 60
    return {
        **{key: lived.pop(key) for key in list(lived) if "_ms_p" in key and key != "heard_ms_p50"},
        "missed": _share(heard), "missed_unseen": _share(strange),
        "false_per_hour": round(len(false) / listened, 2) if listened else None,
        "stopped_by_itself": stopped_by_itself,
        "detail": {
            "live": lived, "known": heard, "unseen": strange, "hours": round(listened, 2), "false": false[:40],
            "declared": outcomes, "near": near.result(),
        },
    }  # fmt: skip


def _share(heard: Sequence[dict[str, Any]]) -> float | None:
    of = sum(each["of"] for each in heard)
    return round(sum(each["missed"] for each in heard) / of, 4) if of else None
