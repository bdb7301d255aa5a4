"""An open checkpoint that hears for itself: what is said is in the cache as its own ear hears it, while it is said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from liveagent import tool
from liveagent.action import CallTool, Say
from liveagent.agent import Agent
from liveagent.audio import TICK_SAMPLES, Samples
from liveagent.errors import ConfigError, DeviceError
from liveagent.event import (
    EarHeard,
    Interrupted,
    MessageAdded,
    Noted,
    ReplyStarted,
    Shed,
    SpeechStarted,
    TalkPressed,
    TalkReleased,
    TurnEnded,
)
from liveagent.manners import Manners
from liveagent.nn.nets import Nets
from liveagent.nn.row_ear import RowEar
from liveagent.ports.media import MediaFile
from liveagent.runtime.answer import AGAIN
from liveagent.runtime.context import Context, Kept
from liveagent.runtime.core import Core
from liveagent.runtime.devices import clip_path
from liveagent.runtime.engine import Lane
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.forget import State
from liveagent.runtime.listener import PREROLL_TICKS, Understood
from liveagent.runtime.open_model import load_nets, read_model
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import replay
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.work import Append, Encode, Encoded, Reset, Sounds
from tests.nano import random_nano
from tests.open_checkpoint import write
from tests.parity import BAR, FAR, error, reference
from tests.world import World

pytestmark = pytest.mark.slow

COMMAND, QUESTION = (8_000, 40_000), (168_000, 198_000)
"""Where "turn on the kitchen light" and "how are you today" lie in the shipped clip, with some silence around."""


@tool(phrases=["(turn|switch) {state} the {room} light"])
async def light(room: Literal["kitchen", "bath"], state: Literal["on", "off"]) -> str:
    """Switch a room's light."""
    return "it is on"


@tool
async def search(words: str) -> str:
    """Search the web."""
    return "nothing"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gemma"), hears=True)


@pytest.fixture(scope="module")
def model(folder: Path) -> Nets:
    return load_nets(folder)


@pytest.fixture(scope="module")
def clip() -> Samples:
    return MediaFile(clip_path(), real_time=False).read()


@pytest.fixture
def agent(folder: Path) -> Agent:
    return Agent(str(folder), instructions="Be brief.", tools=[light, search])


CONFIG = SessionConfig(echo_gate=False)
KEY = SessionConfig(echo_gate=False, manners=Manners(mode="push_to_talk"))


@pytest.fixture
async def session(agent: Agent, model: Nets) -> AsyncIterator[Session]:
    async with open_session(agent, CONFIG, model, use_recogniser=False) as session:
        yield session


@pytest.fixture
async def keyed(agent: Agent, model: Nets) -> AsyncIterator[Session]:
    """One whose turns a key begins and ends."""
    async with open_session(agent, KEY, model, use_recogniser=False) as session:
        yield session


def part(clip: Samples, stretch: tuple[int, int]) -> Samples:
    return clip[slice(*stretch)]


async def say(world: World, sound: Samples) -> None:
    """Press the key, speak, release it."""
    world.inbox.append(TalkPressed(world.now_ns))
    await world.hear(sound)
    world.inbox.append(TalkReleased(world.now_ns))
    await world.run(2)


def rows_in(session: Session) -> int:
    return session.context.ids.count(session.model.template.sound_id)


def clips_of(session: Session, world: World) -> list[Samples]:
    """The sound of each turn in the cache: as many samples as it holds rows, from the pre-roll on."""
    found, at = [], 0
    ids, held = list(session.context.ids), session.model.template
    begun = [tick for tick, event in world.log if isinstance(event, SpeechStarted)]
    every = np.concatenate([tick.samples for tick, _, _ in world.ticks])
    for tick in begun:
        if held.sound_open[0] not in ids[at:]:
            break
        at = ids.index(held.sound_open[0], at) + 1
        count = ids.index(held.sound_close[0], at) - at
        first = max(0, tick + 1 - PREROLL_TICKS) * TICK_SAMPLES
        found.append(every[first : first + count * 640])
    return found


async def behind(context: Context, vocab: int) -> Tensor:
    """What may follow the whole cache, read from it: log-probabilities behind one token more."""
    return torch.tensor(await context.probe([1], range(vocab)), dtype=torch.float64)


