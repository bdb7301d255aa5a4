"""A checkpoint's folder: read as it lies, and whatever is wrong with it is one line that says what to do."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from liveagent import ConfigError, DeviceError, LiveAgentError
from liveagent.nn import checkpoint
from liveagent.nn.checkpoint import CONFIG, INDEX, WHOLE, Checkpoint, Made

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
TENSORS = {"up.weight": torch.arange(12.0).view(3, 4), "up.bias": torch.ones(3), "count": torch.arange(2)}


def whole(folder: Path, tensors: dict[str, Tensor] = TENSORS, **config: Any) -> Path:
    """A checkpoint in one file, as hubs lay it out."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"architectures": ["Up"], **config}))
    save_file(tensors, folder / WHOLE)
    return folder


def sharded(folder: Path) -> Path:
    """The same in two files and an index."""
    whole(folder)
    (folder / WHOLE).unlink()
    names = sorted(TENSORS)
    places = {name: SHARDS[n % 2] for n, name in enumerate(names)}
    for file in SHARDS:
        save_file({name: TENSORS[name] for name in names if places[name] == file}, folder / file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


def wrong(folder: Path) -> str:
    """What is said of a folder, which must be one line that says what to do."""
    with pytest.raises(ConfigError) as caught:
        Checkpoint.open(folder)
    said = str(caught.value)
    assert "\n" not in said and ":" in said and len(said) < 300 + 2 * len(str(folder))
    return said


@pytest.mark.parametrize("lay", [whole, sharded])
def test_it_is_read_as_it_lies(tmp_path: Path, lay: Any) -> None:
    found = Checkpoint.open(lay(tmp_path / "a"))
    assert found.architecture == "Up" and found.names == set(TENSORS) == found.unread
    for name, tensor in TENSORS.items():
        assert torch.equal(found.read(name), tensor)
    assert not found.unread


def test_it_fills_a_network_from_one_tensor_or_several(tmp_path: Path) -> None:
    net = nn.Linear(4, 3, device="meta")
    found = Checkpoint.open(whole(tmp_path))
    found.fill(net, {"weight": "up.weight", "bias": "up.bias"}, torch.bfloat16)
    assert net.weight.dtype == torch.bfloat16 and torch.equal(net.weight.float(), TENSORS["up.weight"])
    tall = nn.Linear(4, 6, device="meta")
    found.fill(tall, {"weight": ("up.weight", "up.weight"), "bias": Made(("up.bias",), lambda b: torch.cat([b, -b]))})
    assert tall.weight.shape == (6, 4) and tall.bias.tolist() == [1, 1, 1, -1, -1, -1]


def test_no_folder_and_no_config(tmp_path: Path) -> None:
    assert "there is no folder" in wrong(tmp_path / "none")
    assert "config.json is missing" in wrong(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    assert "config.json is damaged" in wrong(tmp_path)
    (tmp_path / CONFIG).write_text("[]")
    assert "holds no settings" in wrong(tmp_path)
    (tmp_path / CONFIG).write_bytes(b"\xff\xfe\x00")
    assert "config.json is damaged" in wrong(tmp_path)
    (tmp_path / CONFIG).write_text("{}")
    assert f"holds neither {WHOLE} nor {INDEX}" in wrong(tmp_path)
    save_file({}, tmp_path / WHOLE)
    assert Checkpoint.open(tmp_path).architecture == ""


def test_a_missing_shard(tmp_path: Path) -> None:
    sharded(tmp_path)
    (tmp_path / SHARDS[1]).unlink()
    assert f"lacks {SHARDS[1]}: fetch the missing files again" in wrong(tmp_path)


@pytest.mark.parametrize("left", [0, 4, 30, -1])
@pytest.mark.parametrize("lay", [whole, sharded])
def test_a_file_that_is_cut_short_is_seen_before_anything_is_read(tmp_path: Path, lay: Any, left: int) -> None:
    lay(tmp_path)
    file = tmp_path / (WHOLE if lay is whole else SHARDS[1])
    file.write_bytes(file.read_bytes()[:left])
    assert f"{file} is cut short" in wrong(tmp_path) and "fetch it again" in wrong(tmp_path)


def test_a_file_that_is_longer_or_no_safetensors_at_all(tmp_path: Path) -> None:
    file = whole(tmp_path) / WHOLE
    good = file.read_bytes()
    file.write_bytes(good + b"\0")
    assert "1 bytes too long" in wrong(tmp_path)
    file.write_bytes(b"\xff" * 100)
    assert "is no safetensors file" in wrong(tmp_path)
    file.write_bytes(good.replace(b'"F32"', b'"F99"'))
    assert "is damaged (ValueError in its header)" in wrong(tmp_path)
    file.write_bytes(good.replace(b'"F32"', b'"F64"'))
    assert "its header contradicts itself" in wrong(tmp_path)
    file.unlink()
    file.mkdir()
    assert "cannot be read" in wrong(tmp_path)


def test_weights_that_are_pickled_alone(tmp_path: Path) -> None:
    (whole(tmp_path) / WHOLE).unlink()
    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (ran,)

    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    assert "pickled (pytorch_model.bin)" in wrong(tmp_path) and "safetensors only" in wrong(tmp_path)
    assert not ran.exists()
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "pytorch_model.bin"}}))
    assert "pytorch_model.bin, which is no safetensors file" in wrong(tmp_path)


