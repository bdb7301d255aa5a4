"""A model looked at, weighed and fetched or refused: in Python and from the command line. A hub of our own, as in
test_hub.py; no weights of anybody's."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import huggingface_hub
import pytest
import torch
from safetensors.torch import save
from typer.testing import CliRunner

from liveagent import Agent, ConfigError, DeviceError, LinkError, tool
from liveagent.cli import app
from liveagent.cli.models import with_model
from liveagent.families import FAMILIES
from liveagent.plan import CACHE_TOKENS, OPEN_TOKENS, PROCESS_BYTES
from liveagent.ports.bandwidth import memory_bandwidth
from liveagent.release import CONFIG, WHOLE
from liveagent.runtime import weighing
from liveagent.runtime.engine_process import EngineProcess
from liveagent.runtime.open_model import load_nets
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.weighing import fetched, free_bytes, is_checkpoint_name, sorts_on, weigh, weigh_ear
from tests.hub_peer import FakeHub

runner = CliRunner()
GEMMA, EAR, ODD = "owner/gemma", "owner/whisper", "owner/bert"
TEXT = {
    "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16,
    "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 8, "global_head_dim": 32,
    "max_position_embeddings": 524_288,
}  # fmt: skip


def config(architecture: str, **more: Any) -> bytes:
    return json.dumps({"architectures": [architecture], **more}).encode()


WEIGHTS = {"model.language_model.embed_tokens.weight": torch.zeros(500, 64, dtype=torch.bfloat16)}
CLIP = {"decoder_layers": 2, "d_model": 64, "max_source_positions": 100, "max_target_positions": 28}
MODELS = {
    GEMMA: {CONFIG: config("Gemma4ForConditionalGeneration", text_config=TEXT), WHOLE: save(WEIGHTS)},
    EAR: {CONFIG: config("WhisperForConditionalGeneration", **CLIP), WHOLE: save(WEIGHTS)},
    ODD: {CONFIG: config("BertModel"), WHOLE: save(WEIGHTS)},
}


@pytest.fixture(autouse=True)
def peer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "theirs"))
    monkeypatch.setattr("liveagent.ports.hub_line.get_token", lambda: None)
    monkeypatch.setattr("liveagent.ports.bandwidth.BYTES", 1 << 20)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with FakeHub(MODELS) as peer:
        monkeypatch.setenv("HF_ENDPOINT", peer.url)
        yield peer
    huggingface_hub.close_session()


def set_live(monkeypatch: pytest.MonkeyPatch, live: str) -> None:
    changed = [dataclasses.replace(each, live=live) if each.name == "gemma4" else each for each in FAMILIES]
    monkeypatch.setattr("liveagent.families.FAMILIES", tuple(changed))


def test_which_names_mean_a_checkpoint(tmp_path: Path) -> None:
    assert is_checkpoint_name("owner/name") and is_checkpoint_name("owner/name@v1")
    assert not is_checkpoint_name("nano") and not is_checkpoint_name(str(tmp_path)) and not is_checkpoint_name("./a/b")
    (tmp_path / CONFIG).write_text("{}")
    assert is_checkpoint_name(str(tmp_path))


@pytest.mark.slow
def test_a_plan_reads_small_files_alone_and_says_what_it_costs(peer: FakeHub) -> None:
    cost = Agent(GEMMA).plan().cost
    assert cost is not None
    assert (cost.model, cost.family, cost.licence, cost.dtype) == (GEMMA, "gemma4", "apache-2.0", "float32")
    assert cost.download_bytes == len(MODELS[GEMMA][WHOLE]) and cost.cache_tokens == OPEN_TOKENS and cost.lanes == 4
    assert cost.weights == {"decoder": 500 * 64 * 4} and cost.fits in (True, None)
    assert cost.bandwidth is not None and cost.tick_ms == 80.0
    again = cost.weights_bytes if sorts_on("cpu", "float32") else 0
    assert cost.memory_bytes == cost.weights_bytes + again + cost.cache_bytes + PROCESS_BYTES
    assert peer.sent[WHOLE] < len(MODELS[GEMMA][WHOLE]) or len(MODELS[GEMMA][WHOLE]) < 1 << 17
    rounded = Agent(GEMMA, dtype="bfloat16", quantize="int8").plan(cache_tokens=512).cost
    assert rounded is not None and rounded.weights == {"decoder": 500 * 64 + 500 * 2} and rounded.cache_tokens == 512
    assert Agent().plan().cost is None


def test_the_usual_cache_is_a_sessions_own() -> None:
    assert SessionConfig().slots == CACHE_TOKENS


def test_what_does_not_fit_names_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    full = weigh(GEMMA, bandwidth=lambda _: None).cost
    monkeypatch.setattr(weighing, "free_memory", lambda: full.memory_bytes - 1)
    told = weigh(GEMMA, bandwidth=lambda _: None).cost
    assert told.fits is False and told.instead[0].startswith("a cache of 4096 tokens")
    assert any(each.startswith("bfloat16 (") for each in told.instead)
    monkeypatch.setattr(weighing, "free_memory", lambda: 1000)
    assert weigh(GEMMA, bandwidth=lambda _: None).cost.instead == ()


def test_it_is_refused_before_a_byte_of_weights_comes(peer: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_live(monkeypatch, "talks")
    monkeypatch.setattr(weighing, "free_memory", lambda: 1000)
    before = peer.sent.get(WHOLE, 0)
    with pytest.raises(DeviceError, match=f"{GEMMA} needs 0.6 GB of memory, and 0.0 GB are free; take a smaller model"):
        fetched(GEMMA)
    assert peer.sent[WHOLE] - before <= 1 << 17
    assert not [path for _, path, span, _ in peer.asked if path.endswith(WHOLE) and not span.startswith("bytes=0-")]


@pytest.mark.parametrize(
    ("name", "kind", "says"),
    [
        (ODD, ConfigError, "is a BertModel, which liveagent does not know: choose one of"),
        (EAR, ConfigError, "is a Whisper, which only hears"),
        ("owner/none", ConfigError, "has no model owner/none"),
        (GEMMA, ConfigError, "is a Gemma 4, which liveagent can read and not talk with yet: choose one of nano"),
    ],
)
def test_what_cannot_talk_is_refused(
    peer: FakeHub, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[Exception], says: str
) -> None:
    set_live(monkeypatch, "")
    for command in ("talk", "serve"):
        result = runner.invoke(app, [command, "--model", name])
        assert result.exit_code == 2 and says in result.stderr and result.stderr.count("\n") == 1
    with pytest.raises(kind, match=says):
        with_model(Agent(), name)
    assert not [path for _, path, span, _ in peer.asked if path.endswith(WHOLE) and not span.startswith("bytes=0-")]


def test_what_can_is_fetched_and_its_folder_is_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    set_live(monkeypatch, "talks")
    told: list[tuple[str, int, int]] = []
    folder = fetched(GEMMA, progress=lambda *each: told.append(each))
    assert (folder / WHOLE).read_bytes() == MODELS[GEMMA][WHOLE] and told[-1][1] == told[-1][2]
    assert with_model(Agent(), GEMMA).model == str(folder) == with_model(Agent(GEMMA), None).model
    assert with_model(Agent(), str(folder)).model == str(folder) == Agent(GEMMA).fetch().model
    nano = Agent()
    assert nano.fetch() is nano
    assert with_model(Agent(), None).model == "nano" == with_model(Agent(), "nano").model
    assert with_model(Agent(), "some/weights/folder").model == "some/weights/folder"


def test_a_device_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="torch finds no GPU here"):
        free_bytes("cuda")
    assert weighing.memory_bandwidth("mps") is None


def test_the_bandwidth_is_measured() -> None:
    assert 1e7 < memory_bandwidth(1 << 20) < 1e14


@pytest.mark.slow
def test_plan_on_the_command_line(peer: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    said = runner.invoke(app, ["plan", GEMMA]).output
    for each in (
        f"model      {GEMMA}",
        "licence    apache-2.0",
        "download",
        "memory",
        "as float32",
        "tick",
        "an estimate",
    ):
        assert each in said
    assert "tools" not in said
    both = runner.invoke(app, ["plan", "voice", "--model", GEMMA, "--dtype", "bfloat16", "--quantize", "int8"]).output
    assert "as bfloat16 and int8" in both and "tools      light" in both
    monkeypatch.setattr(weighing, "free_memory", lambda: 1000)
    assert "it does not fit" in runner.invoke(app, ["plan", GEMMA]).output
    cost = json.loads(runner.invoke(app, ["plan", GEMMA, "--json"]).output)["cost"]
    assert cost["fits"] is False and cost["memory_bytes"] > cost["weights_bytes"] and cost["step_ms"] > 0
    assert json.loads(runner.invoke(app, ["plan", "--json"]).output)["cost"] is None
    wrong = runner.invoke(app, ["plan", GEMMA, "--quantize", "int3"])
    assert wrong.exit_code == 2 and "give one of int8, int4" in wrong.stderr
    peer.status = 503
    assert runner.invoke(app, ["plan", GEMMA]).exit_code == 4


def test_models_on_the_command_line() -> None:
    said = runner.invoke(app, ["models"]).output
    for family in FAMILIES:
        assert family.title in said and all(member.name in said for member in family.members)
    assert "real weights run: no" in said and "real weights run: yes" not in said
    listed = json.loads(runner.invoke(app, ["models", "--json"]).output)
    assert [each["name"] for each in listed] == [each.name for each in FAMILIES] and all(
        each["state"] for each in listed
    )


def test_a_hub_that_breaks_off_while_it_is_fetched(peer: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    set_live(monkeypatch, "talks")
    monkeypatch.setattr("liveagent.ports.hub_file.RETRY_S", ())
    peer.cut[WHOLE] = [0]
    with pytest.raises(LinkError, match="cannot be reached"):
        fetched(GEMMA)


@pytest.mark.slow
def test_a_model_by_its_hub_name_is_fetched_and_talks(
    tmp_path: Path, peer: FakeHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From `Agent("owner/name").talk()` to a call of a tool, with a checkpoint that `transformers` wrote."""
    from tests.open_checkpoint import write

    files = {each.name: each.read_bytes() for each in write(tmp_path / "made").iterdir()}
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # which importing transformers has set
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    peer.models = {GEMMA: files | {"modeling_gemma.py": b"raise SystemExit"}}
    called = []

    @tool(phrases=["(turn|switch) {state} the {room} light"])
    async def light(room: Literal["kitchen", "bath"], state: Literal["on", "off"]) -> str:
        """Switch a room's light."""
        called.append((room, state))
        return "it is on"

    agent = Agent(GEMMA, tools=[light], voice=None, dtype="bfloat16", quantize="int8")
    agent.talk(typed=["turn on the kitchen light"])
    assert called == [("kitchen", "on")]
    assert "light" in capsys.readouterr().out
    sent = {name for name, size in peer.sent.items() if size}
    assert "chat_template.jinja" in sent and len([each for each in sent if each.endswith(".safetensors")]) > 1
    assert "modeling_gemma.py" not in sent
    engine = EngineProcess(agent.fetch().model, slots=256, dtype="bfloat16", quantize="int4")
    engine.start()
    try:
        assert engine.wait().weights_bytes > 0
    finally:
        engine.close()
    with pytest.raises(ConfigError, match="nano's weights are as they are"):
        load_nets(None, quantize="int8")


