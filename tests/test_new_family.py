"""The family of `examples/new_family`, installed as anybody would install it, beside `transformers` and in the loop."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from liveagent import Agent, tool
from liveagent.action import CallTool, Say
from liveagent.bench.forced import says_the_same
from liveagent.bench.tiny import ids_of
from liveagent.bench.tongues import CHATML_THINKING
from liveagent.errors import ConfigError
from liveagent.event import ReplyStarted
from liveagent.families import family_of, from_outside
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.stack import Stack
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.open_model import load_nets
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.runtime.weighing import fetched, weigh
from tests.parity import BAR, FAR, error, exact, gains, reference, saved, stream
from tests.world import World

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent.parent / "examples" / "new_family"


@pytest.fixture(scope="module", autouse=True)
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where pip put it."""
    folder = tmp_path_factory.mktemp("site")
    copy = shutil.copytree(HERE, tmp_path_factory.mktemp("source") / "new_family")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*pip, "--target", str(folder), str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
        yield folder
    sys.modules.pop("liveagent_qwen3", None)


def tiny(seed: int, gain: bool = True, **options: Any) -> Any:
    transformers = reference()
    sizes: dict[str, Any] = {
        "vocab_size": 199, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "rms_norm_eps": 1e-3,
    }  # fmt: skip
    torch.manual_seed(seed)
    model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**sizes | options)).eval()
    if gain:
        gains(model, seed)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole checkpoint, as a hub lays it out."""
    folder = tmp_path_factory.mktemp("qwen3")
    made = CHATML_THINKING.write(folder)
    return saved(tiny(1, vocab_size=made.get_vocab_size(), tie_word_embeddings=True), folder, "60kB")


def read(folder: Path) -> Stack:
    net: Stack = family_of(Checkpoint.open(folder)).decoder(Checkpoint.open(folder))
    return net


@pytest.mark.parametrize("gain", [False, True], ids=["default", "gains"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_whole_and_streamed_equal_transformers(tmp_path: Path, gain: bool, tied: bool) -> None:
    with exact():
        model = tiny(2, gain, tie_word_embeddings=tied)
        net, ids = read(saved(model, tmp_path, "20kB")), ids_of(3, 60)
        theirs = model(ids).logits[0]
        assert error(net(ids)[0], theirs) < BAR
        assert error(stream(net, net.embed(ids)[0], [1, 8, 3, 32, 16]), theirs) < BAR
        assert says_the_same(net, model)


def test_without_its_norms_it_is_far(tmp_path: Path) -> None:
    with exact():
        model = tiny(4)
        net, ids = read(saved(model, tmp_path)), ids_of(5, 40)
        shape = net.shape
        blocks = tuple(dataclasses.replace(each, qk_norm=False) for each in shape.blocks)
        wrong = Stack(dataclasses.replace(shape, blocks=blocks)).eval()
        wrong.load_state_dict(net.state_dict(), strict=False)
        assert error(wrong(ids)[0], model(ids).logits[0]) > FAR


def test_what_it_has_not_is_refused(tmp_path: Path) -> None:
    saved(tiny(1, use_sliding_window=True, max_window_layers=1, sliding_window=8), tmp_path)
    with pytest.raises(ConfigError, match="see a window"):
        read(tmp_path)


def test_every_command_knows_it(folder: Path) -> None:
    found = next(each for each in from_outside() if each.title == "Qwen3")
    assert found.module == "liveagent_qwen3"
    weighed = weigh(str(folder), bandwidth=lambda _: None)
    assert weighed.family == found and (weighed.cost.family, weighed.cost.licence) == ("qwen3", "Apache-2.0")
    assert fetched(str(folder)) == folder


def test_the_engines_own_process_finds_it(folder: Path) -> None:
    engine = EngineProcess(folder, slots=512)
    engine.start()
    try:
        assert engine.wait().device == "cpu"
    finally:
        engine.close()


@tool(phrases=["(turn|switch) {state} the {room} light"])
async def light(room: Literal["kitchen", "bath"], state: Literal["on", "off"]) -> str:
    """Switch a room's light."""
    return "it is on"


async def test_it_talks_in_the_loop(folder: Path) -> None:
    model = load_nets(folder)
    agent = Agent(str(folder), instructions="Be brief.", tools=[light])
    async with open_session(agent, SessionConfig(), model, use_recogniser=False) as session:
        world = World(session, results=lambda call: "The light is on.")
        world.type("turn on the kitchen light")
        await world.run(1)
        (call,) = world.of(CallTool)
        assert (call.name, call.args) == ("light", {"room": "kitchen", "state": "on"})
        await world.run(30)
        assert world.of(ReplyStarted) and world.of(Say)
        held = model.pieces.decode(list(session.context.ids))
    opened = "<|im_start|>assistant\n<think>\n\n</think>\n\n"
    assert held[held.index("<|im_start|>user\nturn") :].startswith(
        f"<|im_start|>user\nturn on the kitchen light<|im_end|>\n{opened}"
        '<tool_call>\n{"name": "light", "arguments": {"room": "kitchen", "state": "on"}}\n</tool_call><|im_end|>\n'
        f"<|im_start|>user\n<tool_response>\nThe light is on.\n</tool_response><|im_end|>\n{opened}"
    )
