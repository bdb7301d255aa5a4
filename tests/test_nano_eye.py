"""nano with an eye: loaded with it, without it, and with one that is damaged or of another size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from liveagent.agent import Agent
from liveagent.audio import TICK_NS
from liveagent.errors import ConfigError, DeviceError
from liveagent.event import WatchFired
from liveagent.nn.decoder import Decoder, DecoderConfig
from liveagent.nn.ear import Ear, EarConfig
from liveagent.nn.eye import Eye, EyeConfig
from liveagent.nn.model import EYE_FILE
from liveagent.nn.nano import Nano
from liveagent.nn.pieces import Pieces
from liveagent.nn.vit_config import VitConfig
from liveagent.runtime.session import SessionConfig
from liveagent.runtime.talk import open_session
from liveagent.sight import CELLS, WIDTH
from liveagent.table import Table, Thing, draw
from liveagent.video import VideoFrame
from liveagent.watch import watch
from tests.nano import PIECES as PIECES_FILE
from tests.world import World

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


@pytest.mark.slow
@pytest.mark.parametrize("place", [(0.5, 0.5), (0.25, 0.5), (0.75, 0.75), (0.4, 0.4), (0.5, 0.37)])
async def test_a_thing_that_lies_where_cells_meet_is_noticed_too(place: tuple[float, float]) -> None:
    agent = Agent("nano", watches=[watch("a yellow star is on the table")(_told)], camera="table")
    async with open_session(agent, SessionConfig(voice=False), Nano.load(), use_recogniser=False) as session:
        scenes = [draw(Table((Thing(0, 1, 0.2, 0.2), *more))) for more in ((), (Thing(3, 4, *place),))]
        world = World(session, camera=lambda tick: VideoFrame(scenes[tick >= 15], tick * TICK_NS, 0))
        await world.run(60)
        assert [fired.change for fired in world.of(WatchFired)] == ["appear"]


async def _told(sight: object, session: object) -> None: ...