def test_what_a_session_holds_is_weighed_and_no_longer_than_its_places(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, long = Agent(GEMMA).plan().cost, Agent(GEMMA, cache_tokens=20_000).plan(lanes=8).cost
    assert usual is not None and long is not None and long.cache_tokens == 20_000 and long.lanes == 8
    assert long.cache_bytes > 2 * 20_000 / OPEN_TOKENS * 0.9 * usual.cache_bytes
    monkeypatch.setattr(weighing, "free_memory", lambda: usual.memory_bytes)
    set_live(monkeypatch, "talks")
    for command in ("talk", "serve"):
        told = runner.invoke(app, [command, "--model", GEMMA, "--cache-tokens", "400000"])
        assert told.exit_code == 3 and "these would fit: a cache of 1536 tokens (" in told.stderr
    with pytest.raises(ConfigError, match=f"{GEMMA} reads 524288 tokens at most, and not 524289"):
        fetched(GEMMA, cache_tokens=524_289)


@pytest.mark.slow
def test_a_pretrained_ear_is_weighed_beside_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weighing, "free_memory", lambda: 1 << 40)
    ear = weigh_ear(EAR)
    again = ear.weights_bytes if sorts_on("cpu", "float32") else 0
    clip = 2 * 2 * 64 * (100 + 28) * 4
    assert (ear.model, ear.dtype, ear.weights) == (EAR, "float32", {"ear": 500 * 64 * 4})
    assert ear.memory_bytes == ear.weights_bytes + again + clip + PROCESS_BYTES and ear.cache_bytes == clip
    alone, both = Agent(GEMMA).plan(), Agent(GEMMA, ear=EAR).plan()
    assert alone.ear is None and alone.cost is not None and both.cost is not None and both.ear == both.cost.ear
    assert both.cost.memory_bytes == alone.cost.memory_bytes + ear.memory_bytes
    nano = Agent(ear=EAR).plan()
    assert nano.cost is None and nano.ear is not None and nano.ear.weights == ear.weights
    with pytest.raises(ConfigError, match=f"{GEMMA} is a Gemma 4, which is no ear"):
        weigh_ear(GEMMA)
    monkeypatch.setattr(weighing, "free_memory", lambda: alone.cost.memory_bytes if alone.cost else 0)
    told = Agent(GEMMA, ear=EAR).plan().cost
    assert told is not None and told.fits is False and told.instead[-1].startswith("no --ear (0.6 GB)")


