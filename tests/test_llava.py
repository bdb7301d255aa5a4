"""LLaVA whole, a question about a picture: their model with its picture against our eye's rows in our decoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from liveagent.errors import ConfigError
from liveagent.families import family_of, llava
from liveagent.nn.checkpoint import Checkpoint
from tests.parity import BAR, FAR, error, exact, gains, reference, saved, stream
from tests.test_llava_eye import PX, SIDE, light, pictures, processor, tower_config

pytestmark = pytest.mark.slow
PICTURE = 5


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_question_about_a_picture_equals_transformers(tmp_path: Path, kind: str) -> None:
    transformers = reference()
    with exact():
        torch.manual_seed(1)
        config = transformers.LlavaConfig(
            vision_config=tower_config(kind), image_token_index=PICTURE,
            text_config=transformers.LlamaConfig(
                hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, vocab_size=61,
            ),
        )  # fmt: skip
        model = transformers.LlavaForConditionalGeneration(config).eval()
        gains(model, 3)
        saved(model, tmp_path)
        (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor(kind, PX * SIDE)))
        checkpoint = Checkpoint.open(tmp_path)
        assert family_of(checkpoint) is llava
        eye, net = llava.eye(checkpoint), llava.decoder(checkpoint)
        rows = eye(pictures(1))[0]
        ids = torch.cat([torch.tensor([1, 9, 8]), torch.full((len(rows),), PICTURE), torch.arange(10, 24)])
        pixels = light(kind, pictures(1))
        assert pixels.shape[-1] == PX * SIDE
        theirs = model(input_ids=ids[None], pixel_values=pixels).logits[0]
        ours = net.embed(ids)
        ours[3 : 3 + len(rows)] = net.rows(rows, PICTURE)
        assert error(net(rows=ours[None])[0], theirs) < BAR
        assert error(stream(net, ours, [1, 32, 8, 32, 32]), theirs) < BAR
        wrong = ours.clone()
        wrong[3 : 3 + len(rows)] = net.rows(rows, PICTURE).roll(1, 0)  # a picture that is shifted by a patch
        assert error(net(rows=wrong[None])[0], theirs) > FAR


def test_another_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no Llama"):
        llava.decoder(Checkpoint(tmp_path, {"text_config": {"model_type": "qwen2"}}, {}))
