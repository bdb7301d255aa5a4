"""The ear: its file, its block, what it refuses; and that training code and live code read sound alike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from liveagent.errors import ConfigError
from liveagent.nn.ear import OLD_NAMES, Ear, EarConfig
from liveagent.nn.pieces import Pieces
from liveagent.train.augment import Scene, tempo
from liveagent.train.batches import align
from liveagent.train.ear import edits, greedy
from liveagent.train.sentences import Sentences
from liveagent.train.speech import pieces_file, tool_files
from tests.laws import small_ear


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces.load(pieces_file())


def test_step_shapes() -> None:
    ear = small_ear()
    state = ear.init_state(5)
    heard = ear.step(torch.randn(5, 2560), state, torch.ones(5, dtype=torch.bool))
    assert heard.logp.shape == (5, 4, 31) and heard.hidden.shape == (5, 4, 32) and heard.kind.shape == (5, 4, 4)
    torch.testing.assert_close(heard.logp.exp().sum(-1), torch.ones(5, 4))


def test_a_wrong_block_is_refused() -> None:
    ear = small_ear()
    with pytest.raises(ValueError, match="2560"):
        ear.step(torch.zeros(4, 1280), ear.init_state(4), torch.ones(4, dtype=torch.bool))


def test_nothing_is_looked_ahead_beyond_the_block() -> None:
    ear = small_ear()
    torch.manual_seed(1)
    x = torch.randn(1, 2560 * 30)
    changed = x.clone()
    changed[:, 2560 * 20 :] = 0
    with torch.no_grad():
        a, b = ear(x).logp, ear(changed).logp
    assert torch.equal(a[:, :80], b[:, :80]) and not torch.equal(a[:, 80], b[:, 80])


def test_left_context_ends() -> None:
    """What is older than every block's reach changes nothing: the state is all the memory there is."""
    ear = small_ear()  # 3 blocks of 12 + 4 tokens, convolutions within: under 80 tokens in all
    torch.manual_seed(1)
    x = torch.randn(1, 2560 * 40)
    changed = x.clone()
    changed[:, :2560] = 0
    with torch.no_grad():
        a, b = ear(x).logp, ear(changed).logp
    assert not torch.equal(a[:, :8], b[:, :8])
    torch.testing.assert_close(a[:, -4:], b[:, -4:], rtol=0, atol=1e-6)


def test_the_training_path_is_the_forward_path() -> None:
    ear = small_ear()
    torch.manual_seed(2)
    x = torch.randn(2, 2560 * 6) * 0.1
    with torch.no_grad():
        heard, middle = ear.hear(ear.mel.nearly(x), tap=1)
        torch.testing.assert_close(heard.logp, ear(x).logp, rtol=0, atol=1e-4)
    assert middle is not None and middle.shape == heard.logp.shape


def test_saved_and_loaded(tmp_path: Path) -> None:
    ear = small_ear()
    ear.save(tmp_path / "ear.safetensors")
    again = Ear.load(tmp_path / "ear.safetensors")
    assert again.config == ear.config and not again.training
    for a, b in zip(ear.parameters(), again.parameters(), strict=True):
        assert torch.equal(a.half().float(), b)


def test_weights_written_before_the_stem_had_a_name_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ear.safetensors"
    small_ear().save(path)
    with safe_open(str(path), framework="pt") as file:
        meta = file.metadata()
    weights = load_file(str(path))
    for old, new in OLD_NAMES.items():
        for end in ("weight", "bias"):
            weights[old + end] = weights.pop(new + end)
    save_file(weights, str(path), metadata=meta)
    now = small_ear().state_dict()
    assert all(torch.equal(now[name].half().float(), tensor) for name, tensor in Ear.load(path).state_dict().items())


def _missing(path: Path) -> None:
    path.unlink()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def _rubbish(path: Path) -> None:
    path.write_bytes(b"not a safetensors file at all")


def _other_version(path: Path) -> None:
    weights = load_file(str(path))
    save_file(weights, str(path), metadata={"format": "liveagent.ear", "version": "999", "config": "{}"})


def _other_thing(path: Path) -> None:
    save_file({"x": torch.zeros(3)}, str(path))


