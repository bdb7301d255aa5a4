"""nano asked about pictures, for `bench nano`: drawn scenes that no training saw, through the shipped eye and session.

Questions are balanced (`liveagent.train.questions`), their wordings are the bench's own. A reply counts as right when
it is word for word the true one; a list may have any order.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import numpy as np

from liveagent.action import Say
from liveagent.agent import Agent
from liveagent.audio import Samples
from liveagent.bench.said import Said, spoken_by
from liveagent.bench.seats import Seat, seats, share
from liveagent.bench.wordings import LOOK_WORDINGS
from liveagent.nn.nano import Nano
from liveagent.pipelines.looks import SPOKEN
from liveagent.runtime.session import SessionConfig
from liveagent.sight import COLOURS, PICTURE_PX, SHAPES
from liveagent.table import Surface, Table, Thing, draw
from liveagent.train.glances import changed_scene, random_scene
from liveagent.train.questions import Asked, Asker
from liveagent.train.scene_words import MOST, NUMBERS, SIDES, Scene, with_article
from liveagent.train.scenes import HELD_OUT, arrange, shoot, tint
from liveagent.train.voices import HELD_OUT as VOICES
from liveagent.video import Pixels, VideoFrame

REPLY_TICKS = 40
FORCED = ("colour", "shape", "count", "where", "exists")
"""Kinds of questions whose answers are few."""
MORE = ("list", "left", "right")


def choices(kind: str) -> list[str]:
    """What may be answered to a question of this kind; who guesses is right once in so many times."""
    if kind == "colour":
        return [f"It is {colour}." for colour in COLOURS]
    if kind == "shape":
        return [f"It is {with_article(shape)}." for shape in SHAPES]
    if kind == "count":
        return [f"{number.capitalize()}." for number in NUMBERS]
    return [f"It is {side}." for side in SIDES] if kind == "where" else ["Yes.", "No, I can't see one."]


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """A question about a picture; `sound`: spoken by this voice."""

    asked: Asked
    pixels: Pixels
    sound: Samples | None = None
    voice: str = "typed"


def pictures(seed: int) -> Iterator[tuple[Scene, Pixels]]:
    """Photographs of up to five things, as often of each number; in two of three many have one colour or shape."""
    at = 0
    while True:
        rng = np.random.Generator(np.random.SFC64(HELD_OUT + seed * 1_000_003 + at))
        at += 1
        table = arrange(rng, int(rng.integers(MOST + 1)))
        theme, colour, shape = (int(rng.integers(n)) for n in (3, len(COLOURS), len(SHAPES)))
        things = []
        for thing in table.things:
            alike = rng.random() < 0.85
            if theme == 1 and alike:
                thing = replace(thing, colour=colour, tint=tint(colour, rng))
            elif theme == 2 and alike:
                thing = replace(thing, shape=shape)
            things.append(thing)
        shot = shoot(replace(table, things=tuple(things)), rng)
        yield [(t.colour, t.shape, t.x, t.y) for t in shot.things], shot.pixels


def questions(kind: str, count: int, seed: int) -> list[Looked]:
    """So many balanced questions of a kind, each about a picture of its own."""
    asker = Asker(random.Random(seed), phrases=LOOK_WORDINGS)
    found: list[Looked] = []
    for scene, pixels in pictures(seed):
        asked = asker.about(kind, scene)
        if asked is not None and asked.kind == kind:  # what is absent has other right answers
            found.append(Looked(asked, pixels))
        if len(found) == count:
            return found
    raise AssertionError("pictures never end")


def spoken(count: int, seed: int) -> list[Looked]:
    """Questions that the shipped phrases hold (`liveagent/pipelines/looks.py`), in voices of no training."""
    kinds = ("colour", "shape", "count", "where", "exists", "list", "left", "right")
    asker = Asker(random.Random(seed + 1), phrases={kind: "|".join(SPOKEN[kind]) for kind in kinds})
    found: list[Looked] = []
    for scene, pixels in pictures(seed + 1):
        asked = asker.about(kinds[len(found) % len(kinds)], scene)
        if asked is not None and asked.kind in kinds:
            found.append(Looked(asked, pixels, voice=VOICES[len(found) // len(kinds) % len(VOICES)]))
        if len(found) == count:
            break
    made = spoken_by(VOICES, [Said(each.asked.words, None, each.voice) for each in found], seed)
    sounds: dict[tuple[str, str], Samples] = {(one.voice, one.text): one.sound for one in made if one.sound is not None}
    said = [replace(each, sound=sounds.get((each.voice, each.asked.words))) for each in found]
    return [each for each in said if each.sound is not None]


def by_kind(looked: Sequence[Looked], replies: Sequence[str]) -> dict[str, float]:
    pairs = list(zip(looked, replies, strict=True))
    kinds = sorted({each.asked.kind for each in looked})
    return {k: exact(*zip(*[pair for pair in pairs if pair[0].asked.kind == k], strict=True)) for k in kinds}


def right(asked: Asked, reply: str) -> bool:
    if asked.kind.removeprefix("then_") == "list":
        return _things(asked.answer) == _things(reply)
    return asked.answer == reply


def _things(text: str) -> list[str]:
    return sorted(re.split(r", an? | and an? |^an? |\.$", text.lower()))


def exact(looked: Sequence[Looked], replies: Sequence[str]) -> float:
    hits = [right(each.asked, reply) for each, reply in zip(looked, replies, strict=True)]
    return round(sum(hits) / max(1, len(hits)), 4)


def wrong(told: Sequence[tuple[Asked, str]]) -> list[str]:
    return [f"{asked.words} > {reply} ({asked.answer})" for asked, reply in told if not right(asked, reply)]


async def answer(seat: Seat, looked: Looked) -> str:
    """What the session says when it is shown the picture and asked."""
    seat.show(looked.pixels)
    if looked.sound is None:
        seat.write(looked.asked.words)
    else:
        await seat.ticks(6)
        await seat.hear(looked.sound)
    for _ in range(REPLY_TICKS):
        await seat.ticks(1)
        said = seat.of(Say)
        if said and said[-1].final:
            return " ".join(say.text.strip() for say in said)
    return ""


async def choose(seat: Seat, looked: Looked) -> str:
    """Which of the possible answers it finds likeliest, piece by piece, when it is shown a grey picture."""
    seat.show(np.full((PICTURE_PX, PICTURE_PX, 3), 128, np.uint8))
    await seat.ticks(2)
    context, template = seat.session.context, seat.model.template
    await context.add("text", [*template.user_turn(looked.asked.words), template.agent], seat.now_ns)
    left = {text: [*template.encode(text), template.end] for text in choices(looked.asked.kind)}
    before = [template.say]
    while len(left) > 1:
        following = sorted({ids[0] for ids in left.values()})
        if len(following) > 1:
            logp = await context.probe(before, following)
            best = following[max(range(len(following)), key=logp.__getitem__)]
        else:
            best = following[0]
        before.append(best)
        left = {text: ids[1:] for text, ids in left.items() if ids[0] == best}
    return next(iter(left))


# --- memory

AGES_S = {"memory_1min": 60, "memory_10min": 600}
LENGTH_S = 780
AWAY = 1.4
"""Nothing changes from an age over this to this times the age, so that "a minute" need not be exact."""


@dataclass(frozen=True, slots=True)
class Past:
    """Scenes of a table, each with the time from which on it stood; the first from 0, asked about at LENGTH_S."""

    scenes: tuple[tuple[float, Scene], ...]

    def at(self, t_s: float) -> Scene:
        return [scene for since, scene in self.scenes if since <= t_s][-1]


def past(rng: random.Random) -> Past:
    """Something changes before, between and after the ages that are asked about, mostly more than once."""
    short, long = AGES_S.values()
    spans = [(2, short / AWAY), (short * AWAY, long / AWAY), (long * 1.2, LENGTH_S - 2)]
    changes = [rng.uniform(*span) for span in spans for _ in range(rng.randint(1, 2))]
    scene: Scene = _single(random_scene(rng))
    scenes = [(0.0, scene)]
    for age in sorted(changes, reverse=True):
        scene = _single(changed_scene(rng, scene))
        scenes.append((LENGTH_S - age, scene))
    return Past(tuple(scenes))


def _single(scene: Scene) -> Scene:
    """Things well apart, as somebody puts them on a table to be looked at."""
    kept: list[tuple[int, int, float, float]] = []
    for thing in scene:
        if all(math.hypot(t[2] - thing[2], t[3] - thing[3]) > 0.2 for t in kept):
            kept.append(thing)
    return kept


async def remembered(seat: Seat, number: int, each: int = 4) -> dict[str, list[tuple[Asked, str]]]:
    """Thirteen minutes before a camera, one picture a second, through the session's own eye, news and rolling cache;
    then questions about each age, every one asked of the same cache."""
    rng, noise = random.Random(1000 + number), np.random.default_rng(1000 + number)
    story, session = past(rng), seat.session
    context, looking, template = session.context, session.seeing.looking, seat.model.template
    assert looking is not None
    surface = Surface(seed=number)
    drawn: dict[int, Pixels] = {}
    for second in range(LENGTH_S):
        scene = story.at(second)
        if id(scene) not in drawn:
            drawn[id(scene)] = draw(Table(tuple(Thing(*thing) for thing in scene), surface))
        trembling = drawn[id(scene)] + noise.normal(0, 1.5, (PICTURE_PX, PICTURE_PX, 1))
        context.now_s = float(second)
        await looking.see(VideoFrame(np.clip(trembling, 0, 255).astype(np.uint8), second * 1_000_000_000))
        why = looking.news()
        if why is not None:
            await looking.keep(why)
            await context.trim()
    asker = Asker(rng, phrases=LOOK_WORDINGS)
    found: dict[str, list[tuple[Asked, str]]] = {name: [] for name in AGES_S}
    context.now_s = float(LENGTH_S)
    for name, age in AGES_S.items():
        for _ in range(each * 3):
            asked = asker.then(story.at(LENGTH_S - age), age)
            if asked is None or len(found[name]) == each:
                continue
            end = context.end
            await context.add("text", [*template.user_turn(asked.words), template.agent], seat.now_ns)
            await context.add("reply", [template.say], seat.now_ns)
            done = await context.decode("reply", seat.now_ns, max_tokens=48, stop=(template.end,))
            found[name].append((asked, _text(seat.model, done.ids)))
            await context.rewind(end)
    return found


def _text(model: Nano, ids: Sequence[int]) -> str:
    text = model.pieces.decode([i for i in ids if i != model.template.end])
    return re.sub(r" ([.,])", r"\1", text)


async def measure(made: Sequence[Seat], looked: Sequence[Looked], blind: bool = False) -> list[str]:
    return await share(made, looked, choose if blind else answer)


async def memory(made: Sequence[Seat], count: int) -> dict[str, list[tuple[Asked, str]]]:
    told = await share(made, list(range(count)), remembered)
    return {name: [pair for each in told for pair in each[name]] for name in AGES_S}


@asynccontextmanager
async def watchers(model: Nano, agent: Agent, use_recogniser: bool = False) -> AsyncIterator[list[Seat]]:
    """Sessions to be asked, with a cache as large as the shipped one."""
    config = SessionConfig(voice=False, grammar=False)
    async with seats(agent, model, 4, config, use_recogniser, slots=config.slots) as made:
        yield made
