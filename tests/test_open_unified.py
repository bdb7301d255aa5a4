"""An open checkpoint without encoders in the loop: it reads what is typed, and the sound itself of what is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from liveagent import tool
from liveagent.action import CallTool
from liveagent.agent import Agent
from liveagent.audio import TICK_SAMPLES, Samples
from liveagent.event import ReplyStarted, SpeechStarted
from liveagent.nn.nets import Nets
from liveagent.nn.raw_ear import RawEar
from liveagent.ports.media import MediaFile
from liveagent.runtime.devices import clip_path
from liveagent.runtime.listener import PREROLL_TICKS
from liveagent.runtime.open_model import load_nets
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session
from tests.open_checkpoint import TEMPLATE, tokenizer
from tests.parity import BAR, FAR, error, gains, reference, saved
from tests.world import World

pytestmark = pytest.mark.slow

MARKS = {"boa_token_id": "<|audio>", "eoa_token_index": "<audio|>", "audio_token_id": "<|audio|>"}


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
        audio_config={}, vision_config=None, **{name: made.token_to_id(mark) for name, mark in MARKS.items()},
    )  # fmt: skip
    torch.manual_seed(1)
    model = transformers.Gemma4UnifiedForConditionalGeneration(config).eval()
    gains(model, 1)
    saved(model, folder, "60kB")
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

    theirs = reference().Gemma4UnifiedForConditionalGeneration.from_pretrained(str(folder)).eval()

    def said(sound: Samples) -> torch.Tensor:
        features = torch.tensor(sound).view(1, -1, 640)
        every = torch.ones(1, features.shape[1], dtype=torch.bool)
        with torch.inference_mode():
            logits = theirs(torch.tensor([[*ids, 1]]), input_features=features, input_features_mask=every).logits
        return torch.log_softmax(logits[0, -1].double(), -1)

    assert error(ours, said(heard)) <= BAR
    assert error(ours, said(heard[::-1].copy())) > FAR  # else nobody listens


def heard_of(world: World, rows: int) -> Samples:
    """The sound of the turn in the cache: as many samples as it holds rows, from the pre-roll on."""
    tick = next(tick for tick, event in world.log if isinstance(event, SpeechStarted))
    every = np.concatenate([each.samples for each, _, _ in world.ticks])
    first = max(0, tick + 1 - PREROLL_TICKS) * TICK_SAMPLES
    assert rows > 30
    return every[first : first + rows * 640]