def whole(model: Nets, context: Context, clips: list[Samples] | None = None) -> Tensor:
    """The same in one pass over the cache's ids, and over rows that `clips` give in one pass each; None: its own."""
    assert isinstance(model.own_ear, RowEar)
    ids = torch.tensor([*context.ids, 1])
    with torch.inference_mode():
        rows = model.decoder.embed(ids)
        if clips is None:
            senses = [token.sense for token in context._tokens]
            heard = torch.tensor(np.concatenate([each.rows for each in senses if isinstance(each, Sounds)]))
        else:
            heard = torch.cat([model.own_ear.whole(torch.tensor(clip)[None])[0] for clip in clips])
        rows[ids == model.template.sound_id] = model.sound_rows(heard)
        return torch.log_softmax(model.decoder(rows=rows[None])[0, -1].double(), -1)


async def test_what_is_said_is_in_the_cache_as_transformers_reads_the_clip(
    session: Session, model: Nets, folder: Path, clip: Samples
) -> None:
    world, form = World(session), model.template
    await world.hear(part(clip, COMMAND), 20)
    await world.hear(part(clip, QUESTION), 20)
    (call,) = world.of(CallTool)
    assert (call.name, call.args, call.by) == ("light", {"room": "kitchen", "state": "on"}, "grammar")
    assert len(world.of(ReplyStarted)) >= 2
    ids = list(session.context.ids)
    text = model.pieces.decode([each for each in ids if each != form.sound_id])
    turn = "<|turn>user\n<|audio><audio|><turn|>\n<|turn>model\n"
    assert text.count(turn) == 2 and f"{turn}<|tool_call>call:light" in text and "kitchen light" not in text
    clips = clips_of(session, world)
    assert len(clips) == 2 and min(map(len, clips)) > 16_000
    ours = await behind(session.context, model.decoder.shape.vocab_size)
    assert error(ours, whole(model, session.context, clips)) <= BAR

    transformers = reference()
    extractor = transformers.models.gemma4.feature_extraction_gemma4.Gemma4AudioFeatureExtractor()
    theirs = transformers.Gemma4ForConditionalGeneration.from_pretrained(str(folder)).eval()
    sound = extractor([np.pad(each, (0, 1)) for each in clips], return_tensors="pt", sampling_rate=16_000)
    with torch.inference_mode():
        said = theirs(torch.tensor([[*ids, 1]]), **sound).logits[0, -1]
    assert error(ours, torch.log_softmax(said.double(), -1)) <= BAR
    swapped = whole(model, session.context, [each[::-1].copy() for each in clips])
    assert error(ours, swapped) > FAR  # else nobody listens
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "own_id", form.sound_id)
        assert error(ours, whole(model, session.context, clips)) > FAR  # else nobody looks ids up


async def test_whether_the_user_has_finished_is_asked_behind_the_sound(
    keyed: Session, model: Nets, clip: Samples
) -> None:
    world, form = World(keyed), model.template
    world.inbox.append(TalkPressed(world.now_ns))
    await world.hear(part(clip, COMMAND)[4_800:16_000])
    before = keyed.context.ids
    finished = await keyed.user.finished(("turn",), world.now_ns)
    assert keyed.context.ids == before and keyed.user.sounds and 0 < finished < 1
    logp = await keyed.context.probe(form.sound_close, form.ending_answers)
    assert finished == form.ended(logp)


async def test_it_is_read_while_the_user_speaks(session: Session, clip: Samples) -> None:
    world, had = World(session), list[int]()
    for each in np.array_split(part(clip, COMMAND), 25):
        await world.hear(each)
        had.append(rows_in(session))
        if world.of(TurnEnded):
            break
    await world.run(15)
    (ended,) = world.of(TurnEnded)
    assert had[-2] >= 0.9 * rows_in(session) > 30  # before the turn ended nearly all of it was there
    grown = [after - before for before, after in zip(had, had[1:], strict=False) if after > before]
    assert len(grown) > 10 and max(grown) <= 2 * PREROLL_TICKS + 2
    assert ended.reason in ("sentence", "silence")


