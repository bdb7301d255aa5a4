"""An open checkpoint without encoders in the loop: it reads what is typed, raw sound of what is said, raw pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from liveagent import tool
from liveagent.action import CallTool
from liveagent.agent import Agent
from liveagent.audio import TICK_NS, TICK_SAMPLES, Samples
from liveagent.event import PictureKept, ReplyStarted, SpeechStarted, TurnEnded
from liveagent.nn.nets import Nets
from liveagent.nn.patches import cut
from liveagent.nn.raw_ear import RawEar
from liveagent.nn.raw_eye import RawEye
from liveagent.ports.media import MediaFile
from liveagent.runtime.context import Context, Kept
from liveagent.runtime.devices import clip_path
from liveagent.runtime.engine import Lane
from liveagent.runtime.listener import PREROLL_TICKS
from liveagent.runtime.open_model import load_nets
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.runtime.work import Seen
from liveagent.video import Pixels, VideoFrame
from tests.open_checkpoint import TEMPLATE, tokenizer
from tests.parity import BAR, FAR, error, gains, reference, saved
from tests.world import World

pytestmark = pytest.mark.slow

MARKS = {
    "boa_token_id": "<|audio>", "eoa_token_index": "<audio|>", "audio_token_id": "<|audio|>", "video_token_id":
    "<|video|>", "boi_token_id": "<|image>", "eoi_token_id": "<image|>", "image_token_id": "<|image|>",
}  # fmt: skip
PX, GROUP, ROWS = 8, 2, 48


@tool(phrases=["(turn|switch) {state} the {room} light"])
async def light(room: Literal["kitchen", "bath"], state: Literal["on", "off"]) -> str:
    """Switch a room's light."""
    return "it is on"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, transformers, made = tmp_path_factory.mktemp("unified"), reference(), tokenizer()
    config = transformers.Gemma4UnifiedConfig(
        text_config={
            "vocab_size": made.get_vocab_size(), "hidden_size": 48, "intermediate_size": 72, "num_hidden_layers": 4,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12, "global_head_dim": 20,
            "sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"] * 2,
            "attention_k_eq_v": True, "num_global_key_value_heads": 1, "final_logit_softcapping": 30.0,
        },
        audio_config={},
        vision_config={
            "patch_size": PX, "pooling_kernel_size": GROUP, "mm_embed_dim": 24, "output_proj_dims": 24,
            "mm_posemb_size": 16,
        },
        **{name: made.token_to_id(mark) for name, mark in MARKS.items()},
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.Gemma4UnifiedForConditionalGeneration(config).eval()
    gains(model, 1)
    saved(model, folder, "60kB")
    looks = {"patch_size": PX, "pooling_kernel_size": GROUP, "max_soft_tokens": ROWS}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": looks, "video_processor": looks}))
    made.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<bos>", "eos_token": "<eos>"}))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Nets:
    return load_nets(folder)


async def test_it_is_typed_to_and_spoken_to_as_transformers_reads_words_and_clip(folder: Path, model: Nets) -> None:
    ear: object = model.own_ear
    form, clip = model.template, MediaFile(clip_path(), real_time=False).read()[8_000:40_000]
    assert isinstance(ear, RawEar) and (ear.token_ms, ear.width) == (40.0, 48)
    agent = Agent(str(folder), instructions="Be brief.", tools=[light])
    async with open_session(agent, SessionConfig(echo_gate=False), model, use_recogniser=False) as session:
        world = World(session)
        world.type("hello there")
        await world.run(12)
        while session.answer.reply is not None:
            await world.run(10)
        await world.hear(clip, 20)
        (call,) = world.of(CallTool)
        assert (call.name, call.args, call.by) == ("light", {"room": "kitchen", "state": "on"}, "grammar")
        assert len(world.of(ReplyStarted)) >= 2
        ids = list(session.context.ids)
        text = model.pieces.decode([each for each in ids if each != form.sound_id])
        assert "<|turn>user\nhello there<turn|>" in text and "<|turn>user\n<|audio><audio|><turn|>" in text
        assert "kitchen light" not in text
        heard = heard_of(world, ids.count(form.sound_id))
        vocab = model.decoder.shape.vocab_size
        ours = torch.tensor(await session.context.probe([1], range(vocab)), dtype=torch.float64)

    assert error(ours, theirs(folder, ids, heard)) <= BAR
    assert error(ours, theirs(folder, ids, heard[::-1].copy())) > FAR  # else nobody listens


async def test_what_is_shown_and_said_is_in_the_cache_as_transformers_reads_it(folder: Path, model: Nets) -> None:
    """Pictures of 48 rows that see each other, which no step of the loop's usual sizes would hold."""
    eye: object = model.own_eye
    form, clip = model.template, MediaFile(clip_path(), real_time=False).read()[8_000:40_000]
    assert isinstance(eye, RawEye) and model.decoder.shape.ahead == ROWS
    shown = [scene(1), scene(2)]

    def camera(tick: int) -> VideoFrame | None:
        return VideoFrame(shown[tick >= 30], tick * TICK_NS) if tick % 3 == 0 else None

    config = SessionConfig(echo_gate=False, picture_high_tokens=280, picture_low_tokens=200)
    async with open_session(Agent(str(folder), tools=[light]), config, model, use_recogniser=False) as session:
        world = World(session, camera=camera)
        await world.run(45)
        assert [each.reason for each in world.of(PictureKept)] == ["first", "changed"]
        await world.hear(clip, 20)
        assert [call.args for call in world.of(CallTool)] == [{"room": "kitchen", "state": "on"}]
        ids = list(session.context.ids)
        heard = heard_of(world, ids.count(form.sound_id))
        vocab = model.decoder.shape.vocab_size
        ours = torch.tensor(await session.context.probe([1], range(vocab)), dtype=torch.float64)
        await session.reread(Lane(session.lane.engine, session.lane.engine.open()))  # the engine is another
        again = torch.tensor(await session.context.probe([1], range(vocab)), dtype=torch.float64)
        assert error(again, ours) <= BAR and list(session.context.ids) == ids
    assert ids.count(picture_id(model)) == 2 * ROWS
    small = [model.small(VideoFrame(each, 0)).pixels for each in shown]
    assert error(ours, theirs(folder, ids, heard, small)) <= BAR
    assert error(ours, theirs(folder, ids, heard, small[::-1])) > FAR  # else nobody looks
    assert error(ours, theirs(folder, ids, heard, small, ahead=False)) > FAR  # else no row sees what is behind it