def test_serve_and_talk_refuse_an_ear_that_has_no_room(monkeypatch: pytest.MonkeyPatch, peer: FakeHub) -> None:
    set_live(monkeypatch, "talks")
    room = weigh(GEMMA, bandwidth=lambda _: None).cost.memory_bytes
    monkeypatch.setattr(weighing, "free_memory", lambda: room)
    for command in ("talk", "serve"):
        told = runner.invoke(app, [command, "--model", GEMMA, "--ear", EAR])
        assert told.exit_code == 3 and f"{GEMMA} with the ear {EAR} needs 1.2 GB of memory" in told.stderr
    monkeypatch.setattr(weighing, "free_memory", lambda: 1000)
    for command in ("talk", "serve"):
        told = runner.invoke(app, [command, "voice", "--ear", EAR])
        assert told.exit_code == 3 and f"{EAR} needs 0.6 GB of memory, and 0.0 GB are free" in told.stderr
    said = runner.invoke(app, ["plan", GEMMA, "--ear", EAR]).output
    for each in (f"ear        {EAR}", "both       1.2 GB at most", "it does not fit", "a clip 0.1 MB"):
        assert each in said
    both = json.loads(runner.invoke(app, ["plan", GEMMA, "--ear", EAR, "--json"]).output)
    assert both["ear"]["model"] == EAR and both["cost"]["memory_bytes"] > both["cost"]["own_bytes"]
    heard = runner.invoke(app, ["plan", "voice", "--ear", EAR]).output
    assert f"ear        {EAR}" in heard and "model      nano" in heard and "it does not fit" in heard
