"""The voice detector: the original's numbers, the laws of a streaming network, speech told from noise."""

from __future__ import annotations

import asyncio
import importlib.util
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from liveagent.errors import ConfigError
from liveagent.nn import lanes as lane_parts
from liveagent.nn import vad as vad_module
from liveagent.nn.vad import FRAME_SAMPLES, Vad
from liveagent.ports.espeak import EspeakVoice

if importlib.util.find_spec("silero_vad") is None:
    pytest.skip("silero-vad is not installed", allow_module_level=True)

SENTENCE = "Turn on the kitchen light, please. And close the door of the garage."


@pytest.fixture(scope="module")
def vad() -> Vad:
    return Vad.load()


@pytest.fixture(scope="module")
def speech() -> torch.Tensor:
    """One synthetic voice, [1, S], half a second of silence around it."""

    async def say() -> np.ndarray:
        voice = EspeakVoice()
        pieces = [p.samples async for p in voice.say(SENTENCE, 1)]
        await voice.close()
        return np.concatenate(pieces)

    if not EspeakVoice().probe().ok:
        pytest.skip("espeak-ng is not installed")
    sound = np.concatenate([np.zeros(8_000), asyncio.run(say()), np.zeros(8_000)]).astype(np.float32)
    return torch.from_numpy(sound[: len(sound) // FRAME_SAMPLES * FRAME_SAMPLES].copy())[None]


@pytest.mark.filterwarnings("ignore:`torch.jit.load`:DeprecationWarning")
def test_the_originals_numbers(speech: torch.Tensor) -> None:
    """The package's compiled model is a later training than its safetensors: with its weights, ours is it."""
    spec = find_spec("silero_vad")
    assert spec is not None and spec.origin is not None
    original = torch.jit.load(str(Path(spec.origin).parent / "data" / "silero_vad.jit"))
    theirs = dict(original._model.state_dict())
    names = {f"conv{i + 1}.{part}": f"encoder.{i}.reparam_conv.{part}" for i in range(4) for part in ("weight", "bias")}
    names |= {f"lstm_cell.{part}": f"decoder.rnn.{part}" for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    names |= {f"final_conv.{part}": f"decoder.decoder.2.{part}" for part in ("weight", "bias")}
    names["stft_conv.weight"] = "stft.forward_basis_buffer"
    ours = Vad()
    ours.load_state_dict({name: theirs[their_name] for name, their_name in names.items()})
    original.reset_states()
    with torch.no_grad():
        expected = torch.cat([original(x[None], 16_000) for x in speech.view(-1, FRAME_SAMPLES)], dim=1)
        got = ours(speech)
    assert got.shape == expected.shape and (expected > 0.5).float().mean() > 0.5
    assert (got - expected).abs().max() < 1e-4


def test_streamed_equals_whole_beside_other_lanes(vad: Vad, speech: torch.Tensor) -> None:
    clip = speech[:, 8_192 : 8_192 + 24 * FRAME_SAMPLES]
    whole = vad(clip)
    state = vad.init_state(4)
    active = torch.tensor([True, True, False, True])
    idle = [t[2].clone() for t in lane_parts.tensors(state)]
    out, at = [], 0
    for frames in (1, 3, 2, 5, 1, 12):
        x = clip[:, at : at + frames * FRAME_SAMPLES].repeat(4, 1)
        x[1] = 50.0  # a loud neighbour, and one that is broken
        x[2:] = torch.nan
        out.append(vad.step(x, state, active)[:1])
        at += frames * FRAME_SAMPLES
    assert (torch.cat(out, dim=1) - whole).abs().max() < 1e-5
    assert all(torch.equal(t[2], before) for t, before in zip(lane_parts.tensors(state), idle, strict=True))


def test_a_lane_resets_and_copies_beside_running_ones(vad: Vad, speech: torch.Tensor) -> None:
    clip = speech[:, 8_192 : 8_192 + 8 * FRAME_SAMPLES].repeat(4, 1)
    active = torch.ones(4, dtype=torch.bool)
    state = vad.init_state(4)
    first = vad.step(clip, state, active)
    vad.copy_lane(state, 0, state, 3)
    vad.reset(state, 1)
    second = vad.step(clip, state, active)
    assert torch.equal(second[3], second[0])
    assert torch.equal(second[1], first[1])
    assert not torch.equal(second[0], first[0])


def test_speech_is_speech_and_noise_is_not(vad: Vad, speech: torch.Tensor) -> None:
    said = vad(speech)[0]
    assert said[:12].max() < 0.3 and (said[20:-20] > 0.5).float().mean() > 0.7
    generator = torch.Generator().manual_seed(1)
    n = 40 * FRAME_SAMPLES
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(n) / 16_000)
    others = torch.stack([torch.zeros(n), 0.1 * torch.randn(n, generator=generator), tone])
    assert (vad(others) > 0.5).float().mean() < 0.05


def test_a_frame_is_512_samples(vad: Vad) -> None:
    with pytest.raises(ValueError, match="512"):
        vad(torch.zeros(1, 500))


def test_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vad_module, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        Vad.load()
    other = importlib.util.spec_from_file_location("silero_vad", tmp_path / "__init__.py")
    monkeypatch.setattr(vad_module, "find_spec", lambda name: other)
    with pytest.raises(ConfigError, match="pip install"):
        Vad.load()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "silero_vad_16k.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ConfigError, match="pip install"):
        Vad.load()
