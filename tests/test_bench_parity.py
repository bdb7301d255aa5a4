"""The bench `parity`: what it compares is near, and what is wrong is far."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from liveagent.bench import forced, parity, prepared, tiny, written
from liveagent.bench.beside import BAR, FAR, exact
from liveagent.bench.mutations import NAMES, mutated
from liveagent.bench.talks import TALK
from liveagent.bench.tiny import tiny_gemma
from liveagent.bench.tongues import CHATML_THINKING, TONGUES
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
    assert found["teacher_forced_equal"] is True and set(found["detail"]["teacher_forced"]) == set(forced.FAMILIES)
    assert found["mutations_caught"] == f"{len(found['detail']['mutations'])} of {len(NAMES)}"
    processors, template = found["processors"], found["template"]
    assert {*prepared.SOUNDS, *prepared.PICTURES} <= set(processors)
    assert processors["worst"] == found["worst_processor"] <= BAR
    assert processors["worst_pillow_steps"] < prepared.MOST_STEPS
    assert processors["not_caught"] == template["not_caught"] == []
    assert found["template_equal"] is True and all(template[name]["equal"] for name in TONGUES)


def test_words_pictures_and_sound_in_one_prompt(tmp_path: Path) -> None:
    with exact():
        found = parity.compared({"gemma4_unified": parity.PARTS["gemma4_unified"]}, tmp_path)
    assert max(each or 1.0 for each in found.values()) <= BAR and len(found) == 4


def test_a_wrong_decoder_is_far(tmp_path: Path) -> None:
    def read(checkpoint: Checkpoint) -> Stack:
        return mutated(gemma4.decoder(checkpoint), "window + 1")

    with exact():
        found = parity._decoder(tiny_gemma, read, tmp_path, True)
        assert not forced._words(tiny_gemma, read, tmp_path / "forced")
    assert min(found.values()) > FAR


@pytest.mark.parametrize("family", ["llava_siglip", "gemma4_heard", "gemma4_unified"])
def test_who_sees_or_hears_something_else_says_something_else(tmp_path: Path, family: str) -> None:
    makes = {
        "llava_siglip": (lambda folder: tiny.llava("siglip", folder, True), forced.Asked.of_llava),
        "gemma4_heard": (lambda folder: tiny.heard_gemma(folder, True), forced.Asked.of_gemma),
        "gemma4_unified": (lambda folder: tiny.unified(folder, True), forced.Asked.of_unified),
    }
    made, asked = makes[family]
    with exact():
        right = asked(*made(tmp_path))
        assert right.same(16)
        assert not dataclasses.replace(right, rows=right.rows.flip(0)).same(16)
        assert len(set(forced.drawn(right.theirs, right.ids, 32, right.words)[1].tolist())) > 4, "it says one thing"


def test_a_class_that_transformers_lacks_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(*_: Any) -> Any:
        raise ModuleNotFoundError("No module named 'transformers.models.none'")

    with exact():
        found = parity.compared({"llama_text": parity.PARTS["llama_text"], "none": lacks}, tmp_path)
    assert found["none_whole"] is None and found["none_gains_streamed"] is None and found["llama_text_whole"]
    monkeypatch.setattr(forced, "FAMILIES", {"none": lacks})
    assert forced.compared(tmp_path) == {"none": None}


def test_pictures_are_not_compared_with_what_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared, "_processor", lambda *_: None)
    seen = prepared.PICTURES["gemma4_picture"](tmp_path)
    figures, mistakes = prepared._pictures("x", seen)
    assert set(figures.values()) == {None} and not list(mistakes)


def test_what_the_agents_turn_was_opened_with_stays_and_is_said_to_stay(tmp_path: Path) -> None:
    tongue = CHATML_THINKING
    tongue.write(tmp_path)
    chat, there = written.chat_of(tmp_path, tongue), written.theirs(written.tokenizer_of(tmp_path), tongue, TALK)
    kept = chat.tokens.marked(tongue.keeps)
    assert written.ours(chat, TALK, kept) == there
    ours = written.ours(chat, TALK)
    asked = sum(kind in ("user", "result") for kind, _ in TALK)
    assert len(ours) - len(there) == (asked - 1) * len(kept), "in front of each reply but the one that is to come"
    assert torch.equal(torch.tensor(ours[-len(kept) :]), torch.tensor(kept))