def test_code_that_wants_to_be_run(tmp_path: Path) -> None:
    whole(tmp_path, auto_map={"AutoModel": "modeling_up.UpModel"})
    (tmp_path / "modeling_up.py").write_text("raise SystemExit")
    assert "brings code of its own" in wrong(tmp_path) and "liveagent runs none" in wrong(tmp_path)


def test_an_index_that_names_what_is_elsewhere_or_not_there(tmp_path: Path) -> None:
    sharded(tmp_path)
    for index, says in [
        ({}, "has no weight_map"),
        ({"weight_map": {"a": 1}}, "has no weight_map"),
        ({"weight_map": {"a": "../b.safetensors"}}, "outside its folder"),
        ({"weight_map": {"count": SHARDS[1]}}, f"{SHARDS[1]} lacks count"),
    ]:
        (tmp_path / INDEX).write_text(json.dumps(index))
        assert says in wrong(tmp_path)


def test_a_config_that_contradicts_the_weights(tmp_path: Path) -> None:
    found = Checkpoint.open(whole(tmp_path))
    sources: dict[str, checkpoint.Source] = {"weight": "up.weight", "bias": "up.bias"}
    with pytest.raises(
        ConfigError, match=r"up.weight .* has the shape \(3, 4\), but config.json speaks of \(3, 5\): take"
    ):
        found.fill(nn.Linear(5, 3, device="meta"), sources)
    with pytest.raises(ConfigError, match="holds no weights 'up.gate'"):
        found.fill(nn.Linear(4, 3, device="meta"), {"weight": "up.gate", "bias": "up.bias"})
    with pytest.raises(ConfigError, match="nothing says where bias comes from"):
        found.fill(nn.Linear(4, 3, device="meta"), {"weight": "up.weight"})
    with pytest.raises(ConfigError, match="do not fit together"):
        found.fill(nn.Linear(4, 3, device="meta"), sources | {"weight": ("up.weight", "up.bias")})


def test_a_model_that_is_larger_than_memory_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Checkpoint.open(whole(tmp_path))
    sources: dict[str, checkpoint.Source] = {"weight": "up.weight", "bias": "up.bias"}
    monkeypatch.setattr(checkpoint, "free_memory", lambda: 59)  # 15 numbers: 60 bytes as fp32, 30 as bf16
    with pytest.raises(DeviceError, match=r"needs .* GB as float32, and .* are free: `liveagent plan") as caught:
        found.fill(nn.Linear(4, 3, device="meta"), sources)
    assert isinstance(caught.value, LiveAgentError) and "\n" not in str(caught.value)
    assert found.unread == set(TENSORS)
    found.fill(nn.Linear(4, 3, device="meta"), sources, torch.bfloat16)
    monkeypatch.setattr(checkpoint, "free_memory", lambda: None)
    found.fill(nn.Linear(4, 3, device="meta"), sources)
