"""The bench `parity`: what it compares is near, and what is wrong is far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liveagent.bench import parity
from liveagent.bench.beside import BAR, FAR, exact
from liveagent.bench.mutations import NAMES, mutated
from liveagent.families import gemma4
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.stack import Stack

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def installed() -> None:
    pytest.importorskip("transformers", reason="transformers, which ours is compared with, is not installed")


def test_every_figure_is_there() -> None:
    parts = {name: parity.PARTS[name] for name in ("llama_text", "whisper")}
    found = parity.run(parts)
    errors = {key: each for key, each in found.items() if isinstance(each, float)}
    assert {"worst_whole", "worst_streamed", "llama_text_gains_whole", "whisper_streamed", "whisper_mel"} <= set(errors)
    assert max(errors.values()) <= BAR and min(errors.values()) > 0
    assert found["teacher_forced_equal"] is True
    assert found["mutations_caught"] == f"{len(found['detail']['mutations'])} of {len(NAMES)}"


def test_a_wrong_decoder_is_far(tmp_path: Path) -> None:
    def read(checkpoint: Checkpoint) -> Stack:
        return mutated(gemma4.decoder(checkpoint), "window + 1")

    with exact():
        found = parity._decoder(parity.tiny_gemma, read, tmp_path, True)
    assert min(found.values()) > FAR


def test_a_class_that_transformers_lacks_is_null() -> None:
    def lacks(folder: Path, gain: bool) -> dict[str, Any]:
        raise ModuleNotFoundError("No module named 'transformers.models.none'")

    found = parity.run({"llama_text": parity.PARTS["llama_text"], "none": lacks})
    assert found["none_whole"] is None and found["none_gains_streamed"] is None
