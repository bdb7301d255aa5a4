"""Whisper's folder, good and damaged, and what a transcriber makes of sound; the weights are random."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from liveagent.errors import ConfigError
from liveagent.families import whisper
from liveagent.nn.checkpoint import Checkpoint
from liveagent.nn.transcriber import Marks, Transcriber, Written
from tests import tiny_whisper


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.write(tmp_path_factory.mktemp("whisper"), seconds=2)


@pytest.fixture(scope="module")
def ear(folder: Path) -> Transcriber:
    return whisper.load(folder)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).standard_normal(int(seconds * 16_000)) * 0.1, np.float32)


def test_a_text_with_its_language_and_times(ear: Transcriber) -> None:
    one, again, other = (ear.write(noise(1, seed), most_tokens=160) for seed in (0, 0, 1))
    assert one == again and one.language in tiny_whisper.LANGUAGES
    assert one.ids != other.ids and 0 <= one.no_speech <= 1 and one.logp < 0
    timed = ear.write(noise(1), "de", with_times=True, most_tokens=60)
    assert timed.language == "de" and timed.stretches
    ends = [each for stretch in timed.stretches for each in (stretch.start_s, stretch.end_s) if each is not None]
    assert ends == sorted(ends)
    assert "".join("".join(each.text.split()) for each in timed.stretches) == "".join(timed.text.split())


def test_a_text_is_bounded_and_can_be_cut_short(ear: Transcriber) -> None:
    assert len(ear.write(noise(1), "en", most_tokens=5).ids) <= 5
    assert len(ear.write(noise(1), "en").ids) <= tiny_whisper.PLACES
    asked = iter([True, True, False])
    cut = ear.write(noise(1), "en", go_on=lambda: next(asked))
    assert len(cut.ids) == 2 and not cut.ended


@pytest.mark.parametrize("sound", [np.zeros(0), np.full(16_000, np.nan), np.full(16_000, np.inf), noise(9) * 1e9])
def test_any_sound_is_taken(ear: Transcriber, sound: np.ndarray) -> None:
    written = ear.write(np.asarray(sound, np.float32), "en", most_tokens=3)
    assert np.isfinite(written.logp)


def test_what_was_not_said() -> None:
    said = Written("good morning", (1,), "en", -0.2, 0.1, True)
    assert said.spoken
    assert not Written("good morning", (1,), "en", -1.4, 0.8, True).spoken  # probably silence, and unsure
    assert Written("good morning", (1,), "en", -0.2, 0.8, True).spoken
    assert not Written("thank you " * 30, (1,), "en", -0.1, 0.1, True).spoken  # round and round
    assert not Written("", (), "en", 0.0, 0.1, True).spoken


def test_languages_and_tasks_it_has_not(ear: Transcriber) -> None:
    with pytest.raises(ConfigError, match=r"no language 'xx'; it knows de, en, zh"):
        ear.write(noise(0.2), "xx")
    with pytest.raises(ConfigError, match="no task 'sing'"):
        ear.write(noise(0.2), "en", "sing")
    alone = Marks(1, 0, 2, 3)
    assert alone.prompt(None) == [1, 2] and alone.prompt("en", with_times=True) == [1]
    with pytest.raises(ConfigError, match="English alone"):
        alone.prompt("de")
    with pytest.raises(ConfigError, match="English alone"):
        alone.prompt(None, "translate")


def change(file: str, **changes: Any) -> Callable[[Path], object]:
    def do(folder: Path) -> None:
        said = json.loads((folder / file).read_text())
        said.update(changes)
        (folder / file).write_text(json.dumps({key: value for key, value in said.items() if value != "gone"}))

    return do


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], object]:
    def do(folder: Path) -> None:
        held = load_file(str(folder / "model.safetensors"))
        edit(held)
        save_file(held, str(folder / "model.safetensors"))

    return do


def cut_short(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


QKV = "model.decoder.layers.1.encoder_attn.k_proj.weight"
DAMAGES: list[tuple[str, Callable[[Path], object], str]] = [
    ("another model", change("config.json", architectures=["BertModel"], model_type="bert"), "but BertModel"),
    ("no tokenizer", without("tokenizer.json"), "tokenizer.json is missing"),
    ("a torn tokenizer", lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json is damaged"),
    ("no weights", without("model.safetensors"), "holds neither"),
    ("torn weights", cut_short, "damaged"),
    ("a weight too few", weights(lambda held: held.pop(QKV)), "holds no weights"),
    ("a weight too many", weights(lambda held: held.update({"model.more": torch.ones(1)})), "no Whisper has"),
    ("another width", change("config.json", d_model=64), "config.json"),
    ("no width", change("config.json", d_model="gone"), "d_model None"),
    ("heads that do not fit", change("config.json", encoder_attention_heads=5), "5 heads"),
    ("an activation", change("config.json", activation_function="swish?"), "activation"),
    ("other bands", change("preprocessor_config.json", feature_size=128), "contradicts"),
    ("another rate", change("preprocessor_config.json", sampling_rate=8000), "contradicts"),
    ("no languages", change("generation_config.json", lang_to_id="gone"), "lists no languages"),
    ("a token too far", change("generation_config.json", suppress_tokens=[99_999]), "do not exist"),
    ("code of its own", change("config.json", auto_map={"AutoModel": "x.Y"}), "runs none"),
]


@pytest.mark.parametrize(("damage", "says"), [each[1:] for each in DAMAGES], ids=[each[0] for each in DAMAGES])
def test_a_damaged_folder_says_so_in_one_line(tmp_path: Path, damage: Callable[[Path], object], says: str) -> None:
    damage(tiny_whisper.write(tmp_path, seconds=2))
    with pytest.raises(ConfigError, match=says) as caught:
        whisper.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_may_be_missing(tmp_path: Path, ear: Transcriber) -> None:
    """The oldest folders say nothing of sound; and say of marks only what the tokenizer says too."""
    tiny_whisper.write(tmp_path, seconds=2)
    said = json.loads((tmp_path / "generation_config.json").read_text())
    for key in ("decoder_start_token_id", "eos_token_id", "no_timestamps_token_id"):
        del said[key]
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    assert whisper.load(tmp_path).marks == ear.marks
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ConfigError, match="contradicts"):  # this one's clips are shorter than 30 s
        whisper.load(tmp_path)


@pytest.mark.parametrize(
    ("said", "usual"),
    [
        ({}, None), ({"language": "<|de|>"}, "de"), ({"language": "ZH"}, "zh"),
        ({"language": "german"}, "de"), ({"language": "french"}, None),
        ({"forced_decoder_ids": [[1, "de"], [2, 7]]}, "de"), ({"forced_decoder_ids": [[1, None], [2, 7]]}, None),
        ({"forced_decoder_ids": [[1, "de"]], "task": "transcribe"}, None), ({"forced_decoder_ids": [[2, "de"]]}, None),
        ({"forced_decoder_ids": [[1, "de"]], "language": "zh"}, "zh"), ({"forced_decoder_ids": "de"}, None),
    ],
)  # fmt: skip
def test_the_language_that_a_checkpoint_was_made_for(
    tmp_path: Path, folder: Path, said: dict[str, Any], usual: str | None
) -> None:
    words = tiny_whisper.tokenizer()
    if isinstance(forced := said.get("forced_decoder_ids"), list):
        ids = [[at, words.token_to_id("<|de|>") if each == "de" else each] for at, each in forced]
        said = said | {"forced_decoder_ids": ids}
    file = json.loads((folder / "generation_config.json").read_text())
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "generation_config.json").write_text(json.dumps(file | said))
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    marks = whisper.marks_of(Checkpoint.open(tmp_path), words, words.get_vocab_size())
    assert marks.usual == usual == marks.language(None)
    assert marks.language(None, "en") == (usual or "en") and marks.language(None, "xx") == usual
    assert marks.language("zh") == "zh"


def test_a_language_that_is_asked_for_must_be_known(ear: Transcriber) -> None:
    with pytest.raises(ConfigError, match=r"no language 'xx'; it knows de, en, zh"):
        ear.marks.language("xx")
    alone = Marks(1, 0, 2, 3)
    assert alone.language("en") is None and alone.language(None, "en") is None
    with pytest.raises(ConfigError, match="knows English alone"):
        alone.language("de")