def _other_shape(path: Path) -> None:
    weights = load_file(str(path))
    config = {"pieces": 31, "width": 64, "layers": 3, "heads": 2, "stem": 4, "left": 12, "kernel": 5}
    meta = {"format": "liveagent.ear", "version": "1", "config": json.dumps(config)}
    save_file(weights, str(path), metadata=meta)


@pytest.mark.parametrize("spoil", [_missing, _truncated, _rubbish, _other_version, _other_thing, _other_shape])
def test_a_bad_file_says_what_to_do(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "ear.safetensors"
    small_ear().save(path)
    assert callable(spoil)
    spoil(path)
    with pytest.raises(ConfigError, match=r"ear\.safetensors.*(fetch|export|train)"):
        Ear.load(path)


def test_pieces_give_back_every_text(pieces: Pieces) -> None:
    source = Sentences(tool_files(), 5)
    for _ in range(300):
        text = source.next()
        ids = pieces.encode(text)
        assert pieces.decode(ids) == text
        assert set(ids) <= set(pieces.ear_ids)
    for text in ("The light is on.", "42% of it: <user> x=y", "Grüße, 世界 \U0001f600!", "a  b"):
        assert pieces.decode(pieces.encode(text)) == text


def test_a_users_words_cannot_become_specials(pieces: Pieces) -> None:
    ids = pieces.encode("hello <call> light <end>")
    assert pieces.id("<call>") not in ids and pieces.id("<end>") not in ids
    assert pieces.encode("<user> hello <end>", specials=True) == [
        pieces.id("<user>"), *pieces.encode("hello"), pieces.id("<end>"),
    ]  # fmt: skip


def test_pieces_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make it"):
        Pieces.load(tmp_path / "pieces.json")
    (tmp_path / "pieces.json").write_text(pieces_file().read_text()[:500])
    with pytest.raises(ConfigError, match="damaged"):
        Pieces.load(tmp_path / "pieces.json")
    (tmp_path / "pieces.json").write_text('{"version": 99}')
    with pytest.raises(ConfigError, match="version"):
        Pieces.load(tmp_path / "pieces.json")


def test_greedy_merges_repeats_and_drops_blanks(pieces: Pieces) -> None:
    hello = pieces.encode("hello")
    path = [0, 0, *[i for p in hello for i in (p, p, 0)], 0]
    logp = torch.nn.functional.one_hot(torch.tensor(path), pieces.ear_vocab).float()
    assert greedy(logp, pieces) == "hello"


def test_edits() -> None:
    assert edits("a b c".split(), "a b c".split()) == 0
    assert edits("a b c".split(), "a x c d".split()) == 2
    assert edits("a b c".split(), []) == 3


def test_aligned_labels_say_the_text(pieces: Pieces) -> None:
    """Reading the frame labels as CTC would gives the text, so they are a path the loss can start from."""
    text = "turn on the light"
    marks = [(0, 16_000), (8, 24_000), (len(text), 48_000)]
    scene = Scene(np.zeros(64_000, np.float32), [text], [(16_000, 48_000, marks)], np.zeros(100))
    ids, labels = align(scene, pieces, 100)
    assert ids == pieces.encode(text)
    path = torch.nn.functional.one_hot(torch.from_numpy(labels), pieces.ear_vocab).float()
    assert greedy(path, pieces) == text
    assert (labels[:25] == 0).all() and (labels[80:] == 0).all()


def test_tempo_keeps_pitch() -> None:
    t = np.arange(16_000, dtype=np.float32) / 16_000
    y = tempo(np.sin(2 * np.pi * 220 * t).astype(np.float32), 1.25)
    assert abs(len(y) - 12_800) < 700
    spectrum = np.abs(np.fft.rfft(y[1000:-1000] * np.hanning(len(y) - 2000)))
    assert abs(spectrum.argmax() * 16_000 / (len(y) - 2000) - 220) < 4


def test_sentences_are_seeded_and_mostly_not_commands() -> None:
    a, b = Sentences(tool_files(), 9), Sentences(tool_files(), 9)
    texts = [a.next() for _ in range(400)]
    assert texts == [b.next() for _ in range(400)]
    assert all(set(t) <= set("abcdefghijklmnopqrstuvwxyz' ") for t in texts)
    commands = {Sentences(tool_files(), seed).command() for seed in range(20)}
    assert len(commands) > 10


def test_configs_compare_by_value() -> None:
    assert EarConfig(pieces=31) == EarConfig(pieces=31) != EarConfig(pieces=32)
