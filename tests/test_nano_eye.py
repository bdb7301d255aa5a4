"""nano with an eye: loaded with it, without it, and with one that is damaged or of another size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from liveagent.errors import ConfigError, DeviceError
from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.ear import Ear, EarConfig
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.model import EYE_FILE
from liveagent.nn.nano import Nano
from liveagent.nn.pieces import Pieces
from liveagent.nn.vit import VitConfig
from liveagent.sight import CELLS, WIDTH
from tests.nano import PIECES as PIECES_FILE

PIECES = Pieces.load(PIECES_FILE)


def decoder(sight_width: int) -> Decoder:
    return Decoder(DecoderConfig(PIECES.vocab_size, width=32, layers=1, heads=2, hidden=32, sight_width=sight_width))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole weights folder, with small random networks and an eye."""
    torch.manual_seed(0)
    (tmp_path / "pieces.json").write_bytes(PIECES_FILE.read_bytes())
    ear = EarConfig(pieces=PIECES.ear_vocab, pieces_hash=PIECES.hash, width=32, layers=1, heads=2, stem=4)
    Ear(ear).save(tmp_path / "ear.safetensors")
    decoder(WIDTH).save(tmp_path / "decoder.safetensors", PIECES.hash)
    Eye(EyeConfig(VitConfig(width=16, layers=1, heads=1, times=1, stem=2), hidden=8)).save(tmp_path / EYE_FILE)
    return tmp_path


def test_an_eye_is_loaded_with_the_rest_and_counts_for_the_fingerprint(folder: Path) -> None:
    seeing = Nano.load(folder)
    assert seeing.eye is not None and seeing.sees
    assert not any(p.requires_grad for p in seeing.eye.parameters())
    rows = seeing.seen_rows(torch.zeros(CELLS, WIDTH), torch.arange(CELLS))
    assert rows.shape == (CELLS, 32) and not torch.equal(rows[0], rows[1])  # a cell says where it is
    (folder / EYE_FILE).unlink()
    blind = Nano.load(folder)
    assert blind.eye is None and not blind.sees
    assert blind.fingerprint != seeing.fingerprint


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_an_eye_cut_short_is_a_config_error(folder: Path, share: float) -> None:
    path = folder / EYE_FILE
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ConfigError, match="eye"):
        Nano.load(folder)


def test_a_decoder_without_eyes_reads_no_picture(folder: Path) -> None:
    decoder(0).save(folder / "decoder.safetensors", PIECES.hash)
    nano = Nano.load(folder)
    assert nano.eye is not None and not nano.sees
    with pytest.raises(ConfigError, match="trained with pictures"):
        nano.seen_rows(torch.zeros(1, WIDTH), torch.zeros(1, dtype=torch.int64))


def test_a_decoder_that_reads_other_numbers_than_the_eye_says_is_refused(folder: Path) -> None:
    decoder(WIDTH + 1).save(folder / "decoder.safetensors", PIECES.hash)
    with pytest.raises(ConfigError, match="same release"):
        Nano.load(folder)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_said(folder: Path) -> None:
    with pytest.raises(DeviceError, match="choose --device cpu"):
        Nano.load(folder, "cuda")
