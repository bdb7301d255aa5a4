"""Llama's decoder against `transformers`: the same blocks as Gemma's and nano's, with other options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from liveagent.errors import ConfigError
from liveagent.families.llama import decoder, text_config
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.rotary import Rope
from liveagent.nn.stack import Stack
from tests.parity import BAR, FAR, error, exact, gains, reference, saved, stream

pytestmark = pytest.mark.slow

KINDS: dict[str, dict[str, Any]] = {
    "as Llama 2": {"num_key_value_heads": 4},
    "as Llama 3": {"num_key_value_heads": 2, "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
    "with biases": {"attention_bias": True, "tie_word_embeddings": True, "head_dim": 10},
    "stretched": {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
}


def tiny(seed: int, **options: Any) -> Any:
    transformers = reference()
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=151, hidden_size=32, intermediate_size=56, num_hidden_layers=3, num_attention_heads=4,
            rms_norm_eps=1e-3, **options,
        )
    ).eval()  # fmt: skip
    gains(model, seed)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_whole_streamed_and_generating_equal_transformers(tmp_path: Path, kind: str) -> None:
    with exact():
        model = tiny(1, **KINDS[kind])
        net = decoder(Checkpoint.open(saved(model, tmp_path, "20kB")))
        ids = torch.randint(3, 151, (1, 60), generator=torch.Generator().manual_seed(2))
        theirs = model(ids).logits[0]
        assert error(net(ids)[0], theirs) < BAR
        assert error(stream(net, net.embed(ids)[0], [1, 8, 3, 32, 16]), theirs) < BAR
        said = model.generate(ids[:, :9], max_new_tokens=64, do_sample=False, eos_token_id=None, pad_token_id=0)[0]
        assert [int(net(said[None, :at])[0, -1].argmax()) for at in range(9, 73)] == said[9:].tolist()


@pytest.mark.parametrize("what", ["rope base", "eps", "gate and up"])
def test_mutations_are_caught(tmp_path: Path, what: str) -> None:
    from dataclasses import replace

    with exact():
        model = tiny(3, num_key_value_heads=2)
        net = decoder(Checkpoint.open(saved(model, tmp_path)))
        ids = torch.randint(3, 151, (1, 40), generator=torch.Generator().manual_seed(4))
        theirs = model(ids).logits[0]
        shape, weights = net.shape, dict(net.state_dict())
        if what == "rope base":
            shape = replace(shape, rope=Rope(shape.rope.base * 1.1))
        elif what == "eps":
            shape = replace(shape, blocks=tuple(replace(each, norm_eps=2e-3) for each in shape.blocks))
        else:
            weights["layers.1.gate_up.weight"] = weights["layers.1.gate_up.weight"].roll(56, 0)
        wrong = Stack(shape).eval()
        wrong.load_state_dict(weights)
        assert error(net(ids)[0], theirs) < BAR
        assert error(wrong(ids)[0], theirs) > FAR


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hidden_act": "gelu"}, "feed-forward"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4}}, "llama3"),
        ({"num_attention_heads": 0}, "no Llama's"),
        ({"hidden_size": None}, "no Llama's"),
    ],
)
def test_what_is_not_there_is_refused(change: dict[str, Any], why: str) -> None:
    config = {
        "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "rms_norm_eps": 1e-5,
    }  # fmt: skip
    text_config(config, "here")
    with pytest.raises(ConfigError, match=why):
        text_config(config | change, "here")
