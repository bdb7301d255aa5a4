"""Gemma 4's decoder against `transformers`: whole, streamed, generating, evicted; and mutations that must be seen."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from liveagent.bench.mutations import NAMES, mutated
from liveagent.bench.naive import Naive
from liveagent.bench.tiny import ids_of, pieces_of, tiny_gemma
from liveagent.errors import ConfigError
from liveagent.families.gemma4 import decoder, text_config
from liveagent.ledger import CachePlan, Hole, Move
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.stack import Stack
from tests.parity import BAR, FAR, error, exact, gains, reference, saved, stream

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with exact():
        yield


def tiny(seed: int, gain: bool = True, **options: Any) -> Any:
    """A random Gemma 4 for text; skips where there is nothing to compare with."""
    reference()
    return tiny_gemma(seed, gain, **options)


@pytest.mark.parametrize("gain", [False, True])
def test_whole_and_streamed_equal_transformers(tmp_path: Path, gain: bool) -> None:
    model = tiny(1, gain)
    net = decoder(Checkpoint.open(saved(model, tmp_path)))
    ids = ids_of(2)
    theirs = model(ids).logits[0]
    assert error(net(ids)[0], theirs) < BAR
    assert error(stream(net, net.embed(ids)[0], pieces_of(3)), theirs) < BAR


@settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, phases=[Phase.generate]
)
@given(data=st.data())
def test_any_legal_configuration(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    heads = data.draw(st.sampled_from([2, 4, 6]))
    kinds = data.draw(st.lists(st.sampled_from(["sliding_attention", "full_attention"]), min_size=2, max_size=5))
    kinds = ["sliding_attention", "full_attention", *kinds, "full_attention"]
    options: dict[str, Any] = {
        "hidden_size": data.draw(st.sampled_from([24, 40])), "num_attention_heads": heads,
        "num_key_value_heads": data.draw(st.sampled_from([each for each in (1, 2, heads) if heads % each == 0])),
        "head_dim": data.draw(st.sampled_from([4, 10])), "global_head_dim": data.draw(st.sampled_from([8, 12])),
        "num_hidden_layers": len(kinds), "layer_types": kinds,
        "num_kv_shared_layers": (shared := data.draw(st.integers(0, len(kinds) - 2))),
        "sliding_window": data.draw(st.sampled_from([1, 2, 7, 64])),
        "hidden_size_per_layer_input": 6 if shared else data.draw(st.sampled_from([0, 6])),  # as transformers wants it
        "use_double_wide_mlp": data.draw(st.booleans()), "attention_bias": data.draw(st.booleans()),
        "attention_k_eq_v": data.draw(st.booleans()),
        "final_logit_softcapping": data.draw(st.sampled_from([None, 25.0])),
        "tie_word_embeddings": data.draw(st.booleans()),
    }  # fmt: skip
    model = tiny(data.draw(st.integers(0, 99)), **options)
    checkpoint = Checkpoint.open(saved(model, tmp_path_factory.mktemp("gemma"), "20kB"))
    net, precise = decoder(checkpoint), decoder(checkpoint, torch.float64)
    ids = ids_of(5, 40)
    theirs = model(ids).logits[0]
    # Some drawn weights blow rounding up: there, their own distance from float64 says what can be asked for.
    bar = max(BAR, 8 * error(theirs, model.double()(ids).logits[0]))
    # Some random networks make much of a rounding error; transformers' own says how much.
    bar = max(BAR, 4 * error(theirs, precise(rows=precise.embed(ids).double())[0]))
    assert bar < FAR
    assert error(net(ids)[0], theirs) < bar
    assert error(stream(net, net.embed(ids)[0], pieces_of(data.draw(st.integers(0, 99)), 40)), theirs) < bar


@pytest.mark.parametrize("layers", [0, 6], ids=["as 31B", "with inputs of each layer"])
def test_where_a_pictures_rows_see_each_other(tmp_path: Path, layers: int) -> None:
    there = reference()
    text = {
        "vocab_size": 199, "hidden_size": 40, "intermediate_size": 56, "num_hidden_layers": 4, "layer_types":
        ["sliding_attention", "full_attention"] * 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10,
        "global_head_dim": 16, "sliding_window": 9, "use_bidirectional_attention": "vision",
        "vocab_size_per_layer_input": 199, "hidden_size_per_layer_input": layers, "num_kv_shared_layers": 0,
    }  # fmt: skip
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2,
              "head_dim": 4, "intermediate_size": 8, "position_embedding_size": 9}  # fmt: skip
    model = there.Gemma4ForConditionalGeneration(
        there.Gemma4Config(text_config=text, vision_config=vision, audio_config=None, image_token_id=198)
    )
    gains(model.eval().model.language_model, 17)
    ids = torch.randint(3, 190, (1, 60), generator=torch.Generator().manual_seed(18))
    pictures = ((5, 12), (30, 20), (52, 1))
    for first, count in pictures:
        ids[0, first : first + count] = 198
    seen = torch.randn(33, 40, generator=torch.Generator().manual_seed(19))
    shown = there.modeling_outputs.BaseModelOutputWithPooling(pooler_output=[seen])
    theirs = model(ids, mm_encoder_outputs={"image": shown}, mm_token_type_ids=(ids == 198).long()).logits[0]
    net = decoder(Checkpoint.open(saved(model, tmp_path)))
    rows, at = net.embed(ids[0]), 0
    for first, count in pictures:
        rows[first : first + count] = net.picture_rows(seen[at : at + count], 0)
        at += count
    assert net.shape.ahead == 280 and rows.shape[1] == 41 + bool(layers)
    assert error(net(rows=rows[None])[0], theirs) < BAR
    assert error(stream(net, rows, [5, 12, 8, 5, 20, 1, 1, 1, 7]), theirs) < BAR
    rows[:, -1] = 0
    assert error(net(rows=rows[None])[0], theirs) > FAR


def test_it_says_the_same_for_64_tokens(tmp_path: Path) -> None:
    model = tiny(7)
    net = decoder(Checkpoint.open(saved(model, tmp_path)))
    ids = ids_of(8, 12)
    theirs = model.generate(ids, max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 12:]
    state = net.init_state(4, 128, back=8)
    x = torch.zeros(4, 12, net.row_width)
    x[2] = net.embed(ids)[0]
    said = [int(net.step(x, [0, 0, 12, 0], state)[2].argmax())]
    while len(said) < 64:
        x = torch.zeros(4, 1, net.row_width)
        x[2, 0] = net.embed(torch.tensor(said[-1]))
        said.append(int(net.step(x, [0, 0, 1, 0], state)[2].argmax()))
    assert said == theirs.tolist()


def test_evicting_and_taking_back_equal_the_oracle(tmp_path: Path) -> None:
    """At random moments, against a list of what is held; windows stay windows of what was written."""
    net = decoder(Checkpoint.open(saved(tiny(11), tmp_path)))
    naive, state, rng = Naive(net), net.init_state(1, 64, back=16), random.Random(4)
    torch.manual_seed(3)
    worst = 0.0
    for _ in range(60):
        held = int(state.length[0])
        if held > 30:
            start = rng.randrange(2, 20)
            plan = CachePlan(holes=(Hole(start, 6),), moves=(Move(0, start, 6),))
            net.evict(plan, 0, state, 0)
            naive.evict(range(start, start + 6))
        elif held > 12 and rng.random() < 0.3:
            length = held - rng.randrange(1, 6)
            state.rewind(0, length)
            naive.rewind(length)
        count = rng.choice((1, 4, 8))
        rows = net.embed(torch.randint(3, 199, (count,)))
        x = torch.zeros(1, 8, net.row_width)
        x[0, :count] = rows
        worst = max(worst, error(net.step(x, [count], state)[0], naive.read(rows, [0.0] * count)))
    assert worst < BAR


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Stack]:
    with torch.inference_mode():
        model = tiny(21)
        return model, decoder(Checkpoint.open(saved(model, tmp_path_factory.mktemp("right"))))


@pytest.mark.parametrize("name", NAMES)
def test_mutations_are_caught(right: tuple[Any, Stack], name: str) -> None:
    model, net = right
    ids = ids_of(22)
    theirs = model(ids).logits[0]
    assert error(net(ids)[0], theirs) < BAR
    wrong = mutated(net, name)
    assert error(wrong(ids)[0], theirs) > FAR
    assert error(stream(wrong, wrong.embed(ids)[0], pieces_of(1)), theirs) > FAR


def test_lower_precision_runs_and_stays_near(tmp_path: Path) -> None:
    net = decoder(Checkpoint.open(saved(tiny(31, gain=False), tmp_path)))
    half = decoder(Checkpoint.open(tmp_path), torch.bfloat16)
    ids = ids_of(32, 24)
    streamed = stream(half, half.embed(ids)[0], [24])
    assert streamed.dtype == torch.bfloat16
    assert error(streamed.float(), net(ids)[0]) < 0.5


@pytest.mark.parametrize(
    ("options", "word"),
    [({"use_bidirectional_attention": "all"}, "looks ahead"), ({"enable_moe_block": True}, "experts")],
)
def test_what_is_not_there_is_refused_by_name(tmp_path: Path, options: dict[str, Any], word: str) -> None:
    saved(tiny(41), tmp_path)
    checkpoint = Checkpoint.open(tmp_path)
    with pytest.raises(ConfigError, match=word):
        text_config(Checkpoint(tmp_path, {**checkpoint.config, **options}, {}))


def test_a_config_that_contradicts_the_weights(tmp_path: Path) -> None:
    saved(tiny(42), tmp_path)
    good = Checkpoint.open(tmp_path)
    with pytest.raises(ConfigError, match="speaks of"):
        decoder(
            Checkpoint(
                tmp_path,
                {**good.config, "intermediate_size": 80},
                dict.fromkeys(good.names, tmp_path / "model.safetensors"),
            )
        )
