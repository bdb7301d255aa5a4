"""Watches on the toy table, through eye, memory and decoder: what is spoken of at the right moment, and what falsely.

A camera with a sensor's noise looks at tables on which things appear, leave and slide, some of them waited for, most
of them others (near misses preferred: the same colour, the same shape), while the exposure wanders. Keys:

    right_moment        share of events that were waited for and spoken of within 1 s (of a slide: from when it begins
                        to 1 s after it ends); the tick in which it is said counts
    false_per_minute    sentences about what did not happen, or a second time
    appear, leave, move the same share by kind; delay_ms: the median from the event to the sentence
    late, missed        events spoken of within 5 s, and not at all; events, minutes, pictures_kept: how much was tried
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from liveagent.action import Say, StopPlayback
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, Tick
from liveagent.event import Inbox, PictureKept, SamplesPlayed, Voiced, WordMark
from liveagent.load import load_agent
from liveagent.nn.nano import Nano
from liveagent.ports.nullspeaker import NullSpeaker
from liveagent.runtime.session import SILENT_SAMPLES, SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.sight import COLOURS, SHAPES
from liveagent.table import ToyTable, draw
from liveagent.video import Pixels, VideoFrame
from liveagent.watch import Change
from liveagent.wish import wish

TABLES, MINUTES = 8, 3.0
SEED = 5000  # thresholds were chosen on other tables
FRAME_TICKS = 2  # a picture every 160 ms
SLIDE_TICKS = 8
WORD_SAMPLES = 4800
IN_TIME_S, LATE_S = 1.0, 5.0
WAITED_FOR = 0.45  # share of events that concern what is waited for
ENDS: dict[Change, str] = {"appear": "appears", "leave": "is gone", "move": "moves"}


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that was waited for: from `begin_s` to `end_s`; `says` is the sentence about it."""

    change: Change
    says: str
    begin_s: float
    end_s: float


@dataclass(slots=True)
class Found:
    """What one table gave. `said`: sentences with their times."""

    happenings: list[Happening] = field(default_factory=list)
    said: list[tuple[float, str]] = field(default_factory=list)
    pictures: int = 0
    seconds: float = 0.0