@pytest.mark.parametrize(("sheds", "each"), [((), 1), (("wider_tick",), 4), (("wider_tick", "widest_tick"), 8)])
async def test_a_model_that_falls_behind_reads_what_is_said_less_often(
    keyed: Session, model: Nets, clip: Samples, sheds: tuple[str, ...], each: int
) -> None:
    """The same sound is in the cache in the end, in fewer steps."""
    world = World(keyed)
    world.inbox += [Shed(0, what, 1, "late") for what in sheds]
    await world.run(1)
    world.inbox.append(TalkPressed(world.now_ns))
    grew, held = list[int](), 0
    for at in range(20):
        await world.run(1, part(clip, COMMAND)[at * TICK_SAMPLES : (at + 1) * TICK_SAMPLES])
        if rows_in(keyed) > held:
            grew.append(world.index - 1)
        held = rows_in(keyed)
    assert all(tick % each == 0 for tick in grew) and len(grew) >= 12 // each
    world.inbox.append(TalkReleased(world.now_ns))
    await world.run(3)
    assert rows_in(keyed) >= max(held, 20 * TICK_SAMPLES // 640)  # all of it
    assert error(await behind(keyed.context, model.decoder.shape.vocab_size), whole(model, keyed.context)) <= BAR
    if sheds:
        world.inbox += [Shed(0, what, 0, "in time") for what in reversed(sheds)]
        await world.run(2)
        assert keyed.reads


async def test_what_was_nothing_leaves_nothing(keyed: Session, model: Nets) -> None:
    world = World(keyed)
    before, logits = keyed.context.ids, await behind(keyed.context, 64)
    world.inbox.append(TalkPressed(world.now_ns))
    await world.run(8)
    assert rows_in(keyed) >= 8
    world.inbox.append(TalkReleased(world.now_ns))
    await world.run(2)
    assert [each.code for each in world.of(Noted)] == ["no_words"]
    assert keyed.context.ids == before and not keyed.user.open
    assert float((await behind(keyed.context, 64) - logits).abs().max()) < 1e-4


async def test_a_typed_turn_is_text(keyed: Session, model: Nets, clip: Samples) -> None:
    world = World(keyed)
    world.inbox.append(TalkPressed(world.now_ns))
    await world.hear(part(clip, COMMAND)[:16_000])
    assert rows_in(keyed)
    world.type("hello there")
    await world.run(3)
    assert not rows_in(keyed) and "<|turn>user\nhello there<turn|>" in model.pieces.decode(list(keyed.context.ids))


async def test_what_comes_before_words_that_are_being_spoken_is_read_before_their_sound(
    session: Session, model: Nets, clip: Samples
) -> None:
    world = World(session)
    await world.hear(part(clip, QUESTION)[:17_920])
    rows, kept = rows_in(session), session.user.ids
    assert rows and session.user.sounds
    world.inbox.append(MessageAdded(world.now_ns, "system", "it rains"))
    await world.run(1, part(clip, QUESTION)[17_920:])
    assert session.user.ids[: len(kept)] == kept
    await world.hear(part(clip, QUESTION)[19_200:], 20)
    text = model.pieces.decode(list(session.context.ids))
    assert text.index("it rains<turn|>\n<|turn>user\n<|audio>") and rows_in(session) > rows
    ours, clips = await behind(session.context, model.decoder.shape.vocab_size), clips_of(session, world)
    assert error(ours, whole(model, session.context, clips)) <= BAR


async def test_a_reply_that_is_interrupted_leaves_the_cache_as_if_its_rest_had_never_been(
    session: Session, model: Nets, clip: Samples
) -> None:
    world = World(session)
    world.type("hello there")
    await world.run(12)
    await world.hear(part(clip, COMMAND), 25)
    (cut,) = world.of(Interrupted)
    assert cut.unheard
    text = model.pieces.decode(list(session.context.ids))
    assert "…<turn|>\n<|turn>user\n<|audio>" in text
    clips = clips_of(session, world)
    ours = await behind(session.context, model.decoder.shape.vocab_size)
    assert error(ours, whole(model, session.context)) <= BAR
    assert error(ours, whole(model, session.context, clips)) <= BAR


def test_a_replay_hears_the_same(agent: Agent, model: Nets, clip: Samples, tmp_path: Path) -> None:
    path = tmp_path / "talk.larec"

    async def converse() -> World:
        async with open_session(agent, CONFIG, model, use_recogniser=False) as session:
            recorder = Recorder(path, header_of(agent, model, LANES, session.config, "voice", False, "2026-01-01"))
            world = World(session, recorder=recorder)
            await world.hear(part(clip, COMMAND), 15)
            recorder.close()
            assert world.of(CallTool) and rows_in(session)
            return world

    world = asyncio.run(converse())
    report = replay(path, check=True, agent=agent, model=model)
    assert report.equal and report.tokens == len(world.tokens) > 0, report.difference


async def test_what_is_kept_goes_through_a_recording(session: Session, clip: Samples) -> None:
    world = World(session)
    await world.hear(part(clip, COMMAND), 15)
    held = session.context.held()
    back = State.from_json(State(tuple(held), 1, 1, 0).to_json()).spans

    def senses(spans: Sequence[Kept]) -> list[bytes | int]:
        return [
            token.sense.rows.tobytes() if isinstance(token.sense, Sounds) else token.id
            for each in spans
            for token in each.tokens
        ]

    assert senses(back) == senses(held) and rows_in(session)


async def test_what_goes_and_what_is_read_again(session: Session, model: Nets, clip: Samples) -> None:
    """A turn is forgotten, then the engine is another: what is left is as if nothing else had been."""
    world, context, vocab = World(session), session.context, model.decoder.shape.vocab_size
    await world.hear(part(clip, COMMAND), 20)
    await world.hear(part(clip, QUESTION), 30)
    while session.answer.reply is not None:
        await world.run(10)
    clips = clips_of(session, world)
    first = [span.id for span in context.ledger.spans if span.turn == 1]
    await context.drop(first)
    assert rows_in(session) == len(clips[1]) // 640
    assert error(await behind(context, vocab), whole(model, context, clips[1:])) <= BAR
    before = context.ids
    await session.reread(Lane(session.lane.engine, session.lane.engine.open()))
    assert context.ids == before
    assert error(await behind(context, vocab), whole(model, context, clips[1:])) <= BAR


async def test_words_that_nobody_is_sure_of_are_the_decoders_to_understand(
    keyed: Session, model: Nets, clip: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(keyed)
    unsure = Understood(("turn", "on", "the", "kitchen", "light"), "ear", in_grammar=True, unsure=True)
    monkeypatch.setattr(keyed.listener, "end", lambda: unsure)
    await say(world, part(clip, COMMAND)[4_800:])
    assert rows_in(keyed) and not [each for each in world.of(CallTool) if each.by == "grammar"]
    assert AGAIN not in [each.text for each in world.of(Say)]


async def test_a_turn_that_fills_the_cache_is_cut(agent: Agent, model: Nets, clip: Samples) -> None:
    pinned = len(model.template.prompt(agent.instructions, agent.tools))
    config = replace(KEY, slots=pinned + 240, high_tokens=pinned + 24, low_tokens=pinned + 8,
                     picture_high_tokens=8, picture_low_tokens=4)  # fmt: skip
    async with open_session(agent, config, model, use_recogniser=False) as session:
        world = World(session)
        world.inbox.append(TalkPressed(world.now_ns))
        await world.hear(part(clip, COMMAND)[4_800:])
        assert 20 <= rows_in(session) < 40 and session.context.ledger.used_tokens < pinned + 48
        world.inbox.append(TalkReleased(world.now_ns))
        await world.run(2)
        assert world.of(Noted)[0].code == "sound_cut" and world.of(CallTool)  # what other ears heard is whole


async def test_a_turn_begun_before_the_last_is_understood_comes_behind_it(
    agent: Agent, model: Nets, clip: Samples
) -> None:
    config = replace(KEY, dictated=True)
    async with open_session(agent, config, model, use_recogniser=False) as session:
        world, dictation = World(session), session.dictation
        assert dictation is not None
        await say(world, part(clip, COMMAND)[4_800:24_000])
        assert session.last_words.closing is not None
        first_ns, first = dictation.begun_ns, rows_in(session)
        world.inbox.append(TalkPressed(world.now_ns))
        pressed = world.index
        await world.hear(part(clip, QUESTION)[:12_800])
        assert rows_in(session) == first  # the one before it is not done
        world.inbox.append(EarHeard(world.now_ns, first_ns, ("hello", "there"), 2, True, 0.9))
        await world.hear(part(clip, QUESTION)[12_800:19_200])
        world.inbox.append(TalkReleased(world.now_ns))
        await world.run(1)
        world.inbox.append(EarHeard(world.now_ns, dictation.begun_ns, ("how", "are", "you"), 3, True, 0.9))
        await world.run(20)
        ids, form = list(session.context.ids), model.template
        opens = [at for at, each in enumerate(ids) if each == form.sound_open[0]]
        counts = [ids.index(form.sound_close[0], at) - at - 1 for at in opens]
        every = np.concatenate([tick.samples for tick, _, _ in world.ticks])
        start = (pressed + 1 - PREROLL_TICKS) * TICK_SAMPLES
        clips = [every[: counts[0] * 640], every[start : start + counts[1] * 640]]
        assert len(counts) == 2 and min(counts) > 20
        ours = await behind(session.context, model.decoder.shape.vocab_size)
        assert error(ours, whole(model, session.context, clips)) <= BAR


# --- the engine


@pytest.fixture
def core(model: Nets) -> Iterator[Core]:
    core = Core(model, lanes=6, slots=256)
    for _ in range(6):
        core.open()
    yield core


def encode(core: Core, lane: int, samples: Samples, begins: bool = False) -> np.ndarray:
    reply = core.run(lane, Encode(samples, begins))
    assert isinstance(reply, Encoded)
    return reply.rows


def test_lanes_beside_each_other_hear_what_each_hears_alone(core: Core, model: Nets) -> None:
    sound = (0.1 * np.random.default_rng(0).standard_normal((5, 6 * TICK_SAMPLES))).astype(np.float32)
    alone = [encode(core, 0, each, True) for each in sound]
    box: dict[int, np.ndarray] = {}

    def keep(at: int, reply: Any) -> None:
        box[at] = reply.rows

    for at, each in enumerate(sound):
        core.submit(at, Encode(each[: 2 * TICK_SAMPLES], True), lambda reply: None)
        core.submit(at, Encode(each[2 * TICK_SAMPLES : -1], False), partial(keep, at))
    while core.step():
        pass
    assert len(box) == 5
    assert model.own_ear is not None
    for at, rows in box.items():
        assert rows.shape == (7, 48)  # the last token lacks a sample
        np.testing.assert_allclose(rows, alone[at][4:11], atol=1e-5)
        rest = encode(core, at, sound[at][-1:])
        np.testing.assert_allclose(rest, alone[at][11:], atol=1e-5)
        assert encode(core, at, sound[at][:5]).shape == (0, 48)
    again = encode(core, 3, sound[1], True)
    assert np.array_equal(again, alone[1])  # nothing of what was there before


def test_damaged_weights_are_one_lanes_error(core: Core, model: Nets) -> None:
    with pytest.raises(DeviceError, match="own ear"):
        encode(core, 0, np.full(TICK_SAMPLES, np.nan, np.float32), True)
    assert np.isfinite(encode(core, 0, np.zeros(TICK_SAMPLES, np.float32))).all()


def test_a_decoder_that_reads_words_hears_nothing(core: Core) -> None:
    nano = Core(random_nano(), slots=64)
    nano.open()
    for work in (
        Encode(np.zeros(TICK_SAMPLES, np.float32)),
        Append((1,), sounds=Sounds(np.zeros((1, 64), np.float32))),
    ):
        with pytest.raises(ConfigError, match="reads words"):
            nano.run(0, work)
    with pytest.raises(ConfigError, match="2 rows"):
        core.run(0, Append((1,), sounds=Sounds(np.zeros((2, 48), np.float32))))
    assert not random_nano().reads_sound and random_nano().template.sound_open == []


async def test_it_hears_in_a_process_of_its_own(folder: Path, core: Core, model: Nets) -> None:
    engine = EngineProcess(folder, lanes=4, slots=256)
    engine.start()
    try:
        engine.wait()
        lane = Lane(engine, engine.open())
        sound = (0.1 * np.random.default_rng(1).standard_normal(3 * TICK_SAMPLES)).astype(np.float32)
        rows = await lane.encode(sound, True)
        assert np.array_equal(rows, encode(core, 0, sound, True))
        append = Append((model.template.sound_id,) * 6, (5, 7), sounds=Sounds(rows))
        there = await lane.do(append)
    finally:
        engine.close()
    core.run(0, Reset())
    assert core.run(0, append) == there


def test_how_it_hears_is_read_without_weights(folder: Path, model: Nets) -> None:
    known = read_model(folder).template
    assert known.sound_open == model.template.sound_open == [model.pieces.id("<|audio>")]
    assert known.sound_close == model.template.sound_close == [model.pieces.id("<audio|>")]
    assert set(known.sound_open) <= set(known.never) and read_model(folder).reads_sound
