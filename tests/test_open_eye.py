"""An open checkpoint that sees for itself: what the camera shows is in the cache as its own eye sees it."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from liveagent.agent import Agent
from liveagent.audio import TICK_NS
from liveagent.clients.arm.jpeg import jpeg
from liveagent.errors import ConfigError, DeviceError
from liveagent.event import FrameSeen, Interrupted, PictureKept, ReplyStarted, Watched
from liveagent.keyframe import PATCH_PX
from liveagent.nn.nets import Nets
from liveagent.runtime.context import Context
from liveagent.runtime.core import Core
from liveagent.runtime.engine import Lane
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.forget import State
from liveagent.runtime.open_model import load_nets, read_model
from liveagent.runtime.record import Recorder, header_of
from liveagent.runtime.replay import replay
from liveagent.runtime.row_looking import RowLooking
from liveagent.runtime.server import Server
from liveagent.runtime.session import Session, SessionConfig
from liveagent.runtime.talk import LANES, open_session
from liveagent.runtime.work import Append, Done, Look, Probe, Reset, Seen, Sights
from liveagent.video import Pixels, VideoFrame
from liveagent.watch import Watch
from liveagent.wire.native import HEADER
from tests.open_checkpoint import EYE, ROWS, write
from tests.parity import BAR, FAR, error, reference
from tests.site import serving
from tests.world import World

pytestmark = pytest.mark.slow

CONFIG = SessionConfig(echo_gate=False, picture_high_tokens=280, picture_low_tokens=200)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("gemma"), sees=True)


@pytest.fixture(scope="module")
def model(folder: Path) -> Nets:
    return load_nets(folder)


@pytest.fixture
def agent(folder: Path) -> Agent:
    return Agent(str(folder), instructions="Be brief.")


@pytest.fixture
async def session(agent: Agent, model: Nets) -> AsyncIterator[Session]:
    async with open_session(agent, CONFIG, model, use_recogniser=False) as session:
        yield session


def scene(seed: int) -> Pixels:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1))


def moved(pixels: Pixels) -> Pixels:
    """The same with another top left corner."""
    other = pixels.copy()
    other[:24, :24] = 255 - other[:24, :24]
    return other


def shows(pictures: dict[int, Pixels]) -> Callable[[int], VideoFrame | None]:
    """A camera that shows each picture from a tick on, five times a second."""

    def camera(tick: int) -> VideoFrame | None:
        since = [at for at in pictures if at <= tick]
        return VideoFrame(pictures[max(since)], tick * TICK_NS) if since and tick % 3 == 0 else None

    return camera


def rows_in(session: Session, model: Nets) -> int:
    assert isinstance(session.seeing.looking, RowLooking)
    return session.context.ids.count(picture_id(model))


def picture_id(model: Nets) -> int:
    return model.pieces.id("<|image|>")


async def behind(context: Context, vocab: int) -> Tensor:
    """What may follow the whole cache, read from it: log-probabilities behind one token more."""
    return torch.tensor(await context.probe([1], range(vocab)), dtype=torch.float64)


def whole(model: Nets, context: Context) -> Tensor:
    """The same in one pass over all that the context says is in the cache."""
    ids = torch.tensor([*context.ids, 1])
    with torch.inference_mode():
        rows = model.decoder.embed(ids)
        seen = [token.sense.sight for token in context._tokens if isinstance(token.sense, Sights)]
        if seen:
            rows[ids == picture_id(model)] = model.seen_rows(torch.tensor(np.concatenate(seen)), torch.zeros(0))
        return torch.log_softmax(model.decoder(rows=rows[None])[0, -1].double(), -1)


def theirs(folder: Path, ids: list[int], pictures: list[Pixels]) -> Tensor:
    """What transformers says behind these ids, with these pictures in them."""
    there = reference().Gemma4ForConditionalGeneration.from_pretrained(str(folder)).eval()
    side = EYE["patch_size"]
    values, places = [], []
    for each in pictures:
        high, wide = each.shape[0] // side, each.shape[1] // side
        cut = torch.tensor(each).view(high, side, wide, side, 3).permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(1)
        values.append(cut.float() / 255)
        down, across = torch.meshgrid(torch.arange(high), torch.arange(wide), indexing="ij")
        places.append(torch.stack([across, down], -1).flatten(0, 1))
    with torch.inference_mode():
        said = there(
            torch.tensor([ids]), pixel_values=torch.stack(values), image_position_ids=torch.stack(places)
        ).logits[0, -1]
    return torch.log_softmax(said.double(), -1)


async def test_what_the_camera_shows_is_in_the_cache_as_transformers_sees_it(
    session: Session, model: Nets, folder: Path
) -> None:
    shown = [scene(1), scene(2)]
    world = World(session, camera=shows({0: shown[0], 30: shown[1]}))
    await world.run(20)
    world.type("what is there")
    await world.run(30)
    kept = world.of(PictureKept)
    assert [each.reason for each in kept] == ["first", "changed"] and world.of(ReplyStarted)
    text = model.pieces.decode([each for each in session.context.ids if each != picture_id(model)])
    for each in kept:
        assert text.count(f"<|turn>user\n\n\n00:0{each.t_ns // 10**9} <|image><image|>\n\n<turn|>\n") == 1
    assert rows_in(session, model) == 2 * ROWS
    ours = await behind(session.context, model.decoder.shape.vocab_size)
    assert error(ours, whole(model, session.context)) <= BAR
    small = [model.small(VideoFrame(each, 0)).pixels for each in shown]
    assert small[0].shape[:2] == (96, 128)  # 6 x 8 groups of 2 x 2 patches of 8 px
    ids = [*session.context.ids, 1]
    assert error(ours, theirs(folder, ids, small)) <= BAR
    assert error(ours, theirs(folder, ids, small[::-1])) > FAR  # else nobody looks
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "seen_id", picture_id(model))
        assert error(ours, whole(model, session.context)) > FAR  # else nobody looks ids up


async def test_only_what_has_changed_is_looked_at_again(
    session: Session, model: Nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Seen] = []
    see = Lane.see

    async def told(lane: Lane, pixels: Pixels, patches: np.ndarray | None = None) -> Seen:
        asked.append(await see(lane, pixels, patches))
        return asked[-1]

    monkeypatch.setattr(Lane, "see", told)
    world = World(session, camera=shows({0: scene(1), 20: moved(scene(1))}))
    await world.run(60)
    assert [each.reason for each in world.of(PictureKept)] == ["first", "changed"]
    assert len(world.of(FrameSeen)) == 20 and len(asked) == 2  # the eye looks at what is kept alone
    assert asked[0].patches == asked[0].of == 4 * ROWS
    most = 8 * (PATCH_PX // EYE["patch_size"]) ** 2  # four of the detector's patches moved, which a step has eight of
    assert 0 < asked[1].patches <= most < 4 * ROWS / 4
    assert np.abs(asked[1].sight - asked[0].sight).max() > 0


async def test_what_is_there_when_a_question_comes_is_in_front_of_it(session: Session, model: Nets) -> None:
    world = World(session, camera=shows({0: scene(1), 12: scene(2)}))
    await world.run(12)
    world.type("what is there now")
    await world.run(1)  # the picture came with the question, and has not settled
    spans = [span.kind for span in session.context.ledger.spans]
    assert spans[:4] == ["system", "picture", "picture", "text"]


async def test_pictures_before_words_that_are_open_and_behind_an_interruption(session: Session, model: Nets) -> None:
    """The cache equals the same log of appends: a picture in front of an open turn, words that nobody heard gone."""
    vocab = model.decoder.shape.vocab_size
    world = World(session, camera=shows({0: scene(1), 14: scene(2)}))
    world.type("hello there")
    await world.run(8)
    while session.answer.reply is not None:
        await world.run(1)
    at = world.index
    world.camera = shows({0: scene(2), at + 3: scene(4)})
    await session.user.read(["what", "time"], world.now_ns)
    await world.run(20)
    kinds = [span.kind for span in session.context.ledger.spans]
    assert kinds[-2:] == ["picture", "audio"] and session.user.open
    assert error(await behind(session.context, vocab), whole(model, session.context)) <= BAR
    world.type("what is there")
    await world.run(3)
    world.type("no tell me something nice")
    await world.run(30)
    assert world.of(Interrupted)
    assert error(await behind(session.context, vocab), whole(model, session.context)) <= BAR


async def test_pictures_leave_the_cache_and_it_goes_on(session: Session, model: Nets) -> None:
    world = World(session, camera=shows({at: scene(at) for at in range(0, 240, 12)}))
    await world.run(240)
    kept = world.of(PictureKept)
    assert len(kept) >= 12 and rows_in(session, model) < len(kept) * ROWS / 2
    world.type("what is there")
    await world.run(20)
    assert world.of(ReplyStarted)
    # What stays carries what it saw of what went: as close as that, and no closer.
    await session.reread(Lane(session.lane.engine, session.lane.engine.open()))
    vocab = model.decoder.shape.vocab_size
    assert error(await behind(session.context, vocab), whole(model, session.context)) <= BAR


async def test_what_is_kept_goes_through_a_recording(session: Session, model: Nets) -> None:
    world = World(session, camera=shows({0: scene(1)}))
    await world.run(12)
    held = session.context.held()
    back = State.from_json(State(tuple(held), 1, 1, 0).to_json()).spans
    senses = [
        [token.sense.sight.tobytes() for each in spans for token in each.tokens if isinstance(token.sense, Sights)]
        for spans in (held, back)
    ]
    assert senses[0] == senses[1] and len(senses[0]) == ROWS


def test_a_replay_sees_the_same(agent: Agent, model: Nets, tmp_path: Path) -> None:
    path = tmp_path / "talk.larec"

    async def converse() -> World:
        async with open_session(agent, CONFIG, model, use_recogniser=False) as session:
            recorder = Recorder(
                path, header_of(agent, model, LANES, session.config, "voice", False, "2026-01-01", pictures=True)
            )
            world = World(session, recorder=recorder, camera=shows({0: scene(1), 20: moved(scene(1))}))
            await world.run(30)
            world.type("what is there")
            await world.run(20)
            recorder.close()
            assert rows_in(session, model)
            return world

    world = asyncio.run(converse())
    report = replay(path, check=True, agent=agent, model=model)
    assert report.equal and report.tokens == len(world.tokens) > 0, report.difference


async def test_a_watch_is_a_question_about_the_newest_picture_alone(
    folder: Path, model: Nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes: list[Probe] = []
    ask = Lane.ask

    async def told(lane: Lane, work: Any) -> Any:
        probes.extend([work] if isinstance(work, Probe) else [])
        return await ask(lane, work)

    monkeypatch.setattr(Lane, "ask", told)
    agent = Agent(str(folder), instructions="Be brief.", watches=[Watch("dog", "a dog is on the sofa")])

    async def holds(*scenes: int) -> list[float]:
        async with open_session(agent, CONFIG, model, use_recogniser=False) as session:
            world = World(session, camera=shows({20 * at: scene(each) for at, each in enumerate(scenes)}))
            await world.run(20 * len(scenes))
            return [each.holds for each in world.of(Watched)]

    asked = model.pieces.decode(model.template.watch("a dog is on the sofa"))
    assert "Is this true: a dog is on the sofa?" in asked and asked.endswith("<|turn>model\n")
    one, other, third = await holds(1, 2), await holds(7, 2), await holds(1, 3)
    assert len(one) == len(other) == len(third) == 2 and one[0] == third[0]
    for each in probes:
        assert set(each.ids[each.seen_at : each.seen_at + ROWS]) == {picture_id(model)}  # where its rows stand
    assert len(probes) == 6 and one[1] == other[1]  # what was there before is not seen
    assert abs(one[1] - third[1]) > 1e-3 and abs(one[0] - other[0]) > 1e-3  # what is there is


async def test_a_user_may_ask_to_be_told_of_anything(session: Session) -> None:
    world = World(session, camera=shows({0: scene(1)}))
    await world.run(6)
    world.type("tell me when a dog is on the sofa")
    await world.run(20)
    assert [each.watch.condition for each in session.watcher.watchings] == ["a dog is on the sofa"]
    assert world.of(Watched)


@pytest.fixture
def core(model: Nets) -> Iterator[Core]:
    core = Core(model, lanes=4, slots=128)
    for _ in range(4):
        core.open()
    yield core


def look(core: Core, lane: int, pixels: Pixels, patches: np.ndarray | None = None) -> Seen:
    seen = core.run(lane, Look(pixels, patches))
    assert isinstance(seen, Seen)
    return seen


def test_lanes_beside_each_other_see_what_each_sees_alone(core: Core, model: Nets) -> None:
    """Pictures of different shapes, in any order; a lane that begins anew has seen nothing."""
    tall = np.ascontiguousarray(scene(5).transpose(1, 0, 2))
    corner = np.zeros(48, np.bool_)
    corner[:2] = True
    script = [(0, scene(1), None), (1, tall, None), (0, moved(scene(1)), corner), (1, moved(tall), corner)]
    together = [look(core, *each) for each in script]
    fresh = Core(model, lanes=4, slots=128)
    for _ in range(4):
        fresh.open()
    alone = [look(fresh, 2, pixels, patches) for lane, pixels, patches in script if lane == 0]
    alone += [look(fresh, 1, pixels, patches) for lane, pixels, patches in script if lane == 1]
    for mine, other in zip([together[0], together[2], together[1], together[3]], alone, strict=True):
        assert np.array_equal(mine.sight, other.sight) and mine.patches == other.patches
    assert together[2].patches < together[2].of
    core.run(0, Reset())
    again = look(core, 0, moved(scene(1)), corner)
    assert error(torch.tensor(again.sight), torch.tensor(look(fresh, 3, moved(scene(1))).sight)) <= BAR


def test_damaged_weights_are_one_lanes_error(core: Core, model: Nets, monkeypatch: pytest.MonkeyPatch) -> None:
    assert model.own_eye is not None
    monkeypatch.setattr(model.own_eye, "look", lambda *given: torch.full((ROWS, 48), float("nan")))
    with pytest.raises(DeviceError, match="the model's own eye gave no numbers"):
        look(core, 0, scene(1))


def test_a_picture_is_probed_as_it_is_read(core: Core, model: Nets) -> None:
    form, rows = model.template, look(core, 0, scene(1)).sight
    sights = Sights(rows, np.arange(ROWS))
    before, after = form.picture(ROWS, 5 * 10**9), [*form.picture_close(), *form.watch("a dog is there")]
    asked = core.run(0, Probe((*before, *after), (3, 7), 0.0, (0, 0), sights, len(before) - ROWS))
    core.run(1, Append(tuple(before), sights=sights))
    read = core.run(1, Append(tuple(after), (3, 7)))
    assert isinstance(asked, Done) and isinstance(read, Done)
    assert asked.logp == pytest.approx(read.logp, abs=1e-4)
    shifted = core.run(0, Probe((*before, *after), (3, 7), 0.0, (0, 0), sights, len(before) - ROWS - 1))
    assert isinstance(shifted, Done) and shifted.logp != pytest.approx(read.logp, abs=1e-3)


def test_rows_that_do_not_fit_are_refused(core: Core, model: Nets) -> None:
    sights = Sights(np.zeros((3, 48), np.float32), np.arange(3))
    with pytest.raises(ConfigError, match="3 cells of a picture"):
        core.run(0, Append((1, 2), sights=sights))
    with pytest.raises(ConfigError, match="3 cells of a picture"):
        core.run(0, Probe((1, 2, 3, 4), (1,), sights=sights, seen_at=2))


async def test_it_sees_in_a_process_of_its_own(folder: Path, core: Core) -> None:
    engine = EngineProcess(folder, lanes=4, slots=128)
    engine.start()
    try:
        engine.wait()
        lane = Lane(engine, engine.open())
        for pixels, flags in ((scene(1), None), (moved(scene(1)), np.arange(48) < 4)):
            there, here = await lane.see(pixels, flags), look(core, 0, pixels, flags)
            assert np.array_equal(there.sight, here.sight) and there.patches == here.patches
    finally:
        engine.close()


async def test_a_server_shows_it_what_a_peers_camera_sends(folder: Path) -> None:
    agent = Agent(str(folder), instructions="Be brief.", voice=None)
    server = Server(agent, config=CONFIG)
    assert server.weights_bytes > 10_000
    with serving(server) as site:
        async with site.talk() as talk:
            assert (await talk.greeted())["agent"]["sees"]
            await talk.socket.send(HEADER.pack(2, 0, 0, 0, 0) + jpeg(scene(1).repeat(2, 0).repeat(2, 1)))
            patches = await talk.until("patches")
            assert patches["of"] == 48 and patches["columns"] == 8 and patches["mask"] == "f" * 12
            kept = await talk.until("PictureKept")
            assert kept["tokens"] > ROWS and kept["reason"] == "first"
            await talk.say({"type": "TextTyped", "text": "what is there"})
            assert (await talk.until("AnswerStarted"))["why"] == "turn"
            await talk.until("Say")


def test_how_it_sees_is_read_without_weights(folder: Path, model: Nets, tmp_path: Path) -> None:
    light = read_model(folder)
    assert light.sees and not light.names_things and light.framing == model.framing
    blind = read_model(write(tmp_path / "blind"))
    assert not blind.sees
    with pytest.raises(ConfigError, match="no eyes"):
        blind.template.picture(1)


def test_marks_that_the_decoder_lacks_are_refused(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(folder, copied)
    config = json.loads((copied / "config.json").read_text())
    config["image_token_id"] = 1 << 30
    (copied / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="marks pictures with"):
        read_model(copied)