class Play:
    """A table on which something happens every few seconds; `happenings` are those about `wanted`, (colour, shape)."""

    def __init__(self, seed: int, wanted: tuple[int, int], says: dict[Change, str]) -> None:
        self.rng = np.random.default_rng(seed)
        self.table = ToyTable(seed, things=0, moving=False)
        self.wanted, self.says = wanted, says
        self.happenings: list[Happening] = []
        self._slide: tuple[int, int, tuple[float, float], tuple[float, float]] | None = None
        self._due = 30
        for _ in range(2):
            self._put(self._other())

    def step(self, tick: int) -> None:
        if self._slide is not None:
            index, begin, here, there = self._slide
            share = min(1.0, (tick - begin) / SLIDE_TICKS)
            x, y = (a + (b - a) * share for a, b in zip(here, there, strict=True))
            self.table.drag(index, x, y)
            if share == 1.0:
                self._slide = None
        elif tick >= self._due:
            self._happen(tick)
            self._due = tick + int(self.rng.integers(30, 80))

    def _happen(self, tick: int) -> None:
        things = self.table.table.things
        names = [(thing.colour, thing.shape) for thing in things]
        if self.rng.random() < WAITED_FOR:
            if self.wanted not in names:
                if self._put(self.wanted):
                    self._note("appear", tick)
                return
            index = names.index(self.wanted)
            if self.rng.random() < 0.5:
                self.table.take(index)
                self._note("leave", tick)
            elif self._begin_slide(index, tick):
                self._note("move", tick, SLIDE_TICKS)
            return
        others = [at for at, name in enumerate(names) if name != self.wanted]
        chance = self.rng.random()
        if not others or (chance < 0.35 and len(things) < 5):
            self._put(self._other())
        elif chance < 0.65 and len(others) > 1:
            self.table.take(int(self.rng.choice(others)))
        else:
            self._begin_slide(int(self.rng.choice(others)), tick)

    def _note(self, change: Change, tick: int, ticks: int = 0) -> None:
        begin_s, long_s = tick * TICK_NS / 1e9, ticks * TICK_NS / 1e9
        self.happenings.append(Happening(change, self.says[change], begin_s, begin_s + long_s))

    def _other(self) -> tuple[int, int]:
        """A near miss most of the time; never what is there or waited for."""
        there = {(thing.colour, thing.shape) for thing in self.table.table.things} | {self.wanted}
        while True:
            colour, shape = int(self.rng.integers(len(COLOURS))), int(self.rng.integers(len(SHAPES)))
            near = self.rng.random()
            if near < 0.35:
                colour = self.wanted[0]
            elif near < 0.7:
                shape = self.wanted[1]
            if (colour, shape) not in there:
                return colour, shape

    def _spot(self, least: float = 0.0, of: int | None = None) -> tuple[float, float] | None:
        things = self.table.table.things
        for _ in range(60):
            x, y = (float(each) for each in self.rng.uniform(0.14, 0.86, 2))
            apart = [np.hypot(x - t.x, y - t.y) for at, t in enumerate(things) if at != of]
            far = of is None or np.hypot(x - things[of].x, y - things[of].y) >= least
            if far and min(apart, default=1.0) > 0.26:
                return x, y
        return None

    def _put(self, name: tuple[int, int]) -> bool:
        spot = self._spot()
        if spot is not None:
            self.table.put(*name, *spot)
        return spot is not None

    def _begin_slide(self, index: int, tick: int) -> bool:
        spot = self._spot(0.3, index)
        thing = self.table.table.things[index]
        if spot is not None:
            self._slide = index, tick, (thing.x, thing.y), spot
        return spot is not None