async def test_what_moves_while_somebody_speaks_is_put_behind_the_sound(
    folder: Path, model: Nets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same turn, as transformers reads it; and nothing of what was said is read a second time."""
    form, clip = model.template, MediaFile(clip_path(), real_time=False).read()[8_000:40_000]
    shown = [scene(1), scene(2)]

    def camera(tick: int) -> VideoFrame | None:
        return VideoFrame(shown[tick >= 9], tick * TICK_NS) if tick % 3 == 0 else None

    rewound: list[int] = []
    rewind = Context.rewind

    async def told(context: Context, place: int) -> list[Kept]:
        rewound.append(place)
        return await rewind(context, place)

    looked: list[tuple[int, int]] = []  # in which tick, and at how many patches
    see = Lane.see

    async def seen(lane: Lane, pixels: Pixels, patches: np.ndarray | None = None) -> Seen:
        found = await see(lane, pixels, patches)
        looked.append((world.index - 1, found.patches))
        return found

    monkeypatch.setattr(Context, "rewind", told)
    monkeypatch.setattr(Lane, "see", seen)
    config = SessionConfig(echo_gate=False, picture_high_tokens=280, picture_low_tokens=200)
    async with open_session(Agent(str(folder), tools=[light]), config, model, use_recogniser=False) as session:
        world = World(session, camera=camera)
        await world.hear(clip, 20)
        assert [call.args for call in world.of(CallTool)] == [{"room": "kitchen", "state": "on"}]
        ids = list(session.context.ids)
        text = model.pieces.decode([each for each in ids if each not in (form.sound_id, picture_id(model))])
        inside = "<|turn>user\n<|audio><audio|>\n\n00:0"
        asked = text.index(inside)
        assert text[asked + len(inside) + 1 :].startswith(" <|image><image|>\n\n<turn|>\n<|turn>model\n")
        ended = next(tick for tick, event in world.log if isinstance(event, TurnEnded))
        assert any(9 <= tick < ended and patches for tick, patches in looked)  # while somebody spoke
        assert [patches for tick, patches in looked if tick == ended] == [0]  # and nothing is left for the end
        assert not rewound and [each.reason for each in world.of(PictureKept)][:2] == ["first", "changed"]
        until = ids.index(form.call_open[0])
        heard = heard_of(world, ids.count(form.sound_id))
        kinds = [span.kind for span in session.context.ledger.spans]
        assert kinds[:5] == ["system", "picture", "audio", "picture", "audio"]
        vocab = model.decoder.shape.vocab_size
        await session.context.rewind(until)
        ours = torch.tensor(await session.context.probe([1], range(vocab)), dtype=torch.float64)
    small = [model.small(VideoFrame(each, 0)).pixels for each in shown]
    assert error(ours, theirs(folder, ids[:until], heard, small)) <= BAR
    assert error(ours, theirs(folder, ids[:until], heard, small[::-1])) > FAR


def picture_id(model: Nets) -> int:
    return model.pieces.id("<|image|>")


def scene(seed: int) -> Pixels:
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, 0).repeat(8, 1))


def theirs(
    folder: Path, ids: Sequence[int], sound: Samples, shown: Sequence[Pixels] = (), ahead: bool = True
) -> Tensor:
    """What transformers says behind these ids and one more, with this sound and these pictures in them."""
    net = reference().Gemma4UnifiedForConditionalGeneration.from_pretrained(str(folder)).eval()
    every = torch.tensor([[*ids, 1]])
    given: dict[str, Any] = {"input_ids": every, "input_features": torch.tensor(sound).view(1, -1, 640)}
    given["input_features_mask"] = torch.ones(given["input_features"].shape[:2], dtype=torch.bool)
    if shown:
        side = PX * GROUP
        pixels = torch.stack([cut(torch.tensor(each).permute(2, 0, 1), side) for each in shown])
        down, across = torch.meshgrid(*(torch.arange(n // side) for n in shown[0].shape[:2]), indexing="ij")
        given["pixel_values"] = pixels.permute(0, 1, 3, 4, 2).flatten(2).float() / 255
        given["image_position_ids"] = torch.stack([across, down], -1).flatten(0, 1).expand(len(shown), -1, -1)
    seen = (every == net.config.image_token_id).long() * ahead
    given["attention_mask"] = net.create_masks_for_generate(
        net.config, torch.empty(*every.shape, 0), None, None, torch.arange(every.shape[1])[None], mm_token_type_ids=seen
    )
    with torch.inference_mode():
        return torch.log_softmax(net(**given).logits[0, -1].double(), -1)


def heard_of(world: World, rows: int) -> Samples:
    """The sound of the turn in the cache: as many samples as it holds rows, from the pre-roll on."""
    tick = next(tick for tick, event in world.log if isinstance(event, SpeechStarted))
    every = np.concatenate([each.samples for each, _, _ in world.ticks])
    first = max(0, tick + 1 - PREROLL_TICKS) * TICK_SAMPLES
    assert rows > 30
    return every[first : first + rows * 640]