class Sensor:
    """A camera's light and noise: a tone curve of its own, an exposure that wanders, shot and read noise."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self._gamma = float(self.rng.uniform(0.9, 1.1))
        self._cast = self.rng.uniform(0.96, 1.04, 3).astype(np.float32)
        self._read, self._shot = float(self.rng.uniform(0.8, 2.0)), float(self.rng.uniform(0.08, 0.2))
        self._gain = 1.0

    def shoot(self, pixels: Pixels) -> Pixels:
        self._gain = float(np.clip(self._gain * np.exp(self.rng.normal(0, 0.002)), 0.9, 1.1))
        light = 255 * (pixels / np.float32(255)) ** np.float32(self._gamma) * self._cast * np.float32(self._gain)
        sigma = np.sqrt(self._read**2 + self._shot * light)
        noisy = light + sigma * self.rng.standard_normal(light.shape, np.float32)
        return np.asarray(np.clip(noisy + 0.5, 0, 255), np.uint8)


class Speech:
    """A voice and a loudspeaker without sound: 300 ms a word."""

    def __init__(self) -> None:
        self.speaker = NullSpeaker()
        self.said: list[tuple[float, str]] = []

    def say(self, action: Say, t_ns: int) -> Inbox:
        self.said.append((t_ns / 1e9, action.text))
        marks = tuple(WordMark(at, at * WORD_SAMPLES, (at + 1) * WORD_SAMPLES) for at in range(len(action.words)))
        samples = len(marks) * WORD_SAMPLES
        self.speaker.play(action.utterance, np.zeros(samples, np.float32), action.final)
        return Voiced(t_ns, action.utterance, samples, marks, action.final)

    def stop(self, action: StopPlayback, t_ns: int) -> Inbox:
        return SamplesPlayed(t_ns, action.utterance, self.speaker.stop(action.utterance))


async def watch_table(agent: Agent, model: Nano, seed: int, minutes: float) -> Found:
    """One table, one thing to wait for in all three ways, from the first tick on."""
    rng = np.random.default_rng([seed, 7])
    wanted = int(rng.integers(len(COLOURS))), int(rng.integers(len(SHAPES)))
    name = f"{COLOURS[wanted[0]]} {SHAPES[wanted[1]]}"
    watches = {}
    for change, end in ENDS.items():
        asked = wish(f"tell me when the {name} {end}")
        assert asked is not None and asked.watch is not None
        watches[change] = replace(asked.watch, again=True)
    play = Play(seed, wanted, {change: each.says for change, each in watches.items()})
    sensor, speech, found = Sensor(seed), Speech(), Found(seconds=minutes * 60)
    silence = np.zeros(TICK_SAMPLES, np.float32)
    config = SessionConfig(echo_gate=False)
    async with open_session(agent.replace(watches=list(watches.values())), config, model, False) as session:
        inbox: list[Inbox] = []
        for index in range(round(minutes * 60 * 1e9 / TICK_NS)):
            play.step(index)
            t_ns = index * TICK_NS
            frame = VideoFrame(sensor.shoot(draw(play.table.table)), t_ns) if index % FRAME_TICKS == 0 else None
            out = await session.tick(Tick(index, silence, t_ns), inbox, SILENT_SAMPLES, frame)
            inbox = list(speech.speaker.sounded(t_ns + TICK_NS))
            for action in out.actions:
                if isinstance(action, Say):
                    inbox.append(speech.say(action, t_ns + TICK_NS))
                elif isinstance(action, StopPlayback):
                    inbox.append(speech.stop(action, t_ns + TICK_NS))
            found.pictures += sum(isinstance(event, PictureKept) for event in out.events)
    found.happenings, found.said = play.happenings, speech.said
    return found


def score(found: list[Found]) -> dict[str, Any]:
    """Sentences beside events: each sentence belongs to the first event that it may be about."""
    delays: dict[Change, list[float]] = {change: [] for change in ENDS}
    count = dict.fromkeys(ENDS, 0)
    right = dict.fromkeys(ENDS, 0)
    late = missed = false = 0
    for each in found:
        left = list(each.said)
        for happening in each.happenings:
            if happening.end_s + LATE_S > each.seconds:
                continue  # the table ended before it could be spoken of
            count[happening.change] += 1
            about = [
                (at_s, text)
                for at_s, text in left
                if text == happening.says and happening.begin_s <= at_s <= happening.end_s + LATE_S
            ]
            if not about:
                missed += 1
                continue
            left.remove(about[0])
            delays[happening.change].append(about[0][0] - happening.begin_s)
            if about[0][0] <= happening.end_s + IN_TIME_S:
                right[happening.change] += 1
            else:
                late += 1
        last_s = each.seconds - LATE_S
        false += sum(at_s <= last_s for at_s, _ in left)
    events, minutes = sum(count.values()), sum(each.seconds for each in found) / 60
    every = [delay for some in delays.values() for delay in some]
    return {
        "right_moment": round(sum(right.values()) / max(1, events), 4),
        "false_per_minute": round(false / max(1e-9, minutes), 3),
        **{change: round(right[change] / max(1, count[change]), 3) for change in ENDS},
        "delay_ms": round(1000 * median(every)) if every else None,
        "late": late,
        "missed": missed,
        "events": events,
        "minutes": round(minutes, 1),
        "pictures_kept": sum(each.pictures for each in found),
    }


def run(tables: int = TABLES, minutes: float = MINUTES, weights: Path | None = None) -> dict[str, Any]:
    """Measure. `weights`: a folder of them; None takes nano's own. ConfigError when they have no eye."""
    from liveagent.errors import ConfigError

    model = Nano.load(weights)
    if not model.sees:
        raise ConfigError("these weights have no eye: install liveagent again, with eye.safetensors")
    agent = load_agent("voice_video")

    async def go() -> list[Found]:
        return [await watch_table(agent, model, SEED + at, minutes) for at in range(tables)]

    return score(asyncio.run(go()))
